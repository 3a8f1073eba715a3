//! User memory for system calls: copied in and out through the page table, never through the user's mapping.
//!
//! Each function has a `try_` half that does what needs no waiting, under the spin lock and page by page, and says how
//! far it came. The other half brings in what is missing and goes on. A copy that fails midway leaves what was done.

use super::area::{Backing, Sharing};
use super::object::Access;
use super::{AddressSpace, USER_END};
use crate::page_table::Flags;
use alloc::vec::Vec;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What tells one futex from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FutexKey {
    /// A word of one address space.
    Private {
        /// [`AddressSpace::serial`]
        space: u64,
        /// Where in it.
        address: usize,
    },
    /// A word of an object that says who it is: a file, however often it was opened.
    File {
        /// [`MappedObject::identity`](super::MappedObject::identity)
        identity: (u64, u64),
        /// Bytes from its start.
        offset: u64,
    },
    /// A word of a shared object.
    Shared {
        /// Which object: where it is in the kernel's memory.
        object: usize,
        /// Bytes from its start.
        offset: u64,
    },
}

/// Replaces a word by what `change` makes of it, as [`AddressSpace::fetch_update_u32`] says.
fn update(word: &AtomicU32, change: &impl Fn(u32) -> Option<u32>) -> Result<core::result::Result<u32, u32>> {
    const TRIES: usize = 128;
    let mut current = word.load(Ordering::SeqCst);
    for _ in 0..TRIES {
        let Some(new) = change(current) else {
            return Ok(Err(current));
        };
        match word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(old) => return Ok(Ok(old)),
            Err(now) => current = now,
        }
    }
    Err(Error::WouldBlock)
}

impl AddressSpace {
    /// Calls `action` with the views of up to `length` bytes at `address`, as far as they are in memory with that right;
    /// returns how many bytes that were. Holds the spin lock for one page at a time.
    #[inline]
    fn for_present(
        &self,
        address: VirtualAddress,
        length: usize,
        access: Access,
        mut action: impl FnMut(base::bytes::SharedBytes<'_>, usize),
    ) -> usize {
        let mut done = 0;
        while done < length {
            let at = address.value().wrapping_add(done);
            if at >= USER_END {
                break;
            }
            let at = VirtualAddress::new(at);
            let part = (PAGE_SIZE - at.page_offset()).min(length - done);
            let tables = self.tables.lock();
            let Some(view) = tables.view(at, access.flags()) else {
                break;
            };
            action(view.slice(0, part), done);
            done += part;
        }
        done
    }

    /// Copies out of user memory what is in memory of it; returns how many bytes, from the start.
    #[inline]
    pub fn try_read_bytes(&self, address: VirtualAddress, target: &mut [u8]) -> usize {
        self.for_present(address, target.len(), Access::Read, |view, done| {
            view.copy_to(&mut target[done..]);
        })
    }

    /// Copies out a string up to the zero byte that ends it, if all of that is in one page that is in memory and fits; returns
    /// how long it is.
    #[inline]
    pub fn try_read_string(&self, address: VirtualAddress, target: &mut [u8]) -> Option<usize> {
        if address.value() >= USER_END {
            return None;
        }
        let part = (PAGE_SIZE - address.page_offset()).min(target.len());
        let tables = self.tables.lock();
        let view = tables.view(address, Access::Read.flags())?;
        view.slice(0, part).copy_string_to(target)
    }

    /// Copies into user memory as far as it is in memory and writable; returns how many bytes, from the start.
    #[inline]
    pub fn try_write_bytes(&self, address: VirtualAddress, source: &[u8]) -> usize {
        self.for_present(address, source.len(), Access::Write, |view, done| {
            view.copy_from(&source[done..]);
        })
    }

    /// Brings in the page `done` bytes behind `address`.
    async fn bring(&self, address: VirtualAddress, done: usize, access: Access) -> Result<()> {
        let at = address.checked_add(done).ok_or(Error::BadAddress)?;
        self.fault(at, access).await.map_err(super::FaultError::to_error)
    }

    /// Copies out of user memory.
    ///
    /// # Errors
    /// `BadAddress`: a part cannot be read; what comes before it is in `target`. `OutOfMemory`
    pub async fn read_bytes(&self, address: VirtualAddress, target: &mut [u8]) -> Result<()> {
        let mut done = self.try_read_bytes(address, target);
        while done < target.len() {
            self.bring(address, done, Access::Read).await?;
            done += self.try_read_bytes(address + done, &mut target[done..]);
        }
        Ok(())
    }

    /// Copies into user memory.
    ///
    /// # Errors
    /// `BadAddress`: a part cannot be written; what comes before it is. `OutOfMemory`
    pub async fn write_bytes(&self, address: VirtualAddress, source: &[u8]) -> Result<()> {
        let mut done = self.try_write_bytes(address, source);
        while done < source.len() {
            self.bring(address, done, Access::Write).await?;
            done += self.try_write_bytes(address + done, &source[done..]);
        }
        Ok(())
    }

    /// Writes `length` zero bytes.
    ///
    /// # Errors
    /// As for [`AddressSpace::write_bytes`].
    pub async fn fill_zero(&self, address: VirtualAddress, length: usize) -> Result<()> {
        let mut done = 0;
        loop {
            let at = address.checked_add(done).ok_or(Error::BadAddress)?;
            done += self.for_present(at, length - done, Access::Write, |view, _| view.fill(0));
            if done >= length {
                return Ok(());
            }
            self.bring(address, done, Access::Write).await?;
        }
    }

    /// A value that any bytes are valid for, out of user memory that is at hand; `None`: await `read_object`.
    #[inline]
    pub fn try_read_object<T: FromBytes + IntoBytes>(&self, address: VirtualAddress) -> Option<T> {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        (self.try_read_bytes(address, bytes) == bytes.len()).then_some(value)
    }

    /// A value that any bytes are valid for, out of user memory. Need not be aligned.
    ///
    /// # Errors
    /// `BadAddress`, `OutOfMemory`
    pub async fn read_object<T: FromBytes + IntoBytes>(&self, address: VirtualAddress) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read_bytes(address, value.as_mut_bytes()).await?;
        Ok(value)
    }

    /// Writes a value without padding into user memory that is at hand; whether that was possible (else a part of it
    /// may be written).
    #[inline]
    pub fn try_write_object<T: IntoBytes + Immutable>(&self, address: VirtualAddress, value: &T) -> bool {
        let bytes = value.as_bytes();
        self.try_write_bytes(address, bytes) == bytes.len()
    }

    /// Writes a value without padding into user memory. Need not be aligned.
    ///
    /// # Errors
    /// `BadAddress`, `OutOfMemory`
    pub async fn write_object<T: IntoBytes + Immutable>(
        &self,
        address: VirtualAddress,
        value: &T,
    ) -> Result<()> {
        self.write_bytes(address, value.as_bytes()).await
    }

    /// The bytes at `address` up to a zero byte, which is not part of the result.
    ///
    /// # Errors
    /// `NameTooLong`: no zero byte among the first `limit`. `BadAddress`, `OutOfMemory`
    pub async fn read_c_string(&self, address: VirtualAddress, limit: usize) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut buffer = [0u8; 256];
        while text.len() < limit {
            let at = address.checked_add(text.len()).ok_or(Error::BadAddress)?;
            // Never beyond the page, which may be the last one.
            let part = (PAGE_SIZE - at.page_offset()).min(buffer.len()).min(limit - text.len());
            let part = &mut buffer[..part];
            self.read_bytes(at, part).await?;
            let end = part.iter().position(|&byte| byte == 0);
            let found = &part[..end.unwrap_or(part.len())];
            text.try_reserve(found.len()).map_err(|_| Error::OutOfMemory)?;
            text.extend_from_slice(found);
            if end.is_some() {
                return Ok(text);
            }
        }
        Err(Error::NameTooLong)
    }

    /// Does `action` on the word at `address`, if it is in memory with that right.
    #[inline]
    fn try_word<R>(
        &self,
        address: VirtualAddress,
        access: Access,
        action: impl FnOnce(&AtomicU32) -> R,
    ) -> Option<R> {
        if address.value() >= USER_END {
            return None;
        }
        let needed = if access == Access::Write { Flags::READ | Flags::WRITE } else { Flags::READ };
        self.tables.lock().word(address, needed).map(action)
    }

    async fn word<R>(
        &self,
        address: VirtualAddress,
        access: Access,
        action: impl Fn(&AtomicU32) -> R,
    ) -> Result<R> {
        if !address.is_aligned(size_of::<u32>()) {
            return Err(Error::InvalidArgument);
        }
        loop {
            if let Some(result) = self.try_word(address, access, &action) {
                return Ok(result);
            }
            self.bring(address, 0, access).await?;
        }
    }

    /// The word at `address`; `None`: not aligned or not at hand, await `load_u32`.
    #[inline]
    pub fn try_load_u32(&self, address: VirtualAddress) -> Option<u32> {
        if !address.is_aligned(size_of::<u32>()) {
            return None;
        }
        self.try_word(address, Access::Read, |word| word.load(Ordering::SeqCst))
    }

    /// The word at `address`, in the one order of all such operations.
    ///
    /// # Errors
    /// `InvalidArgument`: not aligned. `BadAddress`, `OutOfMemory`
    pub async fn load_u32(&self, address: VirtualAddress) -> Result<u32> {
        self.word(address, Access::Read, |word| word.load(Ordering::SeqCst)).await
    }

    /// Stores `new` if the word is `current`; gives what it was, as `Ok` if it was stored.
    ///
    /// # Errors
    /// As for [`AddressSpace::load_u32`].
    pub async fn compare_exchange_u32(
        &self,
        address: VirtualAddress,
        current: u32,
        new: u32,
    ) -> Result<core::result::Result<u32, u32>> {
        let exchange =
            |word: &AtomicU32| word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        self.word(address, Access::Write, exchange).await
    }

    /// Replaces the word by what `change` makes of it (`None`: leave it), atomically; gives what it was, as `Ok` if it
    /// was replaced. Tries a bounded number of times, as user code may write the word without end.
    ///
    /// # Errors
    /// As for [`AddressSpace::load_u32`]. `WouldBlock`: others wrote it all the time.
    pub async fn fetch_update_u32(
        &self,
        address: VirtualAddress,
        change: impl Fn(u32) -> Option<u32>,
    ) -> Result<core::result::Result<u32, u32>> {
        self.word(address, Access::Write, |word| update(word, &change)).await?
    }

    /// As [`AddressSpace::fetch_update_u32`] where the word is at hand; `None`: it is not, or not aligned.
    pub fn try_fetch_update_u32(
        &self,
        address: VirtualAddress,
        change: impl Fn(u32) -> Option<u32>,
    ) -> Option<Result<core::result::Result<u32, u32>>> {
        if !address.is_aligned(size_of::<u32>()) {
            return None;
        }
        self.try_word(address, Access::Write, |word| update(word, &change))
    }

    /// The key of a futex that the program says is private.
    #[inline]
    pub fn private_futex_key(&self, address: VirtualAddress) -> FutexKey {
        FutexKey::Private { space: self.serial, address: address.value() }
    }

    /// The key of a futex that may be shared: by what is mapped there.
    ///
    /// # Errors
    /// `InvalidArgument`: not aligned. `BadAddress`: nothing is mapped there.
    pub async fn futex_key(&self, address: VirtualAddress) -> Result<FutexKey> {
        if !address.is_aligned(size_of::<u32>()) {
            return Err(Error::InvalidArgument);
        }
        let mut layout = self.layout.lock().await;
        let index = layout.areas.find(address.value()).ok_or(Error::BadAddress)?;
        let area = layout.areas.at(index);
        Ok(match (&area.backing, area.sharing) {
            (Backing::Object { object, offset }, Sharing::Shared) => {
                let offset = offset + (address.value() - area.start) as u64;
                match object.identity() {
                    (0, 0) => FutexKey::Shared {
                        object: alloc::sync::Arc::as_ptr(object).cast::<()>().addr(),
                        offset,
                    },
                    identity => FutexKey::File { identity, offset },
                }
            }
            _ => self.private_futex_key(address),
        })
    }
}
