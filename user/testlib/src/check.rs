//! What a test says about the system: each check is a record in memory that the runner shares, so that neither a crash
//! nor a hang loses those before it.

use asyncos_apps::system::{Errno, Mapping};
use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes for the records of one test.
const RECORDS_BYTES: usize = 128 * 1024;
/// Where the records begin: the first word counts the bytes that are taken.
const FIRST_RECORD: usize = 4;

static RECORDS: OnceLock<Mapping> = OnceLock::new();

/// Makes the shared memory. The runner calls it once, before the first test.
///
/// # Errors
/// There is no memory.
pub fn prepare() -> Result<(), Errno> {
    let mapping = Mapping::shared(FIRST_RECORD + RECORDS_BYTES)?;
    let _ = RECORDS.set(mapping);
    Ok(())
}

fn records() -> &'static Mapping {
    RECORDS.get().expect("the runner prepares the memory before the first test")
}

fn taken() -> &'static AtomicU32 {
    records().word(0)
}

/// Takes every record out: lines that begin with `+` (holds) or `-` (does not), or `!` when there was no more room.
pub fn drain() -> Vec<String> {
    let length = taken().load(Ordering::Acquire) as usize;
    let bytes = records().load(FIRST_RECORD, length.min(RECORDS_BYTES));
    records().fill(0, FIRST_RECORD + length.min(RECORDS_BYTES), 0);
    let mut lines: Vec<String> =
        String::from_utf8_lossy(&bytes).lines().map(|line| line.replace('\0', "?")).collect();
    if length > RECORDS_BYTES {
        lines.push("!".into());
    }
    lines
}

/// Any thread and any process of a test may record; a record is one line.
fn record(verdict: char, text: &str) {
    let line = format!("{verdict}{}\n", text.replace('\n', " "));
    let start = taken().fetch_add(line.len() as u32, Ordering::AcqRel) as usize;
    if start + line.len() <= RECORDS_BYTES {
        records().store(FIRST_RECORD + start, line.as_bytes());
    }
}

/// Records that `holds` must be true; `detail` is only asked for when it is not. Gives `holds`.
pub fn check(what: &str, holds: bool, detail: impl FnOnce() -> String) -> bool {
    if holds {
        record('+', what);
    } else {
        record('-', &format!("{what}: {}", detail()));
    }
    holds
}

/// Checks a condition of which there is nothing more to say.
pub fn holds(what: &str, condition: bool) -> bool {
    check(what, condition, || "does not hold".into())
}

/// Checks that two values are equal.
pub fn equal<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> bool {
    check(what, got == wanted, || format!("got {got:?}, wanted {wanted:?}"))
}

/// Checks that a number lies in a range.
pub fn within<T: PartialOrd + Debug>(what: &str, got: T, range: std::ops::RangeInclusive<T>) -> bool {
    check(what, range.contains(&got), || format!("got {got:?}, wanted {range:?}"))
}

/// Checks that a call failed with exactly this errno value.
pub fn fails<T: Debug>(what: &str, got: Result<T, Errno>, wanted: i32) -> bool {
    let matches = matches!(&got, Err(Errno(number)) if *number == wanted);
    check(what, matches, || format!("got {got:?}, wanted Err({:?})", Errno(wanted)))
}

/// Checks that a call succeeded, and hands on its value.
pub fn succeeds<T>(what: &str, got: Result<T, Errno>) -> Option<T> {
    match got {
        Ok(value) => {
            record('+', what);
            Some(value)
        }
        Err(error) => {
            record('-', &format!("{what}: got {error:?}"));
            None
        }
    }
}

/// Hands on the value of a call that the rest of the test cannot do without; its failure ends the test.
#[track_caller]
pub fn need<T>(got: Result<T, Errno>) -> T {
    match got {
        Ok(value) => value,
        Err(error) => panic!("what the test needs: {error}"),
    }
}

/// Has a panic of the test recorded with its place.
pub fn record_panics() {
    std::panic::set_hook(Box::new(|panic| record('-', &panic.to_string())));
}
