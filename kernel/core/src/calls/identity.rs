//! Calls about who a process is: ids, users, groups, sessions.

use crate::thread::Caller;
use base::Result;
use base::sync::atomic::Ordering;

/// `getpid`
pub async fn getpid(caller: &Caller) -> Result<usize> {
    Ok(caller.thread.process.id as usize)
}

/// `getppid`
pub async fn getppid(caller: &Caller) -> Result<usize> {
    Ok(caller.thread.process.parent_id.load(Ordering::Relaxed) as usize)
}

/// `gettid`
pub async fn gettid(caller: &Caller) -> Result<usize> {
    Ok(caller.thread.id() as usize)
}
