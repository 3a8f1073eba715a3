//! Where things go in a new address space, and how far chance moves them.

use super::USER_END;
use base::address::PAGE_SIZE;

/// Where a program finds its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bases {
    /// `mmap` goes down from here.
    pub mmap: usize,
    /// The first address behind the first stack; a multiple of a page.
    pub stack: usize,
    /// Where a position-independent program goes.
    pub executable: usize,
    /// Where the heap starts if the loader does not say otherwise: [`super::AddressSpace::set_heap_start`].
    pub heap: usize,
    /// How far behind the program's end the heap starts, in whole pages of bytes.
    pub heap_offset: usize,
}

/// The pages that the stack, the heap and the others may be moved by, as Linux does for 64-bit RISC-V.
const STACK_PAGES: usize = 1 << 18;
const MMAP_PAGES: usize = 1 << 18;
const HEAP_PAGES: usize = 1 << 13;
/// The least and the most room between the stack's top and the mappings.
const GAP_MINIMUM: usize = 128 << 20;
const GAP_MAXIMUM: usize = USER_END / 6 * 5;
/// A position-independent program goes behind two thirds of the space.
const EXECUTABLE: usize = (USER_END / 3 * 2) & !(PAGE_SIZE - 1);

/// The bases for four random numbers; all 0: the bases without chance.
pub fn randomise(entropy: [u64; 4], stack_limit: usize) -> Bases {
    let pages = |number: u64, limit: usize| (number as usize & (limit - 1)) * PAGE_SIZE;
    let stack = USER_END - pages(entropy[0], STACK_PAGES);
    let gap = stack_limit.saturating_add(super::STACK_GUARD).clamp(GAP_MINIMUM, GAP_MAXIMUM);
    // The gap counts from the lowest place the stack's top may have, so that the stack fits whatever chance does.
    let room = gap.saturating_add(STACK_PAGES * PAGE_SIZE).min(GAP_MAXIMUM);
    let mmap = (USER_END - room - pages(entropy[1], MMAP_PAGES)) & !(PAGE_SIZE - 1);
    let executable = EXECUTABLE.min(mmap / 3 * 2) & !(PAGE_SIZE - 1);
    let executable = executable - pages(entropy[2], MMAP_PAGES);
    let heap_offset = pages(entropy[3], HEAP_PAGES);
    Bases { mmap, stack, executable, heap: executable + heap_offset, heap_offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_keeps_room_and_order() {
        for entropy in [[0; 4], [u64::MAX; 4], [u64::MAX, 0, 7, 9], [0, u64::MAX, 1, 2]] {
            for stack_limit in [0, 8 << 20, 1 << 30, usize::MAX] {
                let bases = randomise(entropy, stack_limit);
                let needed = stack_limit.min(1 << 32);
                assert!(bases.executable >= super::super::MMAP_MINIMUM, "{bases:x?}");
                assert!(bases.executable < bases.mmap && bases.mmap < bases.stack, "{bases:x?}");
                assert!(bases.stack - bases.mmap >= needed && bases.stack <= USER_END, "{bases:x?}");
                for base in [bases.mmap, bases.stack, bases.executable, bases.heap, bases.heap_offset] {
                    assert!(base.is_multiple_of(PAGE_SIZE), "{bases:x?}");
                }
            }
        }
    }

    #[test]
    fn chance_moves_each_base() {
        let (a, b) = (randomise([0; 4], 8 << 20), randomise([1, 2, 3, 4], 8 << 20));
        assert!(a.mmap != b.mmap && a.stack != b.stack && a.executable != b.executable);
        assert!(a.heap_offset != b.heap_offset);
    }
}
