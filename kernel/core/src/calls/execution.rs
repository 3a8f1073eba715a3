//! Calls about processes and threads: who they are, how they begin and end.

use crate::thread::Caller;
use ::process::wait::Change;
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

/// `exit`: ends this thread; the process, if it is the last one.
pub async fn exit(caller: &mut Caller, status: usize) -> Result<usize> {
    let process = &caller.thread.process;
    let mut state = process.state.lock();
    if state.threads.len() == 1 && state.ending.is_none() {
        state.ending = Some(Change::Exited(status as u8));
    }
    drop(state);
    caller.thread.notify_self(crate::thread::ATTENTION_EXIT);
    Ok(0)
}

/// `exit_group`: ends the process.
pub async fn exit_group(caller: &mut Caller, status: usize) -> Result<usize> {
    caller.thread.process.end(Change::Exited(status as u8));
    Ok(0)
}
