//! Names of the kernel's functions, from the table that the build puts behind the image.
//!
//! `cargo xtask build` appends it to the flat image: see `tools/xtask/src/symbols.rs` for the format. Without it
//! (the bare ELF was booted) addresses are reported as they are.

use core::fmt;

/// An address of the kernel's code, displayed as `function+offset`.
pub struct Name(pub usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
