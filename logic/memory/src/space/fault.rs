//! Page faults: what is not there yet is made, what is shared is copied, what is forbidden is said.
//!
//! [`AddressSpace::try_fault`] does everything that needs no waiting: zeros, copies, pages that the object has at
//! hand. [`AddressSpace::fault`] goes on where that has to wait, for the layout or for a page. A page that has to be
//! read is awaited without any lock; afterwards everything is looked at again.

use super::area::{Area, Attributes, Backing, Protection, Sharing};
use super::map::leaf_flags;
use super::object::{Access, MappedObject};
use super::{AddressSpace, Layout, STACK_GUARD, USER_END, USER_START};
use crate::frames::{self, FRAMES_PER_LARGE, Frame, LargeFrame};
use crate::page_table::{Leaf, PageTable};
use alloc::sync::Arc;
use base::address::{LARGE_PAGE_SIZE, PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// Why an access cannot be made possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// Nothing is mapped there: `SIGSEGV` with `SEGV_MAPERR`.
    NotMapped,
    /// The area forbids it: `SIGSEGV` with `SEGV_ACCERR`.
    Denied,
    /// Behind the end of the object: `SIGBUS` with `BUS_ADRERR`.
    BeyondEnd,
    /// No memory: kill somebody.
    OutOfMemory,
    /// The object cannot give the page: `SIGBUS`.
    Error(Error),
}

impl FaultError {
    fn of(error: Error) -> Self {
        if error == Error::OutOfMemory { Self::OutOfMemory } else { Self::Error(error) }
    }

    /// What a system call says that could not reach user memory.
    pub fn to_error(self) -> Error {
        match self {
            FaultError::OutOfMemory => Error::OutOfMemory,
            _ => Error::BadAddress,
        }
    }

    /// What `mlock` and `MADV_POPULATE_*` say.
    pub(super) fn populating(self) -> Error {
        match self {
            FaultError::NotMapped | FaultError::OutOfMemory => Error::OutOfMemory,
            _ => Error::BadAddress,
        }
    }
}

type FaultResult = core::result::Result<(), FaultError>;

/// What a fault came to without waiting.
enum Step {
    Done(FaultResult),
    /// A page of an object is needed.
    Page(Wanted),
}

/// A page of an object that a fault needs.
struct Wanted {
    object: Arc<dyn MappedObject>,
    index: u64,
    access: Access,
}

/// How many pages a read fault of an object brings at once, if they are at hand.
const AROUND: usize = 16;
/// Large pages are used only while more than this share of all frames is free.
const LARGE_RESERVE_SHARE: usize = 8;

impl AddressSpace {
    /// Makes an access possible, if it is allowed.
    ///
    /// # Errors
    /// See [`FaultError`].
    pub async fn fault(&self, address: VirtualAddress, access: Access) -> FaultResult {
        match self.try_fault(address, access) {
            Some(result) => result,
            None => self.fault_waiting(address, access).await,
        }
    }

    /// [`AddressSpace::fault`] as far as it needs no waiting; `None`: await `fault`.
    #[inline]
    pub fn try_fault(&self, address: VirtualAddress, access: Access) -> Option<FaultResult> {
        let mut layout = self.layout.try_lock()?;
        match self.step(&mut layout, address, access) {
            Step::Done(result) => Some(result),
            Step::Page(wanted) => {
                if wanted.access == Access::Write && wanted.object.tracks_writes() {
                    return None;
                }
                let page = wanted.object.cached_page(wanted.index)?;
                Some(self.install(&mut layout, address, access, &wanted, Ok(page)))
            }
        }
    }

    #[cold]
    async fn fault_waiting(&self, address: VirtualAddress, access: Access) -> FaultResult {
        loop {
            let wanted = {
                let mut layout = self.layout.lock().await;
                match self.step(&mut layout, address, access) {
                    Step::Done(result) => return result,
                    Step::Page(wanted) => wanted,
                }
            };
            let page = wanted.object.page(wanted.index, wanted.access).await;
            let mut layout = self.layout.lock().await;
            // What was wanted may be something else by now: then begin again.
            match self.step(&mut layout, address, access) {
                Step::Done(result) => return result,
                Step::Page(now) if now.is_same(&wanted) => {
                    return self.install(&mut layout, address, access, &wanted, page);
                }
                Step::Page(_) => {}
            }
        }
    }

    /// Everything about a fault that can be decided and done under the locks.
    #[inline]
    fn step(&self, layout: &mut Layout, address: VirtualAddress, access: Access) -> Step {
        let index = match layout.areas.find(address.value()) {
            Some(index) => index,
            None => match grow_stack(layout, address.value()) {
                Ok(index) => index,
                Err(error) => return Step::Done(Err(error)),
            },
        };
        let area = layout.areas.at(index);
        if !is_allowed(area.protection, access) {
            return Step::Done(Err(FaultError::Denied));
        }
        let page = address.align_down(PAGE_SIZE);
        let mut tables = self.tables.lock();
        let Some(leaf) = tables.find(page) else {
            return match &area.backing {
                Backing::Anonymous if access == Access::Write => {
                    if wants_large(area, page, &tables) {
                        drop(tables);
                        return Step::Done(self.fill_large(area, page));
                    }
                    let flags = leaf_flags(area.protection, true);
                    let result = tables.insert_with(page, flags, Frame::zeroed);
                    Step::Done(result.map_err(FaultError::of))
                }
                Backing::Anonymous => {
                    let flags = leaf_flags(area.protection, false);
                    let zero = || Ok(self.environment.zero.clone());
                    Step::Done(tables.insert_with(page, flags, zero).map_err(FaultError::of))
                }
                Backing::Object { object, offset } => {
                    drop(tables);
                    want(area, object, *offset, page, access)
                }
            };
        };
        if leaf.entry.allows(access.flags()) {
            // Somebody was faster, or this hart remembered that it was not allowed.
            drop(tables);
            self.forget_here(page);
            return Step::Done(Ok(()));
        }
        drop(tables);
        if access != Access::Write {
            // The area allows it and the leaf does not: only a store can find that. Rights follow the area otherwise.
            return Step::Done(Err(FaultError::Denied));
        }
        match (&area.backing, area.sharing) {
            (Backing::Object { object, offset }, Sharing::Shared) => {
                want(area, object, *offset, page, access)
            }
            _ => Step::Done(self.unshare(area, page, leaf).map_err(FaultError::of)),
        }
    }

    /// Lets a private page be written: at once when nobody else has it, else as a copy.
    fn unshare(&self, area: &Area, page: VirtualAddress, leaf: Leaf) -> Result<()> {
        let flags = leaf_flags(area.protection, true);
        if PageTable::is_exclusive(leaf) {
            self.tables.lock().set_flags(page, flags);
            return Ok(());
        }
        let is_zero = !leaf.large && leaf.entry.address() == self.environment.zero.address();
        let copy = if is_zero {
            Frame::zeroed()?
        } else {
            let (shared, _) = self.tables.lock().share(page).ok_or(Error::BadAddress)?;
            shared.duplicate()?
        };
        let old = self.tables.lock().replace(page, copy, flags)?;
        self.flush(page.value()..page.value() + PAGE_SIZE);
        drop(old);
        self.code_changed(area);
        Ok(())
    }

    /// Fills the 2 MiB around `page` with one large frame of zeros, or the page alone if there is none.
    #[cold]
    fn fill_large(&self, area: &Area, page: VirtualAddress) -> FaultResult {
        let flags = leaf_flags(area.protection, true);
        // Zeroed without the spin lock; nobody else can fill the place, as the layout is locked.
        if let Ok(frame) = LargeFrame::zeroed() {
            let mut tables = self.tables.lock();
            if tables.insert_large(page.align_down(LARGE_PAGE_SIZE), frame, flags).is_ok() {
                self.peak.fetch_max(tables.pages(), Ordering::Relaxed);
                return Ok(());
            }
        }
        self.tables.lock().insert_with(page, flags, Frame::zeroed).map_err(FaultError::of)
    }

    /// Maps the page that an object gave.
    fn install(
        &self,
        layout: &mut Layout,
        address: VirtualAddress,
        access: Access,
        wanted: &Wanted,
        page: Result<Frame>,
    ) -> FaultResult {
        let frame = page.map_err(FaultError::of)?;
        let index = layout.areas.find(address.value()).ok_or(FaultError::NotMapped)?;
        let area = layout.areas.at(index);
        let at = address.align_down(PAGE_SIZE);
        self.install_page(area, at, access, &wanted.object, frame).map_err(FaultError::of)?;
        if access != Access::Write {
            self.install_around(area, at, wanted);
        }
        self.code_changed(area);
        Ok(())
    }

    fn install_page(
        &self,
        area: &Area,
        at: VirtualAddress,
        access: Access,
        object: &Arc<dyn MappedObject>,
        frame: Frame,
    ) -> Result<()> {
        let (frame, flags) = match (area.sharing, access) {
            (Sharing::Private, Access::Write) => (frame.duplicate()?, leaf_flags(area.protection, true)),
            (Sharing::Private, _) => (frame, leaf_flags(area.protection, false)),
            (Sharing::Shared, _) => {
                let writable = access == Access::Write || !object.tracks_writes();
                (frame, leaf_flags(area.protection, writable))
            }
        };
        let mut tables = self.tables.lock();
        match tables.find(at) {
            None => tables.insert(at, frame, flags),
            Some(leaf) if leaf.entry.address() == frame.address() => {
                tables.set_flags(at, flags);
                Ok(())
            }
            Some(_) => {
                let old = tables.replace(at, frame, flags)?;
                drop(tables);
                self.flush(at.value()..at.value() + PAGE_SIZE);
                drop(old);
                Ok(())
            }
        }
    }

    /// Maps the neighbours of a page that was read, as far as the object has them at hand: they are mostly next.
    fn install_around(&self, area: &Area, at: VirtualAddress, wanted: &Wanted) {
        let Backing::Object { object, offset } = &area.backing else {
            return;
        };
        let block = at.align_down(AROUND * PAGE_SIZE).value();
        let range = block.max(area.start)..(block + AROUND * PAGE_SIZE).min(area.end);
        let limit = object.length().div_ceil(PAGE_SIZE as u64);
        let writable = area.sharing == Sharing::Shared && !object.tracks_writes();
        let flags = leaf_flags(area.protection, writable);
        for place in range.step_by(PAGE_SIZE) {
            let index = area.object_page(*offset, place);
            if index == wanted.index || index >= limit {
                continue;
            }
            let place = VirtualAddress::new(place);
            if self.tables.lock().find(place).is_none()
                && let Some(frame) = object.cached_page(index)
                && self.tables.lock().insert(place, frame, flags).is_err()
            {
                return;
            }
        }
    }

    /// Makes the calling hart forget one page, after rights were added that it may remember not to have.
    fn forget_here(&self, page: VirtualAddress) {
        let translation = self.environment.translation;
        let hart = translation.hart_index();
        if self.residency.active() & (1 << hart) != 0 {
            translation.flush(self.id, page..page + PAGE_SIZE, 1 << hart);
        }
    }

    /// Tells the harts about new code, if a program may execute from the area.
    fn code_changed(&self, area: &Area) {
        if area.protection.contains(Protection::EXECUTE) {
            let harts = self.residency.active();
            if harts != 0 {
                self.environment.translation.instructions_changed(harts);
            }
        }
    }
}

impl Wanted {
    fn is_same(&self, other: &Wanted) -> bool {
        Arc::ptr_eq(&self.object, &other.object) && self.index == other.index && self.access == other.access
    }
}

#[inline]
fn is_allowed(protection: Protection, access: Access) -> bool {
    match access {
        Access::Read => protection.intersects(Protection::READ | Protection::WRITE),
        Access::Write => protection.contains(Protection::WRITE),
        Access::Execute => protection.contains(Protection::EXECUTE),
    }
}

/// The page of `object` that is missing at `page`; a private area only reads it.
fn want(
    area: &Area,
    object: &Arc<dyn MappedObject>,
    offset: u64,
    page: VirtualAddress,
    access: Access,
) -> Step {
    let index = area.object_page(offset, page.value());
    if index >= object.length().div_ceil(PAGE_SIZE as u64) {
        return Step::Done(Err(FaultError::BeyondEnd));
    }
    let access = match (area.sharing, access) {
        (Sharing::Shared, Access::Write) => Access::Write,
        _ => Access::Read,
    };
    Step::Page(Wanted { object: object.clone(), index, access })
}

/// Whether the 2 MiB around `page` shall be one large page: they lie in the area, nothing is there yet, memory is
/// plenty, and the program goes through them from the start (as who fills a buffer does, and who uses a stack does
/// not) or asked for it.
#[inline]
fn wants_large(area: &Area, page: VirtualAddress, tables: &PageTable) -> bool {
    let start = page.value() & !(LARGE_PAGE_SIZE - 1);
    if start < area.start || start + LARGE_PAGE_SIZE > area.end {
        return false;
    }
    let (asked, refused) = (Attributes::LARGE_PAGES, Attributes::NO_LARGE_PAGES);
    if page.value() != start && !area.attributes.contains(asked) {
        return false;
    }
    !area.attributes.intersects(refused | Attributes::GROWS_DOWN)
        && tables.is_large_empty(page)
        && frames::free_frames() >= FRAMES_PER_LARGE + frames::total_frames() / LARGE_RESERVE_SHARE
}

/// Lets the stack above `address` grow down to it, within the limit and with its distance kept.
#[cold]
fn grow_stack(layout: &mut Layout, address: usize) -> core::result::Result<usize, FaultError> {
    if !(USER_START..USER_END).contains(&address) {
        return Err(FaultError::NotMapped);
    }
    let (index, below) = layout.areas.growing_to(address).ok_or(FaultError::NotMapped)?;
    let start = address & !(PAGE_SIZE - 1);
    let area = layout.areas.at(index);
    let grown: Range<usize> = start..area.start;
    if area.end - start > layout.limits.stack || (below != 0 && start < below + STACK_GUARD) {
        return Err(FaultError::NotMapped);
    }
    layout.check_limits(grown.len() / PAGE_SIZE, 0).map_err(|_| FaultError::NotMapped)?;
    layout.areas.grow_down(index, start);
    Ok(index)
}
