//! The system calls: one `async fn` each, reached by the trap and, later, by the ring.
//!
//! A call gets its [`Caller`] and its arguments as they stand in the registers; what it answers goes to `a0`, errors
//! negated. One file for each group of calls. A call that the kernel does not have answers `ENOSYS` and is counted
//! ([`unimplemented`]).

pub mod areas;
pub mod attributes;
pub mod control;
pub mod copying;
pub mod descriptors;
pub mod dispatch;
pub mod events;
pub mod execution;
pub mod file;
pub mod futex;
pub mod identity;
pub mod locking;
pub mod memory;
pub mod messages;
pub mod mounts;
pub mod names;
pub mod ownership;
pub mod poll;
pub mod process_files;
pub mod resources;
pub mod scheduling;
pub mod signal;
pub mod socket;
pub mod socket_options;
pub mod splicing;
pub mod status;
pub mod system;
pub mod time;
pub mod timers;
pub mod unimplemented;
pub mod watching;

use crate::futex::Wait;
use crate::signals::Interrupted;
use crate::thread::{ATTENTION_LEFT, ATTENTION_SIGNAL, Caller};
use crate::trace;
use ::process::signal::action::Interruption;
use abi::trace::Event;
use alloc::sync::Arc;
use arch_riscv64::trap::register;
use base::{Error, Result};
use vfs::{OpenFile, Readiness};

/// What a system call leaves for the way back to user mode.
pub struct CallState {
    /// How the call goes on if it is interrupted; begins anew with each call.
    pub interruption: Interruption,
    /// The call was interrupted, and nobody has decided yet how it goes on.
    pub interrupted: Option<Interrupted>,
    /// The registers are as they shall be (`execve`, `rt_sigreturn`): the result is not to be stored.
    pub registers_replaced: bool,
    /// The number of the call that goes on through `restart_syscall`; 0 for none.
    pub restart_number: usize,
    /// Until when an interrupted wait lasts that goes on through `restart_syscall`, in nanoseconds since boot.
    pub restart_deadline_ns: u64,
}

impl CallState {
    /// No call.
    pub const fn new() -> Self {
        Self {
            interruption: Interruption::Restartable,
            interrupted: None,
            registers_replaced: false,
            restart_number: 0,
            restart_deadline_ns: 0,
        }
    }
}

impl Default for CallState {
    fn default() -> Self {
        Self::new()
    }
}

/// What came of trying to make a call at once.
pub enum Attempt {
    /// It is made.
    Done(Result<usize>),
    /// It has to wait for this file; to be tried again when the file is ready.
    WaitFor(Arc<OpenFile>, Readiness),
    /// It has to wait for a wake-up of this word, and nothing else.
    WaitForWord(Wait),
    /// It is made, and the registers are as they shall be.
    Replaced,
    /// That is not possible: the call has to be made in full.
    InFull,
}

/// Makes the system call that the thread has just trapped for, if that is possible at once; otherwise gives what is left
/// to do. (A plain function, so that the most frequent calls leave nothing in the thread's future.)
#[inline(always)]
pub fn serve_at_once(caller: &mut Caller) -> Option<Attempt> {
    caller.context.registers[register::PC] += 4;
    trace_call(caller, Event::SystemCall);
    if let Some(value) = dispatch::answer(caller) {
        finish(caller, value);
        return None;
    }
    match dispatch::attempt(caller) {
        Attempt::Done(result) => {
            finish(caller, result.unwrap_or_else(Error::to_return_value));
            None
        }
        Attempt::Replaced => None,
        unfinished => Some(unfinished),
    }
}

/// Makes the system call that could not be made at once.
#[expect(clippy::manual_async_fn, reason = "in an `async fn` the attempt would have two places")]
#[inline]
pub fn serve<'a>(caller: &'a mut Caller, mut attempt: Attempt) -> impl Future<Output = ()> + Send + 'a {
    async move {
        let result = loop {
            caller.call.interruption = Interruption::Restartable;
            match &attempt {
                Attempt::Done(result) => break *result,
                Attempt::Replaced => return,
                Attempt::WaitForWord(wait) => break crate::futex::wait(caller, wait).await.map(|()| 0),
                Attempt::WaitFor(file, interest) => {
                    if let Err(error) = file::wait_for(caller, file, *interest).await {
                        break Err(error);
                    }
                }
                Attempt::InFull => break dispatch::call(caller).await,
            }
            attempt = attempt_again(caller);
        };
        if core::mem::take(&mut caller.call.registers_replaced) {
            return;
        }
        let value = match result {
            Ok(value) => value,
            Err(error) => failed(caller, error),
        };
        finish(caller, value);
    }
}

/// Tries again a call whose file is ready now. (Apart, so that the way of a call that need not wait is one piece.)
#[inline(never)]
fn attempt_again(caller: &mut Caller) -> Attempt {
    dispatch::attempt(caller)
}

#[inline(always)]
fn finish(caller: &mut Caller, value: usize) {
    caller.context.registers[register::A0] = value;
    trace_call(caller, Event::Return);
}

/// Records that a call begins or has its result; one that replaces the registers has none.
#[inline(always)]
fn trace_call(caller: &Caller, event: Event) {
    if trace::is_enabled() {
        let registers = &caller.context.registers;
        trace::here(event, registers[register::A7] as u32, registers[register::A0]);
    }
}

/// What a call that failed returns; one that was interrupted may begin again.
#[cold]
fn failed(caller: &mut Caller, error: Error) -> usize {
    if error == Error::Interrupted {
        let kind = caller.call.interruption;
        let first_argument = caller.context.registers[register::A0];
        caller.call.interrupted = Some(Interrupted { kind, first_argument });
        caller.thread.notify_self(ATTENTION_SIGNAL);
    }
    error.to_return_value()
}

/// What a thread does that ends.
pub async fn thread_ends(caller: &Caller) {
    crate::futex::thread_leaves(caller).await;
    caller.thread.notify_self(ATTENTION_LEFT);
    crate::futex_inheritance::thread_leaves(&caller.thread);
}

/// A descriptor as it stands in a register: its low half counts.
pub fn descriptor(register: usize) -> u32 {
    register as u32
}

/// A length or a count that must not be negative as a signed number.
///
/// # Errors
/// `InvalidArgument`.
pub fn length(register: usize) -> Result<usize> {
    if register > isize::MAX as usize { Err(Error::InvalidArgument) } else { Ok(register) }
}

/// Makes the thread run a program that was loaded: its registers, its memory, what the process says of itself.
pub fn enter_program(caller: &mut Caller, loaded: crate::exec::Loaded) {
    crate::init::set_entry(&mut caller.context, loaded.entry, loaded.stack.stack_pointer.value());
    caller.reload_float(None);
    let process = caller.thread.process.clone();
    process.signal_return.store(loaded.signal_return, base::sync::atomic::Ordering::Relaxed);
    *caller.thread.name.lock() = loaded.name;
    let mut state = process.state.lock();
    state.arguments = loaded.stack.arguments;
    state.environment = loaded.stack.environment;
    state.auxiliary = loaded.stack.auxiliary;
    let executable = state.executable.replace(loaded.executable);
    let execution = core::mem::replace(&mut state.execution, loaded.execution);
    let former = state.space.replace(loaded.space.clone());
    drop(state);
    drop((executable, execution, former));
    let former = core::mem::replace(&mut caller.space, loaded.space);
    if !alloc::sync::Arc::ptr_eq(&former, &caller.space) {
        crate::translation::leave_space();
        crate::process::release_space(former);
    }
}
