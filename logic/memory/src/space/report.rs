//! What `/proc`, `mincore` and `mlock` ask about an address space.

use super::area::{Area, Attributes, Backing, Protection, Sharing};
use super::{Access, AddressSpace, page_range};
use alloc::string::String;
use alloc::vec::Vec;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// How locking brings pages in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// All of them, now.
    Now,
    /// When they are touched (`MLOCK_ONFAULT`).
    OnFault,
}

/// A line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingInfo {
    /// Where.
    pub range: Range<usize>,
    /// What the program may do.
    pub protection: Protection,
    /// Whether stores are seen by others.
    pub sharing: Sharing,
    /// Bytes from the object's start.
    pub offset: u64,
    /// Device and inode numbers.
    pub identity: (u64, u64),
    /// The path or a label; empty if there is none.
    pub name: String,
    /// What else is special.
    pub attributes: Attributes,
}

/// What an area takes, in 4 KiB pages: the figures of `/proc/PID/smaps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AreaUsage {
    /// In memory.
    pub resident: usize,
    /// Of those, held by nobody else.
    pub exclusive: usize,
    /// Of those, in 2 MiB pages.
    pub large: usize,
}

impl AddressSpace {
    /// The mappings in order.
    ///
    /// # Errors
    /// `OutOfMemory`
    pub async fn mappings(&self) -> Result<Vec<MappingInfo>> {
        let layout = self.layout.lock().await;
        let mut list = Vec::new();
        for area in layout.areas.iter() {
            list.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
            list.push(describe(area));
        }
        Ok(list)
    }

    /// Bytes in all mappings, and in those that count as data.
    pub async fn mapped_bytes(&self) -> (usize, usize) {
        let layout = self.layout.lock().await;
        (layout.areas.pages() * PAGE_SIZE, layout.areas.data_pages() * PAGE_SIZE)
    }

    /// What `range` takes.
    pub fn usage(&self, range: Range<usize>) -> AreaUsage {
        let mut usage = AreaUsage::default();
        let range = VirtualAddress::new(range.start)..VirtualAddress::new(range.end);
        self.tables.lock().visit(range, |part, leaf| {
            let pages = (part.end - part.start) / PAGE_SIZE;
            usage.resident += pages;
            usage.large += if leaf.large { pages } else { 0 };
            usage.exclusive += if crate::page_table::PageTable::is_exclusive(leaf) { pages } else { 0 };
            true
        });
        usage
    }

    /// Whether a page is in memory, for each page of the range (`mincore`): calls `tell` in order.
    ///
    /// # Errors
    /// `InvalidArgument`: not a multiple of a page. `OutOfMemory`: not all mapped.
    pub async fn resident(
        &self,
        start: VirtualAddress,
        length: usize,
        mut tell: impl FnMut(bool),
    ) -> Result<()> {
        if !start.is_aligned(PAGE_SIZE) {
            return Err(Error::InvalidArgument);
        }
        let range = page_range(start, length, Error::OutOfMemory)?;
        let layout = self.layout.lock().await;
        if !layout.areas.covers(&range) {
            return Err(Error::OutOfMemory);
        }
        for page in range.step_by(PAGE_SIZE) {
            tell(self.tables.lock().find(VirtualAddress::new(page)).is_some());
        }
        Ok(())
    }

    /// Keeps pages in memory (`mlock`). There is no swap, so that this is about counting and about bringing them in.
    ///
    /// # Errors
    /// `OutOfMemory`: not all mapped, or beyond the limit. `WouldBlock`: a page cannot be brought in.
    pub async fn lock(&self, start: VirtualAddress, length: usize, mode: LockMode) -> Result<()> {
        let range = self.set_locked(start, length, true).await?;
        match mode {
            LockMode::Now => self.bring_in(range).await,
            LockMode::OnFault => Ok(()),
        }
    }

    /// Brings in what may be accessed of `range`.
    async fn bring_in(&self, range: Range<usize>) -> Result<()> {
        for area in self.mappings().await? {
            let part = area.range.start.max(range.start)..area.range.end.min(range.end);
            if part.is_empty() || area.protection.is_empty() {
                continue;
            }
            let private_write =
                area.sharing == Sharing::Private && area.protection.contains(Protection::WRITE);
            let access = if private_write { Access::Write } else { Access::Read };
            let result = self.populate(VirtualAddress::new(part.start), part.len(), access).await;
            result.map_err(|error| if error == Error::BadAddress { Error::WouldBlock } else { error })?;
        }
        Ok(())
    }

    /// `mlockall`: locks what is mapped (`current`), and what will be (`future`; `None` ends that).
    ///
    /// # Errors
    /// `OutOfMemory`: beyond the limit. What cannot be brought in is left out, as on Linux.
    pub async fn lock_all(&self, current: Option<LockMode>, future: Option<LockMode>) -> Result<()> {
        {
            let mut layout = self.layout.lock().await;
            if current.is_some() {
                if layout.areas.pages() * PAGE_SIZE > layout.limits.locked {
                    return Err(Error::OutOfMemory);
                }
                layout.areas.change_all(|area| area.attributes.insert(Attributes::LOCKED));
            }
            layout.lock_future = future;
            self.locks_new.store(future == Some(LockMode::Now), Ordering::Relaxed);
        }
        if current == Some(LockMode::Now) {
            let _ = self.bring_in(0..super::USER_END).await;
        }
        Ok(())
    }

    /// `munlockall`: undoes all locks.
    pub async fn unlock_all(&self) {
        let mut layout = self.layout.lock().await;
        layout.areas.change_all(|area| area.attributes.remove(Attributes::LOCKED));
        layout.lock_future = None;
        self.locks_new.store(false, Ordering::Relaxed);
    }

    /// Undoes [`AddressSpace::lock`].
    ///
    /// # Errors
    /// `OutOfMemory`: not all mapped.
    pub async fn unlock(&self, start: VirtualAddress, length: usize) -> Result<()> {
        self.set_locked(start, length, false).await.map(|_| ())
    }

    async fn set_locked(&self, start: VirtualAddress, length: usize, value: bool) -> Result<Range<usize>> {
        let first = start.align_down(PAGE_SIZE);
        let length = length.checked_add(start - first).ok_or(Error::InvalidArgument)?;
        let range = page_range(first, length, Error::OutOfMemory)?;
        let mut layout = self.layout.lock().await;
        if !layout.areas.covers(&range) {
            return Err(Error::OutOfMemory);
        }
        let locked = layout.locked_bytes();
        if value && locked.saturating_add(range.len()) > layout.limits.locked {
            return Err(Error::OutOfMemory);
        }
        layout.areas.reserve(2)?;
        self.split_at_ends(&range)?;
        layout.areas.change(&range, |area| area.attributes.set(Attributes::LOCKED, value));
        Ok(range)
    }
}

impl super::Layout {
    /// Bytes in areas that are locked.
    pub(super) fn locked_bytes(&self) -> usize {
        let locked = self.areas.iter().filter(|area| area.attributes.contains(Attributes::LOCKED));
        locked.map(|area| area.end - area.start).sum()
    }
}

fn describe(area: &Area) -> MappingInfo {
    let mut name = String::new();
    let (mut offset, mut identity) = (0, (0, 0));
    match &area.backing {
        Backing::Object { object, offset: from } => {
            // Writing into a string gives no errors.
            let _ = object.name(&mut name);
            (offset, identity) = (*from, object.identity());
        }
        Backing::Anonymous if area.attributes.contains(Attributes::HEAP) => name.push_str("[heap]"),
        Backing::Anonymous if area.attributes.contains(Attributes::STACK) => name.push_str("[stack]"),
        Backing::Anonymous => {}
    }
    let range = area.start..area.end;
    MappingInfo {
        range,
        protection: area.protection,
        sharing: area.sharing,
        offset,
        identity,
        name,
        attributes: area.attributes,
    }
}
