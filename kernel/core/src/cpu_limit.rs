//! The limit of CPU time (`RLIMIT_CPU`): an alarm of the process's clock that signals, every second from then on, and in
//! the end kills.

use crate::alarm::{Alarm, Expire};
use crate::clock::{Clock, Part};
use crate::process::Process;
use crate::signals;
use ::process::limits::{INFINITY, Limit, Resource};
use ::process::signal::{SigInfo, Signal};
use alloc::sync::{Arc, Weak};
use base::sync::SpinLock;

const SECOND_NS: u64 = 1_000_000_000;

/// What watches over a process; nothing while it has no limit.
pub struct CpuLimit {
    watch: SpinLock<Option<Arc<Watch>>>,
}

struct Watch {
    alarm: Arc<Alarm>,
    process: Weak<Process>,
}

impl CpuLimit {
    /// No limit.
    pub const fn new() -> Self {
        Self { watch: SpinLock::new(None) }
    }

    /// Nothing is watched any more.
    pub fn end(&self) {
        let watch = self.watch.lock().take();
        drop(watch);
    }
}

impl Default for CpuLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.alarm.disarm();
    }
}

fn limit(process: &Process) -> Limit {
    process.limits.lock().get(Resource::CpuTime)
}

/// Watches over a process as its limits say now. Without memory for that it is not watched.
pub fn watch(process: &Arc<Process>) {
    let seconds = limit(process).soft.min(limit(process).hard);
    if seconds == INFINITY {
        process.cpu_limit.end();
        return;
    }
    let watch = {
        let mut current = process.cpu_limit.watch.lock();
        let fresh = || Arc::new(Watch { alarm: Alarm::new(), process: Arc::downgrade(process) });
        current.get_or_insert_with(fresh).clone()
    };
    watch.arm(process, seconds);
}

impl Watch {
    fn arm(self: &Arc<Self>, process: &Arc<Process>, seconds: u64) {
        let this = Arc::downgrade(self);
        let target: Weak<dyn Expire> = this;
        // As on Linux, a limit of nothing is one of a second.
        let deadline_ns = seconds.max(1).saturating_mul(SECOND_NS);
        let clock = Clock::Process(process.clone(), Part::All);
        let _ = self.alarm.set(target, clock, Some(deadline_ns), 0);
    }
}

impl Expire for Watch {
    fn expired(&self) {
        if self.alarm.take_expirations() == 0 {
            return;
        }
        let Some(process) = self.process.upgrade() else { return };
        let usage = process.usage();
        let used = (usage.user_ns + usage.system_ns) / SECOND_NS;
        let limit = limit(&process);
        if used >= limit.hard {
            signals::send_to_process(&process, SigInfo::kernel(Signal::KILL));
            return;
        }
        if used >= limit.soft {
            signals::send_to_process(&process, SigInfo::kernel(Signal::XCPU));
            // Linux, too, moves the limit itself.
            process.limits.lock().raise_cpu_time(used + 1);
        }
        watch(&process);
    }
}
