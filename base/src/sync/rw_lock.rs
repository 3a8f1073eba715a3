//! Many readers or one writer, held across `.await`.

use super::cell::DataCell;
use super::semaphore::{Acquire, Semaphore};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{Context, Poll};

/// What a writer takes; a reader takes one.
const ALL: u32 = Semaphore::MAX_PERMITS;

/// Data that many coroutines may read at a time, or one may write. First come, first served: readers that come after a
/// waiting writer wait behind it, so that neither side is starved.
pub struct RwLock<T: ?Sized> {
    semaphore: Semaphore,
    data: DataCell<T>,
}

// SAFETY: the semaphore keeps writers from everybody else.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: as for `Send`; readers share `&T`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    const_unless_loom! {
        /// A free lock around `value`.
        pub fn new(value: T) -> Self {
            Self { semaphore: Semaphore::new(ALL), data: DataCell::new(value) }
        }
    }

    /// The data, when nobody shares the lock any more.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer has the lock and none waits that came before.
    #[inline]
    pub fn read(&self) -> Read<'_, T> {
        Read { lock: self, acquire: self.semaphore.acquire(1) }
    }

    /// Waits until nobody has the lock.
    #[inline]
    pub fn write(&self) -> Write<'_, T> {
        Write { lock: self, acquire: self.semaphore.acquire(ALL) }
    }

    /// Takes the lock for reading, if no writer has it and nobody waits.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        self.semaphore.try_acquire(1).then(|| ReadGuard { lock: self })
    }

    /// Takes the lock for writing, if it is free and nobody waits.
    #[inline]
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        self.semaphore.try_acquire(ALL).then(|| WriteGuard { lock: self, _exclusive: PhantomData })
    }

    /// The data, for one who has the lock to itself.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = ALL - self.semaphore.available().min(ALL);
        f.debug_struct("RwLock").field("permits_taken", &taken).finish_non_exhaustive()
    }
}

/// The future of [`RwLock::read`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Read<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    acquire: Acquire<'a>,
}

impl<'a, T: ?Sized> Future for Read<'a, T> {
    type Output = ReadGuard<'a, T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        // SAFETY: `acquire` is pinned with the whole.
        let acquire = unsafe { self.map_unchecked_mut(|this| &mut this.acquire) };
        acquire.poll(context).map(|()| ReadGuard { lock })
    }
}

/// The future of [`RwLock::write`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Write<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    acquire: Acquire<'a>,
}

impl<'a, T: ?Sized> Future for Write<'a, T> {
    type Output = WriteGuard<'a, T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        // SAFETY: `acquire` is pinned with the whole.
        let acquire = unsafe { self.map_unchecked_mut(|this| &mut this.acquire) };
        acquire.poll(context).map(|()| WriteGuard { lock, _exclusive: PhantomData })
    }
}

/// The right to read the data of a [`RwLock`].
#[must_use = "the lock is let go as soon as the guard is dropped"]
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds a permit, so no writer holds all.
        unsafe { &*self.lock.data.pointer_shared() }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.semaphore.release(1);
    }
}

/// The right to read and write the data of a [`RwLock`].
#[must_use = "the lock is let go as soon as the guard is dropped"]
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    // A writer's guard is invariant in `T`, as `&mut T` is.
    _exclusive: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> WriteGuard<'a, T> {
    /// Lets other readers in, and goes on reading without a gap in which another could write.
    pub fn downgrade(self) -> ReadGuard<'a, T> {
        let lock = core::mem::ManuallyDrop::new(self).lock;
        lock.semaphore.release(ALL - 1);
        ReadGuard { lock }
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds all permits.
        unsafe { &*self.lock.data.pointer_shared() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds all permits, and is borrowed exclusively.
        unsafe { &mut *self.lock.data.pointer_exclusive() }
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.semaphore.release(ALL);
    }
}
