//! The list under every queue of coroutines: doubly linked nodes that live in the futures that wait.
//!
//! Who may touch what:
//! 1. A node is *detached*, *waiting* (on a list) or *notified* (taken off by a waker). Only its owner makes it
//!    waiting, only under the lock of the list. Only the holder of that lock makes it anything else from there.
//! 2. While it waits, its links and its waker belong to the holder of the list's lock. While it does not, they belong
//!    to its owner. So an owner that reads *notified* (acquire) has its node back without taking the lock.
//! 3. The store of *notified* (release) is the last touch of a waker: the node may be gone right after it. Hence the
//!    waker is moved out first, and called after the lock is released.
//! 4. A waiting node is pinned, and is removed before its memory goes away.

use super::atomic::{AtomicU32, Ordering};
use super::cell::DataCell;
use core::marker::PhantomPinned;
use core::ptr::NonNull;
use core::task::Waker;
use smallvec::SmallVec;

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum NodeState {
    /// On no list; its owner's.
    Detached = 0,
    /// On a list; the list's lock guards it.
    Waiting = 1,
    /// Taken off by one who meant just this waiter; it must be used or passed on.
    NotifiedOne = 2,
    /// Taken off by one who meant everybody.
    NotifiedAll = 3,
}

/// A place in a [`WaitList`].
pub(super) struct Node {
    links: DataCell<Links>,
    state: AtomicU32,
    /// What the owner of the list makes of it: an epoch, a number of permits. Guarded as the links are.
    tag: AtomicU32,
    _pinned: PhantomPinned,
}

struct Links {
    next: Option<NonNull<Node>>,
    previous: Option<NonNull<Node>>,
    waker: Option<Waker>,
}

// SAFETY: the links are guarded as the head of this file says.
unsafe impl Send for Node {}
// SAFETY: as for `Send`.
unsafe impl Sync for Node {}

impl Node {
    /// A detached node.
    #[inline]
    pub fn new(tag: u32) -> Self {
        let links = Links { next: None, previous: None, waker: None };
        Self {
            links: DataCell::new(links),
            state: AtomicU32::new(NodeState::Detached as u32),
            tag: AtomicU32::new(tag),
            _pinned: PhantomPinned,
        }
    }

    /// Where the node is. After a notification has been seen, the node is its owner's again.
    #[inline]
    pub fn state(&self) -> NodeState {
        match self.state.load(Ordering::Acquire) {
            0 => NodeState::Detached,
            1 => NodeState::Waiting,
            2 => NodeState::NotifiedOne,
            _ => NodeState::NotifiedAll,
        }
    }

    /// The tag.
    #[inline]
    pub fn tag(&self) -> u32 {
        self.tag.load(Ordering::Relaxed)
    }

    /// Forgets a notification. The node must not be waiting.
    #[inline]
    pub fn reset(&self) {
        self.state.store(NodeState::Detached as u32, Ordering::Relaxed);
    }
}

/// Wakers to call once the lock is released; one batch of a long queue.
pub(super) type WakeBatch = SmallVec<[Waker; WAKE_BATCH]>;
/// How many wakers are gathered under one hold of a lock. Bounds the time with preemption off.
pub(super) const WAKE_BATCH: usize = 16;

/// First in, first out; removal anywhere. Every operation takes constant time.
pub(super) struct WaitList {
    head: Option<NonNull<Node>>,
    tail: Option<NonNull<Node>>,
}

// SAFETY: the nodes are reached only under the lock that guards the list.
unsafe impl Send for WaitList {}

impl WaitList {
    /// An empty list.
    pub const fn new() -> Self {
        Self { head: None, tail: None }
    }

    /// Whether nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// The tag of the first node.
    pub fn front_tag(&self) -> Option<u32> {
        // SAFETY: a node on the list is alive (rule 4) and guarded by the lock that the caller holds (rule 2).
        self.head.map(|node| unsafe { node.as_ref() }.tag())
    }

    /// Appends `node`, to be woken by `waker`; `tag` replaces the node's.
    ///
    /// # Safety
    /// The caller owns the node, which is detached and pinned, stays where it is until it is off the list, and is only
    /// ever used with this list from now until then.
    pub unsafe fn push_back(&mut self, node: &Node, waker: Waker, tag: u32) {
        node.tag.store(tag, Ordering::Relaxed);
        let pointer = NonNull::from(node);
        let previous = self.tail.replace(pointer);
        // SAFETY: the caller owns the detached node.
        unsafe { *node.links.pointer_exclusive() = Links { next: None, previous, waker: Some(waker) } };
        node.state.store(NodeState::Waiting as u32, Ordering::Relaxed);
        match previous {
            // SAFETY: a node on the list is alive and guarded by the caller's lock.
            Some(previous) => unsafe { (*previous.as_ref().links.pointer_exclusive()).next = Some(pointer) },
            None => self.head = Some(pointer),
        }
    }

    /// Sets the waker of a waiting node, unless it would wake the same coroutine. Returns the old one, to drop it
    /// after the lock is released.
    ///
    /// # Safety
    /// The node waits on this list.
    #[must_use = "a waker's drop may run any code: drop it after the lock is released"]
    pub unsafe fn replace_waker(&mut self, node: &Node, waker: &Waker) -> Option<Waker> {
        // SAFETY: the node is on this list, guarded by the caller's lock.
        let links = unsafe { &mut *node.links.pointer_exclusive() };
        match &links.waker {
            Some(current) if current.will_wake(waker) => None,
            _ => links.waker.replace(waker.clone()),
        }
    }

    /// Takes a waiting node off and makes it detached. Returns its waker, to drop it after the lock is released.
    ///
    /// # Safety
    /// The node waits on this list.
    #[must_use = "a waker's drop may run any code: drop it after the lock is released"]
    pub unsafe fn remove(&mut self, node: &Node) -> Option<Waker> {
        // SAFETY: as the caller promises.
        let waker = unsafe { self.unlink(NonNull::from(node)) };
        node.state.store(NodeState::Detached as u32, Ordering::Relaxed);
        waker
    }

    /// Takes the first node off and makes it `notified`. Returns its waker, to call after the lock is released.
    pub fn pop_front(&mut self, notified: NodeState) -> Option<Waker> {
        let node = self.head?;
        // SAFETY: the head is on this list.
        let waker = unsafe { self.unlink(node) };
        // SAFETY: the node's owner cannot free it before it has read what is stored here (rule 3).
        unsafe { node.as_ref() }.state.store(notified as u32, Ordering::Release);
        waker
    }

    /// # Safety
    /// The node is on this list.
    unsafe fn unlink(&mut self, node: NonNull<Node>) -> Option<Waker> {
        // SAFETY: nodes on the list, this one and its neighbours, are alive and guarded by the caller's lock.
        unsafe {
            let links = &mut *node.as_ref().links.pointer_exclusive();
            match links.previous {
                Some(previous) => (*previous.as_ref().links.pointer_exclusive()).next = links.next,
                None => self.head = links.next,
            }
            match links.next {
                Some(next) => (*next.as_ref().links.pointer_exclusive()).previous = links.previous,
                None => self.tail = links.previous,
            }
            links.waker.take()
        }
    }
}
