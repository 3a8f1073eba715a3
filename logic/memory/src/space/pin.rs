//! Pinned user memory: frames that an operation in flight holds, whatever happens to the mapping.
#![expect(
    unsafe_code,
    reason = "the views live as long as the frames beside them"
)]

use super::object::Access;
use super::{AddressSpace, USER_END};
use crate::frames::Frame;
use base::Result;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::bytes::SharedBytes;
use smallvec::SmallVec;

/// How many pages one call of [`AddressSpace::pin`] gives at most.
pub const MAX_PINNED_PAGES: usize = 64;
/// Pages that are held without an allocation.
const INLINE: usize = 2;

/// A part of user memory that stays where it is until this is dropped.
pub struct Pinned {
    /// Views of the frames below, never given out for longer than `self` lives.
    pieces: SmallVec<[SharedBytes<'static>; INLINE]>,
    frames: SmallVec<[Frame; INLINE]>,
    length: usize,
}

impl Pinned {
    fn new() -> Self {
        Self {
            pieces: SmallVec::new(),
            frames: SmallVec::new(),
            length: 0,
        }
    }

    /// Bytes that are pinned.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, a piece for each page, in order.
    pub fn pieces(&self) -> &[SharedBytes<'_>] {
        &self.pieces
    }

    /// The frames, in order; the first piece may begin inside the first frame.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    fn push(&mut self, frame: Frame, offset: usize, length: usize) {
        let piece = frame.bytes().slice(offset, length);
        // SAFETY: only the lifetime changes. The frame, and so its memory, lives as long as `self`, which gives the
        // piece out for at most its own lifetime; fields are private and never moved apart.
        let piece = unsafe { core::mem::transmute::<SharedBytes<'_>, SharedBytes<'static>>(piece) };
        self.length += piece.len();
        self.pieces.push(piece);
        self.frames.push(frame);
    }
}

impl core::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pinned({} bytes)", self.length)
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
    pub async fn pin(
        &self,
        address: VirtualAddress,
        length: usize,
        access: Access,
    ) -> Result<Pinned> {
        let mut pinned = Pinned::new();
        let result = self.pin_present(&mut pinned, address, length, access);
        if pinned.length == length.min(limit(address)) || result.is_err() {
            return result.map(|()| pinned);
        }
        self.pin_missing(pinned, address, length, access).await
    }

    /// [`AddressSpace::pin`] of what is in memory already: `None` when the first byte is not.
    pub fn try_pin(
        &self,
        address: VirtualAddress,
        length: usize,
        access: Access,
    ) -> Option<Pinned> {
        let mut pinned = Pinned::new();
        self.pin_present(&mut pinned, address, length, access)
            .ok()?;
        (!pinned.is_empty() || length == 0).then_some(pinned)
    }

    async fn pin_missing(
        &self,
        mut pinned: Pinned,
        address: VirtualAddress,
        length: usize,
        access: Access,
    ) -> Result<Pinned> {
        let wanted = length.min(limit(address));
        while pinned.length < wanted {
            let Some(next) = address.checked_add(pinned.length) else {
                break;
            };
            if let Err(error) = self.fault(next, access).await {
                if pinned.is_empty() {
                    return Err(error.to_error());
                }
                break;
            }
            self.pin_present(&mut pinned, address, length, access)?;
        }
        Ok(pinned)
    }

    /// Adds to `pinned` what is in memory of the pages that follow.
    fn pin_present(
        &self,
        pinned: &mut Pinned,
        address: VirtualAddress,
        length: usize,
        access: Access,
    ) -> Result<()> {
        let wanted = length.min(limit(address));
        let pages = (address.page_offset() + wanted).div_ceil(PAGE_SIZE);
        if pages > INLINE && pinned.frames.capacity() < pages {
            let more = pages - pinned.frames.len();
            pinned
                .frames
                .try_reserve_exact(more)
                .map_err(|_| base::Error::OutOfMemory)?;
            pinned
                .pieces
                .try_reserve_exact(more)
                .map_err(|_| base::Error::OutOfMemory)?;
        }
        let tables = self.tables.lock();
        while pinned.length < wanted {
            let at = address.value().wrapping_add(pinned.length);
            if at >= USER_END {
                break;
            }
            let at = VirtualAddress::new(at);
            let Some((frame, flags)) = tables.share(at) else {
                break;
            };
            if !flags.contains(access.flags() | crate::page_table::Flags::VALID) {
                drop(tables);
                drop(frame);
                break;
            }
            pinned.push(frame, at.page_offset(), wanted - pinned.length);
        }
        Ok(())
    }
}

/// How many bytes from `address` on one call may pin.
fn limit(address: VirtualAddress) -> usize {
    MAX_PINNED_PAGES * PAGE_SIZE - address.page_offset()
}
