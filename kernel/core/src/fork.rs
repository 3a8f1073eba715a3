//! Births: a new process or a new thread, as `clone` asks for it.
//!
//! Everything that can fail comes first and leaves nothing behind. Then, under the lock of the table, the newcomer is
//! entered into its place, unless its creator has a signal to deal with: whoever sends a signal to a group or kills a
//! process finds either the newcomer in the table, or the creator before it made one.

use crate::calls::process_files;
use crate::process::{FreshId, Identity, Inheritance, Process, TABLE, Table, traits};
use crate::thread::{Caller, Thread, ThreadSignals};
use crate::{cpu_limit, signals};
use ::process::credentials::Capability;
use ::process::limits::Resource;
use ::process::signal::action::Interruption;
use abi::linux::general as number;
use alloc::boxed::Box;
use alloc::sync::Arc;
use arch_riscv64::trap::register;
use base::address::VirtualAddress;
use base::sync::SpinLock;
use base::sync::atomic::Ordering;
use base::{Error, Result};
use bitflags::bitflags;
use memory::space::AddressSpace;
use vfs::FileTable;

bitflags! {
    /// What a newcomer shares with its creator, and what else is done for it: the bits of `clone3`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// Memory.
        const MEMORY = number::CLONE_VM as u64;
        /// Root, current directory and file-creation mask.
        const PLACE = number::CLONE_FS as u64;
        /// Descriptors.
        const FILES = number::CLONE_FILES as u64;
        /// What is arranged for signals.
        const ACTIONS = number::CLONE_SIGHAND as u64;
        /// A descriptor of the newcomer is wanted.
        const PROCESS_DESCRIPTOR = number::CLONE_PIDFD as u64;
        /// Traced as the creator is.
        const TRACED = number::CLONE_PTRACE as u64;
        /// The creator waits until the newcomer has started a program or ended.
        const VFORK = number::CLONE_VFORK as u64;
        /// A sibling of the creator.
        const SIBLING = number::CLONE_PARENT as u64;
        /// A thread of the same process.
        const THREAD = number::CLONE_THREAD as u64;
        /// A mount namespace of its own.
        const NEW_MOUNTS = number::CLONE_NEWNS as u64;
        /// System V semaphore adjustments.
        const SEMAPHORES = number::CLONE_SYSVSEM as u64;
        /// Thread-local storage is set.
        const SET_TLS = number::CLONE_SETTLS as u64;
        /// The id is stored in the creator's memory.
        const SET_PARENT_TID = number::CLONE_PARENT_SETTID as u64;
        /// The id is cleared in the newcomer's memory when it ends, and a futex woken.
        const CLEAR_CHILD_TID = number::CLONE_CHILD_CLEARTID as u64;
        /// Has no meaning any more.
        const DETACHED = number::CLONE_DETACHED as u64;
        /// Not to be traced.
        const UNTRACED = number::CLONE_UNTRACED as u64;
        /// The id is stored in the newcomer's memory.
        const SET_CHILD_TID = number::CLONE_CHILD_SETTID as u64;
        /// Other namespaces of its own.
        const NEW_NAMESPACES = number::CLONE_NEWCGROUP as u64 | number::CLONE_NEWUTS as u64
            | number::CLONE_NEWIPC as u64 | number::CLONE_NEWUSER as u64 | number::CLONE_NEWPID as u64
            | number::CLONE_NEWNET as u64;
        /// The queue of input and output.
        const INPUT_OUTPUT = number::CLONE_IO as u64;
        /// Handlers go back to the default.
        const CLEAR_ACTIONS = 1 << 32;
    }
}

/// What `clone` was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What is shared and done.
    pub flags: Flags,
    /// The signal that the parent gets at the end; 0 for none.
    pub exit_signal: u32,
    /// The stack pointer; 0 for the creator's.
    pub stack_pointer: usize,
    /// The thread pointer, with [`Flags::SET_TLS`].
    pub tls: usize,
    /// Where the creator finds the id.
    pub parent_tid: usize,
    /// Where the newcomer finds the id, or where it is cleared.
    pub child_tid: usize,
    /// Where the creator finds the newcomer's descriptor.
    pub descriptor: usize,
}

impl Request {
    /// Refuses what cannot be.
    ///
    /// # Errors
    /// `InvalidArgument`, for what Linux refuses and for what is not here: namespaces, descriptors of threads, and threads
    /// that do not share root and current directory.
    pub fn check(&self, creator: &Process) -> Result<()> {
        let flags = self.flags;
        let needs = |flag: Flags, needed: Flags| !flags.contains(flag) || flags.contains(needed);
        let possible = needs(Flags::THREAD, Flags::ACTIONS)
            && needs(Flags::ACTIONS, Flags::MEMORY)
            && needs(Flags::THREAD, Flags::PLACE)
            && !(flags.contains(Flags::SIBLING) && creator.is_init())
            && !flags.contains(Flags::CLEAR_ACTIONS | Flags::ACTIONS)
            && !flags.contains(Flags::THREAD | Flags::VFORK);
        let here = !flags.intersects(Flags::NEW_MOUNTS | Flags::NEW_NAMESPACES)
            && !flags.contains(Flags::PROCESS_DESCRIPTOR | Flags::THREAD);
        if possible && here { Ok(()) } else { Err(Error::InvalidArgument) }
    }
}

/// Whether the user may have another thread.
fn within_limit(identity: &Identity, limit: u64) -> bool {
    let exempt = identity.user.id == 0
        || identity.credentials.has(Capability::Resource)
        || identity.credentials.has(Capability::SystemAdministration);
    exempt || identity.user.threads() < limit
}

/// Makes what was asked for and lets it run; returns its id.
///
/// # Errors
/// `InvalidArgument`; `WouldBlock` at the limit of threads; `OutOfMemory`; `Interrupted` (the call is made again).
pub async fn clone(caller: &mut Caller, request: &Request) -> Result<u32> {
    let creator = caller.process().clone();
    request.check(&creator)?;
    let limit = creator.limits.lock().soft(Resource::Processes);
    if !within_limit(&creator.identity(), limit) {
        return Err(Error::WouldBlock);
    }
    let id = FreshId::allocate()?;
    let space = match request.flags.contains(Flags::MEMORY) {
        true => caller.space.clone(),
        false => caller.space.fork().await?,
    };
    let files = match request.flags.contains(Flags::FILES) {
        true => caller.files.clone(),
        false => Arc::new(caller.files.duplicate()),
    };
    let process = match request.flags.contains(Flags::THREAD) {
        true => creator.clone(),
        false => new_process(caller, id.number(), request, space.clone(), files.clone()),
    };
    let thread = new_thread(caller, &process, id.number(), request);
    let newcomer = new_caller(caller, thread.clone(), request, space.clone(), files);
    let runnable = thread.prepare(newcomer)?;
    if let (Some(own), Some(task)) = (caller.thread.task(), thread.task()) {
        task.set_allowed_harts(own.allowed_harts());
    }
    let descriptor = give_descriptor(caller, &process, request).await?;
    store_ids(caller, &space, id.number(), request).await;
    if let Err(error) = enter_if_allowed(caller, &thread, request, limit) {
        take_descriptor_back(caller, descriptor);
        return Err(error);
    }
    let id = id.keep();
    if !request.flags.contains(Flags::THREAD)
        && process.limits.lock().soft(Resource::CpuTime) != ::process::limits::INFINITY
    {
        cpu_limit::watch(&process);
    }
    let vforked = request.flags.contains(Flags::VFORK);
    if vforked {
        process.state.lock().vforked = true;
    }
    runnable.schedule();
    if vforked {
        process.vforked(&caller.thread).await;
    }
    Ok(id)
}

/// Gives the creator a descriptor of the newcomer, if it wants one.
async fn give_descriptor(
    caller: &Caller,
    process: &Arc<Process>,
    request: &Request,
) -> Result<Option<usize>> {
    if !request.flags.contains(Flags::PROCESS_DESCRIPTOR) {
        return Ok(None);
    }
    let descriptor = process_files::insert(caller, process.clone(), vfs::OpenFlags::empty())?;
    let place = VirtualAddress::new(request.descriptor);
    if let Err(error) = caller.space.write_object(place, &(descriptor as u32)).await {
        take_descriptor_back(caller, Some(descriptor));
        return Err(error);
    }
    Ok(Some(descriptor))
}

fn take_descriptor_back(caller: &Caller, descriptor: Option<usize>) {
    if let Some(descriptor) = descriptor {
        // Another thread may have closed it already.
        drop(caller.files.remove(descriptor as u32));
    }
}

/// Enters a newcomer into the table, unless its creator has a signal to deal with first or is at its limit.
fn enter_if_allowed(caller: &mut Caller, thread: &Arc<Thread>, request: &Request, limit: u64) -> Result<()> {
    let mut table = TABLE.lock();
    if signals::interrupts(&caller.thread) {
        caller.call.interruption = Interruption::Always;
        return Err(Error::Interrupted);
    }
    if !within_limit(&caller.process().identity(), limit) {
        return Err(Error::WouldBlock);
    }
    enter(&mut table, caller, thread, request)
}

/// Enters a newcomer into the table.
fn enter(table: &mut Table, caller: &Caller, thread: &Arc<Thread>, request: &Request) -> Result<()> {
    let creator = caller.process();
    if !request.flags.contains(Flags::THREAD) {
        let parent = match request.flags.contains(Flags::SIBLING) {
            true => creator.state.lock().parent.upgrade().ok_or(Error::InvalidArgument)?,
            false => creator.clone(),
        };
        table.add_process(&thread.process, &parent, creator.id)?;
    }
    // Only a process that is ending takes no more threads, and then its creator had something to deal with.
    if table.add_thread(thread) { Ok(()) } else { Err(Error::WouldBlock) }
}

/// A process as its creator is, but for what it does not share.
fn new_process(
    caller: &Caller,
    id: u32,
    request: &Request,
    space: Arc<AddressSpace>,
    files: Arc<FileTable>,
) -> Arc<Process> {
    let creator = caller.process();
    let flags = request.flags;
    let place = match flags.contains(Flags::PLACE) {
        true => creator.place.lock().clone(),
        false => Arc::new(SpinLock::new(creator.place())),
    };
    let shared_actions = creator.signals.lock().actions.clone();
    let actions = match flags.contains(Flags::ACTIONS) {
        true => shared_actions,
        false => {
            let mut actions = shared_actions.lock().clone();
            if flags.contains(Flags::CLEAR_ACTIONS) {
                actions.clear_handlers();
            }
            Arc::new(SpinLock::new(actions))
        }
    };
    let inheritance = Inheritance { space, files, place, identity: creator.identity(), actions };
    let limits = creator.limits.lock().clone();
    let process = Process::new(id, inheritance, limits);
    let exit_signal = match flags.contains(Flags::SIBLING) {
        true => creator.exit_signal.load(Ordering::Relaxed),
        false => request.exit_signal,
    };
    process.exit_signal.store(exit_signal, Ordering::Relaxed);
    process.gave_terminal_up.store(creator.gave_terminal_up.load(Ordering::Relaxed), Ordering::Relaxed);
    process.signal_return.store(creator.signal_return.load(Ordering::Relaxed), Ordering::Relaxed);
    process.creator.store(caller.thread.id(), Ordering::Relaxed);
    process.personality.store(creator.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    let kept = creator.traits.load(Ordering::Relaxed) & !traits::SUBREAPER;
    let adjustment = creator.memory_score_adjustment.load(Ordering::Relaxed);
    process.memory_score_adjustment.store(adjustment, Ordering::Relaxed);
    process.traits.store(kept, Ordering::Relaxed);
    {
        let former = creator.state.lock();
        let mut state = process.state.lock();
        state.executable = former.executable.clone();
        state.execution = former.execution.clone();
        state.arguments = former.arguments.clone();
        state.environment = former.environment.clone();
        state.auxiliary = former.auxiliary.clone();
    }
    process
}

fn new_thread(caller: &Caller, process: &Arc<Process>, id: u32, request: &Request) -> Arc<Thread> {
    let quota = process.identity.lock().user.signals.clone();
    let mut signals = {
        let own = caller.thread.signals.lock();
        let mut signals = ThreadSignals::new(own.mask, quota);
        signals.alternate = own.alternate;
        signals
    };
    // With shared memory and no creator that waits, the alternate stack would be used by both.
    if request.flags.contains(Flags::MEMORY) && !request.flags.contains(Flags::VFORK) {
        signals.alternate = ::process::signal::AlternateStack::default();
    }
    let name = *caller.thread.name.lock();
    let thread = Thread::new(id, process.clone(), signals, name);
    thread.set_isolated(caller.thread.is_isolated());
    let (nice, policy, priority) = caller.thread.scheduling_of_children();
    thread.nice.store(nice, Ordering::Relaxed);
    thread.set_policy(policy, priority);
    if request.flags.contains(Flags::CLEAR_CHILD_TID) {
        thread.clear_child_tid.store(request.child_tid, Ordering::Relaxed);
    }
    thread
}

/// The part of a newcomer that only it uses: the creator's registers, but for the result of the call.
fn new_caller(
    caller: &Caller,
    thread: Arc<Thread>,
    request: &Request,
    space: Arc<AddressSpace>,
    files: Arc<FileTable>,
) -> Caller {
    let mut context = Box::new(caller.context.duplicate());
    context.registers[register::A0] = 0;
    if request.stack_pointer != 0 {
        context.registers[register::SP] = request.stack_pointer;
    }
    if request.flags.contains(Flags::SET_TLS) {
        context.registers[register::TP] = request.tls;
    }
    let mut newcomer = Caller::new(thread, context, space, files);
    if caller.float.is_some() {
        newcomer.reload_float(caller.float.clone());
    }
    newcomer
}

/// Stores the new id where it was asked for. As on Linux, an address that cannot be written is passed over.
async fn store_ids(caller: &Caller, space: &AddressSpace, id: u32, request: &Request) {
    let bytes = id.to_ne_bytes();
    if request.flags.contains(Flags::SET_PARENT_TID) {
        let _ = caller.space.write_bytes(VirtualAddress::new(request.parent_tid), &bytes).await;
    }
    if request.flags.contains(Flags::SET_CHILD_TID) {
        let _ = space.write_bytes(VirtualAddress::new(request.child_tid), &bytes).await;
    }
}
