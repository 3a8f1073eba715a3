//! The supervisor domain of the advanced platform-level interrupt controller (AIA 1.0, chapter 4).
//!
//! In message mode it turns wires into messages to interrupt files, a hart's own or, through [`Aplic::route`], a
//! guest's: so a device can interrupt a user thread without the kernel. Where the messages are written is for the
//! firmware to set up (`smsiaddrcfg` is locked by then), hence the harts are named by index, not by address.

use crate::imsic::Layout;
use crate::interrupt::{Destination, InterruptController};
use crate::machine::{self, Delivery, Interrupt, Trigger};
use crate::mmio::{DeviceSpace, Registers};
use base::{Error, Result};

const DOMAIN_CONFIGURATION: usize = 0x0000;
const INTERRUPT_ENABLE: u32 = 1 << 8;
const MESSAGE_MODE: u32 = 1 << 2;
const SOURCE_CONFIGURATION: usize = 0x0004;
const SET_PENDING: usize = 0x1c00;
const SET_PENDING_NUMBER: usize = 0x1cdc;
/// Read: which wires are active, as their trigger has it.
const ACTIVE_INPUT: usize = 0x1d00;
const CLEAR_PENDING_NUMBER: usize = 0x1ddc;
const SET_ENABLED_NUMBER: usize = 0x1edc;
const CLEAR_ENABLED: usize = 0x1f00;
const CLEAR_ENABLED_NUMBER: usize = 0x1fdc;
const TARGET: usize = 0x3004;
/// Where the harts' ports for direct mode are.
const PORTS: usize = 0x4000;
const PORT_STRIDE: usize = 32;
const PORT_DELIVERY: usize = 0x00;
const PORT_THRESHOLD: usize = 0x08;
const PORT_CLAIM: usize = 0x1c;

/// The priority of every source in direct mode.
const DIRECT_PRIORITY: u32 = 1;
/// Where in a target register the hart's index starts.
const HART_INDEX_SHIFT: u32 = 18;
/// Where in a target register the guest's index starts.
const GUEST_INDEX_SHIFT: u32 = 12;

/// How `sourcecfg` names a trigger (4.5.2); 0 is inactive.
fn source_mode(trigger: Trigger) -> u32 {
    match trigger {
        Trigger::EdgeRising => 4,
        Trigger::EdgeFalling => 5,
        Trigger::LevelHigh => 6,
        Trigger::LevelLow => 7,
    }
}

/// The domain.
#[derive(Debug)]
pub struct Aplic {
    registers: Registers,
    description: machine::Aplic,
    /// Where the interrupt files are; `None` in direct mode.
    files: Option<Layout>,
}

impl Aplic {
    /// Takes the domain over: every source off, delivery on. `files` are the machine's interrupt files, if any.
    ///
    /// # Errors
    /// `InvalidArgument` when it sends messages and there are no files, or its registers are too few;
    /// and those of [`DeviceSpace::registers`].
    pub fn new(description: &machine::Aplic, files: Option<&Layout>, space: &DeviceSpace) -> Result<Self> {
        Self::over(space.registers(description.registers)?, description, files)
    }

    fn over(registers: Registers, description: &machine::Aplic, files: Option<&Layout>) -> Result<Self> {
        let (files, size) = match &description.delivery {
            Delivery::Message => (Some(files.ok_or(Error::InvalidArgument)?.clone()), PORTS),
            Delivery::Direct(harts) => {
                let ports = harts.iter().map(|hart| hart.index as usize + 1).max().unwrap_or(0);
                (None, PORTS + PORT_STRIDE * ports)
            }
        };
        if registers.size() < size {
            return Err(Error::InvalidArgument);
        }
        registers.write32(DOMAIN_CONFIGURATION, 0);
        for word in 0..=description.source_count as usize / 32 {
            registers.write32(CLEAR_ENABLED + 4 * word, !0);
        }
        for source in 1..=description.source_count {
            registers.write32(source_configuration(source), 0);
        }
        let mode = if files.is_some() { MESSAGE_MODE } else { 0 };
        if let Delivery::Direct(harts) = &description.delivery {
            for port in harts.iter().map(|hart| PORTS + PORT_STRIDE * hart.index as usize) {
                registers.write32(port + PORT_THRESHOLD, 0);
                registers.write32(port + PORT_DELIVERY, 1);
            }
        }
        registers.write32(DOMAIN_CONFIGURATION, INTERRUPT_ENABLE | mode);
        Ok(Self { registers, description: description.clone(), files })
    }

    /// How interrupts refer to this controller.
    pub fn phandle(&self) -> machine::Phandle {
        self.description.phandle
    }

    /// Sends `interrupt` as `identity` to a file of a hart: guest 0 is the hart's own, others are its guests'.
    /// The source must be enabled afterwards with [`Aplic::unmask`]; a new source starts masked.
    ///
    /// # Errors
    /// `InvalidArgument` for a source, hart, guest or identity that there is not; `NotSupported` in direct mode.
    pub fn route(&mut self, interrupt: Interrupt, hart_id: usize, guest: u32, identity: u16) -> Result<()> {
        let source = self.check(interrupt)?;
        let files = self.files.as_ref().ok_or(Error::NotSupported)?;
        let hart_index = files.message_hart_index(hart_id).ok_or(Error::InvalidArgument)?;
        if guest >= files.files_per_hart() || !files.has_identity(guest, identity) {
            return Err(Error::InvalidArgument);
        }
        let target = hart_index << HART_INDEX_SHIFT | guest << GUEST_INDEX_SHIFT | u32::from(identity);
        self.configure(source, interrupt.trigger, target);
        Ok(())
    }

    /// Lets a routed source interrupt. A level that is active already does so now.
    ///
    /// # Errors
    /// `InvalidArgument` for a source that there is not.
    pub fn unmask(&self, interrupt: Interrupt) -> Result<()> {
        let source = self.check(interrupt)?;
        self.registers.write32(SET_ENABLED_NUMBER, source);
        Ok(())
    }

    /// Holds a source back without forgetting where it goes; an edge that comes meanwhile is remembered.
    ///
    /// # Errors
    /// `InvalidArgument` for a source that there is not.
    pub fn mask(&self, interrupt: Interrupt) -> Result<()> {
        let source = self.check(interrupt)?;
        self.registers.write32(CLEAR_ENABLED_NUMBER, source);
        Ok(())
    }

    /// Whether the source waits to be sent or claimed.
    pub fn is_pending(&self, interrupt: Interrupt) -> bool {
        self.check(interrupt).is_ok_and(|source| {
            let word = self.registers.read32(SET_PENDING + 4 * (source as usize / 32));
            word >> (source % 32) & 1 != 0
        })
    }

    /// Where a hart claims in direct mode; `None` in message mode and for a hart that is not served.
    pub fn port(&self, hart_id: usize) -> Option<Port> {
        let registers =
            self.registers.part(PORTS + PORT_STRIDE * self.direct_index(hart_id)?, PORT_STRIDE)?;
        Some(Port { registers })
    }

    /// What a handler of `interrupt` needs to end it, without a lock; see [`Rearm::finish`].
    pub fn rearm(&self, interrupt: Interrupt) -> Rearm {
        let needed = self.files.is_some() && interrupt.trigger.is_level() && self.check(interrupt).is_ok();
        Rearm { registers: self.registers, source: if needed { interrupt.source } else { 0 } }
    }

    fn direct_index(&self, hart_id: usize) -> Option<usize> {
        match &self.description.delivery {
            Delivery::Direct(harts) => {
                harts.iter().find(|hart| hart.hart_id == hart_id).map(|hart| hart.index as usize)
            }
            Delivery::Message => None,
        }
    }

    fn configure(&mut self, source: u32, trigger: Trigger, target: u32) {
        // Masked and inactive while it changes, so that no message goes out half old, half new (4.5.2: an inactive
        // source has neither a pending bit nor a target).
        self.registers.write32(CLEAR_ENABLED_NUMBER, source);
        self.registers.write32(source_configuration(source), source_mode(trigger));
        self.registers.write32(TARGET + 4 * (source as usize - 1), target);
    }

    fn check(&self, interrupt: Interrupt) -> Result<u32> {
        let known = (1..=self.description.source_count).contains(&interrupt.source);
        if known && interrupt.controller == self.description.phandle {
            Ok(interrupt.source)
        } else {
            Err(Error::InvalidArgument)
        }
    }
}

fn source_configuration(source: u32) -> usize {
    SOURCE_CONFIGURATION + 4 * (source as usize - 1)
}

impl InterruptController for Aplic {
    fn enable(&mut self, interrupt: Interrupt, destination: Destination) -> Result<()> {
        if self.files.is_some() {
            self.route(interrupt, destination.hart_id, 0, destination.identity)?;
        } else {
            let source = self.check(interrupt)?;
            let index = self.direct_index(destination.hart_id).ok_or(Error::InvalidArgument)? as u32;
            self.configure(source, interrupt.trigger, index << HART_INDEX_SHIFT | DIRECT_PRIORITY);
        }
        self.unmask(interrupt)
    }

    fn disable(&mut self, interrupt: Interrupt) -> Result<()> {
        let source = self.check(interrupt)?;
        self.registers.write32(CLEAR_ENABLED_NUMBER, source);
        self.registers.write32(CLEAR_PENDING_NUMBER, source);
        self.registers.write32(source_configuration(source), 0);
        Ok(())
    }

    fn finish(&self, interrupt: Interrupt, _hart_id: usize) {
        self.rearm(interrupt).finish();
    }
}

/// Ends the handling of one interrupt.
#[derive(Clone, Copy, Debug)]
pub struct Rearm {
    registers: Registers,
    /// 0 when there is nothing to do.
    source: u32,
}

impl Rearm {
    /// If the wire still is active, the interrupt is sent again.
    ///
    /// In message mode a level source's pending bit is cleared as its message goes out, and set again only when the
    /// wire becomes active anew; writing its number to `setipnum` sets it if the wire is active (4.9.2). The wire is
    /// looked at first, because QEMU before 9.0 sets the bit in any case, and the interrupt would never end. Should the
    /// wire become active just after it was looked at, that itself sends the message.
    #[inline]
    pub fn finish(&self) {
        if self.source != 0 {
            let active = self.registers.read32(ACTIVE_INPUT + 4 * (self.source as usize / 32));
            if active >> (self.source % 32) & 1 != 0 {
                self.registers.write32(SET_PENDING_NUMBER, self.source);
            }
        }
    }
}

/// One hart's side of the controller, in direct mode.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    registers: Registers,
}

impl Port {
    /// Takes the most important pending source.
    #[inline]
    pub fn claim(&self) -> Option<u32> {
        match self.registers.read32(PORT_CLAIM) >> 16 {
            0 => None,
            source => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imsic::tests::two_harts;
    use crate::machine::{HartPlace, Phandle, Region};
    use crate::mmio::fake;
    use base::address::PhysicalAddress;

    fn description(delivery: Delivery) -> machine::Aplic {
        let registers = Region { start: PhysicalAddress::new(0xd00_0000), size: 0x8000 };
        machine::Aplic { phandle: Phandle(8), registers, source_count: 96, delivery }
    }

    fn interrupt(source: u32, trigger: Trigger) -> Interrupt {
        Interrupt { controller: Phandle(8), source, trigger }
    }

    #[test]
    fn a_device_s_wire_becomes_the_proof_s_message() {
        let registers = fake::registers(0x8000);
        let files = two_harts();
        let mut aplic = Aplic::over(registers, &description(Delivery::Message), Some(&files)).expect("valid");
        assert_eq!(registers.read32(0), 1 << 8 | 1 << 2);
        let clock = interrupt(11, Trigger::EdgeRising);
        aplic.route(clock, 1, 1, 9).expect("valid");
        assert_eq!(
            (registers.read32(4 + 4 * 10), registers.read32(0x3004 + 4 * 10)),
            (4, 1 << 18 | 1 << 12 | 9)
        );
        assert_eq!(registers.read32(0x1edc), 0);
        aplic.unmask(clock).expect("valid");
        assert_eq!(registers.read32(0x1edc), 11);
        aplic.finish(clock, 0);
        assert_eq!(registers.read32(0x1cdc), 0, "an edge needs no second look");
        let uart = interrupt(10, Trigger::LevelHigh);
        aplic.enable(uart, Destination { hart_id: 0, identity: 255 }).expect("valid");
        assert_eq!((registers.read32(4 + 4 * 9), registers.read32(0x3004 + 4 * 9)), (6, 255));
        aplic.finish(uart, 0);
        assert_eq!(registers.read32(0x1cdc), 0, "the wire is down");
        registers.write32(0x1d00, 1 << 10);
        aplic.finish(uart, 0);
        assert_eq!(registers.read32(0x1cdc), 10);
        aplic.disable(uart).expect("valid");
        assert_eq!((registers.read32(4 + 4 * 9), registers.read32(0x1fdc)), (0, 10));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        let files = two_harts();
        let mut aplic =
            Aplic::over(fake::registers(0x8000), &description(Delivery::Message), Some(&files)).expect("ok");
        let wire = interrupt(1, Trigger::EdgeRising);
        for (hart, guest, identity) in [(2, 0, 1), (0, 8, 1), (0, 0, 0), (0, 0, 256)] {
            assert_eq!(aplic.route(wire, hart, guest, identity), Err(Error::InvalidArgument));
        }
        for source in [0, 97] {
            let wire = interrupt(source, Trigger::EdgeRising);
            assert_eq!(aplic.route(wire, 0, 0, 1), Err(Error::InvalidArgument));
            aplic.finish(Interrupt { trigger: Trigger::LevelHigh, ..wire }, 0);
        }
        assert!(Aplic::over(fake::registers(0x8000), &description(Delivery::Message), None).is_err());
        assert!(Aplic::over(fake::registers(0x2000), &description(Delivery::Message), Some(&files)).is_err());
    }

    #[test]
    fn direct_mode_claims_at_the_port() {
        let registers = fake::registers(0x8000);
        let harts = Delivery::Direct(
            [HartPlace { hart_id: 4, index: 0 }, HartPlace { hart_id: 7, index: 1 }].into_iter().collect(),
        );
        let mut aplic = Aplic::over(registers, &description(harts), None).expect("valid");
        assert_eq!((registers.read32(0), registers.read32(0x4020)), (1 << 8, 1));
        let uart = interrupt(10, Trigger::LevelHigh);
        aplic.enable(uart, Destination { hart_id: 7, identity: 0 }).expect("valid");
        assert_eq!(registers.read32(0x3004 + 4 * 9), 1 << 18 | 1);
        assert_eq!(aplic.route(uart, 7, 0, 1), Err(Error::NotSupported));
        registers.write32(0x403c, 10 << 16 | 1);
        assert_eq!(aplic.port(7).and_then(|port| port.claim()), Some(10));
        assert_eq!(aplic.port(4).expect("served").claim(), None);
        aplic.finish(uart, 7);
        assert_eq!(registers.read32(0x1cdc), 0);
    }
}
