//! The kernel: wires logic, drivers and architecture together.
#![no_std]
#![cfg(target_os = "none")]
#![expect(unsafe_code, reason = "boot, per-hart data and stacks; see each module")]

extern crate alloc;

pub mod boot;
pub mod command_line;
pub mod console;
pub mod executor;
pub mod hart;
pub mod init;
pub mod interrupts;
pub mod log;
pub mod memory_map;
pub mod panic;
pub mod power;
pub mod stacks;
pub mod symbols;
pub mod time;
pub mod translation;
