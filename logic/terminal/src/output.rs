//! What goes to the screen: output processing, echo, and the buffer in which bytes wait for the device.

use crate::termios::Termios;
use abi::linux::general as linux;
use alloc::boxed::Box;

/// Where a terminal's bytes go: a UART, the other end of a pseudo-terminal.
pub trait Output: Send + Sync {
    /// Takes as many of `bytes` as there is room for at once; returns how many. When it took fewer, the owner calls
    /// [`crate::Terminal::drain`] once there is room again. Called with the terminal locked: it must not call back.
    fn write(&self, bytes: &[u8]) -> usize;
}

/// Bytes that may wait for the device.
pub const CAPACITY: usize = 4096;
/// How many of them are kept for echo, so that a program that writes a lot does not make typing invisible.
const ECHO_RESERVE: usize = 512;
/// The most bytes that one byte becomes: a tab that is expanded.
const EXPANSION_MAX: usize = 8;
const TAB: usize = 8;

/// Whether `byte` is the second or a later byte of a UTF-8 sequence, if the terminal's input is UTF-8.
#[inline]
pub(crate) fn is_continuation(byte: u8, settings: &Termios) -> bool {
    byte & 0xc0 == 0x80 && settings.input(linux::IUTF8)
}

/// The capital letter of a Latin-1 letter, as Linux's `OLCUC` has it.
fn to_upper(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xfe => byte - 0x20,
        _ => byte,
    }
}

/// The small letter of a Latin-1 letter, as Linux's `IUCLC` has it.
pub(crate) fn to_lower(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte + 0x20,
        _ => byte,
    }
}

/// Output that is processed and not yet taken by the device, and where the cursor is.
#[derive(Debug)]
pub struct Stage {
    bytes: Box<[u8; CAPACITY]>,
    /// Counts of bytes taken and put; their difference waits.
    taken: usize,
    put: usize,
    column: usize,
    /// The column at which the line that is being typed began.
    line_column: usize,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// Nothing waits; the cursor is in column 0.
    pub fn new() -> Self {
        Self { bytes: Box::new([0; CAPACITY]), taken: 0, put: 0, column: 0, line_column: 0 }
    }

    /// How many bytes wait for the device.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.put - self.taken
    }

    /// How many bytes of a program's output can be processed now, whatever they are.
    #[inline]
    pub fn room(&self, settings: &Termios) -> usize {
        let free = (CAPACITY - ECHO_RESERVE).saturating_sub(self.waiting());
        if !settings.output(linux::OPOST) {
            free
        } else if settings.output_flags & linux::TABDLY == linux::XTABS {
            free / EXPANSION_MAX
        } else {
            free / 2
        }
    }

    /// Drops what waits.
    pub fn flush(&mut self) {
        self.taken = self.put;
    }

    /// Gives to `output` what waits, as far as it takes it.
    pub fn drain(&mut self, output: &dyn Output) {
        while self.taken != self.put {
            let start = self.taken % CAPACITY;
            let end = (start + self.waiting()).min(CAPACITY);
            let count = output.write(&self.bytes[start..end]).min(end - start);
            self.taken += count;
            if count < end - start {
                return;
            }
        }
    }

    /// Takes the oldest bytes that wait into `target`; returns how many. (For outputs that fetch, and for tests.)
    pub fn take(&mut self, target: &mut [u8]) -> usize {
        let count = target.len().min(self.waiting());
        for byte in &mut target[..count] {
            *byte = self.bytes[self.taken % CAPACITY];
            self.taken += 1;
        }
        count
    }

    /// Puts a byte as it is. One that finds no room is lost; only echo can come to that.
    #[inline]
    fn put_byte(&mut self, byte: u8) {
        if self.waiting() < CAPACITY {
            self.bytes[self.put % CAPACITY] = byte;
            self.put += 1;
        }
    }

    /// Puts a program's bytes, at most [`Stage::room`] of them, with output processing.
    pub fn write(&mut self, bytes: &[u8], settings: &Termios) {
        if settings.output(linux::OPOST) {
            for byte in bytes {
                self.put_processed(*byte, settings);
            }
        } else {
            for byte in bytes {
                self.put_byte(*byte);
            }
        }
    }

    fn put_processed(&mut self, byte: u8, settings: &Termios) {
        if byte >= b' ' && byte != 0x7f {
            if !is_continuation(byte, settings) {
                self.column += 1;
            }
            let upper = settings.output(linux::OLCUC);
            return self.put_byte(if upper { to_upper(byte) } else { byte });
        }
        match byte {
            b'\n' => self.put_newline(settings),
            b'\r' => self.put_return(settings),
            b'\t' => {
                let spaces = TAB - self.column % TAB;
                self.column += spaces;
                if settings.output_flags & linux::TABDLY == linux::XTABS {
                    (0..spaces).for_each(|_| self.put_byte(b' '));
                } else {
                    self.put_byte(b'\t');
                }
            }
            _ => {
                if byte == 0x08 {
                    self.column = self.column.saturating_sub(1);
                }
                self.put_byte(byte);
            }
        }
    }

    fn put_newline(&mut self, settings: &Termios) {
        if settings.output(linux::ONLRET) {
            self.column = 0;
        }
        if settings.output(linux::ONLCR) {
            self.column = 0;
            self.put_byte(b'\r');
        }
        self.line_column = self.column;
        self.put_byte(b'\n');
    }

    fn put_return(&mut self, settings: &Termios) {
        if settings.output(linux::ONOCR) && self.column == 0 {
            return;
        }
        let becomes_newline = settings.output(linux::OCRNL);
        if !becomes_newline || settings.output(linux::ONLRET) {
            (self.column, self.line_column) = (0, 0);
        }
        self.put_byte(if becomes_newline { b'\n' } else { b'\r' });
    }

    /// Puts one byte without any processing (a START or STOP for the other side).
    pub(crate) fn echo_unprocessed(&mut self, byte: u8) {
        self.put_byte(byte);
    }

    /// Echoes a byte as it is, but for output processing.
    pub(crate) fn echo_raw(&mut self, byte: u8, settings: &Termios) {
        if settings.output(linux::OPOST) { self.put_processed(byte, settings) } else { self.put_byte(byte) }
    }

    /// Echoes a byte that was typed: control characters as `^X` when so set.
    pub(crate) fn echo(&mut self, byte: u8, settings: &Termios) {
        if byte.is_ascii_control() && byte != b'\t' && settings.local(linux::ECHOCTL) {
            self.put_byte(b'^');
            self.put_byte(byte ^ 0x40);
            self.column += 2;
        } else {
            self.echo_raw(byte, settings);
        }
    }

    /// Wipes out the character before the cursor.
    pub(crate) fn erase_character(&mut self, settings: &Termios) {
        for byte in [0x08, b' ', 0x08] {
            self.echo_raw(byte, settings);
        }
    }

    /// Moves the cursor back over a tab. Before the tab stood `columns` columns, counted from the start of the typed line
    /// or, `after_tab`, from the end of another tab.
    pub(crate) fn erase_tab(&mut self, columns: usize, after_tab: bool) {
        let columns = if after_tab { columns } else { columns + self.line_column };
        for _ in 0..TAB - columns % TAB {
            self.put_byte(0x08);
            self.column = self.column.saturating_sub(1);
        }
    }

    /// The line that is typed begins where the cursor is.
    pub(crate) fn mark_line_start(&mut self) {
        self.line_column = self.column;
    }

    /// The last byte echoed was part of a character that is counted already.
    pub(crate) fn move_back(&mut self) {
        self.column = self.column.saturating_sub(1);
    }
}
