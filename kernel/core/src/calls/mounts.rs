//! Calls that change the tree of mounts. All mounts are private: what one process mounts, all see, and nothing spreads.

use super::names::{self, Names, follow_unless};
use crate::file_systems::{self, MountRequest};
use crate::process;
use crate::thread::Caller;
use abi::linux::general as linux;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use vfs::mount::MountFlags;
use vfs::namespace;
use vfs::path::Follow;
use vfs::{At, Capabilities, FileKind, Location, Mount};

/// `mount(2)`'s way to say "these are flags": the upper half once held a magic number.
const MAGIC_MASK: u32 = 0xffff_0000;
const MAGIC: u32 = 0xc0ed_0000;

/// Text at `address` that a mount may have or not.
async fn text(caller: &Caller, address: usize) -> Result<Vec<u8>> {
    if address == 0 {
        return Ok(Vec::new());
    }
    match caller.space.read_c_string(VirtualAddress::new(address), PAGE_SIZE).await {
        Err(Error::NameTooLong) => Err(Error::InvalidArgument),
        outcome => outcome,
    }
}

async fn locate(caller: &Caller, names: &Names, path: &[u8], follow: Follow) -> Result<Location> {
    let base = names.base(caller, linux::AT_FDCWD as usize, path)?;
    namespace::resolve(&names.context(), At::new(&base, path), follow).await
}

/// `mount`
pub async fn mount(caller: &Caller, arguments: [usize; 5]) -> Result<usize> {
    let [source, target, kind, flags, options] = arguments;
    let kind_given = kind != 0;
    let kind = text(caller, kind).await?;
    let source = text(caller, source).await?;
    let options = text(caller, options).await?;
    let names = Names::of(caller);
    let target = names::path(caller, target).await?;
    let target = locate(caller, &names, &target, Follow::Yes).await?;
    names.require(Capabilities::SYS_ADMIN)?;
    let mut flags = flags as u32;
    if flags & MAGIC_MASK == MAGIC {
        flags &= !MAGIC_MASK;
    }
    let forbids = MountFlags::from_bits_truncate(flags);
    let spreading = linux::MS_SHARED | linux::MS_PRIVATE | linux::MS_SLAVE | linux::MS_UNBINDABLE;
    if flags & linux::MS_REMOUNT != 0 {
        remount(&target, forbids, &options, flags)?;
    } else if flags & linux::MS_BIND != 0 {
        let source = locate(caller, &names, &source, Follow::Yes).await?;
        bind(&source, target, flags & linux::MS_REC != 0)?;
    } else if flags & spreading != 0 {
        change_spreading(&target, flags & spreading)?;
    } else if flags & linux::MS_MOVE != 0 {
        let source = locate(caller, &names, &source, Follow::Yes).await?;
        move_mount(&source, target)?;
    } else if kind_given {
        let kind = file_systems::find(&kind)?;
        let request = MountRequest { source: &source, options: &options, flags: forbids };
        (kind.mount)(&request).await?.attach(target)?;
    } else {
        return Err(Error::InvalidArgument);
    }
    Ok(0)
}

fn remount(target: &Location, forbids: MountFlags, options: &[u8], flags: u32) -> Result<()> {
    // A file system's own options cannot be changed; see docs/status.md.
    let refused = !options.is_empty() && flags & linux::MS_BIND == 0;
    if !target.is_mount_root() || refused {
        return Err(Error::InvalidArgument);
    }
    target.mount.set_flags(forbids);
    Ok(())
}

/// Mounts are private. To make them so, or the followers of nobody, changes nothing; they cannot be shared.
fn change_spreading(target: &Location, kind: u32) -> Result<()> {
    let stays_private = matches!(kind, linux::MS_PRIVATE | linux::MS_SLAVE);
    if target.is_mount_root() && stays_private { Ok(()) } else { Err(Error::InvalidArgument) }
}

/// Shows what is at `source` at `target`, too; `deeply`, with what is mounted below it.
fn bind(source: &Location, target: Location, deeply: bool) -> Result<()> {
    let top = Mount::bind(source);
    // The copies of what is below are attached first, so that the whole appears at once.
    if deeply {
        copy_below(&source.mount, source, &top)?;
    }
    top.attach(target)
}

/// Attaches copies of what sits on `original`, at or below `from`, to its copy.
fn copy_below(original: &Arc<Mount>, from: &Location, copy: &Arc<Mount>) -> Result<()> {
    let mut pairs = alloc::vec![(original.clone(), copy.clone())];
    while let Some((original, copy)) = pairs.pop() {
        for child in original.children() {
            let Some(point) = child.point() else { continue };
            // Below the top of the copy, or it cannot be seen through it.
            let seen = !Arc::ptr_eq(&original, &from.mount) || is_below(&point, from);
            if !seen {
                continue;
            }
            let child_copy = Mount::bind(&Location { mount: child.clone(), dentry: child.root().clone() });
            child_copy.attach(Location { mount: copy.clone(), dentry: point.dentry })?;
            pairs.push((child, child_copy));
        }
    }
    Ok(())
}

fn is_below(place: &Location, top: &Location) -> bool {
    let mut here = Some(place.dentry.clone());
    while let Some(dentry) = here {
        if Arc::ptr_eq(&dentry, &top.dentry) {
            return true;
        }
        here = dentry.parent();
    }
    false
}

fn move_mount(source: &Location, target: Location) -> Result<()> {
    if !source.is_mount_root() {
        return Err(Error::InvalidArgument);
    }
    source.mount.move_to(target)
}

/// `umount2`
pub async fn umount2(caller: &Caller, target: usize, flags: usize) -> Result<usize> {
    /// `UMOUNT_NOFOLLOW`
    const NO_FOLLOW: u32 = 8;
    /// `MNT_FORCE`, `MNT_DETACH`, `MNT_EXPIRE`
    const KNOWN: u32 = 1 | DETACH | EXPIRE | NO_FOLLOW;
    const DETACH: u32 = 2;
    const EXPIRE: u32 = 4;
    let flags = names::check_flags(flags, KNOWN)?;
    // That a mount expires when nobody has used it between two calls is not implemented; see docs/status.md.
    if flags & EXPIRE != 0 {
        return Err(Error::InvalidArgument);
    }
    let path = names::path(caller, target).await?;
    let names = Names::of(caller);
    names.require(Capabilities::SYS_ADMIN)?;
    let follow = follow_unless(if flags & NO_FOLLOW != 0 { linux::AT_SYMLINK_NOFOLLOW } else { 0 });
    let target = locate(caller, &names, &path, follow).await?;
    if !target.is_mount_root() || target.is_same(&names.place.root) {
        return Err(Error::InvalidArgument);
    }
    let Location { mount, dentry } = target;
    drop(dentry);
    if flags & DETACH != 0 {
        mount.detach()?;
    } else {
        // What is held here of the mount, and nothing else.
        mount.unmount(1)?;
    }
    Ok(0)
}

/// `pivot_root`: the mount at `new_root` becomes the root of everybody whose root the present one is, which goes to
/// `put_old`.
pub async fn pivot_root(caller: &Caller, new_root: usize, put_old: usize) -> Result<usize> {
    let names = Names::of(caller);
    names.require(Capabilities::SYS_ADMIN)?;
    let new_path = names::path(caller, new_root).await?;
    let old_path = names::path(caller, put_old).await?;
    let new = locate(caller, &names, &new_path, Follow::Yes).await?;
    let put_old = locate(caller, &names, &old_path, Follow::Yes).await?;
    if new.kind() != FileKind::Directory || put_old.kind() != FileKind::Directory {
        return Err(Error::NotDirectory);
    }
    let old = names.place.root.clone();
    if Arc::ptr_eq(&new.mount, &old.mount) || Arc::ptr_eq(&put_old.mount, &old.mount) {
        return Err(Error::Busy);
    }
    // The first root sits on nothing and cannot be moved: a root image uses `mount --move` and `chroot`, as on Linux.
    let point = old.mount.point().ok_or(Error::InvalidArgument)?;
    if !new.is_mount_root() || !old.is_mount_root() || !reaches(&put_old, &new) {
        return Err(Error::InvalidArgument);
    }
    new.mount.detach()?;
    old.mount.detach()?;
    old.mount.attach(put_old)?;
    new.mount.attach(point)?;
    move_processes(&old, &new);
    Ok(0)
}

/// Whether `place` is `top` or below it, across mounts.
fn reaches(place: &Location, top: &Location) -> bool {
    let mut here = place.clone();
    loop {
        if Arc::ptr_eq(&here.mount, &top.mount) {
            return is_below(&here, top);
        }
        match here.mount.point() {
            Some(point) => here = point,
            None => return false,
        }
    }
}

/// Whoever has their root or their current directory at the old root gets the new one.
fn move_processes(old: &Location, new: &Location) {
    let places: Vec<_> = {
        let table = process::TABLE.lock();
        table.processes.values().map(|process| process.place.lock().clone()).collect()
    };
    for place in places {
        let mut former = Vec::new();
        let mut place = place.lock();
        if place.root.is_same(old) {
            former.push(core::mem::replace(&mut place.root, new.clone()));
        }
        if place.current.is_same(old) {
            former.push(core::mem::replace(&mut place.current, new.clone()));
        }
        drop(place);
        drop(former);
    }
}
