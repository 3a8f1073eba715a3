//! What an area can show besides zeros: the pages of a file, or of memory that several processes share.

use crate::frames::Frame;
use crate::page_table::{Flags, PageTable};
use alloc::sync::Arc;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::operation::Operation;
use base::sync::SpinLock;
use base::{Error, Result};
use core::fmt;
use core::ops::Range;

/// What a program does, or wants to do, to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Fetch an instruction.
    Execute,
}

impl Access {
    /// The right that an entry must give for it.
    #[inline(always)]
    pub(super) fn flags(self) -> Flags {
        match self {
            Access::Read => Flags::READ,
            Access::Write => Flags::WRITE,
            Access::Execute => Flags::EXECUTE,
        }
    }
}

/// An object whose pages can be mapped. It keeps its pages; mappings share the very frames.
///
/// Called while the address space's layout is locked: an implementation must not touch user memory in `page`,
/// `cached_page`, `length` and `tracks_writes` (what it returns as [`Operation::Pending`] runs without the lock).
pub trait MappedObject: Send + Sync {
    /// The frame of page `index`. With [`Access::Write`] it is about to be written through a shared mapping, and counts
    /// as changed.
    ///
    /// # Errors
    /// Whatever keeps the object from having the page: `InputOutput`, `OutOfMemory`, `NoSpace`.
    fn page(&self, index: u64, access: Access) -> Operation<'_, Result<Frame>>;

    /// Bytes in the object. Pages wholly beyond are a `SIGBUS`.
    fn length(&self) -> u64;

    /// Page `index` if it is there without waiting and reading it needs no bookkeeping: lets a fault bring its neighbours.
    fn cached_page(&self, index: u64) -> Option<Frame> {
        let _ = index;
        None
    }

    /// Whether the first store to a page must be noticed (through `page` with [`Access::Write`]).
    fn tracks_writes(&self) -> bool {
        true
    }

    /// Makes changes in this range of bytes durable.
    ///
    /// # Errors
    /// What the device says.
    fn sync(&self, range: Range<u64>) -> Operation<'_, Result<()>> {
        let _ = range;
        Operation::Ready(Ok(()))
    }

    /// Device and inode numbers, for `/proc/PID/maps`.
    fn identity(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Writes the path or a label such as `[vdso]`, for `/proc/PID/maps`.
    ///
    /// # Errors
    /// What `text` says.
    fn name(&self, text: &mut dyn fmt::Write) -> fmt::Result;
}

/// Memory that several areas show: shared anonymous mappings, System V segments.
pub struct SharedMemory {
    pages: SpinLock<PageTable>,
    length: u64,
    label: &'static str,
}

impl SharedMemory {
    /// `length` bytes of zeros, none of which take memory yet; `label` is for `/proc/PID/maps`.
    ///
    /// # Errors
    /// `OutOfMemory`; also when `length` is more than 512 GiB.
    pub fn new(length: u64, label: &'static str) -> Result<Arc<Self>> {
        if length > 1 << 39 {
            return Err(Error::OutOfMemory);
        }
        Ok(Arc::new(Self { pages: SpinLock::new(PageTable::new(None)?), length, label }))
    }

    /// How many pages take memory.
    pub fn resident_pages(&self) -> usize {
        self.pages.lock().pages()
    }

    fn page_now(&self, index: u64) -> Result<Frame> {
        let address = VirtualAddress::new(index as usize * PAGE_SIZE);
        let mut pages = self.pages.lock();
        if let Some((frame, _)) = pages.share(address) {
            return Ok(frame);
        }
        let frame = Frame::zeroed()?;
        pages.insert(address, frame.clone(), Flags::READ)?;
        Ok(frame)
    }
}

impl MappedObject for SharedMemory {
    fn page(&self, index: u64, _: Access) -> Operation<'_, Result<Frame>> {
        Operation::Ready(self.page_now(index))
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn cached_page(&self, index: u64) -> Option<Frame> {
        let address = VirtualAddress::new(index as usize * PAGE_SIZE);
        self.pages.lock().share(address).map(|(frame, _)| frame)
    }

    fn tracks_writes(&self) -> bool {
        false
    }

    fn name(&self, text: &mut dyn fmt::Write) -> fmt::Result {
        text.write_str(self.label)
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedMemory({} bytes, {:?})", self.length, self.label)
    }
}
