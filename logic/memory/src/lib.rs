//! Memory: physical frames, the kernel's heap, page tables and address spaces.
//!
//! Bottom up: [`frames`] hands out physical memory as counted handles; [`heap`] is the kernel's allocator over it;
//! [`page_table`] is the three-level tree that owns the frames it maps, walked in software; [`space`] is what a
//! process has: areas, demand paging, copy-on-write, and access to user memory for the kernel.
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

#[cfg(not(loom))]
pub mod frames;
#[cfg(not(loom))]
pub mod heap;
#[cfg(not(loom))]
pub mod page_table;
#[cfg(not(loom))]
mod per_hart;
#[cfg(not(loom))]
pub mod space;

#[cfg(not(loom))]
pub use crate::{
    frames::{Frame, FrameRange, LargeFrame},
    heap::KernelHeap,
    page_table::PageTable,
    per_hart::MAX_HARTS,
    space::AddressSpace,
};

// What the model checker checks; loom's types cannot stand in statics, as the allocator's do.
#[cfg(all(test, loom))]
#[path = "space/residency.rs"]
mod residency;
