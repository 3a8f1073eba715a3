//! What file systems are given from outside: the time of day, and what stands behind device numbers.

use crate::clock::WallClock;
use crate::flags::OpenFlags;
use crate::inode::{File, Opened};
use crate::metadata::{DeviceNumber, FileKind};
use crate::{Error, Result};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use base::operation::Operation;
use base::sync::SpinLock;
use core::sync::atomic::{AtomicU32, Ordering};

/// What stands behind a device node.
pub trait Device: Send + Sync {
    /// Makes what an open description of it does.
    ///
    /// # Errors
    /// The device's own.
    fn open(&self, flags: OpenFlags) -> Operation<'static, Result<Arc<dyn File>>>;
}

/// A device without state of its own for each opening: the same file each time.
impl Device for Arc<dyn File> {
    fn open(&self, _flags: OpenFlags) -> Operation<'static, Result<Arc<dyn File>>> {
        Operation::Ready(Ok(self.clone()))
    }
}

/// Given to every file system that is made; one for the whole system.
#[derive(Default)]
pub struct Environment {
    /// The time of day.
    pub clock: WallClock,
    character: SpinLock<BTreeMap<DeviceNumber, Arc<dyn Device>>>,
    block: SpinLock<BTreeMap<DeviceNumber, Arc<dyn Device>>>,
    file_systems: AtomicU32,
}

impl Environment {
    /// A clock that was not set, and no devices.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A device number for one more file system that is on no device.
    pub fn next_file_system(&self) -> DeviceNumber {
        DeviceNumber::new(0, self.file_systems.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn table(&self, kind: FileKind) -> Result<&SpinLock<BTreeMap<DeviceNumber, Arc<dyn Device>>>> {
        match kind {
            FileKind::CharacterDevice => Ok(&self.character),
            FileKind::BlockDevice => Ok(&self.block),
            _ => Err(Error::InvalidArgument),
        }
    }

    /// Puts a device behind a number.
    ///
    /// # Errors
    /// [`Error::Busy`] when one is there, [`Error::InvalidArgument`] when `kind` is no device.
    pub fn register(&self, kind: FileKind, number: DeviceNumber, device: Arc<dyn Device>) -> Result<()> {
        let mut table = self.table(kind)?.lock();
        if table.contains_key(&number) {
            return Err(Error::Busy);
        }
        table.insert(number, device);
        Ok(())
    }

    /// Takes a device away; open files of it remain.
    pub fn unregister(&self, kind: FileKind, number: DeviceNumber) -> Option<Arc<dyn Device>> {
        self.table(kind).ok()?.lock().remove(&number)
    }

    /// Opens what stands behind a number.
    pub fn open(
        &self,
        kind: FileKind,
        number: DeviceNumber,
        flags: OpenFlags,
    ) -> Operation<'static, Result<Opened>> {
        let device = match self.table(kind) {
            Ok(table) => table.lock().get(&number).cloned(),
            Err(error) => return Operation::Ready(Err(error)),
        };
        match device.map(|device| device.open(flags)) {
            None => Operation::Ready(Err(Error::NoSuchDeviceOrAddress)),
            Some(Operation::Ready(outcome)) => Operation::Ready(outcome.map(Opened::File)),
            Some(other) => Operation::pending(async move { other.await.map(Opened::File) }),
        }
    }
}
