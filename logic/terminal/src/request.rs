//! The requests that `ioctl` brings to a terminal, as types instead of numbers.

use crate::termios::{TERMIOS_SIZE, TERMIOS2_SIZE};
use abi::linux::{general as linux, ioctl};

/// Which structure holds the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `struct termios`.
    Termios,
    /// `struct termios2`.
    Termios2,
}

/// When new settings take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// When what was written is shown.
    AfterOutput,
    /// Then, and what was typed and not read is dropped.
    AfterOutputFlushingInput,
}

/// A request to a terminal. Where it says "in" or "out", the argument is the address of that many bytes; otherwise it is
/// a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `TCGETS`, `TCGETS2`: the settings (out).
    GetSettings(Layout),
    /// `TCSETS` and its relatives: change the settings (in).
    SetSettings(Layout, When),
    /// `TIOCGWINSZ`: the window's size (out).
    GetWindowSize,
    /// `TIOCSWINSZ`: set the window's size (in).
    SetWindowSize,
    /// `TIOCGPGRP`: the foreground process group (out).
    GetForeground,
    /// `TIOCSPGRP`: set the foreground process group (in).
    SetForeground,
    /// `TIOCSCTTY`: make it the controlling terminal; 1 takes it from another session.
    AcquireControl,
    /// `TIOCNOTTY`: give it up as controlling terminal.
    ReleaseControl,
    /// `TIOCGSID`: the session that it controls (out).
    GetSession,
    /// `TCFLSH`: drop what was typed (0), written (1) or both (2).
    Flush,
    /// `TCSBRK`, `TCSBRKP`: wait until what was written is shown. (A break is not sent: the outputs have none.)
    Drain,
    /// `TCXONC`: hold output back (0), let it go on (1), send STOP (2) or START (3).
    ControlFlow,
    /// `FIONREAD`: how many bytes can be read (out).
    GetReadable,
    /// `TIOCOUTQ`: how many bytes are not yet shown (out).
    GetWaitingOutput,
    /// `TIOCSTI`: pretend that a byte was typed; refused, as Linux does by default.
    Insert,
    /// `TIOCEXCL`: let nobody else open it.
    SetExclusive,
    /// `TIOCNXCL`: let others open it again.
    ClearExclusive,
    /// `TIOCGEXCL`: whether others may not open it (out).
    GetExclusive,
    /// `TIOCGETD`: the number of the line discipline (out).
    GetDiscipline,
    /// `TIOCSETD`: set it; there is only 0 (in).
    SetDiscipline,
}

impl Request {
    /// The request with this number; `None` for those that a terminal does not know (`ENOTTY`).
    pub const fn decode(number: u32) -> Option<Request> {
        Some(match number {
            ioctl::TCGETS => Request::GetSettings(Layout::Termios),
            ioctl::TCGETS2 => Request::GetSettings(Layout::Termios2),
            ioctl::TCSETS => Request::SetSettings(Layout::Termios, When::Now),
            ioctl::TCSETSW => Request::SetSettings(Layout::Termios, When::AfterOutput),
            ioctl::TCSETSF => Request::SetSettings(Layout::Termios, When::AfterOutputFlushingInput),
            ioctl::TCSETS2 => Request::SetSettings(Layout::Termios2, When::Now),
            ioctl::TCSETSW2 => Request::SetSettings(Layout::Termios2, When::AfterOutput),
            ioctl::TCSETSF2 => Request::SetSettings(Layout::Termios2, When::AfterOutputFlushingInput),
            ioctl::TIOCGWINSZ => Request::GetWindowSize,
            ioctl::TIOCSWINSZ => Request::SetWindowSize,
            ioctl::TIOCGPGRP => Request::GetForeground,
            ioctl::TIOCSPGRP => Request::SetForeground,
            ioctl::TIOCSCTTY => Request::AcquireControl,
            ioctl::TIOCNOTTY => Request::ReleaseControl,
            ioctl::TIOCGSID => Request::GetSession,
            ioctl::TCFLSH => Request::Flush,
            ioctl::TCSBRK | ioctl::TCSBRKP => Request::Drain,
            ioctl::TCXONC => Request::ControlFlow,
            ioctl::FIONREAD => Request::GetReadable,
            ioctl::TIOCOUTQ => Request::GetWaitingOutput,
            ioctl::TIOCSTI => Request::Insert,
            ioctl::TIOCEXCL => Request::SetExclusive,
            ioctl::TIOCNXCL => Request::ClearExclusive,
            ioctl::TIOCGEXCL => Request::GetExclusive,
            ioctl::TIOCGETD => Request::GetDiscipline,
            ioctl::TIOCSETD => Request::SetDiscipline,
            _ => return None,
        })
    }

    /// How many bytes to fetch from the argument's address before the request is carried out. What is to be given is in
    /// [`Reply::bytes`].
    pub const fn input_size(self) -> usize {
        match self {
            Request::SetSettings(Layout::Termios, _) => TERMIOS_SIZE,
            Request::SetSettings(Layout::Termios2, _) => TERMIOS2_SIZE,
            Request::SetWindowSize => 8,
            Request::SetForeground | Request::SetDiscipline => 4,
            Request::Insert => 1,
            _ => 0,
        }
    }

    /// Whether a caller in the background is treated as if it wrote
    /// ([`crate::job_control::check_background_write`]), whatever `TOSTOP` says.
    pub const fn changes_terminal(self) -> bool {
        matches!(
            self,
            Request::SetSettings(..)
                | Request::SetForeground
                | Request::Flush
                | Request::Drain
                | Request::ControlFlow
                | Request::SetDiscipline
        )
    }

    /// Whether the output must be shown ([`crate::Terminal::wait_drained`]) before the request is carried out.
    pub const fn waits_for_output(self) -> bool {
        match self {
            Request::SetSettings(_, when) => !matches!(when, When::Now),
            Request::Drain => true,
            _ => false,
        }
    }
}

/// What the kernel core does after a request was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// Nothing.
    None,
    /// Send this signal to this process group.
    Signal {
        /// The signal's number.
        signal: u32,
        /// The process group.
        group: u32,
    },
    /// The terminal now controls the caller's session. It no longer controls `previous`, if that is not 0.
    ControlAcquired {
        /// The session that had it.
        previous: u32,
    },
    /// The caller no longer has a controlling terminal. If it leads its session, it calls
    /// [`crate::Terminal::disassociate`], and no process of the session has one.
    ControlReleased,
}

/// What a request gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    data: [u8; TERMIOS2_SIZE],
    length: usize,
    /// What is still to be done.
    pub follow_up: FollowUp,
}

impl Reply {
    /// Nothing to be written.
    pub const fn nothing() -> Reply {
        Reply { data: [0; TERMIOS2_SIZE], length: 0, follow_up: FollowUp::None }
    }

    pub(crate) fn with_bytes(bytes: &[u8]) -> Reply {
        let mut reply = Reply::nothing();
        reply.data[..bytes.len()].copy_from_slice(bytes);
        reply.length = bytes.len();
        reply
    }

    pub(crate) fn with_number(number: u32) -> Reply {
        Self::with_bytes(&number.to_le_bytes())
    }

    pub(crate) const fn then(follow_up: FollowUp) -> Reply {
        Reply { follow_up, ..Reply::nothing() }
    }

    /// What is to be written to the argument's address.
    pub fn bytes(&self) -> &[u8] {
        &self.data[..self.length]
    }
}

/// `TCFLSH`'s argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Input,
    Output,
    Both,
}

impl Queue {
    pub(crate) const fn new(argument: u32) -> Option<Queue> {
        match argument {
            linux::TCIFLUSH => Some(Queue::Input),
            linux::TCOFLUSH => Some(Queue::Output),
            linux::TCIOFLUSH => Some(Queue::Both),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_linux_s() {
        assert_eq!(Request::decode(0x5401), Some(Request::GetSettings(Layout::Termios)));
        assert_eq!(Request::decode(0x802c_542a), Some(Request::GetSettings(Layout::Termios2)));
        let flush = Request::SetSettings(Layout::Termios, When::AfterOutputFlushingInput);
        assert_eq!(Request::decode(0x5404), Some(flush));
        assert!(flush.waits_for_output() && flush.changes_terminal());
        assert_eq!(Request::decode(0x5413), Some(Request::GetWindowSize));
        assert_eq!(Request::decode(0x541c), None);
    }
}
