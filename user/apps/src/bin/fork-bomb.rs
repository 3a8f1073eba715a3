//! A fork bomb under `RLIMIT_NPROC`: refused with EAGAIN, and harmless once it is over.
//!
//! `fork-bomb [LIMIT]`, 64 processes by default. Must be started by root; the bomb runs as user 12345.

use std::process::ExitCode;

use asyncos_apps::system::{Child, Ended, Errno, become_user, fork, in_child, limit, sleep_ns};
use asyncos_apps::{Report, call};

const USER: u32 = 12345;
const REFUSED: i32 = 3;

fn main() -> ExitCode {
    let allowed: u64 =
        std::env::args().nth(1).map_or(64, |text| text.parse().expect("a number of processes"));
    let mut report = Report::new();
    report.equal("started by root", call!(SYS_geteuid), Ok(0));

    let counted = in_child(|| fork_until_refused(allowed)).and_then(Child::wait);
    report.equal(
        "sleeping children are refused at the limit with EAGAIN",
        counted,
        Ok(Ended::Exited(REFUSED)),
    );

    let exploding = in_child(|| explode(allowed)).expect("fork of the bomb");
    let ended = exploding.wait_at_most(20_000_000_000);
    report.check("a real bomb can be killed", matches!(ended, Ok(None | Some(_))), || format!("{ended:?}"));
    let killer = in_child(kill_everyone).and_then(Child::wait);
    report.equal("its user can kill all of it", killer, Ok(Ended::Exited(0)));

    let recovered = (0..200).all(|_| in_child(|| 0).and_then(Child::wait) == Ok(Ended::Exited(0)));
    report.holds("the system forks as before", recovered);
    // Process 1 may still have some of the dead to reap.
    let mut again = Ok(Ended::Exited(0));
    for _ in 0..100 {
        again = in_child(|| fork_until_refused(allowed)).and_then(Child::wait);
        if again == Ok(Ended::Exited(REFUSED)) {
            break;
        }
        sleep_ns(50_000_000);
    }
    report.equal("the count of processes came back to nothing", again, Ok(Ended::Exited(REFUSED)));
    report.finish()
}

fn confine(allowed: u64) -> Result<(), Errno> {
    limit(libc::RLIMIT_NPROC, allowed)?;
    become_user(USER)
}

/// Forks children that sleep until refused; `REFUSED` when that was EAGAIN after exactly the allowed number.
fn fork_until_refused(allowed: u64) -> i32 {
    if confine(allowed).is_err() {
        return 10;
    }
    let mut children = Vec::with_capacity(allowed as usize + 1);
    let error = loop {
        match fork() {
            Ok(Some(child)) => children.push(child),
            Ok(None) => loop {
                sleep_ns(1_000_000_000);
            },
            Err(error) => break error,
        }
        if children.len() > allowed as usize {
            break Errno(0);
        }
    };
    for child in &children {
        let _ = child.signal(libc::SIGKILL);
        let _ = child.wait();
    }
    match error {
        Errno(libc::EAGAIN) if children.len() as u64 == allowed - 1 => REFUSED,
        Errno(libc::EAGAIN) => 11,
        _ => 12,
    }
}

/// Every process forks without end, for as long as it is let; ends by itself after some time.
fn explode(allowed: u64) -> i32 {
    if confine(allowed).is_err() {
        return 10;
    }
    for _ in 0..2_000 {
        if fork().is_err() {
            let _ = call!(SYS_sched_yield);
        }
    }
    0
}

/// As the bomb's user: kills all its processes until none is left.
fn kill_everyone() -> i32 {
    // No limit here: this process must come to be while the bomb still fills it.
    if become_user(USER).is_err() {
        return 10;
    }
    // What is born while a signal goes round is caught by the next one.
    for _ in 0..20 {
        if call!(SYS_kill, -1, libc::SIGKILL).is_err_and(|error| error != Errno(libc::ESRCH)) {
            return 1;
        }
        sleep_ns(5_000_000);
    }
    0
}
