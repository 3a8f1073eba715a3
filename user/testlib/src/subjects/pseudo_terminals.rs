//! Pseudo-terminals: names and locks of pairs, both directions, windows, control, hanging up.

use crate::check::{equal, fails, holds, need, succeeds};
use crate::runner::{Test, test};
use crate::socket::{close_all, ended, poll};
use asyncos_apps::call;
use asyncos_apps::system::{
    Ended, Errno, SignalSet, block_signals, close, default_signal, in_child, now_ns, open, pipe, read,
    sleep_ns, write,
};
use std::ffi::CString;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("names", names),
    test("both-directions", both_directions),
    test("settings", settings),
    test("much", much),
    test("window", window),
    test("control", control),
    test("master-closes", master_closes),
    test("terminal-closes", terminal_closes),
    test("peer", peer),
    test("readiness", readiness),
];

const GET_NUMBER: usize = 0x8004_5430;
const SET_LOCK: usize = 0x4004_5431;
const GET_LOCK: usize = 0x8004_5439;
const GET_PEER: usize = 0x5441;

fn master() -> i32 {
    need(open(c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY))
}

fn number(master: i32) -> u32 {
    let mut number = 0u32;
    need(call!(SYS_ioctl, master, GET_NUMBER, &mut number));
    number
}

fn path(master: i32) -> CString {
    CString::new(format!("/dev/pts/{}", number(master))).expect("no NUL in it")
}

fn unlock(master: i32) {
    need(call!(SYS_ioctl, master, SET_LOCK, &0i32));
}

/// A master and its terminal, which does not become a controlling one.
fn pair() -> (i32, i32) {
    let master = master();
    unlock(master);
    (master, need(open(&path(master), libc::O_RDWR | libc::O_NOCTTY)))
}

/// Reads from a master or a terminal what is there after a moment.
fn read_text(file: i32) -> String {
    let mut bytes = [0; 256];
    let count = need(read(file, &mut bytes));
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

fn reads(what: &str, file: i32, wanted: &str) {
    let mut text = read_text(file);
    // What a master shows may come in parts.
    while text.len() < wanted.len() && wanted.starts_with(&text) {
        text += &read_text(file);
    }
    equal(what, text.as_str(), wanted);
}

fn set_nonblocking(file: i32) {
    need(call!(SYS_fcntl, file, libc::F_SETFL, libc::O_NONBLOCK));
}

fn get_settings(file: i32) -> Result<[u8; 36], Errno> {
    let mut settings = [0; 36];
    call!(SYS_ioctl, file, libc::TCGETS as usize, &mut settings).map(|_| settings)
}

/// Neither lines nor echo nor output processing.
fn make_raw(file: i32) {
    let mut settings = need(get_settings(file));
    let clear = |settings: &mut [u8; 36], at: usize, bits: u32| {
        let word = u32::from_ne_bytes(*settings[at..].first_chunk().expect("four bytes")) & !bits;
        settings[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    };
    clear(&mut settings, 0, libc::ICRNL | libc::IXON);
    clear(&mut settings, 4, libc::OPOST);
    clear(&mut settings, 12, libc::ICANON | libc::ECHO | libc::ISIG | libc::IEXTEN);
    need(call!(SYS_ioctl, file, libc::TCSETS as usize, &settings));
}

fn names() {
    let first = master();
    let mut lock = 7i32;
    need(call!(SYS_ioctl, first, GET_LOCK, &mut lock));
    equal("a new pair is locked", lock, 1);
    let name = path(first);
    let open_terminal = || open(&name, libc::O_RDWR | libc::O_NOCTTY);
    fails("and cannot be opened", open_terminal(), libc::EIO);
    unlock(first);
    let terminal = need(open_terminal());
    let mut stat = [0u32; 32];
    need(call!(SYS_fstat, terminal, &mut stat));
    equal("the terminal is a character device", stat[4] & libc::S_IFMT, libc::S_IFCHR);
    equal("with the pair's number", stat[8], 136 << 8 | number(first));
    let second = master();
    holds("pairs have numbers of their own", number(second) != number(first));
    let second_name = path(second);
    close_all(&[second]);
    fails("a name goes with its master", open(&second_name, libc::O_RDWR), libc::ENOENT);
    let again = master();
    equal("and its number is used again", path(again), second_name);
    need(call!(SYS_fchmodat, libc::AT_FDCWD, &*name, 0o600));
    need(call!(SYS_newfstatat, libc::AT_FDCWD, &*name, &mut stat, 0));
    equal("permissions are those that were set", stat[4] & 0o777, 0o600);
    fails(
        "a terminal has no number to give",
        call!(SYS_ioctl, terminal, GET_NUMBER, &mut lock),
        libc::ENOTTY,
    );
    fails("a master has no offset", call!(SYS_lseek, first, 0, 0), libc::ESPIPE);
    close_all(&[first, terminal, again]);
}

fn both_directions() {
    let (master, terminal) = pair();
    equal("a line is typed", write(master, b"hello\n"), Ok(6));
    reads("and read", terminal, "hello\n");
    reads("and echoed", master, "hello\r\n");
    equal("a program writes", write(terminal, b"one\ntwo"), Ok(7));
    reads("which is shown", master, "one\r\ntwo");
    equal("an erased character", write(master, b"ab\x7fc\n"), Ok(5));
    reads("is not read", terminal, "ac\n");
    reads("but wiped out", master, "ab\x08 \x08c\r\n");
    equal("an end of file", write(master, b"\x04"), Ok(1));
    equal("is read as one", read(terminal, &mut [0; 8]), Ok(0));
    let child = in_child(|| {
        sleep_ns(20_000_000);
        i32::from(write(master, b"late\n") != Ok(5))
    });
    reads("a read waits for a line", terminal, "late\n");
    equal("the writer", ended(child), Ended::Exited(0));
    read_text(master);
    let child = in_child(|| {
        sleep_ns(20_000_000);
        i32::from(write(terminal, b"shown") != Ok(5))
    });
    reads("a master waits for output", master, "shown");
    equal("the program", ended(child), Ended::Exited(0));
    set_nonblocking(master);
    fails("or not", read(master, &mut [0; 8]), libc::EAGAIN);
    set_nonblocking(terminal);
    need(write(master, b"half"));
    fails("half a line is none", read(terminal, &mut [0; 8]), libc::EAGAIN);
    let mut waiting = 0i32;
    need(call!(SYS_ioctl, master, libc::FIONREAD as usize, &mut waiting));
    equal("FIONREAD of the echo", waiting, 4);
    close_all(&[master, terminal]);
}

fn settings() {
    let (master, terminal) = pair();
    succeeds("a terminal has settings", get_settings(terminal));
    equal("its master has the same", get_settings(master), get_settings(terminal));
    make_raw(terminal);
    equal("also when they change", get_settings(master), get_settings(terminal));
    need(write(master, b"a\rb\x03"));
    reads("raw input comes at once", terminal, "a\rb\x03");
    need(write(terminal, b"x\ny"));
    reads("raw output and no echo", master, "x\ny");
    close_all(&[master, terminal]);
}

fn much() {
    let (master, terminal) = pair();
    make_raw(terminal);
    let total = 100_000;
    let bytes: Vec<u8> = (0..total).map(|index| (index % 251) as u8).collect();
    for (what, from, to) in [("output", terminal, master), ("input", master, terminal)] {
        let child = in_child(|| i32::from(write(from, &bytes) != Ok(total)));
        let mut received = Vec::new();
        let mut part = [0; 3000];
        while received.len() < total {
            let count = need(read(to, &mut part));
            received.extend_from_slice(&part[..count]);
        }
        holds(&format!("much {what} comes whole"), received == bytes);
        equal(&format!("the writer of {what}"), ended(child), Ended::Exited(0));
    }
    close_all(&[master, terminal]);
}

/// Makes this process lead a session that the terminal controls.
fn take_control(terminal: i32) {
    need(call!(SYS_setsid));
    need(call!(SYS_ioctl, terminal, libc::TIOCSCTTY as usize, 0));
}

fn window() {
    let (master, terminal) = pair();
    let mut size = [0u16; 4];
    need(call!(SYS_ioctl, terminal, libc::TIOCGWINSZ as usize, &mut size));
    equal("a new window has no size", size, [0; 4]);
    let (reader, writer) = need(pipe(0));
    let child = in_child(|| {
        need(block_signals(SignalSet::of(&[libc::SIGWINCH])));
        take_control(terminal);
        need(write(writer, b"x"));
        let set = 1u64 << (libc::SIGWINCH - 1);
        i32::from(call!(SYS_rt_sigtimedwait, &set, 0, &[5i64, 0], 8) != Ok(libc::SIGWINCH as usize))
    });
    need(read(reader, &mut [0]));
    need(call!(SYS_ioctl, master, libc::TIOCSWINSZ as usize, &[24u16, 80, 0, 0]));
    equal("a program in the foreground is told", ended(child), Ended::Exited(0));
    need(call!(SYS_ioctl, terminal, libc::TIOCGWINSZ as usize, &mut size));
    equal("the size is told", size, [24, 80, 0, 0]);
    close_all(&[master, terminal, reader, writer]);
}

fn control() {
    let (master, terminal) = pair();
    let (reader, writer) = need(pipe(0));
    let child = need(in_child(|| {
        let _ = default_signal(libc::SIGINT);
        take_control(terminal);
        let mut group = 0i32;
        need(call!(SYS_ioctl, terminal, libc::TIOCGPGRP as usize, &mut group));
        let own = std::process::id() as i32;
        let tty = open(c"/dev/tty", libc::O_RDWR);
        let good = group == own && tty.is_ok();
        need(write(writer, if good { b"y" } else { b"n" }));
        sleep_ns(10_000_000_000);
        1
    }));
    let mut byte = [0];
    need(read(reader, &mut byte));
    equal("the terminal controls a session", byte, *b"y");
    let mut group = 0i32;
    need(call!(SYS_ioctl, master, libc::TIOCGPGRP as usize, &mut group));
    equal("whose foreground the master sees", group, child.0);
    let mut session = 0i32;
    need(call!(SYS_ioctl, master, libc::TIOCGSID as usize, &mut session));
    equal("and the session", session, child.0);
    need(write(master, b"\x03"));
    equal("^C interrupts it", ended(Ok(child)), Ended::Killed(libc::SIGINT));
    reads("and is echoed", master, "^C");
    close_all(&[master, terminal, reader, writer]);
}

fn master_closes() {
    let (master, terminal) = pair();
    let (reader, writer) = need(pipe(0));
    let child = in_child(|| {
        let _ = default_signal(libc::SIGHUP);
        need(close(master));
        take_control(terminal);
        need(write(writer, b"x"));
        sleep_ns(10_000_000_000);
        1
    });
    need(read(reader, &mut [0]));
    let waiting = in_child(|| {
        need(close(master));
        i32::from(!matches!(read(terminal, &mut [0]), Ok(0) | Err(Errno(libc::EIO))))
    });
    sleep_ns(30_000_000);
    need(close(master));
    equal("closing the master hangs up its session", ended(child), Ended::Killed(libc::SIGHUP));
    equal("and ends a read that waits", ended(waiting), Ended::Exited(0));
    equal("nothing more is read", read(terminal, &mut [0; 8]), Ok(0));
    fails("nor written", write(terminal, b"x"), libc::EIO);
    fails("nor asked", get_settings(terminal), libc::EIO);
    let all = libc::POLLIN | libc::POLLOUT;
    equal("it is ready for all that", poll(terminal, all), all | libc::POLLHUP | libc::POLLERR);
    close_all(&[terminal, reader, writer]);
}

fn terminal_closes() {
    let (master, terminal) = pair();
    need(write(terminal, b"last words"));
    need(close(terminal));
    reads("what was written", master, "last words");
    fails("then nobody is there", read(master, &mut [0; 8]), libc::EIO);
    equal("which is a hang-up", poll(master, libc::POLLIN) & libc::POLLHUP, libc::POLLHUP);
    let again = need(open(&path(master), libc::O_RDWR | libc::O_NOCTTY));
    equal("opened again it is none", poll(master, libc::POLLIN), 0);
    need(write(again, b"again"));
    reads("and goes on", master, "again");
    let child = in_child(|| {
        need(close(again));
        i32::from(read(master, &mut [0]) != Err(Errno(libc::EIO)))
    });
    sleep_ns(30_000_000);
    need(close(again));
    equal("closing it ends a read that waits", ended(child), Ended::Exited(0));
    close_all(&[master]);
}

fn peer() {
    let master = master();
    fails("a locked pair gives no other side", call!(SYS_ioctl, master, GET_PEER, libc::O_RDWR), libc::EIO);
    unlock(master);
    let terminal =
        need(call!(SYS_ioctl, master, GET_PEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC)) as i32;
    equal("the other side without a path", write(terminal, b"x\n"), Ok(2));
    reads("is the pair's", master, "x\r\n");
    equal("it closes on exec", call!(SYS_fcntl, terminal, libc::F_GETFD, 0), Ok(1));
    let mut link = [0u8; 64];
    let own = CString::new(format!("/proc/self/fd/{terminal}")).expect("no NUL in it");
    let length = need(call!(SYS_readlinkat, libc::AT_FDCWD, &*own, link.as_mut_slice(), 64));
    equal(
        "and has its name",
        String::from_utf8_lossy(&link[..length]).into_owned(),
        format!("/dev/pts/{}", number(master)),
    );
    close_all(&[master, terminal]);
}

fn readiness() {
    let (master, terminal) = pair();
    make_raw(terminal);
    let all = libc::POLLIN | libc::POLLOUT;
    equal("a new terminal can be written", poll(terminal, all), libc::POLLOUT);
    equal("and its master", poll(master, all), libc::POLLOUT);
    need(write(terminal, b"x"));
    equal("output can be read", poll(master, all), all);
    need(write(master, b"x"));
    equal("input can be read", poll(terminal, all), all);
    let start = now_ns();
    let child = in_child(|| {
        sleep_ns(30_000_000);
        i32::from(write(terminal, b"y") != Ok(1))
    });
    need(read(master, &mut [0]));
    let mut entry = libc::pollfd { fd: master, events: libc::POLLIN, revents: 0 };
    equal("a poll waits for output", call!(SYS_ppoll, &mut entry, 1, &[5i64, 0], 0, 8), Ok(1));
    holds("as long as it takes", now_ns() - start > 20_000_000);
    equal("the program", ended(child), Ended::Exited(0));
    set_nonblocking(terminal);
    let mut written = 0;
    while let Ok(count) = write(terminal, &[b'z'; 1000]) {
        written += count;
    }
    holds("output has a limit", (1000..10_000_000).contains(&written));
    equal("beyond which it cannot be written", poll(terminal, libc::POLLOUT), 0);
    close_all(&[master, terminal]);
}
