//! Which harts may remember an address space's translations, and who has to forget them when.
//!
//! A hart may have entries of a space in its TLB from its first [`Residency::activate`] on, also while it runs
//! something else, as the entries carry the space's id. So a change must reach the harts that run the space now (they
//! are asked to flush at once) and those that ran it before (they flush when they activate it next). The two cases
//! must not slip past each other:
//!
//! | who changes a mapping | who activates |
//! |---|---|
//! | 1. writes the entries | 1. sets its bit in `active` |
//! | 2. sets `stale` for the harts in `cached` and not in `active` | 2. takes its bit out of `stale`, flushes if it was set |
//! | 3. reads `active` again and has those flush | 3. lets the hardware walk |
//!
//! All of it in one total order (`SeqCst`): either step 3 on the left sees the hart, or the hart's step 2 sees the bit.
//! A change that only adds rights needs nothing of this: at worst it is a fault that finds nothing to do.

use base::Result;
use base::address::{PhysicalAddress, VirtualAddress};
use base::sync::SpinLock;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::frames::Frame;

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

/// Whether a hart has to flush a space's id before it uses the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "stale translations lead to memory that is somebody else's by now"]
pub enum NeedsFlush {
    /// What the hart remembers is right.
    No,
    /// Flush everything with the space's id.
    Yes,
}

/// The harts of one space; see the module's page.
#[derive(Default)]
pub(super) struct Residency {
    active: AtomicU64,
    cached: AtomicU64,
    stale: AtomicU64,
}

impl Residency {
    pub(super) fn activate(&self, hart: usize) -> NeedsFlush {
        let bit = 1 << hart;
        self.active.fetch_or(bit, Ordering::SeqCst);
        if self.cached.load(Ordering::Relaxed) & bit == 0 {
            self.cached.fetch_or(bit, Ordering::SeqCst);
        }
        if self.stale.load(Ordering::SeqCst) & bit == 0 {
            return NeedsFlush::No;
        }
        self.stale.fetch_and(!bit, Ordering::SeqCst);
        NeedsFlush::Yes
    }

    pub(super) fn deactivate(&self, hart: usize) {
        self.active.fetch_and(!(1 << hart), Ordering::Release);
    }

    pub(super) fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// After entries were changed: the harts that must flush now. The others will.
    pub(super) fn outdated(&self) -> u64 {
        fence(Ordering::SeqCst);
        let cached = self.cached.load(Ordering::SeqCst);
        if cached == 0 {
            return 0;
        }
        let before = self.active.load(Ordering::SeqCst);
        let idle = cached & !before;
        if idle & !self.stale.load(Ordering::Relaxed) != 0 {
            self.stale.fetch_or(idle, Ordering::SeqCst);
        }
        before | self.active.load(Ordering::SeqCst)
    }
}

impl core::fmt::Debug for Environment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Environment")
            .field("kernel_root", &self.kernel_root)
            .finish_non_exhaustive()
    }
}
