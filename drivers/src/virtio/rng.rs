//! The entropy device (5.4): random bytes from the host.

use super::{Cause, Features, QueueCount, Transport, VirtioDevice, device_type};
use crate::mmio::dma::{BlockBuffer, DeviceAccess, DmaBlock, DmaMemory};
use alloc::sync::Arc;
use base::sync::Mutex;
use base::{Error, Result};

/// Entries of the queue: one request at a time, and those that were abandoned.
const QUEUE: QueueCount = QueueCount { count: 1, size: 8 };

/// The device.
pub struct VirtioRng<T: Transport> {
    device: VirtioDevice<T, BlockBuffer>,
    memory: Arc<dyn DmaMemory>,
    /// The page through which bytes come; absent while, or because, the device has it.
    page: Mutex<Option<DmaBlock>>,
}

impl<T: Transport> VirtioRng<T> {
    /// Starts the device.
    ///
    /// # Errors
    /// `NoDevice` when it is of another type, and those of [`VirtioDevice::start`].
    pub fn start(transport: T, memory: Arc<dyn DmaMemory>) -> Result<Self> {
        if transport.device_type() != device_type::ENTROPY {
            return Err(Error::NoDevice);
        }
        let device = VirtioDevice::start(transport, Features::empty(), QUEUE, &*memory)?;
        Ok(Self { device, memory, page: Mutex::new(None) })
    }

    /// Fills `bytes` with what the device gives. Callers take turns.
    ///
    /// # Errors
    /// `InputOutput` when the device fails or gives nothing, `OutOfMemory`.
    pub async fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        let mut page = self.page.lock().await;
        while filled < bytes.len() {
            let block = match page.take() {
                Some(block) => block,
                None => self.memory.allocate(1)?,
            };
            let buffer = BlockBuffer::new(block, bytes.len() - filled, DeviceAccess::Writes);
            let completion = self.device.transfer(0, buffer).await?;
            let block = completion.buffer.into_block();
            let given = block.bytes().slice(0, completion.written as usize);
            let count = given.copy_to(&mut bytes[filled..]);
            // Nobody else shall see them.
            given.fill(0);
            *page = Some(block);
            if count == 0 {
                return Err(Error::InputOutput);
            }
            filled += count;
        }
        Ok(())
    }

    /// Handles the device's interrupt.
    pub fn on_interrupt(&self) -> Cause {
        self.device.on_interrupt()
    }
}
