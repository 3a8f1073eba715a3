//! The page table of an address space: the tree that the hardware walks, which owns the frames it maps.
//!
//! One 16 KiB root serves as an Sv39 root (512 entries) and as an Sv39x4 root (2048 entries). Entries 0 to 255 are the
//! process's. 256 to 511 are the kernel's, copied at creation. From 512 on, which only Sv39x4 sees, all is empty.
//!
//! Each leaf keeps a handle of its frame (4 KiB) or large frame (2 MiB). A table knows how many of its entries are in
//! use, so that an empty one can leave. What leaves the tree goes into [`Removed`], to be dropped after the flush.
//! Nothing here flushes or locks: the owner does.

mod entry;
pub mod kernel;
mod table;

pub use entry::{Entry, Flags};

use crate::frames::{self, FRAMES_PER_LARGE, Frame, FrameRange, LargeFrame};
use base::address::{LARGE_PAGE_SIZE, PAGE_SIZE, PhysicalAddress, VirtualAddress};
use base::bytes::SharedBytes;
use base::{Error, Result};
use core::ops::Range;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use smallvec::SmallVec;
use table::{ENTRIES, ROOT_LEVEL, Table, index, span};

/// log2 of the frames in the root.
const ROOT_ORDER: u32 = 2;
/// Root entries below this are the process's.
const USER_ENTRIES: usize = 256;
/// How many handles one [`Removed`] takes.
pub const REMOVED_CAPACITY: usize = 128;

/// The tree of one address space, or of one shared object's pages.
pub struct PageTable {
    root: FrameRange,
    pages: usize,
    tables: usize,
}

/// A leaf, as far as one address is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The entry itself.
    pub entry: Entry,
    /// Whether it covers 2 MiB.
    pub large: bool,
}

/// What left a tree and may still be in a hart's TLB: to be dropped after the flush.
#[derive(Default)]
pub struct Removed {
    handles: SmallVec<[Handle; REMOVED_CAPACITY]>,
    /// Whether tables are among it, so that the hardware's cache of tables must go too.
    pub tables: bool,
    /// How many 4 KiB pages left.
    pub pages: usize,
}

#[expect(dead_code, reason = "kept only to be dropped")]
enum Handle {
    Frame(Frame),
    Large(LargeFrame),
}

impl Removed {
    /// Whether nothing left.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Whether a leaf and the tables above it might not fit any more.
    fn is_full(&self) -> bool {
        self.handles.len() + ROOT_LEVEL + 1 > REMOVED_CAPACITY
    }
}

/// The tables from the root towards an address, as far as they exist.
struct Path {
    tables: [Table; ROOT_LEVEL + 1],
    /// The level of the last one.
    level: usize,
}

impl Path {
    fn last(&self) -> Table {
        self.tables[self.level]
    }
}

/// How [`PageTable::copy_range`] gives a frame to the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// Both keep the access that they have.
    Share,
    /// Neither may write any more; a store is a fault that copies.
    CopyOnWrite,
}

impl PageTable {
    /// An empty tree, with the kernel's half of `kernel_root` (the address of a table) if there is one.
    ///
    /// # Errors
    /// `OutOfMemory`
    pub fn new(kernel_root: Option<PhysicalAddress>) -> Result<Self> {
        let order = if kernel_root.is_some() { ROOT_ORDER } else { 0 };
        let root = FrameRange::zeroed(1 << order, order)?;
        let tree = Self { root, pages: 0, tables: 0 };
        if let Some(address) = kernel_root {
            let kernel = kernel::root_table(address);
            for index in USER_ENTRIES..ENTRIES {
                let entry = kernel.load(index);
                if !entry.is_empty() {
                    tree.root_table().store(index, entry);
                }
            }
        }
        Ok(tree)
    }

    /// Where the root is: a multiple of 16 KiB.
    pub fn root(&self) -> PhysicalAddress {
        self.root.address()
    }

    /// How many 4 KiB pages the leaves keep.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// How many frames the tree itself takes, the root's included.
    pub fn table_frames(&self) -> usize {
        self.tables + self.root.bytes().len() / PAGE_SIZE
    }

    #[inline(always)]
    fn root_table(&self) -> Table {
        kernel::root_table(self.root.address())
    }

    /// The table whose entry decides about `address`, and its level; not below `lowest`.
    #[inline]
    fn descend(&self, address: VirtualAddress, lowest: usize) -> (Table, usize) {
        let (mut table, mut level) = (self.root_table(), ROOT_LEVEL);
        while level > lowest {
            let entry = table.load(index(address, level));
            if !entry.is_table() {
                break;
            }
            table = Table::of(entry);
            level -= 1;
        }
        (table, level)
    }

    fn path(&self, address: VirtualAddress) -> Path {
        let mut path = Path { tables: [self.root_table(); ROOT_LEVEL + 1], level: ROOT_LEVEL };
        while path.level > 0 {
            let entry = path.last().load(index(address, path.level));
            if !entry.is_table() {
                break;
            }
            path.level -= 1;
            path.tables[path.level] = Table::of(entry);
        }
        path
    }

    /// The table of level `target` for `address`, made if need be; a large leaf in the way is split.
    #[inline]
    fn descend_creating(&mut self, address: VirtualAddress, target: usize) -> Result<Table> {
        let (mut table, mut level) = self.descend(address, target);
        while level > target {
            let at = index(address, level);
            let entry = table.load(at);
            let next = if entry.is_empty() { Table::new()? } else { Self::split(entry)? };
            if entry.is_empty() && level < ROOT_LEVEL {
                table.change_count(1);
            }
            table.store(at, Entry::table(next.address()));
            self.tables += 1;
            table = next;
            level -= 1;
        }
        Ok(table)
    }

    /// A table of 4 KiB leaves that says what the 2 MiB leaf says.
    fn split(entry: Entry) -> Result<Table> {
        debug_assert!(entry.is_leaf(), "only leaves are split");
        let table = Table::new()?;
        let start = table::take_large(entry).split_into_raw();
        for piece in 0..FRAMES_PER_LARGE {
            table.store(piece, Entry::leaf(start + piece * PAGE_SIZE, entry.flags()));
        }
        table.change_count(ENTRIES as isize);
        Ok(table)
    }

    /// The leaf that covers `address`.
    #[inline]
    pub fn find(&self, address: VirtualAddress) -> Option<Leaf> {
        let (table, level) = self.descend(address, 0);
        let entry = table.load(index(address, level));
        entry.is_leaf().then_some(Leaf { entry, large: level > 0 })
    }

    /// Whether the whole 2 MiB around `address` has neither leaf nor table.
    pub fn is_large_empty(&self, address: VirtualAddress) -> bool {
        let (table, level) = self.descend(address, 1);
        table.load(index(address, level)).is_empty()
    }

    /// Maps `frame` at `address`.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for a table. `AlreadyExists`: something is mapped there.
    #[inline]
    pub fn insert(&mut self, address: VirtualAddress, frame: Frame, flags: Flags) -> Result<()> {
        let table = self.descend_creating(address, 0)?;
        let at = index(address, 0);
        if !table.load(at).is_empty() {
            return Err(Error::AlreadyExists);
        }
        self.put(table, at, Entry::leaf(frame.into_raw(), flags), 1);
        Ok(())
    }

    /// Maps a frame that is made only when the place for it is there: [`PageTable::insert`] for the short way of a fault.
    ///
    /// # Errors
    /// As for [`PageTable::insert`], and those of `make`.
    #[inline]
    pub fn insert_with(
        &mut self,
        address: VirtualAddress,
        flags: Flags,
        make: impl FnOnce() -> Result<Frame>,
    ) -> Result<()> {
        let table = self.descend_creating(address, 0)?;
        let at = index(address, 0);
        if !table.load(at).is_empty() {
            return Err(Error::AlreadyExists);
        }
        // A table that stays empty when `make` fails does no harm: the next fault uses it, or the teardown frees it.
        let frame = make()?;
        self.put(table, at, Entry::leaf(frame.into_raw(), flags), 1);
        Ok(())
    }

    /// Maps `frame` at `address`, a multiple of 2 MiB.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for a table. `AlreadyExists`: something is mapped in the 2 MiB.
    pub fn insert_large(&mut self, address: VirtualAddress, frame: LargeFrame, flags: Flags) -> Result<()> {
        debug_assert!(address.is_aligned(LARGE_PAGE_SIZE), "large leaves are aligned");
        let table = self.descend_creating(address, 1)?;
        let at = index(address, 1);
        if !table.load(at).is_empty() {
            return Err(Error::AlreadyExists);
        }
        self.put(table, at, Entry::leaf(frame.into_raw(), flags), FRAMES_PER_LARGE);
        Ok(())
    }

    /// Puts `frame` where another one is, and gives that one back, to be dropped after the flush.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for a table, when the other is part of a large one. `NotFound`: nothing is mapped there.
    pub fn replace(&mut self, address: VirtualAddress, frame: Frame, flags: Flags) -> Result<Frame> {
        if self.find(address).is_none() {
            return Err(Error::NotFound);
        }
        let table = self.descend_creating(address, 0)?;
        let at = index(address, 0);
        let old = table.load(at);
        table.store(at, Entry::leaf(frame.into_raw(), flags));
        Ok(table::take_frame(old))
    }

    /// Changes the flags of the leaf that covers `address`, which must exist.
    pub fn set_flags(&mut self, address: VirtualAddress, flags: Flags) {
        let (table, level) = self.descend(address, 0);
        let at = index(address, level);
        let entry = table.load(at);
        debug_assert!(entry.is_leaf(), "callers found the leaf");
        table.store(at, entry.with_flags(flags));
    }

    /// Whether nobody but the tree of this leaf holds what it maps.
    pub fn is_exclusive(leaf: Leaf) -> bool {
        if leaf.large {
            table::is_exclusive_large(leaf.entry)
        } else {
            frames::count_of(leaf.entry.address()) == 1
        }
    }

    /// Where the byte at `address` is, for a leaf that [`PageTable::find`] gave for it.
    #[inline(always)]
    pub fn physical(leaf: Leaf, address: VirtualAddress) -> PhysicalAddress {
        let span = span(usize::from(leaf.large));
        leaf.entry.address() + (address.value() & (span - 1))
    }

    /// A further handle of the frame at `address`, and the leaf's flags.
    #[inline]
    pub fn share(&self, address: VirtualAddress) -> Option<(Frame, Flags)> {
        let leaf = self.find(address)?;
        let physical = Self::physical(leaf, address).align_down(PAGE_SIZE);
        Some((table::share_frame(physical), leaf.entry.flags()))
    }

    /// A further handle of the frame at `address`, if the leaf has all of `flags`.
    #[inline]
    pub fn share_allowed(&self, address: VirtualAddress, flags: Flags) -> Option<Frame> {
        let (table, level) = self.descend(address, 0);
        let entry = table.load(index(address, level));
        // Whatever allows access is a leaf.
        if !entry.flags().contains(flags) || !flags.intersects(Flags::READ | Flags::WRITE | Flags::EXECUTE) {
            return None;
        }
        let frame = match level {
            0 => entry.address(),
            _ => Self::physical(Leaf { entry, large: true }, address).align_down(PAGE_SIZE),
        };
        Some(table::share_frame(frame))
    }

    /// The bytes from `address` to the end of its leaf, if all of `access` is allowed there.
    #[inline]
    pub fn view(&self, address: VirtualAddress, access: Flags) -> Option<SharedBytes<'_>> {
        let leaf = self.find(address)?;
        if !leaf.entry.allows(access) {
            return None;
        }
        let span = span(usize::from(leaf.large));
        let offset = address.value() & (span - 1);
        Some(table::bytes(leaf.entry.address() + offset, span - offset))
    }

    /// The word at `address`, a multiple of four, if all of `access` is allowed there.
    #[inline]
    pub fn word(&self, address: VirtualAddress, access: Flags) -> Option<&AtomicU32> {
        let leaf = self.find(address)?;
        leaf.entry.allows(access).then(|| table::word(Self::physical(leaf, address)))
    }

    /// Splits a large leaf of which `address` is not the start, so that a range may begin or end there.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for the table.
    pub fn split_at(&mut self, address: VirtualAddress) -> Result<()> {
        if address.is_aligned(LARGE_PAGE_SIZE) || !self.find(address).is_some_and(|leaf| leaf.large) {
            return Ok(());
        }
        self.descend_creating(address, 0).map(|_| ())
    }

    /// Calls `action` for each leaf in `range`, with the part of the range that it covers, until one gives `false`.
    pub fn visit(
        &self,
        range: Range<VirtualAddress>,
        mut action: impl FnMut(Range<VirtualAddress>, Leaf) -> bool,
    ) {
        let mut at = range.start;
        while at < range.end {
            let (table, level) = self.descend(at, 0);
            let span = span(level);
            let table_end = (at.align_down(span * ENTRIES) + span * ENTRIES).min(range.end);
            while at < table_end {
                let entry = table.load(index(at, level));
                if entry.is_table() {
                    break;
                }
                let next = (at.align_down(span) + span).min(range.end);
                if entry.is_leaf() && !action(at..next, Leaf { entry, large: level > 0 }) {
                    return;
                }
                at = next;
            }
        }
    }

    /// Gives each leaf in `range` the flags that `change` makes of its own; stops after about `limit` entries.
    /// Large leaves must not cross the ends of the range ([`PageTable::split_at`]). Returns where it stopped.
    pub fn change(
        &mut self,
        range: Range<VirtualAddress>,
        limit: usize,
        mut change: impl FnMut(Leaf) -> Flags,
    ) -> VirtualAddress {
        let (mut at, mut left) = (range.start, limit);
        while at < range.end && left > 0 {
            let (table, level) = self.descend(at, 0);
            let span = span(level);
            let table_end = (at.align_down(span * ENTRIES) + span * ENTRIES).min(range.end);
            while at < table_end && left > 0 {
                let place = index(at, level);
                let entry = table.load(place);
                if entry.is_table() {
                    break;
                }
                if entry.is_leaf() {
                    let flags = change(Leaf { entry, large: level > 0 });
                    if flags != entry.flags() {
                        table.store(place, entry.with_flags(flags));
                    }
                }
                left -= 1;
                at = (at.align_down(span) + span).min(range.end);
            }
        }
        at
    }

    /// Takes leaves out of `range` until it is empty or `removed` is full. Large leaves must not cross the ends of the
    /// range ([`PageTable::split_at`]). Returns where it stopped.
    pub fn remove(&mut self, range: Range<VirtualAddress>, removed: &mut Removed) -> VirtualAddress {
        let mut at = range.start;
        while at < range.end && !removed.is_full() {
            let path = self.path(at);
            let (table, level) = (path.last(), path.level);
            let (span, first) = (span(level), at);
            let table_end = (at.align_down(span * ENTRIES) + span * ENTRIES).min(range.end);
            while at < table_end && !removed.is_full() {
                let place = index(at, level);
                let entry = table.load(place);
                if entry.is_table() {
                    break;
                }
                let start = at.align_down(span);
                if entry.is_empty() {
                    let end = place + (table_end - start).div_ceil(span);
                    at = (start + (table.skip_empty(place..end) - place) * span).min(range.end);
                    continue;
                }
                self.take(table, place, level, removed);
                at = (start + span).min(range.end);
            }
            self.prune(&path, first, removed);
        }
        at
    }

    /// Takes one leaf out of `table`.
    fn take(&mut self, table: Table, place: usize, level: usize, removed: &mut Removed) {
        let entry = table.load(place);
        table.store(place, Entry::EMPTY);
        if level < ROOT_LEVEL {
            table.change_count(-1);
        }
        let (handle, pages) = if level == 0 {
            (Handle::Frame(table::take_frame(entry)), 1)
        } else {
            (Handle::Large(table::take_large(entry)), FRAMES_PER_LARGE)
        };
        removed.handles.push(handle);
        removed.pages += pages;
        self.pages -= pages;
    }

    /// Takes the tables of the path that are empty out of the tree.
    fn prune(&mut self, path: &Path, address: VirtualAddress, removed: &mut Removed) {
        for level in path.level..ROOT_LEVEL {
            let table = path.tables[level];
            if table.count().load(Ordering::Relaxed) > 0 {
                return;
            }
            let above = path.tables[level + 1];
            above.store(index(address, level + 1), Entry::EMPTY);
            if level + 1 < ROOT_LEVEL {
                above.change_count(-1);
            }
            self.tables -= 1;
            removed.handles.push(Handle::Frame(table.into_frame()));
            removed.tables = true;
        }
    }

    /// Gives `copy`, which must be empty there, what this tree has in `range`; about `limit` entries at a time.
    /// Returns where it stopped, and whether a leaf lost its right to write (which must be flushed).
    ///
    /// A private page that may be written is nobody else's, so that further holders of its frame are operations in
    /// flight. What they write must arrive here, so that such a page is copied at once and stays as it is.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for a table or a copy; what was copied so far stays.
    pub fn copy_range(
        &mut self,
        copy: &mut PageTable,
        range: Range<VirtualAddress>,
        copying: Copying,
        limit: usize,
    ) -> Result<(VirtualAddress, bool)> {
        let (mut at, mut left, mut changed) = (range.start, limit, false);
        while at < range.end && left > 0 {
            let (table, level) = self.descend(at, 0);
            let span = span(level);
            let table_end = (at.align_down(span * ENTRIES) + span * ENTRIES).min(range.end);
            let mut target = None;
            while at < table_end && left > 0 {
                let place = index(at, level);
                let entry = table.load(place);
                if entry.is_table() {
                    break;
                }
                if entry.is_empty() {
                    let start = at.align_down(span);
                    let end = place + (table_end - start).div_ceil(span).min(left);
                    let skipped = table.skip_empty(place..end) - place;
                    at = (start + skipped * span).min(range.end);
                    left -= skipped;
                    continue;
                }
                if entry.is_leaf() {
                    let leaf = Leaf { entry, large: level > 0 };
                    let takes = copying == Copying::CopyOnWrite && entry.flags().contains(Flags::WRITE);
                    let pinned = takes && !Self::is_exclusive(leaf);
                    if pinned && leaf.large {
                        // Only the pieces that are pinned have to be copied.
                        self.descend_creating(at, 0)?;
                        break;
                    }
                    let into = match target {
                        Some(into) => into,
                        None => *target.insert(copy.descend_creating(at, level)?),
                    };
                    if pinned {
                        let frame = table::share_frame(entry.address()).duplicate()?;
                        copy.put(into, place, Entry::leaf(frame.into_raw(), entry.flags()), 1);
                    } else if takes {
                        let shared =
                            entry.with_flags(entry.flags().difference(Flags::WRITE) | Flags::COPY_ON_WRITE);
                        copy.adopt(into, place, level, shared);
                        table.store(place, shared);
                        changed = true;
                    } else {
                        copy.adopt(into, place, level, entry);
                    }
                }
                left -= 1;
                at = (at.align_down(span) + span).min(range.end);
            }
        }
        Ok((at, changed))
    }

    /// Puts a further handle of what `entry` keeps at `place`.
    #[inline]
    fn adopt(&mut self, into: Table, place: usize, level: usize, entry: Entry) {
        let pages = if level == 0 {
            let _ = table::share_frame(entry.address()).into_raw();
            1
        } else {
            let _ = table::share_large(entry).into_raw();
            FRAMES_PER_LARGE
        };
        self.put(into, place, entry, pages);
    }

    /// Puts a leaf, with the handle that it keeps, into an empty place.
    #[inline]
    fn put(&mut self, into: Table, place: usize, entry: Entry, pages: usize) {
        debug_assert!(into.load(place).is_empty(), "callers looked");
        into.change_count(1);
        into.store(place, entry);
        self.pages += pages;
    }

    /// Moves leaves of `range` to the same places from `target` on, which must be empty; at most `limit` entries.
    /// Large leaves move whole where both places allow it. Returns where it stopped.
    ///
    /// # Errors
    /// `OutOfMemory`: no frame for a table; the leaf at the address that comes with it has not moved.
    pub fn relocate(
        &mut self,
        range: Range<VirtualAddress>,
        target: VirtualAddress,
        limit: usize,
    ) -> core::result::Result<VirtualAddress, (VirtualAddress, Error)> {
        let (mut at, mut left) = (range.start, limit);
        while at < range.end && left > 0 {
            let destination = target + (at - range.start);
            let (table, level) = self.descend(at, 0);
            let entry = table.load(index(at, level));
            let next = (at.align_down(span(level)) + span(level)).min(range.end);
            left -= 1;
            if !entry.is_leaf() {
                at = next;
                continue;
            }
            let whole = level == 1
                && at.is_aligned(LARGE_PAGE_SIZE)
                && destination.is_aligned(LARGE_PAGE_SIZE)
                && range.end - at >= LARGE_PAGE_SIZE;
            let to_level = usize::from(whole);
            let into = self.descend_creating(destination, to_level).map_err(|error| (at, error))?;
            let from = self.descend_creating(at, to_level).map_err(|error| (at, error))?;
            let entry = from.load(index(at, to_level));
            from.store(index(at, to_level), Entry::EMPTY);
            from.change_count(-1);
            into.store(index(destination, to_level), entry);
            into.change_count(1);
            at = at + span(to_level);
        }
        Ok(at)
    }

    /// Drops everything below `table`, which has `in_use` entries among the first `entries`.
    fn drop_table(table: Table, level: usize, entries: usize, in_use: usize) {
        let (mut left, mut place) = (in_use, 0);
        while left > 0 && place < entries {
            let entry = table.load(place);
            if entry.is_empty() {
                place = table.skip_empty(place..entries);
                continue;
            }
            (left, place) = (left - 1, place + 1);
            if entry.is_table() {
                let next = Table::of(entry);
                Self::drop_table(next, level - 1, ENTRIES, next.count().load(Ordering::Relaxed) as usize);
                drop(next.into_frame());
            } else if level == 0 {
                drop(table::take_frame(entry));
            } else {
                drop(table::take_large(entry));
            }
        }
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        // A tree without a kernel's half (an object's pages) uses all entries of its root.
        let has_kernel = self.root.bytes().len() > PAGE_SIZE;
        let entries = if has_kernel { USER_ENTRIES } else { ENTRIES };
        Self::drop_table(self.root_table(), ROOT_LEVEL, entries, usize::MAX);
    }
}

impl core::fmt::Debug for PageTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PageTable({:#x}, {} pages)", self.root(), self.pages)
    }
}

#[cfg(test)]
mod tests;
