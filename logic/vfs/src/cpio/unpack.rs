//! Making the files that an archive lists.

use super::gzip::GzipReader;
use super::header::{ALIGNMENT, Header, LENGTH};
use super::reader::{Reader, SliceReader};
use super::{Problem, UnpackError};
use crate::dentry::Dentry;
use crate::flags::OpenFlags;
use crate::metadata::{DeviceNumber, FileKind, MetadataChange};
use crate::mount::Location;
use crate::name::{Name, PATH_MAX};
use crate::namespace::{self, Context, Empty, TimeChange};
use crate::open_file::OpenFile;
use crate::path::{At, Follow};
use crate::tmpfs::TmpfsInode;
use crate::{Error, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::PAGE_SIZE;
use base::bytes::Source;
use hashbrown::HashMap;
use memory::Frame;

/// Gives a frame for a page of the archive that need not be copied: its memory becomes the file's.
pub trait Adopt: Sync {
    /// The frame of which `page` ([`PAGE_SIZE`] bytes, aligned) is the content, if the archive's memory may be kept.
    fn frame(&self, page: &[u8]) -> Option<Frame>;
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members, of whatever kind.
    pub members: u64,
    /// Bytes of file content.
    pub content: u64,
    /// Pages of content that were adopted and not copied.
    pub adopted: u64,
}

/// Compression that is recognised in order to say so.
const UNKNOWN_COMPRESSION: [&[u8]; 6] =
    [b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh", b"\x02\x21\x4c\x18", b"\x89LZO", b"\x5d\x00\x00"];

/// Unpacks a row of archives, each plain or gzip-compressed, with zeros around them, below `target`.
///
/// # Errors
/// What is wrong, and at which byte of `archive` (of a compressed part: where that part begins).
pub async fn unpack(
    context: &Context<'_>,
    target: &Location,
    archive: &[u8],
    adopt: Option<&dyn Adopt>,
) -> core::result::Result<Summary, UnpackError> {
    let mut summary = Summary::default();
    let mut rest = archive;
    loop {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = &rest[zeros..];
        let offset = (archive.len() - rest.len()) as u64;
        if rest.is_empty() {
            return Ok(summary);
        }
        let failed = |problem| UnpackError { problem, offset };
        if GzipReader::detects(rest) {
            let mut reader = GzipReader::new(rest).map_err(failed)?;
            let part = unpack_stream(context, target, &mut reader, None, 0).await;
            summary.add(&part.map_err(|error| failed(error.problem))?);
            rest = reader.remaining();
        } else if UNKNOWN_COMPRESSION.iter().any(|magic| rest.starts_with(magic)) {
            return Err(failed(Problem::UnknownCompression));
        } else {
            // Up to its end: further archives, compressed ones too, are found behind a trailer.
            let mut reader = SliceReader::new(rest);
            let part = unpack_stream(context, target, &mut reader, adopt, offset).await?;
            summary.add(&part);
            rest = reader.remaining();
        }
    }
}

/// Unpacks what `reader` gives, which is not compressed, below `target`.
///
/// # Errors
/// What is wrong, and at which byte.
pub async fn unpack_plain(
    context: &Context<'_>,
    target: &Location,
    reader: &mut dyn Reader,
) -> core::result::Result<Summary, UnpackError> {
    unpack_stream(context, target, reader, None, 0).await
}

impl Summary {
    fn add(&mut self, part: &Summary) {
        self.members += part.members;
        self.content += part.content;
        self.adopted += part.adopted;
    }
}

async fn unpack_stream(
    context: &Context<'_>,
    target: &Location,
    reader: &mut dyn Reader,
    adopt: Option<&dyn Adopt>,
    start: u64,
) -> core::result::Result<Summary, UnpackError> {
    let mut unpacker = Unpacker {
        context,
        target,
        adopt,
        input: Input { reader, position: 0 },
        links: HashMap::new(),
        directory_times: Vec::new(),
        recent: None,
        name: Vec::new(),
        summary: Summary::default(),
    };
    let outcome = unpacker.run().await;
    let offset = start + unpacker.input.position;
    outcome.map(|()| unpacker.summary).map_err(|problem| UnpackError { problem, offset })
}

/// The stream, counting.
struct Input<'a> {
    reader: &'a mut dyn Reader,
    position: u64,
}

impl Input<'_> {
    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.position += count as u64;
    }

    fn read_exact(&mut self, mut target: &mut [u8]) -> core::result::Result<(), Problem> {
        while !target.is_empty() {
            let bytes = self.reader.fill()?;
            if bytes.is_empty() {
                return Err(Problem::Truncated);
            }
            let count = bytes.len().min(target.len());
            target[..count].copy_from_slice(&bytes[..count]);
            target = &mut target[count..];
            self.consume(count);
        }
        Ok(())
    }

    fn skip(&mut self, mut count: u64) -> core::result::Result<(), Problem> {
        while count > 0 {
            let available = self.reader.fill()?.len();
            if available == 0 {
                return Err(Problem::Truncated);
            }
            let step = (available as u64).min(count) as usize;
            self.consume(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// To the next multiple of [`ALIGNMENT`]. A file that ends there just ends.
    fn align(&mut self) -> core::result::Result<(), Problem> {
        let padding = self.position.next_multiple_of(ALIGNMENT) - self.position;
        match self.skip(padding) {
            Err(Problem::Truncated) => Ok(()),
            other => other,
        }
    }

    /// Passes over zeros; whether anything follows.
    fn skip_zeros(&mut self) -> core::result::Result<bool, Problem> {
        loop {
            let bytes = self.reader.fill()?;
            if bytes.is_empty() {
                return Ok(false);
            }
            match bytes.iter().position(|byte| *byte != 0) {
                Some(zeros) => {
                    self.consume(zeros);
                    return Ok(true);
                }
                None => {
                    let count = bytes.len();
                    self.consume(count);
                }
            }
        }
    }
}

/// Tells a file with several names from all others.
type LinkKey = (u32, (u32, u32));

struct Unpacker<'a> {
    context: &'a Context<'a>,
    target: &'a Location,
    adopt: Option<&'a dyn Adopt>,
    input: Input<'a>,
    /// The first name of each file that has several.
    links: HashMap<LinkKey, Name>,
    /// Directories get their times at the end, as filling them changes these.
    directory_times: Vec<(Arc<Dentry>, i64)>,
    /// The directory of the last member: the next one is likely to be in it.
    recent: Option<(Vec<u8>, Location)>,
    name: Vec<u8>,
    summary: Summary,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Unpack(error)
    }
}

impl Unpacker<'_> {
    /// Goes on until the stream ends, or until something behind a trailer is not plain cpio (the caller looks what).
    async fn run(&mut self) -> core::result::Result<(), Problem> {
        let mut behind_trailer = false;
        while self.input.skip_zeros()? {
            if behind_trailer && !self.input.reader.fill()?.starts_with(b"0") {
                break;
            }
            behind_trailer = !self.member().await?;
        }
        if !behind_trailer && self.summary.members > 0 {
            // Cut between two members: what is missing would be missed later, and harder to find.
            return Err(Problem::Truncated);
        }
        for (directory, modified_ns) in core::mem::take(&mut self.directory_times) {
            set_time(&directory, modified_ns).await?;
        }
        Ok(())
    }

    /// Unpacks one member; `false` when it is the trailer.
    async fn member(&mut self) -> core::result::Result<bool, Problem> {
        let mut bytes = [0; LENGTH];
        self.input.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes)?;
        self.read_name(header.name_length)?;
        self.input.align()?;
        if self.name == b"TRAILER!!!" {
            self.links.clear();
            self.input.skip(u64::from(header.size))?;
            return Ok(false);
        }
        self.summary.members += 1;
        let end = self.input.position + u64::from(header.size);
        let name = core::mem::take(&mut self.name);
        let outcome = self.make(trim(&name), &header).await;
        self.name = name;
        outcome?;
        let unread = end - self.input.position;
        self.input.skip(unread)?;
        self.input.align()?;
        Ok(true)
    }

    fn read_name(&mut self, length: u32) -> core::result::Result<(), Problem> {
        let length = length as usize;
        if !(2..=PATH_MAX).contains(&length) {
            return Err(Problem::BadName);
        }
        self.name.resize(length, 0);
        self.input.read_exact(&mut self.name)?;
        // It ends with a zero, or with several where the writer aligned what follows.
        let end = self.name.iter().position(|byte| *byte == 0).filter(|end| *end > 0);
        let end = end.ok_or(Problem::BadName)?;
        let rest = self.name.drain(end..);
        if rest.into_iter().all(|byte| byte == 0) { Ok(()) } else { Err(Problem::BadName) }
    }

    async fn make(&mut self, name: &[u8], header: &Header) -> core::result::Result<(), Problem> {
        let kind = FileKind::from_mode(header.mode).filter(|kind| *kind != FileKind::Untyped);
        let kind = kind.filter(|_| header.mode <= 0xffff).ok_or(Problem::BadMode)?;
        if name.is_empty() {
            // The root itself.
            return if kind == FileKind::Directory {
                Ok(self.finish_directory(self.target.clone(), header).await?)
            } else {
                Err(Problem::BadName)
            };
        }
        let (directory, last) = self.directory_of(name).await?;
        match kind {
            FileKind::Regular => return self.file(&directory, &last, name, header).await,
            FileKind::Directory => {
                match namespace::make_directory(self.context, At::new(&directory, &last), 0o700).await {
                    Ok(()) => {}
                    Err(Error::AlreadyExists) => {}
                    Err(error) => return Err(error.into()),
                }
                let made = namespace::resolve(self.context, At::new(&directory, &last), Follow::No).await?;
                if made.kind() != FileKind::Directory {
                    return Err(Problem::Unpack(Error::AlreadyExists));
                }
                return Ok(self.finish_directory(made, header).await?);
            }
            _ => {}
        }
        if self.link_to_first(&directory, &last, name, header).await? {
            return Ok(());
        }
        self.clear_way(&directory, &last).await?;
        let at = At::new(&directory, &last);
        if kind == FileKind::SymbolicLink {
            if header.size as usize >= PATH_MAX {
                return Err(Problem::BadName);
            }
            let mut text = alloc::vec![0; header.size as usize];
            self.input.read_exact(&mut text)?;
            namespace::symlink(self.context, &text, at).await?;
        } else {
            let device = DeviceNumber::new(header.special_device.0, header.special_device.1);
            namespace::make_node(self.context, at, kind, 0o600, device).await?;
        }
        let made = namespace::resolve(self.context, At::new(&directory, &last), Follow::No).await?;
        Ok(self.finish(&made, header).await?)
    }

    /// The directory that a member goes to, and its name there. A missing one is an error, as in Linux's unpacking.
    async fn directory_of(&mut self, name: &[u8]) -> Result<(Location, Name)> {
        let split = name.iter().rposition(|byte| *byte == b'/');
        let (directory, last) = match split {
            None => (&name[..0], name),
            Some(position) => (&name[..position], &name[position + 1..]),
        };
        let last = Name::from_slice(last);
        if directory.is_empty() {
            return Ok((self.target.clone(), last));
        }
        if let Some((text, location)) = &self.recent
            && text == directory
        {
            return Ok((location.clone(), last));
        }
        let context = Context { root: self.target, ..*self.context };
        let location = namespace::resolve(&context, At::new(self.target, directory), Follow::Yes).await?;
        self.recent = Some((directory.to_vec(), location.clone()));
        Ok((location, last))
    }

    /// Removes what stands where another kind of node is to be.
    async fn clear_way(&mut self, directory: &Location, last: &[u8]) -> Result<()> {
        match namespace::unlink(self.context, At::new(directory, last)).await {
            Ok(()) | Err(Error::NotFound) => Ok(()),
            Err(Error::IsDirectory) => {
                self.recent = None;
                namespace::remove_directory(self.context, At::new(directory, last)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a file that was met before one more name; `false` when it is met for the first time.
    async fn link_to_first(
        &mut self,
        directory: &Location,
        last: &[u8],
        name: &[u8],
        header: &Header,
    ) -> Result<bool> {
        if header.link_count < 2 {
            return Ok(false);
        }
        let key = (header.number, header.device);
        let Some(first) = self.links.get(&key) else {
            self.links.insert(key, Name::from_slice(name));
            return Ok(false);
        };
        let first = first.clone();
        if *first == *name {
            return Ok(false);
        }
        self.clear_way(directory, last).await?;
        let context = Context { root: self.target, ..*self.context };
        let (from, to) = (At::new(self.target, &first), At::new(directory, last));
        namespace::link(&context, from, Follow::No, Empty::Refused, to).await?;
        Ok(true)
    }

    async fn file(
        &mut self,
        directory: &Location,
        last: &[u8],
        name: &[u8],
        header: &Header,
    ) -> core::result::Result<(), Problem> {
        let linked = self.link_to_first(directory, last, name, header).await?;
        if linked && header.size == 0 {
            return Ok(());
        }
        let flags = OpenFlags::WRITE_ONLY | OpenFlags::CREATE | OpenFlags::NO_FOLLOW;
        // The content of a file with several names comes with the last of them: what is there is kept until then.
        let flags = if linked { flags } else { flags | OpenFlags::TRUNCATE };
        let at = At::new(directory, last);
        // Not by trying: opening a FIFO that an earlier archive made would wait for its other side.
        match namespace::resolve(self.context, at, Follow::No).await {
            Ok(present) if present.kind() != FileKind::Regular => self.clear_way(directory, last).await?,
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let file = namespace::open(self.context, at, flags, 0o600).await?;
        self.content(&file, header).await?;
        Ok(self.finish(file.location(), header).await?)
    }

    /// Copies a file's bytes, a page or more at a time, and checks their sum where there is one.
    async fn content(&mut self, file: &OpenFile, header: &Header) -> core::result::Result<(), Problem> {
        let mut left = u64::from(header.size);
        let mut offset = 0;
        let mut sum = 0u32;
        while left > 0 {
            let bytes = self.input.reader.fill()?;
            if bytes.is_empty() {
                return Err(Problem::Truncated);
            }
            let bytes = &bytes[..bytes.len().min(left.min(usize::MAX as u64) as usize)];
            if header.checksum.is_some() {
                sum = bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            }
            let adopted = adopt_pages(self.adopt, file, bytes, offset).await?;
            let count = match adopted {
                0 => file.write_at(&mut Source::new(bytes), offset).await?,
                pages => pages * PAGE_SIZE,
            };
            self.summary.adopted += adopted as u64;
            self.input.consume(count);
            self.summary.content += count as u64;
            left -= count as u64;
            offset += count as u64;
        }
        if header.checksum.is_some_and(|expected| expected != sum) {
            return Err(Problem::BadChecksum);
        }
        Ok(())
    }

    async fn finish_directory(&mut self, location: Location, header: &Header) -> Result<()> {
        self.finish(&location, header).await?;
        self.directory_times.push((location.dentry, i64::from(header.modified_seconds) * 1_000_000_000));
        Ok(())
    }

    /// Owners, permissions and time, as the archive has them.
    async fn finish(&self, location: &Location, header: &Header) -> Result<()> {
        let context = self.context;
        namespace::apply_owner(context, location, Some(header.uid), Some(header.gid)).await?;
        if location.kind() != FileKind::SymbolicLink {
            namespace::apply_mode(context, location, header.mode as u16 & 0o7777).await?;
        }
        let modified = TimeChange::Set(i64::from(header.modified_seconds) * 1_000_000_000);
        namespace::apply_times(context, location, TimeChange::Keep, modified).await
    }
}

/// Puts whole pages of the archive into a file of a tmpfs without copying; returns how many.
async fn adopt_pages(adopt: Option<&dyn Adopt>, file: &OpenFile, bytes: &[u8], offset: u64) -> Result<usize> {
    let Some(adopt) = adopt else { return Ok(0) };
    let aligned = bytes.as_ptr().addr().is_multiple_of(PAGE_SIZE) && offset.is_multiple_of(PAGE_SIZE as u64);
    if !aligned || bytes.len() < PAGE_SIZE {
        return Ok(0);
    }
    let inode = file.location().inode();
    let Some(pages) = inode.downcast_ref::<TmpfsInode>().and_then(TmpfsInode::pages) else {
        return Ok(0);
    };
    let (whole, _) = bytes.as_chunks::<PAGE_SIZE>();
    let guard = pages.writing().lock().await;
    let mut count = 0;
    for page in whole {
        let Some(frame) = adopt.frame(page) else {
            break;
        };
        pages.adopt(offset / PAGE_SIZE as u64 + count as u64, frame)?;
        count += 1;
    }
    drop(guard);
    if count > 0 {
        let size = Some(offset + (count * PAGE_SIZE) as u64);
        inode.set_metadata(&MetadataChange { size, ..MetadataChange::default() }).await?;
    }
    Ok(count)
}

async fn set_time(directory: &Dentry, modified_ns: i64) -> Result<()> {
    let change = MetadataChange { modified_ns: Some(modified_ns), ..MetadataChange::default() };
    directory.inode().set_metadata(&change).await
}

/// A member's name without `./` and slashes around it; empty for the root itself.
fn trim(mut name: &[u8]) -> &[u8] {
    loop {
        name = match name {
            b"." => return b"",
            [b'.', b'/', rest @ ..] | [b'/', rest @ ..] | [rest @ .., b'/'] => rest,
            _ => return name,
        };
    }
}
