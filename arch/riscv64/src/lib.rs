//! The supervisor half of 64-bit RISC-V: the only assembly and the only control registers of the kernel.
//!
//! Reading order: [`boot`] (from the firmware's jump to the kernel's first line), [`hart`] (what `tp` points to, and
//! how preemption is held back), [`trap`] (into user mode and back, interrupts of the kernel itself), [`stack`]
//! (changing stacks), [`paging`], [`float`], [`timer`], [`imsic`].
#![no_std]
#![cfg(target_arch = "riscv64")]
#![expect(unsafe_code, reason = "control registers and assembly live here")]

pub mod boot;
pub mod cause;
pub mod csr;
pub mod firmware;
pub mod float;
pub mod hart;
pub mod imsic;
pub mod memory;
pub mod paging;
pub mod stack;
pub mod timer;
pub mod trap;
