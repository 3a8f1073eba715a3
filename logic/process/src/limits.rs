//! Resource limits: the sixteen of Linux, and who may change them.

use abi::Error;
use base::Result;

/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// What is limited; the numbers are those of `setrlimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Resource {
    /// CPU time, in seconds.
    CpuTime = 0,
    /// The size of a file that is written, in bytes.
    FileSize = 1,
    /// Private writable memory, in bytes.
    Data = 2,
    /// The stack, in bytes.
    Stack = 3,
    /// A core dump, in bytes.
    Core = 4,
    /// Resident memory; has no effect, as on Linux.
    ResidentSet = 5,
    /// Processes and threads of the real user.
    Processes = 6,
    /// One more than the greatest file descriptor.
    OpenFiles = 7,
    /// Locked memory, in bytes.
    LockedMemory = 8,
    /// The address space, in bytes.
    AddressSpace = 9,
    /// File locks; has no effect, as on Linux.
    FileLocks = 10,
    /// Queued signals of the real user.
    PendingSignals = 11,
    /// Bytes in POSIX message queues of the real user.
    MessageQueues = 12,
    /// 20 minus the least nice value that may be set.
    Nice = 13,
    /// The greatest real-time priority that may be set.
    RealTimePriority = 14,
    /// CPU time without a system call that waits, under a real-time policy, in microseconds.
    RealTimeTime = 15,
}

/// How many limits there are.
pub const COUNT: usize = 16;

impl Resource {
    /// Every resource in the order of its number.
    pub const ALL: [Resource; COUNT] = [
        Resource::CpuTime,
        Resource::FileSize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::ResidentSet,
        Resource::Processes,
        Resource::OpenFiles,
        Resource::LockedMemory,
        Resource::AddressSpace,
        Resource::FileLocks,
        Resource::PendingSignals,
        Resource::MessageQueues,
        Resource::Nice,
        Resource::RealTimePriority,
        Resource::RealTimeTime,
    ];

    /// The resource with this number.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there is none.
    pub fn new(number: u32) -> Result<Resource> {
        Self::ALL.get(number as usize).copied().ok_or(Error::InvalidArgument)
    }

    /// Name and unit as `/proc/PID/limits` shows them.
    pub const fn name_and_unit(self) -> (&'static str, &'static str) {
        match self {
            Resource::CpuTime => ("Max cpu time", "seconds"),
            Resource::FileSize => ("Max file size", "bytes"),
            Resource::Data => ("Max data size", "bytes"),
            Resource::Stack => ("Max stack size", "bytes"),
            Resource::Core => ("Max core file size", "bytes"),
            Resource::ResidentSet => ("Max resident set", "bytes"),
            Resource::Processes => ("Max processes", "processes"),
            Resource::OpenFiles => ("Max open files", "files"),
            Resource::LockedMemory => ("Max locked memory", "bytes"),
            Resource::AddressSpace => ("Max address space", "bytes"),
            Resource::FileLocks => ("Max file locks", "locks"),
            Resource::PendingSignals => ("Max pending signals", "signals"),
            Resource::MessageQueues => ("Max msgqueue size", "bytes"),
            Resource::Nice => ("Max nice priority", ""),
            Resource::RealTimePriority => ("Max realtime priority", ""),
            Resource::RealTimeTime => ("Max realtime timeout", "us"),
        }
    }
}

/// A limit: what holds now, and how far it may be raised. Laid out as `struct rlimit64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// What holds.
    pub soft: u64,
    /// How far `soft` may be raised.
    pub hard: u64,
}

impl Limit {
    /// Bytes of the structure.
    pub const SIZE: usize = 16;
    const NONE: Limit = Limit::both(INFINITY);

    const fn both(value: u64) -> Limit {
        Limit { soft: value, hard: value }
    }

    /// From the bytes that a program gives.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Limit {
        Limit { soft: crate::word_at(bytes, 0), hard: crate::word_at(bytes, 8) }
    }

    /// As a program sees it.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.soft.to_le_bytes());
        bytes[8..].copy_from_slice(&self.hard.to_le_bytes());
        bytes
    }
}

/// Whether a process may raise hard limits (`CAP_SYS_RESOURCE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raising {
    /// It may.
    Allowed,
    /// It may only lower them.
    Forbidden,
}

/// All limits of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    limits: [Limit; COUNT],
}

impl Limits {
    /// Those of the first process. `threads_max` is how many threads the machine's memory allows: half of them limit the
    /// processes of a user and its queued signals.
    pub const fn new(threads_max: u64) -> Limits {
        let mut limits = [Limit::NONE; COUNT];
        limits[Resource::Stack as usize] = Limit { soft: 8 << 20, hard: INFINITY };
        limits[Resource::Core as usize] = Limit { soft: 0, hard: INFINITY };
        limits[Resource::Processes as usize] = Limit::both(threads_max / 2);
        limits[Resource::OpenFiles as usize] = Limit { soft: 1024, hard: 4096 };
        limits[Resource::LockedMemory as usize] = Limit::both(8 << 20);
        limits[Resource::PendingSignals as usize] = Limit::both(threads_max / 2);
        limits[Resource::MessageQueues as usize] = Limit::both(819_200);
        limits[Resource::Nice as usize] = Limit::both(0);
        limits[Resource::RealTimePriority as usize] = Limit::both(0);
        Limits { limits }
    }

    /// The limit of `resource`.
    #[inline]
    pub const fn get(&self, resource: Resource) -> Limit {
        self.limits[resource as usize]
    }

    /// What holds now for `resource`.
    #[inline]
    pub const fn soft(&self, resource: Resource) -> u64 {
        self.limits[resource as usize].soft
    }

    /// Sets the limit of `resource`; `open_files_max` is the system's own bound on descriptors (`fs.nr_open`).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the soft limit is above the hard one; [`Error::NotPermitted`] when the hard one is
    /// raised without the right to, or that of open files above the system's bound.
    pub fn set(
        &mut self,
        resource: Resource,
        new: Limit,
        raising: Raising,
        open_files_max: u64,
    ) -> Result<()> {
        if new.soft > new.hard {
            return Err(Error::InvalidArgument);
        }
        if resource == Resource::OpenFiles && new.hard > open_files_max {
            return Err(Error::NotPermitted);
        }
        if new.hard > self.get(resource).hard && raising == Raising::Forbidden {
            return Err(Error::NotPermitted);
        }
        self.limits[resource as usize] = new;
        Ok(())
    }

    /// Raises the soft limit of CPU time, which was told of, to `seconds`, but not above the hard one.
    pub fn raise_cpu_time(&mut self, seconds: u64) {
        let limit = &mut self.limits[Resource::CpuTime as usize];
        limit.soft = limit.soft.max(seconds).min(limit.hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_defaults_are_linux_s() {
        for (number, resource) in Resource::ALL.into_iter().enumerate() {
            assert_eq!(resource as usize, number);
            assert_eq!(Resource::new(number as u32), Ok(resource));
        }
        assert_eq!(Resource::new(16), Err(Error::InvalidArgument));
        let limits = Limits::new(1000);
        assert_eq!(limits.get(Resource::Stack), Limit { soft: 8 << 20, hard: INFINITY });
        assert_eq!(limits.get(Resource::OpenFiles), Limit { soft: 1024, hard: 4096 });
        assert_eq!(limits.soft(Resource::Processes), 500);
        let limit = Limit { soft: 1, hard: 2 };
        assert_eq!(Limit::from_bytes(&limit.to_bytes()), limit);
    }

    #[test]
    fn only_the_privileged_raise_hard_limits() {
        let mut limits = Limits::new(1000);
        let mut set =
            |soft, hard, raising| limits.set(Resource::OpenFiles, Limit { soft, hard }, raising, 1 << 20);
        assert_eq!(set(2, 1, Raising::Allowed), Err(Error::InvalidArgument));
        assert_eq!(set(4096, 4096, Raising::Forbidden), Ok(()));
        assert_eq!(set(1, 5000, Raising::Forbidden), Err(Error::NotPermitted));
        assert_eq!(set(1, 5000, Raising::Allowed), Ok(()));
        assert_eq!(set(1, INFINITY, Raising::Allowed), Err(Error::NotPermitted));
        assert_eq!(set(1, 10, Raising::Forbidden), Ok(()));
        assert_eq!(set(1, 11, Raising::Forbidden), Err(Error::NotPermitted));
    }
}
