//! Calls that make files of events and wait for them: `eventfd2`, the family of `epoll`, `memfd_create`.

use super::descriptor;
use super::descriptors::{limit, on_exec};
use super::names::check_flags;
use super::poll::{read_mask, with_mask};
use crate::event_poll::EventPoll;
use crate::file_systems;
use crate::thread::Caller;
use ::process::signal::SignalSet;
use abi::file::{EpollEvent, TimeSpec};
use abi::linux::general as linux;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::{Error, Result};
use vfs::event_counter::{EventCounter, Taking};
use vfs::metadata::Ownership;
use vfs::open_file::Opener;
use vfs::tmpfs::seals::Seals;
use vfs::{Dentry, File, FileKind, Location, OpenFile, OpenFlags};
use zerocopy::IntoBytes;

/// Events that are given to a caller at once.
const EVENTS_MAX: usize = 256;
const MILLISECOND_NS: u64 = 1_000_000;

/// Gives the caller a descriptor of a file that no path leads to.
///
/// # Errors
/// `TooManyFiles`
pub fn insert(caller: &Caller, file: Arc<dyn File>, name: &str, flags: OpenFlags) -> Result<usize> {
    let ownership = Ownership { permissions: 0o600, uid: 0, gid: 0 };
    let location = file_systems::anonymous().place_for(FileKind::Untyped, name, ownership);
    let open = OpenFile::from_file(file, location, OpenFlags::READ_WRITE | flags);
    let on_exec = on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC));
    Ok(caller.files.insert(open, on_exec, limit(caller))? as usize)
}

/// `eventfd2`
pub async fn eventfd2(caller: &Caller, value: usize, flags: usize) -> Result<usize> {
    /// `EFD_SEMAPHORE`
    const SEMAPHORE: u32 = 1;
    let flags = check_flags(flags, SEMAPHORE | linux::O_CLOEXEC | linux::O_NONBLOCK)?;
    let taking = if flags & SEMAPHORE != 0 { Taking::One } else { Taking::Everything };
    let counter = EventCounter::new(u64::from(value as u32), taking);
    insert(caller, counter, "[eventfd]", OpenFlags::from_bits_retain(flags & !SEMAPHORE))
}

/// `epoll_create1`
pub async fn epoll_create1(caller: &Caller, flags: usize) -> Result<usize> {
    let flags = check_flags(flags, linux::EPOLL_CLOEXEC)?;
    insert(caller, EventPoll::new(), "[eventpoll]", OpenFlags::from_bits_retain(flags))
}

/// `epoll_ctl`
pub async fn epoll_ctl(
    caller: &Caller,
    list: usize,
    operation: usize,
    file: usize,
    event: usize,
) -> Result<usize> {
    let operation = operation as u32;
    let event = match operation {
        linux::EPOLL_CTL_DEL => EpollEvent::default(),
        _ => caller.space.read_object::<EpollEvent>(VirtualAddress::new(event)).await?,
    };
    let list = caller.files.get(descriptor(list))?;
    let number = descriptor(file);
    let file = caller.files.get(number)?;
    if Arc::ptr_eq(&list, &file) {
        return Err(Error::InvalidArgument);
    }
    let list = list.file().downcast::<EventPoll>().ok_or(Error::InvalidArgument)?;
    match operation {
        linux::EPOLL_CTL_ADD => list.add(&file, number, &event)?,
        linux::EPOLL_CTL_MOD => list.change(&file, number, &event)?,
        linux::EPOLL_CTL_DEL => list.remove(&file, number)?,
        _ => return Err(Error::InvalidArgument),
    }
    Ok(0)
}

/// `epoll_pwait`: the time is in milliseconds, and negative for ever.
pub async fn epoll_pwait(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let [list, events, most, timeout, mask, mask_size] = arguments;
    let timeout_ms = u64::try_from(timeout as i32).ok();
    let deadline_ns = timeout_ms.map(|timeout_ms| now_ns() + timeout_ms * MILLISECOND_NS);
    let mask = read_mask(caller, mask, mask_size).await?;
    wait(caller, list, [events, most], deadline_ns, mask).await
}

/// `epoll_pwait2`: the time is a `struct timespec`, and null for ever.
pub async fn epoll_pwait2(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let [list, events, most, timeout, mask, mask_size] = arguments;
    let deadline_ns = match timeout {
        0 => None,
        _ => {
            let time: TimeSpec = caller.space.read_object(VirtualAddress::new(timeout)).await?;
            let duration_ns = time.duration_ns().ok_or(Error::InvalidArgument)?;
            Some(now_ns().saturating_add(duration_ns))
        }
    };
    let mask = read_mask(caller, mask, mask_size).await?;
    wait(caller, list, [events, most], deadline_ns, mask).await
}

async fn wait(
    caller: &mut Caller,
    list: usize,
    [events, most]: [usize; 2],
    deadline_ns: Option<u64>,
    mask: Option<SignalSet>,
) -> Result<usize> {
    let most = most as i32;
    if most <= 0 || most as usize > i32::MAX as usize / size_of::<EpollEvent>() {
        return Err(Error::InvalidArgument);
    }
    let list = caller.files.get(descriptor(list))?;
    let list = list.file().downcast::<EventPoll>().ok_or(Error::InvalidArgument)?;
    let most = (most as usize).min(EVENTS_MAX);
    let found =
        with_mask(caller, mask, async |caller| wait_for_events(caller, &list, most, deadline_ns).await)
            .await?;
    caller.space.write_bytes(VirtualAddress::new(events), found.as_bytes()).await?;
    Ok(found.len())
}

async fn wait_for_events(
    caller: &Caller,
    list: &EventPoll,
    most: usize,
    deadline_ns: Option<u64>,
) -> Result<Vec<EpollEvent>> {
    let mut events = Vec::new();
    loop {
        list.collect(&mut events, most);
        if !events.is_empty() {
            list.pass_on();
            return Ok(events);
        }
        if deadline_ns.is_some_and(|deadline_ns| deadline_ns <= now_ns()) {
            return Ok(events);
        }
        let some = list.waiters().wait_until(|| list.has_candidates().then_some(()));
        match caller.interruptible_until(some, deadline_ns).await {
            Ok(()) | Err(Error::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

/// `memfd_create`
pub async fn memfd_create(caller: &Caller, name: usize, flags: usize) -> Result<usize> {
    const NAME_MAX: usize = 249;
    // Large pages are not implemented; see docs/status.md.
    let known = linux::MFD_CLOEXEC | linux::MFD_ALLOW_SEALING | linux::MFD_NOEXEC_SEAL | linux::MFD_EXEC;
    let flags = check_flags(flags, known)?;
    let (executable, sealed_so) = (flags & linux::MFD_EXEC != 0, flags & linux::MFD_NOEXEC_SEAL != 0);
    if executable && sealed_so {
        return Err(Error::InvalidArgument);
    }
    let name = match caller.space.read_c_string(VirtualAddress::new(name), NAME_MAX + 1).await {
        Err(Error::NameTooLong) => return Err(Error::InvalidArgument),
        outcome => outcome?,
    };
    let mut label = Vec::from(*b"/memfd:");
    label.extend_from_slice(&name);
    label.extend_from_slice(b" (deleted)");
    let identity = caller.process().identity();
    let permissions = if sealed_so { 0o666 } else { 0o777 };
    let ownership = Ownership { permissions, uid: identity.files.uid, gid: identity.files.gid };
    let shared = file_systems::shared_memory();
    let inode = shared.file_system.unnamed_file(ownership)?;
    if sealed_so {
        inode.sealing().reset(Seals::EXECUTE);
    } else if flags & linux::MFD_ALLOW_SEALING != 0 {
        inode.sealing().reset(Seals::empty());
    }
    let location = Location { mount: shared.mount.clone(), dentry: Dentry::anonymous(inode, &label) };
    let flags_of_file = OpenFlags::READ_WRITE | OpenFlags::LARGE_FILE;
    let file = OpenFile::open(location, flags_of_file, Opener::Ordinary).await?;
    let on_exec = on_exec(flags & linux::MFD_CLOEXEC != 0);
    Ok(caller.files.insert(file, on_exec, limit(caller))? as usize)
}
