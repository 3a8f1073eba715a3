//! What the user programs share: safe system calls, the test report, and the kernel's own numbers.

pub mod pointer_table;
pub mod random;
pub mod report;
pub mod system;

pub use report::Report;
pub use system::{Argument, Errno, call};
