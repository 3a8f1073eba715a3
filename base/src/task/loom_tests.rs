//! Every interleaving of small scenes on the task cell, tried by loom; what is forgotten is reported as a leak.

use super::{Cancel, Finish, Wake};
use super::{Outcome, Priority, Runnable, Start, Task, TaskHeader, TaskRef, TaskState};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::future::poll_fn;
use core::task::Poll;
use loom::alloc::Track;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::collections::VecDeque;

fn model(scene: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scene);
}

/// A ready queue, and what the coroutines did.
struct Scene {
    ready: Mutex<VecDeque<Runnable>>,
    flag: AtomicBool,
    polls: AtomicU32,
    drops: AtomicU32,
}

/// Counts the drops of a future; loom reports it if it is never dropped.
struct DropCounter(Arc<Scene>, #[expect(dead_code, reason = "loom reports it if it leaks")] Track<()>);

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::Relaxed);
    }
}

impl Scene {
    fn new() -> Arc<Scene> {
        Arc::new(Scene {
            ready: Mutex::new(VecDeque::new()),
            flag: AtomicBool::new(false),
            polls: AtomicU32::new(0),
            drops: AtomicU32::new(0),
        })
    }

    /// A coroutine that waits for the flag, and relies on the wake-up alone.
    fn spawn(this: &Arc<Scene>) -> (Runnable, TaskRef) {
        let (scene, queue) = (this.clone(), this.clone());
        let counter = DropCounter(this.clone(), Track::new(()));
        let future = poll_fn(move |_| {
            let _ = &counter;
            scene.polls.fetch_add(1, Ordering::Relaxed);
            if scene.flag.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        });
        Task::new(future, Priority::NORMAL, move |runnable| {
            let mut ready = queue.ready.lock().unwrap();
            assert!(ready.is_empty(), "queued twice");
            ready.push_back(runnable);
        })
    }

    /// Runs what is ready until nothing is.
    fn drain(&self) {
        loop {
            let next = self.ready.lock().unwrap().pop_front();
            let Some(runnable) = next else { return };
            if let Outcome::Requeue(runnable) = runnable.run() {
                runnable.schedule();
            }
        }
    }

    fn run(&self, runnable: Runnable) {
        if let Outcome::Requeue(runnable) = runnable.run() {
            runnable.schedule();
        }
    }
}

#[test]
fn wake_during_the_poll_is_not_lost() {
    model(|| {
        let scene = Scene::new();
        let (runnable, task) = Scene::spawn(&scene);
        let (other, waker) = (scene.clone(), task.waker());
        let thread = thread::spawn(move || {
            other.flag.store(true, Ordering::Relaxed);
            waker.wake();
        });
        scene.run(runnable);
        scene.drain();
        thread.join().unwrap();
        scene.drain();
        assert!(task.state().is_complete());
        assert_eq!(scene.drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn two_wakes_queue_once() {
    model(|| {
        let scene = Scene::new();
        let (runnable, task) = Scene::spawn(&scene);
        let wakers = [(scene.clone(), task.waker()), (scene.clone(), task.waker())];
        let threads = wakers.map(|(scene, waker)| {
            thread::spawn(move || {
                scene.flag.store(true, Ordering::Relaxed);
                waker.wake_by_ref();
            })
        });
        scene.run(runnable);
        scene.drain();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        scene.drain();
        assert!(task.state().is_complete());
        assert_eq!(scene.drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn cancel_wake_and_poll_drop_the_future_once() {
    model(|| {
        let scene = Scene::new();
        let (runnable, task) = Scene::spawn(&scene);
        let (other, waker) = (scene.clone(), task.waker());
        let waker = thread::spawn(move || {
            other.flag.store(true, Ordering::Relaxed);
            waker.wake();
        });
        let canceller = task.clone();
        let canceller = thread::spawn(move || canceller.cancel());
        scene.run(runnable);
        waker.join().unwrap();
        canceller.join().unwrap();
        scene.drain();
        assert!(task.state().is_complete());
        assert!(!task.cancel());
        assert_eq!(scene.drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn waiting_coroutine_is_cancelled_without_a_poll() {
    model(|| {
        let scene = Scene::new();
        let (runnable, task) = Scene::spawn(&scene);
        scene.run(runnable);
        let other = task.clone();
        let thread = thread::spawn(move || other.cancel());
        let here = task.cancel();
        let there = thread.join().unwrap();
        assert!(here != there, "exactly one request counts");
        scene.drain();
        assert!(task.state().is_complete());
        assert_eq!(scene.polls.load(Ordering::Relaxed), 1);
        assert_eq!(scene.drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn last_reference_frees_wherever_it_is_dropped() {
    model(|| {
        let scene = Scene::new();
        scene.flag.store(true, Ordering::Relaxed);
        let (runnable, task) = Scene::spawn(&scene);
        let waker = task.waker();
        let thread = thread::spawn(move || waker.wake());
        drop(task);
        scene.run(runnable);
        thread.join().unwrap();
        assert_eq!(scene.drops.load(Ordering::Relaxed), 1);
    });
}

/// The protocol on the word alone, with stacks: what is queued is the right to run, of which there is one.
struct Word {
    state: TaskState,
    /// Rights to run that lie in the ready queue.
    ready: Mutex<u32>,
    flag: AtomicBool,
    seen: AtomicBool,
    cancelled: AtomicBool,
}

impl Word {
    fn new() -> Arc<Word> {
        Arc::new(Word {
            state: TaskState::new_queued(),
            ready: Mutex::new(0),
            flag: AtomicBool::new(false),
            seen: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
        })
    }

    fn push(&self) {
        let mut ready = self.ready.lock().unwrap();
        assert_eq!(*ready, 0, "queued twice");
        *ready = 1;
    }

    fn pop(&self) -> bool {
        core::mem::replace(&mut *self.ready.lock().unwrap(), 0) == 1
    }

    fn wake(&self) {
        self.flag.store(true, Ordering::Relaxed);
        if self.state.wake() == Wake::Schedule {
            self.push();
        }
    }

    fn poll(&self) {
        if self.flag.load(Ordering::Relaxed) {
            self.seen.store(true, Ordering::Relaxed);
        }
    }

    fn finish(&self) {
        match self.state.finish_pending() {
            Finish::Park => {}
            Finish::Requeue => self.push(),
            Finish::Cancel => self.drop_cancelled(),
        }
    }

    fn drop_cancelled(&self) {
        assert!(!self.cancelled.swap(true, Ordering::Relaxed), "dropped twice");
        self.state.finish_ready();
    }

    /// One step of a hart: takes the coroutine if it is ready, and runs it to its end or until it waits.
    fn step(&self) -> bool {
        let taken = self.pop();
        if taken {
            match self.state.start() {
                Start::Poll => {
                    self.poll();
                    self.finish();
                }
                Start::ResumeStack => self.finish(),
                Start::DropCancelled => self.drop_cancelled(),
            }
        }
        taken
    }
}

#[test]
fn wake_of_a_preempted_poll_is_not_lost() {
    model(|| {
        let word = Word::new();
        let other = word.clone();
        let waker = thread::spawn(move || other.wake());
        // This hart polls, is interrupted right after the future looked, and queues what it set aside.
        assert_eq!(word.state.start(), Start::Poll);
        word.poll();
        word.state.preempt();
        word.push();
        let other = word.clone();
        let second = thread::spawn(move || other.step());
        waker.join().unwrap();
        second.join().unwrap();
        while word.step() {}
        assert!(word.seen.load(Ordering::Relaxed), "the wake-up was lost");
        assert!(!word.state.has_stack());
    });
}

#[test]
fn cancelling_a_preempted_poll_lets_it_reach_its_await() {
    model(|| {
        let word = Word::new();
        assert_eq!(word.state.start(), Start::Poll);
        let (waker, canceller) = (word.clone(), word.clone());
        let waker = thread::spawn(move || waker.wake());
        let canceller = thread::spawn(move || {
            if canceller.state.cancel() == Cancel::Schedule {
                canceller.push();
            }
        });
        word.state.preempt();
        word.push();
        assert!(word.pop());
        assert_eq!(word.state.start(), Start::ResumeStack, "never dropped with borrows on the stack");
        word.finish();
        waker.join().unwrap();
        canceller.join().unwrap();
        while word.step() {}
        assert!(word.cancelled.load(Ordering::Relaxed) && word.state.is_complete());
    });
}

/// The proof that the checker can fail: an idle transition that looks and then stores, instead of one exchange.
#[test]
#[should_panic(expected = "the wake-up was lost")]
fn checker_finds_the_lost_wake_up_of_a_state_that_looks_and_then_stores() {
    const NOTIFIED: u32 = 1;
    const RUNNING: u32 = 2;
    model(|| {
        let shared = Arc::new((AtomicU32::new(RUNNING), AtomicBool::new(false), AtomicU32::new(0)));
        let other = shared.clone();
        let waker = thread::spawn(move || {
            other.1.store(true, Ordering::Relaxed);
            if other.0.fetch_or(NOTIFIED, Ordering::AcqRel) == 0 {
                other.2.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (state, flag, queued) = &*shared;
        let mut seen = flag.load(Ordering::Relaxed);
        if state.load(Ordering::Acquire) & NOTIFIED != 0 {
            queued.fetch_add(1, Ordering::Relaxed);
        } else {
            state.store(0, Ordering::Release);
        }
        waker.join().unwrap();
        if queued.load(Ordering::Relaxed) != 0 {
            seen |= flag.load(Ordering::Relaxed);
        }
        assert!(seen, "the wake-up was lost");
    });
}

/// A change of priority and a push at the same time: the coroutine ends up queued at the new priority.
#[test]
fn change_of_priority_meets_a_push() {
    model(|| {
        let (runnable, task) = Task::new(async {}, Priority::LOWEST, |_| ());
        let queue_lock = Arc::new(Mutex::new(()));
        let (other, lock) = (task.clone(), queue_lock.clone());
        let thread = thread::spawn(move || {
            if other.set_priority(Priority::HIGHEST) == Some(3) {
                let _held = lock.lock().unwrap();
                if other.queue() == Some(3) {
                    let _ = TaskHeader::requeued(&other);
                }
            }
        });
        {
            let _held = queue_lock.lock().unwrap();
            let _ = runnable.enqueued(3);
        }
        thread.join().unwrap();
        assert_eq!(task.queued_priority(), Priority::HIGHEST);
        runnable.dequeued();
        assert!(matches!(runnable.run(), Outcome::Complete));
    });
}
