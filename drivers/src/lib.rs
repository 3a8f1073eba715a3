//! Devices: what the machine has, and how each part is driven.
//!
//! [`machine`] reads the device tree into a plain value, [`mmio`] turns an address in it into registers, and each
//! driver owns the registers of one device. No driver blocks: what has to wait is a future that an interrupt wakes.
//! Nothing here touches a CSR; what the hart itself does for interrupts (`stopei`, `sie`) is the architecture's.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod aplic;
pub mod entropy;
pub mod finisher;
pub mod imsic;
pub mod interrupt;
pub mod machine;
pub mod mmio;
pub mod plic;
pub mod rtc;
pub mod uart16550;
pub mod virtio;
