//! What files say of themselves, and changing it: `stat`, `access`, `chmod`, `chown`, `utimensat`, `truncate`, `statfs`.

use super::{Context, resolve};
use crate::credentials::Permission;
use crate::metadata::{FileKind, Metadata, MetadataChange, PERMISSION_BITS, SET_GROUP_ID, Statistics};
use crate::mount::{Location, MountFlags};
use crate::open_file::{OFFSET_MAX, without_set_id};
use crate::path::{At, Follow};
use crate::{Capabilities, Error, Result};

/// What `stat` tells about a place.
///
/// # Errors
/// What the file system finds.
pub async fn metadata(location: &Location) -> Result<Metadata> {
    location.inode().metadata().await
}

/// What `statfs` tells about the file system of a place.
///
/// # Errors
/// What the file system finds.
pub async fn statistics(location: &Location) -> Result<Statistics> {
    location.mount.file_system().statistics().await
}

/// Checks that `wanted` is allowed at a place (`access`; the context's credentials are made of the real ids, or of
/// the effective ones under `AT_EACCESS`). Nothing wanted asks only whether it is there.
///
/// # Errors
/// [`Error::AccessDenied`], [`Error::ReadOnlyFileSystem`].
pub fn access(context: &Context<'_>, location: &Location, wanted: Permission) -> Result<()> {
    let kind = location.kind();
    if wanted.contains(Permission::EXECUTE)
        && kind == FileKind::Regular
        && location.mount.flags().contains(MountFlags::NO_EXECUTE)
    {
        return Err(Error::AccessDenied);
    }
    context.credentials.check(wanted, kind, &location.inode().ownership())?;
    let special = kind.is_device() || matches!(kind, FileKind::Fifo | FileKind::Socket);
    if wanted.contains(Permission::WRITE) && !special { location.mount.check_writable() } else { Ok(()) }
}

/// `fchmodat`.
///
/// # Errors
/// [`Error::NotPermitted`], [`Error::ReadOnlyFileSystem`], [`Error::NotSupported`] for a symbolic link, and what the
/// walk finds.
pub async fn change_mode(context: &Context<'_>, at: At<'_>, permissions: u16, follow: Follow) -> Result<()> {
    apply_mode(context, &resolve(context, at, follow).await?, permissions).await
}

/// `fchmod`: as [`change_mode`] for a place that is known.
///
/// # Errors
/// As [`change_mode`].
pub async fn apply_mode(context: &Context<'_>, location: &Location, permissions: u16) -> Result<()> {
    location.mount.check_writable()?;
    if location.kind() == FileKind::SymbolicLink {
        return Err(Error::NotSupported);
    }
    let ownership = location.inode().ownership();
    if !context.credentials.is_owner(&ownership) {
        return Err(Error::NotPermitted);
    }
    let mut permissions = permissions & PERMISSION_BITS;
    if !context.credentials.in_group(ownership.gid) && !context.credentials.capable(Capabilities::FSETID) {
        permissions &= !SET_GROUP_ID;
    }
    let change = MetadataChange { permissions: Some(permissions), ..MetadataChange::default() };
    location.inode().set_metadata(&change).await
}

/// `fchownat`; `None` leaves an owner as it is.
///
/// # Errors
/// [`Error::NotPermitted`], [`Error::ReadOnlyFileSystem`], and what the walk finds.
pub async fn change_owner(
    context: &Context<'_>,
    at: At<'_>,
    uid: Option<u32>,
    gid: Option<u32>,
    follow: Follow,
) -> Result<()> {
    apply_owner(context, &resolve(context, at, follow).await?, uid, gid).await
}

/// `fchown`: as [`change_owner`] for a place that is known.
///
/// # Errors
/// As [`change_owner`].
pub async fn apply_owner(
    context: &Context<'_>,
    location: &Location,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<()> {
    location.mount.check_writable()?;
    let ownership = location.inode().ownership();
    let credentials = context.credentials;
    let may = credentials.capable(Capabilities::CHOWN);
    let owns = credentials.uid == ownership.uid;
    let may_give = uid.is_none_or(|uid| may || owns && uid == ownership.uid);
    let in_group = |gid| gid == ownership.gid || credentials.in_group(gid);
    if !may_give || !gid.is_none_or(|gid| may || owns && in_group(gid)) {
        return Err(Error::NotPermitted);
    }
    // Even the superuser's chown takes set-id bits from what can be executed.
    let executable = !matches!(location.kind(), FileKind::Directory);
    let permissions = executable.then(|| without_set_id(ownership.permissions)).flatten();
    let change = MetadataChange { uid, gid, permissions, ..MetadataChange::default() };
    location.inode().set_metadata(&change).await
}

/// What `utimensat` does with one of the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeChange {
    /// Leaves it (`UTIME_OMIT`).
    Keep,
    /// Sets it to the present (`UTIME_NOW`), which the caller has read from the clock. Nanoseconds since 1970.
    Now(i64),
    /// Sets it to this. Nanoseconds since 1970.
    Set(i64),
}

impl TimeChange {
    fn value(self) -> Option<i64> {
        match self {
            Self::Keep => None,
            Self::Now(time_ns) | Self::Set(time_ns) => Some(time_ns),
        }
    }
}

/// `utimensat`.
///
/// # Errors
/// [`Error::AccessDenied`] and [`Error::NotPermitted`] as POSIX tells them apart, [`Error::ReadOnlyFileSystem`], and
/// what the walk finds.
pub async fn change_times(
    context: &Context<'_>,
    at: At<'_>,
    accessed: TimeChange,
    modified: TimeChange,
    follow: Follow,
) -> Result<()> {
    apply_times(context, &resolve(context, at, follow).await?, accessed, modified).await
}

/// `futimens`: as [`change_times`] for a place that is known.
///
/// # Errors
/// As [`change_times`].
pub async fn apply_times(
    context: &Context<'_>,
    location: &Location,
    accessed: TimeChange,
    modified: TimeChange,
) -> Result<()> {
    location.mount.check_writable()?;
    match (accessed, modified) {
        (TimeChange::Keep, TimeChange::Keep) => return Ok(()),
        (TimeChange::Now(_), TimeChange::Now(_)) => {
            let ownership = location.inode().ownership();
            if !context.credentials.is_owner(&ownership) {
                context.credentials.check(Permission::WRITE, location.kind(), &ownership)?;
            }
        }
        _ if !context.credentials.is_owner(&location.inode().ownership()) => {
            return Err(Error::NotPermitted);
        }
        _ => {}
    }
    let (accessed_ns, modified_ns) = (accessed.value(), modified.value());
    let change = MetadataChange { accessed_ns, modified_ns, ..MetadataChange::default() };
    location.inode().set_metadata(&change).await
}

/// `truncate`.
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::InvalidArgument`] for what is no regular file, [`Error::AccessDenied`],
/// [`Error::ReadOnlyFileSystem`], [`Error::TextBusy`], [`Error::FileTooLarge`], and what the walk finds.
pub async fn truncate(context: &Context<'_>, at: At<'_>, size: u64) -> Result<Location> {
    let location = resolve(context, at, Follow::Yes).await?;
    match location.kind() {
        FileKind::Regular => {}
        FileKind::Directory => return Err(Error::IsDirectory),
        _ => return Err(Error::InvalidArgument),
    }
    if size > OFFSET_MAX {
        return Err(Error::InvalidArgument);
    }
    let inode = location.inode();
    let ownership = inode.ownership();
    context.credentials.check(Permission::WRITE, FileKind::Regular, &ownership)?;
    location.mount.check_writable()?;
    inode.begin_write()?;
    let keeps = context.credentials.capable(Capabilities::FSETID);
    let permissions = if keeps { None } else { without_set_id(ownership.permissions) };
    let change = MetadataChange { size: Some(size), permissions, ..MetadataChange::default() };
    let outcome = inode.set_metadata(&change).await;
    inode.end_write();
    outcome.map(|()| location)
}
