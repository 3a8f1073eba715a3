//! What the kernel puts into every process: the shared object of `user/vdso`, and the page of data that it reads.

use abi::vdso::{DATA_OFFSET, Data, SIGNAL_RETURN_OFFSET, SIZE};
use alloc::sync::Arc;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::sync::OnceCell;
use base::sync::atomic::Ordering;
use base::{Error, Result};
use core::mem::offset_of;
use memory::Frame;
use memory::space::{Access, AddressSpace, MapRequest, MappedObject, Protection, SharedMemory, Sharing};

/// The object as it was linked; its data is filled in here.
const IMAGE: &[u8] = include_bytes!(env!("ASYNCOS_VDSO"));
const _: () = assert!(IMAGE.len() >= DATA_OFFSET && SIZE == DATA_OFFSET + PAGE_SIZE);

static OBJECT: OnceCell<Arc<SharedMemory>> = OnceCell::new();
static DATA: OnceCell<Frame> = OnceCell::new();

/// Where the object is in a process.
pub struct Place {
    /// Its header (`AT_SYSINFO_EHDR`).
    pub header: VirtualAddress,
    /// Where signal handlers return to.
    pub signal_return: VirtualAddress,
}

/// Makes the object that is mapped everywhere.
///
/// # Errors
/// `OutOfMemory`.
pub async fn initialise() -> Result<()> {
    let object = SharedMemory::new(SIZE as u64, "[vdso]")?;
    for index in 0..DATA_OFFSET / PAGE_SIZE {
        let frame = object.page(index as u64, Access::Write).await?;
        frame.bytes().copy_from(&IMAGE[index * PAGE_SIZE..][..PAGE_SIZE]);
    }
    let data = object.page((DATA_OFFSET / PAGE_SIZE) as u64, Access::Write).await?;
    let (boot_ticks, ns_per_tick) = crate::time::counter();
    store(&data, offset_of!(Data, boot_ticks), boot_ticks);
    store(&data, offset_of!(Data, ns_per_tick), ns_per_tick);
    DATA.set(data).map_err(|_| Error::AlreadyExists)?;
    set_realtime_offset(crate::time::realtime_offset_ns());
    OBJECT.set(object).map_err(|_| Error::AlreadyExists)
}

fn store(data: &Frame, offset: usize, value: u64) {
    if let Some(word) = data.long(offset) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Tells every process what to add to the time since boot, in nanoseconds, to get the time since 1970.
pub fn set_realtime_offset(offset_ns: i64) {
    if let Some(data) = DATA.get() {
        store(data, offset_of!(Data, realtime_offset_ns), offset_ns as u64);
    }
}

/// Maps it.
///
/// # Errors
/// `OutOfMemory`.
pub async fn map(space: &AddressSpace) -> Result<Place> {
    let object = OBJECT.get().ok_or(Error::NotFound)?.clone();
    let protection = Protection::READ | Protection::EXECUTE;
    let mut request = MapRequest::object(object, 0, SIZE, protection, Sharing::Shared);
    request.maximum = protection;
    let header = space.map(request).await?;
    Ok(Place { header, signal_return: header + SIGNAL_RETURN_OFFSET })
}
