//! Walking a path: components, symbolic links, mounts, permissions.
//!
//! A [`Walker`] goes to the last component of a path and stops before it, because each operation treats the last one
//! in its own way; [`Walker::follow`] lets it go on when that one is a link to be followed. Every walk is made of
//! these two. A component that is cached costs neither an allocation nor a wait.

use crate::dentry::Dentry;
use crate::inode::LinkTarget;
use crate::metadata::FileKind;
use crate::mount::Location;
use crate::name::{NAME_MAX, PATH_MAX};
use crate::namespace::Context;
use crate::{Error, Result};
use alloc::sync::Arc;
use bitflags::bitflags;
use core::ops::Range;
use smallvec::SmallVec;

/// How many symbolic links one walk follows.
const LINKS_MAX: u32 = 40;

/// A path and where it starts when it is relative: the current directory, or the directory of an `...at` call.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// Where a relative path starts.
    pub base: &'a Location,
    /// The path, without the NUL.
    pub path: &'a [u8],
    /// What the walk must not do.
    pub limits: Limits,
}

bitflags! {
    /// What a walk must not do (`openat2`); the bits are those of `RESOLVE_*`.
    ///
    /// With [`Limits::BENEATH`] and [`Limits::IN_ROOT`] the context's root is the place where the path starts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Limits: u32 {
        /// Go from one mount to another.
        const NO_MOUNTS = 1;
        /// Follow a link that leads to a place instead of a path (`/proc/PID/fd/N`).
        const NO_PLACES = 2;
        /// Follow a symbolic link.
        const NO_LINKS = 4;
        /// Leave the start: what would is an error.
        const BENEATH = 8;
        /// Leave the start: it is the root.
        const IN_ROOT = 16;
    }
}

impl<'a> At<'a> {
    /// `path`, seen from `base` when it is relative.
    pub const fn new(base: &'a Location, path: &'a [u8]) -> Self {
        Self { base, path, limits: Limits::empty() }
    }
}

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go where it leads.
    Yes,
    /// Stay on it (`AT_SYMLINK_NOFOLLOW`, `O_NOFOLLOW`).
    No,
}

/// What the path's last component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name; [`Walker::name`] gives its bytes.
    Name(Range<usize>),
    /// `.`, or nothing at all behind the root or behind a link to a place: the walk is where it leads.
    Here,
    /// `..`: as [`Last::Here`]; told apart because some calls refuse it differently.
    Parent,
}

/// The text that is being walked: the caller's, or that of a link.
#[derive(Clone)]
enum Text<'a> {
    Given(&'a [u8]),
    Link(Arc<[u8]>),
}

impl Text<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Text::Given(bytes) => bytes,
            Text::Link(bytes) => bytes,
        }
    }
}

/// Where a path starts: the place, and the directory that the walk is in as it goes.
fn start(context: &Context<'_>, at: At<'_>) -> Result<Location> {
    match at.path.first() {
        None => Err(Error::NotFound),
        Some(_) if at.path.len() >= PATH_MAX => Err(Error::NameTooLong),
        Some(b'/') if at.limits.contains(Limits::BENEATH) => Err(Error::CrossDevice),
        Some(b'/') => Ok(context.root.clone()),
        Some(_) => Ok(at.base.clone()),
    }
}

/// Goes along a path as long as everything is simple: plain names that are cached and lead to directories. Returns where the path goes on, which is at its last component at the latest, and whether that
/// is a plain name with nothing behind it.
///
/// This is what most of most walks consist of, so it is by itself and nothing in it waits.
fn walk_cached(context: &Context<'_>, path: &[u8], position: &mut Location) -> (usize, bool) {
    if position.kind() != FileKind::Directory {
        return (0, false);
    }
    let mut cursor = skip_slashes(path, 0);
    loop {
        let end = end_of_name(path, cursor);
        let name = &path[cursor..end];
        if name.is_empty() || name[0] == b'.' || name.len() > NAME_MAX {
            return (cursor, false);
        }
        if end == path.len() {
            return (cursor, true);
        }
        let rest = skip_slashes(path, end);
        if rest == path.len() {
            return (cursor, false);
        }
        let directory = &position.dentry;
        if context.credentials.check_search(|| directory.inode().ownership()).is_err() {
            return (cursor, false);
        }
        match directory.cached_child(name) {
            Some(child) if child.kind() == FileKind::Directory => {
                let crosses = child.is_mount_point();
                position.dentry = child;
                if crosses {
                    *position = position.clone().cross_mounts();
                }
            }
            _ => return (cursor, false),
        }
        cursor = rest;
    }
}

/// The place that a path names, if all of it is cached and nothing in it is a link or otherwise special.
pub fn walk_now(context: &Context<'_>, at: At<'_>) -> Option<Location> {
    let mut position = start(context, at).ok()?;
    let (cursor, plain) = walk_cached(context, at.path, &mut position);
    if !plain {
        return None;
    }
    position.dentry = cached_end(context, &at.path[cursor..], &position)?;
    Some(position.cross_mounts())
}

/// The place that a path names.
///
/// # Errors
/// As [`Walker::to_last`].
pub async fn walk(context: &Context<'_>, at: At<'_>, follow: Follow) -> Result<Location> {
    let mut position = start(context, at)?;
    // A walk with limits takes every step with care.
    let (cursor, plain) = match at.limits.is_empty() {
        true => walk_cached(context, at.path, &mut position),
        false => (0, false),
    };
    if plain && let Some(child) = cached_end(context, &at.path[cursor..], &position) {
        position.dentry = child;
        return Ok(position.cross_mounts());
    }
    let mut walker = Walker::resume(context, at, cursor, position);
    walker.to_end(follow).await?;
    Ok(walker.position)
}

/// The last component of a path, if it is cached and no link.
fn cached_end(context: &Context<'_>, name: &[u8], position: &Location) -> Option<Arc<Dentry>> {
    let directory = &position.dentry;
    context.credentials.check_search(|| directory.inode().ownership()).ok()?;
    directory.cached_child(name).filter(|child| child.kind() != FileKind::SymbolicLink)
}

/// A walk along a path.
pub struct Walker<'a> {
    context: &'a Context<'a>,
    /// Where the walk is: the directory that holds the last component, once [`Walker::to_last`] is done.
    pub position: Location,
    text: Text<'a>,
    cursor: usize,
    /// What is left of the texts around the current one; each has components left.
    outer: SmallVec<[(Text<'a>, usize); 1]>,
    links: u32,
    limits: Limits,
    /// The last component must be a directory: a slash follows it.
    pub wants_directory: bool,
}

impl<'a> Walker<'a> {
    /// A walk along `at.path`.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an empty path, [`Error::NameTooLong`].
    pub fn new(context: &'a Context<'a>, at: At<'a>) -> Result<Self> {
        let mut position = start(context, at)?;
        let cursor = match at.limits.is_empty() {
            true => walk_cached(context, at.path, &mut position).0,
            false => 0,
        };
        Ok(Self::resume(context, at, cursor, position))
    }

    /// A walk that has come to `position`, from where `at.path[cursor..]` goes on.
    fn resume(context: &'a Context<'a>, at: At<'a>, cursor: usize, position: Location) -> Self {
        let (text, outer, limits) = (Text::Given(at.path), SmallVec::new(), at.limits);
        Self { context, position, text, cursor, outer, links: 0, limits, wants_directory: false }
    }

    /// The bytes of the last component, which [`Walker::to_last`] has found.
    pub fn name(&self, range: &Range<usize>) -> &[u8] {
        &self.text.bytes()[range.clone()]
    }

    /// Goes to the directory of the last component.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::AccessDenied`], [`Error::TooManySymbolicLinks`],
    /// [`Error::NameTooLong`], and what the file systems find.
    pub async fn to_last(&mut self) -> Result<Last> {
        loop {
            let (range, last) = self.next_component();
            if range.is_empty() {
                // Nothing but slashes: `/`, or a link to it, or one to a place.
                return Ok(Last::Here);
            }
            let name = &self.text.bytes()[range.clone()];
            if name.len() > NAME_MAX {
                return Err(Error::NameTooLong);
            }
            self.check_searchable()?;
            if name[0] == b'.' && matches!(name, b"." | b"..") {
                let up = name.len() == 2;
                if up {
                    self.leave()?;
                }
                if last {
                    return Ok(if up { Last::Parent } else { Last::Here });
                }
                continue;
            }
            if last {
                return Ok(Last::Name(range));
            }
            let dentry = match self.position.dentry.cached_child(name) {
                Some(dentry) => dentry,
                None => self.position.dentry.child(name).await?,
            };
            match dentry.kind() {
                FileKind::Directory => self.enter(dentry)?,
                FileKind::SymbolicLink => self.follow(&dentry).await?,
                _ => return Err(Error::NotDirectory),
            }
        }
    }

    /// Goes into a child of the current directory, and into what is mounted there.
    ///
    /// # Errors
    /// [`Error::CrossDevice`] where the limits forbid that.
    #[inline]
    pub(crate) fn enter(&mut self, dentry: Arc<Dentry>) -> Result<()> {
        let crosses = dentry.is_mount_point();
        self.position.dentry = dentry;
        if crosses {
            let inner = self.position.clone().cross_mounts();
            self.check_mount(&inner)?;
            self.position = inner;
        }
        Ok(())
    }

    /// Goes to the directory above.
    fn leave(&mut self) -> Result<()> {
        if self.limits.contains(Limits::BENEATH) && self.position.is_same(self.context.root) {
            return Err(Error::CrossDevice);
        }
        let above = self.position.parent(self.context.root);
        self.check_mount(&above)?;
        self.position = above;
        Ok(())
    }

    /// Checks that the limits let the walk go on at `next`, as far as mounts are concerned.
    fn check_mount(&self, next: &Location) -> Result<()> {
        let crosses =
            self.limits.contains(Limits::NO_MOUNTS) && !Arc::ptr_eq(&self.position.mount, &next.mount);
        if crosses { Err(Error::CrossDevice) } else { Ok(()) }
    }

    /// Takes a symbolic link of the current directory. Then [`Walker::to_last`] goes on.
    ///
    /// # Errors
    /// [`Error::TooManySymbolicLinks`], [`Error::NotFound`] for an empty link, and what the file system finds.
    pub async fn follow(&mut self, link: &Arc<Dentry>) -> Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Error::TooManySymbolicLinks);
        }
        if self.limits.contains(Limits::NO_LINKS) {
            return Err(Error::TooManySymbolicLinks);
        }
        match link.inode().link_target().await? {
            LinkTarget::Path(target) => {
                match target.first() {
                    None => return Err(Error::NotFound),
                    Some(b'/') if self.limits.contains(Limits::BENEATH) => return Err(Error::CrossDevice),
                    Some(b'/') => {
                        self.check_mount(self.context.root)?;
                        self.position = self.context.root.clone();
                    }
                    Some(_) => {}
                }
                let rest = (core::mem::replace(&mut self.text, Text::Link(target)), self.cursor);
                self.cursor = 0;
                if rest.1 < rest.0.bytes().len() {
                    self.outer.push(rest);
                }
            }
            LinkTarget::Location(location) => {
                if self.limits.contains(Limits::NO_PLACES) {
                    return Err(Error::TooManySymbolicLinks);
                }
                if self.limits.intersects(Limits::BENEATH | Limits::IN_ROOT) {
                    return Err(Error::CrossDevice);
                }
                self.check_mount(&location)?;
                self.position = location;
                // What is left goes on from there, like behind a name; nothing left means: there.
                if self.cursor >= self.text.bytes().len() {
                    self.text = Text::Given(b"");
                    self.cursor = 0;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next component and whether it is the last; empty when there is none. Notices slashes behind the last.
    #[inline]
    fn next_component(&mut self) -> (Range<usize>, bool) {
        loop {
            let bytes = self.text.bytes();
            let start = skip_slashes(bytes, self.cursor);
            let end = end_of_name(bytes, start);
            let rest = skip_slashes(bytes, end);
            let exhausted = rest == bytes.len();
            if start == end {
                // Only slashes in a link's text, or a link to a place: go on with what is around it.
                match self.outer.pop() {
                    Some((text, cursor)) => (self.text, self.cursor) = (text, cursor),
                    None => return (start..end, true),
                }
                continue;
            }
            self.cursor = rest;
            if !exhausted {
                return (start..end, false);
            }
            if self.outer.is_empty() {
                self.wants_directory |= rest > end;
                return (start..end, true);
            }
            // The end of a link's text, with more around it: not the last of the walk.
            return (start..end, false);
        }
    }

    #[inline]
    fn check_searchable(&self) -> Result<()> {
        let dentry = &self.position.dentry;
        if dentry.kind() != FileKind::Directory {
            // A base that is no directory, or a link to such a place with more path behind it.
            return Err(Error::NotDirectory);
        }
        self.context.credentials.check_search(|| dentry.inode().ownership())
    }

    /// Steps onto the last component: the place that the whole path names, links followed if asked.
    ///
    /// # Errors
    /// As [`Walker::to_last`].
    pub async fn to_end(&mut self, follow: Follow) -> Result<()> {
        loop {
            let Last::Name(range) = self.to_last().await? else {
                break;
            };
            let name = &self.text.bytes()[range];
            let dentry = match self.position.dentry.cached_child(name) {
                Some(dentry) => dentry,
                None => self.position.dentry.child(name).await?,
            };
            if dentry.kind() == FileKind::SymbolicLink && (follow == Follow::Yes || self.wants_directory) {
                self.follow(&dentry).await?;
                continue;
            }
            self.enter(dentry)?;
            break;
        }
        if self.wants_directory && self.position.kind() != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        Ok(())
    }
}

/// Where the name that starts at `cursor` ends.
#[inline]
fn end_of_name(bytes: &[u8], cursor: usize) -> usize {
    let rest = &bytes[cursor..];
    cursor + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len())
}

#[inline]
fn skip_slashes(bytes: &[u8], mut cursor: usize) -> usize {
    while cursor < bytes.len() && bytes[cursor] == b'/' {
        cursor += 1;
    }
    cursor
}
