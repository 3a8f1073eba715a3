//! When memory runs out: the greediest process gives its back.

use crate::process::{self, Process};
use crate::{executor, log};
use ::process::signal::Signal;
use ::process::wait::Change;
use alloc::sync::Arc;
use alloc::vec::Vec;

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
        let pages = space.resident_pages();
        if greediest.is_none_or(|(most, _)| pages > most) {
            greediest = Some((pages, candidate));
        }
    }
    if let Some((pages, process)) = greediest {
        log!("out of memory: killed process {} ({} KiB resident)", process.id, pages * 4);
        process.end(Change::Killed { signal: Signal::KILL, core: false });
    } else {
        log!("out of memory, and only process 1 is left");
    }
    executor::yield_now().await;
}
