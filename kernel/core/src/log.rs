//! The kernel's log: a ring of the last lines, and the console when that is asked for.
//!
//! A line is formatted on the stack and copied under a spin lock, so that it can be written from anywhere, an interrupt
//! handler or a panic included.

pub mod records;

use crate::command_line::LogMode;
use crate::console;
use alloc::vec::Vec;
use base::hal::now_ns;
use base::sync::atomic::{AtomicU8, Ordering};
use base::sync::{SpinLock, WaitQueue};
use base::{Error, Result};
use core::fmt::{self, Write};
use records::{Mark, Records};
pub use records::{Record, TEXT_MAX};

/// Bytes of the log that are kept.
pub const RING_SIZE: usize = 64 << 10;
const LINE_SIZE: usize = TEXT_MAX;
/// The priority of the kernel's own lines: the kernel as their source, and the level "informational".
const KERNEL: u8 = 6;
/// The most bytes that stand in front of a record's text where it is shown.
const PREFIX_MAX: usize = 32;

static MODE: AtomicU8 = AtomicU8::new(LogMode::Off as u8);
static RECORDS: SpinLock<Records<RING_SIZE>> = SpinLock::new(Records::new());
/// Where `syslog` is, which has one place for all who use it.
static SYSLOG: SpinLock<Syslog> = SpinLock::new(Syslog { cleared: Mark::START, read: Mark::START });
/// Who reads the log as it grows waits here.
static GROWN: WaitQueue = WaitQueue::new();

struct Syslog {
    /// `syslog` shows what was written from here on.
    cleared: Mark,
    /// Who reads the log as it grows has got what was written before.
    read: Mark,
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
    // Writing to a `Line` cannot fail.
    let _ = write!(line, "{arguments}");
    write_record(KERNEL, line.as_bytes());
}

/// Writes a line of this priority (facility times 8 plus level).
pub fn write_record(priority: u8, text: &[u8]) {
    let time_us = now_ns() / 1000;
    RECORDS.lock().push(priority, time_us, text);
    GROWN.wake_all();
    let prefix = time_prefix(time_us);
    match mode() {
        LogMode::Off => {}
        LogMode::Console => console::write_pieces(&[prefix.as_bytes(), text, b"\r\n"]),
        LogMode::Framed => frame_pieces("log", &[prefix.as_bytes(), text, b"\n"]),
    }
}

fn time_prefix(time_us: u64) -> Line {
    let mut prefix = Line::new();
    // Writing to a `Line` cannot fail.
    let _ = write!(prefix, "[{:5}.{:06}] ", time_us / 1_000_000, time_us % 1_000_000);
    prefix
}

/// What a frame has around its payload, at most.
pub const FRAME_OVERHEAD: usize = 64;

/// Sends `payload` to the other side of the serial line as a frame of this kind, as one piece:
/// ESC `_asyncos;KIND;LENGTH;` payload ESC `\`.
pub fn frame(kind: &str, payload: &[u8]) {
    frame_pieces(kind, &[payload, b"", b""]);
}

fn frame_pieces(kind: &str, [first, second, third]: &[&[u8]; 3]) {
    let mut head = Line::new();
    let length = first.len() + second.len() + third.len();
    // Writing to a `Line` cannot fail.
    let _ = write!(head, "\x1b_asyncos;{kind};{length};");
    console::write_pieces(&[head.as_bytes(), first, second, third, b"\x1b\\"]);
}

/// Reads the log from a place on. See [`Reader::next`].
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    mark: Mark,
}

impl Reader {
    /// Before the oldest line.
    pub fn oldest() -> Self {
        Self { mark: RECORDS.lock().oldest() }
    }

    /// The next record, whose text goes to `text`; `None` when there is none yet.
    ///
    /// # Errors
    /// `BrokenPipe`: records were lost since the last call; the next one gives the oldest that is left.
    pub fn next(&mut self, text: &mut [u8; TEXT_MAX]) -> Result<Option<Record>> {
        let records = RECORDS.lock();
        if self.mark < records.oldest() {
            self.mark = records.oldest();
            return Err(Error::BrokenPipe);
        }
        Ok(records.next(&mut self.mark, text))
    }

    /// Whether there is something to read.
    pub fn is_behind(&self) -> bool {
        self.mark < RECORDS.lock().end()
    }
}

/// Woken when the log has grown.
pub fn grown() -> &'static WaitQueue {
    &GROWN
}

/// Gives the last `count` lines to `show`, for a panic: without waiting for anybody who has the log.
pub fn show_last(count: u64, mut show: impl FnMut(&[u8])) {
    let Some(records) = RECORDS.try_lock() else { return };
    let end = records.end();
    let mut mark = records.oldest();
    let mut text = [0; TEXT_MAX];
    while let Some(record) = records.next(&mut mark, &mut text) {
        if end.sequence - record.sequence <= count {
            show(&text[..record.length]);
        }
    }
}

/// A record as `syslog` shows it.
struct Shown {
    prefix: Line,
    text: [u8; TEXT_MAX],
    length: usize,
}

impl Shown {
    /// The record behind `mark`, which moves over it.
    fn next(mark: &mut Mark) -> Option<Shown> {
        let mut text = [0; TEXT_MAX];
        let record = RECORDS.lock().next(mark, &mut text)?;
        let mut prefix = Line::new();
        let (seconds, rest) = (record.time_us / 1_000_000, record.time_us % 1_000_000);
        // Writing to a `Line` cannot fail.
        let _ = write!(prefix, "<{}>[{seconds:5}.{rest:06}] ", record.priority);
        Some(Shown { prefix, text, length: record.length })
    }

    fn size(&self) -> usize {
        self.prefix.length + self.length + 1
    }

    fn append_to(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(self.prefix.as_bytes());
        target.extend_from_slice(&self.text[..self.length]);
        target.push(b'\n');
    }
}

/// How many bytes [`Shown`] makes of the records from `mark` on.
fn shown_size(mut mark: Mark) -> usize {
    core::iter::from_fn(|| Shown::next(&mut mark)).map(|shown| shown.size()).sum()
}

/// The newest lines since the log was cleared, as `syslog` shows them: as many as fit into `count` bytes.
///
/// # Errors
/// `OutOfMemory`.
pub fn newest(count: usize) -> Result<Vec<u8>> {
    let mut mark = SYSLOG.lock().cleared;
    let mut needed = shown_size(mark);
    let mut text = Vec::new();
    text.try_reserve_exact(count.min(needed)).map_err(|_| Error::OutOfMemory)?;
    while let Some(shown) = Shown::next(&mut mark) {
        // Lines that came meanwhile find no room.
        if needed <= count && text.len() + shown.size() <= text.capacity() {
            shown.append_to(&mut text);
        } else {
            needed = needed.saturating_sub(shown.size());
        }
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
    text.try_reserve_exact(count.min(RING_SIZE) + LINE_SIZE + PREFIX_MAX).map_err(|_| Error::OutOfMemory)?;
    let mut syslog = SYSLOG.lock();
    let mut mark = syslog.read;
    while let Some(shown) = Shown::next(&mut mark) {
        if !text.is_empty() && text.len() + shown.size() > count.min(RING_SIZE) {
            break;
        }
        shown.append_to(&mut text);
        syslog.read = mark;
    }
    drop(syslog);
    text.truncate(count);
    Ok((!text.is_empty()).then_some(text))
}

/// How many bytes wait for [`read_new`].
pub fn unread() -> usize {
    let mark = SYSLOG.lock().read;
    shown_size(mark)
}

/// Makes [`newest`] start with what comes from now on.
pub fn clear() {
    let end = RECORDS.lock().end();
    SYSLOG.lock().cleared = end;
}

/// Writes one line to the kernel's log.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::log::write_line(core::format_args!($($argument)*))
    };
}
