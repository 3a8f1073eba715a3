//! What a trace record is: written by the kernel, read by the tools, and shown in one way by both.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The version of the records; it changes when their meaning does.
pub const VERSION: u32 = 1;

/// One event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Record {
    /// Nanoseconds since boot.
    pub time_ns: u64,
    /// The address of the coroutine that it is about; 0 for none.
    pub coroutine: u64,
    /// What belongs to the event: see [`Event`].
    pub argument: u64,
    /// What happened: the number of an [`Event`].
    pub event: u16,
    /// On which hart.
    pub hart: u16,
    /// What belongs to the event: see [`Event`].
    pub detail: u32,
}

const _: () = assert!(size_of::<Record>() == 32);

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal, $detail:literal, $argument:literal;)*) => {
        /// What can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Event {
            $($(#[$doc])* $name = $number,)*
        }

        impl Event {
            /// The event with this number.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// What it is called, and what its detail and its argument are; empty for what means nothing.
            pub const fn words(self) -> [&'static str; 3] {
                match self {
                    $(Self::$name => [$word, $detail, $argument],)*
                }
            }
        }
    };
}

events! {
    /// A coroutine was made.
    Spawn = 1, "spawn", "priority", "";
    /// A coroutine was made that is a thread: its id and its process's.
    Thread = 2, "thread", "tid", "pid";
    /// A coroutine became ready and was queued on a hart.
    Ready = 3, "ready", "hart", "priority";
    /// The hart begins to poll it.
    Poll = 4, "poll", "priority", "";
    /// The hart has ended a poll: the coroutine waits, is queued again, or is over.
    Leave = 5, "leave", "", "";
    /// The hart took it from another one's queue.
    Steal = 6, "steal", "from", "";
    /// It is preempted in the kernel and keeps its stack.
    Preempt = 7, "preempt", "", "stack";
    /// It goes on, on the stack that it kept.
    Resume = 8, "resume", "", "stack";
    /// The hart has nothing to run and waits for an interrupt.
    Idle = 9, "idle", "", "";
    /// The wait is over.
    Awake = 10, "awake", "", "";
    /// A thread traps for a system call; the argument is its first.
    SystemCall = 11, "call", "number", "first";
    /// The call has its result.
    Return = 12, "return", "number", "result";
    /// A thread touched a page that is not there for it: 0 reads, 1 writes, 2 executes.
    Fault = 13, "fault", "access", "address";
    /// The hart takes an interrupt (number of the cause).
    Interrupt = 14, "interrupt", "cause", "";
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.time_ns / 1_000_000_000, self.time_ns % 1_000_000_000);
        write!(formatter, "{seconds:>5}.{rest:09} hart {} {:#018x} ", self.hart, self.coroutine)?;
        let Some(event) = Event::from_number(self.event) else {
            return write!(formatter, "event {} {} {:#x}", self.event, self.detail, self.argument);
        };
        let [word, detail, argument] = event.words();
        formatter.write_str(word)?;
        if !detail.is_empty() {
            write!(formatter, " {detail}={}", self.detail)?;
        }
        match argument {
            "" => Ok(()),
            "result" => write!(formatter, " {argument}={}", self.argument as i64),
            "priority" | "pid" => write!(formatter, " {argument}={}", self.argument),
            _ => write!(formatter, " {argument}={:#x}", self.argument),
        }
    }
}
