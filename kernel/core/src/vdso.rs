//! What the kernel puts into every process: so far, the code to which a signal handler returns.

use alloc::sync::Arc;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::sync::OnceCell;
use base::{Error, Result};
use memory::space::{Access, AddressSpace, MapRequest, MappedObject, Protection, SharedMemory, Sharing};

/// `li a7, __NR_rt_sigreturn; ecall`.
const SIGNAL_RETURN: [u32; 2] = [0x08b0_0893, 0x0000_0073];

static OBJECT: OnceCell<Arc<SharedMemory>> = OnceCell::new();

/// Makes the object that is mapped everywhere.
///
/// # Errors
/// `OutOfMemory`.
pub async fn initialise() -> Result<()> {
    let object = SharedMemory::new(PAGE_SIZE as u64, "[vdso]")?;
    let frame = object.page(0, Access::Write).await?;
    let mut code = [0; 8];
    code[..4].copy_from_slice(&SIGNAL_RETURN[0].to_le_bytes());
    code[4..].copy_from_slice(&SIGNAL_RETURN[1].to_le_bytes());
    frame.bytes().copy_from(&code);
    OBJECT.set(object).map_err(|_| Error::AlreadyExists)
}

/// Maps it; returns where handlers return to.
///
/// # Errors
/// `OutOfMemory`.
pub async fn map(space: &AddressSpace) -> Result<VirtualAddress> {
    let object = OBJECT.get().ok_or(Error::NotFound)?.clone();
    let protection = Protection::READ | Protection::EXECUTE;
    let mut request = MapRequest::object(object, 0, PAGE_SIZE, protection, Sharing::Shared);
    request.maximum = protection;
    space.map(request).await
}
