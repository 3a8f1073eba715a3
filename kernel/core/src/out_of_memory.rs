//! When memory runs out: the greediest process gives its back.

use crate::process::{self, Process};
use crate::{executor, log};
use ::process::signal::Signal;
use ::process::wait::Change;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::sync::atomic::Ordering;

/// The adjustment with which a process is never ended.
const EXEMPT: i32 = -1000;

/// Ends the process that holds the most memory and lets it go; returns when there may be some again.
///
/// Process 1 is spared. A process that is ending already is waited for, and no second one is ended meanwhile.
pub async fn relieve() {
    let candidates: Vec<Arc<Process>> = process::TABLE.lock().processes.values().cloned().collect();
    let living = candidates.iter().filter(|candidate| !candidate.is_init());
    let mut greediest: Option<(usize, &Arc<Process>)> = None;
    for candidate in living {
        let Some(space) = candidate.space() else { continue };
        if candidate.state.lock().ending.is_some() {
            // It gives its memory back as soon as its threads have run.
            executor::yield_now().await;
            return;
        }
        let weight = weight(candidate, space.resident_pages());
        if weight > 0 && greediest.is_none_or(|(most, _)| weight > most) {
            greediest = Some((weight, candidate));
        }
    }
    if let Some((_, process)) = greediest {
        let pages = process.space().map_or(0, |space| space.resident_pages());
        log!("out of memory: killed process {} ({} KiB resident)", process.id, pages * 4);
        process.end(Change::Killed { signal: Signal::KILL, core: false });
    } else {
        log!("out of memory, and only process 1 is left");
    }
    executor::yield_now().await;
}

/// Pages that count against a process: what it holds, and the share of all memory that it was told to add or take off.
fn weight(process: &Process, pages: usize) -> usize {
    match process.memory_score_adjustment.load(Ordering::Relaxed) {
        EXEMPT => 0,
        adjustment => {
            let added = adjustment as isize * (memory::frames::total_frames() / 1000) as isize;
            // Who is not exempt can be ended, however much was taken off.
            (pages as isize + added).max(1) as usize
        }
    }
}

/// How likely the process is to be ended when memory runs out: thousandths of all memory, from 0 to 2000.
pub fn score(process: &Process) -> usize {
    let pages = process.space().map_or(0, |space| space.resident_pages());
    match weight(process, pages) {
        0 | 1 => 0,
        weight => weight * 1000 / memory::frames::total_frames().max(1),
    }
}
