//! Tests that run inside the kernel: `asyncos.selftest` on the command line runs them instead of process 1.
//!
//! They are about what cannot be tested on a host: harts, interrupts, stacks that are set aside. Each states an order of
//! events or a count, never a time. The last line is `N passed, N failed`; the machine's exit status is 0 when nothing
//! failed.

use crate::log::records::{Mark, Records, TEXT_MAX};
use crate::{executor, hart, power, stacks, time};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::hal::{PreemptGuard, now_ns};
use base::sync::atomic::{AtomicUsize, Ordering};
use base::sync::{Mutex, SpinLock, WaitQueue, channel};
use base::task::{Priority, TaskRef};
use core::pin::Pin;

type Outcome = Result<(), String>;
type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>>);

/// The tests, in the order in which they run.
const TESTS: &[Test] = &[
    ("a more important coroutine preempts one that computes", || Box::pin(preemption_order())),
    ("a guard holds preemption back until it is dropped", || Box::pin(guard_delays_preemption())),
    ("preempted coroutines nest and resume in the order of their priorities", || {
        Box::pin(nested_preemption())
    }),
    ("equals that compute share the hart", || Box::pin(time_slices())),
    ("a queued coroutine is moved when its priority changes", || Box::pin(priority_change())),
    ("sleeps end in the order of their deadlines", || Box::pin(sleep_order())),
    ("a dropped sleep leaves no timer", || Box::pin(dropped_sleep())),
    ("ten thousand coroutines on all harts lose no message", || Box::pin(crowd())),
    ("a mutex excludes across harts and preemption", || Box::pin(mutual_exclusion())),
    ("a cancelled coroutine drops what it owns", || Box::pin(cancellation())),
    ("the log keeps its newest records whole", || Box::pin(log_records())),
    ("no stack, coroutine or heap byte is left behind", || Box::pin(nothing_is_left())),
];

const HIGH: Priority = Priority::HIGHEST;

fn priority(number: u8) -> Priority {
    Priority::saturating(number)
}

/// Runs all tests and powers off.
pub async fn run() {
    let mut failed = 0;
    for (name, test) in TESTS {
        match test().await {
            Ok(()) => print(format!("ok {name}\n")),
            Err(why) => {
                failed += 1;
                print(format!("not ok {name}: {why}\n"));
            }
        }
    }
    print(format!("{} passed, {failed} failed\n", TESTS.len() - failed));
    power::off(u8::from(failed != 0))
}

fn print(text: String) {
    crate::console::write_pieces(&[text.as_bytes()]);
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Events(Arc<SpinLock<Vec<&'static str>>>);

impl Events {
    fn add(&self, event: &'static str) {
        self.0.lock().push(event);
    }

    fn expect(&self, expected: &[&str]) -> Outcome {
        let seen = self.0.lock().clone();
        if seen == expected { Ok(()) } else { Err(format!("saw {seen:?}, expected {expected:?}")) }
    }

    fn contains(&self, event: &str) -> bool {
        self.0.lock().contains(&event)
    }
}

/// Starts a coroutine that only the calling hart may run, so that the order of events is one hart's.
fn spawn_here(priority: Priority, future: impl Future<Output = ()> + Send + 'static) -> TaskRef {
    let (runnable, task) = executor::prepare(priority, future).expect("memory for a test");
    task.set_allowed_harts(1 << hart::with(|hart| hart.index()));
    runnable.schedule();
    task
}

/// Runs the test's own coroutine on one hart from here to the end of the test.
async fn stay_here() {
    let here = hart::with(|hart| hart.local.current.get().map(|task| (task, hart.index())));
    if let Some((task, index)) = here {
        task.set_allowed_harts(1 << index);
    }
    executor::yield_now().await;
}

/// Computes until `done`, with nothing that gives the hart up.
fn compute_until(done: impl Fn() -> bool) {
    while !done() {
        core::hint::spin_loop();
    }
}

async fn wait_for(events: &Events, event: &'static str) {
    while !events.contains(event) {
        time::sleep_until(now_ns() + 100_000).await;
    }
}

async fn preemption_order() -> Outcome {
    stay_here().await;
    let events = Events::default();
    let (low, high) = (events.clone(), events.clone());
    let queue = Arc::new(WaitQueue::new());
    let waiting = queue.clone();
    let _high = spawn_here(HIGH, async move {
        high.add("high waits");
        waiting.wait().await;
        high.add("high runs");
    });
    wait_for(&events, "high waits").await;
    let _low = spawn_here(priority(40), async move {
        low.add("low computes");
        // Nothing between the wake-up and the look gives the hart up: only preemption lets the other one run.
        queue.wake_one();
        let seen = low.contains("high runs");
        low.add(if seen { "low saw it at once" } else { "low was not preempted" });
    });
    wait_for(&events, "low saw it at once").await;
    events.expect(&["high waits", "low computes", "high runs", "low saw it at once"])
}

async fn guard_delays_preemption() -> Outcome {
    stay_here().await;
    let events = Events::default();
    let (low, high) = (events.clone(), events.clone());
    let _low = spawn_here(priority(40), async move {
        let guard = PreemptGuard::new();
        let inner = high.clone();
        let _high = spawn_here(HIGH, async move { inner.add("high runs") });
        low.add("guard held");
        drop(guard);
        low.add("guard dropped");
    });
    wait_for(&events, "guard dropped").await;
    events.expect(&["guard held", "high runs", "guard dropped"])
}

async fn nested_preemption() -> Outcome {
    stay_here().await;
    let events = Events::default();
    let (outer, middle, inner) = (events.clone(), events.clone(), events.clone());
    let _outer = spawn_here(priority(50), async move {
        outer.add("50 begins");
        let _middle = spawn_here(priority(30), async move {
            middle.add("30 begins");
            let _inner = spawn_here(priority(10), async move { inner.add("10 runs") });
            middle.add("30 ends");
        });
        outer.add("50 ends");
    });
    wait_for(&events, "50 ends").await;
    events.expect(&["50 begins", "30 begins", "10 runs", "30 ends", "50 ends"])
}

async fn time_slices() -> Outcome {
    stay_here().await;
    let turns = Arc::new(AtomicUsize::new(0));
    let events = Events::default();
    for name in ["a ends", "b ends"] {
        let (turns, events) = (turns.clone(), events.clone());
        spawn_here(priority(45), async move {
            turns.fetch_add(1, Ordering::Relaxed);
            // Ends only when the other one has begun, which without time slices it never would.
            compute_until(|| turns.load(Ordering::Relaxed) == 2);
            events.add(name);
        });
    }
    wait_for(&events, "a ends").await;
    wait_for(&events, "b ends").await;
    Ok(())
}

async fn priority_change() -> Outcome {
    stay_here().await;
    let events = Events::default();
    let (first, second, driver) = (events.clone(), events.clone(), events.clone());
    let _driver = spawn_here(priority(20), async move {
        let _first = spawn_here(priority(41), async move { first.add("first") });
        let second = spawn_here(priority(42), async move { second.add("second") });
        executor::set_priority(&second, priority(40));
        driver.add("driver");
    });
    wait_for(&events, "first").await;
    events.expect(&["driver", "second", "first"])
}

async fn sleep_order() -> Outcome {
    let events = Events::default();
    let start = now_ns();
    for (delay_ms, name) in [(6, "third"), (2, "first"), (4, "second")] {
        let events = events.clone();
        spawn_here(HIGH, async move {
            time::sleep_until(start + delay_ms * 1_000_000).await;
            events.add(name);
        });
    }
    wait_for(&events, "third").await;
    events.expect(&["first", "second", "third"])
}

async fn dropped_sleep() -> Outcome {
    let timers = || hart::online().iter().map(|hart| hart.timers.lock().len()).sum::<usize>();
    let before = timers();
    let task = spawn_here(HIGH, async { time::sleep_until(u64::MAX - 1).await });
    while timers() == before {
        executor::yield_now().await;
    }
    task.cancel();
    while !task.state().is_complete() {
        executor::yield_now().await;
    }
    if timers() == before { Ok(()) } else { Err(format!("{} timers, {before} before", timers())) }
}

async fn crowd() -> Outcome {
    const COUNT: usize = 10_000;
    let (sender, mut receiver) = channel(64);
    for number in 0..COUNT {
        let sender = sender.clone();
        let spawned = executor::spawn(priority(33 + (number % 20) as u8), async move {
            executor::yield_now().await;
            // The receiver lives until all have sent.
            let _ = sender.send(number).await;
        });
        spawned.map_err(|error| format!("{error}"))?;
    }
    drop(sender);
    let (mut count, mut sum) = (0, 0);
    while let Some(number) = receiver.receive().await {
        count += 1;
        sum += number;
    }
    if (count, sum) == (COUNT, COUNT * (COUNT - 1) / 2) {
        Ok(())
    } else {
        Err(format!("{count} messages, sum {sum}"))
    }
}

async fn log_records() -> Outcome {
    let mut records = Records::<200>::new();
    let mut text = [0; TEXT_MAX];
    let mut mark = Mark::START;
    if records.next(&mut mark, &mut text).is_some() {
        return Err("something in an empty log".into());
    }
    for number in 0..100u8 {
        // Of all lengths, so that every part of a record crosses the end of the ring.
        records.push(number % 8, u64::from(number) << 33, &[number; 40][..usize::from(number % 41)]);
        let mut own = mark;
        let newest = records.next(&mut own, &mut text).ok_or("the newest is not there")?;
        let expected = (u64::from(number), number % 8, u64::from(number) << 33, usize::from(number % 41));
        if (newest.sequence, newest.priority, newest.time_us, newest.length) != expected {
            return Err(format!("{newest:?}, not {expected:?}"));
        }
        if text[..newest.length].iter().any(|byte| *byte != number) || own != records.end() {
            return Err(format!("the text of {newest:?}"));
        }
        mark = own;
    }
    let mut behind = Mark::START;
    let first = records.next(&mut behind, &mut text).ok_or("nothing is left")?;
    let mut count = 1;
    while records.next(&mut behind, &mut text).is_some() {
        count += 1;
    }
    if first.sequence + count == 100 && count > 1 {
        Ok(())
    } else {
        Err(format!("{count} from {}", first.sequence))
    }
}

async fn mutual_exclusion() -> Outcome {
    const COROUTINES: usize = 64;
    const ROUNDS: usize = 200;
    let total = Arc::new(Mutex::new(0usize));
    let finished = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(WaitQueue::new());
    for number in 0..COROUTINES {
        let (total, finished, done) = (total.clone(), finished.clone(), done.clone());
        let spawned = executor::spawn(priority((number % 60) as u8), async move {
            for _ in 0..ROUNDS {
                let mut guard = total.lock().await;
                let seen = *guard;
                executor::yield_now().await;
                *guard = seen + 1;
            }
            finished.fetch_add(1, Ordering::Release);
            done.wake_all();
        });
        spawned.map_err(|error| format!("{error}"))?;
    }
    done.wait_until(|| (finished.load(Ordering::Acquire) == COROUTINES).then_some(())).await;
    let total = *total.lock().await;
    if total == COROUTINES * ROUNDS { Ok(()) } else { Err(format!("{total} increments")) }
}

async fn cancellation() -> Outcome {
    let owned = Arc::new(());
    let kept = owned.clone();
    let task = spawn_here(priority(40), async move {
        let _kept = kept;
        core::future::pending::<()>().await;
    });
    time::sleep_until(now_ns() + 100_000).await;
    task.cancel();
    while !task.state().is_complete() {
        time::sleep_until(now_ns() + 100_000).await;
    }
    if Arc::strong_count(&owned) == 1 { Ok(()) } else { Err("the coroutine still owns it".into()) }
}

/// After the tests before, everything that they took has come back; a second round of the greediest changes nothing.
async fn nothing_is_left() -> Outcome {
    crowd().await?;
    let before = resources().await;
    crowd().await?;
    mutual_exclusion().await?;
    let after = resources().await;
    if before == after { Ok(()) } else { Err(format!("{before:?} before, {after:?} after")) }
}

/// Stacks in use, coroutines, heap bytes, once all other coroutines have ended.
async fn resources() -> (usize, usize, usize) {
    while executor::live_coroutines() > 1 {
        time::sleep_until(now_ns() + 100_000).await;
    }
    time::sleep_until(now_ns() + 1_000_000).await;
    let (made, free) = stacks::counts();
    (made - free, executor::live_coroutines(), crate::boot::heap().bytes_in_use())
}
