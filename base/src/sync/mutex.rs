//! The lock that a coroutine may hold across `.await`.

use super::cell::DataCell;
use super::semaphore::{Acquire, Semaphore};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{Context, Poll};

/// Data that one coroutine at a time may touch, for as long as it likes. First come, first served.
///
/// Uncontended, locking is one compare-and-exchange and unlocking one addition. When somebody waits, the lock is handed
/// over directly, so that nobody overtakes.
pub struct Mutex<T: ?Sized> {
    semaphore: Semaphore,
    data: DataCell<T>,
}

// SAFETY: the semaphore hands the data to one coroutine at a time.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as for `Send`; a shared mutex only ever gives exclusive access.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    const_unless_loom! {
        /// A free mutex around `value`.
        pub fn new(value: T) -> Self {
            Self { semaphore: Semaphore::new(1), data: DataCell::new(value) }
        }
    }

    /// The data, when nobody shares the mutex any more.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, acquire: self.semaphore.acquire(1) }
    }

    /// Takes the lock if it is free and nobody waits for it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.semaphore.try_acquire(1).then(|| MutexGuard::new(self))
    }

    /// Whether somebody has the lock at this moment.
    pub fn is_locked(&self) -> bool {
        self.semaphore.available() == 0
    }

    /// The data, for one who has the mutex to itself.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}

/// The future of [`Mutex::lock`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Lock<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    acquire: Acquire<'a>,
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mutex = self.mutex;
        // SAFETY: `acquire` is pinned with the whole.
        let acquire = unsafe { self.map_unchecked_mut(|this| &mut this.acquire) };
        acquire.poll(context).map(|()| MutexGuard::new(mutex))
    }
}

/// The right to touch the data of a [`Mutex`]. It may go from hart to hart with its coroutine.
#[must_use = "the mutex is free again as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    // Sharing the guard shares `&T`, for which the bounds of `Mutex: Sync` are not enough.
    _exclusive: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The caller has just acquired the permit.
    #[inline(always)]
    fn new(mutex: &'a Mutex<T>) -> Self {
        Self { mutex, _exclusive: PhantomData }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the only permit.
        unsafe { &*self.mutex.data.pointer_shared() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the only permit, and is borrowed exclusively.
        unsafe { &mut *self.mutex.data.pointer_exclusive() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.semaphore.release(1);
    }
}
