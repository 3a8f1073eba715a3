//! Signals as files (`signalfd4`): a read takes those that are pending for whoever reads.

use crate::process::Process;
use crate::signals;
use crate::thread::{self, Thread};
use ::process::signal::{SigInfo, SignalSet};
use alloc::sync::{Arc, Weak};
use base::bytes::Sink;
use base::operation::Operation;
use base::sync::atomic::{AtomicU64, Ordering};
use base::{Error, Result};
use vfs::inode::WaitQueues;
use vfs::{File, Readiness};

/// The signals that a program reads instead of handling them.
pub struct SignalFile {
    set: AtomicU64,
    /// Who made it, and mostly reads it.
    maker: Weak<Process>,
}

impl SignalFile {
    /// One for the signals of `set`.
    pub fn new(set: SignalSet, maker: &Arc<Process>) -> Arc<Self> {
        Arc::new(Self { set: AtomicU64::new(set.bits()), maker: Arc::downgrade(maker) })
    }

    /// Makes it one for other signals.
    pub fn set_signals(&self, set: SignalSet) {
        self.set.store(set.bits(), Ordering::Relaxed);
        // Those who wait may find something now.
        signals::WATCHERS.wake_all();
    }

    fn signals(&self) -> SignalSet {
        SignalSet::from_bits(self.set.load(Ordering::Relaxed))
    }

    /// Whoever asks: what is pending for others is not his to read.
    fn reader(&self) -> Option<Arc<Thread>> {
        thread::current(self.maker.upgrade().as_deref())
    }

    fn read_now(&self, sink: &mut Sink<'_>) -> Result<usize> {
        if sink.remaining() < SigInfo::RECORD_SIZE {
            return Err(Error::InvalidArgument);
        }
        let reader = self.reader().ok_or(Error::WouldBlock)?;
        let set = self.signals();
        let mut count = 0;
        while sink.remaining() >= SigInfo::RECORD_SIZE
            && let Some(information) = signals::take_pending(&reader, set)
        {
            count += sink.copy_from(&information.to_record());
        }
        if count == 0 { Err(Error::WouldBlock) } else { Ok(count) }
    }
}

impl File for SignalFile {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.read_now(sink))
    }

    fn readiness(&self) -> Readiness {
        let pending = self.reader().map_or(SignalSet::EMPTY, |reader| signals::pending(&reader));
        if pending.intersection(self.signals()).is_empty() { Readiness::empty() } else { Readiness::IN }
    }

    fn wait_queues(&self, _: Readiness) -> WaitQueues<'_> {
        WaitQueues::one(&signals::WATCHERS)
    }

    fn seekable(&self) -> bool {
        false
    }
}
