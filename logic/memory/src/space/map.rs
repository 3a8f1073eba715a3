//! Mapping, unmapping, protection, advice and the heap: what changes the areas.

use super::area::{Area, Attributes, Backing, Protection, Sharing};
use super::object::{Access, MappedObject, SharedMemory};
use super::{AddressSpace, BATCH, Layout, USER_END, USER_START, page_range};
use crate::page_table::{Entry, Flags, Leaf, PageTable};
use abi::linux::general as linux;
use alloc::sync::Arc;
use base::address::{LARGE_PAGE_SIZE, PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use core::ops::Range;

/// How an address is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Anywhere.
    Anywhere,
    /// Here if it is free, else anywhere.
    Hint(VirtualAddress),
    /// Here, whatever was there.
    Fixed(VirtualAddress),
    /// Here, and only if nothing is there.
    FixedNoReplace(VirtualAddress),
}

/// What [`AddressSpace::map`] is asked for.
#[derive(Clone)]
pub struct MapRequest {
    /// Where.
    pub placement: Placement,
    /// Bytes; rounded up to whole pages.
    pub length: usize,
    /// What the program may do.
    pub protection: Protection,
    /// What `mprotect` may allow later.
    pub maximum: Protection,
    /// Whether stores are seen by others.
    pub sharing: Sharing,
    /// What it shows. Shared and [`Backing::Anonymous`]: an object is made.
    pub backing: Backing,
    /// What else is special.
    pub attributes: Attributes,
}

impl MapRequest {
    /// Private zeros, anywhere.
    pub fn anonymous(length: usize, protection: Protection) -> Self {
        Self {
            placement: Placement::Anywhere,
            length,
            protection,
            maximum: Protection::all(),
            sharing: Sharing::Private,
            backing: Backing::Anonymous,
            attributes: Attributes::empty(),
        }
    }

    /// A part of an object, anywhere. `offset` is in bytes.
    pub fn object(
        object: Arc<dyn MappedObject>,
        offset: u64,
        length: usize,
        protection: Protection,
        sharing: Sharing,
    ) -> Self {
        Self { sharing, backing: Backing::Object { object, offset }, ..Self::anonymous(length, protection) }
    }

    /// The same at another place.
    pub fn at(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }
}

impl Layout {
    /// Whether `pages` more fit the limits, `data` of them as data, when `freed` go.
    pub(super) fn check_limits(&self, pages: usize, data: usize) -> Result<()> {
        let within = |now: usize, more: usize, limit: usize| {
            now.checked_add(more).is_some_and(|sum| sum <= limit / PAGE_SIZE)
        };
        if within(self.areas.pages(), pages, self.limits.address_space)
            && (data == 0 || within(self.areas.data_pages(), data, self.limits.data))
        {
            return Ok(());
        }
        Err(Error::OutOfMemory)
    }

    /// The new area, locked if `mlockall` asked for that.
    fn locked_if_asked(&self, mut area: Area) -> Result<Area> {
        if self.lock_future.is_some() {
            let bytes = area.end - area.start;
            if self.locked_bytes().saturating_add(bytes) > self.limits.locked {
                return Err(Error::WouldBlock);
            }
            area.attributes.insert(Attributes::LOCKED);
        }
        Ok(area)
    }

    /// Where `length` bytes go; a multiple of 2 MiB when large pages may be used there.
    pub(super) fn find_place(&self, length: usize, large: bool) -> Result<usize> {
        let ceiling = self.bases.mmap;
        if large && let Some(place) = self.areas.find_place(length, ceiling, LARGE_PAGE_SIZE) {
            return Ok(place);
        }
        self.areas.find_place(length, ceiling, PAGE_SIZE).ok_or(Error::OutOfMemory)
    }

    fn place(&self, request: &MapRequest, length: usize) -> Result<Range<usize>> {
        let large = length >= LARGE_PAGE_SIZE && matches!(request.backing, Backing::Anonymous);
        let start = match request.placement {
            Placement::Anywhere => self.find_place(length, large)?,
            Placement::Hint(hint) => {
                let start = hint.value() & !(PAGE_SIZE - 1);
                let end =
                    start.checked_add(length).filter(|&end| end <= USER_END && start >= super::MMAP_MINIMUM);
                match end {
                    Some(end) if self.areas.is_free(&(start..end)) => start,
                    _ => self.find_place(length, large)?,
                }
            }
            Placement::Fixed(start) | Placement::FixedNoReplace(start) => {
                if !start.is_aligned(PAGE_SIZE) {
                    return Err(Error::InvalidArgument);
                }
                if start.value() > USER_END - length {
                    return Err(Error::OutOfMemory);
                }
                if start.value() < USER_START {
                    return Err(Error::NotPermitted);
                }
                start.value()
            }
        };
        let range = start..start + length;
        if matches!(request.placement, Placement::FixedNoReplace(_)) && !self.areas.is_free(&range) {
            return Err(Error::AlreadyExists);
        }
        Ok(range)
    }
}

/// The right that a leaf has in an area. A page of a private area may be written only if nobody else has it.
pub(super) fn leaf_flags(protection: Protection, writable_now: bool) -> Flags {
    let mut flags = Flags::USER;
    if protection.intersects(Protection::READ | Protection::WRITE) {
        flags |= Flags::READ;
    }
    if protection.contains(Protection::EXECUTE) {
        flags |= Flags::EXECUTE;
    }
    if protection.contains(Protection::WRITE) {
        flags |= if writable_now { Flags::WRITE } else { Flags::COPY_ON_WRITE };
    }
    flags
}

impl AddressSpace {
    /// Maps what the request says; returns where.
    ///
    /// # Errors
    /// `InvalidArgument`: no length, or an offset or fixed address that is not a multiple of a page. `OutOfMemory`: no
    /// room, too long, too many areas, or beyond the limits. `NotPermitted`: too low. `AlreadyExists`: see
    /// [`Placement::FixedNoReplace`]. `Overflow`: beyond an object's greatest offset. `AccessDenied`: more than
    /// `maximum`.
    pub async fn map(&self, request: MapRequest) -> Result<VirtualAddress> {
        if request.length == 0 {
            return Err(Error::InvalidArgument);
        }
        let length = request.length.checked_next_multiple_of(PAGE_SIZE).ok_or(Error::OutOfMemory)?;
        if length > USER_END {
            return Err(Error::OutOfMemory);
        }
        if let Backing::Object { offset, .. } = request.backing {
            if !offset.is_multiple_of(PAGE_SIZE as u64) {
                return Err(Error::InvalidArgument);
            }
            offset.checked_add(length as u64).filter(|&end| end <= i64::MAX as u64).ok_or(Error::Overflow)?;
        }
        if !request.maximum.contains(request.protection) {
            return Err(Error::AccessDenied);
        }
        let backing = match (&request.backing, request.sharing) {
            (Backing::Anonymous, Sharing::Shared) => Backing::Object {
                object: SharedMemory::new(length as u64, "/dev/zero (deleted)")?,
                offset: 0,
            },
            _ => request.backing.clone(),
        };
        let mut layout = self.layout.lock().await;
        let range = layout.place(&request, length)?;
        let area = Area {
            start: range.start,
            end: range.end,
            protection: request.protection,
            maximum: request.maximum,
            sharing: request.sharing,
            backing,
            attributes: request.attributes,
        };
        let area = layout.locked_if_asked(area)?;
        let pages = area.pages();
        layout.check_limits(pages, if area.is_data() { pages } else { 0 })?;
        layout.areas.reserve(2)?;
        if !layout.areas.is_free(&range) {
            self.unmap_locked(&mut layout, &range)?;
        }
        layout.areas.insert(area);
        Ok(VirtualAddress::new(range.start))
    }

    /// Unmaps `length` bytes from `start` on, whatever is there.
    ///
    /// # Errors
    /// `InvalidArgument`: no length, not a multiple of a page, outside of the user half. `OutOfMemory`: no memory for a
    /// split; nothing is unmapped then.
    pub async fn unmap(&self, start: VirtualAddress, length: usize) -> Result<()> {
        if !start.is_aligned(PAGE_SIZE) || length == 0 {
            return Err(Error::InvalidArgument);
        }
        let range = page_range(start, length, Error::InvalidArgument)?;
        let mut layout = self.layout.lock().await;
        layout.areas.reserve(1)?;
        self.unmap_locked(&mut layout, &range)
    }

    /// Unmaps `range`; room for two more areas must be reserved if something is to be put there.
    pub(super) fn unmap_locked(&self, layout: &mut Layout, range: &Range<usize>) -> Result<()> {
        layout.areas.reserve(2)?;
        if layout.areas.is_free(range) {
            return Ok(());
        }
        self.split_at_ends(range)?;
        layout.areas.remove(range);
        self.clear(range);
        Ok(())
    }

    /// Changes what the program may do in `length` bytes from `start` on.
    ///
    /// # Errors
    /// `InvalidArgument`: not a multiple of a page. `OutOfMemory`: not all mapped (what comes before the hole is changed),
    /// or no memory for a split. `AccessDenied`: an area's maximum forbids it (what comes before is changed).
    pub async fn protect(&self, start: VirtualAddress, length: usize, protection: Protection) -> Result<()> {
        if !start.is_aligned(PAGE_SIZE) {
            return Err(Error::InvalidArgument);
        }
        if length == 0 {
            return Ok(());
        }
        let range = page_range(start, length, Error::OutOfMemory)?;
        let mut layout = self.layout.lock().await;
        layout.areas.reserve(2)?;
        self.split_at_ends(&range)?;
        let mut at = range.start;
        let mut result = Ok(());
        while at < range.end {
            // Found again each time, as changing joins areas.
            let Some(index) = layout.areas.find(at) else {
                result = Err(Error::OutOfMemory);
                break;
            };
            let area = layout.areas.at(index);
            let part = at..area.end.min(range.end);
            if !area.maximum.contains(protection) {
                result = Err(Error::AccessDenied);
                break;
            }
            at = part.end;
            if area.protection != protection {
                let (changed, was_data) = (Area { protection, ..area.clone() }, area.is_data());
                let pages = (part.end - part.start) / PAGE_SIZE;
                if changed.is_data() && !was_data {
                    result = layout.check_limits(0, pages);
                }
                result = result.and_then(|()| layout.areas.reserve(2));
                // An area's border never lies inside a large leaf, so that only the range's ends can: see `advise`.
                if result.is_err() {
                    break;
                }
                layout.areas.change(&part, |area| area.protection = protection);
                self.protect_pages(&part, &changed);
            }
        }
        result
    }

    /// Gives the leaves in `range` the rights of `area`, and flushes if one lost a right.
    fn protect_pages(&self, range: &Range<usize>, area: &Area) {
        let (start, end) = (VirtualAddress::new(range.start), VirtualAddress::new(range.end));
        let free_writes = match &area.backing {
            Backing::Object { object, .. } => area.sharing == Sharing::Shared && !object.tracks_writes(),
            Backing::Anonymous => false,
        };
        let (mut at, mut lost) = (start, false);
        while at < end {
            at = self.tables.lock().change(at..end, BATCH, |leaf| {
                let was = leaf.entry.flags();
                // Who has a page of a private area to itself need not fault again to learn that.
                let alone = area.sharing == Sharing::Private && !leaf.large && PageTable::is_exclusive(leaf);
                let writable = was.contains(Flags::WRITE) || free_writes || alone;
                let new = Entry::leaf(leaf.entry.address(), leaf_flags(area.protection, writable)).flags();
                lost |= !new.contains(was & (Flags::READ | Flags::WRITE | Flags::EXECUTE));
                new
            });
        }
        if lost {
            self.flush(range.clone());
        }
    }

    /// Takes `madvise`'s advice for `length` bytes from `start` on.
    ///
    /// # Errors
    /// `InvalidArgument`: unknown advice, not a multiple of a page, or not for this kind of area. `OutOfMemory`: not all
    /// mapped; what is mapped is done.
    pub async fn advise(&self, start: VirtualAddress, length: usize, advice: u32) -> Result<()> {
        if !start.is_aligned(PAGE_SIZE) {
            return Err(Error::InvalidArgument);
        }
        let set = |attributes| Some((attributes, true));
        let clear = |attributes| Some((attributes, false));
        let change = match advice {
            linux::MADV_NORMAL | linux::MADV_RANDOM | linux::MADV_SEQUENTIAL | linux::MADV_WILLNEED => None,
            linux::MADV_DONTNEED | linux::MADV_FREE | linux::MADV_COLD | linux::MADV_PAGEOUT => None,
            linux::MADV_POPULATE_READ | linux::MADV_POPULATE_WRITE => None,
            linux::MADV_HUGEPAGE => set(Attributes::LARGE_PAGES),
            linux::MADV_NOHUGEPAGE => set(Attributes::NO_LARGE_PAGES),
            linux::MADV_DONTFORK => set(Attributes::DONT_FORK),
            linux::MADV_DOFORK => clear(Attributes::DONT_FORK),
            linux::MADV_WIPEONFORK => set(Attributes::WIPE_ON_FORK),
            linux::MADV_KEEPONFORK => clear(Attributes::WIPE_ON_FORK),
            linux::MADV_DONTDUMP => set(Attributes::DONT_DUMP),
            linux::MADV_DODUMP => clear(Attributes::DONT_DUMP),
            _ => return Err(Error::InvalidArgument),
        };
        if length == 0 {
            return Ok(());
        }
        let range = page_range(start, length, Error::InvalidArgument)?;
        match advice {
            linux::MADV_POPULATE_READ => return self.populate(start, length, Access::Read).await,
            linux::MADV_POPULATE_WRITE => return self.populate(start, length, Access::Write).await,
            _ => {}
        }
        let mut layout = self.layout.lock().await;
        let whole = layout.areas.covers(&range);
        if let Some((attributes, value)) = change {
            if advice == linux::MADV_WIPEONFORK && !all_anonymous(&layout, &range) {
                return Err(Error::InvalidArgument);
            }
            layout.areas.reserve(2)?;
            self.split_at_ends(&range)?;
            layout.areas.change(&range, |area| {
                area.attributes.set(attributes, value);
                // The two kinds of advice about large pages exclude each other.
                let large = Attributes::LARGE_PAGES | Attributes::NO_LARGE_PAGES;
                if large.contains(attributes) {
                    area.attributes.remove(large.difference(attributes));
                }
            });
        }
        if advice == linux::MADV_DONTNEED || advice == linux::MADV_FREE {
            if advice == linux::MADV_FREE && !all_anonymous(&layout, &range) {
                return Err(Error::InvalidArgument);
            }
            let locked = |index| layout.areas.at(index).attributes.contains(Attributes::LOCKED);
            if layout.areas.touching(&range).any(locked) {
                return Err(Error::InvalidArgument);
            }
            self.split_at_ends(&range)?;
            self.clear(&range);
        }
        if whole { Ok(()) } else { Err(Error::OutOfMemory) }
    }

    /// Brings all pages of `length` bytes from `start` on into memory (`MAP_POPULATE`, `mlock`).
    ///
    /// # Errors
    /// `OutOfMemory`: not all mapped, or no memory. `BadAddress`: the area forbids the access, or its object ended.
    pub async fn populate(&self, start: VirtualAddress, length: usize, access: Access) -> Result<()> {
        let range = page_range(start.align_down(PAGE_SIZE), length, Error::OutOfMemory)?;
        let mut at = range.start;
        while at < range.end {
            let leaf = self.tables.lock().find(VirtualAddress::new(at));
            if !leaf.is_some_and(|leaf| leaf.entry.allows(access.flags())) {
                self.fault(VirtualAddress::new(at), access).await.map_err(super::FaultError::populating)?;
            }
            at += if leaf.is_some_and(|leaf: Leaf| leaf.large) { LARGE_PAGE_SIZE } else { PAGE_SIZE };
            at = if leaf.is_some_and(|leaf| leaf.large) { at & !(LARGE_PAGE_SIZE - 1) } else { at };
        }
        Ok(())
    }

    /// Sets the heap's end (`brk`); returns where it ends then, which is where it was when that is not possible.
    pub async fn set_break(&self, end: VirtualAddress) -> VirtualAddress {
        let mut layout = self.layout.lock().await;
        let _ = self.try_set_break(&mut layout, end.value());
        VirtualAddress::new(layout.heap.end)
    }

    fn try_set_break(&self, layout: &mut Layout, end: usize) -> Result<()> {
        if end < layout.heap.start || end > USER_END {
            return Err(Error::OutOfMemory);
        }
        if end - layout.heap.start > layout.limits.data {
            return Err(Error::OutOfMemory);
        }
        let old = layout.heap.end.next_multiple_of(PAGE_SIZE);
        let new = end.next_multiple_of(PAGE_SIZE);
        if new < old {
            self.unmap_locked(layout, &(new..old))?;
        } else if new > old {
            let range = old..new;
            // A stack that grows keeps its distance.
            let guarded = range.start..range.end.saturating_add(super::STACK_GUARD).min(USER_END);
            let stack_near = layout
                .areas
                .touching(&guarded)
                .any(|index| layout.areas.at(index).attributes.contains(Attributes::GROWS_DOWN));
            if stack_near || !layout.areas.is_free(&range) {
                return Err(Error::OutOfMemory);
            }
            let pages = (new - old) / PAGE_SIZE;
            layout.check_limits(pages, pages)?;
            layout.areas.reserve(1)?;
            let area = layout.locked_if_asked(Area {
                start: old,
                end: new,
                protection: Protection::READ | Protection::WRITE,
                maximum: Protection::all(),
                sharing: Sharing::Private,
                backing: Backing::Anonymous,
                attributes: Attributes::HEAP,
            })?;
            layout.areas.insert(area);
        }
        layout.heap.end = end;
        Ok(())
    }

    /// Takes out all pages that show this range of bytes of `object`, copies of private mappings included: the object was
    /// cut there. The next access finds what the object has then, or its end.
    pub async fn forget_object(&self, object: &Arc<dyn MappedObject>, bytes: Range<u64>) {
        let layout = self.layout.lock().await;
        for area in layout.areas.iter() {
            let Backing::Object { object: mapped, offset } = &area.backing else {
                continue;
            };
            // A file that was opened several times is several objects with one identity.
            let same_file = object.identity() != (0, 0) && mapped.identity() == object.identity();
            if !same_file && !Arc::ptr_eq(mapped, object) {
                continue;
            }
            // In bytes from the area's start, whole pages.
            let from = bytes.start.saturating_sub(*offset).next_multiple_of(PAGE_SIZE as u64);
            let to = bytes.end.saturating_sub(*offset).min((area.end - area.start) as u64);
            if from < to {
                self.clear(&(area.start + from as usize..area.start + to as usize));
            }
        }
    }

    /// Writes changes of shared objects in the range back (`msync` with `MS_SYNC`).
    ///
    /// # Errors
    /// `InvalidArgument`: not a multiple of a page. `OutOfMemory`: not all mapped. What the objects say.
    pub async fn sync(&self, start: VirtualAddress, length: usize) -> Result<()> {
        if !start.is_aligned(PAGE_SIZE) {
            return Err(Error::InvalidArgument);
        }
        let range = page_range(start, length, Error::OutOfMemory)?;
        let (mut at, mut whole) = (range.start, true);
        while at < range.end {
            let found = {
                let layout = self.layout.lock().await;
                let index = layout.areas.touching(&(at..range.end)).next();
                index.map(|index| layout.areas.at(index).clone())
            };
            let Some(area) = found else { break };
            whole &= area.start <= at;
            let (from, to) = (area.start.max(at), area.end.min(range.end));
            if let (Backing::Object { object, offset }, Sharing::Shared) = (&area.backing, area.sharing) {
                let base = offset + (from - area.start) as u64;
                object.sync(base..base + (to - from) as u64).await?;
            }
            at = to;
        }
        if whole && at >= range.end { Ok(()) } else { Err(Error::OutOfMemory) }
    }
}

fn all_anonymous(layout: &Layout, range: &Range<usize>) -> bool {
    layout.areas.touching(range).all(|index| {
        let area = layout.areas.at(index);
        area.sharing == Sharing::Private && matches!(area.backing, Backing::Anonymous)
    })
}
