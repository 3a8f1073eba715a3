//! The hardware's side of address spaces: what makes harts forget, and the ids that keep spaces apart in a TLB.

use crate::frames::Frame;
use base::Result;
use base::address::{PhysicalAddress, VirtualAddress};
use base::sync::SpinLock;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

/// What tells the entries of one address space from another's in a TLB: ASID and VMID at once.
/// 0 is shared by all spaces that got none, which are flushed whenever they are activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SpaceId(pub u16);

/// The hardware's side: making harts forget translations. Each call returns when all the harts named have done so.
/// Bit `n` of `harts` is the hart with index `n`; the caller's own may be among them.
pub trait Translation: Sync {
    /// Forgets the leaves of `range`.
    fn flush(&self, space: SpaceId, range: Range<VirtualAddress>, harts: u64);
    /// Forgets all of one space, tables included.
    fn flush_all(&self, space: SpaceId, harts: u64);
    /// Forgets all spaces on all harts: ids are about to be used again.
    fn flush_everything(&self);
    /// New code was put into memory that `harts` may execute from.
    fn instructions_changed(&self, harts: u64);
    /// The index of the calling hart, for what only it has to forget.
    fn hart_index(&self) -> usize;
}

/// What all address spaces of a machine share.
pub struct Environment {
    pub(super) translation: &'static dyn Translation,
    pub(super) kernel_root: PhysicalAddress,
    pub(super) zero: Frame,
    ids: SpinLock<Ids>,
    next_serial: AtomicU64,
}

/// Ids the pool can tell apart at most: the width of a VMID.
pub const MAX_SPACE_IDS: usize = 1 << 14;

/// Ids are given in order, so that none is used twice before everything was flushed once.
struct Ids {
    /// Held by a space, or not flushed since.
    used: [u64; MAX_SPACE_IDS / 64],
    /// Came back, and may be given again after the next flush of everything.
    returned: [u64; MAX_SPACE_IDS / 64],
    flushing: bool,
    next: usize,
    limit: usize,
}

impl Ids {
    const fn new(limit: usize) -> Self {
        Self {
            used: [0; MAX_SPACE_IDS / 64],
            returned: [0; MAX_SPACE_IDS / 64],
            flushing: false,
            next: 1,
            limit,
        }
    }

    /// The next id that is not used.
    fn take(&mut self) -> Option<usize> {
        let is_used = |&id: &usize| self.used[id / 64] & (1 << (id % 64)) != 0;
        let found = (self.next..self.limit).find(|id| !is_used(id));
        self.next = found.map_or(self.limit, |id| id + 1);
        let id = found?;
        self.used[id / 64] |= 1 << (id % 64);
        Some(id)
    }

    fn give_back(&mut self, id: usize) {
        self.returned[id / 64] |= 1 << (id % 64);
    }

    /// All ids were given once: those that came back by now can be given again after a flush of everything, which the
    /// caller makes if this says so. Who needs an id meanwhile does without.
    fn begin_round(&mut self) -> bool {
        if self.flushing || self.returned.iter().all(|&bits| bits == 0) {
            return false;
        }
        for (used, returned) in self.used.iter_mut().zip(&mut self.returned) {
            *used &= !core::mem::take(returned);
        }
        self.flushing = true;
        true
    }

    fn end_round(&mut self) -> Option<usize> {
        self.flushing = false;
        self.next = 1;
        self.take()
    }
}

impl Environment {
    /// `largest_id`: the greatest ASID and VMID that all harts can hold, 0 if they have none.
    ///
    /// # Errors
    /// `OutOfMemory`: not even for the frame of zeros.
    pub fn new(
        translation: &'static dyn Translation,
        kernel_root: PhysicalAddress,
        largest_id: usize,
    ) -> Result<Self> {
        let limit = (largest_id + 1).min(MAX_SPACE_IDS);
        Ok(Self {
            translation,
            kernel_root,
            zero: Frame::zeroed()?,
            ids: SpinLock::new(Ids::new(limit)),
            next_serial: AtomicU64::new(1),
        })
    }

    /// An id for a new space, and a number that no other space ever has.
    pub(super) fn take_id(&self) -> (SpaceId, u64) {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        if let Some(id) = self.ids.lock().take() {
            return (SpaceId(id as u16), serial);
        }
        if !self.ids.lock().begin_round() {
            return (SpaceId(0), serial);
        }
        self.translation.flush_everything();
        let id = self.ids.lock().end_round();
        (SpaceId(id.unwrap_or(0) as u16), serial)
    }

    pub(super) fn return_id(&self, id: SpaceId) {
        if id.0 != 0 {
            self.ids.lock().give_back(id.0 as usize);
        }
    }
}

impl core::fmt::Debug for Environment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Environment").field("kernel_root", &self.kernel_root).finish_non_exhaustive()
    }
}
