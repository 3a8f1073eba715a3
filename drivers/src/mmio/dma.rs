//! Memory that a device reads and writes by itself, and who owns it meanwhile.
//!
//! A device does not know of Rust's lifetimes. So memory goes to it as a value that owns the memory ([`DmaBuffer`]),
//! which the driver keeps until the device has given it back, whatever has become of whoever asked.

use super::Registers;
use crate::machine::Region;
use alloc::boxed::Box;
use base::Result;
use base::address::PhysicalAddress;
use base::bytes::SharedBytes;
use core::fmt;

/// Whole pages of RAM, contiguous; freed when the value is dropped.
///
/// # Safety
/// The region is page-aligned RAM in the direct map that belongs to this value alone until it is dropped, and stays
/// the same.
pub unsafe trait DmaPages: Send + Sync {
    /// Where the pages are.
    fn region(&self) -> Region;
}

/// Where drivers get memory that devices may access.
pub trait DmaMemory: Send + Sync {
    /// `pages` contiguous pages, zeroed.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn allocate(&self, pages: usize) -> Result<DmaBlock>;
}

/// Memory shared with a device: accessed like registers, or copied in and out.
pub struct DmaBlock {
    memory: Registers,
    address: PhysicalAddress,
    _pages: Box<dyn DmaPages>,
}

impl DmaBlock {
    /// A block of these pages.
    pub fn new(pages: impl DmaPages + 'static) -> Self {
        let region = pages.region();
        // SAFETY: the pages are RAM that belongs to the block alone, which never gives a reference to its bytes.
        let memory = unsafe { Registers::new(region) };
        Self { memory, address: region.start, _pages: Box::new(pages) }
    }

    /// Where the device finds it.
    pub fn address(&self) -> PhysicalAddress {
        self.address
    }

    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.memory.size()
    }

    /// The memory as words. They must not be used after the block is gone, which is why they stay in this crate.
    pub(crate) fn words(&self) -> &Registers {
        &self.memory
    }

    /// The memory as bytes.
    pub fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: the pages live as long as the block, and nobody has a reference to their bytes.
        unsafe { SharedBytes::new(self.memory.base.as_ptr(), self.memory.size) }
    }
}

impl fmt::Debug for DmaBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaBlock({:#x}, {} bytes)", self.address, self.size())
    }
}

/// What a device may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceAccess {
    /// It reads.
    Reads,
    /// It writes.
    Writes,
}

/// A contiguous piece of memory for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts.
    pub address: PhysicalAddress,
    /// How many bytes; not 0.
    pub length: u32,
    /// What the device may do.
    pub access: DeviceAccess,
}

/// A value that owns memory for one operation of a device.
///
/// # Safety
/// Until the value is dropped, [`DmaBuffer::segments`] gives the same answer, and the memory in it is RAM that may be
/// accessed by the device as stated: it is not freed, and no Rust reference to bytes that the device writes exists.
pub unsafe trait DmaBuffer: Send {
    /// The pieces: first all that the device reads, then all that it writes.
    fn segments(&self) -> &[Segment];
}

/// The simplest buffer: the start of one block.
#[derive(Debug)]
pub struct BlockBuffer {
    block: DmaBlock,
    segments: [Segment; 1],
}

impl BlockBuffer {
    /// The first `length` bytes of `block`, at least 1 and at most all of them, for the device to access so.
    pub fn new(block: DmaBlock, length: usize, access: DeviceAccess) -> Self {
        let length = length.clamp(1, block.size());
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let segments = [Segment { address: block.address(), length, access }];
        Self { block, segments }
    }

    /// The memory.
    pub fn block(&self) -> &DmaBlock {
        &self.block
    }

    /// Takes the block back.
    pub fn into_block(self) -> DmaBlock {
        self.block
    }
}

// SAFETY: the block owns its pages, never gives a reference to their bytes, and the segment is inside of it.
unsafe impl DmaBuffer for BlockBuffer {
    fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! Memory for devices out of the pretended RAM, which knows what is in use.

    use super::*;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use base::address::PAGE_SIZE;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Bytes of freed memory.
    const FREED: u8 = 0xde;

    static NEXT_PAGE: AtomicUsize = AtomicUsize::new(1);

    /// Which memory is in use: from the start of each region, its size.
    pub(crate) type Live = Arc<Mutex<BTreeMap<usize, usize>>>;

    /// The allocator of one test.
    #[derive(Clone, Default)]
    pub(crate) struct FakeMemory {
        pub(crate) live: Live,
    }

    struct FakePages {
        region: Region,
        live: Live,
    }

    // SAFETY: pages of the pretended RAM are given out once.
    unsafe impl DmaPages for FakePages {
        fn region(&self) -> Region {
            self.region
        }
    }

    impl Drop for FakePages {
        fn drop(&mut self) {
            let words = crate::mmio::fake::device_view(self.region);
            (0..self.region.size).for_each(|offset| words.write8(offset, FREED));
            self.live.lock().expect("no panic inside").remove(&self.region.start.value());
        }
    }

    impl FakeMemory {
        /// How many blocks are in use.
        pub(crate) fn blocks(&self) -> usize {
            self.live.lock().expect("no panic inside").len()
        }
    }

    impl DmaMemory for FakeMemory {
        fn allocate(&self, pages: usize) -> Result<DmaBlock> {
            let first = NEXT_PAGE.fetch_add(pages, Ordering::Relaxed);
            let region = Region { start: PhysicalAddress::from_page_number(first), size: pages * PAGE_SIZE };
            self.live.lock().expect("no panic inside").insert(region.start.value(), region.size);
            Ok(DmaBlock::new(FakePages { region, live: self.live.clone() }))
        }
    }

    /// A buffer of several pieces.
    pub(crate) struct Chain {
        pub(crate) blocks: Vec<DmaBlock>,
        segments: Vec<Segment>,
    }

    impl Chain {
        /// `reads` bytes for the device to read, then a piece for it to write for each of `writes`.
        pub(crate) fn new(memory: &FakeMemory, reads: &[u8], writes: &[u32]) -> Self {
            let mut chain = Self { blocks: Vec::new(), segments: Vec::new() };
            let read = (!reads.is_empty()).then_some((reads.len() as u32, DeviceAccess::Reads));
            for (length, access) in read.into_iter().chain(writes.iter().map(|l| (*l, DeviceAccess::Writes)))
            {
                let block = memory.allocate(1).expect("plenty");
                if access == DeviceAccess::Reads {
                    block.bytes().copy_from(reads);
                }
                chain.segments.push(Segment { address: block.address(), length, access });
                chain.blocks.push(block);
            }
            chain
        }
    }

    // SAFETY: the segments are inside the blocks, which the value owns.
    unsafe impl DmaBuffer for Chain {
        fn segments(&self) -> &[Segment] {
            &self.segments
        }
    }
}
