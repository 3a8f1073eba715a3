//! Address spaces: what a process sees, page by page, when it asks.
//!
//! Two locks, always in this order: `layout` (asynchronous: which areas there are; every change of the tree is made
//! under it) and `tables` (a spin lock: the tree itself; enough for reading memory and pinning it). The spin lock is
//! held for one batch at most. What leaves the tree is dropped after the flush.

mod area;
mod fault;
mod fork;
mod map;
mod object;
mod pin;
mod placement;
mod remap;
mod report;
mod residency;
mod translation;
mod user;

pub use area::{Area, Attributes, Backing, Protection, Sharing};
pub use fault::FaultError;
pub use map::{MapRequest, Placement};
pub use object::{Access, MappedObject, SharedMemory};
pub use pin::{MAX_PINNED_PAGES, Pinned, PinnedPage};
pub use placement::{Bases, randomise};
pub use remap::Remap;
pub use report::{AreaUsage, LockMode, MappingInfo};
pub use residency::NeedsFlush;
pub use translation::{Environment, MAX_SPACE_IDS, SpaceId, Translation};
pub use user::FutexKey;

use crate::page_table::{PageTable, Removed};
use alloc::sync::Arc;
use area::Areas;
use base::address::{PAGE_SIZE, PhysicalAddress, VirtualAddress};
use base::sync::{Mutex, SpinLock};
use base::{Error, Result};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use residency::Residency;

/// The first address behind the user half: Sv39's lower half without its last page, as on Linux.
pub const USER_END: usize = 0x40_0000_0000 - PAGE_SIZE;
/// The lowest address that a mapping may have.
pub const USER_START: usize = 0x1000;
/// The lowest address that `mmap` picks by itself.
pub(crate) const MMAP_MINIMUM: usize = 0x1_0000;
/// Bytes below a growing stack where nothing may be (Linux's `stack_guard_gap`, 256 pages).
pub(crate) const STACK_GUARD: usize = 256 * PAGE_SIZE;
/// How many entries are worked on under one hold of the spin lock.
const BATCH: usize = 512;

/// What a process's limits say about its memory, in bytes; `usize::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_AS`
    pub address_space: usize,
    /// `RLIMIT_DATA`
    pub data: usize,
    /// `RLIMIT_STACK`
    pub stack: usize,
    /// `RLIMIT_MEMLOCK`
    pub locked: usize,
}

impl Default for Limits {
    /// Linux's defaults.
    fn default() -> Self {
        Self { address_space: usize::MAX, data: usize::MAX, stack: 8 << 20, locked: 8 << 20 }
    }
}

/// The areas, and where new ones go.
struct Layout {
    areas: Areas,
    limits: Limits,
    bases: Bases,
    /// The heap of `brk`: where it starts and where it ends, to the byte.
    heap: Range<usize>,
    /// What `mlockall` asked for areas to come.
    lock_future: Option<LockMode>,
}

/// One address space.
pub struct AddressSpace {
    environment: &'static Environment,
    id: SpaceId,
    serial: u64,
    root: PhysicalAddress,
    layout: Mutex<Layout>,
    tables: SpinLock<PageTable>,
    residency: Residency,
    /// The most pages that were ever resident.
    peak: AtomicUsize,
    /// `Layout::lock_future` asks for pages at once; beside the lock for `mmap`.
    locks_new: AtomicBool,
}

impl AddressSpace {
    /// An empty space.
    ///
    /// # Errors
    /// `OutOfMemory`
    pub fn new(environment: &'static Environment, limits: Limits, bases: Bases) -> Result<Arc<Self>> {
        let layout = Layout {
            areas: Areas::default(),
            limits,
            bases,
            heap: bases.heap..bases.heap,
            lock_future: None,
        };
        let tables = PageTable::new(Some(environment.kernel_root))?;
        Ok(Arc::new(Self::assemble(environment, layout, tables)))
    }

    fn assemble(environment: &'static Environment, layout: Layout, tables: PageTable) -> Self {
        let (id, serial) = environment.take_id();
        Self {
            environment,
            id,
            serial,
            root: tables.root(),
            layout: Mutex::new(layout),
            peak: AtomicUsize::new(tables.pages()),
            tables: SpinLock::new(tables),
            residency: Residency::new(),
            locks_new: AtomicBool::new(false),
        }
    }

    /// Where the root is, for `satp` and `hgatp`.
    #[inline]
    pub fn root(&self) -> PhysicalAddress {
        self.root
    }

    /// The ASID and VMID; 0: none, so that every activation has to flush.
    #[inline]
    pub fn id(&self) -> SpaceId {
        self.id
    }

    /// A number that no other space has or had.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// To be called before `hart` uses the space; says whether it has to flush the space's id first.
    #[inline]
    pub fn activate(&self, hart: usize) -> NeedsFlush {
        let needed = self.residency.activate(hart);
        if self.id == SpaceId(0) { NeedsFlush::Yes } else { needed }
    }

    /// To be called when `hart` uses another root. A space may only be dropped when no hart uses it.
    #[inline]
    pub fn deactivate(&self, hart: usize) {
        self.residency.deactivate(hart);
    }

    /// The harts that use the space now.
    pub fn active_harts(&self) -> u64 {
        self.residency.active()
    }

    /// Sets the limits (`setrlimit`); what is mapped already stays.
    pub async fn set_limits(&self, limits: Limits) {
        self.layout.lock().await.limits = limits;
    }

    /// Sets where the heap starts, which is empty then: the loader knows it only when the program is mapped.
    pub async fn set_heap_start(&self, start: VirtualAddress) {
        self.layout.lock().await.heap = start.value()..start.value();
    }

    /// 4 KiB pages that are in memory now.
    pub fn resident_pages(&self) -> usize {
        self.tables.lock().pages()
    }

    /// The most pages that were in memory at once (`VmHWM`), as far as faults noticed.
    pub fn peak_resident_pages(&self) -> usize {
        self.peak.load(Ordering::Relaxed).max(self.resident_pages())
    }

    /// Frames that the page table takes.
    pub fn table_frames(&self) -> usize {
        self.tables.lock().table_frames()
    }

    /// Whether `mlockall` asked that new mappings get their pages at once.
    #[inline]
    pub fn locks_new(&self) -> bool {
        self.locks_new.load(Ordering::Relaxed)
    }

    /// Makes the harts forget `range` after rights were taken away in it.
    fn flush(&self, range: Range<usize>) {
        let harts = self.residency.outdated();
        if harts != 0 {
            let range = VirtualAddress::new(range.start)..VirtualAddress::new(range.end);
            self.environment.translation.flush(self.id, range, harts);
        }
    }

    /// Makes the harts forget what left the tree, then drops it.
    fn flush_removed(&self, range: Range<usize>, removed: Removed) {
        if removed.is_empty() {
            return;
        }
        if removed.tables {
            let harts = self.residency.outdated();
            if harts != 0 {
                self.environment.translation.flush_all(self.id, harts);
            }
        } else {
            self.flush(range);
        }
        drop(removed);
    }

    /// Takes all pages of `range` out of the tree. Its ends must not lie inside large leaves.
    fn clear(&self, range: &Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let mut removed = Removed::default();
            let span = VirtualAddress::new(at)..VirtualAddress::new(range.end);
            let stopped = self.tables.lock().remove(span, &mut removed).value();
            self.flush_removed(at..stopped.min(range.end), removed);
            at = stopped;
        }
    }

    /// Splits the large leaves at the ends of `range`.
    fn split_at_ends(&self, range: &Range<usize>) -> Result<()> {
        let mut tables = self.tables.lock();
        tables.split_at(VirtualAddress::new(range.start))?;
        tables.split_at(VirtualAddress::new(range.end))
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        self.environment.return_id(self.id);
    }
}

impl core::fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AddressSpace({}, root {:#x})", self.serial, self.root)
    }
}

/// The whole pages that `length` bytes from `start` on take; `error` when they do not end inside the user half.
fn page_range(start: VirtualAddress, length: usize, error: Error) -> Result<Range<usize>> {
    let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(error)?;
    let end = start.value().checked_add(length).ok_or(error)?;
    if end > USER_END {
        return Err(error);
    }
    Ok(start.value()..end)
}

#[cfg(test)]
mod tests;
