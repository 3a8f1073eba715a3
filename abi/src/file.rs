//! The structures of the calls about files, as Linux lays them out on riscv64.

use crate::linux::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct stat`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Stat {
    /// The file system that it is on.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
    /// Kind and permissions.
    pub mode: u32,
    /// How many names it has.
    pub link_count: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Which device it stands for.
    pub special_device: u64,
    /// Nothing.
    pub padding_1: u64,
    /// Bytes.
    pub size: i64,
    /// The unit of efficient input and output, in bytes.
    pub block_size: i32,
    /// Nothing.
    pub padding_2: i32,
    /// Units of 512 bytes.
    pub blocks: i64,
    /// When it was last read.
    pub accessed: TimeSpec,
    /// When its content last changed.
    pub modified: TimeSpec,
    /// When anything of it last changed.
    pub changed: TimeSpec,
    /// Nothing.
    pub unused: [u32; 2],
}
const _: () = assert!(size_of::<Stat>() == 128);

/// `struct timespec`: seconds and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimeSpec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000 unless they mean something else.
    pub nanoseconds: i64,
}
const _: () = assert!(size_of::<TimeSpec>() == size_of::<linux::__kernel_timespec>());

const SECOND_NS: i64 = 1_000_000_000;

impl TimeSpec {
    /// This many nanoseconds, which may be negative.
    pub const fn from_ns(time_ns: i64) -> Self {
        Self { seconds: time_ns.div_euclid(SECOND_NS), nanoseconds: time_ns.rem_euclid(SECOND_NS) }
    }

    /// In nanoseconds; what is beyond that is the greatest or least there is.
    pub const fn to_ns(self) -> i64 {
        self.seconds.saturating_mul(SECOND_NS).saturating_add(self.nanoseconds)
    }

    /// As a length of time; `None` when it is none: negative, or too many nanoseconds.
    pub const fn duration_ns(self) -> Option<u64> {
        if self.seconds < 0 || self.nanoseconds < 0 || self.nanoseconds >= SECOND_NS {
            return None;
        }
        Some(self.to_ns() as u64)
    }
}

/// `struct statx_timestamp`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct StatxTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: u32,
    /// Nothing.
    pub reserved: i32,
}

impl StatxTime {
    /// This many nanoseconds since 1970.
    pub const fn from_ns(time_ns: i64) -> Self {
        let time = TimeSpec::from_ns(time_ns);
        Self { seconds: time.seconds, nanoseconds: time.nanoseconds as u32, reserved: 0 }
    }
}

/// `struct statx`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Statx {
    /// Which fields are filled in.
    pub mask: u32,
    /// The unit of efficient input and output, in bytes.
    pub block_size: u32,
    /// Attributes that it has.
    pub attributes: u64,
    /// How many names it has.
    pub link_count: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Kind and permissions.
    pub mode: u16,
    /// Nothing.
    pub spare_0: u16,
    /// The inode's number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// Which attributes there can be.
    pub attributes_mask: u64,
    /// When it was last read.
    pub accessed: StatxTime,
    /// When it was made.
    pub born: StatxTime,
    /// When anything of it last changed.
    pub changed: StatxTime,
    /// When its content last changed.
    pub modified: StatxTime,
    /// The driver of the device it stands for.
    pub special_major: u32,
    /// The device of that driver.
    pub special_minor: u32,
    /// The driver of the device that it is on.
    pub device_major: u32,
    /// The device of that driver.
    pub device_minor: u32,
    /// The mount through which it was found.
    pub mount_id: u64,
    /// Direct input and output, subvolumes, atomic writes: nothing.
    pub spare: [u64; 13],
}
const _: () = assert!(size_of::<Statx>() == 256);

/// `struct statfs`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct StatFs {
    /// Which file system.
    pub magic: i64,
    /// Bytes of a block.
    pub block_size: i64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for ordinary users.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// The file system's id.
    pub id: [i32; 2],
    /// The longest name.
    pub name_length: i64,
    /// Bytes of a fragment.
    pub fragment_size: i64,
    /// What the mount forbids.
    pub flags: i64,
    /// Nothing.
    pub spare: [i64; 4],
}
const _: () = assert!(size_of::<StatFs>() == size_of::<linux::statfs>());

/// `struct iovec`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct IoVector {
    /// Where it begins.
    pub address: usize,
    /// Bytes.
    pub length: usize,
}
const _: () = assert!(size_of::<IoVector>() == size_of::<linux::iovec>());

/// `struct pollfd`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct PollEntry {
    /// The descriptor; negative: skip.
    pub descriptor: i32,
    /// What is waited for.
    pub events: u16,
    /// What was found.
    pub found: u16,
}
const _: () = assert!(size_of::<PollEntry>() == size_of::<linux::pollfd>());

/// `struct epoll_event`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct EpollEvent {
    /// What is waited for, or was found.
    pub events: u32,
    /// Nothing.
    pub padding: u32,
    /// The program's own word.
    pub data: u64,
}
const _: () = assert!(size_of::<EpollEvent>() == 16);

/// `struct flock`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct FileLock {
    /// `F_RDLCK`, `F_WRLCK`, `F_UNLCK`.
    pub kind: i16,
    /// From where `start` counts.
    pub whence: i16,
    /// Nothing.
    pub padding_1: u32,
    /// The first byte.
    pub start: i64,
    /// How many bytes; 0: to the end, wherever that is.
    pub length: i64,
    /// Whose.
    pub process: i32,
    /// Nothing.
    pub padding_2: u32,
}
const _: () = assert!(size_of::<FileLock>() == size_of::<linux::flock>());

/// `struct open_how`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct OpenHow {
    /// `O_*`
    pub flags: u64,
    /// Permissions of a new file.
    pub mode: u64,
    /// `RESOLVE_*`
    pub resolve: u64,
}
const _: () = assert!(size_of::<OpenHow>() == size_of::<linux::open_how>());

/// The fixed part of `struct linux_dirent64`; the name and a zero byte follow, then zeroes up to a multiple of 8.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C, packed)]
pub struct DirectoryRecord {
    /// The inode's number.
    pub inode: u64,
    /// Where the listing goes on behind it.
    pub offset: i64,
    /// Bytes of the whole record.
    pub length: u16,
    /// `DT_*`
    pub kind: u8,
}
const _: () = assert!(size_of::<DirectoryRecord>() == 19);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_have_positive_nanoseconds() {
        assert_eq!(TimeSpec::from_ns(-1), TimeSpec { seconds: -1, nanoseconds: 999_999_999 });
        assert_eq!(TimeSpec::from_ns(-1).to_ns(), -1);
        assert_eq!(TimeSpec { seconds: 1, nanoseconds: SECOND_NS }.duration_ns(), None);
        assert_eq!(TimeSpec { seconds: i64::MAX, nanoseconds: 5 }.duration_ns(), Some(i64::MAX as u64));
    }
}
