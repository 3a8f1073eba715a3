//! What the system keeps for things that only exist: memory that is gone while they do.

use std::sync::atomic::Ordering;

use asyncos_apps::call;
use asyncos_apps::system::{Access, Mapping, PAGE_BYTES, clone_parked_thread, in_child, sleep_ns};

use crate::{Bench, row};

pub const BENCHES: &[Bench] =
    &[row("memory-thread", 2_000, idle_threads), row("memory-process", 200, idle_processes)];

const STACK_BYTES: usize = 256;

/// Bytes of free memory, as `sysinfo` tells.
fn free_bytes() -> u64 {
    // SAFETY: all of it is numbers.
    let mut information: libc::sysinfo = unsafe { std::mem::zeroed() };
    call!(SYS_sysinfo, &mut information).expect("it never fails");
    information.freeram * u64::from(information.mem_unit)
}

/// Threads that wait on a futex, with stacks that were there before.
fn idle_threads(count: usize) -> u64 {
    let gate = Mapping::anonymous(PAGE_BYTES, Access::WRITE).expect("a page");
    let identities = Mapping::anonymous(count * 4, Access::WRITE).expect("memory");
    let stacks = Mapping::anonymous(count * STACK_BYTES, Access::WRITE).expect("memory");
    identities.fill(0, count * 4, 0);
    stacks.fill(0, count * STACK_BYTES, 0);
    gate.word(0).store(0, Ordering::Release);
    let before = free_bytes();
    for index in 0..count {
        let top = stacks.address() + (index + 1) * STACK_BYTES;
        // SAFETY: each has its part of the stacks, and all of this is unmapped after the last has ended.
        let thread = unsafe { clone_parked_thread(top, gate.address(), identities.address() + index * 4) };
        assert!(thread > 0, "a thread");
    }
    sleep_ns(50_000_000);
    let used = before.saturating_sub(free_bytes());
    gate.word(0).store(1, Ordering::Release);
    call!(SYS_futex, gate.address(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count)
        .expect("its own word");
    for index in 0..count {
        let identity = identities.word(index * 4);
        loop {
            match identity.load(Ordering::Acquire) {
                0 => break,
                // The kernel wakes the word as one that processes share.
                value => {
                    let _ = call!(SYS_futex, identity.as_ptr() as usize, libc::FUTEX_WAIT, value, 0);
                }
            }
        }
    }
    used
}

/// Forked children that wait to be killed.
fn idle_processes(count: usize) -> u64 {
    let before = free_bytes();
    let children: Vec<_> = (0..count)
        .map(|_| {
            in_child(|| {
                sleep_ns(u64::MAX / 4);
                0
            })
            .expect("a child")
        })
        .collect();
    sleep_ns(50_000_000);
    let used = before.saturating_sub(free_bytes());
    for child in children {
        child.signal(libc::SIGKILL).and_then(|()| child.wait()).expect("its own child");
    }
    used
}
