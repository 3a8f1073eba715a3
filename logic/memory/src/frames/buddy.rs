//! The buddy system: free memory in blocks of powers of two, split and joined.
//!
//! The lists are threaded through the free frames themselves; what block a frame begins is in its record.

use super::{pointer, record};
use core::sync::atomic::Ordering;

/// log2 of the frames in the largest block (16 MiB).
pub(super) const MAX_ORDER: u32 = 12;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// In a record's `extra`: the frame begins a free block; the low bits are its order.
const FREE: u32 = 1 << 31;
/// No frame: the end of a list.
const NONE: u32 = 0;

/// What a free block's first frame begins with.
struct Links {
    next: u32,
    previous: u32,
}

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
                || record(neighbour).extra.load(Ordering::Relaxed) != FREE | order
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
        set_links(number, Links { next: head, previous: NONE });
        if head != NONE {
            set_links(head, Links { previous: number, ..links(head) });
        }
        record(number).extra.store(FREE | order, Ordering::Relaxed);
    }

    fn unlink(&mut self, number: u32, order: u32) {
        let Links { next, previous } = links(number);
        if next != NONE {
            set_links(next, Links { previous, ..links(next) });
        }
        if previous == NONE {
            self.heads[order as usize] = next;
        } else {
            set_links(previous, Links { next, ..links(previous) });
        }
        record(number).extra.store(0, Ordering::Relaxed);
    }
}

fn links(number: u32) -> Links {
    // SAFETY: only called for free blocks, whose first frame holds its links and nobody else touches it.
    unsafe { pointer(number).cast::<Links>().read() }
}

fn set_links(number: u32, links: Links) {
    // SAFETY: as in `links`; a frame is large enough and aligned.
    unsafe { pointer(number).cast::<Links>().write(links) }
}
