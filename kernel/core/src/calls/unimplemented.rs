//! What was asked for and is not there: answered with `ENOSYS`, and counted where a person can see it.

use base::sync::atomic::{AtomicU32, Ordering};
use base::{Error, Result};

/// Numbers from here on share one counter.
const LIMIT: usize = 512;

static COUNTS: [AtomicU32; LIMIT] = [const { AtomicU32::new(0) }; LIMIT];

/// Counts a call that the kernel does not have.
///
/// # Errors
/// `NotImplemented`, always.
#[cold]
pub fn refuse(number: usize) -> Result<usize> {
    COUNTS[number.min(LIMIT - 1)].fetch_add(1, Ordering::Relaxed);
    Err(Error::NotImplemented)
}

/// The calls that were asked for and refused: number and how often.
pub fn counts() -> impl Iterator<Item = (usize, u32)> {
    let each = COUNTS.iter().enumerate();
    each.map(|(number, count)| (number, count.load(Ordering::Relaxed))).filter(|(_, count)| *count != 0)
}
