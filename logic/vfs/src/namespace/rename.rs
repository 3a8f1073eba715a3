//! Moving names: `renameat2`.
//!
//! Two directories are locked at once, which could deadlock against another rename that locks them the other way
//! round, and "is this inside that" must stay true until the move is done. As in Linux, renames between directories
//! of one file system therefore run one at a time, and lock the upper directory first.

use super::{Context, Entry, check_directory_writable, check_removable};
use crate::dentry::{Dentry, NamesGuard};
use crate::inode::RenameMode;
use crate::metadata::FileKind;
use crate::path::{At, Last};
use crate::{Error, Result};
use alloc::sync::Arc;
use base::sync::{Mutex, MutexGuard};

/// Held by every rename from one directory to another.
static BETWEEN_DIRECTORIES: Mutex<()> = Mutex::new(());

/// Moves what `from` names to `to`.
///
/// # Errors
/// [`Error::CrossDevice`], [`Error::InvalidArgument`] for a directory into itself, [`Error::NotEmpty`],
/// [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::AlreadyExists`] under [`RenameMode::NoReplace`],
/// [`Error::Busy`] for `.`, `..`, roots and mount points, and what the walks find.
pub async fn rename(context: &Context<'_>, from: At<'_>, to: At<'_>, mode: RenameMode) -> Result<()> {
    let source = Entry::find(context, from, |_: Last| Error::Busy).await?;
    let special = move |_: Last| {
        if mode == RenameMode::NoReplace { Error::AlreadyExists } else { Error::Busy }
    };
    let target = Entry::find(context, to, special).await?;
    if !Arc::ptr_eq(&source.directory().mount, &target.directory().mount) {
        return Err(Error::CrossDevice);
    }
    source.directory().mount.check_writable()?;
    let locks = lock_both(&source.directory().dentry, &target.directory().dentry).await?;
    rename_locked(context, &source, &target, mode).await?;
    drop(locks);
    Ok(())
}

/// The locks of a rename; they go in the order of their fields.
struct Locks<'a> {
    _names: (NamesGuard<'a>, Option<NamesGuard<'a>>),
    _between: Option<MutexGuard<'static, ()>>,
}

async fn lock_both<'a>(one: &'a Arc<Dentry>, other: &'a Arc<Dentry>) -> Result<Locks<'a>> {
    if Arc::ptr_eq(one, other) {
        return Ok(Locks { _names: (one.lock_names().await?, None), _between: None });
    }
    let between = BETWEEN_DIRECTORIES.lock().await;
    let (upper, lower) = if other.is_ancestor_of(one) { (other, one) } else { (one, other) };
    let names = (upper.lock_names().await?, Some(lower.lock_names().await?));
    Ok(Locks { _names: names, _between: Some(between) })
}

async fn rename_locked(
    context: &Context<'_>,
    source: &Entry<'_>,
    target: &Entry<'_>,
    mode: RenameMode,
) -> Result<()> {
    let (old_directory, new_directory) = (source.directory(), target.directory());
    let moved = source.existing().await?;
    let replaced = match target.existing().await {
        Ok(dentry) => Some(dentry),
        Err(Error::NotFound) => None,
        Err(error) => return Err(error),
    };
    match (mode, &replaced) {
        (RenameMode::NoReplace, Some(_)) => return Err(Error::AlreadyExists),
        (RenameMode::Exchange, None) => return Err(Error::NotFound),
        _ => {}
    }
    check_slashes(source, target, &moved, replaced.as_ref(), mode)?;
    // Nothing goes into itself, and nothing replaces what it is in.
    if moved.is_ancestor_of(&new_directory.dentry) {
        return Err(Error::InvalidArgument);
    }
    if replaced.as_ref().is_some_and(|replaced| replaced.is_ancestor_of(&old_directory.dentry)) {
        return Err(if mode == RenameMode::Exchange { Error::InvalidArgument } else { Error::NotEmpty });
    }
    if let Some(replaced) = &replaced
        && (Arc::ptr_eq(&moved, replaced) || is_same_node(&moved, replaced))
    {
        // Two names of one file: nothing to do.
        return Ok(());
    }
    check_removable(context, old_directory, &moved)?;
    match &replaced {
        Some(replaced) => check_removable(context, new_directory, replaced)?,
        None if new_directory.dentry.is_detached() => return Err(Error::NotFound),
        None => check_directory_writable(context, new_directory)?,
    }
    if mode != RenameMode::Exchange {
        check_kinds(&moved, replaced.as_deref())?;
    }
    check_parent_change(context, source, target, &moved, replaced.as_deref(), mode)?;
    if moved.is_mount_point() || replaced.as_ref().is_some_and(|dentry| dentry.is_mount_point()) {
        return Err(Error::Busy);
    }
    // Nothing may be made in a directory while it is replaced.
    let emptied = match &replaced {
        Some(replaced) if replaced.kind() == FileKind::Directory && mode != RenameMode::Exchange => {
            Some(replaced.lock_names().await?)
        }
        _ => None,
    };
    let renaming = old_directory.dentry.begin_rename(&new_directory.dentry);
    old_directory.inode().rename(source.name(), new_directory.inode(), target.name(), mode).await?;
    if mode == RenameMode::Exchange {
        old_directory.dentry.exchange_children(source.name(), &new_directory.dentry, target.name());
    } else {
        old_directory.dentry.move_child(source.name(), &new_directory.dentry, target.name());
    }
    drop(renaming);
    drop(emptied);
    Ok(())
}

/// Two names (not two directories) of one inode.
fn is_same_node(one: &Arc<Dentry>, other: &Arc<Dentry>) -> bool {
    Arc::ptr_eq(one.inode(), other.inode())
}

fn check_slashes(
    source: &Entry<'_>,
    target: &Entry<'_>,
    moved: &Dentry,
    replaced: Option<&Arc<Dentry>>,
    mode: RenameMode,
) -> Result<()> {
    let moves_directory = moved.kind() == FileKind::Directory;
    if mode == RenameMode::Exchange {
        let other_directory = replaced.is_some_and(|dentry| dentry.kind() == FileKind::Directory);
        let wrong =
            source.wants_directory() && !moves_directory || target.wants_directory() && !other_directory;
        return if wrong { Err(Error::NotDirectory) } else { Ok(()) };
    }
    if !moves_directory && (source.wants_directory() || target.wants_directory()) {
        return Err(Error::NotDirectory);
    }
    Ok(())
}

fn check_kinds(moved: &Dentry, replaced: Option<&Dentry>) -> Result<()> {
    let Some(replaced) = replaced else {
        return Ok(());
    };
    match (moved.kind() == FileKind::Directory, replaced.kind() == FileKind::Directory) {
        (true, false) => Err(Error::NotDirectory),
        (false, true) => Err(Error::IsDirectory),
        _ => Ok(()),
    }
}

/// A directory that gets another parent has its `..` changed, which takes permission to write it.
fn check_parent_change(
    context: &Context<'_>,
    source: &Entry<'_>,
    target: &Entry<'_>,
    moved: &Dentry,
    replaced: Option<&Dentry>,
    mode: RenameMode,
) -> Result<()> {
    if Arc::ptr_eq(&source.directory().dentry, &target.directory().dentry) {
        return Ok(());
    }
    let other = replaced.filter(|_| mode == RenameMode::Exchange);
    for dentry in [Some(moved), other].into_iter().flatten() {
        if dentry.kind() == FileKind::Directory {
            let wanted = crate::credentials::Permission::WRITE;
            context.credentials.check(wanted, FileKind::Directory, &dentry.inode().ownership())?;
        }
    }
    Ok(())
}
