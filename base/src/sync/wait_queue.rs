//! Coroutines that wait until something becomes true.
//!
//! No wake-up is lost, because both sides look twice. The waiter looks at the condition, enters the queue (which sets
//! `waiting`), passes a full fence and looks again. The waker changes the condition, passes a full fence and looks at
//! `waiting`. Whichever fence comes first, one of the two sees what the other did. So waking an empty queue is a fence
//! and a load, and the condition may be guarded by anything: an atomic, a spin lock, the waiter's own data.
//!
//! With `wake_one`, where each wake-up announces one thing that one waiter can take, this holds besides: while something
//! is there to be taken and somebody waits, a wake-up is on its way. Hence a waiter that was chosen either looks once
//! more after that, or passes the wake-up on; having found something by itself is no reason to keep it.

use super::atomic::{AtomicU32, Ordering, fence};
use super::spin_lock::SpinLock;
use super::wait_list::{Node, NodeState, WAKE_BATCH, WaitList, WakeBatch};
use alloc::sync::Arc;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// A queue of coroutines, first in first out.
pub struct WaitQueue {
    /// 1 while the list has nodes. Written under the lock, read without.
    waiting: AtomicU32,
    /// Tag of new nodes. [`WaitQueue::wake_all`] counts it up, and so knows where those end who waited when it began.
    /// Used under the lock.
    epoch: AtomicU32,
    list: SpinLock<WaitList>,
}

impl WaitQueue {
    const_unless_loom! {
        /// An empty queue.
        pub fn new() -> Self {
            let list = SpinLock::new(WaitList::new());
            Self { waiting: AtomicU32::new(0), epoch: AtomicU32::new(0), list }
        }
    }

    /// Waits until `check` gives a value, and gives that. `check` runs once before waiting and again after every
    /// wake-up; it must be cheap and must not wake or wait on this queue.
    ///
    /// A future that is dropped after [`WaitQueue::wake_one`] chose it, and before it ran, passes the wake-up on.
    #[inline]
    pub fn wait_until<T, F: FnMut() -> Option<T>>(&self, check: F) -> WaitUntil<'_, F> {
        WaitUntil { waiter: Waiter::new(self), check }
    }

    /// Enters the queue, then waits for one notification unless `found` says that there is no need: for who has just looked
    /// in vain, and will look again. May end without a reason.
    #[inline]
    pub fn wait_unless<F: Fn() -> bool>(&self, found: F) -> WaitUnless<'_, F> {
        WaitUnless { waiter: Waiter::new(self), found }
    }

    /// Waits for one notification that is sent after the first poll. Notifications are not kept: where the reason
    /// can come before the wait, use [`WaitQueue::wait_until`].
    #[inline]
    pub fn wait(&self) -> Wait<'_> {
        Wait { waiter: Waiter::new(self) }
    }

    /// Whether somebody may be waiting. What the caller changed before is visible to all who enter the queue later.
    #[inline]
    pub fn has_waiters(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Wakes the one that waits longest. Returns whether there was one.
    #[inline]
    pub fn wake_one(&self) -> bool {
        self.has_waiters() && self.wake_one_slow()
    }

    /// Wakes all who wait now.
    #[inline]
    pub fn wake_all(&self) {
        if self.has_waiters() {
            self.wake_all_slow();
        }
    }

    /// Wakes up to `count`, those who wait longest. Returns how many there were.
    #[inline]
    pub fn wake_n(&self, count: usize) -> usize {
        if count == 0 || !self.has_waiters() { 0 } else { self.wake_n_slow(count) }
    }

    #[cold]
    fn wake_one_slow(&self) -> bool {
        let waker = {
            let mut list = self.list.lock();
            let waker = list.pop_front(NodeState::NotifiedOne);
            self.publish(&list);
            waker
        };
        waker.map(Waker::wake).is_some()
    }

    #[cold]
    fn wake_n_slow(&self, count: usize) -> usize {
        let mut woken = 0;
        loop {
            let mut batch = WakeBatch::new();
            {
                let mut list = self.list.lock();
                while batch.len() < WAKE_BATCH.min(count - woken)
                    && let Some(waker) = list.pop_front(NodeState::NotifiedOne)
                {
                    batch.push(waker);
                }
                self.publish(&list);
            }
            if batch.is_empty() {
                return woken;
            }
            woken += batch.len();
            batch.drain(..).for_each(Waker::wake);
        }
    }

    /// Wakes the first, and the others if there are any, which is rare.
    fn wake_all_slow(&self) {
        let (first, last_epoch, more) = {
            let mut list = self.list.lock();
            let last_epoch = self.epoch.load(Ordering::Relaxed);
            self.epoch.store(last_epoch.wrapping_add(1), Ordering::Relaxed);
            let first = list.pop_front(NodeState::NotifiedAll);
            self.publish(&list);
            (first, last_epoch, !list.is_empty())
        };
        if let Some(waker) = first {
            waker.wake();
        }
        if more {
            self.wake_epoch(last_epoch);
        }
    }

    /// Wakes those who entered up to this epoch. Those who enter while batches are being woken belong to the next one and are
    /// left alone: without that, waiters whose condition stays false would keep this loop going for ever.
    #[cold]
    fn wake_epoch(&self, last: u32) {
        loop {
            let mut batch = WakeBatch::new();
            {
                let mut list = self.list.lock();
                while batch.len() < WAKE_BATCH
                    && let Some(tag) = list.front_tag()
                    && last.wrapping_sub(tag) <= u32::MAX / 2
                    && let Some(waker) = list.pop_front(NodeState::NotifiedAll)
                {
                    batch.push(waker);
                }
                self.publish(&list);
            }
            if batch.is_empty() {
                return;
            }
            batch.drain(..).for_each(Waker::wake);
        }
    }

    /// Brings `waiting` up to date with the list, whose lock the caller holds.
    #[inline]
    fn publish(&self, list: &WaitList) {
        if list.is_empty() {
            self.waiting.store(0, Ordering::Relaxed);
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.load(Ordering::Relaxed) != 0;
        f.debug_struct("WaitQueue").field("waiting", &waiting).finish_non_exhaustive()
    }
}

/// Something that leads to a queue and keeps it alive: `&WaitQueue`, `Arc<WaitQueue>`.
///
/// # Safety
/// [`QueueHandle::queue`] gives the same queue, at the same address, every time, for as long as the handle lives,
/// wherever the handle is moved.
pub unsafe trait QueueHandle {
    /// The queue.
    fn queue(&self) -> &WaitQueue;
}

// SAFETY: a shared reference never changes its target.
unsafe impl QueueHandle for &WaitQueue {
    #[inline(always)]
    fn queue(&self) -> &WaitQueue {
        self
    }
}

// SAFETY: an `Arc` never changes its target and keeps it in place.
unsafe impl QueueHandle for Arc<WaitQueue> {
    #[inline(always)]
    fn queue(&self) -> &WaitQueue {
        self
    }
}

/// A place in one queue, to be polled by hand: the piece from which waiting on several queues at once is made.
///
/// Register a waiter with each queue ([`Waiter::register`]), *then* look at all the conditions, and return
/// `Poll::Pending` if none holds. Dropping a waiter takes it off its queue.
pub struct Waiter<Q: QueueHandle> {
    queue: Q,
    node: Node,
}

impl<Q: QueueHandle> Waiter<Q> {
    /// A waiter that is not in the queue yet.
    #[inline]
    pub fn new(queue: Q) -> Self {
        Self { queue, node: Node::new(0) }
    }

    /// The queue in which it waits.
    pub fn queue(&self) -> &Q {
        &self.queue
    }

    /// Whether it was notified since it last entered the queue.
    #[inline]
    pub fn is_notified(&self) -> bool {
        matches!(self.node.state(), NodeState::NotifiedOne | NodeState::NotifiedAll)
    }

    /// Makes sure that `waker` is called at the next wake-up; enters the queue, at its end, when it is not in it. A
    /// notification that was received before is thereby used up. The condition must be looked at *afterwards*.
    ///
    /// Returns whether it entered the queue (only then is another look at the condition needed).
    pub fn register(self: Pin<&mut Self>, waker: &Waker) -> bool {
        // Shared from here on: the list has a pointer to the node.
        let this = self.into_ref().get_ref();
        let queue = this.queue.queue();
        let mut list = queue.list.lock();
        if this.node.state() == NodeState::Waiting {
            // SAFETY: the node waits, and only ever on its own queue's list, whose lock is held.
            let old = unsafe { list.replace_waker(&this.node, waker) };
            drop(list);
            drop(old);
            return false;
        }
        let epoch = queue.epoch.load(Ordering::Relaxed);
        // SAFETY: not waiting, so the node is this owner's; it is pinned (`self`), and its drop removes it; it is only
        // ever put on the list of its own queue, which the handle keeps alive and in place.
        unsafe { list.push_back(&this.node, waker.clone(), epoch) };
        queue.waiting.store(1, Ordering::Relaxed);
        drop(list);
        // With the fence in `has_waiters`: see the head of this file.
        fence(Ordering::SeqCst);
        true
    }

    /// Uses up a notification, if there is one; returns whether there was. A wake-up is used up *before* the condition
    /// is looked at: one that arrives later may announce something else than what is found there.
    #[inline]
    pub fn take_notification(self: Pin<&mut Self>) -> bool {
        let notified = self.is_notified();
        if notified {
            self.node.reset();
        }
        notified
    }

    /// `Ready` once for each notification; enters the queue otherwise.
    pub fn poll_notified(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.as_mut().take_notification() {
            return Poll::Ready(());
        }
        self.as_mut().register(context.waker());
        Poll::Pending
    }

    /// Leaves the queue. A wake-up that was meant for one and came since the last look is passed on.
    #[inline]
    pub fn deregister(self: Pin<&mut Self>) {
        self.into_ref().get_ref().leave_and_pass_on();
    }

    #[inline]
    fn leave_and_pass_on(&self) {
        if self.node.state() != NodeState::Detached && self.leave() {
            self.queue.queue().wake_one();
        }
    }

    /// Leaves the queue; returns whether a wake-up meant for one had chosen this waiter.
    fn leave(&self) -> bool {
        let mut state = self.node.state();
        let mut waker = None;
        if state == NodeState::Waiting {
            let queue = self.queue.queue();
            let mut list = queue.list.lock();
            // A waker may have been faster; under the lock the state stands still.
            state = self.node.state();
            if state == NodeState::Waiting {
                // SAFETY: the node waits on its own queue's list, whose lock is held.
                waker = unsafe { list.remove(&self.node) };
                queue.publish(&list);
            }
        }
        drop(waker);
        self.node.reset();
        state == NodeState::NotifiedOne
    }
}

impl<Q: QueueHandle> Drop for Waiter<Q> {
    #[inline]
    fn drop(&mut self) {
        self.leave_and_pass_on();
    }
}

/// The future of [`WaitQueue::wait_until`].
#[must_use = "a future does nothing until it is awaited"]
pub struct WaitUntil<'q, F> {
    waiter: Waiter<&'q WaitQueue>,
    check: F,
}

impl<T, F: FnMut() -> Option<T>> Future for WaitUntil<'_, F> {
    type Output = T;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // SAFETY: `waiter` is pinned with the whole; `check` never is.
        let (mut waiter, check) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.waiter), &mut this.check)
        };
        // Taken first: should this look find what it announced, it is used up. A notification that comes after it and
        // before leaving the queue is for something else, perhaps, and is passed on.
        waiter.as_mut().take_notification();
        let mut value = check();
        if value.is_none() && waiter.as_mut().register(context.waker()) {
            value = check();
        }
        match value {
            Some(value) => {
                waiter.deregister();
                Poll::Ready(value)
            }
            None => Poll::Pending,
        }
    }
}

/// The future of [`WaitQueue::wait_unless`].
#[must_use = "a future does nothing until it is awaited"]
pub struct WaitUnless<'q, F> {
    waiter: Waiter<&'q WaitQueue>,
    found: F,
}

impl<F: Fn() -> bool> Future for WaitUnless<'_, F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `waiter` is pinned with the whole; `found` never is.
        let (mut waiter, found) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.waiter), &this.found)
        };
        if waiter.as_mut().take_notification() {
            return Poll::Ready(());
        }
        if waiter.as_mut().register(context.waker()) && found() {
            waiter.deregister();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// The future of [`WaitQueue::wait`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Wait<'q> {
    waiter: Waiter<&'q WaitQueue>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `waiter` is pinned with the whole.
        unsafe { self.map_unchecked_mut(|this| &mut this.waiter) }.poll_notified(context)
    }
}
