//! Pipes: bytes that go from writers to readers, through pages.
//!
//! A pipe holds a number of pages at most; each takes what is written until it is full and goes when it is read
//! empty. All state is under one spin lock, held for at most a page of copying at a time, so that a write of up to
//! [`ATOMIC_WRITE`] bytes is whole. Nothing waits in here but the opening of a FIFO: who finds no data or no room is told
//! [`Error::WouldBlock`] and waits on the queue of his side.

use crate::anonymous::{AnonymousFiles, AnonymousNode};
use crate::flags::OpenFlags;
use crate::inode::{CallerMemory, File, Inode, Opened, Readiness, WaitQueues, WritePosition, Written};
use crate::metadata::{FileKind, Metadata, MetadataChange, Ownership};
use crate::open_file::OpenFile;
use crate::{Error, Result};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::{Arc, Weak};
use base::address::PAGE_SIZE;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::{SpinLock, WaitQueue};
use core::sync::atomic::{AtomicBool, Ordering};
use memory::Frame;

/// Writes of up to so many bytes are never mixed with others (`PIPE_BUF`).
pub const ATOMIC_WRITE: usize = 4096;
/// What a pipe holds unless told otherwise, in bytes.
pub const DEFAULT_CAPACITY: usize = 64 << 10;
/// What a pipe holds at most, in bytes, unless the superuser asks (`/proc/sys/fs/pipe-max-size`).
pub const MAXIMUM_CAPACITY: usize = 1 << 20;
/// What not even the superuser can exceed, in bytes.
const CAPACITY_BOUND: usize = 1 << 31;
/// `ioctl`: how many bytes there are to read.
const FIONREAD: u32 = 0x541b;

mod splice;

pub use splice::{Detached, Detaching};

/// A pipe, as all its ends share it.
pub struct Pipe {
    state: SpinLock<State>,
    /// Where those wait who want data.
    readers: WaitQueue,
    /// Where those wait who want room.
    writers: WaitQueue,
    /// Where the opening of a FIFO waits for the other side.
    opening: WaitQueue,
}

struct State {
    segments: VecDeque<Segment>,
    /// The page that was read empty last, so that a ping-pong of small messages allocates nothing.
    spare: Option<Frame>,
    /// At most so many segments.
    capacity: usize,
    /// Bytes in all segments.
    length: usize,
    readers: usize,
    writers: usize,
    /// How often it was opened for reading and for writing: who waits for the other side sees it come, even if it
    /// has gone again.
    reader_openings: u64,
    writer_openings: u64,
}

/// Bytes `start..end` of a page.
struct Segment {
    frame: Frame,
    start: u16,
    end: u16,
    kind: SegmentKind,
}

/// What may become of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SegmentKind {
    /// More bytes may be appended.
    Open,
    /// It is as it is: its page is shared with another pipe.
    Shared,
    /// It is a packet: read at once, and what does not fit is lost.
    Packet,
}

/// How bytes are put into a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    /// As a stream.
    Stream,
    /// As packets of at most a page (`O_DIRECT`).
    Packets,
}

impl State {
    /// Whether the other side of a one-way end is missing, and how often it was opened.
    fn other_side(&self, flags: OpenFlags) -> (bool, u64) {
        if flags.reads() {
            (self.writers == 0, self.writer_openings)
        } else {
            (self.readers == 0, self.reader_openings)
        }
    }

    fn has_room(&self) -> bool {
        self.segments.len() < self.capacity
    }

    /// How many more bytes fit.
    fn room(&self) -> usize {
        let last = match self.segments.back() {
            Some(last) if last.kind == SegmentKind::Open => PAGE_SIZE - usize::from(last.end),
            _ => 0,
        };
        last + (self.capacity - self.segments.len().min(self.capacity)) * PAGE_SIZE
    }

    /// Takes `count` bytes, for which there is room.
    fn append(&mut self, source: &mut Source<'_>, mut count: usize, packing: Packing) -> Result<()> {
        while count > 0 {
            let segment = match self.segments.back_mut() {
                Some(last) if last.kind == SegmentKind::Open && usize::from(last.end) < PAGE_SIZE => last,
                _ => {
                    let frame = self.spare.take().map_or_else(Frame::uninitialised, Ok)?;
                    let kind = match packing {
                        Packing::Stream => SegmentKind::Open,
                        Packing::Packets => SegmentKind::Packet,
                    };
                    self.segments.push_back(Segment { frame, start: 0, end: 0, kind });
                    self.segments.back_mut().expect("it was just pushed")
                }
            };
            let end = usize::from(segment.end);
            let taken = source.copy_to_shared(segment.frame.bytes().slice(end, count.min(PAGE_SIZE - end)));
            segment.end = (end + taken) as u16;
            self.length += taken;
            count -= taken;
        }
        Ok(())
    }

    /// Gives bytes of the first segment, of which there is one. Told besides: whether it was a packet.
    fn take(&mut self, sink: &mut Sink<'_>) -> (usize, Option<Frame>, bool) {
        let Some(segment) = self.segments.front_mut() else {
            return (0, None, false);
        };
        let (start, end) = (usize::from(segment.start), usize::from(segment.end));
        let count = sink.copy_from_shared(segment.frame.bytes().slice(start, end - start));
        let is_packet = segment.kind == SegmentKind::Packet;
        let gone = if is_packet { end - start } else { count };
        segment.start += gone as u16;
        self.length -= gone;
        if segment.start < segment.end {
            return (count, None, is_packet);
        }
        let Some(Segment { frame, .. }) = self.segments.pop_front() else { return (count, None, is_packet) };
        // Freed by the caller, behind the lock, when there is a spare one already or others have it too.
        let freed = if frame.reference_count() > 1 { Some(frame) } else { self.spare.replace(frame) };
        (count, freed, is_packet)
    }
}

impl Pipe {
    fn new() -> Arc<Self> {
        let state = State {
            segments: VecDeque::new(),
            spare: None,
            capacity: DEFAULT_CAPACITY / PAGE_SIZE,
            length: 0,
            readers: 0,
            writers: 0,
            reader_openings: 0,
            writer_openings: 0,
        };
        Arc::new(Self {
            state: SpinLock::new(state),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            opening: WaitQueue::new(),
        })
    }

    fn read(&self, sink: &mut Sink<'_>) -> Result<usize> {
        let mut total = 0;
        let mut makes_room = false;
        while sink.remaining() > 0 {
            let mut state = self.state.lock();
            if state.length == 0 {
                if total == 0 && state.writers > 0 {
                    return Err(Error::WouldBlock);
                }
                break;
            }
            let (count, freed, is_packet) = state.take(sink);
            makes_room |= state.has_room();
            let exhausted = state.length == 0 || is_packet;
            drop(state);
            drop(freed);
            total += count;
            if exhausted {
                break;
            }
        }
        if makes_room {
            self.writers.wake_all();
        }
        Ok(total)
    }

    fn write(&self, source: &mut Source<'_>, packing: Packing) -> Result<usize> {
        let whole = source.remaining();
        let mut outcome = Ok(());
        while source.remaining() > 0 {
            let mut state = self.state.lock();
            if state.readers == 0 {
                outcome = Err(Error::BrokenPipe);
                break;
            }
            let chunk = source.remaining().min(PAGE_SIZE);
            let room = match packing {
                Packing::Stream => state.room(),
                Packing::Packets if state.has_room() => PAGE_SIZE,
                Packing::Packets => 0,
            };
            if room == 0 || whole <= ATOMIC_WRITE && room < chunk {
                outcome = Err(Error::WouldBlock);
                break;
            }
            // A packet begins a segment of its own.
            if packing == Packing::Packets
                && let Some(last) = state.segments.back_mut()
                && last.kind == SegmentKind::Open
            {
                last.kind = SegmentKind::Shared;
            }
            outcome = state.append(source, chunk.min(room), packing);
            if outcome.is_err() {
                break;
            }
        }
        let total = whole - source.remaining();
        if total == 0 {
            return outcome.map(|()| 0);
        }
        self.readers.wake_all();
        Ok(total)
    }

    /// How many bytes it holds at most.
    pub fn capacity(&self) -> usize {
        self.state.lock().capacity * PAGE_SIZE
    }

    /// Makes it hold `bytes` at most, rounded up to a power of two of pages (`F_SETPIPE_SZ`); returns what it became.
    /// `maximum` is [`MAXIMUM_CAPACITY`] for ordinary callers.
    ///
    /// # Errors
    /// [`Error::Busy`] when it holds more, [`Error::NotPermitted`] beyond `maximum`, [`Error::InvalidArgument`].
    pub fn set_capacity(&self, bytes: usize, maximum: usize) -> Result<usize> {
        if bytes == 0 || bytes > CAPACITY_BOUND {
            return Err(Error::InvalidArgument);
        }
        let pages = bytes.div_ceil(PAGE_SIZE).next_power_of_two();
        let mut state = self.state.lock();
        if pages > state.capacity && pages * PAGE_SIZE > maximum {
            return Err(Error::NotPermitted);
        }
        if state.segments.len() > pages {
            return Err(Error::Busy);
        }
        state.capacity = pages;
        let writable = state.has_room();
        drop(state);
        if writable {
            self.writers.wake_all();
        }
        Ok(pages * PAGE_SIZE)
    }
}

/// One end of a pipe, or both (a FIFO that was opened for reading and writing).
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    flags: OpenFlags,
    /// `O_DIRECT`: what is written are packets.
    packets: AtomicBool,
    /// What `writer_openings` was when it was opened: the end of a FIFO that never had a writer has not hung up.
    writers_seen: u64,
}

impl PipeEnd {
    /// One more end; and, as it was when this end was counted, whether the other side was missing and how often it had been
    /// opened. (Looked at later, a partner who came, did its work and went would be taken for one who never was there.)
    fn new(pipe: Arc<Pipe>, flags: OpenFlags) -> (Arc<Self>, bool, u64) {
        let (writers_seen, missing, openings) = {
            let mut state = pipe.state.lock();
            // Before this end is counted as a writer itself.
            let seen = state.writer_openings;
            if flags.reads() {
                state.readers += 1;
                state.reader_openings += 1;
            }
            if flags.writes() {
                state.writers += 1;
                state.writer_openings += 1;
            }
            let writers_seen = if state.writers > 0 { seen.wrapping_sub(1) } else { seen };
            let (missing, openings) = state.other_side(flags);
            (writers_seen, missing, openings)
        };
        pipe.opening.wake_all();
        let packets = AtomicBool::new(flags.contains(OpenFlags::DIRECT));
        (Arc::new(Self { pipe, flags, packets, writers_seen }), missing, openings)
    }

    /// Says whether what is written through this end are packets from now on (`fcntl(F_SETFL)` with `O_DIRECT`).
    pub fn set_packets(&self, on: bool) {
        self.packets.store(on, Ordering::Relaxed);
    }

    #[inline]
    fn packing(&self) -> Packing {
        if self.packets.load(Ordering::Relaxed) { Packing::Packets } else { Packing::Stream }
    }

    /// The pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        if self.flags.reads() {
            state.readers -= 1;
        }
        if self.flags.writes() {
            state.writers -= 1;
        }
        let hang_up = (state.readers == 0, state.writers == 0);
        // A FIFO that nobody has open forgets what it held.
        let forgotten = match hang_up {
            (true, true) => {
                state.length = 0;
                (core::mem::take(&mut state.segments), state.spare.take())
            }
            _ => (VecDeque::new(), None),
        };
        drop(state);
        drop(forgotten);
        if hang_up.0 {
            self.pipe.writers.wake_all();
        }
        if hang_up.1 {
            self.pipe.readers.wake_all();
        }
    }
}

impl File for PipeEnd {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.pipe.read(sink))
    }

    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        _position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        Operation::Ready(self.pipe.write(source, self.packing()).map(|count| Written { count, end: 0 }))
    }

    fn is_exhausted(&self, room: usize) -> bool {
        let state = self.pipe.state.lock();
        state.length == 0 && state.writers > 0 && room > 0
    }

    fn readiness(&self) -> Readiness {
        let state = self.pipe.state.lock();
        let mut readiness = Readiness::empty();
        if self.flags.reads() {
            readiness.set(Readiness::READABLE, state.length > 0);
            let hung_up = state.writers == 0 && state.writer_openings != self.writers_seen;
            readiness.set(Readiness::HANG_UP, hung_up);
        }
        if self.flags.writes() {
            readiness.set(Readiness::WRITABLE, state.has_room());
            readiness.set(Readiness::ERROR, state.readers == 0);
        }
        readiness
    }

    fn wait_queues(&self, interest: Readiness) -> WaitQueues<'_> {
        let reads = self.flags.reads() && (interest.intersects(Readiness::READABLE) || !self.flags.writes());
        let writes = self.flags.writes() && (interest.intersects(Readiness::WRITABLE) || !reads);
        let (readers, writers) = (reads.then_some(&self.pipe.readers), writes.then_some(&self.pipe.writers));
        WaitQueues { first: readers.or(writers), second: readers.and(writers) }
    }

    fn ioctl<'a>(
        &'a self,
        request: u32,
        argument: usize,
        memory: &'a dyn CallerMemory,
    ) -> Operation<'a, Result<usize>> {
        if request != FIONREAD {
            return Operation::Ready(Err(Error::NotTerminal));
        }
        Operation::pending(async move {
            let length = self.pipe.state.lock().length as u32;
            memory.write(argument, &length.to_ne_bytes()).await?;
            Ok(0)
        })
    }

    fn seekable(&self) -> bool {
        false
    }
}

/// What a named pipe is when nobody has it open, and the way to open it.
pub struct Fifo {
    pipe: SpinLock<Weak<Pipe>>,
}

impl Default for Fifo {
    fn default() -> Self {
        Self::new()
    }
}

impl Fifo {
    /// A named pipe that nobody has open.
    pub const fn new() -> Self {
        Self { pipe: SpinLock::new(Weak::new()) }
    }

    fn pipe(&self) -> Arc<Pipe> {
        let mut slot = self.pipe.lock();
        slot.upgrade().unwrap_or_else(|| {
            let pipe = Pipe::new();
            *slot = Arc::downgrade(&pipe);
            pipe
        })
    }

    /// Opens it: for reading, waits for a writer, and the other way round; for both, or without waiting, at once.
    ///
    /// # Errors
    /// [`Error::NoSuchDeviceOrAddress`] for a writer that will not wait when there is no reader.
    pub fn open(&self, flags: OpenFlags) -> Operation<'static, Result<Opened>> {
        let pipe = self.pipe();
        let (reads, writes) = (flags.reads(), flags.writes());
        let waits = !flags.contains(OpenFlags::NONBLOCK);
        if !reads && !writes {
            return Operation::Ready(Err(Error::InvalidArgument));
        }
        if writes && !reads && !waits && pipe.state.lock().readers == 0 {
            return Operation::Ready(Err(Error::NoSuchDeviceOrAddress));
        }
        let (end, missing, openings) = PipeEnd::new(pipe, flags);
        if reads && (writes || !waits) || !missing {
            return Operation::Ready(Ok(Opened::File(end)));
        }
        Operation::pending(async move {
            let came = || (end.pipe.state.lock().other_side(end.flags).1 != openings).then_some(());
            end.pipe.opening.wait_until(came).await;
            Ok(Opened::File(end as Arc<dyn File>))
        })
    }
}

/// The inode of a pipe without a name.
struct PipeInode {
    node: AnonymousNode,
    fifo: Fifo,
}

impl File for PipeInode {
    fn seekable(&self) -> bool {
        false
    }
}

impl Inode for PipeInode {
    fn number(&self) -> u64 {
        self.node.number()
    }

    fn kind(&self) -> FileKind {
        FileKind::Fifo
    }

    fn ownership(&self) -> Ownership {
        self.node.ownership()
    }

    fn metadata(&self) -> Operation<'_, Result<Metadata>> {
        Operation::Ready(Ok(self.node.metadata()))
    }

    fn set_metadata<'a>(&'a self, change: &'a MetadataChange) -> Operation<'a, Result<()>> {
        Operation::Ready(self.node.set_metadata(change))
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Operation<'static, Result<Opened>> {
        // Through /proc/PID/fd. Unlike that of a FIFO, this opening waits for nobody: the other side may be gone for good.
        if !flags.reads() && !flags.writes() {
            return Operation::Ready(Err(Error::InvalidArgument));
        }
        let (end, ..) = PipeEnd::new(self.fifo.pipe(), flags);
        Operation::Ready(Ok(Opened::File(end)))
    }
}

/// A pipe's two ends (`pipe2`): to read from and to write to. `flags` may have [`OpenFlags::NONBLOCK`].
pub fn open_pair(files: &AnonymousFiles, uid: u32, gid: u32, flags: OpenFlags) -> [Arc<OpenFile>; 2] {
    let node = files.node(FileKind::Fifo, Ownership { permissions: 0o600, uid, gid });
    let label = format!("pipe:[{}]", node.number());
    let inode = Arc::new(PipeInode { node, fifo: Fifo::new() });
    let pipe = inode.fifo.pipe();
    let location = files.place(inode, label.as_bytes());
    let flags = flags & (OpenFlags::NONBLOCK | OpenFlags::DIRECT);
    let (read_flags, write_flags) = (flags, flags | OpenFlags::WRITE_ONLY);
    let (reader, ..) = PipeEnd::new(pipe.clone(), read_flags);
    let (writer, ..) = PipeEnd::new(pipe, write_flags);
    [
        OpenFile::from_file(reader, location.clone(), read_flags),
        OpenFile::from_file(writer, location, write_flags),
    ]
}

#[cfg(test)]
mod tests;
