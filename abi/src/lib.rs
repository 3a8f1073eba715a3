//! What kernel, user programs and tools share: data only, no behaviour.
#![no_std]

pub mod error;
pub mod file;
pub mod socket;
pub mod trace;
pub mod vdso;
pub use error::Error;
pub use linux_raw_sys as linux;
