//! The hardware as a hosted test sees it: threads for harts, a block of zeroed memory for RAM.

use crate::address::{LARGE_PAGE_SIZE, PhysicalAddress};
use alloc::alloc::{Layout, alloc_zeroed};
use core::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

/// Bytes of the pretended RAM, which starts at physical address 0. Pages never touched cost nothing.
pub const MEMORY_SIZE: usize = 1 << 30;

std::thread_local! {
    static PREEMPT_COUNT: Cell<u32> = const { Cell::new(0) };
    static HART_INDEX: Cell<usize> = const { Cell::new(0) };
}

static MEMORY: OnceLock<usize> = OnceLock::new();
static START: OnceLock<Instant> = OnceLock::new();

/// Makes the calling thread play the hart with this index.
pub fn set_hart_index(index: usize) {
    HART_INDEX.set(index);
}

/// How many preemption guards the calling thread holds.
pub fn preempt_count() -> u32 {
    PREEMPT_COUNT.get()
}

pub(super) fn __asyncos_preempt_disable() {
    PREEMPT_COUNT.set(PREEMPT_COUNT.get() + 1);
}

pub(super) fn __asyncos_preempt_enable() {
    PREEMPT_COUNT.set(PREEMPT_COUNT.get() - 1);
}

pub(super) fn __asyncos_hart_index() -> usize {
    HART_INDEX.get()
}

pub(super) fn __asyncos_now_ns() -> u64 {
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

pub(super) fn __asyncos_direct_map(address: PhysicalAddress) -> *mut u8 {
    assert!(address.value() < MEMORY_SIZE, "{address:?} is outside the pretended RAM");
    let base = MEMORY.get_or_init(|| {
        // Aligned by hand: an aligned allocation would be zeroed by writing, and so take all its pages at once.
        let layout =
            Layout::from_size_align(MEMORY_SIZE + LARGE_PAGE_SIZE, 1).expect("a constant, valid layout");
        // SAFETY: the layout has a size. The block is never freed.
        let block = unsafe { alloc_zeroed(layout) };
        assert!(!block.is_null(), "no memory for the pretended RAM");
        (block as usize).next_multiple_of(LARGE_PAGE_SIZE)
    });
    (base + address.value()) as *mut u8
}
