//! Timers of every kind: those that a program makes, those that are files, the three of each process; and `adjtimex`.

use crate::check::{equal, fails, holds, need, succeeds, within};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{
    Errno, SignalSet, block_signals, close, default_signal, in_child, now_ns, read, sleep_ns,
};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("timerfd-arguments", timerfd_arguments),
    test("timerfd-once", timerfd_once),
    test("timerfd-again-and-again", timerfd_again_and_again),
    test("timerfd-absolute", timerfd_absolute),
    test("timerfd-clock-set", timerfd_clock_set),
    test("posix-arguments", posix_arguments),
    test("posix-signal", posix_signal),
    test("posix-overrun", posix_overrun),
    test("posix-thread", posix_thread),
    test("posix-life", posix_life),
    test("posix-cpu-time", posix_cpu_time),
    test("interval-timers", interval_timers),
    test("cpu-sleep", cpu_sleep),
    test("adjtimex", adjtimex),
];

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// `struct itimerspec`: interval, then value.
fn setting(value_ns: u64, interval_ns: u64) -> [u64; 4] {
    [interval_ns / SECOND, interval_ns % SECOND, value_ns / SECOND, value_ns % SECOND]
}

fn value_ns(setting: [u64; 4]) -> u64 {
    setting[2] * SECOND + setting[3]
}

fn interval_ns(setting: [u64; 4]) -> u64 {
    setting[0] * SECOND + setting[1]
}

fn timerfd(clock: i32, flags: i32) -> i32 {
    need(call!(SYS_timerfd_create, clock, flags)) as i32
}

fn set_file(file: i32, flags: i32, new: [u64; 4]) -> Result<[u64; 4], Errno> {
    let mut old = [7u64; 4];
    call!(SYS_timerfd_settime, file, flags, &new, &mut old).map(|_| old)
}

fn file_setting(file: i32) -> [u64; 4] {
    let mut now = [7u64; 4];
    need(call!(SYS_timerfd_gettime, file, &mut now));
    now
}

fn expirations(file: i32) -> Result<u64, Errno> {
    let mut bytes = [0u8; 8];
    read(file, &mut bytes).map(|_| u64::from_ne_bytes(bytes))
}

fn poll_in(file: i32, timeout_ms: u64) -> usize {
    let mut entry = [file as u32 as u64 | (libc::POLLIN as u64) << 32];
    let timeout = [timeout_ms / 1000, timeout_ms % 1000 * MILLISECOND];
    need(call!(SYS_ppoll, &mut entry, 1, &timeout, 0, 8))
}

fn timerfd_arguments() {
    for clock in
        [libc::CLOCK_PROCESS_CPUTIME_ID, libc::CLOCK_THREAD_CPUTIME_ID, libc::CLOCK_MONOTONIC_RAW, 77, -1]
    {
        fails(&format!("no timer of clock {clock}"), call!(SYS_timerfd_create, clock, 0), libc::EINVAL);
    }
    fails("unknown flags", call!(SYS_timerfd_create, libc::CLOCK_MONOTONIC, 1), libc::EINVAL);
    let file = timerfd(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
    equal("it closes on exec", call!(SYS_fcntl, file, libc::F_GETFD), Ok(libc::FD_CLOEXEC as usize));
    let flags = need(call!(SYS_fcntl, file, libc::F_GETFL)) as i32;
    equal("it does not wait", flags & libc::O_NONBLOCK, libc::O_NONBLOCK);
    equal("it is not armed", file_setting(file), [0; 4]);
    fails("nothing expired", expirations(file), libc::EAGAIN);
    fails("a read of 7 bytes", read(file, &mut [0; 7]), libc::EINVAL);
    fails("a write", call!(SYS_write, file, &[0u8; 8][..], 8), libc::EINVAL);
    equal("seeking does nothing", call!(SYS_lseek, file, 5, 0), Ok(0));
    fails("pread", call!(SYS_pread64, file, &mut [0u8; 8][..], 8, 0), libc::ESPIPE);
    fails("unknown flags of settime", set_file(file, 4, setting(1, 0)), libc::EINVAL);
    fails("too many nanoseconds", set_file(file, 0, [0, 0, 0, SECOND]), libc::EINVAL);
    fails("too many in the interval", set_file(file, 0, [0, SECOND, 1, 0]), libc::EINVAL);
    fails("a negative time", set_file(file, 0, [0, 0, u64::MAX, 0]), libc::EINVAL);
    fails("a null setting", call!(SYS_timerfd_settime, file, 0, 0, 0), libc::EFAULT);
    fails("gettime to nowhere", call!(SYS_timerfd_gettime, file, 8), libc::EFAULT);
    fails("a file that is no timer", set_file(1, 0, setting(1, 0)), libc::EINVAL);
    fails("no file", set_file(999, 0, setting(1, 0)), libc::EBADF);
    fails("gettime of a file that is no timer", call!(SYS_timerfd_gettime, 1, &mut [0u64; 4]), libc::EINVAL);
    fails("gettime of no file", call!(SYS_timerfd_gettime, 999, &mut [0u64; 4]), libc::EBADF);
}

fn timerfd_once() {
    let file = timerfd(libc::CLOCK_MONOTONIC, 0);
    equal("nothing was set before", set_file(file, 0, setting(50 * MILLISECOND, 0)), Ok([0; 4]));
    within("what is left", value_ns(file_setting(file)), 1..=50 * MILLISECOND);
    equal("it is not ready yet", poll_in(file, 0), 0);
    let before = now_ns();
    equal("a read waits for it", expirations(file), Ok(1));
    within("as long as it takes", now_ns() - before, 30 * MILLISECOND..=2 * SECOND);
    equal("then it is not armed", file_setting(file), [0; 4]);
    equal("poll waits, too", poll_in(file, 20), 0);
    need(set_file(file, 0, setting(20 * MILLISECOND, 0)));
    equal("and is told", poll_in(file, 5000), 1);
    equal("again and again until it is read", poll_in(file, 5000), 1);
    equal("one expiration", expirations(file), Ok(1));
    need(set_file(file, 0, setting(1, 0)));
    sleep_ns(5 * MILLISECOND);
    need(set_file(file, 0, setting(10 * SECOND, 0)));
    equal("setting it anew forgets what expired", poll_in(file, 0), 0);
    let old = need(set_file(file, 0, setting(0, 0)));
    within("the old setting is told", value_ns(old), 9 * SECOND..=10 * SECOND);
    equal("disarmed, nothing is left", file_setting(file), [0; 4]);
    need(set_file(file, 0, setting(0, 5 * SECOND)));
    equal("an interval alone arms nothing", value_ns(file_setting(file)), 0);
}

fn timerfd_again_and_again() {
    let file = timerfd(libc::CLOCK_BOOTTIME, libc::TFD_NONBLOCK);
    need(set_file(file, 0, setting(5 * MILLISECOND, 10 * MILLISECOND)));
    sleep_ns(48 * MILLISECOND);
    within("expirations add up", need(expirations(file)), 5..=200);
    equal("the interval is told", interval_ns(file_setting(file)), 10 * MILLISECOND);
    within("what is left is no more than that", value_ns(file_setting(file)), 1..=10 * MILLISECOND);
    equal("and it goes on", poll_in(file, 5000), 1);
    let copy = need(call!(SYS_dup, file)) as i32;
    need(close(file));
    equal("a copy of the descriptor is the same timer", poll_in(copy, 5000), 1);
    let child = need(in_child(|| i32::from(poll_in(copy, 5000) == 1)));
    equal("and so is a child's", child.wait(), Ok(asyncos_apps::system::Ended::Exited(1)));
}

fn timerfd_absolute() {
    let file = timerfd(libc::CLOCK_MONOTONIC, 0);
    need(set_file(file, libc::TFD_TIMER_ABSTIME, setting(now_ns() + 30 * MILLISECOND, 0)));
    let before = now_ns();
    equal("at a moment", expirations(file), Ok(1));
    within("which was to come", now_ns() - before, 15 * MILLISECOND..=2 * SECOND);
    need(set_file(file, libc::TFD_TIMER_ABSTIME, setting(1, 0)));
    equal("a moment that is over is now", expirations(file), Ok(1));
    let interval = now_ns() / 4;
    need(set_file(file, libc::TFD_TIMER_ABSTIME, setting(1, interval)));
    within("all that would have been count", need(expirations(file)), 4..=6);
    let wall = timerfd(libc::CLOCK_REALTIME, 0);
    let mut now = [0u64; 2];
    need(call!(SYS_clock_gettime, libc::CLOCK_REALTIME, &mut now));
    need(set_file(wall, libc::TFD_TIMER_ABSTIME, [0, 0, now[0] + 100, now[1]]));
    within("a time of day is as far away as it is", value_ns(file_setting(wall)), 90 * SECOND..=100 * SECOND);
    need(set_file(wall, libc::TFD_TIMER_ABSTIME, [0, 0, now[0] - 10, 0]));
    equal("and may be over", expirations(wall), Ok(1));
}

fn timerfd_clock_set() {
    let mut now = [0u64; 2];
    need(call!(SYS_clock_gettime, libc::CLOCK_REALTIME, &mut now));
    let set_by = |offset: i64| {
        let mut now = [0i64; 2];
        need(call!(SYS_clock_gettime, libc::CLOCK_REALTIME, &mut now));
        now[0] += offset;
        need(call!(SYS_clock_settime, libc::CLOCK_REALTIME, &now));
    };
    let (cancelled, moved, length) = (
        timerfd(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK),
        timerfd(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK),
        timerfd(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK),
    );
    let far = [0, 0, now[0] + 1000, 0];
    need(set_file(cancelled, libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET, far));
    need(set_file(moved, libc::TFD_TIMER_ABSTIME, far));
    need(set_file(length, 0, setting(1000 * SECOND, 0)));
    set_by(2000);
    equal("who asked is told that the clock was set", poll_in(cancelled, 5000), 1);
    fails("by an error", expirations(cancelled), libc::ECANCELED);
    equal("a moment that is over now expires", poll_in(moved, 5000), 1);
    equal("once", expirations(moved), Ok(1));
    fails("a length does not", expirations(length), libc::EAGAIN);
    set_by(-2000);
    within("nor is it any longer", value_ns(file_setting(length)), 900 * SECOND..=1000 * SECOND);
}

/// `struct sigevent`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Event {
    value: u64,
    signal: i32,
    how: i32,
    thread: i32,
    rest: [i32; 11],
}

fn by_signal(signal: i32, value: u64) -> Event {
    Event { value, signal, how: libc::SIGEV_SIGNAL, thread: 0, rest: [0; 11] }
}

fn create(clock: i32, event: &Event) -> Result<i32, Errno> {
    let mut id = -1i32;
    call!(SYS_timer_create, clock, event, &mut id).map(|_| id)
}

fn set_timer(id: i32, flags: i32, new: [u64; 4]) -> Result<[u64; 4], Errno> {
    let mut old = [7u64; 4];
    call!(SYS_timer_settime, id, flags, &new, &mut old).map(|_| old)
}

fn timer_setting(id: i32) -> Result<[u64; 4], Errno> {
    let mut now = [7u64; 4];
    call!(SYS_timer_gettime, id, &mut now).map(|_| now)
}

/// Signal, code, number of the timer, overrun and value of what comes in time.
fn take(signal: i32, timeout_ms: u64) -> Result<(i32, i32, i32, i32, u64), Errno> {
    let (set, timeout) = (SignalSet::of(&[signal]), [timeout_ms / 1000, timeout_ms % 1000 * MILLISECOND]);
    let mut information = [0u32; 32];
    call!(SYS_rt_sigtimedwait, &set.0, &mut information, &timeout, 8)?;
    let word = |index: usize| information[index] as i32;
    let value = u64::from(information[6]) | u64::from(information[7]) << 32;
    Ok((word(0), word(2), word(4), word(5), value))
}

fn posix_arguments() {
    let event = by_signal(libc::SIGUSR1, 0);
    fails("no such clock", create(77, &event), libc::EINVAL);
    fails("a clock that is only read", create(libc::CLOCK_MONOTONIC_RAW, &event), libc::EOPNOTSUPP);
    fails("another one", create(libc::CLOCK_REALTIME_COARSE, &event), libc::EOPNOTSUPP);
    fails("no signal", create(libc::CLOCK_MONOTONIC, &by_signal(0, 0)), libc::EINVAL);
    fails("no such signal", create(libc::CLOCK_MONOTONIC, &by_signal(65, 0)), libc::EINVAL);
    fails("no such way", create(libc::CLOCK_MONOTONIC, &Event { how: 9, ..event }), libc::EINVAL);
    let stranger = Event { how: libc::SIGEV_THREAD_ID, thread: 1, ..event };
    fails("a thread of somebody else", create(libc::CLOCK_MONOTONIC, &stranger), libc::EINVAL);
    let id = need(create(libc::CLOCK_MONOTONIC, &event));
    fails("an event that cannot be read", call!(SYS_timer_create, 1, 8, &mut 0i32), libc::EFAULT);
    fails("an id that cannot be written", call!(SYS_timer_create, 1, &event, 8), libc::EFAULT);
    fails("settime of no timer", set_timer(12345, 0, setting(1, 0)), libc::EINVAL);
    fails("gettime of no timer", timer_setting(12345), libc::EINVAL);
    fails("overrun of no timer", call!(SYS_timer_getoverrun, 12345), libc::EINVAL);
    fails("deleting no timer", call!(SYS_timer_delete, 12345), libc::EINVAL);
    fails("a null setting", call!(SYS_timer_settime, id, 0, 0, 0), libc::EINVAL);
    fails("too many nanoseconds", set_timer(id, 0, [0, 0, 0, SECOND]), libc::EINVAL);
    fails("a setting that cannot be read", call!(SYS_timer_settime, id, 0, 8, 0), libc::EFAULT);
    equal("a new timer is not armed", timer_setting(id), Ok([0; 4]));
    equal("and has no overrun", call!(SYS_timer_getoverrun, id), Ok(0));
    succeeds("it can be deleted", call!(SYS_timer_delete, id));
    fails("once", call!(SYS_timer_delete, id), libc::EINVAL);
}

fn posix_signal() {
    need(block_signals(SignalSet::of(&[libc::SIGUSR1, libc::SIGALRM, 40])));
    let id = need(create(libc::CLOCK_MONOTONIC, &by_signal(40, 0x1234_5678_9abc)));
    equal("nothing was set", set_timer(id, 0, setting(20 * MILLISECOND, 0)), Ok([0; 4]));
    within("what is left", value_ns(need(timer_setting(id))), 1..=20 * MILLISECOND);
    let seen = take(40, 5000);
    equal("the signal and what comes with it", seen, Ok((40, libc::SI_TIMER, id, 0, 0x1234_5678_9abc)));
    equal("once", take(40, 30).map(drop), Err(Errno(libc::EAGAIN)));
    equal("it is not armed any more", timer_setting(id), Ok([0; 4]));
    let mut alarm = -1i32;
    need(call!(SYS_timer_create, libc::CLOCK_REALTIME, 0, &mut alarm));
    need(set_timer(alarm, 0, setting(MILLISECOND, 0)));
    let seen = take(libc::SIGALRM, 5000);
    equal("without an event it is SIGALRM", seen, Ok((14, libc::SI_TIMER, alarm, 0, alarm as u64)));
    let silent = Event { how: libc::SIGEV_NONE, ..by_signal(libc::SIGUSR1, 0) };
    let quiet = need(create(libc::CLOCK_MONOTONIC, &silent));
    need(set_timer(quiet, 0, setting(5 * MILLISECOND, 0)));
    within("a silent one counts", value_ns(need(timer_setting(quiet))), 1..=5 * MILLISECOND);
    sleep_ns(10 * MILLISECOND);
    equal("and expires", timer_setting(quiet), Ok([0; 4]));
    equal("without a word", take(libc::SIGUSR1, 0).map(drop), Err(Errno(libc::EAGAIN)));
    need(set_timer(id, libc::TIMER_ABSTIME, setting(1, 0)));
    equal("a moment that is over", take(40, 5000).map(|seen| seen.0), Ok(40));
    need(set_timer(id, 0, setting(10 * SECOND, 3 * SECOND)));
    let old = need(set_timer(id, 0, [0; 4]));
    within("the old setting", value_ns(old), 9 * SECOND..=10 * SECOND);
    equal("and its interval", interval_ns(old), 3 * SECOND);
    need(call!(SYS_timer_delete, id));
    need(call!(SYS_timer_delete, quiet));
}

fn posix_overrun() {
    need(block_signals(SignalSet::of(&[libc::SIGUSR1])));
    let id = need(create(libc::CLOCK_MONOTONIC, &by_signal(libc::SIGUSR1, 7)));
    need(set_timer(id, 0, setting(5 * MILLISECOND, 5 * MILLISECOND)));
    sleep_ns(52 * MILLISECOND);
    let (signal, _, number, overrun, _) = need(take(libc::SIGUSR1, 5000));
    equal("one signal for all", (signal, number), (libc::SIGUSR1, id));
    within("and how many it does not stand for", overrun, 8..=500);
    equal("which can be asked for, too", call!(SYS_timer_getoverrun, id), Ok(overrun as usize));
    let (_, _, _, overrun, _) = need(take(libc::SIGUSR1, 5000));
    within("then it begins anew", overrun, 0..=7);
    let setting_now = need(timer_setting(id));
    within("it goes on", value_ns(setting_now), 1..=5 * MILLISECOND);
    equal("as often", interval_ns(setting_now), 5 * MILLISECOND);
    need(call!(SYS_timer_delete, id));
    while take(libc::SIGUSR1, 0).is_ok() {}
    equal("deleted, it is silent", take(libc::SIGUSR1, 30).map(drop), Err(Errno(libc::EAGAIN)));
    let ids = [1, 2].map(|value| need(create(libc::CLOCK_MONOTONIC, &by_signal(libc::SIGUSR1, value))));
    for id in ids {
        need(set_timer(id, 0, setting(MILLISECOND, 0)));
    }
    sleep_ns(20 * MILLISECOND);
    let mut values = [take(libc::SIGUSR1, 5000), take(libc::SIGUSR1, 0)].map(|seen| seen.map(|seen| seen.4));
    values.sort_by_key(|value| value.unwrap_or(u64::MAX));
    equal("two timers with one signal tell both", values, [Ok(1), Ok(2)]);
}

fn posix_thread() {
    need(block_signals(SignalSet::of(&[42])));
    let (tell, ids) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let _ = tell.send(need(call!(SYS_gettid)) as i32);
        let _ = wait.recv();
        let seen = take(42, 5000);
        (seen, take(42, 0).map(drop))
    });
    let thread = ids.recv().unwrap_or(0);
    let event = Event { how: libc::SIGEV_THREAD_ID, thread, ..by_signal(42, 9) };
    let id = need(create(libc::CLOCK_MONOTONIC, &event));
    need(set_timer(id, 0, setting(MILLISECOND, 0)));
    sleep_ns(20 * MILLISECOND);
    equal("the signal of another thread is not ours", take(42, 10).map(drop), Err(Errno(libc::EAGAIN)));
    let _ = go.send(());
    let (first, second) = other.join().unwrap_or((Err(Errno(0)), Ok(())));
    equal("it is that thread's", first, Ok((42, libc::SI_TIMER, id, 0, 9)));
    equal("once", second, Err(Errno(libc::EAGAIN)));
    need(set_timer(id, 0, setting(MILLISECOND, 0)));
    sleep_ns(10 * MILLISECOND);
    equal("with the thread gone nobody gets it", take(42, 10).map(drop), Err(Errno(libc::EAGAIN)));
}

fn posix_life() {
    need(block_signals(SignalSet::of(&[libc::SIGUSR1])));
    let id = need(create(libc::CLOCK_MONOTONIC, &by_signal(libc::SIGUSR1, 0)));
    need(set_timer(id, 0, setting(20 * MILLISECOND, 0)));
    let child = need(in_child(|| {
        let unknown = timer_setting(id) == Err(Errno(libc::EINVAL));
        let silent = take(libc::SIGUSR1, 60).is_err();
        i32::from(unknown) + 2 * i32::from(silent)
    }));
    equal("a child has none of them", child.wait(), Ok(asyncos_apps::system::Ended::Exited(3)));
    equal("the parent's goes on", take(libc::SIGUSR1, 5000).map(|seen| seen.0), Ok(libc::SIGUSR1));
    let ids: Vec<i32> =
        (0..100).map(|value| need(create(libc::CLOCK_MONOTONIC, &by_signal(libc::SIGUSR1, value)))).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    equal("a hundred timers have numbers of their own", sorted.len(), 100);
    for id in &ids {
        need(set_timer(*id, 0, setting(SECOND, SECOND)));
    }
    let all_gone = ids.iter().all(|id| call!(SYS_timer_delete, *id).is_ok());
    holds("and can be deleted while they are armed", all_gone);
}

/// Uses processor time in user mode.
fn burn(duration_ns: u64) {
    let mut clock = [0u64; 2];
    let mut used = || {
        need(call!(SYS_clock_gettime, libc::CLOCK_THREAD_CPUTIME_ID, &mut clock));
        clock[0] * SECOND + clock[1]
    };
    let start = used();
    let mut sum = 0u64;
    while used() - start < duration_ns {
        for round in 0..20_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(round));
        }
    }
}

fn posix_cpu_time() {
    need(block_signals(SignalSet::of(&[libc::SIGUSR1])));
    let id = need(create(libc::CLOCK_PROCESS_CPUTIME_ID, &by_signal(libc::SIGUSR1, 0)));
    need(set_timer(id, 0, setting(40 * MILLISECOND, 0)));
    sleep_ns(120 * MILLISECOND);
    equal("sleeping uses no processor time", take(libc::SIGUSR1, 0).map(drop), Err(Errno(libc::EAGAIN)));
    within("so most of it is left", value_ns(need(timer_setting(id))), 10 * MILLISECOND..=40 * MILLISECOND);
    burn(60 * MILLISECOND);
    equal("computing does", take(libc::SIGUSR1, 2000).map(|seen| seen.0), Ok(libc::SIGUSR1));
    let own = need(create(libc::CLOCK_THREAD_CPUTIME_ID, &by_signal(libc::SIGUSR1, 0)));
    need(set_timer(own, 0, setting(20 * MILLISECOND, 0)));
    let other = std::thread::spawn(|| burn(60 * MILLISECOND));
    let _ = other.join();
    let before = take(libc::SIGUSR1, 0).map(drop);
    equal("another thread's time is not this one's", before, Err(Errno(libc::EAGAIN)));
    burn(40 * MILLISECOND);
    equal("this one's is", take(libc::SIGUSR1, 2000).map(|seen| seen.0), Ok(libc::SIGUSR1));
}

fn interval_timers() {
    let get = |which: i32| {
        let mut now = [7i64; 4];
        call!(SYS_getitimer, which, &mut now).map(|_| now)
    };
    let set = |which: i32, new: [i64; 4]| {
        let mut old = [7i64; 4];
        call!(SYS_setitimer, which, &new, &mut old).map(|_| old)
    };
    fails("no such timer", get(3), libc::EINVAL);
    fails("nor to be set", set(3, [0; 4]), libc::EINVAL);
    fails("too many microseconds", set(0, [0, 0, 0, 1_000_000]), libc::EINVAL);
    fails("a negative time", set(0, [0, 0, -1, 0]), libc::EINVAL);
    fails("a setting that cannot be read", call!(SYS_setitimer, 0, 8, 0), libc::EFAULT);
    let kinds = [
        (libc::ITIMER_REAL, libc::SIGALRM),
        (libc::ITIMER_VIRTUAL, libc::SIGVTALRM),
        (libc::ITIMER_PROF, libc::SIGPROF),
    ];
    for (which, signal) in kinds {
        need(block_signals(SignalSet::of(&[signal])));
        equal(&format!("{which} is not armed"), get(which), Ok([0; 4]));
        need(set(which, [0, 10_000, 0, 20_000]));
        let left = need(get(which));
        equal(&format!("the interval of {which}"), left[..2].to_vec(), vec![0, 10_000]);
        within(&format!("what is left of {which}"), left[3], 1..=30_000);
        burn(60 * MILLISECOND);
        let (got, code, ..) = take(signal, 2000).unwrap_or((0, 0, 0, 0, 0));
        equal(&format!("the signal of {which}"), (got, code), (signal, libc::SI_KERNEL));
        burn(30 * MILLISECOND);
        equal(&format!("{which} goes on"), take(signal, 2000).map(|seen| seen.0), Ok(signal));
        need(set(which, [0; 4]));
        equal(&format!("disarmed, {which} is not"), get(which), Ok([0; 4]));
        let _ = take(signal, 0);
    }
    need(set(libc::ITIMER_REAL, [0, 0, 100, 0]));
    let child = need(in_child(|| i32::from(get(libc::ITIMER_REAL) == Ok([0; 4]))));
    equal("a child has no timer armed", child.wait(), Ok(asyncos_apps::system::Ended::Exited(1)));
    need(set(libc::ITIMER_VIRTUAL, [0, 0, 0, 10_000]));
    sleep_ns(60 * MILLISECOND);
    equal("sleeping is no time in user mode", take(libc::SIGVTALRM, 0).map(drop), Err(Errno(libc::EAGAIN)));
    let killed = need(in_child(|| {
        let _ = default_signal(libc::SIGPROF);
        let _ = call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &0u64, 0, 8);
        let _ = set(libc::ITIMER_PROF, [0, 0, 0, 20_000]);
        loop {
            burn(MILLISECOND);
        }
    }));
    equal(
        "and its signal ends who did not ask",
        killed.wait(),
        Ok(asyncos_apps::system::Ended::Killed(libc::SIGPROF)),
    );
}

fn cpu_sleep() {
    let time = [0u64, 20 * MILLISECOND];
    let other_clock = |id: i32, kind: i32| !id << 3 | kind;
    fails(
        "the clock of one's own thread",
        call!(SYS_clock_nanosleep, libc::CLOCK_THREAD_CPUTIME_ID, 0, &time, 0),
        libc::EOPNOTSUPP,
    );
    fails(
        "by its number, too",
        call!(SYS_clock_nanosleep, other_clock(need(call!(SYS_gettid)) as i32, 4 | 2), 0, &time, 0),
        libc::EINVAL,
    );
    let worker = std::thread::spawn(|| burn(200 * MILLISECOND));
    let before = now_ns();
    succeeds(
        "until other threads have used so much",
        call!(SYS_clock_nanosleep, libc::CLOCK_PROCESS_CPUTIME_ID, 0, &time, 0),
    );
    within("which takes its time", now_ns() - before, 15 * MILLISECOND..=5 * SECOND);
    let mut used = [0u64; 2];
    need(call!(SYS_clock_gettime, libc::CLOCK_PROCESS_CPUTIME_ID, &mut used));
    let target = [used[0], used[1] + 30 * MILLISECOND];
    let target = [target[0] + target[1] / SECOND, target[1] % SECOND];
    let absolute =
        call!(SYS_clock_nanosleep, libc::CLOCK_PROCESS_CPUTIME_ID, libc::TIMER_ABSTIME, &target, 0);
    succeeds("until a moment of it", absolute);
    need(call!(SYS_clock_gettime, libc::CLOCK_PROCESS_CPUTIME_ID, &mut used));
    holds("is then over", used >= target);
    let _ = worker.join();
    let child = need(in_child(|| {
        burn(100 * MILLISECOND);
        0
    }));
    succeeds("of another process", call!(SYS_clock_nanosleep, other_clock(child.0, 2), 0, &time, 0));
    need(child.wait());
    let gone = call!(SYS_clock_nanosleep, other_clock(child.0, 2), 0, &time, 0);
    fails("which must be there", gone, libc::EINVAL);
}

fn adjtimex() {
    let mut timex = [0u64; 26];
    timex[1] = 99;
    equal("nobody disciplines the clock", call!(SYS_adjtimex, &mut timex), Ok(5));
    equal("which its status says", timex[5] & 0x40, 0x40);
    equal("its tick", timex[11], 10_000);
    equal("the offset is told, not taken", timex[1], 0);
    timex[0] = 0xa001;
    equal("who asks how much is left to adjust", call!(SYS_adjtimex, &mut timex), Ok(5));
    equal("hears nothing", timex[1], 0);
    (timex[0], timex[1]) = (0x8001, 0);
    equal("an adjustment by nothing", call!(SYS_adjtimex, &mut timex), Ok(5));
    timex[0] = 0;
    let mut now = [0u64; 2];
    need(call!(SYS_clock_gettime, libc::CLOCK_REALTIME, &mut now));
    within("what time it is", now[0] - timex[9], 0..=10);
    equal("clock_adjtime tells the same", call!(SYS_clock_adjtime, libc::CLOCK_REALTIME, &mut timex), Ok(5));
    fails(
        "of the time of day only",
        call!(SYS_clock_adjtime, libc::CLOCK_MONOTONIC, &mut timex),
        libc::EOPNOTSUPP,
    );
    fails("of no clock", call!(SYS_clock_adjtime, 77, &mut timex), libc::EINVAL);
    fails("to nowhere", call!(SYS_adjtimex, 8), libc::EFAULT);
    let child = need(in_child(|| {
        let _ = asyncos_apps::system::become_user(1000);
        let mut timex = [0u64; 26];
        timex[0] = 1;
        i32::from(call!(SYS_adjtimex, &mut timex) == Err(Errno(libc::EPERM)))
    }));
    equal("who may not set it may not adjust it", child.wait(), Ok(asyncos_apps::system::Ended::Exited(1)));
}
