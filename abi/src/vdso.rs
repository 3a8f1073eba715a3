//! The object that the kernel maps into every process: where its parts are, and the page that the kernel writes.

use core::sync::atomic::{AtomicI64, AtomicU64};

/// Bytes of the object: a page of headers and code, and one of data.
pub const SIZE: usize = 2 * PAGE;
/// Where the data begins.
pub const DATA_OFFSET: usize = PAGE;
/// Where the code is that a signal handler returns to (`__vdso_rt_sigreturn`); `vdso.ld` puts it there.
pub const SIGNAL_RETURN_OFFSET: usize = 0x800;

const PAGE: usize = 4096;

/// What the code needs to tell the time. Whoever reads it may rely on each word, not on several being of one moment: only
/// `realtime_offset_ns` ever changes.
#[repr(C, align(4096))]
pub struct Data {
    /// What the counter showed when the system booted.
    pub boot_ticks: AtomicU64,
    /// Nanoseconds in a tick; 0 when that is no whole number, or not known yet: then the kernel is to be asked.
    pub ns_per_tick: AtomicU64,
    /// What is added to the time since boot to get the time since 1970, in nanoseconds.
    pub realtime_offset_ns: AtomicI64,
}

impl Data {
    /// Nothing is known.
    pub const fn new() -> Self {
        Self {
            boot_ticks: AtomicU64::new(0),
            ns_per_tick: AtomicU64::new(0),
            realtime_offset_ns: AtomicI64::new(0),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(core::mem::offset_of!(Data, ns_per_tick) == 8);
const _: () = assert!(core::mem::offset_of!(Data, realtime_offset_ns) == 16);
