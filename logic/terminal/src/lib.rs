//! Terminals: the line discipline of Linux's `n_tty` as pure logic, and the object that programs read and write.
//!
//! Bytes that were typed come in through [`Terminal::receive`], are edited, echoed and turned into lines or signals by
//! the [`LineDiscipline`], and are read with [`Terminal::read`]. What programs write is processed into a staging buffer
//! and goes out through an [`Output`] that the kernel core gives.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod device;
pub mod discipline;
pub mod input;
pub mod job_control;
pub mod output;
pub mod request;
pub mod termios;

pub use device::{ReadRequirement, ReadStep, Readiness, Terminal, WindowSize};
pub use discipline::{Effects, LineDiscipline, Signals};
pub use job_control::{Access, Caller};
pub use output::Output;
pub use request::{FollowUp, Reply, Request};
pub use termios::Termios;

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod typing_tests;
