//! Into user mode and back, and the interrupts of the kernel itself.
//!
//! While a thread runs in user mode, `sscratch` points to its [`UserContext`]; while the kernel runs, it is zero. The one
//! trap vector tells the two apart by that.
//!
//! *From user mode* the vector stores the registers and returns from [`UserContext::enter`], like a function that took a
//! long time: the kernel's thread coroutine goes on where it stood. The registers that a call must preserve are not
//! saved by hand; `enter` declares all of them as clobbered, so that the compiler saves what it needs.
//!
//! *From the kernel* only interrupts are expected. They are handled where the preemption count is zero (see
//! [`crate::hart`]); the handler may change stacks before it returns, which is how a kernel coroutine is preempted.
//! Anything else is a fault of the kernel, reported and fatal. A fault with the stack pointer in a guard page is
//! reported on the hart's emergency stack.

use crate::cause::{Interrupt, Trap};
use crate::csr;
use crate::hart::{self, EMERGENCY_SCRATCH, EMERGENCY_STACK, INTERRUPT_HELD};
use crate::stack::STACK_SHIFT;
use core::arch::{asm, naked_asm};
use core::mem::offset_of;

/// Names of the entries of [`UserContext::registers`].
#[expect(missing_docs, reason = "registers are named as in the calling convention")]
pub mod register {
    pub const PC: usize = 0;
    pub const RA: usize = 1;
    pub const SP: usize = 2;
    pub const GP: usize = 3;
    pub const TP: usize = 4;
    pub const A0: usize = 10;
    pub const A1: usize = 11;
    pub const A2: usize = 12;
    pub const A7: usize = 17;
}

/// A thread's registers while it is not running, and what the vector needs to find the kernel again.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct UserContext {
    /// x1 to x31 by their numbers; entry 0 is the program counter.
    pub registers: [usize; 32],
    kernel_sp: usize,
    kernel_tp: usize,
    kernel_pc: usize,
    status: usize,
}

/// In which world a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// U-mode, by `satp`.
    Direct,
    /// VU-mode, by `hgatp`.
    Isolated,
}

/// What a trap from user mode was.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Why.
    pub trap: Trap,
    /// The address or the instruction that it was about (`stval`).
    pub value: usize,
}

impl UserContext {
    /// A context in which nothing has run: all registers zero, floating point off.
    pub const fn new() -> Self {
        Self {
            registers: [0; 32],
            kernel_sp: 0,
            kernel_tp: 0,
            kernel_pc: 0,
            status: csr::SSTATUS_SPIE | csr::SSTATUS_UXL_64,
        }
    }

    /// A copy for a new thread, which starts where this one stands, with floating point off.
    pub fn duplicate(&self) -> Self {
        Self { registers: self.registers, ..Self::new() }
    }

    /// Whether the floating-point registers were switched on, and whether they were written since.
    #[inline(always)]
    pub fn float_status(&self) -> FloatStatus {
        match self.status & csr::SSTATUS_FS {
            0 => FloatStatus::Off,
            csr::SSTATUS_FS => FloatStatus::Dirty,
            _ => FloatStatus::Clean,
        }
    }

    /// Switches the floating-point registers on or off for the next entry.
    #[inline(always)]
    pub fn set_float_status(&mut self, status: FloatStatus) {
        self.status = self.status & !csr::SSTATUS_FS
            | match status {
                FloatStatus::Off => 0,
                FloatStatus::Clean => csr::SSTATUS_FS_CLEAN,
                FloatStatus::Dirty => csr::SSTATUS_FS,
            };
    }

    /// Runs the thread until it traps. Interrupts are masked before and after.
    ///
    /// # Safety
    /// Interrupts are masked, and the thread's address space is the active one for `mode`.
    #[inline(always)]
    pub unsafe fn enter(&mut self, mode: Mode) -> Entry {
        if mode == Mode::Isolated {
            // SAFETY: says only where `sret` goes. No interrupt can come between and clear it.
            unsafe { csr::set::<{ csr::HSTATUS }>(csr::HSTATUS_SPV) };
        }
        // SAFETY: the vector comes back here with the stack pointer as it was; everything else is declared lost,
        // but s0 and s1, which the compiler does not give away and which are kept on the stack.
        unsafe {
            asm!(
                "addi sp, sp, -16",
                "sd s0, 0(sp)",
                "sd s1, 8(sp)",
                "sd sp, {kernel_sp}(a0)",
                "sd tp, {kernel_tp}(a0)",
                "lla t0, 2f",
                "sd t0, {kernel_pc}(a0)",
                "ld t0, {status}(a0)",
                "csrw sstatus, t0",
                "csrw sscratch, a0",
                "ld t0, 0(a0)",
                "csrw sepc, t0",
                "ld ra, 8(a0)",
                "ld sp, 16(a0)",
                "ld gp, 24(a0)",
                "ld tp, 32(a0)",
                "ld t0, 40(a0)",
                "ld t1, 48(a0)",
                "ld t2, 56(a0)",
                "ld s0, 64(a0)",
                "ld s1, 72(a0)",
                "ld a1, 88(a0); ld a2, 96(a0)",
                "ld a3, 104(a0); ld a4, 112(a0)",
                "ld a5, 120(a0); ld a6, 128(a0)",
                "ld a7, 136(a0); ld s2, 144(a0)",
                "ld s3, 152(a0); ld s4, 160(a0)",
                "ld s5, 168(a0); ld s6, 176(a0)",
                "ld s7, 184(a0); ld s8, 192(a0)",
                "ld s9, 200(a0); ld s10, 208(a0)",
                "ld s11, 216(a0); ld t3, 224(a0)",
                "ld t4, 232(a0); ld t5, 240(a0)",
                "ld t6, 248(a0)",
                "ld a0, 80(a0)",
                "sret",
                "2:",
                "ld s0, 0(sp)",
                "ld s1, 8(sp)",
                "addi sp, sp, 16",
                kernel_sp = const offset_of!(UserContext, kernel_sp),
                kernel_tp = const offset_of!(UserContext, kernel_tp),
                kernel_pc = const offset_of!(UserContext, kernel_pc),
                status = const offset_of!(UserContext, status),
                inout("a0") self => _,
                out("ra") _,
                out("t0") _, out("t1") _, out("t2") _, out("t3") _, out("t4") _, out("t5") _, out("t6") _,
                out("a1") _, out("a2") _, out("a3") _, out("a4") _, out("a5") _, out("a6") _, out("a7") _,
                out("s2") _, out("s3") _, out("s4") _, out("s5") _, out("s6") _, out("s7") _, out("s8") _,
                out("s9") _, out("s10") _, out("s11") _,
            );
        }
        if mode == Mode::Isolated {
            // SAFETY: the next `sret` to the direct realm must find it clear.
            unsafe { csr::clear::<{ csr::HSTATUS }>(csr::HSTATUS_SPV) };
        }
        Entry { trap: Trap::decode(csr::read::<{ csr::SCAUSE }>()), value: csr::read::<{ csr::STVAL }>() }
    }
}

impl Default for UserContext {
    fn default() -> Self {
        Self::new()
    }
}

/// The state of a thread's floating-point registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatStatus {
    /// Using them traps.
    Off,
    /// As they were loaded.
    Clean,
    /// Written since.
    Dirty,
}

/// The kernel's registers at an interrupt or fault of its own.
#[repr(C)]
#[derive(Debug)]
pub struct KernelFrame {
    /// x1 to x31 by their numbers; entry 0 is the program counter.
    pub registers: [usize; 32],
    status: usize,
    padding: usize,
}

const FRAME_SIZE: usize = size_of::<KernelFrame>();
const _: () = assert!(FRAME_SIZE == 272);

/// The value of `stvec`.
pub(crate) fn vector() -> usize {
    trap_vector as *const () as usize
}

/// The one trap vector. Stores by register number; see the module documentation.
///
/// # Safety
/// Only the hardware jumps here, by `stvec`.
#[unsafe(naked)]
#[unsafe(link_section = ".text.trap_vector")]
unsafe extern "C" fn trap_vector() -> ! {
    naked_asm!(
        ".align 2",
        "csrrw a0, sscratch, a0",
        "beqz a0, 5f",
        "sd ra, 8(a0)",
        "sd sp, 16(a0)",
        "sd gp, 24(a0)",
        "sd tp, 32(a0)",
        "sd t0, 40(a0)",
        "sd t1, 48(a0)",
        "sd t2, 56(a0)",
        "sd s0, 64(a0)",
        "sd s1, 72(a0)",
        "sd a1, 88(a0)",
        "sd a2, 96(a0)",
        "sd a3, 104(a0)",
        "sd a4, 112(a0)",
        "sd a5, 120(a0)",
        "sd a6, 128(a0)",
        "sd a7, 136(a0)",
        "sd s2, 144(a0)",
        "sd s3, 152(a0)",
        "sd s4, 160(a0)",
        "sd s5, 168(a0)",
        "sd s6, 176(a0)",
        "sd s7, 184(a0)",
        "sd s8, 192(a0)",
        "sd s9, 200(a0)",
        "sd s10, 208(a0)",
        "sd s11, 216(a0)",
        "sd t3, 224(a0)",
        "sd t4, 232(a0)",
        "sd t5, 240(a0)",
        "sd t6, 248(a0)",
        "csrrw t0, sscratch, zero",
        "sd t0, 80(a0)",
        "csrr t1, sepc",
        "sd t1, 0(a0)",
        "csrr t2, sstatus",
        "sd t2, {status}(a0)",
        "ld sp, {kernel_sp}(a0)",
        "ld tp, {kernel_tp}(a0)",
        "ld t0, {kernel_pc}(a0)",
        "jr t0",
        // From the kernel. Every stack fills the upper half of an aligned slot, so that one bit of the stack pointer
        // tells a good one from one in the guard below.
        "5: csrrw a0, sscratch, a0",
        "addi sp, sp, -{frame}",
        "csrw sscratch, t0",
        "srli t0, sp, {stack_shift}",
        "andi t0, t0, 1",
        "beqz t0, 7f",
        "csrrw t0, sscratch, zero",
        "sd ra, 8(sp)",
        "sd gp, 24(sp)",
        "sd tp, 32(sp)",
        "sd t0, 40(sp)",
        "sd t1, 48(sp)",
        "sd t2, 56(sp)",
        "sd s0, 64(sp)",
        "sd s1, 72(sp)",
        "sd a0, 80(sp)",
        "sd a1, 88(sp)",
        "sd a2, 96(sp)",
        "sd a3, 104(sp)",
        "sd a4, 112(sp)",
        "sd a5, 120(sp)",
        "sd a6, 128(sp)",
        "sd a7, 136(sp)",
        "sd s2, 144(sp)",
        "sd s3, 152(sp)",
        "sd s4, 160(sp)",
        "sd s5, 168(sp)",
        "sd s6, 176(sp)",
        "sd s7, 184(sp)",
        "sd s8, 192(sp)",
        "sd s9, 200(sp)",
        "sd s10, 208(sp)",
        "sd s11, 216(sp)",
        "sd t3, 224(sp)",
        "sd t4, 232(sp)",
        "sd t5, 240(sp)",
        "sd t6, 248(sp)",
        "addi t0, sp, {frame}",
        "sd t0, 16(sp)",
        "csrr t0, sepc",
        "sd t0, 0(sp)",
        "csrr t1, sstatus",
        "sd t1, 256(sp)",
        "mv a0, sp",
        "call {kernel_trap}",
        // `kernel_trap` preserves s0 to s11; tp stays that of the hart on which it returns.
        "ld t0, 0(sp)",
        "csrw sepc, t0",
        "ld t1, 256(sp)",
        "csrw sstatus, t1",
        "ld ra, 8(sp)",
        "ld gp, 24(sp)",
        "ld t0, 40(sp)",
        "ld t1, 48(sp)",
        "ld t2, 56(sp)",
        "ld a0, 80(sp)",
        "ld a1, 88(sp)",
        "ld a2, 96(sp)",
        "ld a3, 104(sp)",
        "ld a4, 112(sp)",
        "ld a5, 120(sp)",
        "ld a6, 128(sp)",
        "ld a7, 136(sp)",
        "ld t3, 224(sp)",
        "ld t4, 232(sp)",
        "ld t5, 240(sp)",
        "ld t6, 248(sp)",
        "addi sp, sp, {frame}",
        "sret",
        "7: csrrw t0, sscratch, zero",
        "sd sp, {emergency_scratch}(tp)",
        "ld sp, {emergency_stack}(tp)",
        "call {stack_overflow}",
        "unimp",
        status = const offset_of!(UserContext, status),
        kernel_sp = const offset_of!(UserContext, kernel_sp),
        kernel_tp = const offset_of!(UserContext, kernel_tp),
        kernel_pc = const offset_of!(UserContext, kernel_pc),
        frame = const FRAME_SIZE,
        stack_shift = const STACK_SHIFT,
        emergency_scratch = const EMERGENCY_SCRATCH,
        emergency_stack = const EMERGENCY_STACK,
        kernel_trap = sym kernel_trap,
        stack_overflow = sym stack_overflow,
    )
}

unsafe extern "Rust" {
    /// The kernel's interrupt handler: interrupts are masked, no guard is held. It may change stacks before it returns.
    safe fn asyncos_kernel_interrupt(interrupt: Interrupt);
    /// Reports a fault of the kernel itself.
    safe fn asyncos_kernel_fault(frame: &KernelFrame, trap: Trap, value: usize) -> !;
    /// Reports a stack pointer in a guard page.
    safe fn asyncos_stack_overflow(stack_pointer: usize, pc: usize) -> !;
}

extern "C" fn kernel_trap(frame: &mut KernelFrame) {
    let trap = Trap::decode(csr::read::<{ csr::SCAUSE }>());
    let Trap::Interrupt(interrupt) = trap else {
        asyncos_kernel_fault(frame, trap, csr::read::<{ csr::STVAL }>());
    };
    if hart::preempt_count() == 0 {
        asyncos_kernel_interrupt(interrupt);
        return;
    }
    frame.status &= !csr::SSTATUS_SPIE;
    let held: u32 = 1;
    // SAFETY: `tp` points to this hart's block, and interrupts are masked.
    unsafe { asm!("sw {}, {}(tp)", in(reg) held, const INTERRUPT_HELD, options(nostack)) };
}

extern "C" fn stack_overflow() -> ! {
    let stack_pointer: usize;
    // SAFETY: `tp` points to this hart's block, where the vector put the damaged stack pointer.
    unsafe { asm!("ld {}, {}(tp)", out(reg) stack_pointer, const EMERGENCY_SCRATCH, options(nostack)) };
    asyncos_stack_overflow(stack_pointer, csr::read::<{ csr::SEPC }>())
}
