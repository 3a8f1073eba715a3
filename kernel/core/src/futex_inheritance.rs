//! Futexes with priority inheritance: whoever holds one is as important as the most important of those who wait for it.
//!
//! The word says who holds it: a thread's id. While somebody waits, the word has `FUTEX_WAITERS`, so that programs come
//! here to release it, and a [`Lock`] stands in the table. It is handed over, never up for grabs: the releaser stores the
//! id of the one who waits longest among the most important. The table is small (only what is waited for is in it) and
//! has one lock, which is taken before [`crate::process::TABLE`] and a memory's page tables; words are changed under it
//! only where they are at hand.

use crate::executor;
use crate::futex::{Key, Scope, key};
use crate::process;
use crate::thread::{ATTENTION_LEFT, Caller, Thread};
use abi::linux::general as number;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};
use base::sync::{SpinLock, WaitQueue};
use base::task::Priority;
use base::{Error, Result};

/// How many who wait for each other are looked at one behind the other.
const CHAIN_MAX: usize = 1024;

const WAITING: u8 = 0;
/// The futex is his, and the word says so.
const GRANTED: u8 = 1;
/// The futex is his, as its owner has ended: the word is his to store.
const INHERITED: u8 = 2;

/// Somebody who waits.
struct Waiter {
    thread: Arc<Thread>,
    state: AtomicU8,
    priority: AtomicU8,
    granted: WaitQueue,
}

/// A futex that is waited for.
struct Lock {
    key: Key,
    owner: Arc<Thread>,
    /// The most important first, and those as important in the order in which they came.
    waiters: Vec<Arc<Waiter>>,
    /// The owner has not stored its id yet.
    unstored: bool,
}

/// Somebody who waits for a condition and wants a futex then.
struct Hopeful {
    condition: Key,
    futex: Key,
    waiter: Arc<Waiter>,
}

struct Table {
    locks: Vec<Lock>,
    hopefuls: Vec<Hopeful>,
}

static LOCKS: SpinLock<Table> = SpinLock::new(Table { locks: Vec::new(), hopefuls: Vec::new() });
/// How many locks there are, for threads that end.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Waiting, until this moment in nanoseconds since boot if there is one.
    Wait(Option<u64>),
    /// Not waiting.
    Try,
}

/// What came of a step with the table locked.
enum Step<T> {
    Done(T),
    /// The word at this address is not at hand.
    NotPresent(VirtualAddress),
    /// Others write the word all the time.
    Again,
}

impl Waiter {
    fn new(thread: &Arc<Thread>) -> Arc<Self> {
        Arc::new(Self {
            thread: thread.clone(),
            state: AtomicU8::new(WAITING),
            priority: AtomicU8::new(effective(thread).number()),
            granted: WaitQueue::new(),
        })
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    fn grant(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.granted.wake_all();
    }

    fn priority(&self) -> Priority {
        Priority::saturating(self.priority.load(Ordering::Relaxed))
    }
}

/// The priority that a thread has now, inherited or its own.
fn effective(thread: &Thread) -> Priority {
    thread.task().map_or(thread.priority(), |task| task.priority())
}

impl Table {
    fn position(&self, key: &Key) -> Option<usize> {
        self.locks.iter().position(|lock| lock.key == *key)
    }

    fn remove_lock(&mut self, index: usize) -> Lock {
        COUNT.fetch_sub(1, Ordering::SeqCst);
        self.locks.swap_remove(index)
    }

    /// The lock for which a thread waits, and its place there.
    fn awaited_by(&self, thread: &Arc<Thread>) -> Option<(usize, usize)> {
        self.locks.iter().enumerate().find_map(|(index, lock)| {
            let place = lock.waiters.iter().position(|waiter| Arc::ptr_eq(&waiter.thread, thread))?;
            Some((index, place))
        })
    }

    /// Its own priority, or that of the most important who waits for something of its.
    fn due_priority(&self, thread: &Arc<Thread>) -> Priority {
        let held = self.locks.iter().filter(|lock| Arc::ptr_eq(&lock.owner, thread));
        let waiting = held.filter_map(|lock| lock.waiters.first()).map(|waiter| waiter.priority());
        waiting
            .fold(thread.priority(), |best, other| if other.number() < best.number() { other } else { best })
    }

    /// Gives a thread the priority that is due to it, and those for whom it waits, and so on.
    fn pass_on_priority(&mut self, thread: &Arc<Thread>) {
        let mut thread = thread.clone();
        for _ in 0..CHAIN_MAX {
            let due = self.due_priority(&thread);
            if let Some(task) = thread.task()
                && task.priority() != due
            {
                executor::set_priority(task, due);
            }
            let Some((index, place)) = self.awaited_by(&thread) else { return };
            let lock = &mut self.locks[index];
            lock.waiters[place].priority.store(due.number(), Ordering::Relaxed);
            lock.waiters.sort_by_key(|waiter| waiter.priority().number());
            thread = lock.owner.clone();
        }
    }

    /// Whether `thread` waits for something of `other`'s, directly or by others.
    fn waits_for(&self, thread: &Arc<Thread>, other: &Arc<Thread>) -> bool {
        let mut thread = thread.clone();
        for _ in 0..CHAIN_MAX {
            if Arc::ptr_eq(&thread, other) {
                return true;
            }
            let Some((index, _)) = self.awaited_by(&thread) else { return false };
            thread = self.locks[index].owner.clone();
        }
        true
    }

    /// Makes `waiter` wait for a futex that `owner`, a thread's id, holds.
    fn enqueue(&mut self, key: &Key, owner: u32, waiter: &Arc<Waiter>) -> Result<()> {
        let index = match self.position(key) {
            Some(index) if self.locks[index].unstored || self.locks[index].owner.id() == owner => index,
            Some(_) => return Err(Error::InvalidArgument),
            None => {
                self.locks.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
                let owner = process::find_thread(owner).ok_or(Error::NoSuchProcess)?;
                self.locks.push(Lock { key: *key, owner, waiters: Vec::new(), unstored: false });
                // Before the look at whether the owner has left: one that leaves looks at this afterwards.
                COUNT.fetch_add(1, Ordering::SeqCst);
                self.locks.len() - 1
            }
        };
        let owner = self.locks[index].owner.clone();
        let refused = if owner.attention() & ATTENTION_LEFT != 0 {
            Some(Error::NoSuchProcess)
        } else {
            self.waits_for(&owner, &waiter.thread).then_some(Error::Deadlock)
        };
        let lock = &mut self.locks[index];
        let outcome = match refused {
            Some(error) => Err(error),
            None => lock.waiters.try_reserve(1).map_err(|_| Error::OutOfMemory),
        };
        if outcome.is_err() {
            if lock.waiters.is_empty() && !lock.unstored {
                self.remove_lock(index);
            }
            return outcome;
        }
        let behind =
            lock.waiters.partition_point(|other| other.priority().number() <= waiter.priority().number());
        lock.waiters.insert(behind, waiter.clone());
        self.pass_on_priority(&owner);
        Ok(())
    }

    /// Gives the futex to the first who waits for it; returns him.
    fn hand_over(&mut self, index: usize) -> Arc<Waiter> {
        let lock = &mut self.locks[index];
        let waiter = lock.waiters.remove(0);
        let former = core::mem::replace(&mut lock.owner, waiter.thread.clone());
        if lock.waiters.is_empty() && !lock.unstored {
            self.remove_lock(index);
        }
        self.pass_on_priority(&former);
        self.pass_on_priority(&waiter.thread);
        waiter
    }

    /// Takes a waiter off whatever list it is on; whether it was waiting for a futex already.
    fn forget(&mut self, waiter: &Arc<Waiter>) -> bool {
        self.hopefuls.retain(|hopeful| !Arc::ptr_eq(&hopeful.waiter, waiter));
        let place = self.locks.iter().enumerate().find_map(|(index, lock)| {
            Some((index, lock.waiters.iter().position(|other| Arc::ptr_eq(other, waiter))?))
        });
        let Some((index, place)) = place else { return false };
        let lock = &mut self.locks[index];
        lock.waiters.remove(place);
        let owner = lock.owner.clone();
        if lock.waiters.is_empty() && !lock.unstored {
            self.remove_lock(index);
        }
        self.pass_on_priority(&owner);
        true
    }

    /// Takes the futex for `waiter`, or makes it wait; `Ok(true)`: it is his. `waits` says whether he may wait, `others` what
    /// else the word gets if others will.
    fn take_or_wait(
        &mut self,
        caller: &Caller,
        (key, place): (&Key, VirtualAddress),
        waiter: &Arc<Waiter>,
        (how, others): (How, u32),
    ) -> Step<Result<bool>> {
        let own = waiter.thread.id();
        let contended = self.position(key).is_some();
        let change = |value: u32| match value & number::FUTEX_TID_MASK {
            0 if !contended => Some(value & number::FUTEX_OWNER_DIED | own | others),
            owner if owner == own || how == How::Try => None,
            _ => Some(value | number::FUTEX_WAITERS),
        };
        let former = match caller.space.try_fetch_update_u32(place, change) {
            None => return Step::NotPresent(place),
            Some(Err(_)) => return Step::Again,
            Some(Ok(former)) => former.unwrap_or_else(|former| former),
        };
        Step::Done(match former & number::FUTEX_TID_MASK {
            0 if !contended => Ok(true),
            owner if owner == own => Err(Error::Deadlock),
            _ if how == How::Try => Err(Error::WouldBlock),
            owner => self.enqueue(key, owner, waiter).map(|()| false),
        })
    }
}

/// Repeats a step with the table locked until it is done, bringing what it needs.
async fn repeat<T>(caller: &Caller, mut step: impl FnMut(&mut Table) -> Step<T>) -> Result<T> {
    loop {
        let outcome = step(&mut LOCKS.lock());
        match outcome {
            Step::Done(value) => return Ok(value),
            Step::NotPresent(place) => caller.space.fetch_update_u32(place, |_| None).await.map(drop)?,
            Step::Again => executor::yield_now().await,
        }
    }
}

/// Locks the futex at an address.
///
/// # Errors
/// `Deadlock`, `WouldBlock`, `TimedOut`, `Interrupted`; `NoSuchProcess`, `InvalidArgument` for a word that makes no sense;
/// `BadAddress`.
pub async fn lock(caller: &Caller, address: usize, scope: Scope, how: How) -> Result<()> {
    let key = key(&caller.space, address, scope).await?;
    let place = VirtualAddress::new(address);
    let waiter = Waiter::new(&caller.thread);
    if repeat(caller, |table| table.take_or_wait(caller, (&key, place), &waiter, (how, 0))).await?? {
        return Ok(());
    }
    let How::Wait(deadline_ns) = how else { return Err(Error::WouldBlock) };
    match await_grant(caller, &waiter, place, deadline_ns).await {
        Ok(()) => Ok(()),
        Err((error, _)) => Err(error),
    }
}

/// Waits until the futex is the waiter's; else says why not, and whether he had got as far as waiting for the futex.
async fn await_grant(
    caller: &Caller,
    waiter: &Arc<Waiter>,
    place: VirtualAddress,
    deadline_ns: Option<u64>,
) -> core::result::Result<(), (Error, bool)> {
    let granted = waiter.granted.wait_until(|| (waiter.state() != WAITING).then_some(()));
    let outcome = caller.interruptible_until(granted, deadline_ns).await;
    {
        let mut table = LOCKS.lock();
        if waiter.state() == WAITING {
            let was_near = table.forget(waiter);
            return Err((outcome.err().unwrap_or(Error::Interrupted), was_near));
        }
    }
    if waiter.state() == INHERITED {
        // The memory may be gone; then the futex is, too.
        let stored = repeat(caller, |table| store_inheritance(table, caller, waiter, place)).await;
        if stored.is_err() {
            settle(&mut LOCKS.lock(), waiter);
        }
    }
    Ok(())
}

/// Stores the id of one who got a futex since its owner has ended.
fn store_inheritance(table: &mut Table, caller: &Caller, waiter: &Waiter, place: VirtualAddress) -> Step<()> {
    let word = waiter.thread.id() | number::FUTEX_WAITERS | number::FUTEX_OWNER_DIED;
    match caller.space.try_fetch_update_u32(place, |_| Some(word)) {
        None => Step::NotPresent(place),
        Some(Err(_)) => Step::Again,
        Some(Ok(_)) => {
            settle(table, waiter);
            Step::Done(())
        }
    }
}

/// The owner of what was inherited has stored its id, or has given up.
fn settle(table: &mut Table, owner: &Waiter) {
    let is_his = |lock: &Lock| lock.unstored && Arc::ptr_eq(&lock.owner, &owner.thread);
    while let Some(index) = table.locks.iter().position(is_his) {
        table.locks[index].unstored = false;
        if table.locks[index].waiters.is_empty() {
            table.remove_lock(index);
        }
    }
}

/// Unlocks the futex at an address.
///
/// # Errors
/// `NotPermitted` when it is not the caller's; `InvalidArgument` for a word that makes no sense; `BadAddress`.
pub async fn unlock(caller: &Caller, address: usize, scope: Scope) -> Result<()> {
    let key = key(&caller.space, address, scope).await?;
    let place = VirtualAddress::new(address);
    let own = caller.thread.id();
    let next = repeat(caller, |table| {
        let index = table.position(&key);
        let lock = index.map(|index| &table.locks[index]);
        if lock.is_some_and(|lock| !Arc::ptr_eq(&lock.owner, &caller.thread)) {
            return Step::Done(Err(Error::NotPermitted));
        }
        let first = lock.and_then(|lock| lock.waiters.first());
        let word = first.map_or(0, |first| first.thread.id() | number::FUTEX_WAITERS);
        let release = |value: u32| (value & number::FUTEX_TID_MASK == own).then_some(word);
        match caller.space.try_fetch_update_u32(place, release) {
            None => Step::NotPresent(place),
            Some(Err(_)) => Step::Again,
            Some(Ok(Err(_))) => Step::Done(Err(Error::NotPermitted)),
            Some(Ok(Ok(_))) if word == 0 => Step::Done(Ok(None)),
            Some(Ok(Ok(_))) => Step::Done(Ok(index.map(|index| table.hand_over(index)))),
        }
    })
    .await??;
    if let Some(next) = next {
        next.grant(GRANTED);
    }
    Ok(())
}

/// Waits for a condition's futex as long as it is `expected`, to be given the other futex then.
///
/// # Errors
/// `WouldBlock` when it is another, or when a signal came after the other futex was being waited for; `TimedOut`,
/// `Interrupted`, `InvalidArgument`, `BadAddress`.
pub async fn wait_and_lock(
    caller: &Caller,
    scope: Scope,
    (condition, expected): (usize, u32),
    futex: usize,
    deadline_ns: Option<u64>,
) -> Result<()> {
    let keys = (key(&caller.space, condition, scope).await?, key(&caller.space, futex, scope).await?);
    if keys.0 == keys.1 {
        return Err(Error::InvalidArgument);
    }
    let place = VirtualAddress::new(condition);
    let waiter = Waiter::new(&caller.thread);
    repeat(caller, |table| match caller.space.try_load_u32(place) {
        None => Step::NotPresent(place),
        Some(value) if value != expected => Step::Done(Err(Error::WouldBlock)),
        Some(_) => {
            let number = waiter.priority().number();
            let behind = table.hopefuls.partition_point(|other| other.waiter.priority().number() <= number);
            let hopeful = Hopeful { condition: keys.0, futex: keys.1, waiter: waiter.clone() };
            table.hopefuls.insert(behind, hopeful);
            Step::Done(Ok(()))
        }
    })
    .await??;
    match await_grant(caller, &waiter, VirtualAddress::new(futex), deadline_ns).await {
        Ok(()) => Ok(()),
        // The condition may have changed: the program looks, as if it had been too late.
        Err((Error::Interrupted, true)) => Err(Error::WouldBlock),
        Err((error, _)) => Err(error),
    }
}

/// Gives the first who waits for a condition the futex that he wants, or makes him wait for it, and up to `limit` others,
/// if the condition's word is `expected`; returns how many.
///
/// # Errors
/// `WouldBlock` when it is another; `InvalidArgument` when somebody wants another futex; those of [`lock`].
pub async fn requeue(
    caller: &Caller,
    scope: Scope,
    (condition, expected): (usize, u32),
    futex: usize,
    limit: usize,
) -> Result<usize> {
    let keys = (key(&caller.space, condition, scope).await?, key(&caller.space, futex, scope).await?);
    if keys.0 == keys.1 {
        return Err(Error::InvalidArgument);
    }
    let places = (VirtualAddress::new(condition), VirtualAddress::new(futex));
    let mut count = 0;
    loop {
        let step = |table: &mut Table| match caller.space.try_load_u32(places.0) {
            None => Step::NotPresent(places.0),
            // Once the first was dealt with, the condition may change.
            Some(value) if count == 0 && value != expected => Step::Done(Err(Error::WouldBlock)),
            Some(_) => requeue_one(table, caller, (&keys.0, &keys.1), places.1, limit),
        };
        let Some(owner) = repeat(caller, step).await?? else { return Ok(count) };
        count += 1;
        if let Some(owner) = owner {
            owner.grant(GRANTED);
        }
        if count > limit {
            return Ok(count);
        }
    }
}

/// Whom a futex was given by a requeue, if it was; nothing when nobody waits for the condition.
type Requeued = Option<Option<Arc<Waiter>>>;

/// Deals with the first who waits for a condition.
fn requeue_one(
    table: &mut Table,
    caller: &Caller,
    (condition, futex): (&Key, &Key),
    place: VirtualAddress,
    limit: usize,
) -> Step<Result<Requeued>> {
    let waits = |hopeful: &&Hopeful| hopeful.condition == *condition;
    let mut waiting = table.hopefuls.iter().filter(waits);
    let Some(first) = waiting.next() else { return Step::Done(Ok(None)) };
    if first.futex != *futex {
        return Step::Done(Err(Error::InvalidArgument));
    }
    let waiter = first.waiter.clone();
    let others = if limit > 0 && waiting.next().is_some() { number::FUTEX_WAITERS } else { 0 };
    match table.take_or_wait(caller, (futex, place), &waiter, (How::Wait(None), others)) {
        Step::Done(Ok(taken)) => {
            table.hopefuls.retain(|hopeful| !Arc::ptr_eq(&hopeful.waiter, &waiter));
            Step::Done(Ok(Some(taken.then_some(waiter))))
        }
        Step::Done(Err(error)) => Step::Done(Err(error)),
        Step::NotPresent(place) => Step::NotPresent(place),
        Step::Again => Step::Again,
    }
}

/// What becomes of the futexes of a thread that ends or starts another program: those who wait inherit them.
pub fn thread_leaves(thread: &Arc<Thread>) {
    fence(Ordering::SeqCst);
    if COUNT.load(Ordering::SeqCst) == 0 {
        return;
    }
    loop {
        let heir = {
            let mut table = LOCKS.lock();
            let is_its = |lock: &Lock| Arc::ptr_eq(&lock.owner, thread);
            let Some(index) = table.locks.iter().position(is_its) else { return };
            if table.locks[index].waiters.is_empty() {
                table.remove_lock(index);
                continue;
            }
            table.locks[index].unstored = true;
            table.hand_over(index)
        };
        heir.grant(INHERITED);
    }
}

/// Gives a thread the priority that is due to it: its own has changed.
pub fn apply_priority(thread: &Arc<Thread>) {
    let mut table = LOCKS.lock();
    table.pass_on_priority(thread);
}
