//! What comes with a signal: Linux's `siginfo_t`.

use super::Signal;
use abi::Error;
use base::Result;

/// `SI_USER`: by `kill`.
pub const SI_USER: i32 = 0;
/// `SI_KERNEL`: by the kernel, with nothing more to say.
pub const SI_KERNEL: i32 = 0x80;
/// `SI_QUEUE`: by `sigqueue`.
pub const SI_QUEUE: i32 = -1;
/// `SI_TIMER`: by a POSIX timer.
pub const SI_TIMER: i32 = -2;
/// `SI_TKILL`: by `tkill` or `tgkill`.
pub const SI_TKILL: i32 = -6;
/// `SEGV_MAPERR`: nothing is mapped there.
pub const SEGV_MAPERR: i32 = 1;
/// `SEGV_ACCERR`: what is mapped there may not be used so.
pub const SEGV_ACCERR: i32 = 2;
/// `BUS_ADRALN`: the address is not aligned.
pub const BUS_ADRALN: i32 = 1;
/// `BUS_ADRERR`: nothing is behind the mapping (past the end of the file).
pub const BUS_ADRERR: i32 = 2;
/// `ILL_ILLOPC`: no such instruction.
pub const ILL_ILLOPC: i32 = 1;
/// `TRAP_BRKPT`: a breakpoint.
pub const TRAP_BRKPT: i32 = 1;
/// `SI_SIGIO`: by a file that became ready, when not even that could be queued.
pub const SI_SIGIO: i32 = -5;
/// `POLL_IN`: there is something to read.
pub const POLL_IN: i32 = 1;
/// `POLL_OUT`: there is room to write.
pub const POLL_OUT: i32 = 2;
/// `POLL_HUP`: the other side is gone.
pub const POLL_HUP: i32 = 6;
/// `CLD_EXITED`: the child ended by itself.
pub const CLD_EXITED: i32 = 1;
/// `CLD_KILLED`: a signal ended the child.
pub const CLD_KILLED: i32 = 2;
/// `CLD_DUMPED`: a signal ended the child, which dumped core.
pub const CLD_DUMPED: i32 = 3;
/// `CLD_STOPPED`: the child stopped.
pub const CLD_STOPPED: i32 = 5;
/// `CLD_CONTINUED`: the child goes on.
pub const CLD_CONTINUED: i32 = 6;

const FIELDS: usize = 32;
const FIELDS_START: usize = 16;

/// What comes with one signal. Kept as Linux keeps it, without the zeroes that fill up the program's structure.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SigInfo {
    signal: i32,
    errno: i32,
    code: i32,
    fields: [u8; FIELDS],
}

/// What the fields of a signal's information are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Process and user.
    Sender,
    /// Process, user and value.
    Queued,
    /// Timer, overrun and value.
    Timer,
    /// What a file is ready for, and its descriptor.
    Readiness,
    /// A child and what became of it.
    Child,
    /// An address.
    Fault,
}

/// A child's end, stop or continuation, as `SIGCHLD` and `waitid` report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildReport {
    /// One of the `CLD_` codes.
    pub code: i32,
    /// The child's process id.
    pub pid: u32,
    /// The child's real user id.
    pub uid: u32,
    /// The exit status or the signal's number.
    pub status: i32,
    /// CPU time in user mode, in clock ticks (hundredths of a second).
    pub user_ticks: u64,
    /// CPU time in the kernel, in clock ticks.
    pub system_ticks: u64,
}

impl SigInfo {
    /// Bytes of the structure that programs see.
    pub const SIZE: usize = 128;
    /// Bytes of the structure that a signal's file gives.
    pub const RECORD_SIZE: usize = 128;

    fn new(signal: u8, code: i32) -> SigInfo {
        SigInfo { signal: i32::from(signal), errno: 0, code, fields: [0; FIELDS] }
    }

    fn put(mut self, offset: usize, bytes: &[u8]) -> SigInfo {
        self.fields[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn put_u32(self, offset: usize, value: u32) -> SigInfo {
        self.put(offset, &value.to_le_bytes())
    }

    fn put_u64(self, offset: usize, value: u64) -> SigInfo {
        self.put(offset, &value.to_le_bytes())
    }

    /// By the kernel itself, without details (a terminal's `SIGINT`, an expired limit, `SIGPIPE`).
    pub fn kernel(signal: Signal) -> SigInfo {
        Self::new(signal.number(), SI_KERNEL)
    }

    /// By `kill` of the process `pid` of user `uid`.
    pub fn kill(signal: Signal, pid: u32, uid: u32) -> SigInfo {
        Self::new(signal.number(), SI_USER).put_u32(0, pid).put_u32(4, uid)
    }

    /// By `tkill` or `tgkill` of the process `pid` of user `uid`.
    pub fn thread_kill(signal: Signal, pid: u32, uid: u32) -> SigInfo {
        Self::new(signal.number(), SI_TKILL).put_u32(0, pid).put_u32(4, uid)
    }

    /// By a POSIX timer: its id, how many expirations were lost, the value given to `timer_create`.
    pub fn timer(signal: Signal, timer: u32, overrun: u32, value: u64) -> SigInfo {
        Self::new(signal.number(), SI_TIMER).put_u32(0, timer).put_u32(4, overrun).put_u64(8, value)
    }

    /// By a file that became ready: one of the `POLL_` codes, what it is ready for as `poll` has it, and its descriptor.
    pub fn readiness(signal: Signal, code: i32, events: u64, descriptor: u32) -> SigInfo {
        Self::new(signal.number(), code).put_u64(0, events).put_u32(8, descriptor)
    }

    /// By an instruction of the thread, at or about `address`; `code` says why (`SEGV_MAPERR` and so on).
    pub fn fault(signal: Signal, code: i32, address: u64) -> SigInfo {
        Self::new(signal.number(), code).put_u64(0, address)
    }

    /// `SIGSYS` of seccomp or of user dispatch: the call's address, number and architecture.
    pub fn system_call(code: i32, address: u64, number: i32, architecture: u32) -> SigInfo {
        let info = Self::new(Signal::SYS.number(), code).put_u64(0, address);
        info.put_u32(8, number as u32).put_u32(12, architecture)
    }

    /// By a change of a child, with the signal that the parent asked for (`SIGCHLD`, mostly).
    pub fn child(signal: Signal, report: &ChildReport) -> SigInfo {
        Self::child_fields(signal.number(), report)
    }

    /// What `waitid` fills in: `si_signo` is `SIGCHLD`.
    pub fn waited(report: &ChildReport) -> SigInfo {
        Self::child_fields(Signal::CHLD.number(), report)
    }

    fn child_fields(signal: u8, report: &ChildReport) -> SigInfo {
        let info = Self::new(signal, report.code).put_u32(0, report.pid).put_u32(4, report.uid);
        info.put_u32(8, report.status as u32).put_u64(16, report.user_ticks).put_u64(24, report.system_ticks)
    }

    /// What a program gave to `rt_sigqueueinfo` for `signal`; its own `si_signo` is overruled.
    ///
    /// # Errors
    /// [`Error::ArgumentListTooLong`], as on Linux, when bytes are set that the kernel does not know.
    pub fn from_user(signal: Signal, bytes: &[u8; Self::SIZE]) -> Result<SigInfo> {
        let (known, expansion) = bytes.split_at(FIELDS_START + FIELDS);
        if expansion.iter().any(|byte| *byte != 0) {
            return Err(Error::ArgumentListTooLong);
        }
        let number = |offset: usize| crate::word_at(known, offset);
        let mut info = Self::new(signal.number(), number(8) as u32 as i32);
        info.errno = (number(0) >> 32) as u32 as i32;
        info.fields.copy_from_slice(&known[FIELDS_START..]);
        Ok(info)
    }

    /// As a program sees it.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.signal.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.code.to_le_bytes());
        bytes[FIELDS_START..FIELDS_START + FIELDS].copy_from_slice(&self.fields);
        bytes
    }

    /// As a signal's file tells it: `struct signalfd_siginfo`.
    pub fn to_record(&self) -> [u8; Self::RECORD_SIZE] {
        let mut bytes = [0; Self::RECORD_SIZE];
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(0, &self.signal.to_le_bytes());
        put(4, &self.errno.to_le_bytes());
        put(8, &self.code.to_le_bytes());
        let field = |offset: usize, length: usize| &self.fields[offset..offset + length];
        match self.layout() {
            Layout::Sender => put(12, field(0, 8)),
            Layout::Queued => {
                put(12, field(0, 8));
                put(44, field(8, 4));
                put(48, field(8, 8));
            }
            Layout::Timer => {
                put(24, field(0, 4));
                put(32, field(4, 4));
                put(44, field(8, 4));
                put(48, field(8, 8));
            }
            Layout::Readiness => {
                put(28, field(0, 4));
                put(20, field(8, 4));
            }
            Layout::Child => {
                put(12, field(0, 8));
                put(40, field(8, 4));
                put(56, field(16, 16));
            }
            Layout::Fault => put(72, field(0, 8)),
        }
        bytes
    }

    /// What stands in its fields.
    fn layout(&self) -> Layout {
        match (self.code, self.signal()) {
            (SI_TIMER, _) => Layout::Timer,
            (SI_SIGIO, _) => Layout::Readiness,
            (code, _) if code < SI_USER => Layout::Queued,
            (SI_USER | SI_KERNEL.., _) => Layout::Sender,
            (_, Some(Signal::CHLD)) => Layout::Child,
            (_, Some(Signal::ILL | Signal::FPE | Signal::SEGV | Signal::BUS | Signal::TRAP)) => Layout::Fault,
            (POLL_IN..=POLL_HUP, _) => Layout::Readiness,
            _ => Layout::Sender,
        }
    }

    /// Which signal it came with; `None` for one that was not sent (an empty `waitid` result).
    pub fn signal(&self) -> Option<Signal> {
        Signal::new(u32::try_from(self.signal).ok()?)
    }

    /// `si_code`: where it came from.
    #[inline]
    pub fn code(&self) -> i32 {
        self.code
    }

    /// Whether a process sent it (rather than the kernel), so that its sender's rights count.
    #[inline]
    pub fn is_from_user(&self) -> bool {
        self.code <= 0
    }

    /// Whether the kernel raised it for an instruction of the thread (`SEGV_MAPERR` and so on).
    #[inline]
    pub fn is_synchronous(&self) -> bool {
        self.code > SI_USER
            && self.signal().is_some_and(|signal| super::SignalSet::SYNCHRONOUS.contains(signal))
    }

    /// The timer whose expiry it tells of.
    pub fn timer_number(&self) -> Option<u32> {
        (self.code == SI_TIMER).then(|| self.pid())
    }

    /// Whether both tell of the same timer.
    pub fn is_of_same_timer(&self, other: &SigInfo) -> bool {
        self.timer_number().is_some()
            && (self.timer_number(), self.signal) == (other.timer_number(), other.signal)
    }

    /// How many expirations of a timer it does not stand for.
    pub fn overrun(&self) -> u32 {
        self.uid()
    }

    /// Counts expirations of a timer that it does not stand for, up to `DELAYTIMER_MAX`.
    pub fn add_overrun(&mut self, count: u32) {
        let overrun = self.overrun().saturating_add(count).min(i32::MAX as u32);
        *self = self.put_u32(4, overrun);
    }

    /// Whether a process may send this to another by `rt_sigqueueinfo`: it must not look like the kernel's or `tkill`'s.
    pub fn may_be_forged(&self) -> bool {
        self.code < 0 && self.code != SI_TKILL
    }

    /// The value of `sigqueue` or of a timer; the address of a fault is [`SigInfo::address`].
    pub fn value(&self) -> u64 {
        crate::word_at(&self.fields, 8)
    }

    /// The sender's process id (`kill`, `tkill`, `sigqueue`) or the child's.
    pub fn pid(&self) -> u32 {
        crate::word_at(&self.fields, 0) as u32
    }

    /// The sender's or the child's real user id.
    pub fn uid(&self) -> u32 {
        (crate::word_at(&self.fields, 0) >> 32) as u32
    }

    /// The address of a fault.
    pub fn address(&self) -> u64 {
        crate::word_at(&self.fields, 0)
    }
}

impl core::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SigInfo({:?}, code {}, {:x?})", self.signal(), self.code, self.fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    #[test]
    fn fields_stand_where_linux_has_them() {
        let kill = SigInfo::kill(Signal::TERM, 42, 1000).to_bytes();
        assert_eq!([0, 4, 8, 16, 20].map(|offset| u32_at(&kill, offset)), [15, 0, 0, 42, 1000]);
        let fault = SigInfo::fault(Signal::SEGV, SEGV_ACCERR, 0x1_2345_6789).to_bytes();
        assert_eq!((u32_at(&fault, 8), crate::word_at(&fault, 16)), (2, 0x1_2345_6789));
        let report =
            ChildReport { code: CLD_KILLED, pid: 7, uid: 8, status: 9, user_ticks: 10, system_ticks: 11 };
        let child = SigInfo::waited(&report).to_bytes();
        assert_eq!([0, 8, 16, 20, 24].map(|offset| u32_at(&child, offset)), [17, 2, 7, 8, 9]);
        assert_eq!((crate::word_at(&child, 32), crate::word_at(&child, 40)), (10, 11));
        let timer = SigInfo::timer(Signal::ALRM, 3, 4, 5).to_bytes();
        assert_eq!([8, 16, 20, 24].map(|offset| u32_at(&timer, offset)), [-2i32 as u32, 3, 4, 5]);
    }

    #[test]
    fn a_record_has_the_fields_of_its_kind() {
        let kill = SigInfo::kill(Signal::TERM, 42, 1000).to_record();
        assert_eq!([0, 4, 8, 12, 16, 24].map(|offset| u32_at(&kill, offset)), [15, 0, 0, 42, 1000, 0]);
        let timer = SigInfo::timer(Signal::ALRM, 3, 4, 5).to_record();
        assert_eq!([12, 24, 32, 44].map(|offset| u32_at(&timer, offset)), [0, 3, 4, 5]);
        let fault = SigInfo::fault(Signal::SEGV, SEGV_ACCERR, 0x1_2345_6789).to_record();
        assert_eq!(crate::word_at(&fault, 72), 0x1_2345_6789);
        let ready = SigInfo::readiness(Signal::new(40).unwrap(), POLL_IN, 0x41, 7).to_record();
        assert_eq!([20, 28].map(|offset| u32_at(&ready, offset)), [7, 0x41]);
    }

    #[test]
    fn what_a_program_sends_round_trips() {
        let mut bytes = SigInfo::kill(Signal::USR1, 1, 2).to_bytes();
        bytes[4..8].copy_from_slice(&5u32.to_le_bytes());
        bytes[8..12].copy_from_slice(&SI_QUEUE.to_le_bytes());
        bytes[24..32].copy_from_slice(&0x1122_3344_5566_7788u64.to_le_bytes());
        let info = SigInfo::from_user(Signal::USR2, &bytes).unwrap();
        assert_eq!(
            (info.signal(), info.code(), info.value()),
            (Some(Signal::USR2), SI_QUEUE, 0x1122_3344_5566_7788)
        );
        assert!(info.may_be_forged() && info.is_from_user());
        let seen = info.to_bytes();
        assert_eq!(seen[4..], bytes[4..]);
        bytes[100] = 1;
        assert_eq!(SigInfo::from_user(Signal::USR2, &bytes), Err(Error::ArgumentListTooLong));
    }
}
