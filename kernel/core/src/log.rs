//! The kernel's log: a ring of the last lines, and the console when that is asked for.
//!
//! A line is formatted on the stack and copied under a spin lock, so that it can be written from anywhere, an interrupt
//! handler or a panic included.

use crate::command_line::LogMode;
use crate::console;
use base::hal::now_ns;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU8, Ordering};
use core::fmt::{self, Write};

const RING_SIZE: usize = 64 << 10;
const LINE_SIZE: usize = 512;

static MODE: AtomicU8 = AtomicU8::new(LogMode::Off as u8);
static RING: SpinLock<Ring> = SpinLock::new(Ring { bytes: [0; RING_SIZE], written: 0 });

struct Ring {
    bytes: [u8; RING_SIZE],
    written: usize,
}

impl Ring {
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
    match mode() {
        LogMode::Off => {}
        LogMode::Console => console::write_pieces(&[line.as_bytes()]),
        LogMode::Framed => frame("log", line.as_bytes()),
    }
}

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

/// Writes one line to the kernel's log.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::log::write_line(core::format_args!($($argument)*))
    };
}
