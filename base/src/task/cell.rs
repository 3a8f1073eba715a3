//! The allocation behind a coroutine, and the three ways to hold it: to run it, to queue it, to refer to it.

use super::{Cancel, Finish, Priority, Start, TaskHeader, Wake};
use crate::Error;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::cell::DataCell;
use alloc::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Deref;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// What depends on the types of the future and of the schedule function.
pub(super) struct VTable {
    /// Polls the future once; drops it when it is ready. For the holder of the right to run, who counts as running.
    poll: unsafe fn(NonNull<TaskHeader>, &mut Context<'_>) -> Poll<()>,
    /// Drops the future, which has not completed. For the same.
    drop_future: unsafe fn(NonNull<TaskHeader>),
    /// Frees the allocation. For who dropped the last reference.
    deallocate: unsafe fn(NonNull<TaskHeader>),
    /// Calls the schedule function with the right to run.
    schedule: unsafe fn(NonNull<TaskHeader>),
    /// Whether `schedule` reads the allocation after it has passed the right on, which then must be kept alive.
    schedule_has_state: bool,
}

#[repr(C)]
struct Cell<F, S> {
    header: TaskHeader,
    schedule: S,
    /// There until the state says complete.
    future: DataCell<MaybeUninit<F>>,
}

/// Makes coroutines.
pub struct Task;

impl Task {
    /// A new coroutine, ready to run, in one allocation: the right to run it (to be queued, or run) and a reference.
    ///
    /// `schedule` is called with the right to run whenever a wake-up makes the coroutine ready: from any hart, also
    /// from interrupt handlers, never with a lock of this crate held. A function item costs no memory.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn try_new<F, S>(future: F, priority: Priority, schedule: S) -> Result<(Runnable, TaskRef), Error>
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Runnable) + Send + Sync + 'static,
    {
        // SAFETY: the layout has a size (the header).
        let memory = unsafe { alloc(Layout::new::<Cell<F, S>>()) }.cast::<Cell<F, S>>();
        let cell = NonNull::new(memory).ok_or(Error::OutOfMemory)?;
        let header = TaskHeader::new(priority, Cell::<F, S>::VTABLE);
        let content = Cell { header, schedule, future: DataCell::new(MaybeUninit::new(future)) };
        // SAFETY: fresh memory of the right layout.
        unsafe { cell.write(content) };
        let header = cell.cast();
        Ok((Runnable { header }, TaskRef { header }))
    }

    #[expect(
        clippy::new_ret_no_self,
        reason = "`Task` is a name for the making of two things that belong together"
    )]
    /// As [`Task::try_new`], where running out of memory is the end (at boot).
    pub fn new<F, S>(future: F, priority: Priority, schedule: S) -> (Runnable, TaskRef)
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Runnable) + Send + Sync + 'static,
    {
        match Self::try_new(future, priority, schedule) {
            Ok(pair) => pair,
            Err(_) => handle_alloc_error(Layout::new::<Cell<F, S>>()),
        }
    }
}

impl<F, S> Cell<F, S>
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Runnable) + Send + Sync + 'static,
{
    const VTABLE: &'static VTable = &VTable {
        poll: Self::poll,
        drop_future: Self::drop_future,
        deallocate: Self::deallocate,
        schedule: Self::schedule,
        schedule_has_state: size_of::<S>() != 0,
    };

    /// # Safety
    /// `header` begins a cell of this type; the caller has the right to run it, started.
    unsafe fn poll(header: NonNull<TaskHeader>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the header is the first field of a live cell of this type.
        let cell = unsafe { header.cast::<Self>().as_ref() };
        // SAFETY: the caller has the right to run, so the future is there and nobody else touches it; it never moves.
        let future = unsafe { Pin::new_unchecked((*cell.future.pointer_exclusive()).assume_init_mut()) };
        let result = future.poll(context);
        if result.is_ready() {
            // SAFETY: still the same holder; the state becomes complete right after, so nobody drops it again.
            unsafe { Self::drop_future(header) };
        }
        result
    }

    /// # Safety
    /// As for [`Self::poll`]; the future is there.
    unsafe fn drop_future(header: NonNull<TaskHeader>) {
        // SAFETY: as in `poll`.
        unsafe { (*header.cast::<Self>().as_ref().future.pointer_exclusive()).assume_init_drop() };
    }

    /// # Safety
    /// `header` begins a cell of this type, whose future and last reference are gone.
    unsafe fn deallocate(header: NonNull<TaskHeader>) {
        let cell = header.cast::<Self>();
        // SAFETY: the last reference is gone, and with it the scheduler's, so the future is dropped already
        // (`MaybeUninit` does not drop it again). The memory was allocated with this layout.
        unsafe {
            cell.drop_in_place();
            dealloc(cell.as_ptr().cast(), Layout::new::<Self>());
        }
    }

    /// # Safety
    /// `header` begins a cell of this type; the caller has the right to run it, which goes along.
    unsafe fn schedule(header: NonNull<TaskHeader>) {
        // SAFETY: the cell is alive; the caller keeps it so until this returns.
        let cell = unsafe { header.cast::<Self>().as_ref() };
        (cell.schedule)(Runnable { header });
    }
}

/// The right to run a coroutine, together with the scheduler's reference to it.
///
/// Dropping it cancels the coroutine and drops its future here and now. (One with an interrupted poll on a stack of its
/// own cannot be dropped, and stays for ever.)
#[must_use = "dropping the right to run cancels the coroutine"]
pub struct Runnable {
    header: NonNull<TaskHeader>,
}

// SAFETY: the future is `Send`, and everything else in the cell is atomic or guarded by the right to run.
unsafe impl Send for Runnable {}
// SAFETY: a shared `Runnable` gives only the header, which is atomics.
unsafe impl Sync for Runnable {}

/// What starting a coroutine led to.
#[must_use = "a started coroutine must be run"]
pub enum Started {
    /// Poll it, now, on this hart.
    Poll(Running),
    /// Its interrupted poll lies on a stack of its own: switch to it.
    ResumeStack(SuspendedPoll),
    /// It was cancelled; the future has been dropped and nothing is left to do.
    Cancelled,
}

/// What polling a coroutine led to.
#[must_use = "a coroutine to be queued again must be queued"]
pub enum Outcome {
    /// It waits; or it was woken already and is somebody else's.
    Parked,
    /// It was woken while it was polled: queue it again.
    Requeue(Runnable),
    /// It is done (or cancelled), its future dropped.
    Complete,
}

impl Runnable {
    /// Begins to run the coroutine.
    #[inline]
    pub fn start(self) -> Started {
        let header = ManuallyDrop::new(self).header;
        // SAFETY: the scheduler's reference, which moves on with the right to run, keeps the cell alive.
        let task = unsafe { header.as_ref() };
        let running = Running { header };
        match task.state.start() {
            Start::Poll => Started::Poll(running),
            Start::ResumeStack => Started::ResumeStack(SuspendedPoll { header }),
            Start::DropCancelled => {
                running.drop_future();
                Started::Cancelled
            }
        }
    }

    /// Starts and polls a coroutine that has no interrupted poll: what an executor without preemption needs.
    pub fn run(self) -> Outcome {
        match self.start() {
            Started::Poll(running) => running.poll(),
            Started::Cancelled => Outcome::Complete,
            Started::ResumeStack(_) => panic!("an executor without stacks was given an interrupted poll"),
        }
    }

    /// Passes the right to the coroutine's own schedule function.
    #[inline]
    pub fn schedule(self) {
        // SAFETY: the caller's right to run goes along.
        unsafe { schedule(ManuallyDrop::new(self).header) };
    }

    /// Another reference to the coroutine.
    pub fn task_ref(&self) -> TaskRef {
        // SAFETY: alive, by the scheduler's reference.
        unsafe { TaskRef::share(self.header) }
    }

    /// Turns the right into the name under which a ready queue links it. Nothing runs or frees the coroutine until
    /// [`Runnable::from_pointer`] makes the right again.
    #[inline]
    pub fn into_pointer(self) -> TaskPointer {
        TaskPointer { header: ManuallyDrop::new(self).header }
    }

    /// The right again, for who has taken the coroutine off its ready queue.
    ///
    /// # Safety
    /// `pointer` came from [`Runnable::into_pointer`], for which this is the only call, and no copy of it is used after.
    #[inline]
    pub unsafe fn from_pointer(pointer: TaskPointer) -> Runnable {
        Runnable { header: pointer.header }
    }

    /// The right to go on with the poll that was interrupted on this hart. The coroutine is to be queued with it; who
    /// takes it from there gets [`Started::ResumeStack`] with `stack_pointer`.
    ///
    /// # Safety
    /// `pointer` names the coroutine whose [`Running::poll`] this hart was executing (from [`Running::pointer`]); its
    /// whole context lies at `stack_pointer`, and nothing runs on that stack any more. That call of `poll` goes on only
    /// after the coroutine was started again.
    #[inline]
    pub unsafe fn preempted(pointer: TaskPointer, stack_pointer: usize) -> Runnable {
        pointer.set_stack_pointer(stack_pointer);
        pointer.state.preempt();
        Runnable { header: pointer.header }
    }
}

impl Deref for Runnable {
    type Target = TaskHeader;

    #[inline(always)]
    fn deref(&self) -> &TaskHeader {
        // SAFETY: alive, by the scheduler's reference.
        unsafe { self.header.as_ref() }
    }
}

impl Drop for Runnable {
    #[cold]
    fn drop(&mut self) {
        if self.state.has_stack() {
            return;
        }
        let _ = self.state.cancel();
        let again = Runnable { header: self.header };
        match again.start() {
            Started::Cancelled => {}
            Started::Poll(_) | Started::ResumeStack(_) => unreachable!("cancelled and without a stack"),
        }
    }
}

/// A coroutine that is being run, on this hart.
#[must_use = "a started coroutine must be polled"]
pub struct Running {
    header: NonNull<TaskHeader>,
}

impl Running {
    /// The coroutine's name, for [`Runnable::preempted`] if this hart is interrupted during the poll.
    #[inline]
    pub fn pointer(&self) -> TaskPointer {
        TaskPointer { header: self.header }
    }

    /// Polls the future once. May return on another hart than it was called on, if the poll was interrupted.
    #[inline]
    pub fn poll(self) -> Outcome {
        self.poll_then(|| {})
    }

    /// As [`Running::poll`], and calls `polled` when the future has been polled and before anybody else can have the
    /// coroutine. That is where an executor with preemption forgets what it runs: an interrupt afterwards would
    /// preempt a coroutine that another hart runs already, or that is gone.
    #[inline]
    pub fn poll_then(self, polled: impl FnOnce()) -> Outcome {
        let header = self.header;
        // SAFETY: the scheduler's reference keeps the cell alive, at least until the state is given up below.
        let task = unsafe { header.as_ref() };
        // SAFETY: the same.
        let waker = unsafe { WakerRef::new(header) };
        let mut context = Context::from_waker(&waker);
        // SAFETY: `self` is the right to run, started.
        let result = unsafe { (task.vtable.poll)(header, &mut context) };
        polled();
        if result.is_ready() {
            self.complete();
            return Outcome::Complete;
        }
        match task.state.finish_pending() {
            Finish::Park => Outcome::Parked,
            Finish::Requeue => Outcome::Requeue(Runnable { header }),
            Finish::Cancel => {
                self.drop_future();
                Outcome::Complete
            }
        }
    }

    #[cold]
    fn drop_future(self) {
        // SAFETY: `self` is the right to run, started; the future is there, as it is neither complete nor dropped.
        unsafe { (self.header.as_ref().vtable.drop_future)(self.header) };
        self.complete();
    }

    /// The future is gone: says so and lets go of the scheduler's reference.
    fn complete(self) {
        // SAFETY: alive until the reference is let go.
        unsafe { self.header.as_ref() }.state.finish_ready();
        drop(TaskRef { header: self.header });
    }
}

/// A poll that was interrupted, to be gone on with by switching to its stack. It has no other use, and no destructor.
#[must_use = "a started coroutine must be resumed"]
pub struct SuspendedPoll {
    header: NonNull<TaskHeader>,
}

impl SuspendedPoll {
    /// Where the context lies.
    pub fn stack_pointer(&self) -> usize {
        self.pointer().stack_pointer()
    }

    /// The coroutine's name, for [`Runnable::preempted`] if this hart is interrupted again.
    pub fn pointer(&self) -> TaskPointer {
        TaskPointer { header: self.header }
    }
}

/// The name of a coroutine that is on a ready queue, or that a hart is running.
///
/// A plain pointer: it keeps nothing alive itself. That it is good is the promise of those who turn it into a
/// [`Runnable`] again: they do that once, and use no copy afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct TaskPointer {
    header: NonNull<TaskHeader>,
}

// SAFETY: as for `Runnable`.
unsafe impl Send for TaskPointer {}
// SAFETY: as for `Runnable`.
unsafe impl Sync for TaskPointer {}

impl TaskPointer {
    /// What follows on its ready queue.
    #[inline]
    pub fn next(self) -> Option<TaskPointer> {
        NonNull::new(self.next.load(Ordering::Relaxed)).map(|header| TaskPointer { header })
    }

    /// What stands before it on its ready queue.
    #[inline]
    pub fn previous(self) -> Option<TaskPointer> {
        NonNull::new(self.previous.load(Ordering::Relaxed)).map(|header| TaskPointer { header })
    }

    /// Sets what [`TaskPointer::next`] gives. For the holder of the queue's lock.
    #[inline]
    pub fn set_next(self, next: Option<TaskPointer>) {
        self.next.store(as_raw(next), Ordering::Relaxed);
    }

    /// Sets what [`TaskPointer::previous`] gives. For the holder of the queue's lock.
    #[inline]
    pub fn set_previous(self, previous: Option<TaskPointer>) {
        self.previous.store(as_raw(previous), Ordering::Relaxed);
    }
}

#[inline(always)]
fn as_raw(pointer: Option<TaskPointer>) -> *mut TaskHeader {
    pointer.map_or(core::ptr::null_mut(), |pointer| pointer.header.as_ptr())
}

impl Deref for TaskPointer {
    type Target = TaskHeader;

    #[inline(always)]
    fn deref(&self) -> &TaskHeader {
        // SAFETY: a pointer is used only while the right to run lies in a queue or with a hart, and so does the
        // scheduler's reference (contracts of `Runnable::from_pointer`, `Runnable::preempted`, `TaskRef::pointer`).
        unsafe { self.header.as_ref() }
    }
}

/// A counted reference to a coroutine.
pub struct TaskRef {
    header: NonNull<TaskHeader>,
}

// SAFETY: as for `Runnable`.
unsafe impl Send for TaskRef {}
// SAFETY: as for `Runnable`.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Makes the coroutine ready, if it waits.
    #[inline]
    pub fn wake(&self) {
        // SAFETY: alive, by this reference, until the call returns.
        unsafe { wake(self.header) };
    }

    /// Asks that the future be dropped instead of polled again. Returns whether that was still possible. The future is
    /// dropped on a hart that is not polling it, soon; one that was preempted first runs to its next `.await`.
    pub fn cancel(&self) -> bool {
        match self.state.cancel() {
            Cancel::TooLate => false,
            Cancel::Requested => true,
            Cancel::Schedule => {
                // SAFETY: the right to run was just created and goes along; this reference keeps the cell alive.
                unsafe { (self.vtable.schedule)(self.header) };
                true
            }
        }
    }

    /// A waker of the coroutine.
    pub fn waker(&self) -> Waker {
        let reference = ManuallyDrop::new(self.clone());
        // SAFETY: the vtable's contract is kept by the functions below; the waker takes the new reference.
        unsafe { Waker::from_raw(raw_waker(reference.header)) }
    }

    /// A waker that lives as long as the borrow of this reference, and counts nothing.
    #[inline]
    pub fn waker_by_ref(&self) -> WakerRef<'_> {
        // SAFETY: alive, by this reference, as long as the borrow.
        unsafe { WakerRef::new(self.header) }
    }

    /// The coroutine's name, to move it within the ready queue it is on.
    ///
    /// # Safety
    /// The pointer is used only while this reference lives, and not made a [`Runnable`].
    pub unsafe fn pointer(&self) -> TaskPointer {
        TaskPointer { header: self.header }
    }

    /// # Safety
    /// The cell is alive.
    unsafe fn share(header: NonNull<TaskHeader>) -> TaskRef {
        // SAFETY: alive.
        let before = unsafe { header.as_ref() }.references.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "more references than can be counted");
        TaskRef { header }
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        // SAFETY: alive, by this reference.
        unsafe { Self::share(self.header) }
    }
}

impl PartialEq for TaskRef {
    /// Whether both refer to the same coroutine.
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header
    }
}

impl Eq for TaskRef {}

impl Deref for TaskRef {
    type Target = TaskHeader;

    #[inline(always)]
    fn deref(&self) -> &TaskHeader {
        // SAFETY: alive, by this reference.
        unsafe { self.header.as_ref() }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        if self.references.fetch_sub(1, Ordering::Release) == 1 {
            // What other holders did before they let go comes before the memory is freed.
            fence(Ordering::Acquire);
            // SAFETY: that was the last reference.
            unsafe { (self.vtable.deallocate)(self.header) };
        }
    }
}

/// A borrowed waker.
pub struct WakerRef<'a> {
    waker: ManuallyDrop<Waker>,
    lifetime: PhantomData<&'a TaskHeader>,
}

impl WakerRef<'_> {
    /// # Safety
    /// The cell is alive for the lifetime.
    #[inline]
    unsafe fn new(header: NonNull<TaskHeader>) -> Self {
        // SAFETY: the vtable's contract is kept; never dropped, so the reference that it would let go is not missed.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(header)) });
        Self { waker, lifetime: PhantomData }
    }
}

impl Deref for WakerRef<'_> {
    type Target = Waker;

    #[inline(always)]
    fn deref(&self) -> &Waker {
        &self.waker
    }
}

static WAKER_VTABLE: RawWakerVTable =
    RawWakerVTable::new(waker_clone, waker_wake, waker_wake_by_ref, waker_drop);

#[inline]
fn raw_waker(header: NonNull<TaskHeader>) -> RawWaker {
    RawWaker::new(header.as_ptr().cast_const().cast(), &WAKER_VTABLE)
}

/// # Safety
/// `data` came from [`raw_waker`], and the cell is alive.
#[inline]
unsafe fn header_of(data: *const ()) -> NonNull<TaskHeader> {
    // SAFETY: never null, as the caller promises.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

/// # Safety
/// `data` came from [`raw_waker`], and the cell is alive.
unsafe fn waker_clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned keeps the cell alive.
    let reference = ManuallyDrop::new(unsafe { TaskRef::share(header_of(data)) });
    raw_waker(reference.header)
}

/// # Safety
/// `data` came from [`raw_waker`], and the cell is alive.
unsafe fn waker_wake(data: *const ()) {
    // SAFETY: the waker's reference becomes this one, and is let go after the wake-up.
    let reference = TaskRef { header: unsafe { header_of(data) } };
    reference.wake();
}

/// # Safety
/// `data` came from [`raw_waker`], and the cell is alive.
unsafe fn waker_wake_by_ref(data: *const ()) {
    // SAFETY: the waker keeps the cell alive until the call returns.
    unsafe { wake(header_of(data)) };
}

/// # Safety
/// `data` came from [`raw_waker`], and the cell is alive.
unsafe fn waker_drop(data: *const ()) {
    // SAFETY: the waker's reference becomes this one.
    drop(TaskRef { header: unsafe { header_of(data) } });
}

/// # Safety
/// The cell is alive until the call returns.
#[inline]
unsafe fn wake(header: NonNull<TaskHeader>) {
    // SAFETY: alive.
    let task = unsafe { header.as_ref() };
    if task.state.wake() == Wake::Schedule {
        // SAFETY: the right to run was just created and goes along; alive until this returns.
        unsafe { (task.vtable.schedule)(header) };
    }
}

/// # Safety
/// The caller has the right to run, which goes along.
#[inline]
unsafe fn schedule(header: NonNull<TaskHeader>) {
    // SAFETY: alive, by the scheduler's reference. Once that has gone along, another hart may run the coroutine to its
    // end; a schedule function with state of its own would then be freed while it runs.
    unsafe {
        let vtable = header.as_ref().vtable;
        let keep = vtable.schedule_has_state.then(|| TaskRef::share(header));
        (vtable.schedule)(header);
        drop(keep);
    }
}
