//! System calls for programs that test or start the system: raw, so that the kernel answers and not the C library.

mod argument;
mod file;
mod kernel_numbers;
mod mapping;
mod process;
mod signal;
mod trap;

pub use argument::{Argument, Errno, call};
pub use file::{close, mount, open, pipe, read, seek, write};
pub use kernel_numbers::MemoryNumbers;
pub use mapping::{Access, Mapping, PAGE_BYTES};
pub use process::{
    Child, Ended, become_user, execute, exit_now, fork, in_child, limit, now_ns, sleep_ns, vfork_exit,
    wait_any,
};
pub use signal::{SignalSet, block_signals, default_signal, handle_signal, ignore_signal, unblock_signals};
pub use trap::{clone_parked_thread, trap, trap_loop};
