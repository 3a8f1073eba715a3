//! The devices in the machine's virtio slots: finds them and starts their drivers, beside process 1.

use crate::interrupts::{self, Handler};
use crate::{boot, dma, entropy, executor, log, time};
use alloc::boxed::Box;
use base::hal::now_ns;
use base::task::Priority;
use base::{Error, Result};
use drivers::machine::Device;
use drivers::virtio::mmio::MmioTransport;
use drivers::virtio::rng::VirtioRng;
use drivers::virtio::{Transport, device_type};

/// How often the entropy pool gets something new from the machine.
const RESEED_INTERVAL_NS: u64 = 300_000_000_000;
/// Bytes of the machine's randomness that the pool gets at a time.
const SEED: usize = 32;

/// Looks at every slot once. A device that does not start is left alone, with a line in the log.
pub fn start() {
    for slot in &boot::system().machine.virtio {
        if let Err(error) = start_device(slot) {
            log!("the virtio device at {:#x} does not start: {error}", slot.registers.start);
        }
    }
}

fn start_device(slot: &Device) -> Result<()> {
    let Some(transport) = MmioTransport::probe(slot, &boot::system().devices)? else { return Ok(()) };
    match transport.device_type() {
        device_type::ENTROPY => start_rng(slot, transport),
        _ => Ok(()),
    }
}

struct Rng(VirtioRng<MmioTransport>);

impl Handler for Rng {
    fn handle(&self) {
        self.0.on_interrupt();
    }
}

fn start_rng(slot: &Device, transport: MmioTransport) -> Result<()> {
    let interrupt = slot.interrupt.ok_or(Error::NoDevice)?;
    let device = Rng(VirtioRng::start(transport, dma::memory())?);
    // There for as long as the machine runs.
    let device: &'static Rng = Box::leak(Box::new(device));
    interrupts::register(interrupt, device)?;
    executor::spawn(Priority::NORMAL, feed_entropy(device))?;
    log!("random number generator at {:#x}", slot.registers.start);
    Ok(())
}

/// Mixes what the device gives into the entropy pool, now and every few minutes.
async fn feed_entropy(device: &'static Rng) {
    let mut seed = [0; SEED];
    loop {
        if let Err(error) = device.0.fill(&mut seed).await {
            log!("the random number generator fails: {error}");
            return;
        }
        entropy::reseed(&seed, SEED as u32 * 8);
        seed.fill(0);
        time::sleep_until(now_ns() + RESEED_INTERVAL_NS).await;
    }
}
