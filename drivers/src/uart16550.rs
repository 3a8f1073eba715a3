//! The 16550 UART: the console's wire.
//!
//! The driver never waits: [`Uart16550::try_read`] and [`Uart16550::write_some`] do what can be done now, and
//! [`Uart16550::on_interrupt`] says when there is more. Only [`Uart16550::write_all`], for panics, polls.

use crate::machine;
use crate::mmio::{DeviceSpace, Registers};
use base::Result;
use bitflags::bitflags;

const RECEIVE_BUFFER: usize = 0;
const TRANSMIT_HOLDING: usize = 0;
const INTERRUPT_ENABLE: usize = 1;
const INTERRUPT_IDENTIFICATION: usize = 2;
const FIFO_CONTROL: usize = 2;
const LINE_CONTROL: usize = 3;
const MODEM_CONTROL: usize = 4;
const LINE_STATUS: usize = 5;

const FIFO_ENABLE: u8 = 1;
const EIGHT_BITS_NO_PARITY_ONE_STOP: u8 = 3;
/// Ready, and the gate through which PC-style UARTs let their interrupt out (OUT2).
const READY_WITH_INTERRUPT: u8 = 1 << 0 | 1 << 1 | 1 << 3;
/// Bytes that an empty transmit FIFO takes.
const TRANSMIT_FIFO: usize = 16;
/// How often a panic's byte looks for room before it is given up: the wire may be dead.
const POLL_LIMIT: u32 = 1 << 20;

bitflags! {
    /// What the UART may interrupt for (the interrupt enable register).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Interrupts: u8 {
        /// A byte was received.
        const RECEIVED = 1 << 0;
        /// The transmit FIFO became, or is, empty.
        const TRANSMIT_EMPTY = 1 << 1;
        /// A receive error or a break.
        const LINE_STATUS = 1 << 2;
    }
}

bitflags! {
    /// What there is to do (the line status register).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Events: u8 {
        /// There is something to read.
        const RECEIVED = 1 << 0;
        /// Received bytes were lost.
        const OVERRUN = 1 << 1;
        /// The other side held the line: a break.
        const BREAK = 1 << 4;
        /// The transmit FIFO is empty.
        const TRANSMIT_EMPTY = 1 << 5;
    }
}

/// The UART. One reader and one writer may use it at once; changing the enabled interrupts is the owner's, in turn.
#[derive(Debug)]
pub struct Uart16550 {
    registers: Registers,
    shift: u8,
    access_width: u8,
}

impl Uart16550 {
    /// Takes the UART over: 8 bits, no parity, 1 stop bit, FIFOs on, no interrupts, at the rate at which the firmware
    /// left it. Bytes already received stay.
    ///
    /// # Errors
    /// Those of [`DeviceSpace::registers`].
    pub fn new(description: &machine::Uart, space: &DeviceSpace) -> Result<Self> {
        Self::over(space.registers(description.registers)?, description)
    }

    fn over(registers: Registers, description: &machine::Uart) -> Result<Self> {
        let uart =
            Self { registers, shift: description.register_shift, access_width: description.access_width };
        let end = (LINE_STATUS << uart.shift) + uart.access_width as usize;
        if end > registers.size() {
            return Err(base::Error::InvalidArgument);
        }
        uart.write(INTERRUPT_ENABLE, 0);
        uart.write(LINE_CONTROL, EIGHT_BITS_NO_PARITY_ONE_STOP);
        // Neither FIFO is reset: the firmware's last words may be in one, the user's first in the other.
        uart.write(FIFO_CONTROL, FIFO_ENABLE);
        uart.write(MODEM_CONTROL, READY_WITH_INTERRUPT);
        Ok(uart)
    }

    /// The next received byte.
    #[inline]
    pub fn try_read(&self) -> Option<u8> {
        self.status().contains(Events::RECEIVED).then(|| self.read(RECEIVE_BUFFER))
    }

    /// Gives the wire as much of `bytes` as it takes now; returns how many. 0 means: after `TRANSMIT_EMPTY`.
    #[inline]
    pub fn write_some(&self, bytes: &[u8]) -> usize {
        if !self.status().contains(Events::TRANSMIT_EMPTY) {
            return 0;
        }
        let count = bytes.len().min(TRANSMIT_FIFO);
        bytes[..count].iter().for_each(|byte| self.write(TRANSMIT_HOLDING, *byte));
        count
    }

    /// Sends all of `bytes`, polling. For when nothing else works any more; drops what a dead wire does not take.
    pub fn write_all(&self, mut bytes: &[u8]) {
        let mut polls = 0;
        while !bytes.is_empty() && polls < POLL_LIMIT {
            match self.write_some(bytes) {
                0 => polls += 1,
                count => {
                    bytes = &bytes[count..];
                    polls = 0;
                }
            }
            core::hint::spin_loop();
        }
    }

    /// Interrupts for these reasons and no others. Enabling `TRANSMIT_EMPTY` while the FIFO is empty interrupts now.
    pub fn set_interrupts(&self, interrupts: Interrupts) {
        self.write(INTERRUPT_ENABLE, interrupts.bits());
    }

    /// Acknowledges an interrupt; says what there is to do.
    ///
    /// The wire stays active until everything received was read, so the handler reads until there is nothing, and
    /// turns `TRANSMIT_EMPTY` off when it has nothing to send.
    #[inline]
    pub fn on_interrupt(&self) -> Events {
        // Reading the identification ends a transmit interrupt; reading the status ends a line interrupt.
        self.read(INTERRUPT_IDENTIFICATION);
        self.status()
    }

    #[inline]
    fn status(&self) -> Events {
        Events::from_bits_truncate(self.read(LINE_STATUS))
    }

    #[inline]
    fn read(&self, register: usize) -> u8 {
        match self.access_width {
            4 => self.registers.read32(register << self.shift) as u8,
            _ => self.registers.read8(register << self.shift),
        }
    }

    #[inline]
    fn write(&self, register: usize, value: u8) {
        match self.access_width {
            4 => self.registers.write32(register << self.shift, u32::from(value)),
            _ => self.registers.write8(register << self.shift, value),
        }
    }
}

/// For `write!`, by polling.
impl core::fmt::Write for &Uart16550 {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.write_all(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Region;
    use crate::mmio::fake;
    use base::address::PhysicalAddress;

    fn description(register_shift: u8, access_width: u8) -> machine::Uart {
        let registers = Region { start: PhysicalAddress::new(0x1000_0000), size: 0x100 };
        machine::Uart {
            registers,
            interrupt: None,
            clock_hz: 3_686_400,
            baud: 0,
            register_shift,
            access_width,
        }
    }

    #[test]
    fn starts_quiet_and_reads_what_is_there() {
        let registers = fake::registers(0x100);
        let uart = Uart16550::over(registers, &description(0, 1)).expect("valid");
        let state = [1, 2, 3, 4].map(|register| registers.read8(register));
        assert_eq!(state, [0, 1, 3, 0b1011]);
        assert_eq!(uart.try_read(), None);
        registers.write8(0, b'x');
        registers.write8(5, 0x61);
        assert_eq!(uart.try_read(), Some(b'x'));
        assert_eq!(uart.on_interrupt(), Events::RECEIVED | Events::TRANSMIT_EMPTY);
    }

    #[test]
    fn writes_a_fifo_at_most_and_nothing_to_a_full_one() {
        let registers = fake::registers(0x100);
        let uart = Uart16550::over(registers, &description(2, 4)).expect("valid");
        assert_eq!(uart.write_some(b"abc"), 0);
        uart.write_all(b"lost, and not for ever");
        registers.write32(5 << 2, 0x60);
        assert_eq!(uart.write_some(b"abc"), 3);
        assert_eq!(registers.read32(0), u32::from(b'c'));
        assert_eq!(uart.write_some(&[b'z'; 40]), 16);
        uart.set_interrupts(Interrupts::RECEIVED | Interrupts::TRANSMIT_EMPTY);
        assert_eq!(registers.read32(1 << 2), 3);
        assert!(Uart16550::over(fake::registers(4), &description(0, 1)).is_err());
    }
}
