//! The areas of an address space: what is where, with which rights, in a sorted list.
//!
//! A sorted vector, not a tree: looking up is a binary search over few cache lines (after a guess), a fork copies it
//! with one allocation, and every growth can fail with an error, which the kernel's trees cannot.

use super::object::MappedObject;
use super::{MMAP_MINIMUM, STACK_GUARD, USER_END};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::{PAGE_SHIFT, PAGE_SIZE};
use base::{Error, Result};
use core::ops::Range;

/// As many areas as Linux allows a process (`vm.max_map_count`).
const MAX_AREAS: usize = 65530;

bitflags::bitflags! {
    /// What a program may do in an area; the bits are those of `PROT_READ`, `PROT_WRITE`, `PROT_EXEC`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Protection: u8 {
        /// Load.
        const READ = 1;
        /// Store; loads too, as the hardware knows no other way.
        const WRITE = 2;
        /// Fetch instructions.
        const EXECUTE = 4;
    }
}

bitflags::bitflags! {
    /// What else is special about an area.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Attributes: u16 {
        /// Grows downwards when it is touched just below.
        const GROWS_DOWN = 1 << 0;
        /// `mlock`: pages stay.
        const LOCKED = 1 << 1;
        /// `MADV_HUGEPAGE`.
        const LARGE_PAGES = 1 << 2;
        /// `MADV_NOHUGEPAGE`.
        const NO_LARGE_PAGES = 1 << 3;
        /// `MADV_DONTFORK`.
        const DONT_FORK = 1 << 4;
        /// `MADV_WIPEONFORK`.
        const WIPE_ON_FORK = 1 << 5;
        /// `MADV_DONTDUMP`.
        const DONT_DUMP = 1 << 6;
        /// The `brk` heap, for `/proc/PID/maps`.
        const HEAP = 1 << 7;
        /// The first thread's stack, for `/proc/PID/maps`.
        const STACK = 1 << 8;
    }
}

/// Whether stores are seen by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Stores copy the page first; a fork copies on write.
    Private,
    /// Stores go to the object, and a fork shares.
    Shared,
}

/// What an area shows.
#[derive(Clone)]
pub enum Backing {
    /// Zeros. (A shared area of zeros is an [`super::SharedMemory`] object.)
    Anonymous,
    /// An object from `offset` on, a multiple of the page size.
    Object {
        /// Whose pages.
        object: Arc<dyn MappedObject>,
        /// Bytes from the object's start to the area's.
        offset: u64,
    },
}

/// One area.
#[derive(Clone)]
pub struct Area {
    /// First address.
    pub start: usize,
    /// First address behind it.
    pub end: usize,
    /// What a program may do.
    pub protection: Protection,
    /// What `mprotect` may allow.
    pub maximum: Protection,
    /// Whether stores are seen by others.
    pub sharing: Sharing,
    /// What it shows.
    pub backing: Backing,
    /// What else is special.
    pub attributes: Attributes,
}

impl Area {
    /// Pages in it.
    pub fn pages(&self) -> usize {
        (self.end - self.start) >> PAGE_SHIFT
    }

    /// Whether it counts as data for `RLIMIT_DATA`.
    pub fn is_data(&self) -> bool {
        self.sharing == Sharing::Private
            && self.protection.contains(Protection::WRITE)
            && !self.attributes.contains(Attributes::GROWS_DOWN)
    }

    /// The index of the object's page at `address`.
    pub(super) fn object_page(&self, offset: u64, address: usize) -> u64 {
        (offset + (address - self.start) as u64) >> PAGE_SHIFT
    }

    /// The part from `at` on; `self` keeps what is before.
    fn split_off(&mut self, at: usize) -> Area {
        let mut tail = self.clone();
        tail.move_start(at);
        self.end = at;
        tail
    }

    /// Moves the start within the area (or, growing downwards, before it).
    fn move_start(&mut self, to: usize) {
        if let Backing::Object { offset, .. } = &mut self.backing {
            *offset = offset.wrapping_add(to.wrapping_sub(self.start) as u64);
        }
        self.start = to;
    }

    /// Whether `next` goes on where this one ends, in every respect.
    fn continues_in(&self, next: &Area) -> bool {
        let same = self.end == next.start
            && self.protection == next.protection
            && self.maximum == next.maximum
            && self.sharing == next.sharing
            && self.attributes == next.attributes
            && !self.attributes.contains(Attributes::GROWS_DOWN);
        same && match (&self.backing, &next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (Backing::Object { object: a, offset: from }, Backing::Object { object: b, offset: to }) => {
                Arc::ptr_eq(a, b) && from + (self.end - self.start) as u64 == *to
            }
            _ => false,
        }
    }
}

/// All areas of a space, in order, none touching another.
#[derive(Default)]
pub(super) struct Areas {
    list: Vec<Area>,
    /// Where the last look-up ended: mostly the next one's answer.
    guess: usize,
    /// Pages in all areas, and in those that count as data.
    pages: usize,
    data_pages: usize,
}

impl Areas {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Area> {
        self.list.iter()
    }

    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    pub(super) fn data_pages(&self) -> usize {
        self.data_pages
    }

    /// A copy of those that `keep` says.
    pub(super) fn try_clone(&self, keep: impl Fn(&Area) -> bool) -> Result<Self> {
        let mut copy = Self::default();
        copy.list.try_reserve_exact(self.list.len()).map_err(|_| Error::OutOfMemory)?;
        for area in self.list.iter().filter(|area| keep(area)) {
            copy.count(area, 1);
            copy.list.push(area.clone());
        }
        Ok(copy)
    }

    /// Makes sure that the next `more` areas find room.
    pub(super) fn reserve(&mut self, more: usize) -> Result<()> {
        if self.list.len() + more > MAX_AREAS + 2 {
            return Err(Error::OutOfMemory);
        }
        self.list.try_reserve(more).map_err(|_| Error::OutOfMemory)
    }

    fn count(&mut self, area: &Area, sign: isize) {
        let pages = area.pages() as isize * sign;
        self.pages = self.pages.wrapping_add_signed(pages);
        if area.is_data() {
            self.data_pages = self.data_pages.wrapping_add_signed(pages);
        }
    }

    /// The index of the first area that ends above `address`.
    fn position(&self, address: usize) -> usize {
        self.list.partition_point(|area| area.end <= address)
    }

    /// The index of the area that contains `address`.
    #[inline]
    pub(super) fn find(&mut self, address: usize) -> Option<usize> {
        if let Some(area) = self.list.get(self.guess)
            && area.start <= address
            && address < area.end
        {
            return Some(self.guess);
        }
        let index = self.position(address);
        if self.list.get(index)?.start > address {
            return None;
        }
        self.guess = index;
        Some(index)
    }

    #[inline]
    pub(super) fn at(&self, index: usize) -> &Area {
        &self.list[index]
    }

    /// The indices of the areas that touch `range`.
    pub(super) fn touching(&self, range: &Range<usize>) -> Range<usize> {
        let first = self.position(range.start);
        let count = self.list[first..].partition_point(|area| area.start < range.end);
        first..first + count
    }

    /// Whether areas cover all of `range`.
    pub(super) fn covers(&self, range: &Range<usize>) -> bool {
        let mut at = range.start;
        for area in &self.list[self.touching(range)] {
            if area.start > at {
                return false;
            }
            at = area.end;
        }
        at >= range.end
    }

    /// Makes `address` a border between areas. Room for one more must be reserved.
    fn split_at(&mut self, address: usize) {
        let index = self.position(address);
        if let Some(area) = self.list.get_mut(index)
            && area.start < address
        {
            let tail = area.split_off(address);
            self.list.insert(index + 1, tail);
        }
    }

    /// Takes everything in `range` out. Room for one more must be reserved.
    pub(super) fn remove(&mut self, range: &Range<usize>) {
        self.split_at(range.start);
        self.split_at(range.end);
        let indices = self.touching(range);
        for index in indices.clone() {
            let (pages, is_data) = (self.list[index].pages(), self.list[index].is_data());
            self.pages -= pages;
            self.data_pages -= if is_data { pages } else { 0 };
        }
        self.list.drain(indices);
    }

    /// Puts an area where nothing is, and joins it with its neighbours. Room for one must be reserved.
    pub(super) fn insert(&mut self, area: Area) {
        self.count(&area, 1);
        let index = self.position(area.start);
        self.list.insert(index, area);
        self.join(index);
        if index > 0 {
            self.join(index - 1);
        }
    }

    /// Joins an area with the next one, if that goes on in every respect.
    fn join(&mut self, index: usize) -> bool {
        let [area, next, ..] = &mut self.list[index..] else {
            return false;
        };
        if !area.continues_in(next) {
            return false;
        }
        area.end = next.end;
        self.list.remove(index + 1);
        true
    }

    /// Changes all areas in `range`, which must have borders at areas or room reserved for two.
    pub(super) fn change(&mut self, range: &Range<usize>, change: impl Fn(&mut Area)) {
        self.split_at(range.start);
        self.split_at(range.end);
        let indices = self.touching(range);
        for index in indices.clone() {
            let mut area = self.list[index].clone();
            self.count(&area, -1);
            change(&mut area);
            self.count(&area, 1);
            self.list[index] = area;
        }
        // From the end, so that joining moves no index that is still to come.
        let first = indices.start.saturating_sub(1);
        for index in (first..indices.end).rev() {
            self.join(index);
        }
    }

    /// Changes something of all areas that counts in no sum.
    pub(super) fn change_all(&mut self, change: impl Fn(&mut Area)) {
        self.list.iter_mut().for_each(change);
    }

    /// Lets the area at `index` start lower.
    pub(super) fn grow_down(&mut self, index: usize, start: usize) {
        let area = self.list[index].clone();
        self.count(&area, -1);
        self.list[index].move_start(start);
        let area = self.list[index].clone();
        self.count(&area, 1);
    }

    /// The area that would grow down to `address`, and where the one below it ends.
    pub(super) fn growing_to(&self, address: usize) -> Option<(usize, usize)> {
        let index = self.position(address);
        let area = self.list.get(index)?;
        if !area.attributes.contains(Attributes::GROWS_DOWN) {
            return None;
        }
        Some((index, index.checked_sub(1).map_or(0, |below| self.list[below].end)))
    }

    /// Whether nothing is in `range`.
    pub(super) fn is_free(&self, range: &Range<usize>) -> bool {
        self.touching(range).is_empty()
    }

    /// The highest place of `length` bytes below `ceiling`, aligned; else the lowest one above it.
    pub(super) fn find_place(&self, length: usize, ceiling: usize, alignment: usize) -> Option<usize> {
        let below = self.list.partition_point(|area| area.start < ceiling);
        let mut top = ceiling;
        for area in self.list[..below].iter().rev() {
            if let Some(place) = highest(area.end.max(MMAP_MINIMUM)..top, length, alignment) {
                return Some(place);
            }
            top = start_with_guard(area);
        }
        if let Some(place) = highest(MMAP_MINIMUM..top, length, alignment) {
            return Some(place);
        }
        let mut bottom = below.checked_sub(1).map_or(ceiling, |index| self.list[index].end.max(ceiling));
        for area in &self.list[below..] {
            if let Some(place) = lowest(bottom..start_with_guard(area), length, alignment) {
                return Some(place);
            }
            bottom = area.end;
        }
        lowest(bottom..USER_END, length, alignment)
    }
}

/// Where an area starts, with the gap that a stack keeps.
fn start_with_guard(area: &Area) -> usize {
    if area.attributes.contains(Attributes::GROWS_DOWN) {
        area.start.saturating_sub(STACK_GUARD)
    } else {
        area.start
    }
}

fn highest(gap: Range<usize>, length: usize, alignment: usize) -> Option<usize> {
    let place = gap.end.checked_sub(length)? & !(alignment - 1);
    (place >= gap.start).then_some(place)
}

fn lowest(gap: Range<usize>, length: usize, alignment: usize) -> Option<usize> {
    let place = gap.start.checked_next_multiple_of(alignment.max(PAGE_SIZE))?;
    (place.checked_add(length)? <= gap.end).then_some(place)
}
