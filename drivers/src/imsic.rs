//! Interrupt files (AIA 1.0, chapter 3): where each one's doorbell is, and what its registers mean.
//!
//! A file's registers are CSRs of the hart that has it, so that the architecture reaches them, by [`FileRegisters`];
//! its doorbell is a page of memory that anyone may be given.

use crate::machine::{self, Region};
use crate::mmio::{DeviceSpace, Registers};
use base::address::{PAGE_SHIFT, PAGE_SIZE, PhysicalAddress};
use base::{Error, Result};

/// The indirect register that turns delivery on (1) or off (0).
pub const EIDELIVERY: usize = 0x70;
/// The indirect register below whose value identities are delivered; 0 delivers all.
pub const EITHRESHOLD: usize = 0x72;
/// The first indirect register of pending bits.
pub const EIP: usize = 0x80;
/// The first indirect register of enable bits.
pub const EIE: usize = 0xc0;
/// Where in a file's page a message with an identity is written, in little-endian order.
pub const DOORBELL_OFFSET: usize = 0;
/// The greatest identity that any file can have.
pub const MAX_IDENTITY: u16 = 2047;

/// The indirect register and the bit in it for an identity, from the first register of an array ([`EIP`], [`EIE`]).
/// On RV64 each even register holds 64 bits and the odd ones are absent (3.8.3).
pub const fn register_bit(array: usize, identity: u16) -> (usize, u32) {
    (array + 2 * (identity as usize / 64), identity as u32 % 64)
}

/// The identity in a value of `stopei`, `vstopei` or `mtopei`; `None` when nothing is pending and enabled.
#[inline]
pub const fn claimed_identity(top: usize) -> Option<u16> {
    match (top >> 16 & 0x7ff) as u16 {
        0 => None,
        identity => Some(identity),
    }
}

/// How the architecture reaches the file of the running hart: the supervisor's own (`siselect`, `sireg`), or the
/// guest's that is selected now (`vsiselect`, `vsireg`).
pub trait FileRegisters {
    /// Writes the indirect register `select`.
    fn write(&self, select: usize, value: usize);
    /// Sets the bits of `mask` in the indirect register `select`, at once.
    fn set(&self, select: usize, mask: usize);
    /// Clears the bits of `mask` in the indirect register `select`, at once.
    fn clear(&self, select: usize, mask: usize);
}

/// Puts a file into service with every identity up to `identity_count` off and not pending.
pub fn start_file(file: &impl FileRegisters, identity_count: u16) {
    file.write(EIDELIVERY, 0);
    for first in (0..=identity_count).step_by(64) {
        file.write(register_bit(EIE, first).0, 0);
        file.write(register_bit(EIP, first).0, 0);
    }
    file.write(EITHRESHOLD, 0);
    file.write(EIDELIVERY, 1);
}

/// Lets `identity` interrupt.
pub fn enable_identity(file: &impl FileRegisters, identity: u16) {
    let (select, bit) = register_bit(EIE, identity);
    file.set(select, 1 << bit);
}

/// Holds `identity` back; it may become pending meanwhile.
pub fn disable_identity(file: &impl FileRegisters, identity: u16) {
    let (select, bit) = register_bit(EIE, identity);
    file.clear(select, 1 << bit);
}

/// Where the interrupt files of the supervisor level are.
#[derive(Clone, Debug)]
pub struct Layout {
    description: machine::Imsic,
}

impl Layout {
    /// The layout that the device tree describes.
    ///
    /// # Errors
    /// `InvalidArgument` when there are harts without a file.
    pub fn new(description: &machine::Imsic) -> Result<Self> {
        let layout = Self { description: description.clone() };
        let harts = &description.harts;
        if harts.iter().all(|hart| layout.file(hart.hart_id, layout.files_per_hart() - 1).is_some()) {
            Ok(layout)
        } else {
            Err(Error::InvalidArgument)
        }
    }

    /// How many files a hart has: its own and its guests'.
    pub fn files_per_hart(&self) -> u32 {
        1 << self.description.guest_index_bits
    }

    /// The greatest identity of a hart's own file (guest 0) or of its guests'.
    pub fn identity_count(&self, guest: u32) -> u16 {
        let count = match guest {
            0 => self.description.identity_count,
            _ => self.description.guest_identity_count,
        };
        u16::try_from(count).unwrap_or(MAX_IDENTITY).min(MAX_IDENTITY)
    }

    /// Whether the file has this identity.
    pub fn has_identity(&self, guest: u32, identity: u16) -> bool {
        (1..=self.identity_count(guest)).contains(&identity)
    }

    /// The page of a file of a hart: guest 0 is its own. `None` when there is none.
    pub fn file(&self, hart_id: usize, guest: u32) -> Option<PhysicalAddress> {
        if guest >= self.files_per_hart() {
            return None;
        }
        let place = self.description.harts.iter().find(|hart| hart.hart_id == hart_id)?;
        // The files of the harts follow one another through the regions.
        let mut offset = (place.index as usize) << self.description.guest_index_bits << PAGE_SHIFT;
        for region in &self.description.regions {
            if offset < region.size {
                let page = region.start.checked_add(offset + guest as usize * PAGE_SIZE)?;
                return (page < region.end()?).then_some(page);
            }
            offset -= region.size;
        }
        None
    }

    /// How an APLIC names the hart (4.9.1): the group's index above the hart's index in its group.
    pub fn message_hart_index(&self, hart_id: usize) -> Option<u32> {
        let address = self.file(hart_id, 0)?.value();
        let field = |shift: u32, bits: u32| (address >> shift & ((1 << bits) - 1)) as u32;
        let hart =
            field(PAGE_SHIFT as u32 + self.description.guest_index_bits, self.description.hart_index_bits);
        let group = field(self.description.group_index_shift, self.description.group_index_bits);
        Some(group << self.description.hart_index_bits | hart)
    }

    /// The doorbell of a file.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such file, and those of [`DeviceSpace::registers`].
    pub fn doorbell(&self, hart_id: usize, guest: u32, space: &DeviceSpace) -> Result<Doorbell> {
        let start = self.file(hart_id, guest).ok_or(Error::InvalidArgument)?;
        Ok(Doorbell { registers: space.registers(Region { start, size: PAGE_SIZE })? })
    }
}

/// Makes identities pending in one file.
#[derive(Clone, Copy, Debug)]
pub struct Doorbell {
    registers: Registers,
}

impl Doorbell {
    /// Makes `identity` pending; one that the file does not have is ignored by it. What was written to memory before
    /// is visible to whoever takes the interrupt.
    #[inline]
    pub fn ring(&self, identity: u16) {
        crate::mmio::barrier();
        self.registers.write32(DOORBELL_OFFSET, u32::from(identity));
    }
}

/// Which identities of a file are in use. What each one means is for the owner's table of handlers.
#[derive(Clone, Debug)]
pub struct Identities {
    used: [u64; 32],
    count: u16,
}

impl Identities {
    /// All of 1 to `count` (at most [`MAX_IDENTITY`]) are free.
    pub const fn new(count: u16) -> Self {
        let count = if count > MAX_IDENTITY { MAX_IDENTITY } else { count };
        Self { used: [0; 32], count }
    }

    /// Takes the lowest free identity: the lower, the more important it is to the file.
    pub fn allocate(&mut self) -> Option<u16> {
        // Identity 0 means none, and is never free.
        let free = |(index, word): (usize, &u64)| {
            let word = word | u64::from(index == 0);
            (word != u64::MAX).then(|| index as u16 * 64 + word.trailing_ones() as u16)
        };
        let identity = self.used.iter().enumerate().find_map(free)?;
        self.reserve(identity).ok().map(|()| identity)
    }

    /// Takes a particular identity.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such identity, `Busy` when it is in use.
    pub fn reserve(&mut self, identity: u16) -> Result<()> {
        if !(1..=self.count).contains(&identity) {
            return Err(Error::InvalidArgument);
        }
        let (word, mask) = (&mut self.used[identity as usize / 64], 1u64 << (identity % 64));
        if *word & mask != 0 {
            return Err(Error::Busy);
        }
        *word |= mask;
        Ok(())
    }

    /// Gives an identity back. Whoever still sends it is the owner's worry.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not in use.
    pub fn release(&mut self, identity: u16) -> Result<()> {
        let word = self.used.get_mut(identity as usize / 64).ok_or(Error::InvalidArgument)?;
        let mask = 1u64 << (identity % 64);
        if *word & mask == 0 {
            return Err(Error::InvalidArgument);
        }
        *word &= !mask;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::machine::{HartPlace, Phandle};
    use core::cell::RefCell;
    use std::collections::BTreeMap;

    /// The files of QEMU's `virt` with two harts and 7 guests.
    pub(crate) fn two_harts() -> Layout {
        Layout::new(&description()).expect("valid")
    }

    fn places(count: u32) -> arrayvec::ArrayVec<HartPlace, { machine::MAX_HARTS }> {
        (0..count).map(|index| HartPlace { hart_id: index as usize, index }).collect()
    }

    fn description() -> machine::Imsic {
        machine::Imsic {
            phandle: Phandle(6),
            regions: [Region { start: PhysicalAddress::new(0x2800_0000), size: 0x1_0000 }]
                .into_iter()
                .collect(),
            identity_count: 255,
            guest_identity_count: 255,
            guest_index_bits: 3,
            hart_index_bits: 1,
            group_index_bits: 0,
            group_index_shift: 24,
            harts: places(2),
        }
    }

    #[test]
    fn files_are_where_the_proofs_store() {
        let layout = two_harts();
        assert_eq!(layout.file(0, 1), Some(PhysicalAddress::new(0x2800_1000)));
        assert_eq!(layout.file(1, 0), Some(PhysicalAddress::new(0x2800_8000)));
        assert_eq!(layout.file(1, 7), Some(PhysicalAddress::new(0x2800_f000)));
        assert_eq!((layout.file(1, 8), layout.file(2, 0)), (None, None));
        assert_eq!(layout.message_hart_index(1), Some(1));
    }

    #[test]
    fn groups_are_part_of_the_index() {
        let mut description = description();
        description.regions.push(Region { start: PhysicalAddress::new(0x2900_0000), size: 0x1_0000 });
        description.harts = places(4);
        (description.group_index_bits, description.group_index_shift) = (1, 24);
        let layout = Layout::new(&description).expect("valid");
        assert_eq!(layout.file(3, 1), Some(PhysicalAddress::new(0x2900_9000)));
        let indices = [0, 1, 2, 3].map(|hart| layout.message_hart_index(hart).expect("a hart"));
        assert_eq!(indices, [0, 1, 2, 3]);
        description.harts = places(5);
        assert!(Layout::new(&description).is_err());
    }

    #[test]
    fn registers_and_claims_are_encoded_as_specified() {
        assert_eq!(register_bit(EIE, 1), (0xc0, 1));
        assert_eq!(register_bit(EIE, 64), (0xc2, 0));
        assert_eq!(register_bit(EIP, 2047), (0xbe, 63));
        assert_eq!(claimed_identity(0x0009_0009), Some(9));
        assert_eq!(claimed_identity(0), None);
    }

    #[derive(Default)]
    struct FakeFile(RefCell<BTreeMap<usize, usize>>);

    impl FileRegisters for FakeFile {
        fn write(&self, select: usize, value: usize) {
            assert!(select < EIP || select.is_multiple_of(2), "odd registers are absent on RV64");
            self.0.borrow_mut().insert(select, value);
        }
        fn set(&self, select: usize, mask: usize) {
            *self.0.borrow_mut().entry(select).or_default() |= mask;
        }
        fn clear(&self, select: usize, mask: usize) {
            *self.0.borrow_mut().entry(select).or_default() &= !mask;
        }
    }

    #[test]
    fn a_started_file_delivers_what_is_enabled() {
        let file = FakeFile::default();
        file.write(EIE + 6, usize::MAX);
        start_file(&file, 255);
        enable_identity(&file, 200);
        enable_identity(&file, 201);
        disable_identity(&file, 201);
        let registers = file.0.borrow();
        assert_eq!((registers[&EIDELIVERY], registers[&EITHRESHOLD]), (1, 0));
        assert_eq!((registers[&(EIE + 6)], registers[&EIE]), (1 << (200 % 64), 0));
    }

    #[test]
    fn identities_run_out_and_come_back() {
        let mut identities = Identities::new(255);
        assert_eq!(identities.reserve(1), Ok(()));
        assert_eq!(identities.reserve(1), Err(Error::Busy));
        assert_eq!(
            (identities.reserve(0), identities.reserve(256)),
            (Err(Error::InvalidArgument), Err(Error::InvalidArgument))
        );
        let taken: std::vec::Vec<u16> = core::iter::from_fn(|| identities.allocate()).collect();
        assert_eq!(taken, (2..=255).collect::<std::vec::Vec<u16>>());
        identities.release(77).expect("in use");
        assert_eq!(identities.release(77), Err(Error::InvalidArgument));
        assert_eq!((identities.allocate(), identities.allocate()), (Some(77), None));
        assert_eq!(
            core::iter::from_fn({
                let mut all = Identities::new(u16::MAX);
                move || all.allocate()
            })
            .count(),
            2047
        );
    }
}
