//! How many coroutines wanted to run, averaged over one, five and fifteen minutes.
//!
//! Nothing in this kernel ticks, so nobody counts until somebody asks: the first look at the averages starts the coroutine
//! that counts every five seconds, and they begin at zero then.

use crate::{executor, hart, time};
use base::hal::now_ns;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicBool, Ordering};
use base::task::Priority;

/// How long it is from one count to the next, as on Linux.
const PERIOD_NS: u64 = 5_000_000_000;
/// Fraction bits of an average.
const SHIFT: u32 = 11;
/// What remains of an average after a period: e to the power of -5 s over one, five and fifteen minutes.
const DECAY: [u64; 3] = [1884, 2014, 2037];

static AVERAGES: SpinLock<[Average; 3]> = SpinLock::new([Average(0); 3]);
static STARTED: AtomicBool = AtomicBool::new(false);

/// An average with [`SHIFT`] fraction bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Average(u64);

impl Average {
    /// In hundredths.
    pub fn hundredths(self) -> u64 {
        (self.0 * 100) >> SHIFT
    }

    /// With 16 fraction bits, as `sysinfo` tells it.
    pub fn to_sysinfo(self) -> u64 {
        self.0 << (16 - SHIFT)
    }

    fn add(&mut self, count: u64, decay: u64) {
        let one = 1 << SHIFT;
        self.0 = (self.0 * decay + (count << SHIFT) * (one - decay)) >> SHIFT;
    }
}

/// How many coroutines run or are ready.
pub fn ready() -> usize {
    let counts = hart::online().iter().map(|hart| {
        let view = hart.view();
        view.ready_count + usize::from(view.running.is_some())
    });
    counts.sum()
}

/// The averages over one, five and fifteen minutes.
pub fn averages() -> [Average; 3] {
    if !STARTED.swap(true, Ordering::Relaxed) && executor::spawn(Priority::NORMAL, count()).is_err() {
        STARTED.store(false, Ordering::Relaxed);
    }
    *AVERAGES.lock()
}

async fn count() {
    let mut next_ns = now_ns();
    loop {
        next_ns += PERIOD_NS;
        time::sleep_until(next_ns).await;
        // Not the one that counts.
        let count = ready().saturating_sub(1) as u64;
        let mut averages = AVERAGES.lock();
        for (average, decay) in averages.iter_mut().zip(DECAY) {
            average.add(count, decay);
        }
    }
}
