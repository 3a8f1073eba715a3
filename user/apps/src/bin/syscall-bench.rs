//! What single system calls cost: tight loops, timed by the monotonic clock.
//!
//! `syscall-bench [NAME[=ITERATIONS]]...`; all of them by default. Each prints `name iterations total_ns per_op_ns`. Under
//! `-icount shift=0` a nanosecond is an instruction; the loop itself is four instructions around the call.

use std::process::ExitCode;

use asyncos_apps::call;
use asyncos_apps::system::{Access, Mapping, PAGE_BYTES, exit_now, fork, now_ns, open, pipe, trap_loop};

struct Bench {
    name: &'static str,
    iterations: usize,
    /// Runs so many operations and answers the nanoseconds that they took.
    run: fn(usize) -> u64,
}

const BENCHES: [Bench; 10] = [
    Bench { name: "getppid", iterations: 100_000, run: |count| calls(libc::SYS_getppid, [0; 3], count) },
    Bench {
        name: "read-zero",
        iterations: 50_000,
        run: |count| transfer(c"/dev/zero", libc::SYS_read, count),
    },
    Bench {
        name: "write-null",
        iterations: 50_000,
        run: |count| transfer(c"/dev/null", libc::SYS_write, count),
    },
    Bench { name: "pipe", iterations: 20_000, run: pipe_round },
    Bench { name: "clock-gettime", iterations: 50_000, run: clock },
    Bench {
        name: "sched-yield",
        iterations: 50_000,
        run: |count| calls(libc::SYS_sched_yield, [0; 3], count),
    },
    Bench { name: "fork-exit-wait", iterations: 300, run: fork_exit_wait },
    Bench { name: "mmap-munmap", iterations: 5_000, run: map_unmap },
    Bench { name: "page-fault", iterations: 8_192, run: page_faults },
    Bench { name: "open-close", iterations: 5_000, run: open_close },
];

fn main() -> ExitCode {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let mut known = true;
    if chosen.is_empty() {
        BENCHES.iter().for_each(|bench| show(bench, bench.iterations));
    }
    for text in &chosen {
        let (name, count) =
            text.split_once('=').map_or((text.as_str(), None), |(name, count)| (name, Some(count)));
        let bench = BENCHES.iter().find(|bench| bench.name == name);
        let iterations =
            count.map_or(bench.map(|bench| bench.iterations), |count| count.parse().ok().filter(|n| *n > 0));
        match (bench, iterations) {
            (Some(bench), Some(iterations)) => show(bench, iterations),
            _ => {
                let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
                eprintln!("syscall-bench: {text}: not NAME or NAME=ITERATIONS; names: {}", names.join(" "));
                known = false;
            }
        }
    }
    if known { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn show(bench: &Bench, iterations: usize) {
    (bench.run)(iterations.div_ceil(10));
    let total_ns = (bench.run)(iterations);
    println!("{} {iterations} {total_ns} {:.1}", bench.name, total_ns as f64 / iterations as f64);
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = now_ns();
    work();
    now_ns() - start
}

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

fn pipe_round(count: usize) -> u64 {
    let (read_end, write_end) = pipe(0).expect("a pipe");
    let buffer = Mapping::anonymous(PAGE_BYTES, Access::WRITE).expect("a page");
    buffer.set_byte(0, 1);
    let total_ns = timed(|| {
        for _ in 0..count {
            let written = call!(SYS_write, write_end, buffer.address(), 1);
            let read = call!(SYS_read, read_end, buffer.address(), 1);
            assert!(written == Ok(1) && read == Ok(1), "the pipe works");
        }
    });
    call!(SYS_close, read_end).and(call!(SYS_close, write_end)).expect("both were open");
    total_ns
}

fn clock(count: usize) -> u64 {
    let buffer = Mapping::anonymous(PAGE_BYTES, Access::WRITE).expect("a page");
    buffer.set_byte(0, 1);
    calls(libc::SYS_clock_gettime, [libc::CLOCK_MONOTONIC as usize, buffer.address(), 0], count)
}

fn fork_exit_wait(count: usize) -> u64 {
    timed(|| {
        for _ in 0..count {
            match fork().expect("fork") {
                None => exit_now(0),
                Some(child) => drop(child.wait().expect("its own child")),
            }
        }
    })
}

fn map_unmap(count: usize) -> u64 {
    timed(|| {
        for _ in 0..count {
            drop(Mapping::anonymous(4 * PAGE_BYTES, Access::WRITE).expect("memory"));
        }
    })
}

fn page_faults(count: usize) -> u64 {
    let memory = Mapping::anonymous(count * PAGE_BYTES, Access::WRITE).expect("memory");
    // Small pages, so that each touch is a fault of its own.
    let _ = call!(SYS_madvise, memory.address(), memory.length(), libc::MADV_NOHUGEPAGE);
    timed(|| {
        for page in 0..count {
            memory.set_byte(page * PAGE_BYTES, 1);
        }
    })
}

fn open_close(count: usize) -> u64 {
    timed(|| {
        for _ in 0..count {
            let descriptor = open(c"/dev/null", libc::O_RDONLY).expect("the device is there");
            call!(SYS_close, descriptor).expect("it was open");
        }
    })
}
