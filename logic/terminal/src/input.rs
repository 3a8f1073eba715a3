//! What was typed and not yet read: a ring of bytes, and marks where lines end.

use alloc::boxed::Box;
use base::bytes::Sink;

/// Bytes that the ring holds; a line, its end included, can be no longer.
pub const CAPACITY: usize = 4096;
const WORD: usize = u64::BITS as usize;

/// The ring. Positions count bytes since the beginning and never go down but for erasing.
#[derive(Debug)]
pub struct InputBuffer {
    bytes: Box<[u8; CAPACITY]>,
    ends: Box<[u64; CAPACITY / WORD]>,
    head: usize,
    tail: usize,
    /// Behind the last complete line.
    line_head: usize,
    /// The only line in the buffer was made from bytes that were typed in another mode: it ends without a mark of its own.
    pushed: bool,
}

impl Default for InputBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl InputBuffer {
    /// Nothing was typed.
    pub fn new() -> Self {
        Self {
            bytes: Box::new([0; CAPACITY]),
            ends: Box::new([0; CAPACITY / WORD]),
            head: 0,
            tail: 0,
            line_head: 0,
            pushed: false,
        }
    }

    /// Bytes in the buffer, complete lines or not.
    #[inline]
    pub fn length(&self) -> usize {
        self.head - self.tail
    }

    /// Bytes in complete lines.
    #[inline]
    pub fn line_length(&self) -> usize {
        self.line_head - self.tail
    }

    /// Where the next byte goes.
    #[inline]
    pub fn head(&self) -> usize {
        self.head
    }

    /// Where the line that is being typed begins.
    #[inline]
    pub fn line_start(&self) -> usize {
        self.line_head
    }

    /// Whether nothing was typed since the last complete line.
    #[inline]
    pub fn is_line_empty(&self) -> bool {
        self.head == self.line_head
    }

    /// The byte at `position`.
    #[inline]
    pub fn at(&self, position: usize) -> u8 {
        self.bytes[position % CAPACITY]
    }

    /// Appends a byte. The caller made sure of room.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.bytes[self.head % CAPACITY] = byte;
        self.head += 1;
    }

    /// Appends the last byte of a line; `0` as a mark that is not itself read (end of file).
    pub fn push_line_end(&mut self, byte: u8) {
        self.mark(self.head);
        self.push(byte);
        self.line_head = self.head;
    }

    /// Takes back what was typed from `position` on; not before the line began.
    pub fn truncate(&mut self, position: usize) {
        self.head = position.clamp(self.line_head, self.head);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        (self.tail, self.line_head, self.pushed) = (self.head, self.head, false);
        self.ends.fill(0);
    }

    /// The mode changed between lines and single bytes: what is in the buffer becomes one line, without an end of its own.
    pub fn change_mode(&mut self) {
        self.ends.fill(0);
        self.line_head = self.head;
        self.pushed = self.length() > 0;
        if self.pushed {
            self.mark(self.head - 1);
        }
    }

    fn mark(&mut self, position: usize) {
        let index = position % CAPACITY;
        self.ends[index / WORD] |= 1 << (index % WORD);
    }

    fn unmark(&mut self, position: usize) {
        let index = position % CAPACITY;
        self.ends[index / WORD] &= !(1 << (index % WORD));
    }

    fn is_marked(&self, position: usize) -> bool {
        let index = position % CAPACITY;
        self.ends[index / WORD] & (1 << (index % WORD)) != 0
    }

    /// The first mark in `[tail, limit)`.
    fn find_end(&self, limit: usize) -> Option<usize> {
        let mut position = self.tail;
        while position < limit {
            let index = position % CAPACITY;
            let rest = self.ends[index / WORD] >> (index % WORD);
            if rest != 0 {
                let found = position + rest.trailing_zeros() as usize;
                return (found < limit).then_some(found);
            }
            position += WORD - index % WORD;
        }
        None
    }

    fn copy(&mut self, count: usize, sink: &mut Sink<'_>) {
        let start = self.tail % CAPACITY;
        let first = count.min(CAPACITY - start);
        sink.copy_from(&self.bytes[start..start + first]);
        sink.copy_from(&self.bytes[..count - first]);
        self.tail += count;
    }

    /// Reads at most one line, or as much of it as `sink` takes; returns the number of bytes, 0 for an end of file.
    pub fn read_line(&mut self, sink: &mut Sink<'_>) -> usize {
        let available = sink.remaining().min(self.line_length());
        let Some(end) = self.find_end(self.tail + available) else {
            self.copy(available, sink);
            self.skip_end_of_file();
            return available;
        };
        let is_end_of_file = self.at(end) == 0 && !self.pushed;
        let count = end - self.tail + usize::from(!is_end_of_file);
        self.copy(count, sink);
        self.unmark(end);
        self.tail = end + 1;
        self.pushed = false;
        count
    }

    /// An end of file right behind bytes that filled the reader's buffer belongs to that read.
    fn skip_end_of_file(&mut self) {
        let next_is_end = self.tail != self.line_head && self.is_marked(self.tail) && self.at(self.tail) == 0;
        if next_is_end && !self.pushed {
            self.unmark(self.tail);
            self.tail += 1;
        }
    }

    /// Reads bytes regardless of lines; returns how many.
    pub fn read_bytes(&mut self, sink: &mut Sink<'_>) -> usize {
        let count = sink.remaining().min(self.length());
        self.copy(count, sink);
        self.line_head = self.line_head.max(self.tail);
        count
    }

    /// How many bytes a read in line mode could give in all: marks of ends of file are not counted (`FIONREAD`).
    pub fn readable_in_lines(&self) -> usize {
        let marks = (self.tail..self.line_head).filter(|at| self.is_marked(*at) && self.at(*at) == 0);
        self.line_length() - marks.count()
    }
}
