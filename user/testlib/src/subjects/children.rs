//! Children: waiting for them, what their ends tell, stopping and continuing, and being left.

use crate::check::{equal, fails, holds, need, succeeds};
use crate::handling::{Action, handled, ignore, last, note_signal, set, set_mask};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Child, Ended, Errno, SignalSet, in_child, now_ns, pipe, read, sleep_ns, write};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("wait4", wait4),
    test("waitid", waitid),
    test("child-signal", child_signal),
    test("no-zombies", no_zombies),
    test("job-control", job_control),
    test("orphaned-group", orphaned_group),
    test("orphans", orphans),
    test("parent-dies", parent_dies),
    test("clone", clone),
    test("exec", exec),
];

const MILLISECOND: u64 = 1_000_000;

fn sleeper() -> Child {
    need(in_child(|| {
        loop {
            sleep_ns(1000 * MILLISECOND);
        }
    }))
}

fn end(child: Child) {
    let _ = child.signal(libc::SIGKILL);
    let _ = child.wait();
}

fn wait4() {
    let wait = |id: i32, options: i32| {
        let mut status = 77i32;
        call!(SYS_wait4, id, &mut status, options, 0).map(|id| (id as i32, status))
    };
    fails("without children", wait(-1, 0), libc::ECHILD);
    fails("unknown options", wait(-1, 64), libc::EINVAL);
    let child = need(in_child(|| 300));
    equal("eight bits of the status", wait(child.0, 0), Ok((child.0, (300 & 0xff) << 8)));
    fails("once", wait(child.0, 0), libc::ECHILD);
    let (first, second) = (need(in_child(|| 1)), need(in_child(|| 2)));
    equal("the one that is asked for", wait(second.0, 0), Ok((second.0, 2 << 8)));
    equal("any", wait(-1, 0), Ok((first.0, 1 << 8)));
    let child = sleeper();
    equal("not waiting", wait(-1, libc::WNOHANG), Ok((0, 77)));
    fails("another's", wait(1, 0), libc::ECHILD);
    equal("of one's own group", wait(0, libc::WNOHANG), Ok((0, 77)));
    fails("of a group without children", wait(-4_000_000, 0), libc::ECHILD);
    need(call!(SYS_setpgid, child.0, 0));
    equal("of its group", wait(-child.0, libc::WNOHANG), Ok((0, 77)));
    fails("not of ours any more", wait(0, libc::WNOHANG), libc::ECHILD);
    need(child.signal(libc::SIGSEGV));
    let (_, status) = need(wait(child.0, 0));
    equal("killed by a signal", status & 0x7f, libc::SIGSEGV);
    let child = need(in_child(|| 9));
    fails("a status to nowhere", call!(SYS_wait4, child.0, 8, 0, 0), libc::EFAULT);
    fails("has taken the child all the same", wait(child.0, 0), libc::ECHILD);
}

/// Signal, code, process, user and status.
fn by_id(kind: u32, id: i32, options: i32) -> Result<[i32; 5], Errno> {
    let mut information = [0x55u32; 32];
    call!(SYS_waitid, kind, id, &mut information, options, 0)?;
    Ok([0, 2, 4, 5, 6].map(|index| information[index] as i32))
}

fn waitid() {
    fails("nothing to wait for", by_id(libc::P_ALL, 0, 0), libc::EINVAL);
    fails("no such kind", by_id(9, 0, libc::WEXITED), libc::EINVAL);
    fails("without children", by_id(libc::P_ALL, 0, libc::WEXITED), libc::ECHILD);
    let child = need(in_child(|| 5));
    let seen = [libc::SIGCHLD, libc::CLD_EXITED, child.0, 0, 5];
    equal("left to be waited for", by_id(libc::P_PID, child.0, libc::WEXITED | libc::WNOWAIT), Ok(seen));
    equal("waited for", by_id(libc::P_PID, child.0, libc::WEXITED), Ok(seen));
    fails("gone", by_id(libc::P_PID, child.0, libc::WEXITED), libc::ECHILD);
    let child = sleeper();
    equal("nothing yet", by_id(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG), Ok([0; 5]));
    need(child.signal(libc::SIGSTOP));
    let stopped = [libc::SIGCHLD, libc::CLD_STOPPED, child.0, 0, libc::SIGSTOP];
    equal("stopped", by_id(libc::P_PID, child.0, libc::WSTOPPED), Ok(stopped));
    let again = by_id(libc::P_PID, child.0, libc::WSTOPPED | libc::WNOHANG);
    equal("told once", again, Ok([0; 5]));
    need(child.signal(libc::SIGCONT));
    let continued = [libc::SIGCHLD, libc::CLD_CONTINUED, child.0, 0, libc::SIGCONT];
    equal("going on", by_id(libc::P_PID, child.0, libc::WCONTINUED), Ok(continued));
    need(child.signal(libc::SIGKILL));
    let killed = [libc::SIGCHLD, libc::CLD_KILLED, child.0, 0, libc::SIGKILL];
    equal("killed", by_id(libc::P_PGID, 0, libc::WEXITED), Ok(killed));
    fails("of process 0", by_id(libc::P_PID, 0, libc::WEXITED), libc::EINVAL);
    fails("of a group below zero", by_id(libc::P_PGID, -1, libc::WEXITED), libc::EINVAL);
}

fn child_signal() {
    note_signal(libc::SIGCHLD, 0);
    let child = need(in_child(|| 3));
    while handled() == 0 {
        sleep_ns(MILLISECOND);
    }
    let (signal, code, sender) = last();
    equal("an end is signalled", (signal, code, sender as i32), (libc::SIGCHLD, libc::CLD_EXITED, child.0));
    need(child.wait());
    let child = sleeper();
    need(child.signal(libc::SIGSTOP));
    while handled() == 0 {
        sleep_ns(MILLISECOND);
    }
    equal("a stop, too", last().1, libc::CLD_STOPPED);
    need(child.signal(libc::SIGCONT));
    while handled() == 0 {
        sleep_ns(MILLISECOND);
    }
    equal("and going on", last().1, libc::CLD_CONTINUED);
    note_signal(libc::SIGCHLD, libc::SA_NOCLDSTOP);
    need(child.signal(libc::SIGSTOP));
    need(child.wait_with(libc::WUNTRACED));
    sleep_ns(20 * MILLISECOND);
    equal("unless one does not want to know", handled(), 0);
    end(child);
    equal("of ends one does", handled(), 1);
}

fn no_zombies() {
    let flags = libc::SA_NOCLDWAIT as u64;
    need(set(libc::SIGCHLD, &Action { handler: libc::SIG_DFL, flags, mask: 0 }));
    let child = need(in_child(|| 0));
    fails("a wait outlasts all of them", child.wait(), libc::ECHILD);
    ignore(libc::SIGCHLD);
    let child = need(in_child(|| 0));
    fails("ignoring does the same", child.wait(), libc::ECHILD);
    note_signal(libc::SIGCHLD, libc::SA_NOCLDWAIT);
    let child = need(in_child(|| 0));
    let gone = loop {
        match child.wait() {
            Err(Errno(libc::EINTR)) => {}
            other => break other,
        }
    };
    fails("with a handler, too", gone, libc::ECHILD);
    equal("which is told", handled(), 1);
}

fn job_control() {
    for signal in [libc::SIGSTOP, libc::SIGTSTP] {
        let child = need(in_child(|| {
            need(call!(SYS_setpgid, 0, 0));
            loop {
                sleep_ns(MILLISECOND);
            }
        }));
        sleep_ns(20 * MILLISECOND);
        need(child.signal(signal));
        equal(&format!("{signal} stops"), child.wait_with(libc::WUNTRACED), Ok(Some(Ended::Stopped(signal))));
        need(child.signal(libc::SIGTERM));
        sleep_ns(20 * MILLISECOND);
        equal("a stopped one does not see what kills", child.wait_with(libc::WNOHANG), Ok(None));
        need(child.signal(libc::SIGCONT));
        equal("until it goes on", child.wait(), Ok(Ended::Killed(libc::SIGTERM)));
        let child = sleeper();
        need(child.signal(libc::SIGSTOP));
        need(child.wait_with(libc::WUNTRACED));
        need(child.signal(libc::SIGKILL));
        equal("but SIGKILL at once", child.wait(), Ok(Ended::Killed(libc::SIGKILL)));
    }
    let child = need(in_child(|| {
        set_mask(SignalSet::of(&[libc::SIGCONT]).0);
        crate::handling::raise(libc::SIGSTOP);
        4
    }));
    need(child.wait_with(libc::WUNTRACED));
    need(child.signal(libc::SIGCONT));
    equal("blocking SIGCONT does not keep one stopped", child.wait(), Ok(Ended::Exited(4)));
}

/// A group without anybody who could continue it is not stopped by a terminal's signals; if it is stopped when that
/// happens, it gets `SIGHUP` and goes on.
fn orphaned_group() {
    let child = need(in_child(|| {
        need(call!(SYS_setsid));
        crate::handling::raise(libc::SIGTSTP);
        5
    }));
    equal("SIGTSTP does nothing there", child.wait(), Ok(Ended::Exited(5)));
    let (reading, writing) = need(pipe(0));
    let leader = need(in_child(|| {
        need(call!(SYS_setsid));
        let member = need(in_child(|| {
            need(call!(SYS_setpgid, 0, 0));
            note_signal(libc::SIGHUP, 0);
            crate::handling::raise(libc::SIGSTOP);
            sleep_ns(20 * MILLISECOND);
            let _ = write(writing, if handled() == 1 { b"h" } else { b"n" });
            0
        }));
        need(member.wait_with(libc::WUNTRACED));
        0
    }));
    need(leader.wait());
    let mut said = [0];
    need(read(reading, &mut said));
    equal("a stopped one is hung up on and goes on", said, *b"h");
}

fn orphans() {
    need(call!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let (reading, writing) = need(pipe(0));
    let child = need(in_child(|| {
        let own = std::process::id();
        let _ = in_child(|| {
            while call!(SYS_getppid) == Ok(own as usize) {
                sleep_ns(MILLISECOND);
            }
            let parent = call!(SYS_getppid).unwrap_or(0) as u32;
            let _ = write(writing, &parent.to_ne_bytes());
            7
        });
        0
    }));
    need(child.wait());
    let mut heir = [0; 4];
    need(read(reading, &mut heir));
    equal("who asked for orphans gets them", u32::from_ne_bytes(heir), std::process::id());
    let mut status = 0i32;
    need(call!(SYS_wait4, -1, &mut status, 0, 0));
    equal("and waits for them", Ended::from_status(status), Ended::Exited(7));
}

fn parent_dies() {
    let (reading, writing) = need(pipe(0));
    need(call!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let child = need(in_child(|| {
        let ready = need(pipe(0));
        let _ = in_child(|| {
            note_signal(libc::SIGUSR1, 0);
            need(call!(SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGUSR1, 0, 0, 0));
            let _ = write(ready.1, b"x");
            let start = now_ns();
            while handled() == 0 && now_ns() - start < 5000 * MILLISECOND {
                sleep_ns(MILLISECOND);
            }
            let _ = write(writing, if last().0 == libc::SIGUSR1 { b"y" } else { b"n" });
            0
        });
        need(read(ready.0, &mut [0; 1]));
        0
    }));
    need(child.wait());
    let mut said = [0];
    need(read(reading, &mut said));
    equal("a parent's end is signalled to who asked", said, *b"y");
    let _ = call!(SYS_wait4, -1, 0, 0, 0);
}

fn clone() {
    let thread = libc::CLONE_THREAD | libc::CLONE_VM;
    fails("a thread without shared handlers", call!(SYS_clone, thread, 0, 0, 0, 0), libc::EINVAL);
    fails("shared handlers without memory", call!(SYS_clone, libc::CLONE_SIGHAND, 0, 0, 0, 0), libc::EINVAL);
    let words = |flags: u64, signal: u64, stack: u64, size: u64| {
        let mut words = [0u64; 11];
        (words[0], words[4], words[5], words[6]) = (flags, signal, stack, size);
        words
    };
    fails("clone3: too short", call!(SYS_clone3, &words(0, 17, 0, 0), 63), libc::EINVAL);
    fails("too long", call!(SYS_clone3, &words(0, 17, 0, 0), 5000), libc::E2BIG);
    fails("no such signal", call!(SYS_clone3, &words(0, 65, 0, 0), 88), libc::EINVAL);
    fails("a signal in the flags", call!(SYS_clone3, &words(17, 0, 0, 0), 88), libc::EINVAL);
    fails("a stack without a size", call!(SYS_clone3, &words(0, 17, 4096, 0), 88), libc::EINVAL);
    fails("a size without a stack", call!(SYS_clone3, &words(0, 17, 0, 4096), 88), libc::EINVAL);
    fails("nothing to read", call!(SYS_clone3, 8, 88), libc::EFAULT);
    let long = [[0u64; 11], [1; 11]];
    fails("what is not known must be zero", call!(SYS_clone3, &long, 96), libc::E2BIG);
    note_signal(libc::SIGUSR1, 0);
    let child = need(call!(SYS_clone3, &words(0, libc::SIGUSR1 as u64, 0, 0), 88)) as i32;
    if child == 0 {
        asyncos_apps::system::exit_now(6);
    }
    let child = Child(child);
    fails("one that ends by another signal", child.wait(), libc::ECHILD);
    let ended = loop {
        match child.wait_with(0x4000_0000) {
            Ok(Some(ended)) => break Ok(ended),
            Ok(None) => {}
            Err(error) => break Err(error),
        }
    };
    equal("is waited for by who asks for all", ended, Ok(Ended::Exited(6)));
    equal("its end is signalled so", (handled(), last().0), (1, libc::SIGUSR1));
}

fn exec() {
    let run = |path: &std::ffi::CStr| asyncos_apps::system::execute(path, &[c"x".to_owned()], &[]).0;
    equal("nothing there", run(c"/nonexistent"), libc::ENOENT);
    equal("a folder", run(c"/tmp"), libc::EACCES);
    equal("an empty name", run(c""), libc::ENOENT);
    let file = need(asyncos_apps::system::open(c"/tmp/testlib-exec", libc::O_RDWR | libc::O_CREAT));
    equal("not executable", run(c"/tmp/testlib-exec"), libc::EACCES);
    need(call!(SYS_fchmod, file, 0o755));
    equal("being written", run(c"/tmp/testlib-exec"), libc::ETXTBSY);
    need(write(file, b"neither script nor program"));
    need(asyncos_apps::system::close(file));
    equal("no program", run(c"/tmp/testlib-exec"), libc::ENOEXEC);
    fails("a path that cannot be read", call!(SYS_execve, 8, 0, 0), libc::EFAULT);
    let wild = [8usize, 0];
    fails("an argument that cannot be read", call!(SYS_execve, c"/proc/self/exe", &wild, 0), libc::EFAULT);
    succeeds("it can be removed", call!(SYS_unlinkat, libc::AT_FDCWD, c"/tmp/testlib-exec", 0));
    holds("and we are who we were", std::process::id() > 1);
}
