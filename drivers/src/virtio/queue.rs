//! The split virtqueue (2.7), asynchronous, with requests that own their memory.
//!
//! # The life of a request
//! A request is named by its *slot*, the index of its first descriptor.
//!
//! ```text
//!            1                    2                   3
//!   Free ---------> InFlight ---------> Done ------------------> Free
//!                      |                                          ^
//!                      | 4                                        |
//!                      v                    5                     |
//!                  Abandoned -------------------------------------+
//! ```
//! 1. [`Queue::try_submit`]: descriptors are taken and filled, the slot owns the buffer, the device may use it.
//! 2. [`Queue::collect`], from the interrupt: the device returned it; the waiting future is woken.
//! 3. [`Flight::poll`]: the future takes the buffer; or it is dropped, and drops the buffer.
//! 4. [`Flight`]'s drop: nobody waits any more. The device still has the memory, so the slot keeps the buffer.
//! 5. [`Queue::collect`]: the device returned it; the buffer is dropped.
//!
//! Rules:
//! 1. Descriptors are freed with their slot, on the arrows into `Free` only; so a slot's index is not reused while
//!    anybody names it.
//! 2. What the device writes is believed only as far as it is checked: an index that is no slot in flight breaks the
//!    queue ([`Queue::give_up`]). In a broken queue every future fails, and every buffer stays until the device was reset.
//! 3. All state is behind one spin lock, which is never held while a waker or a buffer's drop runs.
//!    The rings' memory is written under it; the device reads it at any time.
//! 4. Chains are kept in the driver's own memory: what the device may have scribbled on the table is never read back.

use crate::mmio::barrier;
use crate::mmio::dma::{DeviceAccess, DmaBlock, DmaBuffer, DmaMemory};
use crate::virtio::QueueAddresses;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use base::address::PAGE_SIZE;
use base::sync::{SpinLock, WaitQueue};
use base::{Error, Result};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

const DESCRIPTOR_SIZE: usize = 16;
const USED_ENTRY_SIZE: usize = 8;
/// The descriptor goes on in another one.
const NEXT: u16 = 1;
/// The device writes.
const WRITE: u16 = 2;
/// In either ring's flags: do not tell me.
const QUIET: u16 = 1;
/// How many requests are collected under the lock at a time.
const BATCH: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    InFlight,
    Done,
    Abandoned,
}

struct Slot<B> {
    state: State,
    buffer: Option<B>,
    waker: Option<Waker>,
    /// Descriptors in the chain.
    length: u16,
    /// Bytes that the device may write.
    writable: u32,
    /// Bytes that it says it has written.
    written: u32,
}

struct Rings<B> {
    slots: Box<[Slot<B>]>,
    /// For each descriptor the next one, of its chain or of the free ones.
    next: Box<[u16]>,
    free: u16,
    free_count: u16,
    /// How many chains were ever offered, modulo 2^16.
    available: u16,
    /// The value of `available` when the device was last told, or did not want to be.
    told: u16,
    /// How many used chains were ever collected, modulo 2^16.
    used: u16,
    broken: bool,
}

/// A queue of one device. It must not be dropped before the device was reset, so only [`super::VirtioDevice`] has one.
pub(crate) struct Queue<B> {
    memory: DmaBlock,
    size: u16,
    available_offset: usize,
    used_offset: usize,
    event_index: bool,
    room: WaitQueue,
    rings: SpinLock<Rings<B>>,
}

/// What came of a request.
#[derive(Debug)]
pub struct Completion<B> {
    /// The request's memory, the caller's again.
    pub buffer: B,
    /// How many bytes the device has written into it, from the start of what it may write.
    pub written: u32,
}

/// Whether an index that goes on from `old` to `new` passes `event` (2.7.10).
fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

impl<B: DmaBuffer> Queue<B> {
    /// An empty queue of `size` entries, a power of two.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn new(size: u16, event_index: bool, memory: &dyn DmaMemory) -> Result<Self> {
        debug_assert!(size.is_power_of_two());
        let count = size as usize;
        let available_offset = DESCRIPTOR_SIZE * count;
        // The legacy interface wants the used ring on the next page; the modern one does not mind.
        let used_offset = (available_offset + 6 + 2 * count).next_multiple_of(PAGE_SIZE);
        let end = used_offset + 6 + USED_ENTRY_SIZE * count;
        let slot =
            || Slot { state: State::Free, buffer: None, waker: None, length: 0, writable: 0, written: 0 };
        let rings = Rings {
            slots: core::iter::repeat_with(slot).take(count).collect(),
            next: (1..=size).collect::<Vec<_>>().into_boxed_slice(),
            free: 0,
            free_count: size,
            available: 0,
            told: 0,
            used: 0,
            broken: false,
        };
        Ok(Self {
            memory: memory.allocate(end.div_ceil(PAGE_SIZE))?,
            size,
            available_offset,
            used_offset,
            event_index,
            room: WaitQueue::new(),
            rings: SpinLock::new(rings),
        })
    }

    /// Where the device finds the queue.
    pub(crate) fn addresses(&self) -> QueueAddresses {
        let descriptors = self.memory.address();
        let (available, used) = (descriptors + self.available_offset, descriptors + self.used_offset);
        QueueAddresses { size: self.size, descriptors, available, used }
    }

    /// Woken whenever descriptors become free, and when the queue breaks.
    pub(crate) fn room(&self) -> &WaitQueue {
        &self.room
    }

    /// Offers the buffer to the device and gives its slot; leaves it and gives nothing when there is no room now.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer is empty, malformed or longer than the queue; `InputOutput` when the queue
    /// is broken. The buffer stays with the caller.
    pub(crate) fn try_submit(&self, buffer: &mut Option<B>) -> Result<Option<u16>> {
        let segments = buffer.as_ref().ok_or(Error::InvalidArgument)?.segments();
        let count = segments.len();
        let read_first = segments.is_sorted_by_key(|segment| segment.access == DeviceAccess::Writes);
        if count == 0 || count > self.size as usize || !read_first || segments.iter().any(|s| s.length == 0) {
            return Err(Error::InvalidArgument);
        }
        let mut rings = self.rings.lock();
        if rings.broken {
            return Err(Error::InputOutput);
        }
        if count > rings.free_count as usize {
            return Ok(None);
        }
        let (head, mut index, mut writable) = (rings.free, rings.free, 0u32);
        let words = self.memory.words();
        for (position, segment) in segments.iter().enumerate() {
            let next = rings.next[index as usize];
            let more = if position + 1 < count { NEXT } else { 0 };
            let access = match segment.access {
                DeviceAccess::Reads => 0,
                DeviceAccess::Writes => WRITE,
            };
            if segment.access == DeviceAccess::Writes {
                writable = writable.saturating_add(segment.length);
            }
            let offset = DESCRIPTOR_SIZE * index as usize;
            words.write64(offset, segment.address.value() as u64);
            words.write32(offset + 8, segment.length);
            words.write16(offset + 12, more | access);
            words.write16(offset + 14, if more != 0 { next } else { 0 });
            index = next;
        }
        rings.free = index;
        rings.free_count -= count as u16;
        let slot = &mut rings.slots[head as usize];
        (slot.state, slot.length, slot.writable) = (State::InFlight, count as u16, writable);
        slot.buffer = buffer.take();
        let place = rings.available % self.size;
        words.write16(self.available_offset + 4 + 2 * place as usize, head);
        // The device must see the chain before it sees that there is one.
        barrier();
        rings.available = rings.available.wrapping_add(1);
        words.write16(self.available_offset + 2, rings.available);
        Ok(Some(head))
    }

    /// Whether the device wants to be told of what was offered since the last call.
    pub(crate) fn take_notification(&self) -> bool {
        let mut rings = self.rings.lock();
        // The device must see the index before it is asked whether it looks by itself.
        barrier();
        let (new, old) = (rings.available, rings.told);
        rings.told = new;
        let words = self.memory.words();
        if self.event_index {
            let event = words.read16(self.used_offset + 4 + USED_ENTRY_SIZE * self.size as usize);
            passes(event, new, old)
        } else {
            new != old && words.read16(self.used_offset) & QUIET == 0
        }
    }

    /// Takes back what the device has used, and wakes those who wait for it. For the interrupt handler.
    pub(crate) fn collect(&self) {
        let mut more = true;
        while more {
            let mut wakers = ArrayVec::<Waker, BATCH>::new();
            let mut abandoned = ArrayVec::<B, BATCH>::new();
            {
                let mut rings = self.rings.lock();
                while wakers.len() < BATCH && abandoned.len() < BATCH && self.has_used(&rings) {
                    match self.collect_one(&mut rings) {
                        Ok(Collected { waker, buffer }) => {
                            wakers.extend(waker);
                            abandoned.extend(buffer);
                        }
                        Err(_) => rings.broken = true,
                    }
                }
                more = self.has_used(&rings);
                if !more && self.event_index {
                    // Tell me of the next one; and look again, as it may have come before that was said.
                    self.memory
                        .words()
                        .write16(self.available_offset + 4 + 2 * self.size as usize, rings.used);
                    barrier();
                    more = self.has_used(&rings);
                }
                if rings.broken {
                    more = false;
                }
            }
            let freed = !abandoned.is_empty();
            wakers.into_iter().for_each(Waker::wake);
            drop(abandoned);
            if freed {
                self.room.wake_all();
            }
        }
        if self.rings.lock().broken {
            self.give_up();
        }
    }

    fn has_used(&self, rings: &Rings<B>) -> bool {
        !rings.broken && self.memory.words().read16(self.used_offset + 2) != rings.used
    }

    fn collect_one(&self, rings: &mut Rings<B>) -> Result<Collected<B>> {
        // The entry must not be read before the index that says that it is there.
        barrier();
        let entry = self.used_offset + 4 + USED_ENTRY_SIZE * (rings.used % self.size) as usize;
        let words = self.memory.words();
        let (head, written) = (words.read32(entry), words.read32(entry + 4));
        let slot = rings.slots.get_mut(head as usize).ok_or(Error::Protocol)?;
        let collected = match slot.state {
            State::InFlight => {
                slot.state = State::Done;
                slot.written = written.min(slot.writable);
                Collected { waker: slot.waker.take(), buffer: None }
            }
            State::Abandoned => Collected { waker: None, buffer: rings.release(head as u16) },
            State::Free | State::Done => return Err(Error::Protocol),
        };
        rings.used = rings.used.wrapping_add(1);
        Ok(collected)
    }

    /// Fails every request: the device is lost. What it was given stays here, since it may still write to it.
    pub(crate) fn give_up(&self) {
        let mut index = 0;
        loop {
            let mut wakers = ArrayVec::<Waker, BATCH>::new();
            {
                let mut rings = self.rings.lock();
                rings.broken = true;
                while index < rings.slots.len() && !wakers.is_full() {
                    wakers.extend(rings.slots[index].waker.take());
                    index += 1;
                }
            }
            if wakers.is_empty() {
                break;
            }
            wakers.into_iter().for_each(Waker::wake);
        }
        self.room.wake_all();
    }
}

struct Collected<B> {
    waker: Option<Waker>,
    /// What nobody waits for any more, to be dropped without the lock.
    buffer: Option<B>,
}

impl<B> Rings<B> {
    /// Frees a slot and its descriptors; gives what it owned.
    fn release(&mut self, head: u16) -> Option<B> {
        let slot = &mut self.slots[head as usize];
        slot.state = State::Free;
        slot.waker = None;
        let (length, buffer) = (slot.length, slot.buffer.take());
        let mut last = head;
        for _ in 1..length {
            last = self.next[last as usize];
        }
        self.next[last as usize] = self.free;
        self.free = head;
        self.free_count += length;
        buffer
    }
}

/// A request in the queue, as a future of its completion.
#[must_use = "dropping it abandons the request"]
pub(crate) struct Flight<'a, B: DmaBuffer> {
    queue: &'a Queue<B>,
    /// `None` when the result was taken.
    slot: Option<u16>,
}

impl<'a, B: DmaBuffer> Flight<'a, B> {
    /// The future of the request in this slot, which [`Queue::try_submit`] gave.
    pub(crate) fn new(queue: &'a Queue<B>, slot: u16) -> Self {
        Self { queue, slot: Some(slot) }
    }
}

impl<B: DmaBuffer> Future for Flight<'_, B> {
    type Output = Result<Completion<B>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let head = self.slot.expect("polled after it gave its result");
        let mut rings = self.queue.rings.lock();
        let broken = rings.broken;
        let slot = &mut rings.slots[head as usize];
        if slot.state == State::Done {
            let written = slot.written;
            let buffer = rings.release(head);
            drop(rings);
            self.slot = None;
            self.queue.room.wake_all();
            return Poll::Ready(buffer.map(|buffer| Completion { buffer, written }).ok_or(Error::Protocol));
        }
        if broken {
            slot.state = State::Abandoned;
            drop(rings);
            self.slot = None;
            return Poll::Ready(Err(Error::InputOutput));
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl<B: DmaBuffer> Drop for Flight<'_, B> {
    fn drop(&mut self) {
        let Some(head) = self.slot else { return };
        let mut rings = self.queue.rings.lock();
        let slot = &mut rings.slots[head as usize];
        let waker = slot.waker.take();
        if slot.state == State::Done {
            let buffer = rings.release(head);
            drop(rings);
            drop(buffer);
            self.queue.room.wake_all();
        } else {
            slot.state = State::Abandoned;
            drop(rings);
        }
        drop(waker);
    }
}
