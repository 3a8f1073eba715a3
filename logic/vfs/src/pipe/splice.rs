//! Whole pages in and out of pipes: what `splice` and `tee` are made of.

use super::{Pipe, Segment, SegmentKind, State};
use crate::{Error, Result};
use alloc::collections::VecDeque;
use base::address::PAGE_SIZE;
use base::bytes::{Sink, Source};
use memory::Frame;

/// Whether what is taken from a pipe stays there as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detaching {
    /// It is taken out.
    Move,
    /// It stays, and its pages are shared (`tee`).
    Share,
}

/// Bytes on their way between pipes and files, in pages.
#[derive(Default)]
pub struct Detached {
    segments: VecDeque<Segment>,
}

impl Detached {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends a page of what `read` puts into a sink of at most `most` bytes; returns how many bytes that were.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], and those of `read`.
    pub async fn fill(
        &mut self,
        most: usize,
        read: impl AsyncFnOnce(&mut Sink<'_>) -> Result<usize>,
    ) -> Result<usize> {
        let frame = Frame::uninitialised()?;
        let count = {
            let pieces = [frame.bytes().slice(0, most.min(PAGE_SIZE))];
            read(&mut Sink::scattered(&pieces)).await?
        };
        if count > 0 {
            self.segments.push_back(Segment {
                frame,
                start: 0,
                end: count as u16,
                kind: SegmentKind::Shared,
            });
        }
        Ok(count)
    }

    /// The bytes of the first page, to be written elsewhere; `None` when there are none.
    pub async fn write_first(
        &mut self,
        write: impl AsyncFnOnce(&mut Source<'_>) -> Result<usize>,
    ) -> Option<Result<usize>> {
        let segment = self.segments.front_mut()?;
        let outcome = {
            let (start, end) = (usize::from(segment.start), usize::from(segment.end));
            let pieces = [segment.frame.bytes().slice(start, end - start)];
            write(&mut Source::gathered(&pieces)).await
        };
        if let Ok(count) = outcome {
            segment.start += count as u16;
            if segment.start == segment.end {
                self.segments.pop_front();
            }
        }
        Some(outcome)
    }
}

impl Segment {
    fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// The first `count` bytes of it, on the same page.
    fn share(&self, count: usize) -> Segment {
        let kind = if self.kind == SegmentKind::Packet { SegmentKind::Packet } else { SegmentKind::Shared };
        Segment { frame: self.frame.clone(), start: self.start, end: self.start + count as u16, kind }
    }
}

impl State {
    fn detach(&mut self, most: usize, detaching: Detaching) -> Detached {
        let mut detached = Detached::default();
        let mut left = most;
        let mut index = 0;
        while left > 0 {
            let Some(segment) = self.segments.get_mut(index) else { break };
            let count = segment.len().min(left);
            left -= count;
            if detaching == Detaching::Move && count == segment.len() {
                self.length -= count;
                detached.segments.extend(self.segments.pop_front());
                continue;
            }
            let part = segment.share(count);
            // Nothing may be appended to a page that somebody else has too.
            if segment.kind == SegmentKind::Open {
                segment.kind = SegmentKind::Shared;
            }
            match detaching {
                Detaching::Share => index += 1,
                Detaching::Move => {
                    segment.start += count as u16;
                    self.length -= count;
                }
            }
            detached.segments.push_back(part);
        }
        detached
    }
}

impl Pipe {
    /// Takes up to `most` bytes from the start. Nothing, at the end.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is nothing and somebody can still write.
    pub fn detach(&self, most: usize, detaching: Detaching) -> Result<Detached> {
        let mut state = self.state.lock();
        if state.length == 0 && state.writers > 0 {
            return Err(Error::WouldBlock);
        }
        let detached = state.detach(most, detaching);
        let makes_room = detaching == Detaching::Move && state.has_room();
        drop(state);
        if makes_room {
            self.writers.wake_all();
        }
        Ok(detached)
    }

    /// Puts back at the start what was not used of what was taken.
    pub fn put_back(&self, mut detached: Detached) {
        if detached.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        state.length += detached.len();
        while let Some(segment) = detached.segments.pop_back() {
            state.segments.push_front(segment);
        }
        drop(state);
        self.readers.wake_all();
    }

    /// How many pages fit.
    ///
    /// # Errors
    /// [`Error::BrokenPipe`] when nobody reads, [`Error::WouldBlock`] when none does.
    pub fn room_in_pages(&self) -> Result<usize> {
        let state = self.state.lock();
        if state.readers == 0 {
            return Err(Error::BrokenPipe);
        }
        match state.capacity.saturating_sub(state.segments.len()) {
            0 => Err(Error::WouldBlock),
            pages => Ok(pages),
        }
    }

    /// Puts pages at the end, as many as there is room for; returns how many bytes those were. The rest stays in `detached`.
    ///
    /// # Errors
    /// As [`Pipe::room_in_pages`].
    pub fn attach(&self, detached: &mut Detached) -> Result<usize> {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Error::BrokenPipe);
        }
        let mut total = 0;
        while state.has_room()
            && let Some(segment) = detached.segments.pop_front()
        {
            total += segment.len();
            state.length += segment.len();
            state.segments.push_back(segment);
        }
        drop(state);
        if total == 0 && !detached.is_empty() {
            return Err(Error::WouldBlock);
        }
        self.readers.wake_all();
        Ok(total)
    }
}
