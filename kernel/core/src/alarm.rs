//! Alarms: moments of a clock that somebody wants to be told of, once or again and again. `setitimer`, `timer_create` and
//! `timerfd_create` are made of them.
//!
//! While an alarm is armed a coroutine of its own waits for it. What it counts does not depend on when that runs: whoever
//! looks at an alarm brings it up to date with its clock first. The coroutine is of the highest priority, since on Linux
//! an interrupt does its work.

use crate::clock::Clock;
use crate::executor;
use alloc::sync::{Arc, Weak};
use base::Result;
use base::sync::{SpinLock, WaitQueue};
use base::task::Priority;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

/// Who is told.
pub trait Expire: Send + Sync {
    /// The alarm may have expired, or its clock was set.
    fn expired(&self);
}

/// What an alarm is set to.
#[derive(Clone)]
struct Setting {
    clock: Clock,
    /// When it expires next, as its clock shows it; `None`: not armed.
    deadline_ns: Option<u64>,
    /// How long it is to the time after, in nanoseconds; 0: it expires once.
    interval_ns: u64,
    /// How often it has expired and nobody has asked.
    expirations: u64,
    /// Changes with each setting.
    generation: u32,
    /// There is a coroutine that waits.
    awaited: bool,
}

/// An alarm; not armed at first.
pub struct Alarm {
    setting: SpinLock<Setting>,
    changed: WaitQueue,
}

/// What is left to the next expiry, and the interval after it, in nanoseconds; 0 and 0 when it is not armed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// To the next expiry.
    pub value_ns: u64,
    /// From then on.
    pub interval_ns: u64,
}

impl Setting {
    /// Counts what has expired; says how often.
    fn advance(&mut self) -> u64 {
        let now = self.clock.now_ns().max(0) as u64;
        let Some(deadline) = self.deadline_ns.filter(|deadline| *deadline <= now) else { return 0 };
        let count = match self.interval_ns {
            0 => 1,
            interval => (now - deadline) / interval + 1,
        };
        self.deadline_ns = match self.interval_ns {
            0 => None,
            interval => Some(deadline.saturating_add(count.saturating_mul(interval))),
        };
        self.expirations = self.expirations.saturating_add(count);
        count
    }

    fn remaining(&self) -> Remaining {
        match self.deadline_ns {
            // An alarm that is about to expire does not look as if it were not armed.
            Some(deadline) => Remaining {
                value_ns: deadline.saturating_sub(self.clock.now_ns().max(0) as u64).max(1),
                interval_ns: self.interval_ns,
            },
            None => Remaining::default(),
        }
    }
}

impl Alarm {
    /// One that is not armed.
    pub fn new() -> Arc<Self> {
        let setting = Setting {
            clock: Clock::Monotonic,
            deadline_ns: None,
            interval_ns: 0,
            expirations: 0,
            generation: 0,
            awaited: false,
        };
        Arc::new(Self { setting: SpinLock::new(setting), changed: WaitQueue::new() })
    }

    /// Sets it to expire when `clock` shows `deadline_ns` (`None`: never), and every `interval_ns` from then on unless that
    /// is 0; forgets what had expired. Returns what was left of it.
    ///
    /// # Errors
    /// `OutOfMemory`; it is not armed then.
    pub fn set(
        self: &Arc<Self>,
        target: Weak<dyn Expire>,
        clock: Clock,
        deadline_ns: Option<u64>,
        interval_ns: u64,
    ) -> Result<Remaining> {
        let (before, former_clock, begins) = {
            let mut setting = self.setting.lock();
            setting.advance();
            let before = setting.remaining();
            let former_clock = core::mem::replace(&mut setting.clock, clock);
            (setting.deadline_ns, setting.interval_ns, setting.expirations) = (deadline_ns, interval_ns, 0);
            setting.generation = setting.generation.wrapping_add(1);
            let begins =
                deadline_ns.is_some() && !core::mem::replace(&mut setting.awaited, deadline_ns.is_some());
            (before, former_clock, begins)
        };
        drop(former_clock);
        self.changed.wake_all();
        if begins && let Err(error) = executor::spawn(Priority::HIGHEST, run(self.clone(), target)) {
            let mut setting = self.setting.lock();
            (setting.deadline_ns, setting.awaited) = (None, false);
            return Err(error);
        }
        Ok(before)
    }

    /// Makes it expire no more.
    pub fn disarm(&self) {
        let former_clock = {
            let mut setting = self.setting.lock();
            setting.deadline_ns = None;
            setting.generation = setting.generation.wrapping_add(1);
            core::mem::replace(&mut setting.clock, Clock::Monotonic)
        };
        drop(former_clock);
        self.changed.wake_all();
    }

    /// What is left of it.
    pub fn remaining(&self) -> Remaining {
        let mut setting = self.setting.lock();
        setting.advance();
        setting.remaining()
    }

    /// Whether it has expired since that was taken.
    pub fn has_expired(&self) -> bool {
        let mut setting = self.setting.lock();
        setting.advance();
        setting.expirations > 0
    }

    /// How often it has expired since that was taken; takes it.
    pub fn take_expirations(&self) -> u64 {
        let mut setting = self.setting.lock();
        setting.advance();
        core::mem::take(&mut setting.expirations)
    }
}

/// Waits for an alarm as long as it is armed and somebody wants to be told.
async fn run(alarm: Arc<Alarm>, target: Weak<dyn Expire>) {
    loop {
        let (clock, deadline_ns, generation) = {
            let mut setting = alarm.setting.lock();
            let Some(deadline_ns) = setting.deadline_ns else {
                setting.awaited = false;
                return;
            };
            (setting.clock.clone(), deadline_ns, setting.generation)
        };
        {
            let mut sleep = pin!(clock.sleep_until(deadline_ns));
            let other = || (alarm.setting.lock().generation != generation).then_some(());
            let mut changed = pin!(alarm.changed.wait_until(other));
            poll_fn(|context| match changed.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => sleep.as_mut().poll(context),
            })
            .await;
        }
        drop(clock);
        match target.upgrade() {
            Some(target) => target.expired(),
            // Whoever sets it now has another target, and nobody waits for it: only its owner could.
            None => return,
        }
    }
}
