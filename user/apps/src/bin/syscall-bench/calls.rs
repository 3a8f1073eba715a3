//! Calls that only enter the kernel and leave it again: what a call costs by itself.

use asyncos_apps::call;
use asyncos_apps::system::{Access, Mapping, PAGE_BYTES, handle_signal, open, trap_loop};

use crate::{Bench, must, row, timed};

pub const BENCHES: &[Bench] = &[
    row("getppid", 100_000, |count| calls(libc::SYS_getppid, [0; 3], count)),
    row("clock-gettime-vdso", 100_000, clock_of_the_library),
    row("clock-gettime", 50_000, clock),
    row("read-zero", 50_000, |count| transfer(c"/dev/zero", libc::SYS_read, count)),
    row("write-null", 50_000, |count| transfer(c"/dev/null", libc::SYS_write, count)),
    row("sched-yield", 50_000, |count| calls(libc::SYS_sched_yield, [0; 3], count)),
    row("signal-self", 10_000, signal_to_self),
];

fn calls(number: libc::c_long, arguments: [usize; 3], count: usize) -> u64 {
    // SAFETY: the callers give calls that touch no memory, or memory of a mapping that lives until they return.
    timed(|| assert!(unsafe { trap_loop(number as usize, arguments, count) } >= 0, "the call works"))
}

fn transfer(path: &std::ffi::CStr, number: libc::c_long, count: usize) -> u64 {
    let descriptor = open(path, libc::O_RDWR).expect("the device is there");
    let buffer = Mapping::anonymous(PAGE_BYTES, Access::WRITE).expect("a page");
    buffer.set_byte(0, 1);
    let total_ns = calls(number, [descriptor as usize, buffer.address(), 1], count);
    call!(SYS_close, descriptor).expect("it was open");
    total_ns
}

fn clock(count: usize) -> u64 {
    let buffer = Mapping::anonymous(PAGE_BYTES, Access::WRITE).expect("a page");
    buffer.set_byte(0, 1);
    calls(libc::SYS_clock_gettime, [libc::CLOCK_MONOTONIC as usize, buffer.address(), 0], count)
}

/// By the C library, which asks the vDSO.
fn clock_of_the_library(count: usize) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    timed(|| {
        for _ in 0..count {
            // SAFETY: the time is writable.
            let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
            assert!(result == 0, "there is a monotonic clock");
        }
    })
}

/// `kill` of the own process, with a handler that does nothing, and the way back from it.
fn signal_to_self(count: usize) -> u64 {
    extern "C" fn nothing(_signal: i32) {}
    handle_signal(libc::SIGUSR1, nothing, 0).expect("a handler");
    let own = call!(SYS_getpid).expect("a process has an id");
    timed(|| {
        for _ in 0..count {
            must(libc::SYS_kill, [own, libc::SIGUSR1 as usize, 0, 0], 0);
        }
    })
}
