//! The hart's own interrupt file at supervisor level, through its indirect registers.
//!
//! Advanced interrupt architecture, section 3.8: `eidelivery` 0x70, `eithreshold` 0x72, `eie0` 0xc0 (even numbers
//! only on a 64-bit hart, 64 interrupts each).

use crate::csr;

const EIDELIVERY: usize = 0x70;
const EITHRESHOLD: usize = 0x72;
const EIE0: usize = 0xc0;

fn write_indirect(register: usize, value: usize) {
    // SAFETY: called with interrupts masked or preemption off, so that select and access belong together; the registers
    // only say which external interrupts reach this hart.
    unsafe {
        csr::write::<{ csr::SISELECT }>(register);
        csr::write::<{ csr::SIREG }>(value);
    }
}

/// Delivers interrupts of this hart's supervisor file; enables none of them yet.
pub fn initialise() {
    write_indirect(EITHRESHOLD, 0);
    write_indirect(EIDELIVERY, 1);
}

/// Enables the interrupt with this identity (1 to 2047) at this hart's supervisor file.
pub fn enable(identity: u32) {
    let register = EIE0 + 2 * (identity as usize / 64);
    // SAFETY: as in `write_indirect`.
    unsafe {
        csr::write::<{ csr::SISELECT }>(register);
        csr::set::<{ csr::SIREG }>(1 << (identity % 64));
    }
}

/// Takes the most important pending interrupt: its identity, or `None`.
#[inline]
pub fn claim() -> Option<u32> {
    let value: usize;
    // SAFETY: reads and clears the top pending interrupt of this hart's own file.
    unsafe { core::arch::asm!("csrrw {}, {}, zero", out(reg) value, const csr::STOPEI, options(nostack)) };
    let identity = (value >> 16 & 0x7ff) as u32;
    (identity != 0).then_some(identity)
}
