//! The lock for a few instructions: its holder cannot be preempted, its waiters spin.
//!
//! Test-and-set with an exchange, then waiting on plain loads. Not a ticket lock: harts here are often virtual
//! processors that share a host core, and a ticket makes everybody wait for the one whose turn it is while it does not run.
//! Critical sections are short by rule, which is what bounds the wait.

use super::atomic::{AtomicU32, Ordering, spin_hint};
use super::cell::DataCell;
use crate::hal::PreemptGuard;
use core::fmt;
use core::ops::{Deref, DerefMut};

const FREE: u32 = 0;
const HELD: u32 = 1;

/// The algorithm without the data.
pub(super) struct RawSpinLock {
    // A word, not a byte: RISC-V's exchange works on words, a byte would take a masked loop.
    state: AtomicU32,
}

impl RawSpinLock {
    const_unless_loom! {
        pub fn new() -> Self {
            Self { state: AtomicU32::new(FREE) }
        }
    }

    #[inline(always)]
    pub fn lock(&self) {
        if !self.try_lock() {
            self.lock_contended();
        }
    }

    #[inline(always)]
    pub fn try_lock(&self) -> bool {
        self.state.swap(HELD, Ordering::Acquire) == FREE
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(&self) {
        loop {
            // A model checker would explore how often one can look in vain, which is without end.
            #[cfg(not(loom))]
            while self.is_locked() {
                spin_hint();
            }
            #[cfg(loom)]
            spin_hint();
            if self.try_lock() {
                return;
            }
        }
    }

    #[inline(always)]
    pub fn unlock(&self) {
        #[cfg(not(loom))]
        self.state.store(FREE, Ordering::Release);
        // Loom may order a plain store before an exchange that preceded it, and then spin for ever.
        #[cfg(loom)]
        self.state.swap(FREE, Ordering::Release);
    }

    #[cfg_attr(
        loom,
        expect(dead_code, reason = "only the model of the algorithm itself uses this lock there")
    )]
    pub fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) != FREE
    }
}

// Everything that is built on spin locks is model-checked on a lock that blocks: the checker need not try out how long
// each hart spins. The algorithm above has a model of its own.
#[cfg(not(loom))]
use RawSpinLock as Exclusion;
#[cfg(loom)]
type Exclusion = loom::sync::Mutex<()>;

/// Data that one hart at a time may touch, for a few instructions, with preemption off.
///
/// A coroutine that kept the guard across an `.await` could not be spawned:
///
/// ```compile_fail
/// use base::sync::SpinLock;
/// fn spawn(_: impl Future<Output = ()> + Send) {}
/// static LOCK: SpinLock<u32> = SpinLock::new(0);
/// spawn(async {
///     let guard = LOCK.lock();
///     core::future::ready(()).await;
///     drop(guard);
/// });
/// ```
pub struct SpinLock<T: ?Sized> {
    exclusion: Exclusion,
    data: DataCell<T>,
}

// SAFETY: the lock hands the data to one hart at a time.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}
// SAFETY: as for `Send`; a shared lock only ever gives exclusive access.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    #[cfg(not(loom))]
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { exclusion: Exclusion::new(), data: DataCell::new(value) }
    }

    #[cfg(loom)]
    /// A free lock around `value`.
    pub fn new(value: T) -> Self {
        Self { exclusion: Exclusion::new(()), data: DataCell::new(value) }
    }

    /// The data, when nobody shares the lock any more.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock; spins, with preemption off, while another hart has it.
    ///
    /// Taking a lock that this hart holds already never returns.
    #[inline(always)]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        let preempt = PreemptGuard::new();
        #[cfg(not(loom))]
        self.exclusion.lock();
        SpinGuard {
            lock: self,
            #[cfg(loom)]
            _exclusion: self.exclusion.lock().expect("a model that panics has failed anyway"),
            _preempt: preempt,
        }
    }

    /// Takes the lock if it is free.
    #[inline(always)]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let preempt = PreemptGuard::new();
        #[cfg(not(loom))]
        self.exclusion.try_lock().then_some(())?;
        #[cfg(loom)]
        let taken = self.exclusion.try_lock().ok()?;
        Some(SpinGuard {
            lock: self,
            #[cfg(loom)]
            _exclusion: taken,
            _preempt: preempt,
        })
    }

    /// The data, for one who has the lock to itself.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// Whether somebody holds the lock now; for assertions and for reports after a panic.
    #[cfg(not(loom))]
    pub fn is_locked(&self) -> bool {
        self.exclusion.is_locked()
    }
}

impl<T: ?Sized> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

impl<T: Default> Default for SpinLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// The right to touch the data of a [`SpinLock`]. Preemption is off while it lives; it is not `Send`.
#[must_use = "the lock is free again as soon as the guard is dropped"]
pub struct SpinGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
    #[cfg(loom)]
    _exclusion: loom::sync::MutexGuard<'a, ()>,
    // Dropped after `Drop::drop` has freed the lock: a holder is never preempted.
    _preempt: PreemptGuard,
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only holder of the lock.
        unsafe { &*self.lock.data.pointer_shared() }
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the only holder of the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.data.pointer_exclusive() }
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(not(loom))]
        self.lock.exclusion.unlock();
    }
}
