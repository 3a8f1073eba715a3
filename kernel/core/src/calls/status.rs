//! Calls about what files say of themselves: `stat` and its kind, permissions, owners, times, lengths.

use super::names::{Names, ShortPath, check_flags, follow_unless, path, path_or_empty};
use super::{descriptor, file};
use crate::thread::Caller;
use crate::{file_systems, mapped_files};
use ::process::credentials::Credentials;
use abi::file::{DirectoryRecord, Stat, StatFs, Statx, StatxTime, TimeSpec};
use abi::linux::general as linux;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch_riscv64::trap::register;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::bytes::Sink;
use base::operation::Operation;
use base::{Error, Result};
use core::ops::ControlFlow;
use memory::space::{Access, MappedObject};
use vfs::credentials::Permission;
use vfs::inode::{Allocation, DirectoryEntry};
use vfs::mount::MountFlags;
use vfs::namespace::{self, TimeChange};
use vfs::tmpfs::TmpfsInode;
use vfs::{At, Context, File, FileKind, Location, Metadata, OpenFile, OpenFlags};
use zerocopy::IntoBytes;

/// The bits that say how fresh a network file system's answer must be: all answers here are fresh.
const SYNC_TYPE: u32 = linux::AT_STATX_FORCE_SYNC | linux::AT_STATX_DONT_SYNC;

fn stat_of(metadata: &Metadata) -> Stat {
    Stat {
        device: metadata.device.0,
        inode: metadata.number,
        mode: metadata.mode(),
        link_count: metadata.link_count,
        uid: metadata.ownership.uid,
        gid: metadata.ownership.gid,
        special_device: metadata.special_device.0,
        size: metadata.size as i64,
        block_size: metadata.block_size as i32,
        blocks: metadata.blocks as i64,
        accessed: TimeSpec::from_ns(metadata.accessed_ns),
        modified: TimeSpec::from_ns(metadata.modified_ns),
        changed: TimeSpec::from_ns(metadata.changed_ns),
        ..Stat::default()
    }
}

/// `fstat`
pub async fn fstat(caller: &Caller, file: usize, buffer: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    let metadata = file.location().inode().metadata().await?;
    caller.space.write_object(VirtualAddress::new(buffer), &stat_of(&metadata)).await?;
    Ok(0)
}

/// The place that a call of the kind of `fstatat` is about; a null path stands for an empty one, where that is allowed.
async fn locate(
    caller: &Caller,
    names: &Names,
    directory: usize,
    name: usize,
    flags: u32,
) -> Result<Location> {
    let path = match name {
        0 if flags & linux::AT_EMPTY_PATH != 0 => Vec::new(),
        _ => path_or_empty(caller, name).await?,
    };
    names.locate(caller, directory, &path, flags).await
}

/// `newfstatat` of a path without links about which everything is at hand.
pub fn newfstatat_at_once(caller: &Caller) -> Option<Result<usize>> {
    let [directory, name, buffer, flags] =
        core::array::from_fn(|index| caller.context.registers[register::A0 + index]);
    if flags as u32 & !linux::AT_SYMLINK_NOFOLLOW != 0 {
        return None;
    }
    let path = ShortPath::read(caller, name)?;
    let names = Names::of(caller);
    let base = names.base(caller, directory, path.bytes()).ok()?;
    let location = vfs::path::walk_now(&names.context(), At::new(&base, path.bytes()))?;
    let Operation::Ready(Ok(metadata)) = location.inode().metadata() else { return None };
    caller.space.try_write_object(VirtualAddress::new(buffer), &stat_of(&metadata)).then_some(Ok(0))
}

/// `newfstatat`
pub async fn newfstatat(
    caller: &Caller,
    directory: usize,
    name: usize,
    buffer: usize,
    flags: usize,
) -> Result<usize> {
    let known = linux::AT_SYMLINK_NOFOLLOW | linux::AT_NO_AUTOMOUNT | linux::AT_EMPTY_PATH | SYNC_TYPE;
    let flags = check_flags(flags, known)?;
    let location = locate(caller, &Names::of(caller), directory, name, flags).await?;
    let metadata = namespace::metadata(&location).await?;
    caller.space.write_object(VirtualAddress::new(buffer), &stat_of(&metadata)).await?;
    Ok(0)
}

/// `statx`
pub async fn statx(
    caller: &Caller,
    directory: usize,
    name: usize,
    flags: usize,
    mask: usize,
    buffer: usize,
) -> Result<usize> {
    let known = linux::AT_SYMLINK_NOFOLLOW | linux::AT_NO_AUTOMOUNT | linux::AT_EMPTY_PATH | SYNC_TYPE;
    let flags = check_flags(flags, known)?;
    if flags & SYNC_TYPE == SYNC_TYPE || mask as u32 & linux::STATX__RESERVED != 0 {
        return Err(Error::InvalidArgument);
    }
    let location = locate(caller, &Names::of(caller), directory, name, flags).await?;
    let metadata = namespace::metadata(&location).await?;
    let is_root = if location.is_mount_root() { linux::STATX_ATTR_MOUNT_ROOT } else { 0 };
    let statx = Statx {
        mask: linux::STATX_BASIC_STATS | linux::STATX_MNT_ID & mask as u32,
        block_size: metadata.block_size,
        attributes: is_root.into(),
        attributes_mask: linux::STATX_ATTR_MOUNT_ROOT.into(),
        link_count: metadata.link_count,
        uid: metadata.ownership.uid,
        gid: metadata.ownership.gid,
        mode: metadata.mode() as u16,
        inode: metadata.number,
        size: metadata.size,
        blocks: metadata.blocks,
        accessed: StatxTime::from_ns(metadata.accessed_ns),
        changed: StatxTime::from_ns(metadata.changed_ns),
        modified: StatxTime::from_ns(metadata.modified_ns),
        special_major: metadata.special_device.major(),
        special_minor: metadata.special_device.minor(),
        device_major: metadata.device.major(),
        device_minor: metadata.device.minor(),
        mount_id: location.mount.id().into(),
        ..Statx::default()
    };
    caller.space.write_object(VirtualAddress::new(buffer), &statx).await?;
    Ok(0)
}

/// Which file system a place is in, as Linux has it: there, pipes and sockets have systems of their own.
fn magic(location: &Location, magic: u64) -> i64 {
    let anonymous = Arc::ptr_eq(&location.mount, file_systems::anonymous().mount());
    match location.kind() {
        FileKind::Fifo if anonymous => linux::PIPEFS_MAGIC.into(),
        FileKind::Socket if anonymous => linux::SOCKFS_MAGIC.into(),
        _ => magic as i64,
    }
}

async fn statfs_of(location: &Location) -> Result<StatFs> {
    /// `ST_VALID`: the flags are filled in.
    const VALID: u32 = 0x20;
    /// `ST_RELATIME`
    const RELATIVE_ACCESS_TIME: u32 = 0x1000;
    /// What `mount` and `statfs` say with the same bits.
    const SAME: u32 = 0xfff;
    let statistics = namespace::statistics(location).await?;
    let forbids = location.mount.flags();
    let mut flags = VALID | forbids.bits() & SAME;
    if !forbids.contains(MountFlags::NO_ACCESS_TIME) {
        flags |= RELATIVE_ACCESS_TIME;
    }
    let device = location.mount.file_system().device().0;
    Ok(StatFs {
        magic: magic(location, statistics.magic),
        block_size: statistics.block_size.into(),
        blocks: statistics.blocks,
        blocks_free: statistics.blocks_free,
        blocks_available: statistics.blocks_free,
        files: statistics.files,
        files_free: statistics.files_free,
        id: [device as i32, (device >> 32) as i32],
        name_length: statistics.name_length.into(),
        fragment_size: statistics.block_size.into(),
        flags: flags.into(),
        ..StatFs::default()
    })
}

/// `statfs`
pub async fn statfs(caller: &Caller, name: usize, buffer: usize) -> Result<usize> {
    let path = path(caller, name).await?;
    let location = Names::of(caller).locate(caller, linux::AT_FDCWD as usize, &path, 0).await?;
    caller.space.write_object(VirtualAddress::new(buffer), &statfs_of(&location).await?).await?;
    Ok(0)
}

/// `fstatfs`
pub async fn fstatfs(caller: &Caller, file: usize, buffer: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    caller.space.write_object(VirtualAddress::new(buffer), &statfs_of(file.location()).await?).await?;
    Ok(0)
}

/// `getdents64`: the entries are written straight into the caller's memory.
pub async fn getdents64(caller: &Caller, file: usize, buffer: usize, size: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    if file.flags().contains(OpenFlags::PATH) {
        return Err(Error::BadDescriptor);
    }
    if file.location().kind() != FileKind::Directory {
        return Err(Error::NotDirectory);
    }
    let pinned = caller.space.pin(VirtualAddress::new(buffer), size as u32 as usize, Access::Write).await?;
    let mut sink = Sink::scattered(pinned.pieces());
    let room = sink.remaining();
    match file.list(&mut |entry| put_entry(&mut sink, entry)).await {
        Ok(_) => Ok(room - sink.remaining()),
        // There would be room if all of the memory were there.
        Err(Error::InvalidArgument) if room < (size as u32 as usize).min(PAGE_SIZE) => Err(Error::BadAddress),
        Err(error) => Err(error),
    }
}

fn put_entry(sink: &mut Sink<'_>, entry: DirectoryEntry<'_>) -> ControlFlow<()> {
    let used = size_of::<DirectoryRecord>() + entry.name.len() + 1;
    let length = used.next_multiple_of(8);
    if length > sink.remaining() {
        return ControlFlow::Break(());
    }
    let record = DirectoryRecord {
        inode: entry.number,
        offset: entry.cookie as i64,
        length: length as u16,
        kind: entry.kind.entry_type(),
    };
    sink.copy_from(record.as_bytes());
    sink.copy_from(entry.name);
    sink.fill_zero(length - used + 1);
    ControlFlow::Continue(())
}

/// The caller's credentials for `access`, which asks for the real ids.
fn real_credentials(names: &Names) -> vfs::Credentials {
    let identity = names.identity();
    let (user, group) = (identity.credentials.user.real, identity.credentials.group.real);
    if user == identity.files.uid && group == identity.files.gid {
        return identity.files.clone();
    }
    // A process whose real user is the superuser has every capability for this question, any other none.
    let mut credentials: Credentials = identity.credentials.clone();
    credentials.user.effective = user;
    vfs::Credentials {
        uid: user,
        gid: group,
        groups: identity.files.groups.clone(),
        capabilities: vfs::Capabilities::from_bits_retain(credentials.capabilities.effective),
    }
}

/// `faccessat2`; `faccessat` has no flags.
pub async fn faccessat2(
    caller: &Caller,
    directory: usize,
    name: usize,
    mode: usize,
    flags: usize,
) -> Result<usize> {
    let wanted =
        u16::try_from(mode as u32).ok().and_then(Permission::from_bits).ok_or(Error::InvalidArgument)?;
    let flags = check_flags(flags, linux::AT_EACCESS | linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
    let path = path_or_empty(caller, name).await?;
    if path.is_empty() && flags & linux::AT_EMPTY_PATH == 0 {
        return Err(Error::NotFound);
    }
    let names = Names::of(caller);
    let base = names.base(caller, directory, &path)?;
    let credentials = match flags & linux::AT_EACCESS {
        0 => real_credentials(&names),
        _ => names.credentials().clone(),
    };
    let context = Context { credentials: &credentials, ..names.context() };
    let empty = super::names::empty_path(flags);
    let at = At::new(&base, &path);
    let location = namespace::resolve_or_base(&context, at, follow_unless(flags), empty).await?;
    namespace::access(&context, &location, wanted)?;
    Ok(0)
}

/// A file for a call that changes its metadata through a descriptor: any but one that only names its file.
fn changeable(caller: &Caller, register: usize) -> Result<Arc<OpenFile>> {
    let file = caller.files.get(descriptor(register))?;
    if file.flags().contains(OpenFlags::PATH) { Err(Error::BadDescriptor) } else { Ok(file) }
}

/// `fchmod`
pub async fn fchmod(caller: &Caller, file: usize, mode: usize) -> Result<usize> {
    let file = changeable(caller, file)?;
    namespace::apply_mode(&Names::of(caller).context(), file.location(), mode as u16).await?;
    Ok(0)
}

/// `fchmodat2`; `fchmodat` has no flags.
pub async fn fchmodat2(
    caller: &Caller,
    directory: usize,
    name: usize,
    mode: usize,
    flags: usize,
) -> Result<usize> {
    let flags = check_flags(flags, linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
    let path = path_or_empty(caller, name).await?;
    let names = Names::of(caller);
    let location = names.locate(caller, directory, &path, flags).await?;
    namespace::apply_mode(&names.context(), &location, mode as u16).await?;
    Ok(0)
}

/// An id that -1 leaves as it is.
fn owner(register: usize) -> Option<u32> {
    Some(register as u32).filter(|id| *id != u32::MAX)
}

/// `fchown`
pub async fn fchown(caller: &Caller, file: usize, user: usize, group: usize) -> Result<usize> {
    let file = changeable(caller, file)?;
    namespace::apply_owner(&Names::of(caller).context(), file.location(), owner(user), owner(group)).await?;
    Ok(0)
}

/// `fchownat`
pub async fn fchownat(caller: &Caller, arguments: [usize; 5]) -> Result<usize> {
    let [directory, name, user, group, flags] = arguments;
    let flags = check_flags(flags, linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
    let path = path_or_empty(caller, name).await?;
    let names = Names::of(caller);
    let location = names.locate(caller, directory, &path, flags).await?;
    namespace::apply_owner(&names.context(), &location, owner(user), owner(group)).await?;
    Ok(0)
}

fn time_change(time: TimeSpec, now_ns: i64) -> Result<TimeChange> {
    match time.nanoseconds {
        nanoseconds if nanoseconds == i64::from(linux::UTIME_NOW) => Ok(TimeChange::Now(now_ns)),
        nanoseconds if nanoseconds == i64::from(linux::UTIME_OMIT) => Ok(TimeChange::Keep),
        0..1_000_000_000 => Ok(TimeChange::Set(time.to_ns())),
        _ => Err(Error::InvalidArgument),
    }
}

/// `utimensat`; without a path it is `futimens`.
pub async fn utimensat(
    caller: &Caller,
    directory: usize,
    name: usize,
    times: usize,
    flags: usize,
) -> Result<usize> {
    let now_ns = file_systems::environment().clock.now_ns();
    let (accessed, modified) = match times {
        0 => (TimeChange::Now(now_ns), TimeChange::Now(now_ns)),
        _ => {
            let address = VirtualAddress::new(times);
            let [accessed, modified] = caller.space.read_object::<[TimeSpec; 2]>(address).await?;
            (time_change(accessed, now_ns)?, time_change(modified, now_ns)?)
        }
    };
    if (accessed, modified) == (TimeChange::Keep, TimeChange::Keep) {
        return Ok(0);
    }
    let names = Names::of(caller);
    let location = if name == 0 && directory as i32 != linux::AT_FDCWD {
        check_flags(flags, 0)?;
        changeable(caller, directory)?.location().clone()
    } else {
        let flags = check_flags(flags, linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
        let path = path_or_empty(caller, name).await?;
        names.locate(caller, directory, &path, flags).await?
    };
    namespace::apply_times(&names.context(), &location, accessed, modified).await?;
    Ok(0)
}

/// A length that must not be negative.
fn size(register: usize) -> Result<u64> {
    u64::try_from(register as i64).map_err(|_| Error::InvalidArgument)
}

/// `truncate`
pub async fn truncate(caller: &Caller, name: usize, length: usize) -> Result<usize> {
    let length = size(length)?;
    let path = path(caller, name).await?;
    file::check_size(caller, length)?;
    let names = Names::of(caller);
    let base = names.base(caller, linux::AT_FDCWD as usize, &path)?;
    let location = namespace::truncate(&names.context(), At::new(&base, &path), length).await?;
    let inode: &dyn File = &**location.inode();
    cut_mappings(inode, length).await;
    Ok(0)
}

/// `ftruncate`
pub async fn ftruncate(caller: &Caller, file: usize, length: usize) -> Result<usize> {
    let length = size(length)?;
    let file = caller.files.get(descriptor(file))?;
    if file.flags().writes() {
        file::check_size(caller, length)?;
    }
    file.truncate(length).await?;
    cut_mappings(&**file.file(), length).await;
    Ok(0)
}

/// Lets go of what programs have mapped of a file behind its new end, if it ever was mapped.
async fn cut_mappings(file: &dyn File, length: u64) {
    let Some(inode) = file.downcast_ref::<TmpfsInode>().filter(|inode| inode.was_mapped()) else { return };
    mapped_files::cut(MappedObject::identity(inode), length).await;
}

/// `fallocate`
pub async fn fallocate(
    caller: &Caller,
    file: usize,
    mode: usize,
    offset: usize,
    length: usize,
) -> Result<usize> {
    const KEEP: u32 = linux::FALLOC_FL_KEEP_SIZE;
    const PUNCH: u32 = linux::FALLOC_FL_PUNCH_HOLE | KEEP;
    const ZERO_KEEP: u32 = linux::FALLOC_FL_ZERO_RANGE | KEEP;
    let file = caller.files.get(descriptor(file))?;
    let (offset, length) = (size(offset)?, size(length)?);
    if length == 0 {
        return Err(Error::InvalidArgument);
    }
    let allocation = match mode as u32 {
        0 => Allocation::Reserve,
        KEEP => Allocation::ReserveKeepingSize,
        PUNCH => Allocation::PunchHole,
        linux::FALLOC_FL_ZERO_RANGE => Allocation::Zero,
        ZERO_KEEP => Allocation::ZeroKeepingSize,
        _ => return Err(Error::NotSupported),
    };
    if matches!(allocation, Allocation::Reserve | Allocation::Zero) && file.flags().writes() {
        file::check_size(caller, offset.saturating_add(length))?;
    }
    file.allocate(allocation, offset, length).await?;
    Ok(0)
}

/// `fsync` and `fdatasync`
pub async fn fsync(caller: &Caller, file: usize) -> Result<usize> {
    caller.files.get(descriptor(file))?.sync().await?;
    Ok(0)
}

/// `syncfs`, as there is no file system that would have anything to store yet: only the descriptor is checked.
pub async fn syncfs(caller: &Caller, file: usize) -> Result<usize> {
    changeable(caller, file)?;
    Ok(0)
}

/// `sync`, likewise.
pub async fn sync(_: &Caller) -> Result<usize> {
    Ok(0)
}

/// `fadvise64`: what is in memory needs no advice; it is checked all the same.
pub async fn fadvise64(caller: &Caller, file: usize, length: usize, advice: usize) -> Result<usize> {
    let file = changeable(caller, file)?;
    if file.location().kind() == FileKind::Fifo {
        return Err(Error::IllegalSeek);
    }
    let known = linux::POSIX_FADV_NORMAL..=linux::POSIX_FADV_NOREUSE;
    if (length as i64) < 0 || !known.contains(&(advice as u32)) { Err(Error::InvalidArgument) } else { Ok(0) }
}

/// `readahead`: what is in memory needs none.
pub async fn readahead(caller: &Caller, file: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    if !file.flags().reads() {
        return Err(Error::BadDescriptor);
    }
    if file.location().kind() == FileKind::Regular { Ok(0) } else { Err(Error::InvalidArgument) }
}
