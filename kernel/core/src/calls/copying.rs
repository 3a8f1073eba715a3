//! Calls that move bytes from file to file: `sendfile`, `copy_file_range`.

use super::areas::TRANSFER_MAX;
use super::descriptor;
use super::file::{raise_broken_pipe, wait_ready};
use crate::terminal_device;
use crate::thread::Caller;
use alloc::sync::Arc;
use base::address::VirtualAddress;
use base::{Error, Result};
use vfs::{FileKind, OpenFile, OpenFlags, Readiness};

/// An offset in the caller's memory, which the call moves; without one the shared offset counts.
pub struct Offset {
    address: usize,
    /// Where it stands, in bytes.
    pub value: u64,
}

impl Offset {
    /// The one at `address`, if that is not null.
    ///
    /// # Errors
    /// `BadAddress`, `InvalidArgument` when it is negative.
    pub async fn read(caller: &Caller, address: usize) -> Result<Option<Self>> {
        if address == 0 {
            return Ok(None);
        }
        let value = caller.space.read_object::<i64>(VirtualAddress::new(address)).await?;
        let value = u64::try_from(value).map_err(|_| Error::InvalidArgument)?;
        Ok(Some(Self { address, value }))
    }

    /// Writes it back.
    ///
    /// # Errors
    /// `BadAddress`
    pub async fn write(offset: Option<Self>, caller: &Caller) -> Result<()> {
        match offset {
            Some(offset) => {
                caller.space.write_object(VirtualAddress::new(offset.address), &offset.value).await
            }
            None => Ok(()),
        }
    }
}

fn open_for(caller: &Caller, register: usize, allowed: impl Fn(OpenFlags) -> bool) -> Result<Arc<OpenFile>> {
    let file = caller.files.get(descriptor(register))?;
    if allowed(file.flags()) { Ok(file) } else { Err(Error::BadDescriptor) }
}

/// `sendfile`
pub async fn sendfile(
    caller: &Caller,
    target: usize,
    source: usize,
    offset: usize,
    count: usize,
) -> Result<usize> {
    let mut offset = Offset::read(caller, offset).await?;
    let source = open_for(caller, source, OpenFlags::reads)?;
    if offset.is_some() && !source.is_seekable() {
        return Err(Error::IllegalSeek);
    }
    let target = open_for(caller, target, OpenFlags::writes)?;
    let has_bytes = source.is_seekable() && source.location().kind() != FileKind::Directory;
    if count > isize::MAX as usize || target.flags().contains(OpenFlags::APPEND) || !has_bytes {
        return Err(Error::InvalidArgument);
    }
    let moved =
        transfer(caller, [&source, &target], [offset.as_mut(), None], count.min(TRANSFER_MAX)).await?;
    Offset::write(offset, caller).await?;
    Ok(moved)
}

/// `copy_file_range`
pub async fn copy_file_range(caller: &Caller, arguments: [usize; 6]) -> Result<usize> {
    let [source, source_offset, target, target_offset, count, flags] = arguments;
    let source = caller.files.get(descriptor(source))?;
    let target = caller.files.get(descriptor(target))?;
    let mut from = Offset::read(caller, source_offset).await?;
    let mut to = Offset::read(caller, target_offset).await?;
    if flags != 0 {
        return Err(Error::InvalidArgument);
    }
    let kinds = [source.location().kind(), target.location().kind()];
    if kinds.contains(&FileKind::Directory) {
        return Err(Error::IsDirectory);
    }
    if kinds != [FileKind::Regular; 2] {
        return Err(Error::InvalidArgument);
    }
    let may =
        source.flags().reads() && target.flags().writes() && !target.flags().contains(OpenFlags::APPEND);
    if !may {
        return Err(Error::BadDescriptor);
    }
    let mut count = count.min(TRANSFER_MAX);
    if Arc::ptr_eq(source.location().inode(), target.location().inode()) {
        let first = from.as_ref().map_or(source.offset().await, |offset| offset.value);
        let second = to.as_ref().map_or(target.offset().await, |offset| offset.value);
        let left = source.location().inode().metadata().await?.size.saturating_sub(first);
        count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        if count > 0 && first.abs_diff(second) < count as u64 {
            return Err(Error::InvalidArgument);
        }
    }
    let moved = transfer(caller, [&source, &target], [from.as_mut(), to.as_mut()], count).await?;
    Offset::write(from, caller).await?;
    Offset::write(to, caller).await?;
    Ok(moved)
}

/// Moves up to `count` bytes; waits for room in the target if it may.
async fn transfer(
    caller: &Caller,
    [source, target]: [&OpenFile; 2],
    [mut from, mut to]: [Option<&mut Offset>; 2],
    count: usize,
) -> Result<usize> {
    let terminal = terminal_device::of(target);
    let mut moved = 0;
    while moved < count {
        if let Some(terminal) = terminal {
            terminal_device::before_write(caller, terminal)?;
        }
        let offsets = [&mut from, &mut to].map(|offset| offset.as_mut().map(|offset| &mut offset.value));
        let [from, to] = offsets;
        let outcome = match source.copy_to(target, from, to, count - moved).await {
            Ok(0) => break,
            Ok(some) => {
                moved += some;
                continue;
            }
            Err(Error::WouldBlock) => wait_ready(caller, target, Readiness::WRITABLE).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            raise_broken_pipe(caller, error);
            return if moved > 0 { Ok(moved) } else { Err(error) };
        }
    }
    Ok(moved)
}
