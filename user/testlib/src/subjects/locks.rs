//! Advisory locks: of ranges, by process and by open description, and of whole files.

use crate::check::{equal, fails, need, succeeds};
use crate::runner::{Test, test};
use crate::socket::{close_all, ended};
use asyncos_apps::call;
use asyncos_apps::system::{
    Child, Ended, Errno, close, handle_signal, in_child, open, pipe, read, sleep_ns, write,
};
use std::ffi::CStr;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("ranges", ranges),
    test("ranges-of-a-process", ranges_of_a_process),
    test("ranges-of-a-description", ranges_of_a_description),
    test("waiting", waiting),
    test("deadlock", deadlock),
    test("interrupted", interrupted),
    test("whole-files", whole_files),
    test("arguments", arguments),
];

const PATH: &CStr = c"/tmp/testlib-locks";
const READ: i16 = libc::F_RDLCK as i16;
const WRITE: i16 = libc::F_WRLCK as i16;
const NONE: i16 = libc::F_UNLCK as i16;

/// `struct flock`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
struct Lock {
    kind: i16,
    whence: i16,
    padding: i32,
    start: i64,
    length: i64,
    process: i32,
    padding_2: i32,
}

fn lock(kind: i16, start: i64, length: i64) -> Lock {
    Lock { kind, start, length, ..Lock::default() }
}

fn set(file: i32, lock: Lock) -> Result<usize, Errno> {
    call!(SYS_fcntl, file, libc::F_SETLK, &lock)
}

fn set_for_description(file: i32, lock: Lock) -> Result<usize, Errno> {
    call!(SYS_fcntl, file, libc::F_OFD_SETLK, &lock)
}

/// Kind, start, length and process of the lock in the way of one that another process wants.
fn in_the_way(wanted: Lock) -> (i16, i64, i64, i32) {
    let (reader, writer) = need(pipe(0));
    let child = in_child(|| {
        let file = need(open(PATH, libc::O_RDWR));
        let mut found = wanted;
        need(call!(SYS_fcntl, file, libc::F_GETLK, &mut found));
        let words = [i64::from(found.kind), found.start, found.length, i64::from(found.process)];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        i32::from(write(writer, &bytes) != Ok(32))
    });
    equal("who asks", ended(child), Ended::Exited(0));
    let mut bytes = [0; 32];
    need(read(reader, &mut bytes));
    close_all(&[reader, writer]);
    let word = |index: usize| i64::from_ne_bytes(*bytes[8 * index..].first_chunk().expect("eight bytes"));
    (word(0) as i16, word(1), word(2), word(3) as i32)
}

/// Whether another process gets a lock at once.
fn another_gets(wanted: Lock) -> bool {
    let child = in_child(|| {
        let file = need(open(PATH, libc::O_RDWR));
        i32::from(set(file, wanted).is_err())
    });
    ended(child) == Ended::Exited(0)
}

fn fresh() -> i32 {
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, PATH, 0);
    need(open(PATH, libc::O_CREAT | libc::O_RDWR))
}

fn ranges() {
    let file = fresh();
    let own = std::process::id() as i32;
    succeeds("bytes 10 to 19 for writing", set(file, lock(WRITE, 10, 10)));
    equal("another who wants some finds it", in_the_way(lock(READ, 15, 100)), (WRITE, 10, 10, own));
    equal("or finds none elsewhere", in_the_way(lock(WRITE, 20, 0)).0, NONE);
    equal("and does not get it", another_gets(lock(WRITE, 0, 11)), false);
    equal("but what is beside", another_gets(lock(WRITE, 0, 10)), true);
    succeeds("its middle is released", set(file, lock(NONE, 13, 4)));
    equal("which another gets", another_gets(lock(WRITE, 13, 4)), true);
    equal("the start remains", in_the_way(lock(WRITE, 0, 13)), (WRITE, 10, 3, own));
    equal("and the end", in_the_way(lock(WRITE, 14, 0)), (WRITE, 17, 3, own));
    succeeds("all of it for reading", set(file, lock(READ, 10, 10)));
    equal("is one lock again", in_the_way(lock(WRITE, 0, 0)), (READ, 10, 10, own));
    equal("which others share", another_gets(lock(READ, 10, 10)), true);
    succeeds("to the end, wherever that is", set(file, lock(WRITE, 100, 0)));
    equal("that is told so", in_the_way(lock(READ, 1 << 40, 1)), (WRITE, 100, 0, own));
    need(write(file, &[0; 50]));
    let from_the_end = Lock { whence: libc::SEEK_END as i16, ..lock(WRITE, -10, 5) };
    succeeds("counted from the end", set(file, from_the_end));
    equal("it is where it is", in_the_way(lock(WRITE, 41, 1)), (WRITE, 40, 5, own));
    let backwards = Lock { whence: libc::SEEK_CUR as i16, ..lock(WRITE, 20, -5) };
    succeeds("a negative length", set(file, backwards));
    equal("goes backwards", in_the_way(lock(WRITE, 66, 1)), (WRITE, 65, 5, own));
    close_all(&[file]);
}

fn ranges_of_a_process() {
    let file = fresh();
    let other = need(open(PATH, libc::O_RDWR));
    need(set(file, lock(WRITE, 0, 10)));
    succeeds("a process has no conflict with itself", set(other, lock(WRITE, 5, 10)));
    equal("a child is another", another_gets(lock(WRITE, 5, 1)), false);
    need(close(other));
    equal("closing any descriptor releases all", another_gets(lock(WRITE, 0, 0)), true);
    need(set(file, lock(WRITE, 0, 0)));
    let holder = in_child(|| i32::from(set(file, lock(WRITE, 0, 0)).is_ok()));
    equal("a child inherits none", ended(holder), Ended::Exited(0));
    need(set(file, lock(NONE, 0, 0)));
    let child = in_child(|| i32::from(set(file, lock(WRITE, 0, 0)).is_err()));
    equal("a child that takes one", ended(child), Ended::Exited(0));
    succeeds("loses it when it ends", set(file, lock(WRITE, 0, 0)));
    close_all(&[file]);
}

fn ranges_of_a_description() {
    let file = fresh();
    let other = need(open(PATH, libc::O_RDWR));
    succeeds("a lock of a description", set_for_description(file, lock(WRITE, 0, 10)));
    fails("another description of this process", set_for_description(other, lock(WRITE, 5, 1)), libc::EAGAIN);
    let mut found = lock(WRITE, 5, 1);
    need(call!(SYS_fcntl, other, libc::F_OFD_GETLK, &mut found));
    equal("is told of it, and of no process", (found.kind, found.start, found.process), (WRITE, 0, -1));
    fails("it is in the process's own way", set(other, lock(WRITE, 5, 1)), libc::EAGAIN);
    let copy = need(call!(SYS_dup, file)) as i32;
    succeeds("a copy is the same description", set_for_description(copy, lock(READ, 0, 5)));
    need(close(copy));
    fails("and closing it releases nothing", set_for_description(other, lock(WRITE, 6, 1)), libc::EAGAIN);
    let named = Lock { process: 1, ..lock(WRITE, 0, 1) };
    fails("a process is not to be named", set_for_description(file, named), libc::EINVAL);
    need(close(file));
    succeeds("the last one does", set_for_description(other, lock(WRITE, 0, 0)));
    close_all(&[other]);
}

fn waiting() {
    let file = fresh();
    need(set(file, lock(WRITE, 0, 0)));
    let child = in_child(|| {
        let own = need(open(PATH, libc::O_RDWR));
        i32::from(call!(SYS_fcntl, own, libc::F_SETLKW, &lock(WRITE, 0, 0)) != Ok(0))
    });
    let child = need(child);
    sleep_ns(30_000_000);
    equal("a lock is waited for", need(child.wait_with(libc::WNOHANG)), None);
    need(set(file, lock(NONE, 0, 0)));
    equal("until it is released", ended(Ok(child)), Ended::Exited(0));
    close_all(&[file]);
}

fn deadlock() {
    let file = fresh();
    let (reader, writer) = need(pipe(0));
    need(set(file, lock(WRITE, 0, 1)));
    let child: Child = need(in_child(|| {
        need(set(file, lock(WRITE, 1, 1)));
        need(write(writer, b"x"));
        // Has the second, and waits for the first.
        i32::from(call!(SYS_fcntl, file, libc::F_SETLKW, &lock(WRITE, 0, 1)) != Ok(0))
    }));
    need(read(reader, &mut [0]));
    sleep_ns(30_000_000);
    fails(
        "who would wait for who waits is told",
        call!(SYS_fcntl, file, libc::F_SETLKW, &lock(WRITE, 1, 1)),
        libc::EDEADLK,
    );
    need(set(file, lock(NONE, 0, 1)));
    equal("and the other goes on", ended(Ok(child)), Ended::Exited(0));
    close_all(&[file, reader, writer]);
}

extern "C" fn nothing(_signal: i32) {}

fn interrupted() {
    let file = fresh();
    let (reader, writer) = need(pipe(0));
    need(set(file, lock(WRITE, 0, 0)));
    let child = need(in_child(|| {
        need(handle_signal(libc::SIGUSR1, nothing, 0));
        let own = need(open(PATH, libc::O_RDWR));
        need(write(writer, b"x"));
        i32::from(call!(SYS_fcntl, own, libc::F_SETLKW, &lock(WRITE, 0, 0)) != Err(Errno(libc::EINTR)))
    }));
    need(read(reader, &mut [0]));
    sleep_ns(30_000_000);
    need(child.signal(libc::SIGUSR1));
    equal("a signal ends the wait", ended(Ok(child)), Ended::Exited(0));
    close_all(&[file, reader, writer]);
}

fn whole_files() {
    let file = fresh();
    let other = need(open(PATH, libc::O_RDONLY));
    let flock = |file: i32, operation: i32| call!(SYS_flock, file, operation);
    let at_once = libc::LOCK_NB;
    succeeds("a file is locked", flock(file, libc::LOCK_EX));
    fails("another description does not get it", flock(other, libc::LOCK_SH | at_once), libc::EAGAIN);
    succeeds("the same gets what it wants", flock(file, libc::LOCK_SH));
    succeeds("and shares it", flock(other, libc::LOCK_SH | at_once));
    fails("but not for itself", flock(other, libc::LOCK_EX | at_once), libc::EAGAIN);
    let copy = need(call!(SYS_dup, file)) as i32;
    need(close(copy));
    succeeds("a range is another matter", set(file, lock(WRITE, 0, 0)));
    let child = in_child(|| i32::from(flock(file, libc::LOCK_UN).is_err()));
    equal("a child has the same description", ended(child), Ended::Exited(0));
    succeeds("and released it", flock(other, libc::LOCK_EX | at_once));
    let child = need(in_child(|| {
        need(close(other));
        i32::from(flock(file, libc::LOCK_EX) != Ok(0))
    }));
    sleep_ns(30_000_000);
    equal("a file is waited for", need(child.wait_with(libc::WNOHANG)), None);
    need(close(other));
    equal("until it is closed", ended(Ok(child)), Ended::Exited(0));
    fails("an unknown operation", flock(file, 16), libc::EINVAL);
    fails("no descriptor", flock(999, libc::LOCK_SH), libc::EBADF);
    close_all(&[file]);
}

fn arguments() {
    let file = fresh();
    let reading = need(open(PATH, libc::O_RDONLY));
    let writing = need(open(PATH, libc::O_WRONLY));
    fails("writing without the right to", set(reading, lock(WRITE, 0, 1)), libc::EBADF);
    fails("reading without the right to", set(writing, lock(READ, 0, 1)), libc::EBADF);
    fails("an unknown kind", set(file, lock(9, 0, 1)), libc::EINVAL);
    fails("an unknown origin", set(file, Lock { whence: 9, ..lock(READ, 0, 1) }), libc::EINVAL);
    fails("before the start", set(file, lock(READ, -1, 1)), libc::EINVAL);
    fails("beyond all ends", set(file, lock(READ, i64::MAX, 2)), libc::EOVERFLOW);
    fails("asking for nothing", call!(SYS_fcntl, file, libc::F_GETLK, &mut lock(NONE, 0, 1)), libc::EINVAL);
    fails("a request that cannot be read", call!(SYS_fcntl, file, libc::F_SETLK, 8), libc::EFAULT);
    close_all(&[file, reading, writing]);
    need(call!(SYS_unlinkat, libc::AT_FDCWD, PATH, 0));
}
