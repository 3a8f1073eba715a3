//! Processes: made and reaped, waking each other, switched among.

use std::ffi::CString;
use std::ptr;

use asyncos_apps::call;
use asyncos_apps::system::{
    Child, Ended, SignalSet, block_signals, close, execute, exit_now, fork, handle_signal, in_child, pipe,
    unblock_signals, vfork_exit,
};

use crate::{Bench, must, quick, row, timed};

pub const BENCHES: &[Bench] = &[
    row("pipe-processes", 5_000, pipe_round_trips),
    row("unix-processes", 5_000, socket_round_trips),
    row("signal-processes", 2_000, signal_round_trips),
    row("fork-exit-wait", 300, fork_exit_wait),
    row("vfork-exit-wait", 300, vfork_exit_wait),
    row("fork-exec-wait", 100, fork_exec_wait),
    row("posix-spawn-wait", 100, spawn_wait),
    row("switch-2", 4_000, |count| token_ring(2, count)),
    row("switch-8", 4_000, |count| token_ring(8, count)),
    row("switch-64", 6_400, |count| token_ring(64, count)),
    row("switch-256", 10_240, |count| token_ring(256, count)),
    row("switch-1024", 20_480, |count| token_ring(1024, count)),
];

/// The argument that makes this program end before it begins: the program that `exec` is measured with.
const EXIT: &[u8] = b"--exit\0";

/// Runs before Rust's own start, as a small C program's `main` would.
extern "C" fn exit_if_told(count: i32, arguments: *const *const u8) {
    if count != 2 {
        return;
    }
    // SAFETY: the C library passes the arguments of `main`: so many strings, each of which ends in a zero byte.
    let told = unsafe {
        let argument = *arguments.add(1);
        (0..EXIT.len()).all(|index| *argument.add(index) == EXIT[index])
    };
    if told {
        exit_now(0);
    }
}

// SAFETY: the C library calls what stands in this section with the arguments of `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static EARLY: extern "C" fn(i32, *const *const u8) = exit_if_told;

fn own_command() -> (CString, [CString; 2]) {
    let program = std::env::args().next().and_then(|name| CString::new(name).ok()).expect("a name");
    let told = CString::from_vec_with_nul(EXIT.to_vec()).expect("it ends in a zero byte");
    (program.clone(), [program, told])
}

fn reap(child: Child) {
    assert!(child.wait() == Ok(Ended::Exited(0)), "the child ends well");
}

fn fork_exit_wait(count: usize) -> u64 {
    timed(|| {
        for _ in 0..count {
            match fork().expect("fork") {
                None => exit_now(0),
                Some(child) => reap(child),
            }
        }
    })
}

fn vfork_exit_wait(count: usize) -> u64 {
    timed(|| (0..count).for_each(|_| reap(vfork_exit().expect("a child"))))
}

fn fork_exec_wait(count: usize) -> u64 {
    let (program, arguments) = own_command();
    timed(|| {
        for _ in 0..count {
            match fork().expect("fork") {
                None => {
                    execute(&program, &arguments, &[]);
                    exit_now(1)
                }
                Some(child) => reap(child),
            }
        }
    })
}

fn spawn_wait(count: usize) -> u64 {
    let (program, [name, told]) = own_command();
    let arguments = [name.as_ptr().cast_mut(), told.as_ptr().cast_mut(), ptr::null_mut()];
    let environment = [ptr::null_mut()];
    timed(|| {
        for _ in 0..count {
            let mut child = 0;
            // SAFETY: the strings live, both lists end in null pointers.
            let result = unsafe {
                libc::posix_spawn(
                    &mut child,
                    program.as_ptr(),
                    ptr::null(),
                    ptr::null(),
                    arguments.as_ptr(),
                    environment.as_ptr(),
                )
            };
            assert!(result == 0, "the program starts");
            reap(Child(child));
        }
    })
}

fn pass_on(input: i32, output: i32, times: usize) {
    let mut byte = 1u8;
    let byte = (&raw mut byte).addr();
    for _ in 0..times {
        must(libc::SYS_read, [input as usize, byte, 1, 0], 1);
        must(libc::SYS_write, [output as usize, byte, 1, 0], 1);
    }
}

/// Sends a byte, and waits until it comes back.
#[inline(always)]
fn send_round(output: i32, input: i32) {
    let mut byte = 1u8;
    let byte = (&raw mut byte).addr();
    must(libc::SYS_write, [output as usize, byte, 1, 0], 1);
    must(libc::SYS_read, [input as usize, byte, 1, 0], 1);
}

fn pipe_round_trips(count: usize) -> u64 {
    let (there, back) = (pipe(0).expect("a pipe"), pipe(0).expect("a pipe"));
    let child = in_child(|| {
        pass_on(there.0, back.1, count + 1);
        0
    });
    let round_trip = || send_round(there.1, back.0);
    round_trip();
    let total_ns = timed(|| (0..count).for_each(|_| round_trip()));
    reap(child.expect("a child"));
    for descriptor in [there.0, there.1, back.0, back.1] {
        close(descriptor).expect("it was open");
    }
    total_ns
}

/// As [`pipe_round_trips`], through two connected sockets.
fn socket_round_trips(count: usize) -> u64 {
    let mut ends = [0i32; 2];
    call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, &mut ends).expect("two sockets");
    let [own, other] = ends;
    let child = in_child(|| {
        pass_on(other, other, count + 1);
        0
    });
    let round_trip = || send_round(own, own);
    round_trip();
    let total_ns = timed(|| (0..count).for_each(|_| round_trip()));
    reap(child.expect("a child"));
    for descriptor in ends {
        close(descriptor).expect("it was open");
    }
    total_ns
}

/// Each waits by `sigsuspend` for the other's signal, for which it has a handler.
fn signal_round_trips(count: usize) -> u64 {
    extern "C" fn nothing(_signal: i32) {}
    handle_signal(libc::SIGUSR1, nothing, 0).expect("a handler");
    let blocked = SignalSet::of(&[libc::SIGUSR1]);
    block_signals(blocked).expect("a mask");
    let nothing_blocked = 0u64;
    let wait = || {
        // Always interrupted.
        quick(libc::SYS_rt_sigsuspend, [(&raw const nothing_blocked).addr(), 8, 0, 0]);
    };
    let parent = call!(SYS_getpid).expect("a process has an id");
    let child = in_child(|| {
        for _ in 0..=count {
            wait();
            must(libc::SYS_kill, [parent, libc::SIGUSR1 as usize, 0, 0], 0);
        }
        0
    })
    .expect("a child");
    let round_trip = || {
        must(libc::SYS_kill, [child.0 as usize, libc::SIGUSR1 as usize, 0, 0], 0);
        wait();
    };
    round_trip();
    let total_ns = timed(|| (0..count).for_each(|_| round_trip()));
    reap(child);
    unblock_signals(blocked).expect("a mask");
    total_ns
}

/// So many processes in a ring of pipes, round which one byte goes; one operation is a step of it.
fn token_ring(processes: usize, steps: usize) -> u64 {
    let rounds = steps.div_ceil(processes);
    let (first_input, mut output) = pipe(0).expect("a pipe");
    let (mut children, start) = (Vec::new(), output);
    // Each reads from the pipe that its predecessor writes to; this process closes the ring.
    let mut input = first_input;
    for _ in 1..processes {
        let next = pipe(0).expect("a pipe");
        let child = in_child(|| {
            pass_on(input, next.1, rounds + 1);
            0
        });
        children.push(child.expect("a child"));
        close(input).expect("it was open");
        if output != start {
            close(output).expect("it was open");
        }
        (input, output) = next;
    }
    let round = || send_round(start, input);
    round();
    let total_ns = timed(|| (0..rounds).for_each(|_| round()));
    children.into_iter().for_each(reap);
    for descriptor in [input, output, start] {
        let _ = close(descriptor);
    }
    // What was asked for, if the rounds are not even.
    total_ns * steps as u64 / (rounds * processes) as u64
}
