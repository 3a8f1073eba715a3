//! The clocks that programs name, and waiting for what they show.

use crate::process::Process;
use crate::thread::Thread;
use crate::{hart, time};
use alloc::sync::Arc;
use base::hal::now_ns;

/// How often a clock of CPU time is looked at at most, in nanoseconds: nothing ticks that could count it.
const CPU_LOOK_NS: u64 = 1_000_000;
/// How often it is looked at while it stands still.
const CPU_IDLE_LOOK_NS: u64 = 10_000_000;

/// A clock that a program names.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The time of day.
    Realtime,
    /// Since boot; nothing suspends the machine, so that this is one clock under several names.
    Monotonic,
    /// CPU time of a process, in user mode only or altogether.
    Process(Arc<Process>, Part),
    /// CPU time of a thread.
    Thread(Arc<Thread>, Part),
}

/// Which CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In user mode.
    User,
    /// Altogether.
    All,
}

impl Clock {
    /// What it shows, in nanoseconds.
    pub fn now_ns(&self) -> i64 {
        let sum = |user: u64, system: u64, part| if part == Part::User { user } else { user + system };
        match self {
            Clock::Realtime => time::realtime_ns(),
            Clock::Monotonic => now_ns() as i64,
            Clock::Process(process, part) => {
                let usage = process.usage();
                sum(usage.user_ns, usage.system_ns, *part) as i64
            }
            Clock::Thread(thread, part) => {
                let (user, system) = thread.times();
                sum(user, system, *part) as i64
            }
        }
    }

    /// Waits until it shows `deadline_ns`, or has been set.
    pub async fn sleep_until(&self, deadline_ns: u64) {
        match self {
            Clock::Realtime => time::sleep_until_realtime_or_set(deadline_ns as i64).await,
            Clock::Monotonic => time::sleep_until(deadline_ns).await,
            Clock::Process(..) | Clock::Thread(..) => self.sleep_until_used(deadline_ns).await,
        }
    }

    /// Looks again when the time can have been used at the earliest.
    async fn sleep_until_used(&self, deadline_ns: u64) {
        let mut seen_ns = None;
        loop {
            let used_ns = self.now_ns() as u64;
            let left_ns = deadline_ns.saturating_sub(used_ns);
            if left_ns == 0 {
                return;
            }
            if self.stands_still_for_ever() {
                return core::future::pending().await;
            }
            let pause_ns = if seen_ns.replace(used_ns) == Some(used_ns) {
                CPU_IDLE_LOOK_NS
            } else {
                let harts = if matches!(self, Clock::Thread(..)) { 1 } else { hart::online().len() };
                left_ns.div_ceil(harts as u64).max(CPU_LOOK_NS)
            };
            time::sleep_until(now_ns().saturating_add(pause_ns)).await;
        }
    }

    fn stands_still_for_ever(&self) -> bool {
        match self {
            Clock::Process(process, _) => process.state.lock().threads.is_empty(),
            Clock::Thread(thread, _) => thread.must_exit(),
            _ => false,
        }
    }
}
