//! The executor: on each hart one loop that takes the best ready coroutine and polls it.
//!
//! # Stacks
//! The loop runs on whatever stack the hart has; polls are calls on that stack, so that a coroutine that waits owns none.
//! When a more important coroutine becomes ready while the kernel itself runs a coroutine, the interrupt handler
//! preempts it ([`preempt_if_due`]):
//!
//! 1. it takes a free stack and changes to it, leaving the poll, its interrupted registers and the loop below it as they are;
//! 2. on the new stack, when nothing runs on the old one any more, it queues the coroutine at the front of its priority;
//! 3. it enters a fresh loop.
//!
//! Whoever takes the preempted coroutine from the queue, on whichever hart, leaves its own stack to the pool and changes
//! to the coroutine's ([`resume`]): the interrupt handler returns, the poll goes on, and when it ends the old loop
//! goes on as the loop of the hart where it is now. A user thread that is preempted in user mode needs none of this: the trap
//! has already brought it back to its coroutine, which yields.
//!
//! # Slices
//! Equals take turns. A slice begins when an equal of the running coroutine becomes ready. Where coroutines wake each other and
//! wait at once, that happens all the time and no slice ever ends: so the timer of an earlier slice is left alone, and a
//! slice that begins while it is set is measured only from its interrupt on. A slice thus lasts up to twice its length.
//!
//! # When is something preempted
//! A wake-up puts the coroutine into a queue under its lock, then compares with what runs on that hart: if the new one is
//! above, the hart is interrupted, also when it is the hart of the waker, so that the answer is always the same
//! interrupt. The handler compares again and preempts. So the bound is one interrupt plus the longest stretch with
//! preemption off; see `docs/preemption.md`.

use crate::hart::{self, Hart, SliceLeft};
use crate::{interrupts, stacks, time, trace};
use abi::trace::Event;
use arch_riscv64 as arch;
use base::Result;
use base::hal::{PreemptGuard, now_ns};
use base::sync::atomic::{AtomicUsize, Ordering};
use base::task::{Outcome, Priority, Runnable, Started, SuspendedPoll, Task, TaskPointer, TaskRef};
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use sched::decision::{HartView, choose_target, choose_victim, should_preempt, time_slice_needed};

/// How long a coroutine runs while an equally important one waits.
pub const TIME_SLICE_NS: u64 = 5_000_000;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts a coroutine for as long as its future lives.
struct Counter;

/// A future that is counted. (An `async` block around it would have room for it twice.)
struct Counted<F> {
    future: F,
    _counter: Counter,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future is pinned with the whole.
        unsafe { self.map_unchecked_mut(|counted| &mut counted.future) }.poll(context)
    }
}

impl Counter {
    fn new() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many coroutines there are.
pub fn live_coroutines() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Makes a coroutine that runs once the result is scheduled ([`Runnable::schedule`]).
///
/// # Errors
/// `OutOfMemory`.
pub fn prepare(
    priority: Priority,
    future: impl Future<Output = ()> + Send + 'static,
) -> Result<(Runnable, TaskRef)> {
    let made = Task::try_new(Counted { future, _counter: Counter::new() }, priority, schedule)?;
    trace::event(Event::Spawn, made.0.address(), u32::from(priority.number()), 0);
    Ok(made)
}

/// Starts a coroutine.
///
/// # Errors
/// `OutOfMemory`.
pub fn spawn(priority: Priority, future: impl Future<Output = ()> + Send + 'static) -> Result<TaskRef> {
    let (runnable, task) = prepare(priority, future)?;
    runnable.schedule();
    Ok(task)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Front,
    Back,
}

/// Queues a coroutine where it should run, and sees to it that it runs when it should.
fn schedule(runnable: Runnable) {
    let guard = PreemptGuard::new();
    let here = guard.hart_index();
    let target = target_for(&runnable, here);
    let priority = enqueue(target, runnable, Position::Back);
    match target.running() {
        Some(running) if !should_preempt(running, Some(priority)) => {
            if running == priority && !target.slice_armed.swap(true, Ordering::AcqRel) {
                begin_slice(target, here);
            }
        }
        _ => interrupt_hart(target, here),
    }
}

fn target_for(runnable: &Runnable, here: usize) -> &'static Hart {
    let harts = hart::online();
    if let [only] = harts {
        return only;
    }
    let views = views(harts);
    let choice = choose_target(runnable.priority(), here, here, &views[..harts.len()]).hart;
    if runnable.may_run_on(choice) {
        return &harts[choice];
    }
    let allowed = harts.iter().find(|hart| runnable.may_run_on(hart.index()));
    allowed.unwrap_or(&harts[choice])
}

fn views(harts: &[Hart]) -> [HartView; hart::MAX_HARTS] {
    let mut views = [HartView { running: None, best_ready: None, ready_count: 0 }; hart::MAX_HARTS];
    for (view, hart) in views.iter_mut().zip(harts) {
        *view = hart.view();
    }
    views
}

#[inline(always)]
fn enqueue(target: &Hart, runnable: Runnable, position: Position) -> Priority {
    let task = runnable.into_pointer();
    let mut ready = target.ready.lock();
    let priority = match position {
        Position::Front => ready.push_front(task),
        Position::Back => ready.push_back(task),
    };
    trace::of(Event::Ready, Some(task), target.index() as u32, usize::from(priority.number()));
    target.publish_ready(&ready);
    priority
}

/// Changes the priority of a coroutine in whatever state it is; a queued one is moved at once.
pub fn set_priority(task: &TaskRef, priority: Priority) {
    let Some(queue) = task.set_priority(priority) else { return };
    let guard = PreemptGuard::new();
    let target = hart::by_index(queue);
    let mut ready = target.ready.lock();
    // SAFETY: the pointer is used only here, while the reference lives, to move what is on this queue.
    let moved = ready.requeue(unsafe { task.pointer() });
    target.publish_ready(&ready);
    drop(ready);
    // One that was taken meanwhile is queued next by its new priority.
    if moved && target.running().is_none_or(|running| should_preempt(running, Some(priority))) {
        interrupt_hart(target, guard.hart_index());
    }
}

/// Whether this is executed by the poll of that coroutine, not by an interrupt that came meanwhile.
pub fn is_running(task: &TaskRef) -> bool {
    hart::with(|hart| {
        let current = hart.local.current.get();
        !hart.local.in_interrupt.get() && current.is_some_and(|current| current.address() == task.address())
    })
}

/// Makes `target` look at its queue now.
fn interrupt_hart(target: &'static Hart, here: usize) {
    target.reschedule.store(true, Ordering::Release);
    if target.index() != here {
        hart::current().counters.notifications.fetch_add(1, Ordering::Relaxed);
        interrupts::notify(target);
    } else if !target.local.in_interrupt.get() && target.local.current.get().is_some() {
        interrupts::notify_self();
    }
}

/// An equally important coroutine waits on `target`: measure the running one's time. One whose slice was cut short by
/// something more important has what was left of it, so that frequent interruptions do not make it last for ever.
fn begin_slice(target: &'static Hart, here: usize) {
    if target.index() == here {
        if target.local.slice_timer_set.get() {
            // The timer interrupts within a slice's time: the slice begins then, and nobody reads a clock now.
            return;
        }
        let running = target.running().map_or(0, |running| usize::from(running.number()));
        let slice = &target.local.slices[running];
        let continued = slice.get().task.is_some() && slice.get().task == target.local.current.get();
        let left_ns = if continued { slice.take().left_ns } else { TIME_SLICE_NS };
        target.local.slice_end_ns.set(now_ns() + left_ns);
        time::arm_for_slice(target);
    } else {
        // Its handler finds a slice that has no end yet, and sets one.
        interrupts::notify(target);
    }
}

/// The loop of a hart. Never returns; runs on the stack that the hart has.
pub fn run() -> ! {
    loop {
        arch::hart::interrupts_enable();
        // No coroutine is polled here, so that no interrupt moves what follows to another hart.
        let hart = hart::current();
        if hart.local.has_unneeded_space.get() {
            crate::translation::release_unneeded();
        }
        match next(hart) {
            Some(runnable) => run_one(runnable),
            None => idle(),
        }
    }
}

/// The best coroutine for this hart: from its own queue, or from another's.
#[inline]
fn next(hart: &'static Hart) -> Option<Runnable> {
    let mut ready = hart.ready.lock();
    let taken = ready.pop_best();
    hart.publish_ready(&ready);
    drop(ready);
    taken.map(taken_off).or_else(|| steal(hart))
}

/// The right to run a coroutine that was just taken off a queue.
fn taken_off(task: TaskPointer) -> Runnable {
    // SAFETY: `enqueue` made the pointer of a `Runnable`, and it has just left the only queue it was on.
    unsafe { Runnable::from_pointer(task) }
}

fn steal(thief: &Hart) -> Option<Runnable> {
    let harts = hart::online();
    if harts.len() == 1 {
        return None;
    }
    let here = thief.index();
    let victim = &harts[choose_victim(here, &views(harts)[..harts.len()])?];
    let mut ready = victim.ready.lock();
    let task = ready.steal_best(here)?;
    victim.publish_ready(&ready);
    drop(ready);
    thief.counters.steals.fetch_add(1, Ordering::Relaxed);
    trace::of(Event::Steal, Some(task), victim.index() as u32, 0);
    Some(taken_off(task))
}

/// Runs what was taken from a queue until it waits, ends, or is set aside with this stack.
fn run_one(runnable: Runnable) {
    match runnable.start() {
        Started::Poll(running) => {
            enter(running.pointer());
            let outcome = running.poll_then(leave);
            if let Outcome::Requeue(runnable) = outcome {
                hart::with(|hart| {
                    let front = hart.local.requeue_front.take();
                    if !runnable.may_run_on(hart.index()) {
                        return schedule(runnable);
                    }
                    enqueue(hart, runnable, if front { Position::Front } else { Position::Back });
                });
            }
        }
        Started::ResumeStack(poll) => resume(poll),
        Started::Cancelled => {}
    }
}

/// Notes that this hart polls `task`, and measures its time if an equal one waits.
#[inline]
fn enter(task: TaskPointer) {
    hart::with(|hart| {
        let priority = task.priority();
        trace::of(Event::Poll, Some(task), u32::from(priority.number()), 0);
        hart.local.current.set(Some(task));
        hart.set_running_task(Some(task));
        hart.set_running(Some(priority));
        hart.reschedule.store(false, Ordering::Relaxed);
        hart.counters.polls.fetch_add(1, Ordering::Relaxed);
        hart.local.set_aside_ns.set(0);
        let needed = time_slice_needed(priority, hart.best_ready());
        hart.slice_armed.store(needed, Ordering::Relaxed);
        if needed {
            begin_slice(hart, hart.index());
        }
    });
}

/// Notes that this hart polls nothing; it may be another hart than the one where the poll began.
#[inline]
fn leave() {
    trace::here(Event::Leave, 0, 0);
    hart::with(leave_hart);
}

#[inline]
fn leave_hart(hart: &Hart) {
    hart.local.slice_end_ns.set(0);
    hart.local.current.set(None);
    hart.set_running_task(None);
    hart.set_running(None);
}

/// Notes what is left of the slice of a coroutine that gives way to something more important; nothing, if it has none.
#[cold]
fn keep_slice(hart: &Hart) {
    let end_ns = hart.local.slice_end_ns.get();
    if end_ns == 0 {
        return;
    }
    let left_ns = end_ns.saturating_sub(now_ns());
    if let Some(running) = hart.running() {
        let task = hart.local.current.get().filter(|_| left_ns > 0);
        hart.local.slices[usize::from(running.number())].set(SliceLeft { task, left_ns });
    }
}

/// Waits for an interrupt, unless something became ready meanwhile.
fn idle() {
    crate::translation::leave_unused_space();
    arch::hart::interrupts_mask();
    let hart = hart::current();
    hart.slice_armed.store(false, Ordering::Relaxed);
    // Masked from the look at the queues to the waiting: a wake-up in between leaves its interrupt pending, which ends
    // the waiting at once.
    if hart.best_ready().is_none() {
        time::arm(hart);
        trace::event(Event::Idle, 0, 0, 0);
        hart.idle(arch::hart::wait_for_interrupt);
        trace::event(Event::Awake, 0, 0, 0);
    }
}

/// What the running coroutine's hart owes it after an interrupt: sets the end of a slice that has none.
fn slice_is_over(hart: &'static Hart, running: Priority, best: Option<Priority>) -> bool {
    if !time_slice_needed(running, best) || !hart.slice_armed.load(Ordering::Relaxed) {
        return false;
    }
    if hart.local.slice_end_ns.get() == 0 {
        begin_slice(hart, hart.index());
        return false;
    }
    hart.local.slice_end_ns.get() <= now_ns()
}

/// Called at the end of every interrupt of the kernel itself: interrupts are masked, no guard is held.
pub fn preempt_if_due(hart: &'static Hart) {
    let (Some(current), best) = (hart.local.current.get(), hart.best_ready()) else { return };
    let running = current.priority();
    if should_preempt(running, best) {
        preempt(hart, current, Position::Front);
    } else if slice_is_over(hart, running, best) {
        preempt(hart, current, Position::Back);
    }
}

/// Whether what runs on this hart should give way: for threads, on their way back to user mode. Interrupts are masked.
#[inline]
pub fn should_yield(hart: &'static Hart) -> bool {
    hart.reschedule.load(Ordering::Relaxed) && should_yield_now(hart)
}

#[cold]
fn should_yield_now(hart: &'static Hart) -> bool {
    hart.reschedule.store(false, Ordering::Relaxed);
    let (Some(running), best) = (hart.running(), hart.best_ready()) else { return false };
    let preempted = should_preempt(running, best);
    hart.local.requeue_front.set(preempted);
    if preempted {
        keep_slice(hart);
    }
    preempted || slice_is_over(hart, running, best)
}

/// What the new stack must know of the old one; lies on the old one.
struct Preempted {
    task: TaskPointer,
    stack_pointer: usize,
    position: Position,
}

/// Sets the running coroutine aside together with the stack that it stands on; returns when it has been resumed, which may
/// be on another hart. Interrupts are masked throughout.
fn preempt(hart: &'static Hart, task: TaskPointer, position: Position) {
    // Without a free stack it goes on; the hart looks again at the next interrupt.
    let Some(stack) = stacks::take() else { return };
    hart.counters.preemptions.fetch_add(1, Ordering::Relaxed);
    trace::of(Event::Preempt, Some(task), 0, stack.value());
    let (set_aside_ns, left_ns) = (hart.local.set_aside_ns.get(), now_ns());
    if position == Position::Front {
        keep_slice(hart);
    }
    leave_hart(hart);
    hart.local.in_interrupt.set(false);
    let mut preempted = Preempted { task, stack_pointer: 0, position };
    let saved = &raw mut preempted.stack_pointer;
    let argument = &raw mut preempted as usize;
    // SAFETY: the stack came from the pool; the coroutine, and with it the saved context, is published by
    // `after_preemption`, on the new stack.
    let left = unsafe { arch::stack::suspend_and_start(saved, stack.value(), argument, after_preemption) };
    stacks::put(stacks::StackTop::containing(left));
    let away_ns = now_ns() - left_ns;
    hart::current().local.set_aside_ns.set(set_aside_ns + away_ns);
}

/// On the new stack, with nothing running on the old one: queues the preempted coroutine, and takes the best one.
extern "C" fn after_preemption(argument: usize) -> ! {
    // SAFETY: `preempt` passed a pointer into its frame, which stays as it is until the coroutine is resumed.
    let Preempted { task, stack_pointer, position } =
        unsafe { core::ptr::read(core::ptr::with_exposed_provenance::<Preempted>(argument)) };
    // SAFETY: this hart was polling the coroutine, its context is saved there, and nothing runs on that stack now.
    let runnable = unsafe { Runnable::preempted(task, stack_pointer) };
    hart::with(|hart| enqueue(hart, runnable, position));
    run()
}

/// Leaves this stack to the pool and goes on with the coroutine where it was preempted.
fn resume(poll: SuspendedPoll) -> ! {
    arch::hart::interrupts_mask();
    enter(poll.pointer());
    trace::here(Event::Resume, 0, poll.stack_pointer());
    let here = 0u8;
    // SAFETY: the context was saved by `preempt`, and the right to run it is used up here. Nothing on this stack is
    // needed any more; `preempt` gives it to the pool when it has been left.
    unsafe { arch::stack::resume(poll.stack_pointer(), &raw const here as usize) }
}

/// Lets equally and more important coroutines run first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// As [`yield_now`], where something more important is ready or the time slice is over: for long work in the kernel.
pub async fn yield_if_due() {
    if hart::with(should_yield) {
        yield_now().await;
    }
}
