//! The tree of names that are in use or were lately, so that a path is walked without asking file systems.
//!
//! A dentry joins a name to an inode. Children hold their parent; a parent's table holds its children, so that a
//! cached name stays until it is unlinked or [`Dentry::prune`] drops it. A volatile directory's table
//! ([`CachePolicy::Volatile`]) holds them weakly, and its file system is asked at every lookup.
//!
//! Locks, in the order in which they are taken: a directory's `modification` lock (asynchronous; held over a change
//! of its names including the file system's part), then one table or one place (spin locks, never two at a time).
//! A lookup takes no modification lock: it remembers the table's generation, asks the file system, and caches the
//! answer only if no name of the directory has changed meanwhile.

use crate::inode::{CachePolicy, Inode};
use crate::metadata::FileKind;
use crate::name::{self, Name};
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::sync::{Mutex, SpinLock};
use core::sync::atomic::{AtomicU32, Ordering};
use hashbrown::HashTable;

/// A name that is cached, and the inode that it names.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    kind: FileKind,
    /// How many mounts sit on it, in all namespaces; a walk looks further only if there are any.
    mounts: AtomicU32,
    place: SpinLock<Place>,
    directory: Option<Box<DirectoryCache>>,
}

/// Where a dentry hangs.
struct Place {
    parent: Option<Arc<Dentry>>,
    name: Name,
    /// Its name was removed, or it never had one.
    detached: bool,
}

/// What only directories have.
struct DirectoryCache {
    policy: CachePolicy,
    table: SpinLock<Table>,
    modification: Mutex<()>,
}

struct Table {
    /// Counts the changes of names, so that a lookup notices one that happened beside it.
    generation: u64,
    /// A rename is under way: a lookup that the cache cannot answer waits for it.
    renaming: bool,
    children: HashTable<Child>,
}

struct Child {
    hash: u64,
    name: Name,
    dentry: Reference,
}

enum Reference {
    Strong(Arc<Dentry>),
    Weak(Weak<Dentry>),
}

impl Reference {
    fn get(&self) -> Option<Arc<Dentry>> {
        match self {
            Self::Strong(dentry) => Some(dentry.clone()),
            Self::Weak(dentry) => dentry.upgrade(),
        }
    }
}

impl Table {
    fn find(&self, name: &[u8], hash: u64) -> Option<&Child> {
        self.children.find(hash, |child| *child.name == *name)
    }

    fn remove(&mut self, name: &[u8]) -> Option<Child> {
        let entry = self.children.find_entry(name::hash(name), |child| *child.name == *name).ok()?;
        Some(entry.remove().0)
    }

    fn insert(&mut self, name: Name, dentry: Reference) {
        let hash = name::hash(&name);
        self.children.insert_unique(hash, Child { hash, name, dentry }, |child| child.hash);
    }
}

/// Holds a directory's names still; see [`Dentry::lock_names`].
pub type NamesGuard<'a> = base::sync::MutexGuard<'a, ()>;

impl Dentry {
    fn new(inode: Arc<dyn Inode>, parent: Option<Arc<Dentry>>, name: Name, detached: bool) -> Arc<Self> {
        let kind = inode.kind();
        let directory = (kind == FileKind::Directory).then(|| {
            Box::new(DirectoryCache {
                policy: inode.cache_policy(),
                table: SpinLock::new(Table { generation: 0, renaming: false, children: HashTable::new() }),
                modification: Mutex::new(()),
            })
        });
        let place = SpinLock::new(Place { parent, name, detached });
        Arc::new(Self { inode, kind, mounts: AtomicU32::new(0), place, directory })
    }

    /// The top of a file system.
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Self> {
        Self::new(inode, None, Name::new(), false)
    }

    /// Something without a place in any tree: a pipe, a socket, a file without a name. `label` is what /proc shows.
    pub fn anonymous(inode: Arc<dyn Inode>, label: &[u8]) -> Arc<Self> {
        Self::new(inode, None, Name::from_slice(label), true)
    }

    /// What it names.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// What kind of thing it names.
    #[inline]
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// The directory that it is in; `None` at the top of a file system and for what is anonymous.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Its parent and its name there.
    pub fn parent_and_name(&self) -> (Option<Arc<Dentry>>, Name) {
        let place = self.place.lock();
        (place.parent.clone(), place.name.clone())
    }

    /// Whether its name was removed, or it never had one.
    pub fn is_detached(&self) -> bool {
        self.place.lock().detached
    }

    /// Whether something is mounted on it somewhere.
    #[inline]
    pub fn is_mount_point(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }

    pub(crate) fn count_mount(&self) {
        self.mounts.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn uncount_mount(&self) {
        self.mounts.fetch_sub(1, Ordering::Release);
    }

    /// Whether `self` is `other` or lies above it in the same file system.
    pub fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut current = Some(other.clone());
        while let Some(dentry) = current {
            if Arc::ptr_eq(self, &dentry) {
                return true;
            }
            current = dentry.parent();
        }
        false
    }

    fn cache(&self) -> Result<&DirectoryCache> {
        self.directory.as_deref().ok_or(Error::NotDirectory)
    }

    /// Keeps other changes of this directory's names away until the guard is dropped.
    ///
    /// # Errors
    /// [`Error::NotDirectory`].
    pub async fn lock_names(&self) -> Result<NamesGuard<'_>> {
        let modification = &self.cache()?.modification;
        Ok(match modification.try_lock() {
            Some(guard) => guard,
            None => modification.lock().await,
        })
    }

    /// The child with this name, if the cache may answer and knows it.
    #[inline]
    pub fn cached_child(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        let cache = self.directory.as_deref()?;
        if cache.policy == CachePolicy::Volatile {
            return None;
        }
        let hash = name::hash(name);
        cache.table.lock().find(name, hash)?.dentry.get()
    }

    /// The child with this name, from the cache or from the file system.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], and what the file system finds.
    pub async fn child(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if let Some(child) = self.cached_child(name) {
            return Ok(child);
        }
        self.look_up(name).await
    }

    async fn look_up(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        let cache = self.cache()?;
        loop {
            let (generation, renaming) = {
                let table = cache.table.lock();
                (table.generation, table.renaming)
            };
            if renaming {
                // The file system may have a name already whose dentry is still elsewhere: two dentries of one
                // directory would come of it.
                drop(cache.modification.lock().await);
                continue;
            }
            let inode = self.inode.lookup(name).await?;
            if let Some(dentry) = self.settle(cache, generation, name, inode) {
                return Ok(dentry);
            }
        }
    }

    /// Caches what a lookup found; `None` when names changed beside it and it must ask again.
    fn settle(
        self: &Arc<Self>,
        cache: &DirectoryCache,
        generation: u64,
        name: &[u8],
        inode: Arc<dyn Inode>,
    ) -> Option<Arc<Dentry>> {
        // Made before the lock is taken, as it allocates; and dropped behind it, as a drop may do anything.
        let fresh = Dentry::new(inode, Some(self.clone()), Name::from_slice(name), false);
        let mut stale = None;
        let mut table = cache.table.lock();
        if table.generation != generation {
            drop(table);
            return None;
        }
        let known = table.find(name, name::hash(name)).and_then(|child| child.dentry.get());
        let chosen = match known {
            Some(known)
                if cache.policy == CachePolicy::Stable || known.inode.number() == fresh.inode.number() =>
            {
                known
            }
            other => {
                stale = Some((other, table.remove(name)));
                let reference = match cache.policy {
                    CachePolicy::Stable => Reference::Strong(fresh.clone()),
                    CachePolicy::Volatile => Reference::Weak(Arc::downgrade(&fresh)),
                };
                table.insert(Name::from_slice(name), reference);
                fresh.clone()
            }
        };
        drop(table);
        drop(stale);
        Some(chosen)
    }

    /// Adds the dentry of a node that was just made here. The caller holds the names' lock.
    pub(crate) fn add_child(self: &Arc<Self>, name: &[u8], inode: Arc<dyn Inode>) -> Result<Arc<Dentry>> {
        let cache = self.cache()?;
        let fresh = Dentry::new(inode, Some(self.clone()), Name::from_slice(name), false);
        if cache.policy == CachePolicy::Volatile {
            cache.table.lock().generation += 1;
            return Ok(fresh);
        }
        let mut table = cache.table.lock();
        table.generation += 1;
        let known = table.find(name, name::hash(name)).and_then(|child| child.dentry.get());
        if let Some(known) = known
            && Arc::ptr_eq(&known.inode, &fresh.inode)
        {
            // A lookup was quicker.
            drop(table);
            return Ok(known);
        }
        let stale = table.remove(name);
        table.insert(Name::from_slice(name), Reference::Strong(fresh.clone()));
        drop(table);
        drop(stale);
        Ok(fresh)
    }

    /// Forgets a child whose name was removed. The caller holds the names' lock.
    pub(crate) fn remove_child(&self, name: &[u8]) {
        let Some(cache) = self.directory.as_deref() else {
            return;
        };
        let mut table = cache.table.lock();
        table.generation += 1;
        let removed = table.remove(name);
        drop(table);
        if let Some(dentry) = removed.and_then(|child| child.dentry.get()) {
            dentry.place.lock().detached = true;
        }
    }

    /// Makes lookups in both directories that the cache cannot answer wait until the rename is done.
    /// The caller holds both names' locks.
    pub(crate) fn begin_rename<'a>(&'a self, target: &'a Dentry) -> RenameGuard<'a> {
        for dentry in [self, target] {
            dentry.set_renaming(true);
        }
        RenameGuard([self, target])
    }

    fn set_renaming(&self, renaming: bool) {
        if let Some(cache) = self.directory.as_deref() {
            let mut table = cache.table.lock();
            table.generation += 1;
            table.renaming = renaming;
        }
    }

    /// Moves a child's dentry to another name, perhaps in another directory, taking the place of what was there.
    /// The caller holds both names' locks and a [`RenameGuard`].
    pub(crate) fn move_child(&self, name: &[u8], target: &Arc<Dentry>, new_name: &[u8]) {
        let child = self.take_child(name);
        target.put_child(new_name, child);
    }

    /// Swaps the dentries of two names. The caller holds both names' locks and a [`RenameGuard`].
    pub(crate) fn exchange_children(self: &Arc<Self>, name: &[u8], target: &Arc<Dentry>, other_name: &[u8]) {
        let (one, other) = (self.take_child(name), target.take_child(other_name));
        target.put_child(other_name, one);
        self.put_child(name, other);
    }

    fn take_child(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        let child = self.directory.as_deref()?.table.lock().remove(name);
        child?.dentry.get()
    }

    /// Caches `child` under a name, in place of what had it.
    fn put_child(self: &Arc<Self>, name: &[u8], child: Option<Arc<Dentry>>) {
        if let Some(child) = &child {
            let former = {
                let mut place = child.place.lock();
                place.name = Name::from_slice(name);
                place.parent.replace(self.clone())
            };
            drop(former);
        }
        let Some(cache) = self.directory.as_deref() else {
            return;
        };
        let mut table = cache.table.lock();
        let replaced = table.remove(name);
        if let Some(child) = child {
            table.insert(Name::from_slice(name), Reference::Strong(child));
        }
        drop(table);
        if let Some(dentry) = replaced.and_then(|child| child.dentry.get()) {
            dentry.place.lock().detached = true;
        }
    }

    /// Drops cached names below this one that nobody uses; returns how many. They are looked up again when needed.
    pub fn prune(&self) -> usize {
        let Some(cache) = self.directory.as_deref() else {
            return 0;
        };
        let children: Vec<Arc<Dentry>> =
            cache.table.lock().children.iter().filter_map(|child| child.dentry.get()).collect();
        let mut dropped = children.iter().map(|child| child.prune()).sum();
        // Only this listing and the table may hold one that goes.
        drop(children);
        let mut unused = Vec::new();
        let mut table = cache.table.lock();
        let idle = |child: &mut Child| {
            matches!(&child.dentry, Reference::Strong(dentry)
            if Arc::strong_count(dentry) == 1 && !dentry.is_mount_point())
        };
        unused.extend(table.children.extract_if(idle));
        drop(table);
        dropped += unused.len();
        dropped
    }
}

/// While it lives, two directories have a rename between them.
pub(crate) struct RenameGuard<'a>([&'a Dentry; 2]);

impl Drop for RenameGuard<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|dentry| dentry.set_renaming(false));
    }
}

impl Dentry {
    /// Takes a dentry that nobody holds any more from its place; gives its parent.
    fn release(&self) -> Option<Arc<Dentry>> {
        let (parent, name) = {
            let mut place = self.place.lock();
            (place.parent.take()?, core::mem::take(&mut place.name))
        };
        if let Some(cache) = parent.directory.as_deref()
            && cache.policy == CachePolicy::Volatile
        {
            let mut table = cache.table.lock();
            // The name may stand for a newer dentry by now.
            let dead = matches!(table.find(&name, name::hash(&name)),
                Some(Child { dentry: Reference::Weak(child), .. }) if child.strong_count() == 0);
            let removed = if dead { table.remove(&name) } else { None };
            drop(table);
            drop(removed);
        }
        Some(parent)
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // A long chain of directories must not be dropped by recursion: the stack is small.
        let mut parent = self.release();
        while let Some(dentry) = parent.and_then(Arc::into_inner) {
            parent = dentry.release();
        }
    }
}

/// All the dentries of one file system, kept as long as some mount shows it. Parents and children hold each other:
/// dropping this takes the tables apart.
pub struct Tree {
    root: Arc<Dentry>,
}

impl Tree {
    /// The tree below a file system's root directory.
    pub fn new(root: Arc<dyn Inode>) -> Arc<Self> {
        Arc::new(Self { root: Dentry::root(root) })
    }

    /// Its top.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let mut pending = alloc::vec![self.root.clone()];
        while let Some(dentry) = pending.pop() {
            if let Some(cache) = dentry.directory.as_deref() {
                let children = core::mem::take(&mut cache.table.lock().children);
                pending.extend(children.into_iter().filter_map(|child| child.dentry.get()));
            }
        }
    }
}
