//! Physical memory in frames: who holds which, counted exactly.
//!
//! One allocator for the machine, because handles free themselves when dropped. Single frames come from a cache of
//! the hart; everything else, and the caches' refills, from a buddy system under one lock. Each frame has an
//! eight-byte [`Record`] outside of itself:
//!
//! | state of the frame | `count` | `extra` |
//! |---|---|---|
//! | first of a free block | 0 | `FREE` and the block's order |
//! | elsewhere in a free block, in a hart's cache, never given | 0 | 0 |
//! | held by [`Frame`] handles | how many handles (and large groups) hold it | 0 |
//! | a page table | 1 | how many of its entries are in use |
//! | first of a large group | as for the others: the group counts as one | how many [`LargeFrame`] handles hold the group |
#![expect(unsafe_code, reason = "records and free frames are reached through the direct map")]

mod buddy;
mod handle;

pub use handle::{Frame, FrameRange, LargeFrame};

use crate::per_hart::{MAX_HARTS, PerHart, Slot};
use base::address::{PAGE_SHIFT, PAGE_SIZE, PhysicalAddress};
use base::hal::direct_map;
use base::sync::SpinLock;
use base::{Error, Result};
use buddy::Buddy;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// log2 of the frames in a large frame (2 MiB).
pub const LARGE_ORDER: u32 = 9;
/// Frames in a large frame.
pub const FRAMES_PER_LARGE: usize = 1 << LARGE_ORDER;
/// How many single frames a hart keeps at most.
const CACHE_CAPACITY: usize = 64;
/// How many single frames move between a cache and the buddy system at once.
const CACHE_BATCH: usize = 32;

/// What is known about one frame.
pub(crate) struct Record {
    pub(crate) count: AtomicU32,
    pub(crate) extra: AtomicU32,
}

/// What memory is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    General,
    /// The kernel's own objects, which may use the reserve.
    Heap,
}

impl Use {
    fn may_take(self, buddy: &Buddy, count: usize) -> bool {
        self == Use::Heap || buddy.free() >= ALLOCATOR.reserve.load(Ordering::Relaxed) + count
    }
}

struct Cache {
    length: usize,
    numbers: [u32; CACHE_CAPACITY],
}

struct Allocator {
    /// Where the record of frame 0 would be.
    records: AtomicPtr<Record>,
    first: AtomicUsize,
    end: AtomicUsize,
    total: AtomicUsize,
    /// Free frames that only the heap may take.
    reserve: AtomicUsize,
    buddy: SpinLock<Buddy>,
    caches: PerHart<Cache>,
}

static ALLOCATOR: Allocator = Allocator {
    records: AtomicPtr::new(core::ptr::null_mut()),
    first: AtomicUsize::new(0),
    end: AtomicUsize::new(0),
    total: AtomicUsize::new(0),
    reserve: AtomicUsize::new(0),
    buddy: SpinLock::new(Buddy::new()),
    caches: PerHart::new([const { Slot::new(Cache { length: 0, numbers: [0; CACHE_CAPACITY] }) }; MAX_HARTS]),
};

/// The record of the frame with this number, which must be one that the allocator was given.
#[inline(always)]
fn record(number: u32) -> &'static Record {
    let records = ALLOCATOR.records.load(Ordering::Relaxed);
    // SAFETY: numbers come from handles and free lists only, so that they lie in the span that `initialise` made
    // records for; the records are never freed and all their fields are atomic.
    unsafe { &*records.wrapping_add(number as usize) }
}

/// The bytes of frame `number` in the direct map.
#[inline(always)]
fn pointer(number: u32) -> *mut u8 {
    direct_map(PhysicalAddress::from_page_number(number as usize))
}

/// Gives the allocator its memory; once, at boot, before the first allocation.
///
/// `memory` spans all physical memory that may ever be given (eight bytes of records for each of its frames are taken
/// out of the free memory); `free` are the parts of it that nothing uses yet, whole frames of which are given at once.
///
/// # Errors
/// `OutOfMemory`: no part of `free` is large enough for the records. `AlreadyExists`: done before.
///
/// # Safety
/// `free` must be memory that the direct map reaches and that nothing else uses, from now on.
pub unsafe fn initialise(memory: Range<PhysicalAddress>, free: &[Range<PhysicalAddress>]) -> Result<()> {
    if !ALLOCATOR.records.load(Ordering::Acquire).is_null() {
        return Err(Error::AlreadyExists);
    }
    // Frame 0 is never given, so that 0 can mean "none".
    let first = memory.start.page_number().max(1);
    let end = memory.end.page_number().min(buddy::FRAME_LIMIT);
    let frames_of_records = (end.saturating_sub(first) * size_of::<Record>()).div_ceil(PAGE_SIZE);
    let place = free
        .iter()
        .map(|range| whole_frames(range, first, end))
        .find(|numbers| numbers.len() >= frames_of_records)
        .ok_or(Error::OutOfMemory)?;
    let records = direct_map(PhysicalAddress::from_page_number(place.start)).cast::<Record>();
    // SAFETY: the place is free memory of that many bytes (contract). All-zero bytes are a valid record.
    unsafe { core::ptr::write_bytes(records.cast::<u8>(), 0, frames_of_records * PAGE_SIZE) };
    ALLOCATOR.first.store(first, Ordering::Relaxed);
    ALLOCATOR.end.store(end, Ordering::Relaxed);
    ALLOCATOR.records.store(records.wrapping_sub(first), Ordering::Release);
    for range in free {
        let mut numbers = whole_frames(range, first, end);
        if numbers.start == place.start {
            numbers.start += frames_of_records;
        }
        give(numbers);
    }
    Ok(())
}

/// Gives the allocator more memory: what boot needed and nobody needs any more, such as the initial root image.
///
/// # Errors
/// `InvalidArgument`: not inside the `memory` that [`initialise`] was told of.
///
/// # Safety
/// As for [`initialise`]; and the allocator must not have the range yet.
pub unsafe fn add_region(range: Range<PhysicalAddress>) -> Result<()> {
    let (first, end) = (ALLOCATOR.first.load(Ordering::Relaxed), ALLOCATOR.end.load(Ordering::Relaxed));
    let numbers = whole_frames(&range, 0, usize::MAX);
    if numbers.start < first || numbers.end > end {
        return Err(Error::InvalidArgument);
    }
    give(numbers);
    Ok(())
}

/// The numbers of the frames that lie wholly in `range`, cut to `first..end`.
fn whole_frames(range: &Range<PhysicalAddress>, first: usize, end: usize) -> Range<usize> {
    let start = range.start.value().div_ceil(PAGE_SIZE).max(first);
    start..range.end.page_number().min(end).max(start)
}

fn give(numbers: Range<usize>) {
    ALLOCATOR.total.fetch_add(numbers.len(), Ordering::Relaxed);
    free_numbers(numbers.start as u32, numbers.len());
}

/// Keeps the last `frames` free frames for the kernel's heap. Programs then run out of memory, and are told so, while
/// the kernel can still allocate what telling them takes.
pub fn set_reserve(frames: usize) {
    ALLOCATOR.reserve.store(frames, Ordering::Relaxed);
}

/// How many frames there are, free or not.
pub fn total_frames() -> usize {
    ALLOCATOR.total.load(Ordering::Relaxed)
}

/// How many frames nobody holds, those in the harts' caches included. Exact while nobody allocates or frees.
pub fn free_frames() -> usize {
    ALLOCATOR.buddy.lock().free() + ALLOCATOR.caches.total()
}

/// The word beside the count of the frame at `address`, which the frame's single owner may use and leaves 0.
#[inline(always)]
pub(crate) fn extra_of(address: PhysicalAddress) -> &'static AtomicU32 {
    &record(address.page_number() as u32).extra
}

/// How many hold the frame at `address`.
#[inline(always)]
pub(crate) fn count_of(address: PhysicalAddress) -> u32 {
    record(address.page_number() as u32).count.load(Ordering::Acquire)
}

/// The number of the frame that the direct map shows at `pointer`.
pub(crate) fn number_of(pointer: *const u8) -> u32 {
    // The direct map is linear, so that one known point of it gives all.
    let first = ALLOCATOR.first.load(Ordering::Relaxed);
    let origin = direct_map(PhysicalAddress::from_page_number(first)).addr();
    ((pointer.addr().wrapping_sub(origin) >> PAGE_SHIFT) + first) as u32
}

/// Takes one frame; its contents are whatever they were.
#[inline]
fn allocate_one() -> Result<u32> {
    #[cfg(test)]
    testing::injected_failure()?;
    let cached = ALLOCATOR.caches.with(|cache, count| {
        let length = cache.length.checked_sub(1)?;
        let number = *cache.numbers.get(length)?;
        cache.length = length;
        count.subtract(1);
        Some(number)
    });
    match cached {
        Some(number) => Ok(number),
        None => refill(Use::General),
    }
}

/// Takes a batch from the buddy system: one frame for the caller, the rest for this hart's cache.
#[cold]
fn refill(purpose: Use) -> Result<u32> {
    let mut batch = [0; CACHE_BATCH];
    let mut taken = 0;
    {
        let mut buddy = ALLOCATOR.buddy.lock();
        while taken < CACHE_BATCH
            && purpose.may_take(&buddy, 1)
            && let Some(number) = buddy.allocate(0)
        {
            batch[taken] = number;
            taken += 1;
        }
    }
    let (result, rest) = batch[..taken].split_first().ok_or(Error::OutOfMemory)?;
    for &number in rest {
        release_one(number);
    }
    Ok(*result)
}

/// Gives one frame back. Not inlined: most handles that are dropped are not the last.
#[inline(never)]
fn release_one(number: u32) {
    let stored = ALLOCATOR.caches.with(|cache, count| match cache.numbers.get_mut(cache.length) {
        Some(place) => {
            *place = number;
            cache.length += 1;
            count.add(1);
            true
        }
        None => false,
    });
    if !stored {
        drain(number);
    }
}

/// Makes room in this hart's full cache, and gives `number` back with what was taken out.
#[cold]
fn drain(number: u32) {
    let mut batch = [0; CACHE_BATCH];
    let taken = ALLOCATOR.caches.with(|cache, count| {
        let taken = cache.length.min(CACHE_BATCH);
        cache.length -= taken;
        count.subtract(taken);
        batch[..taken].copy_from_slice(&cache.numbers[cache.length..cache.length + taken]);
        taken
    });
    let mut buddy = ALLOCATOR.buddy.lock();
    for &number in &batch[..taken] {
        buddy.free_block(number, 0);
    }
    buddy.free_block(number, 0);
}

/// Gives this hart's cached frames back to the buddy system, where they can join into larger blocks.
pub fn drain_cache() {
    loop {
        let number = ALLOCATOR.caches.with(|cache, count| {
            let length = cache.length.checked_sub(1)?;
            cache.length = length;
            count.subtract(1);
            Some(cache.numbers[length])
        });
        let Some(number) = number else { return };
        ALLOCATOR.buddy.lock().free_block(number, 0);
    }
}

/// Takes `2^order` frames, the first of which is a multiple of as many.
fn allocate_block(order: u32, purpose: Use) -> Result<u32> {
    #[cfg(test)]
    testing::injected_failure()?;
    let take = || {
        let mut buddy = ALLOCATOR.buddy.lock();
        if purpose.may_take(&buddy, 1 << order) { buddy.allocate(order) } else { None }
    };
    if let Some(number) = take() {
        return Ok(number);
    }
    // What this hart keeps for itself may be what a block lacks.
    drain_cache();
    take().ok_or(Error::OutOfMemory)
}

/// Takes `count` frames in a row, starting at a multiple of `2^order`.
fn allocate_numbers(count: usize, order: u32, purpose: Use) -> Result<u32> {
    let whole = count.next_power_of_two().max(1 << order);
    let number = allocate_block(whole.trailing_zeros(), purpose)?;
    free_numbers(number + count as u32, whole - count);
    Ok(number)
}

/// Takes `count` frames in a row for the kernel's heap, which may use the reserve.
pub(crate) fn allocate_for_heap(count: usize, order: u32) -> Result<u32> {
    if count > 1 || order > 0 {
        return allocate_numbers(count, order, Use::Heap);
    }
    allocate_one().or_else(|_| {
        #[cfg(test)]
        testing::injected_failure()?;
        refill(Use::Heap)
    })
}

/// Gives `count` frames in a row back.
pub(crate) fn free_numbers(number: u32, count: usize) {
    if count == 1 {
        return release_one(number);
    }
    let (mut number, end) = (number, number + count as u32);
    let mut buddy = ALLOCATOR.buddy.lock();
    while number < end {
        let aligned = number.trailing_zeros().min(buddy::MAX_ORDER);
        let order = aligned.min((end - number).ilog2());
        buddy.free_block(number, order);
        number += 1 << order;
    }
}

/// Gives the allocator of a hosted build half of the pretended RAM, unless it has it already.
#[cfg(not(target_os = "none"))]
pub fn initialise_hosted() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    let span = PhysicalAddress::new(PAGE_SIZE)..PhysicalAddress::new(base::hal::hosted::MEMORY_SIZE / 2);
    ONCE.call_once(|| {
        // SAFETY: nothing but this allocator uses that half of the pretended RAM.
        let result = unsafe { initialise(span.clone(), core::slice::from_ref(&span)) };
        result.expect("the first and only initialisation");
    });
}

#[cfg(test)]
pub(crate) mod testing {
    //! Making the n-th allocation fail, and taking turns, as the allocator is one for all tests.

    use base::{Error, Result};
    use core::cell::Cell;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    std::thread_local! {
        static UNTIL_FAILURE: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Lets this thread's next `count` allocations succeed and the ones after them fail; `None`: never.
    pub(crate) fn fail_after(count: Option<usize>) {
        UNTIL_FAILURE.set(count);
    }

    pub(super) fn injected_failure() -> Result<()> {
        match UNTIL_FAILURE.get() {
            Some(0) => Err(Error::OutOfMemory),
            Some(count) => {
                UNTIL_FAILURE.set(Some(count - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The allocator to oneself, for exact counts.
    pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        let guard = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        super::initialise_hosted();
        guard
    }
}

#[cfg(test)]
mod tests;
