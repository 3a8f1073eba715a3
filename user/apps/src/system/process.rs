//! Processes: making, ending, waiting for and limiting them.

use std::ffi::{CStr, CString};

use super::Errno;
use super::trap::vfork_and_exit;
use crate::call;

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It did not end: stopped by this signal.
    Stopped(i32),
    /// It did not end: continued.
    Continued,
}

impl Ended {
    /// Decodes the status word of `wait4`.
    pub fn from_status(status: i32) -> Ended {
        if libc::WIFEXITED(status) {
            Ended::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Ended::Killed(libc::WTERMSIG(status))
        } else if libc::WIFSTOPPED(status) {
            Ended::Stopped(libc::WSTOPSIG(status))
        } else {
            Ended::Continued
        }
    }

    /// The status a shell would give: 128 + the signal when killed.
    pub fn shell_status(self) -> i32 {
        match self {
            Ended::Exited(status) => status,
            Ended::Killed(signal) | Ended::Stopped(signal) => 128 + signal,
            Ended::Continued => 0,
        }
    }
}

/// A forked child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child(pub i32);

impl Child {
    /// Waits for it with `wait4` options such as `libc::WNOHANG` or `WUNTRACED`; `None` when nothing happened yet.
    pub fn wait_with(self, options: i32) -> Result<Option<Ended>, Errno> {
        let mut status = 0i32;
        loop {
            match call!(SYS_wait4, self.0, &mut status, options, 0) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(Ended::from_status(status))),
                Err(Errno(libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until it ends.
    pub fn wait(self) -> Result<Ended, Errno> {
        loop {
            if let Some(ended) = self.wait_with(0)? {
                return Ok(ended);
            }
        }
    }

    /// Waits until it ends, and kills it after `timeout_ns`; `None` then.
    pub fn wait_at_most(self, timeout_ns: u64) -> Result<Option<Ended>, Errno> {
        let deadline = now_ns() + timeout_ns;
        let mut pause_ns = 100_000;
        loop {
            if let Some(ended) = self.wait_with(libc::WNOHANG)? {
                return Ok(Some(ended));
            }
            if now_ns() >= deadline {
                self.signal(libc::SIGKILL)?;
                self.wait()?;
                return Ok(None);
            }
            sleep_ns(pause_ns);
            pause_ns = (pause_ns * 2).min(20_000_000);
        }
    }

    /// Sends it a signal.
    pub fn signal(self, signal: i32) -> Result<(), Errno> {
        call!(SYS_kill, self.0, signal).map(drop)
    }
}

/// Forks; `None` in the child. Standard output must be flushed before (the report's lines are: each ends in a newline).
pub fn fork() -> Result<Option<Child>, Errno> {
    // SAFETY: these programs fork while they have one thread, so the child may go on as any program does.
    match unsafe { libc::fork() } {
        -1 => Err(Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))),
        0 => Ok(None),
        child => Ok(Some(Child(child))),
    }
}

/// Runs `body` in a child, which ends with what it returns.
pub fn in_child(body: impl FnOnce() -> i32) -> Result<Child, Errno> {
    match fork()? {
        Some(child) => Ok(child),
        None => exit_now(body()),
    }
}

/// Makes a child that ends at once with status 0, before this returns (`vfork` without any program).
pub fn vfork_exit() -> Result<Child, Errno> {
    match vfork_and_exit() {
        error @ ..0 => Err(Errno(-error as i32)),
        child => Ok(Child(child as i32)),
    }
}

/// Ends the process at once, without any clean-up of the C library's.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(status) }
}

/// Waits for any child; `None` when a `WNOHANG` wait found none that ended.
pub fn wait_any(options: i32) -> Result<Option<(Child, Ended)>, Errno> {
    let mut status = 0i32;
    let child = call!(SYS_wait4, -1, &mut status, options, 0)?;
    Ok((child != 0).then_some((Child(child as i32), Ended::from_status(status))))
}

/// Replaces the program; returns only with the error.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |texts: &[CString]| -> Vec<usize> {
        texts.iter().map(|text| text.as_ptr() as usize).chain([0]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    match call!(SYS_execve, path, &arguments[0], &environment[0]) {
        Err(error) => error,
        Ok(_) => Errno(libc::EIO),
    }
}

/// Sets the soft and hard limit of `libc::RLIMIT_*` to `value`.
pub fn limit(resource: u32, value: u64) -> Result<(), Errno> {
    let limits = [value, value];
    call!(SYS_prlimit64, 0, resource, &limits, 0).map(drop)
}

/// Gives up root for this user and group id.
pub fn become_user(identity: u32) -> Result<(), Errno> {
    call!(SYS_setgroups, 0, 0)?;
    call!(SYS_setresgid, identity, identity, identity)?;
    call!(SYS_setresuid, identity, identity, identity).map(drop)
}

/// The monotonic clock in nanoseconds.
pub fn now_ns() -> u64 {
    let mut time = [0u64; 2];
    match call!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut time) {
        Ok(_) => time[0] * 1_000_000_000 + time[1],
        Err(error) => panic!("clock_gettime of CLOCK_MONOTONIC: {error}"),
    }
}

/// Sleeps; a signal may end it early.
pub fn sleep_ns(duration_ns: u64) {
    let time = [duration_ns / 1_000_000_000, duration_ns % 1_000_000_000];
    let _ = call!(SYS_nanosleep, &time, 0);
}
