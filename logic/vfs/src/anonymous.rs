//! Files that no path leads to: pipes, sockets, event counters. They have a place all the same, on a mount that sits
//! nowhere, so that everything that is about open files (`fstat`, `/proc/PID/fd`) holds for them too.

use crate::dentry::Dentry;
use crate::environment::Environment;
use crate::inode::{File, FileSystem, Inode};
use crate::metadata::{DeviceNumber, FileKind, Metadata, MetadataChange, Ownership, Statistics};
use crate::mount::{Location, Mount, MountFlags};
use crate::name::NAME_MAX;
use crate::{Error, Result};
use alloc::format;
use alloc::sync::Arc;
use base::address::PAGE_SIZE;
use base::operation::Operation;
use base::sync::SpinLock;
use core::sync::atomic::{AtomicU64, Ordering};

/// `ANON_INODE_FS_MAGIC`.
const MAGIC: u64 = 0x0904_1934;

/// Where files without a path have their place.
pub struct AnonymousFiles {
    mount: Arc<Mount>,
    environment: Arc<Environment>,
    device: DeviceNumber,
    next_number: AtomicU64,
}

/// The metadata of something without a path.
pub struct AnonymousNode {
    number: u64,
    device: DeviceNumber,
    kind: FileKind,
    created_ns: i64,
    ownership: SpinLock<Ownership>,
}

/// An inode that is nothing but metadata: what `fstat` shows of an event counter or a socket.
pub struct AnonymousInode(AnonymousNode);

impl AnonymousFiles {
    /// A new system of them; one for the whole kernel.
    pub fn new(environment: Arc<Environment>) -> Arc<Self> {
        let device = environment.next_file_system();
        let node = AnonymousNode {
            number: 1,
            device,
            kind: FileKind::Directory,
            created_ns: environment.clock.now_ns(),
            ownership: SpinLock::new(Ownership { permissions: 0o555, uid: 0, gid: 0 }),
        };
        let file_system = AnonymousFileSystem { device, root: Arc::new(AnonymousInode(node)) };
        let mount = Mount::new(Arc::new(file_system), b"anon_inodefs", MountFlags::empty());
        Arc::new(Self { mount, environment, device, next_number: AtomicU64::new(2) })
    }

    /// The mount on which they are.
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// Metadata for one more.
    pub fn node(&self, kind: FileKind, ownership: Ownership) -> AnonymousNode {
        AnonymousNode {
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            device: self.device,
            kind,
            created_ns: self.environment.clock.now_ns(),
            ownership: SpinLock::new(ownership),
        }
    }

    /// The place of an inode; `label` is what /proc shows in place of a path.
    pub fn place(&self, inode: Arc<dyn Inode>, label: &[u8]) -> Location {
        Location { mount: self.mount.clone(), dentry: Dentry::anonymous(inode, label) }
    }

    /// The place of something that has metadata only, labelled `anon_inode:NAME`, or `socket:[NUMBER]`.
    pub fn place_for(&self, kind: FileKind, name: &str, ownership: Ownership) -> Location {
        let node = self.node(kind, ownership);
        let label = match kind {
            FileKind::Socket => format!("socket:[{}]", node.number),
            _ => format!("anon_inode:{name}"),
        };
        self.place(Arc::new(AnonymousInode(node)), label.as_bytes())
    }
}

impl AnonymousNode {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Permissions and owners.
    pub fn ownership(&self) -> Ownership {
        *self.ownership.lock()
    }

    /// What `fstat` tells.
    pub fn metadata(&self) -> Metadata {
        Metadata {
            number: self.number,
            device: self.device,
            kind: self.kind,
            ownership: self.ownership(),
            link_count: 1,
            size: 0,
            special_device: DeviceNumber::default(),
            accessed_ns: self.created_ns,
            modified_ns: self.created_ns,
            changed_ns: self.created_ns,
            blocks: 0,
            block_size: PAGE_SIZE as u32,
        }
    }

    /// Changes permissions and owners; times stay those of its creation.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a length.
    pub fn set_metadata(&self, change: &MetadataChange) -> Result<()> {
        if change.size.is_some() {
            return Err(Error::InvalidArgument);
        }
        let mut ownership = self.ownership.lock();
        ownership.permissions = change.permissions.unwrap_or(ownership.permissions);
        ownership.uid = change.uid.unwrap_or(ownership.uid);
        ownership.gid = change.gid.unwrap_or(ownership.gid);
        Ok(())
    }
}

impl File for AnonymousInode {
    fn seekable(&self) -> bool {
        false
    }
}

impl Inode for AnonymousInode {
    fn number(&self) -> u64 {
        self.0.number
    }

    fn kind(&self) -> FileKind {
        self.0.kind
    }

    fn ownership(&self) -> Ownership {
        self.0.ownership()
    }

    fn metadata(&self) -> Operation<'_, Result<Metadata>> {
        Operation::Ready(Ok(self.0.metadata()))
    }

    fn set_metadata<'a>(&'a self, change: &'a MetadataChange) -> Operation<'a, Result<()>> {
        Operation::Ready(self.0.set_metadata(change))
    }

    fn open(self: Arc<Self>, _: crate::OpenFlags) -> Operation<'static, Result<crate::inode::Opened>> {
        Operation::Ready(Err(Error::NoSuchDeviceOrAddress))
    }
}

struct AnonymousFileSystem {
    device: DeviceNumber,
    root: Arc<AnonymousInode>,
}

impl FileSystem for AnonymousFileSystem {
    fn name(&self) -> &'static str {
        "anon_inodefs"
    }

    fn device(&self) -> DeviceNumber {
        self.device
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statistics(&self) -> Operation<'_, Result<Statistics>> {
        Operation::Ready(Ok(Statistics {
            magic: MAGIC,
            block_size: PAGE_SIZE as u32,
            blocks: 0,
            blocks_free: 0,
            files: 0,
            files_free: 0,
            name_length: NAME_MAX as u32,
        }))
    }
}
