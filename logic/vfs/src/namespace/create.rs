//! Making names: `mkdir`, `mknod`, `symlink`, `link`.

use super::{Context, Empty, Entry, resolve_or_base};
use crate::inode::Inode;
use crate::metadata::{DeviceNumber, FileKind, NewNode, Ownership, PERMISSION_BITS};
use crate::path::{At, Follow};
use crate::{Capabilities, Error, Result};
use alloc::sync::Arc;

/// Makes a directory.
///
/// # Errors
/// [`Error::AlreadyExists`], [`Error::ReadOnlyFileSystem`], [`Error::AccessDenied`], [`Error::NoSpace`], and what the
/// walk finds.
pub async fn make_directory(context: &Context<'_>, at: At<'_>, permissions: u16) -> Result<()> {
    let entry = Entry::find(context, at, |_| Error::AlreadyExists).await?;
    let node = entry.new_node(context, FileKind::Directory, permissions & 0o1777);
    make(context, &entry, node).await?;
    Ok(())
}

/// Makes a regular file, FIFO, socket or device node.
///
/// # Errors
/// [`Error::NotPermitted`] for a device without the capability or for a directory; otherwise as [`make_directory`].
pub async fn make_node(
    context: &Context<'_>,
    at: At<'_>,
    kind: FileKind,
    permissions: u16,
    device: DeviceNumber,
) -> Result<()> {
    match kind {
        FileKind::Directory => return Err(Error::NotPermitted),
        FileKind::SymbolicLink => return Err(Error::InvalidArgument),
        _ => {}
    }
    let entry = Entry::find(context, at, |_| Error::AlreadyExists).await?;
    if entry.wants_directory() {
        entry.check_absent().await?;
        return Err(Error::NotFound);
    }
    let kind = if kind == FileKind::Untyped { FileKind::Regular } else { kind };
    let node = entry.new_node(context, kind, permissions & PERMISSION_BITS);
    make(context, &entry, NewNode { special_device: device, ..node }).await?;
    Ok(())
}

/// Makes the file of a socket, to which the inode is to be bound.
///
/// # Errors
/// As [`make_node`].
pub async fn make_socket(context: &Context<'_>, at: At<'_>, permissions: u16) -> Result<Arc<dyn Inode>> {
    let entry = Entry::find(context, at, |_| Error::AlreadyExists).await?;
    if entry.wants_directory() {
        entry.check_absent().await?;
        return Err(Error::NotFound);
    }
    let node = entry.new_node(context, FileKind::Socket, permissions & PERMISSION_BITS);
    make(context, &entry, node).await
}

async fn make(context: &Context<'_>, entry: &Entry<'_>, node: NewNode) -> Result<Arc<dyn Inode>> {
    let dentry = &entry.directory().dentry;
    let names = dentry.lock_names().await?;
    entry.check_absent().await?;
    entry.check_creatable(context)?;
    if node.kind.is_device() && !context.credentials.capable(Capabilities::MKNOD) {
        return Err(Error::NotPermitted);
    }
    let inode = dentry.inode().create(entry.name(), node).await?;
    dentry.add_child(entry.name(), inode.clone())?;
    drop(names);
    Ok(inode)
}

/// Makes a symbolic link with the text `target`.
///
/// # Errors
/// [`Error::NotFound`] for an empty text; otherwise as [`make_directory`].
pub async fn symlink(context: &Context<'_>, target: &[u8], at: At<'_>) -> Result<()> {
    if target.is_empty() {
        return Err(Error::NotFound);
    }
    if target.len() >= crate::name::PATH_MAX {
        return Err(Error::NameTooLong);
    }
    let entry = Entry::find(context, at, |_| Error::AlreadyExists).await?;
    let dentry = &entry.directory().dentry;
    let names = dentry.lock_names().await?;
    entry.check_absent().await?;
    if entry.wants_directory() {
        return Err(Error::NotFound);
    }
    entry.check_creatable(context)?;
    let gid = super::new_ownership(context, &**dentry.inode(), FileKind::SymbolicLink, 0o777).gid;
    let owner = Ownership { permissions: 0o777, uid: context.credentials.uid, gid };
    let inode = dentry.inode().symlink(entry.name(), target, owner).await?;
    dentry.add_child(entry.name(), inode)?;
    drop(names);
    Ok(())
}

/// Gives a file one more name (`linkat`).
///
/// # Errors
/// [`Error::CrossDevice`], [`Error::NotPermitted`] for a directory, [`Error::NotFound`] for a file that has no name
/// left; otherwise as [`make_directory`].
pub async fn link(
    context: &Context<'_>,
    from: At<'_>,
    follow: Follow,
    empty: Empty,
    to: At<'_>,
) -> Result<()> {
    let source = resolve_or_base(context, from, follow, empty).await?;
    let entry = Entry::find(context, to, |_| Error::AlreadyExists).await?;
    let dentry = &entry.directory().dentry;
    let names = dentry.lock_names().await?;
    entry.check_absent().await?;
    if entry.wants_directory() {
        return Err(Error::NotFound);
    }
    if !Arc::ptr_eq(&source.mount, &entry.directory().mount) {
        return Err(Error::CrossDevice);
    }
    entry.check_creatable(context)?;
    if source.kind() == FileKind::Directory {
        return Err(Error::NotPermitted);
    }
    dentry.inode().link(entry.name(), source.inode()).await?;
    dentry.add_child(entry.name(), source.inode().clone())?;
    drop(names);
    Ok(())
}
