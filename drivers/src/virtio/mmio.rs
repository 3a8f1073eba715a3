//! virtio over memory-mapped registers (4.2), version 1 (legacy) and version 2.

use super::{Cause, Features, QueueAddresses, Status, Transport};
use crate::machine::Device;
use crate::mmio::{DeviceSpace, Registers, barrier};
use base::address::{PAGE_SHIFT, PAGE_SIZE};
use base::{Error, Result};

const MAGIC: usize = 0x000;
const VERSION: usize = 0x004;
const DEVICE_TYPE: usize = 0x008;
const DEVICE_FEATURES: usize = 0x010;
const DEVICE_FEATURES_SELECT: usize = 0x014;
const DRIVER_FEATURES: usize = 0x020;
const DRIVER_FEATURES_SELECT: usize = 0x024;
const LEGACY_PAGE_SIZE: usize = 0x028;
const QUEUE_SELECT: usize = 0x030;
const QUEUE_MAX_SIZE: usize = 0x034;
const QUEUE_SIZE: usize = 0x038;
const LEGACY_QUEUE_ALIGN: usize = 0x03c;
const LEGACY_QUEUE_PAGE: usize = 0x040;
const QUEUE_READY: usize = 0x044;
const QUEUE_NOTIFY: usize = 0x050;
const INTERRUPT_STATUS: usize = 0x060;
const INTERRUPT_ACKNOWLEDGE: usize = 0x064;
const STATUS: usize = 0x070;
const QUEUE_DESCRIPTORS: usize = 0x080;
const QUEUE_AVAILABLE: usize = 0x090;
const QUEUE_USED: usize = 0x0a0;
const CONFIGURATION_GENERATION: usize = 0x0fc;
const CONFIGURATION: usize = 0x100;

/// `virt` in little-endian letters.
const MAGIC_VALUE: u32 = 0x7472_6976;

/// A device in an MMIO slot.
#[derive(Debug)]
pub struct MmioTransport {
    registers: Registers,
    legacy: bool,
}

impl MmioTransport {
    /// The device in the slot; `None` when the slot is empty.
    ///
    /// # Errors
    /// `NoDevice` when what is there is no virtio device, `NotSupported` when it is of an unknown version,
    /// and those of [`DeviceSpace::registers`].
    pub fn probe(slot: &Device, space: &DeviceSpace) -> Result<Option<Self>> {
        Self::over(space.registers(slot.registers)?)
    }

    fn over(registers: Registers) -> Result<Option<Self>> {
        if registers.size() < CONFIGURATION || registers.read32(MAGIC) != MAGIC_VALUE {
            return Err(Error::NoDevice);
        }
        let legacy = match registers.read32(VERSION) {
            1 => true,
            2 => false,
            _ => return Err(Error::NotSupported),
        };
        Ok((registers.read32(DEVICE_TYPE) != 0).then_some(Self { registers, legacy }))
    }

    fn write_address(&self, register: usize, address: u64) {
        self.registers.write32(register, address as u32);
        self.registers.write32(register + 4, (address >> 32) as u32);
    }
}

impl Transport for MmioTransport {
    fn device_type(&self) -> u32 {
        self.registers.read32(DEVICE_TYPE)
    }

    fn is_legacy(&self) -> bool {
        self.legacy
    }

    fn offered_features(&self) -> Features {
        self.registers.write32(DEVICE_FEATURES_SELECT, 0);
        let low = self.registers.read32(DEVICE_FEATURES);
        if self.legacy {
            return Features::from_bits_retain(u64::from(low));
        }
        self.registers.write32(DEVICE_FEATURES_SELECT, 1);
        let high = self.registers.read32(DEVICE_FEATURES);
        Features::from_bits_retain(u64::from(high) << 32 | u64::from(low))
    }

    fn accept_features(&self, features: Features) {
        self.registers.write32(DRIVER_FEATURES_SELECT, 0);
        self.registers.write32(DRIVER_FEATURES, features.bits() as u32);
        if !self.legacy {
            self.registers.write32(DRIVER_FEATURES_SELECT, 1);
            self.registers.write32(DRIVER_FEATURES, (features.bits() >> 32) as u32);
        }
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.registers.read32(STATUS))
    }

    fn set_status(&self, status: Status) {
        self.registers.write32(STATUS, status.bits());
    }

    fn max_queue_size(&self, queue: u16) -> u16 {
        self.registers.write32(QUEUE_SELECT, u32::from(queue));
        u16::try_from(self.registers.read32(QUEUE_MAX_SIZE)).unwrap_or(1 << 15)
    }

    fn start_queue(&self, queue: u16, addresses: &QueueAddresses) -> Result<()> {
        let registers = &self.registers;
        registers.write32(QUEUE_SELECT, u32::from(queue));
        let busy = if self.legacy { LEGACY_QUEUE_PAGE } else { QUEUE_READY };
        if registers.read32(busy) != 0 {
            return Err(Error::Busy);
        }
        registers.write32(QUEUE_SIZE, u32::from(addresses.size));
        if self.legacy {
            let page = addresses.descriptors.value() >> PAGE_SHIFT;
            let page = u32::try_from(page).map_err(|_| Error::InvalidArgument)?;
            registers.write32(LEGACY_PAGE_SIZE, PAGE_SIZE as u32);
            registers.write32(LEGACY_QUEUE_ALIGN, PAGE_SIZE as u32);
            registers.write32(LEGACY_QUEUE_PAGE, page);
        } else {
            self.write_address(QUEUE_DESCRIPTORS, addresses.descriptors.value() as u64);
            self.write_address(QUEUE_AVAILABLE, addresses.available.value() as u64);
            self.write_address(QUEUE_USED, addresses.used.value() as u64);
            registers.write32(QUEUE_READY, 1);
        }
        Ok(())
    }

    fn notify(&self, queue: u16) {
        barrier();
        self.registers.write32(QUEUE_NOTIFY, u32::from(queue));
    }

    fn acknowledge_interrupt(&self) -> Cause {
        let cause = self.registers.read32(INTERRUPT_STATUS);
        self.registers.write32(INTERRUPT_ACKNOWLEDGE, cause);
        barrier();
        Cause::from_bits_truncate(cause)
    }

    fn configuration_byte(&self, offset: usize) -> u8 {
        let offset = CONFIGURATION.saturating_add(offset);
        if offset < self.registers.size() { self.registers.read8(offset) } else { 0 }
    }

    fn configuration_generation(&self) -> u32 {
        if self.legacy { 0 } else { self.registers.read32(CONFIGURATION_GENERATION) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake;
    use base::address::PhysicalAddress;

    fn slot(version: u32, device_type: u32) -> Registers {
        let registers = fake::registers(0x1000);
        registers.write32(MAGIC, MAGIC_VALUE);
        registers.write32(VERSION, version);
        registers.write32(DEVICE_TYPE, device_type);
        registers
    }

    fn addresses() -> QueueAddresses {
        let address = |value| PhysicalAddress::new(value);
        let (descriptors, available) = (address(0x1_8000_0000), address(0x1_8000_0100));
        QueueAddresses { size: 16, descriptors, available, used: address(0x1_8000_1000) }
    }

    #[test]
    fn slots_are_told_apart() {
        assert_eq!(MmioTransport::over(fake::registers(0x1000)).unwrap_err(), Error::NoDevice);
        assert_eq!(MmioTransport::over(slot(3, 4)).unwrap_err(), Error::NotSupported);
        assert!(MmioTransport::over(slot(1, 0)).expect("virtio").is_none());
        assert!(MmioTransport::over(slot(1, 4)).expect("virtio").expect("a device").is_legacy());
    }

    #[test]
    fn a_legacy_queue_is_a_page_number() {
        let registers = slot(1, 4);
        let transport = MmioTransport::over(registers).expect("virtio").expect("a device");
        transport.start_queue(1, &addresses()).expect("free");
        let written = [QUEUE_SELECT, QUEUE_SIZE, LEGACY_PAGE_SIZE, LEGACY_QUEUE_ALIGN, LEGACY_QUEUE_PAGE];
        assert_eq!(written.map(|register| registers.read32(register)), [1, 16, 4096, 4096, 0x18_0000]);
        assert_eq!(transport.start_queue(1, &addresses()), Err(Error::Busy));
    }

    #[test]
    fn a_modern_queue_is_three_addresses() {
        let registers = slot(2, 4);
        let transport = MmioTransport::over(registers).expect("virtio").expect("a device");
        transport.start_queue(0, &addresses()).expect("free");
        let written =
            [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, QUEUE_READY].map(|register| registers.read32(register));
        assert_eq!(written, [0x8000_0000, 1, 0x8000_0100, 1, 0x8000_1000, 1, 1]);
        registers.write8(0x105, 7);
        assert_eq!((transport.configuration_byte(5), transport.configuration_byte(usize::MAX)), (7, 0));
        registers.write32(INTERRUPT_STATUS, 1);
        assert_eq!(transport.acknowledge_interrupt(), Cause::QUEUE);
        assert_eq!(registers.read32(INTERRUPT_ACKNOWLEDGE), 1);
    }
}
