//! Signals: their numbers, sets, default actions, and what happens when one meets a process.

pub mod action;
pub mod alternate;
pub mod frame;
pub mod information;
pub mod pending;
pub mod stopping;

pub use action::{Delivery, Disposition, SigAction, SignalActions};
pub use alternate::AlternateStack;
pub use information::SigInfo;
pub use pending::{Outcome, PendingSignals, SignalQuota, next_signal};
pub use stopping::{JobState, Notification};

/// A signal's number, 1 to [`Signal::LAST`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal, $default:ident;)*) => {
        impl Signal {
            $(#[doc = concat!("`SIG", stringify!($name), "`.")] pub const $name: Signal = Signal($number);)*

            /// What happens when nothing was arranged for it.
            pub const fn default_action(self) -> DefaultAction {
                match self {
                    $(Signal::$name => DefaultAction::$default,)*
                    _ => DefaultAction::Terminate,
                }
            }

            /// Its name without the `SIG`, for the standard signals.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Signal::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    HUP = 1, Terminate;
    INT = 2, Terminate;
    QUIT = 3, DumpCore;
    ILL = 4, DumpCore;
    TRAP = 5, DumpCore;
    ABRT = 6, DumpCore;
    BUS = 7, DumpCore;
    FPE = 8, DumpCore;
    KILL = 9, Terminate;
    USR1 = 10, Terminate;
    SEGV = 11, DumpCore;
    USR2 = 12, Terminate;
    PIPE = 13, Terminate;
    ALRM = 14, Terminate;
    TERM = 15, Terminate;
    STKFLT = 16, Terminate;
    CHLD = 17, Ignore;
    CONT = 18, Continue;
    STOP = 19, Stop;
    TSTP = 20, Stop;
    TTIN = 21, Stop;
    TTOU = 22, Stop;
    URG = 23, Ignore;
    XCPU = 24, DumpCore;
    XFSZ = 25, DumpCore;
    VTALRM = 26, Terminate;
    PROF = 27, Terminate;
    WINCH = 28, Ignore;
    IO = 29, Terminate;
    PWR = 30, Terminate;
    SYS = 31, DumpCore;
}

/// What a signal does to a process that arranged nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends, with a core dump if its limits allow one.
    DumpCore,
    /// The process stops.
    Stop,
    /// A stopped process goes on; otherwise nothing.
    Continue,
    /// Nothing.
    Ignore,
}

impl Signal {
    /// The last real-time signal.
    pub const LAST: u8 = 64;
    /// The first real-time signal (as the kernel counts; C libraries keep two or three for themselves).
    pub const FIRST_REAL_TIME: u8 = 32;

    /// The signal with this number; `None` outside 1 to [`Signal::LAST`].
    #[inline]
    pub const fn new(number: u32) -> Option<Signal> {
        if number >= 1 && number <= Self::LAST as u32 { Some(Signal(number as u8)) } else { None }
    }

    /// Its number.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether several of it can be pending at once.
    #[inline]
    pub const fn is_real_time(self) -> bool {
        self.0 >= Self::FIRST_REAL_TIME
    }

    /// Whether it is one of those that can be neither caught, blocked nor ignored.
    #[inline]
    pub const fn is_unblockable(self) -> bool {
        SignalSet::UNBLOCKABLE.contains(self)
    }
}

impl core::fmt::Debug for Signal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "SIGRT+{}", self.0.saturating_sub(Self::FIRST_REAL_TIME)),
        }
    }
}

/// A set of signals, laid out as the kernel's `sigset_t`: signal `n` is bit `n - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Bytes of the kernel's `sigset_t`; what `sigsetsize` arguments must be.
    pub const SIZE: usize = size_of::<u64>();
    /// No signal.
    pub const EMPTY: SignalSet = SignalSet(0);
    /// Every signal.
    pub const ALL: SignalSet = SignalSet(!0);
    /// `SIGKILL` and `SIGSTOP`.
    pub const UNBLOCKABLE: SignalSet = SignalSet::of(&[Signal::KILL, Signal::STOP]);
    /// Those that stop a process by default.
    pub const STOPPING: SignalSet = SignalSet::of(&[Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU]);
    /// Those that an instruction of the thread itself causes, and that are delivered before any other.
    pub const SYNCHRONOUS: SignalSet =
        SignalSet::of(&[Signal::SEGV, Signal::BUS, Signal::ILL, Signal::TRAP, Signal::FPE, Signal::SYS]);

    /// The set of these signals.
    pub const fn of(signals: &[Signal]) -> SignalSet {
        let mut bits = 0;
        let mut index = 0;
        while index < signals.len() {
            bits |= 1 << (signals[index].0 - 1);
            index += 1;
        }
        SignalSet(bits)
    }

    /// The set with these bits.
    #[inline]
    pub const fn from_bits(bits: u64) -> SignalSet {
        SignalSet(bits)
    }

    /// Its bits.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set with these bits, as a mask: what cannot be blocked is taken out.
    #[inline]
    pub const fn mask_from_bits(bits: u64) -> SignalSet {
        SignalSet(bits).difference(Self::UNBLOCKABLE)
    }

    /// Whether `signal` is in it.
    #[inline]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & (1 << (signal.0 - 1)) != 0
    }

    /// Whether it has none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Puts `signal` in.
    #[inline]
    pub const fn insert(&mut self, signal: Signal) {
        self.0 |= 1 << (signal.0 - 1);
    }

    /// Takes `signal` out.
    #[inline]
    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !(1 << (signal.0 - 1));
    }

    /// Those in both.
    #[inline]
    pub const fn intersection(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & other.0)
    }

    /// Those in either.
    #[inline]
    pub const fn union(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    /// Those in this and not in `other`.
    #[inline]
    pub const fn difference(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & !other.0)
    }

    /// The one with the lowest number.
    #[inline]
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Some(Signal(self.0.trailing_zeros() as u8 + 1)) }
    }

    /// The one to be delivered first: synchronous ones before the others, lower numbers before higher.
    #[inline]
    pub const fn first_deliverable(self) -> Option<Signal> {
        let synchronous = self.intersection(Self::SYNCHRONOUS);
        if synchronous.is_empty() { self.first() } else { synchronous.first() }
    }

    /// Every signal in it, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let signal = rest.first()?;
            rest.remove(signal);
            Some(signal)
        })
    }
}

impl core::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// How `rt_sigprocmask` combines the given set with the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskChange {
    /// `SIG_BLOCK`: add.
    Block,
    /// `SIG_UNBLOCK`: take out.
    Unblock,
    /// `SIG_SETMASK`: replace.
    Set,
}

impl MaskChange {
    /// The change with this number.
    ///
    /// # Errors
    /// [`abi::Error::InvalidArgument`] for any but 0, 1 and 2.
    pub const fn new(how: u32) -> base::Result<MaskChange> {
        match how {
            0 => Ok(MaskChange::Block),
            1 => Ok(MaskChange::Unblock),
            2 => Ok(MaskChange::Set),
            _ => Err(abi::Error::InvalidArgument),
        }
    }

    /// The mask after the change; `SIGKILL` and `SIGSTOP` are never in it.
    pub const fn apply(self, mask: SignalSet, set: SignalSet) -> SignalSet {
        let changed = match self {
            MaskChange::Block => mask.union(set),
            MaskChange::Unblock => mask.difference(set),
            MaskChange::Set => set,
        };
        changed.difference(SignalSet::UNBLOCKABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_linux_s_bits() {
        assert_eq!(SignalSet::UNBLOCKABLE.bits(), 1 << 8 | 1 << 18);
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(65), None);
        let last = Signal::new(64).unwrap();
        assert!(SignalSet::ALL.contains(last) && last.is_real_time());
        assert!(SignalSet::from_bits(1 << 63).iter().eq([last]));
        assert_eq!(MaskChange::Set.apply(SignalSet::EMPTY, SignalSet::ALL).bits(), !(1 << 8 | 1 << 18));
        assert!(MaskChange::new(3).is_err());
    }

    #[test]
    fn faults_come_before_lower_numbers() {
        let set = SignalSet::of(&[Signal::HUP, Signal::SEGV, Signal::BUS]);
        assert_eq!(set.first_deliverable(), Some(Signal::BUS));
        assert_eq!(SignalSet::of(&[Signal::USR1, Signal::INT]).first_deliverable(), Some(Signal::INT));
        assert_eq!(SignalSet::EMPTY.first_deliverable(), None);
    }

    #[test]
    fn default_actions_are_linux_s() {
        assert_eq!(Signal::CHLD.default_action(), DefaultAction::Ignore);
        assert_eq!(Signal::XFSZ.default_action(), DefaultAction::DumpCore);
        assert_eq!(Signal::TTOU.default_action(), DefaultAction::Stop);
        assert_eq!(Signal::new(40).unwrap().default_action(), DefaultAction::Terminate);
        assert_eq!(Signal::CONT.default_action(), DefaultAction::Continue);
    }
}
