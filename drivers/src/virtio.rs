//! virtio devices (version 1.2, and the legacy interface that QEMU's MMIO slots have unless told otherwise).
//!
//! A [`Transport`] is how a device is reached, a [`VirtioDevice`] is a started device with its queues, where
//! requests wait. An operation is a future; the request's memory belongs to the queue while the device
//! has it, so a future may be dropped at any time.

#[cfg(test)]
pub(crate) mod fake;
pub mod mmio;
mod queue;
pub mod rng;
#[cfg(test)]
mod tests;

use crate::mmio::dma::{DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::address::PhysicalAddress;
use base::hal::PreemptGuard;
use base::{Error, Result};
use bitflags::bitflags;
pub use queue::Completion;
use queue::{Flight, Queue};

/// Device ids (chapter 5).
pub mod device_type {
    /// Network card.
    pub const NETWORK: u32 = 1;
    /// Disk.
    pub const BLOCK: u32 = 2;
    /// Console.
    pub const CONSOLE: u32 = 3;
    /// Source of random bytes.
    pub const ENTROPY: u32 = 4;
    /// File system of the host (9P).
    pub const NINE_P: u32 = 9;
    /// Graphics.
    pub const GRAPHICS: u32 = 16;
    /// Keyboards and the like.
    pub const INPUT: u32 = 18;
    /// Sockets to the host.
    pub const SOCKET: u32 = 19;
}

bitflags! {
    /// How far driver and device have come (2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u32 {
        /// The device was noticed.
        const ACKNOWLEDGE = 1;
        /// There is a driver.
        const DRIVER = 2;
        /// The driver is ready.
        const DRIVER_OK = 4;
        /// The features are agreed on.
        const FEATURES_OK = 8;
        /// The device is lost until it is reset.
        const NEEDS_RESET = 64;
        /// The driver gave up.
        const FAILED = 128;
    }
}

bitflags! {
    /// Features of queues and transports (chapter 6); each device type has its own below bit 24.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Both sides say from which index on they want to be told.
        const EVENT_INDEX = 1 << 29;
        /// Not the legacy interface.
        const VERSION_1 = 1 << 32;
        const _ = !0;
    }
}

bitflags! {
    /// Why a device interrupts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Cause: u32 {
        /// It has used buffers.
        const QUEUE = 1;
        /// Its configuration changed, or it needs a reset.
        const CONFIGURATION = 2;
    }
}

/// Where a queue is. Only this crate makes one, as a device could be told any address by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAddresses {
    /// Entries: a power of two.
    pub(crate) size: u16,
    /// The descriptor table; the start of a page, and for the legacy interface of all three parts in its layout.
    pub(crate) descriptors: PhysicalAddress,
    /// The ring of what the driver offers.
    pub(crate) available: PhysicalAddress,
    /// The ring of what the device has used.
    pub(crate) used: PhysicalAddress,
}

/// How a device is reached. Every method is some accesses to registers and returns at once.
pub trait Transport: Send + Sync {
    /// What kind of device it is; see [`device_type`].
    fn device_type(&self) -> u32;
    /// Whether it speaks the legacy interface only.
    fn is_legacy(&self) -> bool;
    /// The features that the device offers.
    fn offered_features(&self) -> Features;
    /// Tells the device which features are used.
    fn accept_features(&self, features: Features);
    /// The device's status.
    fn status(&self) -> Status;
    /// Sets the status; an empty one starts a reset, which is over when the status reads empty.
    fn set_status(&self, status: Status);
    /// The most entries that the queue can have; 0 when there is no such queue.
    fn max_queue_size(&self, queue: u16) -> u16;
    /// Tells the device where a queue is.
    ///
    /// # Errors
    /// `InvalidArgument` when the device cannot reach it, `Busy` when it has one already.
    fn start_queue(&self, queue: u16, addresses: &QueueAddresses) -> Result<()>;
    /// Tells the device that there is something new in the queue.
    fn notify(&self, queue: u16);
    /// Why it interrupted; ends the interrupt.
    fn acknowledge_interrupt(&self) -> Cause;
    /// A byte of the device's configuration; 0 beyond its end.
    fn configuration_byte(&self, offset: usize) -> u8;
    /// Changes whenever the configuration does; always 0 on a legacy device.
    fn configuration_generation(&self) -> u32;
}

/// How often a reset's end is looked for. QEMU's is immediate.
const RESET_POLLS: usize = 100_000;

fn reset(transport: &impl Transport) -> Result<()> {
    transport.set_status(Status::empty());
    let mut polls = core::iter::repeat_with(|| transport.status()).take(RESET_POLLS);
    if polls.any(|status| status.is_empty()) { Ok(()) } else { Err(Error::TimedOut) }
}

/// A started device with its queues. Dropping it resets the device, and only then frees what the device could reach.
pub struct VirtioDevice<T: Transport, B: DmaBuffer> {
    transport: T,
    features: Features,
    queues: Box<[Queue<B>]>,
}

impl<T: Transport, B: DmaBuffer> VirtioDevice<T, B> {
    /// Resets the device, agrees on as many of the `wanted` features as it offers, and starts `queue_count` queues of
    /// at most `queue_size` entries (rounded down to a power of two).
    ///
    /// # Errors
    /// `NotSupported` when the device refuses the features, `NoDevice` when it lacks a queue, `TimedOut` when it does
    /// not reset, `OutOfMemory`, and those of [`Transport::start_queue`].
    pub fn start(transport: T, wanted: Features, queues: QueueCount, memory: &dyn DmaMemory) -> Result<Self> {
        reset(&transport)?;
        // From here on dropping the device resets it, so that a failure leaves nothing behind.
        let mut device = Self { transport, features: Features::empty(), queues: Box::new([]) };
        device.negotiate(wanted)?;
        let mut started = Vec::with_capacity(queues.count as usize);
        for index in 0..queues.count {
            let size = device.transport.max_queue_size(index).min(queues.size);
            let size = size.checked_ilog2().map(|log| 1 << log).ok_or(Error::NoDevice)?;
            started.push(Queue::new(size, device.features.contains(Features::EVENT_INDEX), memory)?);
        }
        device.queues = started.into_boxed_slice();
        for (index, queue) in device.queues.iter().enumerate() {
            device.transport.start_queue(index as u16, &queue.addresses())?;
        }
        device.add_status(Status::DRIVER_OK);
        Ok(device)
    }

    fn add_status(&self, status: Status) {
        self.transport.set_status(self.transport.status() | status);
    }

    fn negotiate(&mut self, wanted: Features) -> Result<()> {
        self.add_status(Status::ACKNOWLEDGE);
        self.add_status(Status::DRIVER);
        let legacy = self.transport.is_legacy();
        let version = if legacy { Features::empty() } else { Features::VERSION_1 };
        let offered = self.transport.offered_features();
        if !offered.contains(version) {
            self.add_status(Status::FAILED);
            return Err(Error::NotSupported);
        }
        self.features = offered & (wanted | Features::EVENT_INDEX) | version;
        self.transport.accept_features(self.features);
        if !legacy {
            self.add_status(Status::FEATURES_OK);
            if !self.transport.status().contains(Status::FEATURES_OK) {
                self.add_status(Status::FAILED);
                return Err(Error::NotSupported);
            }
        }
        Ok(())
    }

    /// The features that are in use.
    pub fn features(&self) -> Features {
        self.features
    }

    /// How the device is reached, for its configuration.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Has the device do one request: waits for room in the queue, then for the device.
    ///
    /// Dropping the future early takes back a request that is not in the queue yet; one that is goes on, and its
    /// buffer is dropped when the device has returned it.
    ///
    /// # Errors
    /// `InvalidArgument` for a queue that there is not, or a buffer that is empty, malformed or longer than the queue;
    /// `InputOutput` when the device broke the protocol: it is of no use until it is started anew.
    pub async fn transfer(&self, queue: u16, buffer: B) -> Result<Completion<B>> {
        let index = queue;
        let queue = self.queues.get(index as usize).ok_or(Error::InvalidArgument)?;
        let mut buffer = Some(buffer);
        let slot = queue.room().wait_until(|| queue.try_submit(&mut buffer).transpose()).await?;
        let flight = Flight::new(queue, slot);
        self.notify(index);
        flight.await
    }

    /// Tells the device of what is new in the queue, if it wants to know.
    fn notify(&self, index: u16) {
        // Whoever takes the notification sends it for all who offered something, so it must not be preempted between.
        let _guard = PreemptGuard::new();
        if self.queues[index as usize].take_notification() {
            self.transport.notify(index);
        }
    }

    /// Handles the device's interrupt: wakes those whose requests are done. Returns why it came.
    pub fn on_interrupt(&self) -> Cause {
        let cause = self.transport.acknowledge_interrupt();
        if cause.contains(Cause::CONFIGURATION) && self.transport.status().contains(Status::NEEDS_RESET) {
            self.queues.iter().for_each(Queue::give_up);
        }
        // A legacy device may say nothing of a queue that it used while the last interrupt was acknowledged.
        self.queues.iter().for_each(Queue::collect);
        cause
    }
}

/// How many queues a device has, and how many entries each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCount {
    /// Queues, from index 0.
    pub count: u16,
    /// Entries, at least 1.
    pub size: u16,
}

impl<T: Transport, B: DmaBuffer> Drop for VirtioDevice<T, B> {
    fn drop(&mut self) {
        if reset(&self.transport).is_err() {
            // The device may still write: its memory is lost rather than given to somebody else.
            core::mem::forget(core::mem::take(&mut self.queues));
        }
    }
}
