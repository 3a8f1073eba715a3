//! How important a coroutine is: one order for the whole system.

use core::fmt;

/// A priority: 0 is the highest, 63 the lowest. `Ord` is by the number, so the more important one is the *smaller*;
/// [`Priority::is_above`] reads better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Priority(u8);

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 64;
    /// The most important.
    pub const HIGHEST: Priority = Priority(0);
    /// What is taken when nobody says otherwise.
    pub const NORMAL: Priority = Priority(32);
    /// The least important.
    pub const LOWEST: Priority = Priority(63);

    /// The priority with this number, if there is one.
    #[inline]
    pub const fn new(number: u8) -> Option<Priority> {
        if (number as usize) < Self::COUNT { Some(Priority(number)) } else { None }
    }

    /// The priority with this number, or the lowest one for numbers beyond: for numbers that come from outside.
    #[inline]
    pub const fn saturating(number: u8) -> Priority {
        if (number as usize) < Self::COUNT { Priority(number) } else { Self::LOWEST }
    }

    /// The number, below 64.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether this is more important than `other`.
    #[inline]
    pub const fn is_above(self, other: Priority) -> bool {
        self.0 < other.0
    }

    /// This priority, but not more important than `highest` and not less than `lowest`.
    #[inline]
    pub fn clamp_to(self, highest: Priority, lowest: Priority) -> Priority {
        Priority(self.0.max(highest.0).min(lowest.0))
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Priority({})", self.0)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
