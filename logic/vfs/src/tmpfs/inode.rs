//! The nodes of a tmpfs.

use super::Shared;
use super::directory::Directory;
use super::seals::{Sealing, Seals};
use crate::extended::ExtendedAttributes;
use crate::flags::OpenFlags;
use crate::inode::{
    Allocation, EntryVisitor, Extent, File, Inode, LinkTarget, Opened, RenameMode, WritePosition, Written,
};
use crate::metadata::{
    DeviceNumber, FileKind, Metadata, MetadataChange, NewNode, Ownership, PERMISSION_BITS,
};
use crate::pages::Pages;
use crate::pipe::Fifo;
use crate::{Error, Result};
use alloc::sync::Arc;
use base::address::PAGE_SIZE;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::SpinLock;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering};
use memory::Frame;
use memory::space::{Access, MappedObject};

/// A day: the time of access is stamped at least so often.
const DAY_NS: i64 = 86_400_000_000_000;
/// What `st_size` of a directory grows by for each entry, as on Linux.
const ENTRY_SIZE: u64 = 20;

/// A node of a tmpfs.
pub struct TmpfsInode {
    number: u64,
    kind: FileKind,
    shared: Arc<Shared>,
    attributes: Attributes,
    sealing: Sealing,
    extended: ExtendedAttributes,
    content: Content,
    /// Somebody has mapped it since it is known.
    mapped: AtomicBool,
}

/// What `stat` tells and `chmod` changes; each field by itself, so that reading one takes no lock.
struct Attributes {
    permissions: AtomicU32,
    uid: AtomicU32,
    gid: AtomicU32,
    links: AtomicU32,
    accessed_ns: AtomicI64,
    modified_ns: AtomicI64,
    changed_ns: AtomicI64,
    /// How many have it open for writing; below 0: how many execute it.
    writers: AtomicI32,
}

enum Content {
    Directory(SpinLock<Directory>),
    File(Pages),
    Link(Arc<[u8]>),
    Fifo(Fifo),
    Special(DeviceNumber),
}

impl TmpfsInode {
    pub(super) fn root(shared: Arc<Shared>, node: NewNode) -> Arc<Self> {
        Self::build(shared, 1, node, Content::Directory(SpinLock::new(Directory::new())))
    }

    pub(super) fn new(shared: Arc<Shared>, node: NewNode) -> Result<Arc<Self>> {
        let content = match node.kind {
            FileKind::Directory => Content::Directory(SpinLock::new(Directory::new())),
            FileKind::Regular => Content::File(Pages::new(shared.pages.clone())),
            FileKind::Fifo => Content::Fifo(Fifo::new()),
            FileKind::SymbolicLink | FileKind::Untyped => return Err(Error::InvalidArgument),
            FileKind::CharacterDevice | FileKind::BlockDevice | FileKind::Socket => {
                Content::Special(node.special_device)
            }
        };
        let number = shared.take_inode()?;
        Ok(Self::build(shared, number, node, content))
    }

    fn build(shared: Arc<Shared>, number: u64, node: NewNode, content: Content) -> Arc<Self> {
        let now_ns = shared.now_ns();
        let links = if node.kind == FileKind::Directory { 2 } else { 1 };
        let attributes = Attributes {
            permissions: AtomicU32::new(u32::from(node.ownership.permissions & PERMISSION_BITS)),
            uid: AtomicU32::new(node.ownership.uid),
            gid: AtomicU32::new(node.ownership.gid),
            links: AtomicU32::new(links),
            accessed_ns: AtomicI64::new(now_ns),
            modified_ns: AtomicI64::new(now_ns),
            changed_ns: AtomicI64::new(now_ns),
            writers: AtomicI32::new(0),
        };
        let sealing = Sealing::new(Seals::SEAL);
        Arc::new(Self {
            number,
            kind: node.kind,
            shared,
            attributes,
            sealing,
            extended: ExtendedAttributes::new(),
            content,
            mapped: AtomicBool::new(false),
        })
    }

    /// Makes it a file that no name leads to.
    pub(super) fn forget_name(&self) {
        self.attributes.links.store(0, Ordering::Relaxed);
    }

    fn directory(&self) -> Result<&SpinLock<Directory>> {
        match &self.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Error::NotDirectory),
        }
    }

    /// The pages of a regular file.
    pub fn pages(&self) -> Option<&Pages> {
        match &self.content {
            Content::File(pages) => Some(pages),
            _ => None,
        }
    }

    fn stamp_changed(&self) {
        self.attributes.changed_ns.store(self.shared.now_ns(), Ordering::Relaxed);
    }

    fn stamp_modified(&self) {
        let now_ns = self.shared.now_ns();
        self.attributes.modified_ns.store(now_ns, Ordering::Relaxed);
        self.attributes.changed_ns.store(now_ns, Ordering::Relaxed);
    }

    fn size(&self) -> u64 {
        match &self.content {
            Content::Directory(directory) => (directory.lock().len() as u64 + 2) * ENTRY_SIZE,
            Content::File(pages) => pages.size(),
            Content::Link(target) => target.len() as u64,
            Content::Fifo(_) | Content::Special(_) => 0,
        }
    }

    /// Adds a node that was made for this directory.
    fn add(&self, name: &[u8], node: Arc<TmpfsInode>) -> Result<Arc<dyn Inode>> {
        let mut directory = self.directory()?.lock();
        if directory.removed {
            return Err(Error::NotFound);
        }
        if directory.get(name).is_some() {
            return Err(Error::AlreadyExists);
        }
        directory.insert(name, node.clone());
        drop(directory);
        if node.kind == FileKind::Directory {
            self.attributes.links.fetch_add(1, Ordering::Relaxed);
        }
        self.stamp_modified();
        Ok(node)
    }

    fn add_link(&self, name: &[u8], target: &[u8], owner: Ownership) -> Result<Arc<dyn Inode>> {
        let node =
            NewNode { kind: FileKind::SymbolicLink, ownership: owner, special_device: Default::default() };
        let number = self.shared.take_inode()?;
        let content = Content::Link(Arc::from(target));
        self.add(name, Self::build(self.shared.clone(), number, node, content))
    }

    /// The same node, if it is one of this file system.
    fn own(&self, inode: &Arc<dyn Inode>) -> Result<Arc<TmpfsInode>> {
        let node = inode.downcast::<TmpfsInode>().ok_or(Error::CrossDevice)?;
        if Arc::ptr_eq(&node.shared, &self.shared) { Ok(node) } else { Err(Error::CrossDevice) }
    }

    fn add_name(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let node = self.own(inode)?;
        // A file without a name can get one only if it was made so and not removed; `O_TMPFILE` sets 0 as well, so
        // that both look alike here and both may be given a name, as Linux does for the former.
        node.attributes.links.fetch_add(1, Ordering::Relaxed);
        match self.add(name, node.clone()) {
            Ok(_) => {
                node.stamp_changed();
                Ok(())
            }
            Err(error) => {
                node.attributes.links.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn remove_file(&self, name: &[u8]) -> Result<()> {
        let removed = {
            let mut directory = self.directory()?.lock();
            let node = directory.get(name).ok_or(Error::NotFound)?;
            if node.kind == FileKind::Directory {
                return Err(Error::IsDirectory);
            }
            directory.remove(name)
        };
        self.stamp_modified();
        if let Some(node) = removed {
            node.lose_name();
        }
        Ok(())
    }

    /// One name less; a directory has lost its only one.
    fn lose_name(&self) {
        if let Content::Directory(directory) = &self.content {
            directory.lock().removed = true;
            self.attributes.links.store(0, Ordering::Relaxed);
        } else {
            self.attributes.links.fetch_sub(1, Ordering::Relaxed);
        }
        self.stamp_changed();
    }

    fn remove_directory(&self, name: &[u8]) -> Result<()> {
        let node = self.directory()?.lock().get(name).cloned().ok_or(Error::NotFound)?;
        if !node.directory()?.lock().is_empty() {
            return Err(Error::NotEmpty);
        }
        let removed = self.directory()?.lock().remove(name);
        node.lose_name();
        self.attributes.links.fetch_sub(1, Ordering::Relaxed);
        self.stamp_modified();
        drop(removed);
        Ok(())
    }

    /// Both directories' names are locked by the caller, so that nothing changes between the steps.
    fn move_name(
        &self,
        name: &[u8],
        target: &Arc<dyn Inode>,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let target = self.own(target)?;
        let node = self.directory()?.lock().get(name).cloned().ok_or(Error::NotFound)?;
        let replaced = {
            let directory = target.directory()?.lock();
            if directory.removed {
                return Err(Error::NotFound);
            }
            directory.get(new_name).cloned()
        };
        match (mode, &replaced) {
            (RenameMode::NoReplace, Some(_)) => return Err(Error::AlreadyExists),
            (RenameMode::Exchange, Some(other)) => {
                return self.exchange(name, &node, &target, new_name, other);
            }
            (RenameMode::Exchange, None) => return Err(Error::NotFound),
            _ => {}
        }
        if let Some(replaced) = &replaced {
            if Arc::ptr_eq(replaced, &node) {
                return Ok(());
            }
            self.check_replaceable(&node, replaced)?;
            target.directory()?.lock().replace(new_name, node.clone());
            if replaced.kind == FileKind::Directory {
                target.attributes.links.fetch_sub(1, Ordering::Relaxed);
            }
            replaced.lose_name();
        } else {
            target.directory()?.lock().insert(new_name, node.clone());
        }
        let moved = self.directory()?.lock().remove(name);
        if node.kind == FileKind::Directory {
            self.attributes.links.fetch_sub(1, Ordering::Relaxed);
            target.attributes.links.fetch_add(1, Ordering::Relaxed);
        }
        self.stamp_modified();
        target.stamp_modified();
        node.stamp_changed();
        drop(moved);
        Ok(())
    }

    fn check_replaceable(&self, node: &TmpfsInode, replaced: &TmpfsInode) -> Result<()> {
        match (&replaced.content, node.kind == FileKind::Directory) {
            (Content::Directory(_), false) => Err(Error::IsDirectory),
            (Content::Directory(directory), true) if !directory.lock().is_empty() => Err(Error::NotEmpty),
            (Content::Directory(_), true) | (_, false) => Ok(()),
            (_, true) => Err(Error::NotDirectory),
        }
    }

    fn exchange(
        &self,
        name: &[u8],
        node: &Arc<TmpfsInode>,
        target: &Arc<TmpfsInode>,
        new_name: &[u8],
        other: &Arc<TmpfsInode>,
    ) -> Result<()> {
        target.directory()?.lock().replace(new_name, node.clone());
        self.directory()?.lock().replace(name, other.clone());
        for (moved, from, to) in [(node, self, &**target), (other, &**target, self)] {
            if moved.kind == FileKind::Directory {
                from.attributes.links.fetch_sub(1, Ordering::Relaxed);
                to.attributes.links.fetch_add(1, Ordering::Relaxed);
            }
            moved.stamp_changed();
        }
        self.stamp_modified();
        target.stamp_modified();
        Ok(())
    }

    fn write_now(&self, pages: &Pages, source: &mut Source<'_>, position: WritePosition) -> Result<Written> {
        if !self.sealing.get().is_empty() {
            self.check_sealed_write(pages, source, position)?;
        }
        let written = pages.write(source, position)?;
        if written.count > 0 {
            self.stamp_modified();
        }
        Ok(written)
    }

    /// Leaves of a write what the seals permit.
    #[cold]
    fn check_sealed_write(
        &self,
        pages: &Pages,
        source: &mut Source<'_>,
        position: WritePosition,
    ) -> Result<()> {
        self.sealing.check_write()?;
        let size = pages.size();
        let start = match position {
            WritePosition::At(offset) => offset,
            WritePosition::End => size,
        };
        if self.sealing.get().contains(Seals::GROW) && start.saturating_add(source.remaining() as u64) > size
        {
            // A page that would end behind the file is refused as a whole, as on Linux.
            let whole = size / PAGE_SIZE as u64 * PAGE_SIZE as u64;
            let allowed =
                whole.checked_sub(start).filter(|allowed| *allowed > 0).ok_or(Error::NotPermitted)?;
            source.limit(allowed as usize);
        }
        Ok(())
    }

    /// What must not happen to its content.
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// Whether somebody has mapped it since it is known.
    pub fn was_mapped(&self) -> bool {
        self.mapped.load(Ordering::Relaxed)
    }

    fn change(&self, change: &MetadataChange) -> Result<()> {
        const EXECUTABLE: u16 = 0o111;
        if let Some(permissions) = change.permissions
            && self.sealing.get().contains(Seals::EXECUTE)
            && (permissions ^ self.ownership().permissions) & EXECUTABLE != 0
        {
            return Err(Error::NotPermitted);
        }
        if let Some(size) = change.size {
            self.sealing.check_resize(self.size(), size)?;
            self.pages().ok_or(Error::InvalidArgument)?.resize(size)?;
            self.stamp_modified();
        }
        let attributes = &self.attributes;
        if let Some(permissions) = change.permissions {
            attributes.permissions.store(u32::from(permissions & PERMISSION_BITS), Ordering::Relaxed);
        }
        for (field, value) in [(&attributes.uid, change.uid), (&attributes.gid, change.gid)] {
            if let Some(value) = value {
                field.store(value, Ordering::Relaxed);
            }
        }
        for (field, value) in
            [(&attributes.accessed_ns, change.accessed_ns), (&attributes.modified_ns, change.modified_ns)]
        {
            if let Some(value) = value {
                field.store(value, Ordering::Relaxed);
            }
        }
        self.stamp_changed();
        Ok(())
    }

    /// Says that it is being executed, so that nobody may open it for writing; undone by
    /// [`TmpfsInode::end_execution`].
    ///
    /// # Errors
    /// [`Error::TextBusy`] while somebody has it open for writing.
    pub fn begin_execution(&self) -> Result<()> {
        count(&self.attributes.writers, -1)
    }

    /// Undoes one [`TmpfsInode::begin_execution`].
    pub fn end_execution(&self) {
        self.attributes.writers.fetch_add(1, Ordering::Release);
    }
}

/// Moves a counter away from 0, unless it is on the other side of it.
fn count(counter: &AtomicI32, step: i32) -> Result<()> {
    let next = |value: i32| {
        if value.signum() == -step { None } else { Some(value + step) }
    };
    counter.fetch_update(Ordering::Acquire, Ordering::Relaxed, next).map(|_| ()).map_err(|_| Error::TextBusy)
}

impl Drop for TmpfsInode {
    fn drop(&mut self) {
        self.shared.inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl File for TmpfsInode {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(match &self.content {
            Content::File(pages) => Ok(pages.read(sink, offset)),
            Content::Directory(_) => Err(Error::IsDirectory),
            _ => Err(Error::InvalidArgument),
        })
    }

    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        let Content::File(pages) = &self.content else {
            return Operation::Ready(Err(Error::InvalidArgument));
        };
        match pages.writing().try_lock() {
            Some(guard) => {
                let written = self.write_now(pages, source, position);
                drop(guard);
                Operation::Ready(written)
            }
            None => Operation::pending(async move {
                let guard = pages.writing().lock().await;
                let written = self.write_now(pages, source, position);
                drop(guard);
                written
            }),
        }
    }

    fn find_extent<'a>(&'a self, extent: Extent, offset: u64, _size: u64) -> Operation<'a, Result<u64>> {
        Operation::Ready(match &self.content {
            Content::File(pages) => pages.find_extent(extent, offset),
            _ => Err(Error::InvalidArgument),
        })
    }

    fn allocate(&self, allocation: Allocation, offset: u64, length: u64) -> Operation<'_, Result<()>> {
        let Content::File(pages) = &self.content else {
            return Operation::Ready(Err(Error::NoDevice));
        };
        Operation::pending(async move {
            let guard = pages.writing().lock().await;
            match allocation {
                Allocation::PunchHole | Allocation::Zero | Allocation::ZeroKeepingSize => {
                    self.sealing.check_write()?
                }
                Allocation::Reserve | Allocation::ReserveKeepingSize => {}
            }
            self.sealing.check_resize(pages.size(), pages.size().max(offset + length))?;
            let outcome = pages.allocate(allocation, offset, length);
            drop(guard);
            self.stamp_modified();
            outcome
        })
    }

    fn accessed(&self) {
        let attributes = &self.attributes;
        let accessed_ns = attributes.accessed_ns.load(Ordering::Relaxed);
        let now_ns = self.shared.now_ns();
        let behind = accessed_ns <= attributes.modified_ns.load(Ordering::Relaxed)
            || accessed_ns <= attributes.changed_ns.load(Ordering::Relaxed)
            || now_ns.saturating_sub(accessed_ns) >= DAY_NS;
        if behind {
            attributes.accessed_ns.store(now_ns, Ordering::Relaxed);
        }
    }

    fn begin_writable_mapping(&self) -> Result<()> {
        self.sealing.begin_mapping()
    }

    fn end_writable_mapping(&self) {
        self.sealing.end_mapping();
    }

    fn mapped_object(self: Arc<Self>) -> Option<Arc<dyn MappedObject>> {
        match self.content {
            Content::File(_) => {
                self.mapped.store(true, Ordering::Relaxed);
                Some(self)
            }
            _ => None,
        }
    }
}

impl Inode for TmpfsInode {
    fn number(&self) -> u64 {
        self.number
    }

    fn kind(&self) -> FileKind {
        self.kind
    }

    #[inline]
    fn ownership(&self) -> Ownership {
        Ownership {
            permissions: self.attributes.permissions.load(Ordering::Relaxed) as u16,
            uid: self.attributes.uid.load(Ordering::Relaxed),
            gid: self.attributes.gid.load(Ordering::Relaxed),
        }
    }

    fn extended_attributes(&self) -> Option<&ExtendedAttributes> {
        Some(&self.extended)
    }

    fn metadata(&self) -> Operation<'_, Result<Metadata>> {
        Operation::Ready(Ok(Metadata {
            number: self.number,
            device: self.shared.device,
            kind: self.kind,
            ownership: self.ownership(),
            link_count: self.attributes.links.load(Ordering::Relaxed),
            size: self.size(),
            special_device: self.special_device(),
            accessed_ns: self.attributes.accessed_ns.load(Ordering::Relaxed),
            modified_ns: self.attributes.modified_ns.load(Ordering::Relaxed),
            changed_ns: self.attributes.changed_ns.load(Ordering::Relaxed),
            blocks: self.pages().map_or(0, |pages| pages.count() * (PAGE_SIZE as u64 / 512)),
            block_size: PAGE_SIZE as u32,
        }))
    }

    fn set_metadata<'a>(&'a self, change: &'a MetadataChange) -> Operation<'a, Result<()>> {
        let (Content::File(pages), Some(_)) = (&self.content, change.size) else {
            return Operation::Ready(self.change(change));
        };
        match pages.writing().try_lock() {
            Some(guard) => {
                let outcome = self.change(change);
                drop(guard);
                Operation::Ready(outcome)
            }
            None => Operation::pending(async move {
                let guard = pages.writing().lock().await;
                let outcome = self.change(change);
                drop(guard);
                outcome
            }),
        }
    }

    fn special_device(&self) -> DeviceNumber {
        match self.content {
            Content::Special(device) => device,
            _ => DeviceNumber::default(),
        }
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Operation<'a, Result<Arc<dyn Inode>>> {
        let found =
            self.directory().and_then(|directory| directory.lock().get(name).cloned().ok_or(Error::NotFound));
        Operation::Ready(found.map(|node| node as Arc<dyn Inode>))
    }

    fn create<'a>(&'a self, name: &'a [u8], node: NewNode) -> Operation<'a, Result<Arc<dyn Inode>>> {
        Operation::Ready(Self::new(self.shared.clone(), node).and_then(|node| self.add(name, node)))
    }

    fn create_unnamed(&self, node: NewNode) -> Operation<'_, Result<Arc<dyn Inode>>> {
        Operation::Ready(Self::new(self.shared.clone(), node).map(|node| {
            node.forget_name();
            node as Arc<dyn Inode>
        }))
    }

    fn symlink<'a>(
        &'a self,
        name: &'a [u8],
        target: &'a [u8],
        owner: Ownership,
    ) -> Operation<'a, Result<Arc<dyn Inode>>> {
        Operation::Ready(self.add_link(name, target, owner))
    }

    fn link<'a>(&'a self, name: &'a [u8], node: &'a Arc<dyn Inode>) -> Operation<'a, Result<()>> {
        Operation::Ready(self.add_name(name, node))
    }

    fn unlink<'a>(&'a self, name: &'a [u8]) -> Operation<'a, Result<()>> {
        Operation::Ready(self.remove_file(name))
    }

    fn rmdir<'a>(&'a self, name: &'a [u8]) -> Operation<'a, Result<()>> {
        Operation::Ready(self.remove_directory(name))
    }

    fn rename<'a>(
        &'a self,
        name: &'a [u8],
        target: &'a Arc<dyn Inode>,
        new_name: &'a [u8],
        mode: RenameMode,
    ) -> Operation<'a, Result<()>> {
        Operation::Ready(self.move_name(name, target, new_name, mode))
    }

    fn link_target(&self) -> Operation<'_, Result<LinkTarget>> {
        Operation::Ready(match &self.content {
            Content::Link(target) => Ok(LinkTarget::Path(target.clone())),
            _ => Err(Error::InvalidArgument),
        })
    }

    fn list<'a>(&'a self, cookie: u64, visitor: &'a mut EntryVisitor<'_>) -> Operation<'a, Result<()>> {
        Operation::Ready(self.directory().map(|directory| directory.lock().list(cookie, visitor)))
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Operation<'static, Result<Opened>> {
        match &self.content {
            Content::Fifo(fifo) => fifo.open(flags),
            Content::Special(device) if self.kind.is_device() => {
                self.shared.environment.open(self.kind, *device, flags)
            }
            Content::Special(_) => Operation::Ready(Err(Error::NoSuchDeviceOrAddress)),
            _ => Operation::Ready(Ok(Opened::Itself)),
        }
    }

    fn begin_write(&self) -> Result<()> {
        count(&self.attributes.writers, 1)
    }

    fn end_write(&self) {
        self.attributes.writers.fetch_sub(1, Ordering::Release);
    }
}

impl MappedObject for TmpfsInode {
    fn page(&self, index: u64, _access: Access) -> Operation<'_, Result<Frame>> {
        Operation::Ready(self.pages().ok_or(Error::NoDevice).and_then(|pages| pages.frame(index)))
    }

    fn length(&self) -> u64 {
        self.pages().map_or(0, Pages::size)
    }

    fn cached_page(&self, index: u64) -> Option<Frame> {
        self.pages()?.cached_frame(index)
    }

    fn tracks_writes(&self) -> bool {
        // What is stored to a page is in the file: there is nothing to write back.
        false
    }

    fn identity(&self) -> (u64, u64) {
        (self.shared.device.0, self.number)
    }

    fn name(&self, text: &mut dyn core::fmt::Write) -> core::fmt::Result {
        // An open file that is mapped knows its path; see `OpenFile::mapped_object`.
        write!(text, "tmpfs:[{}]", self.number)
    }
}
