//! The buddy system: free memory in blocks of powers of two, split and joined.
//!
//! The lists are threaded through the records of the free blocks' first frames. The free memory itself is never touched:
//! to a virtual machine, and to a machine with caches, memory that nobody has used yet costs nothing.

use super::record;
use core::sync::atomic::Ordering;

/// log2 of the frames in the largest block (16 MiB).
pub(super) const MAX_ORDER: u32 = 12;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// In the `extra` of a record: the frame begins a free block. Then four bits are its order and the rest is the frame that
/// begins the block before it in the list; `count` is the one after it.
const FREE: u32 = 1 << 31;
const ORDER_SHIFT: u32 = FRAME_BITS;
/// Bits of a frame's number.
const FRAME_BITS: u32 = 27;
/// Frames from this one on (512 GiB) are not managed.
pub(super) const FRAME_LIMIT: usize = 1 << FRAME_BITS;
/// No frame: the end of a list.
const NONE: u32 = 0;

const _: () = assert!(MAX_ORDER < 1 << (31 - ORDER_SHIFT));

pub(super) struct Buddy {
    heads: [u32; ORDERS],
    free: usize,
}

impl Buddy {
    pub(super) const fn new() -> Self {
        Self { heads: [NONE; ORDERS], free: 0 }
    }

    /// Frames in all the blocks.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes a block of `2^order` frames.
    pub(super) fn allocate(&mut self, order: u32) -> Option<u32> {
        let found = (order..=MAX_ORDER).find(|&order| self.heads[order as usize] != NONE)?;
        let number = self.heads[found as usize];
        self.unlink(number, found);
        for half in (order..found).rev() {
            self.link(number + (1 << half), half);
        }
        self.free -= 1 << order;
        Some(number)
    }

    /// Gives a block of `2^order` frames back, and joins it with its neighbours as far as they are free.
    pub(super) fn free_block(&mut self, number: u32, order: u32) {
        let span =
            super::ALLOCATOR.first.load(Ordering::Relaxed)..super::ALLOCATOR.end.load(Ordering::Relaxed);
        self.free += 1 << order;
        let (mut number, mut order) = (number, order);
        while order < MAX_ORDER {
            let neighbour = number ^ (1 << order);
            if !span.contains(&(neighbour as usize))
                || record(neighbour).extra.load(Ordering::Relaxed) >> ORDER_SHIFT
                    != FREE >> ORDER_SHIFT | order
            {
                break;
            }
            self.unlink(neighbour, order);
            number &= !(1 << order);
            order += 1;
        }
        self.link(number, order);
    }

    fn link(&mut self, number: u32, order: u32) {
        let head = core::mem::replace(&mut self.heads[order as usize], number);
        record(number).count.store(head, Ordering::Relaxed);
        set_previous(number, NONE, order);
        if head != NONE {
            set_previous(head, number, order);
        }
    }

    fn unlink(&mut self, number: u32, order: u32) {
        let record_of = record(number);
        let next = record_of.count.swap(0, Ordering::Relaxed);
        let previous = record_of.extra.swap(0, Ordering::Relaxed) & (FRAME_LIMIT as u32 - 1);
        if next != NONE {
            set_previous(next, previous, order);
        }
        if previous == NONE {
            self.heads[order as usize] = next;
        } else {
            record(previous).count.store(next, Ordering::Relaxed);
        }
    }
}

/// Says of a block of `2^order` frames that it is free, and what is before it.
fn set_previous(number: u32, previous: u32, order: u32) {
    record(number).extra.store(FREE | order << ORDER_SHIFT | previous, Ordering::Relaxed);
}
