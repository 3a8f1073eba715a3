//! Every interleaving of small scenes on the locks and queues, tried by loom.

use super::atomic::{AtomicU32, AtomicUsize, Ordering};
use super::cell::DataCell;
use super::spin_lock::RawSpinLock;
use super::{Mutex, OnceCell, RwLock, Semaphore, TryReceiveError, WaitQueue, Waiter, channel};
use alloc::boxed::Box;
use alloc::task::Wake;
use core::mem::ManuallyDrop;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use loom::sync::{Arc, Condvar, Mutex as BlockingMutex};
use loom::thread;

/// Runs the model with up to three forced switches an execution: enough for every known lost wake-up, and it ends.
fn model(scene: impl Fn() + Sync + Send + 'static) {
    model_bounded(3, scene);
}

fn model_bounded(forced_switches: usize, scene: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(forced_switches);
    builder.check(scene);
}

/// Wakes a thread. Unlike with loom's own `block_on`, nothing is polled without a reason, so that fewer executions suffice.
struct ThreadWaker {
    notified: BlockingMutex<bool>,
    changed: Condvar,
}

impl Wake for ThreadWaker {
    fn wake(self: alloc::sync::Arc<Self>) {
        *self.notified.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let thread =
        alloc::sync::Arc::new(ThreadWaker { notified: BlockingMutex::new(false), changed: Condvar::new() });
    let waker = thread.clone().into();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut notified = thread.notified.lock().unwrap();
        while !core::mem::replace(&mut *notified, false) {
            notified = thread.changed.wait(notified).unwrap();
        }
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn spin_lock_excludes() {
    model(|| {
        let shared = Arc::new((RawSpinLock::new(), DataCell::new(0)));
        let add = |shared: &(RawSpinLock, DataCell<i32>)| {
            // SAFETY: what is tested; loom reports any unordered access.
            unsafe { *shared.1.pointer_exclusive() += 1 };
            shared.0.unlock();
        };
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.0.lock();
            add(&other);
        });
        let mut expected = 2;
        if shared.0.try_lock() {
            add(&shared);
            expected += 1;
        }
        shared.0.lock();
        add(&shared);
        thread.join().unwrap();
        shared.0.lock();
        // SAFETY: the lock is held.
        assert_eq!(unsafe { *shared.1.pointer_shared() }, expected);
    });
}

#[test]
fn once_cell_is_set_once() {
    model(|| {
        let cell = Arc::new(OnceCell::new());
        let other = cell.clone();
        let thread = thread::spawn(move || other.set(Box::new(1)).is_ok());
        if let Some(value) = cell.get() {
            assert_eq!(**value, 1);
        }
        let set_here = cell.set(Box::new(2)).is_ok();
        let set_there = thread.join().unwrap();
        assert!(set_here != set_there);
        assert_eq!(**cell.get().unwrap(), if set_here { 2 } else { 1 });
    });
}

#[test]
fn wait_queue_loses_no_wake_up() {
    model(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.1.store(7, Ordering::Relaxed);
            other.0.wake_one();
        });
        let (queue, value) = &*shared;
        let seen =
            block_on(queue.wait_until(|| Some(value.load(Ordering::Relaxed)).filter(|value| *value != 0)));
        assert_eq!(seen, 7);
        thread.join().unwrap();
    });
}

/// The proof that the checker can fail: a waiter that does not look again after it entered the queue.
#[test]
#[should_panic(expected = "the wake-up was lost")]
fn checker_finds_the_lost_wake_up_of_a_waiter_that_looks_once() {
    model(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.1.store(1, Ordering::Relaxed);
            other.0.wake_one();
        });
        let woken = alloc::sync::Arc::new(WakeFlag::default());
        // Never dropped when the assertion fails: nothing of loom's may be touched while its report unwinds.
        let mut waiter = ManuallyDrop::new(Box::pin(Waiter::new(&shared.0)));
        let seen = shared.1.load(Ordering::Relaxed) != 0;
        if !seen {
            waiter.as_mut().register(&woken.clone().into());
        }
        thread.join().unwrap();
        assert!(seen || woken.0.load(core::sync::atomic::Ordering::Relaxed), "the wake-up was lost");
        drop(ManuallyDrop::into_inner(waiter));
    });
}

#[derive(Default)]
struct WakeFlag(core::sync::atomic::AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: alloc::sync::Arc<Self>) {
        self.0.store(true, core::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn wake_all_reaches_everybody() {
    model(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let wait = |shared: Arc<(WaitQueue, AtomicU32)>| {
            block_on(shared.0.wait_until(|| (shared.1.load(Ordering::Relaxed) != 0).then_some(())));
        };
        let first = shared.clone();
        let first = thread::spawn(move || wait(first));
        let second = shared.clone();
        let second = thread::spawn(move || wait(second));
        shared.1.store(1, Ordering::Relaxed);
        shared.0.wake_all();
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// One token, two waiters, one of which is dropped at any moment: the other must get the token.
#[test]
fn dropped_waiter_passes_its_wake_up_on() {
    model(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let waker = shared.clone();
        let waker = thread::spawn(move || {
            waker.1.store(1, Ordering::Relaxed);
            waker.0.wake_one();
        });
        let mut dropped = Box::pin(shared.0.wait_until(|| None::<()>));
        assert!(poll_once(dropped.as_mut()).is_pending());
        let other = shared.clone();
        let other = thread::spawn(move || {
            block_on(other.0.wait_until(|| (other.1.load(Ordering::Relaxed) != 0).then_some(())));
        });
        drop(dropped);
        other.join().unwrap();
        waker.join().unwrap();
    });
}

/// As many tokens as waiters, each polled now and then without a reason. (The first version of `WaitUntil` kept a wake-up
/// that came while it took another waiter's token; this scene found it.)
#[test]
fn unasked_polls_lose_no_token() {
    model_bounded(2, || {
        let shared = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let take = |shared: Arc<(WaitQueue, AtomicU32)>| {
            loom::future::block_on(shared.0.wait_until(|| {
                let taken = shared.1.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| n.checked_sub(1));
                taken.ok()
            }));
        };
        let other = shared.clone();
        let other = thread::spawn(move || take(other));
        let giver = shared.clone();
        let giver = thread::spawn(move || {
            for _ in 0..2 {
                giver.1.fetch_add(1, Ordering::AcqRel);
                giver.0.wake_one();
            }
        });
        take(shared.clone());
        other.join().unwrap();
        giver.join().unwrap();
    });
}

/// As many tokens as waiters, each announced by one `wake_one`: everybody gets one.
#[test]
fn tokens_reach_as_many_waiters() {
    model_bounded(2, || {
        let shared = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let take = |shared: Arc<(WaitQueue, AtomicU32)>| {
            block_on(shared.0.wait_until(|| {
                let taken = shared.1.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| n.checked_sub(1));
                taken.ok()
            }));
        };
        let other = shared.clone();
        let other = thread::spawn(move || take(other));
        let giver = shared.clone();
        let giver = thread::spawn(move || {
            for _ in 0..2 {
                giver.1.fetch_add(1, Ordering::AcqRel);
                giver.0.wake_one();
            }
        });
        take(shared.clone());
        other.join().unwrap();
        giver.join().unwrap();
    });
}

#[test]
fn mutex_excludes_and_wakes() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let other = mutex.clone();
        let thread = thread::spawn(move || {
            block_on(async {
                *other.lock().await += 1;
                *other.lock().await += 1;
            });
        });
        block_on(async { *mutex.lock().await += 1 });
        thread.join().unwrap();
        assert_eq!(*mutex.try_lock().unwrap(), 3);
    });
}

/// A `lock` that is dropped at any moment, perhaps after the mutex was handed to it, leaves the mutex usable.
#[test]
fn mutex_survives_dropped_lockers() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.try_lock().unwrap();
        let other = mutex.clone();
        let thread = thread::spawn(move || {
            let mut lock = Box::pin(other.lock());
            let _ = poll_once(lock.as_mut());
            drop(lock);
        });
        let third = mutex.clone();
        let third = thread::spawn(move || block_on(async { *third.lock().await += 1 }));
        drop(held);
        thread.join().unwrap();
        third.join().unwrap();
        assert_eq!(*mutex.try_lock().unwrap(), 1);
    });
}

#[test]
fn semaphore_serves_the_first_who_waits() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let other = semaphore.clone();
        let thread = thread::spawn(move || block_on(async { other.permits(2).await.forget() }));
        let mut small = pin!(semaphore.acquire(1));
        let small_got = poll_once(small.as_mut()).is_ready();
        semaphore.release(2);
        if !small_got {
            block_on(small);
        }
        thread.join().unwrap();
        assert_eq!(semaphore.available(), 0);
    });
}

#[test]
fn rw_lock_excludes_writers() {
    model(|| {
        let lock = Arc::new(RwLock::new((0, 0)));
        let other = lock.clone();
        let writer = thread::spawn(move || {
            block_on(async {
                let mut guard = other.write().await;
                guard.0 += 1;
                guard.1 += 1;
                assert_eq!(guard.downgrade().0, 1);
            });
        });
        block_on(async {
            let guard = lock.read().await;
            assert_eq!(guard.0, guard.1);
        });
        writer.join().unwrap();
        assert_eq!(lock.try_write().unwrap().0, 1);
    });
}

#[test]
fn channel_carries_everything_and_closes() {
    model(|| {
        let (sender, mut receiver) = channel(1);
        let thread = thread::spawn(move || {
            block_on(async {
                sender.send(1).await.unwrap();
                sender.send(2).await.unwrap();
            });
        });
        let sum = block_on(async {
            let mut sum = 0;
            while let Some(value) = receiver.receive().await {
                sum = sum * 10 + value;
            }
            sum
        });
        assert_eq!(sum, 12);
        assert_eq!(receiver.try_receive(), Err(TryReceiveError::Closed));
        thread.join().unwrap();
    });
}

#[test]
fn channel_gives_the_value_back_when_the_receiver_goes() {
    model(|| {
        let (sender, receiver) = channel(1);
        sender.try_send(1).unwrap();
        let thread = thread::spawn(move || drop(receiver));
        let result = block_on(sender.send(2));
        assert_eq!(result.unwrap_err().0, 2);
        thread.join().unwrap();
    });
}

/// Two senders wait for room; what one is told must not be lost when it goes away.
#[test]
fn channel_survives_dropped_senders() {
    model(|| {
        let (sender, mut receiver) = channel(1);
        sender.try_send(0).unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let (first, count) = (sender.clone(), sent.clone());
        let first = thread::spawn(move || {
            let mut send = Box::pin(first.send(1));
            if poll_once(send.as_mut()).is_ready() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let second = thread::spawn(move || block_on(sender.send(1)).unwrap());
        assert_eq!(receiver.try_receive(), Ok(0));
        assert_eq!(block_on(receiver.receive()), Some(1));
        first.join().unwrap();
        if sent.load(Ordering::Relaxed) == 1 {
            assert_eq!(block_on(receiver.receive()), Some(1));
        }
        second.join().unwrap();
        assert_eq!(receiver.try_receive(), Err(TryReceiveError::Closed));
    });
}
