//! What is set once, at boot, and read ever after at the cost of a load.

use super::atomic::{AtomicU32, Ordering, spin_hint};
use super::cell::DataCell;
use crate::hal::PreemptGuard;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Deref;

const EMPTY: u32 = 0;
const WRITING: u32 = 1;
const SET: u32 = 2;

/// A value that is set once.
pub struct OnceCell<T> {
    state: AtomicU32,
    value: DataCell<MaybeUninit<T>>,
}

// SAFETY: the value moves in with `set` and out with the cell.
unsafe impl<T: Send> Send for OnceCell<T> {}
// SAFETY: readers share `&T`; the one who sets it may be another than the one who drops it.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}

impl<T> OnceCell<T> {
    const_unless_loom! {
        /// An empty cell.
        pub fn new() -> Self {
            Self { state: AtomicU32::new(EMPTY), value: DataCell::new(MaybeUninit::uninit()) }
        }
    }

    /// The value, once it is set.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != SET {
            return None;
        }
        // SAFETY: set, and never written again.
        Some(unsafe { (*self.value.pointer_shared()).assume_init_ref() })
    }

    /// Sets the value.
    ///
    /// # Errors
    /// The value, when the cell is set, or is being set, already.
    pub fn set(&self, value: T) -> Result<(), T> {
        // Whoever waits for the value spins: the one who writes it must not be preempted.
        let _preempt = PreemptGuard::new();
        if self.state.compare_exchange(EMPTY, WRITING, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY: only the one who made the state `WRITING` writes, and nobody reads before it is `SET`.
        unsafe { (*self.value.pointer_exclusive()).write(value) };
        self.state.store(SET, Ordering::Release);
        Ok(())
    }

    /// The value; made by `make` if there is none. Of several that come at once one makes it, preemption off, while
    /// the others spin: `make` must be short, and must not ask for this value.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            self.init(make);
        }
        self.get().expect("`init` returns when the value is set")
    }

    #[cold]
    fn init(&self, make: impl FnOnce() -> T) {
        let _preempt = PreemptGuard::new();
        if self.state.compare_exchange(EMPTY, WRITING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let value = make();
            // SAFETY: as in `set`.
            unsafe { (*self.value.pointer_exclusive()).write(value) };
            self.state.store(SET, Ordering::Release);
            return;
        }
        while self.state.load(Ordering::Relaxed) != SET {
            spin_hint();
        }
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for OnceCell<T> {
    fn drop(&mut self) {
        if self.state.load(Ordering::Relaxed) == SET {
            // SAFETY: set, and the cell is going away.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}

/// A value that is made when it is first used.
pub struct Lazy<T, F = fn() -> T> {
    cell: OnceCell<T>,
    make: F,
}

impl<T, F: Fn() -> T> Lazy<T, F> {
    const_unless_loom! {
        /// A value that `make` will make. See [`OnceCell::get_or_init`] for what it may do.
        pub fn new(make: F) -> Self {
            Self { cell: OnceCell::new(), make }
        }
    }
}

impl<T, F: Fn() -> T> Deref for Lazy<T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.cell.get_or_init(&self.make)
    }
}
