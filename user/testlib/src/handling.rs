//! A handler that notes what it is told, for tests of what makes it run.

use crate::check::need;
use asyncos_apps::call;
use asyncos_apps::system::Errno;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// `struct sigaction` as the kernel of riscv64 has it: there is no restorer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Action {
    /// `SIG_DFL`, `SIG_IGN` or a function.
    pub handler: usize,
    /// `SA_` bits.
    pub flags: u64,
    /// What is blocked meanwhile.
    pub mask: u64,
}

static COUNT: AtomicI32 = AtomicI32::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static STACK: AtomicUsize = AtomicUsize::new(0);
static ORDER: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];

extern "C" fn note(signal: i32, information: *const i32, _context: usize) {
    let index = COUNT.fetch_add(1, Ordering::SeqCst) as usize;
    if let Some(place) = ORDER.get(index) {
        place.store(signal, Ordering::SeqCst);
    }
    SIGNAL.store(signal, Ordering::SeqCst);
    STACK.store(std::ptr::from_ref(&index) as usize, Ordering::SeqCst);
    // SAFETY: the kernel gives a handler with `SA_SIGINFO`, which this always is, a whole `siginfo_t`.
    unsafe {
        CODE.store(*information.add(2), Ordering::SeqCst);
        ADDRESS.store(*information.add(4).cast::<usize>(), Ordering::SeqCst);
    }
}

/// Has the handler run for `signal`; `flags` are further `SA_` bits.
pub fn note_signal(signal: i32, flags: i32) {
    let flags = u64::from((flags | libc::SA_SIGINFO) as u32);
    need(set(signal, &Action { handler: note as *const () as usize, flags, mask: 0 }));
}

/// Arranges an action.
pub fn set(signal: i32, action: &Action) -> Result<usize, Errno> {
    call!(SYS_rt_sigaction, signal, action, 0, 8)
}

/// Has `signal` ignored.
pub fn ignore(signal: i32) {
    need(set(signal, &Action { handler: libc::SIG_IGN, ..Action::default() }));
}

/// How often the handler ran since this was asked last.
pub fn handled() -> i32 {
    COUNT.swap(0, Ordering::SeqCst)
}

/// The signals for which it ran, in order, since [`handled`] was asked last (which this does).
pub fn handled_in_order() -> Vec<i32> {
    let count = (handled() as usize).min(ORDER.len());
    ORDER[..count].iter().map(|place| place.load(Ordering::SeqCst)).collect()
}

/// The last signal for which it ran, its `si_code`, and the word in which an address or process and user stand.
pub fn last() -> (i32, i32, usize) {
    (SIGNAL.load(Ordering::SeqCst), CODE.load(Ordering::SeqCst), ADDRESS.load(Ordering::SeqCst))
}

/// An address on the stack on which it ran last.
pub fn last_stack() -> usize {
    STACK.load(Ordering::SeqCst)
}

/// Sends a signal to the calling thread.
pub fn raise(signal: i32) {
    need(call!(SYS_tgkill, std::process::id(), need(call!(SYS_gettid)), signal));
}

/// What the calling thread blocks.
pub fn mask() -> u64 {
    let mut mask = 0u64;
    need(call!(SYS_rt_sigprocmask, 0, 0, &mut mask, 8));
    mask
}

/// Blocks exactly these.
pub fn set_mask(mask: u64) {
    need(call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask, 0, 8));
}

/// What waits for the calling thread or its process, and is blocked.
pub fn pending() -> u64 {
    let mut set = 0u64;
    need(call!(SYS_rt_sigpending, &mut set, 8));
    set
}
