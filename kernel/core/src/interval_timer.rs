//! The three timers that every process has (`setitimer`, and so `alarm`): each signals it when it expires.

use crate::alarm::{Alarm, Expire, Remaining};
use crate::clock::{Clock, Part};
use crate::process::Process;
use crate::signals;
use ::process::signal::{SigInfo, Signal};
use alloc::sync::{Arc, Weak};
use base::Result;
use base::sync::SpinLock;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counts real time, and sends `SIGALRM`.
    Real,
    /// Counts CPU time in user mode, and sends `SIGVTALRM`.
    Virtual,
    /// Counts CPU time, and sends `SIGPROF`.
    Profiling,
}

impl Kind {
    fn signal(self) -> Signal {
        match self {
            Kind::Real => Signal::ALRM,
            Kind::Virtual => Signal::VTALRM,
            Kind::Profiling => Signal::PROF,
        }
    }

    fn clock(self, process: &Arc<Process>) -> Clock {
        match self {
            Kind::Real => Clock::Monotonic,
            Kind::Virtual => Clock::Process(process.clone(), Part::User),
            Kind::Profiling => Clock::Process(process.clone(), Part::All),
        }
    }
}

/// The timers of a process; each takes memory from its first use on.
pub struct IntervalTimers {
    timers: SpinLock<[Option<Arc<IntervalTimer>>; 3]>,
}

struct IntervalTimer {
    alarm: Arc<Alarm>,
    process: Weak<Process>,
    signal: Signal,
}

impl Expire for IntervalTimer {
    fn expired(&self) {
        // Expiries that nobody had time for are left out: the signal is one that does not queue.
        if self.alarm.take_expirations() > 0
            && let Some(process) = self.process.upgrade()
        {
            signals::send_to_process(&process, SigInfo::kernel(self.signal));
        }
    }
}

impl Drop for IntervalTimer {
    fn drop(&mut self) {
        self.alarm.disarm();
    }
}

impl IntervalTimers {
    /// None is armed.
    pub const fn new() -> Self {
        Self { timers: SpinLock::new([const { None }; 3]) }
    }

    fn get(&self, kind: Kind) -> Option<Arc<IntervalTimer>> {
        self.timers.lock()[kind as usize].clone()
    }

    /// What is left of one.
    pub fn remaining(&self, kind: Kind) -> Remaining {
        let Some(timer) = self.get(kind) else { return Remaining::default() };
        // What has expired is told before anybody can see that it has.
        timer.expired();
        timer.alarm.remaining()
    }

    /// Sets one to expire in `new.value_ns`, for `process`; 0 disarms it. Returns what was left of it.
    ///
    /// # Errors
    /// `OutOfMemory`; it is not armed then.
    pub fn set(&self, kind: Kind, process: &Arc<Process>, new: Remaining) -> Result<Remaining> {
        let timer = match self.get(kind) {
            Some(timer) => timer,
            None if new.value_ns == 0 => return Ok(Remaining::default()),
            None => {
                let (alarm, signal) = (Alarm::new(), kind.signal());
                let fresh = Arc::new(IntervalTimer { alarm, process: Arc::downgrade(process), signal });
                // Another thread may have been quicker.
                self.timers.lock()[kind as usize].get_or_insert(fresh).clone()
            }
        };
        timer.expired();
        let clock = kind.clock(process);
        let deadline_ns =
            (new.value_ns > 0).then(|| (clock.now_ns().max(0) as u64).saturating_add(new.value_ns));
        let clock = if deadline_ns.is_some() { clock } else { Clock::Monotonic };
        let weak = Arc::downgrade(&timer);
        let target: Weak<dyn Expire> = weak;
        timer.alarm.set(target, clock, deadline_ns, new.interval_ns)
    }

    /// Disarms all of them.
    pub fn disarm(&self) {
        let timers = core::mem::take(&mut *self.timers.lock());
        drop(timers);
    }
}

impl Default for IntervalTimers {
    fn default() -> Self {
        Self::new()
    }
}
