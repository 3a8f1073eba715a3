//! Advisory locks: of ranges (`fcntl`) and of whole files (`flock`).
//!
//! There are few locks and they are held for long, so that all of them are behind one spin lock, and all who wait are in one
//! queue and look again whenever something was released.
//!
//! A range belongs to a table of descriptors, and goes when *any* descriptor of the file is closed in it (POSIX), or to an
//! open description, and goes with that. A whole-file lock always belongs to an open description.

use crate::inode::Inode;
use crate::open_file::{Dependant, OpenFile};
use crate::{Error, Result};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::sync::{Lazy, SpinLock, WaitQueue};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Whose a lock is; the numbers are identities that are unique while they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A table of descriptors ([`crate::FileTable::identity`]).
    Table(usize),
    /// An open description ([`OpenFile::identity`]).
    Description(usize),
}

/// Who else may have the lock, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Others that want it shared.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A lock of a range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLock {
    /// Whose.
    pub owner: Owner,
    /// Who else may have it.
    pub kind: LockKind,
    /// The first byte.
    pub start: u64,
    /// The last byte; [`crate::open_file::OFFSET_MAX`]: the end, wherever that is.
    pub last: u64,
    /// The process that set it, for whoever asks.
    pub process: u32,
}

impl RangeLock {
    fn overlaps(&self, other: &RangeLock) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    fn conflicts(&self, other: &RangeLock) -> bool {
        let exclusive = self.kind == LockKind::Exclusive || other.kind == LockKind::Exclusive;
        self.owner != other.owner && exclusive && self.overlaps(other)
    }
}

/// A whole-file lock.
#[derive(Clone, Copy, Debug)]
struct WholeLock {
    description: usize,
    kind: LockKind,
}

/// The locks of one file.
struct FileLocks {
    /// Kept, so that its address stands for it as long as it is locked.
    inode: Arc<dyn Inode>,
    ranges: Vec<RangeLock>,
    wholes: Vec<WholeLock>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<usize, FileLocks>,
    /// Who waits for whom, among tables.
    waiting: Vec<(Owner, Owner)>,
}

static STATE: Lazy<SpinLock<State>> = Lazy::new(|| SpinLock::new(State::default()));
static RELEASED: WaitQueue = WaitQueue::new();
/// Ranges of tables that there are: closing a descriptor looks further only if there are any.
static TABLE_RANGES: AtomicUsize = AtomicUsize::new(0);
/// Ends the locks of open descriptions.
static DESCRIPTIONS: Lazy<Arc<Descriptions>> = Lazy::new(|| Arc::new(Descriptions));

struct Descriptions;

impl Dependant for Descriptions {
    fn closed(&self, identity: usize) {
        release_everywhere(Owner::Description(identity));
    }
}

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<()>().addr()
}

impl State {
    fn of(&mut self, inode: &Arc<dyn Inode>) -> &mut FileLocks {
        let fresh = || FileLocks { inode: inode.clone(), ranges: Vec::new(), wholes: Vec::new() };
        self.files.entry(key(inode)).or_insert_with(fresh)
    }

    /// Forgets a file without locks; what it held is dropped behind the lock.
    fn tidy(&mut self, key: usize) -> Option<FileLocks> {
        let empty = self.files.get(&key).is_some_and(|file| file.ranges.is_empty() && file.wholes.is_empty());
        if empty { self.files.remove(&key) } else { None }
    }

    fn conflict(&self, inode: &Arc<dyn Inode>, lock: &RangeLock) -> Option<RangeLock> {
        let file = self.files.get(&key(inode))?;
        file.ranges.iter().filter(|held| held.conflicts(lock)).min_by_key(|held| held.start).copied()
    }

    /// Whether `holder` waits, over whatever many others, for `owner`.
    fn waits_for(&self, holder: Owner, owner: Owner) -> bool {
        let mut reached = alloc::vec![holder];
        let mut next = 0;
        while let Some(&from) = reached.get(next) {
            next += 1;
            if from == owner {
                return true;
            }
            for (_, to) in self.waiting.iter().filter(|(waiter, _)| *waiter == from) {
                if !reached.contains(to) {
                    reached.push(*to);
                }
            }
        }
        false
    }
}

/// Counts how many ranges of tables there are more or fewer.
fn count_table_ranges(before: usize, after: usize) {
    if after >= before {
        TABLE_RANGES.fetch_add(after - before, Ordering::Relaxed);
    } else {
        TABLE_RANGES.fetch_sub(before - after, Ordering::Relaxed);
    }
}

fn table_ranges(ranges: &[RangeLock]) -> usize {
    ranges.iter().filter(|range| matches!(range.owner, Owner::Table(_))).count()
}

/// Takes the owner's locks out of a range: what they cover beyond it stays.
fn cut(ranges: &mut Vec<RangeLock>, owner: Owner, start: u64, last: u64) {
    let mut rest = Vec::new();
    ranges.retain(|held| {
        if held.owner != owner || held.start > last || start > held.last {
            return true;
        }
        if held.start < start {
            rest.push(RangeLock { last: start - 1, ..*held });
        }
        if held.last > last {
            rest.push(RangeLock { start: last + 1, ..*held });
        }
        false
    });
    ranges.append(&mut rest);
}

/// Adds a lock in place of what its owner has there, joined with its neighbours of the same kind.
fn put(ranges: &mut Vec<RangeLock>, mut lock: RangeLock) {
    cut(ranges, lock.owner, lock.start, lock.last);
    ranges.retain(|held| {
        let same = held.owner == lock.owner && held.kind == lock.kind;
        let touches =
            held.last.checked_add(1) == Some(lock.start) || lock.last.checked_add(1) == Some(held.start);
        if same && touches {
            lock.start = lock.start.min(held.start);
            lock.last = lock.last.max(held.last);
        }
        !(same && touches)
    });
    ranges.push(lock);
}

/// The lock of somebody else that is in the way, if there is one: that with the lowest start.
pub fn conflicting(inode: &Arc<dyn Inode>, lock: &RangeLock) -> Option<RangeLock> {
    STATE.lock().conflict(inode, lock)
}

/// Locks a range, or changes the kind of what the owner has there.
///
/// # Errors
/// [`Error::WouldBlock`] when somebody else's lock is in the way.
pub fn try_lock_range(file: &OpenFile, lock: RangeLock) -> Result<()> {
    if matches!(lock.owner, Owner::Description(_)) {
        end_with(file);
    }
    attempt_range(file.location().inode(), lock)?;
    // An exclusive lock may have become a shared one.
    RELEASED.wake_all();
    Ok(())
}

fn attempt_range(inode: &Arc<dyn Inode>, lock: RangeLock) -> Result<()> {
    let mut state = STATE.lock();
    if state.conflict(inode, &lock).is_some() {
        return Err(Error::WouldBlock);
    }
    let ranges = &mut state.of(inode).ranges;
    let before = table_ranges(ranges);
    put(ranges, lock);
    count_table_ranges(before, table_ranges(ranges));
    Ok(())
}

/// As [`try_lock_range`]; waits until nothing is in the way. Dropping the future ends the wait.
///
/// # Errors
/// [`Error::Deadlock`] when those who are in the way wait for this owner.
pub async fn lock_range(file: &OpenFile, lock: RangeLock) -> Result<()> {
    match try_lock_range(file, lock) {
        Err(Error::WouldBlock) => {}
        outcome => return outcome,
    }
    let _waiting = Waiting(lock.owner);
    let inode = file.location().inode();
    let attempt = || match attempt_range(inode, lock) {
        Err(Error::WouldBlock) => note_waiting(inode, &lock).err().map(Err),
        outcome => Some(outcome),
    };
    RELEASED.wait_until(attempt).await?;
    RELEASED.wake_all();
    Ok(())
}

/// Removes what an owner waits for when it waits no more.
struct Waiting(Owner);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = STATE.lock();
        if let Some(index) = state.waiting.iter().position(|(waiter, _)| *waiter == self.0) {
            state.waiting.swap_remove(index);
        }
    }
}

fn note_waiting(inode: &Arc<dyn Inode>, lock: &RangeLock) -> Result<()> {
    let mut state = STATE.lock();
    let Some(held) = state.conflict(inode, lock) else { return Ok(()) };
    // Only processes can be told that they are stuck: a description's lock may be released by anybody who has it.
    if !matches!((lock.owner, held.owner), (Owner::Table(_), Owner::Table(_))) {
        return Ok(());
    }
    if state.waits_for(held.owner, lock.owner) {
        return Err(Error::Deadlock);
    }
    match state.waiting.iter_mut().find(|(waiter, _)| *waiter == lock.owner) {
        Some(entry) => entry.1 = held.owner,
        None => state.waiting.push((lock.owner, held.owner)),
    }
    Ok(())
}

/// Releases what an owner has of a range.
pub fn unlock_range(inode: &Arc<dyn Inode>, owner: Owner, start: u64, last: u64) {
    release(inode, |file| cut(&mut file.ranges, owner, start, last));
}

fn release(inode: &Arc<dyn Inode>, change: impl FnOnce(&mut FileLocks)) {
    let key = key(inode);
    let mut state = STATE.lock();
    let Some(file) = state.files.get_mut(&key) else { return };
    let before = table_ranges(&file.ranges);
    change(file);
    count_table_ranges(before, table_ranges(&file.ranges));
    let forgotten = state.tidy(key);
    drop(state);
    drop(forgotten.map(|file| file.inode));
    RELEASED.wake_all();
}

/// Locks the whole file for an open description, or changes the kind of its lock (which, as on Linux, is released
/// first: it may be lost to somebody else).
///
/// # Errors
/// [`Error::WouldBlock`] when somebody else's lock is in the way.
pub fn try_lock_whole(file: &OpenFile, kind: LockKind) -> Result<()> {
    end_with(file);
    let (outcome, released) = attempt_whole(file, kind);
    if released {
        RELEASED.wake_all();
    }
    outcome
}

/// The outcome, and whether the lock that it had was released.
fn attempt_whole(file: &OpenFile, kind: LockKind) -> (Result<()>, bool) {
    let description = file.identity();
    let mut state = STATE.lock();
    let wholes = &mut state.of(file.location().inode()).wholes;
    let held = wholes.iter().position(|held| held.description == description);
    if held.is_some_and(|index| wholes[index].kind == kind) {
        return (Ok(()), false);
    }
    if let Some(index) = held {
        wholes.swap_remove(index);
    }
    if wholes.iter().any(|other| kind == LockKind::Exclusive || other.kind == LockKind::Exclusive) {
        return (Err(Error::WouldBlock), held.is_some());
    }
    wholes.push(WholeLock { description, kind });
    (Ok(()), held.is_some())
}

/// As [`try_lock_whole`]; waits until nothing is in the way.
pub async fn lock_whole(file: &OpenFile, kind: LockKind) -> Result<()> {
    // The first attempt releases what it had, and wakes others; the ones that are made while waiting have nothing to release.
    match try_lock_whole(file, kind) {
        Err(Error::WouldBlock) => {}
        outcome => return outcome,
    }
    let attempt = || match attempt_whole(file, kind).0 {
        Err(Error::WouldBlock) => None,
        outcome => Some(outcome),
    };
    RELEASED.wait_until(attempt).await
}

/// Releases a description's lock of the whole file.
pub fn unlock_whole(file: &OpenFile) {
    let description = file.identity();
    release(file.location().inode(), |file| file.wholes.retain(|held| held.description != description));
}

/// Sees to it that the locks of a description end with it.
fn end_with(file: &OpenFile) {
    let dependant: Arc<dyn Dependant> = DESCRIPTIONS.clone();
    file.tell_when_closed(Arc::downgrade(&dependant) as Weak<dyn Dependant>);
}

/// Releases a table's locks of a file of which it has closed a descriptor.
#[inline]
pub(crate) fn descriptor_closed(table: usize, file: &OpenFile) {
    if TABLE_RANGES.load(Ordering::Relaxed) != 0 {
        unlock_range(file.location().inode(), Owner::Table(table), 0, u64::MAX);
    }
}

/// Releases all locks of a table that is gone.
#[inline]
pub(crate) fn table_gone(table: usize) {
    if TABLE_RANGES.load(Ordering::Relaxed) != 0 {
        release_everywhere(Owner::Table(table));
    }
}

#[cold]
fn release_everywhere(owner: Owner) {
    let mut forgotten = Vec::new();
    let mut state = STATE.lock();
    let keys: Vec<usize> = state.files.keys().copied().collect();
    for key in keys {
        let Some(file) = state.files.get_mut(&key) else { continue };
        let before = table_ranges(&file.ranges);
        file.ranges.retain(|held| held.owner != owner);
        count_table_ranges(before, table_ranges(&file.ranges));
        if let Owner::Description(identity) = owner {
            file.wholes.retain(|held| held.description != identity);
        }
        forgotten.extend(state.tidy(key));
    }
    drop(state);
    drop(forgotten);
    RELEASED.wake_all();
}

#[cfg(test)]
mod tests;
