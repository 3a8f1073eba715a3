//! User floating-point registers. The kernel itself is compiled without them and never touches them.

use core::arch::asm;

/// The floating-point registers of a thread, as `struct __riscv_d_ext_state` lays them out.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct FloatState {
    /// f0 to f31.
    pub registers: [u64; 32],
    /// The rounding mode and the accrued exceptions.
    pub fcsr: u32,
}

impl FloatState {
    /// All zero: what a program starts with.
    pub const INITIAL: FloatState = FloatState { registers: [0; 32], fcsr: 0 };
}

macro_rules! each_register {
    ($instruction:literal) => {
        concat!(
            $instruction,
            " f0, 0({0})\n",
            $instruction,
            " f1, 8({0})\n",
            $instruction,
            " f2, 16({0})\n",
            $instruction,
            " f3, 24({0})\n",
            $instruction,
            " f4, 32({0})\n",
            $instruction,
            " f5, 40({0})\n",
            $instruction,
            " f6, 48({0})\n",
            $instruction,
            " f7, 56({0})\n",
            $instruction,
            " f8, 64({0})\n",
            $instruction,
            " f9, 72({0})\n",
            $instruction,
            " f10, 80({0})\n",
            $instruction,
            " f11, 88({0})\n",
            $instruction,
            " f12, 96({0})\n",
            $instruction,
            " f13, 104({0})\n",
            $instruction,
            " f14, 112({0})\n",
            $instruction,
            " f15, 120({0})\n",
            $instruction,
            " f16, 128({0})\n",
            $instruction,
            " f17, 136({0})\n",
            $instruction,
            " f18, 144({0})\n",
            $instruction,
            " f19, 152({0})\n",
            $instruction,
            " f20, 160({0})\n",
            $instruction,
            " f21, 168({0})\n",
            $instruction,
            " f22, 176({0})\n",
            $instruction,
            " f23, 184({0})\n",
            $instruction,
            " f24, 192({0})\n",
            $instruction,
            " f25, 200({0})\n",
            $instruction,
            " f26, 208({0})\n",
            $instruction,
            " f27, 216({0})\n",
            $instruction,
            " f28, 224({0})\n",
            $instruction,
            " f29, 232({0})\n",
            $instruction,
            " f30, 240({0})\n",
            $instruction,
            " f31, 248({0})\n",
        )
    };
}

/// Copies the registers to memory. Interrupts are masked, or preemption is off.
pub fn save(state: &mut FloatState) {
    // SAFETY: FS is switched on for the stores and left clean; `state` has room for 32 doublewords.
    unsafe {
        asm!(".option push", ".option arch, +d", "csrs sstatus, {2}", each_register!("fsd"), "csrr {1}, fcsr",
             ".option pop", in(reg) state.registers.as_mut_ptr(), out(reg) state.fcsr,
             in(reg) crate::csr::SSTATUS_FS, options(nostack));
    }
}

/// Loads the registers from memory. Interrupts are masked, or preemption is off.
pub fn restore(state: &FloatState) {
    // SAFETY: FS is switched on for the loads; only user mode looks at the registers.
    unsafe {
        asm!(".option push", ".option arch, +d", "csrs sstatus, {2}", each_register!("fld"), "csrw fcsr, {1}",
             ".option pop", in(reg) state.registers.as_ptr(), in(reg) state.fcsr,
             in(reg) crate::csr::SSTATUS_FS, options(nostack));
    }
}
