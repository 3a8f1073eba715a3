//! The kernel: wires logic, drivers and architecture together.
#![no_std]
#![cfg(target_os = "none")]
#![expect(unsafe_code, reason = "boot, per-hart data and stacks; see each module")]

extern crate alloc;

pub mod alarm;
pub mod boot;
pub mod calls;
pub mod clock;
pub mod command_line;
pub mod console;
pub mod console_terminal;
pub mod cpu_limit;
pub mod cpu_time;
pub mod devices;
pub mod dma;
pub mod entropy;
pub mod event_poll;
pub mod exec;
pub mod executor;
pub mod file_systems;
pub mod fork;
pub mod futex;
pub mod futex_inheritance;
pub mod hart;
pub mod init;
pub mod interrupts;
pub mod interval_timer;
pub mod kernel_messages;
pub mod load_average;
pub mod log;
pub mod mapped_files;
pub mod memory_map;
pub mod out_of_memory;
pub mod panic;
pub mod posix_timer;
pub mod power;
pub mod process;
pub mod process_file;
pub mod procfs;
pub mod pseudo_terminal;
pub mod readiness_signal;
pub mod selftest;
pub mod signal_file;
pub mod signals;
pub mod stacks;
pub mod sysfs;
pub mod terminal_device;
pub mod thread;
pub mod time;
pub mod timer_file;
pub mod trace;
mod translation;
pub mod users;
pub mod vdso;
pub mod virtio_devices;
pub mod wait;
