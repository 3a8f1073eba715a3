//! Waiting for what a coroutine results in.

use crate::sync::{SpinLock, WaitQueue};
use crate::{Error, Result};
use alloc::sync::Arc;

struct Joint<T> {
    slot: SpinLock<Slot<T>>,
    done: WaitQueue,
}

enum Slot<T> {
    Running,
    Done(T),
    /// Cancelled before it had a result, or the result was taken.
    Gone,
}

/// A future for [`Task::new`](super::Task::new) that runs `future` and keeps its result, and the handle that waits for it.
///
/// ```
/// # use base::task::{Outcome, Priority, Task, joinable};
/// let (future, handle) = joinable(async { 6 * 7 });
/// let (runnable, _task) = Task::new(future, Priority::NORMAL, |_| ());
/// assert!(matches!(runnable.run(), Outcome::Complete));
/// assert_eq!(handle.try_take(), Some(Ok(42)));
/// ```
pub fn joinable<F: Future>(future: F) -> (impl Future<Output = ()> + use<F>, JoinHandle<F::Output>) {
    let joint = Arc::new(Joint { slot: SpinLock::new(Slot::Running), done: WaitQueue::new() });
    let finisher = Finisher(joint.clone());
    let wrapped = async move {
        let result = future.await;
        finisher.finish(Slot::Done(result));
    };
    (wrapped, JoinHandle { joint })
}

/// Says that there will be no result if it is dropped before there is one: that is how cancelling is noticed.
struct Finisher<T>(Arc<Joint<T>>);

impl<T> Finisher<T> {
    fn finish(&self, slot: Slot<T>) {
        *self.0.slot.lock() = slot;
        self.0.done.wake_all();
    }
}

impl<T> Drop for Finisher<T> {
    fn drop(&mut self) {
        let running = matches!(*self.0.slot.lock(), Slot::Running);
        if running {
            self.finish(Slot::Gone);
        }
    }
}

/// Waits for the result of a coroutine. Dropping it lets the coroutine run on.
pub struct JoinHandle<T> {
    joint: Arc<Joint<T>>,
}

impl<T> JoinHandle<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the coroutine was cancelled before it had one.
    pub async fn join(self) -> Result<T> {
        self.joint.done.wait_until(|| self.try_take()).await
    }

    /// The result, if it is there; only once.
    pub fn try_take(&self) -> Option<Result<T>> {
        let mut slot = self.joint.slot.lock();
        match core::mem::replace(&mut *slot, Slot::Gone) {
            Slot::Done(result) => Some(Ok(result)),
            Slot::Gone => Some(Err(Error::Cancelled)),
            Slot::Running => {
                *slot = Slot::Running;
                None
            }
        }
    }

    /// Whether the coroutine has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(*self.joint.slot.lock(), Slot::Running)
    }
}
