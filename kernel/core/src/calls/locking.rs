//! Calls about advisory locks: the part of `fcntl` that locks ranges, and `flock`.

use super::descriptor;
use crate::thread::Caller;
use abi::file::FileLock;
use abi::linux::general as linux;
use alloc::sync::Arc;
use base::address::VirtualAddress;
use base::{Error, Result};
use vfs::locks::{self, LockKind, Owner, RangeLock};
use vfs::open_file::OFFSET_MAX;
use vfs::{OpenFile, OpenFlags};

/// `fcntl`'s commands about locks: what is asked for, and whether the lock belongs to the open description.
const fn is_description_s(command: u32) -> bool {
    matches!(command, linux::F_OFD_GETLK | linux::F_OFD_SETLK | linux::F_OFD_SETLKW)
}

/// `fcntl` with a `struct flock` at `address`.
pub async fn range(
    caller: &Caller,
    number: u32,
    file: &Arc<OpenFile>,
    command: u32,
    address: usize,
) -> Result<usize> {
    let address = VirtualAddress::new(address);
    let request: FileLock = caller.space.read_object(address).await?;
    let of_description = is_description_s(command);
    if of_description && request.process != 0 {
        return Err(Error::InvalidArgument);
    }
    let (start, last) = bounds(file, &request).await?;
    let owner = if of_description {
        Owner::Description(file.identity())
    } else {
        Owner::Table(caller.files.identity())
    };
    let kind = match request.kind as u32 {
        linux::F_RDLCK => Some(LockKind::Shared),
        linux::F_WRLCK => Some(LockKind::Exclusive),
        linux::F_UNLCK => None,
        _ => return Err(Error::InvalidArgument),
    };
    let lock = kind.map(|kind| RangeLock { owner, kind, start, last, process: caller.process().id });
    if matches!(command, linux::F_GETLK | linux::F_OFD_GETLK) {
        let lock = lock.ok_or(Error::InvalidArgument)?;
        let answer = describe(locks::conflicting(file.location().inode(), &lock), request);
        caller.space.write_object(address, &answer).await?;
        return Ok(0);
    }
    let Some(lock) = lock else {
        locks::unlock_range(file.location().inode(), owner, start, last);
        return Ok(0);
    };
    let allowed = match lock.kind {
        LockKind::Shared => file.flags().reads(),
        LockKind::Exclusive => file.flags().writes(),
    };
    if !allowed {
        return Err(Error::BadDescriptor);
    }
    if matches!(command, linux::F_SETLKW | linux::F_OFD_SETLKW) {
        caller.interruptible(locks::lock_range(file, lock)).await??;
    } else {
        locks::try_lock_range(file, lock)?;
    }
    // Somebody may have closed the descriptor meanwhile, and found no lock to release.
    let still_open = caller.files.get(number).is_ok_and(|now| Arc::ptr_eq(&now, file));
    if !still_open && !of_description {
        locks::unlock_range(file.location().inode(), owner, 0, u64::MAX);
        return Err(Error::BadDescriptor);
    }
    Ok(0)
}

/// The first and the last byte that a request is about.
async fn bounds(file: &OpenFile, request: &FileLock) -> Result<(u64, u64)> {
    let origin = match request.whence as u32 {
        linux::SEEK_SET => 0,
        linux::SEEK_CUR if file.is_seekable() => file.offset().await as i64,
        linux::SEEK_CUR => 0,
        linux::SEEK_END => file.location().inode().metadata().await?.size as i64,
        _ => return Err(Error::InvalidArgument),
    };
    let start = origin.checked_add(request.start).ok_or(Error::Overflow)?;
    let (start, last) = match request.length {
        0 => (start, OFFSET_MAX as i64),
        length if length > 0 => (start, start.checked_add(length - 1).ok_or(Error::Overflow)?),
        length => (start.checked_add(length).ok_or(Error::InvalidArgument)?, start - 1),
    };
    if start < 0 || last < 0 {
        return Err(Error::InvalidArgument);
    }
    Ok((start as u64, last as u64))
}

/// What `F_GETLK` answers: the lock that is in the way, or the request as it was, with the kind that means "none".
fn describe(held: Option<RangeLock>, request: FileLock) -> FileLock {
    let Some(held) = held else { return FileLock { kind: linux::F_UNLCK as i16, ..request } };
    let kind = match held.kind {
        LockKind::Shared => linux::F_RDLCK,
        LockKind::Exclusive => linux::F_WRLCK,
    };
    FileLock {
        kind: kind as i16,
        whence: linux::SEEK_SET as i16,
        start: held.start as i64,
        length: if held.last == OFFSET_MAX { 0 } else { (held.last - held.start + 1) as i64 },
        process: if matches!(held.owner, Owner::Table(_)) { held.process as i32 } else { -1 },
        ..FileLock::default()
    }
}

/// `flock`
pub async fn flock(caller: &Caller, file: usize, operation: usize) -> Result<usize> {
    let operation = operation as u32;
    let kind = match operation & !linux::LOCK_NB {
        linux::LOCK_SH => Some(LockKind::Shared),
        linux::LOCK_EX => Some(LockKind::Exclusive),
        linux::LOCK_UN => None,
        _ => return Err(Error::InvalidArgument),
    };
    let file = caller.files.get(descriptor(file))?;
    if file.flags().contains(OpenFlags::PATH) {
        return Err(Error::BadDescriptor);
    }
    match kind {
        None => locks::unlock_whole(&file),
        Some(kind) if operation & linux::LOCK_NB != 0 => locks::try_lock_whole(&file, kind)?,
        Some(kind) => caller.interruptible(locks::lock_whole(&file, kind)).await??,
    }
    Ok(0)
}
