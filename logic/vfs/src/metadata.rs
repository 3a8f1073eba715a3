//! What `stat(2)` tells about a file, and what may be changed of it.

use abi::linux::general as number;

/// The bits of a mode that `chmod(2)` sets: permissions, set-user-id, set-group-id, sticky.
pub const PERMISSION_BITS: u16 = 0o7777;
/// Set-user-id on execution.
pub const SET_USER_ID: u16 = number::S_ISUID as u16;
/// Set-group-id on execution; on a directory: new entries take its group.
pub const SET_GROUP_ID: u16 = number::S_ISGID as u16;
/// On a directory: only the owners of an entry or of the directory may remove it.
pub const STICKY: u16 = number::S_ISVTX as u16;

/// What a file is: the type part of its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum FileKind {
    /// No type at all: what an epoll or an event descriptor shows.
    Untyped = 0,
    /// A named pipe, or an anonymous one.
    Fifo = number::S_IFIFO as u16,
    /// A character device.
    CharacterDevice = number::S_IFCHR as u16,
    /// A directory.
    Directory = number::S_IFDIR as u16,
    /// A block device.
    BlockDevice = number::S_IFBLK as u16,
    /// A regular file.
    Regular = number::S_IFREG as u16,
    /// A symbolic link.
    SymbolicLink = number::S_IFLNK as u16,
    /// A socket.
    Socket = number::S_IFSOCK as u16,
}

impl FileKind {
    /// The kind in the type bits of a Linux mode; `None` for a value that no kind has.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & number::S_IFMT {
            0 => Self::Untyped,
            number::S_IFIFO => Self::Fifo,
            number::S_IFCHR => Self::CharacterDevice,
            number::S_IFDIR => Self::Directory,
            number::S_IFBLK => Self::BlockDevice,
            number::S_IFREG => Self::Regular,
            number::S_IFLNK => Self::SymbolicLink,
            number::S_IFSOCK => Self::Socket,
            _ => return None,
        })
    }

    /// The type bits of a Linux mode.
    pub const fn mode_bits(self) -> u32 {
        self as u16 as u32
    }

    /// The `d_type` of a directory entry of this kind.
    pub const fn entry_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }

    /// Whether this is a character or a block device.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::CharacterDevice | Self::BlockDevice)
    }
}

/// A device number in Linux's 64-bit encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
#[repr(transparent)]
pub struct DeviceNumber(pub u64);

impl DeviceNumber {
    /// The number of device `minor` of driver `major`.
    pub const fn new(major: u32, minor: u32) -> Self {
        let (major, minor) = (major as u64, minor as u64);
        Self((major & 0xfff) << 8 | (major & !0xfff) << 32 | minor & 0xff | (minor & !0xff) << 12)
    }

    /// The driver's part.
    pub const fn major(self) -> u32 {
        (self.0 >> 8 & 0xfff | self.0 >> 32 & 0xffff_f000) as u32
    }

    /// The device's part.
    pub const fn minor(self) -> u32 {
        (self.0 & 0xff | self.0 >> 12 & 0xffff_ff00) as u32
    }
}

/// Who may do what with a file: the part of its metadata that every access looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Permission bits, set-id bits and sticky bit ([`PERMISSION_BITS`]).
    pub permissions: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What `stat(2)` tells. Times are nanoseconds since 1970, negative before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The inode's number, unique in its file system.
    pub number: u64,
    /// The file system that it is on.
    pub device: DeviceNumber,
    /// What it is.
    pub kind: FileKind,
    /// Permissions and owners.
    pub ownership: Ownership,
    /// How many names it has.
    pub link_count: u32,
    /// Bytes: a file's content, a link's target.
    pub size: u64,
    /// Which device this is, if it is one.
    pub special_device: DeviceNumber,
    /// When its content was last read.
    pub accessed_ns: i64,
    /// When its content was last changed.
    pub modified_ns: i64,
    /// When anything of it was last changed.
    pub changed_ns: i64,
    /// Storage that it takes, in units of 512 bytes.
    pub blocks: u64,
    /// The unit of efficient input and output, in bytes.
    pub block_size: u32,
}

impl Metadata {
    /// The `st_mode` of Linux: type and permission bits.
    pub fn mode(&self) -> u32 {
        self.kind.mode_bits() | u32::from(self.ownership.permissions)
    }
}

/// What to change of a file's metadata; `None` leaves a field as it is.
///
/// The caller has checked that it is allowed; the file system does it all or nothing, and stamps the change time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataChange {
    /// New permission bits ([`PERMISSION_BITS`]).
    pub permissions: Option<u16>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New length of a regular file; what lies beyond the old one reads as zero.
    pub size: Option<u64>,
    /// New time of last access.
    pub accessed_ns: Option<i64>,
    /// New time of last modification.
    pub modified_ns: Option<i64>,
}

/// What a new file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// What it is. Symbolic links have an operation of their own.
    pub kind: FileKind,
    /// Its permissions (the umask is applied) and owners.
    pub ownership: Ownership,
    /// Which device it stands for, if it is one.
    pub special_device: DeviceNumber,
}

/// What `statfs(2)` tells about a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The number that tells its type (`TMPFS_MAGIC` and so on).
    pub magic: u64,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks in all; 0 when unlimited.
    pub blocks: u64,
    /// Blocks that are free.
    pub blocks_free: u64,
    /// Inodes in all; 0 when unlimited.
    pub files: u64,
    /// Inodes that are free.
    pub files_free: u64,
    /// The longest name, in bytes.
    pub name_length: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_encoded_as_linux_does() {
        assert_eq!(DeviceNumber::new(1, 3).0, 0x103);
        let wide = DeviceNumber::new(0x12345, 0x6789ab);
        assert_eq!((wide.major(), wide.minor()), (0x12345, 0x6789ab));
    }

    #[test]
    fn kinds_round_trip_through_modes() {
        for kind in [FileKind::Fifo, FileKind::Directory, FileKind::Socket, FileKind::SymbolicLink] {
            assert_eq!(FileKind::from_mode(kind.mode_bits() | 0o755), Some(kind));
        }
        assert_eq!(FileKind::from_mode(0o030000), None);
        assert_eq!(FileKind::Directory.entry_type(), 4);
    }
}
