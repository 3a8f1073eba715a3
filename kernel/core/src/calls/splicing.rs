//! Calls that move pages through pipes: `splice`, `tee`, `vmsplice`.

use super::areas::{Areas, TRANSFER_MAX};
use super::copying::Offset;
use super::file::{Position, raise_broken_pipe, read_areas, wait_ready, write_areas};
use super::{descriptor, socket};
use crate::thread::Caller;
use alloc::sync::Arc;
use base::address::PAGE_SIZE;
use base::{Error, Result};
use vfs::pipe::{Detached, Detaching, Pipe, PipeEnd};
use vfs::{FileKind, OpenFile, OpenFlags, Readiness};

/// `SPLICE_F_NONBLOCK`
const NONBLOCK: u32 = 2;
/// `SPLICE_F_MOVE`, `SPLICE_F_NONBLOCK`, `SPLICE_F_MORE`, `SPLICE_F_GIFT`
const FLAGS: u32 = 15;

fn pipe_of(file: &OpenFile) -> Option<&Arc<Pipe>> {
    file.file().downcast_ref::<PipeEnd>().map(PipeEnd::pipe)
}

fn check_flags(flags: usize) -> Result<u32> {
    let flags = flags as u32;
    if flags & !FLAGS != 0 { Err(Error::InvalidArgument) } else { Ok(flags) }
}

/// Waits for a file, unless the call is not to.
async fn wait(caller: &Caller, file: &OpenFile, interest: Readiness, flags: u32) -> Result<()> {
    if flags & NONBLOCK != 0 { Err(Error::WouldBlock) } else { wait_ready(caller, file, interest).await }
}

/// `splice`
pub async fn splice(caller: &Caller, arguments: [usize; 6]) -> Result<usize> {
    let [source, source_offset, target, target_offset, count, flags] = arguments;
    if count == 0 {
        return Ok(0);
    }
    let flags = check_flags(flags)?;
    let source = caller.files.get(descriptor(source))?;
    let target = caller.files.get(descriptor(target))?;
    let count = count.min(TRANSFER_MAX);
    let (from, to) = (pipe_of(&source), pipe_of(&target));
    if from.is_some() && source_offset != 0 || to.is_some() && target_offset != 0 {
        return Err(Error::IllegalSeek);
    }
    let mut offsets =
        [Offset::read(caller, source_offset).await?, Offset::read(caller, target_offset).await?];
    if !source.flags().reads() || !target.flags().writes() {
        return Err(Error::BadDescriptor);
    }
    let moved = match (from, to) {
        (Some(from), Some(to)) if Arc::ptr_eq(from, to) => return Err(Error::InvalidArgument),
        (Some(_), Some(_)) => between_pipes(caller, [&source, &target], count, flags, Detaching::Move).await,
        (Some(from), None) => {
            out_of_pipe(caller, from, [&source, &target], &mut offsets[1], count, flags).await
        }
        (None, Some(to)) => into_pipe(caller, to, [&source, &target], &mut offsets[0], count, flags).await,
        (None, None) => return Err(Error::InvalidArgument),
    };
    if let Err(error) = moved {
        raise_broken_pipe(caller, error);
    }
    for offset in offsets {
        Offset::write(offset, caller).await?;
    }
    moved
}

/// `tee`
pub async fn tee(caller: &Caller, source: usize, target: usize, count: usize, flags: usize) -> Result<usize> {
    let flags = check_flags(flags)?;
    if count == 0 {
        return Ok(0);
    }
    let source = caller.files.get(descriptor(source))?;
    let target = caller.files.get(descriptor(target))?;
    if !source.flags().reads() || !target.flags().writes() {
        return Err(Error::BadDescriptor);
    }
    let (Some(from), Some(to)) = (pipe_of(&source), pipe_of(&target)) else {
        return Err(Error::InvalidArgument);
    };
    if Arc::ptr_eq(from, to) {
        return Err(Error::InvalidArgument);
    }
    let count = count.min(TRANSFER_MAX);
    let shared = between_pipes(caller, [&source, &target], count, flags, Detaching::Share).await;
    if let Err(error) = shared {
        raise_broken_pipe(caller, error);
    }
    shared
}

async fn between_pipes(
    caller: &Caller,
    [source, target]: [&OpenFile; 2],
    count: usize,
    flags: u32,
    detaching: Detaching,
) -> Result<usize> {
    let (Some(from), Some(to)) = (pipe_of(source), pipe_of(target)) else {
        return Err(Error::InvalidArgument);
    };
    // Either side's wish not to wait counts for both.
    let either = (source.flags() | target.flags()).contains(OpenFlags::NONBLOCK);
    let flags = if either { flags | NONBLOCK } else { flags };
    loop {
        let pages = match to.room_in_pages() {
            Err(Error::WouldBlock) => {
                wait(caller, target, Readiness::WRITABLE, flags).await?;
                continue;
            }
            pages => pages?,
        };
        let mut detached = match from.detach(count.min(pages * PAGE_SIZE), detaching) {
            Err(Error::WouldBlock) => {
                wait(caller, source, Readiness::READABLE, flags).await?;
                continue;
            }
            detached => detached?,
        };
        let outcome = to.attach(&mut detached);
        if detaching == Detaching::Move {
            from.put_back(detached);
        }
        match outcome {
            // Somebody else took the room.
            Err(Error::WouldBlock) => {}
            outcome => return outcome,
        }
    }
}

async fn out_of_pipe(
    caller: &Caller,
    from: &Pipe,
    [source, target]: [&OpenFile; 2],
    offset: &mut Option<Offset>,
    count: usize,
    flags: u32,
) -> Result<usize> {
    if target.flags().contains(OpenFlags::APPEND) || offset.is_some() && !target.is_seekable() {
        return Err(Error::InvalidArgument);
    }
    let mut detached = loop {
        match from.detach(count, Detaching::Move) {
            Err(Error::WouldBlock) => wait(caller, source, Readiness::READABLE, flags).await?,
            detached => break detached?,
        }
    };
    let mut total = 0;
    let outcome = write_all(caller, target, offset, &mut detached, &mut total).await;
    from.put_back(detached);
    if total > 0 { Ok(total) } else { outcome.map(|()| 0) }
}

/// Writes every page, and counts the bytes that are written.
async fn write_all(
    caller: &Caller,
    target: &OpenFile,
    offset: &mut Option<Offset>,
    detached: &mut Detached,
    total: &mut usize,
) -> Result<()> {
    loop {
        let written = match offset {
            Some(offset) => {
                let value = offset.value;
                detached.write_first(async |source| target.write_at(source, value).await).await
            }
            None => {
                let sender = socket::of(target);
                let write = async |bytes: &mut base::bytes::Source<'_>| match sender {
                    Some(socket) => socket.send_now(bytes, socket::credentials(caller)),
                    None => target.write(bytes).await,
                };
                detached.write_first(write).await
            }
        };
        match written {
            None => return Ok(()),
            Some(Ok(count)) => {
                *total += count;
                if let Some(offset) = offset {
                    offset.value += count as u64;
                }
            }
            Some(Err(Error::WouldBlock)) if *total > 0 => return Ok(()),
            Some(Err(Error::WouldBlock)) => wait_ready(caller, target, Readiness::WRITABLE).await?,
            Some(Err(error)) => return Err(error),
        }
    }
}

async fn into_pipe(
    caller: &Caller,
    to: &Pipe,
    [source, target]: [&OpenFile; 2],
    offset: &mut Option<Offset>,
    count: usize,
    flags: u32,
) -> Result<usize> {
    if offset.is_some() && !source.is_seekable() || source.location().kind() == FileKind::Directory {
        return Err(Error::InvalidArgument);
    }
    let either = target.flags().contains(OpenFlags::NONBLOCK);
    let flags = if either { flags | NONBLOCK } else { flags };
    let pages = loop {
        match to.room_in_pages() {
            Err(Error::WouldBlock) => wait(caller, target, Readiness::WRITABLE, flags).await?,
            pages => break pages?,
        }
    };
    let mut detached = Detached::default();
    let mut left = count.min(pages * PAGE_SIZE);
    let mut outcome = Ok(());
    while left > 0 {
        let read = match offset {
            Some(offset) => {
                let value = offset.value;
                detached.fill(left, async |sink| source.read_at(sink, value).await).await
            }
            None => detached.fill(left, async |sink| source.read(sink).await).await,
        };
        match read {
            Ok(0) => break,
            Ok(count) => {
                left -= count;
                if let Some(offset) = offset {
                    offset.value += count as u64;
                }
                // A stream gives what it has; more may be long in coming.
                if !source.is_seekable() && count < PAGE_SIZE {
                    break;
                }
            }
            Err(Error::WouldBlock) if detached.is_empty() => {
                wait(caller, source, Readiness::READABLE, flags).await?;
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if detached.is_empty() {
        return outcome.map(|()| 0);
    }
    attach_all(caller, to, target, detached).await
}

/// Puts into a pipe what was read for it and cannot be given back; waits should somebody else have taken the room.
async fn attach_all(caller: &Caller, to: &Pipe, target: &OpenFile, mut detached: Detached) -> Result<usize> {
    let mut total = 0;
    while !detached.is_empty() {
        match to.attach(&mut detached) {
            Ok(count) => total += count,
            Err(Error::WouldBlock) => {
                if let Err(error) = wait_ready(caller, target, Readiness::WRITABLE).await {
                    return if total > 0 { Ok(total) } else { Err(error) };
                }
            }
            Err(error) => return if total > 0 { Ok(total) } else { Err(error) },
        }
    }
    Ok(total)
}

/// `vmsplice`: memory is copied, so that it may be changed as soon as the call returns.
pub async fn vmsplice(
    caller: &Caller,
    file: usize,
    vector: usize,
    count: usize,
    flags: usize,
) -> Result<usize> {
    let flags = check_flags(flags)?;
    let file = caller.files.get(descriptor(file))?;
    if !file.flags().reads() && !file.flags().writes() {
        return Err(Error::BadDescriptor);
    }
    let Some(pipe) = pipe_of(&file) else { return Err(Error::BadDescriptor) };
    let mut areas = Areas::vector(caller, vector, count).await?;
    if areas.remaining() == 0 {
        return Ok(0);
    }
    if file.flags().writes() {
        if flags & NONBLOCK != 0 {
            match pipe.room_in_pages() {
                Ok(pages) => areas.limit(pages * PAGE_SIZE),
                // The writing itself finds that out, and raises the signal.
                Err(Error::BrokenPipe) => {}
                Err(error) => return Err(error),
            }
        }
        return write_areas(caller, &file, areas, Position::Shared).await;
    }
    if flags & NONBLOCK != 0 && !file.readiness().intersects(Readiness::READABLE | Readiness::ALWAYS) {
        return Err(Error::WouldBlock);
    }
    read_areas(caller, &file, areas, Position::Shared).await
}
