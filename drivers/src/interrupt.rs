//! What the two kinds of wired interrupt controllers have in common.
//!
//! They differ in how a hart learns which interrupt it was:
//!
//! - **PLIC**: the hart takes its external interrupt and *claims* a source from its own port
//!   ([`crate::plic::Port::claim`]). Until it *completes* the source, no hart gets that source again; other sources
//!   keep coming. [`InterruptController::finish`] completes.
//! - **APLIC in message mode**: the source is sent as an identity to the hart's interrupt file, where the hart claims
//!   it (`stopei`), and so it arrives like any other message. A level-triggered source sends one message when it
//!   becomes active and then is silent, even if it still is active after the handler: [`InterruptController::finish`]
//!   makes the APLIC look again.
//! - **APLIC in direct mode**: the hart claims from its port ([`crate::aplic::Port::claim`]), which clears an
//!   edge's pending bit; a level source simply stays pending. [`InterruptController::finish`] does nothing.
//!
//! So a handler is written once: quiet the device *entirely*, then `finish`. A handler that leaves work for another
//! interrupt would get that by the specifications, but QEMU's PLIC does not look at a wire again when its source is
//! completed. And a handler is ready for an interrupt about nothing: QEMU's APLIC in direct mode leaves a level source
//! pending once more after its device was quieted.

use crate::machine::Interrupt;
use base::Result;

/// Which hart an interrupt goes to, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The hart, as the device tree and SBI number it.
    pub hart_id: usize,
    /// The identity that the hart's interrupt file gets. Only an APLIC in message mode uses it.
    pub identity: u16,
}

/// A controller of wired interrupts. Configuration takes `&mut self`; the kernel keeps it under a lock and serves
/// interrupts through the harts' ports, which need none.
pub trait InterruptController {
    /// Sends `interrupt` to one hart from now on, and to no other.
    ///
    /// # Errors
    /// `InvalidArgument` for a source, a hart or an identity that there is not.
    fn enable(&mut self, interrupt: Interrupt, destination: Destination) -> Result<()>;

    /// Sends it nowhere. One that is on its way may still arrive.
    ///
    /// # Errors
    /// `InvalidArgument` for a source that there is not.
    fn disable(&mut self, interrupt: Interrupt) -> Result<()>;

    /// Ends the handling of `interrupt` by this hart, after its device was quieted.
    fn finish(&self, interrupt: Interrupt, hart_id: usize);
}
