//! Calls that move bytes: the families of `read` and `write`.
//!
//! User memory is pinned and handed to the file piece by piece, so that nothing is copied twice. A wait never holds pins:
//! memory is pinned again when the file is ready.

use super::areas::{Areas, PinnedAreas, TRANSFER_MAX};
use super::{Attempt, descriptor, messages, socket};
use crate::thread::Caller;
use crate::{signals, terminal_device};
use ::process::limits::{INFINITY, Resource};
use ::process::signal::{SigInfo, Signal};
use abi::linux::general as linux;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch_riscv64::trap::register;
use base::address::VirtualAddress;
use base::bytes::{Sink, Source};
use base::hal::now_ns;
use base::operation::Operation;
use base::{Error, Result};
use memory::space::{Access, Pinned, PinnedPage};
use vfs::open_file::SeekFrom;
use vfs::{FileKind, OpenFile, OpenFlags, Readiness};

/// From where a call reads or to where it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The offset that the descriptors share.
    Shared,
    /// This one.
    At(u64),
}

impl Position {
    /// The position of `pread` and its kind.
    ///
    /// # Errors
    /// `InvalidArgument` when it is negative.
    fn at(register: usize) -> Result<Self> {
        if register > isize::MAX as usize {
            Err(Error::InvalidArgument)
        } else {
            Ok(Self::At(register as u64))
        }
    }

    /// The offset; none when it is the shared one.
    #[inline]
    fn offset(self) -> Option<u64> {
        match self {
            Self::Shared => None,
            Self::At(offset) => Some(offset),
        }
    }

    fn advance(&mut self, count: usize) {
        if let Self::At(offset) = self {
            *offset += count as u64;
        }
    }
}

/// Waits until the file may be ready for `interest`, unless a signal comes first.
///
/// # Errors
/// `Interrupted`; `WouldBlock` when the file is not to be waited for.
pub async fn wait_ready(caller: &Caller, file: &OpenFile, interest: Readiness) -> Result<()> {
    if !file.may_wait() {
        return Err(Error::WouldBlock);
    }
    let wanted = interest | Readiness::ALWAYS;
    let queues = file.wait_queues(interest);
    let Some(queue) = queues.first else { return Err(Error::WouldBlock) };
    let ready = queue.wait_until(|| file.readiness().intersects(wanted).then_some(()));
    let limit_ns = file.file().waiting_limit_ns(interest);
    match caller.interruptible_until(ready, limit_ns.map(|limit_ns| now_ns().saturating_add(limit_ns))).await
    {
        Err(Error::TimedOut) => Err(Error::WouldBlock),
        outcome => outcome,
    }
}

fn readable(caller: &Caller, register: usize) -> Result<Arc<OpenFile>> {
    let file = caller.files.get(descriptor(register))?;
    if file.flags().reads() { Ok(file) } else { Err(Error::BadDescriptor) }
}

fn writable(caller: &Caller, register: usize) -> Result<Arc<OpenFile>> {
    let file = caller.files.get(descriptor(register))?;
    if file.flags().writes() { Ok(file) } else { Err(Error::BadDescriptor) }
}

/// A file for `pread` and `pwrite`: one that has offsets.
fn with_offsets(caller: &Caller, register: usize) -> Result<()> {
    let file = caller.files.get(descriptor(register))?;
    if !file.is_seekable() && !file.flags().contains(OpenFlags::PATH) {
        Err(Error::IllegalSeek)
    } else {
        Ok(())
    }
}

/// Most bytes of a `write` that is made at once: so much a stream takes whole or not at all.
const WHOLE_WRITE_MAX: usize = vfs::pipe::ATOMIC_WRITE;

/// User memory that a call reads or writes and that is there.
pub enum Present {
    /// On one page.
    Page(PinnedPage),
    /// On several, perhaps.
    Pages(Pinned),
}

impl Present {
    /// Pins all of it, if all of it is there.
    #[inline]
    pub fn pin(caller: &Caller, address: usize, count: usize, access: Access) -> Option<Self> {
        let address = VirtualAddress::new(address);
        match caller.space.try_pin_page(address, count, access) {
            Some(page) => Some(Self::Page(page)),
            None => Self::pin_pages(caller, address, count, access),
        }
    }

    #[inline(never)]
    fn pin_pages(caller: &Caller, address: VirtualAddress, count: usize, access: Access) -> Option<Self> {
        let pinned = caller.space.try_pin(address, count, access)?;
        (pinned.len() == count).then_some(Self::Pages(pinned))
    }

    /// It, to be written.
    #[inline]
    pub fn sink(&self) -> Sink<'_> {
        match self {
            Self::Page(page) => Sink::shared(page.bytes()),
            Self::Pages(pinned) => Sink::scattered(pinned.pieces()),
        }
    }

    /// It, to be read.
    #[inline]
    pub fn source(&self) -> Source<'_> {
        match self {
            Self::Page(page) => Source::shared(page.bytes()),
            Self::Pages(pinned) => Source::gathered(pinned.pieces()),
        }
    }
}

/// What `read` makes of memory to be filled, if all of it is there. (A page is not put into a [`Present`] first: moving that
/// about would be a tenth of a short call.)
#[inline]
fn into_memory<R>(
    caller: &Caller,
    (address, count): (usize, usize),
    read: impl Fn(&mut Sink<'_>) -> Option<R>,
) -> Option<R> {
    match caller.space.try_pin_page(VirtualAddress::new(address), count, Access::Write) {
        Some(page) => read(&mut Sink::shared(page.bytes())),
        None => read(&mut Present::pin(caller, address, count, Access::Write)?.sink()),
    }
}

/// What `write` makes of memory to be taken from, as [`into_memory`].
#[inline]
fn from_memory<R>(
    caller: &Caller,
    (address, count): (usize, usize),
    write: impl Fn(&mut Source<'_>) -> Option<R>,
) -> Option<R> {
    match caller.space.try_pin_page(VirtualAddress::new(address), count, Access::Read) {
        Some(page) => write(&mut Source::shared(page.bytes())),
        None => write(&mut Present::pin(caller, address, count, Access::Read)?.source()),
    }
}

/// The arguments of a `read` or `write`: the file, if the descriptor is one and its rules concern no caller, and the
/// memory, if there is not too much of it.
#[inline]
fn plain_transfer(caller: &Caller, most: usize) -> Option<(Arc<OpenFile>, usize, usize)> {
    let [file, address, count] = core::array::from_fn(|index| caller.context.registers[register::A0 + index]);
    if count > most || address > isize::MAX as usize {
        return None;
    }
    let file = caller.files.get(descriptor(file)).ok()?;
    (!file.concerns_caller()).then_some((file, address, count))
}

/// To be tried again when the file is ready, unless it is waited for only so long, which is the full call's affair.
pub fn wait_or_full(file: Arc<OpenFile>, interest: Readiness) -> Attempt {
    match file.file().waiting_limit_ns(interest) {
        None => Attempt::WaitFor(file, interest),
        Some(_) => Attempt::InFull,
    }
}

/// `read`, as far as it needs no waiting but for the file: what is wrong, or takes more, the full call finds out.
#[inline]
pub fn attempt_read(caller: &Caller) -> Attempt {
    let Some((file, address, count)) = plain_transfer(caller, TRANSFER_MAX) else { return Attempt::InFull };
    // Before memory is pinned in vain.
    if file.is_exhausted(count) && file.may_wait() {
        return Attempt::WaitFor(file, Readiness::READABLE);
    }
    match into_memory(caller, (address, count), |sink| file.read_now(sink, None)) {
        Some(Err(Error::WouldBlock)) if file.may_wait() => wait_or_full(file, Readiness::READABLE),
        Some(outcome) => Attempt::Done(outcome),
        None => Attempt::InFull,
    }
}

/// `pread64`, as [`attempt_read`].
#[inline]
pub fn attempt_pread64(caller: &Caller) -> Attempt {
    let Some((file, address, count)) = plain_transfer(caller, TRANSFER_MAX) else { return Attempt::InFull };
    let offset = caller.context.registers[register::A0 + 3];
    if !file.is_seekable() || offset > isize::MAX as usize {
        return Attempt::InFull;
    }
    let read = |sink: &mut Sink<'_>| file.read_now(sink, Some(offset as u64));
    into_memory(caller, (address, count), read).map_or(Attempt::InFull, Attempt::Done)
}

/// `write`, as [`attempt_read`].
#[inline]
pub fn attempt_write(caller: &Caller) -> Attempt {
    let Some((file, address, count)) = plain_transfer(caller, WHOLE_WRITE_MAX) else {
        return Attempt::InFull;
    };
    let limited = || size_limit(caller, &file) != INFINITY || file.flags().contains(OpenFlags::DATA_SYNC);
    if file.is_seekable() && limited() {
        return Attempt::InFull;
    }
    let written = from_memory(caller, (address, count), |source| match socket::of(&file) {
        Some(socket) => Some(socket.send_now(source, socket::credentials(caller))),
        None => file.write_now(source, None),
    });
    match written {
        Some(Err(Error::WouldBlock)) if file.may_wait() => wait_or_full(file, Readiness::WRITABLE),
        Some(Err(Error::BrokenPipe)) | None => Attempt::InFull,
        Some(outcome) => Attempt::Done(outcome),
    }
}

/// Waits until the file may be ready for `interest`, which it was not a moment ago, unless a signal comes first.
///
/// # Errors
/// `Interrupted`; `WouldBlock` when the file is not to be waited for.
#[inline]
pub async fn wait_for(caller: &Caller, file: &OpenFile, interest: Readiness) -> Result<()> {
    let queues = file.wait_queues(interest);
    let Some(queue) = queues.first else { return Err(Error::WouldBlock) };
    let ready = || file.readiness().intersects(interest | Readiness::ALWAYS);
    caller.interruptible(queue.wait_unless(ready)).await
}

/// `read`
pub async fn read(caller: &Caller, file: usize, address: usize, count: usize) -> Result<usize> {
    let file = readable(caller, file)?;
    read_areas(caller, &file, Areas::one(address, count)?, Position::Shared).await
}

/// `write`
pub async fn write(caller: &Caller, file: usize, address: usize, count: usize) -> Result<usize> {
    let file = writable(caller, file)?;
    write_areas(caller, &file, Areas::one(address, count)?, Position::Shared).await
}

/// `readv`
pub async fn readv(caller: &Caller, file: usize, vector: usize, count: usize) -> Result<usize> {
    let file = readable(caller, file)?;
    let areas = Areas::vector(caller, vector, count).await?;
    read_areas(caller, &file, areas, Position::Shared).await
}

/// `pread64`
pub async fn pread64(
    caller: &Caller,
    file: usize,
    address: usize,
    count: usize,
    offset: usize,
) -> Result<usize> {
    let position = Position::at(offset)?;
    with_offsets(caller, file)?;
    let file = readable(caller, file)?;
    read_areas(caller, &file, Areas::one(address, count)?, position).await
}

/// `preadv`
pub async fn preadv(
    caller: &Caller,
    file: usize,
    vector: usize,
    count: usize,
    offset: usize,
) -> Result<usize> {
    let position = Position::at(offset)?;
    with_offsets(caller, file)?;
    let file = readable(caller, file)?;
    let areas = Areas::vector(caller, vector, count).await?;
    read_areas(caller, &file, areas, position).await
}

/// `preadv2`: of the flags, those that ask for stored data and for polling ask for nothing here.
pub async fn preadv2(caller: &Caller, arguments: [usize; 6]) -> Result<usize> {
    let [file, vector, count, offset, _, flags] = arguments;
    check_transfer_flags(flags)?;
    if offset as isize == -1 {
        return readv(caller, file, vector, count).await;
    }
    preadv(caller, file, vector, count, offset).await
}

/// `writev`
pub async fn writev(caller: &mut Caller, file: usize, vector: usize, count: usize) -> Result<usize> {
    let file = writable(caller, file)?;
    let areas = Areas::vector(caller, vector, count).await?;
    // A message is whole, in however many areas it lies.
    if socket::of(&file).is_some() {
        return Box::pin(messages::write(caller, file, areas)).await;
    }
    write_areas(caller, &file, areas, Position::Shared).await
}

/// `pwrite64`
pub async fn pwrite64(
    caller: &Caller,
    file: usize,
    address: usize,
    count: usize,
    offset: usize,
) -> Result<usize> {
    let position = Position::at(offset)?;
    with_offsets(caller, file)?;
    let file = writable(caller, file)?;
    write_areas(caller, &file, Areas::one(address, count)?, position).await
}

/// `pwritev`
pub async fn pwritev(
    caller: &Caller,
    file: usize,
    vector: usize,
    count: usize,
    offset: usize,
) -> Result<usize> {
    let position = Position::at(offset)?;
    with_offsets(caller, file)?;
    let file = writable(caller, file)?;
    let areas = Areas::vector(caller, vector, count).await?;
    write_areas(caller, &file, areas, position).await
}

/// `pwritev2`
pub async fn pwritev2(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let [file, vector, count, offset, _, flags] = arguments;
    check_transfer_flags(flags)?;
    let written = if offset as isize == -1 {
        writev(caller, file, vector, count).await?
    } else {
        pwritev(caller, file, vector, count, offset).await?
    };
    if flags as u32 & (linux::RWF_DSYNC | linux::RWF_SYNC) != 0 {
        caller.files.get(descriptor(file))?.sync().await?;
    }
    Ok(written)
}

fn check_transfer_flags(flags: usize) -> Result<()> {
    let known = linux::RWF_HIPRI | linux::RWF_DSYNC | linux::RWF_SYNC;
    if flags as u32 & !known != 0 { Err(Error::NotSupported) } else { Ok(()) }
}

/// Reads from a file that is open for reading into user memory; waits for the first bytes if it may.
///
/// # Errors
/// Those of `read(2)`, when nothing was read.
#[inline]
pub async fn read_areas(
    caller: &Caller,
    file: &OpenFile,
    mut areas: Areas,
    mut position: Position,
) -> Result<usize> {
    if !file.is_seekable() && terminal_device::of(file).is_some() {
        let first = areas.current();
        return Box::pin(terminal_device::read(caller, file, first.address, first.length)).await;
    }
    if !file.is_seekable() && socket::has_messages(file) {
        // What a message does not find room for is lost: all of the memory must be there before.
        let first = areas.current();
        drop(
            Box::pin(caller.space.pin(VirtualAddress::new(first.address), first.length, Access::Write)).await,
        );
    }
    let mut done = 0;
    loop {
        let outcome = match areas.pin(&caller.space, Access::Write).await {
            Ok(pinned) => match read_now(file, &pinned, position) {
                Some(outcome) => outcome,
                None => Box::pin(read_pinned(file, pinned, position)).await,
            },
            Err(error) if done == 0 => return read_to_nowhere(caller, file, position, error).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok((count, filled)) => {
                done += count;
                areas.advance(count);
                if !filled || areas.remaining() == 0 {
                    return Ok(done);
                }
                position.advance(count);
            }
            Err(_) if done > 0 => return Ok(done),
            Err(Error::WouldBlock) => wait_ready(caller, file, Readiness::READABLE).await?,
            Err(error) => return Err(error),
        }
    }
}

/// How many bytes were read, and whether those are all that there was room for; `None` when that takes waiting.
#[inline]
fn read_now(file: &OpenFile, pinned: &PinnedAreas, position: Position) -> Option<Result<(usize, bool)>> {
    let mut storage = Vec::new();
    let mut sink = Sink::scattered(pinned.pieces(&mut storage));
    let outcome = file.read_now(&mut sink, position.offset())?;
    Some(outcome.map(|count| (count, sink.remaining() == 0)))
}

/// As [`read_now`], waiting for what the file waits for.
async fn read_pinned(file: &OpenFile, pinned: PinnedAreas, position: Position) -> Result<(usize, bool)> {
    let mut storage = Vec::new();
    let mut sink = Sink::scattered(pinned.pieces(&mut storage));
    let count = match position {
        Position::Shared => file.read(&mut sink).await?,
        Position::At(offset) => file.read_at(&mut sink, offset).await?,
    };
    Ok((count, sink.remaining() == 0))
}

/// A read into memory that cannot be written: an error only if there is something to read, as on Linux.
#[cold]
fn read_to_nowhere<'a>(
    caller: &'a Caller,
    file: &'a OpenFile,
    position: Position,
    error: Error,
) -> Operation<'a, Result<usize>> {
    Operation::pending(async move {
        if !file.is_seekable() {
            while !file.readiness().intersects(Readiness::READABLE | Readiness::ALWAYS) {
                wait_ready(caller, file, Readiness::READABLE).await?;
            }
            return if file.readiness().intersects(Readiness::READABLE) { Err(error) } else { Ok(0) };
        }
        let offset = match position {
            Position::Shared => file.offset().await,
            Position::At(offset) => offset,
        };
        let mut byte = [0];
        let available = file.read_at(&mut Sink::new(&mut byte), offset).await?;
        if available == 0 { Ok(0) } else { Err(error) }
    })
}

/// Writes from user memory to a file that is open for writing; waits until all of it is written if it may.
///
/// # Errors
/// Those of `write(2)`, when nothing was written. A pipe without readers raises `SIGPIPE`, too.
#[inline]
pub async fn write_areas(
    caller: &Caller,
    file: &OpenFile,
    mut areas: Areas,
    mut position: Position,
) -> Result<usize> {
    let limit = if file.is_seekable() { size_limit(caller, file) } else { INFINITY };
    let terminal = if file.is_seekable() { None } else { terminal_device::of(file) };
    let mut done = 0;
    loop {
        if let Some(terminal) = terminal
            && let Err(error) = terminal_device::before_write(caller, terminal)
        {
            return if done > 0 { Ok(done) } else { Err(error) };
        }
        let outcome = match areas.pin(&caller.space, Access::Read).await {
            Ok(pinned) if limit == INFINITY => match write_now(caller, file, &pinned, position) {
                Some(outcome) => outcome,
                None => Box::pin(write_pinned(file, pinned, position, usize::MAX)).await,
            },
            Ok(pinned) => write_within(file, pinned, position, limit).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok((count, used)) => {
                done += count;
                areas.advance(used);
                if areas.remaining() == 0 || used == 0 {
                    break;
                }
                position.advance(count);
            }
            Err(Error::WouldBlock) => {
                if let Err(error) = wait_ready(caller, file, Readiness::WRITABLE).await {
                    return if done > 0 { Ok(done) } else { Err(error) };
                }
            }
            Err(error) => {
                if socket::raises_broken_pipe(file) {
                    raise_broken_pipe(caller, error);
                }
                // A write that got as far as the limit has done what it could.
                if error == Error::FileTooLarge && limit != INFINITY && done == 0 {
                    raise(caller, Signal::XFSZ);
                }
                return if done > 0 { Ok(done) } else { Err(error) };
            }
        }
    }
    if file.flags().contains(OpenFlags::DATA_SYNC) && file.location().kind() == FileKind::Regular {
        file.sync().await?;
    }
    Ok(done)
}

/// How many bytes were written, and how many of the memory were used up, which differ only for files that take less
/// than they are given and want no more; `None` when that takes waiting.
#[inline]
fn write_now(
    caller: &Caller,
    file: &OpenFile,
    pinned: &PinnedAreas,
    position: Position,
) -> Option<Result<(usize, usize)>> {
    let mut storage = Vec::new();
    let mut source = Source::gathered(pinned.pieces(&mut storage));
    let before = source.remaining();
    let outcome = match socket::of(file) {
        Some(socket) => socket.send_now(&mut source, socket::credentials(caller)),
        None => file.write_now(&mut source, position.offset())?,
    };
    Some(outcome.map(|written| (written, before - source.remaining())))
}

/// As [`write_now`], at most `most` bytes, waiting for what the file waits for.
async fn write_pinned(
    file: &OpenFile,
    pinned: PinnedAreas,
    position: Position,
    most: usize,
) -> Result<(usize, usize)> {
    let mut storage = Vec::new();
    let mut source = Source::gathered(pinned.pieces(&mut storage));
    source.limit(most);
    let before = source.remaining();
    let written = match position {
        Position::Shared => file.write(&mut source).await?,
        Position::At(offset) => file.write_at(&mut source, offset).await?,
    };
    Ok((written, before - source.remaining()))
}

/// Raises `SIGPIPE` for a write that failed because nobody reads.
#[inline]
pub fn raise_broken_pipe(caller: &Caller, error: Error) {
    if error == Error::BrokenPipe {
        raise(caller, Signal::PIPE);
    }
}

#[cold]
fn raise(caller: &Caller, signal: Signal) {
    // As if the thread had sent it. A standard signal finds room, or is pending already.
    let information = SigInfo::kill(signal, caller.process().id, caller.process().user());
    let _ = signals::send_to_thread(&caller.thread, information);
}

/// `RLIMIT_FSIZE`, for the files that it is about.
#[inline]
fn size_limit(caller: &Caller, file: &OpenFile) -> u64 {
    if file.location().kind() != FileKind::Regular {
        return INFINITY;
    }
    caller.process().limits.lock().soft(Resource::FileSize)
}

/// Checks that a regular file may get as long as `size` (`RLIMIT_FSIZE`).
///
/// # Errors
/// `FileTooLarge`, and `SIGXFSZ` is raised.
pub fn check_size(caller: &Caller, size: u64) -> Result<()> {
    if size > caller.process().limits.lock().soft(Resource::FileSize) {
        raise(caller, Signal::XFSZ);
        return Err(Error::FileTooLarge);
    }
    Ok(())
}

/// As [`write_pinned`], but nothing beyond `limit`.
#[cold]
fn write_within<'a>(
    file: &'a OpenFile,
    pinned: PinnedAreas,
    position: Position,
    limit: u64,
) -> Operation<'a, Result<(usize, usize)>> {
    Operation::pending(async move {
        let start = match position {
            _ if file.flags().contains(OpenFlags::APPEND) => file.location().inode().metadata().await?.size,
            Position::Shared => file.offset().await,
            Position::At(offset) => offset,
        };
        if start >= limit && !pinned.is_empty() {
            return Err(Error::FileTooLarge);
        }
        let most = usize::try_from(limit.saturating_sub(start)).unwrap_or(usize::MAX);
        write_pinned(file, pinned, position, most).await
    })
}

/// `lseek`
pub async fn lseek(caller: &Caller, file: usize, offset: usize, whence: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    if !file.is_seekable() && file.location().kind() == FileKind::Untyped {
        // Counters, timers and their kind have no offset, but do not say so.
        return Ok(0);
    }
    let offset = offset as i64;
    let to = match whence as u32 {
        linux::SEEK_SET => SeekFrom::Start(offset),
        linux::SEEK_CUR => SeekFrom::Current(offset),
        linux::SEEK_END => SeekFrom::End(offset),
        linux::SEEK_DATA => SeekFrom::Extent(vfs::inode::Extent::Data, offset),
        linux::SEEK_HOLE => SeekFrom::Extent(vfs::inode::Extent::Hole, offset),
        _ => return Err(Error::InvalidArgument),
    };
    Ok(file.seek(to).await? as usize)
}
