//! Processes: an address space and what it owns; their table, their births and their ends.
//!
//! # Locks
//! [`TABLE`] says which processes and threads there are and how they are related (parents, groups, sessions); it is taken
//! first. A process's own `signals` and `state` and a thread's `signals` come after it, in that order. All are
//! spin locks, held for a few dozen instructions; nobody waits with one of them.

use crate::signals::{self, ProcessSignals};
use crate::thread::{ATTENTION_EXIT, Caller, Thread};
use crate::{hart, interrupts, log, power, translation};
use ::process::credentials::Credentials;
use ::process::identifiers::Identifiers;
use ::process::limits::Limits;
use ::process::signal::{SigInfo, Signal, SignalActions, SignalQuota};
use ::process::wait::{Change, Usage};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use base::sync::{Lazy, SpinLock, WaitQueue};
use base::{Error, Result};
use core::ops::Range;
use memory::space::AddressSpace;
use vfs::{FileTable, Location};

/// The most threads and processes there can be at once, and so the first `RLIMIT_NPROC`.
pub const THREADS_MAX: u64 = 32_000;

/// Which processes and threads there are.
pub struct Table {
    /// Ids, parents, groups, sessions.
    pub identifiers: Identifiers,
    /// Every process that was not waited for yet.
    pub processes: BTreeMap<u32, Arc<Process>>,
    /// Every living thread.
    pub threads: BTreeMap<u32, Arc<Thread>>,
}

/// The table; see the module for the order of locks.
pub static TABLE: Lazy<SpinLock<Table>> = Lazy::new(|| {
    SpinLock::new(Table {
        identifiers: Identifiers::default(),
        processes: BTreeMap::new(),
        threads: BTreeMap::new(),
    })
});

/// An address space and what it owns.
pub struct Process {
    /// The process's id.
    pub id: u32,
    /// What changes in its life.
    pub state: SpinLock<ProcessState>,
    /// What is arranged for signals, and what waits for any of its threads.
    pub signals: SpinLock<ProcessSignals>,
    /// Who it is; replaced as a whole.
    pub identity: SpinLock<Arc<Identity>>,
    /// Its limits.
    pub limits: SpinLock<Limits>,
    /// Where names start for it; shared among those that `clone` with `CLONE_FS` made.
    pub place: SpinLock<Arc<SpinLock<Place>>>,
    /// Its parent's id, beside the table for `getppid`.
    pub parent_id: AtomicU32,
    /// Woken when a child changes, or this process's own exit is complete.
    pub children_changed: WaitQueue,
    /// Woken when the program of a `vfork` child has started or the child has ended.
    pub vfork_done: WaitQueue,
    /// The signal that its parent gets at its end; 0 for none.
    pub exit_signal: AtomicU32,
    /// Where a handler of its returns to: the trampoline in its vDSO.
    pub signal_return: AtomicUsize,
    /// It gave its controlling terminal up (`TIOCNOTTY`) without leading its session; inherited by its children.
    pub gave_terminal_up: AtomicBool,
    /// When it started, in nanoseconds since boot.
    pub started_ns: u64,
}

/// What changes in a process's life.
pub struct ProcessState {
    /// The threads that have not ended.
    pub threads: Vec<Arc<Thread>>,
    /// Living children and those not waited for.
    pub children: Vec<Arc<Process>>,
    /// The parent; nothing for process 1.
    pub parent: Weak<Process>,
    /// How the process ends, once that is decided.
    pub ending: Option<Change>,
    /// All threads are gone, and `ending` waits for the parent.
    pub zombie: bool,
    /// It shares its parent's memory, and the parent waits.
    pub vforked: bool,
    /// The address space; nothing when the process has ended.
    pub space: Option<Arc<AddressSpace>>,
    /// The descriptors; nothing when the process has ended.
    pub files: Option<Arc<FileTable>>,
    /// The program.
    pub executable: Option<Location>,
    /// Where its arguments stand in its memory.
    pub arguments: Range<VirtualAddress>,
    /// Where its environment stands in its memory.
    pub environment: Range<VirtualAddress>,
    /// The auxiliary vector that it was given.
    pub auxiliary: Vec<(u64, u64)>,
    /// What threads that ended had used.
    pub usage: Usage,
    /// What children that were waited for had used.
    pub children_usage: Usage,
}

/// Who a process is, for every layer that asks.
#[derive(Clone)]
pub struct Identity {
    /// Users, groups, capabilities.
    pub credentials: Credentials,
    /// The same, as file systems ask.
    pub files: vfs::Credentials,
}

impl Identity {
    /// The identity with these credentials.
    pub fn new(credentials: Credentials) -> Arc<Identity> {
        let files = vfs::Credentials {
            uid: credentials.user.filesystem,
            gid: credentials.group.filesystem,
            groups: credentials.groups().into(),
            capabilities: vfs::Capabilities::from_bits_retain(credentials.effective_capabilities()),
        };
        Arc::new(Identity { credentials, files })
    }
}

/// Where names start.
#[derive(Clone)]
pub struct Place {
    /// `/`.
    pub root: Location,
    /// `.`.
    pub current: Location,
    /// Permission bits that new files do not get.
    pub umask: u16,
}

/// What a new process takes over from its creator, or shares with it.
pub struct Inheritance {
    /// The address space.
    pub space: Arc<AddressSpace>,
    /// The descriptors.
    pub files: Arc<FileTable>,
    /// Where names start.
    pub place: Arc<SpinLock<Place>>,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What is arranged for signals.
    pub actions: Arc<SpinLock<SignalActions>>,
}

impl Process {
    /// A process without threads. It is in no table yet.
    pub fn new(id: u32, inheritance: Inheritance, limits: Limits, quota: Arc<SignalQuota>) -> Arc<Process> {
        let nothing = VirtualAddress::new(0)..VirtualAddress::new(0);
        Arc::new(Process {
            id,
            state: SpinLock::new(ProcessState {
                threads: Vec::new(),
                children: Vec::new(),
                parent: Weak::new(),
                ending: None,
                zombie: false,
                vforked: false,
                space: Some(inheritance.space),
                files: Some(inheritance.files),
                executable: None,
                arguments: nothing.clone(),
                environment: nothing,
                auxiliary: Vec::new(),
                usage: Usage::default(),
                children_usage: Usage::default(),
            }),
            signals: SpinLock::new(ProcessSignals::new(inheritance.actions, quota)),
            identity: SpinLock::new(inheritance.identity),
            limits: SpinLock::new(limits),
            place: SpinLock::new(inheritance.place),
            parent_id: AtomicU32::new(0),
            children_changed: WaitQueue::new(),
            vfork_done: WaitQueue::new(),
            exit_signal: AtomicU32::new(Signal::CHLD.number().into()),
            signal_return: AtomicUsize::new(0),
            gave_terminal_up: AtomicBool::new(false),
            started_ns: now_ns(),
        })
    }

    /// Who the process is now.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.lock().clone()
    }

    /// Where names start for it now.
    pub fn place(&self) -> Place {
        let shared = self.place.lock().clone();
        let place = shared.lock().clone();
        place
    }

    /// The address space, unless the process has ended.
    pub fn space(&self) -> Option<Arc<AddressSpace>> {
        self.state.lock().space.clone()
    }

    /// The real user's id.
    pub fn user(&self) -> u32 {
        self.identity.lock().credentials.user.real
    }

    /// Decides how the process ends, unless that was decided before, and makes all threads end.
    pub fn end(&self, change: Change) {
        let mut state = self.state.lock();
        if state.ending.is_none() {
            state.ending = Some(change);
        }
        for thread in &state.threads {
            thread.notify(ATTENTION_EXIT);
        }
    }

    /// Whether the process is process 1, which no signal ends that it does not handle.
    pub fn is_init(&self) -> bool {
        self.id == 1
    }

    /// What its threads used until now, those that ended included.
    pub fn usage(&self) -> Usage {
        let state = self.state.lock();
        let mut usage = state.usage;
        for thread in &state.threads {
            usage.user_ns += thread.user_ns.load(Ordering::Relaxed);
            usage.system_ns += thread.system_ns.load(Ordering::Relaxed);
        }
        usage
    }
}

impl core::fmt::Debug for Process {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Process({})", self.id)
    }
}

/// The process with this id, ended or not, unless it was waited for.
pub fn find(id: u32) -> Option<Arc<Process>> {
    TABLE.lock().processes.get(&id).cloned()
}

/// The living thread with this id.
pub fn find_thread(id: u32) -> Option<Arc<Thread>> {
    TABLE.lock().threads.get(&id).cloned()
}

/// The members of a process group, those that ended but were not waited for included.
pub fn group_members(group: u32) -> Vec<Arc<Process>> {
    let table = TABLE.lock();
    let members = table.identifiers.members(group);
    members.iter().filter_map(|id| table.processes.get(id).cloned()).collect()
}

/// Enters a new thread into its process and the table. `false`: the process is ending, and takes no more threads.
pub fn add_thread(thread: &Arc<Thread>) -> bool {
    let mut table = TABLE.lock();
    let mut state = thread.process.state.lock();
    if state.ending.is_some() {
        return false;
    }
    state.threads.push(thread.clone());
    table.threads.insert(thread.id, thread.clone());
    true
}

/// The end of a thread: called by its coroutine, as the last thing that it does.
pub async fn exit_thread(caller: Caller) {
    let thread = caller.thread.clone();
    crate::calls::thread_ends(&caller).await;
    let Caller { context, float, space, files, .. } = caller;
    drop((context, float));
    let process = thread.process.clone();
    let last = {
        let mut table = TABLE.lock();
        let mut state = process.state.lock();
        state.threads.retain(|other| !Arc::ptr_eq(other, &thread));
        state.usage.user_ns += thread.user_ns.load(Ordering::Relaxed);
        state.usage.system_ns += thread.system_ns.load(Ordering::Relaxed);
        table.threads.remove(&thread.id);
        if thread.id != process.id {
            table.identifiers.release(thread.id);
        }
        state.threads.is_empty()
    };
    drop((space, files));
    if last {
        end_process(&process).await;
    } else {
        // `execve` of another thread, and `exit_group`, wait for this.
        process.children_changed.wake_all();
    }
}

/// The last thread is gone: frees what the process owns, gives its children away, tells the parent.
async fn end_process(process: &Arc<Process>) {
    let (space, files, executable, vforked) = {
        let mut state = process.state.lock();
        (state.space.take(), state.files.take(), state.executable.take(), state.vforked)
    };
    // Closing files may wake others and send messages; nothing of that under a lock.
    drop((files, executable));
    translation::leave_space();
    if let Some(space) = space {
        let resident = space.peak_resident_pages();
        process.state.lock().usage.resident_peak_kib = resident as u64 * 4;
        let still_active = space.active_harts();
        drop(space);
        notify_harts(still_active);
    }
    if vforked {
        process.state.lock().vforked = false;
        process.vfork_done.wake_all();
    }
    crate::terminal_device::session_leader_ends(process);
    bequeath(process);
    if process.is_init() {
        let change = process.state.lock().ending.unwrap_or(Change::Exited(0));
        log!("process 1 ended: {change:?}");
        power::off(change.exit_code());
    }
    report_end(process);
}

/// Harts that still translate by an address space that has ended let go of it when they next look.
fn notify_harts(harts: u64) {
    hart::with(|here| {
        for target in hart::online().iter().filter(|hart| harts >> hart.index() & 1 == 1) {
            if target.index() != here.index() {
                interrupts::notify(target);
            }
        }
    });
}

/// Gives the children of a process that ends to process 1, and hangs up on groups that are orphaned by it.
fn bequeath(process: &Arc<Process>) {
    let mut table = TABLE.lock();
    let children = core::mem::take(&mut process.state.lock().children);
    let ids: Vec<u32> = children.iter().map(|child| child.id).collect();
    let orphaned = table.identifiers.note_exit(process.id, &ids, 1);
    let init = table.processes.get(&1).cloned();
    let mut any_zombie = false;
    if let Some(init) = &init
        && init.id != process.id
    {
        for child in children {
            let mut state = child.state.lock();
            state.parent = Arc::downgrade(init);
            any_zombie |= state.zombie;
            drop(state);
            child.parent_id.store(1, Ordering::Relaxed);
            init.state.lock().children.push(child);
        }
    }
    drop(table);
    if any_zombie && let Some(init) = init {
        init.children_changed.wake_all();
        signals::send_to_process(&init, SigInfo::kernel(Signal::CHLD));
    }
    for group in orphaned {
        signals::hang_up_orphaned(group);
    }
}

/// Makes a process that has ended a zombie and tells its parent, or removes it where nobody wants to know.
fn report_end(process: &Arc<Process>) {
    let (change, usage, parent) = {
        let mut state = process.state.lock();
        state.zombie = true;
        (state.ending.unwrap_or(Change::Exited(0)), state.usage, state.parent.upgrade())
    };
    let Some(parent) = parent else { return };
    let signal = Signal::new(process.exit_signal.load(Ordering::Relaxed));
    let unwanted = signal == Some(Signal::CHLD) && signals::children_are_unwanted(&parent);
    if let Some(signal) = signal {
        let report = change.report(process.id, process.user(), &usage);
        signals::send_to_process(&parent, SigInfo::child(signal, &report));
    }
    if unwanted {
        remove(process);
    }
    parent.children_changed.wake_all();
}

/// Removes a process that has ended from the table: it was waited for.
pub fn remove(process: &Arc<Process>) {
    let mut table = TABLE.lock();
    let parent = process.state.lock().parent.upgrade();
    if let Some(parent) = parent {
        parent.state.lock().children.retain(|child| !Arc::ptr_eq(child, process));
    }
    table.identifiers.remove_process(process.id);
    table.processes.remove(&process.id);
}

/// How many threads and processes there are.
pub fn counts() -> (usize, usize) {
    let table = TABLE.lock();
    (table.threads.len(), table.processes.len())
}

/// How many threads the processes of a real user have, for `RLIMIT_NPROC`.
pub fn threads_of_user(user: u32) -> u64 {
    let table = TABLE.lock();
    table.processes.values().filter(|process| process.user() == user).map(|process| process.state.lock().threads.len() as u64).sum()
}

/// Allocates an id for a thread or a process.
///
/// # Errors
/// `WouldBlock` when there are too many.
pub fn allocate_id() -> Result<u32> {
    let mut table = TABLE.lock();
    if table.threads.len() as u64 >= THREADS_MAX {
        return Err(Error::WouldBlock);
    }
    table.identifiers.allocate()
}

