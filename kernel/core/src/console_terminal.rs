//! The terminal on the serial console: the first terminal, and process 1's input and output.
//!
//! Two coroutines connect it with the UART: one gives it what was typed, one shows what waits in it when the UART's ring
//! has room again. The interrupt handler only moves bytes between the UART and the rings.

use crate::console::{self, Console};
use crate::terminal_device::{self, ControllingTerminalNode, OpenedAs, TerminalDevice};
use crate::{devices, executor};
use alloc::boxed::Box;
use alloc::sync::Arc;
use base::Result;
use base::sync::OnceCell;
use base::task::Priority;
use terminal::{Output, Terminal, WindowSize};
use vfs::metadata::DeviceNumber;
use vfs::{File, FileKind};

/// `/dev/tty`
pub const CONTROLLING_TERMINAL: DeviceNumber = DeviceNumber::new(5, 0);
/// `/dev/console`
pub const CONSOLE: DeviceNumber = DeviceNumber::new(5, 1);
/// `/dev/ttyS0`
pub const SERIAL: DeviceNumber = DeviceNumber::new(4, 64);

/// What is typed comes before whatever runs: it may be `^C`.
const PRIORITY: Priority = Priority::saturating(8);
/// How many typed bytes are looked at together.
const CHUNK: usize = 64;

static TERMINAL: OnceCell<Arc<TerminalDevice>> = OnceCell::new();

struct ConsoleOutput(&'static Console);

impl Output for ConsoleOutput {
    fn write(&self, bytes: &[u8]) -> usize {
        self.0.write(bytes)
    }
}

/// Makes the console's terminal and its nodes, and starts what connects it.
///
/// # Errors
/// `OutOfMemory`, and those of [`console::enable_interrupts`]. A machine without a console has no terminal; that is none.
pub fn start() -> Result<()> {
    let Some(console) = console::get() else { return Ok(()) };
    let terminal = Terminal::new(Box::new(ConsoleOutput(console)), WindowSize::default());
    let device = TerminalDevice::new(terminal, SERIAL);
    // Set once, at boot.
    let _ = TERMINAL.set(device.clone());
    let environment = devices::environment();
    let kind = FileKind::CharacterDevice;
    environment.register(kind, CONSOLE, device.node(OpenedAs::Console))?;
    environment.register(kind, SERIAL, device.node(OpenedAs::Terminal))?;
    environment.register(kind, CONTROLLING_TERMINAL, Arc::new(ControllingTerminalNode))?;
    console::enable_interrupts(console)?;
    executor::spawn(PRIORITY, take_what_is_typed(console, device.clone()))?;
    executor::spawn(PRIORITY, show_what_waits(console, device))?;
    Ok(())
}

/// The console as process 1 gets it.
pub fn open() -> Option<Arc<dyn File>> {
    TERMINAL.get().map(|device| device.open(OpenedAs::Console))
}

/// Sends everything that programs have written, without waiting, before the machine goes off.
pub fn drain() {
    console::drain();
    if let Some(device) = TERMINAL.get() {
        // The ring is empty now and takes all that the terminal holds, unless that was told to stop.
        device.terminal.drain();
        console::drain();
    }
}

async fn take_what_is_typed(console: &'static Console, device: Arc<TerminalDevice>) {
    let terminal = &device.terminal;
    let mut bytes = [0; CHUNK];
    loop {
        let count = console.read(&mut bytes).await;
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let taken = || Some(terminal.receive(rest)).filter(|received| received.count > 0);
            let received = terminal.input_room().wait_until(taken).await;
            for signal in received.signals.numbers() {
                terminal_device::send(received.foreground, signal);
            }
            rest = &rest[received.count..];
        }
    }
}

async fn show_what_waits(console: &'static Console, device: Arc<TerminalDevice>) {
    loop {
        console.wait_room_again().await;
        device.terminal.drain();
    }
}
