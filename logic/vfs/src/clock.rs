//! The time of day, which file systems stamp their files with.

use core::sync::atomic::{AtomicI64, Ordering};

/// Nanoseconds since 1970-01-01 00:00 UTC: what the hardware counts, plus an offset that can be set.
///
/// One is shared by everything that shows the time of day, so that setting it is seen everywhere at once.
#[derive(Debug, Default)]
pub struct WallClock {
    offset_ns: AtomicI64,
}

impl WallClock {
    /// A clock that shows the time since boot until it is set.
    pub const fn new() -> Self {
        Self { offset_ns: AtomicI64::new(0) }
    }

    /// Nanoseconds since 1970 (before it, when negative).
    #[inline]
    pub fn now_ns(&self) -> i64 {
        (base::hal::now_ns() as i64).wrapping_add(self.offset_ns.load(Ordering::Relaxed))
    }

    /// What is added to what the hardware counts.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns.load(Ordering::Relaxed)
    }

    /// Makes the clock show `now_ns` at this moment.
    pub fn set_ns(&self, now_ns: i64) {
        self.offset_ns.store(now_ns.wrapping_sub(base::hal::now_ns() as i64), Ordering::Relaxed);
    }
}
