//! Signals that are read from a file (`signalfd4`).

use crate::check::{equal, fails, holds, need, within};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Child, Ended, Errno, SignalSet, block_signals, in_child, pipe, read, sleep_ns};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("arguments", arguments),
    test("records", records),
    test("who-reads", who_reads),
    test("waiting", waiting),
    test("children", children),
    test("epoll", epoll),
];

const MILLISECOND: u64 = 1_000_000;

fn signalfd(file: i32, set: SignalSet, flags: i32) -> Result<i32, Errno> {
    call!(SYS_signalfd4, file, &set.0, 8, flags).map(|file| file as i32)
}

fn raise(signal: i32) {
    need(call!(SYS_tgkill, std::process::id(), need(call!(SYS_gettid)), signal));
}

/// `struct signalfd_siginfo`, by its offsets.
struct Record([u8; 128]);

impl Record {
    fn word(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.0[offset..offset + 4].try_into().unwrap_or_default())
    }

    fn signal(&self) -> i32 {
        self.word(0) as i32
    }

    fn code(&self) -> i32 {
        self.word(8) as i32
    }

    fn pid(&self) -> u32 {
        self.word(12)
    }
}

fn take(file: i32) -> Result<Record, Errno> {
    let mut bytes = [0; 128];
    read(file, &mut bytes).map(|_| Record(bytes))
}

fn poll_in(file: i32, timeout_ms: u64) -> usize {
    let mut entry = [u64::from(file as u32) | (libc::POLLIN as u64) << 32];
    let timeout = [timeout_ms / 1000, timeout_ms % 1000 * MILLISECOND];
    need(call!(SYS_ppoll, &mut entry, 1, &timeout, 0, 8))
}

fn arguments() {
    let set = SignalSet::of(&[libc::SIGUSR1]);
    fails("a set of another size", call!(SYS_signalfd4, -1, &set.0, 4, 0), libc::EINVAL);
    fails("a set that cannot be read", call!(SYS_signalfd4, -1, 8, 8, 0), libc::EFAULT);
    fails("unknown flags", signalfd(-1, set, 1), libc::EINVAL);
    fails("no file", signalfd(999, set, 0), libc::EBADF);
    fails("a file of another kind", signalfd(1, set, 0), libc::EINVAL);
    let file = need(signalfd(-1, set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC));
    equal("it closes on exec", call!(SYS_fcntl, file, libc::F_GETFD), Ok(libc::FD_CLOEXEC as usize));
    fails("nothing is pending", take(file).map(drop), libc::EAGAIN);
    fails("too small a buffer", read(file, &mut [0; 127]), libc::EINVAL);
    fails("a write", call!(SYS_write, file, &[0u8; 128][..], 128), libc::EINVAL);
    equal("a change gives the same descriptor", signalfd(file, SignalSet::of(&[libc::SIGUSR2]), 0), Ok(file));
    let everything = need(signalfd(-1, SignalSet(u64::MAX), libc::SFD_NONBLOCK));
    let child = need(in_child(|| {
        raise(libc::SIGKILL);
        0
    }));
    equal("nobody reads SIGKILL", child.wait(), Ok(Ended::Killed(libc::SIGKILL)));
    let _ = everything;
}

fn records() {
    let set = SignalSet::of(&[libc::SIGUSR1, libc::SIGUSR2, 40]);
    need(block_signals(set));
    let file = need(signalfd(-1, set, libc::SFD_NONBLOCK));
    equal("not ready", poll_in(file, 0), 0);
    need(call!(SYS_kill, std::process::id(), libc::SIGUSR1));
    equal("ready", poll_in(file, 0), 1);
    let record = need(take(file));
    equal("kill: the signal", record.signal(), libc::SIGUSR1);
    equal("its code", record.code(), 0);
    equal("its sender", record.pid(), std::process::id());
    equal("and user", record.word(16), 0);
    fails("read once", take(file).map(drop), libc::EAGAIN);
    raise(libc::SIGUSR2);
    equal("tgkill: its code", need(take(file)).code(), libc::SI_TKILL);
    let mut information = [0u32; 32];
    (information[2], information[4], information[5]) = (libc::SI_QUEUE as u32, 77, 88);
    (information[6], information[7]) = (0x1234, 0x5678);
    need(call!(SYS_rt_sigqueueinfo, std::process::id(), 40, &information));
    let record = need(take(file));
    equal("sigqueue: signal and code", (record.signal(), record.code()), (40, libc::SI_QUEUE));
    equal("what the sender says of itself", (record.pid(), record.word(16)), (77, 88));
    equal("its value as a number", record.word(44), 0x1234);
    equal("and as a pointer", (record.word(48), record.word(52)), (0x1234, 0x5678));
    for signal in [40, libc::SIGUSR2, 40, libc::SIGUSR1] {
        raise(signal);
    }
    let mut several = [0u8; 128 * 3 + 50];
    equal("several at once, whole ones", read(file, &mut several), Ok(128 * 3));
    let numbers: Vec<i32> = several[..128 * 3].chunks(128).map(|bytes| i32::from(bytes[0])).collect();
    equal("the lowest first", numbers, vec![libc::SIGUSR1, libc::SIGUSR2, 40]);
    equal("then the rest", take(file).map(|record| record.signal()), Ok(40));
    raise(libc::SIGUSR1);
    need(signalfd(file, SignalSet::of(&[40]), 0));
    equal("what is not in the set any more is not ready", poll_in(file, 0), 0);
    need(signalfd(file, SignalSet::of(&[libc::SIGUSR1]), 0));
    equal("what is again is", take(file).map(|record| record.signal()), Ok(libc::SIGUSR1));
    fails("memory that cannot be written", call!(SYS_read, file, 8, 128), libc::EAGAIN);
}

fn who_reads() {
    let set = SignalSet::of(&[libc::SIGUSR1]);
    need(block_signals(set));
    let file = need(signalfd(-1, set, libc::SFD_NONBLOCK));
    raise(libc::SIGUSR1);
    let child = need(in_child(|| {
        let others = take(file).map(drop) == Err(Errno(libc::EAGAIN));
        raise(libc::SIGUSR1);
        let own = take(file).is_ok_and(|record| record.pid() == std::process::id());
        i32::from(others) + 2 * i32::from(own)
    }));
    equal("a child reads its own", child.wait(), Ok(Ended::Exited(3)));
    let reader = std::thread::spawn(move || take(file).map(|record| record.signal()));
    let seen = reader.join().unwrap_or(Err(Errno(0)));
    equal("another thread does not read this one's", seen, Err(Errno(libc::EAGAIN)));
    equal("this one does", take(file).map(|record| record.signal()), Ok(libc::SIGUSR1));
    need(call!(SYS_kill, std::process::id(), libc::SIGUSR1));
    let reader = std::thread::spawn(move || take(file).map(|record| record.signal()));
    let seen = reader.join().unwrap_or(Err(Errno(0)));
    equal("what is sent to the process any thread reads", seen, Ok(libc::SIGUSR1));
}

fn waiting() {
    let set = SignalSet::of(&[libc::SIGUSR1]);
    need(block_signals(set));
    let file = need(signalfd(-1, set, 0));
    let parent = std::process::id();
    let later = || {
        need(in_child(|| {
            sleep_ns(20 * MILLISECOND);
            let _ = call!(SYS_kill, parent, libc::SIGUSR1);
            0
        }))
    };
    let child = later();
    equal("a read waits", take(file).map(|record| record.pid()), Ok(child.0 as u32));
    need(child.wait());
    let child = later();
    equal("a poll waits", poll_in(file, 5000), 1);
    equal("and leaves it there", take(file).map(|record| record.signal()), Ok(libc::SIGUSR1));
    need(child.wait());
    let child = need(in_child(|| {
        let _ = call!(SYS_rt_sigprocmask, libc::SIG_UNBLOCK, &SignalSet::of(&[libc::SIGTERM]).0, 0, 8);
        i32::from(take(file).is_ok())
    }));
    sleep_ns(20 * MILLISECOND);
    need(child.signal(libc::SIGTERM));
    equal("other signals end the wait", child.wait(), Ok(Ended::Killed(libc::SIGTERM)));
}

fn children() {
    let set = SignalSet::of(&[libc::SIGCHLD]);
    need(block_signals(set));
    let file = need(signalfd(-1, set, 0));
    let child = need(in_child(|| 5));
    let record = need(take(file));
    equal("SIGCHLD: code and child", (record.code(), record.pid()), (libc::CLD_EXITED, child.0 as u32));
    equal("its status", record.word(40), 5);
    equal("the child is still to be waited for", child.wait(), Ok(Ended::Exited(5)));
    let child = need(in_child(|| {
        loop {
            sleep_ns(1_000 * MILLISECOND);
        }
    }));
    need(child.signal(libc::SIGSTOP));
    equal("a stop", take(file).map(|record| (record.code(), record.word(40))), Ok((libc::CLD_STOPPED, 19)));
    need(child.signal(libc::SIGKILL));
    equal("an end", take(file).map(|record| (record.code(), record.word(40))), Ok((libc::CLD_KILLED, 9)));
    need(child.wait());
}

fn epoll() {
    let set = SignalSet::of(&[libc::SIGUSR1]);
    need(block_signals(set));
    let file = need(signalfd(-1, set, libc::SFD_NONBLOCK));
    let list = need(call!(SYS_epoll_create1, 0)) as i32;
    let event = [u64::from(libc::EPOLLIN as u32), 0x77];
    need(call!(SYS_epoll_ctl, list, libc::EPOLL_CTL_ADD, file, &event));
    let mut found = [0u64; 2];
    let mut wait = |timeout_ms: i32| {
        found = [0; 2];
        let count = need(call!(SYS_epoll_pwait, list, &mut found, 1, timeout_ms, 0, 8));
        (count, found[1])
    };
    equal("nothing is ready", wait(0).0, 0);
    raise(libc::SIGUSR1);
    equal("a signal makes it ready", wait(5000), (1, 0x77));
    equal("level-triggered", wait(0).0, 1);
    holds("until it is read", take(file).is_ok());
    equal("then it is not", wait(0).0, 0);
    let parent = std::process::id();
    let child = need(in_child(|| {
        sleep_ns(20 * MILLISECOND);
        let _ = call!(SYS_kill, parent, libc::SIGUSR1);
        0
    }));
    equal("and wakes who waits", wait(5000), (1, 0x77));
    need(child.wait());
    let (reading, _writing) = need(pipe(0));
    within("beside other files", reading, 3..=100);
    let child = need(in_child(|| 0));
    equal("whose children inherit it", Child::wait(child), Ok(Ended::Exited(0)));
}
