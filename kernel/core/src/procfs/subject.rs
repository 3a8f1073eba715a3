//! Whom a directory of `/proc` is about, and who may look into it.

use crate::process::{self, Process, traits};
use crate::thread::Thread;
use ::process::credentials::{Capability, Credentials};
use alloc::format;
use alloc::sync::Arc;
use base::sync::atomic::Ordering;
use base::{Error, Result};
use vfs::LinkTarget;
use vfs::metadata::Ownership;

/// A process, or one thread of it. It is named, not held: it may end at any moment, and its id may be another's then, which
/// is told apart by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The process's id.
    pub process: u32,
    started_ns: u64,
    /// The thread, if it is about one.
    pub thread: Option<u32>,
}

impl Subject {
    /// The process with this id.
    pub fn of_process(process: &Process) -> Self {
        Self { process: process.id, started_ns: process.started_ns, thread: None }
    }

    /// The same process's thread with this id.
    pub fn with_thread(self, thread: u32) -> Self {
        Self { thread: Some(thread), ..self }
    }

    /// The process, unless it is gone.
    ///
    /// # Errors
    /// `NoSuchProcess`.
    pub fn process(&self) -> Result<Arc<Process>> {
        let found = process::find(self.process).filter(|process| process.started_ns == self.started_ns);
        found.ok_or(Error::NoSuchProcess)
    }

    /// The thread that it is about, or the process's first; `None` when that has ended and others, or the zombie, remain.
    ///
    /// # Errors
    /// `NoSuchProcess`, also for a thread of its own that has ended.
    pub fn thread(&self, process: &Process) -> Result<Option<Arc<Thread>>> {
        let id = self.thread.unwrap_or(process.id);
        let state = process.state.lock();
        let found = state.threads.iter().find(|thread| thread.id() == id).cloned();
        if found.is_none() && self.thread.is_some() {
            return Err(Error::NoSuchProcess);
        }
        Ok(found)
    }

    /// The number of its node of this `kind`: the same as long as it lives, and never again.
    pub fn number(&self, kind: u64) -> u64 {
        let thread = u64::from(self.thread.unwrap_or(0));
        let words = [u64::from(self.process) << 32 | thread, self.started_ns, kind];
        // FNV-1a over words; the high bit keeps clear of the numbers that are given out in order.
        let hash = words.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, word| {
            (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
        });
        hash >> 1 | 1 << 62
    }

    /// Who owns its nodes: its effective user, or the superuser when others must not look into it.
    pub fn ownership(&self, process: &Process, permissions: u16) -> Ownership {
        let identity = process.identity();
        let dumpable = process.traits.load(Ordering::Relaxed) & traits::DUMPABLE != 0;
        let (uid, gid) = match dumpable {
            true => (identity.credentials.user.effective, identity.credentials.group.effective),
            false => (0, 0),
        };
        Ownership { permissions, uid, gid }
    }
}

/// The thread whose coroutine runs here, if it is one of a program.
pub fn current_thread() -> Option<Arc<Thread>> {
    let address = crate::hart::with(|hart| hart.local.current.get().map(|task| task.address()))?;
    let table = process::TABLE.lock();
    let runs_here = |thread: &&Arc<Thread>| thread.task().is_some_and(|task| task.address() == address);
    table.threads.values().find(runs_here).cloned()
}

/// The process that asks.
///
/// # Errors
/// `NotFound`, for the kernel itself.
pub fn current_process() -> Result<Arc<Process>> {
    current_thread().map(|thread| thread.process.clone()).ok_or(Error::NotFound)
}

/// `/proc/self`
pub fn own_directory() -> Result<LinkTarget> {
    let process = current_process()?;
    Ok(LinkTarget::Path(Arc::from(format!("{}", process.id).as_bytes())))
}

/// `/proc/thread-self`
pub fn own_thread_directory() -> Result<LinkTarget> {
    let thread = current_thread().ok_or(Error::NotFound)?;
    Ok(LinkTarget::Path(Arc::from(format!("{}/task/{}", thread.process.id, thread.id()).as_bytes())))
}

/// Checks that who asks may see what `target` has in its memory or works with: the rule of `ptrace(2)`.
///
/// # Errors
/// `AccessDenied`.
pub fn check_inspection(target: &Process) -> Result<()> {
    let asker = match current_process() {
        Ok(asker) => asker,
        Err(_) => return Ok(()),
    };
    if asker.id == target.id {
        return Ok(());
    }
    let (asker, wanted) = (asker.identity(), target.identity());
    let dumpable = target.traits.load(Ordering::Relaxed) & traits::DUMPABLE != 0;
    let allowed = asker.credentials.has(Capability::Trace)
        || (dumpable && is_same(&asker.credentials, &wanted.credentials));
    if allowed { Ok(()) } else { Err(Error::AccessDenied) }
}

/// Whether all ids of `target` are those under which `asker` accesses files.
fn is_same(asker: &Credentials, target: &Credentials) -> bool {
    let (user, group) = (asker.user.filesystem, asker.group.filesystem);
    [target.user.real, target.user.effective, target.user.saved].iter().all(|id| *id == user)
        && [target.group.real, target.group.effective, target.group.saved].iter().all(|id| *id == group)
}
