//! A thread: to the kernel, a coroutine that enters user mode again and again.
//!
//! The coroutine owns what only the thread itself uses ([`Caller`]: registers, the address space it is in, its
//! descriptors), and shares with others what they may ask or tell it ([`Thread`]). While it waits in a system call it has
//! no stack; its registers and the state of the call are in the coroutine, which is a few hundred bytes.
//!
//! Others reach a thread in one way: they leave something for it ([`Thread::notify`]), which sets `attention`. The thread looks
//! at that before it enters user mode and in every interruptible wait; if it runs in user mode elsewhere, its hart is
//! interrupted, and if it waits, its coroutine is woken.

use crate::calls::{self, CallState};
use crate::cpu_time::{CpuTime, TrapSampler};
use crate::process::{self, Process};
use crate::{executor, hart, interrupts, signals, trace, translation};
use ::process::signal::{AlternateStack, PendingSignals, SigInfo, Signal, SignalSet};
use abi::trace::Event;
use alloc::boxed::Box;
use alloc::sync::Arc;
use arch_riscv64 as arch;
use arch_riscv64::cause::{Access as TrapAccess, Trap};
use arch_riscv64::float::FloatState;
use arch_riscv64::trap::{Entry, FloatStatus, Mode, UserContext, register};
use base::address::VirtualAddress;
use base::future::unless;
use base::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use base::sync::{OnceCell, SpinLock};
use base::task::{Priority, Runnable, TaskRef};
use base::{Error, Result};
use core::pin::Pin;
use core::sync::atomic::AtomicI32;
use core::task::{Context, Poll};
use memory::space::{Access, AddressSpace, FaultError};
use vfs::FileTable;

/// In `attention`: a signal may be deliverable, or the process stops.
pub const ATTENTION_SIGNAL: u32 = 1;
/// In `attention`: the thread must end.
pub const ATTENTION_EXIT: u32 = 2;
/// In `attention`: the thread has let go of what it held, and is to be waited for no more.
pub const ATTENTION_LEFT: u32 = 4;

/// In `Thread::policy`: children do not inherit what is privileged.
const RESET_ON_FORK: u32 = 1 << 31;
/// In the upper half of `Thread::policy`: the policy.
const POLICY_MASK: u32 = 0xff;

/// What others may ask a thread or tell it.
pub struct Thread {
    /// The thread's id; see [`Thread::id`].
    id: AtomicU32,
    /// The process it belongs to.
    pub process: Arc<Process>,
    task: OnceCell<TaskRef>,
    attention: AtomicU32,
    isolated: AtomicU8,
    /// What the thread blocks and what waits for it. Taken before the process's own (see [`crate::signals`]).
    pub signals: SpinLock<ThreadSignals>,
    /// Where to write 0 and wake a futex when the thread ends; 0 for nowhere.
    pub clear_child_tid: AtomicUsize,
    /// The head of the robust-futex list, and its length as it was given.
    pub robust_list: AtomicUsize,
    /// The CPU time that it used.
    pub cpu_time: CpuTime,
    /// `nice`, -20 to 19.
    pub nice: AtomicI32,
    /// Scheduling policy (high half) and its parameter.
    policy: AtomicU32,
    /// The name that `prctl` and `/proc` know.
    pub name: SpinLock<[u8; 16]>,
}

/// The signal state of one thread.
pub struct ThreadSignals {
    /// What is blocked.
    pub mask: SignalSet,
    /// What to block again after `sigsuspend` and its kind, once a handler has been set up.
    pub saved_mask: Option<SignalSet>,
    /// What it waits for by `sigtimedwait` and its kind, though it blocks it.
    pub awaited: SignalSet,
    /// What waits for this thread alone.
    pub pending: PendingSignals,
    /// The alternate stack.
    pub alternate: AlternateStack,
}

/// What only the thread itself uses; its system calls borrow it.
pub struct Caller {
    /// The shared part.
    pub thread: Arc<Thread>,
    /// The registers.
    pub context: Box<UserContext>,
    /// Saved floating-point registers; `None` until the thread uses them.
    pub float: Option<Box<FloatState>>,
    /// On which hart the floating-point registers were last loaded; only meaningful with the hart's `float_owner`.
    float_hart: u8,
    /// The address space; the process's, until `execve` gives another.
    pub space: Arc<AddressSpace>,
    /// The descriptors.
    pub files: Arc<FileTable>,
    /// What the system call in progress leaves for the way back to user mode.
    pub call: CallState,
    sampler: TrapSampler,
}

impl Thread {
    /// A thread that has not started.
    pub fn new(id: u32, process: Arc<Process>, signals: ThreadSignals, name: [u8; 16]) -> Arc<Self> {
        Arc::new(Self {
            id: AtomicU32::new(id),
            process,
            task: OnceCell::new(),
            attention: AtomicU32::new(0),
            isolated: AtomicU8::new(0),
            signals: SpinLock::new(signals),
            clear_child_tid: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            cpu_time: CpuTime::new(),
            nice: AtomicI32::new(0),
            policy: AtomicU32::new(0),
            name: SpinLock::new(name),
        })
    }

    /// The thread's id. That of the first thread is the process's; a thread that starts a program becomes the first.
    #[inline]
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Makes it the thread with this id; the table's affair.
    pub fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    /// Makes the thread's coroutine. Once the result is scheduled the thread runs by itself; dropped before, it is as if
    /// it had never been.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn prepare(self: &Arc<Self>, caller: Caller) -> Result<Runnable> {
        let (runnable, task) = executor::prepare(self.priority(), run(caller))?;
        let process = u64::from(self.process.id);
        trace::event(Event::Thread, runnable.address(), self.id(), process);
        // Set once, here.
        let _ = self.task.set(task);
        Ok(runnable)
    }

    /// How important the thread is: real-time policies above everything ordinary, niceness around the normal priority,
    /// and what is to run only when nothing else does below it all.
    pub fn priority(&self) -> Priority {
        use abi::linux::general::{SCHED_FIFO, SCHED_IDLE, SCHED_RR};
        let number = match self.policy() {
            // 1 to 99 become 11 to 1; equals take turns under both policies.
            (SCHED_FIFO | SCHED_RR, parameter) => 11 - (parameter.clamp(1, 99) - 1) * 10 / 98,
            (SCHED_IDLE, _) => Priority::LOWEST.number().into(),
            _ => i32::from(Priority::NORMAL.number()) + self.nice.load(Ordering::Relaxed).clamp(-20, 19),
        };
        Priority::saturating(number as u8)
    }

    /// The scheduling policy and its parameter.
    pub fn policy(&self) -> (u32, i32) {
        let word = self.policy.load(Ordering::Relaxed);
        (word >> 16 & POLICY_MASK, (word & 0xffff) as i32)
    }

    /// Whether its children do not inherit privileged scheduling (`SCHED_RESET_ON_FORK`).
    pub fn resets_on_fork(&self) -> bool {
        self.policy.load(Ordering::Relaxed) & RESET_ON_FORK != 0
    }

    /// Says whether its children inherit privileged scheduling.
    pub fn set_reset_on_fork(&self, resets: bool) {
        if resets {
            self.policy.fetch_or(RESET_ON_FORK, Ordering::Relaxed);
        } else {
            self.policy.fetch_and(!RESET_ON_FORK, Ordering::Relaxed);
        }
    }

    /// Niceness, policy and parameter that its children begin with.
    pub fn scheduling_of_children(&self) -> (i32, u32, i32) {
        use abi::linux::general::{SCHED_FIFO, SCHED_NORMAL, SCHED_RR};
        let nice = self.nice.load(Ordering::Relaxed);
        match self.policy() {
            (SCHED_FIFO | SCHED_RR, _) if self.resets_on_fork() => (nice.max(0), SCHED_NORMAL, 0),
            (policy, parameter) if self.resets_on_fork() => (nice.max(0), policy, parameter),
            (policy, parameter) => (nice, policy, parameter),
        }
    }

    /// Sets policy and parameter; the priority follows when it is applied to the coroutine.
    pub fn set_policy(&self, policy: u32, parameter: i32) {
        let reset = self.policy.load(Ordering::Relaxed) & RESET_ON_FORK;
        self.policy.store(reset | policy << 16 | parameter as u32, Ordering::Relaxed);
    }

    /// Nanoseconds in user mode and in the kernel until now.
    pub fn times(&self) -> (u64, u64) {
        self.cpu_time.until_now()
    }

    /// The thread's coroutine, once it has started.
    pub fn task(&self) -> Option<&TaskRef> {
        self.task.get()
    }

    /// Leaves `attention` for the thread and sees to it that it looks soon, whatever it is doing.
    pub fn notify(&self, attention: u32) {
        self.attention.fetch_or(attention, Ordering::SeqCst);
        let Some(task) = self.task.get() else { return };
        // The thread itself looks on its way back to user mode.
        if executor::is_running(task) {
            return;
        }
        if let Some(target) = hart::that_runs(task) {
            target.reschedule.store(true, Ordering::Release);
            interrupts::notify(target);
        }
        task.wake();
    }

    /// As [`Thread::notify`], by the thread itself.
    pub fn notify_self(&self, attention: u32) {
        self.attention.fetch_or(attention, Ordering::AcqRel);
    }

    /// What was left for the thread.
    #[inline]
    pub fn attention(&self) -> u32 {
        self.attention.load(Ordering::Acquire)
    }

    /// Says that what `attention` stands for is being dealt with.
    pub fn clear_attention(&self, attention: u32) {
        self.attention.fetch_and(!attention, Ordering::AcqRel);
    }

    /// Whether the thread must end.
    pub fn must_exit(&self) -> bool {
        self.attention() & ATTENTION_EXIT != 0
    }

    /// Makes the thread run in the isolated realm, or in the direct one, from its next entry on.
    pub fn set_isolated(&self, isolated: bool) {
        self.isolated.store(u8::from(isolated), Ordering::Relaxed);
    }

    /// Whether the thread runs in the isolated realm.
    pub fn is_isolated(&self) -> bool {
        self.isolated.load(Ordering::Relaxed) != 0
    }

    /// Whether the thread waits (or is ready) and does not run, for `/proc`.
    pub fn is_running(&self) -> bool {
        self.task.get().is_some_and(|task| hart::that_runs(task).is_some())
    }

    #[inline]
    fn mode(&self) -> Mode {
        if self.isolated.load(Ordering::Relaxed) == 0 { Mode::Direct } else { Mode::Isolated }
    }
}

/// The thread whose coroutine runs here, if it is a thread's. That of `likely`'s threads is found at once, others among
/// all there are.
pub fn current(likely: Option<&Process>) -> Option<Arc<Thread>> {
    // The coroutine stays the same, whichever hart goes on with it.
    let address = hart::with(|hart| hart.local.current.get())?.address();
    let is_it = |thread: &&Arc<Thread>| thread.task().is_some_and(|task| task.address() == address);
    let found = likely.and_then(|process| process.state.lock().threads.iter().find(is_it).cloned());
    found.or_else(|| process::TABLE.lock().threads.values().find(is_it).cloned())
}

impl Caller {
    /// A caller for a thread that starts with these registers.
    pub fn new(
        thread: Arc<Thread>,
        context: Box<UserContext>,
        space: Arc<AddressSpace>,
        files: Arc<FileTable>,
    ) -> Self {
        let sampler = TrapSampler::new(thread.id());
        Self {
            thread,
            context,
            float: None,
            float_hart: u8::MAX,
            space,
            files,
            call: CallState::new(),
            sampler,
        }
    }

    /// The process.
    #[inline]
    pub fn process(&self) -> &Arc<Process> {
        &self.thread.process
    }

    /// Waits for `future` unless a signal comes first.
    ///
    /// This is the one way in which a wait ends early: the future is dropped, which cancels what it waited for.
    /// How the call goes on then is [`CallState::interruption`]: again, or with `EINTR`.
    ///
    /// # Errors
    /// `Interrupted`, when a signal is to be handled or the thread must end.
    pub fn interruptible<'a, F: Future + 'a>(
        &'a self,
        future: F,
    ) -> impl Future<Output = Result<F::Output>> + use<'a, F> {
        unless(future, |_| signals::interrupts(&self.thread).then_some(Error::Interrupted))
    }

    /// As [`Caller::interruptible`], at most until `deadline_ns` since boot (`None`: no limit).
    ///
    /// # Errors
    /// `Interrupted`; `TimedOut`.
    pub fn interruptible_until<'a, F: Future + 'a>(
        &'a self,
        future: F,
        deadline_ns: Option<u64>,
    ) -> impl Future<Output = Result<F::Output>> + use<'a, F> {
        let mut sleep = deadline_ns.map(crate::time::sleep_until);
        unless(future, move |context| {
            if let Some(sleep) = &mut sleep
                && Pin::new(sleep).poll(context).is_ready()
            {
                return Some(Error::TimedOut);
            }
            signals::interrupts(&self.thread).then_some(Error::Interrupted)
        })
    }

    /// Keeps the floating-point registers, if the thread changed them since it was entered.
    #[inline]
    fn save_float(&mut self) {
        if self.context.float_status() == FloatStatus::Dirty {
            self.save_float_now();
        }
    }

    #[cold]
    fn save_float_now(&mut self) {
        let state = self.float.get_or_insert_with(|| Box::new(FloatState::INITIAL));
        arch::float::save(state);
        self.context.set_float_status(FloatStatus::Clean);
    }

    /// Makes the hart's floating-point registers the thread's own, if it uses them. Interrupts are masked.
    #[inline]
    fn load_float(&mut self, hart: &'static hart::Hart) {
        if self.context.float_status() == FloatStatus::Off {
            return;
        }
        let identity = Arc::as_ptr(&self.thread) as usize;
        if hart.local.float_owner.get() == identity && self.float_hart == hart.index() as u8 {
            return;
        }
        if let Some(state) = &self.float {
            arch::float::restore(state);
        }
        hart.local.float_owner.set(identity);
        self.float_hart = hart.index() as u8;
    }

    /// Says that the saved floating-point registers were changed by the kernel (a signal frame, `execve`).
    pub fn reload_float(&mut self, state: Option<Box<FloatState>>) {
        let status = if state.is_some() { FloatStatus::Clean } else { FloatStatus::Off };
        self.float = state;
        self.context.set_float_status(status);
        self.float_hart = u8::MAX;
    }

    /// The saved floating-point registers, for the kernel to change; made if there are none.
    pub fn float_to_be_loaded(&mut self) -> &mut FloatState {
        self.context.set_float_status(FloatStatus::Clean);
        self.float_hart = u8::MAX;
        self.float.get_or_insert_with(|| Box::new(FloatState::INITIAL))
    }

    /// Switches the floating-point unit on at its first use; says whether that was what the thread lacked.
    fn enable_float(&mut self, instruction: usize) -> bool {
        if self.context.float_status() != FloatStatus::Off || !is_float_instruction(instruction as u32) {
            return false;
        }
        self.reload_float(Some(Box::new(FloatState::INITIAL)));
        true
    }
}

/// Whether an instruction that was illegal may be one of the floating-point unit while that is off
/// (RISC-V unprivileged specification, tables of major opcodes and of compressed instructions).
fn is_float_instruction(instruction: u32) -> bool {
    if instruction & 3 != 3 {
        // c.fld, c.fsd, c.fldsp, c.fsdsp: quadrants 0 and 2, function 1 and 5.
        return matches!(instruction & 3, 0 | 2) && matches!(instruction >> 13 & 7, 1 | 5);
    }
    match instruction & 0x7f {
        // Loads, stores, fused operations, operations.
        0x07 | 0x27 | 0x43 | 0x47 | 0x4b | 0x4f | 0x53 => true,
        // fflags, frm, fcsr.
        0x73 => instruction >> 12 & 3 != 0 && (1..=3).contains(&(instruction >> 20)),
        _ => false,
    }
}

/// The life of a thread. (Not an `async fn`, in which the caller would have two places.)
fn run(mut caller: Caller) -> impl Future<Output = ()> + Send {
    let thread = caller.thread.clone();
    let life = async move {
        live(&mut caller).await;
        process::exit_thread(caller).await;
    };
    Charged { life, thread }
}

/// A thread's life, each poll of which is charged to the thread.
struct Charged<F> {
    life: F,
    thread: Arc<Thread>,
}

impl<F: Future<Output = ()>> Future for Charged<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the life is pinned with the whole; the thread never is.
        let (life, thread) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.life), &this.thread)
        };
        thread.cpu_time.begin();
        let result = life.poll(context);
        thread.cpu_time.end();
        result
    }
}

/// What a thread's coroutine may take beside its header. With the header, the registers and what others see of the thread
/// it comes to the 2 KiB that a blocked thread may cost.
const LIFE_SIZE_MAX: usize = 1024 - size_of::<base::task::TaskHeader>();
const _: () = assert!(size_of_result(run) <= LIFE_SIZE_MAX);
const _: () = assert!(size_of::<Thread>() + 2 * size_of::<usize>() <= 256 && size_of::<UserContext>() <= 384);

const fn size_of_result<A, R>(_: fn(A) -> R) -> usize {
    size_of::<R>()
}

/// Enters user mode and serves what the thread traps for, until it must end.
async fn live(caller: &mut Caller) {
    loop {
        let entered = enter(caller);
        match entered {
            Entered::GivesWay => {
                executor::yield_now().await;
                continue;
            }
            Entered::Attention if signals::attend(caller).await == signals::Attended::MustExit => break,
            Entered::Attention => continue,
            _ => caller.sampler.begin(&caller.thread.cpu_time),
        }
        match entered {
            Entered::SystemCall => {
                if let Some(unfinished) = calls::serve_at_once(caller) {
                    calls::serve(caller, unfinished).await;
                }
            }
            Entered::Trapped(Entry { trap: Trap::PageFault(access), value }) => {
                page_fault(caller, value, access).await;
            }
            Entered::Trapped(entry) => other_trap(caller, entry),
            Entered::Interrupted | Entered::GivesWay | Entered::Attention => {}
        }
        caller.sampler.end(&caller.thread.cpu_time);
    }
}

/// What came of entering user mode.
enum Entered {
    /// The thread ran until it called the kernel,
    SystemCall,
    /// until an interrupt came, which has been handled,
    Interrupted,
    /// or until it trapped for another reason.
    Trapped(Entry),
    /// It was not entered: something more important is ready.
    GivesWay,
    /// It was not entered: others have left something for it.
    Attention,
}

/// Runs the thread in user mode until it traps; handles the interrupt if it was one.
#[inline]
fn enter(caller: &mut Caller) -> Entered {
    arch::hart::interrupts_mask();
    let hart = hart::current();
    // Whoever sets `attention` after this look sees that this hart runs the thread (said when the poll began), and
    // interrupts it; the interrupt waits until interrupts are unmasked by entering user mode.
    if caller.thread.attention.load(Ordering::Relaxed) != 0 {
        arch::hart::interrupts_enable();
        return Entered::Attention;
    }
    if executor::should_yield(hart) {
        arch::hart::interrupts_enable();
        return Entered::GivesWay;
    }
    let mode = caller.thread.mode();
    translation::enter_space(hart, &caller.space, mode);
    caller.load_float(hart);
    // SAFETY: interrupts are masked, and the thread's space was activated for its mode.
    let entry = unsafe { caller.context.enter(mode) };
    caller.save_float();
    let entered = match entry.trap {
        Trap::SystemCall => Entered::SystemCall,
        Trap::Interrupt(cause) => {
            hart.local.in_interrupt.set(true);
            interrupts::handle(cause);
            hart.local.in_interrupt.set(false);
            Entered::Interrupted
        }
        _ => Entered::Trapped(entry),
    };
    arch::hart::interrupts_enable();
    entered
}

async fn page_fault(caller: &mut Caller, address: usize, access: TrapAccess) {
    trace::here(Event::Fault, access as u32, address);
    let wanted = match access {
        TrapAccess::Read => Access::Read,
        TrapAccess::Write => Access::Write,
        TrapAccess::Execute => Access::Execute,
    };
    let place = VirtualAddress::new(address);
    let outcome = match caller.space.try_fault(place, wanted) {
        Some(outcome) => outcome,
        None => caller.space.fault(place, wanted).await,
    };
    let (signal, code) = match outcome {
        Ok(()) => return,
        Err(FaultError::OutOfMemory) => {
            crate::out_of_memory::relieve().await;
            return;
        }
        Err(FaultError::NotMapped) => (Signal::SEGV, signals::SEGV_MAPERR),
        Err(FaultError::Denied) => (Signal::SEGV, signals::SEGV_ACCERR),
        Err(FaultError::BeyondEnd | FaultError::Error(_)) => (Signal::BUS, signals::BUS_ADRERR),
    };
    signals::raise_fault(&caller.thread, SigInfo::fault(signal, code, address as u64));
}

fn other_trap(caller: &mut Caller, entry: Entry) {
    let pc = caller.context.registers[register::PC] as u64;
    let information = match entry.trap {
        Trap::IllegalInstruction if caller.enable_float(entry.value) => return,
        Trap::IllegalInstruction | Trap::VirtualInstruction => {
            SigInfo::fault(Signal::ILL, signals::ILL_ILLOPC, pc)
        }
        Trap::Breakpoint => SigInfo::fault(Signal::TRAP, signals::TRAP_BRKPT, pc),
        Trap::Misaligned(_) => SigInfo::fault(Signal::BUS, signals::BUS_ADRALN, entry.value as u64),
        _ => SigInfo::fault(Signal::SEGV, signals::SEGV_ACCERR, entry.value as u64),
    };
    signals::raise_fault(&caller.thread, information);
}

impl core::fmt::Debug for Thread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Thread({} of {})", self.id(), self.process.id)
    }
}
