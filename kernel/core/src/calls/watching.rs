//! Waiting for several files at once.
#![expect(unsafe_code, reason = "a place in a file's queue that keeps the file; pinned places in a slice")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::sync::{QueueHandle, WaitQueue, Waiter};
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::Waker;
use vfs::{File, Readiness};

/// A queue of a file, and the file, which keeps it.
pub struct FileQueue {
    queue: NonNull<WaitQueue>,
    /// Only held.
    _file: Arc<dyn File>,
}

// SAFETY: a shared reference to the file and one to a queue in it; both are `Sync`.
unsafe impl Send for FileQueue {}
// SAFETY: as for `Send`.
unsafe impl Sync for FileQueue {}

impl FileQueue {
    /// The queues where a change of the file's readiness for `interest` is announced.
    pub fn of(file: &Arc<dyn File>, interest: Readiness) -> impl Iterator<Item = FileQueue> {
        let queues = file.wait_queues(interest);
        [queues.first, queues.second]
            .map(|queue| queue.map(|queue| FileQueue { queue: NonNull::from(queue), _file: file.clone() }))
            .into_iter()
            .flatten()
    }
}

// SAFETY: the queue was lent by the file for as long as that is borrowed; the handle holds the file, which is never
// borrowed otherwise than shared while a handle of it exists, and an `Arc` keeps its content in place.
unsafe impl QueueHandle for FileQueue {
    #[inline]
    fn queue(&self) -> &WaitQueue {
        // SAFETY: see above: the queue lives as long as the file.
        unsafe { self.queue.as_ref() }
    }
}

/// Places in the queues of files.
pub struct Places {
    waiters: Pin<Box<[Waiter<FileQueue>]>>,
}

impl Places {
    /// Places that are not taken yet.
    pub fn new(queues: impl Iterator<Item = FileQueue>) -> Self {
        let waiters: Vec<Waiter<FileQueue>> = queues.map(Waiter::new).collect();
        Self { waiters: Box::into_pin(waiters.into_boxed_slice()) }
    }

    /// Takes every place: `waker` is called at the next change. The conditions are to be looked at afterwards.
    pub fn register(&mut self, waker: &Waker) {
        for index in 0..self.waiters.len() {
            // SAFETY: an element of a pinned slice is pinned with it; nothing is moved out.
            let waiter = unsafe { self.waiters.as_mut().map_unchecked_mut(|waiters| &mut waiters[index]) };
            waiter.register(waker);
        }
    }
}
