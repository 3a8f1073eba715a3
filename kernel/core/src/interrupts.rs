//! Interrupts: from other harts, from the timer, from devices; their way through AIA or PLIC.
//!
//! With AIA, everything but the timer reaches a hart as an identity in its interrupt file: identity 1 says "look at your
//! queues", the others are devices', in the order of their registration. With a PLIC, harts reach each other through the
//! firmware, and devices are claimed by their source number. Device interrupts go to the boot hart.

use crate::hart::{self, Hart, MAX_HARTS};
use crate::{executor, log, time, trace};
use abi::trace::Event;
use arch_riscv64 as arch;
use arch_riscv64::cause::Interrupt as Cause;
use arch_riscv64::csr;
use base::sync::atomic::{AtomicUsize, Ordering};
use base::sync::{OnceCell, SpinLock};
use base::{Error, Result};
use drivers::aplic::{self, Aplic};
use drivers::imsic::{Doorbell, Layout};
use drivers::interrupt::{Destination, InterruptController};
use drivers::machine::{Interrupt, Machine};
use drivers::mmio::DeviceSpace;
use drivers::plic::{self, Plic};

/// The identity that means: look at your queues.
const NOTIFY: u16 = 1;
/// The identity of the first device.
const FIRST_DEVICE: u16 = 2;
/// How many devices may have a handler.
const MAX_DEVICES: usize = 48;

/// What a device's driver does when it interrupts: quiet the device, wake who waits.
pub trait Handler: Sync {
    /// Called with interrupts masked and no lock held.
    fn handle(&self);
}

struct Device {
    interrupt: Interrupt,
    handler: &'static dyn Handler,
    rearm: Option<aplic::Rearm>,
}

#[expect(clippy::large_enum_variant, reason = "there is one, in a static")]
enum Controller {
    Messages { aplic: Option<SpinLock<Aplic>>, doorbells: [Option<Doorbell>; MAX_HARTS] },
    Wires { plic: SpinLock<Plic>, ports: [Option<plic::Port>; MAX_HARTS] },
}

static CONTROLLER: OnceCell<Controller> = OnceCell::new();
static DEVICES: [OnceCell<Device>; MAX_DEVICES] = [const { OnceCell::new() }; MAX_DEVICES];
static DEVICE_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Takes the machine's interrupt controllers over, for the harts known so far (see [`hart::by_index`]).
///
/// # Errors
/// `NoDevice`: neither an IMSIC nor a PLIC; and what their drivers say.
pub fn initialise(machine: &Machine, space: &DeviceSpace, hart_count: usize) -> Result<()> {
    let controller = match (&machine.imsic, machine.plics.first()) {
        (Some(imsic), _) => {
            let layout = Layout::new(imsic)?;
            let aplic = machine.aplics.first().map(|found| Aplic::new(found, Some(&layout), space));
            let mut doorbells = [None; MAX_HARTS];
            for (index, doorbell) in doorbells[..hart_count].iter_mut().enumerate() {
                *doorbell = Some(layout.doorbell(hart::by_index(index).hart_id(), 0, space)?);
            }
            Controller::Messages { aplic: aplic.transpose()?.map(SpinLock::new), doorbells }
        }
        (None, Some(found)) => {
            let plic = Plic::new(found, space)?;
            let mut ports = [None; MAX_HARTS];
            for (index, port) in ports[..hart_count].iter_mut().enumerate() {
                *port = plic.port(hart::by_index(index).hart_id());
            }
            Controller::Wires { plic: SpinLock::new(plic), ports }
        }
        (None, None) => return Err(Error::NoDevice),
    };
    CONTROLLER.set(controller).map_err(|_| Error::AlreadyExists)
}

/// The executing hart's own part: its interrupt file.
pub fn initialise_hart() {
    if let Some(Controller::Messages { .. }) = CONTROLLER.get() {
        arch::imsic::initialise();
        arch::imsic::enable(u32::from(NOTIFY));
        if hart::current().index() == 0 {
            for identity in FIRST_DEVICE..FIRST_DEVICE + MAX_DEVICES as u16 {
                arch::imsic::enable(u32::from(identity));
            }
        }
    }
}

/// Whether devices' interrupts arrive as messages (AIA).
pub fn has_messages() -> bool {
    matches!(CONTROLLER.get(), Some(Controller::Messages { .. }))
}

/// Calls `handler` whenever `interrupt` comes, from now on; on the boot hart.
///
/// # Errors
/// `NoSpace` when all places are taken, and what the controller's driver says.
pub fn register(interrupt: Interrupt, handler: &'static dyn Handler) -> Result<()> {
    let controller = CONTROLLER.get().ok_or(Error::NoDevice)?;
    let slot = DEVICE_COUNT.fetch_add(1, Ordering::Relaxed);
    let place = DEVICES.get(slot).ok_or(Error::NoSpace)?;
    let identity = FIRST_DEVICE + slot as u16;
    let destination = Destination { hart_id: hart::by_index(0).hart_id(), identity };
    let rearm = match controller {
        Controller::Messages { aplic, .. } => {
            Some(aplic.as_ref().ok_or(Error::NoDevice)?.lock().rearm(interrupt))
        }
        Controller::Wires { .. } => None,
    };
    place.set(Device { interrupt, handler, rearm }).map_err(|_| Error::AlreadyExists)?;
    match controller {
        Controller::Messages { aplic, .. } => {
            aplic.as_ref().ok_or(Error::NoDevice)?.lock().enable(interrupt, destination)
        }
        Controller::Wires { plic, .. } => plic.lock().enable(interrupt, destination),
    }
}

/// Interrupts another hart, so that it looks at its queues.
pub fn notify(target: &Hart) {
    match CONTROLLER.get() {
        Some(Controller::Messages { doorbells, .. }) => {
            if let Some(doorbell) = &doorbells[target.index()] {
                doorbell.ring(NOTIFY);
            }
        }
        _ => arch::firmware::send_software_interrupt(target.hart_id()),
    }
}

/// Interrupts this hart as soon as nothing forbids it.
#[inline]
pub fn notify_self() {
    // SAFETY: makes the software interrupt pending, which the handler clears.
    unsafe { csr::set::<{ csr::SIP }>(csr::INTERRUPT_SOFTWARE) };
}

/// Handles one interrupt. Interrupts are masked, no guard is held.
pub fn handle(cause: Cause) {
    let hart = hart::current();
    hart.counters.interrupts.fetch_add(1, Ordering::Relaxed);
    trace::here(Event::Interrupt, cause.number(), 0);
    match cause {
        Cause::Software => {
            // SAFETY: clears what `notify_self` or the firmware set; queues are looked at on the way out.
            unsafe { csr::clear::<{ csr::SIP }>(csr::INTERRUPT_SOFTWARE) };
            hart.reschedule.store(true, Ordering::Relaxed);
        }
        Cause::Timer => time::on_interrupt(hart),
        Cause::External => handle_external(hart),
        Cause::GuestExternal | Cause::Other(_) => {
            log!("hart {}: unexpected interrupt {cause:?}", hart.index())
        }
    }
}

fn handle_external(hart: &'static Hart) {
    match CONTROLLER.get() {
        Some(Controller::Messages { .. }) => {
            while let Some(identity) = arch::imsic::claim() {
                hart.reschedule.store(true, Ordering::Relaxed);
                let Some(slot) = identity.checked_sub(u32::from(FIRST_DEVICE)) else { continue };
                if let Some(device) = DEVICES.get(slot as usize).and_then(OnceCell::get) {
                    device.handler.handle();
                    if let Some(rearm) = &device.rearm {
                        rearm.finish();
                    }
                }
            }
        }
        Some(Controller::Wires { ports, .. }) => {
            let Some(port) = &ports[hart.index()] else { return };
            while let Some(source) = port.claim() {
                let known = DEVICES.iter().filter_map(OnceCell::get);
                if let Some(device) = known.into_iter().find(|device| device.interrupt.source == source) {
                    device.handler.handle();
                }
                port.complete(source);
            }
        }
        None => {}
    }
}

/// An interrupt of the kernel itself (see [`arch_riscv64::trap`]): handles it, then preempts what ran if that is due.
#[unsafe(no_mangle)]
fn asyncos_kernel_interrupt(cause: Cause) {
    let hart = hart::current();
    hart.local.in_interrupt.set(true);
    handle(cause);
    hart.local.in_interrupt.set(false);
    executor::preempt_if_due(hart);
}
