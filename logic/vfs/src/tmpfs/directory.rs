//! The entries of a directory: found by name at once, listed in the order in which they were made.
//!
//! Each entry has a cookie that only grows, so that a listing that stopped goes on where it was, whatever was made and
//! removed meanwhile: it meets every entry that existed all the time exactly once.

use super::TmpfsInode;
use crate::inode::{DirectoryEntry, EntryVisitor, FIRST_COOKIE, Inode};
use crate::name::{self, Name};
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashTable;

/// Entries by name and by cookie.
pub(super) struct Directory {
    /// Positions in `slots`, by the hash of the name.
    index: HashTable<u32>,
    /// Ordered by cookie; removed entries leave a gap until there are many.
    slots: Vec<Slot>,
    next_cookie: u64,
    /// It was removed: nothing can be made in it any more.
    pub(super) removed: bool,
}

struct Slot {
    cookie: u64,
    entry: Option<Entry>,
}

struct Entry {
    hash: u64,
    name: Name,
    node: Arc<TmpfsInode>,
}

impl Slot {
    fn has_name(&self, name: &[u8]) -> bool {
        self.entry.as_ref().is_some_and(|entry| *entry.name == *name)
    }

    fn hash(&self) -> u64 {
        self.entry.as_ref().map_or(0, |entry| entry.hash)
    }
}

impl Directory {
    pub(super) const fn new() -> Self {
        Self { index: HashTable::new(), slots: Vec::new(), next_cookie: FIRST_COOKIE, removed: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<TmpfsInode>> {
        let position =
            self.index.find(name::hash(name), |&position| self.slots[position as usize].has_name(name))?;
        self.slots[*position as usize].entry.as_ref().map(|entry| &entry.node)
    }

    /// Adds a name that is not there.
    pub(super) fn insert(&mut self, name: &[u8], node: Arc<TmpfsInode>) {
        debug_assert!(self.get(name).is_none(), "the caller holds the directory's names");
        let hash = name::hash(name);
        let position = self.slots.len() as u32;
        let entry = Some(Entry { hash, name: Name::from_slice(name), node });
        self.slots.push(Slot { cookie: self.next_cookie, entry });
        self.next_cookie += 1;
        let slots = &self.slots;
        self.index.insert_unique(hash, position, |&position| slots[position as usize].hash());
    }

    /// Gives a name that is there to another node; returns the one that had it.
    pub(super) fn replace(&mut self, name: &[u8], node: Arc<TmpfsInode>) -> Option<Arc<TmpfsInode>> {
        let slots = &mut self.slots;
        let position =
            *self.index.find(name::hash(name), |&position| slots[position as usize].has_name(name))?;
        let entry = slots[position as usize].entry.as_mut()?;
        Some(core::mem::replace(&mut entry.node, node))
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpfsInode>> {
        let slots = &self.slots;
        let found = self
            .index
            .find_entry(name::hash(name), |&position| slots[position as usize].has_name(name))
            .ok()?;
        let (position, _) = found.remove();
        let entry = self.slots[position as usize].entry.take()?;
        if self.slots.len() > 2 * self.index.len() + 16 {
            self.compact();
        }
        Some(entry.node)
    }

    fn compact(&mut self) {
        self.slots.retain(|slot| slot.entry.is_some());
        self.index.clear();
        let slots = &self.slots;
        for (position, slot) in slots.iter().enumerate() {
            self.index
                .insert_unique(slot.hash(), position as u32, |&position| slots[position as usize].hash());
        }
    }

    /// Gives the entries from `cookie` on to the visitor until it breaks.
    pub(super) fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        let start = self.slots.partition_point(|slot| slot.cookie < cookie);
        for slot in &self.slots[start..] {
            let Some(Entry { name, node, .. }) = &slot.entry else {
                continue;
            };
            let entry =
                DirectoryEntry { name, number: node.number(), kind: node.kind(), cookie: slot.cookie + 1 };
            if visitor(entry).is_break() {
                return;
            }
        }
    }
}
