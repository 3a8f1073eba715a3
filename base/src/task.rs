//! The coroutine as the scheduler sees it: a future, its state and its place in a queue, in one allocation.
//!
//! | type | is | made by |
//! |---|---|---|
//! | [`TaskHeader`] | what everybody may look at: state, priority, place, links | [`Task::new`] |
//! | [`Runnable`] | the right to run, of which there is at most one (see [`TaskState`]'s file for the protocol) | [`Task::new`], a wake-up, [`Outcome::Requeue`] |
//! | [`TaskPointer`] | a `Runnable` inside a ready queue | [`Runnable::into_pointer`] |
//! | [`TaskRef`] | a counted reference: to wake, cancel, change the priority | [`Task::new`], `clone` |
//! | `Waker` | a counted reference behind the standard interface | polling |
//!
//! Until it is complete, a coroutine holds one reference to itself, on behalf of the scheduler. So queueing, polling
//! and parking count nothing. The other side of that bargain: a coroutine that nobody will ever wake or cancel stays.

mod cell;
mod header;
mod join;
mod priority;
mod state;

pub use cell::{Outcome, Runnable, Running, Started, SuspendedPoll, Task, TaskPointer, TaskRef, WakerRef};
pub use header::TaskHeader;
pub use join::{JoinHandle, joinable};
pub use priority::Priority;
pub use state::{Cancel, Finish, Start, TaskState, Wake};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
