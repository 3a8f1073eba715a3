//! Calls about descriptors: copies, flags, pipes, requests to devices.

use super::{descriptor, locking, ownership};
use crate::thread::Caller;
use crate::{file_systems, pseudo_terminal, terminal_device};
use ::process::limits::Resource;
use abi::linux::general as linux;
use abi::linux::ioctl as request;
use alloc::sync::Arc;
use base::address::VirtualAddress;
use base::operation::Operation;
use base::{Error, Result};
use memory::space::AddressSpace;
use vfs::file_table::OnExec;
use vfs::inode::CallerMemory;
use vfs::pipe::{MAXIMUM_CAPACITY, PipeEnd};
use vfs::tmpfs::TmpfsInode;
use vfs::tmpfs::seals::Seals;
use vfs::{Capabilities, FileKind, Inode, OpenFile, OpenFlags};

/// `close_range` in a table of one's own (`linux/close_range.h`).
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;
/// `close_range` at the next exec.
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

/// What can be set of a descriptor's flags.
pub fn on_exec(closes: bool) -> OnExec {
    if closes { OnExec::Close } else { OnExec::Keep }
}

/// `RLIMIT_NOFILE`: one more than the greatest descriptor.
pub fn limit(caller: &Caller) -> u32 {
    let limit = caller.process().limits.lock().soft(Resource::OpenFiles);
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// `close`
#[inline]
pub async fn close(caller: &Caller, file: usize) -> Result<usize> {
    caller.files.remove(descriptor(file))?;
    Ok(0)
}

/// `close_range`
pub async fn close_range(caller: &mut Caller, first: usize, last: usize, flags: usize) -> Result<usize> {
    let (first, last, flags) = (first as u32, last as u32, flags as u32);
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || last < first {
        return Err(Error::InvalidArgument);
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        unshare_files(caller);
    }
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        caller.files.close_range_on_exec(first..=last);
    } else {
        caller.files.remove_range(first..=last);
    }
    Ok(0)
}

/// Gives the caller a table of descriptors of its own, if it shares one.
fn unshare_files(caller: &mut Caller) {
    let own = Arc::new(caller.files.duplicate());
    let former = core::mem::replace(&mut caller.files, own.clone());
    let mut state = caller.thread.process.state.lock();
    // The process's is what its only thread has; further threads keep what they share.
    let replaced = if state.threads.len() == 1 { state.files.replace(own) } else { None };
    drop(state);
    drop((former, replaced));
}

/// `dup`
pub async fn dup(caller: &Caller, file: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    Ok(caller.files.insert(file, OnExec::Keep, limit(caller))? as usize)
}

/// `dup3`
pub async fn dup3(caller: &Caller, file: usize, target: usize, flags: usize) -> Result<usize> {
    let flags = super::names::check_flags(flags, linux::O_CLOEXEC)?;
    let (file, target) = (descriptor(file), descriptor(target));
    if file == target {
        return Err(Error::InvalidArgument);
    }
    let limit = limit(caller);
    if target >= limit {
        return Err(Error::BadDescriptor);
    }
    Ok(caller.files.duplicate_to(file, target, on_exec(flags != 0), limit)? as usize)
}

/// `fcntl`
pub async fn fcntl(caller: &mut Caller, file: usize, command: usize, argument: usize) -> Result<usize> {
    let (number, command) = (descriptor(file), command as u32);
    let file = caller.files.get(number)?;
    match command {
        linux::F_DUPFD | linux::F_DUPFD_CLOEXEC => {
            let on_exec = on_exec(command == linux::F_DUPFD_CLOEXEC);
            return Ok(caller.files.duplicate_from(number, argument as u32, on_exec, limit(caller))? as usize);
        }
        linux::F_GETFD => {
            let closes = caller.files.on_exec(number)? == OnExec::Close;
            return Ok(usize::from(closes));
        }
        linux::F_SETFD => {
            caller.files.set_on_exec(number, on_exec(argument as u32 & linux::FD_CLOEXEC != 0))?;
            return Ok(0);
        }
        linux::F_GETFL => return Ok(file.flags().bits() as usize),
        _ => {}
    }
    if file.flags().contains(OpenFlags::PATH) {
        return Err(Error::BadDescriptor);
    }
    match command {
        linux::F_SETFL => set_flags(&file, number, OpenFlags::from_bits_retain(argument as u32)),
        command if ownership::is_about_ownership(command) => {
            ownership::control(caller, &file, command, argument).await
        }
        linux::F_GETLK
        | linux::F_SETLK
        | linux::F_SETLKW
        | linux::F_OFD_GETLK
        | linux::F_OFD_SETLK
        | linux::F_OFD_SETLKW => locking::range(caller, number, &file, command, argument).await,
        linux::F_GET_SEALS => Ok(sealed(&file)?.sealing().get().bits() as usize),
        linux::F_ADD_SEALS => add_seals(&file, argument as u32),
        linux::F_GETPIPE_SZ => Ok(pipe_of(&file)?.pipe().capacity()),
        linux::F_SETPIPE_SZ => {
            let privileged = caller.process().identity().files.capable(Capabilities::SYS_RESOURCE);
            let maximum = if privileged { usize::MAX } else { MAXIMUM_CAPACITY };
            pipe_of(&file)?.pipe().set_capacity(argument as u32 as usize, maximum)
        }
        _ => Err(Error::InvalidArgument),
    }
}

/// A file of the kind that has seals.
fn sealed(file: &OpenFile) -> Result<&TmpfsInode> {
    let inode = file.file().downcast_ref::<TmpfsInode>();
    inode.filter(|_| file.location().kind() == FileKind::Regular).ok_or(Error::InvalidArgument)
}

/// `F_ADD_SEALS`
fn add_seals(file: &OpenFile, seals: u32) -> Result<usize> {
    /// The bits of execution for anybody.
    const EXECUTABLE: u16 = 0o111;
    let inode = sealed(file)?;
    if !file.flags().writes() {
        return Err(Error::NotPermitted);
    }
    let mut seals = Seals::from_bits(seals).ok_or(Error::InvalidArgument)?;
    // What may be executed for ever must stay what it is.
    if seals.contains(Seals::EXECUTE) && inode.ownership().permissions & EXECUTABLE != 0 {
        seals |= Seals::SHRINK | Seals::GROW | Seals::CONTENT;
    }
    inode.sealing().add(seals)?;
    Ok(0)
}

fn pipe_of(file: &OpenFile) -> Result<&PipeEnd> {
    file.file().downcast_ref::<PipeEnd>().ok_or(Error::BadDescriptor)
}

fn set_flags(file: &Arc<OpenFile>, number: u32, flags: OpenFlags) -> Result<usize> {
    if let Some(end) = file.file().downcast_ref::<PipeEnd>() {
        end.set_packets(flags.contains(OpenFlags::DIRECT));
    }
    let flags = match (flags ^ file.flags()).contains(OpenFlags::ASYNC) {
        true => ownership::set_telling(file, number, flags)?,
        false => flags,
    };
    file.set_flags(flags);
    Ok(0)
}

/// `pipe2`
pub async fn pipe2(caller: &Caller, ends: usize, flags: usize) -> Result<usize> {
    let flags = super::names::check_flags(flags, linux::O_CLOEXEC | linux::O_NONBLOCK | linux::O_DIRECT)?;
    let flags = OpenFlags::from_bits_retain(flags);
    let identity = caller.process().identity();
    let owner = &identity.files;
    let pair = vfs::pipe::open_pair(file_systems::anonymous(), owner.uid, owner.gid, flags);
    let on_exec = on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC));
    let descriptors = caller.files.insert_pair(pair, on_exec, limit(caller))?;
    if let Err(error) = caller.space.write_object(VirtualAddress::new(ends), &descriptors).await {
        for descriptor in descriptors {
            // Another thread may have closed it already.
            drop(caller.files.remove(descriptor));
        }
        return Err(error);
    }
    Ok(0)
}

/// A caller's memory, as devices use it for their requests.
pub struct UserMemory<'a>(pub &'a AddressSpace);

impl CallerMemory for UserMemory<'_> {
    fn read<'a>(&'a self, address: usize, bytes: &'a mut [u8]) -> Operation<'a, Result<()>> {
        let address = VirtualAddress::new(address);
        if self.0.try_read_bytes(address, bytes) == bytes.len() {
            return Operation::Ready(Ok(()));
        }
        Operation::pending(self.0.read_bytes(address, bytes))
    }

    fn write<'a>(&'a self, address: usize, bytes: &'a [u8]) -> Operation<'a, Result<()>> {
        let address = VirtualAddress::new(address);
        if self.0.try_write_bytes(address, bytes) == bytes.len() {
            return Operation::Ready(Ok(()));
        }
        Operation::pending(self.0.write_bytes(address, bytes))
    }
}

/// `ioctl`: what every file knows is done here, the rest is the file's.
pub async fn ioctl(caller: &Caller, file: usize, command: usize, argument: usize) -> Result<usize> {
    let number = descriptor(file);
    let file = caller.files.get(number)?;
    if file.flags().contains(OpenFlags::PATH) {
        return Err(Error::BadDescriptor);
    }
    let memory = UserMemory(&caller.space);
    match command as u32 {
        request::FIOCLEX => caller.files.set_on_exec(number, OnExec::Close).map(|()| 0),
        request::FIONCLEX => caller.files.set_on_exec(number, OnExec::Keep).map(|()| 0),
        request::FIONBIO => {
            let on = caller.space.read_object::<i32>(VirtualAddress::new(argument)).await? != 0;
            let mut flags = file.flags();
            flags.set(OpenFlags::NONBLOCK, on);
            file.set_flags(flags);
            Ok(0)
        }
        request::FIOASYNC => {
            let on = caller.space.read_object::<i32>(VirtualAddress::new(argument)).await? != 0;
            let mut flags = file.flags();
            flags.set(OpenFlags::ASYNC, on);
            set_flags(&file, number, flags)
        }
        request::FIONREAD if file.location().kind() == FileKind::Regular => {
            let size = file.location().inode().metadata().await?.size;
            let left = (size as i64).wrapping_sub(file.offset().await as i64) as i32;
            caller.space.write_object(VirtualAddress::new(argument), &left).await?;
            Ok(0)
        }
        command => match terminal_device::of(&file) {
            Some(terminal) => terminal_device::control(caller, terminal, command, argument).await,
            None if pseudo_terminal::of(&file).is_some() => {
                let master = pseudo_terminal::of(&file).ok_or(Error::NotTerminal)?;
                pseudo_terminal::control(caller, master, command, argument).await
            }
            None => caller.interruptible(file.file().ioctl(command, argument, &memory)).await?,
        },
    }
}
