//! Stopping and continuing a process: the state that `SIGSTOP` and `SIGCONT` move, and what its parent is told.
//!
//! ```text
//!            1 stop                 2 continue
//!  Running ----------> Stopped(by) ------------> Running
//!                         | 3 waited for (WUNTRACED): reported once
//!                                    4 waited for (WCONTINUED): reported once
//! ```
//! 1 is [`JobState::stop`], called when a stop signal is delivered; 2 is [`JobState::resume`], called when `SIGCONT` is
//! sent, whether or not it is blocked or ignored, and when `SIGKILL` is; 3 and 4 are [`JobState::take_stopped`] and
//! [`JobState::take_continued`].

use super::{Signal, SignalSet};

/// What the parent is to be told, by `SIGCHLD` (unless it has `SA_NOCLDSTOP`) and by waking its waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// Nothing.
    None,
    /// `CLD_STOPPED` with this signal.
    Stopped(Signal),
    /// `CLD_CONTINUED`.
    Continued,
}

/// Whether a process is stopped, and what of that its parent has not yet heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobState {
    stopped_by: Option<Signal>,
    unreported: bool,
}

impl JobState {
    /// Whether the process is stopped: its threads do not return to user mode.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.stopped_by.is_some()
    }

    /// Which signal stopped it.
    pub fn stopped_by(&self) -> Option<Signal> {
        self.stopped_by
    }

    /// `signal` stops the process. Nothing changes if it is stopped already.
    #[must_use]
    pub fn stop(&mut self, signal: Signal) -> Notification {
        if self.is_stopped() {
            return Notification::None;
        }
        *self = JobState { stopped_by: Some(signal), unreported: true };
        Notification::Stopped(signal)
    }

    /// The process goes on, if it was stopped: wake its threads.
    #[must_use]
    pub fn resume(&mut self) -> Notification {
        if !self.is_stopped() {
            return Notification::None;
        }
        *self = JobState { stopped_by: None, unreported: true };
        Notification::Continued
    }

    /// The process is being killed: it is no longer stopped, and has nothing to report but its end.
    pub fn end(&mut self) {
        *self = JobState::default();
    }

    /// For a wait with `WUNTRACED`: the signal that stopped the process, if that was not reported.
    pub fn stopped_unreported(&self) -> Option<Signal> {
        self.stopped_by.filter(|_| self.unreported)
    }

    /// Takes what [`JobState::stopped_unreported`] tells (a wait without `WNOWAIT`).
    pub fn take_stopped(&mut self) -> Option<Signal> {
        let signal = self.stopped_unreported()?;
        self.unreported = false;
        Some(signal)
    }

    /// For a wait with `WCONTINUED`: whether the process went on, and that was not reported.
    pub fn continued_unreported(&self) -> bool {
        self.stopped_by.is_none() && self.unreported
    }

    /// Takes what [`JobState::continued_unreported`] tells (a wait without `WNOWAIT`).
    pub fn take_continued(&mut self) -> bool {
        let continued = self.continued_unreported();
        self.unreported &= !continued;
        continued
    }
}

/// What is no longer pending, in the process and in each of its threads, once `signal` is sent: a stop signal cancels
/// `SIGCONT`, and the other way round.
pub const fn cancelled_by(signal: Signal) -> SignalSet {
    if SignalSet::STOPPING.contains(signal) {
        SignalSet::of(&[Signal::CONT])
    } else if matches!(signal, Signal::CONT) {
        SignalSet::STOPPING
    } else {
        SignalSet::EMPTY
    }
}

/// Whether a delivered stop signal stops a process whose group is orphaned: nobody would be there to continue it, so
/// that only `SIGSTOP` does.
pub const fn stops_orphaned_group(signal: Signal) -> bool {
    matches!(signal, Signal::STOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_reported_once() {
        let mut state = JobState::default();
        assert_eq!(state.resume(), Notification::None);
        assert_eq!(state.stop(Signal::TSTP), Notification::Stopped(Signal::TSTP));
        assert_eq!(state.stop(Signal::STOP), Notification::None);
        assert_eq!(state.take_stopped(), Some(Signal::TSTP));
        assert_eq!((state.take_stopped(), state.is_stopped()), (None, true));
        assert_eq!(state.resume(), Notification::Continued);
        assert!(state.take_continued());
        assert!(!state.take_continued());
    }

    #[test]
    fn a_continuation_hides_a_stop_that_nobody_heard_of() {
        let mut state = JobState::default();
        let _ = state.stop(Signal::STOP);
        let _ = state.resume();
        assert_eq!(state.take_stopped(), None);
        assert!(state.continued_unreported());
        let _ = state.stop(Signal::STOP);
        assert!(!state.continued_unreported());
        state.end();
        assert_eq!(state, JobState::default());
    }

    #[test]
    fn stop_and_continue_cancel_each_other() {
        assert_eq!(cancelled_by(Signal::TTIN), SignalSet::of(&[Signal::CONT]));
        assert_eq!(cancelled_by(Signal::CONT), SignalSet::STOPPING);
        assert_eq!(cancelled_by(Signal::KILL), SignalSet::EMPTY);
    }
}
