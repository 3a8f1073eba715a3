//! The pool of kernel stacks, each with an unmapped guard below.
//!
//! A hart runs on one. Another is taken when a kernel coroutine is preempted and keeps the one that it stands on, and comes
//! back when that coroutine has been resumed. Stacks once made are kept; how many there are is the high-water mark.

use arch_riscv64::boot::STACK_REGION;
use arch_riscv64::stack::{SLOT_SIZE, STACK_SIZE};
use base::Result;
use base::address::VirtualAddress;
use base::sync::SpinLock;

/// How many stacks there can be: one a hart, and as many coroutines preempted in the kernel at once as the rest allows.
pub const MAX_STACKS: usize = 256;

/// The upper end of a free kernel stack, which whoever holds this may use.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a stack that is dropped is lost"]
pub struct StackTop(usize);

impl StackTop {
    /// The address.
    pub const fn value(&self) -> usize {
        self.0
    }

    /// The top of the stack in which `stack_pointer` lies, for who leaves that stack for good.
    pub const fn containing(stack_pointer: usize) -> StackTop {
        StackTop((stack_pointer - 1) / SLOT_SIZE * SLOT_SIZE + SLOT_SIZE)
    }
}

struct Pool {
    free: [usize; MAX_STACKS],
    free_count: usize,
    made: usize,
}

static POOL: SpinLock<Pool> = SpinLock::new(Pool { free: [0; MAX_STACKS], free_count: 0, made: 0 });

/// Takes a free stack, if there is one. Never allocates, so that it may be called where a coroutine is preempted.
pub fn take() -> Option<StackTop> {
    let mut pool = POOL.lock();
    pool.free_count = pool.free_count.checked_sub(1)?;
    let top = pool.free[pool.free_count];
    Some(StackTop(top))
}

/// Gives a stack back.
pub fn put(stack: StackTop) {
    let mut pool = POOL.lock();
    let count = pool.free_count;
    // The boot stack joins the pool in exchange for one that is in use, so that there is always room.
    assert!(count < MAX_STACKS, "more stacks came back than were made");
    pool.free[count] = stack.0;
    pool.free_count += 1;
}

/// How many stacks were made, and how many of them are free now.
pub fn counts() -> (usize, usize) {
    let pool = POOL.lock();
    (pool.made, pool.free_count)
}

/// Makes a new stack with the help of `map`, which maps a range of the kernel's own address space to new frames.
pub fn make(map: impl FnOnce(VirtualAddress, usize) -> Result<()>) -> Result<StackTop> {
    let slot = {
        let mut pool = POOL.lock();
        if pool.made == MAX_STACKS - 1 {
            return Err(base::Error::OutOfMemory);
        }
        pool.made += 1;
        pool.made - 1
    };
    let bottom = STACK_REGION + slot * SLOT_SIZE + (SLOT_SIZE - STACK_SIZE);
    map(VirtualAddress::new(bottom), STACK_SIZE)?;
    Ok(StackTop(bottom + STACK_SIZE))
}
