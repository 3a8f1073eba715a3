//! Signals: sending them, waking who must look, and what a thread does with them before it enters user mode.
//!
//! What is pending lies in the process or in one thread; the lock of the process's [`ProcessSignals`] is taken before that of
//! a thread's signals, and both cover the decision "who is to deal with it" together. A stop or a continuation is a
//! property of the process, which each of its threads obeys when it looks.

use crate::process::{self, Process, Table};
use crate::thread::{ATTENTION_EXIT, ATTENTION_SIGNAL, Caller, Thread, ThreadSignals};
use ::process::signal::action::{Interruption, Protection, Resumption};
use ::process::signal::frame::{self, ThreadContext};
use ::process::signal::pending::Outcome;
use ::process::signal::stopping::{cancelled_by, stops_orphaned_group};
use ::process::signal::{
    AlternateStack, Delivery, JobState, Notification, PendingSignals, SigAction, SigInfo, Signal,
    SignalActions, SignalQuota, SignalSet, next_signal,
};
use ::process::wait::Change;
use alloc::boxed::Box;
use alloc::sync::Arc;
use arch_riscv64::float::FloatState;
use arch_riscv64::trap::register;
use base::Result;
use base::address::VirtualAddress;
use base::operation::Operation;
use base::sync::{SpinLock, WaitQueue};
use memory::space::Access;

pub use ::process::signal::information::{
    BUS_ADRALN, BUS_ADRERR, ILL_ILLOPC, SEGV_ACCERR, SEGV_MAPERR, TRAP_BRKPT,
};

/// `restart_syscall`'s number, in `a7` when an interrupted call goes on through it.
const RESTART_SYSCALL: usize = abi::linux::general::__NR_restart_syscall as usize;

/// Where those wait who read signals from files: there are few of them, and what they want differs.
pub static WATCHERS: WaitQueue = WaitQueue::new();

/// The signal state of a process.
pub struct ProcessSignals {
    /// What is arranged; shared by those that `clone` with `CLONE_SIGHAND` made.
    pub actions: Arc<SpinLock<SignalActions>>,
    /// What waits for any thread.
    pub pending: PendingSignals,
    /// Stopped or not, and what the parent has not been told of it.
    pub job: JobState,
    /// Threads of a stopped process wait here.
    pub resumed: Arc<WaitQueue>,
    /// How many times `SIGCONT` was sent: a stop that was decided on before one of them is void.
    continuations: u32,
    /// Whether only signals that it handles reach it: process 1, until it faults.
    pub protection: Protection,
}

impl ProcessSignals {
    /// Nothing pending, not stopped.
    pub fn new(actions: Arc<SpinLock<SignalActions>>, quota: Arc<SignalQuota>) -> Self {
        Self {
            actions,
            pending: PendingSignals::new(quota),
            job: JobState::default(),
            resumed: Arc::new(WaitQueue::new()),
            continuations: 0,
            protection: Protection::None,
        }
    }
}

impl ThreadSignals {
    /// A new thread's: the mask of its creator, nothing pending.
    pub fn new(mask: SignalSet, quota: Arc<SignalQuota>) -> Self {
        Self {
            mask,
            saved_mask: None,
            awaited: SignalSet::EMPTY,
            pending: PendingSignals::new(quota),
            alternate: AlternateStack::default(),
        }
    }

    /// Whether the thread deals with `signal` when it comes.
    fn wants(&self, signal: Signal) -> bool {
        !self.mask.contains(signal) || self.awaited.contains(signal)
    }
}

/// What came of looking at what was left for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attended {
    /// Enter user mode.
    GoOn,
    /// The thread must end.
    MustExit,
}

/// Whether an interruptible wait of the thread must end now.
pub fn interrupts(thread: &Thread) -> bool {
    let attention = thread.attention();
    attention & ATTENTION_EXIT != 0 || (attention & ATTENTION_SIGNAL != 0 && has_work(thread))
}

/// Whether the thread has a signal to deal with or belongs to a stopped process; if not, says that it has looked.
fn has_work(thread: &Thread) -> bool {
    let shared = thread.process.signals.lock();
    let own = thread.signals.lock();
    let waiting = own.pending.set().union(shared.pending.set()).difference(own.mask);
    let work = shared.job.is_stopped() || !waiting.is_empty();
    if !work {
        thread.clear_attention(ATTENTION_SIGNAL);
    }
    work
}

/// Sends a signal to a process: to whichever of its threads does not block it.
pub fn send_to_process(process: &Arc<Process>, information: SigInfo) {
    // Only signals whose number must not be lost find no room, and those are sent by `queue_to_process`.
    let _ = queue_to_process(process, information);
}

/// As [`send_to_process`], telling whether there was room.
///
/// # Errors
/// `WouldBlock` when a real-time signal finds no room.
pub fn queue_to_process(process: &Arc<Process>, information: SigInfo) -> Result<()> {
    let Some(signal) = information.signal() else { return Ok(()) };
    let limit = process.limits.lock().soft(::process::limits::Resource::PendingSignals);
    let (discarded, notification) = {
        let mut shared = process.signals.lock();
        // A signal that is ignored but blocked stays: its action may change before it is unblocked. As on Linux, the
        // mask of the first thread decides.
        let mask =
            process.state.lock().threads.first().map_or(SignalSet::EMPTY, |first| first.signals.lock().mask);
        let discarded = shared.actions.lock().discards_when_sent(signal, mask, shared.protection);
        let notification = prepare(process, &mut shared, signal);
        if !discarded && signal != Signal::KILL {
            shared.pending.send(information, limit)?;
        }
        (discarded, notification)
    };
    announce(process, signal, discarded);
    WATCHERS.wake_all();
    report_job_change(process, notification);
    Ok(())
}

/// Sends a signal to one thread.
///
/// # Errors
/// `WouldBlock` when a real-time signal finds no room.
pub fn send_to_thread(thread: &Arc<Thread>, information: SigInfo) -> Result<()> {
    let Some(signal) = information.signal() else { return Ok(()) };
    let process = &thread.process;
    let limit = process.limits.lock().soft(::process::limits::Resource::PendingSignals);
    let (discarded, notification) = {
        let mut shared = process.signals.lock();
        let mask = thread.signals.lock().mask;
        let discarded = shared.actions.lock().discards_when_sent(signal, mask, shared.protection);
        let notification = prepare(process, &mut shared, signal);
        if !discarded && signal != Signal::KILL {
            thread.signals.lock().pending.send(information, limit)?;
        }
        (discarded, notification)
    };
    if signal == Signal::KILL || notification != Notification::None {
        announce(process, signal, discarded);
    } else if !discarded {
        thread.notify(ATTENTION_SIGNAL);
    }
    WATCHERS.wake_all();
    report_job_change(process, notification);
    Ok(())
}

/// Sends the signal of a timer's expiry to a process, or to one thread of it.
pub fn send_expiry(process: &Arc<Process>, thread: Option<&Arc<Thread>>, information: SigInfo) {
    let Some(signal) = information.signal() else { return };
    let (outcome, notification) = {
        let mut shared = process.signals.lock();
        let first = || process.state.lock().threads.first().cloned();
        let judge = thread.cloned().or_else(first);
        let mask = judge.map_or(SignalSet::EMPTY, |judge| judge.signals.lock().mask);
        let discarded = shared.actions.lock().discards_when_sent(signal, mask, shared.protection);
        let notification = prepare(process, &mut shared, signal);
        let outcome = match thread {
            _ if discarded || signal == Signal::KILL => None,
            Some(thread) => Some(thread.signals.lock().pending.send_expiry(information)),
            None => Some(shared.pending.send_expiry(information)),
        };
        (outcome, notification)
    };
    match thread {
        Some(thread) if outcome == Some(Outcome::Pending) => thread.notify(ATTENTION_SIGNAL),
        _ => announce(process, signal, outcome.is_none() && signal != Signal::KILL),
    }
    WATCHERS.wake_all();
    report_job_change(process, notification);
}

/// Tells a timer what became of its signal, which was taken from its queue.
fn taken(process: &Process, information: &SigInfo) {
    if let Some(timer) = information.timer_number() {
        process.posix_timers.delivered(timer, information.overrun());
    }
}

/// What sending does at once: a stop signal takes pending continuations away and the other way round, and `SIGCONT`
/// makes a stopped process go on even if it is blocked or ignored.
fn prepare(process: &Process, shared: &mut ProcessSignals, signal: Signal) -> Notification {
    let cancelled = cancelled_by(signal);
    if !cancelled.is_empty() {
        shared.pending.discard(cancelled);
        for thread in &process.state.lock().threads {
            thread.signals.lock().pending.discard(cancelled);
        }
    }
    if signal != Signal::CONT {
        return Notification::None;
    }
    shared.continuations = shared.continuations.wrapping_add(1);
    let notification = shared.job.resume();
    shared.resumed.wake_all();
    notification
}

/// Sees to it that somebody deals with a signal that was sent. A kill waits for nobody, nor does it matter whether the
/// process is stopped.
fn announce(process: &Process, signal: Signal, discarded: bool) {
    match signal {
        Signal::KILL if !discarded => process.end(Change::Killed { signal, core: false }),
        Signal::CONT => {
            for thread in &process.state.lock().threads {
                thread.notify(ATTENTION_SIGNAL);
            }
        }
        _ if !discarded => notify_one(process, signal),
        _ => {}
    }
}

/// Makes a thread look that deals with the signal when it comes, if there is one; the first thread, if it does.
fn notify_one(process: &Process, signal: Signal) {
    let state = process.state.lock();
    if let Some(thread) = state.threads.iter().find(|thread| thread.signals.lock().wants(signal)) {
        thread.notify(ATTENTION_SIGNAL);
    }
}

/// Tells the parent that its child stopped or went on.
fn report_job_change(process: &Arc<Process>, notification: Notification) {
    let change = match notification {
        Notification::None => return,
        Notification::Stopped(signal) => Change::Stopped(signal),
        Notification::Continued => Change::Continued,
    };
    process.waitable.store(true, base::sync::atomic::Ordering::Release);
    let Some(parent) = process.state.lock().parent.upgrade() else { return };
    let no_stop =
        parent.signals.lock().actions.lock().get(Signal::CHLD).has(::process::signal::action::SA_NOCLDSTOP);
    if !no_stop {
        let report = change.report(process.id, process.user(), &process.usage());
        send_to_process(&parent, SigInfo::child(Signal::CHLD, &report));
    }
    parent.children_changed.wake_all();
}

/// Raises the signal of a fault on the thread that caused it, which cannot escape it by blocking or ignoring.
pub fn raise_fault(thread: &Arc<Thread>, information: SigInfo) {
    if let Some(signal) = information.signal() {
        let mut shared = thread.process.signals.lock();
        let mut own = thread.signals.lock();
        let mask = own.mask;
        let handled = {
            let mut actions = shared.actions.lock();
            own.mask = actions.force(signal, mask);
            actions.get(signal).disposition() != ::process::signal::Disposition::Default
        };
        if !handled {
            shared.protection = Protection::None;
        }
        // The queue has room for what the kernel itself raises.
        let _ = own.pending.send(information, u64::MAX);
    }
    thread.notify(ATTENTION_SIGNAL);
}

/// Sends a signal to every member of a process group; says whether there was any. The table is held meanwhile, so that
/// a process that is being forked either is a member already or sees that its creator has a signal.
pub fn send_to_group(group: u32, information: SigInfo) -> bool {
    let table = process::TABLE.lock();
    send_to_members(&table, group, information)
}

fn send_to_members(table: &Table, group: u32, information: SigInfo) -> bool {
    let members = table.identifiers.members(group);
    for member in members.iter().filter_map(|id| table.processes.get(id)) {
        send_to_process(member, information);
    }
    !members.is_empty()
}

/// A group whose last link to its session's jobs is gone: if a member is stopped, all get `SIGHUP`, then `SIGCONT`.
pub fn hang_up_orphaned(table: &Table, group: u32) {
    let mut members = table.identifiers.members(group).iter().filter_map(|id| table.processes.get(id));
    if members.any(|member| member.signals.lock().job.is_stopped()) {
        for signal in [Signal::HUP, Signal::CONT] {
            send_to_members(table, group, SigInfo::kernel(signal));
        }
    }
}

/// What a process wants to hear of the ends of its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// The signal, and the status when it waits.
    Both,
    /// The signal alone (`SA_NOCLDWAIT`): its children leave no zombies.
    SignalOnly,
    /// Nothing (`SIGCHLD` is ignored).
    Nothing,
}

/// What a process arranged for the ends of its children.
pub fn interest_in_children(process: &Process) -> Interest {
    let shared = process.signals.lock();
    let actions = shared.actions.lock();
    let action = actions.get(Signal::CHLD);
    if action.disposition() == ::process::signal::Disposition::Ignore {
        Interest::Nothing
    } else if action.has(::process::signal::action::SA_NOCLDWAIT) {
        Interest::SignalOnly
    } else {
        Interest::Both
    }
}

/// What a look at a thread's signals found.
enum Found {
    /// Nothing to do.
    Nothing,
    /// The process is stopped; wait here.
    Stopped(Arc<WaitQueue>),
    /// A signal, taken from its queue, and how many continuations there had been then.
    Signal(Signal, SigInfo, Delivery, u32),
}

fn look(thread: &Thread) -> Found {
    let mut shared = thread.process.signals.lock();
    if shared.job.is_stopped() {
        return Found::Stopped(shared.resumed.clone());
    }
    let mut own = thread.signals.lock();
    let mask = own.mask;
    match next_signal(&mut own.pending, &mut shared.pending, mask) {
        Some((signal, information)) => {
            taken(&thread.process, &information);
            let delivery = shared.actions.lock().deliver(signal, shared.protection);
            Found::Signal(signal, information, delivery, shared.continuations)
        }
        None => {
            thread.clear_attention(ATTENTION_SIGNAL);
            Found::Nothing
        }
    }
}

/// What a thread does before it enters user mode when something was left for it: stops, ends, enters handlers.
pub async fn attend(caller: &mut Caller) -> Attended {
    loop {
        if caller.thread.must_exit() {
            return Attended::MustExit;
        }
        if caller.thread.attention() & ATTENTION_SIGNAL == 0 {
            break;
        }
        match look(&caller.thread) {
            Found::Nothing => break,
            Found::Stopped(resumed) => wait_until_resumed(caller, &resumed).await,
            Found::Signal(_, _, Delivery::Ignore, _) => {}
            Found::Signal(signal, _, Delivery::Terminate { core: _ }, _) => {
                // Core files are not written; see docs/status.md.
                caller.thread.process.end(Change::Killed { signal, core: false });
            }
            Found::Signal(signal, _, Delivery::Stop, continuations) => stop(caller, signal, continuations),
            Found::Signal(_, information, Delivery::Handle(action), _) => {
                handle(caller, &action, &information).await;
            }
        }
    }
    finish_call(caller, None);
    // Without a handler, the mask of before `sigsuspend` and its kind comes back at once.
    restore_mask(&caller.thread);
    Attended::GoOn
}

async fn wait_until_resumed(caller: &Caller, resumed: &WaitQueue) {
    let process = caller.thread.process.clone();
    let thread = caller.thread.clone();
    resumed
        .wait_until(|| {
            let stopped = process.signals.lock().job.is_stopped();
            (!stopped || thread.must_exit()).then_some(())
        })
        .await;
}

/// Stops the process, unless its group is orphaned and the signal is one of the terminal's, or a `SIGCONT` came since
/// the signal was taken from its queue.
fn stop(caller: &Caller, signal: Signal, continuations: u32) {
    let process = caller.thread.process.clone();
    let notification = {
        let table = process::TABLE.lock();
        if !stops_orphaned_group(signal) {
            let group = table.identifiers.group(process.id);
            if group.is_none_or(|group| table.identifiers.is_orphaned(group)) {
                return;
            }
        }
        let mut shared = process.signals.lock();
        let state = process.state.lock();
        if shared.continuations != continuations || state.ending.is_some() {
            return;
        }
        for thread in &state.threads {
            thread.notify(ATTENTION_SIGNAL);
        }
        shared.job.stop(signal)
    };
    report_job_change(&process, notification);
}

/// Decides how an interrupted system call goes on, now that it is known whether a handler runs.
fn finish_call(caller: &mut Caller, handled_by: Option<&SigAction>) {
    let Some(interrupted) = caller.call.interrupted.take() else { return };
    let registers = &mut caller.context.registers;
    match interrupted.kind.resume(handled_by) {
        Resumption::Fail => {}
        Resumption::Repeat => {
            registers[register::A0] = interrupted.first_argument;
            registers[register::PC] -= 4;
        }
        Resumption::RestartSystemCall => {
            if registers[register::A7] != RESTART_SYSCALL {
                caller.call.restart_number = registers[register::A7];
            }
            registers[register::A0] = interrupted.first_argument;
            registers[register::A7] = RESTART_SYSCALL;
            registers[register::PC] -= 4;
        }
    }
}

/// Builds the frame of a handler on the user's stack and enters it; a stack that cannot take it is a fault.
#[inline]
async fn handle(caller: &mut Caller, action: &SigAction, information: &SigInfo) {
    finish_call(caller, Some(action));
    let stack_pointer = caller.context.registers[register::SP] as u64;
    let (mask, stack, place) = {
        let own = caller.thread.signals.lock();
        let mask = own.saved_mask.unwrap_or(own.mask);
        (mask, own.alternate.report(stack_pointer), frame::place(action, stack_pointer, &own.alternate))
    };
    let written = match place {
        Ok(place) => write_frame(caller, place, information, (mask, stack)).await.map(|()| place),
        Err(error) => Err(error),
    };
    let Ok(place) = written else {
        force_segmentation_fault(caller, information);
        return;
    };
    let entry = frame::entry(action, information, place);
    if let Some(signal) = information.signal() {
        let mut own = caller.thread.signals.lock();
        own.saved_mask = None;
        own.mask = action.mask_in_handler(signal, own.mask);
        own.alternate.disarm();
    }
    let registers = &mut caller.context.registers;
    registers[register::PC] = entry.pc as usize;
    registers[register::SP] = entry.stack_pointer as usize;
    registers[register::A0] = entry.signal as usize;
    registers[register::A1] = entry.information as usize;
    registers[register::A2] = entry.context as usize;
    registers[register::RA] = caller.thread.process.signal_return.load(base::sync::atomic::Ordering::Relaxed);
}

/// Writes the frame: straight to its place if that is in one page that is there, which it nearly always is.
///
/// # Errors
/// `BadAddress`, `OutOfMemory`.
#[inline]
fn write_frame<'a>(
    caller: &'a Caller,
    place: u64,
    information: &SigInfo,
    (mask, stack): (SignalSet, AlternateStack),
) -> Operation<'a, Result<()>> {
    let floating = caller.float.as_ref().map(|float| (&float.registers, float.fcsr));
    let context = ThreadContext { registers: &caller.context.registers, floating, mask, stack };
    let place = VirtualAddress::new(place as usize);
    if let Some(page) = caller.space.try_pin_page(place, frame::FRAME_SIZE, Access::Write) {
        let bytes = page.bytes();
        frame::write(information, &context, |offset, part| {
            bytes.slice(offset, part.len()).copy_from(part);
        });
        return Operation::Ready(Ok(()));
    }
    let mut bytes = Box::new([0; frame::FRAME_SIZE]);
    frame::write(information, &context, |offset, part| {
        bytes[offset..offset + part.len()].copy_from_slice(part);
    });
    Operation::pending(async move { caller.space.write_bytes(place, &bytes[..]).await })
}

/// The frame could not be written. If that was the frame of a `SIGSEGV`, nothing is left but the end.
fn force_segmentation_fault(caller: &Caller, information: &SigInfo) {
    if information.signal() == Some(Signal::SEGV) {
        caller.thread.process.end(Change::Killed { signal: Signal::SEGV, core: false });
        return;
    }
    raise_fault(&caller.thread, SigInfo::kernel(Signal::SEGV));
}

/// `rt_sigreturn`, if the frame on the user's stack lies in one page that is there; whether it does.
///
/// # Errors
/// As for [`return_from_handler`].
#[inline]
pub fn return_at_once(caller: &mut Caller) -> Option<Result<()>> {
    let address = VirtualAddress::new(caller.context.registers[register::SP]);
    let page = caller.space.try_pin_page(address, frame::FRAME_SIZE, Access::Read)?;
    let bytes = page.bytes();
    Some(restore(caller, |offset, part| {
        bytes.slice(offset, part.len()).copy_to(part);
    }))
}

/// `rt_sigreturn`: takes the registers back from the frame on the user's stack.
///
/// # Errors
/// Whatever is wrong with the frame; the thread then gets `SIGSEGV`.
pub async fn return_from_handler(caller: &mut Caller) -> Result<()> {
    let address = VirtualAddress::new(caller.context.registers[register::SP]);
    let mut bytes = Box::new([0u8; frame::FRAME_SIZE]);
    caller.space.read_bytes(address, &mut bytes[..]).await?;
    restore(caller, |offset, part| part.copy_from_slice(&bytes[offset..offset + part.len()]))
}

fn restore(caller: &mut Caller, mut get: impl FnMut(usize, &mut [u8])) -> Result<()> {
    let saved = frame::read(&mut get)?;
    frame::read_registers(&mut get, &mut caller.context.registers);
    if caller.float.is_some() {
        let state = caller.float_to_be_loaded();
        state.fcsr = frame::read_floating(&mut get, &mut state.registers);
    } else {
        let mut state = FloatState::INITIAL;
        state.fcsr = frame::read_floating(&mut get, &mut state.registers);
        if state.fcsr != 0 || state.registers != [0; 32] {
            caller.reload_float(Some(Box::new(state)));
        }
    }
    let stack_pointer = caller.context.registers[register::SP] as u64;
    // As on Linux, a stack that cannot be set is passed over.
    let _ = caller.thread.signals.lock().alternate.set(&saved.stack, stack_pointer);
    // What the handler interrupted does not go on by itself any more.
    caller.call.restart_number = 0;
    set_mask(&caller.thread, saved.mask);
    Ok(())
}

/// Replaces what the thread, which is the caller, blocks. What it blocks no more it deals with before it goes back to user
/// mode; what it blocks from now on and waits for the process is another thread's to deal with.
pub fn set_mask(thread: &Thread, mask: SignalSet) {
    let mask = mask.difference(SignalSet::UNBLOCKABLE);
    let passed_on = {
        let shared = thread.process.signals.lock();
        let mut own = thread.signals.lock();
        let former = core::mem::replace(&mut own.mask, mask);
        let waiting = own.pending.set().union(shared.pending.set());
        if !waiting.difference(mask).is_empty() {
            thread.notify_self(ATTENTION_SIGNAL);
        }
        shared.pending.set().intersection(mask.difference(former))
    };
    for signal in passed_on.iter() {
        notify_one(&thread.process, signal);
    }
}

/// Replaces what the caller blocks until its system call is over (`sigsuspend`, `ppoll` and their kind). If a handler
/// runs, the mask comes back when that returns; else [`restore_mask`] or the way back to user mode brings it back.
pub fn set_temporary_mask(thread: &Thread, mask: SignalSet) {
    {
        let mut own = thread.signals.lock();
        own.saved_mask = Some(own.mask);
    }
    set_mask(thread, mask);
}

/// Ends what [`set_temporary_mask`] began, for a call that was not interrupted.
pub fn restore_mask(thread: &Thread) {
    let saved = thread.signals.lock().saved_mask.take();
    if let Some(mask) = saved {
        set_mask(thread, mask);
    }
}

/// Makes the thread, which is the caller, look at its signals before it goes back to user mode.
pub fn look_again(thread: &Thread) {
    thread.notify_self(ATTENTION_SIGNAL);
}

/// What is pending for the thread or its process.
pub fn pending(thread: &Thread) -> SignalSet {
    let shared = thread.process.signals.lock();
    let own = thread.signals.lock();
    shared.pending.set().union(own.pending.set())
}

/// Takes a signal of `set` that is pending for the thread or its process out of its queue (`sigtimedwait`).
pub fn take_pending(thread: &Thread, set: SignalSet) -> Option<SigInfo> {
    let mut shared = thread.process.signals.lock();
    let mut own = thread.signals.lock();
    let others = SignalSet::ALL.difference(set);
    let (_, information) = next_signal(&mut own.pending, &mut shared.pending, others)?;
    taken(&thread.process, &information);
    Some(information)
}

/// A thread has left its process: what it was told of and has not dealt with is another's to deal with.
pub fn thread_ended(thread: &Thread) {
    let waiting = {
        let shared = thread.process.signals.lock();
        shared.pending.set().difference(thread.signals.lock().mask)
    };
    for signal in waiting.iter() {
        notify_one(&thread.process, signal);
    }
}

/// What makes a call fail with `EINTR` or begin again, as it was when it was interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    /// How the call wants to go on.
    pub kind: Interruption,
    /// Its first argument, which its result replaced.
    pub first_argument: usize,
}
