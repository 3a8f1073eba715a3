//! Waiting for what a key names: a fixed table of lists, for any number of keys and without any allocation.
//!
//! Rules, beside those of [`super::wait_list`]:
//! 1. An entry waits on the list of one bucket at a time. Which one stands in the entry; it changes only under the locks
//!    of both, the old and the new.
//! 2. Who has found an entry *waiting* locks the bucket that stands in it and looks again: only if it still stands there
//!    is the entry guarded by that lock.
//! 3. An entry that was *woken* is its owner's alone. Who takes it off the list stores that last.
//! 4. `waiting` of a bucket is counted up before a waiter looks at the condition, and read by a waker after it changed
//!    the condition, with a full fence between on both sides: so a waker that reads 0 need not lock.

use super::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use super::cell::DataCell;
use super::spin_lock::SpinLock;
use super::wait_list::{WAKE_BATCH, WakeBatch};
use core::future::poll_fn;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Poll, Waker};

/// What entries are found by.
pub trait TableKey: Copy + Eq {
    /// A number in which different keys mostly differ.
    fn hash(&self) -> u64;
}

const DETACHED: u32 = 0;
const WAITING: u32 = 1;
const WOKEN: u32 = 2;

struct Links<K> {
    next: Option<NonNull<Entry<K>>>,
    previous: Option<NonNull<Entry<K>>>,
    waker: Option<Waker>,
    key: Option<K>,
    /// A waker must have one of these bits.
    bits: u32,
    /// How many had entered the bucket before.
    stamp: u64,
}

/// A place on a list of the table.
struct Entry<K> {
    links: DataCell<Links<K>>,
    state: AtomicU32,
    bucket: AtomicUsize,
    _pinned: PhantomPinned,
}

// SAFETY: the links are guarded as the head of this file says.
unsafe impl<K: Send> Send for Entry<K> {}
// SAFETY: as for `Send`.
unsafe impl<K: Send> Sync for Entry<K> {}

struct List<K> {
    head: Option<NonNull<Entry<K>>>,
    tail: Option<NonNull<Entry<K>>>,
    entered: u64,
}

// SAFETY: entries are reached only under the lock that guards the list.
unsafe impl<K: Send> Send for List<K> {}

impl<K: TableKey> List<K> {
    /// # Safety
    /// The caller has the lock of the list, or of both lists for an entry that moves; the entry is on no list, pinned, and
    /// stays until it is taken off.
    unsafe fn push_back(&mut self, entry: NonNull<Entry<K>>) {
        let previous = self.tail.replace(entry);
        // SAFETY: the entry is the caller's, its neighbour is on the list and guarded by the lock.
        unsafe {
            let links = &mut *entry.as_ref().links.pointer_exclusive();
            (links.next, links.previous, links.stamp) = (None, previous, self.entered);
            match previous {
                Some(previous) => (*previous.as_ref().links.pointer_exclusive()).next = Some(entry),
                None => self.head = Some(entry),
            }
        }
        self.entered += 1;
    }

    /// # Safety
    /// The entry is on this list, whose lock the caller has.
    unsafe fn unlink(&mut self, entry: NonNull<Entry<K>>) {
        // SAFETY: entries on the list are alive and guarded by the lock.
        unsafe {
            let links = &mut *entry.as_ref().links.pointer_exclusive();
            match links.previous {
                Some(previous) => (*previous.as_ref().links.pointer_exclusive()).next = links.next,
                None => self.head = links.next,
            }
            match links.next {
                Some(next) => (*next.as_ref().links.pointer_exclusive()).previous = links.previous,
                None => self.tail = links.previous,
            }
        }
    }

    /// The first entry from `from` on that waits for `key` with one of `bits` and entered before `stamp`.
    fn find(&self, from: Option<NonNull<Entry<K>>>, wanted: &Wanted<K>) -> Option<NonNull<Entry<K>>> {
        let mut next = from;
        while let Some(entry) = next {
            // SAFETY: on the list, so alive and guarded by the lock that the caller has.
            let links = unsafe { &*entry.as_ref().links.pointer_exclusive() };
            if links.stamp >= wanted.stamp {
                return None;
            }
            if links.key == Some(wanted.key) && links.bits & wanted.bits != 0 {
                return Some(entry);
            }
            next = links.next;
        }
        None
    }
}

struct Wanted<K> {
    key: K,
    bits: u32,
    stamp: u64,
}

struct Bucket<K> {
    /// How many entries there are or are about to be.
    waiting: AtomicU32,
    list: SpinLock<List<K>>,
}

impl<K> Bucket<K> {
    const_unless_loom! {
        fn new() -> Self {
            let list = SpinLock::new(List { head: None, tail: None, entered: 0 });
            Self { waiting: AtomicU32::new(0), list }
        }
    }
}

/// Lists of coroutines that wait for keys, by the keys' hashes.
pub struct WaitTable<K, const BUCKETS: usize> {
    buckets: [Bucket<K>; BUCKETS],
}

impl<K: TableKey, const BUCKETS: usize> WaitTable<K, BUCKETS> {
    /// Nobody waits.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { buckets: [const { Bucket::new() }; BUCKETS] }
    }

    /// Nobody waits.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { buckets: core::array::from_fn(|_| Bucket::new()) }
    }

    fn index(&self, key: &K) -> usize {
        // Fibonacci hashing: the high bits depend on all of the key's.
        (key.hash().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % BUCKETS
    }

    /// Wakes up to `count` of those who wait for `key` with one of `bits`, those who wait longest; returns how many.
    pub fn wake(&self, key: &K, bits: u32, count: usize) -> usize {
        let bucket = &self.buckets[self.index(key)];
        fence(Ordering::SeqCst);
        if bucket.waiting.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut wanted = Wanted { key: *key, bits, stamp: u64::MAX };
        let mut woken = 0;
        loop {
            let mut batch = WakeBatch::new();
            {
                let mut list = bucket.list.lock();
                // Who enters from now on, perhaps because it was woken, is not meant.
                wanted.stamp = wanted.stamp.min(list.entered);
                let mut next = list.head;
                while batch.len() < WAKE_BATCH.min(count - woken)
                    && let Some(entry) = list.find(next, &wanted)
                {
                    // SAFETY: on the list, whose lock is held.
                    next = unsafe { (*entry.as_ref().links.pointer_exclusive()).next };
                    if let Some(waker) = self.take_off(bucket, &mut list, entry) {
                        batch.push(waker);
                    }
                }
            }
            if batch.is_empty() {
                return woken;
            }
            woken += batch.len();
            batch.drain(..).for_each(Waker::wake);
            if woken == count {
                return woken;
            }
        }
    }

    /// Takes an entry off its list and makes it woken; returns whom to wake once the lock is released.
    fn take_off(&self, bucket: &Bucket<K>, list: &mut List<K>, entry: NonNull<Entry<K>>) -> Option<Waker> {
        // SAFETY: the caller found it on the list, whose lock it has.
        let waker = unsafe {
            list.unlink(entry);
            (*entry.as_ref().links.pointer_exclusive()).waker.take()
        };
        bucket.waiting.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: its owner waits for this store before the entry goes away.
        unsafe { entry.as_ref() }.state.store(WOKEN, Ordering::Release);
        waker
    }

    /// Wakes up to `wake` of those who wait for `from`, and makes up to `limit` others wait for `to` instead; returns how
    /// many of each. `check` is asked first, when nobody can begin or end waiting for either.
    ///
    /// # Errors
    /// What `check` says.
    pub fn requeue<E>(
        &self,
        from: &K,
        to: &K,
        wake: usize,
        limit: usize,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(usize, usize), E> {
        let (source, target) = (self.index(from), self.index(to));
        let (mut woken, mut moved) = (0, 0);
        let mut check = Some(check);
        let mut wanted = Wanted { key: *from, bits: u32::MAX, stamp: u64::MAX };
        loop {
            let mut batch = WakeBatch::new();
            let mut steps = 0;
            {
                let mut lists = self.lock_both(source, target);
                if let Some(check) = check.take() {
                    check()?;
                    wanted.stamp = lists.0.entered;
                }
                let mut next = lists.0.head;
                while steps < WAKE_BATCH
                    && woken + moved < wake.saturating_add(limit)
                    && let Some(entry) = lists.0.find(next, &wanted)
                {
                    // SAFETY: on the list, whose lock is held.
                    next = unsafe { (*entry.as_ref().links.pointer_exclusive()).next };
                    steps += 1;
                    if woken < wake {
                        batch.extend(self.take_off(&self.buckets[source], &mut lists.0, entry));
                        woken += 1;
                    } else {
                        self.move_over(&mut lists, (source, target), entry, *to);
                        moved += 1;
                    }
                }
            }
            batch.drain(..).for_each(Waker::wake);
            if steps < WAKE_BATCH || woken + moved >= wake.saturating_add(limit) {
                return Ok((woken, moved));
            }
        }
    }

    fn move_over(
        &self,
        lists: &mut BothLists<'_, K>,
        (source, target): (usize, usize),
        entry: NonNull<Entry<K>>,
        key: K,
    ) {
        // SAFETY: the caller found it on the first list; both locks are held.
        unsafe {
            (*entry.as_ref().links.pointer_exclusive()).key = Some(key);
            // In one bucket it keeps its place, and its new key is enough.
            if let Some(second) = &mut lists.1 {
                lists.0.unlink(entry);
                second.push_back(entry);
                entry.as_ref().bucket.store(target, Ordering::Release);
                self.buckets[target].waiting.fetch_add(1, Ordering::SeqCst);
                self.buckets[source].waiting.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Locks the list of `first` and, if it is another, that of `second`; always in the order of their indices.
    fn lock_both(&self, first: usize, second: usize) -> BothLists<'_, K> {
        let lock = |index: usize| self.buckets[index].list.lock();
        if first == second {
            return BothLists(lock(first), None);
        }
        if first < second {
            let list = lock(first);
            return BothLists(list, Some(lock(second)));
        }
        let other = lock(second);
        BothLists(lock(first), Some(other))
    }
}

struct BothLists<'t, K>(
    super::spin_lock::SpinGuard<'t, List<K>>,
    Option<super::spin_lock::SpinGuard<'t, List<K>>>,
);

impl<K: TableKey, const BUCKETS: usize> Default for WaitTable<K, BUCKETS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Who waits in a table. Dropping it ends the waiting.
pub struct TableWaiter<'t, K: TableKey, const BUCKETS: usize> {
    table: &'t WaitTable<K, BUCKETS>,
    entry: Entry<K>,
}

impl<'t, K: TableKey, const BUCKETS: usize> TableWaiter<'t, K, BUCKETS> {
    /// Waits for nothing yet.
    pub fn new(table: &'t WaitTable<K, BUCKETS>) -> Self {
        let links = Links { next: None, previous: None, waker: None, key: None, bits: 0, stamp: 0 };
        let entry = Entry {
            links: DataCell::new(links),
            state: AtomicU32::new(DETACHED),
            bucket: AtomicUsize::new(0),
            _pinned: PhantomPinned,
        };
        Self { table, entry }
    }

    /// Waits until woken for `key` by somebody with one of `bits`. First `check` is asked, when nobody can be woken for the
    /// key: it must be short, and must not wake or wait in this table.
    ///
    /// When the future is dropped the waiting goes on: [`TableWaiter::leave`] ends it, and tells how.
    ///
    /// # Errors
    /// What `check` says; then nobody waits.
    pub async fn wait<E>(
        mut self: Pin<&mut Self>,
        key: K,
        bits: u32,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut check = Some(check);
        poll_fn(|context| {
            if let Some(check) = check.take() {
                return match self.as_mut().enter(key, bits, context.waker(), check) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                };
            }
            if self.as_mut().renew(context.waker()) { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
        .await
    }

    fn enter<E>(
        self: Pin<&mut Self>,
        key: K,
        bits: u32,
        waker: &Waker,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        // Shared from here on: the list has a pointer to the entry.
        let this = self.into_ref().get_ref();
        this.leave_list();
        let index = this.table.index(&key);
        let bucket = &this.table.buckets[index];
        let waker = waker.clone();
        bucket.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut list = bucket.list.lock();
        if let Err(error) = check() {
            bucket.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        // SAFETY: the entry is on no list and its owner's; it is pinned with `self`, whose drop takes it off.
        unsafe {
            let links = &mut *this.entry.links.pointer_exclusive();
            (links.waker, links.key, links.bits) = (Some(waker), Some(key), bits);
            this.entry.bucket.store(index, Ordering::Relaxed);
            this.entry.state.store(WAITING, Ordering::Relaxed);
            list.push_back(NonNull::from(&this.entry));
        }
        Ok(())
    }

    /// Does `action` with the list that the entry waits on, if it still waits.
    fn with_list<R>(&self, action: impl FnOnce(&Bucket<K>, &mut List<K>) -> R) -> Option<R> {
        while self.entry.state.load(Ordering::Acquire) == WAITING {
            let index = self.entry.bucket.load(Ordering::Acquire);
            let bucket = &self.table.buckets[index];
            let mut list = bucket.list.lock();
            // Under the lock that guards the entry, if it still is that one, neither changes.
            if self.entry.state.load(Ordering::Acquire) == WAITING
                && self.entry.bucket.load(Ordering::Relaxed) == index
            {
                return Some(action(bucket, &mut list));
            }
        }
        None
    }

    /// Makes sure that `waker` is woken; whether it still waits.
    #[inline]
    fn renew(self: Pin<&mut Self>, waker: &Waker) -> bool {
        self.entry.state.load(Ordering::Acquire) == WAITING && self.renew_waiting(waker)
    }

    fn renew_waiting(&self, waker: &Waker) -> bool {
        let mut old = None;
        let waits = self.with_list(|_, _| {
            // SAFETY: the entry waits, and the lock that guards it is held.
            let links = unsafe { &mut *self.entry.links.pointer_exclusive() };
            if !links.waker.as_ref().is_some_and(|current| current.will_wake(waker)) {
                old = links.waker.replace(waker.clone());
            }
        });
        drop(old);
        waits.is_some()
    }

    /// Ends the waiting; whether it had been woken.
    pub fn leave(self: Pin<&mut Self>) -> bool {
        self.into_ref().get_ref().leave_list()
    }

    /// Ends the waiting; whether it had been woken. What does not wait is its owner's alone.
    #[inline]
    fn leave_list(&self) -> bool {
        match self.entry.state.load(Ordering::Acquire) {
            DETACHED => false,
            WAITING => self.leave_waiting(),
            _ => {
                self.entry.state.store(DETACHED, Ordering::Relaxed);
                true
            }
        }
    }

    fn leave_waiting(&self) -> bool {
        let waker = self.with_list(|bucket, list| {
            // SAFETY: the entry waits on this list, whose lock is held.
            let waker = unsafe {
                list.unlink(NonNull::from(&self.entry));
                (*self.entry.links.pointer_exclusive()).waker.take()
            };
            bucket.waiting.fetch_sub(1, Ordering::Relaxed);
            self.entry.state.store(DETACHED, Ordering::Relaxed);
            waker
        });
        drop(waker);
        self.entry.state.swap(DETACHED, Ordering::Relaxed) == WOKEN
    }
}

impl<K: TableKey, const BUCKETS: usize> Drop for TableWaiter<'_, K, BUCKETS> {
    fn drop(&mut self) {
        self.leave_list();
    }
}
