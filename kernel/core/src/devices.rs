//! What stands behind device numbers, and `/dev`.

use crate::command_line::LogMode;
use crate::console::{self, Console};
use crate::kernel_messages::{KERNEL_MESSAGES, KernelMessagesNode};
use crate::{console_terminal, entropy, log};
use alloc::sync::Arc;
use base::bytes::Source;
use base::operation::Operation;
use base::sync::Lazy;
use base::{Error, Result};
use vfs::devfs::{self, Devfs, Entropy};
use vfs::inode::{WaitQueues, WritePosition, Written};
use vfs::metadata::{DeviceNumber, NewNode, Ownership};
use vfs::{Environment, File, FileKind, FileSystem, Readiness};

static ENVIRONMENT: Lazy<Arc<Environment>> = Lazy::new(Environment::new);

/// `/dev/asyncos/stderr`, under the first of the numbers for local use.
pub const STANDARD_ERROR: DeviceNumber = DeviceNumber::new(240, 0);

/// What every file system is given.
pub fn environment() -> &'static Arc<Environment> {
    &ENVIRONMENT
}

struct Pool;

impl Entropy for Pool {
    fn fill(&self, bytes: &mut [u8]) {
        entropy::fill(bytes);
    }

    fn stir(&self, bytes: &[u8]) {
        entropy::reseed(bytes, 0);
    }
}

/// A file whose bytes leave the machine as frames of the kind `stderr`, so that whoever listens on the serial line can tell
/// them from the other output. Where no frames are wanted, it is the console.
struct StandardError(Option<Arc<dyn File>>);

/// The most bytes in one frame.
const FRAME_SIZE: usize = 1024;

impl StandardError {
    fn write_frames(console: &Console, source: &mut Source<'_>) -> Result<usize> {
        let mut done = 0;
        while source.remaining() > 0 {
            let mut payload = [0; FRAME_SIZE];
            let length = source.remaining().min(FRAME_SIZE);
            // What does not fit must stay in the source, so the room comes first.
            if !console.has_room_for(length + log::FRAME_OVERHEAD) {
                return if done > 0 { Ok(done) } else { Err(Error::WouldBlock) };
            }
            source.copy_to(&mut payload[..length]);
            log::frame("stderr", &payload[..length]);
            done += length;
        }
        Ok(done)
    }
}

impl File for StandardError {
    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        match (log::mode(), console::get(), &self.0) {
            (LogMode::Framed, Some(console), _) => {
                let count = Self::write_frames(console, source);
                Operation::Ready(count.map(|count| Written { count, end: 0 }))
            }
            (_, _, Some(terminal)) => terminal.write(source, position),
            _ => Operation::Ready(Err(Error::NoDevice)),
        }
    }

    fn readiness(&self) -> Readiness {
        match (log::mode(), console::get(), &self.0) {
            (LogMode::Framed, Some(console), _) if !console.has_room() => Readiness::empty(),
            (LogMode::Framed, ..) | (_, _, None) => Readiness::WRITABLE,
            (_, _, Some(terminal)) => terminal.readiness() & Readiness::WRITABLE,
        }
    }

    fn wait_queues(&self, _: Readiness) -> WaitQueues<'_> {
        match (log::mode(), console::get(), &self.0) {
            (LogMode::Framed, Some(console), _) => WaitQueues::one(console.room()),
            (_, _, Some(terminal)) => terminal.wait_queues(Readiness::WRITABLE),
            _ => WaitQueues::NONE,
        }
    }

    fn seekable(&self) -> bool {
        false
    }
}

/// Puts the devices that are nothing but code behind their numbers.
///
/// # Errors
/// None that could happen at boot.
pub fn register() -> Result<()> {
    devfs::register_memory_devices(environment(), Arc::new(Pool))?;
    let standard_error: Arc<dyn File> = Arc::new(StandardError(console_terminal::open()));
    environment().register(FileKind::CharacterDevice, STANDARD_ERROR, Arc::new(standard_error))?;
    environment().register(FileKind::CharacterDevice, KERNEL_MESSAGES, Arc::new(KernelMessagesNode))
}

/// Adds the nodes of the system's own devices to `/dev`.
///
/// # Errors
/// Those of making nodes in memory.
pub async fn add_nodes(devices: &Devfs) -> Result<()> {
    devices.add_character_device("kmsg", KERNEL_MESSAGES, 0o644).await?;
    devices.add("asyncos", FileKind::Directory, DeviceNumber::default(), 0o755).await?;
    let directory = devices.file_system().root().lookup(b"asyncos").await?;
    let ownership = Ownership { permissions: 0o222, uid: 0, gid: 0 };
    let node = NewNode { kind: FileKind::CharacterDevice, ownership, special_device: STANDARD_ERROR };
    directory.create(b"stderr", node).await.map(|_| ())
}
