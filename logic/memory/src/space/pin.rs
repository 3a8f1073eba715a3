//! Pinned user memory: frames that an operation in flight holds, whatever happens to the mapping.
#![expect(unsafe_code, reason = "each view stands for a handle of its frame")]

use super::object::Access;
use super::{AddressSpace, USER_END};
use crate::frames::{Frame, number_of};
use crate::page_table::Flags;
use base::address::{PAGE_SIZE, PhysicalAddress, VirtualAddress};
use base::bytes::SharedBytes;
use base::{Error, Result};
use smallvec::SmallVec;

/// How many pages one call of [`AddressSpace::pin`] gives at most.
pub const MAX_PINNED_PAGES: usize = 64;
/// Pages that are held without an allocation.
const INLINE: usize = 2;

/// A part of user memory that stays where it is until this is dropped.
///
/// Small, as it is moved about by every `read` and `write`: each piece stands for a handle of the frame that it lies in.
pub struct Pinned {
    /// Views of frames that we hold a handle each of; never given out for longer than `self` lives.
    pieces: SmallVec<[SharedBytes<'static>; INLINE]>,
}

impl Pinned {
    /// Bytes that are pinned.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(SharedBytes::len).sum()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes, a piece for each page, in order.
    #[inline]
    pub fn pieces(&self) -> &[SharedBytes<'_>] {
        &self.pieces
    }

    /// Further handles of the frames, in order; the first piece may begin inside the first frame.
    pub fn frames(&self) -> impl Iterator<Item = Frame> + '_ {
        // SAFETY: we hold a handle of each while `self` lives.
        self.pieces.iter().map(|piece| unsafe { Frame::share_raw(frame_of(piece)) })
    }

    /// Where each piece is in physical memory, for a device; in order.
    pub fn physical(&self) -> impl Iterator<Item = (PhysicalAddress, usize)> + '_ {
        let offset = |piece: &SharedBytes<'_>| piece.pointer().addr() & (PAGE_SIZE - 1);
        self.pieces.iter().map(move |piece| (frame_of(piece) + offset(piece), piece.len()))
    }

    #[inline]
    fn push(&mut self, frame: Frame, offset: usize, length: usize) -> usize {
        let piece = frame.bytes().slice(offset, length);
        // SAFETY: only the lifetime changes. The handle that is given up here keeps the frame until `drop`, and `self`
        // gives the piece out for at most its own lifetime.
        let piece = unsafe { core::mem::transmute::<SharedBytes<'_>, SharedBytes<'static>>(piece) };
        let _ = frame.into_raw();
        self.pieces.push(piece);
        piece.len()
    }
}

/// A part of one page of user memory that stays where it is until this is dropped: what most calls need, at a third of the cost
/// of a [`Pinned`].
pub struct PinnedPage {
    frame: Frame,
    offset: u16,
    length: u16,
}

impl PinnedPage {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> SharedBytes<'_> {
        self.frame.bytes().slice(usize::from(self.offset), usize::from(self.length))
    }
}

/// The frame that a piece lies in.
#[inline]
fn frame_of(piece: &SharedBytes<'_>) -> PhysicalAddress {
    PhysicalAddress::from_page_number(number_of(piece.pointer()) as usize)
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for piece in &self.pieces {
            // SAFETY: `push` gave one handle up for each piece.
            drop(unsafe { Frame::from_raw(frame_of(piece)) });
        }
    }
}

impl core::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pinned({} bytes)", self.len())
    }
}

impl AddressSpace {
    /// Pins memory at `address` for reading or writing by the kernel or a device, bringing it in if need be.
    ///
    /// Gives at least one byte and at most `length`: fewer when there are more than [`MAX_PINNED_PAGES`] pages or when
    /// what follows cannot be accessed. The caller goes on behind what it got. No bytes for no length.
    ///
    /// # Errors
    /// `BadAddress`: the first byte cannot be accessed so. `OutOfMemory`
    pub async fn pin(&self, address: VirtualAddress, length: usize, access: Access) -> Result<Pinned> {
        let mut pinned = Pinned { pieces: SmallVec::new() };
        let wanted = length.min(limit(address));
        let mut done = self.pin_present(&mut pinned, address, wanted, access)?;
        while done < wanted {
            if let Err(error) = self.fault(address + done, access).await {
                if done == 0 {
                    return Err(error.to_error());
                }
                break;
            }
            done += self.pin_present(&mut pinned, address + done, wanted - done, access)?;
        }
        Ok(pinned)
    }

    /// [`AddressSpace::pin`] of what is in memory already: `None` when the first byte is not.
    #[inline]
    pub fn try_pin(&self, address: VirtualAddress, length: usize, access: Access) -> Option<Pinned> {
        let mut pinned = Pinned { pieces: SmallVec::new() };
        let wanted = length.min(limit(address));
        let done = self.pin_present(&mut pinned, address, wanted, access).ok()?;
        (done > 0 || length == 0).then_some(pinned)
    }

    /// Pins memory that lies in one page and is in memory with that right; `None` otherwise.
    #[inline]
    pub fn try_pin_page(&self, address: VirtualAddress, length: usize, access: Access) -> Option<PinnedPage> {
        let offset = address.page_offset();
        if length > PAGE_SIZE - offset || address.value() >= USER_END {
            return None;
        }
        let needed = access.flags() | Flags::VALID | Flags::USER;
        let frame = self.tables.lock().share_allowed(address, needed)?;
        Some(PinnedPage { frame, offset: offset as u16, length: length as u16 })
    }

    /// Adds to `pinned` what is in memory, from the start, of `length` bytes at `address`; returns how many bytes.
    fn pin_present(
        &self,
        pinned: &mut Pinned,
        address: VirtualAddress,
        length: usize,
        access: Access,
    ) -> Result<usize> {
        let pages = (address.page_offset() + length).div_ceil(PAGE_SIZE);
        if pinned.pieces.len() + pages > pinned.pieces.capacity() {
            pinned.pieces.try_reserve_exact(pages).map_err(|_| Error::OutOfMemory)?;
        }
        let needed = access.flags() | Flags::VALID | Flags::USER;
        let mut done = 0;
        let tables = self.tables.lock();
        while done < length {
            let at = address.value().wrapping_add(done);
            if at >= USER_END {
                break;
            }
            let at = VirtualAddress::new(at);
            let Some(frame) = tables.share_allowed(at, needed) else {
                break;
            };
            done += pinned.push(frame, at.page_offset(), length - done);
        }
        Ok(done)
    }
}

/// How many bytes from `address` on one call may pin.
fn limit(address: VirtualAddress) -> usize {
    MAX_PINNED_PAGES * PAGE_SIZE - address.page_offset()
}
