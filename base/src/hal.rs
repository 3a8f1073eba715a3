//! What only the hardware can answer, asked by everything above without knowing which hardware it is.
//!
//! On bare metal the architecture crate answers, through symbols that [`set_hardware!`](crate::set_hardware) defines
//! and the linker resolves (no pointer, no generic parameter; inlined by link-time optimisation). In a hosted build
//! [`hosted`] answers, so that every crate can be tested where it stands.

use crate::address::PhysicalAddress;
use core::marker::PhantomData;

/// The questions. Implemented once for each architecture and named to [`set_hardware!`](crate::set_hardware).
pub trait Hardware {
    /// Forbids that this hart gives up the running coroutine; nests.
    fn preempt_disable();
    /// Undoes one [`Hardware::preempt_disable`]; at the outermost, takes what was held back.
    fn preempt_enable();
    /// The index of this hart, dense from 0. Stable only while preemption is off.
    fn hart_index() -> usize;
    /// Nanoseconds since an arbitrary fixed point; never goes back.
    fn now_ns() -> u64;
    /// Where the kernel reaches this physical address.
    fn direct_map(address: PhysicalAddress) -> *mut u8;
}

/// Names the type that answers for the hardware.
#[macro_export]
macro_rules! set_hardware {
    ($type:ty) => {
        mod __hardware_symbols {
            use super::*;
            use $crate::hal::Hardware as _;
            #[unsafe(no_mangle)]
            #[inline(always)]
            fn __asyncos_preempt_disable() {
                <$type>::preempt_disable()
            }
            #[unsafe(no_mangle)]
            #[inline(always)]
            fn __asyncos_preempt_enable() {
                <$type>::preempt_enable()
            }
            #[unsafe(no_mangle)]
            fn __asyncos_hart_index() -> usize {
                <$type>::hart_index()
            }
            #[unsafe(no_mangle)]
            fn __asyncos_now_ns() -> u64 {
                <$type>::now_ns()
            }
            #[unsafe(no_mangle)]
            fn __asyncos_direct_map(address: $crate::address::PhysicalAddress) -> *mut u8 {
                <$type>::direct_map(address)
            }
        }
    };
}

#[cfg(target_os = "none")]
mod answers {
    use super::PhysicalAddress;
    unsafe extern "Rust" {
        pub safe fn __asyncos_preempt_disable();
        pub safe fn __asyncos_preempt_enable();
        pub safe fn __asyncos_hart_index() -> usize;
        pub safe fn __asyncos_now_ns() -> u64;
        pub safe fn __asyncos_direct_map(address: PhysicalAddress) -> *mut u8;
    }
}

#[cfg(not(target_os = "none"))]
pub mod hosted;
#[cfg(not(target_os = "none"))]
use hosted as answers;

/// While it lives, this hart runs nothing else: no preemption, and interrupts are held back.
///
/// It is not `Send`, so that a coroutine that holds one across an `.await` cannot be spawned.
#[must_use = "preemption is off only while the guard lives"]
pub struct PreemptGuard(PhantomData<*mut ()>);

impl PreemptGuard {
    /// Forbids preemption until the guard is dropped.
    #[inline(always)]
    pub fn new() -> Self {
        answers::__asyncos_preempt_disable();
        Self(PhantomData)
    }

    /// The index of this hart, dense from 0.
    #[inline(always)]
    pub fn hart_index(&self) -> usize {
        answers::__asyncos_hart_index()
    }
}

impl Default for PreemptGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        answers::__asyncos_preempt_enable();
    }
}

/// Nanoseconds since an arbitrary fixed point (boot, on bare metal); never goes back.
#[inline(always)]
pub fn now_ns() -> u64 {
    answers::__asyncos_now_ns()
}

/// Where the kernel reaches `address`. The pointer is good for as many bytes as there is memory behind it;
/// whether anybody may use them is the caller's to know.
#[inline(always)]
pub fn direct_map(address: PhysicalAddress) -> *mut u8 {
    answers::__asyncos_direct_map(address)
}
