//! What the kernel keeps for each hart, and which of it others may touch.
//!
//! | part | who reads | who writes |
//! |---|---|---|
//! | [`Hart::ready`] | any hart, under its lock | any hart, under its lock |
//! | `best_ready`, `ready_count`, `running` | any hart, as a hint | under the ready lock; the hart itself |
//! | [`Hart::timers`] | any hart, under its lock | any hart, under its lock |
//! | `reschedule`, `slice_armed` | the hart itself | any hart |
//! | [`Local`] | the hart itself | the hart itself, preemption off or interrupts masked |

use alloc::sync::Arc;
use arch_riscv64 as arch;
use arch_riscv64::hart::HartBlock;
use base::hal::{PreemptGuard, now_ns};
use base::sync::SpinLock;
use base::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use base::task::{Priority, TaskHeader, TaskPointer};
use base::timer::TimerQueue;
use core::cell::{Cell, UnsafeCell};
use memory::space::AddressSpace;
use sched::TaskQueue;
use sched::decision::HartView;

/// How many harts the kernel runs; more are left stopped, with a line in the log.
pub const MAX_HARTS: usize = 8;

/// In `best_ready` and `running`: no priority at all.
const NONE: u8 = Priority::COUNT as u8;

/// What the kernel keeps for a hart. `repr(C)`, as the block that assembly knows comes first.
#[repr(C)]
pub struct Hart {
    block: UnsafeCell<HartBlock>,
    /// The coroutines that wait for this hart.
    pub ready: SpinLock<TaskQueue>,
    best_ready: AtomicU8,
    running: AtomicU8,
    /// The address of the coroutine that is polled here, for who wants to interrupt it; 0 for none.
    running_task: AtomicUsize,
    /// Something more important than what runs here may be ready, or its time is up: look before going on.
    pub reschedule: AtomicBool,
    /// A time slice is being measured on this hart.
    pub slice_armed: AtomicBool,
    ready_count: AtomicU32,
    /// Waits with a deadline.
    pub timers: SpinLock<TimerQueue>,
    /// Counters of this hart, for `/proc/asyncos/sched`.
    pub counters: Counters,
    /// What only the hart itself touches.
    pub local: Local,
}

/// What only the hart itself touches.
pub struct Local {
    /// The coroutine that is being polled here.
    pub current: Cell<Option<TaskPointer>>,
    /// The hart handles an interrupt that came while the kernel ran.
    pub in_interrupt: Cell<bool>,
    /// When the running coroutine's slice ends, in nanoseconds; meaningful while `slice_armed`, 0 until it has begun.
    pub slice_end_ns: Cell<u64>,
    /// For each priority, whose slice was cut short by something more important, and what is left of it.
    pub slices: [Cell<SliceLeft>; Priority::COUNT],
    /// What runs here gives way to something more important: it is queued before its equals.
    pub requeue_front: Cell<bool>,
    /// The deadline that the timer is set to, in nanoseconds.
    pub armed_ns: Cell<u64>,
    /// The address space that translates here and the realm that it serves: an identity, to compare only.
    pub space: Cell<usize>,
    /// The address space that translates here, kept alive for as long.
    pub active_space: Cell<Option<Arc<AddressSpace>>>,
    /// The timer is set to interrupt at the end of a slice, whosoever it was, or before, and has not yet.
    pub slice_timer_set: Cell<bool>,
    /// Whether there is one in `unneeded_space`.
    pub has_unneeded_space: Cell<bool>,
    /// An address space whose last reference was this hart's, to be freed where interrupts may come.
    pub unneeded_space: Cell<Option<AddressSpace>>,
    /// How long the coroutine that is polled here lay preempted since its poll began, for who charges CPU time.
    pub set_aside_ns: Cell<u64>,
    /// Whose floating-point registers are in the hart: a thread's identity, to compare only.
    pub float_owner: Cell<usize>,
}

/// What is left of a time slice.
#[derive(Clone, Copy, Default)]
pub struct SliceLeft {
    /// Whose it is; only to be compared.
    pub task: Option<TaskPointer>,
    /// How much, in nanoseconds.
    pub left_ns: u64,
}

/// What a hart counts.
#[derive(Default)]
pub struct Counters {
    /// Coroutines polled.
    pub polls: AtomicU64,
    /// Coroutines preempted in the kernel, with their stack.
    pub preemptions: AtomicU64,
    /// Coroutines taken from another hart's queue.
    pub steals: AtomicU64,
    /// Interrupts handled.
    pub interrupts: AtomicU64,
    /// Inter-processor interrupts sent.
    pub notifications: AtomicU64,
    /// Nanoseconds without anything to run, but for a wait in progress.
    idle_ns: AtomicU64,
    /// Since when the hart waits, in nanoseconds since boot; 0 while it does not.
    idle_since_ns: AtomicU64,
}

// SAFETY: the block and `Local` are touched only by the hart itself, with preemption off or interrupts masked; the rest is
// atomic or locked.
unsafe impl Sync for Hart {}

static HARTS: [Hart; MAX_HARTS] = [
    Hart::new(0),
    Hart::new(1),
    Hart::new(2),
    Hart::new(3),
    Hart::new(4),
    Hart::new(5),
    Hart::new(6),
    Hart::new(7),
];
static ONLINE: AtomicUsize = AtomicUsize::new(1);

impl Hart {
    const fn new(index: usize) -> Self {
        Self {
            block: UnsafeCell::new(HartBlock::new()),
            ready: SpinLock::new(TaskQueue::new(index)),
            best_ready: AtomicU8::new(NONE),
            running: AtomicU8::new(NONE),
            running_task: AtomicUsize::new(0),
            reschedule: AtomicBool::new(false),
            slice_armed: AtomicBool::new(false),
            ready_count: AtomicU32::new(0),
            timers: SpinLock::new(TimerQueue::new()),
            counters: Counters {
                polls: AtomicU64::new(0),
                preemptions: AtomicU64::new(0),
                steals: AtomicU64::new(0),
                interrupts: AtomicU64::new(0),
                notifications: AtomicU64::new(0),
                idle_ns: AtomicU64::new(0),
                idle_since_ns: AtomicU64::new(0),
            },
            local: Local {
                current: Cell::new(None),
                in_interrupt: Cell::new(false),
                slice_end_ns: Cell::new(0),
                slices: [const { Cell::new(SliceLeft { task: None, left_ns: 0 }) }; Priority::COUNT],
                requeue_front: Cell::new(false),
                armed_ns: Cell::new(u64::MAX),
                space: Cell::new(0),
                active_space: Cell::new(None),
                slice_timer_set: Cell::new(false),
                has_unneeded_space: Cell::new(false),
                unneeded_space: Cell::new(None),
                set_aside_ns: Cell::new(0),
                float_owner: Cell::new(0),
            },
        }
    }

    /// The block that `tp` points to while this hart runs.
    pub fn block(&self) -> *mut HartBlock {
        self.block.get()
    }

    /// The hardware's id of this hart.
    pub fn hart_id(&self) -> usize {
        // SAFETY: written before the hart starts, never again.
        unsafe { (*self.block.get()).hart_id() }
    }

    /// The dense index.
    pub fn index(&self) -> usize {
        // SAFETY: as in `hart_id`.
        unsafe { (*self.block.get()).index() }
    }

    /// What `running` says to the scheduler: `None` means idle.
    #[inline]
    pub fn running(&self) -> Option<Priority> {
        Priority::new(self.running.load(Ordering::Relaxed))
    }

    /// Says what runs here now.
    #[inline]
    pub fn set_running(&self, priority: Option<Priority>) {
        self.running.store(priority.map_or(NONE, Priority::number), Ordering::Relaxed);
    }

    /// Says which coroutine is polled here now. The fence orders it before every later look at what others left for that
    /// coroutine; they order leaving it before their look at this ([`that_runs`]). So one of the two sees the other.
    #[inline]
    pub fn set_running_task(&self, task: Option<TaskPointer>) {
        self.running_task.store(task.map_or(0, |task| task.address()), Ordering::Relaxed);
        if task.is_some() {
            fence(Ordering::SeqCst);
        }
    }

    /// The best priority that waits here, as a hint.
    #[inline]
    pub fn best_ready(&self) -> Option<Priority> {
        Priority::new(self.best_ready.load(Ordering::Relaxed))
    }

    /// Publishes what the ready queue holds; called with its lock held.
    #[inline]
    pub fn publish_ready(&self, ready: &TaskQueue) {
        self.best_ready.store(ready.best_priority().map_or(NONE, Priority::number), Ordering::Relaxed);
        self.ready_count.store(ready.len() as u32, Ordering::Relaxed);
    }

    /// Waits by `wait`, and counts the time as idle. For the hart itself.
    pub fn idle(&self, wait: impl FnOnce()) {
        let start = now_ns();
        self.counters.idle_since_ns.store(start, Ordering::Relaxed);
        wait();
        self.counters.idle_since_ns.store(0, Ordering::Relaxed);
        self.counters.idle_ns.fetch_add(now_ns() - start, Ordering::Relaxed);
    }

    /// How long the hart had nothing to run, in nanoseconds since boot.
    pub fn idle_ns(&self) -> u64 {
        let before = self.counters.idle_ns.load(Ordering::Relaxed);
        match self.counters.idle_since_ns.load(Ordering::Relaxed) {
            0 => before,
            since => before + now_ns().saturating_sub(since),
        }
    }

    /// The hart as the scheduler's decisions see it.
    pub fn view(&self) -> HartView {
        HartView {
            running: self.running(),
            best_ready: self.best_ready(),
            ready_count: self.ready_count.load(Ordering::Relaxed) as usize,
        }
    }
}

/// The hart that executes this. Preemption is off or interrupts are masked as long as the answer is used.
#[inline(always)]
pub fn current() -> &'static Hart {
    // SAFETY: `tp` points to the block at the start of one of `HARTS` from `adopt` on.
    unsafe { &*arch::hart::current().cast::<Hart>() }
}

/// The hart that executes this, for as long as the guard lives.
#[inline(always)]
pub fn with<T>(action: impl FnOnce(&'static Hart) -> T) -> T {
    let _guard = PreemptGuard::new();
    action(current())
}

/// The hart that polls this coroutine now, if one does. What the caller left for the coroutine before is either seen by it, or
/// the answer is the hart on which it did not look yet.
pub fn that_runs(task: &TaskHeader) -> Option<&'static Hart> {
    fence(Ordering::SeqCst);
    online().iter().find(|hart| hart.running_task.load(Ordering::Relaxed) == task.address())
}

/// The harts that run.
pub fn online() -> &'static [Hart] {
    &HARTS[..ONLINE.load(Ordering::Acquire)]
}

/// The hart with this index, running or not yet.
pub fn by_index(index: usize) -> &'static Hart {
    &HARTS[index]
}

/// Says that the harts below `count` run.
pub fn set_online(count: usize) {
    ONLINE.store(count, Ordering::Release);
}

/// Gives the hart with this dense index its identity, before it starts.
///
/// # Safety
/// The hart does not run yet, or runs this with its provisional block; `emergency_stack` is a stack top of its own.
pub unsafe fn identify(index: usize, hart_id: usize, emergency_stack: usize) {
    // SAFETY: nobody else uses the block before the hart runs with it.
    unsafe { (*HARTS[index].block()).identify(index, hart_id, emergency_stack) };
}

/// Makes the executing hart the one with this index.
///
/// # Safety
/// Once for each hart, on that hart, before anything else uses [`current`]; no guard is held.
pub unsafe fn adopt(index: usize) {
    // SAFETY: the block is this hart's alone and is static.
    unsafe { arch::boot::adopt_block(HARTS[index].block()) };
}
