//! Opening by name: `openat`.

use super::{Context, check_directory_writable, new_ownership};
use crate::credentials::Permission;
use crate::dentry::Dentry;
use crate::flags::OpenFlags;
use crate::metadata::{FileKind, MetadataChange, NewNode, PERMISSION_BITS};
use crate::mount::{Location, MountFlags};
use crate::open_file::{OpenFile, Opener, without_set_id};
use crate::path::{self, At, Follow, Last, Walker};
use crate::{Capabilities, Error, Result};
use alloc::sync::Arc;

/// Opens what a path names, or makes it; `permissions` (before the umask) are for a file that is made.
///
/// # Errors
/// Those of `open(2)`.
pub async fn open(
    context: &Context<'_>,
    at: At<'_>,
    flags: OpenFlags,
    permissions: u16,
) -> Result<Arc<OpenFile>> {
    if flags.contains(OpenFlags::PATH) {
        return open_path(context, at, flags).await;
    }
    if flags.contains(OpenFlags::TEMPORARY) {
        return open_temporary(context, at, flags, permissions).await;
    }
    if flags.contains(OpenFlags::CREATE | OpenFlags::DIRECTORY) {
        return Err(Error::InvalidArgument);
    }
    if flags.contains(OpenFlags::CREATE) {
        return open_or_create(context, at, flags, permissions).await;
    }
    let follow = if flags.contains(OpenFlags::NO_FOLLOW) { Follow::No } else { Follow::Yes };
    finish(context, path::walk(context, at, follow).await?, flags).await
}

/// Opens a regular file or a directory as [`open`] does, if everything about it is at hand; `None`: await [`open`].
pub fn open_now(context: &Context<'_>, at: At<'_>, flags: OpenFlags) -> Option<Result<Arc<OpenFile>>> {
    let special = OpenFlags::PATH | OpenFlags::TEMPORARY | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    if flags.intersects(special) {
        return None;
    }
    let location = path::walk_now(context, at)?;
    if !matches!(location.kind(), FileKind::Regular | FileKind::Directory) {
        return None;
    }
    match check(context, &location, flags) {
        Ok(()) => OpenFile::open_now(location, flags, opener(context)),
        Err(error) => Some(Err(error)),
    }
}

/// `O_PATH`: only the place matters, not what is there.
async fn open_path(context: &Context<'_>, at: At<'_>, flags: OpenFlags) -> Result<Arc<OpenFile>> {
    let kept = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NO_FOLLOW | OpenFlags::CLOSE_ON_EXEC;
    let flags = flags & kept;
    let follow = if flags.contains(OpenFlags::NO_FOLLOW) { Follow::No } else { Follow::Yes };
    let location = path::walk(context, at, follow).await?;
    if flags.contains(OpenFlags::DIRECTORY) && location.kind() != FileKind::Directory {
        return Err(Error::NotDirectory);
    }
    OpenFile::open(location, flags, Opener::Ordinary).await
}

/// `O_TMPFILE`: a file without a name in the directory that the path names.
async fn open_temporary(
    context: &Context<'_>,
    at: At<'_>,
    flags: OpenFlags,
    permissions: u16,
) -> Result<Arc<OpenFile>> {
    if !flags.contains(OpenFlags::DIRECTORY) || !flags.writes() {
        return Err(Error::InvalidArgument);
    }
    let directory = super::resolve(context, at, Follow::Yes).await?;
    if directory.kind() != FileKind::Directory {
        return Err(Error::NotDirectory);
    }
    directory.mount.check_writable()?;
    check_directory_writable(context, &directory)?;
    let node = new_file(context, &directory, permissions);
    let inode = directory.inode().create_unnamed(node).await?;
    let mut label = alloc::vec::Vec::from(*b"/#");
    label.extend_from_slice(alloc::format!("{}", inode.number()).as_bytes());
    let location = Location { mount: directory.mount, dentry: Dentry::anonymous(inode, &label) };
    OpenFile::open(location, flags - OpenFlags::DIRECTORY, opener(context)).await
}

/// `O_CREAT`: the last component may be missing, also behind a symbolic link.
async fn open_or_create(
    context: &Context<'_>,
    at: At<'_>,
    flags: OpenFlags,
    permissions: u16,
) -> Result<Arc<OpenFile>> {
    let mut walker = Walker::new(context, at)?;
    let exclusive = flags.contains(OpenFlags::EXCLUSIVE);
    loop {
        let Last::Name(range) = walker.to_last().await? else {
            return finish_existing(context, walker.position, flags).await;
        };
        if walker.wants_directory {
            return Err(Error::IsDirectory);
        }
        let name = walker.name(&range);
        let dentry = match walker.position.dentry.child(name).await {
            Ok(dentry) => dentry,
            Err(Error::NotFound) => {
                match create(context, &walker.position, name, flags, permissions).await? {
                    Created::New(file) => return Ok(file),
                    Created::Existing(dentry) => dentry,
                }
            }
            Err(error) => return Err(error),
        };
        if exclusive {
            return Err(Error::AlreadyExists);
        }
        if dentry.kind() == FileKind::SymbolicLink && !flags.contains(OpenFlags::NO_FOLLOW) {
            walker.follow(&dentry).await?;
            continue;
        }
        walker.enter(dentry)?;
        return finish_existing(context, walker.position, flags).await;
    }
}

/// What happened when a missing file was to be made.
enum Created {
    New(Arc<OpenFile>),
    /// Somebody else made it in the meantime.
    Existing(Arc<Dentry>),
}

async fn create(
    context: &Context<'_>,
    directory: &Location,
    name: &[u8],
    flags: OpenFlags,
    permissions: u16,
) -> Result<Created> {
    let dentry = &directory.dentry;
    let names = dentry.lock_names().await?;
    match dentry.child(name).await {
        Ok(existing) => return Ok(Created::Existing(existing)),
        Err(Error::NotFound) => {}
        Err(error) => return Err(error),
    }
    directory.mount.check_writable()?;
    if dentry.is_detached() {
        return Err(Error::NotFound);
    }
    check_directory_writable(context, directory)?;
    let inode = dentry.inode().create(name, new_file(context, directory, permissions)).await?;
    let child = dentry.add_child(name, inode)?;
    drop(names);
    // Whoever makes a file has it open as asked, whatever its permissions are.
    let location = Location { mount: directory.mount.clone(), dentry: child };
    Ok(Created::New(OpenFile::open(location, flags, opener(context)).await?))
}

fn new_file(context: &Context<'_>, directory: &Location, permissions: u16) -> NewNode {
    let kind = FileKind::Regular;
    let ownership = new_ownership(context, &**directory.inode(), kind, permissions & PERMISSION_BITS);
    NewNode { kind, ownership, special_device: Default::default() }
}

fn opener(context: &Context<'_>) -> Opener {
    if context.credentials.capable(Capabilities::FSETID) { Opener::KeepsSetId } else { Opener::Ordinary }
}

/// Opens something that `O_CREAT` found in place.
async fn finish_existing(
    context: &Context<'_>,
    location: Location,
    flags: OpenFlags,
) -> Result<Arc<OpenFile>> {
    if flags.contains(OpenFlags::EXCLUSIVE) {
        return Err(Error::AlreadyExists);
    }
    if location.kind() == FileKind::Directory {
        return Err(Error::IsDirectory);
    }
    finish(context, location, flags).await
}

/// Checks what `open(2)` checks of a file that exists, cuts it if asked, and opens it.
async fn finish(context: &Context<'_>, location: Location, flags: OpenFlags) -> Result<Arc<OpenFile>> {
    check(context, &location, flags)?;
    if !flags.contains(OpenFlags::TRUNCATE) || location.kind() != FileKind::Regular {
        return OpenFile::open(location, flags, opener(context)).await;
    }
    let inode = location.inode().clone();
    // As a writer, so that what is being executed is not cut.
    inode.begin_write()?;
    let permissions = if opener(context) == Opener::KeepsSetId {
        None
    } else {
        without_set_id(inode.ownership().permissions)
    };
    let change = MetadataChange { size: Some(0), permissions, ..MetadataChange::default() };
    let opened = match inode.set_metadata(&change).await {
        Ok(()) => OpenFile::open(location, flags, opener(context)).await,
        Err(error) => Err(error),
    };
    inode.end_write();
    opened
}

fn check(context: &Context<'_>, location: &Location, flags: OpenFlags) -> Result<()> {
    let kind = location.kind();
    if flags.contains(OpenFlags::DIRECTORY) && kind != FileKind::Directory {
        return Err(Error::NotDirectory);
    }
    let wanted = flags.permission();
    match kind {
        FileKind::SymbolicLink => return Err(Error::TooManySymbolicLinks),
        FileKind::Directory if wanted.contains(Permission::WRITE) => {
            return Err(Error::IsDirectory);
        }
        FileKind::CharacterDevice | FileKind::BlockDevice
            if location.mount.flags().contains(MountFlags::NO_DEVICES) =>
        {
            return Err(Error::AccessDenied);
        }
        FileKind::Directory | FileKind::Regular | FileKind::Untyped if wanted.contains(Permission::WRITE) => {
            location.mount.check_writable()?;
        }
        _ => {}
    }
    let ownership = location.inode().ownership();
    context.credentials.check(wanted, kind, &ownership)?;
    if flags.contains(OpenFlags::NO_ACCESS_TIME) && !context.credentials.is_owner(&ownership) {
        return Err(Error::NotPermitted);
    }
    Ok(())
}
