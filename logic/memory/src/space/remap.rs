//! `mremap`: mappings that grow, shrink and move, with their pages.

use super::area::{Area, Attributes, Backing, Sharing};
use super::{AddressSpace, BATCH, Layout, USER_END, USER_START, page_range};
use crate::page_table::Removed;
use base::address::{LARGE_PAGE_SIZE, PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use core::ops::Range;

/// Where [`AddressSpace::remap`] may put the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remap {
    /// Only where it is.
    InPlace,
    /// Anywhere if it cannot grow where it is (`MREMAP_MAYMOVE`).
    MayMove,
    /// Here, whatever was there (`MREMAP_FIXED`).
    To(VirtualAddress),
}

impl AddressSpace {
    /// Gives the mapping of `old_length` bytes at `old` the length `new_length`; returns where it is then.
    ///
    /// An `old_length` of 0 is a second mapping of the same shared object.
    ///
    /// # Errors
    /// `InvalidArgument`: addresses that are not multiples of a page, no new length, old and new overlap, or an
    /// `old_length` of 0 for a private mapping. `BadAddress`: not all of the old is one mapping. `OutOfMemory`: no room,
    /// or beyond the limits.
    pub async fn remap(
        &self,
        old: VirtualAddress,
        old_length: usize,
        new_length: usize,
        how: Remap,
    ) -> Result<VirtualAddress> {
        let page_up =
            |length: usize| length.checked_next_multiple_of(PAGE_SIZE).ok_or(Error::InvalidArgument);
        let (old_length, new_length) = (page_up(old_length)?, page_up(new_length)?);
        if !old.is_aligned(PAGE_SIZE) || new_length == 0 || new_length > USER_END {
            return Err(Error::InvalidArgument);
        }
        let range = page_range(old, old_length, Error::BadAddress)?;
        if let Remap::To(target) = how {
            check_target(target, new_length, &range)?;
        }
        let mut layout = self.layout.lock().await;
        layout.areas.reserve(4)?;
        let index = layout.areas.find(range.start).ok_or(Error::BadAddress)?;
        let area = layout.areas.at(index).clone();
        if old_length == 0 && (area.sharing == Sharing::Private || how == Remap::InPlace) {
            return Err(Error::InvalidArgument);
        }
        if !matches!(how, Remap::To(_)) && old_length >= new_length {
            self.unmap_locked(&mut layout, &(range.start + new_length..range.end))?;
            return Ok(old);
        }
        if range.end > area.end {
            return Err(Error::BadAddress);
        }
        let more = new_length.saturating_sub(old_length) / PAGE_SIZE;
        layout.check_limits(more, if area.is_data() { more } else { 0 })?;
        check_object(&area, range.start, new_length)?;
        if how != Remap::InPlace && old_length == 0 {
            return self.move_mapping(&mut layout, &area, &range, new_length, how);
        }
        let grown = range.end..range.start + new_length;
        let may_grow = !matches!(how, Remap::To(_))
            && range.end == area.end
            && grown.end <= USER_END
            && layout.areas.is_free(&grown);
        if may_grow {
            layout.areas.insert(part(&area, grown.start, grown, &area));
            return Ok(old);
        }
        if how == Remap::InPlace {
            return Err(Error::OutOfMemory);
        }
        self.move_mapping(&mut layout, &area, &range, new_length, how)
    }

    /// Moves what `range` of `area` has to a new place of `new_length` bytes.
    fn move_mapping(
        &self,
        layout: &mut Layout,
        area: &Area,
        range: &Range<usize>,
        new_length: usize,
        how: Remap,
    ) -> Result<VirtualAddress> {
        // A target that is longer than what there is to move; a part that is cut off first.
        let kept = range.start..range.start + range.len().min(new_length);
        let start = match how {
            Remap::To(target) => target.value(),
            _ => {
                let large = new_length >= LARGE_PAGE_SIZE && matches!(area.backing, Backing::Anonymous);
                layout.find_place(new_length, large)?
            }
        };
        let target = start..start + new_length;
        self.split_at_ends(range)?;
        self.split_at_ends(&kept)?;
        self.unmap_locked(layout, &target)?;
        layout.areas.reserve(4)?;
        self.move_pages(&kept, target.start)?;
        let moved = part(area, range.start, target.clone(), area);
        if !range.is_empty() {
            self.unmap_locked(layout, range)?;
        }
        layout.areas.reserve(2)?;
        layout.areas.insert(moved);
        Ok(VirtualAddress::new(start))
    }

    /// Moves the pages of `range` to `target`; all or none.
    fn move_pages(&self, range: &Range<usize>, target: usize) -> Result<()> {
        let (start, end) = (VirtualAddress::new(range.start), VirtualAddress::new(range.end));
        let to = VirtualAddress::new(target);
        let mut at = start;
        let mut result = Ok(());
        while at < end && result.is_ok() {
            match self.tables.lock().relocate(at..end, to + (at - start), BATCH) {
                Ok(next) => at = next,
                Err((stopped, error)) => (at, result) = (stopped, Err(error)),
            }
        }
        if result.is_err() {
            // Back again: the tables for it are all still there.
            let (mut back, moved) = (to, to + (at - start));
            while back < moved {
                match self.tables.lock().relocate(back..moved, start + (back - to), BATCH) {
                    Ok(next) => back = next,
                    Err((stopped, _)) => {
                        debug_assert!(false, "no table was missing at {stopped:?}");
                        break;
                    }
                }
            }
        }
        self.flush(range.clone());
        self.forget_tables(if result.is_ok() { range.clone() } else { target..target + range.len() });
        result
    }

    /// Takes tables out that a move left empty.
    fn forget_tables(&self, range: Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let mut removed = Removed::default();
            let span = VirtualAddress::new(at)..VirtualAddress::new(range.end);
            let next = self.tables.lock().remove(span, &mut removed).value();
            self.flush_removed(at..next.min(range.end), removed);
            at = next;
        }
    }
}

/// An area at `place` that shows what `area` shows from `from` on.
fn part(area: &Area, from: usize, place: Range<usize>, like: &Area) -> Area {
    let backing = match &area.backing {
        Backing::Anonymous => Backing::Anonymous,
        Backing::Object { object, offset } => {
            Backing::Object { object: object.clone(), offset: offset + (from - area.start) as u64 }
        }
    };
    let attributes = like.attributes.difference(Attributes::GROWS_DOWN);
    Area { start: place.start, end: place.end, backing, attributes, ..like.clone() }
}

fn check_target(target: VirtualAddress, length: usize, old: &Range<usize>) -> Result<()> {
    let start = target.value();
    if !target.is_aligned(PAGE_SIZE) || start < USER_START || start > USER_END - length {
        return Err(Error::InvalidArgument);
    }
    if start < old.end && old.start < start + length {
        return Err(Error::InvalidArgument);
    }
    Ok(())
}

/// The object's offsets must not overflow.
fn check_object(area: &Area, start: usize, length: usize) -> Result<()> {
    if let Backing::Object { offset, .. } = &area.backing {
        let end =
            offset.checked_add((start - area.start) as u64).and_then(|from| from.checked_add(length as u64));
        end.filter(|&end| end <= i64::MAX as u64).ok_or(Error::InvalidArgument)?;
    }
    Ok(())
}
