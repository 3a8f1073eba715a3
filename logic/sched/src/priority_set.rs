//! A set of priorities in one word; its best member is found without a loop.

use base::task::Priority;

/// A set of priorities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct PrioritySet(u64);

impl PrioritySet {
    /// The empty set.
    pub const EMPTY: PrioritySet = PrioritySet(0);

    /// The set whose member `n` is bit `n`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bit `n` says whether priority `n` is a member.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether there is no member.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `priority` is a member.
    #[inline]
    pub const fn contains(self, priority: Priority) -> bool {
        self.0 >> priority.number() & 1 != 0
    }

    /// Adds `priority`.
    #[inline]
    pub fn insert(&mut self, priority: Priority) {
        self.0 |= 1 << priority.number();
    }

    /// Takes `priority` out.
    #[inline]
    pub fn remove(&mut self, priority: Priority) {
        self.0 &= !(1 << priority.number());
    }

    /// The most important member.
    #[inline]
    pub fn best(self) -> Option<Priority> {
        if self.0 == 0 { None } else { Priority::new(self.0.trailing_zeros() as u8) }
    }
}

impl Iterator for PrioritySet {
    type Item = Priority;

    /// Takes the most important member out.
    fn next(&mut self) -> Option<Priority> {
        let best = self.best()?;
        self.0 &= self.0 - 1;
        Some(best)
    }
}
