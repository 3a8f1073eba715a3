//! Coroutines that are ready: a first-in-first-out list for each priority, and the set of those that are not empty.

use crate::PrioritySet;
use base::task::Priority;

/// How the members of a queue are linked: pointers in the kernel, offsets into shared memory in user mode.
///
/// A link belongs to the queue on which its coroutine is. Where others can write the links (a process scribbling over
/// its own scheduler's memory), an implementation must still give *some* answer without panicking; every operation here
/// takes a bounded number of steps whatever it reads.
pub trait Links {
    /// What names a coroutine.
    type Id: Copy + Eq;

    /// The coroutine behind `id` on its list.
    fn next(&self, id: Self::Id) -> Option<Self::Id>;
    /// Sets what [`Links::next`] gives.
    fn set_next(&self, id: Self::Id, next: Option<Self::Id>);
    /// The coroutine before `id` on its list.
    fn previous(&self, id: Self::Id) -> Option<Self::Id>;
    /// Sets what [`Links::previous`] gives.
    fn set_previous(&self, id: Self::Id, previous: Option<Self::Id>);
}

/// The ready coroutines of one hart. Every operation takes constant time, but for those that say otherwise.
///
/// Whoever holds the queue (a lock, in the kernel) also guards the links and the queued-at priority of its members.
pub struct ReadyQueue<Id> {
    occupied: PrioritySet,
    length: usize,
    lists: [List<Id>; Priority::COUNT],
}

#[derive(Clone, Copy)]
struct List<Id> {
    head: Option<Id>,
    tail: Option<Id>,
}

impl<Id: Copy + Eq> ReadyQueue<Id> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            occupied: PrioritySet::EMPTY,
            length: 0,
            lists: [List { head: None, tail: None }; Priority::COUNT],
        }
    }

    /// How many coroutines are ready.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none is ready.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.occupied.is_empty()
    }

    /// The priority of the most important ready coroutine.
    #[inline]
    pub fn best_priority(&self) -> Option<Priority> {
        self.occupied.best()
    }

    /// The priorities at which coroutines are ready.
    #[inline]
    pub fn occupied(&self) -> PrioritySet {
        self.occupied
    }

    /// Queues `id` behind its equals. It must not be queued anywhere.
    #[inline]
    pub fn push_back(&mut self, links: &impl Links<Id = Id>, id: Id, priority: Priority) {
        let list = &mut self.lists[usize::from(priority.number())];
        let previous = list.tail.replace(id);
        links.set_next(id, None);
        links.set_previous(id, previous);
        match previous {
            Some(previous) => links.set_next(previous, Some(id)),
            None => list.head = Some(id),
        }
        self.occupied.insert(priority);
        self.length += 1;
    }

    /// Queues `id` before its equals: for one that was preempted with part of its time slice left. It must not be
    /// queued anywhere.
    #[inline]
    pub fn push_front(&mut self, links: &impl Links<Id = Id>, id: Id, priority: Priority) {
        let list = &mut self.lists[usize::from(priority.number())];
        let next = list.head.replace(id);
        links.set_next(id, next);
        links.set_previous(id, None);
        match next {
            Some(next) => links.set_previous(next, Some(id)),
            None => list.tail = Some(id),
        }
        self.occupied.insert(priority);
        self.length += 1;
    }

    /// Takes the first of the most important coroutines.
    #[inline]
    pub fn pop_best(&mut self, links: &impl Links<Id = Id>) -> Option<(Id, Priority)> {
        let priority = self.occupied.best()?;
        let id = self.lists[usize::from(priority.number())].head?;
        self.remove(links, id, priority);
        Some((id, priority))
    }

    /// Takes the first of the most important coroutines, if it is more important than `limit`.
    #[inline]
    pub fn pop_above(&mut self, links: &impl Links<Id = Id>, limit: Priority) -> Option<(Id, Priority)> {
        if self.occupied.best()?.is_above(limit) { self.pop_best(links) } else { None }
    }

    /// Takes `id` out, which is queued here at `priority`.
    #[inline]
    pub fn remove(&mut self, links: &impl Links<Id = Id>, id: Id, priority: Priority) {
        let list = &mut self.lists[usize::from(priority.number())];
        let (previous, next) = (links.previous(id), links.next(id));
        match previous {
            Some(previous) => links.set_next(previous, next),
            None => list.head = next,
        }
        match next {
            Some(next) => links.set_previous(next, previous),
            None => list.tail = previous,
        }
        if list.head.is_none() {
            self.occupied.remove(priority);
        }
        links.set_next(id, None);
        links.set_previous(id, None);
        self.length = self.length.saturating_sub(1);
    }

    /// Moves `id`, queued here at `from`, behind those queued at `to`.
    pub fn change_priority(&mut self, links: &impl Links<Id = Id>, id: Id, from: Priority, to: Priority) {
        self.remove(links, id, from);
        self.push_back(links, id, to);
    }

    /// Takes the most important coroutine that `may_steal` accepts (one not bound to its hart); looks at no more than
    /// `limit` of them, most important first and in their order.
    pub fn steal_best(
        &mut self,
        links: &impl Links<Id = Id>,
        limit: usize,
        mut may_steal: impl FnMut(Id) -> bool,
    ) -> Option<(Id, Priority)> {
        let mut left = limit;
        for priority in self.occupied {
            let mut candidate = self.lists[usize::from(priority.number())].head;
            while let Some(id) = candidate {
                if left == 0 {
                    return None;
                }
                left -= 1;
                if may_steal(id) {
                    self.remove(links, id, priority);
                    return Some((id, priority));
                }
                candidate = links.next(id);
            }
        }
        None
    }
}

impl<Id: Copy + Eq> Default for ReadyQueue<Id> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
