//! The serial console: what the log and the terminal write, what somebody types, and the last words of a panic.
//!
//! Writers put their bytes into a ring under a spin lock; the UART takes them from there as fast as its queue empties, by
//! interrupt. What was received waits in a ring of its own until the terminal's coroutine fetches it. Only who must not
//! wait empties the ring by polling: a panic, powering off, and a line of the log that finds no room.

use crate::interrupts::{self, Handler};
use base::Result;
use base::sync::atomic::{AtomicBool, Ordering};
use base::sync::{OnceCell, SpinLock, WaitQueue};
use drivers::machine::{Interrupt, Uart as Description};
use drivers::mmio::DeviceSpace;
use drivers::uart16550::{Interrupts, Uart16550};

const RING_SIZE: usize = 8192;
const RECEIVED_SIZE: usize = 512;
/// The most bytes that are sent at once with preemption off; the UART interrupts for the rest.
const BURST: usize = 256;
/// How often a panic tries to get the console from whoever has it.
const PANIC_TRIES: usize = 1 << 22;

static CONSOLE: OnceCell<Console> = OnceCell::new();
/// Beside the console, so that no boot stack ever holds it.
static STATE: SpinLock<State> =
    SpinLock::new(State { output: Ring::new(), input: Ring::new(), starved: false, announced: false });

/// The console: its UART, what waits to be sent, and what was received.
pub struct Console {
    uart: Uart16550,
    interrupt: Option<Interrupt>,
    /// Its interrupt has a handler.
    interrupting: AtomicBool,
    state: &'static SpinLock<State>,
    /// Woken when there is room in the ring again after there was too little.
    room: WaitQueue,
    /// Woken when something was received.
    received: WaitQueue,
}

struct State {
    output: Ring<RING_SIZE>,
    input: Ring<RECEIVED_SIZE>,
    /// A writer found too little room and wants to be woken.
    starved: bool,
    /// There is room again, and [`Console::wait_room_again`] has not said so yet.
    announced: bool,
}

struct Ring<const SIZE: usize> {
    bytes: [u8; SIZE],
    head: usize,
    length: usize,
}

impl<const SIZE: usize> Ring<SIZE> {
    const fn new() -> Self {
        Self { bytes: [0; SIZE], head: 0, length: 0 }
    }

    fn room(&self) -> usize {
        SIZE - self.length
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let start = (self.head + self.length) % SIZE;
        let first = count.min(SIZE - start);
        self.bytes[start..start + first].copy_from_slice(&bytes[..first]);
        self.bytes[..count - first].copy_from_slice(&bytes[first..count]);
        self.length += count;
        count
    }

    /// The first bytes that lie in one piece.
    fn front(&self) -> &[u8] {
        let end = (self.head + self.length).min(SIZE);
        &self.bytes[self.head..end]
    }

    fn consume(&mut self, count: usize) {
        self.head = (self.head + count) % SIZE;
        self.length -= count;
    }

    fn pop(&mut self, target: &mut [u8]) -> usize {
        let mut total = 0;
        while total < target.len() && self.length > 0 {
            let front = self.front();
            let count = front.len().min(target.len() - total);
            target[total..total + count].copy_from_slice(&front[..count]);
            self.consume(count);
            total += count;
        }
        total
    }
}

impl Console {
    /// Queues as many of `bytes` as there is room for and starts sending; returns how many. Who got rid of fewer may
    /// wait with [`Console::wait_room_again`].
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock();
        let count = state.output.push(bytes);
        state.starved |= count < bytes.len();
        self.send(&mut state);
        count
    }

    /// Whether there is room for so many bytes, at most 8192; if not, [`Console::room`] is woken when there is some.
    pub fn has_room_for(&self, count: usize) -> bool {
        let mut state = self.state.lock();
        let fits = count <= state.output.room();
        state.starved |= !fits;
        self.send(&mut state);
        fits
    }

    fn push_whole(&self, state: &mut State, pieces: &[&[u8]]) -> bool {
        let fits = pieces.iter().map(|piece| piece.len()).sum::<usize>() <= state.output.room();
        if fits {
            for piece in pieces {
                state.output.push(piece);
            }
        }
        fits
    }

    /// Whether nobody was refused since there was room last: the condition for waiting on [`Console::room`].
    pub fn has_room(&self) -> bool {
        !self.state.lock().starved
    }

    /// Woken when there is room again.
    pub fn room(&self) -> &WaitQueue {
        &self.room
    }

    /// Waits until there is room again after somebody found too little; for the one who feeds the console by and by.
    pub async fn wait_room_again(&self) {
        let announced = || core::mem::take(&mut self.state.lock().announced).then_some(());
        self.room.wait_until(announced).await;
    }

    /// Takes bytes that were received, at least one and at most `target.len()`, which is not 0; waits for them.
    pub async fn read(&self, target: &mut [u8]) -> usize {
        let taken = || {
            let mut state = self.state.lock();
            let was_full = state.input.room() == 0;
            let count = state.input.pop(target);
            if was_full && count > 0 {
                // What the UART kept meanwhile, and interrupts for more.
                self.receive(&mut state);
                self.send(&mut state);
            }
            (count > 0).then_some(count)
        };
        self.received.wait_until(taken).await
    }

    /// Sends what the UART takes now; it interrupts for the rest, and for what is received as long as that finds room.
    fn send(&self, state: &mut State) {
        let output = &mut state.output;
        let mut burst = 0;
        while output.length > 0 && burst < BURST {
            let sent = self.uart.write_some(output.front());
            output.consume(sent);
            burst += sent;
            if sent == 0 {
                break;
            }
        }
        if !self.interrupting.load(Ordering::Relaxed) {
            return;
        }
        let mut wanted = Interrupts::empty();
        wanted.set(Interrupts::RECEIVED, state.input.room() > 0);
        wanted.set(Interrupts::TRANSMIT_EMPTY, state.output.length > 0);
        self.uart.set_interrupts(wanted);
    }

    /// Takes from the UART what it has received, as far as there is room.
    fn receive(&self, state: &mut State) {
        while state.input.room() > 0
            && let Some(byte) = self.uart.try_read()
        {
            state.input.push(&[byte]);
        }
    }

    /// Sends everything, by polling.
    fn flush(&self, output: &mut Ring<RING_SIZE>) {
        while output.length > 0 {
            let front = output.front();
            self.uart.write_all(front);
            let count = front.len();
            output.consume(count);
        }
    }
}

impl Handler for Console {
    fn handle(&self) {
        self.uart.on_interrupt();
        let mut state = self.state.lock();
        self.receive(&mut state);
        self.send(&mut state);
        let has_received = state.input.length > 0;
        let has_room = state.starved && state.output.length < RING_SIZE / 2;
        if has_room {
            state.starved = false;
            state.announced = true;
        }
        drop(state);
        if has_received {
            self.received.wake_all();
        }
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
    // Set once, at boot.
    let _ = CONSOLE.set(Console {
        uart,
        interrupt: description.interrupt,
        interrupting: AtomicBool::new(false),
        state: &STATE,
        room: WaitQueue::new(),
        received: WaitQueue::new(),
    });
    Ok(())
}

/// Lets the console interrupt from now on.
///
/// # Errors
/// Those of [`interrupts::register`]; `NoDevice` when the UART has no interrupt.
pub fn enable_interrupts(console: &'static Console) -> Result<()> {
    interrupts::register(console.interrupt.ok_or(base::Error::NoDevice)?, console)?;
    console.interrupting.store(true, Ordering::Relaxed);
    console.send(&mut console.state.lock());
    Ok(())
}

/// The console, once there is one.
pub fn get() -> Option<&'static Console> {
    CONSOLE.get()
}

/// Writes the pieces with nothing in between, from anywhere and without waiting: what finds no room in the ring has it
/// emptied by polling.
pub fn write_pieces(pieces: &[&[u8]]) {
    let Some(console) = CONSOLE.get() else { return };
    let mut state = console.state.lock();
    if !console.push_whole(&mut state, pieces) {
        console.flush(&mut state.output);
        for piece in pieces {
            console.uart.write_all(piece);
        }
    }
    console.send(&mut state);
}

/// Sends everything that waits, by polling, before the machine goes off.
pub fn drain() {
    let Some(console) = CONSOLE.get() else { return };
    console.flush(&mut console.state.lock().output);
}

/// The console is a panic's from now on: whoever else writes waits for ever. What was written before is sent.
///
/// Where the lock is held by what has just failed, the panic goes on without it.
pub fn seize_for_panic() {
    let Some(console) = CONSOLE.get() else { return };
    for _ in 0..PANIC_TRIES {
        if let Some(mut state) = console.state.try_lock() {
            console.flush(&mut state.output);
            console.uart.set_interrupts(Interrupts::empty());
            core::mem::forget(state);
            return;
        }
        core::hint::spin_loop();
    }
}

/// Writes at once, for a panic that has seized the console.
pub fn panic_write(bytes: &[u8]) {
    if let Some(console) = CONSOLE.get() {
        console.uart.write_all(bytes);
    }
}
