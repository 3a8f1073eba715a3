//! Why a trap happened: `scause` decoded, a pure function.

/// An interrupt to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// From another hart, through the firmware or `sip`.
    Software,
    /// The deadline of `stimecmp` or of the firmware's timer has passed.
    Timer,
    /// From the IMSIC or the PLIC.
    External,
    /// A guest interrupt file has something pending for a parked thread.
    GuestExternal,
    /// A number that the kernel does not know.
    Other(usize),
}

impl Interrupt {
    /// Its number in `scause` (privileged specification, table of supervisor causes).
    pub const fn number(self) -> u32 {
        match self {
            Self::Software => 1,
            Self::Timer => 5,
            Self::External => 9,
            Self::GuestExternal => 12,
            Self::Other(number) => number as u32,
        }
    }
}

/// The kind of access that a page fault was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store or an atomic operation.
    Write,
    /// An instruction fetch.
    Execute,
}

/// A trap, as the kernel handles it; both realms give the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// An interrupt, which has nothing to do with what ran.
    Interrupt(Interrupt),
    /// A system call.
    SystemCall,
    /// The address cannot be translated so.
    PageFault(Access),
    /// The physical address behind the translation refused the access.
    AccessFault(Access),
    /// A misaligned access that the machine does not do.
    Misaligned(Access),
    /// An instruction that does not exist, or not for this mode.
    IllegalInstruction,
    /// An instruction that only a real supervisor has, in the isolated realm; `wfi` is one.
    VirtualInstruction,
    /// `ebreak`.
    Breakpoint,
    /// A number that the kernel does not know.
    Other(usize),
}

impl Trap {
    /// Decodes `scause` (privileged specification, tables 22 and 29).
    #[inline]
    pub const fn decode(scause: usize) -> Trap {
        const INTERRUPT: usize = 1 << 63;
        // First what comes most often and must be quick.
        if scause == 8 || scause == 10 {
            return Trap::SystemCall;
        }
        if scause & INTERRUPT != 0 {
            return Trap::Interrupt(match scause & !INTERRUPT {
                1 => Interrupt::Software,
                5 => Interrupt::Timer,
                9 => Interrupt::External,
                12 => Interrupt::GuestExternal,
                number => Interrupt::Other(number),
            });
        }
        match scause {
            12 | 20 => Trap::PageFault(Access::Execute),
            13 | 21 => Trap::PageFault(Access::Read),
            15 | 23 => Trap::PageFault(Access::Write),
            0 => Trap::Misaligned(Access::Execute),
            4 => Trap::Misaligned(Access::Read),
            6 => Trap::Misaligned(Access::Write),
            1 => Trap::AccessFault(Access::Execute),
            5 => Trap::AccessFault(Access::Read),
            7 => Trap::AccessFault(Access::Write),
            2 => Trap::IllegalInstruction,
            22 => Trap::VirtualInstruction,
            3 => Trap::Breakpoint,
            number => Trap::Other(number),
        }
    }
}
