//! Control and status registers by number, and the bits that the kernel uses.
//!
//! Numbers and bits: RISC-V privileged specification, chapters 12 (supervisor) and 15 (hypervisor); the advanced
//! interrupt architecture, chapter 3.

#![expect(missing_docs, reason = "registers are named as in the specification")]

use core::arch::asm;

pub const SSTATUS: u16 = 0x100;
pub const SIE: u16 = 0x104;
pub const STVEC: u16 = 0x105;
pub const SCOUNTEREN: u16 = 0x106;
pub const SSCRATCH: u16 = 0x140;
pub const SEPC: u16 = 0x141;
pub const SCAUSE: u16 = 0x142;
pub const STVAL: u16 = 0x143;
pub const SIP: u16 = 0x144;
pub const STIMECMP: u16 = 0x14d;
pub const SISELECT: u16 = 0x150;
pub const SIREG: u16 = 0x151;
pub const STOPEI: u16 = 0x15c;
pub const SATP: u16 = 0x180;
pub const VSSTATUS: u16 = 0x200;
pub const VSATP: u16 = 0x280;
pub const HSTATUS: u16 = 0x600;
pub const HEDELEG: u16 = 0x602;
pub const HIDELEG: u16 = 0x603;
pub const HIE: u16 = 0x604;
pub const HCOUNTEREN: u16 = 0x606;
pub const HGEIE: u16 = 0x607;
pub const HENVCFG: u16 = 0x60a;
pub const HTIMEDELTA: u16 = 0x605;
pub const HGATP: u16 = 0x680;
pub const TIME: u16 = 0xc01;
pub const CYCLE: u16 = 0xc00;
pub const INSTRET: u16 = 0xc02;

/// `sstatus`: interrupts are enabled.
pub const SSTATUS_SIE: usize = 1 << 1;
/// `sstatus`: interrupts were enabled before the trap.
pub const SSTATUS_SPIE: usize = 1 << 5;
/// `sstatus`: the trap came from supervisor mode.
pub const SSTATUS_SPP: usize = 1 << 8;
/// `sstatus`: the state of the floating-point registers: off, initial, clean, dirty.
pub const SSTATUS_FS: usize = 3 << 13;
/// `sstatus.FS`: initial.
pub const SSTATUS_FS_INITIAL: usize = 1 << 13;
/// `sstatus.FS`: clean.
pub const SSTATUS_FS_CLEAN: usize = 2 << 13;
/// `sstatus`: the vector registers' state.
pub const SSTATUS_VS: usize = 3 << 9;
/// `sstatus.UXL`: user mode is 64 bits wide.
pub const SSTATUS_UXL_64: usize = 2 << 32;

/// `sie`/`sip`: supervisor software interrupt.
pub const INTERRUPT_SOFTWARE: usize = 1 << 1;
/// `sie`/`sip`: supervisor timer interrupt.
pub const INTERRUPT_TIMER: usize = 1 << 5;
/// `sie`/`sip`: supervisor external interrupt.
pub const INTERRUPT_EXTERNAL: usize = 1 << 9;

/// `hstatus`: the trap came from, and `sret` returns to, virtualised modes.
pub const HSTATUS_SPV: usize = 1 << 7;
/// `hstatus`: changes of `satp` trap in VS-mode.
pub const HSTATUS_VTVM: usize = 1 << 20;
/// `hstatus`: `wfi` traps in VS-mode.
pub const HSTATUS_VTW: usize = 1 << 21;
/// `hstatus.VSXL`: VS-mode is 64 bits wide.
pub const HSTATUS_VSXL_64: usize = 2 << 32;

/// Reads the register.
#[inline(always)]
pub fn read<const REGISTER: u16>() -> usize {
    let value: usize;
    // SAFETY: reading a control register has no effect on memory.
    unsafe { asm!("csrr {}, {}", out(reg) value, const REGISTER, options(nostack)) };
    value
}

/// Writes the register.
///
/// # Safety
/// The new value must keep all that the kernel relies on true: translation, delegation, interrupt state.
#[inline(always)]
pub unsafe fn write<const REGISTER: u16>(value: usize) {
    // SAFETY: the caller's contract.
    unsafe { asm!("csrw {}, {}", const REGISTER, in(reg) value, options(nostack)) };
}

/// Sets the bits of `mask` in the register.
///
/// # Safety
/// As for [`write`].
#[inline(always)]
pub unsafe fn set<const REGISTER: u16>(mask: usize) {
    // SAFETY: the caller's contract.
    unsafe { asm!("csrs {}, {}", const REGISTER, in(reg) mask, options(nostack)) };
}

/// Clears the bits of `mask` in the register.
///
/// # Safety
/// As for [`write`].
#[inline(always)]
pub unsafe fn clear<const REGISTER: u16>(mask: usize) {
    // SAFETY: the caller's contract.
    unsafe { asm!("csrc {}, {}", const REGISTER, in(reg) mask, options(nostack)) };
}
