//! Timers that a program makes (`timer_create`): alarms that send a signal, and count what was too quick for it.

use crate::alarm::{Alarm, Expire, Remaining};
use crate::clock::Clock;
use crate::process::Process;
use crate::signals;
use crate::thread::Thread;
use ::process::signal::{SigInfo, Signal};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU32, Ordering};
use base::{Error, Result};

/// The most expirations that a signal tells of (`DELAYTIMER_MAX`).
const OVERRUN_MAX: u64 = i32::MAX as u64;

/// Who is told of an expiry.
pub enum Notification {
    /// Nobody.
    None,
    /// A process, by a signal with a value.
    Process(Weak<Process>, Signal, u64),
    /// A thread of it.
    Thread(Weak<Thread>, Signal, u64),
}

/// A timer of a process.
pub struct PosixTimer {
    id: u32,
    clock: Clock,
    notification: Notification,
    alarm: Arc<Alarm>,
    /// How many expirations the signal that was taken last did not stand for.
    overrun: AtomicU32,
}

/// The timers of a process.
pub struct PosixTimers {
    shared: SpinLock<Numbered>,
}

struct Numbered {
    next: u32,
    timers: BTreeMap<u32, Arc<PosixTimer>>,
}

impl PosixTimers {
    /// There are none.
    pub const fn new() -> Self {
        Self { shared: SpinLock::new(Numbered { next: 0, timers: BTreeMap::new() }) }
    }

    /// Makes one; `notification` gets its id. Returns the id.
    ///
    /// # Errors
    /// `WouldBlock` when every id is taken.
    pub fn create(&self, clock: Clock, notification: impl FnOnce(u32) -> Notification) -> Result<u32> {
        let mut shared = self.shared.lock();
        let from = shared.next;
        let free = |id: &u32| !shared.timers.contains_key(id);
        let id = (from..=i32::MAX as u32).chain(0..from).find(free).ok_or(Error::WouldBlock)?;
        shared.next = if id == i32::MAX as u32 { 0 } else { id + 1 };
        let timer = PosixTimer {
            id,
            clock,
            notification: notification(id),
            alarm: Alarm::new(),
            overrun: AtomicU32::new(0),
        };
        shared.timers.insert(id, Arc::new(timer));
        Ok(id)
    }

    /// The timer with this id.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn get(&self, id: u32) -> Result<Arc<PosixTimer>> {
        self.shared.lock().timers.get(&id).cloned().ok_or(Error::InvalidArgument)
    }

    /// Deletes the timer with this id.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn delete(&self, id: u32) -> Result<()> {
        let removed = self.shared.lock().timers.remove(&id);
        removed.map(drop).ok_or(Error::InvalidArgument)
    }

    /// Deletes them all.
    pub fn clear(&self) {
        let timers = core::mem::take(&mut self.shared.lock().timers);
        drop(timers);
    }

    /// Notes what a signal that was taken from its queue says of its timer's overrun.
    pub fn delivered(&self, id: u32, overrun: u32) {
        if let Ok(timer) = self.get(id) {
            timer.overrun.store(overrun, Ordering::Relaxed);
        }
    }
}

impl Default for PosixTimers {
    fn default() -> Self {
        Self::new()
    }
}

impl PosixTimer {
    /// What is left of it.
    pub fn remaining(&self) -> Remaining {
        self.expired();
        self.alarm.remaining()
    }

    /// The overrun of the signal that was taken last.
    pub fn overrun(&self) -> u32 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Sets it to expire in `new.value_ns`, or when its clock shows that; 0 disarms it. Returns what was left of it.
    ///
    /// # Errors
    /// `OutOfMemory`; it is not armed then.
    pub fn set(self: &Arc<Self>, new: Remaining, start: Start) -> Result<Remaining> {
        self.expired();
        self.overrun.store(0, Ordering::Relaxed);
        let (clock, deadline_ns) = start.on(&self.clock, new.value_ns);
        let weak = Arc::downgrade(self);
        let target: Weak<dyn Expire> = weak;
        self.alarm.set(target, clock, deadline_ns, new.interval_ns)
    }
}

/// From when a timer's first time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From now on.
    Now,
    /// It is a moment of the clock.
    Absolute,
}

impl Start {
    /// The clock that a timer waits for, and the moment; no moment when `value_ns` is 0. A length of the time of day is
    /// none that setting the clock would change.
    pub fn on(self, clock: &Clock, value_ns: u64) -> (Clock, Option<u64>) {
        let clock = match (self, clock) {
            (Start::Now, Clock::Realtime) => Clock::Monotonic,
            _ => clock.clone(),
        };
        let deadline_ns = match (value_ns, self) {
            (0, _) => None,
            (moment, Start::Absolute) => Some(moment),
            (length, Start::Now) => Some((clock.now_ns().max(0) as u64).saturating_add(length)),
        };
        (clock, deadline_ns)
    }
}

impl Expire for PosixTimer {
    fn expired(&self) {
        let count = self.alarm.take_expirations();
        if count == 0 {
            return;
        }
        let overrun = (count - 1).min(OVERRUN_MAX) as u32;
        match &self.notification {
            Notification::None => {}
            Notification::Process(process, signal, value) => {
                if let Some(process) = process.upgrade() {
                    signals::send_expiry(&process, None, SigInfo::timer(*signal, self.id, overrun, *value));
                }
            }
            Notification::Thread(thread, signal, value) => {
                if let Some(thread) = thread.upgrade() {
                    let information = SigInfo::timer(*signal, self.id, overrun, *value);
                    signals::send_expiry(&thread.process, Some(&thread), information);
                }
            }
        }
    }
}

impl Drop for PosixTimer {
    fn drop(&mut self) {
        self.alarm.disarm();
    }
}
