//! What the kernel maps into every process: the time without a system call, and the way back from signal handlers.
//!
//! A position-independent shared object without relocations (`vdso.ld`), found by `AT_SYSINFO_EHDR`. It has no state of
//! its own: what it knows is in `DATA`, which the kernel writes and this code only reads.
#![no_std]
#![no_main]

use abi::linux::general as number;
use abi::vdso::Data;
use core::arch::{asm, naked_asm};
use core::sync::atomic::Ordering;

const SECOND_NS: u64 = 1_000_000_000;

/// The kernel's page. Empty in the object itself.
#[used]
#[unsafe(link_section = ".shared_data")]
static DATA: Data = Data::new();

/// [`DATA`], as the kernel has filled it in: nothing in this object writes it, and the compiler must not conclude anything
/// from that. The address is reckoned from the program counter, which needs no relocation.
#[inline(always)]
fn data() -> &'static Data {
    let address: *const Data;
    // SAFETY: the address of a static.
    unsafe {
        asm!("lla {}, {}", out(reg) address, sym DATA, options(pure, nomem, nostack));
        &*address
    }
}

/// `struct timespec`, and `struct timeval` likewise.
#[repr(C)]
pub struct Time {
    seconds: i64,
    rest: i64,
}

/// Asks the kernel.
#[inline(always)]
fn system_call(number: u32, first: usize, second: usize, third: usize) -> isize {
    let result: isize;
    // SAFETY: the arguments are the program's own, which made this call instead of that one.
    unsafe {
        asm!("ecall", inlateout("a0") first => result, in("a1") second, in("a2") third, in("a7") number as usize,
             options(nostack));
    }
    result
}

/// Nanoseconds since boot; `None` when only the kernel knows.
#[inline(always)]
fn since_boot_ns() -> Option<u64> {
    let data = data();
    let ns_per_tick = data.ns_per_tick.load(Ordering::Relaxed);
    if ns_per_tick == 0 {
        return None;
    }
    let ticks: u64;
    // SAFETY: reads the counter of time.
    unsafe { asm!("rdtime {}", out(reg) ticks, options(nomem, nostack)) };
    Some((ticks - data.boot_ticks.load(Ordering::Relaxed)) * ns_per_tick)
}

/// Nanoseconds since 1970; `None` when only the kernel knows, which is so before then.
#[inline(always)]
fn realtime_ns() -> Option<u64> {
    since_boot_ns()?.checked_add_signed(data().realtime_offset_ns.load(Ordering::Relaxed))
}

/// What the clock with this number shows; `None` when only the kernel knows.
#[inline(always)]
fn clock_ns(clock: i32) -> Option<u64> {
    match clock as u32 {
        number::CLOCK_MONOTONIC
        | number::CLOCK_MONOTONIC_RAW
        | number::CLOCK_MONOTONIC_COARSE
        | number::CLOCK_BOOTTIME => since_boot_ns(),
        number::CLOCK_REALTIME | number::CLOCK_REALTIME_COARSE | number::CLOCK_TAI => realtime_ns(),
        _ => None,
    }
}

/// `clock_gettime`
///
/// # Safety
/// `time` points to a `struct timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_gettime(clock: i32, time: *mut Time) -> isize {
    match clock_ns(clock) {
        Some(ns) => {
            let value = Time { seconds: (ns / SECOND_NS) as i64, rest: (ns % SECOND_NS) as i64 };
            // SAFETY: as the caller promises; as with the system call, a bad address is its own fault.
            unsafe { time.write(value) };
            0
        }
        None => system_call(number::__NR_clock_gettime, clock as usize, time.addr(), 0),
    }
}

/// `gettimeofday`; the time zone is that of Greenwich.
///
/// # Safety
/// `time` is null or points to a `struct timeval`, `zone` is null or points to a `struct timezone`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_gettimeofday(time: *mut Time, zone: *mut [i32; 2]) -> isize {
    let Some(ns) = realtime_ns().filter(|_| zone.is_null() && !time.is_null()) else {
        return system_call(number::__NR_gettimeofday, time.addr(), zone.addr(), 0);
    };
    let value = Time { seconds: (ns / SECOND_NS) as i64, rest: (ns % SECOND_NS / 1000) as i64 };
    // SAFETY: as the caller promises.
    unsafe { time.write(value) };
    0
}

/// `clock_getres`
///
/// # Safety
/// `resolution` is null or points to a `struct timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_getres(clock: i32, resolution: *mut Time) -> isize {
    system_call(number::__NR_clock_getres, clock as usize, resolution.addr(), 0)
}

/// `getcpu`
///
/// # Safety
/// Both are null or point to words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_getcpu(cpu: *mut u32, node: *mut u32, cache: *mut u8) -> isize {
    system_call(number::__NR_getcpu, cpu.addr(), node.addr(), cache.addr())
}

/// `riscv_flush_icache`
///
/// # Safety
/// None is needed; the addresses only say what changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_flush_icache(start: *mut u8, end: *mut u8, flags: usize) -> isize {
    system_call(number::__NR_riscv_flush_icache, start.addr(), end.addr(), flags)
}

/// Where a signal handler returns to. Debuggers and unwinders know the frame by these two instructions.
///
/// # Safety
/// The stack pointer is where it was when the handler was entered; nothing calls this.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.signal_return")]
pub unsafe extern "C" fn __vdso_rt_sigreturn() -> ! {
    naked_asm!(".option push", ".option norvc", "li a7, {}", "ecall", ".option pop", const number::__NR_rt_sigreturn);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: stops the program, as it should be: nothing here can panic.
    unsafe { asm!("unimp", options(noreturn)) }
}
