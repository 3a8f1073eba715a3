//! Sequences of events on the locks and queues, on one thread.

use super::{
    Lazy, Mutex, OnceCell, RwLock, Semaphore, SpinLock, TableKey, TableWaiter, TryReceiveError, TrySendError,
    WaitQueue, WaitTable, Waiter, channel,
};
use crate::hal::hosted::preempt_count;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::Cell;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A future that is polled by hand.
struct Scripted<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    count: Arc<Count>,
}

impl<'a, T> Scripted<'a, T> {
    fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self { future: Box::pin(future), count: Arc::default() }
    }

    fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(self.count.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wakes(&self) -> usize {
        self.count.0.load(Ordering::Relaxed)
    }
}

fn is_send<T: Send>(_: &T) {}

#[test]
fn spin_lock_forbids_preemption() {
    let lock = SpinLock::new(1);
    {
        let mut guard = lock.lock();
        *guard += 1;
        assert_eq!(preempt_count(), 1);
        assert!(lock.is_locked() && lock.try_lock().is_none());
        assert_eq!(preempt_count(), 1);
    }
    assert_eq!(preempt_count(), 0);
    assert_eq!(*lock.try_lock().unwrap(), 2);
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn spin_lock_excludes_threads() {
    let lock = SpinLock::new(0_u64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| *lock.lock() += 1));
        }
    });
    assert_eq!(lock.into_inner(), 40_000);
}

#[test]
fn once_cell_and_lazy() {
    static MADE: Lazy<Vec<u32>> = Lazy::new(|| (0..3).collect());
    let cell = OnceCell::new();
    assert_eq!(cell.get(), None);
    assert_eq!(cell.set(Box::new(1)), Ok(()));
    assert_eq!(cell.set(Box::new(2)), Err(Box::new(2)));
    assert_eq!(**cell.get_or_init(|| Box::new(3)), 1);
    assert_eq!(MADE.len(), 3);
}

#[test]
fn futures_are_small() {
    fn size<F>(_: &F) -> usize {
        size_of::<F>()
    }
    let queue = WaitQueue::new();
    let flag = Cell::new(false);
    assert_eq!(size_of::<WaitQueue>(), 32);
    assert!(size(&queue.wait()) <= 48);
    assert!(size(&queue.wait_until(|| flag.get().then_some(()))) <= 48 + size_of::<&Cell<bool>>());
    assert!(size(&Mutex::new(()).lock()) <= 56);
    assert!(size(&RwLock::new(()).write()) <= 56);
    is_send(&queue.wait());
    is_send(&Mutex::new(1).lock());
    is_send(&Mutex::new(1).try_lock());
}

#[test]
fn wake_one_goes_in_order_and_wake_all_to_all() {
    let queue = WaitQueue::new();
    let mut waits: Vec<_> = (0..3).map(|_| Scripted::new(queue.wait())).collect();
    assert!(!queue.wake_one(), "nobody has been polled");
    waits.iter_mut().for_each(|wait| assert!(wait.poll().is_pending()));
    assert!(queue.wake_one());
    assert_eq!(waits.iter().map(Scripted::wakes).collect::<Vec<_>>(), [1, 0, 0]);
    assert!(waits[0].poll().is_ready());
    queue.wake_all();
    assert!(waits[1].poll().is_ready() && waits[2].poll().is_ready());
    assert!(!queue.has_waiters());
}

#[test]
fn wake_all_and_wake_n_reach_more_than_a_batch() {
    let queue = WaitQueue::new();
    let mut waits: Vec<_> = (0..100).map(|_| Scripted::new(queue.wait())).collect();
    waits.iter_mut().for_each(|wait| assert!(wait.poll().is_pending()));
    assert_eq!(queue.wake_n(40), 40);
    assert_eq!(waits.iter().filter(|wait| wait.wakes() == 1).count(), 40);
    assert_eq!(waits[39].wakes(), 1);
    queue.wake_all();
    assert!(waits.iter_mut().all(|wait| wait.poll().is_ready()));
    assert_eq!(queue.wake_n(5), 0);
}

/// A waker that enters the queue again at once, as a coroutine on another hart could while `wake_all` still runs.
#[test]
fn wake_all_leaves_newcomers_alone() {
    struct Returning {
        queue: &'static WaitQueue,
        waiter: SpinLock<Pin<Box<Waiter<&'static WaitQueue>>>>,
        wakes: AtomicUsize,
    }
    impl Wake for Returning {
        fn wake(self: Arc<Self>) {
            assert!(self.wakes.fetch_add(1, Ordering::Relaxed) < 10, "woken without end");
            let waker = self.clone().into();
            self.waiter.lock().as_mut().register(&waker);
            assert!(self.queue.has_waiters());
        }
    }
    static QUEUE: WaitQueue = WaitQueue::new();
    let returning: Vec<_> = (0..40)
        .map(|_| {
            let waiter = SpinLock::new(Box::pin(Waiter::new(&QUEUE)));
            Arc::new(Returning { queue: &QUEUE, waiter, wakes: AtomicUsize::new(0) })
        })
        .collect();
    for one in &returning {
        one.waiter.lock().as_mut().register(&one.clone().into());
    }
    QUEUE.wake_all();
    assert!(returning.iter().all(|one| one.wakes.load(Ordering::Relaxed) == 1));
    returning.iter().for_each(|one| one.waiter.lock().as_mut().deregister());
    assert!(!QUEUE.has_waiters());
}

#[test]
fn dropped_waiter_leaves_or_passes_on() {
    let queue = WaitQueue::new();
    let (mut a, mut b, mut c) =
        (Scripted::new(queue.wait()), Scripted::new(queue.wait()), Scripted::new(queue.wait()));
    assert!(a.poll().is_pending() && b.poll().is_pending() && c.poll().is_pending());
    drop(b);
    queue.wake_one();
    assert_eq!((a.wakes(), c.wakes()), (1, 0));
    drop(a);
    assert_eq!(c.wakes(), 1, "the wake-up was passed on");
    assert!(c.poll().is_ready());
    assert!(!queue.has_waiters());
}

#[test]
fn wait_until_looks_before_it_waits_and_after_each_wake_up() {
    let queue = WaitQueue::new();
    let value = Cell::new(0);
    let looks = Cell::new(0);
    let mut wait = Scripted::new(queue.wait_until(|| {
        looks.set(looks.get() + 1);
        (value.get() >= 2).then(|| value.get())
    }));
    assert!(wait.poll().is_pending());
    assert_eq!(looks.get(), 2);
    value.set(1);
    queue.wake_all();
    assert_eq!(wait.wakes(), 1);
    assert!(wait.poll().is_pending());
    value.set(2);
    queue.wake_one();
    assert_eq!(wait.wakes(), 2);
    assert_eq!(wait.poll(), Poll::Ready(2));
    assert!(!queue.has_waiters());
}

#[test]
fn one_waker_on_several_queues() {
    let (first, second) = (Arc::new(WaitQueue::new()), WaitQueue::new());
    let count: Arc<Count> = Arc::default();
    let waker = count.clone().into();
    let mut a = pin!(Waiter::new(first.clone()));
    let mut b = pin!(Waiter::new(&second));
    assert!(a.as_mut().register(&waker) && b.as_mut().register(&waker));
    assert!(!a.as_mut().register(&waker), "it is there already");
    second.wake_all();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(!a.is_notified() && b.is_notified());
    assert!(b.as_mut().take_notification() && !b.as_mut().take_notification());
    a.deregister();
    assert!(!first.has_waiters());
}

#[test]
fn mutex_is_handed_over_in_order() {
    let mutex = Mutex::new(0);
    let held = mutex.try_lock().unwrap();
    let mut first = Scripted::new(mutex.lock());
    let mut second = Scripted::new(mutex.lock());
    assert!(first.poll().is_pending() && second.poll().is_pending());
    drop(held);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    assert!(mutex.try_lock().is_none(), "it belongs to the first who waited");
    let Poll::Ready(mut guard) = first.poll() else { panic!("not handed over") };
    *guard = 5;
    drop(guard);
    let Poll::Ready(guard) = second.poll() else { panic!("not handed over") };
    assert_eq!(*guard, 5);
    drop(guard);
    assert!(!mutex.is_locked());
}

#[test]
fn mutex_passes_by_who_gave_up() {
    let mutex = Mutex::new(());
    let held = mutex.try_lock().unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| Scripted::new(mutex.lock())).collect();
    waiting.iter_mut().for_each(|lock| assert!(lock.poll().is_pending()));
    drop(waiting.remove(1));
    drop(held);
    assert_eq!(waiting[0].wakes(), 1);
    drop(waiting.remove(0));
    assert_eq!(waiting[0].wakes(), 1, "given up after it was handed over");
    assert!(waiting[0].poll().is_ready());
}

#[test]
fn rw_lock_serves_in_order() {
    let lock = RwLock::new(1);
    let (reader, also) = (lock.try_read().unwrap(), lock.try_read().unwrap());
    assert!(lock.try_write().is_none());
    let mut writer = Scripted::new(lock.write());
    let mut late = Scripted::new(lock.read());
    assert!(writer.poll().is_pending());
    assert!(late.poll().is_pending(), "behind the writer");
    drop(reader);
    assert_eq!(writer.wakes(), 0);
    drop(also);
    let Poll::Ready(mut guard) = writer.poll() else { panic!("still waiting") };
    *guard = 2;
    assert_eq!(late.wakes(), 0);
    let reading = guard.downgrade();
    let Poll::Ready(also_reading) = late.poll() else { panic!("still waiting") };
    assert_eq!(*also_reading, 2);
    assert_eq!(*reading, 2);
}

#[test]
fn abandoned_writer_lets_readers_in() {
    let lock = RwLock::new(());
    let reader = lock.try_read().unwrap();
    let mut writer = Scripted::new(lock.write());
    let mut late = Scripted::new(lock.read());
    assert!(writer.poll().is_pending() && late.poll().is_pending());
    drop(writer);
    assert_eq!(late.wakes(), 1);
    assert!(late.poll().is_ready());
    drop((reader, late));
    assert!(lock.try_write().is_some());
}

#[test]
fn semaphore_counts() {
    let semaphore = Semaphore::new(3);
    assert!(semaphore.try_acquire(2) && !semaphore.try_acquire(2));
    let mut two = Scripted::new(semaphore.permits(2));
    assert!(two.poll().is_pending());
    assert!(!semaphore.try_acquire(1), "nobody overtakes");
    semaphore.release(2);
    let Poll::Ready(permits) = two.poll() else { panic!("not served") };
    assert_eq!(semaphore.available(), 1);
    drop(permits);
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn channel_is_bounded_and_ordered() {
    let (sender, mut receiver) = channel(2);
    assert_eq!(receiver.try_receive(), Err(TryReceiveError::Empty));
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    let mut send = Scripted::new(sender.send(3));
    assert!(send.poll().is_pending());
    assert_eq!(receiver.try_receive(), Ok(1));
    assert_eq!(send.wakes(), 1);
    assert_eq!(send.poll(), Poll::Ready(Ok(())));
    drop(send);
    drop(sender);
    assert_eq!((receiver.try_receive(), receiver.try_receive()), (Ok(2), Ok(3)));
    assert_eq!(Scripted::new(receiver.receive()).poll(), Poll::Ready(None));
}

#[test]
fn channel_wakes_the_receiver_when_the_last_sender_goes() {
    let (sender, mut receiver) = channel::<u8>(1);
    let second = sender.clone();
    let mut receive = Scripted::new(receiver.receive());
    assert!(receive.poll().is_pending());
    drop(sender);
    assert_eq!(receive.wakes(), 0);
    drop(second);
    assert_eq!(receive.wakes(), 1);
    assert_eq!(receive.poll(), Poll::Ready(None));
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Number(u64);

impl TableKey for Number {
    fn hash(&self) -> u64 {
        self.0
    }
}

type Table = WaitTable<Number, 4>;

/// Waits for `key` without a condition.
async fn wait_for(table: &Table, key: u64, bits: u32) -> Result<(), ()> {
    let waiter = pin!(TableWaiter::new(table));
    waiter.wait(Number(key), bits, || Ok(())).await
}

#[test]
fn table_wakes_by_key_and_bits_first_come_first_served() {
    let table = Table::new();
    let mut waits: Vec<_> =
        [(1, 1), (2, 1), (1, 2), (1, 3)].map(|(key, bits)| Scripted::new(wait_for(&table, key, bits))).into();
    assert!(waits.iter_mut().all(|wait| wait.poll().is_pending()));
    assert_eq!(table.wake(&Number(3), 1, usize::MAX), 0);
    assert_eq!(table.wake(&Number(1), 2, 1), 1);
    assert_eq!(waits.iter().map(Scripted::wakes).collect::<Vec<_>>(), [0, 0, 1, 0]);
    assert_eq!(waits[2].poll(), Poll::Ready(Ok(())));
    assert_eq!(table.wake(&Number(1), u32::MAX, usize::MAX), 2);
    assert_eq!((waits[0].poll(), waits[3].poll()), (Poll::Ready(Ok(())), Poll::Ready(Ok(()))));
    assert!(waits[1].poll().is_pending());
    drop(waits);
    assert_eq!(table.wake(&Number(2), 1, usize::MAX), 0);
}

#[test]
fn table_does_not_wait_when_the_condition_fails() {
    let table = Table::new();
    let mut wait = Scripted::new(async {
        let waiter = pin!(TableWaiter::new(&table));
        waiter.wait(Number(1), 1, || Err(7)).await
    });
    assert_eq!(wait.poll(), Poll::Ready(Err(7)));
    assert_eq!(table.wake(&Number(1), 1, 1), 0);
}

#[test]
fn table_moves_waiters_to_another_key() {
    let table = Table::new();
    let mut waits: Vec<_> = (0..40).map(|_| Scripted::new(wait_for(&table, 1, 1))).collect();
    assert!(waits.iter_mut().all(|wait| wait.poll().is_pending()));
    assert_eq!(table.requeue(&Number(1), &Number(2), 1, 30, || Err("no")), Err("no"));
    for target in [2, 5] {
        // One woken, 18 moved each time; 1 and 5 share a bucket of the four or not, as the hash has it.
        let moved = table.requeue(&Number(1), &Number(target), 1, 18, || Ok::<_, ()>(()));
        assert_eq!(moved, Ok((1, 18)));
    }
    assert_eq!(table.wake(&Number(1), 1, usize::MAX), 2);
    assert_eq!(table.wake(&Number(2), 1, 10), 10);
    drop(waits.split_off(35));
    assert_eq!(table.wake(&Number(2), 1, usize::MAX), 8);
    assert_eq!(table.wake(&Number(5), 1, usize::MAX), 15);
    assert!(waits.iter_mut().all(|wait| wait.poll() == Poll::Ready(Ok(()))));
}

#[test]
fn table_tells_who_leaves_whether_it_was_woken() {
    let table = Table::new();
    let mut waiter = Box::pin(TableWaiter::new(&table));
    let poll = |waiter: Pin<&mut TableWaiter<'_, Number, 4>>| {
        let mut wait = Scripted::new(waiter.wait(Number(1), 1, || Ok::<_, ()>(())));
        wait.poll().is_pending()
    };
    assert!(poll(waiter.as_mut()));
    assert!(!waiter.as_mut().leave());
    assert!(poll(waiter.as_mut()));
    assert_eq!(table.wake(&Number(1), 1, 1), 1);
    assert!(waiter.as_mut().leave());
    assert!(!waiter.as_mut().leave());
}
