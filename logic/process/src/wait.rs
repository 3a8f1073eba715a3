//! How a process ended, and what waiting for it tells: the status word, `waitid`'s information, resource usage.

use crate::signal::information::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, ChildReport,
};
use crate::signal::{SigInfo, Signal};
use crate::stack::CLOCK_TICKS;
use abi::Error;
use base::Result;
use bitflags::bitflags;

/// A change of a child that a wait can report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It called `exit` with this status.
    Exited(u8),
    /// A signal ended it.
    Killed {
        /// Which.
        signal: Signal,
        /// Whether core was dumped.
        core: bool,
    },
    /// A signal stopped it.
    Stopped(Signal),
    /// `SIGCONT` made it go on.
    Continued,
}

impl Change {
    /// The status word of `wait4`.
    pub const fn status(self) -> u32 {
        const CORE: u32 = 0x80;
        const CONTINUED: u32 = 0xffff;
        match self {
            Change::Exited(code) => (code as u32) << 8,
            Change::Killed { signal, core } => signal.number() as u32 | if core { CORE } else { 0 },
            Change::Stopped(signal) => (signal.number() as u32) << 8 | 0x7f,
            Change::Continued => CONTINUED,
        }
    }

    /// `si_code` and `si_status` of `SIGCHLD` and `waitid`.
    pub const fn code_and_status(self) -> (i32, i32) {
        match self {
            Change::Exited(code) => (CLD_EXITED, code as i32),
            Change::Killed { signal, core: false } => (CLD_KILLED, signal.number() as i32),
            Change::Killed { signal, core: true } => (CLD_DUMPED, signal.number() as i32),
            Change::Stopped(signal) => (CLD_STOPPED, signal.number() as i32),
            Change::Continued => (CLD_CONTINUED, Signal::CONT.number() as i32),
        }
    }

    /// Whether the child is gone after it.
    pub const fn is_end(self) -> bool {
        matches!(self, Change::Exited(_) | Change::Killed { .. })
    }

    /// What `SIGCHLD` and `waitid` tell of child `pid` of real user `uid`, which used this much.
    pub fn report(self, pid: u32, uid: u32, usage: &Usage) -> ChildReport {
        const NS_PER_TICK: u64 = 1_000_000_000 / CLOCK_TICKS;
        let (code, status) = self.code_and_status();
        let (user_ticks, system_ticks) = (usage.user_ns / NS_PER_TICK, usage.system_ns / NS_PER_TICK);
        ChildReport { code, pid, uid, status, user_ticks, system_ticks }
    }

    /// What a virtual machine or a shell gives as the exit status: the code, or 128 plus the signal's number.
    pub const fn exit_code(self) -> u8 {
        match self {
            Change::Exited(code) => code,
            Change::Killed { signal, .. } | Change::Stopped(signal) => 128 + signal.number(),
            Change::Continued => 0,
        }
    }
}

/// The bytes that `waitid` writes when, with `WNOHANG`, there was nothing to report.
pub const NOTHING_WAITED: [u8; SigInfo::SIZE] = [0; SigInfo::SIZE];

bitflags! {
    /// The options of `wait4` and `waitid`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Options: u32 {
        /// `WNOHANG`: do not wait.
        const NO_HANG = 0x1;
        /// `WUNTRACED`, `WSTOPPED`: also children that stopped.
        const STOPPED = 0x2;
        /// `WEXITED`: children that ended (always for `wait4`).
        const EXITED = 0x4;
        /// `WCONTINUED`: also children that went on.
        const CONTINUED = 0x8;
        /// `WNOWAIT`: leave the report for a later wait.
        const NO_WAIT = 0x0100_0000;
        /// `__WNOTHREAD`: only children of this thread.
        const NO_THREAD = 0x2000_0000;
        /// `__WALL`: children of any kind.
        const ALL = 0x4000_0000;
        /// `__WCLONE`: only children that do not end with `SIGCHLD`.
        const CLONE = 0x8000_0000;
    }
}

impl Options {
    /// The options of `wait4`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for those that it does not take.
    pub fn for_wait4(bits: u32) -> Result<Options> {
        let taken =
            Self::NO_HANG | Self::STOPPED | Self::CONTINUED | Self::NO_THREAD | Self::ALL | Self::CLONE;
        let options = Self::from_bits(bits).filter(|options| taken.contains(*options));
        options.map(|options| options | Self::EXITED).ok_or(Error::InvalidArgument)
    }

    /// The options of `waitid`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for unknown ones, or when nothing is waited for.
    pub fn for_waitid(bits: u32) -> Result<Options> {
        let options = Self::from_bits(bits).ok_or(Error::InvalidArgument)?;
        let awaited = Self::EXITED | Self::STOPPED | Self::CONTINUED;
        if options.intersects(awaited) { Ok(options) } else { Err(Error::InvalidArgument) }
    }
}

/// Which children a wait is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any.
    Any,
    /// This process.
    Process(u32),
    /// Those in this process group.
    Group(u32),
}

impl Target {
    /// The first argument of `wait4`; `own_group` is the caller's process group.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`] for the one number that has no negation.
    pub const fn for_wait4(pid: i32, own_group: u32) -> Result<Target> {
        match pid {
            i32::MIN => Err(Error::NoSuchProcess),
            -1 => Ok(Target::Any),
            0 => Ok(Target::Group(own_group)),
            pid if pid < 0 => Ok(Target::Group(pid.unsigned_abs())),
            pid => Ok(Target::Process(pid as u32)),
        }
    }

    /// The first two arguments of `waitid`, `P_ALL`, `P_PID` or `P_PGID` (`P_PIDFD` is the caller's to resolve).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another kind or an impossible id.
    pub const fn for_waitid(kind: u32, id: i32, own_group: u32) -> Result<Target> {
        match (kind, id) {
            (0, _) => Ok(Target::Any),
            (1, id) if id > 0 => Ok(Target::Process(id as u32)),
            (2, 0) => Ok(Target::Group(own_group)),
            (2, id) if id > 0 => Ok(Target::Group(id as u32)),
            _ => Err(Error::InvalidArgument),
        }
    }

    /// Whether the child `pid` in group `group` is meant.
    #[inline]
    pub const fn matches(self, pid: u32, group: u32) -> bool {
        match self {
            Target::Any => true,
            Target::Process(wanted) => wanted == pid,
            Target::Group(wanted) => wanted == group,
        }
    }
}

/// What a thread, a process or its reaped children used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user_ns: u64,
    /// CPU time in the kernel.
    pub system_ns: u64,
    /// The most memory that was resident at once, in KiB.
    pub resident_peak_kib: u64,
    /// Page faults that needed no input or output.
    pub minor_faults: u64,
    /// Page faults that did.
    pub major_faults: u64,
    /// 512-byte blocks read from devices.
    pub blocks_read: u64,
    /// 512-byte blocks written to devices.
    pub blocks_written: u64,
    /// How often the CPU was given up to wait.
    pub voluntary_switches: u64,
    /// How often it was taken away.
    pub involuntary_switches: u64,
}

impl Usage {
    /// Bytes of `struct rusage`.
    pub const SIZE: usize = 144;

    /// Adds what another used; the peak is the greater of the two.
    pub fn add(&mut self, other: &Usage) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.resident_peak_kib = self.resident_peak_kib.max(other.resident_peak_kib);
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.blocks_read += other.blocks_read;
        self.blocks_written += other.blocks_written;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
    }

    /// As `struct rusage`; what Linux does not maintain is 0.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let time = |ns: u64| [ns / 1_000_000_000, ns % 1_000_000_000 / 1000];
        let ([user_s, user_us], [system_s, system_us]) = (time(self.user_ns), time(self.system_ns));
        let words = [
            user_s,
            user_us,
            system_s,
            system_us,
            self.resident_peak_kib,
            0, // ru_ixrss
            0, // ru_idrss
            0, // ru_isrss
            self.minor_faults,
            self.major_faults,
            0, // ru_nswap
            self.blocks_read,
            self.blocks_written,
            0, // ru_msgsnd
            0, // ru_msgrcv
            0, // ru_nsignals
            self.voluntary_switches,
            self.involuntary_switches,
        ];
        let mut bytes = [0; Self::SIZE];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

const _: () = assert!(size_of::<abi::linux::general::rusage>() == Usage::SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words_are_what_the_c_library_takes_apart() {
        let table = [
            (Change::Exited(3), 0x300, (1, 3), 3),
            (Change::Killed { signal: Signal::KILL, core: false }, 9, (2, 9), 137),
            (Change::Killed { signal: Signal::SEGV, core: true }, 0x8b, (3, 11), 139),
            (Change::Stopped(Signal::TSTP), 0x147f, (5, 20), 148),
            (Change::Continued, 0xffff, (6, 18), 0),
        ];
        for (change, status, report, exit) in table {
            assert_eq!(
                (change.status(), change.code_and_status(), change.exit_code()),
                (status, report, exit)
            );
        }
        assert!(Change::Exited(0).is_end() && !Change::Continued.is_end());
    }

    #[test]
    fn options_and_targets_are_checked_as_on_linux() {
        assert_eq!(Options::for_wait4(0x3), Ok(Options::NO_HANG | Options::STOPPED | Options::EXITED));
        for bad in [0x4, 0x0100_0000, 0x10] {
            assert_eq!(Options::for_wait4(bad), Err(Error::InvalidArgument));
        }
        assert_eq!(Options::for_waitid(0x1), Err(Error::InvalidArgument));
        assert!(Options::for_waitid(0x0100_0005).is_ok());
        assert_eq!(Target::for_wait4(-5, 1), Ok(Target::Group(5)));
        assert_eq!(Target::for_wait4(0, 7), Ok(Target::Group(7)));
        assert_eq!(Target::for_wait4(i32::MIN, 7), Err(Error::NoSuchProcess));
        assert_eq!(Target::for_waitid(1, 0, 7), Err(Error::InvalidArgument));
        assert_eq!(Target::for_waitid(2, 0, 7), Ok(Target::Group(7)));
        assert!(
            Target::Any.matches(1, 2) && !Target::Process(2).matches(1, 2) && Target::Group(2).matches(1, 2)
        );
    }

    #[test]
    fn usage_adds_up_and_has_rusage_s_layout() {
        let mut usage =
            Usage { user_ns: 1_500_000_000, resident_peak_kib: 5, minor_faults: 1, ..Usage::default() };
        usage.add(&Usage {
            user_ns: 2_000,
            resident_peak_kib: 3,
            involuntary_switches: 4,
            ..Usage::default()
        });
        let bytes = usage.to_bytes();
        let word = |index: usize| crate::word_at(&bytes, index * 8);
        assert_eq!([word(0), word(1), word(4), word(8), word(17)], [1, 500_002, 5, 1, 4]);
        let report = Change::Exited(0).report(3, 4, &usage);
        assert_eq!((report.pid, report.uid, report.user_ticks), (3, 4, 150));
    }
}
