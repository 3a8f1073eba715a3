//! What a file system provides: inodes, open files, and the system that holds them.

use crate::extended::ExtendedAttributes;
use crate::flags::OpenFlags;
use crate::metadata::{FileKind, Metadata, MetadataChange, NewNode, Ownership, Statistics};
use crate::mount::Location;
use crate::name::Name;
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::WaitQueue;
use bitflags::bitflags;
use core::any::Any;
use core::ops::ControlFlow;
use memory::space::MappedObject;

bitflags! {
    /// What can be done with a file without waiting; the bits are those of `poll(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Readiness: u16 {
        /// There is something to read.
        const IN = 0x001;
        /// There is something urgent to read.
        const PRIORITY = 0x002;
        /// There is room to write.
        const OUT = 0x004;
        /// Something is wrong; reported whether asked for or not.
        const ERROR = 0x008;
        /// The other side is gone; reported whether asked for or not.
        const HANG_UP = 0x010;
        /// The descriptor is not open.
        const INVALID = 0x020;
        /// As [`Readiness::IN`].
        const READ_NORMAL = 0x040;
        /// Out-of-band data.
        const READ_BAND = 0x080;
        /// As [`Readiness::OUT`].
        const WRITE_NORMAL = 0x100;
        /// Room for out-of-band data.
        const WRITE_BAND = 0x200;
        /// The peer will write no more.
        const READ_HANG_UP = 0x2000;
    }
}

impl Readiness {
    /// Something to read.
    pub const READABLE: Self = Self::IN.union(Self::READ_NORMAL);
    /// Room to write.
    pub const WRITABLE: Self = Self::OUT.union(Self::WRITE_NORMAL);
    /// What is reported whether asked for or not.
    pub const ALWAYS: Self = Self::ERROR.union(Self::HANG_UP);
}

/// The queues on which a change of a file's [`Readiness`] is announced: none (it never changes), one, or two.
#[derive(Clone, Copy, Default)]
pub struct WaitQueues<'a> {
    /// The first to wait on.
    pub first: Option<&'a WaitQueue>,
    /// One more, where reading and writing have a queue each and both were asked for.
    pub second: Option<&'a WaitQueue>,
}

impl<'a> WaitQueues<'a> {
    /// No queue: the file is always ready.
    pub const NONE: Self = Self { first: None, second: None };

    /// One queue.
    pub const fn one(queue: &'a WaitQueue) -> Self {
        Self { first: Some(queue), second: None }
    }

    /// Every queue there is.
    pub fn iter(self) -> impl Iterator<Item = &'a WaitQueue> {
        self.first.into_iter().chain(self.second)
    }
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePosition {
    /// At this offset in bytes.
    At(u64),
    /// At the end, wherever that is when the write happens.
    End,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many bytes were written.
    pub count: usize,
    /// The offset behind the last of them.
    pub end: u64,
}

/// What `lseek` looks for in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that are stored.
    Data,
    /// Bytes that only read as zero, or the end.
    Hole,
}

/// What to do with a range of a file (`fallocate(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Reserve storage; the file grows when the range ends beyond it.
    Reserve,
    /// Reserve storage; the length stays.
    ReserveKeepingSize,
    /// Give storage back: the range reads as zero; the length stays.
    PunchHole,
    /// Make the range read as zero; the file grows when the range ends beyond it.
    Zero,
    /// Make the range read as zero; the length stays.
    ZeroKeepingSize,
}

/// The memory of whoever makes an `ioctl`, whose argument often is an address.
pub trait CallerMemory: Sync {
    /// Copies `bytes.len()` bytes from `address`.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    fn read<'a>(&'a self, address: usize, bytes: &'a mut [u8]) -> Operation<'a, Result<()>>;
    /// Copies `bytes` to `address`.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    fn write<'a>(&'a self, address: usize, bytes: &'a [u8]) -> Operation<'a, Result<()>>;
}

/// What an open description does.
///
/// Input and output never wait for somebody else in here: a stream without data or room answers
/// [`Error::WouldBlock`], and the caller waits on [`File::wait_queues`] where a signal can end the wait. An operation that
/// is returned pending has done nothing yet: who cannot wait drops it, and asks again elsewhere.
pub trait File: Any + Send + Sync {
    /// Puts bytes from `offset` (meaningless for streams) into the sink; 0 at the end of the file.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it cannot be read, [`Error::WouldBlock`] when a stream is empty.
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, offset: u64) -> Operation<'a, Result<usize>> {
        let _ = (sink, offset);
        Operation::Ready(Err(Error::InvalidArgument))
    }

    /// Takes bytes from the source.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it cannot be written, [`Error::WouldBlock`] when a stream is full,
    /// [`Error::NoSpace`], [`Error::FileTooLarge`], [`Error::BrokenPipe`].
    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        let _ = (source, position);
        Operation::Ready(Err(Error::InvalidArgument))
    }

    /// What can be done without waiting.
    fn readiness(&self) -> Readiness {
        Readiness::READABLE | Readiness::WRITABLE
    }

    /// Where a change of readiness for `interest` is announced.
    fn wait_queues(&self, interest: Readiness) -> WaitQueues<'_> {
        let _ = interest;
        WaitQueues::NONE
    }

    /// For how long a call that may wait for this readiness does so at most, in nanoseconds; `None`: for ever.
    fn waiting_limit_ns(&self, interest: Readiness) -> Option<u64> {
        let _ = interest;
        None
    }

    /// A device's own request.
    ///
    /// # Errors
    /// [`Error::NotTerminal`] for a request that it does not know.
    fn ioctl<'a>(
        &'a self,
        request: u32,
        argument: usize,
        memory: &'a dyn CallerMemory,
    ) -> Operation<'a, Result<usize>> {
        let _ = (request, argument, memory);
        Operation::Ready(Err(Error::NotTerminal))
    }

    /// Whether a read of up to `room` bytes would find [`Error::WouldBlock`] now, where that is quicker to tell than by
    /// trying: who must make ready for a read asks first. `false` says nothing.
    fn is_exhausted(&self, room: usize) -> bool {
        let _ = room;
        false
    }

    /// Whether it matters who reads or writes: a terminal stops those that are not in its foreground.
    fn concerns_caller(&self) -> bool {
        false
    }

    /// Whether reads and writes have an offset (a stream's have none).
    fn seekable(&self) -> bool {
        true
    }

    /// Whether the offset means something; where it does not, it stays 0 (`/dev/null`).
    fn keeps_offset(&self) -> bool {
        self.seekable()
    }

    /// The first offset from `offset` on where there is data, or a hole.
    /// `size` is the file's length; the end of a file is a hole.
    ///
    /// # Errors
    /// [`Error::NoSuchDeviceOrAddress`] when there is none before the end.
    fn find_extent<'a>(&'a self, extent: Extent, offset: u64, size: u64) -> Operation<'a, Result<u64>> {
        Operation::Ready(match extent {
            _ if offset >= size => Err(Error::NoSuchDeviceOrAddress),
            Extent::Data => Ok(offset),
            Extent::Hole => Ok(size),
        })
    }

    /// Reserves or gives back storage.
    ///
    /// # Errors
    /// [`Error::NotSupported`], [`Error::NoSpace`], [`Error::FileTooLarge`].
    fn allocate(&self, allocation: Allocation, offset: u64, length: u64) -> Operation<'_, Result<()>> {
        let _ = (allocation, offset, length);
        Operation::Ready(Err(Error::NotSupported))
    }

    /// Stores what is not stored yet.
    ///
    /// # Errors
    /// [`Error::InputOutput`], [`Error::InvalidArgument`] when there is nothing to store it on.
    fn sync(&self) -> Operation<'_, Result<()>> {
        Operation::Ready(Ok(()))
    }

    /// Told after a read through an open description that stamps the time of access.
    fn accessed(&self) {}

    /// Told when a descriptor of it is closed (others may remain).
    fn flush(&self) {}

    /// Told of a shared mapping through which it may be written; answered by one [`File::end_writable_mapping`].
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when its content is sealed.
    fn begin_writable_mapping(&self) -> Result<()> {
        Ok(())
    }

    /// Told when such a mapping is gone.
    fn end_writable_mapping(&self) {}

    /// What `mmap` maps; `None` when it cannot be mapped.
    fn mapped_object(self: Arc<Self>) -> Option<Arc<dyn MappedObject>> {
        None
    }
}

/// One entry of a directory as it is listed.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode's number.
    pub number: u64,
    /// What it is.
    pub kind: FileKind,
    /// Where the listing goes on behind this entry.
    pub cookie: u64,
}

/// Takes the entries of a listing; breaks when it has no room for this one.
pub type EntryVisitor<'a> = dyn FnMut(DirectoryEntry<'_>) -> ControlFlow<()> + Send + 'a;

/// The first cookie that a file system gives out; those below stand for `.` and `..`, which it does not list.
pub const FIRST_COOKIE: u64 = 2;

/// Where a symbolic link leads.
#[derive(Clone)]
pub enum LinkTarget {
    /// To the path that this text names.
    Path(Arc<[u8]>),
    /// To this place, whatever its text says (`/proc/self/exe`, `/proc/self/fd/1`).
    Location(Location),
}

/// What `rename` does with an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces it.
    Replace,
    /// Fails.
    NoReplace,
    /// Gives it the old name.
    Exchange,
}

/// What opening an inode gives.
pub enum Opened {
    /// The inode itself does what an open description has to do.
    Itself,
    /// A file made for this opening.
    File(Arc<dyn File>),
}

/// How names of a directory may be kept in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// They change only through this kernel's operations.
    Stable,
    /// They come and go by themselves: ask each time (procfs).
    Volatile,
}

/// A file, directory or other node of a file system.
///
/// As a [`File`] it does the input and output of descriptors that need no state of their own (regular files).
/// The caller has checked permissions, read-only mounts and the syntax of names. For changes to one directory the
/// caller holds that directory's lock, so that of `create`, `link`, `unlink`, `rmdir`, `symlink` and `rename`
/// only one at a time runs in it; lookups and listings run beside them.
#[expect(unused_variables, reason = "the defaults refuse whatever they are asked")]
pub trait Inode: File {
    /// Its number, unique in its file system while it exists.
    fn number(&self) -> u64;

    /// What it is; never changes.
    fn kind(&self) -> FileKind;

    /// Permissions and owners, as known now.
    fn ownership(&self) -> Ownership;

    /// Everything that `stat` tells.
    fn metadata(&self) -> Operation<'_, Result<Metadata>>;

    /// Changes metadata, or the length of a regular file.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the file system has nothing to change, [`Error::FileTooLarge`], [`Error::NoSpace`].
    fn set_metadata<'a>(&'a self, change: &'a MetadataChange) -> Operation<'a, Result<()>> {
        Operation::Ready(Err(Error::NotPermitted))
    }

    /// Which device it stands for, if it is one.
    fn special_device(&self) -> crate::metadata::DeviceNumber {
        Default::default()
    }

    /// Its extended attributes; `None` where the file system has none.
    fn extended_attributes(&self) -> Option<&ExtendedAttributes> {
        None
    }

    /// How its names may be cached, when it is a directory.
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Stable
    }

    /// The node with this name (never `.` or `..`).
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotDirectory`] when this is none.
    fn lookup<'a>(&'a self, name: &'a [u8]) -> Operation<'a, Result<Arc<dyn Inode>>> {
        Operation::Ready(Err(Error::NotDirectory))
    }

    /// Makes a node.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::NoSpace`], [`Error::NotFound`] when this directory was removed,
    /// [`Error::NotPermitted`] when nothing can be made here.
    fn create<'a>(&'a self, name: &'a [u8], node: NewNode) -> Operation<'a, Result<Arc<dyn Inode>>> {
        Operation::Ready(Err(Error::NotPermitted))
    }

    /// Makes a file that has no name (`O_TMPFILE`).
    ///
    /// # Errors
    /// [`Error::NotSupported`], [`Error::NoSpace`].
    fn create_unnamed(&self, node: NewNode) -> Operation<'_, Result<Arc<dyn Inode>>> {
        Operation::Ready(Err(Error::NotSupported))
    }

    /// Makes a symbolic link with this text.
    ///
    /// # Errors
    /// As [`Inode::create`].
    fn symlink<'a>(
        &'a self,
        name: &'a [u8],
        target: &'a [u8],
        owner: Ownership,
    ) -> Operation<'a, Result<Arc<dyn Inode>>> {
        Operation::Ready(Err(Error::NotPermitted))
    }

    /// Gives `node`, of this same file system and no directory, one more name.
    ///
    /// # Errors
    /// As [`Inode::create`]; [`Error::TooManyLinks`].
    fn link<'a>(&'a self, name: &'a [u8], node: &'a Arc<dyn Inode>) -> Operation<'a, Result<()>> {
        Operation::Ready(Err(Error::NotPermitted))
    }

    /// Removes the name of something that is no directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsDirectory`].
    fn unlink<'a>(&'a self, name: &'a [u8]) -> Operation<'a, Result<()>> {
        Operation::Ready(Err(Error::NotPermitted))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NotEmpty`].
    fn rmdir<'a>(&'a self, name: &'a [u8]) -> Operation<'a, Result<()>> {
        Operation::Ready(Err(Error::NotPermitted))
    }

    /// Moves `name` to `new_name` in `target`, a directory of this same file system (perhaps this one). The caller
    /// has made sure that no directory goes into its own subtree and that the kinds fit, and holds both locks.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::AlreadyExists`], [`Error::NotEmpty`], [`Error::InvalidArgument`] for a mode
    /// that the file system does not have.
    fn rename<'a>(
        &'a self,
        name: &'a [u8],
        target: &'a Arc<dyn Inode>,
        new_name: &'a [u8],
        mode: RenameMode,
    ) -> Operation<'a, Result<()>> {
        Operation::Ready(Err(Error::NotPermitted))
    }

    /// Where it leads, when it is a symbolic link.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is none.
    fn link_target(&self) -> Operation<'_, Result<LinkTarget>> {
        Operation::Ready(Err(Error::InvalidArgument))
    }

    /// The text of a link whose [`Inode::link_target`] is a location; `root` is the root of whoever asks.
    ///
    /// # Errors
    /// As [`Inode::link_target`].
    fn link_text<'a>(&'a self, root: &'a Location) -> Operation<'a, Result<Vec<u8>>> {
        Operation::pending(async move {
            Ok(match self.link_target().await? {
                LinkTarget::Path(text) => text.to_vec(),
                LinkTarget::Location(location) => location.absolute_path(root),
            })
        })
    }

    /// Lists the entries from `cookie` on ([`FIRST_COOKIE`] or what an entry gave), without `.` and `..`.
    ///
    /// # Errors
    /// [`Error::NotDirectory`] when this is none.
    fn list<'a>(&'a self, cookie: u64, visitor: &'a mut EntryVisitor<'_>) -> Operation<'a, Result<()>> {
        Operation::Ready(Err(Error::NotDirectory))
    }

    /// Makes what an open description of it does. `flags` tell the access mode and whether to wait
    /// (the opening of a FIFO waits for its other side).
    ///
    /// # Errors
    /// [`Error::NoSuchDeviceOrAddress`] for a device or socket that nothing stands behind.
    fn open(self: Arc<Self>, flags: OpenFlags) -> Operation<'static, Result<Opened>> {
        Operation::Ready(Ok(Opened::Itself))
    }

    /// Told when it is opened for writing; answered by one [`Inode::end_write`].
    ///
    /// # Errors
    /// [`Error::TextBusy`] while it is being executed.
    fn begin_write(&self) -> Result<()> {
        Ok(())
    }

    /// Told when an open description that could write is gone.
    fn end_write(&self) {}

    /// The target of the name that `open` would print for something without a path.
    fn anonymous_name(&self) -> Option<Name> {
        None
    }
}

impl dyn File {
    /// This file as one of type `T`, if it is one: how a system call that is about one kind of file finds it.
    pub fn downcast<T: File>(self: &Arc<Self>) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = self.clone();
        any.downcast().ok()
    }

    /// As [`Self::downcast`], borrowed.
    pub fn downcast_ref<T: File>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

impl dyn Inode {
    /// This inode as one of type `T`, if it is one.
    pub fn downcast<T: Inode>(self: &Arc<Self>) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = self.clone();
        any.downcast().ok()
    }

    /// As [`Self::downcast`], borrowed.
    pub fn downcast_ref<T: Inode>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// A file system: a tree of inodes.
pub trait FileSystem: Any + Send + Sync {
    /// Its type as mount(2) and /proc/mounts name it.
    fn name(&self) -> &'static str;
    /// The number that tells its files from those of others (`st_dev`).
    fn device(&self) -> crate::metadata::DeviceNumber;
    /// The directory at its top.
    fn root(&self) -> Arc<dyn Inode>;
    /// What `statfs(2)` tells.
    fn statistics(&self) -> Operation<'_, Result<Statistics>>;
    /// Its options as /proc/mounts shows them after `rw` or `ro`, with a comma before each.
    fn options(&self) -> Box<[u8]> {
        Box::default()
    }
    /// Stores everything that is not stored yet.
    ///
    /// # Errors
    /// [`Error::InputOutput`].
    fn sync(&self) -> Operation<'_, Result<()>> {
        Operation::Ready(Ok(()))
    }
}
