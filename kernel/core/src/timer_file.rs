//! Timers as files (`timerfd_create`): a read tells how often one has expired.

use crate::alarm::{Alarm, Expire, Remaining};
use crate::clock::Clock;
use crate::posix_timer::Start;
use crate::time;
use alloc::sync::{Arc, Weak};
use base::bytes::Sink;
use base::operation::Operation;
use base::sync::{SpinLock, WaitQueue};
use base::{Error, Result};
use vfs::inode::WaitQueues;
use vfs::{File, Readiness};

/// A timer as an open file.
pub struct TimerFile {
    this: Weak<TimerFile>,
    clock: Clock,
    alarm: Arc<Alarm>,
    readers: WaitQueue,
    /// How often the time of day had been set when it was asked to tell of that.
    settings_seen: SpinLock<Option<u32>>,
}

/// What setting the time of day does to a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnClockSet {
    /// It goes on.
    GoOn,
    /// Its next read fails (`TFD_TIMER_CANCEL_ON_SET`).
    Cancel,
}

impl TimerFile {
    /// One that is not armed.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            clock,
            alarm: Alarm::new(),
            readers: WaitQueue::new(),
            settings_seen: SpinLock::new(None),
        })
    }

    /// What is left of it.
    pub fn remaining(&self) -> Remaining {
        self.alarm.remaining()
    }

    /// Sets it; see [`crate::posix_timer::PosixTimer::set`].
    ///
    /// # Errors
    /// `OutOfMemory`; it is not armed then.
    pub fn set(&self, new: Remaining, start: Start, on_clock_set: OnClockSet) -> Result<Remaining> {
        let follows = on_clock_set == OnClockSet::Cancel
            && start == Start::Absolute
            && matches!(self.clock, Clock::Realtime);
        *self.settings_seen.lock() = follows.then(time::wall_clock_settings);
        let (clock, deadline_ns) = start.on(&self.clock, new.value_ns);
        let target: Weak<dyn Expire> = self.this.clone();
        self.alarm.set(target, clock, deadline_ns, new.interval_ns)
    }

    /// Whether the time of day was set since somebody was told.
    fn is_cancelled(&self) -> bool {
        self.settings_seen.lock().is_some_and(|seen| seen != time::wall_clock_settings())
    }

    fn read_now(&self, sink: &mut Sink<'_>) -> Result<usize> {
        if sink.remaining() < size_of::<u64>() {
            return Err(Error::InvalidArgument);
        }
        if self.is_cancelled() {
            *self.settings_seen.lock() = Some(time::wall_clock_settings());
            self.alarm.take_expirations();
            return Err(Error::Cancelled);
        }
        match self.alarm.take_expirations() {
            0 => Err(Error::WouldBlock),
            count => Ok(sink.copy_from(&count.to_ne_bytes())),
        }
    }
}

impl Expire for TimerFile {
    fn expired(&self) {
        if self.alarm.has_expired() || self.is_cancelled() {
            self.readers.wake_all();
        }
    }
}

impl File for TimerFile {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.read_now(sink))
    }

    fn readiness(&self) -> Readiness {
        if self.alarm.has_expired() || self.is_cancelled() { Readiness::IN } else { Readiness::empty() }
    }

    fn wait_queues(&self, _: Readiness) -> WaitQueues<'_> {
        WaitQueues::one(&self.readers)
    }

    fn seekable(&self) -> bool {
        false
    }
}

impl Drop for TimerFile {
    fn drop(&mut self) {
        self.alarm.disarm();
    }
}
