//! The coroutine as the scheduler sees it.

mod priority;
mod state;

pub use priority::Priority;
pub use state::{Cancel, Finish, Start, TaskState, Wake};
