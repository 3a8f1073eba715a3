//! Page-table entries as numbers: what each bit says, without any memory (Privileged Architecture, section "Sv39").

use base::address::{PAGE_SHIFT, PhysicalAddress};

bitflags::bitflags! {
    /// The low ten bits of an entry.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// The hardware may use the entry.
        const VALID = 1 << 0;
        /// Loads are allowed.
        const READ = 1 << 1;
        /// Stores are allowed; only together with `READ`.
        const WRITE = 1 << 2;
        /// Fetches are allowed.
        const EXECUTE = 1 << 3;
        /// The entry is for user mode, and for everything in the second stage of a guest.
        const USER = 1 << 4;
        /// The same in every address space.
        const GLOBAL = 1 << 5;
        /// Was used.
        const ACCESSED = 1 << 6;
        /// Was written.
        const DIRTY = 1 << 7;
        /// Ours: a store faults because the frame may be shared, although the area is writable.
        const COPY_ON_WRITE = 1 << 8;
        /// Ours: a frame is kept here although the area allows no access. Such an entry is not `VALID`.
        const PARKED = 1 << 9;
    }
}

impl Flags {
    /// Any access, which is what tells a leaf from a table.
    const ACCESS: Flags = Flags::READ.union(Flags::WRITE).union(Flags::EXECUTE);
}

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub u64);

const NUMBER_SHIFT: u32 = 10;
const NUMBER_MASK: u64 = (1 << 44) - 1;

impl Entry {
    /// No translation, nothing kept.
    pub const EMPTY: Entry = Entry(0);

    /// A leaf. Accessed and dirty are set at once, so that no hardware has to (or traps to have them set).
    /// Without any access in `flags` it is [`Flags::PARKED`]: as a valid entry it would be a table.
    pub const fn leaf(address: PhysicalAddress, flags: Flags) -> Self {
        let access = flags.intersection(Flags::ACCESS);
        let state = if access.is_empty() {
            Flags::PARKED
        } else {
            Flags::VALID.union(Flags::ACCESSED).union(Flags::DIRTY)
        };
        let clean = flags.difference(Flags::PARKED).difference(Flags::VALID);
        // A writable page that is not readable is reserved; Linux makes it readable too.
        let readable = if flags.contains(Flags::WRITE) { Flags::READ } else { Flags::empty() };
        Self(Self::number_bits(address) | clean.union(state).union(readable).bits())
    }

    /// A pointer to the next table.
    pub const fn table(address: PhysicalAddress) -> Self {
        Self(Self::number_bits(address) | Flags::VALID.bits())
    }

    const fn number_bits(address: PhysicalAddress) -> u64 {
        ((address.value() >> PAGE_SHIFT) as u64) << NUMBER_SHIFT
    }

    /// Whether there is nothing here.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it points to a table.
    pub const fn is_table(self) -> bool {
        self.0 & Flags::VALID.union(Flags::ACCESS).bits() == Flags::VALID.bits()
    }

    /// Whether it holds a frame, accessible or parked.
    pub const fn is_leaf(self) -> bool {
        !self.is_empty() && !self.is_table()
    }

    /// Where the frame or the table is.
    pub const fn address(self) -> PhysicalAddress {
        PhysicalAddress::new((((self.0 >> NUMBER_SHIFT) & NUMBER_MASK) as usize) << PAGE_SHIFT)
    }

    /// The flags.
    pub const fn flags(self) -> Flags {
        Flags::from_bits_truncate(self.0)
    }

    /// The same frame with other flags.
    pub const fn with_flags(self, flags: Flags) -> Self {
        Self::leaf(self.address(), flags)
    }

    /// Whether user mode may do all of `access` here.
    pub const fn allows(self, access: Flags) -> bool {
        let needed = access.union(Flags::VALID).union(Flags::USER).bits();
        self.0 & needed == needed
    }
}

impl core::fmt::Debug for Entry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Entry({:#x}, {:?})", self.address(), self.flags())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: PhysicalAddress = PhysicalAddress::new(0x8123_4000);

    #[test]
    fn a_leaf_has_the_hardware_s_bits() {
        let entry = Entry::leaf(FRAME, Flags::READ | Flags::EXECUTE | Flags::USER);
        assert_eq!(entry.0, 0x8_1234 << 10 | 0b1101_1011);
        assert!(entry.is_leaf() && !entry.is_table() && !entry.is_empty());
        assert_eq!(entry.address(), FRAME);
        assert!(entry.allows(Flags::EXECUTE) && !entry.allows(Flags::WRITE));
    }

    #[test]
    fn writable_implies_readable() {
        assert!(Entry::leaf(FRAME, Flags::WRITE | Flags::USER).allows(Flags::READ | Flags::WRITE));
    }

    #[test]
    fn a_leaf_without_access_is_parked_and_invalid() {
        let entry = Entry::leaf(FRAME, Flags::USER);
        assert!(entry.is_leaf() && !entry.flags().contains(Flags::VALID));
        assert!(entry.flags().contains(Flags::PARKED));
        assert_eq!(entry.address(), FRAME);
        let back = entry.with_flags(Flags::READ | Flags::USER);
        assert!(back.allows(Flags::READ) && !back.flags().contains(Flags::PARKED));
    }

    #[test]
    fn a_table_is_no_leaf() {
        let entry = Entry::table(FRAME);
        assert_eq!(entry.0, 0x8_1234 << 10 | 1);
        assert!(entry.is_table() && !entry.is_leaf());
        assert!(!entry.allows(Flags::empty()) && Entry::EMPTY.is_empty());
    }
}
