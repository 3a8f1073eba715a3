//! The ready queue of a hart in the kernel: [`ReadyQueue`] over the headers of coroutines.

use crate::{Links, PrioritySet, ReadyQueue};
use base::task::{Priority, TaskPointer};

/// How many coroutines a thief looks at before it gives up: they may all be bound to their hart.
const STEAL_LIMIT: usize = 16;

/// The links in the headers.
#[derive(Clone, Copy, Debug)]
struct HeaderLinks;

impl Links for HeaderLinks {
    type Id = TaskPointer;

    #[inline]
    fn next(&self, id: TaskPointer) -> Option<TaskPointer> {
        id.next()
    }

    #[inline]
    fn set_next(&self, id: TaskPointer, next: Option<TaskPointer>) {
        id.set_next(next);
    }

    #[inline]
    fn previous(&self, id: TaskPointer) -> Option<TaskPointer> {
        id.previous()
    }

    #[inline]
    fn set_previous(&self, id: TaskPointer, previous: Option<TaskPointer>) {
        id.set_previous(previous);
    }
}

/// The ready coroutines of one hart, each queued at the priority that its header asks for. To be kept under a lock.
///
/// What is put in comes from `Runnable::into_pointer`, and what is taken out goes to `Runnable::from_pointer`.
pub struct TaskQueue {
    index: usize,
    queue: ReadyQueue<TaskPointer>,
}

impl TaskQueue {
    /// The queue of the hart with this index.
    pub const fn new(index: usize) -> Self {
        Self { index, queue: ReadyQueue::new() }
    }

    /// How many coroutines are ready.
    #[inline]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none is ready.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The priority of the most important ready coroutine.
    #[inline]
    pub fn best_priority(&self) -> Option<Priority> {
        self.queue.best_priority()
    }

    /// The priorities at which coroutines are ready.
    #[inline]
    pub fn occupied(&self) -> PrioritySet {
        self.queue.occupied()
    }

    /// Queues behind its equals. Returns the priority at which it was queued.
    #[inline]
    pub fn push_back(&mut self, task: TaskPointer) -> Priority {
        let priority = task.enqueued(self.index);
        self.queue.push_back(&HeaderLinks, task, priority);
        priority
    }

    /// Queues before its equals: one that was preempted with part of its time slice left.
    #[inline]
    pub fn push_front(&mut self, task: TaskPointer) -> Priority {
        let priority = task.enqueued(self.index);
        self.queue.push_front(&HeaderLinks, task, priority);
        priority
    }

    /// Takes the first of the most important.
    #[inline]
    pub fn pop_best(&mut self) -> Option<TaskPointer> {
        let (task, _) = self.queue.pop_best(&HeaderLinks)?;
        task.dequeued();
        Some(task)
    }

    /// Takes the first of the most important, if it is more important than `limit`.
    #[inline]
    pub fn pop_above(&mut self, limit: Priority) -> Option<TaskPointer> {
        let (task, _) = self.queue.pop_above(&HeaderLinks, limit)?;
        task.dequeued();
        Some(task)
    }

    /// Takes the most important that may run on the hart `thief`; looks at a bounded number.
    pub fn steal_best(&mut self, thief: usize) -> Option<TaskPointer> {
        let (task, _) = self.queue.steal_best(&HeaderLinks, STEAL_LIMIT, |task| task.may_run_on(thief))?;
        task.dequeued();
        Some(task)
    }

    /// Takes `task` out, if it is on this queue. Returns whether it was.
    pub fn remove(&mut self, task: TaskPointer) -> bool {
        let here = task.queue() == Some(self.index);
        if here {
            self.queue.remove(&HeaderLinks, task, task.queued_priority());
            task.dequeued();
        }
        here
    }

    /// Moves `task` to the priority that its header asks for, if it is on this queue; to be called when
    /// `TaskHeader::set_priority` named this queue. Returns whether it is here. (If not, it was taken meanwhile, and whoever queues it
    /// next will read the new priority.)
    pub fn requeue(&mut self, task: TaskPointer) -> bool {
        let here = task.queue() == Some(self.index);
        if here {
            let (from, to) = task.requeued();
            if from != to {
                self.queue.change_priority(&HeaderLinks, task, from, to);
            }
        }
        here
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
