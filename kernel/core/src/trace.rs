//! What the kernel records of itself: its trace points, and where the records go.
//!
//! `asyncos.trace=N` on the command line gives each hart a ring of the last N records. They are shown after a panic, and where
//! somebody expects frames on the serial line (`cargo xtask run --trace FILE`) they are sent before the machine powers off.

use crate::command_line::LogMode;
use crate::{hart, log};
use abi::trace::{Event, Record};
use alloc::vec::Vec;
use base::Result;
use base::task::TaskPointer;
pub use base::trace::{event, is_enabled};
use zerocopy::IntoBytes;

/// Records in a frame.
const FRAME_RECORDS: usize = 128;

/// Begins to record, if the command line says so.
///
/// # Errors
/// `OutOfMemory`.
pub fn initialise(records: usize) -> Result<()> {
    if records == 0 { Ok(()) } else { base::trace::enable(hart::online().len(), records) }
}

/// Records that something happened to what runs on this hart.
#[inline(always)]
pub fn here(event: Event, detail: u32, argument: usize) {
    if is_enabled() {
        of_current(event, detail, argument);
    }
}

#[cold]
fn of_current(event: Event, detail: u32, argument: usize) {
    let current = hart::with(|hart| hart.local.current.get());
    of(event, current, detail, argument);
}

/// Records that something happened to a coroutine.
#[inline(always)]
pub fn of(kind: Event, task: Option<TaskPointer>, detail: u32, argument: usize) {
    event(kind, task.map_or(0, |task| task.address()), detail, argument as u64);
}

/// Shows the last `count` records of every hart.
pub fn show_last(count: u64, mut show: impl FnMut(&Record)) {
    for hart in hart::online() {
        base::trace::last(hart.index(), count, |record| show(&record));
    }
}

/// Sends everything that is recorded to the other side of the serial line, if it expects frames: the last thing before the
/// machine is off.
pub fn send() {
    if log::mode() != LogMode::Framed || !is_enabled() {
        return;
    }
    let mut frame = Vec::new();
    // Without memory for a frame the trace is lost; the machine is about to end.
    if frame.try_reserve_exact(FRAME_RECORDS * size_of::<Record>()).is_err() {
        return;
    }
    base::trace::visit(|record| {
        frame.extend_from_slice(record.as_bytes());
        if frame.len() == frame.capacity() {
            log::frame("trace", &frame);
            crate::console::drain();
            frame.clear();
        }
    });
    log::frame("trace", &frame);
    crate::console::drain();
}
