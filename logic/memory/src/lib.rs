//! Memory: physical frames, the kernel's heap, page tables and address spaces.
//!
//! Bottom up: [`frames`] hands out physical memory as counted handles; [`heap`] is the kernel's allocator over it;
//! [`page_table`] is the three-level tree that owns the frames it maps, walked in software; [`space`] is what a
//! process has: areas, demand paging, copy-on-write, and access to user memory for the kernel.
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod frames;
pub mod heap;
pub mod page_table;
mod per_hart;
pub mod space;

pub use frames::{Frame, FrameRange, LargeFrame};
pub use heap::KernelHeap;
pub use page_table::PageTable;
pub use per_hart::MAX_HARTS;
pub use space::AddressSpace;
