//! What makes a process Linux's, as pure logic: executables, signals, identities, limits, waiting.
//!
//! Nothing here waits, locks or touches memory that is not its own; the kernel core decides when to ask and what to do
//! with the answer, so that every rule can be tested where it stands.
#![no_std]

extern crate alloc;

pub mod capabilities;
pub mod credentials;
pub mod elf;
pub mod identifiers;
pub mod limits;
pub mod script;
pub mod signal;
pub mod stack;
pub mod system_calls;
pub mod wait;

/// The little-endian word at `offset` of a structure; its length is the caller's, so that it is always inside.
#[inline]
fn word_at(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}
