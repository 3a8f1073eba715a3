//! Which coroutine runs next, on which hart: the one policy of the system, for the kernel and for user mode.
//!
//! Pure logic over memory that others own: ready queues link coroutines that the caller allocates, through the
//! [`Links`] trait (pointers in the kernel, offsets into shared memory in user mode), and decisions are functions of
//! what the caller tells them.
#![no_std]

pub mod decision;
mod priority_set;
mod ready_queue;
mod task_queue;

pub use base::task::{Cancel, Finish, Priority, Start, TaskState, Wake};
pub use priority_set::PrioritySet;
pub use ready_queue::{Links, ReadyQueue};
pub use task_queue::TaskQueue;
