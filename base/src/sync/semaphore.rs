//! A number of permits, given out first come first served; what the async locks are made of.
//!
//! One word holds the free permits (above bit 0) and whether somebody waits (bit 0). Rules:
//! 1. While bit 0 is clear, who finds enough permits takes them with one compare-and-exchange.
//! 2. While bit 0 is set, permits are only added by releasers, and only taken, on behalf of the first who waits, by the
//!    holder of the list's lock. So nobody overtakes, and one who wants many permits is not starved.
//! 3. Bit 0 changes only under the list's lock. It is set by one who found too few permits, in the same exchange; so
//!    every later release sees it and goes to look after the list.

use super::atomic::{AtomicU32, Ordering};
use super::spin_lock::SpinLock;
use super::wait_list::{Node, NodeState, WAKE_BATCH, WaitList, WakeBatch};
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// Set in the word while somebody waits.
const WAITERS: u32 = 1;
/// One permit, in the word.
const PERMIT: u32 = 2;

/// A number of permits. Waiting for them is fair: first come first served, whatever number each wants.
pub struct Semaphore {
    word: AtomicU32,
    list: SpinLock<WaitList>,
}

impl Semaphore {
    /// The greatest number of permits.
    pub const MAX_PERMITS: u32 = (u32::MAX >> 1) - 1;

    const_unless_loom! {
        /// A semaphore with this many permits, at most [`Semaphore::MAX_PERMITS`].
        pub fn new(permits: u32) -> Self {
            assert!(permits <= Self::MAX_PERMITS, "more permits than a semaphore can count");
            Self { word: AtomicU32::new(permits * PERMIT), list: SpinLock::new(WaitList::new()) }
        }
    }

    /// How many permits are free at this moment.
    pub fn available(&self) -> u32 {
        self.word.load(Ordering::Relaxed) / PERMIT
    }

    /// Takes `count` permits, if there are as many and nobody waits. They must be given back by
    /// [`Semaphore::release`].
    #[inline]
    pub fn try_acquire(&self, count: u32) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 && word / PERMIT >= count {
            let taken = word - count * PERMIT;
            match self.word.compare_exchange_weak(word, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Waits for `count` permits (at most [`Semaphore::MAX_PERMITS`]). They must be given back by
    /// [`Semaphore::release`].
    #[inline]
    pub fn acquire(&self, count: u32) -> Acquire<'_> {
        assert!(count <= Self::MAX_PERMITS, "more permits than a semaphore can count");
        Acquire { semaphore: self, node: Node::new(count) }
    }

    /// Waits for `count` permits, which go back when the result is dropped.
    pub async fn permits(&self, count: u32) -> Permits<'_> {
        self.acquire(count).await;
        Permits { semaphore: self, count }
    }

    /// Gives back, or adds, `count` permits.
    #[inline]
    pub fn release(&self, count: u32) {
        let before = self.word.fetch_add(count * PERMIT, Ordering::Release);
        debug_assert!(
            before / PERMIT + count <= Self::MAX_PERMITS,
            "permits released that were never acquired"
        );
        if before & WAITERS != 0 {
            self.distribute();
        }
    }

    /// Gives free permits to those who wait, in their order.
    #[cold]
    #[inline(never)]
    fn distribute(&self) {
        loop {
            let mut batch = WakeBatch::new();
            {
                let mut list = self.list.lock();
                while batch.len() < WAKE_BATCH
                    && let Some(wanted) = list.front_tag()
                    && self.word.load(Ordering::Relaxed) / PERMIT >= wanted
                {
                    // Acquire: what earlier holders did becomes visible here, and to the one who is notified.
                    self.word.fetch_sub(wanted * PERMIT, Ordering::Acquire);
                    batch.extend(list.pop_front(NodeState::NotifiedOne));
                }
                self.publish(&list);
            }
            let complete = batch.len() < WAKE_BATCH;
            batch.drain(..).for_each(Waker::wake);
            if complete {
                return;
            }
        }
    }

    /// Clears bit 0 when nobody waits; the caller holds the list's lock.
    fn publish(&self, list: &WaitList) {
        if list.is_empty() {
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        f.debug_struct("Semaphore")
            .field("available", &(word / PERMIT))
            .field("waiting", &(word & WAITERS != 0))
            .finish_non_exhaustive()
    }
}

/// The future of [`Semaphore::acquire`]. Dropped while it waits, it leaves its place; dropped after it was given
/// permits that it did not yet see, it gives them back.
#[must_use = "a future does nothing until it is awaited"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    /// Its tag is the number of permits.
    node: Node,
}

impl<'a> Acquire<'a> {
    /// The semaphore.
    pub fn semaphore(&self) -> &'a Semaphore {
        self.semaphore
    }

    /// Takes the permits or a place in the queue. `Ready` when it took the permits.
    #[cold]
    #[inline(never)]
    fn poll_slow(&self, waker: &Waker) -> Poll<()> {
        let semaphore = self.semaphore;
        let mut list = semaphore.list.lock();
        match self.node.state() {
            NodeState::Detached => {}
            NodeState::Waiting => {
                // SAFETY: the node waits on this list, the only one on which it is ever put.
                let old = unsafe { list.replace_waker(&self.node, waker) };
                drop(list);
                drop(old);
                return Poll::Pending;
            }
            NodeState::NotifiedOne | NodeState::NotifiedAll => {
                self.node.reset();
                return Poll::Ready(());
            }
        }
        let mut word = semaphore.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            let enough = word / PERMIT >= self.node.tag();
            let new = if enough { word - self.node.tag() * PERMIT } else { word | WAITERS };
            match semaphore.word.compare_exchange_weak(word, new, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if enough => return Poll::Ready(()),
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // SAFETY: the node is detached and this future's own; the future is pinned (called from `poll` only), and its
        // drop takes the node off; it is never put on another list.
        unsafe { list.push_back(&self.node, waker.clone(), self.node.tag()) };
        Poll::Pending
    }

    #[cold]
    fn abandon(&self) {
        let semaphore = self.semaphore;
        let mut list = semaphore.list.lock();
        if self.node.state() == NodeState::Waiting {
            // SAFETY: the node waits on this list.
            let waker = unsafe { list.remove(&self.node) };
            semaphore.publish(&list);
            let others = !list.is_empty();
            drop(list);
            drop(waker);
            if others {
                // This one may have been first and wanted more than there is; the next may want less.
                semaphore.distribute();
            }
        } else {
            drop(list);
            semaphore.release(self.node.tag());
        }
    }
}

impl Future for Acquire<'_> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        match this.node.state() {
            NodeState::Detached if this.semaphore.try_acquire(this.node.tag()) => Poll::Ready(()),
            NodeState::Detached | NodeState::Waiting => this.poll_slow(context.waker()),
            NodeState::NotifiedOne | NodeState::NotifiedAll => {
                this.node.reset();
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Acquire<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.node.state() != NodeState::Detached {
            self.abandon();
        }
    }
}

/// Permits of a [`Semaphore`], which go back when this is dropped.
#[must_use = "the permits go back as soon as this is dropped"]
#[derive(Debug)]
pub struct Permits<'a> {
    semaphore: &'a Semaphore,
    count: u32,
}

impl Permits<'_> {
    /// Keeps the permits for good.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl Drop for Permits<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.semaphore.release(self.count);
        }
    }
}
