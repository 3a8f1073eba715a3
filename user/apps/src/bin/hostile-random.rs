//! Random system calls with random arguments from several processes at once; the system must survive them.
//!
//! `hostile-random [CALLS [SEED [PROCESSES]]]`: 100,000 calls altogether, seed 1, 4 processes. The same seed makes the same calls.
//! Each process forks children that do a few hundred calls each, under limits, in a scratch directory, as user 12345.

use std::process::ExitCode;

use asyncos_apps::random::Random;
use asyncos_apps::system::{
    Access, Child, Ended, Mapping, PAGE_BYTES, become_user, exit_now, handle_signal, in_child, limit, now_ns,
    open, pipe, read, trap, write,
};
use asyncos_apps::{Report, call};

const USER: u32 = 12345;
const CALLS_PER_CHILD: usize = 250;
const SCRATCH: &std::ffi::CStr = c"/tmp/hostile-random";
/// A child that blocks in one of its calls is killed after this time.
const CHILD_TIMEOUT_NS: u64 = 300_000_000;
/// The highest number tried: Linux's calls end below 470.
const HIGHEST_NUMBER: usize = 480;

/// Not among the C library's names for riscv64.
const KEXEC_FILE_LOAD: libc::c_long = 294;

/// Calls that would do what no bug is needed for: end the run, or stop the caller for good.
const LEFT_OUT: [libc::c_long; 18] = [
    libc::SYS_reboot,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_vhangup,
    libc::SYS_syslog,
];

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let calls: usize = numbers.next().unwrap_or(100_000) as usize;
    let seed: u64 = numbers.next().unwrap_or(1);
    let processes = numbers.next().unwrap_or(4).max(1) as usize;
    let mut report = Report::new();
    let _ = call!(SYS_mkdirat, libc::AT_FDCWD, SCRATCH, 0o777);
    let _ = call!(SYS_fchmodat, libc::AT_FDCWD, SCRATCH, 0o777);
    report.succeeds("a scratch directory", call!(SYS_chdir, SCRATCH));

    let rounds = calls.div_ceil(processes * CALLS_PER_CHILD);
    let callers: Vec<Child> = (0..processes)
        .map(|process| {
            in_child(|| call_at_random(seed ^ ((process as u64) << 32), rounds)).expect("fork of a caller")
        })
        .collect();
    for (process, caller) in callers.into_iter().enumerate() {
        let ended = caller.wait();
        report.equal(&format!("caller {process} saw all its children end"), ended, Ok(Ended::Exited(0)));
    }
    report.remark(&format!(
        "{} calls with seed {seed} from {processes} processes",
        rounds * processes * CALLS_PER_CHILD
    ));
    still_working(&mut report);
    let _ = call!(SYS_chdir, c"/");
    let _ = std::fs::remove_dir_all("/tmp/hostile-random");
    report.finish()
}

/// One of the parallel processes: a child a round, each killed when it takes too long.
fn call_at_random(seed: u64, rounds: usize) -> i32 {
    for round in 0..rounds {
        let child_seed = seed.wrapping_add((round as u64) << 8);
        let Ok(child) = in_child(|| random_calls(child_seed)) else { return 1 };
        match child.wait_at_most(CHILD_TIMEOUT_NS) {
            Ok(None | Some(Ended::Exited(0) | Ended::Killed(_))) => {}
            // It asked to be traced, or stopped itself.
            Ok(Some(Ended::Stopped(_) | Ended::Continued)) => {
                if child.signal(libc::SIGKILL).and_then(|()| child.wait()).is_err() {
                    return 2;
                }
            }
            // It could not even begin (3 to 5).
            Ok(Some(Ended::Exited(status @ 3..=5))) => return status,
            Ok(Some(Ended::Exited(_))) => {}
            Err(_) => return 2,
        }
        // What it forked lives in its process group, wherever a lost grandchild may be.
        let _ = call!(SYS_kill, -child.0, libc::SIGKILL);
        while asyncos_apps::system::wait_any(libc::WNOHANG).is_ok_and(|ended| ended.is_some()) {}
    }
    0
}

/// The child: a few hundred calls that nothing has looked at.
fn random_calls(seed: u64) -> i32 {
    let _ = call!(SYS_setpgid, 0, 0);
    for (resource, value) in [
        (libc::RLIMIT_NPROC, 40),
        (libc::RLIMIT_AS, 256 << 20),
        (libc::RLIMIT_FSIZE, 1 << 20),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_CPU, 2),
    ] {
        if limit(resource, value).is_err() {
            return 3;
        }
    }
    for descriptor in 0..3 {
        let _ = call!(SYS_close, descriptor);
        let _ = open(c"/dev/null", libc::O_RDWR);
    }
    let (Ok(memory), Ok(_ends)) =
        (Mapping::anonymous(64 * PAGE_BYTES, Access::WRITE), pipe(libc::O_NONBLOCK))
    else {
        return 4;
    };
    let _ = open(c"file", libc::O_RDWR | libc::O_CREAT | libc::O_NONBLOCK);
    if become_user(USER).is_err() {
        return 5;
    }
    let mut random = Random::new(seed);
    for offset in (0..64 * PAGE_BYTES).step_by(8) {
        memory.store(offset, &random.next_bits().to_le_bytes());
    }
    memory.store(0, b"file\0");
    memory.store(64, b"/proc/self/exe\0");
    memory.store(128, b"../hostile-random/name\0");
    let _ = memory.protect_range(32 * PAGE_BYTES, PAGE_BYTES, Access::READ);
    let _ = memory.protect_range(40 * PAGE_BYTES, PAGE_BYTES, Access::NONE);
    let own = std::process::id();
    for _ in 0..CALLS_PER_CHILD {
        let number = random.below(HIGHEST_NUMBER);
        let mut arguments = [0; 6].map(|_: usize| value(&mut random, memory.address()));
        if LEFT_OUT.contains(&(number as libc::c_long)) {
            continue;
        }
        if number as libc::c_long == libc::SYS_clone {
            // A plain fork, or refused flags: a thread on a random stack would only kill itself at once.
            arguments[0] &= !(libc::CLONE_VM as usize);
        }
        // SAFETY: none can be given, and that is the point: a call may unmap or overwrite anything here. This process is
        // expendable, holds nothing and is watched by its parent; what Rust code still does in it may fault.
        unsafe { trap(number, arguments) };
        if std::process::id() != own {
            exit_now(0);
        }
    }
    0
}

/// A value that some call may find interesting.
fn value(random: &mut Random, memory: usize) -> usize {
    const EXTREMES: [usize; 14] = [
        0,
        1,
        usize::MAX,
        usize::MAX - 4095,
        0xffff_ffc0_0000_0000,
        0xffff_ffff_8020_0000,
        0x8000_0000_0000_0000,
        0x0000_0040_0000_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        PAGE_BYTES,
        libc::AT_FDCWD as usize,
    ];
    match random.below(8) {
        0 => random.pick(&EXTREMES),
        1 => random.below(8),
        2 => random.below(1024),
        3 => 1 << random.below(64),
        4 => {
            memory
                + random.pick(&[
                    0,
                    64,
                    128,
                    1000,
                    PAGE_BYTES,
                    32 * PAGE_BYTES,
                    40 * PAGE_BYTES,
                    64 * PAGE_BYTES - 4,
                ])
        }
        5 => memory + random.below(66 * PAGE_BYTES),
        6 => random.pick(&[3, 4, 5]),
        _ => random.next_bits() as usize,
    }
}

extern "C" fn ignore(_signal: i32) {}

/// Forking, pipes, files, memory and signals work as before.
fn still_working(report: &mut Report) {
    report.equal("fork and wait work", in_child(|| 17).and_then(Child::wait), Ok(Ended::Exited(17)));
    let (read_end, write_end) = pipe(0).expect("a pipe");
    let mut bytes = [0; 8];
    report.equal("a pipe takes bytes", write(write_end, b"survived"), Ok(8));
    report.equal("a pipe gives them back", read(read_end, &mut bytes).map(|_| bytes), Ok(*b"survived"));
    let written = std::fs::write("after", b"text").and_then(|()| std::fs::read("after")).ok();
    report.equal("files work", written, Some(b"text".to_vec()));
    let memory = Mapping::anonymous(1 << 20, Access::WRITE);
    report.holds("memory is there", memory.is_ok_and(|memory| memory.byte(12345) == 0));
    let started = now_ns();
    asyncos_apps::system::sleep_ns(1_000_000);
    report.holds("time goes on", now_ns() >= started + 1_000_000);
    let handled = handle_signal(libc::SIGUSR1, ignore, 0)
        .and_then(|()| call!(SYS_kill, std::process::id(), libc::SIGUSR1));
    report.succeeds("signals work", handled);
}
