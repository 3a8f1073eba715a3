//! Memory for devices: whole frames, which a driver owns until the device has given them back.

use alloc::sync::Arc;
use base::Result;
use base::address::PAGE_SIZE;
use drivers::machine::Region;
use drivers::mmio::dma::{DmaBlock, DmaMemory, DmaPages};
use memory::frames::FrameRange;

/// The memory from which drivers take what their devices access. Devices here see physical addresses, and all of them.
pub struct Frames;

struct Pages {
    frames: FrameRange,
    size: usize,
}

// SAFETY: the range's frames are RAM, page-aligned, in the direct map, and this value's alone until it is dropped.
unsafe impl DmaPages for Pages {
    fn region(&self) -> Region {
        Region { start: self.frames.address(), size: self.size }
    }
}

impl DmaMemory for Frames {
    fn allocate(&self, pages: usize) -> Result<DmaBlock> {
        let pages = pages.max(1);
        let frames = FrameRange::zeroed(pages, 0)?;
        Ok(DmaBlock::new(Pages { frames, size: pages * PAGE_SIZE }))
    }
}

/// The same, as drivers keep it.
pub fn memory() -> Arc<dyn DmaMemory> {
    Arc::new(Frames)
}
