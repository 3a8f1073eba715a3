//! The decisions of an executor, as functions of what it knows. No state, no clock, no hardware.

use base::task::Priority;

/// Whether what runs must make room at once: something strictly more important is ready on its hart.
#[inline]
pub fn should_preempt(running: Priority, best_ready: Option<Priority>) -> bool {
    best_ready.is_some_and(|ready| ready.is_above(running))
}

/// Whether a time slice must be armed: an equal waits behind what runs. With nobody equal, the hart runs without a tick.
#[inline]
pub fn time_slice_needed(running: Priority, best_ready: Option<Priority>) -> bool {
    best_ready == Some(running)
}

/// What a hart looks like from outside, read without its lock: a hint that may be out of date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HartView {
    /// Of what runs there; `None` when it is idle.
    pub running: Option<Priority>,
    /// Of the best that is ready there.
    pub best_ready: Option<Priority>,
    /// How many are ready there.
    pub ready_count: usize,
}

/// Whom an idle hart `thief` should steal from: the hart where the most important coroutine waits; among equals the one
/// with the longest queue, then the next after the thief, so that several thieves spread out. `None`: nobody has any.
pub fn choose_victim(thief: usize, harts: &[HartView]) -> Option<usize> {
    let distance = |hart: usize| (hart + harts.len() - thief) % harts.len();
    let candidates = harts.iter().enumerate().filter(|(hart, _)| *hart != thief);
    candidates
        .filter_map(|(hart, view)| {
            view.best_ready.map(|best| (best, usize::MAX - view.ready_count, distance(hart), hart))
        })
        .min()
        .map(|(_, _, _, hart)| hart)
}

/// Where a woken coroutine goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The hart that gets it.
    pub hart: usize,
    /// Whether that hart must be told: it idles, or runs something less important.
    pub notify: bool,
}

/// Where to queue a woken coroutine of `priority` that ran last on `last`, when the waker runs on `here`.
///
/// In this order: its last hart, if it would run there at once (its cache is warm); an idle hart; the waker's own hart,
/// if it would run there at once; the hart that runs the least important thing, if it is less important; else its last
/// hart, where it waits.
pub fn choose_target(priority: Priority, last: usize, here: usize, harts: &[HartView]) -> Target {
    let runs_at_once = |hart: usize| {
        harts.get(hart).is_some_and(|view| {
            view.running.is_none_or(|running| priority.is_above(running))
                && view.best_ready.is_none_or(|ready| priority.is_above(ready))
        })
    };
    if runs_at_once(last) {
        return Target { hart: last, notify: true };
    }
    let idle = harts.iter().position(|view| view.running.is_none() && view.ready_count == 0);
    if let Some(hart) = idle {
        return Target { hart, notify: true };
    }
    if runs_at_once(here) {
        return Target { hart: here, notify: true };
    }
    let least = (0..harts.len()).filter(|hart| runs_at_once(*hart)).max_by_key(|hart| harts[*hart].running);
    match least {
        Some(hart) => Target { hart, notify: true },
        None => Target { hart: last, notify: false },
    }
}

#[cfg(test)]
mod tests;
