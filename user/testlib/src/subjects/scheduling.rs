//! Scheduling: policies, niceness, affinity, and memory barriers.

use crate::check::{equal, fails, holds, need, succeeds, within};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Ended, Errno, become_user, in_child, limit, now_ns, sleep_ns};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("policies", policies),
    test("attributes", attributes),
    test("reset-on-fork", reset_on_fork),
    test("permission", permission),
    test("niceness", niceness),
    test("affinity", affinity),
    test("real-time-first", real_time_first),
    test("barriers", barriers),
    test("prctl", prctl),
];

const RESET_ON_FORK: i32 = 0x4000_0000;

fn policy() -> i32 {
    need(call!(SYS_sched_getscheduler, 0)) as i32
}

fn parameter() -> i32 {
    let mut priority = -1i32;
    need(call!(SYS_sched_getparam, 0, &mut priority));
    priority
}

fn set(policy: i32, priority: i32) -> Result<usize, Errno> {
    call!(SYS_sched_setscheduler, 0, policy, &priority)
}

fn policies() {
    equal("the ordinary one", (policy(), parameter()), (libc::SCHED_OTHER, 0));
    for (number, range) in [(0, (0, 0)), (1, (1, 99)), (2, (1, 99)), (3, (0, 0)), (5, (0, 0)), (6, (0, 0))] {
        let lowest = need(call!(SYS_sched_get_priority_min, number)) as i32;
        let highest = need(call!(SYS_sched_get_priority_max, number)) as i32;
        equal(&format!("what is possible with {number}"), (lowest, highest), range);
    }
    fails("no such policy", call!(SYS_sched_get_priority_max, 4), libc::EINVAL);
    fails("nor one below zero", call!(SYS_sched_get_priority_min, -1), libc::EINVAL);
    for (number, priority) in
        [(libc::SCHED_FIFO, 1), (libc::SCHED_RR, 99), (libc::SCHED_BATCH, 0), (libc::SCHED_IDLE, 0)]
    {
        succeeds(&format!("{number} is set"), set(number, priority));
        equal(&format!("{number} is told"), (policy(), parameter()), (number, priority));
    }
    succeeds("and the ordinary one again", set(libc::SCHED_OTHER, 0));
    fails("an ordinary one with a priority", set(libc::SCHED_OTHER, 1), libc::EINVAL);
    fails("a real-time one without", set(libc::SCHED_FIFO, 0), libc::EINVAL);
    fails("or with too much", set(libc::SCHED_RR, 100), libc::EINVAL);
    fails("an unknown one", set(77, 0), libc::EINVAL);
    fails("one below zero", set(-1, 0), libc::EINVAL);
    fails("without a parameter", call!(SYS_sched_setscheduler, 0, 0, 0), libc::EINVAL);
    fails("with one that cannot be read", call!(SYS_sched_setscheduler, 0, 0, 8), libc::EFAULT);
    fails("of nobody", call!(SYS_sched_setscheduler, 4_000_000, 0, &0i32), libc::ESRCH);
    fails("of a number below zero", call!(SYS_sched_getscheduler, -1), libc::EINVAL);
    fails("nobody's", call!(SYS_sched_getscheduler, 4_000_000), libc::ESRCH);
    fails("told to nowhere", call!(SYS_sched_getparam, 0, 0), libc::EINVAL);
    fails("the parameter alone must fit", call!(SYS_sched_setparam, 0, &5i32), libc::EINVAL);
    need(set(libc::SCHED_FIFO, 3));
    succeeds("and does here", call!(SYS_sched_setparam, 0, &5i32));
    equal("the policy stays", (policy(), parameter()), (libc::SCHED_FIFO, 5));
    let child = need(in_child(|| i32::from((policy(), parameter()) == (libc::SCHED_FIFO, 5))));
    equal("children inherit it", child.wait(), Ok(Ended::Exited(1)));
    need(set(libc::SCHED_RR, 3));
    let mut slice = [0u64; 2];
    need(call!(SYS_sched_rr_get_interval, 0, &mut slice));
    holds("a slice is some time", slice[0] == 0 && slice[1] > 0);
    succeeds("others may go first", call!(SYS_sched_yield));
}

/// `struct sched_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    times: [u64; 3],
    usable: [u32; 2],
}

fn asked() -> Attributes {
    let mut attributes = Attributes::default();
    need(call!(SYS_sched_getattr, 0, &mut attributes, 56, 0));
    attributes
}

fn attributes() {
    let set = |attributes: Attributes| call!(SYS_sched_setattr, 0, &attributes, 0);
    let plain = Attributes { size: 48, ..Attributes::default() };
    succeeds("niceness", set(Attributes { nice: 5, ..plain }));
    let now = asked();
    equal("is told", (now.policy, now.nice, now.priority), (0, 5, 0));
    equal("by the other call, too", call!(SYS_getpriority, libc::PRIO_PROCESS, 0), Ok(15));
    succeeds("a real-time policy", set(Attributes { policy: 2, priority: 7, ..plain }));
    equal("is told", (asked().policy, asked().priority), (2, 7));
    equal("by the other call, too", (policy(), parameter()), (2, 7));
    succeeds("back, of size 0", set(Attributes { size: 0, ..plain }));
    equal("as it was", (policy(), asked().nice), (0, 0));
    let mut small = Attributes { size: 40, ..plain };
    fails("too small", call!(SYS_sched_setattr, 0, &mut small, 0), libc::E2BIG);
    equal("what is needed is told", small.size, 56);
    fails("flags of the call", call!(SYS_sched_setattr, 0, &plain, 1), libc::EINVAL);
    fails("unknown flags", set(Attributes { flags: 1 << 20, ..plain }), libc::EINVAL);
    fails("no such policy", set(Attributes { policy: 77, ..plain }), libc::EINVAL);
    fails("a policy below zero", set(Attributes { policy: u32::MAX, ..plain }), libc::EINVAL);
    fails("a priority that does not fit", set(Attributes { priority: 1, ..plain }), libc::EINVAL);
    fails("nothing", call!(SYS_sched_setattr, 0, 0, 0), libc::EINVAL);
    fails("what cannot be read", call!(SYS_sched_setattr, 0, 8, 0), libc::EFAULT);
    fails("nobody", call!(SYS_sched_setattr, 4_000_000, &plain, 0), libc::ESRCH);
    fails("a number below zero", call!(SYS_sched_setattr, -1, &plain, 0), libc::EINVAL);
    let mut into = Attributes::default();
    fails("too little room", call!(SYS_sched_getattr, 0, &mut into, 47, 0), libc::EINVAL);
    fails("too much", call!(SYS_sched_getattr, 0, &mut into, 5000, 0), libc::EINVAL);
    fails("flags for asking", call!(SYS_sched_getattr, 0, &mut into, 56, 1), libc::EINVAL);
    fails("asked about nobody", call!(SYS_sched_getattr, 4_000_000, &mut into, 56, 0), libc::ESRCH);
    need(call!(SYS_sched_getattr, 0, &mut into, 48, 0));
    equal("as long as there is room", into.size, 48);
    need(set(Attributes { policy: 1, priority: 9, ..plain }));
    succeeds("the policy can be kept", set(Attributes { flags: 8, priority: 11, ..plain }));
    equal("and is", (policy(), parameter()), (1, 11));
}

fn reset_on_fork() {
    succeeds("it is part of a policy", set(libc::SCHED_FIFO | RESET_ON_FORK, 5));
    equal("and told", policy(), libc::SCHED_FIFO | RESET_ON_FORK);
    equal("as a flag", asked().flags & 1, 1);
    let child = need(in_child(|| i32::from((policy(), parameter()) == (libc::SCHED_OTHER, 0))));
    equal("children begin with the ordinary one", child.wait(), Ok(Ended::Exited(1)));
    need(set(libc::SCHED_OTHER | RESET_ON_FORK, 0));
    need(call!(SYS_setpriority, libc::PRIO_PROCESS, 0, -5));
    let child = need(in_child(|| i32::from(call!(SYS_getpriority, libc::PRIO_PROCESS, 0) == Ok(20))));
    equal("and are not nicer than that", child.wait(), Ok(Ended::Exited(1)));
}

fn permission() {
    need(limit(libc::RLIMIT_RTPRIO, 0));
    need(limit(libc::RLIMIT_NICE, 0));
    need(become_user(1000));
    fails("real time is for the privileged", set(libc::SCHED_FIFO, 1), libc::EPERM);
    succeeds("the idle one is for all", set(libc::SCHED_IDLE, 0));
    fails("another's", call!(SYS_sched_setscheduler, 1, libc::SCHED_OTHER, &0i32), libc::EPERM);
    succeeds("another's may be asked for", call!(SYS_sched_getscheduler, 1));
    succeeds("nicer", call!(SYS_setpriority, libc::PRIO_PROCESS, 0, 5));
    fails("not less nice again", call!(SYS_setpriority, libc::PRIO_PROCESS, 0, 0), libc::EACCES);
    fails("nor another", call!(SYS_setpriority, libc::PRIO_PROCESS, 1, 5), libc::EPERM);
    fails("another's processors", call!(SYS_sched_setaffinity, 1, 8, &1u64), libc::EPERM);
    let allowed = need(in_child(|| 0));
    need(allowed.wait());
}

fn niceness() {
    let get = |kind: u32, id: i32| call!(SYS_getpriority, kind, id);
    equal("0 at first", get(libc::PRIO_PROCESS, 0), Ok(20));
    succeeds("it can be set", call!(SYS_setpriority, libc::PRIO_PROCESS, 0, 7));
    equal("and is told as 20 less it", get(libc::PRIO_PROCESS, 0), Ok(13));
    succeeds("too much", call!(SYS_setpriority, libc::PRIO_PROCESS, 0, 100));
    equal("is as much as there is", get(libc::PRIO_PROCESS, 0), Ok(1));
    succeeds("too little", call!(SYS_setpriority, libc::PRIO_PROCESS, 0, -100));
    equal("as little", get(libc::PRIO_PROCESS, 0), Ok(40));
    let child = need(in_child(|| i32::from(get(libc::PRIO_PROCESS, 0) == Ok(40))));
    equal("children inherit it", child.wait(), Ok(Ended::Exited(1)));
    need(call!(SYS_setpriority, libc::PRIO_PGRP, 0, 3));
    equal("a whole group", get(libc::PRIO_PGRP, 0), Ok(17));
    fails("no such kind", get(3, 0), libc::EINVAL);
    fails("nobody", get(libc::PRIO_PROCESS, 4_000_000), libc::ESRCH);
    fails("no such kind to set", call!(SYS_setpriority, 3, 0, 0), libc::EINVAL);
    fails("nobody to set", call!(SYS_setpriority, libc::PRIO_PROCESS, 4_000_000, 0), libc::ESRCH);
}

fn affinity() {
    let mut all = 0u64;
    equal("the kernel's set has so many bytes", call!(SYS_sched_getaffinity, 0, 8, &mut all), Ok(8));
    holds("there is one at least", all & 1 == 1);
    fails("half a word", call!(SYS_sched_getaffinity, 0, 4, &mut all), libc::EINVAL);
    fails("nowhere", call!(SYS_sched_getaffinity, 0, 8, 8), libc::EFAULT);
    fails("nobody", call!(SYS_sched_getaffinity, 4_000_000, 8, &mut all), libc::ESRCH);
    fails("none", call!(SYS_sched_setaffinity, 0, 8, &0u64), libc::EINVAL);
    fails("one that is not there", call!(SYS_sched_setaffinity, 0, 8, &(1u64 << 63)), libc::EINVAL);
    fails("a set that cannot be read", call!(SYS_sched_setaffinity, 0, 8, 8), libc::EFAULT);
    let last = 63 - all.leading_zeros();
    for hart in [last, 0] {
        succeeds(&format!("only {hart}"), call!(SYS_sched_setaffinity, 0, 8, &(1u64 << hart)));
        let (mut processor, mut node) = (99u32, 99u32);
        need(call!(SYS_getcpu, &mut processor, &mut node, 0));
        equal(&format!("runs on {hart}"), (processor, node), (hart, 0));
    }
    let child = need(in_child(|| {
        let mut set = 0u64;
        need(call!(SYS_sched_getaffinity, 0, 8, &mut set));
        i32::from(set == 1)
    }));
    equal("children inherit it", child.wait(), Ok(Ended::Exited(1)));
    fails("getcpu to nowhere", call!(SYS_getcpu, 8, 0, 0), libc::EFAULT);
    succeeds("getcpu of nothing", call!(SYS_getcpu, 0, 0, 0));
}

/// What is ordinary does not run while something of real time wants to.
fn real_time_first() {
    need(call!(SYS_sched_setaffinity, 0, 8, &1u64));
    let memory = need(asyncos_apps::system::Mapping::shared(4096));
    let counter = memory.word(0);
    let ordinary = need(in_child(|| {
        loop {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }));
    sleep_ns(20_000_000);
    need(set(libc::SCHED_FIFO, 20));
    let (start, before) = (now_ns(), counter.load(std::sync::atomic::Ordering::SeqCst));
    while now_ns() - start < 100_000_000 {}
    let during = counter.load(std::sync::atomic::Ordering::SeqCst) - before;
    sleep_ns(50_000_000);
    let after = counter.load(std::sync::atomic::Ordering::SeqCst) - before - during;
    equal("nothing while it computes", during, 0);
    holds("something while it sleeps", after > 0);
    need(ordinary.signal(libc::SIGKILL));
    need(ordinary.wait());
}

fn barriers() {
    let barrier = |command: i32| call!(SYS_membarrier, command, 0, 0);
    let known = need(barrier(0));
    equal("what programs ask for is there", known & 0b0111_1111, 0b0111_1111);
    fails("flags", call!(SYS_membarrier, 0, 1, 0), libc::EINVAL);
    fails("no such command", barrier(1 << 30), libc::EINVAL);
    succeeds("the slow one", barrier(1));
    fails("the quick one has to be announced", barrier(8), libc::EPERM);
    succeeds("it is", barrier(16));
    succeeds("then it can be asked for", barrier(8));
    fails("that for instructions, too", barrier(32), libc::EPERM);
    succeeds("announced", barrier(64));
    succeeds("asked for", barrier(32));
    succeeds("for all who want", barrier(4));
    succeeds("anybody may ask", barrier(2));
    let child = need(in_child(|| i32::from(barrier(8).is_ok())));
    equal("a child's memory is a copy, its announcement, too", child.wait(), Ok(Ended::Exited(1)));
}

fn prctl() {
    let prctl = |option: i32, value: usize| call!(SYS_prctl, option, value, 0, 0, 0);
    fails("no such option", prctl(9999, 0), libc::EINVAL);
    need(call!(SYS_prctl, libc::PR_SET_NAME, c"a name that is too long", 0, 0, 0));
    let mut name = [1u8; 16];
    need(call!(SYS_prctl, libc::PR_GET_NAME, &mut name[..], 0, 0, 0));
    equal("names are cut", &name, b"a name that is \0");
    fails("a name that cannot be read", prctl(libc::PR_SET_NAME, 8), libc::EFAULT);
    fails("no such signal", prctl(libc::PR_SET_PDEATHSIG, 65), libc::EINVAL);
    need(prctl(libc::PR_SET_PDEATHSIG, 10));
    let mut signal = 0i32;
    need(call!(SYS_prctl, libc::PR_GET_PDEATHSIG, &mut signal, 0, 0, 0));
    equal("the signal of a parent's end", signal, 10);
    let child = need(in_child(|| {
        let mut signal = 7i32;
        need(call!(SYS_prctl, libc::PR_GET_PDEATHSIG, &mut signal, 0, 0, 0));
        i32::from(signal == 0)
    }));
    equal("is not inherited", child.wait(), Ok(Ended::Exited(1)));
    equal("it may be looked into", prctl(libc::PR_GET_DUMPABLE, 0), Ok(1));
    need(prctl(libc::PR_SET_DUMPABLE, 0));
    equal("or not", prctl(libc::PR_GET_DUMPABLE, 0), Ok(0));
    fails("what only the system sets", prctl(libc::PR_SET_DUMPABLE, 2), libc::EINVAL);
    equal("privileges", prctl(libc::PR_GET_NO_NEW_PRIVS, 0), Ok(0));
    need(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
    equal("can be given up", prctl(libc::PR_GET_NO_NEW_PRIVS, 0), Ok(1));
    fails("for good", prctl(libc::PR_SET_NO_NEW_PRIVS, 0), libc::EINVAL);
    within("the name is the thread's", name.len(), 16..=16);
}
