//! Device registers: the one place where a physical address becomes something to read and write.
//!
//! Everything `unsafe` about devices is here. Whoever makes a [`DeviceSpace`] vouches for the machine's description
//! once; from then on a driver asks it for registers by address, and gets only what is no RAM.
#![expect(unsafe_code, reason = "registers are raw memory; drivers see only the checked face of it")]

pub mod dma;

use crate::machine::{Machine, Region};
use arrayvec::ArrayVec;
use base::address::PhysicalAddress;
use base::hal::direct_map;
use base::{Error, Result};
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};

/// The greatest device tree that is read, in bytes. QEMU's is at most 1 MiB; a length beyond is taken for corruption.
const DEVICE_TREE_LIMIT: usize = 4 << 20;
/// Bytes of a device tree's header up to and with its total size (Devicetree Specification 0.4, 5.2).
const DEVICE_TREE_PREFIX: usize = 8;
const DEVICE_TREE_MAGIC: u32 = 0xd00d_feed;

/// The device tree that the firmware left at `address`.
///
/// # Errors
/// `InvalidArgument` when there is none or its length is beyond belief.
///
/// # Safety
/// `address` is what the firmware handed over at boot; nobody writes to the tree while the slice is in use.
pub unsafe fn device_tree(address: PhysicalAddress) -> Result<&'static [u8]> {
    let pointer = direct_map(address);
    // SAFETY: the firmware left a device tree there, which is at least as long as its header (caller).
    let prefix = unsafe { core::slice::from_raw_parts(pointer, DEVICE_TREE_PREFIX) };
    let word = |index: usize| {
        let bytes: [u8; 4] = prefix[index..index + 4].try_into().expect("a slice of four bytes");
        u32::from_be_bytes(bytes)
    };
    let length = word(4) as usize;
    if word(0) != DEVICE_TREE_MAGIC || length > DEVICE_TREE_LIMIT {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: the tree says itself how long it is, and nobody writes to it (caller).
    Ok(unsafe { core::slice::from_raw_parts(pointer, length) })
}

/// The part of the physical address space in which devices are: all of it but the RAM.
#[derive(Clone, Debug)]
pub struct DeviceSpace {
    memory: ArrayVec<Region, { crate::machine::MAX_MEMORY_REGIONS }>,
}

impl DeviceSpace {
    /// The space of the devices of `machine`.
    ///
    /// # Safety
    /// `machine` describes the machine that this runs on: where it says that there is no RAM, there is none that
    /// Rust code uses; and the direct map reaches every device in it.
    pub unsafe fn new(machine: &Machine) -> Self {
        Self { memory: machine.memory.clone() }
    }

    /// The registers in `region`.
    ///
    /// # Errors
    /// `InvalidArgument` when the region is empty or wraps, `BadAddress` when RAM lies in it.
    pub fn registers(&self, region: Region) -> Result<Registers> {
        if region.size == 0 || region.end().is_none() {
            return Err(Error::InvalidArgument);
        }
        if self.memory.iter().any(|memory| memory.overlaps(&region)) {
            return Err(Error::BadAddress);
        }
        // SAFETY: no RAM is there, so that no Rust object can be; the constructor vouched for the rest.
        Ok(unsafe { Registers::new(region) })
    }
}

/// The registers of one device. Copies name the same registers: who writes which is for the driver to arrange.
///
/// Every access is one volatile load or store of exactly its width, in program order with other accesses to devices.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: accesses are volatile and device registers belong to no hart.
unsafe impl Send for Registers {}
// SAFETY: as for `Send`; a volatile access needs no exclusive reference.
unsafe impl Sync for Registers {}

macro_rules! access {
    ($type:ty, $read:ident, $write:ident) => {
        #[doc = concat!("Reads the `", stringify!($type), "` at `offset` bytes (a multiple of its size).")]
        ///
        /// # Panics
        /// When the register is not inside the device: a mistake of the driver.
        #[inline]
        pub fn $read(&self, offset: usize) -> $type {
            let pointer = self.checked::<$type>(offset);
            // SAFETY: inside the device and aligned (`checked`); the constructor vouched for the device.
            unsafe { pointer.read_volatile() }
        }

        #[doc = concat!("Writes the `", stringify!($type), "` at `offset` bytes (a multiple of its size).")]
        ///
        /// # Panics
        /// When the register is not inside the device: a mistake of the driver.
        #[inline]
        pub fn $write(&self, offset: usize, value: $type) {
            let pointer = self.checked::<$type>(offset);
            // SAFETY: as for reading.
            unsafe { pointer.write_volatile(value) }
        }
    };
}

impl Registers {
    /// The registers in `region`, reached through the direct map.
    ///
    /// # Safety
    /// The region is a device's and in the direct map, no Rust object is in it, and what the driver can make the
    /// device do through it (such as DMA) breaks no Rust object either.
    pub unsafe fn new(region: Region) -> Self {
        let base =
            NonNull::new(direct_map(region.start)).expect("the direct map does not start at address 0");
        Self { base, size: region.size }
    }

    /// How many bytes of registers there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The registers from `offset` on, `size` bytes; `None` when they reach beyond these.
    pub fn part(&self, offset: usize, size: usize) -> Option<Registers> {
        let end = offset.checked_add(size)?;
        if size == 0 || end > self.size {
            return None;
        }
        // SAFETY: `offset` is inside the device.
        let base = unsafe { self.base.add(offset) };
        Some(Registers { base, size })
    }

    #[inline]
    fn checked<T>(&self, offset: usize) -> *mut T {
        let width = size_of::<T>();
        assert!(offset.is_multiple_of(width) && offset < self.size && width <= self.size - offset);
        // SAFETY: `offset` is inside the device.
        unsafe { self.base.add(offset) }.as_ptr().cast()
    }

    access!(u8, read8, write8);
    access!(u16, read16, write16);
    access!(u32, read32, write32);
    access!(u64, read64, write64);
}

/// Orders memory against devices: what was written to memory before is there when a register is written after, and
/// what is read from memory after is not older than a register read before.
#[inline]
pub fn barrier() {
    fence(Ordering::SeqCst);
}

#[cfg(test)]
pub(crate) mod fake {
    //! Memory that plays the registers of a device without behaviour.

    use super::Registers;
    use core::ptr::NonNull;
    use std::vec;

    /// The memory at a physical address of the pretended RAM, as a device sees it.
    pub(crate) fn device_view(region: crate::machine::Region) -> Registers {
        // SAFETY: the pretended RAM is nobody's; that the region is in it is checked by the direct map.
        unsafe { Registers::new(region) }
    }

    /// Zeroed registers, `size` bytes. Never freed, as copies may be anywhere.
    pub(crate) fn registers(size: usize) -> Registers {
        let words = vec![0u64; size.div_ceil(8)].leak();
        Registers { base: NonNull::from(words).cast(), size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_stay_inside() {
        let registers = fake::registers(16);
        registers.write32(4, 0x1234_5678);
        assert_eq!(registers.read8(4), 0x78);
        assert_eq!(registers.read64(0), 0x1234_5678_0000_0000);
        assert_eq!(registers.part(4, 12).expect("inside").read32(0), 0x1234_5678);
        assert!(registers.part(8, 9).is_none() && registers.part(usize::MAX, 2).is_none());
        for offset in [2, 14, 16, usize::MAX - 3] {
            assert!(std::panic::catch_unwind(|| registers.read32(offset)).is_err(), "{offset}");
        }
    }

    #[test]
    fn ram_is_no_device() {
        let region = |start, size| Region { start: PhysicalAddress::new(start), size };
        let mut machine = Machine::default();
        machine.memory.push(region(0x8000_0000, 0x1000_0000));
        // SAFETY: nothing is accessed.
        let space = unsafe { DeviceSpace::new(&machine) };
        assert_eq!(space.registers(region(0x8000_0000, 8)).unwrap_err(), Error::BadAddress);
        assert_eq!(space.registers(region(0x7fff_fff8, 9)).unwrap_err(), Error::BadAddress);
        assert_eq!(space.registers(region(0x1000_0000, 0)).unwrap_err(), Error::InvalidArgument);
        assert_eq!(space.registers(region(usize::MAX, 2)).unwrap_err(), Error::InvalidArgument);
        assert_eq!(space.registers(region(0x1000_0000, 256)).expect("a device").size(), 256);
    }
}
