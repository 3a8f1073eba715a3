//! The file systems that can be mounted, by name, and what all of them share.

use crate::console_terminal::{CONSOLE, CONTROLLING_TERMINAL, SERIAL};
use crate::pseudo_terminal::MULTIPLEXER;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::operation::Operation;
use base::sync::{Lazy, OnceCell, SpinLock};
use base::{Error, Result};
use vfs::Mount;
use vfs::anonymous::AnonymousFiles;
use vfs::devfs::Devfs;
use vfs::mount::MountFlags;
use vfs::tmpfs::{Options, Tmpfs};

pub use crate::devices::environment;

/// Where files without a path have their place.
static ANONYMOUS: Lazy<Arc<AnonymousFiles>> = Lazy::new(|| AnonymousFiles::new(environment().clone()));
/// The kernel's `/dev`, and its one mount, of which all others are binds.
static DEVICES: OnceCell<(Devfs, Arc<Mount>)> = OnceCell::new();
/// Memory that looks like files: for `memfd_create` and shared mappings.
static SHARED_MEMORY: Lazy<SharedMemory> = Lazy::new(|| {
    let file_system = Tmpfs::new(environment().clone(), Options::default());
    let mount = Mount::new(file_system.clone(), b"tmpfs", MountFlags::empty());
    SharedMemory { file_system, mount }
});
static TYPES: SpinLock<Vec<FileSystemType>> = SpinLock::new(Vec::new());

/// A file system in memory that sits nowhere.
pub struct SharedMemory {
    /// The file system.
    pub file_system: Arc<Tmpfs>,
    /// Its one mount.
    pub mount: Arc<Mount>,
}

/// What `mount(2)` says about a new mount.
pub struct MountRequest<'a> {
    /// What to mount, as `/proc/mounts` shows it.
    pub source: &'a [u8],
    /// The file system's own options, separated by commas.
    pub options: &'a [u8],
    /// What the mount forbids.
    pub flags: MountFlags,
}

/// Makes a mount that sits nowhere yet.
pub type Constructor = for<'a> fn(&'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>>;

/// Whether a file system lies on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// It lies on none: `nodev` in `/proc/filesystems`.
    None,
    /// The source names a block device.
    BlockDevice,
}

/// A kind of file system.
#[derive(Clone, Copy)]
pub struct FileSystemType {
    /// What `mount -t` calls it.
    pub name: &'static str,
    /// What it lies on.
    pub storage: Storage,
    /// Makes a mount.
    pub mount: Constructor,
}

/// Where files without a path have their place.
pub fn anonymous() -> &'static Arc<AnonymousFiles> {
    &ANONYMOUS
}

/// Where files live that are nothing but memory.
pub fn shared_memory() -> &'static SharedMemory {
    &SHARED_MEMORY
}

/// The kernel's `/dev`, to which nodes are added as devices are found. It is there once [`initialise`] has run.
pub fn devices() -> Option<&'static Devfs> {
    DEVICES.get().map(|(devices, _)| devices)
}

/// Makes a kind of file system known. One that is known already is replaced.
pub fn register(kind: FileSystemType) {
    let mut types = TYPES.lock();
    types.retain(|known| known.name != kind.name);
    types.push(kind);
}

/// The kind with this name.
///
/// # Errors
/// `NoDevice`, as `mount(2)` says it.
pub fn find(name: &[u8]) -> Result<FileSystemType> {
    let types = TYPES.lock();
    types.iter().find(|known| known.name.as_bytes() == name).copied().ok_or(Error::NoDevice)
}

/// Every kind there is, for `/proc/filesystems`.
pub fn types() -> Vec<FileSystemType> {
    TYPES.lock().clone()
}

/// Makes the kinds known that live in memory, and the kernel's `/dev`.
///
/// # Errors
/// `OutOfMemory`.
pub async fn initialise() -> Result<()> {
    let devices = Devfs::new(environment().clone()).await?;
    for (name, number, permissions) in [
        ("console", CONSOLE, 0o600),
        ("tty", CONTROLLING_TERMINAL, 0o666),
        ("ttyS0", SERIAL, 0o600),
        ("ptmx", MULTIPLEXER, 0o666),
    ] {
        devices.add_character_device(name, number, permissions).await?;
    }
    crate::devices::add_nodes(&devices).await?;
    let mount = Mount::new(devices.file_system(), b"devtmpfs", MountFlags::empty());
    // Set once, at boot.
    let _ = DEVICES.set((devices, mount));
    for (name, mount) in [
        ("tmpfs", mount_tmpfs as Constructor),
        ("ramfs", mount_ramfs),
        ("rootfs", mount_rootfs),
        ("devtmpfs", mount_devices),
    ] {
        register(FileSystemType { name, storage: Storage::None, mount });
    }
    Ok(())
}

fn mount_memory(
    name: &'static str,
    request: &MountRequest<'_>,
    options: Options,
) -> Operation<'static, Result<Arc<Mount>>> {
    let file_system = Tmpfs::named(name, environment().clone(), options);
    Operation::Ready(Ok(Mount::new(file_system, request.source, request.flags)))
}

fn mount_tmpfs<'a>(request: &'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>> {
    let memory = memory::frames::total_frames() as u64 * base::address::PAGE_SIZE as u64;
    match Options::parse(request.options, memory) {
        // Half of the memory, unless something else is asked for, as on Linux.
        Ok(options) => {
            mount_memory("tmpfs", request, Options { size: options.size.or(Some(memory / 2)), ..options })
        }
        Err(error) => Operation::Ready(Err(error)),
    }
}

/// A tmpfs without limits, whose root only its owner writes; of the options, `mode` alone counts.
fn mount_ramfs<'a>(request: &'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>> {
    let mode = |option: &&[u8]| option.starts_with(b"mode=");
    let option = request.options.split(|byte| *byte == b',').find(mode).unwrap_or(b"mode=755");
    match Options::parse(option, 0) {
        Ok(options) => mount_memory("ramfs", request, options),
        Err(error) => Operation::Ready(Err(error)),
    }
}

/// The root is there from the start, and there is one only.
fn mount_rootfs<'a>(_: &'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>> {
    Operation::Ready(Err(Error::NoDevice))
}

/// The one `/dev` again.
fn mount_devices<'a>(request: &'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>> {
    let Some((_, first)) = DEVICES.get() else { return Operation::Ready(Err(Error::NoDevice)) };
    let top = vfs::Location { mount: first.clone(), dentry: first.root().clone() };
    let mount = Mount::bind(&top);
    mount.set_flags(request.flags);
    Operation::Ready(Ok(mount))
}
