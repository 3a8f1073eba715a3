//! Signal dispositions and masks, through the C library where its return trampoline is needed.

use super::Errno;
use crate::call;

/// A set of signals: bit `signal - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// The set of these signals.
    pub fn of(signals: &[i32]) -> SignalSet {
        SignalSet(signals.iter().fold(0, |bits, signal| bits | 1 << (signal - 1)))
    }
}

fn set_disposition(signal: i32, disposition: usize, flags: i32) -> Result<(), Errno> {
    // SAFETY: a zeroed sigaction is a valid one, and `disposition` is SIG_IGN, SIG_DFL or a handler of the right type.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = disposition;
        action.sa_flags = flags;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)))
    }
}

/// Has `handler` called for `signal`; it may only make system calls and use atomics. `flags` are `libc::SA_*`.
pub fn handle_signal(signal: i32, handler: extern "C" fn(i32), flags: i32) -> Result<(), Errno> {
    set_disposition(signal, handler as usize, flags)
}

/// Has `signal` ignored.
pub fn ignore_signal(signal: i32) -> Result<(), Errno> {
    set_disposition(signal, libc::SIG_IGN, 0)
}

/// Has `signal` do what it does by default.
pub fn default_signal(signal: i32) -> Result<(), Errno> {
    set_disposition(signal, libc::SIG_DFL, 0)
}

/// Blocks these signals too; the mask before.
pub fn block_signals(signals: SignalSet) -> Result<SignalSet, Errno> {
    let mut before = 0u64;
    call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &signals.0, &mut before, 8)?;
    Ok(SignalSet(before))
}

/// Unblocks these signals.
pub fn unblock_signals(signals: SignalSet) -> Result<(), Errno> {
    call!(SYS_rt_sigprocmask, libc::SIG_UNBLOCK, &signals.0, 0, 8).map(drop)
}
