//! What the machine has, as a plain value: read from the device tree before there is a heap.
//!
//! [`Machine::parse`] takes the firmware's blob for an allegation: a corrupt one gives an error, never a panic, and
//! everything that is used later is copied out, so that the blob's memory can be given to the allocator.

mod isa;
mod parse;
#[cfg(test)]
mod tests;

pub use isa::Extensions;

use arrayvec::{ArrayString, ArrayVec};
use base::address::PhysicalAddress;

/// Harts that are used; more are counted in [`Machine::ignored_harts`] and left asleep.
pub const MAX_HARTS: usize = 64;
/// Ranges of RAM.
pub const MAX_MEMORY_REGIONS: usize = 16;
/// Ranges of RAM that are somebody else's.
pub const MAX_RESERVED_REGIONS: usize = 32;
/// Interrupt controllers of one kind.
pub const MAX_CONTROLLERS: usize = 4;
/// virtio devices over MMIO.
pub const MAX_VIRTIO_SLOTS: usize = 32;
/// Bytes of the kernel's command line.
pub const MAX_BOOT_ARGUMENTS: usize = 2048;
/// Bytes of randomness from the firmware.
pub const MAX_SEED: usize = 128;

/// The number by which nodes of the device tree refer to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phandle(pub u32);

/// A range of physical addresses, `size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// The first address.
    pub start: PhysicalAddress,
    /// How many bytes.
    pub size: usize,
}

impl Region {
    /// The first address after it; `None` when that is beyond the address space.
    pub fn end(&self) -> Option<PhysicalAddress> {
        self.start.checked_add(self.size)
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Region) -> bool {
        let last = |region: &Region| region.start.value().saturating_add(region.size.saturating_sub(1));
        self.size > 0
            && other.size > 0
            && self.start.value() <= last(other)
            && other.start.value() <= last(self)
    }
}

/// What the machine has.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The RAM. Reserved parts are in it.
    pub memory: ArrayVec<Region, MAX_MEMORY_REGIONS>,
    /// The parts of the RAM that are not ours: the firmware, and what the tree's reservations name.
    /// The initial RAM disk and the tree itself are not in it unless the firmware listed them.
    pub reserved: ArrayVec<Region, MAX_RESERVED_REGIONS>,
    /// The harts that may be used, in the order of the tree.
    pub harts: ArrayVec<Hart, MAX_HARTS>,
    /// How many harts the machine has beyond [`MAX_HARTS`].
    pub ignored_harts: usize,
    /// Ticks of the `time` CSR in a second.
    pub timebase_hz: u64,
    /// What the boot loader says.
    pub chosen: Chosen,
    /// The console: the UART that `stdout-path` names, else the first.
    pub uart: Option<Uart>,
    /// The real-time clock.
    pub rtc: Option<Device>,
    /// QEMU's way out with an exit status.
    pub finisher: Option<Device>,
    /// What to write where to switch the machine off.
    pub poweroff: Option<RegisterWrite>,
    /// What to write where to start the machine again.
    pub reboot: Option<RegisterWrite>,
    /// Platform-level interrupt controllers.
    pub plics: ArrayVec<Plic, MAX_CONTROLLERS>,
    /// Advanced platform-level interrupt controllers, supervisor domains only.
    pub aplics: ArrayVec<Aplic, MAX_CONTROLLERS>,
    /// The interrupt files of the supervisor level.
    pub imsic: Option<Imsic>,
    /// The slots for virtio devices, by address; most are empty.
    pub virtio: ArrayVec<Device, MAX_VIRTIO_SLOTS>,
    /// The PCI host bridge.
    pub pci: Option<PciHost>,
}

impl Machine {
    /// The hart with this id.
    pub fn hart(&self, id: usize) -> Option<&Hart> {
        self.harts.iter().find(|hart| hart.id == id)
    }

    /// The extensions that every hart has.
    pub fn common_extensions(&self) -> Extensions {
        self.harts.iter().fold(Extensions::all(), |common, hart| common & hart.extensions)
    }
}

/// One hart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hart {
    /// `mhartid`: the number by which SBI knows it.
    pub id: usize,
    /// What it can do beyond the base instructions.
    pub extensions: Extensions,
    /// The largest address translation that it has.
    pub translation: Translation,
    /// Bytes of a block of `cbo.clean`, `cbo.flush` and `cbo.inval`; 0 when not said.
    pub cache_management_block: u32,
    /// Bytes of a block of `cbo.zero`; 0 when not said.
    pub cache_zero_block: u32,
    /// The hart's own interrupt controller, to which others refer.
    pub interrupt_controller: Phandle,
}

/// Address translation modes, each of which implies those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Translation {
    /// None, or not said.
    None,
    /// Three levels.
    Sv39,
    /// Four levels.
    Sv48,
    /// Five levels.
    Sv57,
}

/// What the boot loader says (`/chosen`).
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// The kernel's command line.
    pub boot_arguments: ArrayString<MAX_BOOT_ARGUMENTS>,
    /// The initial RAM disk.
    pub initial_ram_disk: Option<Region>,
    /// Random bytes for the entropy pool.
    pub rng_seed: ArrayVec<u8, MAX_SEED>,
    /// Random bits for the kernel's own layout.
    pub kaslr_seed: Option<u64>,
}

/// When a wire means an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// As it rises.
    EdgeRising,
    /// As it falls.
    EdgeFalling,
    /// For as long as it is high.
    LevelHigh,
    /// For as long as it is low.
    LevelLow,
}

impl Trigger {
    /// Whether the wire has to go back before the interrupt is over.
    pub fn is_level(self) -> bool {
        matches!(self, Trigger::LevelHigh | Trigger::LevelLow)
    }
}

/// A wired interrupt of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interrupt {
    /// The PLIC or APLIC to which the wire goes.
    pub controller: Phandle,
    /// The wire's number there, from 1.
    pub source: u32,
    /// When it means an interrupt. A PLIC does not say: `LevelHigh`.
    pub trigger: Trigger,
}

/// A device with one set of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its registers.
    pub registers: Region,
    /// Its interrupt, when it has one.
    pub interrupt: Option<Interrupt>,
}

/// A UART compatible with the 16550.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub registers: Region,
    /// Its interrupt, when it has one.
    pub interrupt: Option<Interrupt>,
    /// The rate of its input clock in Hz; 0 when not said.
    pub clock_hz: u32,
    /// The rate at which the firmware left the line; 0 when not said.
    pub baud: u32,
    /// log2 of the bytes from one register to the next.
    pub register_shift: u8,
    /// Bytes of one access: 1 or 4.
    pub access_width: u8,
}

/// A store to a register that does something to the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterWrite {
    /// The device in which the register is.
    pub registers: Region,
    /// Where in it, in bytes.
    pub offset: usize,
    /// The 32-bit value to write.
    pub value: u32,
}

/// A platform-level interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plic {
    /// How interrupts refer to it.
    pub phandle: Phandle,
    /// Its registers.
    pub registers: Region,
    /// The greatest source number.
    pub source_count: u32,
    /// The supervisor context of each hart that it serves.
    pub contexts: ArrayVec<PlicContext, MAX_HARTS>,
}

/// Which context of a PLIC is the supervisor's on a hart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlicContext {
    /// The hart.
    pub hart_id: usize,
    /// The context's number.
    pub context: u32,
}

/// What index a controller has for a hart. It counts harts that are not used, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HartPlace {
    /// The hart.
    pub hart_id: usize,
    /// Its index.
    pub index: u32,
}

/// The supervisor's domain of an advanced platform-level interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aplic {
    /// How interrupts refer to it.
    pub phandle: Phandle,
    /// Its registers.
    pub registers: Region,
    /// The greatest source number.
    pub source_count: u32,
    /// How it tells the harts.
    pub delivery: Delivery,
}

/// How an APLIC tells the harts of an interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is no heap yet when it is made, and there are at most four"
)]
pub enum Delivery {
    /// By a message to the interrupt file of a hart.
    Message,
    /// By a wire to each of these harts.
    Direct(ArrayVec<HartPlace, MAX_HARTS>),
}

/// The interrupt files of the supervisor level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imsic {
    /// How message senders refer to it.
    pub phandle: Phandle,
    /// Where the files are; several when the harts are in groups.
    pub regions: ArrayVec<Region, MAX_CONTROLLERS>,
    /// The greatest identity that a supervisor file has.
    pub identity_count: u32,
    /// The greatest identity that a guest file has.
    pub guest_identity_count: u32,
    /// log2 of the files (pages) of one hart, its own and its guests'.
    pub guest_index_bits: u32,
    /// Bits of a hart's index inside its group.
    pub hart_index_bits: u32,
    /// Bits of the group's index.
    pub group_index_bits: u32,
    /// Where the group's index starts in an address.
    pub group_index_shift: u32,
    /// The harts that have files, and where theirs are in the row of all files.
    pub harts: ArrayVec<HartPlace, MAX_HARTS>,
}

/// A PCI host bridge with ECAM configuration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciHost {
    /// The configuration space: 1 MiB for each bus.
    pub ecam: Region,
    /// The number of the first bus.
    pub first_bus: u8,
    /// The number of the last bus.
    pub last_bus: u8,
    /// Through which the harts reach the devices.
    pub windows: ArrayVec<PciWindow, 8>,
    /// Which bits of a function's address (device << 11 | function << 8) decide on its interrupt.
    pub interrupt_mask: u32,
    /// Where the interrupt pins of functions go.
    pub interrupts: ArrayVec<PciInterrupt, 32>,
}

/// A window from the harts' address space into PCI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciWindow {
    /// What is behind it.
    pub space: PciSpace,
    /// Where it starts on the bus.
    pub bus_address: u64,
    /// Where it starts for the harts, and its size.
    pub region: Region,
}

/// PCI's address spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciSpace {
    /// I/O ports.
    Io,
    /// Memory that 32-bit base registers reach.
    Memory32,
    /// Memory that only 64-bit base registers reach.
    Memory64,
}

/// Where an interrupt pin goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciInterrupt {
    /// The function's address under [`PciHost::interrupt_mask`].
    pub function: u32,
    /// The pin: 1 is INTA.
    pub pin: u8,
    /// The wire.
    pub interrupt: Interrupt,
}
