//! The user memory of one read or write: one area, or the several of a vectored call.

use crate::thread::Caller;
use abi::file::IoVector;
use abi::linux::general::UIO_MAXIOV;
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::bytes::SharedBytes;
use base::{Error, Result};
use memory::space::{Access, AddressSpace, MAX_PINNED_PAGES, Pinned};
use smallvec::SmallVec;
use zerocopy::{FromZeros, IntoBytes};

/// What one call moves at most, in bytes: as much as there are whole pages below 2 GiB.
pub const TRANSFER_MAX: usize = 0x7fff_f000;

/// Areas of user memory, in order, and how far they were used.
pub struct Areas {
    list: SmallVec<[IoVector; 1]>,
    /// The first that is not used up.
    index: usize,
    /// Bytes that are left in all.
    remaining: usize,
}

/// Checks what Linux checks before it looks at what is there: no address may be negative as a signed number.
fn check_range(area: IoVector) -> Result<()> {
    let limit = isize::MAX as usize;
    if area.length > limit || area.address > limit - area.length { Err(Error::BadAddress) } else { Ok(()) }
}

impl Areas {
    /// One area.
    ///
    /// # Errors
    /// `BadAddress`
    #[inline]
    pub fn one(address: usize, length: usize) -> Result<Self> {
        check_range(IoVector { address, length })?;
        let length = length.min(TRANSFER_MAX);
        let mut list = SmallVec::new();
        list.push(IoVector { address, length });
        Ok(Self { list, index: 0, remaining: length })
    }

    /// The areas of an array of `count` `struct iovec` at `address`.
    ///
    /// # Errors
    /// `InvalidArgument` for too many or a negative length; `BadAddress`, `OutOfMemory`.
    pub async fn vector(caller: &Caller, address: usize, count: usize) -> Result<Self> {
        if count > UIO_MAXIOV as usize {
            return Err(Error::InvalidArgument);
        }
        let mut list: SmallVec<[IoVector; 1]> = SmallVec::new();
        list.try_reserve(count).map_err(|_| Error::OutOfMemory)?;
        list.resize(count, IoVector::new_zeroed());
        caller.space.read_bytes(VirtualAddress::new(address), list.as_mut_slice().as_mut_bytes()).await?;
        let mut remaining = 0;
        for area in &mut list {
            if area.length > isize::MAX as usize {
                return Err(Error::InvalidArgument);
            }
            check_range(*area)?;
            area.length = area.length.min(TRANSFER_MAX - remaining);
            remaining += area.length;
        }
        Ok(Self { list, index: 0, remaining })
    }

    /// Bytes that are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Leaves out what is beyond the first `count` bytes.
    pub fn limit(&mut self, count: usize) {
        self.remaining = 0;
        for area in self.list.iter_mut().skip(self.index) {
            area.length = area.length.min(count - self.remaining);
            self.remaining += area.length;
        }
    }

    /// Says that the first `count` bytes were used.
    #[inline]
    pub fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(area) = self.list.get_mut(self.index) {
            if count < area.length {
                area.address += count;
                area.length -= count;
                return;
            }
            count -= area.length;
            area.length = 0;
            self.index += 1;
        }
    }

    /// The first area that is not used up; one without bytes when none is left.
    #[inline]
    pub fn current(&self) -> IoVector {
        let rest = self.list.get(self.index..).unwrap_or_default();
        rest.iter().find(|area| area.length > 0).copied().unwrap_or_default()
    }

    /// Pins the memory that comes next: some of the first area, and of the following ones as long as there is room.
    ///
    /// # Errors
    /// `BadAddress` when the first byte cannot be accessed, `OutOfMemory`.
    #[inline]
    pub async fn pin(&self, space: &AddressSpace, access: Access) -> Result<PinnedAreas> {
        let first = self.current();
        let address = VirtualAddress::new(first.address);
        let pinned = match space.try_pin(address, first.length, access) {
            Some(pinned) => pinned,
            None => Box::pin(space.pin(address, first.length, access)).await?,
        };
        if pinned.len() < first.length || first.length == self.remaining {
            return Ok(PinnedAreas { first: pinned, rest: Vec::new() });
        }
        Box::pin(self.pin_more(space, access, pinned)).await
    }

    async fn pin_more(&self, space: &AddressSpace, access: Access, first: Pinned) -> Result<PinnedAreas> {
        let mut pages = first.pieces().len();
        let mut rest = Vec::new();
        let later =
            self.list.get(self.index..).unwrap_or_default().iter().filter(|area| area.length > 0).skip(1);
        for area in later {
            if pages >= MAX_PINNED_PAGES {
                break;
            }
            // What cannot be accessed ends the transfer there; it is an error only when it comes first.
            let Ok(pinned) = space.pin(VirtualAddress::new(area.address), area.length, access).await else {
                break;
            };
            pages += pinned.pieces().len();
            let whole = pinned.len() == area.length;
            rest.push(pinned);
            if !whole {
                break;
            }
        }
        Ok(PinnedAreas { first, rest })
    }
}

/// User memory that stays where it is.
pub struct PinnedAreas {
    first: Pinned,
    rest: Vec<Pinned>,
}

impl PinnedAreas {
    /// Bytes that are pinned.
    #[inline]
    pub fn len(&self) -> usize {
        self.first.len() + self.rest.iter().map(Pinned::len).sum::<usize>()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order, for a sink or a source; `storage` holds them when they are of several areas.
    #[inline]
    pub fn pieces<'a>(&'a self, storage: &'a mut Vec<SharedBytes<'a>>) -> &'a [SharedBytes<'a>] {
        if self.rest.is_empty() {
            return self.first.pieces();
        }
        storage.extend(self.first.pieces());
        self.rest.iter().for_each(|pinned| storage.extend(pinned.pieces()));
        storage
    }
}
