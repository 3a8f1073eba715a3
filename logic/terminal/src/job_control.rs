//! Job control: which process groups may use their terminal now. (POSIX, "General Terminal Interface".)

use abi::Error;
use abi::linux::general as linux;

/// What the kernel core knows of a thread that uses a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its session.
    pub session: u32,
    /// Its process group.
    pub group: u32,
    /// What it is to its session, and the session to a terminal.
    pub standing: Standing,
    /// Whether it may do what only administrators may (`CAP_SYS_ADMIN`).
    pub privilege: Privilege,
}

/// Which terminal controls the caller's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This one does.
    ControlledHere,
    /// Another one does.
    ControlledElsewhere,
    /// None does, and the caller leads the session: it may acquire this one.
    LeaderWithoutTerminal,
    /// None does.
    WithoutTerminal,
}

/// Whether the caller has `CAP_SYS_ADMIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It has.
    Administrator,
    /// It has not.
    Ordinary,
}

/// What the caller does with the signal that would stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// It would take effect.
    Effective,
    /// It is ignored or blocked.
    Ignored,
}

/// Whether the process group has somebody who would continue it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// It has.
    Attended,
    /// It is orphaned.
    Orphaned,
}

/// What a use of the terminal comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Go on.
    Allow,
    /// Send this signal to the caller's process group; the call is interrupted, to be made again (`ERESTARTSYS`).
    Signal(u32),
    /// The call fails.
    Error(Error),
}

impl Caller {
    /// Whether it is in the background of this terminal, whose foreground group is `foreground` (0: none).
    #[inline]
    pub fn is_in_background(&self, foreground: u32) -> bool {
        self.standing == Standing::ControlledHere && foreground != 0 && self.group != foreground
    }
}

/// A read by a process in the background (see [`Caller::is_in_background`]).
pub const fn check_background_read(signal: StopSignal, group: GroupState) -> Access {
    match (signal, group) {
        (StopSignal::Effective, GroupState::Attended) => Access::Signal(linux::SIGTTIN),
        _ => Access::Error(Error::InputOutput),
    }
}

/// A write with `TOSTOP`, or a change of the terminal, by a process in the background.
pub const fn check_background_write(signal: StopSignal, group: GroupState) -> Access {
    match (signal, group) {
        (StopSignal::Ignored, _) => Access::Allow,
        (StopSignal::Effective, GroupState::Attended) => Access::Signal(linux::SIGTTOU),
        (StopSignal::Effective, GroupState::Orphaned) => Access::Error(Error::InputOutput),
    }
}
