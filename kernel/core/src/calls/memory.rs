//! Calls about memory.

use super::descriptor;
use crate::thread::Caller;
use abi::linux::general as flags;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use memory::space::{Attributes, MapRequest, Placement, Protection, Sharing};

/// `brk`
pub async fn brk(caller: &Caller, end: usize) -> Result<usize> {
    Ok(caller.space.set_break(VirtualAddress::new(end)).await.value())
}

/// `mmap`
pub async fn mmap(caller: &Caller, arguments: [usize; 6]) -> Result<usize> {
    let [address, length, protection, kind, file, offset] = arguments;
    let kind = kind as u32;
    if length == 0 || !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Error::InvalidArgument);
    }
    let protection = protection_of(protection);
    let sharing = match kind & flags::MAP_TYPE {
        flags::MAP_PRIVATE => Sharing::Private,
        flags::MAP_SHARED | flags::MAP_SHARED_VALIDATE => Sharing::Shared,
        _ => return Err(Error::InvalidArgument),
    };
    let mut request = MapRequest::anonymous(length, protection);
    request.sharing = sharing;
    if kind & flags::MAP_ANONYMOUS == 0 {
        let open = caller.files.get(descriptor(file))?;
        let may = open.flags();
        if !may.reads() || (sharing == Sharing::Shared && protection.contains(Protection::WRITE) && !may.writes()) {
            return Err(Error::AccessDenied);
        }
        let object = open.file().clone().mapped_object().ok_or(Error::NoDevice)?;
        request = MapRequest::object(object, offset as u64, length, protection, sharing);
        if sharing == Sharing::Shared && !may.writes() {
            request.maximum = Protection::READ | Protection::EXECUTE;
        }
    }
    let place = VirtualAddress::new(address);
    request.placement = match () {
        () if kind & flags::MAP_FIXED_NOREPLACE != 0 => Placement::FixedNoReplace(place),
        () if kind & flags::MAP_FIXED != 0 => Placement::Fixed(place),
        () if address != 0 => Placement::Hint(place),
        () => Placement::Anywhere,
    };
    request.attributes.set(Attributes::GROWS_DOWN, kind & flags::MAP_GROWSDOWN != 0);
    let start = caller.space.map(request).await?;
    Ok(start.value())
}

/// The protection that a register asks for.
fn protection_of(register: usize) -> Protection {
    let mut protection = Protection::empty();
    protection.set(Protection::READ, register & flags::PROT_READ as usize != 0);
    protection.set(Protection::WRITE, register & flags::PROT_WRITE as usize != 0);
    protection.set(Protection::EXECUTE, register & flags::PROT_EXEC as usize != 0);
    protection
}
