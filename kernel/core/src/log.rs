//! The kernel's log: a ring of the last lines, and the console when that is asked for.
//!
//! A line is formatted on the stack and copied under a spin lock, so that it can be written from anywhere, an interrupt
//! handler or a panic included.

use crate::command_line::LogMode;
use crate::console;
use alloc::vec::Vec;
use base::hal::now_ns;
use base::sync::atomic::{AtomicU8, Ordering};
use base::sync::{SpinLock, WaitQueue};
use base::{Error, Result};
use core::fmt::{self, Write};

/// Bytes of the log that are kept.
pub const RING_SIZE: usize = 64 << 10;
const LINE_SIZE: usize = 512;

static MODE: AtomicU8 = AtomicU8::new(LogMode::Off as u8);
static RING: SpinLock<Ring> = SpinLock::new(Ring { bytes: [0; RING_SIZE], written: 0, cleared: 0, read: 0 });
/// Who reads the log as it grows (`syslog`) waits here.
static GROWN: WaitQueue = WaitQueue::new();
/// What `syslog` shows in front of each line: the kernel as its source, and the level "informational".
const LEVEL: &[u8] = b"<6>";

struct Ring {
    bytes: [u8; RING_SIZE],
    /// Bytes that were ever written.
    written: usize,
    /// `syslog` shows what was written from here on.
    cleared: usize,
    /// Who reads the log as it grows has got what was written before.
    read: usize,
}

impl Ring {
    /// The first byte that is still there, from `start` on: the beginning of a line.
    fn first(&self, start: usize) -> usize {
        let oldest = self.written.saturating_sub(RING_SIZE);
        if start >= oldest && (start > 0 || oldest == 0) {
            return start;
        }
        // The oldest line was overwritten in part.
        (oldest..self.written)
            .find(|&index| self.bytes[index % RING_SIZE] == b'\n')
            .map_or(self.written, |end| end + 1)
    }

    /// Where the line that begins at `start` ends, its newline included.
    fn line_end(&self, start: usize) -> usize {
        (start..self.written)
            .find(|&index| self.bytes[index % RING_SIZE] == b'\n')
            .map_or(self.written, |end| end + 1)
    }

    /// Appends the line from `start` to `end` as `syslog` shows it.
    fn show(&self, start: usize, end: usize, text: &mut Vec<u8>) {
        text.extend_from_slice(LEVEL);
        text.extend((start..end).map(|index| self.bytes[index % RING_SIZE]));
    }

    fn push(&mut self, line: &[u8]) {
        for &byte in line {
            self.bytes[self.written % RING_SIZE] = byte;
            self.written += 1;
        }
    }
}

/// A line of text with a fixed capacity; what does not fit is cut off.
pub struct Line {
    bytes: [u8; LINE_SIZE],
    length: usize,
}

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self { bytes: [0; LINE_SIZE], length: 0 }
    }

    /// What was written to it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let count = text.len().min(LINE_SIZE - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}

/// Where lines go from now on, besides the ring.
pub fn set_mode(mode: LogMode) {
    MODE.store(mode as u8, Ordering::Relaxed);
}

/// Where lines go, besides the ring.
pub fn mode() -> LogMode {
    match MODE.load(Ordering::Relaxed) {
        0 => LogMode::Off,
        1 => LogMode::Console,
        _ => LogMode::Framed,
    }
}

/// Writes one line to the log; use [`log!`](crate::log!).
pub fn write_line(arguments: fmt::Arguments<'_>) {
    let mut line = Line::new();
    let now_us = now_ns() / 1000;
    // Writing to a `Line` cannot fail.
    let _ = writeln!(line, "[{:5}.{:06}] {arguments}", now_us / 1_000_000, now_us % 1_000_000);
    RING.lock().push(line.as_bytes());
    GROWN.wake_all();
    match mode() {
        LogMode::Off => {}
        LogMode::Console => console::write_pieces(&[line.as_bytes()]),
        LogMode::Framed => frame("log", line.as_bytes()),
    }
}

/// What a frame has around its payload, at most.
pub const FRAME_OVERHEAD: usize = 64;

/// Sends `payload` to the other side of the serial line as a frame of this kind, as one piece:
/// ESC `_asyncos;KIND;LENGTH;` payload ESC `\`.
pub fn frame(kind: &str, payload: &[u8]) {
    let mut head = Line::new();
    let _ = write!(head, "\x1b_asyncos;{kind};{};", payload.len());
    console::write_pieces(&[head.as_bytes(), payload, b"\x1b\\"]);
}

/// Copies the newest lines of the log, at most `target.len()` bytes; returns how many.
pub fn copy_newest(target: &mut [u8]) -> usize {
    let ring = RING.lock();
    let count = target.len().min(ring.written).min(RING_SIZE);
    for (index, slot) in target[..count].iter_mut().enumerate() {
        *slot = ring.bytes[(ring.written - count + index) % RING_SIZE];
    }
    count
}

/// The newest lines since the log was cleared, as `syslog` shows them: as many as fit into `count` bytes.
///
/// # Errors
/// `OutOfMemory`.
pub fn newest(count: usize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    text.try_reserve_exact(count.min(2 * RING_SIZE)).map_err(|_| Error::OutOfMemory)?;
    let ring = RING.lock();
    let mut starts = ring.first(ring.cleared);
    let mut needed = 0;
    let mut at = starts;
    while at < ring.written {
        let end = ring.line_end(at);
        needed += LEVEL.len() + end - at;
        at = end;
    }
    while needed > count {
        let end = ring.line_end(starts);
        needed -= LEVEL.len() + end - starts;
        starts = end;
    }
    while starts < ring.written {
        let end = ring.line_end(starts);
        ring.show(starts, end, &mut text);
        starts = end;
    }
    Ok(text)
}

/// Waits for lines that nobody has read in this way, and takes as many as fit into `count` bytes; at least one, cut off if
/// need be.
///
/// # Errors
/// `OutOfMemory`.
pub async fn read_new(count: usize) -> Result<Vec<u8>> {
    GROWN.wait_until(|| take_new(count).transpose()).await
}

fn take_new(count: usize) -> Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    text.try_reserve_exact(count.min(RING_SIZE) + LINE_SIZE).map_err(|_| Error::OutOfMemory)?;
    let mut ring = RING.lock();
    let mut at = ring.first(ring.read);
    while at < ring.written {
        let end = ring.line_end(at);
        if !text.is_empty() && text.len() + LEVEL.len() + end - at > count.min(RING_SIZE) {
            break;
        }
        ring.show(at, end, &mut text);
        at = end;
    }
    ring.read = at;
    text.truncate(count);
    Ok((!text.is_empty()).then_some(text))
}

/// How many bytes wait for [`read_new`].
pub fn unread() -> usize {
    let ring = RING.lock();
    ring.written - ring.first(ring.read)
}

/// Makes [`newest`] start with what comes from now on.
pub fn clear() {
    let mut ring = RING.lock();
    ring.cleared = ring.written;
}

/// Writes one line to the kernel's log.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::log::write_line(core::format_args!($($argument)*))
    };
}
