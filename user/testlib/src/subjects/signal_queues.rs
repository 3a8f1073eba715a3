//! Sending signals: who may, what waits, in which order it comes, and what comes with it.

use crate::check::{equal, fails, holds, need, succeeds, within};
use crate::handling::{
    Action, handled, handled_in_order, ignore, last, last_stack, mask, note_signal, pending, raise, set,
    set_mask,
};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{
    Ended, Errno, Mapping, SignalSet, become_user, in_child, now_ns, pipe, read, sleep_ns,
};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("masks", masks),
    test("order", order),
    test("queue", queue),
    test("limit", limit),
    test("ignored", ignored),
    test("kill", kill),
    test("permission", permission),
    test("threads", threads),
    test("suspend", suspend),
    test("timed-wait", timed_wait),
    test("alternate-stack", alternate_stack),
    test("exec-and-fork", exec_and_fork),
];

const MILLISECOND: u64 = 1_000_000;

fn of(signals: &[i32]) -> u64 {
    SignalSet::of(signals).0
}

fn masks() {
    fails("an unknown way", call!(SYS_rt_sigprocmask, 9, &0u64, 0, 8), libc::EINVAL);
    succeeds("which does not matter without a set", call!(SYS_rt_sigprocmask, 9, 0, 0, 8));
    fails("another size", call!(SYS_rt_sigprocmask, 0, &0u64, 0, 16), libc::EINVAL);
    fails("a set that cannot be read", call!(SYS_rt_sigprocmask, 0, 8, 0, 8), libc::EFAULT);
    fails("a set that cannot be written", call!(SYS_rt_sigprocmask, 0, 0, 8, 8), libc::EFAULT);
    set_mask(u64::MAX);
    equal("all but SIGKILL and SIGSTOP", mask(), !of(&[libc::SIGKILL, libc::SIGSTOP]));
    need(call!(SYS_rt_sigprocmask, libc::SIG_UNBLOCK, &of(&[1, 2]), 0, 8));
    equal("some less", mask(), !of(&[1, 2, libc::SIGKILL, libc::SIGSTOP]));
    set_mask(of(&[5]));
    let mut before = 0u64;
    need(call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &of(&[6]), &mut before, 8));
    equal("the former one is told", before, of(&[5]));
    equal("some more", mask(), of(&[5, 6]));
    fails("pending of another size", call!(SYS_rt_sigpending, &mut 0u64, 9), libc::EINVAL);
    fails("pending to nowhere", call!(SYS_rt_sigpending, 8, 8), libc::EFAULT);
    equal("nothing is pending", pending(), 0);
    raise(5);
    equal("something is", pending(), of(&[5]));
}

fn order() {
    let signals = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM, 40, 41];
    for signal in signals {
        note_signal(signal, 0);
        need(set(signal, &Action { mask: u64::MAX, ..current(signal) }));
    }
    set_mask(of(&signals));
    for signal in [41, 40, libc::SIGTERM, 41, libc::SIGUSR2, 40, libc::SIGUSR1, libc::SIGUSR1] {
        raise(signal);
    }
    equal("all are pending", pending(), of(&signals));
    set_mask(0);
    let expected = vec![libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM, 40, 40, 41, 41];
    equal("lowest first, plain ones once", handled_in_order(), expected);
    note_signal(libc::SIGSEGV, 0);
    need(set(libc::SIGSEGV, &Action { mask: u64::MAX, ..current(libc::SIGSEGV) }));
    set_mask(u64::MAX);
    raise(libc::SIGUSR1);
    raise(libc::SIGSEGV);
    set_mask(0);
    equal("those of faults before others", handled_in_order(), vec![libc::SIGSEGV, libc::SIGUSR1]);
    set_mask(u64::MAX);
    need(call!(SYS_kill, std::process::id(), libc::SIGUSR1));
    raise(41);
    set_mask(0);
    equal("a thread's own before its process's", handled_in_order(), vec![41, libc::SIGUSR1]);
}

fn current(signal: i32) -> Action {
    let mut action = Action::default();
    need(call!(SYS_rt_sigaction, signal, 0, &mut action, 8));
    action
}

/// Sends a value with a signal, as `sigqueue` does.
fn send(target: i32, signal: i32, code: i32, value: u32) -> Result<usize, Errno> {
    let mut information = [0u32; 32];
    (information[2], information[4], information[6]) = (code as u32, std::process::id(), value);
    call!(SYS_rt_sigqueueinfo, target, signal, &information)
}

/// Signal, code and value of what is taken from the queue.
fn take(signals: &[i32]) -> Result<(i32, i32, u32), Errno> {
    let mut information = [0u32; 32];
    call!(SYS_rt_sigtimedwait, &of(signals), &mut information, &[0u64; 2], 8)?;
    Ok((information[0] as i32, information[2] as i32, information[6]))
}

fn queue() {
    let own = std::process::id() as i32;
    set_mask(of(&[40, 41, libc::SIGUSR1]));
    for value in 0..5 {
        need(send(own, 40, libc::SI_QUEUE, value));
    }
    need(send(own, libc::SIGUSR1, libc::SI_QUEUE, 10));
    need(send(own, libc::SIGUSR1, libc::SI_QUEUE, 11));
    need(send(own, 41, -60, 12));
    let values: Vec<_> = (0..5).map(|_| take(&[40]).map(|taken| taken.2)).collect();
    equal("real-time signals keep their order", values, (0..5).map(Ok).collect());
    equal(
        "a plain one comes once, with what came first",
        take(&[libc::SIGUSR1]),
        Ok((10, libc::SI_QUEUE, 10)),
    );
    fails("not twice", take(&[libc::SIGUSR1]), libc::EAGAIN);
    equal("any negative code will do", take(&[41]), Ok((41, -60, 12)));
    succeeds("to oneself even a forged one", send(own, 41, 0, 1));
    succeeds("or one like the kernel's", send(own, 41, libc::SI_KERNEL, 1));
    let child = need(in_child(|| {
        set_mask(0);
        loop {
            sleep_ns(1000 * MILLISECOND);
        }
    }));
    fails("to others none like kill's", send(child.0, 40, 0, 1), libc::EPERM);
    fails("nor like the kernel's", send(child.0, 40, 1, 1), libc::EPERM);
    fails("nor like tgkill's", send(child.0, 40, libc::SI_TKILL, 1), libc::EPERM);
    succeeds("signal 0 only asks", send(child.0, 0, libc::SI_QUEUE, 1));
    fails("no such signal", send(child.0, 65, libc::SI_QUEUE, 1), libc::EINVAL);
    fails("nobody", send(4_000_000, 40, libc::SI_QUEUE, 1), libc::ESRCH);
    fails("information that cannot be read", call!(SYS_rt_sigqueueinfo, child.0, 40, 8), libc::EFAULT);
    succeeds("a fatal one", send(child.0, 40, libc::SI_QUEUE, 1));
    equal("ends it", child.wait(), Ok(Ended::Killed(40)));
    let mut information = [0u32; 32];
    information[2] = libc::SI_QUEUE as u32;
    let thread = need(call!(SYS_gettid));
    fails("a thread of no process", call!(SYS_rt_tgsigqueueinfo, 0, thread, 40, &information), libc::EINVAL);
    fails("no thread", call!(SYS_rt_tgsigqueueinfo, own, -1, 40, &information), libc::EINVAL);
    fails("another's thread", call!(SYS_rt_tgsigqueueinfo, own, 1, 40, &information), libc::ESRCH);
    succeeds("one's own", call!(SYS_rt_tgsigqueueinfo, own, thread, 40, &information));
    equal("gets it", take(&[40]), Ok((40, libc::SI_QUEUE, 0)));
}

fn limit() {
    // Root's own counts with whatever else root has pending: another user starts at nothing.
    need(become_user(4321));
    set_mask(of(&[40, libc::SIGUSR1, libc::SIGUSR2]));
    let own = std::process::id() as i32;
    need(asyncos_apps::system::limit(libc::RLIMIT_SIGPENDING, 4));
    let sent = (0..10).take_while(|value| send(own, 40, libc::SI_QUEUE, *value).is_ok()).count();
    equal("as many as the limit", sent, 4);
    fails("then no more", send(own, 40, libc::SI_QUEUE, 9), libc::EAGAIN);
    succeeds("plain ones always come", call!(SYS_kill, own, libc::SIGUSR1));
    equal("and are pending", pending(), of(&[40, libc::SIGUSR1]));
    succeeds("kill of a real-time one, too", call!(SYS_kill, own, 40));
    let values: Vec<_> = std::iter::from_fn(|| take(&[40]).ok()).map(|taken| taken.2).collect();
    equal("those that were queued come", values[..4].to_vec(), vec![0, 1, 2, 3]);
    succeeds("then there is room again", send(own, 40, libc::SI_QUEUE, 5));
}

fn ignored() {
    set_mask(of(&[libc::SIGUSR1, libc::SIGCHLD, libc::SIGURG]));
    raise(libc::SIGUSR1);
    ignore(libc::SIGUSR1);
    equal("ignoring throws away what is pending", pending(), 0);
    raise(libc::SIGUSR1);
    equal("but what comes then waits while it is blocked", pending(), of(&[libc::SIGUSR1]));
    note_signal(libc::SIGUSR1, 0);
    set_mask(of(&[libc::SIGCHLD, libc::SIGURG]));
    equal("and is handled if somebody does by then", handled(), 1);
    raise(libc::SIGURG);
    equal("so does one that is ignored by default", pending(), of(&[libc::SIGURG]));
    need(set(libc::SIGURG, &Action::default()));
    equal("until its default is set anew", pending(), 0);
    set_mask(0);
    ignore(libc::SIGTERM);
    raise(libc::SIGTERM);
    equal("unblocked and ignored is gone", pending(), 0);
    raise(libc::SIGCONT);
    raise(libc::SIGWINCH);
    holds("what nothing is done about does nothing", handled() == 0);
    set_mask(of(&[libc::SIGTSTP, libc::SIGCONT]));
    raise(libc::SIGTSTP);
    raise(libc::SIGCONT);
    equal("a continuation takes stops away", pending(), of(&[libc::SIGCONT]));
    raise(libc::SIGTSTP);
    equal("and the other way round", pending(), of(&[libc::SIGTSTP]));
}

fn kill() {
    let own = std::process::id() as i32;
    note_signal(libc::SIGUSR1, 0);
    succeeds("to oneself", call!(SYS_kill, own, libc::SIGUSR1));
    let (signal, code, sender) = last();
    equal("at once", (handled(), signal, code), (1, libc::SIGUSR1, 0));
    equal("from oneself", sender as u32, own as u32);
    need(call!(SYS_tkill, need(call!(SYS_gettid)), libc::SIGUSR1));
    equal("tkill says so", (handled(), last().1), (1, libc::SI_TKILL));
    fails("tkill of 0", call!(SYS_tkill, 0, libc::SIGUSR1), libc::EINVAL);
    fails("tkill of nobody", call!(SYS_tkill, 4_000_000, libc::SIGUSR1), libc::ESRCH);
    fails("tgkill of process 0", call!(SYS_tgkill, 0, own, 1), libc::EINVAL);
    fails("tgkill of thread 0", call!(SYS_tgkill, own, 0, 1), libc::EINVAL);
    fails("tgkill of another's thread", call!(SYS_tgkill, own, 1, 0), libc::ESRCH);
    fails("tgkill of no such signal", call!(SYS_tgkill, own, own, 65), libc::EINVAL);
    fails("nobody", call!(SYS_kill, 4_000_000, 0), libc::ESRCH);
    fails("no such group", call!(SYS_kill, -4_000_000, 0), libc::ESRCH);
    fails("no such signal", call!(SYS_kill, own, -1), libc::EINVAL);
    fails("the one number without a negation", call!(SYS_kill, i32::MIN, 0), libc::ESRCH);
    let zombie = need(in_child(|| 0));
    sleep_ns(20 * MILLISECOND);
    succeeds("who has ended can be signalled until waited for", call!(SYS_kill, zombie.0, libc::SIGUSR1));
    need(zombie.wait());
    fails("not afterwards", call!(SYS_kill, zombie.0, 0), libc::ESRCH);
    let group = need(in_child(|| {
        need(call!(SYS_setpgid, 0, 0));
        let member = need(in_child(|| {
            loop {
                sleep_ns(1000 * MILLISECOND);
            }
        }));
        ignore(libc::SIGUSR2);
        let sent = call!(SYS_kill, 0, libc::SIGUSR2) == Ok(0);
        i32::from(sent && member.wait() == Ok(Ended::Killed(libc::SIGUSR2)))
    }));
    equal("0 is one's own group", group.wait(), Ok(Ended::Exited(1)));
    equal("which is not ours", handled(), 0);
}

fn permission() {
    let child = need(in_child(|| {
        loop {
            sleep_ns(1000 * MILLISECOND);
        }
    }));
    let stranger = need(in_child(|| {
        need(become_user(1000));
        let denied = call!(SYS_kill, child.0, 0) == Err(Errno(libc::EPERM));
        let continued = call!(SYS_kill, child.0, libc::SIGCONT) == Ok(0);
        i32::from(denied) + 2 * i32::from(continued)
    }));
    equal("a stranger may only continue its session's", stranger.wait(), Ok(Ended::Exited(3)));
    let elsewhere = need(in_child(|| {
        need(call!(SYS_setsid));
        need(become_user(1000));
        i32::from(call!(SYS_kill, child.0, libc::SIGCONT) == Err(Errno(libc::EPERM)))
    }));
    equal("of another session not even that", elsewhere.wait(), Ok(Ended::Exited(1)));
    let by_effective = need(in_child(|| {
        need(call!(SYS_setresuid, 0, 1000, 0));
        i32::from(call!(SYS_kill, child.0, 0) == Ok(0))
    }));
    equal("the real user counts", by_effective.wait(), Ok(Ended::Exited(1)));
    need(child.signal(libc::SIGKILL));
    need(child.wait());
}

fn threads() {
    note_signal(libc::SIGUSR1, 0);
    set_mask(of(&[libc::SIGUSR1]));
    let (tell, ready) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        let inherited = mask();
        let _ = tell.send(());
        let (mut count, before) = (0, now_ns());
        set_mask(0);
        while count == 0 && now_ns() - before < 5000 * MILLISECOND {
            sleep_ns(MILLISECOND);
            count = handled();
        }
        (inherited, count)
    });
    let _ = ready.recv();
    need(call!(SYS_kill, std::process::id(), libc::SIGUSR1));
    let (inherited, count) = other.join().unwrap_or((0, 0));
    equal("a thread inherits the mask", inherited, of(&[libc::SIGUSR1]));
    equal("what one thread blocks another handles", count, 1);
    let child = need(in_child(|| {
        let (tell, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            let _ = wait.recv();
            raise(libc::SIGTERM);
        });
        drop(tell);
        let _ = other.join();
        sleep_ns(5000 * MILLISECOND);
        0
    }));
    equal("a fatal one to a thread ends all", child.wait(), Ok(Ended::Killed(libc::SIGTERM)));
}

fn suspend() {
    note_signal(libc::SIGUSR1, libc::SA_RESTART);
    set_mask(of(&[libc::SIGUSR1, libc::SIGUSR2]));
    raise(libc::SIGUSR1);
    fails("whatever the action says", call!(SYS_rt_sigsuspend, &of(&[libc::SIGUSR2]), 8), libc::EINTR);
    equal("it was handled", handled(), 1);
    equal("and the mask is back", mask(), of(&[libc::SIGUSR1, libc::SIGUSR2]));
    fails("another size", call!(SYS_rt_sigsuspend, &0u64, 4), libc::EINVAL);
    fails("a set that cannot be read", call!(SYS_rt_sigsuspend, 8, 8), libc::EFAULT);
    let parent = std::process::id();
    let child = need(in_child(|| {
        sleep_ns(20 * MILLISECOND);
        let _ = call!(SYS_kill, parent, libc::SIGWINCH);
        sleep_ns(20 * MILLISECOND);
        let _ = call!(SYS_kill, parent, libc::SIGUSR1);
        0
    }));
    let before = now_ns();
    fails("it waits", call!(SYS_rt_sigsuspend, &0u64, 8), libc::EINTR);
    within("for one that is handled", now_ns() - before, 30 * MILLISECOND..=5000 * MILLISECOND);
    equal("once", handled(), 1);
    need(child.wait());
}

fn timed_wait() {
    let wait = |signals: &[i32], timeout: &[u64; 2]| call!(SYS_rt_sigtimedwait, &of(signals), 0, timeout, 8);
    set_mask(of(&[libc::SIGUSR1, 40]));
    fails("nothing comes", wait(&[libc::SIGUSR1], &[0, 0]), libc::EAGAIN);
    let before = now_ns();
    fails("in time", wait(&[libc::SIGUSR1], &[0, 20 * MILLISECOND]), libc::EAGAIN);
    within("which is waited for", now_ns() - before, 15 * MILLISECOND..=3000 * MILLISECOND);
    fails("too many nanoseconds", wait(&[libc::SIGUSR1], &[0, 1_000_000_000]), libc::EINVAL);
    fails("a negative time", wait(&[libc::SIGUSR1], &[u64::MAX, 0]), libc::EINVAL);
    fails("another size", call!(SYS_rt_sigtimedwait, &0u64, 0, 0, 4), libc::EINVAL);
    fails("a set that cannot be read", call!(SYS_rt_sigtimedwait, 8, 0, 0, 8), libc::EFAULT);
    raise(40);
    raise(libc::SIGUSR1);
    equal("the lowest of the set", wait(&[40, libc::SIGUSR1], &[0, 0]), Ok(libc::SIGUSR1 as usize));
    equal("the other is left", wait(&[40, libc::SIGUSR1], &[0, 0]), Ok(40));
    note_signal(libc::SIGUSR2, libc::SA_RESTART);
    let parent = std::process::id();
    let child = need(in_child(|| {
        sleep_ns(20 * MILLISECOND);
        let _ = call!(SYS_kill, parent, libc::SIGUSR2);
        0
    }));
    fails("another one that is handled interrupts", wait(&[40], &[5, 0]), libc::EINTR);
    equal("it was", handled(), 1);
    need(child.wait());
    raise(40);
    fails("information to nowhere", call!(SYS_rt_sigtimedwait, &of(&[40]), 8, &[0u64; 2], 8), libc::EFAULT);
}

fn alternate_stack() {
    let ask = || {
        let mut old = [7usize; 3];
        need(call!(SYS_sigaltstack, 0, &mut old));
        (old[0], old[1] as u32 as i32, old[2])
    };
    equal("none at first", ask().1, libc::SS_DISABLE);
    let memory = need(Mapping::shared(65536));
    let stack = |flags: i32, size: usize| [memory.address(), flags as usize, size];
    fails("too small", call!(SYS_sigaltstack, &stack(0, 1000), 0), libc::ENOMEM);
    fails("unknown flags", call!(SYS_sigaltstack, &stack(4, 65536), 0), libc::EINVAL);
    fails("one that cannot be read", call!(SYS_sigaltstack, 8, 0), libc::EFAULT);
    fails("one that cannot be written", call!(SYS_sigaltstack, 0, 8), libc::EFAULT);
    succeeds("one", call!(SYS_sigaltstack, &stack(0, 65536), 0));
    equal("is told", ask(), (memory.address(), 0, 65536));
    note_signal(libc::SIGUSR1, 0);
    raise(libc::SIGUSR1);
    let on_it = || (memory.address()..memory.address() + 65536).contains(&last_stack());
    equal("it is not used unasked", on_it(), false);
    note_signal(libc::SIGUSR1, libc::SA_ONSTACK);
    raise(libc::SIGUSR1);
    equal("only by who asks", on_it(), true);
    need(set(
        libc::SIGUSR2,
        &Action { handler: change_stack as *const () as usize, flags: libc::SA_ONSTACK as u64, mask: 0 },
    ));
    raise(libc::SIGUSR2);
    equal("on it, it cannot be changed", CHANGED.load(std::sync::atomic::Ordering::SeqCst), libc::EPERM);
    succeeds("one with disarming", call!(SYS_sigaltstack, &stack(i32::MIN, 65536), 0));
    equal("says so", ask().1, i32::MIN);
    raise(libc::SIGUSR1);
    equal("is used", on_it(), true);
    equal("and is there again afterwards", ask().1, i32::MIN);
    succeeds("it can be taken away", call!(SYS_sigaltstack, &stack(libc::SS_DISABLE, 0), 0));
    equal("and is gone", ask().1, libc::SS_DISABLE);
    raise(libc::SIGUSR1);
    equal("then it is not used", on_it(), false);
    let _ = handled();
}

static CHANGED: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

extern "C" fn change_stack(_signal: i32) {
    let stack = [0usize, libc::SS_DISABLE as usize, 0];
    let changed = call!(SYS_sigaltstack, &stack, 0);
    CHANGED.store(changed.err().map_or(0, |error| error.0), std::sync::atomic::Ordering::SeqCst);
}

fn exec_and_fork() {
    set_mask(of(&[libc::SIGUSR1, libc::SIGUSR2]));
    raise(libc::SIGUSR1);
    note_signal(libc::SIGUSR2, 0);
    let child = need(in_child(|| i32::from(pending() == 0) + 2 * i32::from(mask() == of(&[10, 12]))));
    equal("a child inherits the mask, and nothing pending", child.wait(), Ok(Ended::Exited(3)));
    let (reading, writing) = need(pipe(0));
    ignore(libc::SIGTERM);
    let child = need(in_child(|| {
        need(call!(SYS_dup3, writing, 1, 0));
        raise(libc::SIGUSR1);
        let arguments = [c"testlib".to_owned(), c"--signals".to_owned()];
        let error = asyncos_apps::system::execute(c"/proc/self/exe", &arguments, &[]);
        error.0
    }));
    equal("a program started", child.wait(), Ok(Ended::Exited(0)));
    let mut text = [0; 100];
    let length = need(read(reading, &mut text));
    let said = String::from_utf8_lossy(&text[..length]).into_owned();
    equal("keeps mask, pending and ignored, loses handlers", said.trim(), "a00 200 ignored default");
}

/// What a program says that the test of `execve` starts.
pub fn say_signals() {
    let kind = |signal: i32| match current(signal).handler {
        libc::SIG_DFL => "default",
        libc::SIG_IGN => "ignored",
        _ => "handled",
    };
    println!("{:x} {:x} {} {}", mask(), pending(), kind(libc::SIGTERM), kind(libc::SIGUSR2));
}
