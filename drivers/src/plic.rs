//! The platform-level interrupt controller (RISC-V PLIC specification 1.0.0).

use crate::interrupt::{Destination, InterruptController};
use crate::machine::{self, Interrupt, PlicContext};
use crate::mmio::{DeviceSpace, Registers};
use base::{Error, Result};

const PRIORITY: usize = 0;
const PENDING: usize = 0x1000;
const ENABLE: usize = 0x2000;
const ENABLE_STRIDE: usize = 0x80;
const CONTEXT: usize = 0x20_0000;
const CONTEXT_STRIDE: usize = 0x1000;
const THRESHOLD: usize = 0;
const CLAIM: usize = 4;

/// The priority of every enabled source; 0 would mean never.
const ENABLED_PRIORITY: u32 = 1;

/// The controller, of which only the supervisor contexts are used.
#[derive(Debug)]
pub struct Plic {
    registers: Registers,
    description: machine::Plic,
}

impl Plic {
    /// Takes the controller over: every source off in every supervisor context, thresholds 0.
    ///
    /// # Errors
    /// `InvalidArgument` when its registers do not reach to its contexts, and those of [`DeviceSpace::registers`].
    pub fn new(description: &machine::Plic, space: &DeviceSpace) -> Result<Self> {
        Self::over(space.registers(description.registers)?, description)
    }

    fn over(registers: Registers, description: &machine::Plic) -> Result<Self> {
        let plic = Self { registers, description: description.clone() };
        let last = description.contexts.iter().map(|context| context.context as usize).max().unwrap_or(0);
        if CONTEXT + CONTEXT_STRIDE * (last + 1) > registers.size() {
            return Err(Error::InvalidArgument);
        }
        for source in 1..=description.source_count {
            registers.write32(priority(source), 0);
        }
        for context in &description.contexts {
            for word in 0..=description.source_count as usize / 32 {
                registers.write32(ENABLE + ENABLE_STRIDE * context.context as usize + 4 * word, 0);
            }
            registers.write32(CONTEXT + CONTEXT_STRIDE * context.context as usize + THRESHOLD, 0);
        }
        Ok(plic)
    }

    /// How interrupts refer to this controller.
    pub fn phandle(&self) -> machine::Phandle {
        self.description.phandle
    }

    /// Where a hart claims and completes; `None` for a hart that the controller does not serve.
    pub fn port(&self, hart_id: usize) -> Option<Port> {
        let context = self.context(hart_id)?.context as usize;
        let registers = self.registers.part(CONTEXT + CONTEXT_STRIDE * context, CONTEXT_STRIDE)?;
        Some(Port { registers })
    }

    /// Whether the source waits to be claimed.
    pub fn is_pending(&self, source: u32) -> bool {
        let word = self.registers.read32(PENDING + 4 * (source as usize / 32));
        source <= self.description.source_count && word >> (source % 32) & 1 != 0
    }

    fn context(&self, hart_id: usize) -> Option<&PlicContext> {
        self.description.contexts.iter().find(|context| context.hart_id == hart_id)
    }

    fn check(&self, interrupt: Interrupt) -> Result<u32> {
        let known = (1..=self.description.source_count).contains(&interrupt.source);
        if known && interrupt.controller == self.description.phandle {
            Ok(interrupt.source)
        } else {
            Err(Error::InvalidArgument)
        }
    }

    fn set_enabled(&mut self, context: u32, source: u32, bit: u32) {
        let offset = ENABLE + ENABLE_STRIDE * context as usize + 4 * (source as usize / 32);
        let others = self.registers.read32(offset) & !(1 << (source % 32));
        self.registers.write32(offset, others | bit << (source % 32));
    }
}

fn priority(source: u32) -> usize {
    PRIORITY + 4 * source as usize
}

impl InterruptController for Plic {
    fn enable(&mut self, interrupt: Interrupt, destination: Destination) -> Result<()> {
        let source = self.check(interrupt)?;
        let target = self.context(destination.hart_id).ok_or(Error::InvalidArgument)?.context;
        for index in 0..self.description.contexts.len() {
            let context = self.description.contexts[index].context;
            self.set_enabled(context, source, u32::from(context == target));
        }
        self.registers.write32(priority(source), ENABLED_PRIORITY);
        Ok(())
    }

    fn disable(&mut self, interrupt: Interrupt) -> Result<()> {
        let source = self.check(interrupt)?;
        // The enable bits stay: completing a source that is disabled in a context is ignored by the PLIC, and a hart
        // may be handling it now. Priority 0 is never delivered.
        self.registers.write32(priority(source), 0);
        Ok(())
    }

    fn finish(&self, interrupt: Interrupt, hart_id: usize) {
        if let Some(port) = self.port(hart_id) {
            port.complete(interrupt.source);
        }
    }
}

/// One hart's side of the controller.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    registers: Registers,
}

impl Port {
    /// Takes the most important pending source; `None` when another hart was faster or it went away.
    #[inline]
    pub fn claim(&self) -> Option<u32> {
        match self.registers.read32(CLAIM) {
            0 => None,
            source => Some(source),
        }
    }

    /// Lets the source come again.
    #[inline]
    pub fn complete(&self, source: u32) {
        self.registers.write32(CLAIM, source);
    }

    /// Holds back every source whose priority is not above `priority`.
    pub fn set_threshold(&self, priority: u32) {
        self.registers.write32(THRESHOLD, priority);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Phandle, Region, Trigger};
    use crate::mmio::fake;
    use base::address::PhysicalAddress;

    fn interrupt(source: u32) -> Interrupt {
        Interrupt { controller: Phandle(5), source, trigger: Trigger::LevelHigh }
    }

    fn plic() -> Plic {
        let description = machine::Plic {
            phandle: Phandle(5),
            registers: Region { start: PhysicalAddress::new(0xc00_0000), size: 0x60_0000 },
            source_count: 95,
            contexts: [PlicContext { hart_id: 0, context: 1 }, PlicContext { hart_id: 1, context: 3 }]
                .into_iter()
                .collect(),
        };
        let registers = fake::registers(0x60_0000);
        registers.write32(0x2080, !0);
        registers.write32(0x20_1000, 7);
        Plic::over(registers, &description).expect("large enough")
    }

    #[test]
    fn enabling_sends_to_one_context_only() {
        let mut plic = plic();
        assert_eq!((plic.registers.read32(0x2080), plic.registers.read32(0x20_1000)), (0, 0));
        plic.enable(interrupt(33), Destination { hart_id: 0, identity: 0 }).expect("valid");
        plic.enable(interrupt(34), Destination { hart_id: 0, identity: 0 }).expect("valid");
        assert_eq!((plic.registers.read32(0x2084), plic.registers.read32(4 * 33)), (0b110, 1));
        plic.enable(interrupt(33), Destination { hart_id: 1, identity: 0 }).expect("valid");
        assert_eq!((plic.registers.read32(0x2084), plic.registers.read32(0x2184)), (0b100, 0b010));
        plic.disable(interrupt(33)).expect("valid");
        assert_eq!((plic.registers.read32(4 * 33), plic.registers.read32(4 * 34)), (0, 1));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        let mut plic = plic();
        let to = |hart_id| Destination { hart_id, identity: 0 };
        assert_eq!(plic.enable(interrupt(0), to(0)), Err(Error::InvalidArgument));
        assert_eq!(plic.enable(interrupt(96), to(0)), Err(Error::InvalidArgument));
        assert_eq!(plic.enable(interrupt(1), to(2)), Err(Error::InvalidArgument));
        assert!(plic.port(2).is_none());
        assert!(Plic::over(fake::registers(0x20_3000), &plic.description).is_err());
    }

    #[test]
    fn ports_are_the_hart_s_own() {
        let plic = plic();
        let port = plic.port(1).expect("served");
        assert_eq!(port.claim(), None);
        plic.registers.write32(0x20_3004, 10);
        assert_eq!(port.claim(), Some(10));
        plic.finish(interrupt(12), 1);
        assert_eq!(plic.registers.read32(0x20_3004), 12);
        port.set_threshold(3);
        assert_eq!(plic.registers.read32(0x20_3000), 3);
    }
}
