//! Sequences of events in the life of coroutines, on one thread.

use super::{JoinHandle, Outcome, Priority, Runnable, Start, Started, Task, TaskHeader, TaskRef, joinable};
use crate::Error;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::future::{pending, poll_fn};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Poll, Waker};
use std::sync::Mutex;

/// A ready queue, and counts of what happened.
#[derive(Default)]
struct Executor {
    ready: Mutex<VecDeque<Runnable>>,
    drops: AtomicUsize,
}

struct DropCounter(Arc<Executor>);

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::Relaxed);
    }
}

impl Executor {
    fn spawn(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) -> TaskRef {
        let (executor, counter) = (self.clone(), DropCounter(self.clone()));
        let future = async move {
            let _counter = counter;
            future.await;
        };
        let schedule = move |runnable| executor.ready.lock().unwrap().push_back(runnable);
        let (runnable, task) = Task::new(future, Priority::NORMAL, schedule);
        runnable.schedule();
        task
    }

    /// Runs what is ready until nothing is; returns the number of polls.
    fn drain(&self) -> usize {
        let mut polls = 0;
        loop {
            let next = self.ready.lock().unwrap().pop_front();
            let Some(runnable) = next else { return polls };
            polls += 1;
            if let Outcome::Requeue(runnable) = runnable.run() {
                runnable.schedule();
            }
        }
    }

    fn drops(&self) -> usize {
        self.drops.load(Ordering::Relaxed)
    }
}

#[test]
fn header_is_one_cache_line() {
    assert_eq!(size_of::<TaskHeader>(), 64);
    assert_eq!(size_of::<Option<TaskRef>>(), 8);
}

#[test]
fn coroutine_runs_waits_and_ends() {
    let executor: Arc<Executor> = Arc::default();
    let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
    let mut polls = 0;
    let shared = slot.clone();
    let task = executor.spawn(poll_fn(move |context| {
        polls += 1;
        *shared.lock().unwrap() = Some(context.waker().clone());
        if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
    }));
    assert_eq!(executor.drain(), 1);
    assert_eq!(executor.drain(), 0, "it waits");
    let waker = slot.lock().unwrap().clone().unwrap();
    assert!(waker.will_wake(&task.waker()) && waker.will_wake(&task.waker_by_ref()));
    waker.wake_by_ref();
    waker.wake_by_ref();
    assert_eq!(executor.ready.lock().unwrap().len(), 1, "queued once");
    assert_eq!(executor.drain(), 1);
    assert!(task.state().is_complete());
    assert_eq!(executor.drops(), 1);
    waker.wake();
    task.wake();
    assert_eq!(executor.drain(), 0, "nothing wakes the dead");
}

#[test]
fn yielding_requeues() {
    let executor: Arc<Executor> = Arc::default();
    let mut left = 3;
    let task = executor.spawn(poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }));
    assert_eq!(executor.drain(), 4);
    assert!(task.state().is_complete());
}

#[test]
fn cancelling_drops_the_future_by_the_executor() {
    let executor: Arc<Executor> = Arc::default();
    let task = executor.spawn(pending());
    assert_eq!(executor.drain(), 1);
    assert!(task.cancel());
    assert_eq!(executor.drops(), 0, "not on the caller's stack");
    assert!(!task.cancel());
    executor.drain();
    assert_eq!(executor.drops(), 1);
    assert!(task.state().is_complete() && task.state().is_cancelled());
}

#[test]
fn cancelling_oneself_takes_effect_at_the_next_await() {
    let executor: Arc<Executor> = Arc::default();
    let slot: Arc<Mutex<Option<TaskRef>>> = Arc::default();
    let shared = slot.clone();
    let task = executor.spawn(poll_fn(move |_| {
        assert!(shared.lock().unwrap().take().unwrap().cancel());
        Poll::Pending
    }));
    *slot.lock().unwrap() = Some(task.clone());
    assert_eq!(executor.drain(), 1);
    assert!(task.state().is_complete());
    assert_eq!(executor.drops(), 1);
}

#[test]
fn dropping_the_right_to_run_cancels() {
    let executor: Arc<Executor> = Arc::default();
    let task = executor.spawn(async {});
    executor.ready.lock().unwrap().clear();
    assert_eq!(executor.drops(), 1);
    assert!(task.state().is_cancelled() && task.state().is_complete());
}

#[test]
fn preempted_poll_is_resumed_not_polled() {
    let (runnable, task) = Task::new(pending(), Priority::NORMAL, |_| ());
    let Started::Poll(running) = runnable.start() else { panic!("must be polled") };
    let pointer = running.pointer();
    // SAFETY: no stack is involved: the poll has not begun, and the test resumes it below.
    let runnable = unsafe { Runnable::preempted(pointer, 0x1234) };
    task.wake();
    assert!(task.cancel());
    let Started::ResumeStack(suspended) = runnable.start() else { panic!("must be resumed") };
    assert_eq!(suspended.stack_pointer(), 0x1234);
    assert!(matches!(running.poll(), Outcome::Complete), "cancelled at its await");
    assert!(task.state().is_complete());
}

#[test]
fn change_of_priority_names_the_queue() {
    let (runnable, task) = Task::new(async {}, Priority::LOWEST, |_| ());
    assert_eq!(task.set_priority(Priority::NORMAL), None);
    assert_eq!(runnable.enqueued(4), Priority::NORMAL);
    assert_eq!(task.set_priority(Priority::HIGHEST), Some(4));
    assert_eq!(task.queued_priority(), Priority::NORMAL);
    assert_eq!(task.requeued(), (Priority::NORMAL, Priority::HIGHEST));
    runnable.dequeued();
    assert_eq!((task.queue(), task.priority()), (None, Priority::HIGHEST));
    task.set_allowed_harts(0b10);
    assert!(!task.may_run_on(0) && task.may_run_on(1) && !task.may_run_on(200));
    assert!(matches!(runnable.run(), Outcome::Complete));
}

#[test]
fn state_says_what_to_do() {
    use super::{Cancel, Finish, TaskState, Wake};
    let state = TaskState::new_idle();
    assert_eq!(state.wake(), Wake::Schedule);
    assert_eq!(state.wake(), Wake::Nothing);
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.wake(), Wake::Nothing);
    assert_eq!(alloc::format!("{state:?}"), "running, notified");
    assert_eq!(state.finish_pending(), Finish::Requeue);
    assert_eq!(state.start(), Start::Poll);
    state.preempt();
    assert_eq!(state.cancel(), Cancel::Requested);
    assert_eq!(state.start(), Start::ResumeStack);
    assert_eq!(state.finish_pending(), Finish::Cancel);
    state.finish_ready();
    assert_eq!((state.wake(), state.cancel()), (Wake::Nothing, Cancel::TooLate));
}

#[test]
fn joining_gives_the_result_or_says_cancelled() {
    fn spawn<T: Send + 'static>(
        executor: &Arc<Executor>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> (TaskRef, JoinHandle<T>) {
        let (future, handle) = joinable(future);
        (executor.spawn(future), handle)
    }
    let executor: Arc<Executor> = Arc::default();
    let (_, answer) = spawn(&executor, async { 42 });
    let (never_task, never) = spawn(&executor, pending::<u8>());
    let results: Arc<Mutex<Option<_>>> = Arc::default();
    let shared = results.clone();
    executor.spawn(async move {
        let both = (answer.join().await, never.join().await);
        *shared.lock().unwrap() = Some(both);
    });
    executor.drain();
    assert!(never_task.cancel());
    executor.drain();
    assert_eq!(results.lock().unwrap().take(), Some((Ok(42), Err(Error::Cancelled))));
    assert_eq!(executor.drops(), 3);
}

#[test]
fn many_threads_wake_and_run() {
    const WAKES: usize = 20_000;
    let executor: Arc<Executor> = Arc::default();
    let tokens = Arc::new(AtomicUsize::new(0));
    let shared = tokens.clone();
    let mut seen = 0;
    let task = executor.spawn(poll_fn(move |_| {
        seen += shared.swap(0, Ordering::Relaxed);
        if seen == 2 * WAKES { Poll::Ready(()) } else { Poll::Pending }
    }));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..WAKES {
                    tokens.fetch_add(1, Ordering::Relaxed);
                    task.wake();
                }
            });
            scope.spawn(|| {
                while !task.state().is_complete() {
                    executor.drain();
                    std::thread::yield_now();
                }
            });
        }
    });
    assert_eq!(executor.drops(), 1);
}
