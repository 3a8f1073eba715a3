//! `/sys`, as far as programs look there: which harts there are.

use crate::file_systems::{self, FileSystemType, MountRequest, Storage};
use crate::hart;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Result;
use base::operation::Operation;
use base::sync::OnceCell;
use vfs::synthetic::{Origin, SyntheticDirectory, SyntheticFile, SyntheticFileSystem};
use vfs::{FileSystem, Mount};

/// `SYSFS_MAGIC`
const MAGIC: u64 = 0x6265_6572;

static FILE_SYSTEM: OnceCell<Arc<dyn FileSystem>> = OnceCell::new();

/// Makes `sysfs` known to `mount(2)`.
///
/// # Errors
/// None that could happen at boot.
pub fn register() -> Result<()> {
    let origin = Origin::new(file_systems::environment().clone(), 1);
    let directory = || SyntheticDirectory::new(origin.node(0o755));
    let root = directory();
    for name in ["block", "bus", "class", "dev", "firmware", "fs", "kernel", "module", "power"] {
        root.insert(name, directory())?;
    }
    let (devices, system, harts) = (directory(), directory(), directory());
    for name in ["online", "possible", "present"] {
        harts.insert(name, SyntheticFile::new(origin.node(0o444), write_harts))?;
    }
    for hart in hart::online() {
        harts.insert(&format!("cpu{}", hart.index()), directory())?;
    }
    system.insert("cpu", harts)?;
    devices.insert("system", system)?;
    root.insert("devices", devices)?;
    let file_system: Arc<dyn FileSystem> = SyntheticFileSystem::new("sysfs", MAGIC, &origin, root);
    // Set once, at boot.
    let _ = FILE_SYSTEM.set(file_system);
    file_systems::register(FileSystemType { name: "sysfs", storage: Storage::None, mount });
    Ok(())
}

fn mount<'a>(request: &'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>> {
    let Some(file_system) = FILE_SYSTEM.get() else { return Operation::Ready(Err(base::Error::NoDevice)) };
    Operation::Ready(Ok(Mount::new(file_system.clone(), request.source, request.flags)))
}

fn write_harts(text: &mut Vec<u8>) -> Result<()> {
    match hart::online().len() {
        1 => text.extend_from_slice(b"0\n"),
        count => text.extend_from_slice(format!("0-{}\n", count - 1).as_bytes()),
    }
    Ok(())
}
