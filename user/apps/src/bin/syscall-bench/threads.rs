//! Two threads of one process that wake each other, and threads that are made and joined.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use asyncos_apps::call;
use asyncos_apps::system::{close, pipe};

use crate::{Bench, must, quick, row, timed};

pub const BENCHES: &[Bench] = &[
    row("pipe-threads", 5_000, pipe_round_trips),
    row("eventfd-threads", 5_000, counter_round_trips),
    row("eventfd-epoll-threads", 5_000, counter_round_trips_by_epoll),
    row("futex-threads", 5_000, futex_round_trips),
    row("yield-threads", 5_000, yields),
    row("pthread-create-join", 500, create_join),
];

/// One side of a ping-pong: what it waits on and what it wakes the other by.
trait Side: Send {
    /// Waits for the other side's turn to end.
    fn wait(&mut self);
    /// Ends its own turn.
    fn wake(&mut self);
}

/// So many round trips; both sides run until the last is done.
fn ping_pong(mut ping: impl Side, mut pong: impl Side, count: usize) -> u64 {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..=count {
                pong.wait();
                pong.wake();
            }
        });
        // The first brings the other thread to where it waits.
        ping.wake();
        ping.wait();
        timed(|| {
            for _ in 0..count {
                ping.wake();
                ping.wait();
            }
        })
    })
}

/// A byte by a pipe each way; closes the ends that it was given.
struct Bytes {
    input: i32,
    output: i32,
}

impl Side for Bytes {
    fn wait(&mut self) {
        let mut byte = 0u8;
        must(libc::SYS_read, [self.input as usize, (&raw mut byte).addr(), 1, 0], 1);
    }

    fn wake(&mut self) {
        let byte = 1u8;
        must(libc::SYS_write, [self.output as usize, (&raw const byte).addr(), 1, 0], 1);
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        close(self.input).and(close(self.output)).expect("both were open");
    }
}

fn pipe_round_trips(count: usize) -> u64 {
    let (there, back) = (pipe(0).expect("a pipe"), pipe(0).expect("a pipe"));
    let ping = Bytes { input: back.0, output: there.1 };
    ping_pong(ping, Bytes { input: there.0, output: back.1 }, count)
}

/// One counter each way.
struct Counters {
    input: i32,
    output: i32,
}

impl Side for Counters {
    fn wait(&mut self) {
        let mut value = 0u64;
        must(libc::SYS_read, [self.input as usize, (&raw mut value).addr(), 8, 0], 8);
    }

    fn wake(&mut self) {
        let value = 1u64;
        must(libc::SYS_write, [self.output as usize, (&raw const value).addr(), 8, 0], 8);
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        close(self.input).expect("it was open");
    }
}

fn counter() -> i32 {
    call!(SYS_eventfd2, 0, 0).expect("a counter") as i32
}

fn counter_round_trips(count: usize) -> u64 {
    let (there, back) = (counter(), counter());
    let ping = Counters { input: back, output: there };
    ping_pong(ping, Counters { input: there, output: back }, count)
}

/// Counters that are waited for by an interest list.
struct Watched {
    counters: Counters,
    list: i32,
}

impl Watched {
    fn new(input: i32, output: i32) -> Self {
        let list = call!(SYS_epoll_create1, 0).expect("a list") as i32;
        let interest = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
        call!(SYS_epoll_ctl, list, libc::EPOLL_CTL_ADD, input, &interest).expect("it can be watched");
        Self { counters: Counters { input, output }, list }
    }
}

impl Side for Watched {
    fn wait(&mut self) {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        must(libc::SYS_epoll_pwait, [self.list as usize, (&raw mut event).addr(), 1, usize::MAX], 1);
        assert!({ event.u64 } == 7, "it tells what is ready");
        self.counters.wait();
    }

    fn wake(&mut self) {
        self.counters.wake();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        close(self.list).expect("it was open");
    }
}

fn counter_round_trips_by_epoll(count: usize) -> u64 {
    let (there, back) = (counter(), counter());
    ping_pong(Watched::new(back, there), Watched::new(there, back), count)
}

/// A word that tells whose turn it is.
struct Turns<'a> {
    turn: &'a AtomicU32,
    own: u32,
}

const WAIT: i32 = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
const WAKE: i32 = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;

impl Side for Turns<'_> {
    fn wait(&mut self) {
        while self.turn.load(Ordering::Acquire) != self.own {
            // Woken, or told that the turn has come already.
            quick(libc::SYS_futex, [self.turn.as_ptr().addr(), WAIT as usize, 1 - self.own as usize, 0]);
        }
    }

    fn wake(&mut self) {
        self.turn.store(1 - self.own, Ordering::Release);
        // How many it woke: none, if the other one looked in time.
        quick(libc::SYS_futex, [self.turn.as_ptr().addr(), WAKE as usize, 1, 0]);
    }
}

fn futex_round_trips(count: usize) -> u64 {
    let turn = AtomicU32::new(0);
    let side = |own| Turns { turn: &turn, own };
    ping_pong(side(0), side(1), count)
}

/// Two threads that yield in turn; one operation is a yield of each.
fn yields(count: usize) -> u64 {
    let yield_often = move || {
        for _ in 0..count {
            must(libc::SYS_sched_yield, [0; 4], 0);
        }
    };
    let started = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            started.store(1, Ordering::Release);
            yield_often();
        });
        while started.load(Ordering::Acquire) == 0 {
            call!(SYS_sched_yield).expect("it never fails");
        }
        timed(yield_often)
    })
}

extern "C" fn return_at_once(_argument: *mut libc::c_void) -> *mut libc::c_void {
    ptr::null_mut()
}

/// By the C library, which keeps the stack of the last.
fn create_join(count: usize) -> u64 {
    timed(|| {
        for _ in 0..count {
            let mut thread: libc::pthread_t = 0;
            // SAFETY: the function and the places that are written to live as long as the thread.
            let result = unsafe {
                libc::pthread_create(&mut thread, ptr::null(), return_at_once, ptr::null_mut());
                libc::pthread_join(thread, ptr::null_mut())
            };
            assert!(result == 0, "the thread was made and ended");
        }
    })
}
