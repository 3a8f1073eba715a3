//! Processes: an address space and what it owns; their table, their births and their ends.
//!
//! # Locks
//! [`TABLE`] says which processes and threads there are and how they are related (parents, groups, sessions); it is taken
//! first. A parent's `state` comes before everything of its children; then a process's own `signals` and `state` and a
//! thread's `signals`, in that order. All are spin locks; nobody waits with one of them.

use crate::cpu_limit::CpuLimit;
use crate::exec::Execution;
use crate::interval_timer::IntervalTimers;
use crate::posix_timer::PosixTimers;
use crate::signals::{self, ProcessSignals};
use crate::thread::{ATTENTION_EXIT, Caller, Thread};
use crate::users::User;
use crate::{hart, interrupts, log, power, translation};
use ::process::credentials::Credentials;
use ::process::identifiers::Identifiers;
use ::process::limits::Limits;
use ::process::signal::{SigInfo, Signal, SignalActions};
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
use core::sync::atomic::AtomicI32;
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
    /// Woken when it has ended.
    pub ended: WaitQueue,
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
    /// It may have something to tell a wait: it ended, stopped or went on. A hint; its locks say more.
    pub waitable: AtomicBool,
    /// The thread that made it, for waits that ask only for a thread's own children.
    pub creator: AtomicU32,
    /// The signal that it gets when its parent ends; 0 for none.
    pub death_signal: AtomicU32,
    /// The bits of [`traits`].
    pub traits: AtomicU32,
    /// What `personality` set; the kernel only keeps it.
    pub personality: AtomicU32,
    /// What `setitimer` arms.
    pub interval_timers: IntervalTimers,
    /// What watches over its limit of CPU time.
    pub cpu_limit: CpuLimit,
    /// What `timer_create` made.
    pub posix_timers: PosixTimers,
    /// How much sooner (or, negative, later) than its memory says it is ended when memory runs out: thousandths of all
    /// memory (`oom_score_adj`).
    pub memory_score_adjustment: AtomicI32,
    /// What its last thread was called, for who looks at a zombie.
    pub last_name: SpinLock<[u8; 16]>,
}

/// Bits of [`Process::traits`].
pub mod traits {
    /// Others of its user may look into it (`PR_SET_DUMPABLE`).
    pub const DUMPABLE: u32 = 1;
    /// Programs give it no privileges (`PR_SET_NO_NEW_PRIVS`).
    pub const NO_NEW_PRIVILEGES: u32 = 2;
    /// It takes the children of its descendants that end (`PR_SET_CHILD_SUBREAPER`).
    pub const SUBREAPER: u32 = 4;
    /// It may ask for expedited memory barriers (`membarrier`).
    pub const EXPEDITED_BARRIERS: u32 = 8;
    /// It wants to be reached by the memory barriers of others.
    pub const GLOBAL_BARRIERS: u32 = 16;
    /// It may ask for expedited barriers after which other threads see new instructions.
    pub const INSTRUCTION_BARRIERS: u32 = 32;
    /// What it announced of barriers, which is about its memory.
    pub const BARRIERS: u32 = EXPEDITED_BARRIERS | GLOBAL_BARRIERS | INSTRUCTION_BARRIERS;
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
    /// A thread is starting a program and waits until it is alone: there will be no more threads.
    pub replacing: bool,
    /// The status with which the first thread ended while others went on.
    pub leader_status: Option<u8>,
    /// The address space; nothing when the process has ended.
    pub space: Option<Arc<AddressSpace>>,
    /// The descriptors; nothing when the process has ended.
    pub files: Option<Arc<FileTable>>,
    /// The program.
    pub executable: Option<Location>,
    /// Keeps the program's file from being written.
    pub execution: Option<Arc<Execution>>,
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
    /// The account of its real user.
    pub user: Arc<User>,
}

impl Identity {
    /// The identity with these credentials.
    pub fn new(credentials: Credentials) -> Arc<Identity> {
        let files = vfs::Credentials {
            uid: credentials.user.filesystem,
            gid: credentials.group.filesystem,
            groups: credentials.groups().into(),
            capabilities: vfs::Capabilities::from_bits_retain(credentials.capabilities.effective),
        };
        let user = User::of(credentials.user.real);
        Arc::new(Identity { credentials, files, user })
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
    pub fn new(id: u32, inheritance: Inheritance, limits: Limits) -> Arc<Process> {
        let quota = inheritance.identity.user.signals.clone();
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
                replacing: false,
                leader_status: None,
                space: Some(inheritance.space),
                files: Some(inheritance.files),
                executable: None,
                execution: None,
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
            ended: WaitQueue::new(),
            vfork_done: WaitQueue::new(),
            exit_signal: AtomicU32::new(Signal::CHLD.number().into()),
            signal_return: AtomicUsize::new(0),
            gave_terminal_up: AtomicBool::new(false),
            started_ns: now_ns(),
            waitable: AtomicBool::new(false),
            creator: AtomicU32::new(0),
            death_signal: AtomicU32::new(0),
            traits: AtomicU32::new(traits::DUMPABLE),
            personality: AtomicU32::new(0),
            interval_timers: IntervalTimers::new(),
            cpu_limit: CpuLimit::new(),
            posix_timers: PosixTimers::new(),
            memory_score_adjustment: AtomicI32::new(0),
            last_name: SpinLock::new([0; 16]),
        })
    }

    /// Whether it has this bit of [`traits`].
    pub fn has(&self, trait_bit: u32) -> bool {
        self.traits.load(Ordering::Relaxed) & trait_bit != 0
    }

    /// Gives it this bit of [`traits`], or takes it.
    pub fn set_trait(&self, trait_bit: u32, value: bool) {
        if value {
            self.traits.fetch_or(trait_bit, Ordering::Relaxed);
        } else {
            self.traits.fetch_and(!trait_bit, Ordering::Relaxed);
        }
    }

    /// Makes it somebody else; its threads count for the new user from now on.
    pub fn set_identity(&self, identity: Arc<Identity>) {
        let mut signals = self.signals.lock();
        let state = self.state.lock();
        let threads = state.threads.len();
        identity.user.add_threads(threads);
        let quota = identity.user.signals.clone();
        for thread in &state.threads {
            thread.signals.lock().pending.count_for(quota.clone());
        }
        signals.pending.count_for(quota);
        let former = core::mem::replace(&mut *self.identity.lock(), identity);
        former.user.remove_threads(threads);
    }

    /// Who the process is now.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.lock().clone()
    }

    /// Where names start for it now.
    pub fn place(&self) -> Place {
        let shared = self.place.lock().clone();
        Place::clone(&shared.lock())
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

    /// What it used, and its children that were waited for.
    pub fn total_usage(&self) -> Usage {
        let mut usage = self.usage();
        usage.add(&self.state.lock().children_usage);
        usage
    }

    /// What its threads used until now, those that ended included.
    pub fn usage(&self) -> Usage {
        let state = self.state.lock();
        let mut usage = state.usage;
        for thread in &state.threads {
            let (user_ns, system_ns) = thread.times();
            usage.user_ns += user_ns;
            usage.system_ns += system_ns;
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

impl Table {
    /// Enters a new thread, which has not started, into its process. `false`: the process is ending, and takes no more.
    pub fn add_thread(&mut self, thread: &Arc<Thread>) -> bool {
        let process = &thread.process;
        let mut state = process.state.lock();
        if state.ending.is_some() || state.replacing {
            return false;
        }
        state.threads.push(thread.clone());
        process.identity.lock().user.add_threads(1);
        self.threads.insert(thread.id(), thread.clone());
        true
    }

    /// Enters a new process without threads as a child of `parent`, in the group and session of `creator`.
    ///
    /// # Errors
    /// `NoSuchProcess`: there is no `creator`.
    pub fn add_process(&mut self, process: &Arc<Process>, parent: &Arc<Process>, creator: u32) -> Result<()> {
        self.identifiers.add_process(process.id, parent.id, creator)?;
        self.processes.insert(process.id, process.clone());
        process.parent_id.store(parent.id, Ordering::Relaxed);
        process.state.lock().parent = Arc::downgrade(parent);
        parent.state.lock().children.push(process.clone());
        Ok(())
    }
}

/// The end of a thread: called by its coroutine, as the last thing that it does.
pub async fn exit_thread(caller: Caller) {
    let thread = caller.thread.clone();
    crate::calls::thread_ends(&caller).await;
    let process = thread.process.clone();
    let last = {
        let mut table = TABLE.lock();
        let mut state = process.state.lock();
        state.threads.retain(|other| !Arc::ptr_eq(other, &thread));
        let (user_ns, system_ns) = thread.times();
        state.usage.user_ns += user_ns;
        state.usage.system_ns += system_ns;
        process.identity.lock().user.remove_threads(1);
        table.threads.remove(&thread.id());
        if thread.id() != process.id {
            table.identifiers.release(thread.id());
        }
        let last = state.threads.is_empty();
        if last {
            *process.last_name.lock() = *thread.name.lock();
            let status = state.leader_status.unwrap_or(0);
            state.ending.get_or_insert(Change::Exited(status));
        }
        last
    };
    // Only now: who waits for the thread's end must find it gone.
    crate::futex::tell_end(&caller).await;
    drop(caller);
    if last {
        end_process(&process).await;
    } else {
        signals::thread_ended(&thread);
        // `execve` of another thread waits for this.
        process.children_changed.wake_all();
    }
}

/// The last thread is gone: frees what the process owns, gives its children away, tells the parent.
async fn end_process(process: &Arc<Process>) {
    let (space, files, executable, execution) = {
        let mut state = process.state.lock();
        (state.space.take(), state.files.take(), state.executable.take(), state.execution.take())
    };
    process.interval_timers.disarm();
    process.posix_timers.clear();
    process.cpu_limit.end();
    // Closing files may wake others and send messages; nothing of that under a lock.
    drop((files, executable, execution));
    translation::leave_space();
    if let Some(space) = space {
        process.state.lock().usage.resident_peak_kib = space.peak_resident_pages() as u64 * 4;
        release_space(space);
    }
    process.release_vfork();
    crate::terminal_device::session_leader_ends(process);
    bequeath(process);
    if process.is_init() {
        let change = process.state.lock().ending.unwrap_or(Change::Exited(0));
        log!("process 1 ended: {change:?}");
        power::off(change.exit_code());
    }
    report_end(process);
}

/// Lets go of an address space that its process does not need any more: harts on which it is still active let go of it
/// when they next look, which this makes them do.
pub fn release_space(space: Arc<AddressSpace>) {
    let still_active = space.active_harts();
    drop(space);
    hart::with(|here| {
        for target in hart::online().iter().filter(|hart| still_active >> hart.index() & 1 == 1) {
            if target.index() != here.index() {
                interrupts::notify(target);
            }
        }
    });
}

impl Process {
    /// The process no longer uses the memory of its parent: the parent of a `vfork` goes on.
    pub fn release_vfork(&self) {
        let vforked = core::mem::take(&mut self.state.lock().vforked);
        if vforked {
            self.vfork_done.wake_all();
        }
    }

    /// Waits, as its `vfork` parent, until it has started a program or ended; a parent that must end does not.
    pub async fn vforked(&self, parent: &Thread) {
        self.vfork_done.wait_until(|| (!self.state.lock().vforked || parent.must_exit()).then_some(())).await;
    }
}

/// Who gets the children of a process that ends: the nearest ancestor that asked for them, or process 1.
fn heir(table: &Table, process: &Arc<Process>) -> Option<Arc<Process>> {
    let mut ancestor = process.state.lock().parent.upgrade();
    while let Some(candidate) = ancestor {
        let living = candidate.state.lock().ending.is_none();
        if living && candidate.has(traits::SUBREAPER) {
            return Some(candidate);
        }
        ancestor = candidate.state.lock().parent.upgrade();
    }
    table.processes.get(&1).filter(|init| init.id != process.id).cloned()
}

/// Gives the children of a process that ends to another, and hangs up on groups that are orphaned by it.
fn bequeath(process: &Arc<Process>) {
    let mut table = TABLE.lock();
    let children = core::mem::take(&mut process.state.lock().children);
    let ids: Vec<u32> = children.iter().map(|child| child.id).collect();
    let heir = heir(&table, process);
    let orphaned = table.identifiers.note_exit(process.id, &ids, heir.as_ref().map_or(1, |heir| heir.id));
    let mut reaped = Vec::new();
    for child in children {
        let Some(heir) = &heir else { continue };
        child.state.lock().parent = Arc::downgrade(heir);
        child.parent_id.store(heir.id, Ordering::Relaxed);
        heir.state.lock().children.push(child.clone());
        if let Some(signal) = Signal::new(child.death_signal.load(Ordering::Relaxed)) {
            signals::send_to_process(&child, SigInfo::kernel(signal));
        }
        if child.state.lock().zombie {
            child.exit_signal.store(Signal::CHLD.number().into(), Ordering::Relaxed);
            reaped.extend(tell_parent(&mut table, &child, heir));
        }
    }
    for group in orphaned {
        signals::hang_up_orphaned(&table, group);
    }
    drop(table);
    drop(reaped);
}

/// Makes a process that has ended a zombie and tells its parent, or removes it where nobody wants to know.
fn report_end(process: &Arc<Process>) {
    let mut table = TABLE.lock();
    let parent = {
        let mut state = process.state.lock();
        state.zombie = true;
        state.parent.upgrade()
    };
    process.signals.lock().job.end();
    process.waitable.store(true, Ordering::Release);
    let reaped = parent.and_then(|parent| tell_parent(&mut table, process, &parent));
    drop(table);
    process.ended.wake_all();
    drop(reaped);
}

/// Sends a parent the signal of a child's end and wakes its waits. A child that the parent does not want to hear of is
/// removed, and handed over to be dropped without a lock.
fn tell_parent(table: &mut Table, child: &Arc<Process>, parent: &Arc<Process>) -> Option<Arc<Process>> {
    let (change, usage) = {
        let state = child.state.lock();
        (state.ending.unwrap_or(Change::Exited(0)), state.usage)
    };
    let signal = Signal::new(child.exit_signal.load(Ordering::Relaxed));
    let interest = if signal == Some(Signal::CHLD) {
        signals::interest_in_children(parent)
    } else {
        signals::Interest::Both
    };
    if let Some(signal) = signal.filter(|_| interest != signals::Interest::Nothing) {
        let report = change.report(child.id, child.user(), &usage);
        signals::send_to_process(parent, SigInfo::child(signal, &report));
    }
    let removed = (interest != signals::Interest::Both).then(|| {
        parent.state.lock().children.retain(|other| !Arc::ptr_eq(other, child));
        table.remove_process(child)
    });
    parent.children_changed.wake_all();
    removed
}

impl Table {
    /// Takes a process out that has ended and is on no list of children any more. To be dropped without a lock.
    pub fn remove_process(&mut self, process: &Arc<Process>) -> Arc<Process> {
        self.identifiers.remove_process(process.id);
        self.processes.remove(&process.id);
        process.clone()
    }
}

/// The address spaces of all processes, each once.
pub fn spaces() -> Vec<Arc<AddressSpace>> {
    let all: Vec<Arc<Process>> = TABLE.lock().processes.values().cloned().collect();
    let mut spaces: Vec<Arc<AddressSpace>> = all.iter().filter_map(|process| process.space()).collect();
    spaces.sort_unstable_by_key(|space| space.serial());
    spaces.dedup_by_key(|space| space.serial());
    spaces
}

/// Nanoseconds that programs, those included that were waited for, spent in user mode and in the kernel.
pub fn total_times() -> (u64, u64) {
    let all: Vec<Arc<Process>> = TABLE.lock().processes.values().cloned().collect();
    all.iter().fold((0, 0), |(user, system), process| {
        let used = process.total_usage();
        (user + used.user_ns, system + used.system_ns)
    })
}

/// How many threads and processes there are.
pub fn counts() -> (usize, usize) {
    let table = TABLE.lock();
    (table.threads.len(), table.processes.len())
}

/// An id that nobody has yet; given back when it is dropped.
#[derive(Debug)]
pub struct FreshId(u32);

impl FreshId {
    /// Takes one.
    ///
    /// # Errors
    /// `WouldBlock` when there are too many.
    pub fn allocate() -> Result<FreshId> {
        let mut table = TABLE.lock();
        if table.threads.len() as u64 >= THREADS_MAX {
            return Err(Error::WouldBlock);
        }
        table.identifiers.allocate().map(FreshId)
    }

    /// The number.
    pub fn number(&self) -> u32 {
        self.0
    }

    /// The number, which now belongs to a thread or process in the table.
    pub fn keep(self) -> u32 {
        let number = self.0;
        core::mem::forget(self);
        number
    }
}

impl Drop for FreshId {
    fn drop(&mut self) {
        TABLE.lock().identifiers.release(self.0);
    }
}
