//! CPU time of threads: exact altogether, sampled for how much of it the kernel took.
//!
//! The clock is read when a thread's coroutine begins to be polled and when it stops, not at each trap. What lies between is
//! the thread's, but for the time in which the coroutine lay preempted on its stack. How much of that was spent in the
//! kernel is estimated: of the traps of a thread, one in about thirty is timed, with a random number of others
//! before it, and counts for all of them. So a trap costs a countdown, nothing ticks, and a thread that blocks at once
//! and one that computes for an hour are both charged what they used.

use crate::hart;
use base::hal::now_ns;
use base::sync::atomic::{AtomicU64, Ordering, fence};

/// The most nanoseconds of estimated kernel time that wait to be charged: an outlier must not colour a whole hour.
const ESTIMATE_MAX_NS: u64 = 1_000_000_000;
/// One more than the greatest number of traps between two that are timed.
const TRAPS_MAX: u32 = 64;
/// In `polled_since_ns`: the poll is over, and what it took is being charged.
const BEING_CHARGED: u64 = u64::MAX;
/// A number of traps takes so many bits.
const WEIGHT_BITS: u32 = 7;
const _: () = assert!(TRAPS_MAX < 1 << WEIGHT_BITS);

/// What a thread has used. Written by the thread alone.
#[derive(Debug, Default)]
pub struct CpuTime {
    user_ns: AtomicU64,
    system_ns: AtomicU64,
    /// Since when the thread's coroutine is being polled; 0 when it is not, [`BEING_CHARGED`] for a few instructions.
    polled_since_ns: AtomicU64,
    /// Estimated kernel time that was not charged yet.
    estimate_ns: AtomicU64,
    /// When the trap that is timed began; when none is, when the last one was over.
    sample_ns: AtomicU64,
    /// For how many traps the one that is timed counts ([`WEIGHT_BITS`]), and above that how many nanoseconds it had been
    /// since the last one; 0 when none is.
    sample: AtomicU64,
}

impl CpuTime {
    /// Nothing used.
    pub const fn new() -> Self {
        Self {
            user_ns: AtomicU64::new(0),
            system_ns: AtomicU64::new(0),
            polled_since_ns: AtomicU64::new(0),
            estimate_ns: AtomicU64::new(0),
            sample_ns: AtomicU64::new(0),
            sample: AtomicU64::new(0),
        }
    }

    /// Nanoseconds in user mode and in the kernel until now.
    pub fn until_now(&self) -> (u64, u64) {
        let (user_ns, system_ns, since_ns) = loop {
            let since_ns = self.polled_since_ns.load(Ordering::Acquire);
            let user_ns = self.user_ns.load(Ordering::Relaxed);
            let system_ns = self.system_ns.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            // Neither twice nor not at all: what is being charged meanwhile is looked at again.
            if since_ns != BEING_CHARGED && self.polled_since_ns.load(Ordering::Relaxed) == since_ns {
                break (user_ns, system_ns, since_ns);
            }
            core::hint::spin_loop();
        };
        if since_ns == 0 {
            return (user_ns, system_ns);
        }
        let used_ns = now_ns().saturating_sub(since_ns);
        let in_kernel_ns = self.estimate_ns.load(Ordering::Relaxed).min(used_ns);
        (user_ns + used_ns - in_kernel_ns, system_ns + in_kernel_ns)
    }

    /// The thread's coroutine begins to be polled.
    #[inline]
    pub fn begin(&self) {
        self.polled_since_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// The poll is over: charges it.
    #[inline]
    pub fn end(&self) {
        let end_ns = now_ns();
        self.end_trap(end_ns);
        hart::with(|hart| {
            let since_ns = self.polled_since_ns.load(Ordering::Relaxed);
            let used_ns = (end_ns - since_ns).saturating_sub(hart.local.set_aside_ns.get());
            let estimate_ns = self.estimate_ns.load(Ordering::Relaxed);
            let in_kernel_ns = estimate_ns.min(used_ns);
            // Nothing preempts this: those who ask meanwhile wait for a few instructions.
            self.polled_since_ns.store(BEING_CHARGED, Ordering::Relaxed);
            fence(Ordering::Release);
            self.estimate_ns.store(estimate_ns - in_kernel_ns, Ordering::Relaxed);
            add(&self.user_ns, used_ns - in_kernel_ns);
            add(&self.system_ns, in_kernel_ns);
            self.polled_since_ns.store(0, Ordering::Release);
        });
    }

    /// Begins to time a trap that counts for `weight` traps.
    #[cold]
    fn begin_trap(&self, weight: u32) {
        let begin_ns = now_ns();
        let before_ns = begin_ns - self.sample_ns.load(Ordering::Relaxed);
        self.sample.store(before_ns << WEIGHT_BITS | u64::from(weight), Ordering::Relaxed);
        self.sample_ns.store(begin_ns, Ordering::Relaxed);
    }

    #[inline]
    fn end_trap(&self, end_ns: u64) {
        let sample = self.sample.load(Ordering::Relaxed);
        if sample != 0 {
            self.charge_sample(sample, end_ns);
        }
    }

    #[cold]
    fn charge_sample(&self, sample: u64, end_ns: u64) {
        self.sample.store(0, Ordering::Relaxed);
        let took_ns = end_ns - self.sample_ns.load(Ordering::Relaxed);
        self.sample_ns.store(end_ns, Ordering::Relaxed);
        // All the traps for which it counts cannot have taken longer than it was since the last one that was timed: one
        // that took a thousand times as long as others (an interrupted hart, a busy host) must not count for sixty like it.
        let (weight, before_ns) = (sample & ((1 << WEIGHT_BITS) - 1), sample >> WEIGHT_BITS);
        let took_ns = (took_ns * weight).min(before_ns + took_ns);
        let estimate_ns = self.estimate_ns.load(Ordering::Relaxed) + took_ns;
        self.estimate_ns.store(estimate_ns.min(ESTIMATE_MAX_NS), Ordering::Relaxed);
    }
}

/// Only the thread writes: a load and a store do.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

/// Counts a thread's traps down to the next one that is timed.
#[derive(Debug)]
pub struct TrapSampler {
    left: u32,
    /// How many there were to count down; what `left` is again while a trap is timed.
    gap: u32,
    random: u32,
}

impl TrapSampler {
    /// Times the first trap.
    pub const fn new(seed: u32) -> Self {
        Self { left: 1, gap: 1, random: seed | 1 }
    }

    /// A trap begins.
    #[inline]
    pub fn begin(&mut self, time: &CpuTime) {
        self.left -= 1;
        if self.left == 0 {
            self.time_this(time);
        }
    }

    #[cold]
    fn time_this(&mut self, time: &CpuTime) {
        time.begin_trap(self.gap);
        // Marsaglia's xorshift: it need only not keep step with a program's loop.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.gap = 1 + self.random % TRAPS_MAX;
        self.left = self.gap;
    }

    /// A trap has been dealt with. (If the thread waited meanwhile, the end of the poll was the end of what counts.)
    #[inline]
    pub fn end(&self, time: &CpuTime) {
        if self.left == self.gap {
            Self::timed_one_ends(time);
        }
    }

    #[cold]
    fn timed_one_ends(time: &CpuTime) {
        time.end_trap(now_ns());
    }
}
