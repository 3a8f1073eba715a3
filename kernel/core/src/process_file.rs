//! Processes as files (`pidfd_open`): a name for a process that no other can take over, and that tells when it has ended.

use crate::process::{self, Process};
use alloc::sync::Arc;
use base::sync::WaitQueue;
use vfs::inode::WaitQueues;
use vfs::{File, Readiness};

/// A process as an open file.
pub struct ProcessFile {
    process: Arc<Process>,
}

impl ProcessFile {
    /// A file of `process`.
    pub fn new(process: Arc<Process>) -> Arc<Self> {
        Arc::new(Self { process })
    }

    /// The process, unless it was waited for.
    pub fn process(&self) -> Option<Arc<Process>> {
        let found = process::find(self.process.id);
        found.filter(|found| Arc::ptr_eq(found, &self.process))
    }

    fn ended(&self) -> &WaitQueue {
        &self.process.ended
    }
}

impl File for ProcessFile {
    fn readiness(&self) -> Readiness {
        match self.process() {
            None => Readiness::READABLE | Readiness::HANG_UP,
            Some(process) if process.state.lock().zombie => Readiness::READABLE,
            Some(_) => Readiness::empty(),
        }
    }

    fn wait_queues(&self, _: Readiness) -> WaitQueues<'_> {
        WaitQueues::one(self.ended())
    }

    fn seekable(&self) -> bool {
        false
    }
}
