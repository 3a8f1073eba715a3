//! What a hart knows of itself, and how it is kept from giving up what it runs.
//!
//! `tp` points to the hart's [`HartBlock`] whenever the kernel runs. Preemption is forbidden by a count in that block, not
//! by masking interrupts: the two instructions cost less than a control register, on QEMU by a factor of ten.
//! An interrupt that arrives while the count is not zero is not handled: it is noted in `interrupt_held`, and the
//! interrupted code goes on with interrupts masked. The guard that brings the count to zero unmasks them, and the
//! hardware, whose interrupt is still pending, delivers it then. So an interrupt handler never runs inside a
//! critical section, and may take any lock that ordinary code may take.
//!
//! A coroutine may be preempted, and go on upon another hart, between any two instructions where the count is zero, also
//! in the middle of raising it. That is harmless: each access below names `tp` afresh in one instruction, and the count
//! is zero on the hart that was left as well as on the one that goes on.

use crate::csr;
use core::arch::asm;
use core::mem::offset_of;

/// The part of a hart's own memory that assembly knows. The kernel's larger structure starts with it.
#[repr(C, align(64))]
pub struct HartBlock {
    /// How many guards forbid preemption.
    preempt_count: u32,
    /// Not zero: an interrupt arrived meanwhile, and interrupts are masked until the last guard goes.
    interrupt_held: u32,
    /// Dense, from 0; the boot hart is 0.
    index: usize,
    /// The hardware's id of this hart.
    hart_id: usize,
    /// Top of the stack on which a trap with a damaged stack is reported.
    emergency_stack: usize,
    /// Where a trap with a damaged stack keeps the stack pointer that it found.
    emergency_scratch: usize,
}

impl HartBlock {
    /// A block for a hart that has not started.
    pub const fn new() -> Self {
        Self {
            preempt_count: 0,
            interrupt_held: 0,
            index: 0,
            hart_id: 0,
            emergency_stack: 0,
            emergency_scratch: 0,
        }
    }

    /// Fills in who the hart is, before it starts. `emergency_stack` is the top of a stack of its own.
    pub fn identify(&mut self, index: usize, hart_id: usize, emergency_stack: usize) {
        self.index = index;
        self.hart_id = hart_id;
        self.emergency_stack = emergency_stack;
    }

    /// Dense index, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The hardware's id.
    pub fn hart_id(&self) -> usize {
        self.hart_id
    }
}

impl Default for HartBlock {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) const PREEMPT_COUNT: usize = offset_of!(HartBlock, preempt_count);
pub(crate) const INTERRUPT_HELD: usize = offset_of!(HartBlock, interrupt_held);
pub(crate) const EMERGENCY_STACK: usize = offset_of!(HartBlock, emergency_stack);
pub(crate) const EMERGENCY_SCRATCH: usize = offset_of!(HartBlock, emergency_scratch);
const INDEX: usize = offset_of!(HartBlock, index);

/// The block of the hart that executes this. Stable only while preemption is off or interrupts are masked.
#[inline(always)]
pub fn current() -> *mut HartBlock {
    let pointer;
    // SAFETY: reads a register. Not `pure`: the answer changes when the coroutine moves.
    unsafe { asm!("mv {}, tp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// The dense index of the hart that executes this; as stable as [`current`].
#[inline(always)]
pub fn index() -> usize {
    let index;
    // SAFETY: `tp` points to the hart's block (module documentation), and the index does not change.
    unsafe {
        asm!("ld {}, {}(tp)", out(reg) index, const INDEX, options(readonly, nostack, preserves_flags))
    };
    index
}

/// How many guards forbid preemption on this hart.
#[inline(always)]
pub fn preempt_count() -> u32 {
    let count: u32;
    // SAFETY: `tp` points to the hart's block.
    unsafe { asm!("lw {}, {}(tp)", out(reg) count, const PREEMPT_COUNT, options(nostack)) };
    count
}

/// Forbids preemption. The memory clobber keeps what follows behind it.
#[inline(always)]
pub fn preempt_disable() {
    // SAFETY: touches only the count of the hart that executes it.
    unsafe {
        asm!("lw {0}, {1}(tp)", "addiw {0}, {0}, 1", "sw {0}, {1}(tp)", out(reg) _, const PREEMPT_COUNT,
             options(nostack));
    }
}

/// Undoes one [`preempt_disable`]; the last one lets a held interrupt in.
#[inline(always)]
pub fn preempt_enable() {
    // A whole register, which `lw` fills: of a `u32` the compiler would extend the sign once more.
    let held: usize;
    // SAFETY: touches only the block of the hart that executes it. `held` is read after the count is zero, so that
    // an interrupt between the two is either handled at once or seen here.
    unsafe {
        asm!("lw {0}, {1}(tp)", "addiw {0}, {0}, -1", "sw {0}, {1}(tp)", "lw {0}, {2}(tp)", out(reg) held,
             const PREEMPT_COUNT, const INTERRUPT_HELD, options(nostack));
    }
    if held != 0 {
        release_held_interrupt();
    }
}

/// Unmasks interrupts after one was held back, unless an outer guard still forbids it.
#[cold]
#[inline(never)]
fn release_held_interrupt() {
    if preempt_count() != 0 {
        return;
    }
    // SAFETY: the count is zero and interrupts are masked (that is what `interrupt_held` says), so that this hart's
    // block is ours until they are unmasked.
    unsafe {
        asm!("sw zero, {}(tp)", const INTERRUPT_HELD, options(nostack));
        csr::set::<{ csr::SSTATUS }>(csr::SSTATUS_SIE);
    }
}

/// How many instructions this hart has executed.
#[inline(always)]
pub fn instructions() -> u64 {
    csr::read::<{ csr::INSTRET }>() as u64
}

/// Masks interrupts; returns whether they were enabled.
#[inline(always)]
pub fn interrupts_mask() -> bool {
    let before: usize;
    // SAFETY: masking interrupts only delays them.
    unsafe { asm!("csrrci {}, sstatus, 2", out(reg) before, options(nostack)) };
    before & csr::SSTATUS_SIE != 0
}

/// Enables interrupts.
#[inline(always)]
pub fn interrupts_enable() {
    // SAFETY: handlers run only where the preemption count is zero; see the module documentation.
    unsafe { asm!("csrsi sstatus, 2", options(nostack)) };
}

/// Waits until an interrupt is pending. Called with interrupts masked, so that none is handled between the caller's
/// last look at its queues and the waiting; a pending one ends it all the same.
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: only waits.
    unsafe { asm!("wfi", options(nostack)) };
}

/// Initialises the control registers of the hart that executes this. `hypervisor`: it has the H extension.
pub fn initialise(hypervisor: bool) {
    // SAFETY: nothing but the boot path runs yet; the values are those that `trap` and `paging` assume.
    unsafe {
        csr::write::<{ csr::STVEC }>(crate::trap::vector());
        csr::write::<{ csr::SSCRATCH }>(0);
        csr::write::<{ csr::SCOUNTEREN }>(0b111);
        csr::write::<{ csr::SIE }>(csr::INTERRUPT_SOFTWARE | csr::INTERRUPT_TIMER | csr::INTERRUPT_EXTERNAL);
        if hypervisor {
            crate::paging::initialise_guest_stage();
        }
    }
}
