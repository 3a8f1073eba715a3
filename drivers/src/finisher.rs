//! The test finisher (`sifive,test0`): the way out of QEMU, with an exit status.

use crate::machine::Device;
use crate::mmio::{DeviceSpace, Registers};
use base::Result;

const FAIL: u32 = 0x3333;
const PASS: u32 = 0x5555;
const RESET: u32 = 0x7777;

/// The device. Each command stops the machine within some instructions: the caller waits for that.
#[derive(Clone, Copy, Debug)]
pub struct Finisher {
    registers: Registers,
}

impl Finisher {
    /// Takes the device over.
    ///
    /// # Errors
    /// Those of [`DeviceSpace::registers`].
    pub fn new(device: &Device, space: &DeviceSpace) -> Result<Self> {
        Ok(Self { registers: space.registers(device.registers)? })
    }

    /// Switches the machine off; QEMU exits with status 0.
    pub fn pass(&self) {
        self.registers.write32(0, PASS);
    }

    /// Switches the machine off; QEMU exits with the low 8 bits of `code`.
    pub fn fail(&self, code: u16) {
        self.registers.write32(0, u32::from(code) << 16 | FAIL);
    }

    /// Starts the machine again.
    pub fn reset(&self) {
        self.registers.write32(0, RESET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake;

    #[test]
    fn commands_are_one_word() {
        let finisher = Finisher { registers: fake::registers(0x1000) };
        finisher.fail(42);
        assert_eq!(finisher.registers.read32(0), 0x002a_3333);
        finisher.pass();
        assert_eq!(finisher.registers.read32(0), 0x5555);
        finisher.reset();
        assert_eq!(finisher.registers.read32(0), 0x7777);
    }
}
