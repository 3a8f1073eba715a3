//! Calls with a path in them: opening, making, removing, moving.

use super::descriptor;
use super::descriptors::{limit, on_exec};
use crate::process::{Identity, Place};
use crate::terminal_device;
use crate::thread::Caller;
use abi::file::OpenHow;
use abi::linux::general as linux;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch_riscv64::trap::register;
use base::address::VirtualAddress;
use base::{Error, Result};
use vfs::inode::RenameMode;
use vfs::metadata::{DeviceNumber, PERMISSION_BITS};
use vfs::name::PATH_MAX;
use vfs::namespace::{self, Empty};
use vfs::path::{Follow, Limits};
use vfs::{At, Capabilities, Context, FileKind, Location, OpenFlags};
use zerocopy::{FromZeros, IntoBytes};

/// Names as a caller sees them at one moment: where they start, and who asks.
pub struct Names {
    /// Where they start.
    pub place: Place,
    identity: Arc<Identity>,
}

impl Names {
    /// The caller's.
    pub fn of(caller: &Caller) -> Self {
        Self { place: caller.process().place(), identity: caller.process().identity() }
    }

    /// For the file layer.
    pub fn context(&self) -> Context<'_> {
        Context { root: &self.place.root, credentials: &self.identity.files, umask: self.place.umask }
    }

    /// On whose behalf.
    pub fn credentials(&self) -> &vfs::Credentials {
        &self.identity.files
    }

    /// Everything about who asks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where `path` starts in a call with a directory's descriptor in this register.
    ///
    /// # Errors
    /// `BadDescriptor`
    pub fn base(&self, caller: &Caller, directory: usize, path: &[u8]) -> Result<Location> {
        if path.first() == Some(&b'/') {
            return Ok(self.place.root.clone());
        }
        if directory as i32 == linux::AT_FDCWD {
            return Ok(self.place.current.clone());
        }
        Ok(caller.files.get(descriptor(directory))?.location().clone())
    }

    /// The place that a path of such a call names, with Linux's flags `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH`.
    ///
    /// # Errors
    /// Those of the walk; `NotFound` for an empty path that is not allowed.
    pub async fn locate(
        &self,
        caller: &Caller,
        directory: usize,
        path: &[u8],
        flags: u32,
    ) -> Result<Location> {
        let empty = empty_path(flags);
        if path.is_empty() && empty == Empty::Refused {
            return Err(Error::NotFound);
        }
        let base = self.base(caller, directory, path)?;
        namespace::resolve_or_base(&self.context(), At::new(&base, path), follow_unless(flags), empty).await
    }

    /// The place that a path names from the current directory on.
    ///
    /// # Errors
    /// Those of the walk.
    pub async fn locate_from_current(&self, path: &[u8]) -> Result<Location> {
        namespace::resolve(&self.context(), At::new(&self.place.current, path), Follow::Yes).await
    }

    /// Checks that the caller has these capabilities.
    ///
    /// # Errors
    /// `NotPermitted`
    pub fn require(&self, capabilities: Capabilities) -> Result<()> {
        if self.identity.files.capable(capabilities) { Ok(()) } else { Err(Error::NotPermitted) }
    }
}

/// Whether a call with these flags takes an empty path.
pub fn empty_path(flags: u32) -> Empty {
    if flags & linux::AT_EMPTY_PATH != 0 { Empty::NamesBase } else { Empty::Refused }
}

/// Whether a call with these flags follows a symbolic link at the end.
pub fn follow_unless(flags: u32) -> Follow {
    if flags & linux::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes }
}

/// Checks that no flag is set but those in `known`.
///
/// # Errors
/// `InvalidArgument`
pub fn check_flags(flags: usize, known: u32) -> Result<u32> {
    let flags = flags as u32;
    if flags & !known != 0 { Err(Error::InvalidArgument) } else { Ok(flags) }
}

/// The path at `address` in user memory, which may be empty.
///
/// # Errors
/// `BadAddress`, `NameTooLong`, `OutOfMemory`.
pub async fn path_or_empty(caller: &Caller, address: usize) -> Result<Vec<u8>> {
    if address > isize::MAX as usize {
        return Err(Error::BadAddress);
    }
    match short_path(caller, address) {
        Some(path) => Ok(path),
        None => caller.space.read_c_string(VirtualAddress::new(address), PATH_MAX).await,
    }
}

/// A short path that is in memory: the common case, without waiting.
fn short_path(caller: &Caller, address: usize) -> Option<Vec<u8>> {
    ShortPath::read(caller, address).map(|path| path.bytes().to_vec())
}

/// A path of moderate length, on the stack.
pub struct ShortPath {
    buffer: [u8; Self::MAX],
    length: usize,
}

impl ShortPath {
    const MAX: usize = 128;

    /// The path at `address` in user memory; `None` when it is longer or not at hand.
    #[inline]
    pub fn read(caller: &Caller, address: usize) -> Option<Self> {
        let mut buffer = [0u8; Self::MAX];
        let length = caller.space.try_read_string(VirtualAddress::new(address), &mut buffer)?;
        Some(Self { buffer, length })
    }

    /// The path.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// The path at `address` in user memory.
///
/// # Errors
/// `NotFound` when it is empty; `BadAddress`, `NameTooLong`, `OutOfMemory`.
pub async fn path(caller: &Caller, address: usize) -> Result<Vec<u8>> {
    let path = path_or_empty(caller, address).await?;
    if path.is_empty() { Err(Error::NotFound) } else { Ok(path) }
}

/// `openat` of a regular file or a directory that is there and about which everything is at hand.
pub fn openat_at_once(caller: &Caller) -> Option<Result<usize>> {
    let [directory, name, flags] =
        core::array::from_fn(|index| caller.context.registers[register::A0 + index]);
    let flags = OpenFlags::from_bits_truncate(flags as u32);
    let path = ShortPath::read(caller, name)?;
    let limit = limit(caller);
    caller.files.check_room(limit).ok()?;
    let names = Names::of(caller);
    let base = names.base(caller, directory, path.bytes()).ok()?;
    let at = At::new(&base, path.bytes());
    let opened = namespace::open_now(&names.context(), at, flags | OpenFlags::LARGE_FILE)?;
    let insert = |file| caller.files.insert(file, on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC)), limit);
    Some(opened.and_then(insert).map(|descriptor| descriptor as usize))
}

/// `openat`: flags that mean nothing are passed over, as ever.
pub async fn openat(
    caller: &Caller,
    directory: usize,
    name: usize,
    flags: usize,
    mode: usize,
) -> Result<usize> {
    let flags = OpenFlags::from_bits_truncate(flags as u32);
    let path = path(caller, name).await?;
    open(caller, directory, &path, flags, mode as u16 & PERMISSION_BITS).await
}

/// `openat2`: flags that mean nothing are refused.
pub async fn openat2(
    caller: &Caller,
    directory: usize,
    name: usize,
    how: usize,
    size: usize,
) -> Result<usize> {
    let how = read_open_how(caller, how, size).await?;
    let known = OpenFlags::all();
    let makes = OpenFlags::CREATE | OpenFlags::TEMPORARY;
    let flags =
        u32::try_from(how.flags).ok().and_then(OpenFlags::from_bits).ok_or(Error::InvalidArgument)? & known;
    let mode_allowed = if flags.intersects(makes) { u64::from(PERMISSION_BITS) } else { 0 };
    if how.mode & !mode_allowed != 0 {
        return Err(Error::InvalidArgument);
    }
    let with_path = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NO_FOLLOW | OpenFlags::CLOSE_ON_EXEC;
    if flags.contains(OpenFlags::PATH) && !with_path.contains(flags) {
        return Err(Error::InvalidArgument);
    }
    let resolve = u32::try_from(how.resolve).map_err(|_| Error::InvalidArgument)?;
    let limits = Limits::from_bits(resolve & !linux::RESOLVE_CACHED).ok_or(Error::InvalidArgument)?;
    if limits.contains(Limits::BENEATH | Limits::IN_ROOT) {
        return Err(Error::InvalidArgument);
    }
    // Nothing here has to be fetched from elsewhere, so that all is as good as cached but for what is to be made.
    if resolve & linux::RESOLVE_CACHED != 0 && flags.intersects(makes | OpenFlags::TRUNCATE) {
        return Err(Error::WouldBlock);
    }
    let path = path(caller, name).await?;
    open_within(caller, directory, &path, flags, how.mode as u16, limits).await
}

async fn read_open_how(caller: &Caller, address: usize, size: usize) -> Result<OpenHow> {
    if size < size_of::<OpenHow>() {
        return Err(Error::InvalidArgument);
    }
    if size > base::address::PAGE_SIZE {
        return Err(Error::ArgumentListTooLong);
    }
    let mut how = OpenHow::new_zeroed();
    caller.space.read_bytes(VirtualAddress::new(address), how.as_mut_bytes()).await?;
    // A longer structure of a later Linux is understood as long as what is new in it is zero.
    let mut rest = alloc::vec![0; size - size_of::<OpenHow>()];
    caller.space.read_bytes(VirtualAddress::new(address) + size_of::<OpenHow>(), &mut rest).await?;
    if rest.iter().any(|byte| *byte != 0) { Err(Error::ArgumentListTooLong) } else { Ok(how) }
}

async fn open(
    caller: &Caller,
    directory: usize,
    path: &[u8],
    flags: OpenFlags,
    permissions: u16,
) -> Result<usize> {
    open_within(caller, directory, path, flags, permissions, Limits::empty()).await
}

async fn open_within(
    caller: &Caller,
    directory: usize,
    path: &[u8],
    flags: OpenFlags,
    permissions: u16,
    limits: Limits,
) -> Result<usize> {
    let limit = limit(caller);
    caller.files.check_room(limit)?;
    let names = Names::of(caller);
    let scoped = limits.intersects(Limits::BENEATH | Limits::IN_ROOT);
    // Within its start a walk stays there even if the path is absolute.
    let base = names.base(caller, directory, if scoped { b"" } else { path })?;
    let mut context = names.context();
    if scoped {
        context.root = &base;
    }
    let at = At { limits, ..At::new(&base, path) };
    let opening = namespace::open(&context, at, flags | OpenFlags::LARGE_FILE, permissions);
    // The other side of a FIFO may never come.
    let file = caller.interruptible(opening).await??;
    let file = terminal_device::opened(caller, file, flags)?;
    let descriptor = caller.files.insert(file, on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC)), limit)?;
    Ok(descriptor as usize)
}

/// `mkdirat`
pub async fn mkdirat(caller: &Caller, directory: usize, name: usize, mode: usize) -> Result<usize> {
    let path = path(caller, name).await?;
    let names = Names::of(caller);
    let base = names.base(caller, directory, &path)?;
    namespace::make_directory(&names.context(), At::new(&base, &path), mode as u16).await?;
    Ok(0)
}

/// `mknodat`
pub async fn mknodat(
    caller: &Caller,
    directory: usize,
    name: usize,
    mode: usize,
    device: usize,
) -> Result<usize> {
    let kind = FileKind::from_mode(mode as u32).ok_or(Error::InvalidArgument)?;
    let path = path(caller, name).await?;
    let names = Names::of(caller);
    let base = names.base(caller, directory, &path)?;
    let device = DeviceNumber(device as u32 as u64);
    namespace::make_node(&names.context(), At::new(&base, &path), kind, mode as u16, device).await?;
    Ok(0)
}

/// `unlinkat`
pub async fn unlinkat(caller: &Caller, directory: usize, name: usize, flags: usize) -> Result<usize> {
    let flags = check_flags(flags, linux::AT_REMOVEDIR)?;
    let path = path(caller, name).await?;
    let names = Names::of(caller);
    let base = names.base(caller, directory, &path)?;
    let at = At::new(&base, &path);
    if flags & linux::AT_REMOVEDIR != 0 {
        namespace::remove_directory(&names.context(), at).await?;
    } else {
        namespace::unlink(&names.context(), at).await?;
    }
    Ok(0)
}

/// `renameat2`
pub async fn renameat2(caller: &Caller, arguments: [usize; 5]) -> Result<usize> {
    let [old_directory, old_name, new_directory, new_name, flags] = arguments;
    let mode = match flags as u32 {
        0 => RenameMode::Replace,
        linux::RENAME_NOREPLACE => RenameMode::NoReplace,
        linux::RENAME_EXCHANGE => RenameMode::Exchange,
        _ => return Err(Error::InvalidArgument),
    };
    let old_path = path(caller, old_name).await?;
    let new_path = path(caller, new_name).await?;
    let names = Names::of(caller);
    let old_base = names.base(caller, old_directory, &old_path)?;
    let new_base = names.base(caller, new_directory, &new_path)?;
    namespace::rename(&names.context(), At::new(&old_base, &old_path), At::new(&new_base, &new_path), mode)
        .await?;
    Ok(0)
}

/// `linkat`
pub async fn linkat(caller: &Caller, arguments: [usize; 5]) -> Result<usize> {
    let [old_directory, old_name, new_directory, new_name, flags] = arguments;
    let flags = check_flags(flags, linux::AT_SYMLINK_FOLLOW | linux::AT_EMPTY_PATH)?;
    let names = Names::of(caller);
    let old_path = path_or_empty(caller, old_name).await?;
    if old_path.is_empty() {
        if flags & linux::AT_EMPTY_PATH == 0 {
            return Err(Error::NotFound);
        }
        if !names.credentials().capable(Capabilities::DAC_READ_SEARCH) {
            return Err(Error::NotFound);
        }
    }
    let new_path = path(caller, new_name).await?;
    let old_base = names.base(caller, old_directory, &old_path)?;
    let new_base = names.base(caller, new_directory, &new_path)?;
    let follow = if flags & linux::AT_SYMLINK_FOLLOW != 0 { Follow::Yes } else { Follow::No };
    let (from, to) = (At::new(&old_base, &old_path), At::new(&new_base, &new_path));
    namespace::link(&names.context(), from, follow, empty_path(flags), to).await?;
    Ok(0)
}

/// `symlinkat`
pub async fn symlinkat(caller: &Caller, target: usize, directory: usize, name: usize) -> Result<usize> {
    let target = path(caller, target).await?;
    let path = path(caller, name).await?;
    let names = Names::of(caller);
    let base = names.base(caller, directory, &path)?;
    namespace::symlink(&names.context(), &target, At::new(&base, &path)).await?;
    Ok(0)
}

/// `readlinkat`
pub async fn readlinkat(
    caller: &Caller,
    directory: usize,
    name: usize,
    buffer: usize,
    size: usize,
) -> Result<usize> {
    let size = size as i32;
    if size <= 0 {
        return Err(Error::InvalidArgument);
    }
    let path = path_or_empty(caller, name).await?;
    let names = Names::of(caller);
    let base = names.base(caller, directory, &path)?;
    let text = namespace::read_link(&names.context(), At::new(&base, &path)).await?;
    let text = &text[..text.len().min(size as usize)];
    caller.space.write_bytes(VirtualAddress::new(buffer), text).await?;
    Ok(text.len())
}

/// The directory that a path names, which the caller may enter.
async fn directory(caller: &Caller, names: &Names, name: usize) -> Result<Location> {
    let path = path(caller, name).await?;
    let base = names.base(caller, linux::AT_FDCWD as usize, &path)?;
    let location = namespace::resolve(&names.context(), At::new(&base, &path), Follow::Yes).await?;
    check_enterable(names, &location)?;
    Ok(location)
}

fn check_enterable(names: &Names, location: &Location) -> Result<()> {
    if location.kind() != FileKind::Directory {
        return Err(Error::NotDirectory);
    }
    names.credentials().check_search(|| location.inode().ownership())
}

/// Changes where names start for the caller's process and those that share it.
fn change_place(caller: &Caller, change: impl FnOnce(&mut Place) -> Location) {
    let shared = caller.process().place.lock().clone();
    let former = change(&mut shared.lock());
    // Behind the lock: it may be the last that keeps a whole tree.
    drop(former);
}

/// `chdir`
pub async fn chdir(caller: &Caller, name: usize) -> Result<usize> {
    let location = directory(caller, &Names::of(caller), name).await?;
    change_place(caller, |place| core::mem::replace(&mut place.current, location));
    Ok(0)
}

/// `fchdir`
pub async fn fchdir(caller: &Caller, file: usize) -> Result<usize> {
    let location = caller.files.get(descriptor(file))?.location().clone();
    check_enterable(&Names::of(caller), &location)?;
    change_place(caller, |place| core::mem::replace(&mut place.current, location));
    Ok(0)
}

/// `chroot`
pub async fn chroot(caller: &Caller, name: usize) -> Result<usize> {
    let names = Names::of(caller);
    let location = directory(caller, &names, name).await?;
    names.require(Capabilities::SYS_CHROOT)?;
    change_place(caller, |place| core::mem::replace(&mut place.root, location));
    Ok(0)
}

/// `getcwd`: the bytes of the path, its zero byte included.
pub async fn getcwd(caller: &Caller, buffer: usize, size: usize) -> Result<usize> {
    let place = caller.process().place();
    if place.current.dentry.is_detached() {
        return Err(Error::NotFound);
    }
    let mut path = place.current.absolute_path(&place.root);
    path.push(0);
    if path.len() > size {
        return Err(Error::Range);
    }
    caller.space.write_bytes(VirtualAddress::new(buffer), &path).await?;
    Ok(path.len())
}

/// `umask`
pub async fn umask(caller: &Caller, mask: usize) -> Result<usize> {
    let shared = caller.process().place.lock().clone();
    let former = core::mem::replace(&mut shared.lock().umask, mask as u16 & 0o777);
    Ok(former.into())
}
