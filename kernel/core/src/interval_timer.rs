//! A timer that signals its process when it expires, once or again and again: `setitimer`, and so `alarm`.
//!
//! While it is armed, a coroutine of its own waits for it; a timer that is not takes no more than its numbers.

use crate::process::Process;
use crate::{executor, signals, time};
use ::process::signal::{SigInfo, Signal};
use alloc::sync::{Arc, Weak};
use base::Result;
use base::hal::now_ns;
use base::sync::{SpinLock, WaitQueue};
use base::task::Priority;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

/// The timer.
pub struct IntervalTimer {
    shared: SpinLock<Option<Arc<Shared>>>,
}

/// What the timer and its coroutine both know.
struct Shared {
    setting: SpinLock<Setting>,
    changed: WaitQueue,
}

#[derive(Clone, Copy, Default)]
struct Setting {
    /// When it expires next, in nanoseconds since boot; `None`: not armed, and the coroutine ends.
    deadline_ns: Option<u64>,
    /// How long it is to the time after; 0: it expires once.
    interval_ns: u64,
    /// Changes with each setting.
    generation: u32,
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
    fn remaining(&self) -> Remaining {
        match self.deadline_ns {
            // A timer that is about to expire does not look as if it were not armed.
            Some(deadline) => Remaining {
                value_ns: deadline.saturating_sub(now_ns()).max(1),
                interval_ns: self.interval_ns,
            },
            None => Remaining::default(),
        }
    }
}

impl IntervalTimer {
    /// One that is not armed.
    pub const fn new() -> Self {
        Self { shared: SpinLock::new(None) }
    }

    /// What is left of it.
    pub fn remaining(&self) -> Remaining {
        let shared = self.shared.lock().clone();
        shared.map_or_else(Remaining::default, |shared| shared.setting.lock().remaining())
    }

    /// Sets it to expire in `new.value_ns`, for `process`; 0 disarms it. Returns what was left of it.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing was changed then.
    pub fn set(&self, process: &Arc<Process>, new: Remaining) -> Result<Remaining> {
        if new.value_ns == 0 {
            return Ok(self.disarm());
        }
        let mut current = self.shared.lock();
        let deadline_ns = Some(now_ns().saturating_add(new.value_ns));
        if let Some(shared) = current.as_ref() {
            let mut setting = shared.setting.lock();
            // A coroutine that found nothing to wait for has ended or is about to.
            if setting.deadline_ns.is_some() {
                let before = setting.remaining();
                let generation = setting.generation.wrapping_add(1);
                *setting = Setting { deadline_ns, interval_ns: new.interval_ns, generation };
                drop(setting);
                shared.changed.wake_all();
                return Ok(before);
            }
        }
        let setting = Setting { deadline_ns, interval_ns: new.interval_ns, generation: 0 };
        let shared = Arc::new(Shared { setting: SpinLock::new(setting), changed: WaitQueue::new() });
        executor::spawn(Priority::NORMAL, run(shared.clone(), Arc::downgrade(process)))?;
        *current = Some(shared);
        Ok(Remaining::default())
    }

    /// Disarms it; returns what was left.
    pub fn disarm(&self) -> Remaining {
        let Some(shared) = self.shared.lock().take() else { return Remaining::default() };
        let mut setting = shared.setting.lock();
        let before = setting.remaining();
        setting.deadline_ns = None;
        setting.generation = setting.generation.wrapping_add(1);
        drop(setting);
        shared.changed.wake_all();
        before
    }
}

impl Default for IntervalTimer {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for the timer as long as it is armed.
async fn run(shared: Arc<Shared>, process: Weak<Process>) {
    loop {
        let setting = *shared.setting.lock();
        let Some(deadline_ns) = setting.deadline_ns else { return };
        let mut sleep = pin!(time::sleep_until(deadline_ns));
        let other = || (shared.setting.lock().generation != setting.generation).then_some(());
        let mut changed = pin!(shared.changed.wait_until(other));
        poll_fn(|context| match changed.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => sleep.as_mut().poll(context),
        })
        .await;
        if expire(&shared, setting.generation) {
            let Some(process) = process.upgrade() else { return };
            signals::send_to_process(&process, SigInfo::kernel(Signal::ALRM));
        }
    }
}

/// Sets the next deadline if the timer has expired and was not set anew meanwhile; says whether it has.
fn expire(shared: &Shared, generation: u32) -> bool {
    let mut setting = shared.setting.lock();
    let now = now_ns();
    let Some(deadline) = setting.deadline_ns.filter(|deadline| *deadline <= now) else { return false };
    if setting.generation != generation {
        return false;
    }
    setting.deadline_ns = match setting.interval_ns {
        0 => None,
        // Expiries that nobody had time for are left out: the signal is one that does not queue.
        interval => Some(deadline.saturating_add(((now - deadline) / interval + 1).saturating_mul(interval))),
    };
    true
}
