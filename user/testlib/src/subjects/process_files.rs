//! Processes by descriptors (`pidfd_open` and its kind), and what reaches into other processes.

use crate::check::{equal, fails, holds, need, succeeds, within};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{
    Child, Ended, Errno, SignalSet, become_user, block_signals, close, in_child, now_ns, pipe, read,
    sleep_ns, write,
};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("arguments", arguments),
    test("readiness", readiness),
    test("signals", signals),
    test("waitid", waitid),
    test("clone3", clone3),
    test("getfd", getfd),
    test("memory", memory),
];

const MILLISECOND: u64 = 1_000_000;

fn pidfd(process: i32, flags: i32) -> Result<i32, Errno> {
    call!(SYS_pidfd_open, process, flags).map(|file| file as i32)
}

fn poll(file: i32, timeout_ms: u64) -> u32 {
    let mut entry = [u64::from(file as u32) | (libc::POLLIN as u64) << 32];
    let timeout = [timeout_ms / 1000, timeout_ms % 1000 * MILLISECOND];
    need(call!(SYS_ppoll, &mut entry, 1, &timeout, 0, 8));
    (entry[0] >> 48) as u32
}

/// A child that waits until it is killed.
fn sleeper() -> Child {
    need(in_child(|| {
        loop {
            sleep_ns(1000 * MILLISECOND);
        }
    }))
}

fn end(child: Child) {
    need(child.signal(libc::SIGKILL));
    let _ = child.wait();
}

fn arguments() {
    fails("no such process", pidfd(4_000_000, 0), libc::ESRCH);
    fails("number 0", pidfd(0, 0), libc::EINVAL);
    fails("a negative number", pidfd(-1, 0), libc::EINVAL);
    fails("unknown flags", pidfd(std::process::id() as i32, 1), libc::EINVAL);
    let file = need(pidfd(std::process::id() as i32, 0));
    equal("it always closes on exec", call!(SYS_fcntl, file, libc::F_GETFD), Ok(libc::FD_CLOEXEC as usize));
    fails("it cannot be read", read(file, &mut [0; 8]), libc::EINVAL);
    fails("nor written", write(file, b"x"), libc::EINVAL);
    let (tell, ids) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let _ = tell.send(need(call!(SYS_gettid)) as i32);
        let _ = wait.recv();
    });
    fails("a thread is no process", pidfd(ids.recv().unwrap_or(0), 0), libc::EINVAL);
    drop(go);
    let _ = other.join();
    let nonblocking = need(pidfd(1, libc::O_NONBLOCK));
    let flags = need(call!(SYS_fcntl, nonblocking, libc::F_GETFL)) as i32;
    equal("it may be one that does not wait", flags & libc::O_NONBLOCK, libc::O_NONBLOCK);
}

fn readiness() {
    let child = sleeper();
    let file = need(pidfd(child.0, 0));
    equal("a living process is not ready", poll(file, 20), 0);
    let killer = need(in_child(|| {
        sleep_ns(20 * MILLISECOND);
        let _ = child.signal(libc::SIGKILL);
        0
    }));
    equal("it is when it has ended", poll(file, 5000), libc::POLLIN as u32);
    equal("it still has to be waited for", child.wait(), Ok(Ended::Killed(libc::SIGKILL)));
    equal("afterwards the other side is gone, too", poll(file, 0), (libc::POLLIN | libc::POLLHUP) as u32);
    need(killer.wait());
    let child = need(in_child(|| 0));
    let list = need(call!(SYS_epoll_create1, 0)) as i32;
    let file = need(pidfd(child.0, 0));
    let event = [u64::from(libc::EPOLLIN as u32), 0x99];
    need(call!(SYS_epoll_ctl, list, libc::EPOLL_CTL_ADD, file, &event));
    let mut found = [0u64; 2];
    equal("epoll knows", call!(SYS_epoll_pwait, list, &mut found, 1, 5000, 0, 8), Ok(1));
    equal("whose it is", found[1], 0x99);
    need(child.wait());
}

fn send(file: i32, signal: i32) -> Result<usize, Errno> {
    call!(SYS_pidfd_send_signal, file, signal, 0, 0)
}

fn signals() {
    need(block_signals(SignalSet::of(&[libc::SIGUSR1])));
    let own = need(pidfd(std::process::id() as i32, 0));
    succeeds("signal 0 asks only", send(own, 0));
    fails("no such signal", send(own, 65), libc::EINVAL);
    fails("unknown flags", call!(SYS_pidfd_send_signal, own, 0, 0, 64), libc::EINVAL);
    fails("no descriptor", send(999, 0), libc::EBADF);
    fails("a descriptor of something else", send(1, 0), libc::EBADF);
    fails("information that cannot be read", call!(SYS_pidfd_send_signal, own, 10, 8, 0), libc::EFAULT);
    succeeds("to oneself", send(own, libc::SIGUSR1));
    let (set, timeout) = (SignalSet::of(&[libc::SIGUSR1]), [0u64; 2]);
    let mut information = [0u32; 32];
    let taken = call!(SYS_rt_sigtimedwait, &set.0, &mut information, &timeout, 8);
    equal("it comes", taken, Ok(libc::SIGUSR1 as usize));
    equal("as if by kill", (information[2], information[4]), (0, std::process::id()));
    let mut given = [0u32; 32];
    (given[0], given[2], given[6]) = (libc::SIGUSR1 as u32, libc::SI_QUEUE as u32, 55);
    succeeds("with information", call!(SYS_pidfd_send_signal, own, libc::SIGUSR1, &given, 0));
    need(call!(SYS_rt_sigtimedwait, &set.0, &mut information, &timeout, 8));
    equal("which arrives", (information[2], information[6]), (libc::SI_QUEUE as u32, 55));
    given[0] = libc::SIGUSR2 as u32;
    let mismatch = call!(SYS_pidfd_send_signal, own, libc::SIGUSR1, &given, 0);
    fails("but it must name the signal", mismatch, libc::EINVAL);
    let child = sleeper();
    let file = need(pidfd(child.0, 0));
    (given[0], given[2]) = (libc::SIGUSR1 as u32, 0);
    let forged = call!(SYS_pidfd_send_signal, file, libc::SIGUSR1, &given, 0);
    fails("others are not told that it is from kill", forged, libc::EPERM);
    let stranger = need(in_child(|| {
        let _ = become_user(1000);
        i32::from(send(file, 0) == Err(Errno(libc::EPERM)))
    }));
    equal("a stranger may not", stranger.wait(), Ok(Ended::Exited(1)));
    succeeds("SIGKILL", send(file, libc::SIGKILL));
    equal("ends it", child.wait(), Ok(Ended::Killed(libc::SIGKILL)));
    fails("then nobody is there", send(file, 0), libc::ESRCH);
}

fn wait_by(file: i32, options: i32) -> Result<(i32, i32), Errno> {
    /// `P_PIDFD`
    const BY_DESCRIPTOR: i32 = 3;
    let mut information = [0u32; 32];
    call!(SYS_waitid, BY_DESCRIPTOR, file, &mut information, options, 0)?;
    Ok((information[4] as i32, information[6] as i32))
}

fn waitid() {
    let child = need(in_child(|| {
        sleep_ns(20 * MILLISECOND);
        9
    }));
    let file = need(pidfd(child.0, 0));
    equal("not yet", wait_by(file, libc::WEXITED | libc::WNOHANG), Ok((0, 0)));
    equal("left as it was", wait_by(file, libc::WEXITED | libc::WNOWAIT), Ok((child.0, 9)));
    equal("waited for", wait_by(file, libc::WEXITED), Ok((child.0, 9)));
    fails("once", wait_by(file, libc::WEXITED), libc::ECHILD);
    fails("no descriptor", wait_by(999, libc::WEXITED), libc::EBADF);
    fails("a negative one", wait_by(-1, libc::WEXITED), libc::EINVAL);
    fails("one of something else", wait_by(1, libc::WEXITED), libc::EBADF);
    let stranger = need(pidfd(1, 0));
    fails("no child of ours", wait_by(stranger, libc::WEXITED), libc::ECHILD);
    let child = sleeper();
    let file = need(pidfd(child.0, libc::O_NONBLOCK));
    fails("a descriptor that does not wait", wait_by(file, libc::WEXITED), libc::EAGAIN);
    equal("unless one asks only", wait_by(file, libc::WEXITED | libc::WNOHANG), Ok((0, 0)));
    need(child.signal(libc::SIGSTOP));
    need(call!(SYS_fcntl, file, libc::F_SETFL, 0));
    equal("a stop", wait_by(file, libc::WSTOPPED), Ok((child.0, libc::SIGSTOP)));
    end(child);
}

fn clone3() {
    let mut file = -1i32;
    let mut arguments = [0u64; 11];
    arguments[0] = libc::CLONE_PIDFD as u64;
    arguments[1] = std::ptr::from_mut(&mut file) as u64;
    arguments[4] = libc::SIGCHLD as u64;
    let child = need(call!(SYS_clone3, &arguments, 88)) as i32;
    if child == 0 {
        asyncos_apps::system::exit_now(i32::from(file == -1) * 6);
    }
    let file = std::hint::black_box(&file);
    within("a descriptor is stored", *file, 3..=100);
    equal("it closes on exec", call!(SYS_fcntl, *file, libc::F_GETFD), Ok(libc::FD_CLOEXEC as usize));
    equal("it is the child's", wait_by(*file, libc::WEXITED), Ok((child, 6)));
    arguments[1] = 8;
    fails("nowhere to store it", call!(SYS_clone3, &arguments, 88), libc::EFAULT);
    let next = need(pidfd(1, 0));
    equal("leaves no descriptor behind", next, *file + 1);
    let flags = libc::CLONE_PIDFD | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
    let mut word = 0i32;
    fails("clone stores one thing only", call!(SYS_clone, flags, 0, &mut word, 0, 0), libc::EINVAL);
    let child = need(call!(SYS_clone, libc::CLONE_PIDFD | libc::SIGCHLD, 0, &mut word, 0, 0)) as i32;
    if child == 0 {
        asyncos_apps::system::exit_now(4);
    }
    equal("clone can do it, too", wait_by(word, libc::WEXITED), Ok((child, 4)));
}

fn getfd() {
    let (reading, writing) = need(pipe(0));
    let child = need(in_child(|| {
        let _ = write(writing, b"from the child");
        loop {
            sleep_ns(1000 * MILLISECOND);
        }
    }));
    need(close(writing));
    let file = need(pidfd(child.0, 0));
    let get = |wanted: i32, flags: i32| call!(SYS_pidfd_getfd, file, wanted, flags).map(|file| file as i32);
    fails("unknown flags", get(reading, 1), libc::EINVAL);
    fails("none of its descriptors", get(900, 0), libc::EBADF);
    fails("no descriptor of a process", call!(SYS_pidfd_getfd, 1, 0, 0), libc::EBADF);
    let copy = need(get(writing, 0));
    equal("a copy closes on exec", call!(SYS_fcntl, copy, libc::F_GETFD), Ok(libc::FD_CLOEXEC as usize));
    let mut text = [0; 14];
    need(read(reading, &mut text));
    equal("what the child wrote", &text, b"from the child");
    need(write(copy, b"through its descriptor"));
    let mut text = [0; 22];
    equal(
        "what we write through its descriptor",
        read(reading, &mut text).map(|_| text),
        Ok(*b"through its descriptor"),
    );
    let stranger = need(in_child(|| {
        let _ = become_user(1000);
        i32::from(get(reading, 0) == Err(Errno(libc::EPERM)))
    }));
    equal("a stranger may not", stranger.wait(), Ok(Ended::Exited(1)));
    end(child);
    fails("nobody is there", get(reading, 0), libc::ESRCH);
}

fn memory() {
    let secret = *std::hint::black_box(&[0x5au8; 6000]);
    let ready = need(pipe(0));
    let child = need(in_child(|| {
        let _ = write(ready.1, b"x");
        let before = now_ns();
        // Until the parent has changed it.
        while byte_now(&secret[100]) == 0x5a && now_ns() - before < 10_000 * MILLISECOND {
            sleep_ns(MILLISECOND);
        }
        i32::from(byte_now(&secret[100]))
    }));
    need(read(ready.0, &mut [0; 1]));
    let mut target = [0u8; 6000];
    let remote = [std::ptr::from_ref(&secret) as usize, 6000];
    let local = [std::ptr::from_mut(&mut target) as usize, 6000];
    let copied = call!(SYS_process_vm_readv, child.0, &local, 1, &remote, 1, 0);
    equal("all of it is read", copied, Ok(6000));
    holds("as it is there", std::hint::black_box(&target).iter().all(|byte| *byte == 0x5a));
    let pieces = [[local[0], 10], [local[0] + 100, 20]];
    equal("into pieces", call!(SYS_process_vm_readv, child.0, &pieces, 2, &remote, 1, 0), Ok(30));
    let half = [[remote[0], 100], [8, 100]];
    let partial = call!(SYS_process_vm_readv, child.0, &local, 1, &half, 2, 0);
    equal("up to what is not there", partial, Ok(100));
    let nowhere = [8usize, 100];
    fails("from nowhere", call!(SYS_process_vm_readv, child.0, &local, 1, &nowhere, 1, 0), libc::EFAULT);
    fails("flags", call!(SYS_process_vm_readv, child.0, &local, 1, &remote, 1, 1), libc::EINVAL);
    fails("nobody", call!(SYS_process_vm_readv, 4_000_000, &local, 1, &remote, 1, 0), libc::ESRCH);
    fails("too many pieces", call!(SYS_process_vm_readv, child.0, &local, 2000, &remote, 1, 0), libc::EINVAL);
    equal("nothing of nothing", call!(SYS_process_vm_readv, child.0, &local, 0, &remote, 0, 0), Ok(0));
    let stranger = need(in_child(|| {
        let _ = become_user(1000);
        let tried = call!(SYS_process_vm_readv, child.0, &local, 1, &remote, 1, 0);
        i32::from(tried == Err(Errno(libc::EPERM)))
    }));
    equal("a stranger may not", stranger.wait(), Ok(Ended::Exited(1)));
    let byte = 0x33u8;
    let source = [std::ptr::from_ref(&byte) as usize, 1];
    let place = [remote[0] + 100, 1];
    equal("one byte is written", call!(SYS_process_vm_writev, child.0, &source, 1, &place, 1, 0), Ok(1));
    equal("and the child sees it", child.wait(), Ok(Ended::Exited(0x33)));
    equal("here it is as it was", byte_now(&secret[100]), 0x5a);
}

/// The byte as it is in memory now: another process may have changed it.
fn byte_now(byte: &u8) -> u8 {
    // SAFETY: a reference is valid for reading.
    unsafe { std::ptr::from_ref(byte).read_volatile() }
}
