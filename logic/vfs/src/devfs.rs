//! /dev: the nodes of devices, and the devices that are nothing but code.

use crate::environment::{Device, Environment};
use crate::inode::{File, FileSystem, WritePosition, Written};
use crate::metadata::{DeviceNumber, FileKind, NewNode, Ownership};
use crate::tmpfs::{Options, Tmpfs};
use crate::{Error, Result};
use alloc::sync::Arc;
use base::bytes::{Sink, Source};
use base::operation::Operation;

/// The driver number of [`null`](NULL) and its kind (`MEM_MAJOR`).
const MEMORY_MAJOR: u32 = 1;
/// `/dev/null`.
pub const NULL: DeviceNumber = DeviceNumber::new(MEMORY_MAJOR, 3);
/// `/dev/zero`.
pub const ZERO: DeviceNumber = DeviceNumber::new(MEMORY_MAJOR, 5);
/// `/dev/full`.
pub const FULL: DeviceNumber = DeviceNumber::new(MEMORY_MAJOR, 7);
/// `/dev/random`.
pub const RANDOM: DeviceNumber = DeviceNumber::new(MEMORY_MAJOR, 8);
/// `/dev/urandom`.
pub const URANDOM: DeviceNumber = DeviceNumber::new(MEMORY_MAJOR, 9);

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with bytes that nobody can foretell.
    fn fill(&self, bytes: &mut [u8]);

    /// Takes what somebody wrote to `/dev/random`: it may make the source less predictable, and must not make it
    /// more so.
    fn stir(&self, bytes: &[u8]) {
        let _ = bytes;
    }
}

/// What reads and writes of a device that is nothing but code do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Null,
    Zero,
    Full,
}

struct MemoryDevice(Behaviour);

fn written(count: usize) -> Operation<'static, Result<Written>> {
    Operation::Ready(Ok(Written { count, end: 0 }))
}

impl File for MemoryDevice {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(Ok(match self.0 {
            Behaviour::Null => 0,
            Behaviour::Zero | Behaviour::Full => sink.fill_zero(sink.remaining()),
        }))
    }

    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        _position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        match self.0 {
            Behaviour::Full if source.remaining() > 0 => Operation::Ready(Err(Error::NoSpace)),
            _ => written(source.skip(source.remaining())),
        }
    }

    fn keeps_offset(&self) -> bool {
        false
    }
}

struct RandomDevice(Arc<dyn Entropy>);

/// How many bytes are asked of the entropy source, or given to it, at a time.
const RANDOM_CHUNK: usize = 256;

impl File for RandomDevice {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        let mut bytes = [0; RANDOM_CHUNK];
        let mut total = 0;
        while sink.remaining() > 0 {
            let chunk = &mut bytes[..sink.remaining().min(RANDOM_CHUNK)];
            self.0.fill(chunk);
            total += sink.copy_from(chunk);
        }
        Operation::Ready(Ok(total))
    }

    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        _position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        let mut bytes = [0; RANDOM_CHUNK];
        let mut total = 0;
        while source.remaining() > 0 {
            let count = source.copy_to(&mut bytes);
            self.0.stir(&bytes[..count]);
            total += count;
        }
        written(total)
    }
}

/// Puts null, zero, full, random and urandom behind their numbers.
///
/// # Errors
/// [`Error::Busy`] when they are there already.
pub fn register_memory_devices(environment: &Environment, entropy: Arc<dyn Entropy>) -> Result<()> {
    let random: Arc<dyn File> = Arc::new(RandomDevice(entropy));
    let devices: [(DeviceNumber, Arc<dyn File>); 5] = [
        (NULL, Arc::new(MemoryDevice(Behaviour::Null))),
        (ZERO, Arc::new(MemoryDevice(Behaviour::Zero))),
        (FULL, Arc::new(MemoryDevice(Behaviour::Full))),
        (RANDOM, random.clone()),
        (URANDOM, random),
    ];
    for (number, file) in devices {
        let device: Arc<dyn Device> = Arc::new(file);
        environment.register(FileKind::CharacterDevice, number, device)?;
    }
    Ok(())
}

/// A `/dev`: a file system in memory to which the kernel adds the nodes of devices as they are found.
pub struct Devfs {
    tmpfs: Arc<Tmpfs>,
}

impl Devfs {
    /// A `/dev` with the nodes of [`register_memory_devices`], the links to descriptors, and `pts` and `shm`.
    ///
    /// # Errors
    /// Those of making nodes in memory; none that could happen at boot.
    pub async fn new(environment: Arc<Environment>) -> Result<Self> {
        let root = Ownership { permissions: 0o755, uid: 0, gid: 0 };
        let tmpfs = Tmpfs::named("devtmpfs", environment, Options { root, ..Options::default() });
        let devfs = Self { tmpfs };
        for (name, number) in
            [("null", NULL), ("zero", ZERO), ("full", FULL), ("random", RANDOM), ("urandom", URANDOM)]
        {
            devfs.add_character_device(name, number, 0o666).await?;
        }
        for (name, permissions) in [("pts", 0o755), ("shm", 0o1777)] {
            devfs.add(name, FileKind::Directory, DeviceNumber::default(), permissions).await?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            devfs.add_link(name, target).await?;
        }
        Ok(devfs)
    }

    /// The file system, to be mounted. Once mounted, later mounts of it are binds of the first.
    pub fn file_system(&self) -> Arc<Tmpfs> {
        self.tmpfs.clone()
    }

    /// Adds the node of a character device, which [`Environment::register`] puts behind its number.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub async fn add_character_device(
        &self,
        name: &str,
        number: DeviceNumber,
        permissions: u16,
    ) -> Result<()> {
        self.add(name, FileKind::CharacterDevice, number, permissions).await
    }

    /// Adds a node of any kind. To be used at boot or for names that programs do not make themselves.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub async fn add(
        &self,
        name: &str,
        kind: FileKind,
        number: DeviceNumber,
        permissions: u16,
    ) -> Result<()> {
        let ownership = Ownership { permissions, uid: 0, gid: 0 };
        let node = NewNode { kind, ownership, special_device: number };
        self.tmpfs.root().create(name.as_bytes(), node).await.map(|_| ())
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub async fn add_link(&self, name: &str, target: &str) -> Result<()> {
        let owner = Ownership { permissions: 0o777, uid: 0, gid: 0 };
        self.tmpfs.root().symlink(name.as_bytes(), target.as_bytes(), owner).await.map(|_| ())
    }
}
