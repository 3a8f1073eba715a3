//! What every coroutine has, whatever its future: one cache line.

use super::cell::VTable;
use super::{Priority, TaskState};
use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Low bits of `placement`: the priority that is wanted.
const PRIORITY_MASK: u32 = 0xff;
/// High bits of `placement`: the index of the ready queue plus one, 0 when on none.
const QUEUE_SHIFT: u32 = 16;

/// The part of a coroutine that does not depend on its future.
///
/// Who may touch what:
/// - `state`: anybody, by the protocol in the file of [`TaskState`].
/// - `links`, `queued_priority`: the holder of the lock of the ready queue it is on; of no queue, the holder of the right to run.
/// - `placement`: the queue half under the lock of that queue; the priority half by anybody. Both are one word, so
///   that a change of priority and a push see each other in whichever order they come: either the push reads the new
///   priority, or the change reads the queue and goes there to move the coroutine ([`TaskHeader::set_priority`]).
/// - `stack_pointer`: the holder of the right to run.
#[repr(C, align(64))]
pub struct TaskHeader {
    pub(super) state: TaskState,
    pub(super) references: AtomicU32,
    placement: AtomicU32,
    queued_priority: AtomicU8,
    pub(super) next: AtomicPtr<TaskHeader>,
    pub(super) previous: AtomicPtr<TaskHeader>,
    stack_pointer: AtomicUsize,
    pub(super) vtable: &'static VTable,
    allowed_harts: AtomicU64,
    trace_id: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<TaskHeader>() == 64, "a header fills one cache line");

impl TaskHeader {
    /// A header with two references: the scheduler's and the creator's.
    pub(super) fn new(priority: Priority, vtable: &'static VTable) -> Self {
        Self {
            state: TaskState::new_queued(),
            references: AtomicU32::new(2),
            placement: AtomicU32::new(u32::from(priority.number())),
            queued_priority: AtomicU8::new(priority.number()),
            next: AtomicPtr::new(core::ptr::null_mut()),
            previous: AtomicPtr::new(core::ptr::null_mut()),
            stack_pointer: AtomicUsize::new(0),
            vtable,
            allowed_harts: AtomicU64::new(u64::MAX),
            trace_id: AtomicU64::new(0),
        }
    }

    /// The state.
    #[inline]
    pub fn state(&self) -> &TaskState {
        &self.state
    }

    /// The priority that is wanted for it.
    #[inline]
    pub fn priority(&self) -> Priority {
        Priority::saturating((self.placement.load(Ordering::Relaxed) & PRIORITY_MASK) as u8)
    }

    /// Changes the priority. `Some(queue)`: it is on that ready queue, and the caller must lock the queue and, if the
    /// coroutine is still on it, move it ([`TaskHeader::queue`], [`TaskHeader::requeued`]).
    #[must_use = "a queued coroutine must be moved to its new place"]
    pub fn set_priority(&self, priority: Priority) -> Option<usize> {
        let mut placement = self.placement.load(Ordering::Relaxed);
        loop {
            let new = placement & !PRIORITY_MASK | u32::from(priority.number());
            match self.placement.compare_exchange_weak(placement, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return queue_of(placement),
                Err(now) => placement = now,
            }
        }
    }

    /// The index of the ready queue on which it is. Stable only under the lock of that queue.
    #[inline]
    pub fn queue(&self) -> Option<usize> {
        queue_of(self.placement.load(Ordering::Relaxed))
    }

    /// Notes that it is put on the ready queue with this index (below 65535), whose lock the caller holds. Returns
    /// the priority at which it must be queued.
    #[inline]
    pub fn enqueued(&self, queue: usize) -> Priority {
        debug_assert!(queue < usize::from(u16::MAX), "a queue index must leave room for `none`");
        let before = self.placement.fetch_or((queue as u32 + 1) << QUEUE_SHIFT, Ordering::AcqRel);
        debug_assert!(queue_of(before).is_none(), "queued twice");
        let priority = (before & PRIORITY_MASK) as u8;
        self.queued_priority.store(priority, Ordering::Relaxed);
        Priority::saturating(priority)
    }

    /// Notes that it is taken off its ready queue, whose lock the caller holds.
    #[inline]
    pub fn dequeued(&self) {
        self.placement.fetch_and((1 << QUEUE_SHIFT) - 1, Ordering::AcqRel);
    }

    /// Notes that it is moved within its ready queue to the priority that is wanted now; the caller holds the lock.
    /// Returns the priority at which it is queued and the one to which it must be moved.
    #[inline]
    pub fn requeued(&self) -> (Priority, Priority) {
        let (from, to) = (self.queued_priority(), self.priority());
        self.queued_priority.store(to.number(), Ordering::Relaxed);
        (from, to)
    }

    /// The priority at which it was queued; may differ from [`TaskHeader::priority`] until it is moved. Stable only
    /// under the lock of its queue.
    #[inline]
    pub fn queued_priority(&self) -> Priority {
        Priority::saturating(self.queued_priority.load(Ordering::Relaxed))
    }

    /// Where the context of the interrupted poll lies. For the holder of the right to run.
    #[inline]
    pub fn stack_pointer(&self) -> usize {
        self.stack_pointer.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_stack_pointer(&self, stack_pointer: usize) {
        self.stack_pointer.store(stack_pointer, Ordering::Relaxed);
    }

    /// The harts on which it may run: bit `n` for hart `n`. All, to begin with.
    #[inline]
    pub fn allowed_harts(&self) -> u64 {
        self.allowed_harts.load(Ordering::Relaxed)
    }

    /// Sets the harts on which it may run. A coroutine that is queued or running elsewhere moves when it is next queued.
    pub fn set_allowed_harts(&self, harts: u64) {
        self.allowed_harts.store(harts, Ordering::Relaxed);
    }

    /// Whether it may run on this hart. Harts from 64 up are allowed to those that are allowed hart 63.
    #[inline]
    pub fn may_run_on(&self, hart: usize) -> bool {
        self.allowed_harts() >> hart.min(63) & 1 != 0
    }

    /// The causal identifier under which the coroutine's work is traced; 0 when there is none.
    #[inline]
    pub fn trace_id(&self) -> u64 {
        self.trace_id.load(Ordering::Relaxed)
    }

    /// Sets the causal identifier.
    #[inline]
    pub fn set_trace_id(&self, trace_id: u64) {
        self.trace_id.store(trace_id, Ordering::Relaxed);
    }

    /// A number that tells coroutines apart while they live.
    #[inline]
    pub fn address(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }
}

#[inline]
fn queue_of(placement: u32) -> Option<usize> {
    ((placement >> QUEUE_SHIFT) as usize).checked_sub(1)
}

impl core::fmt::Debug for TaskHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Task")
            .field("address", &(self.address() as *const ()))
            .field("state", &self.state)
            .field("priority", &self.priority())
            .field("queue", &self.queue())
            .finish_non_exhaustive()
    }
}
