//! The goldfish real-time clock: wall-clock time in nanoseconds, and one alarm.

use crate::machine::Device;
use crate::mmio::{DeviceSpace, Registers};
use base::Result;

const TIME_LOW: usize = 0x00;
const TIME_HIGH: usize = 0x04;
const ALARM_LOW: usize = 0x08;
const ALARM_HIGH: usize = 0x0c;
const INTERRUPT_ENABLED: usize = 0x10;
const CLEAR_ALARM: usize = 0x14;
const ALARM_STATUS: usize = 0x18;
const CLEAR_INTERRUPT: usize = 0x1c;

/// The device. Reading the time is two accesses of which the first latches the second: callers take turns.
#[derive(Debug)]
pub struct GoldfishRtc {
    registers: Registers,
}

impl GoldfishRtc {
    /// Takes the device over, without an alarm.
    ///
    /// # Errors
    /// Those of [`DeviceSpace::registers`].
    pub fn new(device: &Device, space: &DeviceSpace) -> Result<Self> {
        let mut rtc = Self { registers: space.registers(device.registers)? };
        rtc.clear_alarm();
        Ok(rtc)
    }

    /// Nanoseconds since 1970-01-01 00:00:00 UTC.
    pub fn time_ns(&mut self) -> u64 {
        let low = self.registers.read32(TIME_LOW);
        u64::from(self.registers.read32(TIME_HIGH)) << 32 | u64::from(low)
    }

    /// Interrupts once when the time is `time_ns`, or at once when it has passed. Replaces an earlier alarm.
    pub fn set_alarm(&mut self, time_ns: u64) {
        self.registers.write32(INTERRUPT_ENABLED, 1);
        self.registers.write32(ALARM_HIGH, (time_ns >> 32) as u32);
        self.registers.write32(ALARM_LOW, time_ns as u32);
    }

    /// Takes the alarm back, and an interrupt that it has already raised.
    pub fn clear_alarm(&mut self) {
        self.registers.write32(CLEAR_ALARM, 1);
        self.registers.write32(INTERRUPT_ENABLED, 0);
        self.registers.write32(CLEAR_INTERRUPT, 1);
    }

    /// Whether an alarm is still to come.
    pub fn is_alarm_set(&self) -> bool {
        self.registers.read32(ALARM_STATUS) != 0
    }

    /// Ends the interrupt; the wire goes down.
    pub fn acknowledge(&mut self) {
        self.registers.write32(CLEAR_INTERRUPT, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake;

    #[test]
    fn words_are_put_together() {
        let mut rtc = GoldfishRtc { registers: fake::registers(0x1000) };
        rtc.registers.write32(TIME_LOW, 0x9abc_def0);
        rtc.registers.write32(TIME_HIGH, 0x1234_5678);
        assert_eq!(rtc.time_ns(), 0x1234_5678_9abc_def0);
        rtc.set_alarm(0x0102_0304_f506_0708);
        let words = [ALARM_HIGH, ALARM_LOW, INTERRUPT_ENABLED].map(|offset| rtc.registers.read32(offset));
        assert_eq!(words, [0x0102_0304, 0xf506_0708, 1]);
        rtc.clear_alarm();
        assert_eq!(rtc.registers.read32(INTERRUPT_ENABLED), 0);
    }
}
