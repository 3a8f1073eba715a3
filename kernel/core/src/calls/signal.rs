//! Calls about signals: arranging, blocking, sending, awaiting them, and returning from their handlers.

use super::Attempt;
use crate::process::{self, Process, TABLE};
use crate::signal_file::SignalFile;
use crate::signals;
use crate::thread::{Caller, Thread};
use ::process::credentials::Credentials;
use ::process::signal::action::Interruption;
use ::process::signal::{AlternateStack, SigAction, SigInfo, Signal, SignalSet};
use abi::linux::general as number;
use alloc::sync::Arc;
use arch_riscv64::trap::register;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::{Error, Result};
use core::future::poll_fn;
use core::task::Poll;
use vfs::OpenFlags;

const SECOND_NS: u64 = 1_000_000_000;

/// The size of a set of signals as a register gives it.
///
/// # Errors
/// `InvalidArgument` unless it is the kernel's.
fn check_set_size(size: usize) -> Result<()> {
    if size == SignalSet::SIZE { Ok(()) } else { Err(Error::InvalidArgument) }
}

async fn read_set(caller: &Caller, address: usize) -> Result<SignalSet> {
    caller.space.read_object::<u64>(VirtualAddress::new(address)).await.map(SignalSet::from_bits)
}

/// `rt_sigaction`
pub async fn rt_sigaction(
    caller: &Caller,
    signal: usize,
    new: usize,
    old: usize,
    size: usize,
) -> Result<usize> {
    check_set_size(size)?;
    let mut bytes = [0; SigAction::SIZE];
    let action = match new {
        0 => None,
        _ => {
            caller.space.read_bytes(VirtualAddress::new(new), &mut bytes).await?;
            Some(SigAction::from_bytes(&bytes))
        }
    };
    let signal = Signal::new(signal as u32).ok_or(Error::InvalidArgument)?;
    let former = arrange(caller.process(), signal, action)?;
    if old != 0 {
        caller.space.write_bytes(VirtualAddress::new(old), &former.to_bytes()).await?;
    }
    Ok(0)
}

/// Arranges `action`, if there is one, for a signal; what waits of a signal that is ignored now is thrown away. Returns
/// what was arranged before.
fn arrange(process: &Process, signal: Signal, action: Option<SigAction>) -> Result<SigAction> {
    let mut shared = process.signals.lock();
    let Some(action) = action else { return Ok(*shared.actions.lock().get(signal)) };
    let former = shared.actions.lock().set(signal, action)?;
    if action.ignores(signal) {
        let unwanted = SignalSet::of(&[signal]);
        shared.pending.discard(unwanted);
        for thread in &process.state.lock().threads {
            thread.signals.lock().pending.discard(unwanted);
        }
    }
    Ok(former)
}

/// `rt_sigprocmask`, if the memory is at hand.
#[inline]
pub fn rt_sigprocmask_at_once(caller: &Caller) -> Option<Result<usize>> {
    let [how, new, old, size] = core::array::from_fn(|index| caller.context.registers[register::A0 + index]);
    let wanted = match new {
        0 => None,
        _ => Some(SignalSet::from_bits(caller.space.try_read_object(VirtualAddress::new(new))?)),
    };
    // What is wrong, the full call finds out.
    if size != SignalSet::SIZE || (wanted.is_some() && how as u32 > number::SIG_SETMASK) {
        return None;
    }
    let former = caller.thread.signals.lock().mask;
    if old != 0 && !caller.space.try_write_object(VirtualAddress::new(old), &former.bits()) {
        return None;
    }
    if let Some(set) = wanted {
        signals::set_mask(&caller.thread, combined(former, how, set)?);
    }
    Some(Ok(0))
}

/// What is blocked after `set` was applied; `None` when `how` is no way to do that.
#[inline]
fn combined(former: SignalSet, how: usize, set: SignalSet) -> Option<SignalSet> {
    match how as u32 {
        number::SIG_BLOCK => Some(former.union(set)),
        number::SIG_UNBLOCK => Some(former.difference(set)),
        number::SIG_SETMASK => Some(set),
        _ => None,
    }
}

/// `rt_sigprocmask`
pub async fn rt_sigprocmask(
    caller: &Caller,
    how: usize,
    new: usize,
    old: usize,
    size: usize,
) -> Result<usize> {
    check_set_size(size)?;
    let former = caller.thread.signals.lock().mask;
    if new != 0 {
        let set = read_set(caller, new).await?;
        let mask = combined(former, how, set).ok_or(Error::InvalidArgument)?;
        signals::set_mask(&caller.thread, mask);
    }
    if old != 0 {
        caller.space.write_object(VirtualAddress::new(old), &former.bits()).await?;
    }
    Ok(0)
}

/// `rt_sigpending`
pub async fn rt_sigpending(caller: &Caller, address: usize, size: usize) -> Result<usize> {
    if size > SignalSet::SIZE {
        return Err(Error::InvalidArgument);
    }
    let pending = {
        let shared = caller.process().signals.lock();
        let own = caller.thread.signals.lock();
        shared.pending.set().union(own.pending.set()).intersection(own.mask)
    };
    caller.space.write_bytes(VirtualAddress::new(address), &pending.bits().to_le_bytes()[..size]).await?;
    Ok(0)
}

/// `rt_sigsuspend`
pub async fn rt_sigsuspend(caller: &mut Caller, address: usize, size: usize) -> Result<usize> {
    check_set_size(size)?;
    let mask = read_set(caller, address).await?;
    signals::set_temporary_mask(&caller.thread, mask);
    caller.call.interruption = Interruption::UnlessHandled;
    caller.interruptible(core::future::pending()).await
}

/// `rt_sigtimedwait`
pub async fn rt_sigtimedwait(caller: &mut Caller, arguments: [usize; 4]) -> Result<usize> {
    let [set, information, timeout, size] = arguments;
    check_set_size(size)?;
    let set = read_set(caller, set).await?.difference(SignalSet::UNBLOCKABLE);
    let deadline_ns = match timeout {
        0 => None,
        _ => {
            let [seconds, nanoseconds] =
                caller.space.read_object::<[u64; 2]>(VirtualAddress::new(timeout)).await?;
            if seconds > i64::MAX as u64 || nanoseconds >= SECOND_NS {
                return Err(Error::InvalidArgument);
            }
            Some(now_ns().saturating_add(seconds.saturating_mul(SECOND_NS)).saturating_add(nanoseconds))
        }
    };
    let found = await_signal(caller, set, deadline_ns).await?;
    if information != 0 {
        caller.space.write_bytes(VirtualAddress::new(information), &found.to_bytes()).await?;
    }
    found.signal().map(|signal| signal.number().into()).ok_or(Error::InvalidArgument)
}

async fn await_signal(caller: &mut Caller, set: SignalSet, deadline_ns: Option<u64>) -> Result<SigInfo> {
    // This call does not begin again, whatever interrupts it.
    caller.call.interruption = Interruption::Never;
    caller.thread.signals.lock().awaited = set;
    // Who sends one of them wakes this coroutine, as for any signal that the thread does not block.
    let taken = poll_fn(|_| match signals::take_pending(&caller.thread, set) {
        Some(information) => Poll::Ready(information),
        None => Poll::Pending,
    });
    let outcome = caller.interruptible_until(taken, deadline_ns).await;
    caller.thread.signals.lock().awaited = SignalSet::EMPTY;
    match outcome {
        Err(Error::TimedOut) => Err(Error::WouldBlock),
        other => other,
    }
}

/// `rt_sigreturn`, if the frame is at hand.
#[inline]
pub fn attempt_rt_sigreturn(caller: &mut Caller) -> Attempt {
    match signals::return_at_once(caller) {
        Some(outcome) => {
            after_return(caller, outcome);
            Attempt::Replaced
        }
        None => Attempt::InFull,
    }
}

fn after_return(caller: &Caller, outcome: Result<()>) {
    if outcome.is_err() {
        signals::raise_fault(&caller.thread, SigInfo::kernel(Signal::SEGV));
    }
}

/// `rt_sigreturn`
pub async fn rt_sigreturn(caller: &mut Caller) -> Result<usize> {
    let outcome = signals::return_from_handler(caller).await;
    after_return(caller, outcome);
    caller.call.registers_replaced = true;
    Ok(0)
}

/// `sigaltstack`
pub async fn sigaltstack(caller: &Caller, new: usize, old: usize) -> Result<usize> {
    let stack_pointer = caller.context.registers[register::SP] as u64;
    let mut bytes = [0; AlternateStack::SIZE];
    if new != 0 {
        caller.space.read_bytes(VirtualAddress::new(new), &mut bytes).await?;
    }
    let former = {
        let mut own = caller.thread.signals.lock();
        let former = own.alternate.report(stack_pointer);
        if new != 0 {
            own.alternate.set(&AlternateStack::from_bytes(&bytes), stack_pointer)?;
        }
        former
    };
    if old != 0 {
        caller.space.write_bytes(VirtualAddress::new(old), &former.to_bytes()).await?;
    }
    Ok(0)
}

/// A signal's number as `kill` takes it: 0 only asks.
fn signal_or_question(number: usize) -> Result<Option<Signal>> {
    match number as u32 {
        0 => Ok(None),
        number => Signal::new(number).map(Some).ok_or(Error::InvalidArgument),
    }
}

/// Checks that the caller may send `signal` to `target`.
///
/// # Errors
/// `NotPermitted`.
fn check_permission(
    table: &process::Table,
    caller: &Caller,
    target: &Process,
    signal: Option<Signal>,
) -> Result<()> {
    let own = caller.process();
    if own.id == target.id {
        return Ok(());
    }
    let (sender, receiver) = (own.identity(), target.identity());
    let same_session = || table.identifiers.session(own.id) == table.identifiers.session(target.id);
    let allowed = Credentials::may_signal(&sender.credentials, &receiver.credentials)
        || (signal == Some(Signal::CONT) && same_session());
    if allowed { Ok(()) } else { Err(Error::NotPermitted) }
}

/// The process that has this thread or process id.
fn process_of(table: &process::Table, id: u32) -> Result<Arc<Process>> {
    let by_thread = || table.threads.get(&id).map(|thread| thread.process.clone());
    table.processes.get(&id).cloned().or_else(by_thread).ok_or(Error::NoSuchProcess)
}

fn sent_by(caller: &Caller, signal: Signal) -> SigInfo {
    SigInfo::kill(signal, caller.process().id, caller.process().user())
}

/// `kill`
pub async fn kill(caller: &Caller, target: usize, signal: usize) -> Result<usize> {
    let table = TABLE.lock();
    match target as u32 as i32 {
        i32::MIN => Err(Error::NoSuchProcess),
        -1 => kill_all(&table, caller, signal),
        0 => {
            let group = table.identifiers.group(caller.process().id).ok_or(Error::NoSuchProcess)?;
            kill_group(&table, caller, group, signal)
        }
        group if group < 0 => kill_group(&table, caller, group.unsigned_abs(), signal),
        id => {
            let target = process_of(&table, id as u32)?;
            kill_one(&table, caller, &target, signal)
        }
    }
}

/// Sends a process a signal, or asks with 0 whether that could be; with what the caller says comes with it, if it does.
///
/// # Errors
/// `InvalidArgument`, `NotPermitted`, `WouldBlock`.
pub fn signal_process(
    caller: &Caller,
    target: &Arc<Process>,
    signal: usize,
    given: Option<&[u8; SigInfo::SIZE]>,
) -> Result<usize> {
    let table = TABLE.lock();
    let signal = signal_or_question(signal)?;
    check_permission(&table, caller, target, signal)?;
    let Some(signal) = signal else { return Ok(0) };
    let information = match given {
        Some(bytes) => SigInfo::from_user(signal, bytes)?,
        None => sent_by(caller, signal),
    };
    signals::queue_to_process(target, information).map(|()| 0)
}

/// Sends a signal to the group that a process leads.
///
/// # Errors
/// As for `kill`.
pub fn signal_group_of(caller: &Caller, target: &Process, signal: usize) -> Result<usize> {
    kill_group(&TABLE.lock(), caller, target.id, signal)
}

/// `signalfd4`
pub async fn signalfd4(caller: &Caller, file: usize, set: usize, size: usize, flags: usize) -> Result<usize> {
    check_set_size(size)?;
    let set = read_set(caller, set).await?.difference(SignalSet::UNBLOCKABLE);
    let flags = super::names::check_flags(flags, number::O_CLOEXEC | number::O_NONBLOCK)?;
    if file as u32 as i32 == -1 {
        let made = SignalFile::new(set, caller.process());
        return super::events::insert(caller, made, "[signalfd]", OpenFlags::from_bits_retain(flags));
    }
    let open = caller.files.get(super::descriptor(file))?;
    let signals_of = open.file().downcast_ref::<SignalFile>().ok_or(Error::InvalidArgument)?;
    signals_of.set_signals(set);
    Ok(file as u32 as usize)
}

fn kill_one(table: &process::Table, caller: &Caller, target: &Arc<Process>, signal: usize) -> Result<usize> {
    let signal = signal_or_question(signal)?;
    check_permission(table, caller, target, signal)?;
    if let Some(signal) = signal {
        signals::queue_to_process(target, sent_by(caller, signal))?;
    }
    Ok(0)
}

/// To every member of a group; it is enough that one of them could be sent it.
fn kill_group(table: &process::Table, caller: &Caller, group: u32, signal: usize) -> Result<usize> {
    let mut outcome = Err(Error::NoSuchProcess);
    for member in table.identifiers.members(group).iter().filter_map(|id| table.processes.get(id)) {
        let sent = kill_one(table, caller, member, signal);
        if outcome.is_err() {
            outcome = sent;
        }
    }
    outcome
}

/// To everybody but process 1 and the caller.
fn kill_all(table: &process::Table, caller: &Caller, signal: usize) -> Result<usize> {
    let mut outcome = Err(Error::NoSuchProcess);
    for target in table.processes.values().filter(|target| target.id > 1 && target.id != caller.process().id)
    {
        // Those whom the caller may not signal do not make it fail.
        match kill_one(table, caller, target, signal) {
            Err(Error::NotPermitted) if outcome == Err(Error::NoSuchProcess) => outcome = Ok(0),
            Err(Error::NotPermitted) => {}
            sent => outcome = sent,
        }
    }
    outcome
}

/// `tkill`
pub async fn tkill(caller: &Caller, thread: usize, signal: usize) -> Result<usize> {
    if (thread as u32 as i32) <= 0 {
        return Err(Error::InvalidArgument);
    }
    kill_thread(caller, None, thread as u32, Sent::Number(signal))
}

/// `tgkill`
pub async fn tgkill(caller: &Caller, process: usize, thread: usize, signal: usize) -> Result<usize> {
    if (process as u32 as i32) <= 0 || (thread as u32 as i32) <= 0 {
        return Err(Error::InvalidArgument);
    }
    kill_thread(caller, Some(process as u32), thread as u32, Sent::Number(signal))
}

/// What is sent to a thread.
enum Sent {
    /// A signal, or 0, from the caller.
    Number(usize),
    /// What a program made up.
    Forged(usize, [u8; SigInfo::SIZE]),
}

fn kill_thread(caller: &Caller, process: Option<u32>, thread: u32, sent: Sent) -> Result<usize> {
    let table = TABLE.lock();
    let target: Arc<Thread> = table.threads.get(&thread).cloned().ok_or(Error::NoSuchProcess)?;
    if process.is_some_and(|process| process != target.process.id) {
        return Err(Error::NoSuchProcess);
    }
    let number = match &sent {
        Sent::Number(number) | Sent::Forged(number, _) => *number,
    };
    let signal = signal_or_question(number)?;
    check_permission(&table, caller, &target.process, signal)?;
    let Some(signal) = signal else { return Ok(0) };
    let information = match &sent {
        Sent::Number(_) => SigInfo::thread_kill(signal, caller.process().id, caller.process().user()),
        Sent::Forged(_, bytes) => SigInfo::from_user(signal, bytes)?,
    };
    match signals::send_to_thread(&target, information) {
        // As on Linux, a real-time signal of `tkill` that finds no room fails.
        Err(error) => Err(error),
        Ok(()) => Ok(0),
    }
}

/// What a program wants to send; only to itself may it look like the kernel's or like `kill`'s.
async fn read_information(caller: &Caller, address: usize, target: u32) -> Result<[u8; SigInfo::SIZE]> {
    let mut bytes = [0; SigInfo::SIZE];
    caller.space.read_bytes(VirtualAddress::new(address), &mut bytes).await?;
    // Any signal serves to look at the code alone.
    let information = SigInfo::from_user(Signal::KILL, &bytes)?;
    if !information.may_be_forged() && target != caller.process().id {
        return Err(Error::NotPermitted);
    }
    Ok(bytes)
}

/// `rt_sigqueueinfo`
pub async fn rt_sigqueueinfo(caller: &Caller, target: usize, signal: usize, address: usize) -> Result<usize> {
    let bytes = read_information(caller, address, target as u32).await?;
    let table = TABLE.lock();
    let target = process_of(&table, target as u32)?;
    let signal = signal_or_question(signal)?;
    check_permission(&table, caller, &target, signal)?;
    if let Some(signal) = signal {
        signals::queue_to_process(&target, SigInfo::from_user(signal, &bytes)?)?;
    }
    Ok(0)
}

/// `rt_tgsigqueueinfo`
pub async fn rt_tgsigqueueinfo(caller: &Caller, arguments: [usize; 4]) -> Result<usize> {
    let [process, thread, signal, address] = arguments;
    let bytes = read_information(caller, address, process as u32).await?;
    if (process as u32 as i32) <= 0 || (thread as u32 as i32) <= 0 {
        return Err(Error::InvalidArgument);
    }
    kill_thread(caller, Some(process as u32), thread as u32, Sent::Forged(signal, bytes))
}
