//! The flags of `open(2)`, in Linux's generic encoding.

use crate::credentials::Permission;
use bitflags::bitflags;

bitflags! {
    /// How a file is opened and what its open description remembers (`O_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct OpenFlags: u32 {
        /// Write only (together with [`OpenFlags::READ_WRITE`] this is the access mode; 0 reads only).
        const WRITE_ONLY = 0o1;
        /// Read and write.
        const READ_WRITE = 0o2;
        /// Make the file when there is none.
        const CREATE = 0o100;
        /// Fail when there is one.
        const EXCLUSIVE = 0o200;
        /// Do not make it the controlling terminal.
        const NO_CONTROLLING_TERMINAL = 0o400;
        /// Cut it to length 0.
        const TRUNCATE = 0o1000;
        /// Each write goes to the end.
        const APPEND = 0o2000;
        /// Never wait for data or room.
        const NONBLOCK = 0o4000;
        /// Data is stored before a write returns.
        const DATA_SYNC = 0o10000;
        /// Signal when ready.
        const ASYNC = 0o20000;
        /// Pass by the cache.
        const DIRECT = 0o40000;
        /// Offsets beyond 2 GiB; always so.
        const LARGE_FILE = 0o100000;
        /// Only a directory will do.
        const DIRECTORY = 0o200000;
        /// A symbolic link at the end is an error.
        const NO_FOLLOW = 0o400000;
        /// Do not stamp the time of access.
        const NO_ACCESS_TIME = 0o1000000;
        /// Close on exec; a property of the descriptor.
        const CLOSE_ON_EXEC = 0o2000000;
        /// Data and metadata are stored before a write returns (with [`OpenFlags::DATA_SYNC`]).
        const SYNC = 0o4000000;
        /// Name the file only: no input and output.
        const PATH = 0o10000000;
        /// A file without a name in this directory (with [`OpenFlags::DIRECTORY`]).
        const TEMPORARY = 0o20000000;
    }
}

impl OpenFlags {
    /// What `fcntl(F_SETFL)` can change.
    pub const SETTABLE: Self =
        Self::APPEND.union(Self::NONBLOCK).union(Self::ASYNC).union(Self::DIRECT).union(Self::NO_ACCESS_TIME);
    /// What an open description forgets: it was only about the opening.
    pub const TRANSIENT: Self = Self::CREATE
        .union(Self::EXCLUSIVE)
        .union(Self::NO_CONTROLLING_TERMINAL)
        .union(Self::TRUNCATE)
        .union(Self::CLOSE_ON_EXEC);

    /// Whether `read` is allowed.
    #[inline]
    pub const fn reads(self) -> bool {
        self.bits() & 0o3 != 0o1 && self.bits() & 0o3 != 0o3 && !self.contains(Self::PATH)
    }

    /// Whether `write` is allowed.
    #[inline]
    pub const fn writes(self) -> bool {
        matches!(self.bits() & 0o3, 0o1 | 0o2) && !self.contains(Self::PATH)
    }

    /// What the file must permit to be opened so. The fourth access mode asks for both and gives neither
    /// (it is for `ioctl` only).
    pub fn permission(self) -> Permission {
        let wanted = match self.bits() & 0o3 {
            0 => Permission::READ,
            1 => Permission::WRITE,
            _ => Permission::READ | Permission::WRITE,
        };
        if self.contains(Self::TRUNCATE) { wanted | Permission::WRITE } else { wanted }
    }
}
