//! What a process arranged for each signal, and what that makes of a signal that is delivered.

use super::{DefaultAction, Signal, SignalSet};
use abi::Error;
use base::Result;

/// `SA_NOCLDSTOP`: no `SIGCHLD` when a child stops or goes on.
pub const SA_NOCLDSTOP: u64 = 0x1;
/// `SA_NOCLDWAIT`: children that end leave no zombie.
pub const SA_NOCLDWAIT: u64 = 0x2;
/// `SA_SIGINFO`: the handler takes three arguments.
pub const SA_SIGINFO: u64 = 0x4;
/// `SA_EXPOSE_TAGBITS`: accepted; addresses have no tag bits here.
pub const SA_EXPOSE_TAGBITS: u64 = 0x800;
/// `SA_ONSTACK`: on the alternate stack.
pub const SA_ONSTACK: u64 = 0x0800_0000;
/// `SA_RESTART`: interrupted system calls are made again.
pub const SA_RESTART: u64 = 0x1000_0000;
/// `SA_NODEFER`: the signal is not blocked while its handler runs.
pub const SA_NODEFER: u64 = 0x4000_0000;
/// `SA_RESETHAND`: the default returns when the handler is entered.
pub const SA_RESETHAND: u64 = 0x8000_0000;
/// What the kernel keeps of `sa_flags`; programs find out what is supported by reading them back.
pub const SA_KNOWN: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_EXPOSE_TAGBITS
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND;

const HANDLER_DEFAULT: u64 = 0;
const HANDLER_IGNORE: u64 = 1;

/// What was arranged for one signal, as riscv64's `struct sigaction` of the kernel: there is no restorer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SigAction {
    /// `SIG_DFL` (0), `SIG_IGN` (1) or the handler's address.
    pub handler: u64,
    /// `SA_` bits.
    pub flags: u64,
    /// What is blocked as well while the handler runs.
    pub mask: SignalSet,
}

const _: () = assert!(size_of::<SigAction>() == SigAction::SIZE);
const _: () = assert!(core::mem::offset_of!(SigAction, flags) == 8);
const _: () = assert!(core::mem::offset_of!(SigAction, mask) == 16);

/// The meaning of a [`SigAction`]'s handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// A function of the program, at this address.
    Handler(u64),
}

impl SigAction {
    /// Bytes of the structure.
    pub const SIZE: usize = 24;

    /// From the bytes that a program gives; unknown flags and unblockable signals in the mask are taken out.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> SigAction {
        let word = |index: usize| crate::word_at(bytes, index * 8);
        SigAction { handler: word(0), flags: word(1) & SA_KNOWN, mask: SignalSet::mask_from_bits(word(2)) }
    }

    /// As a program sees it.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip([self.handler, self.flags, self.mask.bits()]) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// What its handler means.
    #[inline]
    pub const fn disposition(&self) -> Disposition {
        match self.handler {
            HANDLER_DEFAULT => Disposition::Default,
            HANDLER_IGNORE => Disposition::Ignore,
            address => Disposition::Handler(address),
        }
    }

    /// Whether this bit of `sa_flags` is set.
    #[inline]
    pub const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// Whether `signal` so arranged has no effect when it is delivered.
    pub const fn ignores(&self, signal: Signal) -> bool {
        match self.disposition() {
            Disposition::Ignore => true,
            Disposition::Default => {
                matches!(signal.default_action(), DefaultAction::Ignore | DefaultAction::Continue)
            }
            Disposition::Handler(_) => false,
        }
    }

    /// What is blocked while the handler of `signal` runs, if `mask` was before.
    pub const fn mask_in_handler(&self, signal: Signal, mask: SignalSet) -> SignalSet {
        let mut blocked = mask.union(self.mask);
        if !self.has(SA_NODEFER) {
            blocked.insert(signal);
        }
        blocked.difference(SignalSet::UNBLOCKABLE)
    }
}

/// What to do with a signal that was taken from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing; look for the next.
    Ignore,
    /// The process ends by this signal, with a core dump if its limits allow.
    Terminate {
        /// Whether the default action is to dump core.
        core: bool,
    },
    /// The whole process stops; unless the signal is `SIGSTOP`, only if its group is not orphaned.
    Stop,
    /// Build a frame and enter the program's handler.
    Handle(SigAction),
}

/// Who is protected from signals that it has no handler for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// An ordinary process.
    None,
    /// The first process: no signal without a handler does anything to it.
    Init,
}

/// What a process arranged for all signals.
#[derive(Clone, Debug)]
pub struct SignalActions {
    actions: [SigAction; Signal::LAST as usize],
}

impl Default for SignalActions {
    fn default() -> Self {
        Self::new()
    }
}

impl SignalActions {
    /// The default for each signal.
    pub const fn new() -> Self {
        let default = SigAction { handler: HANDLER_DEFAULT, flags: 0, mask: SignalSet::EMPTY };
        Self { actions: [default; Signal::LAST as usize] }
    }

    /// What is arranged for `signal`.
    #[inline]
    pub const fn get(&self, signal: Signal) -> &SigAction {
        &self.actions[signal.number() as usize - 1]
    }

    /// Arranges `action` for `signal`; returns what was arranged before.
    ///
    /// If the signal is now ignored, the caller discards what is pending of it ([`super::PendingSignals::discard`])
    /// in the process and in each of its threads: see [`SigAction::ignores`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `SIGKILL` and `SIGSTOP`.
    pub fn set(&mut self, signal: Signal, action: SigAction) -> Result<SigAction> {
        if signal.is_unblockable() {
            return Err(Error::InvalidArgument);
        }
        Ok(core::mem::replace(&mut self.actions[usize::from(signal.number()) - 1], action))
    }

    /// What `execve` does: handlers go back to the default, ignored signals stay ignored, flags and masks are cleared.
    pub fn reset_for_exec(&mut self) {
        for action in &mut self.actions {
            let handler = if action.handler == HANDLER_IGNORE { HANDLER_IGNORE } else { HANDLER_DEFAULT };
            *action = SigAction { handler, ..SigAction::default() };
        }
    }

    /// What `CLONE_CLEAR_SIGHAND` does: handlers go back to the default, ignored signals stay ignored.
    pub fn clear_handlers(&mut self) {
        self.reset_for_exec();
    }

    /// Before a fault of the thread itself is queued (`force_sig`): a fault that the program blocks or ignores cannot be
    /// held back and gets the default action. Returns the thread's new mask.
    pub fn force(&mut self, signal: Signal, mask: SignalSet) -> SignalSet {
        let action = &mut self.actions[usize::from(signal.number()) - 1];
        let mut mask = mask;
        if mask.contains(signal) || action.disposition() == Disposition::Ignore {
            action.handler = HANDLER_DEFAULT;
            mask.remove(signal);
        }
        mask
    }

    /// Whether `signal` is thrown away as it is sent. A blocked one is kept: the program may arrange for it before it
    /// unblocks it. `mask` is that of the thread, or of the main thread when it is sent to the process.
    pub fn discards_when_sent(&self, signal: Signal, mask: SignalSet, protection: Protection) -> bool {
        let action = self.get(signal);
        let protected = protection == Protection::Init && action.disposition() == Disposition::Default;
        !mask.contains(signal) && (protected || action.ignores(signal))
    }

    /// What to do with `signal`, which was taken from the queue. Honours `SA_RESETHAND`.
    pub fn deliver(&mut self, signal: Signal, protection: Protection) -> Delivery {
        let action = *self.get(signal);
        match action.disposition() {
            Disposition::Ignore => Delivery::Ignore,
            Disposition::Handler(_) => {
                if action.has(SA_RESETHAND) {
                    self.actions[usize::from(signal.number()) - 1].handler = HANDLER_DEFAULT;
                }
                Delivery::Handle(action)
            }
            Disposition::Default => match signal.default_action() {
                DefaultAction::Ignore | DefaultAction::Continue => Delivery::Ignore,
                _ if protection == Protection::Init => Delivery::Ignore,
                DefaultAction::Stop => Delivery::Stop,
                DefaultAction::Terminate => Delivery::Terminate { core: false },
                DefaultAction::DumpCore => Delivery::Terminate { core: true },
            },
        }
    }
}

/// How a system call that a signal interrupted wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// `ERESTARTSYS`: made again if the handler has `SA_RESTART`, or when there is no handler.
    Restartable,
    /// `ERESTARTNOHAND`: made again only when there is no handler.
    UnlessHandled,
    /// `ERESTARTNOINTR`: always made again.
    Always,
    /// `ERESTART_RESTARTBLOCK`: without a handler it goes on through `restart_syscall`, with the time that is left.
    Continued,
    /// `EINTR`: never made again.
    Never,
}

/// What the program sees of the interrupted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// The call is made again: the program counter goes back to the `ecall`, `a0` gets its first argument back.
    Repeat,
    /// As [`Resumption::Repeat`], with the number of `restart_syscall` in `a7`.
    RestartSystemCall,
    /// The call fails with `EINTR`.
    Fail,
}

impl Interruption {
    /// What the program sees, given the action whose handler is about to run, if one is.
    pub const fn resume(self, handled_by: Option<&SigAction>) -> Resumption {
        match (self, handled_by) {
            (Interruption::Always, _) | (Interruption::Restartable | Interruption::UnlessHandled, None) => {
                Resumption::Repeat
            }
            (Interruption::Continued, None) => Resumption::RestartSystemCall,
            (Interruption::Never, None) => Resumption::Fail,
            (Interruption::Restartable, Some(action)) if action.has(SA_RESTART) => Resumption::Repeat,
            (_, Some(_)) => Resumption::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(handler: u64, flags: u64) -> SigAction {
        SigAction { handler, flags, mask: SignalSet::EMPTY }
    }

    #[test]
    fn structure_round_trips_without_what_cannot_be() {
        let given = SigAction {
            handler: 0x1234,
            flags: SA_RESTART | SA_SIGINFO,
            mask: SignalSet::of(&[Signal::INT]),
        };
        assert_eq!(SigAction::from_bytes(&given.to_bytes()), given);
        let odd = SigAction { flags: !0, mask: SignalSet::ALL, ..given };
        let kept = SigAction::from_bytes(&odd.to_bytes());
        assert_eq!(kept.flags, SA_KNOWN);
        assert!(!kept.mask.contains(Signal::KILL));
    }

    #[test]
    fn what_is_arranged_decides() {
        let mut actions = SignalActions::new();
        assert_eq!(actions.set(Signal::KILL, action(1, 0)), Err(Error::InvalidArgument));
        assert_eq!(actions.deliver(Signal::SEGV, Protection::None), Delivery::Terminate { core: true });
        assert_eq!(actions.deliver(Signal::KILL, Protection::None), Delivery::Terminate { core: false });
        assert_eq!(actions.deliver(Signal::TSTP, Protection::None), Delivery::Stop);
        assert_eq!(actions.deliver(Signal::TERM, Protection::Init), Delivery::Ignore);
        assert_eq!(actions.deliver(Signal::CONT, Protection::None), Delivery::Ignore);
        let once = action(0x1000, SA_RESETHAND);
        assert_eq!(actions.set(Signal::INT, once), Ok(SigAction::default()));
        assert_eq!(actions.deliver(Signal::INT, Protection::Init), Delivery::Handle(once));
        assert_eq!(actions.deliver(Signal::INT, Protection::None), Delivery::Terminate { core: false });
    }

    #[test]
    fn sending_discards_what_is_ignored_and_not_blocked() {
        let mut actions = SignalActions::new();
        let none = SignalSet::EMPTY;
        assert!(actions.discards_when_sent(Signal::CHLD, none, Protection::None));
        assert!(!actions.discards_when_sent(Signal::CHLD, SignalSet::ALL, Protection::None));
        assert!(!actions.discards_when_sent(Signal::KILL, none, Protection::None));
        assert!(actions.discards_when_sent(Signal::KILL, none, Protection::Init));
        actions.set(Signal::CHLD, action(0x1000, 0)).unwrap();
        assert!(!actions.discards_when_sent(Signal::CHLD, none, Protection::None));
        actions.reset_for_exec();
        assert_eq!(actions.get(Signal::CHLD).disposition(), Disposition::Default);
    }

    #[test]
    fn exec_keeps_only_what_is_ignored() {
        let mut actions = SignalActions::new();
        actions.set(Signal::INT, action(1, SA_RESTART)).unwrap();
        actions.set(Signal::QUIT, action(0x4000, SA_RESTART)).unwrap();
        actions.reset_for_exec();
        assert_eq!(*actions.get(Signal::INT), action(1, 0));
        assert_eq!(*actions.get(Signal::QUIT), action(0, 0));
    }

    #[test]
    fn faults_cannot_be_held_back() {
        let mut actions = SignalActions::new();
        actions.set(Signal::SEGV, action(0x4000, 0)).unwrap();
        let free = SignalSet::of(&[Signal::INT]);
        assert_eq!(actions.force(Signal::SEGV, free), free);
        assert_eq!(actions.get(Signal::SEGV).handler, 0x4000);
        let blocked = SignalSet::of(&[Signal::SEGV, Signal::INT]);
        assert_eq!(actions.force(Signal::SEGV, blocked), free);
        assert_eq!(actions.deliver(Signal::SEGV, Protection::None), Delivery::Terminate { core: true });
    }

    #[test]
    fn mask_in_handler_blocks_the_signal_itself() {
        let mut handler = action(0x1000, 0);
        handler.mask = SignalSet::of(&[Signal::USR1]);
        let before = SignalSet::of(&[Signal::HUP]);
        let expected = SignalSet::of(&[Signal::USR1, Signal::HUP, Signal::INT]);
        assert_eq!(handler.mask_in_handler(Signal::INT, before), expected);
        handler.flags = SA_NODEFER;
        assert!(!handler.mask_in_handler(Signal::INT, before).contains(Signal::INT));
    }

    #[test]
    fn restarts_follow_linux_s_four_codes() {
        let (plain, restart) = (action(0x1000, 0), action(0x1000, SA_RESTART));
        let table = [
            (Interruption::Restartable, [Resumption::Repeat, Resumption::Fail, Resumption::Repeat]),
            (Interruption::UnlessHandled, [Resumption::Repeat, Resumption::Fail, Resumption::Fail]),
            (Interruption::Always, [Resumption::Repeat; 3]),
            (Interruption::Never, [Resumption::Fail; 3]),
            (Interruption::Continued, [Resumption::RestartSystemCall, Resumption::Fail, Resumption::Fail]),
        ];
        for (interruption, expected) in table {
            let seen = [None, Some(&plain), Some(&restart)].map(|handler| interruption.resume(handler));
            assert_eq!(seen, expected, "{interruption:?}");
        }
    }
}
