//! The life of a coroutine in one atomic word: who may run it, and that nobody's wake-up is lost.
//!
//! # The word
//!
//! | bit | name | set by | cleared by | says |
//! |---|---|---|---|---|
//! | 0 | `NOTIFIED` | `wake`, `cancel` | `start` | a poll is due |
//! | 1 | `RUNNING` | `start` | `finish_*` | a poll is in progress, on a hart or on a stack set aside |
//! | 2 | `STACK` | `preempt` | `start` | that poll was interrupted and lies on its own stack |
//! | 3 | `CANCEL` | `cancel` | never | the future shall be dropped instead of polled |
//! | 4 | `COMPLETE` | `finish_ready` | never | the future is gone |
//!
//! # The right to run
//!
//! For a coroutine that is not complete there is at most one *right to run*, held by exactly one of: whoever made it
//! ready and is about to queue it, a ready queue, the hart that runs it. Idle coroutines have none; `wake` creates it.
//! Everything else about a coroutine follows from it:
//! 1. Only the holder touches the future, the saved stack and the ready-queue links. Everybody may wake and cancel.
//! 2. `wake` or `cancel` that finds an idle word (no `NOTIFIED`, no `RUNNING`, no `COMPLETE`) has created the right
//!    and must queue the coroutine. Finding anything else, it must do nothing: the holder will see the bit that it set.
//! 3. `finish_pending` that finds no `NOTIFIED` gives the right up; from then on the caller must not touch the
//!    coroutine: another hart may already have run it to its end. Finding `NOTIFIED` it keeps the right, and must queue.
//! 4. `preempt` keeps the right, and so does queueing the coroutine that it set aside. The holder queues it only when
//!    nothing runs on its stack any more: whoever takes it from the queue switches to that stack at once.
//! 5. A cancelled coroutine is never polled again; but a poll that was preempted is first resumed and runs to its next
//!    `.await`, since what lies on its stack has borrowed from the future. Cancelling sets `NOTIFIED` as well, so that
//!    the future is dropped soon, by the holder, on a hart that is not polling it.
//! 6. The future is dropped *before* `COMPLETE` is published: who sees `COMPLETE` may rely on all its effects.
//! 7. Every transition is one read-modify-write with acquire and release ordering on the one word, never a plain load
//!    or store that decides: a wake-up that finds `NOTIFIED` set still publishes what the waker did before, and the
//!    `start` that clears it acquires that. (A load alone would not: the poll could miss it, and the wake-up be lost.)
//!
//! # The life
//!
//! ```text
//!            new            1 wake, cancel              2 start -> Poll
//!   (spawn queues it) ─┐   ┌──────────────┐           ┌────────────────────┐
//!                      ▼   │              ▼           │                    ▼
//!                   ┌────────┐         ┌────────┐     │              ┌───────────┐  6 preempt   ┌───────────┐
//!                   │  idle  │         │ queued │─────┘              │  running  │─────────────▶│ preempted │
//!                   └────────┘         └────────┘                    └───────────┘              └───────────┘
//!                        ▲               ▲    │                       │ │ │   ▲  7 start -> ResumeStack │
//!                        │ 3 finish_pending   │ 9 start -> DropCancelled│ │   └───────────────────────┘
//!                        │    -> Park    │    ▼                       │ │ │
//!                        └───────────────┼────────────────────────────┘ │ │   4 wake: running + notified,
//!                                        │                              │ │     preempted + notified
//!                 5 finish_pending -> Requeue (it was notified) ────────┘ │
//!                                                                         │ 8 finish_ready
//!       cancelled ◀── finish_ready ── (future dropped) ◀── 9              ▼
//!       (COMPLETE, CANCEL)           ◀── 10 finish_pending -> Cancel   complete
//! ```

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::const_unless_loom;
use core::fmt;

const NOTIFIED: u32 = 1 << 0;
const RUNNING: u32 = 1 << 1;
const STACK: u32 = 1 << 2;
const CANCEL: u32 = 1 << 3;
const COMPLETE: u32 = 1 << 4;

/// What a waker must do.
#[must_use = "a coroutine that must be queued and is not never runs again"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// The coroutine was idle and the caller now has the right to run it: queue it.
    Schedule,
    /// Nothing: it is queued, or will be polled again after the poll in progress, or is complete.
    Nothing,
}

/// What a hart that took a coroutine from a queue must do.
#[must_use = "the right to run was taken and must be used"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Poll the future; then `finish_pending` or `finish_ready`.
    Poll,
    /// Switch to the stack on which the interrupted poll lies.
    ResumeStack,
    /// Drop the future without polling it; then `finish_ready`.
    DropCancelled,
}

/// What a hart whose poll gave `Pending` must do.
#[must_use = "a coroutine that must be queued and is not never runs again"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// Nothing more: the coroutine is idle, or already somebody else's. It must not be touched.
    Park,
    /// It was woken meanwhile; the caller still has the right to run it: queue it.
    Requeue,
    /// It was cancelled meanwhile, and counts as running: drop the future, then `finish_ready`.
    Cancel,
}

/// What one who cancels must do.
#[must_use = "a coroutine that must be queued and is not never runs again"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancel {
    /// The coroutine was idle and the caller now has the right to run it: queue it, so that its future is dropped.
    Schedule,
    /// Nothing: whoever has the right to run it will see the request.
    Requested,
    /// Nothing: it is complete, or was cancelled before.
    TooLate,
}

/// The state of a coroutine. See the head of this file for the protocol.
pub struct TaskState(AtomicU32);

impl TaskState {
    const_unless_loom! {
        /// The state of a new coroutine, queued: whoever made it has the right to run it.
        pub fn new_queued() -> Self {
            Self(AtomicU32::new(NOTIFIED))
        }
    }

    const_unless_loom! {
        /// The state of a new coroutine, idle until it is woken.
        pub fn new_idle() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Arrows 1 and 4. Anybody, at any time.
    #[inline]
    pub fn wake(&self) -> Wake {
        let before = self.0.fetch_or(NOTIFIED, Ordering::AcqRel);
        if before & (NOTIFIED | RUNNING | COMPLETE) == 0 { Wake::Schedule } else { Wake::Nothing }
    }

    /// Arrows 2, 7 and 9. The holder of the right to run, on the hart that is to run it.
    #[inline]
    pub fn start(&self) -> Start {
        // Only the holder changes `STACK` and `RUNNING`, and that is the caller.
        if self.0.load(Ordering::Relaxed) & STACK != 0 {
            self.0.fetch_and(!STACK, Ordering::AcqRel);
            return Start::ResumeStack;
        }
        // Both bits are known (set and clear) and stable, so that one exchange-or flips both.
        let before = self.0.fetch_xor(NOTIFIED | RUNNING, Ordering::AcqRel);
        debug_assert!(
            before & (NOTIFIED | RUNNING | COMPLETE) == NOTIFIED,
            "started without the right to run"
        );
        if before & CANCEL != 0 { Start::DropCancelled } else { Start::Poll }
    }

    /// Arrows 3, 5 and 10: the poll gave `Pending`. The hart that runs it.
    #[inline]
    pub fn finish_pending(&self) -> Finish {
        let before = self.0.fetch_and(!RUNNING, Ordering::AcqRel);
        debug_assert!(before & (RUNNING | STACK | COMPLETE) == RUNNING, "finished without running");
        if before & NOTIFIED == 0 {
            Finish::Park
        } else if before & CANCEL == 0 {
            Finish::Requeue
        } else {
            self.finish_cancelled()
        }
    }

    /// Still the holder, as `NOTIFIED` was set: runs on, in order to drop the future.
    #[cold]
    fn finish_cancelled(&self) -> Finish {
        self.0.fetch_xor(NOTIFIED | RUNNING, Ordering::AcqRel);
        Finish::Cancel
    }

    /// Arrow 8 and the end of 9 and 10: the future is gone. The hart that runs it. Gives up the right for good.
    #[inline]
    pub fn finish_ready(&self) {
        let before = self.0.fetch_xor(RUNNING | COMPLETE, Ordering::AcqRel);
        debug_assert!(before & (RUNNING | STACK | COMPLETE) == RUNNING, "completed without running");
    }

    /// Arrow 6: the poll in progress was interrupted and its stack set aside. The hart that runs it; it keeps the right
    /// and queues the coroutine once it has left that stack.
    #[inline]
    pub fn preempt(&self) {
        let before = self.0.fetch_or(STACK, Ordering::AcqRel);
        debug_assert!(before & (RUNNING | STACK | COMPLETE) == RUNNING, "preempted without running");
    }

    /// Arrows 1 and 4, with a request to drop the future. Anybody, at any time.
    pub fn cancel(&self) -> Cancel {
        let before = self.0.fetch_or(CANCEL | NOTIFIED, Ordering::AcqRel);
        if before & (CANCEL | COMPLETE) != 0 {
            Cancel::TooLate
        } else if before & (NOTIFIED | RUNNING) == 0 {
            Cancel::Schedule
        } else {
            Cancel::Requested
        }
    }

    /// Whether the future is gone, finished or cancelled; all its effects are visible then.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.0.load(Ordering::Acquire) & COMPLETE != 0
    }

    /// Whether cancelling was asked for.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) & CANCEL != 0
    }

    /// Whether it waits: neither runs, nor is to. A hint, for who shows what goes on.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) & (NOTIFIED | RUNNING | STACK | COMPLETE) == 0
    }

    /// Whether an interrupted poll lies on a stack of its own. Stable only for the holder of the right to run.
    #[inline]
    pub fn has_stack(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STACK != 0
    }
}

impl fmt::Debug for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.load(Ordering::Relaxed);
        let state = match word {
            _ if word & COMPLETE != 0 => "complete",
            _ if word & STACK != 0 => "preempted",
            _ if word & RUNNING != 0 => "running",
            _ if word & NOTIFIED != 0 => "queued",
            _ => "idle",
        };
        f.write_str(state)?;
        if word & RUNNING != 0 && word & NOTIFIED != 0 {
            f.write_str(", notified")?;
        }
        if word & CANCEL != 0 {
            f.write_str(", cancelled")?;
        }
        Ok(())
    }
}
