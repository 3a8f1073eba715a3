//! What `rt_sigaction` arranges: each flag, and what is refused.

use crate::check::{equal, fails, holds, need, succeeds, within};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Child, Ended, in_child};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("arguments", arguments),
    test("reset-hand", reset_hand),
    test("no-defer", no_defer),
    test("mask-of-action", mask_of_action),
];

/// `struct sigaction` as the kernel of riscv64 has it: no restorer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
struct Action {
    handler: usize,
    flags: u64,
    mask: u64,
}

fn set(signal: i32, action: &Action) -> Result<usize, asyncos_apps::Errno> {
    call!(SYS_rt_sigaction, signal, action, 0, 8)
}

fn get(signal: i32) -> Action {
    let mut action = Action { handler: 77, flags: 77, mask: 77 };
    need(call!(SYS_rt_sigaction, signal, 0, &mut action, 8));
    action
}

fn raise(signal: i32) {
    need(call!(SYS_tgkill, std::process::id(), need(call!(SYS_gettid)), signal));
}

fn current_mask() -> u64 {
    let mut mask = 0u64;
    need(call!(SYS_rt_sigprocmask, 0, 0, &mut mask, 8));
    mask
}

static DEPTH: AtomicI32 = AtomicI32::new(0);
static DEEPEST: AtomicI32 = AtomicI32::new(0);
static CALLS: AtomicI32 = AtomicI32::new(0);
static SEEN_MASK: AtomicU64 = AtomicU64::new(0);

extern "C" fn note_mask(_signal: i32) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    SEEN_MASK.store(current_mask(), Ordering::SeqCst);
}

extern "C" fn raise_itself(signal: i32) {
    let depth = DEPTH.fetch_add(1, Ordering::SeqCst) + 1;
    DEEPEST.fetch_max(depth, Ordering::SeqCst);
    if CALLS.fetch_add(1, Ordering::SeqCst) == 0 {
        raise(signal);
    }
    within("a handler is nested at most once", DEPTH.fetch_sub(1, Ordering::SeqCst), 1..=2);
}

fn ended(body: impl FnOnce() -> i32) -> Ended {
    need(in_child(body).and_then(Child::wait))
}

fn arguments() {
    let handler = Action { handler: note_mask as *const () as usize, flags: 0, mask: 0 };
    for signal in [0, 65, -1, libc::SIGKILL, libc::SIGSTOP] {
        fails(&format!("signal {signal} takes no handler"), set(signal, &handler), libc::EINVAL);
    }
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        fails(
            &format!("not even the default of {signal} may be set"),
            set(signal, &Action::default()),
            libc::EINVAL,
        );
        equal(&format!("but {signal} may be asked for"), get(signal), Action::default());
    }
    fails("a set of another size", call!(SYS_rt_sigaction, 10, &handler, 0, 16), libc::EINVAL);
    fails("an action that cannot be read", call!(SYS_rt_sigaction, 10, 8, 0, 8), libc::EFAULT);
    equal("nothing changed", get(10), Action::default());
    fails("the old one cannot be written", call!(SYS_rt_sigaction, 10, &handler, 8, 8), libc::EFAULT);
    equal("but the new one is set, as on Linux", get(10).handler, handler.handler);
    let full = Action { mask: u64::MAX, flags: libc::SA_RESTART as u64, ..handler };
    succeeds("every signal may be in the mask", set(64, &full));
    let unblockable = 1u64 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
    equal("but SIGKILL and SIGSTOP are left out", get(64).mask, !unblockable);
    equal("the flags are kept", get(64).flags, libc::SA_RESTART as u64);
}

fn reset_hand() {
    let flags = u64::from(libc::SA_RESETHAND as u32);
    let action = Action { handler: note_mask as *const () as usize, flags, mask: 0 };
    need(set(libc::SIGUSR1, &action));
    raise(libc::SIGUSR1);
    equal("it ran", CALLS.load(Ordering::SeqCst), 1);
    equal("then it is the default", get(libc::SIGUSR1).handler, libc::SIG_DFL);
    equal("the flags stay", get(libc::SIGUSR1).flags, flags);
    let second = ended(|| {
        raise(libc::SIGUSR1);
        0
    });
    equal("so the second one kills", second, Ended::Killed(libc::SIGUSR1));
    let blocked = SEEN_MASK.load(Ordering::SeqCst) >> (libc::SIGUSR1 - 1) & 1;
    equal("the signal was blocked meanwhile all the same", blocked, 1);
}

fn no_defer() {
    let handler = raise_itself as *const () as usize;
    need(set(libc::SIGUSR1, &Action { handler, flags: 0, mask: 0 }));
    raise(libc::SIGUSR1);
    equal("a handler is not entered again", DEEPEST.swap(0, Ordering::SeqCst), 1);
    equal("but runs once more afterwards", CALLS.swap(0, Ordering::SeqCst), 2);
    need(set(libc::SIGUSR1, &Action { handler, flags: libc::SA_NODEFER as u64, mask: 0 }));
    raise(libc::SIGUSR1);
    equal("with SA_NODEFER it is", DEEPEST.swap(0, Ordering::SeqCst), 2);
    let own = 1u64 << (libc::SIGUSR1 - 1);
    CALLS.store(0, Ordering::SeqCst);
    need(set(libc::SIGUSR1, &Action { handler, flags: libc::SA_NODEFER as u64, mask: own }));
    raise(libc::SIGUSR1);
    equal("unless its mask says otherwise", DEEPEST.load(Ordering::SeqCst), 1);
}

fn mask_of_action() {
    let handler = note_mask as *const () as usize;
    let mask = 1u64 << (libc::SIGUSR2 - 1) | 1 << (libc::SIGRTMIN() - 1);
    need(set(libc::SIGUSR1, &Action { handler, flags: 0, mask }));
    equal("nothing is blocked before", current_mask(), 0);
    raise(libc::SIGUSR1);
    let own = 1u64 << (libc::SIGUSR1 - 1);
    equal("a handler's mask and its own signal", SEEN_MASK.load(Ordering::SeqCst), mask | own);
    equal("nothing afterwards", current_mask(), 0);
    let other = 1u64 << (libc::SIGHUP - 1);
    need(call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &other, 0, 8));
    raise(libc::SIGUSR1);
    equal("added to what was blocked", SEEN_MASK.load(Ordering::SeqCst), mask | own | other);
    holds("and that stays", current_mask() == other);
}
