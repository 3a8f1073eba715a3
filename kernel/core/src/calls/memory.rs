//! Calls about memory.

use super::descriptor;
use crate::boot;
use crate::thread::Caller;
use ::process::credentials::{Capability, Credentials};
use ::process::limits::{self, Resource};
use abi::linux::general as flags;
use alloc::sync::Arc;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::sync::atomic::Ordering;
use base::{Error, Result};
use memory::space::{
    Access, Attributes, LockMode, MapRequest, MappedObject, Placement, Protection, Remap, Sharing, USER_END,
};
use vfs::{FileKind, OpenFile, OpenFlags};

/// Bits of `mmap`'s flags that `MAP_SHARED_VALIDATE` accepts.
const KNOWN_FLAGS: u32 = flags::MAP_TYPE
    | flags::MAP_FIXED
    | flags::MAP_ANONYMOUS
    | flags::MAP_DENYWRITE
    | flags::MAP_EXECUTABLE
    | flags::MAP_GROWSDOWN
    | flags::MAP_LOCKED
    | flags::MAP_NORESERVE
    | flags::MAP_POPULATE
    | flags::MAP_NONBLOCK
    | flags::MAP_STACK
    | flags::MAP_HUGETLB
    | flags::MAP_FIXED_NOREPLACE;
/// How many pages one look of `mincore` covers.
const RESIDENCY_CHUNK: usize = 512;

/// What a process's limits and rights mean for its memory: to be given to its address space whenever they change.
pub fn space_limits(limits: &limits::Limits, credentials: &Credentials) -> memory::space::Limits {
    let bytes = |resource| usize::try_from(limits.soft(resource)).unwrap_or(usize::MAX);
    let unlimited = credentials.has(Capability::LockMemory);
    memory::space::Limits {
        address_space: bytes(Resource::AddressSpace),
        data: bytes(Resource::Data),
        stack: bytes(Resource::Stack),
        locked: if unlimited { usize::MAX } else { bytes(Resource::LockedMemory) },
    }
}

/// `brk`
pub async fn brk(caller: &Caller, end: usize) -> Result<usize> {
    Ok(caller.space.set_break(VirtualAddress::new(end)).await.value())
}

/// `mmap`
pub async fn mmap(caller: &Caller, arguments: [usize; 6]) -> Result<usize> {
    let [address, length, protection, kind, file, offset] = arguments;
    let kind = kind as u32;
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Error::InvalidArgument);
    }
    let open = match kind & flags::MAP_ANONYMOUS {
        0 => Some(caller.files.get(descriptor(file))?),
        _ => None,
    };
    if open.as_ref().is_some_and(|open| open.flags().contains(OpenFlags::PATH)) {
        return Err(Error::BadDescriptor);
    }
    if kind & flags::MAP_HUGETLB != 0 {
        // No huge pages are set aside; of files, none lies in them.
        return Err(if open.is_some() { Error::InvalidArgument } else { Error::OutOfMemory });
    }
    if length == 0 {
        return Err(Error::InvalidArgument);
    }
    let sharing = match kind & flags::MAP_TYPE {
        flags::MAP_PRIVATE => Sharing::Private,
        flags::MAP_SHARED => Sharing::Shared,
        flags::MAP_SHARED_VALIDATE if open.is_none() => return Err(Error::InvalidArgument),
        flags::MAP_SHARED_VALIDATE if kind & !KNOWN_FLAGS != 0 => return Err(Error::NotSupported),
        flags::MAP_SHARED_VALIDATE => Sharing::Shared,
        _ => return Err(Error::InvalidArgument),
    };
    let mut request = MapRequest::anonymous(length, protection_of(protection));
    request.sharing = sharing;
    if let Some(open) = &open {
        show_file(&mut request, open, offset as u64)?;
    }
    let grows = kind & flags::MAP_GROWSDOWN != 0;
    if grows && (open.is_some() || sharing == Sharing::Shared) {
        return Err(Error::InvalidArgument);
    }
    request.attributes.set(Attributes::GROWS_DOWN, grows);
    let place = VirtualAddress::new(address);
    request.placement = match () {
        () if kind & flags::MAP_FIXED_NOREPLACE != 0 => Placement::FixedNoReplace(place),
        () if kind & flags::MAP_FIXED != 0 => Placement::Fixed(place),
        () if address != 0 => Placement::Hint(place),
        () => Placement::Anywhere,
    };
    let locked = kind & flags::MAP_LOCKED != 0;
    if locked {
        check_may_lock(caller)?;
    }
    let protection = request.protection;
    let start = caller.space.map(request).await?;
    let populate = kind & flags::MAP_POPULATE != 0 && kind & flags::MAP_NONBLOCK == 0;
    if populate || locked || caller.space.locks_new() {
        fill(caller, start, length, protection, sharing, locked).await;
    }
    Ok(start.value())
}

/// Brings a new mapping's pages in. As on Linux, what cannot be brought in is left for a fault.
async fn fill(
    caller: &Caller,
    start: VirtualAddress,
    length: usize,
    protection: Protection,
    sharing: Sharing,
    locked: bool,
) {
    if locked {
        let _ = caller.space.lock(start, length, LockMode::Now).await;
    } else if !protection.is_empty() {
        let copies = sharing == Sharing::Private && protection.contains(Protection::WRITE);
        let access = if copies { Access::Write } else { Access::Read };
        let _ = caller.space.populate(start, length, access).await;
    }
}

/// Makes the request show a file, which must be open for what is asked.
fn show_file(request: &mut MapRequest, open: &Arc<OpenFile>, offset: u64) -> Result<()> {
    let may = open.flags();
    let shared = request.sharing == Sharing::Shared;
    if shared && request.protection.contains(Protection::WRITE) && !may.writes() {
        return Err(Error::AccessDenied);
    }
    if !may.reads() {
        return Err(Error::AccessDenied);
    }
    let no_execute = open.location().mount.flags().contains(vfs::mount::MountFlags::NO_EXECUTE);
    if no_execute && request.protection.contains(Protection::EXECUTE) {
        return Err(Error::NotPermitted);
    }
    if no_execute {
        request.maximum.remove(Protection::EXECUTE);
    }
    let inode = open.location().inode();
    if inode.kind() == FileKind::CharacterDevice && inode.special_device() == vfs::devfs::ZERO {
        // A mapping of /dev/zero is memory without a file.
        return Ok(());
    }
    let mut object: Arc<dyn MappedObject> = open.mapped_object()?;
    if shared && may.writes() {
        match open.writable_object() {
            Ok(writable) => object = writable,
            // Sealed: it can be looked at.
            Err(Error::NotPermitted) if !request.protection.contains(Protection::WRITE) => {
                request.maximum.remove(Protection::WRITE);
            }
            Err(error) => return Err(error),
        }
    } else if shared {
        request.maximum.remove(Protection::WRITE);
    }
    let shown = MapRequest::object(object, offset, request.length, request.protection, request.sharing);
    request.backing = shown.backing;
    Ok(())
}

/// The protection that a register asks for.
fn protection_of(register: usize) -> Protection {
    let mut protection = Protection::empty();
    protection.set(Protection::READ, register & flags::PROT_READ as usize != 0);
    protection.set(Protection::WRITE, register & flags::PROT_WRITE as usize != 0);
    protection.set(Protection::EXECUTE, register & flags::PROT_EXEC as usize != 0);
    protection
}

/// `munmap`
pub async fn munmap(caller: &Caller, address: usize, length: usize) -> Result<usize> {
    caller.space.unmap(VirtualAddress::new(address), length).await?;
    Ok(0)
}

/// `mprotect`. The modes that extend to the end of a stack are refused.
pub async fn mprotect(caller: &Caller, address: usize, length: usize, protection: usize) -> Result<usize> {
    let known = flags::PROT_READ | flags::PROT_WRITE | flags::PROT_EXEC | flags::PROT_SEM;
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Error::InvalidArgument);
    }
    if length == 0 {
        return Ok(0);
    }
    if length.checked_next_multiple_of(PAGE_SIZE).and_then(|length| address.checked_add(length)).is_none() {
        return Err(Error::OutOfMemory);
    }
    if protection & !(known as usize) != 0 {
        return Err(Error::InvalidArgument);
    }
    caller.space.protect(VirtualAddress::new(address), length, protection_of(protection)).await?;
    Ok(0)
}

/// `mremap`
pub async fn mremap(caller: &Caller, arguments: [usize; 6]) -> Result<usize> {
    let [old, old_length, new_length, how, target, _] = arguments;
    let how = how as u32;
    if how & !(flags::MREMAP_MAYMOVE | flags::MREMAP_FIXED) != 0 {
        // `MREMAP_DONTUNMAP` among them.
        return Err(Error::InvalidArgument);
    }
    let how = match how {
        0 => Remap::InPlace,
        flags::MREMAP_MAYMOVE => Remap::MayMove,
        flags::MREMAP_FIXED => return Err(Error::InvalidArgument),
        _ => Remap::To(VirtualAddress::new(target)),
    };
    let place = caller.space.remap(VirtualAddress::new(old), old_length, new_length, how).await?;
    Ok(place.value())
}

/// `madvise`
pub async fn madvise(caller: &Caller, address: usize, length: usize, advice: usize) -> Result<usize> {
    caller.space.advise(VirtualAddress::new(address), length, advice as u32).await?;
    Ok(0)
}

/// `mincore`
pub async fn mincore(caller: &Caller, address: usize, length: usize, answer: usize) -> Result<usize> {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Error::InvalidArgument);
    }
    if address.checked_add(length).is_none_or(|end| end > USER_END) {
        return Err(Error::OutOfMemory);
    }
    let pages = length.div_ceil(PAGE_SIZE);
    if answer.checked_add(pages).is_none_or(|end| end > USER_END) {
        return Err(Error::BadAddress);
    }
    let mut done = 0;
    while done < pages {
        let count = RESIDENCY_CHUNK.min(pages - done);
        let mut bytes = [0u8; RESIDENCY_CHUNK];
        let mut places = bytes.iter_mut();
        let start = VirtualAddress::new(address + done * PAGE_SIZE);
        let tell = |resident| {
            if let Some(place) = places.next() {
                *place = u8::from(resident);
            }
        };
        caller.space.resident(start, count * PAGE_SIZE, tell).await?;
        caller.space.write_bytes(VirtualAddress::new(answer + done), &bytes[..count]).await?;
        done += count;
    }
    Ok(0)
}

/// `msync`
pub async fn msync(caller: &Caller, address: usize, length: usize, how: usize) -> Result<usize> {
    let how = how as u32;
    let both = flags::MS_ASYNC | flags::MS_SYNC;
    if how & !(both | flags::MS_INVALIDATE) != 0 || how & both == both || !address.is_multiple_of(PAGE_SIZE) {
        return Err(Error::InvalidArgument);
    }
    let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(Error::OutOfMemory)?;
    if length == 0 {
        return Ok(0);
    }
    caller.space.sync(VirtualAddress::new(address), length).await?;
    Ok(0)
}

/// Whether the caller may lock any memory at all.
fn check_may_lock(caller: &Caller) -> Result<()> {
    let process = caller.process();
    let allowed = process.limits.lock().soft(Resource::LockedMemory) != 0
        || process.identity().credentials.has(Capability::LockMemory);
    if allowed { Ok(()) } else { Err(Error::NotPermitted) }
}

/// `mlock`
pub async fn mlock(caller: &Caller, address: usize, length: usize) -> Result<usize> {
    check_may_lock(caller)?;
    caller.space.lock(VirtualAddress::new(address), length, LockMode::Now).await?;
    Ok(0)
}

/// `mlock2`
pub async fn mlock2(caller: &Caller, address: usize, length: usize, how: usize) -> Result<usize> {
    let mode = match how as u32 {
        0 => LockMode::Now,
        flags::MLOCK_ONFAULT => LockMode::OnFault,
        _ => return Err(Error::InvalidArgument),
    };
    check_may_lock(caller)?;
    caller.space.lock(VirtualAddress::new(address), length, mode).await?;
    Ok(0)
}

/// `munlock`
pub async fn munlock(caller: &Caller, address: usize, length: usize) -> Result<usize> {
    caller.space.unlock(VirtualAddress::new(address), length).await?;
    Ok(0)
}

/// `mlockall`
pub async fn mlockall(caller: &Caller, how: usize) -> Result<usize> {
    let how = how as u32;
    let known = flags::MCL_CURRENT | flags::MCL_FUTURE | flags::MCL_ONFAULT;
    if how & !known != 0 || how & (flags::MCL_CURRENT | flags::MCL_FUTURE) == 0 {
        return Err(Error::InvalidArgument);
    }
    check_may_lock(caller)?;
    let mode = if how & flags::MCL_ONFAULT != 0 { LockMode::OnFault } else { LockMode::Now };
    let current = (how & flags::MCL_CURRENT != 0).then_some(mode);
    let future = (how & flags::MCL_FUTURE != 0).then_some(mode);
    caller.space.lock_all(current, future).await?;
    Ok(0)
}

/// `munlockall`
pub async fn munlockall(caller: &Caller) -> Result<usize> {
    caller.space.unlock_all().await;
    Ok(0)
}

/// `riscv_flush_icache`: instructions that were written are seen by every hart that may run the caller's threads. That is
/// all harts also when the caller asks for its own thread only, as that may move.
pub async fn riscv_flush_icache(how: usize) -> Result<usize> {
    const LOCAL: usize = 1;
    if how & !LOCAL != 0 {
        return Err(Error::InvalidArgument);
    }
    base::sync::atomic::fence(Ordering::SeqCst);
    arch_riscv64::paging::fence_instructions();
    let harts = crate::hart::online();
    if harts.len() > 1 {
        let mask = harts.iter().fold(0, |mask, hart| mask | 1 << hart.hart_id());
        arch_riscv64::firmware::remote_fence_instructions(mask);
    }
    Ok(0)
}

/// Keys of `riscv_hwprobe` (`asm/hwprobe.h`).
mod probe {
    pub const VENDOR: i64 = 0;
    pub const ARCHITECTURE: i64 = 1;
    pub const IMPLEMENTATION: i64 = 2;
    pub const BASE_BEHAVIOUR: i64 = 3;
    pub const EXTENSIONS: i64 = 4;
    pub const MISALIGNED: i64 = 5;
    pub const ZERO_BLOCK: i64 = 6;
    pub const HIGHEST_ADDRESS: i64 = 7;
    pub const TIME_FREQUENCY: i64 = 8;
    pub const MISALIGNED_SCALAR: i64 = 9;
    pub const MISALIGNED_VECTOR: i64 = 10;
    /// `BASE_BEHAVIOUR`: I, M and A.
    pub const IMA: u64 = 1;
    /// In `riscv_hwprobe`'s flags: which harts have these properties?
    pub const WHICH_CPUS: usize = 1;
}

/// What programs may use of the harts' extensions: those without state of their own that the kernel would have to keep.
fn usable_extensions() -> u64 {
    use drivers::machine::Extensions;
    let compressed = 1 << 1;
    let found = boot::system().machine.common_extensions();
    let bits = [
        (Extensions::F | Extensions::D, 0),
        (Extensions::ZBA, 3),
        (Extensions::ZBB, 4),
        (Extensions::ZBS, 5),
        (Extensions::ZBC, 7),
        (Extensions::ZACAS, 34),
        (Extensions::ZIHINTPAUSE, 36),
    ];
    bits.iter().filter(|(needed, _)| found.contains(*needed)).fold(compressed, |set, (_, bit)| set | 1 << bit)
}

/// The value of a key; the same on all harts. `None`: there is no such key.
fn probe_value(key: i64) -> Option<u64> {
    Some(match key {
        probe::VENDOR => arch_riscv64::firmware::vendor() as u64,
        probe::ARCHITECTURE => arch_riscv64::firmware::architecture() as u64,
        probe::IMPLEMENTATION => arch_riscv64::firmware::implementation() as u64,
        probe::BASE_BEHAVIOUR => probe::IMA,
        probe::EXTENSIONS => usable_extensions(),
        // Nothing is known of misaligned accesses; cache blocks cannot be zeroed by programs.
        probe::MISALIGNED | probe::MISALIGNED_SCALAR | probe::MISALIGNED_VECTOR | probe::ZERO_BLOCK => 0,
        probe::HIGHEST_ADDRESS => (USER_END - 1) as u64,
        probe::TIME_FREQUENCY => boot::system().machine.timebase_hz,
        _ => return None,
    })
}

/// Whether a hart that has `has` for `key` satisfies who asks for `wanted`.
fn probe_satisfies(key: i64, has: u64, wanted: u64) -> bool {
    match key {
        probe::BASE_BEHAVIOUR | probe::EXTENSIONS => has & wanted == wanted,
        _ => has == wanted,
    }
}

/// `riscv_hwprobe`
pub async fn riscv_hwprobe(caller: &Caller, arguments: [usize; 6]) -> Result<usize> {
    let [pairs, count, set_size, set, how, _] = arguments;
    let which = how == probe::WHICH_CPUS;
    if how & !probe::WHICH_CPUS != 0 || (which && (set_size == 0 || set == 0)) {
        return Err(Error::InvalidArgument);
    }
    let online = (1u64 << crate::hart::online().len()) - 1;
    let mut harts = online;
    if set_size != 0 || set != 0 {
        let size = set_size.min(size_of::<u64>());
        let mut bytes = [0; size_of::<u64>()];
        caller.space.read_bytes(VirtualAddress::new(set), &mut bytes[..size]).await?;
        harts = u64::from_le_bytes(bytes);
        if which && harts == 0 {
            harts = online;
        }
        harts &= online;
        if !which && harts == 0 {
            return Err(Error::InvalidArgument);
        }
    }
    for index in 0..count {
        let place =
            index.checked_mul(16).and_then(|offset| pairs.checked_add(offset)).ok_or(Error::BadAddress)?;
        let place = VirtualAddress::new(place);
        let [key, wanted] = caller.space.read_object::<[u64; 2]>(place).await?;
        let found = probe_value(key as i64);
        let answer = match found {
            Some(_) if which => [key, wanted],
            Some(value) => [key, value],
            None => [u64::MAX, 0],
        };
        caller.space.write_object(place, &answer).await?;
        if which && !found.is_some_and(|has| probe_satisfies(key as i64, has, wanted)) {
            harts = 0;
        }
    }
    if which {
        let size = set_size.min(size_of::<u64>());
        caller.space.write_bytes(VirtualAddress::new(set), &harts.to_le_bytes()[..size]).await?;
    }
    Ok(0)
}
