//! The atomics of this system: the language's own, or loom's, which try every interleaving.
//!
//! Every lock-free algorithm takes its atomics from here and nothing else, so that what is model-checked is what runs.
//! Loom's atomics cannot be made in a `const fn`, hence `const` constructors only without `--cfg loom`.

#[cfg(not(loom))]
pub use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Tells the processor, or the model checker, that this loop waits for another hart.
#[inline(always)]
pub fn spin_hint() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
