//! Threads: creation, thread-local storage, futexes, joining, identities, signals to one, and the end of a process of many.

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use asyncos_apps::system::{Child, Ended, Errno, exit_now, in_child, sleep_ns};
use asyncos_apps::{Report, call};

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(0) };
}

const WAIT: i32 = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
const WAKE: i32 = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;

fn main() -> ExitCode {
    let mut report = Report::new();
    endings(&mut report);
    identities(&mut report);
    storage(&mut report);
    futexes(&mut report);
    sharing(&mut report);
    many(&mut report);
    report.finish()
}

/// Children that have threads; forked before this process has any.
fn endings(report: &mut Report) {
    let outcome = |body: fn() -> i32| in_child(body).and_then(|child| child.wait_at_most(20_000_000_000));
    let all = outcome(|| {
        for _ in 0..8 {
            std::thread::spawn(|| sleep_ns(60_000_000_000));
        }
        sleep_ns(20_000_000);
        21
    });
    report.equal("exit_group ends every thread", all, Ok(Some(Ended::Exited(21))));
    let other = outcome(|| {
        std::thread::spawn(|| exit_now(22));
        sleep_ns(60_000_000_000);
        0
    });
    report.equal("any thread may call it", other, Ok(Some(Ended::Exited(22))));
    let fault = outcome(|| {
        let thread = std::thread::spawn(|| asyncos_apps::system::Mapping::adopt(0, 64).byte(8));
        let _ = thread.join();
        0
    });
    report.equal("a fault in one ends them all", fault, Ok(Some(Ended::Killed(libc::SIGSEGV))));
    let alone = outcome(|| {
        std::thread::spawn(|| {
            sleep_ns(50_000_000);
            exit_now(23)
        });
        let _ = call!(SYS_exit, 0);
        0
    });
    report.equal("a process outlives its first thread", alone, Ok(Some(Ended::Exited(23))));
    let killed = in_child(|| {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
        sleep_ns(60_000_000_000);
        0
    });
    sleep_ns(50_000_000);
    let killed = killed.and_then(|child: Child| child.signal(libc::SIGKILL).and_then(|()| child.wait()));
    report.equal("SIGKILL ends a computing thread", killed, Ok(Ended::Killed(libc::SIGKILL)));
    let forked = outcome(|| {
        let thread = std::thread::spawn(|| match in_child(|| 24).and_then(Child::wait) {
            Ok(Ended::Exited(status)) => status,
            _ => 0,
        });
        thread.join().unwrap_or(0)
    });
    report.equal("a thread forks", forked, Ok(Some(Ended::Exited(24))));
}

fn identities(report: &mut Report) {
    let process = call!(SYS_getpid);
    report.equal("the first thread's id is the process's", call!(SYS_gettid), process);
    let (ids, group) =
        std::thread::spawn(|| (call!(SYS_gettid), call!(SYS_getpid))).join().expect("no panic");
    report.holds("another thread has another id", ids != process);
    report.equal("and the same process", group, process);
    report.fails(
        "a signal to an ended thread",
        call!(SYS_tgkill, process.unwrap_or(0), ids.unwrap_or(0), 0),
        libc::ESRCH,
    );
    let listed = std::fs::read_dir("/proc/self/task").map(|tasks| tasks.count()).unwrap_or(0);
    report.equal("one thread is left", listed, 1);
    let mut word = 0u32;
    report.equal("set_tid_address", call!(SYS_set_tid_address, &mut word), process);
}

fn storage(report: &mut Report) {
    OWN.with(|own| own.set(1));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            std::thread::spawn(move || {
                let fresh = OWN.with(Cell::get) == 0;
                OWN.with(|own| own.set(number + 100));
                std::thread::yield_now();
                fresh && OWN.with(Cell::get) == number + 100
            })
        })
        .collect();
    let right = threads.into_iter().all(|thread| thread.join().unwrap_or(false));
    report.holds("each thread has its own storage", right);
    report.equal("the first thread's is as it was", OWN.with(Cell::get), 1);
    let floats: Vec<_> = (1..=4u32)
        .map(|seed| {
            std::thread::spawn(move || {
                let mut value = f64::from(seed);
                for _ in 0..200_000 {
                    value = std::hint::black_box(value * 1.000_001);
                }
                (value / f64::from(seed)).to_bits()
            })
        })
        .collect();
    let results: Vec<f64> =
        floats.into_iter().map(|thread| f64::from_bits(thread.join().expect("no panic"))).collect();
    let close = results.iter().all(|result| (result - 1.221_402_6).abs() < 1e-5);
    report.check("floating point is each thread's own", close, || format!("{results:?}"));
}

fn futexes(report: &mut Report) {
    static WORD: AtomicU32 = AtomicU32::new(5);
    let address = WORD.as_ptr() as usize;
    report.fails("another value", call!(SYS_futex, address, WAIT, 4, 0), libc::EAGAIN);
    let started = Instant::now();
    let timeout = [0u64, 30_000_000];
    report.fails("a timeout", call!(SYS_futex, address, WAIT, 5, &timeout), libc::ETIMEDOUT);
    report.holds("not too early", started.elapsed() >= Duration::from_millis(30));
    report.equal("nobody to wake", call!(SYS_futex, address, WAKE, 1), Ok(0));
    report.fails("an odd address", call!(SYS_futex, address + 1, WAIT, 5, 0), libc::EINVAL);
    report.fails("an unknown operation", call!(SYS_futex, address, 77, 5, 0), libc::ENOSYS);
    static WOKEN: AtomicUsize = AtomicUsize::new(0);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let answer = call!(SYS_futex, address, WAIT, 5, 0);
                WOKEN.fetch_add(1, Ordering::SeqCst);
                answer
            })
        })
        .collect();
    sleep_ns(100_000_000);
    report.equal("waking one", call!(SYS_futex, address, WAKE, 1), Ok(1));
    sleep_ns(50_000_000);
    report.equal("one is awake", WOKEN.load(Ordering::SeqCst), 1);
    report.equal("waking the rest", call!(SYS_futex, address, WAKE, i32::MAX), Ok(3));
    let answers: Vec<Result<usize, Errno>> =
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    report.equal("all were woken", answers, vec![Ok(0); 4]);
}

fn sharing(report: &mut Report) {
    let total = Arc::new(Mutex::new(0u64));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let total = Arc::clone(&total);
            std::thread::spawn(move || (0..2_000).for_each(|_| *total.lock().expect("no panic") += 1))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    report.equal("a mutex excludes", *total.lock().expect("no panic"), 16_000);
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let other = Arc::clone(&pair);
    let partner = std::thread::spawn(move || turns(&other, 1));
    turns(&pair, 0);
    report
        .holds("two threads take turns", partner.join().is_ok() && *pair.0.lock().expect("no panic") == 200);
    let barrier = Arc::new(Barrier::new(6));
    let leaders: usize = (0..6)
        .map(|_| Arc::clone(&barrier))
        .map(|barrier| std::thread::spawn(move || usize::from(barrier.wait().is_leader())))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .sum();
    report.equal("a barrier has one leader", leaders, 1);
    let (sender, receiver) = mpsc::channel();
    for number in 0..4u32 {
        let sender = sender.clone();
        std::thread::spawn(move || {
            (0..500).for_each(|value| sender.send(number * 1000 + value).expect("a receiver"))
        });
    }
    drop(sender);
    report.equal(
        "a channel loses nothing",
        receiver.iter().map(u64::from).sum::<u64>(),
        4 * 124_750 + 500 * 6_000,
    );
}

/// Adds one whenever the count's parity is `own`, until it is 200.
fn turns((count, changed): &(Mutex<u32>, Condvar), own: u32) {
    let mut value = count.lock().expect("no panic");
    while *value < 200 {
        if *value % 2 == own {
            *value += 1;
            changed.notify_one();
        } else {
            value = changed.wait(value).expect("no panic");
        }
    }
}

fn many(report: &mut Report) {
    let mut joined = 0;
    for _ in 0..300 {
        joined += usize::from(std::thread::spawn(|| 1).join().is_ok());
    }
    report.equal("300 threads, one after the other", joined, 300);
    let gate = Arc::new(Barrier::new(201));
    let threads: Vec<_> = (0..200)
        .map(|_| {
            let gate = Arc::clone(&gate);
            std::thread::Builder::new().stack_size(64 << 10).spawn(move || gate.wait().is_leader())
        })
        .collect();
    let started = threads.iter().filter(|thread| thread.is_ok()).count();
    report.equal("200 threads at once", started, 200);
    if started == 200 {
        gate.wait();
        let ended = threads.into_iter().flatten().filter_map(|thread| thread.join().ok()).count();
        report.equal("all of them end", ended, 200);
    }
}
