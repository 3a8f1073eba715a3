//! The kernel's own mappings: built at boot, with the largest leaves that fit, and shared by every address space.
#![expect(unsafe_code, reason = "a root is named by its address")]

use super::entry::{Entry, Flags};
use super::table::{ENTRIES, ROOT_LEVEL, Table, index, span};
use crate::frames::FrameRange;
use base::address::{PAGE_SIZE, PhysicalAddress, VirtualAddress};
use base::{Error, Result};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// The root table at `address`; callers name roots only.
#[inline(always)]
pub(super) fn root_table(address: PhysicalAddress) -> Table {
    // SAFETY: every caller passes the address of a root that lives as long as the tree it is used for.
    unsafe { Table::at(address) }
}

/// The kernel's page table. It owns its tables, not what it maps.
///
/// Address spaces copy the root's upper half when they are made. So whatever is mapped later must lie under root
/// entries that exist by then: [`KernelTable::reserve`] them at boot.
#[derive(Debug)]
pub struct KernelTable {
    root: FrameRange,
}

impl KernelTable {
    /// An empty table.
    ///
    /// # Errors
    /// `OutOfMemory`
    pub fn new() -> Result<Self> {
        Ok(Self { root: FrameRange::zeroed(1, 0)? })
    }

    /// Where the root is.
    pub fn root(&self) -> PhysicalAddress {
        self.root.address()
    }

    /// Makes the second-level tables for `range`, so that later mappings in it are seen by all address spaces.
    ///
    /// # Errors
    /// `OutOfMemory`
    pub fn reserve(&mut self, range: Range<VirtualAddress>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            self.descend_creating(at, ROOT_LEVEL - 1)?;
            match at.align_down(span(ROOT_LEVEL)).checked_add(span(ROOT_LEVEL)) {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Maps `length` bytes from `start` on to the memory from `physical` on; all three multiples of a page. Uses
    /// leaves of 1 GiB and 2 MiB where both sides are aligned and nothing smaller is there already.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for a table. `AlreadyExists`: a part is mapped; what came before it is mapped now.
    pub fn map(
        &mut self,
        start: VirtualAddress,
        physical: PhysicalAddress,
        length: usize,
        flags: Flags,
    ) -> Result<()> {
        let mut done = 0;
        while done < length {
            let (at, from) = (start + done, physical + done);
            let fits = |level: &usize| {
                let span = span(*level);
                at.is_aligned(span)
                    && from.is_aligned(span)
                    && length - done >= span
                    && self.is_free(at, *level)
            };
            let level = (0..=ROOT_LEVEL).rev().find(fits).ok_or(Error::AlreadyExists)?;
            let table = self.descend_creating(at, level)?;
            table.store(index(at, level), Entry::leaf(from, flags));
            if level < ROOT_LEVEL {
                table.change_count(1);
            }
            done += span(level);
        }
        Ok(())
    }

    /// Unmaps `range`, both ends multiples of a page; splits the large leaves at its ends. The caller flushes.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for the table of a split leaf.
    pub fn unmap(&mut self, range: Range<VirtualAddress>) -> Result<()> {
        self.replace(range, |_| Entry::EMPTY)
    }

    /// Gives what is mapped in `range` the access of `flags`; splits the large leaves at its ends. The caller flushes.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for the table of a split leaf.
    pub fn protect(&mut self, range: Range<VirtualAddress>, flags: Flags) -> Result<()> {
        self.replace(range, |entry| entry.with_flags(flags))
    }

    /// The memory and the flags behind `address`.
    pub fn translate(&self, address: VirtualAddress) -> Option<(PhysicalAddress, Flags)> {
        let (table, level) = self.descend(address, 0);
        let entry = table.load(index(address, level));
        entry.is_leaf().then(|| (entry.address() + (address.value() & (span(level) - 1)), entry.flags()))
    }

    fn replace(&mut self, range: Range<VirtualAddress>, change: impl Fn(Entry) -> Entry) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let (mut table, mut level) = self.descend(at, 0);
            if table.load(index(at, level)).is_leaf() {
                while !at.is_aligned(span(level)) || range.end - at < span(level) {
                    level -= 1;
                    table = self.descend_creating(at, level)?;
                }
                let entry = table.load(index(at, level));
                let new = change(entry);
                table.store(index(at, level), new);
                if new.is_empty() && level < ROOT_LEVEL {
                    table.change_count(-1);
                }
            }
            match at.align_down(span(level)).checked_add(span(level)) {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    fn is_free(&self, at: VirtualAddress, level: usize) -> bool {
        let (table, found) = self.descend(at, level);
        table.load(index(at, found)).is_empty()
    }

    fn descend(&self, address: VirtualAddress, lowest: usize) -> (Table, usize) {
        let (mut table, mut level) = (root_table(self.root()), ROOT_LEVEL);
        while level > lowest && table.load(index(address, level)).is_table() {
            table = Table::of(table.load(index(address, level)));
            level -= 1;
        }
        (table, level)
    }

    fn descend_creating(&mut self, address: VirtualAddress, target: usize) -> Result<Table> {
        let (mut table, mut level) = self.descend(address, target);
        while level > target {
            let next = Table::new()?;
            let entry = table.load(index(address, level));
            if entry.is_leaf() {
                for piece in 0..ENTRIES {
                    next.store(piece, Entry::leaf(entry.address() + piece * span(level - 1), entry.flags()));
                }
                next.change_count(ENTRIES as isize);
            } else if level < ROOT_LEVEL {
                table.change_count(1);
            }
            table.store(index(address, level), Entry::table(next.address()));
            table = next;
            level -= 1;
        }
        Ok(table)
    }

    fn drop_table(table: Table) {
        for place in 0..ENTRIES {
            let entry = table.load(place);
            if entry.is_table() {
                let next = Table::of(entry);
                Self::drop_table(next);
                next.count().store(0, Ordering::Relaxed);
                drop(next.into_frame());
            }
        }
    }
}

impl Drop for KernelTable {
    fn drop(&mut self) {
        Self::drop_table(root_table(self.root()));
    }
}

const _: () = assert!(ENTRIES * size_of::<Entry>() == PAGE_SIZE);
