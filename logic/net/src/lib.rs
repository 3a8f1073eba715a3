//! Sockets: what programs reach each other by.
//!
//! [`unix`] connects processes of one machine. Nothing waits in here: who finds no data, no room or no connection is told
//! [`base::Error::WouldBlock`] and waits on the queue of his side, where a signal can end the wait.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod unix;
