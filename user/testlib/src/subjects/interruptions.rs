//! What a signal does to a call that waits: an error, or the call goes on; each call has its own rule.

use crate::check::{check, equal, fails, need, within};
use crate::handling::{handled, note_signal};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Child, Ended, Errno, in_child, now_ns, open, pipe, read, sleep_ns, write};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("made-again", made_again),
    test("never-made-again", never_made_again),
    test("sleeping", sleeping),
    test("stopping", stopping),
    test("partly-done", partly_done),
    test("locks", locks),
];

const MILLISECOND: u64 = 1_000_000;

/// Sends this process `SIGUSR1` while it waits, then does what ends the wait.
fn disturb(mut ends: impl FnMut()) -> Child {
    let parent = std::process::id();
    need(in_child(|| {
        sleep_ns(30 * MILLISECOND);
        let _ = call!(SYS_kill, parent, libc::SIGUSR1);
        sleep_ns(40 * MILLISECOND);
        ends();
        0
    }))
}

/// What a call gives when a signal with a handler comes first and what it waits for afterwards.
fn outcome(
    flags: i32,
    wait: &mut dyn FnMut() -> Result<usize, Errno>,
    ends: &mut dyn FnMut(),
) -> (Result<usize, Errno>, i32) {
    note_signal(libc::SIGUSR1, flags);
    let child = disturb(ends);
    let outcome = wait();
    let count = handled();
    let _ = child.wait();
    let _ = handled();
    (outcome, count)
}

/// Checks a call that is made again with `SA_RESTART`, and fails without.
fn is_made_again(
    name: &str,
    wanted: usize,
    wait: &mut dyn FnMut() -> Result<usize, Errno>,
    ends: &mut dyn FnMut(),
    clean: &mut dyn FnMut(),
) {
    equal(&format!("{name} without SA_RESTART"), outcome(0, wait, ends), (Err(Errno(libc::EINTR)), 1));
    clean();
    equal(&format!("{name} with SA_RESTART"), outcome(libc::SA_RESTART, wait, ends), (Ok(wanted), 1));
}

fn made_again() {
    let (reading, writing) = need(pipe(0));
    let drain = || {
        need(read(reading, &mut [0; 10]));
    };
    let (mut fill, mut byte) = (
        || {
            let _ = write(writing, b"x");
        },
        [0u8; 1],
    );
    is_made_again("read", 1, &mut || read(reading, &mut byte), &mut fill, &mut { drain });
    let area = [std::ptr::from_mut(&mut byte) as usize, 1];
    let mut readv = || call!(SYS_readv, reading, &area, 1);
    is_made_again("readv", 1, &mut readv, &mut fill, &mut { drain });
    let counter = need(call!(SYS_eventfd2, 0, 0)) as i32;
    let mut value = [0u8; 8];
    let mut add = || {
        let _ = write(counter, &1u64.to_ne_bytes());
    };
    let mut take_now = || {
        need(read(counter, &mut [0; 8]));
    };
    is_made_again("read of a counter", 8, &mut || read(counter, &mut value), &mut add, &mut take_now);
    let shared = need(asyncos_apps::system::Mapping::shared(4096));
    let place = shared.address();
    shared.store(0, &5u32.to_ne_bytes());
    let mut wake = || {
        let _ = call!(SYS_futex, place, libc::FUTEX_WAKE, 1);
    };
    let mut wait_shared = || call!(SYS_futex, place, libc::FUTEX_WAIT, 5, 0);
    is_made_again("futex", 0, &mut wait_shared, &mut wake, &mut || {});
    let long = [10u64, 0];
    let mut wait_timed = || call!(SYS_futex, place, libc::FUTEX_WAIT, 5, &long);
    equal("futex with a time", outcome(0, &mut wait_timed, &mut wake), (Err(Errno(libc::EINTR)), 1));
    // What is waited for is a child that waits for us meanwhile.
    let (tell, told) = need(pipe(0));
    for flags in [0, libc::SA_RESTART] {
        let child = need(in_child(|| {
            let _ = read(tell, &mut [0; 1]);
            3
        }));
        let mut wait_child = || call!(SYS_wait4, child.0, 0, 0, 0);
        let wanted = if flags == 0 { Err(Errno(libc::EINTR)) } else { Ok(child.0 as usize) };
        let seen = outcome(flags, &mut wait_child, &mut || {
            let _ = write(told, b"x");
        });
        equal(&format!("wait4, SA_RESTART {}", flags != 0), seen, (wanted, 1));
        let _ = child.wait();
        let child = need(in_child(|| {
            let _ = read(tell, &mut [0; 1]);
            3
        }));
        let mut wait_id = || call!(SYS_waitid, libc::P_PID, child.0, 0, libc::WEXITED, 0);
        let wanted = if flags == 0 { Err(Errno(libc::EINTR)) } else { Ok(0) };
        let seen = outcome(flags, &mut wait_id, &mut || {
            let _ = write(told, b"x");
        });
        equal(&format!("waitid, SA_RESTART {}", flags != 0), seen, (wanted, 1));
        let _ = child.wait();
    }
    fifo();
}

/// Opening a FIFO waits for the other side.
fn fifo() {
    let path = c"/tmp/testlib-fifo";
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, path, 0);
    need(call!(SYS_mknodat, libc::AT_FDCWD, path, libc::S_IFIFO | 0o600, 0));
    let mut open_it = || open(path, libc::O_RDONLY).map(|file| usize::from(file > 2));
    let mut open_other = || {
        let _ = open(path, libc::O_WRONLY | libc::O_NONBLOCK);
    };
    is_made_again("open of a FIFO", 1, &mut open_it, &mut open_other, &mut || {});
    need(call!(SYS_unlinkat, libc::AT_FDCWD, path, 0));
}

fn never_made_again() {
    let (reading, writing) = need(pipe(0));
    let mut fill = || {
        let _ = write(writing, b"x");
    };
    let interrupted = (Err(Errno(libc::EINTR)), 1);
    let drain = || need(read(reading, &mut [0; 10]));
    for flags in [0, libc::SA_RESTART] {
        let name = |call: &str| format!("{call}, SA_RESTART {}", flags != 0);
        let mut entry = u64::from(reading as u32) | (libc::POLLIN as u64) << 32;
        let mut poll = || call!(SYS_ppoll, &mut entry, 1, 0, 0, 8);
        equal(&name("poll"), outcome(flags, &mut poll, &mut fill), interrupted);
        drain();
        let mut set = [0u64; 16];
        set[reading as usize / 64] = 1 << (reading % 64);
        let mut select = || call!(SYS_pselect6, reading + 1, &mut set, 0, 0, 0, 0);
        equal(&name("select"), outcome(flags, &mut select, &mut fill), interrupted);
        drain();
        let list = need(call!(SYS_epoll_create1, 0)) as i32;
        let event = [u64::from(libc::EPOLLIN as u32), 0];
        need(call!(SYS_epoll_ctl, list, libc::EPOLL_CTL_ADD, reading, &event));
        let mut events = [0u64; 2];
        let mut wait = || call!(SYS_epoll_pwait, list, &mut events, 1, -1, 0, 8);
        equal(&name("epoll_wait"), outcome(flags, &mut wait, &mut fill), interrupted);
        drain();
        let (set, ten) = (1u64 << (libc::SIGUSR2 - 1), [10u64, 0]);
        let mut wait = || call!(SYS_rt_sigtimedwait, &set, 0, &ten, 8);
        equal(&name("sigtimedwait"), outcome(flags, &mut wait, &mut || {}), interrupted);
        let nothing = 0u64;
        let mut pause = || call!(SYS_rt_sigsuspend, &nothing, 8);
        equal(&name("sigsuspend"), outcome(flags, &mut pause, &mut || {}), interrupted);
        let mut pause = || call!(SYS_ppoll, 0, 0, 0, 0, 8);
        equal(&name("poll of nothing"), outcome(flags, &mut pause, &mut || {}), interrupted);
    }
}

fn sleeping() {
    let (ten, mut left) = ([10u64, 0], [77u64; 2]);
    for flags in [0, libc::SA_RESTART] {
        let mut sleep = || call!(SYS_nanosleep, &ten, &mut left);
        let seen = outcome(flags, &mut sleep, &mut || {});
        equal(&format!("nanosleep, SA_RESTART {}", flags != 0), seen, (Err(Errno(libc::EINTR)), 1));
        within("what was left is told", left[0], 8..=9);
        left = [77; 2];
        let mut now = [0u64; 2];
        need(call!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut now));
        now[0] += 10;
        let mut sleep =
            || call!(SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &now, &mut left);
        let seen = outcome(flags, &mut sleep, &mut || {});
        equal(&format!("until a moment, SA_RESTART {}", flags != 0), seen, (Err(Errno(libc::EINTR)), 1));
        equal("nothing is told then", left, [77; 2]);
    }
    fails("too many nanoseconds", call!(SYS_nanosleep, &[0u64, 1_000_000_000], 0), libc::EINVAL);
    fails("a negative time", call!(SYS_nanosleep, &[u64::MAX, 0], 0), libc::EINVAL);
    fails("a time that cannot be read", call!(SYS_nanosleep, 8, 0), libc::EFAULT);
    fails("no such clock", call!(SYS_clock_nanosleep, 77, 0, &ten, 0), libc::EINVAL);
}

/// A child that is stopped and goes on while it waits has not noticed.
fn stopping() {
    type Body = Box<dyn Fn() -> bool>;
    let mut names_and_bodies: Vec<(&str, Body)> = Vec::new();
    names_and_bodies.push((
        "nanosleep",
        Box::new(|| {
            let before = now_ns();
            call!(SYS_nanosleep, &[0u64, 150 * MILLISECOND], 0) == Ok(0)
                && now_ns() - before >= 150 * MILLISECOND
        }),
    ));
    names_and_bodies.push((
        "poll",
        Box::new(|| {
            let (before, time) = (now_ns(), [0u64, 150 * MILLISECOND]);
            call!(SYS_ppoll, 0, 0, &time, 0, 8) == Ok(0) && now_ns() - before >= 150 * MILLISECOND
        }),
    ));
    names_and_bodies.push((
        "futex",
        Box::new(|| {
            let (word, time) = (0u32, [0u64, 150 * MILLISECOND]);
            call!(SYS_futex, &word, libc::FUTEX_WAIT, 0, &time) == Err(Errno(libc::ETIMEDOUT))
        }),
    ));
    names_and_bodies.push((
        "read",
        Box::new(|| {
            let timer = need(call!(SYS_timerfd_create, libc::CLOCK_MONOTONIC, 0)) as i32;
            need(call!(SYS_timerfd_settime, timer, 0, &[0u64, 0, 0, 150 * MILLISECOND], 0));
            read(timer, &mut [0; 8]) == Ok(8)
        }),
    ));
    for (name, body) in names_and_bodies {
        let child = need(in_child(|| i32::from(body())));
        sleep_ns(30 * MILLISECOND);
        need(child.signal(libc::SIGSTOP));
        equal(
            &format!("{name} stops"),
            child.wait_with(libc::WUNTRACED),
            Ok(Some(Ended::Stopped(libc::SIGSTOP))),
        );
        need(child.signal(libc::SIGCONT));
        equal(&format!("{name} goes on"), child.wait(), Ok(Ended::Exited(1)));
    }
}

fn partly_done() {
    let (reading, writing) = need(pipe(0));
    let bytes = vec![7u8; 300_000];
    note_signal(libc::SIGUSR1, libc::SA_RESTART);
    let child = disturb(|| {});
    let written = write(writing, &bytes);
    check(
        "a write that has begun tells how far it came",
        written.is_ok_and(|count| (65_536..300_000).contains(&count)),
        || format!("{written:?}"),
    );
    equal("it was interrupted", handled(), 1);
    let _ = child.wait();
    let wanted = need(written);
    let mut got = 0;
    let mut part = vec![0; 50_000];
    while got < wanted {
        got += need(read(reading, &mut part));
    }
    equal("and just that was written", got, wanted);
    let full = need(pipe(libc::O_NONBLOCK));
    while write(full.1, &bytes).is_ok() {}
    need(call!(SYS_fcntl, full.1, libc::F_SETFL, 0));
    note_signal(libc::SIGUSR1, 0);
    let child = disturb(|| {});
    fails("one that has not begun fails", write(full.1, b"x"), libc::EINTR);
    let _ = (child.wait(), handled());
}

fn locks() {
    let file = need(call!(SYS_memfd_create, c"locked", 0)) as i32;
    let path = std::ffi::CString::new(format!("/proc/self/fd/{file}")).unwrap_or_default();
    let holder_ready = need(pipe(0));
    let release = need(pipe(0));
    for flags in [0, libc::SA_RESTART] {
        let holder = need(in_child(|| {
            let own = open(&path, libc::O_RDWR).unwrap_or(-1);
            let taken = call!(SYS_flock, own, libc::LOCK_EX).is_ok();
            let _ = write(holder_ready.1, b"x");
            let _ = read(release.0, &mut [0; 1]);
            i32::from(!taken)
        }));
        need(read(holder_ready.0, &mut [0; 1]));
        let own = need(open(&path, libc::O_RDWR));
        let mut lock = || call!(SYS_flock, own, libc::LOCK_EX);
        let seen = outcome(flags, &mut lock, &mut || {
            let _ = write(release.1, b"x");
        });
        let wanted = if flags == 0 { Err(Errno(libc::EINTR)) } else { Ok(0) };
        equal(&format!("flock, SA_RESTART {}", flags != 0), seen, (wanted, 1));
        let _ = holder.wait();
        let range = [u64::from(libc::F_WRLCK as u16 as u32), 0, 0, 0];
        let holder = need(in_child(|| {
            let taken = call!(SYS_fcntl, file, libc::F_SETLK, &range).is_ok();
            let _ = write(holder_ready.1, b"x");
            let _ = read(release.0, &mut [0; 1]);
            i32::from(!taken)
        }));
        need(read(holder_ready.0, &mut [0; 1]));
        let mut lock = || call!(SYS_fcntl, file, libc::F_SETLKW, &range);
        let seen = outcome(flags, &mut lock, &mut || {
            let _ = write(release.1, b"x");
        });
        let wanted = if flags == 0 { Err(Errno(libc::EINTR)) } else { Ok(0) };
        equal(&format!("F_SETLKW, SA_RESTART {}", flags != 0), seen, (wanted, 1));
        let _ = holder.wait();
        let unlock = [u64::from(libc::F_UNLCK as u16 as u32), 0, 0, 0];
        need(call!(SYS_fcntl, file, libc::F_SETLK, &unlock));
        need(asyncos_apps::system::close(own));
    }
}
