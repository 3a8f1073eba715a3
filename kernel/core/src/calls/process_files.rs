//! Calls about processes by a descriptor, and about other processes' descriptors and memory.

use super::descriptors::{limit, on_exec};
use super::{areas, descriptor, events, signal};
use crate::process::{self, Process, traits};
use crate::process_file::ProcessFile;
use crate::thread::Caller;
use ::process::credentials::Capability;
use ::process::signal::SigInfo;
use abi::linux::general as number;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use memory::space::AddressSpace;
use vfs::OpenFlags;

/// Gives the caller a descriptor of a process.
///
/// # Errors
/// `TooManyFiles`
pub fn insert(caller: &Caller, process: Arc<Process>, flags: OpenFlags) -> Result<usize> {
    let flags = flags | OpenFlags::CLOSE_ON_EXEC;
    events::insert(caller, ProcessFile::new(process), "[pidfd]", flags)
}

/// `pidfd_open`
pub async fn pidfd_open(caller: &Caller, id: usize, flags: usize) -> Result<usize> {
    let flags = super::names::check_flags(flags, number::O_NONBLOCK)?;
    if (id as u32 as i32) <= 0 {
        return Err(Error::InvalidArgument);
    }
    let process = match process::find(id as u32) {
        Some(process) => process,
        // Only processes have files, not their further threads.
        None if process::find_thread(id as u32).is_some() => return Err(Error::InvalidArgument),
        None => return Err(Error::NoSuchProcess),
    };
    insert(caller, process, OpenFlags::from_bits_retain(flags))
}

/// A process that a descriptor stands for, and whether a call on the descriptor may wait.
///
/// # Errors
/// `BadDescriptor` when it is none of a process; `NoSuchProcess` when that was waited for.
pub fn process_of(caller: &Caller, file: usize) -> Result<(Arc<Process>, bool)> {
    let file = caller.files.get(descriptor(file))?;
    let of_process = file.file().downcast_ref::<ProcessFile>().ok_or(Error::BadDescriptor)?;
    let process = of_process.process().ok_or(Error::NoSuchProcess)?;
    Ok((process, file.may_wait()))
}

/// `pidfd_send_signal`
pub async fn pidfd_send_signal(caller: &Caller, arguments: [usize; 4]) -> Result<usize> {
    /// `PIDFD_SIGNAL_THREAD_GROUP`: what happens without it, too.
    const TO_PROCESS: u32 = 2;
    /// `PIDFD_SIGNAL_PROCESS_GROUP`
    const TO_GROUP: u32 = 4;
    let [file, signal, information, flags] = arguments;
    let flags = flags as u32;
    if ![0, TO_PROCESS, TO_GROUP].contains(&flags) {
        return Err(Error::InvalidArgument);
    }
    let (target, _) = process_of(caller, file)?;
    if flags == TO_GROUP {
        return signal::signal_group_of(caller, &target, signal);
    }
    let given = match information {
        0 => None,
        _ => Some(read_information(caller, information, signal, &target).await?),
    };
    signal::signal_process(caller, &target, signal, given.as_ref())
}

/// What a program wants to send with a signal; see [`SigInfo::may_be_forged`].
async fn read_information(
    caller: &Caller,
    address: usize,
    signal: usize,
    target: &Process,
) -> Result<[u8; SigInfo::SIZE]> {
    let mut bytes = [0; SigInfo::SIZE];
    caller.space.read_bytes(VirtualAddress::new(address), &mut bytes).await?;
    let said = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if said != signal as u32 {
        return Err(Error::InvalidArgument);
    }
    let forgery = SigInfo::from_user(::process::signal::Signal::KILL, &bytes)?;
    if !forgery.may_be_forged() && target.id != caller.process().id {
        return Err(Error::NotPermitted);
    }
    Ok(bytes)
}

/// `pidfd_getfd`
pub async fn pidfd_getfd(caller: &Caller, file: usize, wanted: usize, flags: usize) -> Result<usize> {
    if flags as u32 != 0 {
        return Err(Error::InvalidArgument);
    }
    let (target, _) = process_of(caller, file)?;
    check_may_look_into(caller, &target)?;
    let files = target.state.lock().files.clone().ok_or(Error::NoSuchProcess)?;
    let found = files.get(descriptor(wanted))?;
    drop(files);
    Ok(caller.files.insert(found, on_exec(true), limit(caller))? as usize)
}

/// Checks that the caller may look into a process: its own, or one of the same user and group that allows it.
///
/// # Errors
/// `NotPermitted`
fn check_may_look_into(caller: &Caller, target: &Process) -> Result<()> {
    if target.id == caller.process().id {
        return Ok(());
    }
    let (own, other) = (caller.process().identity(), target.identity());
    let allowed = own.credentials.has(Capability::Trace)
        || (own.credentials.is_same_user(&other.credentials) && target.has(traits::DUMPABLE));
    if allowed { Ok(()) } else { Err(Error::NotPermitted) }
}

/// Which way `process_vm_readv` and its sibling copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the other process to the caller.
    Read,
    /// The other way round.
    Write,
}

/// `process_vm_readv` and `process_vm_writev`
pub async fn process_vm(caller: &Caller, direction: Direction, arguments: [usize; 6]) -> Result<usize> {
    let [id, local, local_count, remote, remote_count, flags] = arguments;
    if flags != 0 {
        return Err(Error::InvalidArgument);
    }
    let mut own = areas::Areas::vector(caller, local, local_count).await?;
    let mut others = areas::Areas::vector(caller, remote, remote_count).await?;
    let target = process::find(id as u32)
        .or_else(|| process::find_thread(id as u32).map(|thread| thread.process.clone()))
        .ok_or(Error::NoSuchProcess)?;
    let space = target.space().ok_or(Error::NoSuchProcess)?;
    check_may_look_into(caller, &target)?;
    let mut moved = 0;
    let mut buffer = Vec::new();
    while own.remaining() > 0 && others.remaining() > 0 {
        let (mine, theirs) = (own.current(), others.current());
        // Up to the end of a page of the other's memory: what lies before a hole is copied.
        let in_page = PAGE_SIZE - theirs.address % PAGE_SIZE;
        let count = mine.length.min(theirs.length).min(in_page);
        buffer.resize(count, 0);
        let [mine, theirs] = [mine.address, theirs.address].map(VirtualAddress::new);
        let outcome = match direction {
            Direction::Read => copy(&space, theirs, &caller.space, mine, &mut buffer).await,
            Direction::Write => copy(&caller.space, mine, &space, theirs, &mut buffer).await,
        };
        if let Err(error) = outcome {
            return if moved > 0 { Ok(moved) } else { Err(error) };
        }
        moved += count;
        own.advance(count);
        others.advance(count);
        if caller.thread.must_exit() {
            return Err(Error::Interrupted);
        }
        crate::executor::yield_if_due().await;
    }
    Ok(moved)
}

async fn copy(
    from: &AddressSpace,
    source: VirtualAddress,
    to: &AddressSpace,
    target: VirtualAddress,
    buffer: &mut [u8],
) -> Result<()> {
    from.read_bytes(source, buffer).await?;
    to.write_bytes(target, buffer).await
}

/// Tells a wait for a process by its descriptor whom it is about, and whether it may wait.
///
/// # Errors
/// `BadDescriptor`; `NoChild` when the process was waited for.
pub fn awaited(caller: &Caller, file: usize) -> Result<(u32, bool)> {
    if (file as u32 as i32) < 0 {
        return Err(Error::InvalidArgument);
    }
    match process_of(caller, file) {
        Ok((process, may_wait)) => Ok((process.id, may_wait)),
        Err(Error::NoSuchProcess) => Err(Error::NoChild),
        Err(error) => Err(error),
    }
}
