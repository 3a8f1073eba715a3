//! The serial console: what the log and panics write at once, and what the terminal writes by and by.
//!
//! Writers put their bytes into a ring under a spin lock; the UART takes them from there as fast as its queue empties, by
//! interrupt. Only who must not wait (the log, a panic, powering off) empties the ring by polling.

use base::Result;
use base::sync::{OnceCell, SpinLock, WaitQueue};
use drivers::machine::Uart as Description;
use drivers::mmio::DeviceSpace;
use drivers::uart16550::{Interrupts, Uart16550};

const RING_SIZE: usize = 8192;

static CONSOLE: OnceCell<Console> = OnceCell::new();

/// The console: its UART and what waits to be sent.
pub struct Console {
    uart: Uart16550,
    output: SpinLock<Output>,
    /// Writers that wait for room.
    pub room: WaitQueue,
}

struct Output {
    bytes: [u8; RING_SIZE],
    head: usize,
    length: usize,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(RING_SIZE - self.length);
        for &byte in &bytes[..count] {
            self.bytes[(self.head + self.length) % RING_SIZE] = byte;
            self.length += 1;
        }
        count
    }

    /// The first bytes that lie in one piece.
    fn front(&self) -> &[u8] {
        let end = (self.head + self.length).min(RING_SIZE);
        &self.bytes[self.head..end]
    }

    fn consume(&mut self, count: usize) {
        self.head = (self.head + count) % RING_SIZE;
        self.length -= count;
    }
}

impl Console {
    /// Queues as many of `bytes` as there is room for and starts sending; returns how many.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut output = self.output.lock();
        let count = output.push(bytes);
        self.send(&mut output);
        count
    }

    /// How many bytes wait to be sent.
    pub fn pending(&self) -> usize {
        self.output.lock().length
    }

    /// Sends what the UART takes now; it interrupts for the rest.
    fn send(&self, output: &mut Output) {
        let sent = self.uart.write_some(output.front());
        output.consume(sent);
        let mut wanted = Interrupts::RECEIVED;
        wanted.set(Interrupts::TRANSMIT_EMPTY, output.length > 0);
        self.uart.set_interrupts(wanted);
    }

    /// Sends everything, by polling.
    fn flush(&self, output: &mut Output) {
        while output.length > 0 {
            let front = output.front();
            self.uart.write_all(front);
            let count = front.len();
            output.consume(count);
        }
    }

    /// The UART interrupts: sends more, and gives each received byte to `receive`.
    pub fn on_interrupt(&self, mut receive: impl FnMut(u8)) {
        self.uart.on_interrupt();
        while let Some(byte) = self.uart.try_read() {
            receive(byte);
        }
        let mut output = self.output.lock();
        self.send(&mut output);
        let has_room = output.length < RING_SIZE / 2;
        drop(output);
        if has_room {
            self.room.wake_all();
        }
    }
}

/// Takes the UART over.
///
/// # Errors
/// What its driver says.
pub fn initialise(description: &Description, space: &DeviceSpace) -> Result<()> {
    let uart = Uart16550::new(description, space)?;
    let output = SpinLock::new(Output { bytes: [0; RING_SIZE], head: 0, length: 0 });
    // Set once, at boot.
    let _ = CONSOLE.set(Console { uart, output, room: WaitQueue::new() });
    Ok(())
}

/// The console, once there is one.
pub fn get() -> Option<&'static Console> {
    CONSOLE.get()
}

/// Writes now, after everything that waits; from anywhere.
pub fn emergency_write(bytes: &[u8]) {
    write_pieces(&[bytes]);
}

/// As [`emergency_write`], several pieces with nothing in between.
pub fn write_pieces(pieces: &[&[u8]]) {
    let Some(console) = CONSOLE.get() else { return };
    let mut output = console.output.lock();
    console.flush(&mut output);
    for piece in pieces {
        console.uart.write_all(piece);
    }
}

/// Sends everything that waits, before the machine goes off.
pub fn drain() {
    write_pieces(&[]);
}

/// For a panic: writes without asking who holds the lock, since they may be the one that panicked.
pub fn panic_write(bytes: &[u8]) {
    let Some(console) = CONSOLE.get() else { return };
    if let Some(mut output) = console.output.try_lock() {
        console.flush(&mut output);
    }
    console.uart.write_all(bytes);
}
