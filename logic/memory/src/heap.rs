//! The kernel's heap: size classes in slabs, with a magazine for each hart, over the frame allocator.
//!
//! An allocation of up to 2 KiB takes the first object of its class's magazine on this hart, a free puts one there:
//! no lock, no search. A magazine that is empty or too full exchanges a batch with the class's slabs under a lock. A
//! slab is one to four frames, aligned to its size, with a [`Slab`] header at its start, so that an object's slab is
//! found from its address; a slab whose objects are all back gives its frames back. Larger requests are frames in a
//! row. The class of an object follows from the layout that it is freed with, as in every Rust allocator.
#![expect(unsafe_code, reason = "an allocator gives out raw memory")]

use crate::frames;
use crate::per_hart::{MAX_HARTS, PerHart, Slot};
use base::address::{PAGE_SHIFT, PAGE_SIZE, PhysicalAddress};
use base::hal::direct_map;
use base::sync::SpinLock;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of an object of each class; 288 are a thread's registers.
const SIZES: [usize; CLASSES] = [16, 32, 48, 64, 96, 128, 192, 256, 288, 384, 512, 768, 1024, 1536, 2048];
const CLASSES: usize = 15;
const LARGEST: usize = SIZES[CLASSES - 1];
const GRANULE: usize = 16;

/// The class of a size, by the size in granules, rounded up.
const CLASS_OF: [u8; LARGEST / GRANULE + 1] = {
    let mut table = [0; LARGEST / GRANULE + 1];
    let (mut granules, mut class) = (0, 0);
    while granules < table.len() {
        if granules * GRANULE > SIZES[class] {
            class += 1;
        }
        table[granules] = class as u8;
        granules += 1;
    }
    table
};

/// log2 of the frames in a slab of this class: larger objects in larger slabs, so that the header wastes little.
const fn slab_order(class: usize) -> u32 {
    if SIZES[class] < 512 { 0 } else { 2 }
}

/// How many objects a magazine and the slabs exchange at once; a magazine holds at most twice as many.
const fn batch(class: usize) -> usize {
    let objects = 2048 / SIZES[class];
    if objects < 2 {
        2
    } else if objects > 32 {
        32
    } else {
        objects
    }
}

/// What a free object begins with.
struct Object {
    next: Option<NonNull<Object>>,
}

/// A list of free objects.
#[derive(Clone, Copy)]
struct Chain {
    head: Option<NonNull<Object>>,
    length: usize,
}

// SAFETY: a chain owns its free objects, whichever hart holds it.
unsafe impl Send for Chain {}

impl Chain {
    const EMPTY: Self = Self { head: None, length: 0 };

    #[inline(always)]
    fn pop(&mut self) -> Option<NonNull<Object>> {
        let object = self.head?;
        // SAFETY: a chain's objects are free memory of ours that `push` wrote a link to.
        self.head = unsafe { object.as_ref() }.next;
        self.length -= 1;
        Some(object)
    }

    #[inline(always)]
    fn push(&mut self, object: NonNull<Object>) {
        // SAFETY: the caller gives the object up; it is at least 16 bytes, aligned to 16.
        unsafe { object.write(Object { next: self.head }) };
        self.head = Some(object);
        self.length += 1;
    }
}

/// The beginning of a slab. Guarded by its class's lock.
struct Slab {
    /// The neighbours in the class's list of slabs with free objects.
    next: *mut Slab,
    previous: *mut Slab,
    free: Option<NonNull<Object>>,
    /// Objects that a magazine or somebody outside has.
    used: u16,
    /// Slots that were ever given, the header's included: beyond them the slab is untouched.
    carved: u16,
}

/// The slabs of one class that have free objects.
struct Class {
    partial: *mut Slab,
}

// SAFETY: the pointers are to slabs that only the class's lock gives access to.
unsafe impl Send for Class {}

/// One magazine for each class.
struct Magazines([Chain; CLASSES]);

/// The kernel's allocator.
pub struct KernelHeap {
    magazines: PerHart<Magazines>,
    classes: [SpinLock<Class>; CLASSES],
    /// Bytes in allocations that are larger than the largest class.
    large_bytes: AtomicUsize,
    /// Frames that slabs take, whether objects fill them or not.
    slab_frames: AtomicUsize,
}

/// What a layout is served from.
enum Kind {
    Class(usize),
    Pages { count: usize, order: u32 },
}

#[inline(always)]
fn kind(layout: &Layout) -> Kind {
    let mut size = layout.size();
    if layout.align() > GRANULE {
        // Powers of two are aligned to their size.
        size = size.max(layout.align()).next_power_of_two();
    }
    if size <= LARGEST {
        return Kind::Class(CLASS_OF[size.div_ceil(GRANULE)] as usize);
    }
    let count = layout.size().div_ceil(PAGE_SIZE).max(1);
    Kind::Pages { count, order: layout.align().trailing_zeros().saturating_sub(PAGE_SHIFT as u32) }
}

impl Class {
    /// Takes an object out of a slab that has one, or out of a new slab, whose frames are added to `frames`.
    fn take(&mut self, class: usize, frames: &AtomicUsize) -> Option<NonNull<Object>> {
        if self.partial.is_null() {
            self.partial = new_slab(class)?;
            frames.fetch_add(1 << slab_order(class), Ordering::Relaxed);
        }
        // SAFETY: slabs in the list are ours, and the lock is held.
        let slab = unsafe { &mut *self.partial };
        let slots = (PAGE_SIZE << slab_order(class)) / SIZES[class];
        let object = match slab.free {
            Some(object) => {
                // SAFETY: the slab's free objects hold links.
                slab.free = unsafe { object.as_ref() }.next;
                object
            }
            None => {
                let offset = slab.carved as usize * SIZES[class];
                slab.carved += 1;
                // SAFETY: below the slab's slots (a slab in the list has a free object or an untouched slot).
                unsafe { NonNull::new_unchecked(self.partial.cast::<u8>().add(offset).cast()) }
            }
        };
        slab.used += 1;
        if slab.free.is_none() && slab.carved as usize == slots {
            self.unlink(slab);
        }
        Some(object)
    }

    /// Puts an object back into its slab; gives the slab's frames back, and takes them from `frames`, when it was the last
    /// one out.
    fn put(&mut self, class: usize, object: NonNull<Object>, frames: &AtomicUsize) {
        let bytes = PAGE_SIZE << slab_order(class);
        let address = object.as_ptr().cast::<u8>();
        let start = address.wrapping_sub(address.addr() & (bytes - 1)).cast::<Slab>();
        // SAFETY: objects lie in slabs that are aligned to their size; the lock is held.
        let slab = unsafe { &mut *start };
        let was_full = slab.free.is_none() && slab.carved as usize == bytes / SIZES[class];
        // SAFETY: the object is free memory of ours.
        unsafe { object.write(Object { next: slab.free }) };
        slab.free = Some(object);
        slab.used -= 1;
        if was_full {
            self.link(slab);
        }
        if slab.used == 0 {
            self.unlink(slab);
            frames.fetch_sub(1 << slab_order(class), Ordering::Relaxed);
            frames::free_numbers(frames::number_of(start.cast()), 1 << slab_order(class));
        }
    }

    fn link(&mut self, slab: &mut Slab) {
        slab.previous = ptr::null_mut();
        slab.next = self.partial;
        if !self.partial.is_null() {
            // SAFETY: slabs in the list are ours, and the lock is held.
            unsafe { (*self.partial).previous = slab };
        }
        self.partial = slab;
    }

    fn unlink(&mut self, slab: &mut Slab) {
        if !slab.next.is_null() {
            // SAFETY: as in `link`.
            unsafe { (*slab.next).previous = slab.previous };
        }
        if slab.previous.is_null() {
            self.partial = slab.next;
        } else {
            // SAFETY: as in `link`.
            unsafe { (*slab.previous).next = slab.next };
        }
    }
}

/// A slab without objects out, alone in its list.
fn new_slab(class: usize) -> Option<*mut Slab> {
    let order = slab_order(class);
    let number = frames::allocate_for_heap(1 << order, order).ok()?;
    let start = direct_map(PhysicalAddress::from_page_number(number as usize)).cast::<Slab>();
    // The header takes the first slots, so that the objects keep the alignment of their size.
    let carved = size_of::<Slab>().div_ceil(SIZES[class]) as u16;
    let slab = Slab { next: ptr::null_mut(), previous: ptr::null_mut(), free: None, used: 0, carved };
    // SAFETY: frames that were just taken.
    unsafe { start.write(slab) };
    Some(start)
}

impl KernelHeap {
    /// A heap without memory; it takes frames as it needs them.
    pub const fn new() -> Self {
        Self {
            magazines: PerHart::new([const { Slot::new(Magazines([Chain::EMPTY; CLASSES])) }; MAX_HARTS]),
            classes: [const { SpinLock::new(Class { partial: ptr::null_mut() }) }; CLASSES],
            large_bytes: AtomicUsize::new(0),
            slab_frames: AtomicUsize::new(0),
        }
    }

    /// Bytes given out, each allocation counted as its class's size or whole pages. Exact while nobody allocates.
    pub fn bytes_in_use(&self) -> usize {
        self.magazines.total().wrapping_add(self.large_bytes.load(Ordering::Relaxed))
    }

    /// Frames that the heap has taken: full slabs, partly used ones and large allocations. Beside [`Self::bytes_in_use`]
    /// it tells how well the slabs are filled.
    pub fn frames_taken(&self) -> usize {
        self.slab_frames.load(Ordering::Relaxed) + self.large_bytes.load(Ordering::Relaxed) / PAGE_SIZE
    }

    /// Puts what this hart's magazines hold back into the slabs, so that empty slabs become frames again.
    pub fn trim(&self) {
        for class in 0..CLASSES {
            let chain =
                self.magazines.with(|magazines, _| core::mem::replace(&mut magazines.0[class], Chain::EMPTY));
            self.put_back(class, chain);
        }
    }

    /// An object from the slabs, and a batch more for this hart's magazine.
    #[cold]
    fn refill(&self, class: usize) -> *mut u8 {
        let mut chain = Chain::EMPTY;
        {
            let mut slabs = self.classes[class].lock();
            while chain.length < batch(class)
                && let Some(object) = slabs.take(class, &self.slab_frames)
            {
                chain.push(object);
            }
        }
        let Some(object) = chain.pop() else {
            return ptr::null_mut();
        };
        self.magazines.with(|magazines, count| {
            count.add(SIZES[class]);
            while let Some(object) = chain.pop() {
                magazines.0[class].push(object);
            }
        });
        object.as_ptr().cast()
    }

    /// Takes a batch out of this hart's magazine.
    #[cold]
    fn flush(&self, class: usize) {
        let chain = self.magazines.with(|magazines, _| {
            let mut chain = Chain::EMPTY;
            while chain.length < batch(class)
                && let Some(object) = magazines.0[class].pop()
            {
                chain.push(object);
            }
            chain
        });
        self.put_back(class, chain);
    }

    fn put_back(&self, class: usize, mut chain: Chain) {
        if chain.length == 0 {
            return;
        }
        let mut slabs = self.classes[class].lock();
        while let Some(object) = chain.pop() {
            slabs.put(class, object, &self.slab_frames);
        }
    }

    fn allocate_pages(&self, count: usize, order: u32) -> *mut u8 {
        match frames::allocate_for_heap(count, order) {
            Ok(number) => {
                self.large_bytes.fetch_add(count * PAGE_SIZE, Ordering::Relaxed);
                direct_map(PhysicalAddress::from_page_number(number as usize))
            }
            Err(_) => ptr::null_mut(),
        }
    }

    fn free_pages(&self, pointer: *mut u8, count: usize) {
        self.large_bytes.fetch_sub(count * PAGE_SIZE, Ordering::Relaxed);
        frames::free_numbers(frames::number_of(pointer), count);
    }
}

impl Default for KernelHeap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: memory comes from frames that the heap owns, each object is in one place at a time (outside, a magazine, a
// slab), and `kind` gives at least the layout's size and alignment. Nothing here unwinds.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = match kind(&layout) {
            Kind::Class(class) => class,
            Kind::Pages { count, order } => return self.allocate_pages(count, order),
        };
        let object = self.magazines.with(|magazines, count| {
            let object = magazines.0[class].pop()?;
            count.add(SIZES[class]);
            Some(object)
        });
        match object {
            Some(object) => object.as_ptr().cast(),
            None => self.refill(class),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let class = match kind(&layout) {
            Kind::Class(class) => class,
            Kind::Pages { count, .. } => return self.free_pages(pointer, count),
        };
        // SAFETY: never null, as it came from `alloc`.
        let object = unsafe { NonNull::new_unchecked(pointer.cast::<Object>()) };
        let full = self.magazines.with(|magazines, count| {
            count.subtract(SIZES[class]);
            magazines.0[class].push(object);
            magazines.0[class].length > 2 * batch(class)
        });
        if full {
            self.flush(class);
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract: `new_size` is valid for the alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (kind(&layout), kind(&new_layout)) {
            (Kind::Class(old), Kind::Class(new)) if old == new => return pointer,
            (Kind::Pages { count: old, .. }, Kind::Pages { count: new, .. }) if new <= old => {
                if new < old {
                    self.free_pages(pointer.wrapping_add(new * PAGE_SIZE), old - new);
                }
                return pointer;
            }
            _ => {}
        }
        // SAFETY: the layout has a size, as the caller's `new_size` has.
        let target = unsafe { self.alloc(new_layout) };
        if !target.is_null() {
            // SAFETY: both are valid for the smaller of the two sizes, and different allocations.
            unsafe { ptr::copy_nonoverlapping(pointer, target, layout.size().min(new_size)) };
            // SAFETY: the caller gives the old one up.
            unsafe { self.dealloc(pointer, layout) };
        }
        target
    }
}

#[cfg(test)]
mod tests;
