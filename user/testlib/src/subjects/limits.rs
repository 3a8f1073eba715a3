//! Limits, what was used, and who one is.

use crate::check::{equal, fails, holds, need, succeeds, within};
use crate::handling::{handled, note_signal};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{
    Access, Ended, Errno, Mapping, become_user, close, in_child, limit, now_ns, open, write,
};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("setting", setting),
    test("files", files),
    test("file-size", file_size),
    test("processes", processes),
    test("memory", memory),
    test("cpu-time", cpu_time),
    test("usage", usage),
    test("users", users),
    test("groups", groups),
    test("sessions", sessions),
    test("system", system),
];

const MILLISECOND: u64 = 1_000_000;

fn get(resource: u32) -> [u64; 2] {
    let mut limits = [0u64; 2];
    need(call!(SYS_prlimit64, 0, resource, 0, &mut limits));
    limits
}

fn set(resource: u32, soft: u64, hard: u64) -> Result<usize, Errno> {
    call!(SYS_prlimit64, 0, resource, &[soft, hard], 0)
}

fn ended(body: impl FnOnce() -> i32) -> Ended {
    need(in_child(body).and_then(|child| child.wait()))
}

fn setting() {
    fails("no such resource", call!(SYS_prlimit64, 0, 16, 0, &mut [0u64; 2]), libc::EINVAL);
    fails("soft above hard", set(libc::RLIMIT_CORE, 5, 4), libc::EINVAL);
    fails("what cannot be read", call!(SYS_prlimit64, 0, 4, 8, 0), libc::EFAULT);
    fails("what cannot be written", call!(SYS_prlimit64, 0, 4, 0, 8), libc::EFAULT);
    fails("nobody", call!(SYS_prlimit64, 4_000_000, 4, 0, 0), libc::ESRCH);
    succeeds("both", set(libc::RLIMIT_CORE, 4, 5));
    equal("are told", get(libc::RLIMIT_CORE), [4, 5]);
    let mut old = [0u64; 2];
    need(call!(SYS_prlimit64, 0, libc::RLIMIT_CORE, &[1u64, 5], &mut old));
    equal("the former are told", old, [4, 5]);
    let child = ended(|| {
        let inherited = get(libc::RLIMIT_CORE) == [1, 5];
        need(become_user(1000));
        let raised = set(libc::RLIMIT_CORE, 1, 6) == Err(Errno(libc::EPERM));
        let within = set(libc::RLIMIT_CORE, 5, 5) == Ok(0);
        let others = call!(SYS_prlimit64, 1, libc::RLIMIT_CORE, 0, &mut [0u64; 2]) == Err(Errno(libc::EPERM));
        i32::from(inherited) + 2 * i32::from(raised) + 4 * i32::from(within) + 8 * i32::from(others)
    });
    equal("a child inherits them, and only lowers them", child, Ended::Exited(15));
    let mut limits = [0u64; 2];
    need(call!(SYS_getrlimit, libc::RLIMIT_CORE, &mut limits));
    equal("the older call knows, too", limits, [1, 5]);
    need(call!(SYS_setrlimit, libc::RLIMIT_CORE, &[2u64, 3]));
    equal("and sets", get(libc::RLIMIT_CORE), [2, 3]);
    let other = need(in_child(|| {
        let start = now_ns();
        while get(libc::RLIMIT_CORE) != [0, 0] && now_ns() - start < 5000 * MILLISECOND {}
        i32::from(get(libc::RLIMIT_CORE) == [0, 0])
    }));
    need(call!(SYS_prlimit64, other.0, libc::RLIMIT_CORE, &[0u64, 0], 0));
    equal("another process's can be set", other.wait(), Ok(Ended::Exited(1)));
}

fn files() {
    let lowest = need(call!(SYS_dup, 1)) as u64;
    need(set(libc::RLIMIT_NOFILE, lowest + 2, 1024));
    succeeds("one more", call!(SYS_dup, 1));
    fails("and no more", call!(SYS_dup, 1), libc::EMFILE);
    fails("by opening", open(c"/", 0), libc::EMFILE);
    fails("by dup3", call!(SYS_dup3, 1, lowest + 2, 0), libc::EBADF);
    fails("by fcntl", call!(SYS_fcntl, 1, libc::F_DUPFD, lowest + 2), libc::EINVAL);
    fails("two at once", call!(SYS_pipe2, &mut [0i32; 2], 0), libc::EMFILE);
    fails("an eventfd", call!(SYS_eventfd2, 0, 0), libc::EMFILE);
    fails("a poll of more", call!(SYS_ppoll, &mut [0u64; 64], 64, &[0u64; 2], 0, 8), libc::EINVAL);
    need(close(lowest as i32));
    equal("the lowest that is free", call!(SYS_dup, 1), Ok(lowest as usize));
    need(set(libc::RLIMIT_NOFILE, 0, 1024));
    succeeds("what is open stays open", write(1, b""));
}

fn file_size() {
    let file = need(call!(SYS_memfd_create, c"limited", 0)) as i32;
    need(set(libc::RLIMIT_FSIZE, 10, 100));
    note_signal(libc::SIGXFSZ, 0);
    equal("up to the limit", write(file, b"0123456789abc"), Ok(10));
    equal("without a signal", handled(), 0);
    fails("not beyond", write(file, b"x"), libc::EFBIG);
    equal("with one", handled(), 1);
    fails("nor by making it longer", call!(SYS_ftruncate, file, 11), libc::EFBIG);
    let _ = handled();
    succeeds("shorter is no matter", call!(SYS_ftruncate, file, 2));
    let killed = ended(|| {
        let action = crate::handling::Action::default();
        need(crate::handling::set(libc::SIGXFSZ, &action));
        let _ = write(file, b"01234567890123456789");
        let _ = write(file, b"x");
        0
    });
    equal("by default it is the end", killed, Ended::Killed(libc::SIGXFSZ));
}

fn processes() {
    let child = ended(|| {
        need(limit(libc::RLIMIT_NPROC, 2));
        need(become_user(7777));
        let first = in_child(|| {
            asyncos_apps::system::sleep_ns(200 * MILLISECOND);
            0
        });
        let second = in_child(|| 0).map(drop);
        let counted = second == Err(Errno(libc::EAGAIN));
        let ended = first.and_then(|child| child.wait()).is_ok();
        let again = in_child(|| 0).and_then(|child| child.wait()).is_ok();
        i32::from(counted) + 2 * i32::from(ended) + 4 * i32::from(again)
    });
    equal("no more than the limit at once", child, Ended::Exited(7));
    let root = ended(|| {
        need(limit(libc::RLIMIT_NPROC, 1));
        i32::from(in_child(|| 0).and_then(|child| child.wait()).is_ok())
    });
    equal("which does not hold for root", root, Ended::Exited(1));
}

fn memory() {
    let child = ended(|| {
        need(limit(libc::RLIMIT_AS, 256 << 20));
        let too_much = Mapping::anonymous(512 << 20, Access::READ).err() == Some(Errno(libc::ENOMEM));
        let enough = Mapping::anonymous(1 << 20, Access::READ).is_ok();
        i32::from(too_much) + 2 * i32::from(enough)
    });
    equal("address space", child, Ended::Exited(3));
    let child = ended(|| {
        need(limit(libc::RLIMIT_MEMLOCK, 8192));
        need(become_user(1000));
        let memory = need(Mapping::anonymous(1 << 20, Access::READ));
        let some = call!(SYS_mlock, memory.address(), 4096).is_ok();
        let more = call!(SYS_mlock, memory.address(), 1 << 20) == Err(Errno(libc::ENOMEM));
        i32::from(some) + 2 * i32::from(more)
    });
    equal("locked memory", child, Ended::Exited(3));
    let child = ended(|| {
        need(limit(libc::RLIMIT_STACK, 256 << 10));
        deep(64)
    });
    equal("the stack's", child, Ended::Killed(libc::SIGSEGV));
}

/// Uses so many times 64 KiB of stack.
fn deep(times: u32) -> i32 {
    let room = std::hint::black_box([times as u8; 65536]);
    if times == 0 {
        i32::from(room[7])
    } else {
        deep(times - 1) + i32::from(std::hint::black_box(&room)[100])
    }
}

fn cpu_time() {
    let killed = ended(|| {
        need(set(libc::RLIMIT_CPU, 1, 10));
        loop {
            std::hint::black_box(now_ns());
        }
    });
    equal("the soft limit is the end", killed, Ended::Killed(libc::SIGXCPU));
    let killed = ended(|| {
        crate::handling::ignore(libc::SIGXCPU);
        need(set(libc::RLIMIT_CPU, 1, 2));
        loop {
            std::hint::black_box(now_ns());
        }
    });
    equal("or else the hard one", killed, Ended::Killed(libc::SIGKILL));
}

fn usage() {
    let of = |who: i32| {
        let mut usage = [0u64; 18];
        call!(SYS_getrusage, who, &mut usage).map(|_| usage)
    };
    fails("of nobody", of(5), libc::EINVAL);
    fails("to nowhere", call!(SYS_getrusage, 0, 8), libc::EFAULT);
    let time = |usage: [u64; 18]| (usage[0] + usage[2]) * 1_000_000 + usage[1] + usage[3];
    let before = time(need(of(libc::RUSAGE_SELF)));
    let start = now_ns();
    while now_ns() - start < 60 * MILLISECOND {}
    within("what was used", time(need(of(libc::RUSAGE_SELF))) - before, 20_000..=5_000_000);
    within("by this thread", time(need(of(libc::RUSAGE_THREAD))), 20_000..=5_000_000);
    within("the most memory", need(of(libc::RUSAGE_SELF))[4], 100..=1_000_000);
    equal("children have used nothing", time(need(of(libc::RUSAGE_CHILDREN))), 0);
    let child = need(in_child(|| {
        let start = now_ns();
        while now_ns() - start < 60 * MILLISECOND {}
        0
    }));
    equal("until they are waited for", time(need(of(libc::RUSAGE_CHILDREN))), 0);
    let mut usage = [0u64; 18];
    need(call!(SYS_wait4, child.0, 0, 0, &mut usage));
    within("a wait tells", time(usage), 20_000..=5_000_000);
    equal("and adds", time(need(of(libc::RUSAGE_CHILDREN))), time(usage));
    let mut times = [0u64; 4];
    let ticks = need(call!(SYS_times, &mut times));
    holds("times counts, too", times[0] + times[1] >= 2 && times[2] + times[3] >= 2 && ticks > 0);
    succeeds("without a place as well", call!(SYS_times, 0));
    fails("not to nowhere", call!(SYS_times, 8), libc::EFAULT);
}

fn ids(number: libc::c_long) -> [u32; 3] {
    let mut ids = [9u32; 3];
    let [real, effective, saved] = &mut ids;
    need(asyncos_apps::system::call(number, &[real.into(), effective.into(), saved.into()]));
    ids
}

fn users() {
    let users = || ids(libc::SYS_getresuid);
    let child = ended(|| {
        equal("root", users(), [0, 0, 0]);
        need(call!(SYS_setresuid, 1, 2, 3));
        equal("all three", users(), [1, 2, 3]);
        equal("what the others say", (call!(SYS_getuid), call!(SYS_geteuid)), (Ok(1), Ok(2)));
        need(call!(SYS_setresuid, -1, 3, -1));
        equal("one of them", users(), [1, 3, 3]);
        fails("to somebody else", call!(SYS_setresuid, -1, 4, -1), libc::EPERM);
        fails("by setuid", call!(SYS_setuid, 2), libc::EPERM);
        need(call!(SYS_setuid, 1));
        equal("setuid sets the effective one", users(), [1, 1, 3]);
        need(call!(SYS_setreuid, 1, 3));
        equal("setreuid saves what becomes effective", users(), [1, 3, 3]);
        0
    });
    equal("as the first", child, Ended::Exited(0));
    let child = ended(|| {
        need(call!(SYS_setuid, 1000));
        equal("root's setuid sets all", users(), [1000; 3]);
        fails("for good", call!(SYS_setuid, 0), libc::EPERM);
        equal("the file system's is told", call!(SYS_setfsuid, -1), Ok(1000));
        0
    });
    equal("as the second", child, Ended::Exited(0));
    fails("no such user", call!(SYS_setuid, -1), libc::EINVAL);
    fails("nor group", call!(SYS_setgid, -1), libc::EINVAL);
    fails("to nowhere", call!(SYS_getresuid, 8, 8, 8), libc::EFAULT);
}

fn groups() {
    let child = ended(|| {
        need(call!(SYS_setgroups, 3, &[5u32, 3, 4]));
        let mut groups = [0u32; 8];
        equal("how many", call!(SYS_getgroups, 0, 0), Ok(3));
        equal("which", call!(SYS_getgroups, 8, &mut groups), Ok(3));
        let mut sorted = groups[..3].to_vec();
        sorted.sort_unstable();
        equal("are told", sorted, vec![3, 4, 5]);
        fails("too little room", call!(SYS_getgroups, 2, &mut groups), libc::EINVAL);
        fails("a number below zero", call!(SYS_getgroups, -1, &mut groups), libc::EINVAL);
        fails("too many", call!(SYS_setgroups, 65537, &groups), libc::EINVAL);
        need(call!(SYS_setresgid, 1, 2, 3));
        equal("all three", ids(libc::SYS_getresgid), [1, 2, 3]);
        need(call!(SYS_setresuid, 9, 9, 9));
        fails("only root sets groups", call!(SYS_setgroups, 0, 0), libc::EPERM);
        need(call!(SYS_setregid, -1, 1));
        equal("one's own can be had back", ids(libc::SYS_getresgid), [1, 1, 3]);
        fails("no other", call!(SYS_setgid, 7), libc::EPERM);
        0
    });
    equal("groups", child, Ended::Exited(0));
}

fn sessions() {
    let own = std::process::id() as i32;
    fails("a group's leader cannot begin a session", call!(SYS_setsid), libc::EPERM);
    equal("it is its own group", call!(SYS_getpgid, 0), Ok(own as usize));
    fails("a group of nobody", call!(SYS_setpgid, 0, 4_000_000), libc::EPERM);
    fails("a group below zero", call!(SYS_setpgid, 0, -1), libc::EINVAL);
    fails("another's", call!(SYS_setpgid, 1, 0), libc::ESRCH);
    fails("nobody's group", call!(SYS_getpgid, 4_000_000), libc::ESRCH);
    fails("nobody's session", call!(SYS_getsid, 4_000_000), libc::ESRCH);
    let child = ended(|| {
        equal("a child is in its parent's", call!(SYS_getpgid, 0), Ok(own as usize));
        let session = need(call!(SYS_setsid));
        equal("a session begins with its leader", session, std::process::id() as usize);
        equal("who leads a group, too", call!(SYS_getpgid, 0), Ok(session));
        equal("it is told", call!(SYS_getsid, 0), Ok(session));
        fails("he stays there", call!(SYS_setpgid, 0, 0), libc::EPERM);
        fails("and begins no other", call!(SYS_setsid), libc::EPERM);
        0
    });
    equal("sessions", child, Ended::Exited(0));
    let other = need(in_child(|| {
        need(call!(SYS_setsid));
        asyncos_apps::system::sleep_ns(1000 * MILLISECOND);
        0
    }));
    asyncos_apps::system::sleep_ns(50 * MILLISECOND);
    fails("of another session", call!(SYS_setpgid, other.0, own), libc::EPERM);
    need(other.signal(libc::SIGKILL));
    need(other.wait());
}

fn system() {
    let mut information = [0u64; 14];
    need(call!(SYS_sysinfo, &mut information));
    holds("there is memory", information[4] > 0 && information[5] > 0 && information[5] <= information[4]);
    fails("sysinfo to nowhere", call!(SYS_sysinfo, 8), libc::EFAULT);
    let mut names = [0u8; 390];
    need(call!(SYS_uname, &mut names[..]));
    holds("a machine has its name", names[65 * 4..].starts_with(b"riscv64\0"));
    fails("uname to nowhere", call!(SYS_uname, 8), libc::EFAULT);
    fails("a restart without the words", call!(SYS_reboot, 0, 0, 0, 0), libc::EINVAL);
    fails("or with an unknown command", call!(SYS_reboot, 0xfee1_deadu32, 672_274_793, 5, 0), libc::EINVAL);
    let child = ended(|| {
        need(become_user(1000));
        let denied =
            call!(SYS_reboot, 0xfee1_deadu32, 672_274_793, 0x0123_4567, 0) == Err(Errno(libc::EPERM));
        let name = call!(SYS_sethostname, &b"x"[..], 1) == Err(Errno(libc::EPERM));
        i32::from(denied) + 2 * i32::from(name)
    });
    equal("only root restarts and names", child, Ended::Exited(3));
    fails("a name that is too long", call!(SYS_sethostname, &[b'x'; 65][..], 65), libc::EINVAL);
}
