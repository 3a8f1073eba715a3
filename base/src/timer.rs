//! What is to be woken at which time: the timers of one hart.
//!
//! A heap of deadlines with four children to a node (half as deep as a binary one), and a table of slots that knows where in the
//! heap each timer is, so that one that is no longer needed is removed at once. Pure data: time is a parameter, and
//! memory is allocated only when more timers are pending than ever before.

use crate::{Error, Result};
use alloc::vec::Vec;
use core::task::Waker;

/// Children of a node of the heap.
const ARITY: usize = 4;
/// The end of the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// Names a timer that was inserted. After it has expired or was removed, the key names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerKey {
    slot: u32,
    generation: u32,
}

/// The timers of one hart. Equal deadlines expire in the order of their insertion.
pub struct TimerQueue {
    heap: Vec<Entry>,
    slots: Vec<Slot>,
    first_free: u32,
    sequence: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    deadline_ns: u64,
    sequence: u64,
    slot: u32,
}

impl Entry {
    #[inline]
    fn is_before(&self, other: &Entry) -> bool {
        (self.deadline_ns, self.sequence) < (other.deadline_ns, other.sequence)
    }
}

struct Slot {
    /// Counts the timers that this slot has had; tells an old key from a new one.
    generation: u32,
    /// Where in the heap a pending timer is; the next free slot of a free one.
    position_or_next: u32,
    /// There while the timer is pending.
    waker: Option<Waker>,
}

impl TimerQueue {
    /// A queue without timers.
    pub const fn new() -> Self {
        Self { heap: Vec::new(), slots: Vec::new(), first_free: NO_SLOT, sequence: 0 }
    }

    /// Makes room for `count` timers more, so that as many can be inserted without taking memory.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        self.heap.try_reserve(count).map_err(|_| Error::OutOfMemory)?;
        self.slots.try_reserve(count).map_err(|_| Error::OutOfMemory)
    }

    /// How many timers are pending.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer is pending.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Calls for `waker` at `deadline_ns`. Takes O(log n).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the tables cannot grow.
    pub fn insert(&mut self, deadline_ns: u64, waker: Waker) -> Result<TimerKey> {
        let position = self.heap.len();
        self.heap.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let slot = match self.slots.get_mut(self.first_free as usize) {
            Some(free) => {
                let index = core::mem::replace(&mut self.first_free, free.position_or_next);
                free.waker = Some(waker);
                index
            }
            None => {
                let index = u32::try_from(self.slots.len()).ok().filter(|index| *index != NO_SLOT);
                let index = index.ok_or(Error::OutOfMemory)?;
                self.slots.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
                self.slots.push(Slot { generation: 0, position_or_next: 0, waker: Some(waker) });
                index
            }
        };
        self.sequence += 1;
        self.heap.push(Entry { deadline_ns, sequence: self.sequence, slot });
        self.sift_up(position);
        Ok(TimerKey { slot, generation: self.slots[slot as usize].generation })
    }

    /// Removes a timer; gives its waker, or `None` if it has expired or was removed. Takes O(log n).
    pub fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        let position = self.position(key)?;
        self.remove_at(position)
    }

    /// Sets the waker of a pending timer, unless it would wake the same coroutine. Returns whether it is pending.
    pub fn update_waker(&mut self, key: TimerKey, waker: &Waker) -> bool {
        if self.position(key).is_none() {
            return false;
        }
        match &mut self.slots[key.slot as usize].waker {
            Some(current) if current.will_wake(waker) => {}
            current => *current = Some(waker.clone()),
        }
        true
    }

    /// The earliest deadline.
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        self.heap.first().map(|first| first.deadline_ns)
    }

    /// Takes out the earliest timer whose deadline is not after `now_ns`. Takes O(log n). To be called until it gives
    /// `None`, the wakers to be woken where no lock is held.
    #[inline]
    pub fn pop_expired(&mut self, now_ns: u64) -> Option<Waker> {
        if self.next_deadline()? > now_ns { None } else { self.remove_at(0) }
    }

    fn position(&self, key: TimerKey) -> Option<usize> {
        let slot = self.slots.get(key.slot as usize)?;
        let pending = slot.generation == key.generation && slot.waker.is_some();
        pending.then_some(slot.position_or_next as usize)
    }

    fn remove_at(&mut self, position: usize) -> Option<Waker> {
        let removed = self.heap.swap_remove(position);
        if position < self.heap.len() {
            // What was last may belong above this place as well as below it.
            self.sift_up(position);
            self.sift_down(position);
        }
        let slot = &mut self.slots[removed.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.position_or_next = core::mem::replace(&mut self.first_free, removed.slot);
        slot.waker.take()
    }

    fn sift_up(&mut self, mut position: usize) {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !entry.is_before(&self.heap[parent]) {
                break;
            }
            self.place(position, self.heap[parent]);
            position = parent;
        }
        self.place(position, entry);
    }

    fn sift_down(&mut self, mut position: usize) {
        let entry = self.heap[position];
        loop {
            let first = position * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let earliest =
                children.min_by_key(|child| (self.heap[*child].deadline_ns, self.heap[*child].sequence));
            let Some(child) = earliest.filter(|child| self.heap[*child].is_before(&entry)) else { break };
            self.place(position, self.heap[child]);
            position = child;
        }
        self.place(position, entry);
    }

    #[inline]
    fn place(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        // As many entries as slots, and slots are counted in `u32`.
        self.slots[entry.slot as usize].position_or_next = position as u32;
    }
}

impl Default for TimerQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TimerQueue")
            .field("pending", &self.len())
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
