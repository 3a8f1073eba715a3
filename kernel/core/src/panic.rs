//! When the kernel itself fails: says what, where and on whose behalf, and ends the machine with its own status.

use crate::command_line::LogMode;
use crate::log::Line;
use crate::{console, hart, log, power};
use arch_riscv64 as arch;
use arch_riscv64::cause::Trap;
use arch_riscv64::trap::KernelFrame;
use base::sync::atomic::{AtomicBool, Ordering};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// How many lines of the log's end are repeated after a panic.
const LOG_TAIL: u64 = 16;

/// How many events of each hart are shown after a panic, when they are recorded.
const EVENTS: u64 = 24;

/// The most return addresses that a report shows.
const FRAMES: usize = 48;

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Sends a line of the report; framed where the other side expects frames.
fn report(arguments: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // Writing to a `Line` cannot fail.
    let _ = write!(line, "{arguments}");
    if log::mode() != LogMode::Framed {
        console::panic_write(line.as_bytes());
        console::panic_write(b"\r\n");
        return;
    }
    let mut head = Line::new();
    let _ = write!(head, "\x1b_asyncos;panic;{};", line.as_bytes().len() + 1);
    for piece in [head.as_bytes(), line.as_bytes(), b"\n\x1b\\"] {
        console::panic_write(piece);
    }
}

/// Makes this hart the one that reports. Another that comes later, or a failure of the report, stops here.
fn begin() {
    arch::hart::interrupts_mask();
    if PANICKED.swap(true, Ordering::AcqRel) {
        power::halt();
    }
    console::seize_for_panic();
}

fn end(arguments: fmt::Arguments<'_>, stack_pointer: usize) -> ! {
    let hart = hart::current();
    report(format_args!("kernel panic on hart {}: {arguments}", hart.index()));
    match hart.local.current.get() {
        Some(task) => report(format_args!("running {:?}", &*task)),
        None => report(format_args!("running no coroutine")),
    }
    report(format_args!("backtrace:"));
    for address in arch::stack::Backtrace::from(stack_pointer).take(FRAMES) {
        report(format_args!("  {address:#018x}"));
    }
    if base::trace::is_enabled() {
        report(format_args!("last events of each hart:"));
        crate::trace::show_last(EVENTS, |record| report(format_args!("  {record}")));
    }
    report(format_args!("last lines of the log:"));
    log::show_last(LOG_TAIL, |line| {
        report(format_args!("  {}", core::str::from_utf8(line).unwrap_or("(not text)")))
    });
    power::off_after_panic()
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    begin();
    let message = information.message();
    let stack = arch::stack::stack_pointer();
    match information.location() {
        Some(location) => end(format_args!("{message} at {location}"), stack),
        None => end(format_args!("{message}"), stack),
    }
}

#[unsafe(no_mangle)]
fn asyncos_kernel_fault(frame: &KernelFrame, trap: Trap, value: usize) -> ! {
    begin();
    report(format_args!(
        "fault of the kernel: {trap:?} at {:#x}, address {value:#x}, sp {:#x}, ra {:#x}",
        frame.registers[0], frame.registers[2], frame.registers[1],
    ));
    end(format_args!("fault of the kernel: {trap:?}"), frame.registers[2])
}

#[unsafe(no_mangle)]
fn asyncos_stack_overflow(stack_pointer: usize, pc: usize) -> ! {
    begin();
    end(format_args!("kernel stack overflow: sp {stack_pointer:#x} at {pc:#x}"), 0)
}
