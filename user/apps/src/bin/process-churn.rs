//! Ten thousand processes forked and reaped, then ten thousand threads blocked at once: what they cost, and that all of it
//! comes back, by the kernel's own exact numbers.
//!
//! `process-churn [PROCESSES [THREADS]]`, both 10,000 by default. Without `/proc/asyncos/memory` only the work is checked.

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use asyncos_apps::system::{Ended, Mapping, MemoryNumbers, clone_parked_thread, in_child, now_ns, sleep_ns};
use asyncos_apps::{Report, call};

const STACK_BYTES: usize = 256;
/// The kernel's memory for a blocked thread, beside user memory, may be at most this.
const BYTES_PER_THREAD: u64 = 2048;
/// The last thread tells that it ended shortly before the kernel has let go of it.
const SETTLE_NS: u64 = 5_000_000_000;
/// How many frames more the heap may keep in slabs that are partly used. What lies in them is counted by the byte; how
/// it lies depends on the order in which objects went and came, and is at most a few slabs for each of 15 sizes.
const SLAB_FRAMES: u64 = 64;

fn main() -> ExitCode {
    let mut counts =
        std::env::args().skip(1).map(|text| text.parse().expect("a number of processes or threads"));
    let processes = counts.next().unwrap_or(10_000);
    let threads = counts.next().unwrap_or(10_000);
    let mut report = Report::new();

    // Whatever is made once and kept is made before the first reading.
    touch_stack();
    report.remark(&format!("{processes} processes, then {threads} threads"));
    churn_processes(20);
    park_threads(threads, |_| ());
    let before = MemoryNumbers::read();
    if before.is_none() {
        report.remark("no /proc/asyncos/memory here: the work is done, its memory is not counted");
    }

    let reaped = churn_processes(processes);
    report.equal("processes forked and reaped", reaped, processes);
    nothing_left(&mut report, "after the processes", before.as_ref());

    let before = MemoryNumbers::read();
    let mut blocked = None;
    let ended = park_threads(threads, |started| {
        report.equal("threads blocked at once", started, threads);
        blocked = MemoryNumbers::read();
    });
    report.equal("threads released and ended", ended, threads);
    if let (Some(before), Some(blocked)) = (&before, &blocked) {
        cost_of_threads(&mut report, before, blocked, threads);
    }
    nothing_left(&mut report, "after the threads", before.as_ref());
    report.finish()
}

/// Touches the stack deeper than anything here goes, so that its pages are there.
#[inline(never)]
fn touch_stack() {
    std::hint::black_box(&mut [1_u8; 32 << 10]);
}

/// Forks and reaps `count` processes, one after the other; the number that ended as they should.
fn churn_processes(count: usize) -> usize {
    (0..count)
        .filter(|number| {
            let status = (number % 100) as i32;
            let child = in_child(|| status);
            child.and_then(|child| child.wait()) == Ok(Ended::Exited(status))
        })
        .count()
}

/// Starts `count` threads that block on one futex, calls `while_blocked` with the number that run, releases them and waits
/// for each to end; the number that ended. All of the memory is given back.
fn park_threads(count: usize, while_blocked: impl FnOnce(usize)) -> usize {
    let stacks = Mapping::anonymous(count * STACK_BYTES + 4096, asyncos_apps::system::Access::WRITE)
        .expect("memory for stacks");
    let words = Mapping::anonymous((count + 1) * 4, asyncos_apps::system::Access::WRITE)
        .expect("memory for thread ids");
    let gate = words.word(0);
    let mut started = 0;
    for number in 0..count {
        let top = stacks.address() + (number + 1) * STACK_BYTES;
        let identity = words.address() + (number + 1) * 4;
        // SAFETY: each thread has its own 256 bytes and its own identity word, and both mappings outlive every thread:
        // the loop at the end waits for them all.
        if unsafe { clone_parked_thread(top, words.address(), identity) } > 0 {
            started += 1;
        } else {
            break;
        }
    }
    wait_until_blocked(&stacks, started);
    while_blocked(started);
    gate.store(1, Ordering::Release);
    let _ = call!(SYS_futex, words.address(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX);
    for number in 0..started {
        let word = words.word((number + 1) * 4);
        loop {
            let identity = word.load(Ordering::Acquire);
            if identity == 0 {
                break;
            }
            // The kernel's wake at a thread's end is not a private one.
            let _ = call!(SYS_futex, words.address() + (number + 1) * 4, libc::FUTEX_WAIT, identity, 0);
        }
    }
    started
}

/// Waits until every thread has run (its stack holds the gate's address), and then a moment for the last ones to block.
fn wait_until_blocked(stacks: &Mapping, count: usize) {
    for number in 0..count {
        while stacks.word((number + 1) * STACK_BYTES - 8).load(Ordering::Acquire) == 0 {
            let _ = call!(SYS_sched_yield);
        }
    }
    sleep_ns(200_000_000);
}

fn cost_of_threads(report: &mut Report, before: &MemoryNumbers, blocked: &MemoryNumbers, threads: usize) {
    let grown = |name: &str| Some(blocked.value(name)?.saturating_sub(before.value(name)?));
    for (name, value) in before.entries() {
        report.remark(&format!(
            "{name}: {value} before, {} with {threads} threads blocked",
            blocked.value(name).unwrap_or(0)
        ));
    }
    match grown("heap_bytes") {
        Some(bytes) => {
            let each = bytes / threads as u64;
            report.remark(&format!("{each} bytes of kernel memory for each blocked thread"));
            report.check("a blocked thread costs at most 2 KiB", each <= BYTES_PER_THREAD, || {
                format!("{each} bytes")
            });
        }
        None => report.holds("the kernel says heap_bytes", false),
    }
    match grown("kernel_stacks") {
        Some(stacks) => report.equal("no kernel stack for a blocked thread", stacks, 0),
        None => report.holds("the kernel says kernel_stacks", false),
    }
}

/// Checks that every number is what it was, giving the kernel a moment to let go of the last thread.
fn nothing_left(report: &mut Report, when: &str, before: Option<&MemoryNumbers>) {
    let Some(before) = before else { return };
    let deadline = now_ns() + SETTLE_NS;
    let mut after = MemoryNumbers::read();
    while now_ns() < deadline && after.as_ref().is_some_and(|after| !exact(after).eq(exact(before))) {
        sleep_ns(10_000_000);
        after = MemoryNumbers::read();
    }
    let now = |name: &str| after.as_ref().and_then(|after| after.value(name));
    for (name, value) in exact(before) {
        report.equal(&format!("{name} {when}"), now(name), Some(value));
    }
    let (was, is) = (before.value("heap_frames").unwrap_or(0), now("heap_frames").unwrap_or(u64::MAX));
    report.remark(&format!("heap_frames {when}: {was} before, {is} now"));
    report.check(&format!("slabs are given back {when}"), is <= was + SLAB_FRAMES, || {
        format!("{} frames more", is - was)
    });
}

/// The numbers that must come back exactly: all but the heap's slabs and the totals that contain them.
fn exact(numbers: &MemoryNumbers) -> impl Iterator<Item = (&str, u64)> {
    numbers.entries().filter(|(name, _)| !["frames_free", "frames_used", "heap_frames"].contains(name))
}
