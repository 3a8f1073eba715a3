//! One table of the tree: 512 entries in a frame, read by the hardware at any time.
#![expect(unsafe_code, reason = "tables are reached through the direct map")]

use super::entry::Entry;
use crate::frames::{Frame, LargeFrame, extra_of};
use base::Result;
use base::address::{PAGE_SHIFT, PAGE_SIZE, PhysicalAddress, VirtualAddress};
use base::bytes::SharedBytes;
use base::hal::direct_map;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Entries in a table, and log2 of that.
pub(super) const ENTRIES: usize = 1 << ENTRIES_SHIFT;
pub(super) const ENTRIES_SHIFT: usize = 9;
/// The level of the root's entries; 0 is that of 4 KiB leaves.
pub(super) const ROOT_LEVEL: usize = 2;

/// Bytes that an entry of this level covers.
pub(super) const fn span(level: usize) -> usize {
    PAGE_SIZE << (ENTRIES_SHIFT * level)
}

/// Which entry of its table at this level is for `address`.
#[inline(always)]
pub(super) const fn index(address: VirtualAddress, level: usize) -> usize {
    (address.value() >> (PAGE_SHIFT + ENTRIES_SHIFT * level)) & (ENTRIES - 1)
}

/// A table that belongs to a tree. The tree's owner guards all but the hardware's reads.
#[derive(Clone, Copy)]
pub(super) struct Table(PhysicalAddress);

impl Table {
    /// The table at `address`, which must be one.
    ///
    /// # Safety
    /// The page at `address` must hold a table for as long as the result is used.
    #[inline(always)]
    pub(super) unsafe fn at(address: PhysicalAddress) -> Self {
        Self(address)
    }

    /// A new, empty table of one frame.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Frame::zeroed()?.into_raw()))
    }

    /// The table that this entry points to.
    #[inline(always)]
    pub(super) fn of(entry: Entry) -> Self {
        debug_assert!(entry.is_table());
        Self(entry.address())
    }

    pub(super) fn address(self) -> PhysicalAddress {
        self.0
    }

    #[inline(always)]
    fn slot(self, index: usize) -> &'static AtomicU64 {
        debug_assert!(index < ENTRIES);
        let pointer = direct_map(self.0).cast::<u64>().wrapping_add(index);
        // SAFETY: a `Table` is only made for pages that hold one (`at`'s contract; `new`; entries of tables), the index
        // is below 512, and all accesses are atomic.
        unsafe { AtomicU64::from_ptr(pointer) }
    }

    #[inline(always)]
    pub(super) fn load(self, index: usize) -> Entry {
        Entry(self.slot(index).load(Ordering::Relaxed))
    }

    /// Sets an entry. What the entry leads to was written before, for the hardware's walker too.
    #[inline(always)]
    pub(super) fn store(self, index: usize, entry: Entry) {
        self.slot(index).store(entry.0, Ordering::Release);
    }

    /// The first of these entries that is in use; the end of the range, if none is. Looks at several at a time, as most of what a
    /// program reserves it never touches.
    #[inline(never)]
    pub(super) fn skip_empty(self, places: Range<usize>) -> usize {
        const AT_ONCE: usize = 8;
        let mut place = places.start;
        while place + AT_ONCE <= places.end {
            let all = (0..AT_ONCE).fold(0, |all, offset| all | self.load(place + offset).0);
            if all != 0 {
                break;
            }
            place += AT_ONCE;
        }
        (place..places.end).find(|place| !self.load(*place).is_empty()).unwrap_or(places.end)
    }

    /// How many entries are in use. Only kept for tables of their own frame, so not for a root.
    #[inline(always)]
    pub(super) fn count(self) -> &'static AtomicU32 {
        extra_of(self.0)
    }

    #[inline(always)]
    pub(super) fn change_count(self, by: isize) {
        let count = self.count();
        count.store(count.load(Ordering::Relaxed).wrapping_add_signed(by as i32), Ordering::Relaxed);
    }

    /// Gives the table's frame back; it must be empty and out of the tree.
    pub(super) fn into_frame(self) -> Frame {
        self.count().store(0, Ordering::Relaxed);
        // SAFETY: the frame was given up in `new`, and the table has just left the tree.
        unsafe { Frame::from_raw(self.0) }
    }
}

/// The handle that a 4 KiB leaf keeps, for an entry that has just left the tree.
pub(super) fn take_frame(entry: Entry) -> Frame {
    // SAFETY: leaves are made from handles given up by `insert`, and each leaves the tree once.
    unsafe { Frame::from_raw(entry.address()) }
}

/// The handle that a 2 MiB leaf keeps, for an entry that has just left the tree.
pub(super) fn take_large(entry: Entry) -> LargeFrame {
    // SAFETY: as in `take_frame`.
    unsafe { LargeFrame::from_raw(entry.address()) }
}

/// A further handle of the frame at `address`, in a leaf that is in the tree.
#[inline]
pub(super) fn share_frame(address: PhysicalAddress) -> Frame {
    // SAFETY: the tree holds a handle of it, or of the large frame around it, and its owner's lock is held.
    unsafe { Frame::share_raw(address) }
}

/// A further handle of the large frame in a leaf that is in the tree.
pub(super) fn share_large(entry: Entry) -> LargeFrame {
    // SAFETY: `ManuallyDrop` keeps the tree's handle from being dropped.
    let held = core::mem::ManuallyDrop::new(unsafe { LargeFrame::from_raw(entry.address()) });
    LargeFrame::clone(&held)
}

/// Whether nobody but this leaf holds any part of the large frame.
pub(super) fn is_exclusive_large(entry: Entry) -> bool {
    // SAFETY: as in `share_large`.
    let held = core::mem::ManuallyDrop::new(unsafe { LargeFrame::from_raw(entry.address()) });
    held.is_exclusive()
}

/// The bytes from `address` on, inside a frame that a leaf of the tree keeps for all of `'a`.
#[inline(always)]
pub(super) fn bytes<'a>(address: PhysicalAddress, length: usize) -> SharedBytes<'a> {
    // SAFETY: the leaf stays in the tree for `'a` (callers bind it to a borrow of the tree), and frames are only
    // reached by raw copies and atomics.
    unsafe { SharedBytes::new(direct_map(address), length) }
}

/// The word at `address`, under the same conditions; `address` must be a multiple of four.
#[inline(always)]
pub(super) fn word<'a>(address: PhysicalAddress) -> &'a AtomicU32 {
    assert!(address.is_aligned(size_of::<u32>()), "callers check the alignment");
    // SAFETY: as in `bytes`, and aligned.
    unsafe { AtomicU32::from_ptr(direct_map(address).cast()) }
}
