//! Signals: handlers, masks, defaults, stopping, interrupted calls, alternate stacks, faults, and process groups.

use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use asyncos_apps::system::{
    Access, Child, Ended, Errno, Mapping, SignalSet, block_signals, default_signal, handle_signal,
    ignore_signal, in_child, pipe, read, sleep_ns, unblock_signals, write,
};
use asyncos_apps::{Report, call};

static COUNT: AtomicI32 = AtomicI32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);
static STACK_ADDRESS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(signal: i32) {
    COUNT.fetch_add(1, Ordering::SeqCst);
    LAST.store(signal, Ordering::SeqCst);
    let local = 0u8;
    STACK_ADDRESS.store(std::ptr::from_ref(&local) as usize, Ordering::SeqCst);
}

extern "C" fn leave_with_status_33(_signal: i32) {
    asyncos_apps::system::exit_now(33);
}

fn main() -> ExitCode {
    let mut report = Report::new();
    handlers(&mut report);
    masks(&mut report);
    defaults(&mut report);
    interrupted_calls(&mut report);
    stopping(&mut report);
    faults(&mut report);
    groups(&mut report);
    registers(&mut report);
    report.finish()
}

fn raise(signal: i32) -> Result<usize, Errno> {
    call!(SYS_tgkill, std::process::id(), call!(SYS_gettid).unwrap_or(0), signal)
}

/// How many times the handler ran since the last time this was asked.
fn handled() -> i32 {
    COUNT.swap(0, Ordering::SeqCst)
}

fn outcome(body: impl FnOnce() -> i32) -> Result<Ended, Errno> {
    in_child(body).and_then(Child::wait)
}

fn handlers(report: &mut Report) {
    report.equal("a handler is set", handle_signal(libc::SIGUSR1, count, 0), Ok(()));
    report.succeeds("a signal to oneself", raise(libc::SIGUSR1));
    report.equal("it was handled at once", (handled(), LAST.load(Ordering::SeqCst)), (1, libc::SIGUSR1));
    report.succeeds("kill of oneself", call!(SYS_kill, std::process::id(), libc::SIGUSR1));
    report.equal("handled again", handled(), 1);
    report.equal("SIGKILL has no handler", handle_signal(libc::SIGKILL, count, 0), Err(Errno(libc::EINVAL)));
    report.equal("nor is SIGSTOP ignored", ignore_signal(libc::SIGSTOP), Err(Errno(libc::EINVAL)));
    report.fails("an unknown signal", call!(SYS_kill, std::process::id(), 65), libc::EINVAL);
    report.succeeds("signal 0 asks only", call!(SYS_kill, std::process::id(), 0));
    report.fails("nobody there", call!(SYS_kill, 4_000_000, 0), libc::ESRCH);
    report.equal("once only", handle_signal(libc::SIGUSR2, count, libc::SA_RESETHAND), Ok(()));
    let once = outcome(|| {
        let _ = raise(libc::SIGUSR2);
        let _ = raise(libc::SIGUSR2);
        0
    });
    report.equal("the second time it kills", once, Ok(Ended::Killed(libc::SIGUSR2)));
    let inherited = outcome(|| {
        handled();
        let _ = raise(libc::SIGUSR1);
        handled()
    });
    report.equal("a child has its parent's handlers", inherited, Ok(Ended::Exited(1)));
    report.equal("realtime signals", handle_signal(40, count, 0), Ok(()));
}

fn masks(report: &mut Report) {
    let before = block_signals(SignalSet::of(&[libc::SIGUSR1, 40]));
    report.equal("nothing was blocked", before, Ok(SignalSet(0)));
    handled();
    for signal in [libc::SIGUSR1, libc::SIGUSR1, 40, 40, 40] {
        let _ = raise(signal);
    }
    report.equal("blocked signals wait", handled(), 0);
    let mut pending = 0u64;
    report.equal(
        "they are pending",
        call!(SYS_rt_sigpending, &mut pending, 8).map(|_| pending),
        Ok(1 << 9 | 1 << 39),
    );
    let child = outcome(|| {
        let mut pending = 1u64;
        let _ = call!(SYS_rt_sigpending, &mut pending, 8);
        let mask = block_signals(SignalSet(0)).map_or(0, |mask| mask.0);
        i32::from(pending == 0) + 2 * i32::from(mask == (1 << 9 | 1 << 39))
    });
    report.equal("a child inherits the mask and nothing pending", child, Ok(Ended::Exited(3)));
    let _ = unblock_signals(SignalSet::of(&[libc::SIGUSR1, 40]));
    report.equal("plain ones merge, realtime ones queue", handled(), 1 + 3);
    let unblockable = block_signals(SignalSet::of(&[libc::SIGKILL, libc::SIGSTOP]));
    report.equal("SIGKILL and SIGSTOP", unblockable.and(block_signals(SignalSet(0))), Ok(SignalSet(0)));
    report.fails("a wrong size of set", call!(SYS_rt_sigprocmask, 0, &0u64, 0, 4), libc::EINVAL);
    let _ = block_signals(SignalSet::of(&[libc::SIGUSR1]));
    let _ = raise(libc::SIGUSR1);
    let empty = 0u64;
    report.fails("sigsuspend ends with EINTR", call!(SYS_rt_sigsuspend, &empty, 8), libc::EINTR);
    report.equal("its signal was handled", handled(), 1);
    let mask = block_signals(SignalSet(0));
    report.equal("the mask is back", mask, Ok(SignalSet::of(&[libc::SIGUSR1])));
    let _ = unblock_signals(SignalSet::of(&[libc::SIGUSR1]));
}

fn defaults(report: &mut Report) {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGKILL, libc::SIGALRM, 50] {
        let ended = outcome(|| {
            let _ = default_signal(signal);
            let _ = raise(signal);
            0
        });
        report.equal(&format!("signal {signal} ends a process"), ended, Ok(Ended::Killed(signal)));
    }
    for signal in [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT] {
        let ended = outcome(|| {
            let _ = default_signal(signal);
            let _ = raise(signal);
            0
        });
        report.equal(&format!("signal {signal} does not"), ended, Ok(Ended::Exited(0)));
    }
    let ignored = outcome(|| {
        let _ = ignore_signal(libc::SIGTERM);
        let _ = raise(libc::SIGTERM);
        4
    });
    report.equal("an ignored one neither", ignored, Ok(Ended::Exited(4)));
    let reaped = outcome(|| {
        let _ = ignore_signal(libc::SIGCHLD);
        let Ok(child) = in_child(|| 0) else { return 1 };
        match child.wait() {
            Err(Errno(libc::ECHILD)) => 5,
            _ => 2,
        }
    });
    report.equal("ignoring SIGCHLD reaps by itself", reaped, Ok(Ended::Exited(5)));
}

fn interrupted_calls(report: &mut Report) {
    for (flags, name) in
        [(0, "a handler interrupts a read"), (libc::SA_RESTART, "SA_RESTART goes on reading")]
    {
        let _ = handle_signal(libc::SIGUSR1, count, flags);
        handled();
        let (reader, writer) = pipe(0).expect("a pipe");
        let parent = std::process::id();
        let child = in_child(|| {
            sleep_ns(60_000_000);
            let _ = call!(SYS_kill, parent, libc::SIGUSR1);
            sleep_ns(60_000_000);
            i32::from(write(writer, b"x") != Ok(1))
        });
        let mut byte = [0];
        let wanted = if flags == 0 { Err(Errno(libc::EINTR)) } else { Ok(1) };
        report.equal(name, read(reader, &mut byte), wanted);
        report.equal("the handler ran", handled(), 1);
        let _ = child.and_then(Child::wait);
    }
    let parent = std::process::id();
    let child = in_child(|| {
        sleep_ns(50_000_000);
        i32::from(call!(SYS_kill, parent, libc::SIGUSR1).is_err())
    });
    let (wanted, mut left) = ([5u64, 0], [0u64; 2]);
    report.fails("nanosleep is interrupted", call!(SYS_nanosleep, &wanted, &mut left), libc::EINTR);
    report.check("and says what is left", left[0] == 4 && left[1] < 1_000_000_000, || format!("{left:?}"));
    let _ = child.and_then(Child::wait);
}

fn stopping(report: &mut Report) {
    let child = in_child(|| {
        let _ = raise(libc::SIGSTOP);
        9
    })
    .expect("a child");
    report.equal(
        "a stop is reported",
        child.wait_with(libc::WUNTRACED),
        Ok(Some(Ended::Stopped(libc::SIGSTOP))),
    );
    report.equal("once", child.wait_with(libc::WUNTRACED | libc::WNOHANG), Ok(None));
    let _ = child.signal(libc::SIGCONT);
    report.equal("going on is reported", child.wait_with(libc::WCONTINUED), Ok(Some(Ended::Continued)));
    report.equal("it goes on", child.wait(), Ok(Ended::Exited(9)));
    let child = in_child(|| {
        let _ = raise(libc::SIGSTOP);
        9
    })
    .expect("a child");
    let _ = child.wait_with(libc::WUNTRACED);
    let _ = child.signal(libc::SIGKILL);
    report.equal("a stopped process can be killed", child.wait(), Ok(Ended::Killed(libc::SIGKILL)));
}

fn faults(report: &mut Report) {
    let caught = outcome(|| {
        let _ = handle_signal(libc::SIGSEGV, leave_with_status_33, 0);
        i32::from(Mapping::adopt(0, 64).byte(8))
    });
    report.equal("a fault can be handled", caught, Ok(Ended::Exited(33)));
    let blocked = outcome(|| {
        let _ = handle_signal(libc::SIGSEGV, leave_with_status_33, 0);
        let _ = block_signals(SignalSet::of(&[libc::SIGSEGV]));
        i32::from(Mapping::adopt(0, 64).byte(8))
    });
    report.equal("a blocked one kills", blocked, Ok(Ended::Killed(libc::SIGSEGV)));
    let illegal = outcome(|| {
        // SAFETY: an instruction that is never valid ends this child; no code runs behind it.
        unsafe { std::arch::asm!("unimp") };
        0
    });
    report.equal("an illegal instruction", illegal, Ok(Ended::Killed(libc::SIGILL)));
    let trap = outcome(|| {
        let _ = default_signal(libc::SIGTRAP);
        // SAFETY: a breakpoint raises SIGTRAP, which ends this child.
        unsafe { std::arch::asm!("ebreak") };
        0
    });
    report.equal("a breakpoint", trap, Ok(Ended::Killed(libc::SIGTRAP)));
    let privileged = outcome(|| {
        // SAFETY: reading a supervisor's register is refused, which ends this child.
        unsafe { std::arch::asm!("csrr {0}, sstatus", out(reg) _) };
        0
    });
    report.equal("a privileged instruction", privileged, Ok(Ended::Killed(libc::SIGILL)));
    let elsewhere = outcome(|| {
        let Ok(memory) = Mapping::anonymous(64 << 10, Access::WRITE) else { return 1 };
        // The kernel's stack_t: address, flags and padding, size.
        let stack = [memory.address(), 0, memory.length()];
        if call!(SYS_sigaltstack, &stack, 0).is_err()
            || handle_signal(libc::SIGUSR1, count, libc::SA_ONSTACK).is_err()
        {
            return 2;
        }
        let _ = raise(libc::SIGUSR1);
        let used = STACK_ADDRESS.load(Ordering::SeqCst);
        i32::from(!(memory.address()..memory.address() + memory.length()).contains(&used)) * 3
    });
    report.equal("a handler on its own stack", elsewhere, Ok(Ended::Exited(0)));
}

fn groups(report: &mut Report) {
    let leader = in_child(|| {
        let _ = call!(SYS_setpgid, 0, 0);
        let _ = in_child(|| {
            sleep_ns(20_000_000_000);
            0
        });
        sleep_ns(20_000_000_000);
        0
    })
    .expect("a child");
    sleep_ns(100_000_000);
    report.equal("a group of its own", call!(SYS_getpgid, leader.0), Ok(leader.0 as usize));
    report.succeeds("a signal to the group", call!(SYS_kill, -leader.0, libc::SIGTERM));
    report.equal("ends its leader", leader.wait(), Ok(Ended::Killed(libc::SIGTERM)));
    sleep_ns(100_000_000);
    report.fails("and everyone in it", call!(SYS_kill, -leader.0, 0), libc::ESRCH);
    report.fails("a group of nobody", call!(SYS_setpgid, 4_000_000, 0), libc::ESRCH);
    let session = outcome(|| {
        let own = std::process::id() as usize;
        let fresh = call!(SYS_setsid) == Ok(own)
            && call!(SYS_getsid, 0) == Ok(own)
            && call!(SYS_getpgid, 0) == Ok(own);
        i32::from(!fresh) + 2 * i32::from(call!(SYS_setsid) != Err(Errno(libc::EPERM)))
    });
    report.equal("a session of its own, once", session, Ok(Ended::Exited(0)));
}

/// Floating-point and integer registers survive signals that come at any instruction.
fn registers(report: &mut Report) {
    let _ = handle_signal(libc::SIGUSR1, count, libc::SA_RESTART);
    let parent = std::process::id();
    let sender = in_child(|| {
        for _ in 0..200 {
            if call!(SYS_kill, parent, libc::SIGUSR1).is_err() {
                return 1;
            }
            sleep_ns(200_000);
        }
        0
    })
    .expect("a child");
    handled();
    let (mut wrong, mut ended) = (0, None);
    while ended.is_none() {
        let mut sum = 0.0f64;
        let mut whole = 0u64;
        for step in 1..=1000u32 {
            sum += 1.0 / f64::from(std::hint::black_box(step));
            whole = whole.wrapping_mul(31).wrapping_add(u64::from(std::hint::black_box(step)));
        }
        wrong += usize::from((sum - 7.485_470_860_550_343).abs() > 1e-12 || whole != expected_whole());
        ended = sender.wait_with(libc::WNOHANG).expect("its child");
    }
    report.equal("every computation was right", wrong, 0);
    let count = handled();
    report.check("while signals came", count > 20, || format!("only {count} came"));
    report.equal("the sender", ended, Some(Ended::Exited(0)));
}

const fn expected_whole() -> u64 {
    let (mut whole, mut step) = (0u64, 1u64);
    while step <= 1000 {
        whole = whole.wrapping_mul(31).wrapping_add(step);
        step += 1;
    }
    whole
}
