//! The handles: as long as one lives, its memory is nobody else's; the last one frees it.

use super::{
    FRAMES_PER_LARGE, LARGE_ORDER, Use, allocate_block, allocate_numbers, allocate_one, free_numbers,
    pointer, record, release_one,
};
use base::Result;
use base::address::{PAGE_SIZE, PhysicalAddress};
use base::bytes::SharedBytes;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// One frame of physical memory, counted: clones share it.
pub struct Frame(NonZeroU32);

/// 2 MiB of physical memory, aligned and counted. It can be split into its [`Frame`]s while others hold it too.
pub struct LargeFrame(NonZeroU32);

/// Frames in a row with one owner: stacks, queues shared with devices, tables.
pub struct FrameRange {
    first: NonZeroU32,
    count: u32,
}

fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("frame 0 is never given")
}

/// Words that are written or copied in one round of a loop, which the compiler unrolls.
const ROUND: usize = 16;
const WORDS_PER_FRAME: usize = PAGE_SIZE / size_of::<u64>();

/// Writes zeros: eight-byte stores, unrolled, as this is most of what a page fault costs.
fn zero(number: u32, frames: usize) {
    let start = pointer(number).cast::<u64>();
    for round in 0..frames * WORDS_PER_FRAME / ROUND {
        let start = start.wrapping_add(round * ROUND);
        for word in 0..ROUND {
            // SAFETY: within frames that the caller just took. Volatile, so that it stays a loop of stores and does not
            // become a call of a `memset` that does less with each instruction.
            unsafe { start.wrapping_add(word).write_volatile(0) };
        }
    }
}

/// Copies one frame; eight-byte loads and stores, unrolled.
fn copy(from: u32, to: u32) {
    let (source, target) = (pointer(from).cast::<u64>(), pointer(to).cast::<u64>());
    for round in 0..WORDS_PER_FRAME / ROUND {
        let (source, target) = (source.wrapping_add(round * ROUND), target.wrapping_add(round * ROUND));
        for word in 0..ROUND {
            // SAFETY: both are whole frames that the caller holds, and different ones. User code may write the source
            // meanwhile, as with every copy of shared bytes.
            unsafe { target.wrapping_add(word).write_volatile(source.wrapping_add(word).read_volatile()) };
        }
    }
}

/// Drops one reference; whether it was the last.
#[inline(always)]
fn release(count: &AtomicU32) -> bool {
    // Who sees 1 holds the only reference, so that nobody can change it: no atomic update needed.
    if count.load(Ordering::Acquire) == 1 {
        count.store(0, Ordering::Relaxed);
        return true;
    }
    if count.fetch_sub(1, Ordering::Release) == 1 {
        fence(Ordering::Acquire);
        return true;
    }
    false
}

impl Frame {
    /// A frame of zeros.
    ///
    /// # Errors
    /// `OutOfMemory`
    #[inline]
    pub fn zeroed() -> Result<Self> {
        let frame = Self::uninitialised()?;
        zero(frame.number(), 1);
        Ok(frame)
    }

    /// A frame that holds whatever it held for its last owner. Never give it to a program before it is overwritten.
    ///
    /// # Errors
    /// `OutOfMemory`
    #[inline]
    pub fn uninitialised() -> Result<Self> {
        let number = allocate_one()?;
        record(number).count.store(1, Ordering::Relaxed);
        Ok(Self(nonzero(number)))
    }

    /// A new frame with this one's contents.
    ///
    /// # Errors
    /// `OutOfMemory`
    pub fn duplicate(&self) -> Result<Self> {
        let frame = Self::uninitialised()?;
        copy(self.number(), frame.number());
        Ok(frame)
    }

    #[inline(always)]
    pub(super) fn number(&self) -> u32 {
        self.0.get()
    }

    /// Where it is.
    #[inline]
    pub fn address(&self) -> PhysicalAddress {
        PhysicalAddress::from_page_number(self.number() as usize)
    }

    /// Its [`PAGE_SIZE`] bytes, which other holders may use at the same time.
    #[inline]
    pub fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: the frame stays ours while the handle lives, and no references to its bytes are made but atomics.
        unsafe { SharedBytes::new(pointer(self.number()), PAGE_SIZE) }
    }

    /// The aligned word at `offset` bytes, for atomic access beside other holders; `None` when not inside or aligned.
    pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
        if offset >= PAGE_SIZE || !offset.is_multiple_of(size_of::<u32>()) {
            return None;
        }
        // SAFETY: inside the frame, aligned, and only ever reached by atomics or raw copies.
        Some(unsafe { AtomicU32::from_ptr(pointer(self.number()).add(offset).cast()) })
    }

    /// The aligned 64-bit word at `offset` bytes, as [`Frame::word`].
    pub fn long(&self, offset: usize) -> Option<&AtomicU64> {
        if offset >= PAGE_SIZE || !offset.is_multiple_of(size_of::<u64>()) {
            return None;
        }
        // SAFETY: as in `word`.
        Some(unsafe { AtomicU64::from_ptr(pointer(self.number()).add(offset).cast()) })
    }

    /// How many handles hold it; a large frame that contains it counts as one. 1 means that it is the caller's alone.
    #[inline]
    pub fn reference_count(&self) -> u32 {
        record(self.number()).count.load(Ordering::Acquire)
    }

    /// Gives the handle up without freeing; the address is then worth one [`Frame::from_raw`].
    #[inline]
    pub fn into_raw(self) -> PhysicalAddress {
        let address = self.address();
        core::mem::forget(self);
        address
    }

    /// Takes back a handle that was given up.
    ///
    /// # Safety
    /// `address` must come from [`Frame::into_raw`] and be taken back only once.
    #[inline]
    pub unsafe fn from_raw(address: PhysicalAddress) -> Self {
        Self(nonzero(address.page_number() as u32))
    }

    /// A further handle of a frame that somebody holds.
    ///
    /// # Safety
    /// A handle of the frame at `address`, or of the large frame around it, must exist during the call.
    #[inline]
    pub(crate) unsafe fn share_raw(address: PhysicalAddress) -> Self {
        let number = address.page_number() as u32;
        record(number).count.fetch_add(1, Ordering::Relaxed);
        Self(nonzero(number))
    }
}

impl Clone for Frame {
    #[inline]
    fn clone(&self) -> Self {
        record(self.number()).count.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        if release(&record(self.number()).count) {
            release_one(self.number());
        }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Frame {}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Frame({:#x})", self.address())
    }
}

impl LargeFrame {
    /// A large frame of zeros.
    ///
    /// # Errors
    /// `OutOfMemory`: no 2 MiB in one piece.
    pub fn zeroed() -> Result<Self> {
        let frame = Self::uninitialised()?;
        zero(frame.number(), FRAMES_PER_LARGE);
        Ok(frame)
    }

    /// A large frame that holds whatever its memory held.
    ///
    /// # Errors
    /// `OutOfMemory`: no 2 MiB in one piece.
    pub fn uninitialised() -> Result<Self> {
        let number = allocate_block(LARGE_ORDER, Use::General)?;
        for piece in 0..FRAMES_PER_LARGE as u32 {
            record(number + piece).count.store(1, Ordering::Relaxed);
        }
        record(number).extra.store(1, Ordering::Relaxed);
        Ok(Self(nonzero(number)))
    }

    fn number(&self) -> u32 {
        self.0.get()
    }

    /// Where it is.
    pub fn address(&self) -> PhysicalAddress {
        PhysicalAddress::from_page_number(self.number() as usize)
    }

    /// Its 2 MiB, which other holders may use at the same time.
    pub fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: as for `Frame::bytes`.
        unsafe { SharedBytes::new(pointer(self.number()), PAGE_SIZE << LARGE_ORDER) }
    }

    /// Whether nobody else holds any part of it.
    pub fn is_exclusive(&self) -> bool {
        record(self.number()).extra.load(Ordering::Acquire) == 1
            && (0..FRAMES_PER_LARGE as u32)
                .all(|piece| record(self.number() + piece).count.load(Ordering::Acquire) == 1)
    }

    /// A handle of the frame with this index (below [`FRAMES_PER_LARGE`]) in it.
    ///
    /// # Panics
    /// When `index` is not below [`FRAMES_PER_LARGE`].
    pub fn piece(&self, index: usize) -> Frame {
        assert!(index < FRAMES_PER_LARGE, "a large frame has {FRAMES_PER_LARGE} frames");
        let number = self.number() + index as u32;
        record(number).count.fetch_add(1, Ordering::Relaxed);
        Frame(nonzero(number))
    }

    /// Turns the handle into one handle for each frame, given up as if by [`Frame::into_raw`].
    pub fn split_into_raw(self) -> PhysicalAddress {
        let (number, address) = (self.number(), self.address());
        core::mem::forget(self);
        // The last holder of the group passes the group's own reference of each frame on.
        let group = &record(number).extra;
        if group.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            for piece in 0..FRAMES_PER_LARGE as u32 {
                record(number + piece).count.fetch_add(1, Ordering::Relaxed);
            }
            release_group(number);
        }
        address
    }

    /// Gives the handle up without freeing.
    pub fn into_raw(self) -> PhysicalAddress {
        let address = self.address();
        core::mem::forget(self);
        address
    }

    /// Takes back a handle that was given up.
    ///
    /// # Safety
    /// `address` must come from [`LargeFrame::into_raw`] and be taken back only once.
    pub unsafe fn from_raw(address: PhysicalAddress) -> Self {
        Self(nonzero(address.page_number() as u32))
    }
}

/// Drops one reference of a group; the last one drops the group's reference of each frame.
fn release_group(number: u32) {
    if !release(&record(number).extra) {
        return;
    }
    // Frames that nobody else holds go back in runs, so that an undivided group is one block again.
    let mut start = 0;
    let mut length = 0;
    for piece in 0..FRAMES_PER_LARGE as u32 {
        if release(&record(number + piece).count) {
            length += 1;
            continue;
        }
        if length > 0 {
            free_numbers(number + start, length);
        }
        (start, length) = (piece + 1, 0);
    }
    if length > 0 {
        free_numbers(number + start, length);
    }
}

impl Clone for LargeFrame {
    fn clone(&self) -> Self {
        record(self.number()).extra.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for LargeFrame {
    fn drop(&mut self) {
        release_group(self.number());
    }
}

impl core::fmt::Debug for LargeFrame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "LargeFrame({:#x})", self.address())
    }
}

impl FrameRange {
    /// `count` frames in a row (at least 1, at most 4096) full of zeros, starting at a multiple of `2^order` frames.
    ///
    /// # Errors
    /// `OutOfMemory`: there are not so many in one piece.
    pub fn zeroed(count: usize, order: u32) -> Result<Self> {
        let range = Self::uninitialised(count, order)?;
        zero(range.first.get(), count);
        Ok(range)
    }

    /// As [`FrameRange::zeroed`], with whatever the memory held.
    ///
    /// # Errors
    /// `OutOfMemory`: there are not so many in one piece.
    pub fn uninitialised(count: usize, order: u32) -> Result<Self> {
        let first = nonzero(allocate_numbers(count.max(1), order, Use::General)?);
        Ok(Self { first, count: count.max(1) as u32 })
    }

    /// Where it begins.
    pub fn address(&self) -> PhysicalAddress {
        PhysicalAddress::from_page_number(self.first.get() as usize)
    }

    /// Its bytes, which a device may use at the same time.
    pub fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: as for `Frame::bytes`.
        unsafe { SharedBytes::new(pointer(self.first.get()), self.count as usize * PAGE_SIZE) }
    }

    /// Where the kernel reaches it; good for as long as the range lives.
    pub fn pointer(&self) -> *mut u8 {
        pointer(self.first.get())
    }
}

impl Drop for FrameRange {
    fn drop(&mut self) {
        free_numbers(self.first.get(), self.count as usize);
    }
}

impl core::fmt::Debug for FrameRange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FrameRange({:#x}, {} frames)", self.address(), self.count)
    }
}
