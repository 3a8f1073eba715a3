//! Runs tests, each in a child with a deadline: one that hangs or crashes fails alone, and by name.

use crate::check;
use asyncos_apps::call;
use asyncos_apps::system::{
    Child, Ended, Errno, SignalSet, block_signals, default_signal, exit_now, in_child, now_ns, wait_any,
};
use std::process::ExitCode;

/// A test: checks of one behaviour.
pub struct Test {
    /// Its name within its subject.
    pub name: &'static str,
    /// Makes the checks.
    pub body: fn(),
    /// Seconds until it counts as hung.
    pub deadline_s: u64,
}

/// The tests of one file.
pub struct Subject {
    /// Its name.
    pub name: &'static str,
    /// Its tests.
    pub tests: &'static [Test],
}

/// A test that is quick: most are.
pub const fn test(name: &'static str, body: fn()) -> Test {
    Test { name, body, deadline_s: 20 }
}

/// How long what a test left behind may take to go away once it is killed.
const CLEAN_UP_S: u64 = 10;

/// What the runner cannot expect: signals whose handling std changed for the whole program.
const CHANGED_BY_STD: [i32; 3] = [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS];

/// Counts and prints.
pub struct Runner {
    passed: usize,
    failed: usize,
}

impl Runner {
    /// Prepares the process for tests: it takes in what they leave behind.
    ///
    /// # Errors
    /// No memory, or the system refuses what a runner needs.
    pub fn new() -> Result<Runner, Errno> {
        check::prepare()?;
        call!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)?;
        block_signals(SignalSet::of(&[libc::SIGCHLD]))?;
        Ok(Runner { passed: 0, failed: 0 })
    }

    /// Runs one test and prints a line for each of its checks.
    pub fn run(&mut self, subject: &str, test: &Test) {
        let full_name = format!("{subject}/{}", test.name);
        let verdict = in_child(|| child(test)).map(|child| watch(child, test.deadline_s));
        let records = check::drain();
        let checks = records.len();
        for line in records {
            match line.split_at_checked(1) {
                Some(("+", what)) => self.line("ok", &format!("{full_name}: {what}")),
                Some(("-", what)) => self.line("not ok", &format!("{full_name}: {what}")),
                _ => self.line("not ok", &format!("{full_name}: more checks than the runner has room for")),
            }
        }
        match verdict {
            Ok(Verdict::Ended(Ended::Exited(0))) if checks > 0 => {}
            Ok(Verdict::Ended(Ended::Exited(0))) => {
                self.line("not ok", &format!("{full_name}: checked nothing"));
            }
            Ok(Verdict::Ended(ended)) => {
                self.line("not ok", &format!("{full_name}: after {checks} checks: {ended:?}"));
            }
            Ok(Verdict::Hung) => self.line("not ok", &format!("{full_name}: hung after {checks} checks")),
            Ok(Verdict::LeftBehind) => {
                self.line("not ok", &format!("{full_name}: left a process that cannot be killed"));
            }
            Err(error) => self.line("not ok", &format!("{full_name}: no process for it: {error}")),
        }
    }

    fn line(&mut self, verdict: &str, text: &str) {
        *if verdict == "ok" { &mut self.passed } else { &mut self.failed } += 1;
        println!("{verdict} {} - {text}", self.passed + self.failed);
    }

    /// Prints the plan and the summary.
    pub fn finish(self) -> ExitCode {
        println!("1..{}", self.passed + self.failed);
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

enum Verdict {
    Ended(Ended),
    Hung,
    LeftBehind,
}

/// What the child does: begins as a program that `execve` started would, in a group of its own.
fn child(test: &Test) -> i32 {
    check::record_panics();
    let _ = call!(SYS_setpgid, 0, 0);
    for signal in CHANGED_BY_STD {
        let _ = default_signal(signal);
    }
    let no_stack = [0usize, libc::SS_DISABLE as usize, 0];
    let _ = call!(SYS_sigaltstack, &no_stack, 0);
    let _ = call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &0u64, 0, 8);
    (test.body)();
    exit_now(0)
}

/// Waits until the child has ended or its time is up; then ends whatever it left behind.
fn watch(child: Child, deadline_s: u64) -> Verdict {
    let ended = wait_for(child, now_ns() + deadline_s * 1_000_000_000);
    // The group outlives its leader while it has members.
    let _ = call!(SYS_kill, -child.0, libc::SIGKILL);
    if ended.is_none() {
        let _ = child.signal(libc::SIGKILL);
    }
    if !take_in_the_rest(now_ns() + CLEAN_UP_S * 1_000_000_000) {
        return Verdict::LeftBehind;
    }
    ended.map_or(Verdict::Hung, Verdict::Ended)
}

/// Waits for one child, and takes in others that end meanwhile.
fn wait_for(child: Child, deadline_ns: u64) -> Option<Ended> {
    loop {
        match wait_any(libc::WNOHANG) {
            Ok(Some((found, ended))) if found == child => return Some(ended),
            Ok(Some(_)) => {}
            Ok(None) if now_ns() < deadline_ns => wait_for_news(deadline_ns),
            _ => return None,
        }
    }
}

/// Takes in everything that still runs below us; what left the test's group is looked for and killed.
fn take_in_the_rest(deadline_ns: u64) -> bool {
    loop {
        match wait_any(libc::WNOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if now_ns() < deadline_ns => {
                kill_children();
                wait_for_news(deadline_ns.min(now_ns() + 50_000_000));
            }
            Ok(None) => return false,
            Err(error) => return error == Errno(libc::ECHILD),
        }
    }
}

fn wait_for_news(deadline_ns: u64) {
    let left_ns = deadline_ns.saturating_sub(now_ns());
    let timeout = [left_ns / 1_000_000_000, left_ns % 1_000_000_000];
    let set = SignalSet::of(&[libc::SIGCHLD]);
    // Whether it came or the time is up is looked at by the caller.
    let _ = call!(SYS_rt_sigtimedwait, &set.0, 0, &timeout, 8);
}

/// Kills every child of ours, which `/proc` knows.
fn kill_children() {
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // The name before it may hold anything, blanks and parentheses too.
        let rest = status.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let parent = rest.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok());
        if parent == Some(own) {
            let _ = Child(id).signal(libc::SIGKILL);
        }
    }
}
