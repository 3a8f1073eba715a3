//! Mapped memory that only volatile accesses touch, so that tests may protect, unmap and share it freely.

use super::Errno;
use crate::call;

/// The page size of riscv64.
pub const PAGE_BYTES: usize = 4096;

/// What a mapping may be used for, as `libc::PROT_*` bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access(pub i32);

impl Access {
    /// No access at all.
    pub const NONE: Access = Access(libc::PROT_NONE);
    /// Reading only.
    pub const READ: Access = Access(libc::PROT_READ);
    /// Reading and writing.
    pub const WRITE: Access = Access(libc::PROT_READ | libc::PROT_WRITE);
}

/// A range of pages from `mmap`; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    address: usize,
    length: usize,
}

impl Mapping {
    /// Anonymous private memory of `length` bytes.
    pub fn anonymous(length: usize, access: Access) -> Result<Mapping, Errno> {
        Mapping::new(length, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// Anonymous memory that children share.
    pub fn shared(length: usize) -> Result<Mapping, Errno> {
        Mapping::new(length, Access::WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// A mapping with `libc::MAP_*` flags of a descriptor from `offset`, at an address of the kernel's choice.
    pub fn new(
        length: usize,
        access: Access,
        flags: i32,
        descriptor: i32,
        offset: i64,
    ) -> Result<Mapping, Errno> {
        let address = call!(SYS_mmap, 0, length, access.0, flags, descriptor, offset)?;
        Ok(Mapping { address, length })
    }

    /// Takes over pages that a raw call mapped.
    pub fn adopt(address: usize, length: usize) -> Mapping {
        Mapping { address, length }
    }

    /// The first address.
    pub fn address(&self) -> usize {
        self.address
    }

    /// The size in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Changes what all the pages may be used for.
    pub fn protect(&self, access: Access) -> Result<(), Errno> {
        self.protect_range(0, self.length, access)
    }

    /// Changes what the pages from `offset` on may be used for.
    pub fn protect_range(&self, offset: usize, length: usize, access: Access) -> Result<(), Errno> {
        call!(SYS_mprotect, self.address + offset, length, access.0).map(drop)
    }

    /// Unmaps some of the pages.
    pub fn unmap_range(&self, offset: usize, length: usize) -> Result<(), Errno> {
        call!(SYS_munmap, self.address + offset, length).map(drop)
    }

    /// Changes the size by `mremap`, moving if need be.
    pub fn resize(&mut self, length: usize, flags: i32) -> Result<(), Errno> {
        self.address = call!(SYS_mremap, self.address, self.length, length, flags)?;
        self.length = length;
        Ok(())
    }

    /// Reads the byte at `offset`; the process dies if that page is not readable.
    pub fn byte(&self, offset: usize) -> u8 {
        assert!(offset < self.length, "inside the mapping");
        // SAFETY: the address lies in pages that no Rust object lives in; a fault is the test's own intention.
        unsafe { ((self.address + offset) as *const u8).read_volatile() }
    }

    /// Writes the byte at `offset`; the process dies if that page is not writable.
    pub fn set_byte(&self, offset: usize, value: u8) {
        assert!(offset < self.length, "inside the mapping");
        // SAFETY: as for `byte`.
        unsafe { ((self.address + offset) as *mut u8).write_volatile(value) }
    }

    /// Fills `length` bytes from `offset`.
    pub fn fill(&self, offset: usize, length: usize, value: u8) {
        assert!(offset + length <= self.length, "inside the mapping");
        // SAFETY: as for `byte`.
        unsafe { ((self.address + offset) as *mut u8).write_bytes(value, length) }
    }

    /// Copies `bytes` to `offset`.
    pub fn store(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.length, "inside the mapping");
        // SAFETY: as for `byte`; the source is a Rust slice and cannot overlap.
        unsafe { ((self.address + offset) as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// A copy of `length` bytes from `offset`.
    pub fn load(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset + length <= self.length, "inside the mapping");
        let mut bytes = vec![0; length];
        // SAFETY: as for `byte`; the destination is a Rust vector and cannot overlap.
        unsafe { ((self.address + offset) as *const u8).copy_to_nonoverlapping(bytes.as_mut_ptr(), length) }
        bytes
    }

    /// The 32-bit word at `offset` (a multiple of 4), as an atomic.
    pub fn word(&self, offset: usize) -> &core::sync::atomic::AtomicU32 {
        assert!(offset + 4 <= self.length && offset.is_multiple_of(4), "an aligned word inside the mapping");
        // SAFETY: aligned, inside pages that live as long as `self`; every concurrent access is atomic.
        unsafe { &*((self.address + offset) as *const core::sync::atomic::AtomicU32) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Some tests unmap all of it themselves; unmapping again is harmless as nothing else maps in between.
        let _ = call!(SYS_munmap, self.address, self.length);
    }
}
