//! Who asks, and what the permission bits of a file allow them.

use crate::metadata::{FileKind, Ownership};
use crate::{Error, Result};
use alloc::sync::Arc;
use bitflags::bitflags;

bitflags! {
    /// The capabilities of Linux that files look at; the bits are Linux's (`CAP_*`), others are kept and ignored.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Capabilities: u64 {
        /// Change owners at will.
        const CHOWN = 1 << 0;
        /// Pass over permission bits.
        const DAC_OVERRIDE = 1 << 1;
        /// Read files and search directories whatever their bits.
        const DAC_READ_SEARCH = 1 << 2;
        /// Act as the owner of any file.
        const FOWNER = 1 << 3;
        /// Keep set-id bits when a file changes.
        const FSETID = 1 << 4;
        /// Change the root directory.
        const SYS_CHROOT = 1 << 18;
        /// Mount and unmount.
        const SYS_ADMIN = 1 << 21;
        /// Pass over resource limits.
        const SYS_RESOURCE = 1 << 24;
        /// Make device nodes.
        const MKNOD = 1 << 27;
        const _ = !0;
    }
}

bitflags! {
    /// What is wanted of a file; the bits are those of `access(2)` and of each triple of a mode.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Permission: u16 {
        /// Execute it, or search it when it is a directory.
        const EXECUTE = 1;
        /// Write it, or change the entries of a directory.
        const WRITE = 2;
        /// Read it, or list a directory.
        const READ = 4;
    }
}

/// On whose behalf files are used: the file-system user and group of Linux.
///
/// For `access(2)` the caller passes one that is made of the real ids.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user (`fsuid`).
    pub uid: u32,
    /// The primary group (`fsgid`).
    pub gid: u32,
    /// The other groups.
    pub groups: Arc<[u32]>,
    /// The effective capabilities.
    pub capabilities: Capabilities,
}

impl Credentials {
    /// The superuser's, with every capability.
    pub fn root() -> Self {
        Self { uid: 0, gid: 0, groups: Arc::from([]), capabilities: Capabilities::all() }
    }

    /// An ordinary user's, without capabilities.
    pub fn user(uid: u32, gid: u32) -> Self {
        Self { uid, gid, groups: Arc::from([]), capabilities: Capabilities::empty() }
    }

    /// Whether all of `capabilities` are there.
    #[inline]
    pub fn capable(&self, capabilities: Capabilities) -> bool {
        self.capabilities.contains(capabilities)
    }

    /// Whether `gid` is the primary group or one of the others.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether this is the owner, or may act as one.
    pub fn is_owner(&self, ownership: &Ownership) -> bool {
        self.uid == ownership.uid || self.capable(Capabilities::FOWNER)
    }

    /// Checks that `wanted` is allowed on a file of this kind and ownership.
    ///
    /// # Errors
    /// [`Error::AccessDenied`].
    pub fn check(&self, wanted: Permission, kind: FileKind, ownership: &Ownership) -> Result<()> {
        let shift = if self.uid == ownership.uid {
            6
        } else if self.in_group(ownership.gid) {
            3
        } else {
            0
        };
        let granted = Permission::from_bits_truncate(ownership.permissions >> shift);
        if granted.contains(wanted) || self.overrides(wanted, kind, ownership.permissions) {
            Ok(())
        } else {
            Err(Error::AccessDenied)
        }
    }

    /// Checks that a directory may be searched. The common case of the superuser asks for nothing.
    ///
    /// # Errors
    /// [`Error::AccessDenied`].
    #[inline]
    pub fn check_search(&self, ownership: impl FnOnce() -> Ownership) -> Result<()> {
        if self.capable(Capabilities::DAC_OVERRIDE) {
            return Ok(());
        }
        self.check(Permission::EXECUTE, FileKind::Directory, &ownership())
    }

    /// Whether a capability gives what the bits do not (`capabilities(7)`).
    fn overrides(&self, wanted: Permission, kind: FileKind, permissions: u16) -> bool {
        let directory = kind == FileKind::Directory;
        let readable = if directory { Permission::READ | Permission::EXECUTE } else { Permission::READ };
        if readable.contains(wanted) && self.capable(Capabilities::DAC_READ_SEARCH) {
            return true;
        }
        // Nobody executes a file that is executable for none.
        let executable = directory || permissions & 0o111 != 0;
        self.capable(Capabilities::DAC_OVERRIDE) && (executable || !wanted.contains(Permission::EXECUTE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(permissions: u16) -> Ownership {
        Ownership { permissions, uid: 1, gid: 10 }
    }

    #[test]
    fn the_first_matching_class_decides() {
        let (owner, group, other) =
            (Credentials::user(1, 10), Credentials::user(2, 10), Credentials::user(3, 30));
        let file = owned(0o047);
        assert_eq!(owner.check(Permission::READ, FileKind::Regular, &file), Err(Error::AccessDenied));
        assert_eq!(group.check(Permission::READ, FileKind::Regular, &file), Ok(()));
        assert_eq!(group.check(Permission::WRITE, FileKind::Regular, &file), Err(Error::AccessDenied));
        assert_eq!(other.check(Permission::all(), FileKind::Regular, &file), Ok(()));
    }

    #[test]
    fn the_superuser_executes_only_what_somebody_may() {
        let root = Credentials::root();
        assert_eq!(root.check(Permission::READ | Permission::WRITE, FileKind::Regular, &owned(0)), Ok(()));
        assert_eq!(
            root.check(Permission::EXECUTE, FileKind::Regular, &owned(0o644)),
            Err(Error::AccessDenied)
        );
        assert_eq!(root.check(Permission::EXECUTE, FileKind::Regular, &owned(0o001)), Ok(()));
        assert_eq!(root.check(Permission::EXECUTE, FileKind::Directory, &owned(0)), Ok(()));
    }
}
