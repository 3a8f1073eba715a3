//! Signals that were sent and not yet delivered: one queue for each thread, one for each process.

use super::{SigInfo, Signal, SignalSet};
use abi::Error;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use base::Result;
use core::sync::atomic::{AtomicUsize, Ordering};

/// How many signals are queued for all processes of one user (`RLIMIT_SIGPENDING` bounds it).
#[derive(Debug, Default)]
pub struct SignalQuota {
    queued: AtomicUsize,
}

impl SignalQuota {
    /// Nothing queued.
    pub const fn new() -> Self {
        Self { queued: AtomicUsize::new(0) }
    }

    /// How many are queued.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn charge(&self, limit: u64) -> bool {
        // Only the number matters, no other memory is published by it.
        let raised = self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| {
            ((queued as u64) < limit).then_some(queued + 1)
        });
        raised.is_ok()
    }

    fn release(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }
}

/// What became of a signal that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is pending now; wake a thread that does not block it.
    Pending,
    /// It was pending already, and only one of it can be.
    Coalesced,
}

/// The queue of a thread or of a process.
///
/// A signal may be pending without an entry in the queue: when the entry was not allowed or never needed. An empty
/// queue has no heap memory.
#[derive(Debug)]
pub struct PendingSignals {
    set: SignalSet,
    queue: VecDeque<SigInfo>,
    quota: Arc<SignalQuota>,
}

impl PendingSignals {
    /// Nothing pending. What is queued counts against `quota`, that of the user whose process it is.
    pub fn new(quota: Arc<SignalQuota>) -> Self {
        Self { set: SignalSet::EMPTY, queue: VecDeque::new(), quota }
    }

    /// Counts what is queued, and what will be, for another user: the process has become that one's.
    pub fn count_for(&mut self, quota: Arc<SignalQuota>) {
        quota.queued.fetch_add(self.queue.len(), Ordering::Relaxed);
        self.quota.release(self.queue.len());
        self.quota = quota;
    }

    /// Which signals are pending.
    #[inline]
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// Adds `information`. `limit` is the `RLIMIT_SIGPENDING` of the process that it is sent to.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when the user has too many queued and the signal is a real-time one sent by `sigqueue`, a
    /// timer or the like, whose count must not be lost. Any other signal is then pending without its information.
    /// [`Error::InvalidArgument`] when the information names no signal.
    pub fn send(&mut self, information: SigInfo, limit: u64) -> Result<Outcome> {
        let signal = information.signal().ok_or(Error::InvalidArgument)?;
        if !signal.is_real_time() && self.set.contains(signal) {
            return Ok(Outcome::Coalesced);
        }
        if signal == Signal::KILL {
            // Nobody ever sees what came with it.
            self.set.insert(signal);
            return Ok(Outcome::Pending);
        }
        // The kernel's own and kill's standard signals are not held back by the limit, but they count.
        let exempt = !signal.is_real_time() && information.code() >= super::information::SI_USER;
        if self.quota.charge(if exempt { u64::MAX } else { limit }) {
            self.queue.push_back(information);
        } else if signal.is_real_time() && information.code() != super::information::SI_USER {
            return Err(Error::WouldBlock);
        }
        self.set.insert(signal);
        Ok(Outcome::Pending)
    }

    /// Adds the expiry of a timer, as [`SigInfo::timer`] tells of it. While one of the same timer waits, this and what it
    /// stands for are added to that one's overrun. (It does not matter whether the signal is pending otherwise.)
    pub fn send_expiry(&mut self, information: SigInfo) -> Outcome {
        if let Some(waiting) = self.queue.iter_mut().find(|waiting| waiting.is_of_same_timer(&information)) {
            waiting.add_overrun(information.overrun().saturating_add(1));
            return Outcome::Coalesced;
        }
        let Some(signal) = information.signal() else { return Outcome::Coalesced };
        // It counts, but is not held back: there is one for each timer at most.
        self.quota.charge(u64::MAX);
        self.queue.push_back(information);
        self.set.insert(signal);
        Outcome::Pending
    }

    /// Takes the first pending `signal` out, with what came with it.
    pub fn take(&mut self, signal: Signal) -> Option<SigInfo> {
        if !self.set.contains(signal) {
            return None;
        }
        let mut same = self.queue.iter().enumerate().filter(|(_, info)| info.signal() == Some(signal));
        let position = same.next().map(|(index, _)| index);
        if same.next().is_none() {
            self.set.remove(signal);
        }
        // Without an entry it is reported as Linux does: from process 0 of user 0.
        let information = position.and_then(|index| self.queue.remove(index));
        if information.is_some() {
            self.quota.release(1);
        }
        self.release_memory();
        Some(information.unwrap_or_else(|| SigInfo::kill(signal, 0, 0)))
    }

    /// Drops everything pending of `signals`.
    pub fn discard(&mut self, signals: SignalSet) {
        if self.set.intersection(signals).is_empty() {
            return;
        }
        self.set = self.set.difference(signals);
        let before = self.queue.len();
        self.queue.retain(|info| !info.signal().is_some_and(|signal| signals.contains(signal)));
        self.quota.release(before - self.queue.len());
        self.release_memory();
    }

    fn release_memory(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
    }

    fn first_synchronous(&self, mask: SignalSet) -> Option<Signal> {
        if self.set.difference(mask).intersection(SignalSet::SYNCHRONOUS).is_empty() {
            return None;
        }
        let mut faults = self.queue.iter().filter(|info| info.is_synchronous());
        faults.find_map(|info| info.signal().filter(|signal| !mask.contains(*signal)))
    }
}

impl Drop for PendingSignals {
    fn drop(&mut self) {
        self.quota.release(self.queue.len());
    }
}

/// Takes the signal that a thread with `mask` has to deal with next: the thread's own faults in the order in which they
/// happened, then what is pending for the thread, then what is pending for its process; in each, synchronous signals
/// first, then the lowest number.
pub fn next_signal(
    thread: &mut PendingSignals,
    process: &mut PendingSignals,
    mask: SignalSet,
) -> Option<(Signal, SigInfo)> {
    // A kill ends everything, and nothing else is worth the work.
    let kill = thread.set.union(process.set).contains(Signal::KILL);
    if kill {
        let taken = thread.take(Signal::KILL).or_else(|| process.take(Signal::KILL));
        return taken.map(|information| (Signal::KILL, information));
    }
    if let Some(signal) = thread.first_synchronous(mask) {
        return thread.take(signal).map(|information| (signal, information));
    }
    [thread, process].into_iter().find_map(|queue| {
        let signal = queue.set.difference(mask).first_deliverable()?;
        Some((signal, queue.take(signal)?))
    })
}

#[cfg(test)]
mod tests {
    use super::super::information::{SEGV_MAPERR, SI_QUEUE};
    use super::*;

    fn queues() -> (PendingSignals, PendingSignals, Arc<SignalQuota>) {
        let quota = Arc::new(SignalQuota::new());
        (PendingSignals::new(quota.clone()), PendingSignals::new(quota.clone()), quota)
    }

    fn real_time(number: u32, value: u64) -> SigInfo {
        let signal = Signal::new(number).unwrap();
        let mut bytes = SigInfo::kill(signal, 1, 2).to_bytes();
        bytes[8..12].copy_from_slice(&SI_QUEUE.to_le_bytes());
        bytes[24..32].copy_from_slice(&value.to_le_bytes());
        SigInfo::from_user(signal, &bytes).unwrap()
    }

    #[test]
    fn standard_signals_coalesce_and_real_time_ones_queue_in_order() {
        let (mut thread, mut process, quota) = queues();
        assert_eq!(process.send(SigInfo::kill(Signal::INT, 1, 1), 10), Ok(Outcome::Pending));
        assert_eq!(process.send(SigInfo::kill(Signal::INT, 2, 2), 10), Ok(Outcome::Coalesced));
        for value in 0..3 {
            assert_eq!(process.send(real_time(40, value), 10), Ok(Outcome::Pending));
        }
        process.send(real_time(35, 9), 10).unwrap();
        assert_eq!(quota.queued(), 5);
        let mut next = || next_signal(&mut thread, &mut process, SignalSet::EMPTY);
        let (signal, information) = next().unwrap();
        assert_eq!((signal, information.pid()), (Signal::INT, 1));
        assert_eq!(next().unwrap().1.value(), 9);
        for value in 0..3 {
            assert_eq!(next().unwrap().1.value(), value);
        }
        assert_eq!(next(), None);
        assert_eq!(quota.queued(), 0);
        assert_eq!(process.queue.capacity(), 0);
    }

    #[test]
    fn faults_first_then_the_thread_s_then_the_process_s() {
        let (mut thread, mut process, _) = queues();
        process.send(SigInfo::kernel(Signal::HUP), 10).unwrap();
        thread.send(SigInfo::thread_kill(Signal::USR1, 1, 1), 10).unwrap();
        thread.send(SigInfo::fault(Signal::SEGV, SEGV_MAPERR, 0), 10).unwrap();
        thread.send(SigInfo::fault(Signal::ILL, 1, 0), 10).unwrap();
        let mut seen = alloc::vec::Vec::new();
        while let Some((signal, _)) = next_signal(&mut thread, &mut process, SignalSet::EMPTY) {
            seen.push(signal);
        }
        assert_eq!(seen, [Signal::SEGV, Signal::ILL, Signal::USR1, Signal::HUP]);
    }

    #[test]
    fn blocked_signals_wait_and_kill_does_not() {
        let (mut thread, mut process, _) = queues();
        process.send(SigInfo::kill(Signal::TERM, 1, 1), 10).unwrap();
        let mask = SignalSet::mask_from_bits(!0);
        assert_eq!(next_signal(&mut thread, &mut process, mask), None);
        process.send(SigInfo::kill(Signal::KILL, 1, 1), 0).unwrap();
        assert_eq!(next_signal(&mut thread, &mut process, mask).unwrap().0, Signal::KILL);
        assert_eq!(process.set(), SignalSet::of(&[Signal::TERM]));
    }

    #[test]
    fn the_limit_refuses_what_must_not_be_lost_and_strips_the_rest() {
        let (mut thread, mut process, quota) = queues();
        assert_eq!(process.send(real_time(40, 1), 0), Err(Error::WouldBlock));
        assert!(process.set().is_empty());
        // kill() of a real-time signal goes through, without its information.
        let kill = SigInfo::kill(Signal::new(40).unwrap(), 5, 5);
        assert_eq!(process.send(kill, 0), Ok(Outcome::Pending));
        assert_eq!(next_signal(&mut thread, &mut process, SignalSet::EMPTY).unwrap().1.pid(), 0);
        // kill() of a standard signal is exempt.
        process.send(SigInfo::kill(Signal::INT, 5, 5), 0).unwrap();
        assert_eq!((quota.queued(), process.take(Signal::INT).unwrap().pid()), (1, 5));
    }

    #[test]
    fn what_is_queued_moves_with_the_process_to_another_user() {
        let (mut thread, process, quota) = queues();
        thread.send(real_time(40, 1), 10).unwrap();
        let other = Arc::new(SignalQuota::new());
        thread.count_for(other.clone());
        assert_eq!((quota.queued(), other.queued()), (0, 1));
        drop((thread, process));
        assert_eq!(other.queued(), 0);
    }

    #[test]
    fn discarding_and_dropping_give_the_quota_back() {
        let (mut thread, mut process, quota) = queues();
        for signal in SignalSet::STOPPING.iter() {
            process.send(SigInfo::kernel(signal), 10).unwrap();
        }
        thread.send(real_time(40, 1), 10).unwrap();
        process.discard(SignalSet::STOPPING);
        assert!(process.set().is_empty());
        assert_eq!(quota.queued(), 1);
        drop(thread);
        assert_eq!(quota.queued(), 0);
    }
}
