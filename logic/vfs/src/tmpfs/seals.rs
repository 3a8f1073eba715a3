//! Seals: what must not happen to a file's content any more (`F_ADD_SEALS`).

use crate::{Error, Result};
use base::sync::SpinLock;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering};

bitflags! {
    /// What is forbidden; the bits are those of `fcntl(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Seals: u32 {
        /// Further seals.
        const SEAL = 1;
        /// Getting shorter.
        const SHRINK = 2;
        /// Getting longer.
        const GROW = 4;
        /// Changes of the content.
        const WRITE = 8;
        /// Changes of the content, but through mappings that are there already.
        const FUTURE_WRITE = 16;
        /// Changes of the right to execute it.
        const EXECUTE = 32;
    }
}

impl Seals {
    /// What keeps the content as it is.
    pub const CONTENT: Self = Self::WRITE.union(Self::FUTURE_WRITE);
}

/// The seals of one file, and the mappings that could write to it.
pub struct Sealing {
    /// Changed under `mappings`, read without.
    seals: AtomicU32,
    /// How many shared mappings may be written through.
    mappings: SpinLock<u32>,
}

impl Sealing {
    /// A file that can be given these seals only.
    pub const fn new(seals: Seals) -> Self {
        Self { seals: AtomicU32::new(seals.bits()), mappings: SpinLock::new(0) }
    }

    /// The seals.
    #[inline]
    pub fn get(&self) -> Seals {
        Seals::from_bits_retain(self.seals.load(Ordering::Acquire))
    }

    /// Replaces the seals of a file that nobody else knows yet.
    pub fn reset(&self, seals: Seals) {
        self.seals.store(seals.bits(), Ordering::Release);
    }

    /// Adds seals.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when no more may be added, [`Error::Busy`] when its content could still be changed through a
    /// mapping.
    pub fn add(&self, seals: Seals) -> Result<()> {
        let mappings = self.mappings.lock();
        let former = self.get();
        if former.contains(Seals::SEAL) {
            return Err(Error::NotPermitted);
        }
        if seals.contains(Seals::WRITE) && !former.contains(Seals::WRITE) && *mappings > 0 {
            return Err(Error::Busy);
        }
        self.seals.store((former | seals).bits(), Ordering::Release);
        Ok(())
    }

    /// Counts one more mapping that may be written through.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the content is sealed.
    pub fn begin_mapping(&self) -> Result<()> {
        let mut mappings = self.mappings.lock();
        if self.get().intersects(Seals::CONTENT) {
            return Err(Error::NotPermitted);
        }
        *mappings += 1;
        Ok(())
    }

    /// Undoes one [`Sealing::begin_mapping`].
    pub fn end_mapping(&self) {
        *self.mappings.lock() -= 1;
    }

    /// Checks that the content may be changed.
    ///
    /// # Errors
    /// [`Error::NotPermitted`]
    #[inline]
    pub fn check_write(&self) -> Result<()> {
        if self.get().intersects(Seals::CONTENT) { Err(Error::NotPermitted) } else { Ok(()) }
    }

    /// Checks that the length may change so.
    ///
    /// # Errors
    /// [`Error::NotPermitted`]
    pub fn check_resize(&self, from: u64, to: u64) -> Result<()> {
        let seals = self.get();
        let forbidden =
            to < from && seals.contains(Seals::SHRINK) || to > from && seals.contains(Seals::GROW);
        if forbidden { Err(Error::NotPermitted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_are_added_until_they_are_sealed() {
        let sealing = Sealing::new(Seals::empty());
        sealing.begin_mapping().unwrap();
        assert_eq!(sealing.add(Seals::WRITE), Err(Error::Busy));
        assert_eq!(sealing.add(Seals::FUTURE_WRITE | Seals::GROW), Ok(()));
        assert_eq!(sealing.begin_mapping(), Err(Error::NotPermitted));
        sealing.end_mapping();
        assert_eq!(sealing.add(Seals::WRITE | Seals::SEAL), Ok(()));
        assert_eq!(sealing.add(Seals::SHRINK), Err(Error::NotPermitted));
        assert_eq!(
            (sealing.check_resize(5, 6), sealing.check_resize(5, 4)),
            (Err(Error::NotPermitted), Ok(()))
        );
    }
}
