//! Locks and waiting, for coroutines and for the code that has to hold a hart still.
//!
//! | type | for | waits by |
//! |---|---|---|
//! | [`SpinLock`] | a few instructions on shared data; never across `.await` (does not compile) | spinning, preemption off |
//! | [`WaitQueue`] | "until this becomes true" | parking the coroutine |
//! | [`WaitTable`] | the same by a key, for any number of keys (futexes) | parking the coroutine |
//! | [`Mutex`], [`RwLock`] | data that is held across `.await` | parking, first come first served |
//! | [`Semaphore`] | a number of things | parking, first come first served |
//! | [`channel()`] | values from many coroutines to one | parking |
//! | [`OnceCell`], [`Lazy`] | what is set once at boot | [`Lazy`] spins |
//!
//! Nothing here allocates to wait: a waiter is a node inside the pinned future that waits. Under `--cfg loom` the
//! same code is model-checked (see [`atomic`]).

macro_rules! const_unless_loom {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        $visibility const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}
pub(crate) use const_unless_loom;

pub mod atomic;
pub(crate) mod cell;
mod channel;
mod mutex;
mod once_cell;
mod rw_lock;
mod semaphore;
mod spin_lock;
mod wait_list;
mod wait_queue;
mod wait_table;

pub use channel::{Receiver, SendError, Sender, TryReceiveError, TrySendError, channel};
pub use mutex::{Lock, Mutex, MutexGuard};
pub use once_cell::{Lazy, OnceCell};
pub use rw_lock::{Read, ReadGuard, RwLock, Write, WriteGuard};
pub use semaphore::{Acquire, Permits, Semaphore};
pub use spin_lock::{SpinGuard, SpinLock};
pub use wait_queue::{QueueHandle, Wait, WaitQueue, WaitUntil, Waiter};
pub use wait_table::{TableKey, TableWaiter, WaitTable};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
