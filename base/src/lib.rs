//! Building blocks without policy: addresses, shared bytes, locks, waiting, tasks.
//!
//! Everything above (`logic/`, `drivers/`, `arch/`, `kernel/`) stands on this crate, on the kernel's target and on
//! the host alike. What only the hardware can answer (is preemption off, what time is it, where is physical memory
//! mapped) is asked through [`hal`].
#![no_std]
#![expect(unsafe_code, reason = "shared memory, locks and task cells are built here")]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod address;
pub mod bytes;
pub mod future;
pub mod hal;
pub mod operation;
pub mod sync;
pub mod task;
pub mod timer;
pub mod trace;

pub use abi::Error;

/// What every fallible operation of the system returns.
pub type Result<T> = core::result::Result<T, Error>;
