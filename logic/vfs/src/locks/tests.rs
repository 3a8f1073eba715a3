//! Locks as processes meet them: each test has files of its own, so that tests run beside each other.

use super::*;
use crate::file_table::OnExec;
use crate::testing::{World, block_on, poll_once};
use crate::{FileTable, OpenFlags};
use core::pin::pin;
use core::task::Poll;
use std::vec;

fn lock(owner: Owner, kind: LockKind, start: u64, last: u64) -> RangeLock {
    RangeLock { owner, kind, start, last, process: 1 }
}

fn file(world: &World) -> Arc<OpenFile> {
    world.open("/file", OpenFlags::READ_WRITE | OpenFlags::CREATE).expect("a file")
}

/// Who has what of a file, in order.
fn ranges(file: &OpenFile) -> Vec<(u64, u64, LockKind)> {
    let mut state = STATE.lock();
    let mut ranges: Vec<_> = state
        .of(file.location().inode())
        .ranges
        .iter()
        .map(|held| (held.start, held.last, held.kind))
        .collect();
    ranges.sort_by_key(|held| held.0);
    ranges
}

use LockKind::{Exclusive, Shared};

#[test]
fn a_part_that_is_unlocked_leaves_two() {
    let world = World::new();
    let file = file(&world);
    let owner = Owner::Table(1 << 60);
    try_lock_range(&file, lock(owner, Exclusive, 10, 29)).expect("free");
    unlock_range(file.location().inode(), owner, 15, 19);
    assert_eq!(ranges(&file), vec![(10, 14, Exclusive), (20, 29, Exclusive)]);
    try_lock_range(&file, lock(owner, Exclusive, 15, 19)).expect("free");
    assert_eq!(ranges(&file), vec![(10, 29, Exclusive)]);
    try_lock_range(&file, lock(owner, Shared, 20, u64::MAX)).expect("its own");
    assert_eq!(ranges(&file), vec![(10, 19, Exclusive), (20, u64::MAX, Shared)]);
    unlock_range(file.location().inode(), owner, 0, u64::MAX);
    assert!(!STATE.lock().files.contains_key(&key(file.location().inode())) || ranges(&file).is_empty());
}

#[test]
fn only_others_are_in_the_way() {
    let world = World::new();
    let file = file(&world);
    let (one, other) = (Owner::Table(2 << 60), Owner::Table(3 << 60));
    try_lock_range(&file, lock(one, Shared, 0, 9)).expect("free");
    try_lock_range(&file, lock(other, Shared, 5, 14)).expect("shared");
    let wanted = lock(other, Exclusive, 0, 9);
    assert_eq!(try_lock_range(&file, wanted), Err(Error::WouldBlock));
    assert_eq!(conflicting(file.location().inode(), &wanted).map(|held| held.owner), Some(one));
    table_gone(2 << 60);
    assert_eq!(try_lock_range(&file, wanted), Ok(()));
    table_gone(3 << 60);
}

#[test]
fn closing_any_descriptor_releases_the_tables_locks() {
    let world = World::new();
    let (first, second) = (file(&world), file(&world));
    let table = FileTable::new();
    let owner = Owner::Table(table.identity());
    table.insert(first.clone(), OnExec::Keep, 10).expect("room");
    let other = table.insert(second, OnExec::Keep, 10).expect("room");
    try_lock_range(&first, lock(owner, Exclusive, 0, 9)).expect("free");
    drop(table.remove(other));
    assert!(ranges(&first).is_empty());
}

#[test]
fn a_description_takes_its_locks_with_it() {
    let world = World::new();
    let (first, second) = (file(&world), file(&world));
    try_lock_whole(&first, Exclusive).expect("free");
    assert_eq!(try_lock_whole(&second, Shared), Err(Error::WouldBlock));
    let range = lock(Owner::Description(first.identity()), Exclusive, 0, 9);
    try_lock_range(&first, range).expect("free");
    drop(first);
    assert_eq!(try_lock_whole(&second, Exclusive), Ok(()));
    assert!(ranges(&second).is_empty());
}

#[test]
fn who_waits_gets_the_lock_when_it_is_released() {
    let world = World::new();
    let (first, second) = (file(&world), file(&world));
    try_lock_whole(&first, Exclusive).expect("free");
    let mut waiting = pin!(lock_whole(&second, Exclusive));
    assert_eq!(poll_once(waiting.as_mut()), Poll::Pending);
    unlock_whole(&first);
    assert_eq!(block_on(waiting), Ok(()));
    assert_eq!(try_lock_whole(&first, Shared), Err(Error::WouldBlock));
}

#[test]
fn a_circle_of_waiters_is_noticed() {
    let world = World::new();
    let file = file(&world);
    let (one, other) = (Owner::Table(4 << 60), Owner::Table(5 << 60));
    try_lock_range(&file, lock(one, Exclusive, 0, 0)).expect("free");
    try_lock_range(&file, lock(other, Exclusive, 1, 1)).expect("free");
    {
        let mut waiting = pin!(lock_range(&file, lock(one, Exclusive, 1, 1)));
        assert_eq!(poll_once(waiting.as_mut()), Poll::Pending);
        assert_eq!(block_on(lock_range(&file, lock(other, Exclusive, 0, 0))), Err(Error::Deadlock));
    }
    // The wait that was given up is forgotten.
    let mut waiting = pin!(lock_range(&file, lock(other, Exclusive, 0, 0)));
    assert_eq!(poll_once(waiting.as_mut()), Poll::Pending);
    table_gone(4 << 60);
    assert_eq!(block_on(waiting), Ok(()));
    table_gone(5 << 60);
}
