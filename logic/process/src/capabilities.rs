//! What of user 0's rights a process has: the sets that programs give up and that changes of ids move (capabilities(7)).

use crate::credentials::{ALL_CAPABILITIES, Identity};
use abi::Error;
use base::Result;

/// The rights that go with the file system's user id: 0 to 4, 9 (immutable files), 27 (device nodes) and 32
/// (mandatory access control).
const OF_FILES: u64 = 0b1_1111 | 1 << 9 | 1 << 27 | 1 << 32;

/// Three sets, as bits by the capability's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What counts when a right is asked for.
    pub effective: u64,
    /// What it may make effective.
    pub permitted: u64,
    /// What may stay across a program's start.
    pub inheritable: u64,
}

impl CapabilitySets {
    /// What user 0 begins with.
    pub const ALL: Self = Self { effective: ALL_CAPABILITIES, permitted: ALL_CAPABILITIES, inheritable: 0 };
    /// What everybody else begins with.
    pub const NONE: Self = Self { effective: 0, permitted: 0, inheritable: 0 };

    /// `capset`: gives rights up, and makes effective what is permitted. Rights that Linux does not number are passed over.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] where something would be gained.
    pub fn set(&mut self, wanted: Self) -> Result<()> {
        let [effective, permitted, inheritable] =
            [wanted.effective, wanted.permitted, wanted.inheritable].map(|set| set & ALL_CAPABILITIES);
        let gained = permitted & !self.permitted
            | effective & !permitted
            | inheritable & !(self.inheritable | self.permitted);
        if gained != 0 {
            return Err(Error::NotPermitted);
        }
        *self = Self { effective, permitted, inheritable };
        Ok(())
    }

    /// The user ids changed from `old` to `new`.
    pub(crate) fn follow(&mut self, old: &Identity, new: &Identity) {
        if old.is_anyhow_root() && !new.is_anyhow_root() {
            (self.effective, self.permitted) = (0, 0);
        }
        match (old.effective, new.effective) {
            (0, 1..) => self.effective = 0,
            (1.., 0) => self.effective = self.permitted,
            _ => {}
        }
    }

    /// The file system's user id changed alone.
    pub(crate) fn follow_filesystem(&mut self, old: u32, new: u32) {
        match (old, new) {
            (0, 1..) => self.effective &= !OF_FILES,
            (1.., 0) => self.effective |= self.permitted & OF_FILES,
            _ => {}
        }
    }

    /// A program without rights of its own starts as `user`.
    pub(crate) fn exec(&mut self, user: &Identity) {
        self.permitted = if user.real == 0 || user.effective == 0 { ALL_CAPABILITIES } else { 0 };
        self.effective = if user.effective == 0 { self.permitted } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_given_up_and_never_gained() {
        let mut sets = CapabilitySets::ALL;
        sets.set(CapabilitySets { effective: 1, permitted: 0b11, inheritable: 0b100 }).unwrap();
        assert_eq!(sets, CapabilitySets { effective: 1, permitted: 0b11, inheritable: 0b100 });
        sets.set(CapabilitySets { effective: 0b11, ..sets }).unwrap();
        for gain in [
            CapabilitySets { permitted: 0b111, ..sets },
            CapabilitySets { effective: 0b111, ..sets },
            CapabilitySets { inheritable: 0b1100, ..sets },
            CapabilitySets { permitted: 0b1, ..sets },
        ] {
            assert_eq!(sets.set(gain), Err(Error::NotPermitted));
        }
        // Numbers that nobody knows are passed over.
        let mut all = CapabilitySets::ALL;
        assert_eq!(all.set(CapabilitySets { permitted: u64::MAX, ..CapabilitySets::ALL }), Ok(()));
    }

    #[test]
    fn rights_follow_the_ids() {
        let identity = |real, effective, saved| Identity { real, effective, saved, filesystem: effective };
        let mut sets = CapabilitySets::ALL;
        sets.follow(&identity(0, 0, 0), &identity(0, 5, 0));
        assert_eq!((sets.effective, sets.permitted), (0, ALL_CAPABILITIES));
        sets.follow(&identity(0, 5, 0), &identity(0, 0, 0));
        assert_eq!(sets, CapabilitySets::ALL);
        sets.follow_filesystem(0, 5);
        assert_eq!(sets.effective, ALL_CAPABILITIES & !OF_FILES);
        sets.follow_filesystem(5, 0);
        assert_eq!(sets, CapabilitySets::ALL);
        sets.follow(&identity(0, 0, 0), &identity(5, 5, 5));
        assert_eq!(sets, CapabilitySets::NONE);
        sets.exec(&identity(0, 5, 5));
        assert_eq!((sets.effective, sets.permitted), (0, ALL_CAPABILITIES));
        sets.exec(&identity(5, 5, 5));
        assert_eq!(sets, CapabilitySets::NONE);
        sets.exec(&identity(5, 0, 0));
        assert_eq!(sets, CapabilitySets::ALL);
    }
}
