//! Mounts: how the trees of several file systems become one.
//!
//! A mount shows a file system, from some directory of it on. It sits on a place of its parent mount; a walk that
//! reaches that place goes on at the mount's root. Mounts on one place stack: each sits on the root of the one before.

use crate::dentry::{Dentry, Tree};
use crate::inode::{FileSystem, Inode};
use crate::metadata::FileKind;
use crate::name::Name;
use crate::{Error, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::sync::SpinLock;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering};

bitflags! {
    /// What a mount forbids or leaves out; the bits are those of `mount(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// Nothing may be changed through it.
        const READ_ONLY = 1;
        /// Set-id bits have no effect.
        const NO_SET_ID = 2;
        /// Devices cannot be opened.
        const NO_DEVICES = 4;
        /// Nothing can be executed.
        const NO_EXECUTE = 8;
        /// The time of access is not stamped.
        const NO_ACCESS_TIME = 1024;
        /// The time of access of directories is not stamped.
        const NO_DIRECTORY_ACCESS_TIME = 2048;
        /// The time of access is stamped only when it is behind the time of change; always so.
        const RELATIVE_ACCESS_TIME = 1 << 21;
    }
}

/// A place in the tree that a process sees: a name, and the mount through which it is seen.
#[derive(Clone)]
pub struct Location {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name in the mount's file system.
    pub dentry: Arc<Dentry>,
}

/// A file system shown at a place.
pub struct Mount {
    id: u32,
    file_system: Arc<dyn FileSystem>,
    /// What the root belongs to; shared by the binds of one mount.
    tree: Arc<Tree>,
    root: Arc<Dentry>,
    source: Name,
    flags: AtomicU32,
    /// Guards what sits on this mount.
    children: SpinLock<Vec<Arc<Mount>>>,
    /// On what this mount sits; `None` for a root and for what was unmounted.
    point: SpinLock<Option<Location>>,
}

/// What a mount shows: a file system, from `root` on.
struct Shown {
    file_system: Arc<dyn FileSystem>,
    tree: Arc<Tree>,
    root: Arc<Dentry>,
}

impl Mount {
    fn build(shown: Shown, source: &[u8], flags: MountFlags) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        let Shown { file_system, tree, root } = shown;
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            file_system,
            tree,
            root,
            source: Name::from_slice(source),
            flags: AtomicU32::new(flags.bits()),
            children: SpinLock::new(Vec::new()),
            point: SpinLock::new(None),
        })
    }

    /// A mount of a whole file system that sits nowhere yet: a root, or one for [`Mount::attach`].
    /// `source` is what /proc/mounts shows first. A file system that is mounted already is mounted again by
    /// [`Mount::bind`], so that both mounts share its names.
    pub fn new(file_system: Arc<dyn FileSystem>, source: &[u8], flags: MountFlags) -> Arc<Self> {
        let tree = Tree::new(file_system.root());
        let root = tree.root().clone();
        Self::build(Shown { file_system, tree, root }, source, flags)
    }

    /// A mount that shows what is at `place` a second time (`MS_BIND`), sitting nowhere yet.
    pub fn bind(place: &Location) -> Arc<Self> {
        let Mount { file_system, tree, source, .. } = &*place.mount;
        let shown =
            Shown { file_system: file_system.clone(), tree: tree.clone(), root: place.dentry.clone() };
        Self::build(shown, source, place.mount.flags())
    }

    /// A number that tells it from all others.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it shows.
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.file_system
    }

    /// The top of what it shows.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// What /proc/mounts shows first.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// What it forbids.
    #[inline]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Changes what it forbids (`MS_REMOUNT`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Checks that something may be changed through it.
    ///
    /// # Errors
    /// [`Error::ReadOnlyFileSystem`].
    #[inline]
    pub fn check_writable(&self) -> Result<()> {
        if self.flags().contains(MountFlags::READ_ONLY) { Err(Error::ReadOnlyFileSystem) } else { Ok(()) }
    }

    /// On what it sits.
    pub fn point(&self) -> Option<Location> {
        self.point.lock().clone()
    }

    /// What sits on it.
    pub fn children(&self) -> Vec<Arc<Mount>> {
        self.children.lock().clone()
    }

    /// The mount that sits on this dentry of this mount.
    fn child_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        let children = self.children.lock();
        let sits_there = |child: &&Arc<Mount>| {
            child.point.lock().as_ref().is_some_and(|point| Arc::ptr_eq(&point.dentry, dentry))
        };
        children.iter().find(sits_there).cloned()
    }

    /// The top of this mount, or of what is mounted on it.
    pub fn top(self: &Arc<Self>) -> Location {
        Location { mount: self.clone(), dentry: self.root.clone() }.cross_mounts()
    }

    /// Puts this mount, which sits nowhere, on `place` (on top of what is mounted there).
    ///
    /// # Errors
    /// [`Error::NotDirectory`] unless both are directories or neither is; [`Error::NotFound`] when the place was
    /// removed; [`Error::Busy`] when this mount sits somewhere.
    pub fn attach(self: &Arc<Self>, place: Location) -> Result<()> {
        let place = place.cross_mounts();
        if (place.dentry.kind() == FileKind::Directory) != (self.root.kind() == FileKind::Directory) {
            return Err(Error::NotDirectory);
        }
        if place.dentry.is_detached() {
            return Err(Error::NotFound);
        }
        let parent = place.mount.clone();
        {
            let mut children = parent.children.lock();
            let mut point = self.point.lock();
            if point.is_some() {
                return Err(Error::Busy);
            }
            place.dentry.count_mount();
            *point = Some(place);
            children.push(self.clone());
        }
        Ok(())
    }

    /// Takes it from where it sits, whoever uses it (`MNT_DETACH`); who is inside stays there.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it sits nowhere.
    pub fn detach(self: &Arc<Self>) -> Result<()> {
        self.take_off(|_| true)
    }

    /// Takes it from where it sits if nobody uses it. `held` is how many references to it the caller has.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::InvalidArgument`] when it sits nowhere.
    pub fn unmount(self: &Arc<Self>, held: usize) -> Result<()> {
        // One more reference is the parent's. New ones come only from that (under its lock) or from existing ones.
        self.take_off(|mount| Arc::strong_count(mount) <= held + 1 && mount.children.lock().is_empty())
    }

    fn take_off(self: &Arc<Self>, allowed: impl FnOnce(&Arc<Self>) -> bool) -> Result<()> {
        let point = self.point().ok_or(Error::InvalidArgument)?;
        let removed = {
            let mut children = point.mount.children.lock();
            let position =
                children.iter().position(|child| Arc::ptr_eq(child, self)).ok_or(Error::InvalidArgument)?;
            if !allowed(self) {
                return Err(Error::Busy);
            }
            *self.point.lock() = None;
            children.remove(position)
        };
        drop(removed);
        point.dentry.uncount_mount();
        // `self.point` held a reference to the parent; it went with the assignment above.
        Ok(())
    }

    /// Moves it to another place (`MS_MOVE`).
    ///
    /// # Errors
    /// As [`Mount::attach`]; [`Error::TooManySymbolicLinks`] when the place is inside this mount (as on Linux).
    pub fn move_to(self: &Arc<Self>, place: Location) -> Result<()> {
        let mut above = Some(place.mount.clone());
        while let Some(mount) = above {
            if Arc::ptr_eq(&mount, self) {
                return Err(Error::TooManySymbolicLinks);
            }
            above = mount.point().map(|point| point.mount);
        }
        let former = self.point().ok_or(Error::InvalidArgument)?;
        self.detach()?;
        self.attach(place).inspect_err(|_| {
            // The former place was fit a moment ago; should it be gone by now, the mount stays detached.
            let _ = self.attach(former);
        })
    }

    /// This mount and all that sits on it, each before what sits on it.
    pub fn subtree(self: &Arc<Self>) -> Vec<Arc<Mount>> {
        let mut all = alloc::vec![self.clone()];
        let mut next = 0;
        while next < all.len() {
            let children = all[next].children();
            all.extend(children);
            next += 1;
        }
        all
    }
}

impl Location {
    /// The inode that is there.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// What kind of thing is there.
    #[inline]
    pub fn kind(&self) -> FileKind {
        self.dentry.kind()
    }

    /// Whether both are the same place.
    pub fn is_same(&self, other: &Location) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// Whether it is the top of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, self.mount.root())
    }

    /// The top of what is mounted here, or the place itself.
    #[inline]
    pub fn cross_mounts(mut self) -> Self {
        while self.dentry.is_mount_point() {
            let Some(mount) = self.mount.child_at(&self.dentry) else {
                break;
            };
            self.dentry = mount.root.clone();
            self.mount = mount;
        }
        self
    }

    /// The directory above, as `..` finds it: never above `root`, and out of mounts.
    pub fn parent(&self, root: &Location) -> Location {
        let mut here = self.clone();
        loop {
            if here.is_same(root) {
                return here;
            }
            if !here.is_mount_root() {
                let dentry = here.dentry.parent().unwrap_or_else(|| here.dentry.clone());
                return Location { mount: here.mount, dentry }.cross_mounts();
            }
            match here.mount.point() {
                Some(point) => here = point,
                None => return here,
            }
        }
    }

    /// The path from the top of everything to here, whatever anybody's root is.
    pub fn global_path(&self) -> Vec<u8> {
        let mut top = self.mount.clone();
        while let Some(point) = top.point() {
            top = point.mount;
        }
        self.absolute_path(&Location { dentry: top.root.clone(), mount: top })
    }

    /// The path from `root` to here, as `getcwd` and /proc show it: `(unreachable)` in front when it does not lead
    /// to `root`, ` (deleted)` behind when the name is gone; the bare label for what is anonymous.
    pub fn absolute_path(&self, root: &Location) -> Vec<u8> {
        let mut names: Vec<Name> = Vec::new();
        let mut here = self.clone();
        let deleted = here.dentry.is_detached();
        let reached = loop {
            if here.is_same(root) {
                break true;
            }
            if here.is_mount_root() {
                match here.mount.point() {
                    Some(point) => here = point,
                    None => break false,
                }
                continue;
            }
            let (parent, name) = here.dentry.parent_and_name();
            match parent {
                Some(parent) => {
                    names.push(name);
                    here.dentry = parent;
                }
                // Anonymous: its label is all there is.
                None => return name.to_vec(),
            }
        };
        let mut path = Vec::new();
        if !reached {
            path.extend_from_slice(b"(unreachable)");
        }
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if names.is_empty() {
            path.push(b'/');
        }
        if deleted {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }
}
