//! Open descriptions: what `open(2)` makes and descriptors share.

use crate::flags::OpenFlags;
use crate::inode::{
    Allocation, DirectoryEntry, Extent, FIRST_COOKIE, File, Inode, Opened, Readiness, WaitQueues,
    WritePosition, Written,
};
use crate::metadata::{FileKind, MetadataChange, SET_GROUP_ID, SET_USER_ID};
use crate::mount::{Location, MountFlags};
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::{Mutex, MutexGuard, SpinLock};
use core::any::Any;
use core::fmt;
use core::ops::{ControlFlow, Range};
use core::sync::atomic::{AtomicU32, Ordering};
use memory::Frame;
use memory::space::{Access, MappedObject};

/// The largest offset of a file.
pub const OFFSET_MAX: u64 = i64::MAX as u64;
/// How much a copy between two files moves at a time.
const COPY_CHUNK: usize = 64 << 10;

/// An open file: what it does, where it is, how it was opened, and the offset that its descriptors share.
pub struct OpenFile {
    file: Arc<dyn File>,
    location: Location,
    flags: AtomicU32,
    offset: Mutex<u64>,
    traits: Traits,
    /// What almost no description has.
    extras: SpinLock<Option<Box<Extras>>>,
}

/// What almost no description has.
#[derive(Default)]
struct Extras {
    /// Who is told when it is gone.
    dependants: Vec<Weak<dyn Dependant>>,
    /// What somebody above keeps with it.
    attachment: Option<Arc<dyn Any + Send + Sync>>,
}

/// Something that lasts no longer than an open description: a watch on it, a lock that it holds.
pub trait Dependant: Send + Sync {
    /// The description with this [`OpenFile::identity`] is gone; its file is still there.
    fn closed(&self, identity: usize);
}

/// The result of an operation that is done. One that has to wait is dropped, and has done nothing: its future was not polled.
#[inline]
fn ready<T>(operation: Operation<'_, T>) -> Option<T> {
    match operation {
        Operation::Ready(result) => Some(result),
        _ => None,
    }
}

/// What is known once and for all when a file is opened.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    seekable: bool,
    /// [`File::keeps_offset`].
    keeps_offset: bool,
    regular: bool,
    /// [`File::concerns_caller`].
    concerns_caller: bool,
    /// Somebody with `CAP_FSETID` opened it: writing keeps set-id bits.
    keeps_set_id: bool,
    /// [`crate::Inode::begin_write`] was told.
    counted_writer: bool,
}

/// From where `lseek(2)` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFrom {
    /// From the start of the file.
    Start(i64),
    /// From the offset.
    Current(i64),
    /// From the end of the file.
    End(i64),
    /// To the first data or hole from this offset on.
    Extent(Extent, i64),
}

/// Who opens a file, as far as the open description remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// Somebody whose writes clear set-id bits.
    Ordinary,
    /// Somebody with `CAP_FSETID`.
    KeepsSetId,
}

impl OpenFile {
    /// Opens what is at `location`; permissions have been checked.
    ///
    /// # Errors
    /// What [`crate::Inode::open`] and [`crate::Inode::begin_write`] find.
    pub async fn open(location: Location, flags: OpenFlags, opener: Opener) -> Result<Arc<Self>> {
        let inode = location.inode().clone();
        if flags.contains(OpenFlags::PATH) {
            return Ok(Self::build(inode, location, flags, Traits::default()));
        }
        let writer = WriterCount::new(&location, flags)?;
        let opened = inode.open(flags).await?;
        Ok(Self::opened(opened, location, flags, (opener, writer)))
    }

    /// As [`OpenFile::open`], if that needs no waiting, for files whose opening does nothing before it waits.
    pub fn open_now(location: Location, flags: OpenFlags, opener: Opener) -> Option<Result<Arc<Self>>> {
        let writer = match WriterCount::new(&location, flags) {
            Ok(writer) => writer,
            Err(error) => return Some(Err(error)),
        };
        let opened = ready(location.inode().clone().open(flags))?;
        Some(opened.map(|opened| Self::opened(opened, location, flags, (opener, writer))))
    }

    fn opened(
        opened: Opened,
        location: Location,
        flags: OpenFlags,
        (opener, mut writer): (Opener, WriterCount),
    ) -> Arc<Self> {
        let file = match opened {
            Opened::Itself => location.inode().clone(),
            Opened::File(file) => file,
        };
        let traits = Traits {
            seekable: file.seekable(),
            keeps_offset: file.keeps_offset(),
            regular: location.kind() == FileKind::Regular,
            concerns_caller: file.concerns_caller(),
            keeps_set_id: opener == Opener::KeepsSetId,
            counted_writer: writer.keep(),
        };
        Self::build(file, location, flags, traits)
    }

    /// An open description of a file that was made otherwise: one end of a pipe, a socket, an event counter.
    pub fn from_file(file: Arc<dyn File>, location: Location, flags: OpenFlags) -> Arc<Self> {
        let traits = Traits {
            seekable: file.seekable(),
            keeps_offset: file.keeps_offset(),
            concerns_caller: file.concerns_caller(),
            ..Traits::default()
        };
        Self::build(file, location, flags, traits)
    }

    fn build(file: Arc<dyn File>, location: Location, flags: OpenFlags, traits: Traits) -> Arc<Self> {
        let flags = AtomicU32::new(flags.difference(OpenFlags::TRANSIENT).bits());
        let extras = SpinLock::new(None);
        Arc::new(Self { file, location, flags, offset: Mutex::new(0), traits, extras })
    }

    /// A number that no other open description has while this one exists.
    #[inline]
    pub fn identity(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Has `dependant` told when the description is gone.
    pub fn tell_when_closed(&self, dependant: Weak<dyn Dependant>) {
        let mut extras = self.extras.lock();
        let dependants = &mut extras.get_or_insert_default().dependants;
        dependants.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&dependant));
        dependants.push(dependant);
    }

    /// What was attached to it.
    pub fn attached(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.extras.lock().as_ref()?.attachment.clone()
    }

    /// Attaches something that lasts as long as it, unless that was done; gives what is attached.
    pub fn attach(&self, attachment: Arc<dyn Any + Send + Sync>) -> Arc<dyn Any + Send + Sync> {
        self.extras.lock().get_or_insert_default().attachment.get_or_insert(attachment).clone()
    }

    /// What it does.
    #[inline]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Where it is.
    #[inline]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// How it was opened, as `fcntl(F_GETFL)` tells it.
    #[inline]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Changes what `fcntl(F_SETFL)` can change.
    pub fn set_flags(&self, flags: OpenFlags) {
        let settable = OpenFlags::SETTABLE.bits();
        let update = |former: u32| Some(former & !settable | flags.bits() & settable);
        // The closure never gives `None`, so that the update cannot fail.
        let _ = self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// Whether a call on it may wait.
    #[inline]
    pub fn may_wait(&self) -> bool {
        !self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// Whether reads and writes have an offset.
    #[inline]
    pub fn is_seekable(&self) -> bool {
        self.traits.seekable
    }

    /// Whether who reads or writes is asked for more than the right to do so ([`File::concerns_caller`]).
    #[inline]
    pub fn concerns_caller(&self) -> bool {
        self.traits.concerns_caller
    }

    /// Whether it is a stream of which a read now would find nothing ([`File::is_exhausted`]).
    #[inline]
    pub fn is_exhausted(&self, room: usize) -> bool {
        !self.traits.seekable && self.flags().reads() && self.file.is_exhausted(room)
    }

    /// What can be done without waiting.
    pub fn readiness(&self) -> Readiness {
        self.file.readiness()
    }

    /// Where a change of readiness is announced.
    pub fn wait_queues(&self, interest: Readiness) -> WaitQueues<'_> {
        self.file.wait_queues(interest)
    }

    #[inline]
    fn check_readable(&self) -> Result<()> {
        if self.flags().reads() { Ok(()) } else { Err(Error::BadDescriptor) }
    }

    #[inline]
    fn check_writable(&self) -> Result<()> {
        if self.flags().writes() { Ok(()) } else { Err(Error::BadDescriptor) }
    }

    fn check_directory(&self) -> Result<()> {
        if self.location.kind() == FileKind::Directory { Err(Error::IsDirectory) } else { Ok(()) }
    }

    #[inline]
    async fn lock_offset(&self) -> MutexGuard<'_, u64> {
        match self.offset.try_lock() {
            Some(guard) => guard,
            None => self.offset.lock().await,
        }
    }

    /// Reads like [`OpenFile::read`] (or, at an offset, [`OpenFile::read_at`]) if that needs no waiting for anything, not
    /// even for the shared offset; else `None`, and nothing was done.
    #[inline]
    pub fn read_now(&self, sink: &mut Sink<'_>, at: Option<u64>) -> Option<Result<usize>> {
        if let Err(error) = self.check_readable() {
            return Some(Err(error));
        }
        if !self.traits.seekable && at.is_none() {
            return ready(self.file.read(sink, 0));
        }
        if !self.traits.regular {
            // A directory is refused where the other checks are, too.
            if self.location.kind() == FileKind::Directory {
                return None;
            }
        }
        if self.traits.seekable && !self.traits.keeps_offset {
            return self.read_now_from(sink, 0);
        }
        let Some(at) = at else {
            let mut offset = self.offset.try_lock()?;
            let outcome = self.read_now_from(sink, *offset)?;
            if let Ok(count) = outcome {
                *offset += count as u64;
            }
            return Some(outcome);
        };
        if let Err(error) = self.check_position(at) {
            return Some(Err(error));
        }
        self.read_now_from(sink, at)
    }

    #[inline]
    fn read_now_from(&self, sink: &mut Sink<'_>, offset: u64) -> Option<Result<usize>> {
        let outcome = ready(self.file.read(sink, offset))?;
        if matches!(outcome, Ok(count) if count > 0) {
            self.stamp_access();
        }
        Some(outcome)
    }

    /// Writes like [`OpenFile::write`] (or, at an offset, [`OpenFile::write_at`]) if that needs no waiting for anything, not
    /// even for the shared offset; else `None`, and nothing was done.
    #[inline]
    pub fn write_now(&self, source: &mut Source<'_>, at: Option<u64>) -> Option<Result<usize>> {
        if let Err(error) = self.check_writable() {
            return Some(Err(error));
        }
        if !self.traits.seekable && at.is_none() {
            return ready(self.file.write(source, WritePosition::At(0))).map(|written| Ok(written?.count));
        }
        if self.traits.regular && (source.remaining() == 0 || self.has_set_id_to_clear()) {
            return None;
        }
        if self.traits.seekable && !self.traits.keeps_offset {
            return ready(self.file.write(source, WritePosition::At(0))).map(|written| Ok(written?.count));
        }
        let append = self.flags().contains(OpenFlags::APPEND);
        let place = |offset| if append { WritePosition::End } else { WritePosition::At(offset) };
        if let Some(at) = at {
            if let Err(error) = self.check_position(at) {
                return Some(Err(error));
            }
            return ready(self.file.write(source, place(at))).map(|written| Ok(written?.count));
        }
        let mut offset = self.offset.try_lock()?;
        let outcome = ready(self.file.write(source, place(*offset)))?;
        if let Ok(written) = outcome
            && written.count > 0
        {
            *offset = written.end;
        }
        Some(outcome.map(|written| written.count))
    }

    /// Reads at the shared offset and moves it.
    ///
    /// # Errors
    /// [`Error::BadDescriptor`], [`Error::IsDirectory`], [`Error::WouldBlock`], and what the file finds.
    pub async fn read(&self, sink: &mut Sink<'_>) -> Result<usize> {
        self.check_readable()?;
        if !self.traits.seekable {
            return self.file.read(sink, 0).await;
        }
        if !self.traits.keeps_offset {
            return self.read_from(sink, 0).await;
        }
        let mut offset = self.lock_offset().await;
        let count = self.read_from(sink, *offset).await?;
        *offset += count as u64;
        Ok(count)
    }

    /// Reads at `offset` (`pread`).
    ///
    /// # Errors
    /// As [`OpenFile::read`]; [`Error::IllegalSeek`] for a stream, [`Error::InvalidArgument`] beyond [`OFFSET_MAX`].
    pub async fn read_at(&self, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        self.check_readable()?;
        self.check_position(offset)?;
        self.read_from(sink, offset).await
    }

    fn check_position(&self, offset: u64) -> Result<()> {
        if !self.traits.seekable {
            return Err(Error::IllegalSeek);
        }
        if offset > OFFSET_MAX { Err(Error::InvalidArgument) } else { Ok(()) }
    }

    #[inline]
    async fn read_from(&self, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        if !self.traits.regular {
            self.check_directory()?;
        }
        let count = self.file.read(sink, offset).await?;
        if count > 0 {
            self.stamp_access();
        }
        Ok(count)
    }

    #[inline]
    fn stamp_access(&self) {
        let quiet = self.flags().contains(OpenFlags::NO_ACCESS_TIME)
            || self.location.mount.flags().contains(MountFlags::NO_ACCESS_TIME);
        if !quiet {
            self.file.accessed();
        }
    }

    /// Writes at the shared offset, or at the end under [`OpenFlags::APPEND`], and moves it behind what was written.
    ///
    /// # Errors
    /// [`Error::BadDescriptor`], [`Error::WouldBlock`], [`Error::BrokenPipe`] (the caller raises `SIGPIPE`), and
    /// what the file finds.
    pub async fn write(&self, source: &mut Source<'_>) -> Result<usize> {
        self.check_writable()?;
        if !self.traits.seekable {
            return Ok(self.file.write(source, WritePosition::At(0)).await?.count);
        }
        if !self.traits.keeps_offset {
            return Ok(self.write_from(source, 0).await?.count);
        }
        let mut offset = self.lock_offset().await;
        let written = self.write_from(source, *offset).await?;
        if written.count > 0 {
            *offset = written.end;
        }
        Ok(written.count)
    }

    /// Writes at `offset` (`pwrite`); as on Linux, [`OpenFlags::APPEND`] wins over it.
    ///
    /// # Errors
    /// As [`OpenFile::write`]; [`Error::IllegalSeek`] for a stream, [`Error::InvalidArgument`] beyond [`OFFSET_MAX`].
    pub async fn write_at(&self, source: &mut Source<'_>, offset: u64) -> Result<usize> {
        self.check_writable()?;
        self.check_position(offset)?;
        Ok(self.write_from(source, offset).await?.count)
    }

    #[inline]
    async fn write_from(&self, source: &mut Source<'_>, offset: u64) -> Result<Written> {
        if self.traits.regular {
            if source.remaining() == 0 {
                return Ok(Written { count: 0, end: offset });
            }
            self.clear_set_id().await?;
        }
        let append = self.flags().contains(OpenFlags::APPEND);
        let position = if append { WritePosition::End } else { WritePosition::At(offset) };
        self.file.write(source, position).await
    }

    #[inline]
    fn has_set_id_to_clear(&self) -> bool {
        !self.traits.keeps_set_id
            && self.location.inode().ownership().permissions & (SET_USER_ID | SET_GROUP_ID) != 0
    }

    /// Takes set-user-id, and set-group-id where it means execution, from a file that is about to change.
    async fn clear_set_id(&self) -> Result<()> {
        if !self.has_set_id_to_clear() {
            return Ok(());
        }
        let permissions = self.location.inode().ownership().permissions;
        match without_set_id(permissions) {
            Some(permissions) => {
                let change = MetadataChange { permissions: Some(permissions), ..MetadataChange::default() };
                self.location.inode().set_metadata(&change).await
            }
            None => Ok(()),
        }
    }

    /// Moves the shared offset; returns the new one.
    ///
    /// # Errors
    /// [`Error::IllegalSeek`], [`Error::InvalidArgument`] before the start or beyond [`OFFSET_MAX`],
    /// [`Error::NoSuchDeviceOrAddress`] when there is no such extent.
    pub async fn seek(&self, to: SeekFrom) -> Result<u64> {
        if self.flags().contains(OpenFlags::PATH) {
            return Err(Error::BadDescriptor);
        }
        if !self.traits.seekable {
            return Err(Error::IllegalSeek);
        }
        let mut offset = self.lock_offset().await;
        let (origin, distance) = match to {
            SeekFrom::Start(distance) => (0, distance),
            SeekFrom::Current(distance) => (*offset as i64, distance),
            SeekFrom::End(distance) => (self.location.inode().metadata().await?.size as i64, distance),
            SeekFrom::Extent(extent, from) => {
                let size = self.location.inode().metadata().await?.size;
                let from = u64::try_from(from).map_err(|_| Error::NoSuchDeviceOrAddress)?;
                (0, self.file.find_extent(extent, from, size).await? as i64)
            }
        };
        if !self.traits.keeps_offset {
            return Ok(0);
        }
        let target = origin.checked_add(distance).ok_or(Error::InvalidArgument)?;
        *offset = u64::try_from(target).map_err(|_| Error::InvalidArgument)?;
        Ok(*offset)
    }

    /// Where the shared offset is.
    pub async fn offset(&self) -> u64 {
        *self.lock_offset().await
    }

    /// Lists a directory from the shared offset on, `.` and `..` first; moves the offset behind the last entry that
    /// the visitor took. Returns how many it took.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::BadDescriptor`], [`Error::NotFound`] when the directory was removed.
    pub async fn list(&self, visitor: &mut crate::inode::EntryVisitor<'_>) -> Result<usize> {
        if self.flags().contains(OpenFlags::PATH) {
            return Err(Error::BadDescriptor);
        }
        if self.location.kind() != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        let dentry = &self.location.dentry;
        if dentry.is_detached() {
            return Err(Error::NotFound);
        }
        let mut offset = self.lock_offset().await;
        let mut taken = 0;
        let mut next = *offset;
        let mut full = false;
        let mut take = |entry: DirectoryEntry<'_>| {
            let cookie = entry.cookie;
            let flow = visitor(entry);
            if flow.is_continue() {
                (taken, next) = (taken + 1, cookie);
            } else {
                full = true;
            }
            flow
        };
        let inode = self.location.inode();
        let dots: [(&[u8], u64); 2] = [
            (b".", inode.number()),
            (b"..", dentry.parent().map_or(inode.number(), |parent| parent.inode().number())),
        ];
        let mut flow = ControlFlow::Continue(());
        for (index, (name, number)) in dots.into_iter().enumerate().skip((*offset).min(2) as usize) {
            flow = take(DirectoryEntry { name, number, kind: FileKind::Directory, cookie: index as u64 + 1 });
            if flow.is_break() {
                break;
            }
        }
        if flow.is_continue() {
            inode.list((*offset).max(FIRST_COOKIE), &mut take).await?;
        }
        if full && taken == 0 {
            return Err(Error::InvalidArgument);
        }
        *offset = next;
        self.stamp_access();
        Ok(taken)
    }

    /// Cuts or extends a regular file (`ftruncate`).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is not a regular file open for writing.
    pub async fn truncate(&self, size: u64) -> Result<()> {
        if self.flags().contains(OpenFlags::PATH) {
            return Err(Error::BadDescriptor);
        }
        if !self.flags().writes() || !self.traits.regular || size > OFFSET_MAX {
            return Err(Error::InvalidArgument);
        }
        self.clear_set_id().await?;
        let change = MetadataChange { size: Some(size), ..MetadataChange::default() };
        self.location.inode().set_metadata(&change).await
    }

    /// Reserves or gives back storage (`fallocate`).
    ///
    /// # Errors
    /// [`Error::BadDescriptor`], [`Error::IllegalSeek`], [`Error::NoDevice`] when it is no regular file,
    /// [`Error::FileTooLarge`], [`Error::InvalidArgument`] for an empty range.
    pub async fn allocate(&self, allocation: Allocation, offset: u64, length: u64) -> Result<()> {
        self.check_writable()?;
        if length == 0 || offset > OFFSET_MAX || length > OFFSET_MAX {
            return Err(Error::InvalidArgument);
        }
        if !self.traits.seekable {
            return Err(Error::IllegalSeek);
        }
        if !self.traits.regular {
            return Err(if self.location.kind() == FileKind::Directory {
                Error::IsDirectory
            } else {
                Error::NoDevice
            });
        }
        if offset + length > OFFSET_MAX {
            return Err(Error::FileTooLarge);
        }
        self.clear_set_id().await?;
        self.file.allocate(allocation, offset, length).await
    }

    /// Copies up to `count` bytes to `target` (`sendfile`, `copy_file_range`); each side's offset is the given one,
    /// which is moved, or the shared one. Returns how many were copied, fewer when one side has no more.
    ///
    /// # Errors
    /// What reading and writing find, when nothing was copied; [`Error::WouldBlock`] as with them.
    pub async fn copy_to(
        &self,
        target: &OpenFile,
        mut from: Option<&mut u64>,
        mut to: Option<&mut u64>,
        count: usize,
    ) -> Result<usize> {
        let mut buffer = vec![0u8; count.min(COPY_CHUNK)];
        let mut copied = 0;
        while copied < count {
            let wanted = (count - copied).min(buffer.len());
            let outcome = self.copy_chunk(target, &mut from, &mut to, &mut buffer[..wanted]).await;
            match outcome {
                Ok(0) => break,
                Ok(moved) => copied += moved,
                Err(error) if copied == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(copied)
    }

    async fn copy_chunk(
        &self,
        target: &OpenFile,
        from: &mut Option<&mut u64>,
        to: &mut Option<&mut u64>,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let read = match from {
            Some(offset) => self.read_at(&mut Sink::new(buffer), **offset).await?,
            None => self.read(&mut Sink::new(buffer)).await?,
        };
        let mut source = Source::new(&buffer[..read]);
        let outcome = match to {
            Some(offset) => target.write_at(&mut source, **offset).await,
            None => target.write(&mut source).await,
        };
        // What was read and could not be written is given back to a file; a stream's bytes would be lost, which is
        // why the callers copy from files only.
        let written = outcome.as_ref().copied().unwrap_or(0);
        match from {
            Some(offset) => **offset += written as u64,
            None if written < read && self.traits.seekable => {
                *self.lock_offset().await -= (read - written) as u64;
            }
            None => {}
        }
        if let Some(offset) = to {
            **offset += written as u64;
        }
        outcome
    }

    /// What `mmap` maps. It keeps the open description, as a mapping keeps its file.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when it cannot be mapped, [`Error::AccessDenied`] when it is not open for reading.
    pub fn mapped_object(self: &Arc<Self>) -> Result<Arc<dyn MappedObject>> {
        if self.flags().contains(OpenFlags::PATH) {
            return Err(Error::BadDescriptor);
        }
        if !self.flags().reads() {
            return Err(Error::AccessDenied);
        }
        let object = self.file.clone().mapped_object().ok_or(Error::NoDevice)?;
        Ok(Arc::new(MappedFile { object, file: self.clone(), is_writable: false }))
    }

    /// As [`OpenFile::mapped_object`], for a shared mapping through which the file may be written.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when its content is sealed.
    pub fn writable_object(self: &Arc<Self>) -> Result<Arc<dyn MappedObject>> {
        let object = self.file.clone().mapped_object().ok_or(Error::NoDevice)?;
        self.file.begin_writable_mapping()?;
        Ok(Arc::new(MappedFile { object, file: self.clone(), is_writable: true }))
    }

    /// Stores what is not stored yet (`fsync`).
    ///
    /// # Errors
    /// [`Error::BadDescriptor`], [`Error::InvalidArgument`] for what cannot be stored, [`Error::InputOutput`].
    pub async fn sync(&self) -> Result<()> {
        if self.flags().contains(OpenFlags::PATH) {
            return Err(Error::BadDescriptor);
        }
        match self.location.kind() {
            FileKind::Fifo | FileKind::Socket | FileKind::CharacterDevice => Err(Error::InvalidArgument),
            _ => self.file.sync().await,
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(extras) = self.extras.get_mut().take() {
            let identity = self.identity();
            extras
                .dependants
                .iter()
                .filter_map(Weak::upgrade)
                .for_each(|dependant| dependant.closed(identity));
        }
        if self.traits.counted_writer {
            self.location.inode().end_write();
        }
    }
}

/// What a mapping of an open file shows: the file's pages, under the file's path.
struct MappedFile {
    object: Arc<dyn MappedObject>,
    file: Arc<OpenFile>,
    /// [`File::begin_writable_mapping`] was told.
    is_writable: bool,
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if self.is_writable {
            self.file.file.end_writable_mapping();
        }
    }
}

impl MappedObject for MappedFile {
    fn page(&self, index: u64, access: Access) -> Operation<'_, Result<Frame>> {
        self.object.page(index, access)
    }

    fn length(&self) -> u64 {
        self.object.length()
    }

    fn cached_page(&self, index: u64) -> Option<Frame> {
        self.object.cached_page(index)
    }

    fn tracks_writes(&self) -> bool {
        self.object.tracks_writes()
    }

    fn sync(&self, range: Range<u64>) -> Operation<'_, Result<()>> {
        self.object.sync(range)
    }

    fn identity(&self) -> (u64, u64) {
        self.object.identity()
    }

    fn name(&self, text: &mut dyn fmt::Write) -> fmt::Result {
        let path = self.file.location.global_path();
        path.utf8_chunks().try_for_each(|chunk| {
            text.write_str(chunk.valid())?;
            chunk.invalid().iter().try_for_each(|byte| write!(text, "\\{byte:03o}"))
        })
    }
}

/// Tells an inode about a writer, and takes it back unless the opening succeeds.
struct WriterCount(Option<Arc<dyn Inode>>);

impl WriterCount {
    fn new(location: &Location, flags: OpenFlags) -> Result<Self> {
        if !flags.writes() || location.kind() != FileKind::Regular {
            return Ok(Self(None));
        }
        location.inode().begin_write()?;
        Ok(Self(Some(location.inode().clone())))
    }

    /// Leaves the writer counted, if there is one.
    fn keep(&mut self) -> bool {
        self.0.take().is_some()
    }
}

impl Drop for WriterCount {
    fn drop(&mut self) {
        if let Some(inode) = &self.0 {
            inode.end_write();
        }
    }
}

/// The permissions that remain when a file's content or owner changes; `None` when nothing has to go.
pub(crate) fn without_set_id(permissions: u16) -> Option<u16> {
    let mut cleared = SET_USER_ID;
    // Without group execution the bit once meant mandatory locking, and stays.
    if permissions & 0o010 != 0 {
        cleared |= SET_GROUP_ID;
    }
    (permissions & cleared != 0).then_some(permissions & !cleared)
}
