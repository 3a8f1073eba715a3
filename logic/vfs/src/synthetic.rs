//! Files whose content is made when it is read: what procfs and sysfs are built from.
//!
//! An [`Origin`] numbers the nodes of one file system and stamps their times. A [`SyntheticDirectory`] has fixed
//! entries and may have others that come and go ([`Entries`]); a [`SyntheticFile`] asks a [`Content`] for its text; a
//! [`SyntheticLink`] asks a [`Target`] where it leads.

use crate::environment::Environment;
use crate::flags::OpenFlags;
use crate::inode::{
    CachePolicy, DirectoryEntry, EntryVisitor, FIRST_COOKIE, File, FileSystem, Inode, LinkTarget, Opened,
    WritePosition, Written,
};
use crate::metadata::{DeviceNumber, FileKind, Metadata, MetadataChange, Ownership, Statistics};
use crate::mount::Location;
use crate::name::{NAME_MAX, Name};
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::PAGE_SIZE;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::{Mutex, SpinLock};
use core::sync::atomic::{AtomicU64, Ordering};

/// The first cookie of the entries that come and go; they may use all from here on.
pub const FIRST_DYNAMIC_COOKIE: u64 = 1 << 32;
/// The most bytes that one write to a synthetic file may have.
const WRITE_MAX: usize = 64 << 10;

/// What the nodes of one synthetic file system have in common.
pub struct Origin {
    environment: Arc<Environment>,
    device: DeviceNumber,
    next_number: AtomicU64,
}

impl Origin {
    /// For a new file system. Numbers that it gives out start at `first_number`; those below are the caller's.
    pub fn new(environment: Arc<Environment>, first_number: u64) -> Arc<Self> {
        let device = environment.next_file_system();
        Arc::new(Self { environment, device, next_number: AtomicU64::new(first_number) })
    }

    /// A node with a number of its own, owned by the superuser.
    pub fn node(&self, permissions: u16) -> Node {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.node_with(number, Ownership { permissions, uid: 0, gid: 0 })
    }

    /// A node with this number and these owners. What comes and goes must keep its number, as that tells whether it
    /// still is the same.
    pub fn node_with(&self, number: u64, ownership: Ownership) -> Node {
        Node { number, device: self.device, ownership, created_ns: self.environment.clock.now_ns() }
    }
}

/// The metadata of a synthetic node.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    number: u64,
    device: DeviceNumber,
    ownership: Ownership,
    created_ns: i64,
}

impl Node {
    fn metadata(&self, kind: FileKind, link_count: u32) -> Operation<'static, Result<Metadata>> {
        Operation::Ready(Ok(Metadata {
            number: self.number,
            device: self.device,
            kind,
            ownership: self.ownership,
            link_count,
            size: 0,
            special_device: DeviceNumber::default(),
            accessed_ns: self.created_ns,
            modified_ns: self.created_ns,
            changed_ns: self.created_ns,
            blocks: 0,
            block_size: PAGE_SIZE as u32,
        }))
    }
}

/// A synthetic file system: a root directory and a name.
pub struct SyntheticFileSystem {
    name: &'static str,
    magic: u64,
    device: DeviceNumber,
    root: Arc<SyntheticDirectory>,
}

impl SyntheticFileSystem {
    /// A file system with this root; `magic` is what `statfs` tells.
    pub fn new(name: &'static str, magic: u64, origin: &Origin, root: Arc<SyntheticDirectory>) -> Arc<Self> {
        Arc::new(Self { name, magic, device: origin.device, root })
    }
}

impl FileSystem for SyntheticFileSystem {
    fn name(&self) -> &'static str {
        self.name
    }

    fn device(&self) -> DeviceNumber {
        self.device
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statistics(&self) -> Operation<'_, Result<Statistics>> {
        Operation::Ready(Ok(Statistics {
            magic: self.magic,
            block_size: PAGE_SIZE as u32,
            blocks: 0,
            blocks_free: 0,
            files: 0,
            files_free: 0,
            name_length: NAME_MAX as u32,
        }))
    }
}

/// Entries of a directory that come and go by themselves.
pub trait Entries: Send + Sync + 'static {
    /// The node with this name, now.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>>;

    /// Gives the entries from `cookie` on ([`FIRST_DYNAMIC_COOKIE`] or what an entry gave) to the visitor, with
    /// growing cookies, until it breaks.
    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>);
}

/// A directory of nodes that are made by code.
pub struct SyntheticDirectory {
    node: Node,
    fixed: SpinLock<Vec<(Name, Arc<dyn Inode>)>>,
    dynamic: Option<Box<dyn Entries>>,
}

impl SyntheticDirectory {
    /// A directory of fixed entries, without any yet.
    pub fn new(node: Node) -> Arc<Self> {
        Arc::new(Self { node, fixed: SpinLock::new(Vec::new()), dynamic: None })
    }

    /// A directory whose other entries come and go.
    pub fn with_entries(node: Node, entries: impl Entries) -> Arc<Self> {
        Arc::new(Self { node, fixed: SpinLock::new(Vec::new()), dynamic: Some(Box::new(entries)) })
    }

    /// Adds a fixed entry. It stays.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub fn insert(&self, name: &str, inode: Arc<dyn Inode>) -> Result<()> {
        let mut fixed = self.fixed.lock();
        if fixed.iter().any(|(known, _)| **known == *name.as_bytes()) {
            return Err(Error::AlreadyExists);
        }
        fixed.push((Name::from_slice(name.as_bytes()), inode));
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let fixed =
            self.fixed.lock().iter().find(|(known, _)| **known == *name).map(|(_, inode)| inode.clone());
        match (fixed, &self.dynamic) {
            (Some(inode), _) => Ok(inode),
            (None, Some(entries)) => entries.lookup(name),
            (None, None) => Err(Error::NotFound),
        }
    }

    fn visit(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        let mut position = cookie.saturating_sub(FIRST_COOKIE) as usize;
        loop {
            // The visitor may do anything: not under the lock. A cookie of the others is beyond the end here.
            let Some((name, inode)) = self.fixed.lock().get(position).cloned() else {
                break;
            };
            position += 1;
            let cookie = FIRST_COOKIE + position as u64;
            let entry = DirectoryEntry { name: &name, number: inode.number(), kind: inode.kind(), cookie };
            if visitor(entry).is_break() {
                return;
            }
        }
        if let Some(entries) = &self.dynamic {
            entries.list(cookie.max(FIRST_DYNAMIC_COOKIE), visitor);
        }
    }
}

impl File for SyntheticDirectory {}

impl Inode for SyntheticDirectory {
    fn number(&self) -> u64 {
        self.node.number
    }

    fn kind(&self) -> FileKind {
        FileKind::Directory
    }

    fn ownership(&self) -> Ownership {
        self.node.ownership
    }

    fn metadata(&self) -> Operation<'_, Result<Metadata>> {
        let directories =
            self.fixed.lock().iter().filter(|(_, inode)| inode.kind() == FileKind::Directory).count();
        self.node.metadata(FileKind::Directory, 2 + directories as u32)
    }

    fn cache_policy(&self) -> CachePolicy {
        if self.dynamic.is_some() { CachePolicy::Volatile } else { CachePolicy::Stable }
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Operation<'a, Result<Arc<dyn Inode>>> {
        Operation::Ready(self.find(name))
    }

    fn list<'a>(&'a self, cookie: u64, visitor: &'a mut EntryVisitor<'_>) -> Operation<'a, Result<()>> {
        self.visit(cookie, visitor);
        Operation::Ready(Ok(()))
    }
}

/// What a synthetic file holds. Any `Fn(&mut Vec<u8>) -> Result<()>` is one that can only be read.
pub trait Content: Send + Sync + 'static {
    /// Appends the whole content, as it is now.
    ///
    /// # Errors
    /// Its own; given to the reader.
    fn generate<'a>(&'a self, text: &'a mut Vec<u8>) -> Operation<'a, Result<()>>;

    /// Takes what one `write` call wrote.
    ///
    /// # Errors
    /// Its own; given to the writer.
    fn store<'a>(&'a self, bytes: &'a [u8]) -> Operation<'a, Result<()>> {
        let _ = bytes;
        Operation::Ready(Err(Error::InputOutput))
    }
}

impl<F: Fn(&mut Vec<u8>) -> Result<()> + Send + Sync + 'static> Content for F {
    fn generate<'a>(&'a self, text: &'a mut Vec<u8>) -> Operation<'a, Result<()>> {
        Operation::Ready(self(text))
    }
}

/// A file whose content is made when it is read.
pub struct SyntheticFile {
    node: Node,
    content: Box<dyn Content>,
}

impl SyntheticFile {
    /// A file with this content.
    pub fn new(node: Node, content: impl Content) -> Arc<Self> {
        Arc::new(Self { node, content: Box::new(content) })
    }
}

impl File for SyntheticFile {}

impl Inode for SyntheticFile {
    fn number(&self) -> u64 {
        self.node.number
    }

    fn kind(&self) -> FileKind {
        FileKind::Regular
    }

    fn ownership(&self) -> Ownership {
        self.node.ownership
    }

    fn metadata(&self) -> Operation<'_, Result<Metadata>> {
        self.node.metadata(FileKind::Regular, 1)
    }

    fn set_metadata<'a>(&'a self, change: &'a MetadataChange) -> Operation<'a, Result<()>> {
        // `echo 1 > file` cuts the file first, which means nothing here; nothing else can be changed.
        let only_size = MetadataChange { size: change.size, ..MetadataChange::default() };
        Operation::Ready(if *change == only_size { Ok(()) } else { Err(Error::NotPermitted) })
    }

    fn open(self: Arc<Self>, _flags: OpenFlags) -> Operation<'static, Result<Opened>> {
        Operation::Ready(Ok(Opened::File(Arc::new(OpenSynthetic {
            inode: self,
            text: Mutex::new(Vec::new()),
        }))))
    }
}

/// A synthetic file as one opening sees it: the content of the moment when it was read from its start.
struct OpenSynthetic {
    inode: Arc<SyntheticFile>,
    text: Mutex<Vec<u8>>,
}

impl OpenSynthetic {
    async fn read_text(&self, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        let mut text = self.text.lock().await;
        if offset == 0 {
            text.clear();
            self.inode.content.generate(&mut text).await?;
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        Ok(sink.copy_from(&text[start..]))
    }

    async fn write_text(&self, source: &mut Source<'_>) -> Result<Written> {
        let count = source.remaining();
        if count > WRITE_MAX {
            return Err(Error::InvalidArgument);
        }
        let mut bytes = alloc::vec![0; count];
        source.copy_to(&mut bytes);
        self.inode.content.store(&bytes).await?;
        Ok(Written { count, end: count as u64 })
    }
}

impl File for OpenSynthetic {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, offset: u64) -> Operation<'a, Result<usize>> {
        Operation::pending(self.read_text(sink, offset))
    }

    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        _position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        Operation::pending(self.write_text(source))
    }
}

/// Where a synthetic link leads. Any `Fn() -> Result<LinkTarget>` is one.
pub trait Target: Send + Sync + 'static {
    /// Where it leads now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it leads nowhere.
    fn target(&self) -> Result<LinkTarget>;

    /// The text that `readlink` gives, as seen from `root`.
    ///
    /// # Errors
    /// As [`Target::target`].
    fn text(&self, root: &Location) -> Result<Vec<u8>> {
        Ok(match self.target()? {
            LinkTarget::Path(text) => text.to_vec(),
            LinkTarget::Location(location) => location.absolute_path(root),
        })
    }
}

impl<F: Fn() -> Result<LinkTarget> + Send + Sync + 'static> Target for F {
    fn target(&self) -> Result<LinkTarget> {
        self()
    }
}

/// A symbolic link whose target is made when it is followed.
pub struct SyntheticLink {
    node: Node,
    target: Box<dyn Target>,
}

impl SyntheticLink {
    /// A link to what `target` says.
    pub fn new(node: Node, target: impl Target) -> Arc<Self> {
        Arc::new(Self { node, target: Box::new(target) })
    }
}

impl File for SyntheticLink {}

impl Inode for SyntheticLink {
    fn number(&self) -> u64 {
        self.node.number
    }

    fn kind(&self) -> FileKind {
        FileKind::SymbolicLink
    }

    fn ownership(&self) -> Ownership {
        self.node.ownership
    }

    fn metadata(&self) -> Operation<'_, Result<Metadata>> {
        self.node.metadata(FileKind::SymbolicLink, 1)
    }

    fn link_target(&self) -> Operation<'_, Result<LinkTarget>> {
        Operation::Ready(self.target.target())
    }

    fn link_text<'a>(&'a self, root: &'a Location) -> Operation<'a, Result<Vec<u8>>> {
        Operation::Ready(self.target.text(root))
    }
}

#[cfg(test)]
mod tests;
