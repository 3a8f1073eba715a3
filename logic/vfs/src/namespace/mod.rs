//! The operations on names: what the system calls with a path in them do.
//!
//! Each takes a [`Context`] (who asks, and from where absolute paths start) and an [`At`] for each path. Errors are
//! those that Linux gives, in the order in which Linux finds them.

mod attributes;
mod create;
mod open;
mod remove;
mod rename;
#[cfg(test)]
mod tests;

pub use attributes::{
    TimeChange, access, change_mode, change_owner, change_times, metadata, statistics, truncate,
};
pub use attributes::{apply_mode, apply_owner, apply_times};
pub use create::{link, make_directory, make_node, make_socket, symlink};
pub use open::{open, open_now};
pub use remove::{remove_directory, unlink};
pub use rename::rename;

use crate::credentials::{Credentials, Permission};
use crate::dentry::Dentry;
use crate::inode::Inode;
use crate::metadata::{FileKind, NewNode, Ownership, SET_GROUP_ID, STICKY};
use crate::mount::Location;
use crate::path::{self, At, Follow, Last, Walker};
use crate::{Capabilities, Error, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Who asks, and what of the tree they see.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where absolute paths start, and what `..` does not leave.
    pub root: &'a Location,
    /// On whose behalf.
    pub credentials: &'a Credentials,
    /// Permission bits that new files do not get.
    pub umask: u16,
}

/// What a path names: `AT_EMPTY_PATH` allows the base itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// An empty path is an error.
    Refused,
    /// An empty path names the base.
    NamesBase,
}

/// The place that a path names.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::AccessDenied`], [`Error::TooManySymbolicLinks`],
/// [`Error::NameTooLong`], and what the file systems find.
pub async fn resolve(context: &Context<'_>, at: At<'_>, follow: Follow) -> Result<Location> {
    path::walk(context, at, follow).await
}

/// As [`resolve`], with an empty path allowed or not.
///
/// # Errors
/// As [`resolve`].
pub async fn resolve_or_base(
    context: &Context<'_>,
    at: At<'_>,
    follow: Follow,
    empty: Empty,
) -> Result<Location> {
    if at.path.is_empty() && empty == Empty::NamesBase {
        return Ok(at.base.clone());
    }
    resolve(context, at, follow).await
}

/// The text of the symbolic link that a path names (`readlinkat`; an empty path names the base).
///
/// # Errors
/// [`Error::InvalidArgument`] when it is no link, and as [`resolve`].
pub async fn read_link(context: &Context<'_>, at: At<'_>) -> Result<Vec<u8>> {
    let empty = at.path.is_empty();
    let location = resolve_or_base(context, at, Follow::No, Empty::NamesBase).await?;
    if location.kind() != FileKind::SymbolicLink {
        return Err(if empty { Error::NotFound } else { Error::InvalidArgument });
    }
    location.inode().link_text(context.root).await
}

/// Checks that entries of a directory may be made and removed.
fn check_directory_writable(context: &Context<'_>, directory: &Location) -> Result<()> {
    let ownership = directory.inode().ownership();
    context.credentials.check(Permission::WRITE | Permission::EXECUTE, FileKind::Directory, &ownership)
}

/// Checks that `victim` may be removed from (or replaced in) a directory: write permission and the sticky bit.
fn check_removable(context: &Context<'_>, directory: &Location, victim: &Dentry) -> Result<()> {
    check_directory_writable(context, directory)?;
    let above = directory.inode().ownership();
    let owner = victim.inode().ownership().uid;
    let uid = context.credentials.uid;
    let held = above.permissions & STICKY != 0
        && uid != owner
        && uid != above.uid
        && !context.credentials.capable(Capabilities::FOWNER);
    if held { Err(Error::NotPermitted) } else { Ok(()) }
}

/// Who owns a new node of this kind in a directory, and what it permits.
fn new_ownership(
    context: &Context<'_>,
    directory: &dyn Inode,
    kind: FileKind,
    permissions: u16,
) -> Ownership {
    let above = directory.ownership();
    let mut permissions = permissions & !context.umask;
    let mut gid = context.credentials.gid;
    if above.permissions & SET_GROUP_ID != 0 {
        gid = above.gid;
        if kind == FileKind::Directory {
            permissions |= SET_GROUP_ID;
        } else if permissions & (SET_GROUP_ID | 0o010) == SET_GROUP_ID | 0o010
            && !context.credentials.in_group(gid)
            && !context.credentials.capable(Capabilities::FSETID)
        {
            permissions &= !SET_GROUP_ID;
        }
    }
    Ownership { permissions, uid: context.credentials.uid, gid }
}

/// A walk that has stopped before a last component that is to be changed.
struct Entry<'a> {
    walker: Walker<'a>,
    range: core::ops::Range<usize>,
}

impl<'a> Entry<'a> {
    /// Walks to the last component; `special` is the error when it is `.`, `..` or `/`.
    async fn find(context: &'a Context<'a>, at: At<'a>, special: impl FnOnce(Last) -> Error) -> Result<Self> {
        let mut walker = Walker::new(context, at)?;
        match walker.to_last().await? {
            Last::Name(range) => Ok(Self { walker, range }),
            other => Err(special(other)),
        }
    }

    fn directory(&self) -> &Location {
        &self.walker.position
    }

    fn name(&self) -> &[u8] {
        self.walker.name(&self.range)
    }

    fn wants_directory(&self) -> bool {
        self.walker.wants_directory
    }

    /// The node that the name stands for now.
    async fn existing(&self) -> Result<Arc<Dentry>> {
        self.directory().dentry.child(self.name()).await
    }

    /// Checks that nothing has this name.
    async fn check_absent(&self) -> Result<()> {
        match self.existing().await {
            Ok(_) => Err(Error::AlreadyExists),
            Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Checks that a node may be made here.
    fn check_creatable(&self, context: &Context<'_>) -> Result<()> {
        let directory = self.directory();
        directory.mount.check_writable()?;
        if directory.dentry.is_detached() {
            return Err(Error::NotFound);
        }
        check_directory_writable(context, directory)
    }

    fn new_node(&self, context: &Context<'_>, kind: FileKind, permissions: u16) -> NewNode {
        let ownership = new_ownership(context, &**self.directory().inode(), kind, permissions);
        NewNode { kind, ownership, special_device: Default::default() }
    }
}
