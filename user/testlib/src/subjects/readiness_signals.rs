//! Signals for readiness: `O_ASYNC`, `F_SETOWN`, `F_SETSIG` and their kind.

use crate::check::{equal, fails, holds, need, succeeds};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Ended, Errno, SignalSet, block_signals, close, in_child, pipe, read, write};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("owner", owner),
    test("pipe", on_a_pipe),
    test("details", details),
    test("threads-and-groups", threads_and_groups),
    test("end", end),
];

const MILLISECOND: u64 = 1_000_000;

fn fcntl(file: i32, command: i32, argument: i32) -> Result<i32, Errno> {
    call!(SYS_fcntl, file, command, argument).map(|value| value as i32)
}

/// `F_SETSIG`
const F_SETSIG: i32 = 10;
/// `F_GETSIG`
const F_GETSIG: i32 = 11;
/// `F_SETOWN_EX`
const F_SETOWN_EX: i32 = 15;
/// `F_GETOWN_EX`
const F_GETOWN_EX: i32 = 16;

/// Signal, code, band and descriptor of what comes in time.
fn take(signal: i32, timeout_ms: u64) -> Result<(i32, i32, u64, i32), Errno> {
    let (set, timeout) = (SignalSet::of(&[signal]), [timeout_ms / 1000, timeout_ms % 1000 * MILLISECOND]);
    let mut information = [0u32; 32];
    call!(SYS_rt_sigtimedwait, &set.0, &mut information, &timeout, 8)?;
    let band = u64::from(information[4]) | u64::from(information[5]) << 32;
    Ok((information[0] as i32, information[2] as i32, band, information[6] as i32))
}

fn owner() {
    let (reading, _writing) = need(pipe(0));
    let own = std::process::id() as i32;
    equal("nobody at first", fcntl(reading, libc::F_GETOWN, 0), Ok(0));
    equal("by SIGIO", fcntl(reading, F_GETSIG, 0), Ok(0));
    succeeds("a process", fcntl(reading, libc::F_SETOWN, own));
    equal("is told", fcntl(reading, libc::F_GETOWN, 0), Ok(own));
    let mut known = [9i32; 2];
    need(call!(SYS_fcntl, reading, F_GETOWN_EX, &mut known));
    equal("with its kind", known, [1, own]);
    fails("no such process", fcntl(reading, libc::F_SETOWN, 4_000_000), libc::ESRCH);
    fails("no such group", fcntl(reading, libc::F_SETOWN, -4_000_000), libc::ESRCH);
    fails("the one number without a negation", fcntl(reading, libc::F_SETOWN, i32::MIN), libc::EINVAL);
    equal("nothing changed", fcntl(reading, libc::F_GETOWN, 0), Ok(own));
    succeeds("a thread", call!(SYS_fcntl, reading, F_SETOWN_EX, &[0i32, own]));
    need(call!(SYS_fcntl, reading, F_GETOWN_EX, &mut known));
    equal("is a thread", known, [0, own]);
    fails("no such kind", call!(SYS_fcntl, reading, F_SETOWN_EX, &[3i32, own]), libc::EINVAL);
    fails("nobody of that kind", call!(SYS_fcntl, reading, F_SETOWN_EX, &[1i32, 4_000_000]), libc::ESRCH);
    fails("what cannot be read", call!(SYS_fcntl, reading, F_SETOWN_EX, 8), libc::EFAULT);
    fails("what cannot be written", call!(SYS_fcntl, reading, F_GETOWN_EX, 8), libc::EFAULT);
    succeeds("a group", call!(SYS_fcntl, reading, F_SETOWN_EX, &[2i32, own]));
    need(call!(SYS_fcntl, reading, F_GETOWN_EX, &mut known));
    equal("is a group", known, [2, own]);
    succeeds("nobody again", fcntl(reading, libc::F_SETOWN, 0));
    equal("is nobody", fcntl(reading, libc::F_GETOWN, 0), Ok(0));
    succeeds("a signal", fcntl(reading, F_SETSIG, 40));
    equal("is kept", fcntl(reading, F_GETSIG, 0), Ok(40));
    fails("no such signal", fcntl(reading, F_SETSIG, 65), libc::EINVAL);
    let copy = need(call!(SYS_dup, reading)) as i32;
    equal("copies share it", fcntl(copy, F_GETSIG, 0), Ok(40));
}

fn tell(file: i32, owner: i32) {
    need(fcntl(file, libc::F_SETOWN, owner));
    let flags = need(fcntl(file, libc::F_GETFL, 0));
    need(fcntl(file, libc::F_SETFL, flags | libc::O_ASYNC));
}

fn on_a_pipe() {
    need(block_signals(SignalSet::of(&[libc::SIGIO])));
    let (reading, writing) = need(pipe(libc::O_NONBLOCK));
    tell(reading, std::process::id() as i32);
    holds("the flag is shown", need(fcntl(reading, libc::F_GETFL, 0)) & libc::O_ASYNC != 0);
    fails("nothing yet", take(libc::SIGIO, 20).map(drop), libc::EAGAIN);
    need(write(writing, b"x"));
    let (signal, code, ..) = take(libc::SIGIO, 5000).unwrap_or_default();
    equal("something to read", signal, libc::SIGIO);
    equal("without details", code, libc::SI_KERNEL);
    fails("told once", take(libc::SIGIO, 20).map(drop), libc::EAGAIN);
    need(write(writing, b"y"));
    equal("told again of more", take(libc::SIGIO, 5000).map(|seen| seen.0), Ok(libc::SIGIO));
    need(read(reading, &mut [0; 10]));
    let flags = need(fcntl(reading, libc::F_GETFL, 0));
    need(fcntl(reading, libc::F_SETFL, flags & !libc::O_ASYNC));
    need(write(writing, b"z"));
    fails("without the flag no more", take(libc::SIGIO, 30).map(drop), libc::EAGAIN);
    tell(writing, std::process::id() as i32);
    while write(writing, &[0; 4096]).is_ok() {}
    let _ = take(libc::SIGIO, 0);
    let mut bytes = vec![0; 65536];
    need(read(reading, &mut bytes));
    equal("room to write", take(libc::SIGIO, 5000).map(|seen| seen.0), Ok(libc::SIGIO));
    let counter = need(call!(SYS_eventfd2, 0, 0)) as i32;
    succeeds("files that do not tell", fcntl(counter, libc::F_SETFL, libc::O_ASYNC));
    equal("do not say that they do", need(fcntl(counter, libc::F_GETFL, 0)) & libc::O_ASYNC, 0);
    need(call!(SYS_ioctl, reading, libc::FIOASYNC, &1i32));
    holds("ioctl sets the flag, too", need(fcntl(reading, libc::F_GETFL, 0)) & libc::O_ASYNC != 0);
}

fn details() {
    need(block_signals(SignalSet::of(&[40, libc::SIGIO])));
    let (reading, writing) = need(pipe(libc::O_NONBLOCK));
    need(fcntl(reading, F_SETSIG, 40));
    tell(reading, std::process::id() as i32);
    need(write(writing, b"x"));
    let seen = take(40, 5000);
    equal("the chosen signal with what and where", seen, Ok((40, 1, 0x41, reading)));
    need(fcntl(writing, F_SETSIG, 40));
    tell(writing, std::process::id() as i32);
    while write(writing, &[0; 4096]).is_ok() {}
    while take(40, 20).is_ok() {}
    let mut bytes = vec![0; 65536];
    need(read(reading, &mut bytes));
    equal("room to write", take(40, 5000), Ok((40, 2, 0x304, writing)));
    while take(40, 20).is_ok() {}
    need(fcntl(reading, F_SETSIG, libc::SIGIO));
    need(write(writing, b"x"));
    let mut found = take(libc::SIGIO, 5000);
    if found.is_ok_and(|seen| seen.3 != reading) {
        found = take(libc::SIGIO, 5000);
    }
    equal("SIGIO chosen has details, too", found.map(|seen| (seen.1, seen.3)), Ok((1, reading)));
}

fn threads_and_groups() {
    need(block_signals(SignalSet::of(&[libc::SIGIO])));
    let (reading, writing) = need(pipe(libc::O_NONBLOCK));
    let (say, ids) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let _ = say.send(need(call!(SYS_gettid)) as i32);
        let _ = wait.recv();
        take(libc::SIGIO, 5000).map(|seen| seen.0)
    });
    need(call!(SYS_fcntl, reading, F_SETOWN_EX, &[0i32, ids.recv().unwrap_or(0)]));
    need(fcntl(reading, libc::F_SETFL, libc::O_NONBLOCK | libc::O_ASYNC));
    need(write(writing, b"x"));
    fails("a thread's signal is not ours", take(libc::SIGIO, 30).map(drop), libc::EAGAIN);
    let _ = go.send(());
    equal("but that thread's", other.join().unwrap_or(Err(Errno(0))), Ok(libc::SIGIO));
    let ready = need(pipe(0));
    let child = need(in_child(|| {
        need(call!(SYS_setpgid, 0, 0));
        need(write(ready.1, b"x"));
        i32::from(take(libc::SIGIO, 5000).is_ok())
    }));
    need(read(ready.0, &mut [0; 1]));
    need(fcntl(reading, libc::F_SETOWN, -child.0));
    need(write(writing, b"x"));
    equal("a group's members are told", child.wait(), Ok(Ended::Exited(1)));
    fails("others are not", take(libc::SIGIO, 0).map(drop), libc::EAGAIN);
}

fn end() {
    need(block_signals(SignalSet::of(&[libc::SIGIO])));
    let (reading, writing) = need(pipe(libc::O_NONBLOCK));
    tell(reading, std::process::id() as i32);
    need(close(writing));
    equal("the other side is gone", take(libc::SIGIO, 5000).map(|seen| seen.0), Ok(libc::SIGIO));
    let (reading, writing) = need(pipe(libc::O_NONBLOCK));
    tell(reading, std::process::id() as i32);
    need(close(reading));
    crate::handling::ignore(libc::SIGPIPE);
    fails("being told does not keep a file open", write(writing, b"x"), libc::EPIPE);
    let (reading, writing) = need(pipe(libc::O_NONBLOCK));
    need(block_signals(SignalSet::of(&[])));
    let child = need(in_child(|| {
        need(call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &0u64, 0, 8));
        tell(reading, std::process::id() as i32);
        need(write(writing, b"x"));
        asyncos_apps::system::sleep_ns(5000 * MILLISECOND);
        0
    }));
    equal("who does not expect it dies of it", child.wait(), Ok(Ended::Killed(libc::SIGIO)));
}
