//! Removing names: `unlink`, `rmdir`.

use super::{Context, Entry, check_removable};
use crate::metadata::FileKind;
use crate::path::{At, Last};
use crate::{Error, Result};

/// Removes the name of something that is no directory.
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::NotDirectory`] when a slash follows the name of a file, [`Error::NotFound`],
/// [`Error::NotPermitted`] (sticky directory), [`Error::Busy`] for a mount point, and what the walk finds.
pub async fn unlink(context: &Context<'_>, at: At<'_>) -> Result<()> {
    let entry = Entry::find(context, at, |_| Error::IsDirectory).await?;
    let directory = entry.directory();
    directory.mount.check_writable()?;
    let names = directory.dentry.lock_names().await?;
    let victim = entry.existing().await?;
    let is_directory = victim.kind() == FileKind::Directory;
    if entry.wants_directory() {
        return Err(if is_directory { Error::IsDirectory } else { Error::NotDirectory });
    }
    check_removable(context, directory, &victim)?;
    if is_directory {
        return Err(Error::IsDirectory);
    }
    if victim.is_mount_point() {
        return Err(Error::Busy);
    }
    directory.inode().unlink(entry.name()).await?;
    directory.dentry.remove_child(entry.name());
    drop(names);
    Ok(())
}

/// Removes an empty directory.
///
/// # Errors
/// [`Error::NotEmpty`], [`Error::NotDirectory`], [`Error::InvalidArgument`] for `.`, [`Error::Busy`] for a root or
/// mount point; otherwise as [`unlink`].
pub async fn remove_directory(context: &Context<'_>, at: At<'_>) -> Result<()> {
    let special = |last| match last {
        Last::Parent => Error::NotEmpty,
        _ if at.path.iter().all(|byte| *byte == b'/') => Error::Busy,
        _ => Error::InvalidArgument,
    };
    let entry = Entry::find(context, at, special).await?;
    let directory = entry.directory();
    directory.mount.check_writable()?;
    let names = directory.dentry.lock_names().await?;
    let victim = entry.existing().await?;
    check_removable(context, directory, &victim)?;
    if victim.kind() != FileKind::Directory {
        return Err(Error::NotDirectory);
    }
    if victim.is_mount_point() {
        return Err(Error::Busy);
    }
    // Nothing may be made in it while it goes.
    let inner_names = victim.lock_names().await?;
    directory.inode().rmdir(entry.name()).await?;
    directory.dentry.remove_child(entry.name());
    drop((inner_names, names));
    Ok(())
}
