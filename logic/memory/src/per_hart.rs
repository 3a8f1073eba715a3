//! One value for each hart, used only by that hart and only while it cannot be preempted.
#![expect(unsafe_code, reason = "exclusive access follows from the hart index under a preemption guard")]

use base::hal::PreemptGuard;
use core::cell::UnsafeCell;
#[cfg(not(target_os = "none"))]
use core::sync::atomic::AtomicBool;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The most harts the system runs on.
pub const MAX_HARTS: usize = 8;

/// One hart's value, in cache lines of its own, so that none disturbs another.
#[repr(align(64))]
pub(crate) struct Slot<T> {
    /// On a host, threads that never chose a hart index all play hart 0 at once; on hardware that cannot happen.
    #[cfg(not(target_os = "none"))]
    busy: AtomicBool,
    count: AtomicUsize,
    value: UnsafeCell<T>,
}

impl<T> Slot<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            #[cfg(not(target_os = "none"))]
            busy: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        }
    }
}

/// A number that only its own hart changes and every hart may read.
#[derive(Clone, Copy)]
pub(crate) struct Count<'a>(&'a AtomicUsize);

impl Count<'_> {
    /// Adds, wrapping: a plain load and store, as nobody else writes.
    #[inline(always)]
    pub(crate) fn add(self, amount: usize) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Subtracts, wrapping.
    #[inline(always)]
    pub(crate) fn subtract(self, amount: usize) {
        self.add(amount.wrapping_neg());
    }
}

/// A value and a [`Count`] for each hart.
pub(crate) struct PerHart<T>([Slot<T>; MAX_HARTS]);

// SAFETY: a value is only reached by its own hart, one closure at a time (see `with`); the counts are atomic.
unsafe impl<T: Send> Sync for PerHart<T> {}

impl<T> PerHart<T> {
    pub(crate) const fn new(slots: [Slot<T>; MAX_HARTS]) -> Self {
        Self(slots)
    }

    /// Runs `action` on this hart's value and count. `action` must be short and must not come back here.
    #[inline(always)]
    pub(crate) fn with<R>(&self, action: impl FnOnce(&mut T, Count<'_>) -> R) -> R {
        let guard = PreemptGuard::new();
        let slot = &self.0[guard.hart_index()];
        #[cfg(not(target_os = "none"))]
        while slot.busy.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        // SAFETY: only this hart uses this slot, and nothing else runs on it while the guard lives; `action` is
        // private to this crate and does not nest. On a host the flag does the same.
        let result = action(unsafe { &mut *slot.value.get() }, Count(&slot.count));
        #[cfg(not(target_os = "none"))]
        slot.busy.store(false, Ordering::Release);
        drop(guard);
        result
    }

    /// The sum of the counts, wrapping; exact while no hart is changing its own.
    pub(crate) fn total(&self) -> usize {
        self.0.iter().fold(0, |sum, slot| sum.wrapping_add(slot.count.load(Ordering::Relaxed)))
    }
}
