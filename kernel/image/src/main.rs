//! The kernel image: everything is in the library; here it becomes a binary.
#![no_std]
#![no_main]

use kernel_core as _;
