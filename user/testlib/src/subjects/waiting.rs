//! Waiting for many files at once: `poll`, `select`, `epoll`, and counters (`eventfd`).

use crate::check::{equal, fails, need, succeeds, within};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Ended, Errno, close, in_child, now_ns, open, pipe, read, sleep_ns, write};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("poll", poll),
    test("select", select),
    test("masks", masks),
    test("epoll-arguments", epoll_arguments),
    test("epoll-triggers", epoll_triggers),
    test("epoll-nested", epoll_nested),
    test("epoll-exclusive", epoll_exclusive),
    test("epoll-life", epoll_life),
    test("counters", counters),
];

const MILLISECOND: u64 = 1_000_000;

fn entry(file: i32, events: i16) -> u64 {
    u64::from(file as u32) | u64::from(events as u16) << 32
}

/// How many are ready, and what the first is ready for.
fn poll_one(file: i32, events: i16, timeout_ms: u64) -> (usize, i16) {
    let mut entry = [entry(file, events)];
    let time = [timeout_ms / 1000, timeout_ms % 1000 * MILLISECOND];
    let count = need(call!(SYS_ppoll, &mut entry, 1, &time, 0, 8));
    (count, (entry[0] >> 48) as i16)
}

fn poll() {
    let (reading, writing) = need(pipe(0));
    equal("nothing to read", poll_one(reading, libc::POLLIN, 0), (0, 0));
    equal("room to write", poll_one(writing, libc::POLLOUT, 0), (1, libc::POLLOUT));
    equal("no such file", poll_one(999, libc::POLLIN, 0), (1, libc::POLLNVAL));
    equal("a negative one is passed over", poll_one(-1, libc::POLLIN, 0), (0, 0));
    let before = now_ns();
    equal("in vain", poll_one(reading, libc::POLLIN, 30), (0, 0));
    within("as long as it takes", now_ns() - before, 25 * MILLISECOND..=3000 * MILLISECOND);
    need(write(writing, b"x"));
    let both = libc::POLLIN | libc::POLLRDNORM;
    equal("something to read", poll_one(reading, both, 0), (1, both));
    equal("what is not asked for is not told", poll_one(reading, libc::POLLPRI, 0), (0, 0));
    need(close(writing));
    equal("hung up is told unasked", poll_one(reading, 0, 0), (1, libc::POLLHUP));
    need(read(reading, &mut [0; 8]));
    equal("and alone when nothing is left", poll_one(reading, libc::POLLIN, 0), (1, libc::POLLHUP));
    let (reading, writing) = need(pipe(0));
    need(close(reading));
    equal("nobody reads", poll_one(writing, libc::POLLOUT, 0), (1, libc::POLLOUT | libc::POLLERR));
    let file = need(open(c"/proc/self/exe", 0));
    equal("a plain file is always ready", poll_one(file, libc::POLLIN | libc::POLLOUT, 0).0, 1);
    fails("too many nanoseconds", call!(SYS_ppoll, 0, 0, &[0u64, 1_000_000_000], 0, 8), libc::EINVAL);
    fails("a negative time", call!(SYS_ppoll, 0, 0, &[u64::MAX, 0], 0, 8), libc::EINVAL);
    fails("entries that cannot be read", call!(SYS_ppoll, 8, 1, &[0u64; 2], 0, 8), libc::EFAULT);
    let mut left = [5u64, 0];
    let mut ready = [entry(file, libc::POLLIN)];
    need(call!(SYS_ppoll, &mut ready, 1, &mut left, 0, 8));
    within("what is left of the time is told", left[0], 4..=4);
    let mut same = [entry(file, libc::POLLIN), entry(file, libc::POLLOUT), entry(-5, 7)];
    equal("one file twice", call!(SYS_ppoll, &mut same, 3, &[0u64; 2], 0, 8), Ok(2));
}

fn select() {
    let (reading, writing) = need(pipe(0));
    let set = |file: i32| {
        let mut set = [0u64; 16];
        set[file as usize / 64] |= 1 << (file % 64);
        set
    };
    let zero = [0u64; 2];
    let mut read_set = set(reading);
    equal("nothing to read", call!(SYS_pselect6, writing + 1, &mut read_set, 0, 0, &zero, 0), Ok(0));
    equal("the set is empty then", read_set, [0; 16]);
    let (mut read_set, mut write_set) = (set(reading), set(writing));
    need(write(writing, b"x"));
    let ready = call!(SYS_pselect6, writing + 1, &mut read_set, &mut write_set, 0, &zero, 0);
    equal("two bits", ready, Ok(2));
    equal("which", (read_set, write_set), (set(reading), set(writing)));
    let mut read_set = set(reading);
    equal("beyond the number", call!(SYS_pselect6, reading, &mut read_set, 0, 0, &zero, 0), Ok(0));
    fails("a negative number", call!(SYS_pselect6, -1, 0, 0, 0, &zero, 0), libc::EINVAL);
    fails("no such file", call!(SYS_pselect6, 64, &mut set(60), 0, 0, &zero, 0), libc::EBADF);
    fails("a set that cannot be read", call!(SYS_pselect6, 64, 8, 0, 0, &zero, 0), libc::EFAULT);
    fails("a time that cannot be", call!(SYS_pselect6, 0, 0, 0, 0, &[0u64, 1_000_000_000], 0), libc::EINVAL);
    let (mut all, mut left) = (set(reading), [5u64, 0]);
    equal("with time", call!(SYS_pselect6, writing + 1, &mut all, 0, 0, &mut left, 0), Ok(1));
    within("what is left is told", left[0], 4..=4);
    need(read(reading, &mut [0; 1]));
    need(close(writing));
    let mut read_set = set(reading);
    equal("an end can be read", call!(SYS_pselect6, reading + 1, &mut read_set, 0, 0, &zero, 0), Ok(1));
}

fn masks() {
    crate::handling::note_signal(libc::SIGUSR1, 0);
    crate::handling::set_mask(1 << (libc::SIGUSR1 - 1));
    crate::handling::raise(libc::SIGUSR1);
    let (nothing, five) = (0u64, [5u64, 0]);
    fails("poll with another mask", call!(SYS_ppoll, 0, 0, &five, &nothing, 8), libc::EINTR);
    equal("handles what it lets in", crate::handling::handled(), 1);
    equal("and has the old one back", crate::handling::mask(), 1 << (libc::SIGUSR1 - 1));
    crate::handling::raise(libc::SIGUSR1);
    let pair = [std::ptr::from_ref(&nothing) as usize, 8];
    fails("select with one", call!(SYS_pselect6, 0, 0, 0, 0, &five, &pair), libc::EINTR);
    equal("handles, too", crate::handling::handled(), 1);
    let list = need(call!(SYS_epoll_create1, 0)) as i32;
    crate::handling::raise(libc::SIGUSR1);
    let mut events = [0u64; 2];
    fails("epoll with one", call!(SYS_epoll_pwait, list, &mut events, 1, 5000, &nothing, 8), libc::EINTR);
    equal("as well", crate::handling::handled(), 1);
    fails("a mask of another size", call!(SYS_ppoll, 0, 0, &five, &nothing, 4), libc::EINVAL);
}

fn list() -> i32 {
    need(call!(SYS_epoll_create1, 0)) as i32
}

fn control(list: i32, operation: i32, file: i32, events: u32, data: u64) -> Result<usize, Errno> {
    call!(SYS_epoll_ctl, list, operation, file, &[u64::from(events), data])
}

/// Events and data of what is ready, up to four.
fn ready(list: i32, timeout_ms: i32) -> Vec<(u32, u64)> {
    let mut events = [0u64; 8];
    let count = need(call!(SYS_epoll_pwait, list, &mut events, 4, timeout_ms, 0, 8));
    events.chunks(2).take(count).map(|event| (event[0] as u32, event[1])).collect()
}

const ADD: i32 = libc::EPOLL_CTL_ADD;
const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;

fn epoll_arguments() {
    fails("unknown flags", call!(SYS_epoll_create1, 1), libc::EINVAL);
    let list = list();
    let (reading, writing) = need(pipe(0));
    fails("no such file", control(list, ADD, 999, IN, 0), libc::EBADF);
    fails("no such list", control(999, ADD, reading, IN, 0), libc::EBADF);
    fails("a list that is none", control(reading, ADD, writing, IN, 0), libc::EINVAL);
    fails("itself", control(list, ADD, list, IN, 0), libc::EINVAL);
    fails("no such operation", control(list, 9, reading, IN, 0), libc::EINVAL);
    let file = need(open(c"/proc/self/exe", 0));
    fails("a plain file", control(list, ADD, file, IN, 0), libc::EPERM);
    fails("an event that cannot be read", call!(SYS_epoll_ctl, list, ADD, reading, 8), libc::EFAULT);
    fails("change of what is not there", control(list, libc::EPOLL_CTL_MOD, reading, IN, 0), libc::ENOENT);
    fails("removal of it", control(list, libc::EPOLL_CTL_DEL, reading, IN, 0), libc::ENOENT);
    succeeds("it is added", control(list, ADD, reading, IN, 5));
    fails("once", control(list, ADD, reading, IN, 5), libc::EEXIST);
    let copy = need(call!(SYS_dup, reading)) as i32;
    succeeds("a copy is another", control(list, ADD, copy, IN, 6));
    succeeds("removal needs no event", call!(SYS_epoll_ctl, list, libc::EPOLL_CTL_DEL, copy, 0));
    let mut events = [0u64; 2];
    fails("no room", call!(SYS_epoll_pwait, list, &mut events, 0, 0, 0, 8), libc::EINVAL);
    fails(
        "waiting on what is no list",
        call!(SYS_epoll_pwait, reading, &mut events, 1, 0, 0, 8),
        libc::EINVAL,
    );
    need(write(writing, b"x"));
    fails("events to nowhere", call!(SYS_epoll_pwait, list, 8, 1, 0, 0, 8), libc::EFAULT);
    equal("are still there", ready(list, 0), vec![(IN, 5)]);
    let time = [0u64, 1_000_000_000];
    fails("too many nanoseconds", call!(SYS_epoll_pwait2, list, &mut events, 1, &time, 0, 8), libc::EINVAL);
    equal("the newer call", call!(SYS_epoll_pwait2, list, &mut events, 1, &[0u64, 1], 0, 8), Ok(1));
}

fn epoll_triggers() {
    let (reading, writing) = need(pipe(0));
    let level = list();
    need(control(level, ADD, reading, IN, 1));
    equal("nothing yet", ready(level, 0), vec![]);
    need(write(writing, b"x"));
    equal("level: ready", ready(level, 1000), vec![(IN, 1)]);
    equal("and still", ready(level, 0), vec![(IN, 1)]);
    need(read(reading, &mut [0; 1]));
    equal("until it is not", ready(level, 0), vec![]);
    let edge = list();
    need(control(edge, ADD, reading, IN | libc::EPOLLET as u32, 2));
    need(write(writing, b"x"));
    equal("edge: once", ready(edge, 1000), vec![(IN, 2)]);
    equal("no more", ready(edge, 20), vec![]);
    need(write(writing, b"y"));
    equal("until more comes", ready(edge, 1000), vec![(IN, 2)]);
    need(control(edge, libc::EPOLL_CTL_MOD, reading, IN | libc::EPOLLET as u32, 3));
    equal("a change looks again", ready(edge, 0), vec![(IN, 3)]);
    let once = list();
    need(control(once, ADD, reading, IN | libc::EPOLLONESHOT as u32, 4));
    equal("one shot: once", ready(once, 1000), vec![(IN, 4)]);
    need(write(writing, b"z"));
    equal("even if more comes", ready(once, 20), vec![]);
    need(control(once, libc::EPOLL_CTL_MOD, reading, IN | libc::EPOLLONESHOT as u32, 5));
    equal("until it is armed", ready(once, 1000), vec![(IN, 5)]);
    need(close(writing));
    let hung_up = IN | libc::EPOLLHUP as u32;
    equal("hung up is told unasked", ready(level, 1000), vec![(hung_up, 1)]);
    let (_reading, writing) = need(pipe(0));
    let both = list();
    need(control(both, ADD, writing, OUT, 6));
    equal("room to write", ready(both, 0), vec![(OUT, 6)]);
    need(control(both, libc::EPOLL_CTL_MOD, writing, 0, 7));
    equal("nothing is wanted", ready(both, 0), vec![]);
}

fn epoll_nested() {
    let (reading, writing) = need(pipe(0));
    let (inner, outer) = (list(), list());
    need(control(inner, ADD, reading, IN, 1));
    succeeds("a list in a list", control(outer, ADD, inner, IN, 2));
    equal("nothing is ready", ready(outer, 0), vec![]);
    need(write(writing, b"x"));
    equal("what is ready inside is outside", ready(outer, 1000), vec![(IN, 2)]);
    equal("and poll knows", poll_one(outer, libc::POLLIN, 0), (1, libc::POLLIN));
    need(read(reading, &mut [0; 1]));
    equal("until it is not", ready(outer, 0), vec![]);
    fails("a circle", control(inner, ADD, outer, IN, 3), libc::ELOOP);
    let mut lists: Vec<i32> = (0..5).map(|_| list()).collect();
    let chained = lists.windows(2).filter(|pair| control(pair[0], ADD, pair[1], IN, 0).is_ok()).count();
    equal("a chain", chained, 4);
    lists.insert(0, list());
    fails(
        "that is too long",
        control(lists[0], ADD, lists[1], IN, 0).and_then(|_| {
            let one_more = list();
            control(one_more, ADD, lists[0], IN, 0)
        }),
        libc::ELOOP,
    );
}

fn epoll_exclusive() {
    let (reading, writing) = need(pipe(0));
    let exclusive = libc::EPOLLEXCLUSIVE as u32;
    let list_one = list();
    let spent = exclusive | IN | libc::EPOLLONESHOT as u32;
    fails("exclusive and one shot", control(list_one, ADD, reading, spent, 0), libc::EINVAL);
    succeeds("exclusive", control(list_one, ADD, reading, exclusive | IN, 1));
    fails("stays as it is", control(list_one, libc::EPOLL_CTL_MOD, reading, IN, 1), libc::EINVAL);
    let inner = list();
    fails("not of a list", control(list_one, ADD, inner, exclusive | IN, 1), libc::EINVAL);
    need(write(writing, b"x"));
    equal("it is told", ready(list_one, 1000), vec![(IN, 1)]);
}

fn epoll_life() {
    let (reading, writing) = need(pipe(0));
    let list = list();
    need(control(list, ADD, reading, IN, 1));
    let copy = need(call!(SYS_dup, reading)) as i32;
    need(close(reading));
    need(write(writing, b"x"));
    equal("a file lasts as long as its copies", ready(list, 1000), vec![(IN, 1)]);
    need(close(copy));
    equal("and no longer", ready(list, 0), vec![]);
    let (reading, writing) = need(pipe(0));
    need(control(list, ADD, reading, IN, 2));
    let child = need(in_child(|| {
        sleep_ns(30 * MILLISECOND);
        i32::from(write(writing, b"x") != Ok(1))
    }));
    equal("another process wakes", ready(list, 5000), vec![(IN, 2)]);
    equal("by writing", child.wait(), Ok(Ended::Exited(0)));
    let pipes: Vec<_> = (0..3).map(|_| need(pipe(0))).collect();
    for (pipe, data) in pipes.iter().zip(10..) {
        need(control(list, ADD, pipe.0, IN, data));
        need(write(pipe.1, b"x"));
    }
    need(read(reading, &mut [0; 1]));
    let mut found: Vec<u64> = ready(list, 1000).into_iter().map(|(_, data)| data).collect();
    found.sort_unstable();
    equal("several", found, vec![10, 11, 12]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut event = [0u64; 2];
        need(call!(SYS_epoll_pwait, list, &mut event, 1, 1000, 0, 8));
        seen.insert(event[1]);
    }
    equal("one at a time, each in turn", seen.len(), 3);
}

fn counters() {
    fails("unknown flags", call!(SYS_eventfd2, 0, 2), libc::EINVAL);
    let counter = need(call!(SYS_eventfd2, 5, libc::EFD_NONBLOCK)) as i32;
    let mut bytes = [0; 8];
    equal("the first value", read(counter, &mut bytes).map(|_| u64::from_ne_bytes(bytes)), Ok(5));
    fails("then nothing", read(counter, &mut bytes), libc::EAGAIN);
    need(write(counter, &3u64.to_ne_bytes()));
    need(write(counter, &4u64.to_ne_bytes()));
    equal("values add up", read(counter, &mut bytes).map(|_| u64::from_ne_bytes(bytes)), Ok(7));
    fails("too short", read(counter, &mut [0; 7]), libc::EINVAL);
    fails("too short to write", write(counter, &[0; 7]), libc::EINVAL);
    fails("too much", write(counter, &u64::MAX.to_ne_bytes()), libc::EINVAL);
    equal("almost all", write(counter, &(u64::MAX - 1).to_ne_bytes()), Ok(8));
    fails("is full", write(counter, &1u64.to_ne_bytes()), libc::EAGAIN);
    equal("there is no room", poll_one(counter, libc::POLLIN | libc::POLLOUT, 0), (1, libc::POLLIN));
    let semaphore = need(call!(SYS_eventfd2, 2, libc::EFD_SEMAPHORE | libc::EFD_NONBLOCK)) as i32;
    let mut take = || read(semaphore, &mut bytes).map(|_| u64::from_ne_bytes(bytes));
    equal(
        "a semaphore gives one at a time",
        [take(), take(), take()],
        [Ok(1), Ok(1), Err(Errno(libc::EAGAIN))],
    );
    let waiting = need(call!(SYS_eventfd2, 0, 0)) as i32;
    let child = need(in_child(|| {
        sleep_ns(20 * MILLISECOND);
        i32::from(write(waiting, &9u64.to_ne_bytes()) != Ok(8))
    }));
    equal("a read waits", read(waiting, &mut bytes).map(|_| u64::from_ne_bytes(bytes)), Ok(9));
    equal("for a write", child.wait(), Ok(Ended::Exited(0)));
    need(write(waiting, &(u64::MAX - 1).to_ne_bytes()));
    let child = need(in_child(|| {
        sleep_ns(20 * MILLISECOND);
        i32::from(read(waiting, &mut [0; 8]) != Ok(8))
    }));
    equal("and a write for a read", write(waiting, &2u64.to_ne_bytes()), Ok(8));
    need(child.wait());
}
