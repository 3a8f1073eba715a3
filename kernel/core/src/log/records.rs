//! The log's memory: a ring of records, of which the oldest make room for new ones.
//!
//! Positions and sequence numbers only grow; a [`Mark`] says where a reader is, and one that fell behind is moved to the
//! oldest record that is left. Nothing here takes longer than copying one record (and dropping those that it replaces).

/// The most bytes of text in a record.
pub const TEXT_MAX: usize = 512;
const HEADER: usize = 16;

/// The records in `SIZE` bytes.
pub struct Records<const SIZE: usize> {
    bytes: [u8; SIZE],
    oldest: Mark,
    end: Mark,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// How many records were written before.
    pub sequence: u64,
    /// How many bytes.
    position: usize,
}

impl Mark {
    /// Before the first record that ever was.
    pub const START: Mark = Mark { sequence: 0, position: 0 };
}

/// What a record says beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// How many records were written before it.
    pub sequence: u64,
    /// Facility times 8 plus level, as in `syslog(3)`.
    pub priority: u8,
    /// When it was written, in microseconds since boot.
    pub time_us: u64,
    /// Bytes of its text.
    pub length: usize,
}

impl<const SIZE: usize> Default for Records<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SIZE: usize> Records<SIZE> {
    /// No records.
    pub const fn new() -> Self {
        Self { bytes: [0; SIZE], oldest: Mark::START, end: Mark::START }
    }

    /// Before the oldest record.
    pub fn oldest(&self) -> Mark {
        self.oldest
    }

    /// Behind the newest record.
    pub fn end(&self) -> Mark {
        self.end
    }

    /// Adds a record; what is too long is cut off.
    pub fn push(&mut self, priority: u8, time_us: u64, text: &[u8]) {
        let text = &text[..text.len().min(TEXT_MAX)];
        while self.end.position - self.oldest.position + HEADER + text.len() > SIZE {
            self.oldest = self.behind(self.oldest);
        }
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&time_us.to_le_bytes());
        header[8..10].copy_from_slice(&(text.len() as u16).to_le_bytes());
        header[10] = priority;
        self.put(self.end.position, &header);
        self.put(self.end.position + HEADER, text);
        self.end =
            Mark { sequence: self.end.sequence + 1, position: self.end.position + HEADER + text.len() };
    }

    /// The record behind `mark`, which moves over it; its text goes to `text`. `None` at the end.
    pub fn next(&self, mark: &mut Mark, text: &mut [u8; TEXT_MAX]) -> Option<Record> {
        *mark = (*mark).max(self.oldest);
        if *mark == self.end {
            return None;
        }
        let record = self.record(*mark);
        self.get(mark.position + HEADER, &mut text[..record.length]);
        *mark = self.behind(*mark);
        Some(record)
    }

    fn record(&self, mark: Mark) -> Record {
        let mut header = [0; HEADER];
        self.get(mark.position, &mut header);
        let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, priority, ..] = header;
        Record {
            sequence: mark.sequence,
            priority,
            time_us: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            length: usize::from(u16::from_le_bytes([l0, l1])),
        }
    }

    fn behind(&self, mark: Mark) -> Mark {
        let length = self.record(mark).length;
        Mark { sequence: mark.sequence + 1, position: mark.position + HEADER + length }
    }

    fn put(&mut self, position: usize, bytes: &[u8]) {
        let start = position % SIZE;
        let first = bytes.len().min(SIZE - start);
        self.bytes[start..start + first].copy_from_slice(&bytes[..first]);
        self.bytes[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }

    fn get(&self, position: usize, target: &mut [u8]) {
        let start = position % SIZE;
        let first = target.len().min(SIZE - start);
        let (head, tail) = target.split_at_mut(first);
        head.copy_from_slice(&self.bytes[start..start + first]);
        tail.copy_from_slice(&self.bytes[..tail.len()]);
    }
}
