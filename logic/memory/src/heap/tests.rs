//! The heap against a model of what is out.

use super::*;
use crate::frames::testing::{exclusive, fail_after};
use std::vec::Vec;

struct Random(u64);

impl Random {
    fn next(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// An allocation with a pattern that tells whether anybody else wrote into it.
struct Held {
    pointer: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Held {
    fn new(heap: &KernelHeap, size: usize, align: usize, mark: u8) -> Option<Self> {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: the size is not zero.
        let pointer = unsafe { heap.alloc(layout) };
        if pointer.is_null() {
            return None;
        }
        assert!(pointer.addr().is_multiple_of(align));
        // SAFETY: just allocated with that size.
        unsafe { pointer.write_bytes(mark, size) };
        Some(Self { pointer, layout, mark })
    }

    fn check(&self, length: usize) {
        // SAFETY: allocated and written.
        let bytes = unsafe { core::slice::from_raw_parts(self.pointer, length) };
        assert!(bytes.iter().all(|&byte| byte == self.mark), "somebody wrote into an allocation");
    }

    fn resize(&mut self, heap: &KernelHeap, size: usize) {
        // SAFETY: allocated with that layout.
        let pointer = unsafe { heap.realloc(self.pointer, self.layout, size) };
        if pointer.is_null() {
            return;
        }
        self.pointer = pointer;
        self.check(size.min(self.layout.size()));
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        // SAFETY: just allocated with that size.
        unsafe { pointer.write_bytes(self.mark, size) };
    }

    fn free(self, heap: &KernelHeap) {
        self.check(self.layout.size());
        // SAFETY: allocated with that layout, freed once.
        unsafe { heap.dealloc(self.pointer, self.layout) };
    }
}

#[test]
fn every_size_has_the_least_class_that_holds_it() {
    for size in 1..=LARGEST {
        let Kind::Class(class) = kind(&Layout::from_size_align(size, 8).unwrap()) else { panic!("{size}") };
        assert!(SIZES[class] >= size && (class == 0 || SIZES[class - 1] < size), "{size}");
    }
    for align in [32, 64, 128, 1024, 2048] {
        let Kind::Class(class) = kind(&Layout::from_size_align(24, align).unwrap()) else {
            panic!("{align}")
        };
        assert!(SIZES[class] >= align && SIZES[class].is_power_of_two());
    }
}

#[test]
fn random_allocations_stay_apart_and_all_memory_comes_back() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let (heap, mut random, mut held) = (KernelHeap::new(), Random(7), Vec::new());
    for round in 0..60_000 {
        match random.next(5) {
            0 | 1 if held.len() < 3000 => {
                let largest = if random.next(20) == 0 { 40_000 } else { 2500 };
                let size = 1 + random.next(largest);
                let largest = if random.next(10) == 0 { 14 } else { 5 };
                let align = 1 << random.next(largest);
                held.push(Held::new(&heap, size, align, round as u8).unwrap());
            }
            2 if !held.is_empty() => {
                let index = random.next(held.len());
                held[index].resize(&heap, 1 + random.next(9000));
            }
            _ if !held.is_empty() => {
                let index = random.next(held.len());
                held.swap_remove(index).free(&heap);
            }
            _ => {}
        }
    }
    assert!(heap.bytes_in_use() >= held.iter().map(|held| held.layout.size()).sum());
    for held in held {
        held.free(&heap);
    }
    assert_eq!(heap.bytes_in_use(), 0);
    heap.trim();
    assert_eq!(frames::free_frames(), free, "empty slabs are frames again");
}

#[test]
fn exhaustion_is_null_and_breaks_nothing() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let heap = KernelHeap::new();
    for size in [16, 100, 1000, 2048, 5000, 1 << 20] {
        fail_after(Some(0));
        assert!(Held::new(&heap, size, 8, 1).is_none());
        fail_after(None);
        Held::new(&heap, size, 8, 1).unwrap().free(&heap);
    }
    let mut held = Vec::new();
    fail_after(Some(20));
    while let Some(one) = Held::new(&heap, 700, 8, held.len() as u8) {
        held.push(one);
    }
    fail_after(None);
    assert!(held.len() >= 20 * 20);
    held.into_iter().for_each(|held| held.free(&heap));
    heap.trim();
    assert_eq!((heap.bytes_in_use(), frames::free_frames()), (0, free));
}

#[test]
fn one_hart_frees_what_another_allocated() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let heap = KernelHeap::new();
    let (sender, receiver) = std::sync::mpsc::channel::<(usize, Layout)>();
    std::thread::scope(|scope| {
        let heap = &heap;
        scope.spawn(move || {
            base::hal::hosted::set_hart_index(1);
            for size in (1..2000).cycle().take(50_000) {
                let layout = Layout::from_size_align(size, 8).unwrap();
                // SAFETY: the size is not zero.
                let pointer = unsafe { heap.alloc(layout) };
                assert!(!pointer.is_null());
                sender.send((pointer.expose_provenance(), layout)).unwrap();
            }
            heap.trim();
        });
        scope.spawn(move || {
            base::hal::hosted::set_hart_index(2);
            for (address, layout) in receiver {
                // SAFETY: sent once by whoever allocated it.
                unsafe { heap.dealloc(core::ptr::with_exposed_provenance_mut(address), layout) };
            }
            heap.trim();
        });
    });
    assert_eq!((heap.bytes_in_use(), frames::free_frames()), (0, free));
}
