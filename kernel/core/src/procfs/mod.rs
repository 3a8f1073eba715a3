//! `/proc`: what the kernel knows of its processes and of itself, as text in Linux's formats.
//!
//! | file | has |
//! |---|---|
//! | [`subject`] | which process or thread a directory is about, and who may look into it |
//! | [`process_directory`] | the entries of `/proc/PID` and `/proc/PID/task/TID` |
//! | [`process_files`] | their contents |
//! | [`memory_files`] | those about memory |
//! | [`descriptors`] | `fd` and `fdinfo` |
//! | [`mounts`] | `mounts` and `mountinfo` |
//! | [`system_files`] | what stands at the top |
//! | [`settings`] | `/proc/sys` |
//! | [`own`] | `/proc/asyncos`, which is ours alone |

mod descriptors;
mod memory_files;
mod mounts;
mod own;
mod process_directory;
mod process_files;
mod settings;
mod sockets;
mod subject;
mod system_files;

use crate::file_systems::{self, FileSystemType, MountRequest, Storage};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Result;
use base::operation::Operation;
use base::sync::OnceCell;
use core::fmt;
use vfs::synthetic::{
    Content, Origin, SyntheticDirectory, SyntheticFile, SyntheticFileSystem, SyntheticLink,
};
use vfs::{Environment, FileSystem, LinkTarget, Mount};

/// `PROC_SUPER_MAGIC`
const MAGIC: u64 = 0x9fa0;
/// Numbers of the nodes that are always there; those of processes are far above, see [`subject::Subject::number`].
const FIRST_NUMBER: u64 = 1;

/// All mounts of it show the one file system, as there is one table of processes.
static FILE_SYSTEM: OnceCell<Arc<dyn FileSystem>> = OnceCell::new();

/// Appends formatted text to bytes, which cannot fail.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Appends a line to a `&mut Vec<u8>`.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {{
        use core::fmt::Write;
        // Writing to `Text` cannot fail.
        let _ = writeln!($crate::procfs::Text($text), $($argument)*);
    }};
}

/// Appends to a `&mut Vec<u8>` without ending the line.
macro_rules! part {
    ($text:expr, $($argument:tt)*) => {{
        use core::fmt::Write;
        // Writing to `Text` cannot fail.
        let _ = write!($crate::procfs::Text($text), $($argument)*);
    }};
}

pub(crate) use {line, part};

/// Makes `proc` known to `mount(2)`.
///
/// # Errors
/// None that could happen at boot.
pub fn register() -> Result<()> {
    let file_system = new(file_systems::environment().clone())?;
    // Set once, at boot.
    let _ = FILE_SYSTEM.set(file_system);
    file_systems::register(FileSystemType { name: "proc", storage: Storage::None, mount });
    Ok(())
}

fn mount<'a>(request: &'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>> {
    let Some(file_system) = FILE_SYSTEM.get() else { return Operation::Ready(Err(base::Error::NoDevice)) };
    Operation::Ready(Ok(Mount::new(file_system.clone(), request.source, request.flags)))
}

/// A new file system of this kind.
///
/// # Errors
/// `AlreadyExists` when two entries have one name.
pub fn new(environment: Arc<Environment>) -> Result<Arc<dyn FileSystem>> {
    let origin = Origin::new(environment, FIRST_NUMBER);
    let processes = process_directory::Processes::new(origin.clone());
    let root = SyntheticDirectory::with_entries(origin.node(0o555), processes);
    let builder = Builder { origin: &origin };
    root.insert("self", builder.link(subject::own_directory))?;
    root.insert("thread-self", builder.link(subject::own_thread_directory))?;
    root.insert("mounts", builder.link(|| Ok(LinkTarget::Path(Arc::from(&b"self/mounts"[..])))))?;
    system_files::insert(&builder, &root)?;
    root.insert("sys", settings::directory(&builder)?)?;
    root.insert("sysrq-trigger", builder.file(0o200, settings::Request))?;
    root.insert("net", sockets::directory(&builder)?)?;
    root.insert("asyncos", own::directory(&builder)?)?;
    Ok(SyntheticFileSystem::new("proc", MAGIC, &origin, root))
}

/// Appends the whole content of a file.
type Writer = fn(&mut Vec<u8>);

/// Makes nodes that are always there.
struct Builder<'a> {
    origin: &'a Origin,
}

impl Builder<'_> {
    fn directory(&self) -> Arc<SyntheticDirectory> {
        SyntheticDirectory::new(self.origin.node(0o555))
    }

    fn file(&self, permissions: u16, content: impl Content) -> Arc<SyntheticFile> {
        SyntheticFile::new(self.origin.node(permissions), content)
    }

    /// A file that everybody may read and that is made at once.
    fn text(&self, content: Writer) -> Arc<SyntheticFile> {
        self.file(0o444, move |text: &mut Vec<u8>| {
            content(text);
            Ok(())
        })
    }

    fn link(&self, target: impl Fn() -> Result<LinkTarget> + Send + Sync + 'static) -> Arc<SyntheticLink> {
        SyntheticLink::new(self.origin.node(0o777), target)
    }
}
