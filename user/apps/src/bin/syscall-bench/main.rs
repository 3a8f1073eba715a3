//! What single operations of the system cost: tight loops, timed by the monotonic clock.
//!
//! `syscall-bench [NAME[=ITERATIONS]]...`; all of them by default. Each prints `name iterations total per_operation unit`,
//! where the unit is `ns` or, for what things take up, `bytes`. Under `-icount shift=0` a nanosecond is an instruction.
//! The program needs nothing but a writable `/tmp` and runs unchanged on Linux.

mod calls;
mod files;
mod memory;
mod processes;
mod sizes;
mod threads;

use std::process::ExitCode;

use asyncos_apps::system::{now_ns, trap};

/// One row: what is done so many times, and what that took.
struct Bench {
    name: &'static str,
    iterations: usize,
    /// Does it so many times; answers the nanoseconds (or bytes) that all of it took.
    run: fn(usize) -> u64,
}

const fn row(name: &'static str, iterations: usize, run: fn(usize) -> u64) -> Bench {
    Bench { name, iterations, run }
}

const BENCHES: &[&[Bench]] =
    &[calls::BENCHES, files::BENCHES, memory::BENCHES, threads::BENCHES, processes::BENCHES, sizes::BENCHES];

fn main() -> ExitCode {
    let _ = std::fs::create_dir("/tmp");
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let mut known = true;
    if chosen.is_empty() {
        benches().for_each(|bench| show(bench, bench.iterations));
    }
    for text in &chosen {
        let (name, count) =
            text.split_once('=').map_or((text.as_str(), None), |(name, count)| (name, Some(count)));
        let bench = benches().find(|bench| bench.name == name);
        let iterations =
            count.map_or(bench.map(|bench| bench.iterations), |count| count.parse().ok().filter(|n| *n > 0));
        match (bench, iterations) {
            (Some(bench), Some(iterations)) => show(bench, iterations),
            _ => {
                let names: Vec<&str> = benches().map(|bench| bench.name).collect();
                eprintln!("syscall-bench: {text}: not NAME or NAME=ITERATIONS; names: {}", names.join(" "));
                known = false;
            }
        }
    }
    if known { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn benches() -> impl Iterator<Item = &'static Bench> {
    BENCHES.iter().flat_map(|group| group.iter())
}

fn show(bench: &Bench, iterations: usize) {
    (bench.run)(iterations.div_ceil(10));
    let total = (bench.run)(iterations);
    let unit = if bench.name.starts_with("memory-") { "bytes" } else { "ns" };
    println!("{} {iterations} {total} {:.1} {unit}", bench.name, total as f64 / iterations as f64);
}

/// Makes a system call with little around it, and gives what the kernel returns. Addresses must be of memory that lives, and that
/// the call may read and write.
#[inline(always)]
fn quick(number: libc::c_long, arguments: [usize; 4]) -> isize {
    let [first, second, third, fourth] = arguments;
    // SAFETY: what the callers give are numbers, and addresses of what they borrow or have mapped.
    unsafe { trap(number as usize, [first, second, third, fourth, 0, 0]) }
}

/// [`quick`] of a call that must return `expected`.
#[inline(always)]
fn must(number: libc::c_long, arguments: [usize; 4], expected: isize) {
    if quick(number, arguments) != expected {
        failed(number);
    }
}

#[cold]
#[inline(never)]
fn failed(number: libc::c_long) -> ! {
    panic!("system call {number} did not do what it should");
}

/// The nanoseconds that `work` takes.
fn timed(work: impl FnOnce()) -> u64 {
    let start = now_ns();
    work();
    now_ns() - start
}
