//! The content of a file in memory: frames by page number, shared with whoever maps the file.
//!
//! Locks: `writing` (asynchronous) keeps writers, cutters and reservers of one file apart, so that each of their calls
//! is whole to the others; `frames` (spin) is held for single steps on the table. Copies run under neither `frames`
//! nor a preemption guard: a handle of the frame keeps it alive.
//!
//! A page of the table is always whole: it was zeroed, or overwritten before it was put there. Bytes behind the end
//! of the file in its last page may have been written through a mapping; they are zeroed when the file grows past.

use crate::inode::{Allocation, Extent, WritePosition, Written};
use crate::open_file::OFFSET_MAX;
use crate::radix::Radix;
use crate::{Error, Result};
use alloc::sync::Arc;
use base::address::{PAGE_SHIFT, PAGE_SIZE};
use base::bytes::{Sink, Source};
use base::sync::{Mutex, SpinLock};
use core::sync::atomic::{AtomicU64, Ordering};
use memory::Frame;

/// How many pages the files of one file system may have together, and how many they have.
#[derive(Debug)]
pub struct Quota {
    limit: AtomicU64,
    used: AtomicU64,
}

impl Quota {
    /// At most `limit` pages.
    pub const fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    /// How many pages may be used.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many pages are used.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Changes the limit.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when more is used already.
    pub fn set_limit(&self, limit: u64) -> Result<()> {
        if limit < self.used() {
            return Err(Error::InvalidArgument);
        }
        self.limit.store(limit, Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    fn reserve(&self) -> Result<()> {
        if self.used.fetch_add(1, Ordering::Relaxed) >= self.limit() {
            self.release(1);
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    #[inline]
    fn release(&self, pages: u64) {
        self.used.fetch_sub(pages, Ordering::Relaxed);
    }
}

/// The content of one file.
pub struct Pages {
    size: AtomicU64,
    frames: SpinLock<Radix<Frame>>,
    writing: Mutex<()>,
    quota: Arc<Quota>,
}

fn page_of(offset: u64) -> u64 {
    offset >> PAGE_SHIFT
}

fn within_page(offset: u64) -> usize {
    offset as usize & (PAGE_SIZE - 1)
}

impl Pages {
    /// An empty file.
    pub fn new(quota: Arc<Quota>) -> Self {
        Self { size: AtomicU64::new(0), frames: SpinLock::new(Radix::new()), writing: Mutex::new(()), quota }
    }

    /// Its length in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// How many pages are stored.
    pub fn count(&self) -> u64 {
        self.frames.lock().count()
    }

    /// Held by whoever changes more than one page or the length.
    pub fn writing(&self) -> &Mutex<()> {
        &self.writing
    }

    /// Copies bytes from `offset` to the sink; returns how many: fewer than there is room for only at the end.
    pub fn read(&self, sink: &mut Sink<'_>, mut offset: u64) -> usize {
        let size = self.size();
        let mut total = 0;
        while offset < size && sink.remaining() > 0 {
            let start = within_page(offset);
            let length = (PAGE_SIZE - start).min((size - offset).min(PAGE_SIZE as u64) as usize);
            let frame = self.frames.lock().get(page_of(offset)).cloned();
            let count = match frame {
                Some(frame) => sink.copy_from_shared(frame.bytes().slice(start, length)),
                None => sink.fill_zero(length),
            };
            total += count;
            offset += count as u64;
        }
        total
    }

    /// Copies everything of the source to `position`. The caller holds [`Pages::writing`].
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::OutOfMemory`], [`Error::FileTooLarge`]; only when nothing was written.
    pub fn write(&self, source: &mut Source<'_>, position: WritePosition) -> Result<Written> {
        let size = self.size();
        let start = match position {
            WritePosition::At(offset) => offset,
            WritePosition::End => size,
        };
        if source.remaining() == 0 {
            return Ok(Written { count: 0, end: start });
        }
        if start >= OFFSET_MAX {
            return Err(Error::FileTooLarge);
        }
        source.limit((OFFSET_MAX - start).min(usize::MAX as u64) as usize);
        if start > size {
            self.zero_tail(size);
        }
        let mut offset = start;
        while source.remaining() > 0 {
            match self.write_page(source, offset) {
                Ok(count) => offset += count as u64,
                Err(error) if offset == start => return Err(error),
                Err(_) => break,
            }
            if offset > size {
                self.size.fetch_max(offset, Ordering::Release);
            }
        }
        Ok(Written { count: (offset - start) as usize, end: offset })
    }

    fn write_page(&self, source: &mut Source<'_>, offset: u64) -> Result<usize> {
        let start = within_page(offset);
        let index = page_of(offset);
        let present = self.frames.lock().get(index).cloned();
        if let Some(frame) = present {
            return Ok(source.copy_to_shared(frame.bytes().slice(start, PAGE_SIZE)));
        }
        self.quota.reserve()?;
        let whole = start == 0 && source.remaining() >= PAGE_SIZE;
        let frame = if whole { Frame::uninitialised() } else { Frame::zeroed() };
        let frame = frame.inspect_err(|_| self.quota.release(1))?;
        let count = source.copy_to_shared(frame.bytes().slice(start, PAGE_SIZE));
        self.put(index, frame, Some((start, count)));
        Ok(count)
    }

    /// Puts a new page in place. A fault may have put one there meanwhile, which then is the page: what was to be
    /// written, `fresh` (start and length), is copied to it.
    fn put(&self, index: u64, frame: Frame, fresh: Option<(usize, usize)>) -> Frame {
        let mut frames = self.frames.lock();
        if let Some(present) = frames.get(index).cloned() {
            drop(frames);
            if let Some((start, length)) = fresh {
                frame.bytes().slice(start, length).copy_to_shared(present.bytes().slice(start, length));
            }
            self.quota.release(1);
            return present;
        }
        frames.insert(index, frame.clone());
        frame
    }

    /// The frame of page `index`, made if need be: for a mapping.
    ///
    /// # Errors
    /// [`Error::NoSuchDeviceOrAddress`] beyond the end of the file (the program gets `SIGBUS`), [`Error::NoSpace`],
    /// [`Error::OutOfMemory`].
    pub fn frame(&self, index: u64) -> Result<Frame> {
        let present = self.frames.lock().get(index).cloned();
        if index >= self.size().div_ceil(PAGE_SIZE as u64) {
            return Err(Error::NoSuchDeviceOrAddress);
        }
        if let Some(frame) = present {
            return Ok(frame);
        }
        self.quota.reserve()?;
        let frame = Frame::zeroed().inspect_err(|_| self.quota.release(1))?;
        let frame = self.put(index, frame, None);
        if index >= self.size().div_ceil(PAGE_SIZE as u64) {
            // Cut meanwhile: the cut may have passed this page before it was there.
            self.discard(index, index + 1);
            return Err(Error::NoSuchDeviceOrAddress);
        }
        Ok(frame)
    }

    /// The frame of page `index` if there is one.
    pub fn cached_frame(&self, index: u64) -> Option<Frame> {
        self.frames.lock().get(index).cloned()
    }

    /// Takes a whole page that the caller has filled as page `index`, without copying. The caller holds
    /// [`Pages::writing`] and sets the length.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn adopt(&self, index: u64, frame: Frame) -> Result<()> {
        let former = {
            let mut frames = self.frames.lock();
            if frames.get(index).is_none() {
                self.quota.reserve()?;
            }
            frames.insert(index, frame)
        };
        drop(former);
        Ok(())
    }

    /// Makes the file `size` bytes long. The caller holds [`Pages::writing`].
    ///
    /// # Errors
    /// [`Error::FileTooLarge`].
    pub fn resize(&self, size: u64) -> Result<()> {
        if size > OFFSET_MAX {
            return Err(Error::FileTooLarge);
        }
        let former = self.size();
        if size > former {
            self.zero_tail(former);
        }
        self.size.store(size, Ordering::Release);
        if size < former {
            self.discard(size.div_ceil(PAGE_SIZE as u64), u64::MAX);
            self.zero_tail(size);
        }
        Ok(())
    }

    /// Zeroes the last page from `size` on.
    fn zero_tail(&self, size: u64) {
        let start = within_page(size);
        if start == 0 {
            return;
        }
        let frame = self.frames.lock().get(page_of(size)).cloned();
        if let Some(frame) = frame {
            frame.bytes().slice(start, PAGE_SIZE).fill(0);
        }
    }

    /// Gives pages back, a limited number at a time, so that the lock is never held for long.
    fn discard(&self, first: u64, end: u64) {
        const BATCH: u64 = 64;
        let mut index = first;
        loop {
            let mut removed = smallvec::SmallVec::<[Frame; BATCH as usize]>::new();
            {
                let mut frames = self.frames.lock();
                let Some(next) = frames.next_value(index).filter(|next| *next < end) else {
                    return;
                };
                index = next.saturating_add(BATCH).min(end);
                frames.remove_range(next..index, &mut |_, frame| removed.push(frame));
            }
            self.quota.release(removed.len() as u64);
        }
    }

    /// Makes a range read as zero, giving back whole pages. The caller holds [`Pages::writing`].
    fn punch(&self, offset: u64, end: u64) {
        let (first, last) = (offset.div_ceil(PAGE_SIZE as u64), page_of(end));
        let mut edges = [(offset, end.min(first << PAGE_SHIFT)), ((last << PAGE_SHIFT).max(offset), end)];
        if first > last {
            // Within one page.
            edges[1] = (end, end);
        }
        for (start, stop) in edges.into_iter().filter(|(start, stop)| start < stop) {
            let frame = self.frames.lock().get(page_of(start)).cloned();
            if let Some(frame) = frame {
                frame.bytes().slice(within_page(start), (stop - start) as usize).fill(0);
            }
        }
        if first < last {
            self.discard(first, last);
        }
    }

    /// Reserves or gives back storage. The caller holds [`Pages::writing`].
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::OutOfMemory`]; then what was reserved by this call is given back.
    pub fn allocate(&self, allocation: Allocation, offset: u64, length: u64) -> Result<()> {
        let end = offset + length;
        let size = self.size();
        let grows = matches!(allocation, Allocation::Reserve | Allocation::Zero) && end > size;
        if grows {
            self.zero_tail(size);
        }
        match allocation {
            Allocation::Reserve | Allocation::ReserveKeepingSize => self.reserve_range(offset, end)?,
            Allocation::PunchHole => self.punch(offset, end.min(size.max(offset))),
            Allocation::Zero | Allocation::ZeroKeepingSize => {
                self.punch(offset, end);
                self.reserve_range(offset, end)?;
            }
        }
        if grows {
            self.size.fetch_max(end, Ordering::Release);
        }
        Ok(())
    }

    fn reserve_range(&self, offset: u64, end: u64) -> Result<()> {
        let first = page_of(offset);
        let mut made = smallvec::SmallVec::<[u64; 16]>::new();
        for index in first..end.div_ceil(PAGE_SIZE as u64) {
            if self.frames.lock().get(index).is_some() {
                continue;
            }
            let frame =
                self.quota.reserve().and_then(|()| Frame::zeroed().inspect_err(|_| self.quota.release(1)));
            match frame {
                Ok(frame) => {
                    self.put(index, frame, None);
                    made.push(index);
                }
                Err(error) => {
                    made.into_iter().for_each(|index| self.discard(index, index + 1));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The first offset from `offset` on with data, or without.
    ///
    /// # Errors
    /// [`Error::NoSuchDeviceOrAddress`] when there is none before the end.
    pub fn find_extent(&self, extent: Extent, offset: u64) -> Result<u64> {
        let size = self.size();
        if offset >= size {
            return Err(Error::NoSuchDeviceOrAddress);
        }
        let frames = self.frames.lock();
        let page = match extent {
            Extent::Data => frames.next_value(page_of(offset)).ok_or(Error::NoSuchDeviceOrAddress)?,
            Extent::Hole => frames.next_gap(page_of(offset)),
        };
        let found = offset.max(page << PAGE_SHIFT);
        match extent {
            Extent::Data if found >= size => Err(Error::NoSuchDeviceOrAddress),
            _ => Ok(found.min(size)),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.discard(0, u64::MAX);
    }
}
