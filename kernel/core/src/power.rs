//! The end: powering off with a status, restarting.

use crate::command_line::LogMode;
use crate::{console, console_terminal};
use crate::{log, trace};
use arch_riscv64 as arch;
use base::sync::OnceCell;
use core::fmt::Write;
use drivers::finisher::Finisher;

/// QEMU's exit status after a kernel panic, as `cargo xtask run` expects it.
pub const PANIC_STATUS: u8 = 125;

static FINISHER: OnceCell<Finisher> = OnceCell::new();

/// Remembers the device that ends QEMU with a status.
pub fn set_finisher(finisher: Finisher) {
    // Set once, at boot.
    let _ = FINISHER.set(finisher);
}

/// Ends the machine after a panic was reported, with [`PANIC_STATUS`].
pub fn off_after_panic() -> ! {
    if let Some(finisher) = FINISHER.get() {
        finisher.fail(u16::from(PANIC_STATUS));
    }
    arch::firmware::power_off();
    halt()
}

/// Powers the machine off; where the machine can say so, `status` is what its emulator exits with.
pub fn off(status: u8) -> ! {
    console_terminal::drain();
    if log::mode() == LogMode::Framed {
        trace::send();
        let mut digits = log::Line::new();
        // Writing to a `Line` cannot fail.
        let _ = write!(digits, "{status}");
        log::frame("exit", digits.as_bytes());
        console::drain();
    }
    if let Some(finisher) = FINISHER.get() {
        match status {
            0 => finisher.pass(),
            code => finisher.fail(u16::from(code)),
        }
    }
    arch::firmware::power_off();
    halt()
}

/// Restarts the machine.
pub fn restart() -> ! {
    console_terminal::drain();
    if let Some(finisher) = FINISHER.get() {
        finisher.reset();
    }
    arch::firmware::restart();
    halt()
}

/// Stops this hart for good.
pub fn halt() -> ! {
    arch::hart::interrupts_mask();
    loop {
        arch::hart::wait_for_interrupt();
    }
}
