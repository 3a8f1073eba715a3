//! Waiting for children: what there is to tell of them, and letting go of those that have ended.

use crate::process::{Process, TABLE};
use ::process::signal::Signal;
use ::process::wait::{Change, Options, Target, Usage};
use alloc::sync::Arc;
use base::sync::atomic::Ordering;

/// What a wait is about.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Which children.
    pub target: Target,
    /// Which of their changes, and how to wait.
    pub options: Options,
    /// The thread that asks.
    pub thread: u32,
}

/// What a wait found out about a child.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The child.
    pub pid: u32,
    /// Its real user.
    pub user: u32,
    /// What became of it.
    pub change: Change,
    /// What it used, its own reaped children included.
    pub usage: Usage,
}

/// What a look at the children came to.
pub enum Found {
    /// Something to tell. Whatever is left of the child is to be dropped without a lock.
    Report(Report, Option<Arc<Process>>),
    /// There are such children, and nothing to tell of them.
    NotYet,
    /// There are no such children.
    NoChild,
}

fn is_meant(child: &Process, request: &Request) -> bool {
    let by_clone = child.exit_signal.load(Ordering::Relaxed) != u32::from(Signal::CHLD.number());
    let of_kind =
        request.options.contains(Options::ALL) || by_clone == request.options.contains(Options::CLONE);
    let of_thread = !request.options.contains(Options::NO_THREAD)
        || child.creator.load(Ordering::Relaxed) == request.thread;
    of_kind && of_thread
}

/// Looks for a child with something to tell; takes what it tells, unless the options say otherwise.
pub fn look(parent: &Process, request: &Request) -> Found {
    let mut table = TABLE.lock();
    let mut state = parent.state.lock();
    let mut any = false;
    let mut found = None;
    for (index, child) in state.children.iter().enumerate() {
        let group = match request.target {
            Target::Group(_) => table.identifiers.group(child.id).unwrap_or(0),
            _ => 0,
        };
        if !request.target.matches(child.id, group) || !is_meant(child, request) {
            continue;
        }
        any = true;
        if child.waitable.load(Ordering::Acquire)
            && let Some(report) = tell(child, request.options)
        {
            found = Some((index, report));
            break;
        }
    }
    let Some((index, report)) = found else { return if any { Found::NotYet } else { Found::NoChild } };
    if !report.change.is_end() || request.options.contains(Options::NO_WAIT) {
        return Found::Report(report, None);
    }
    let child = state.children.swap_remove(index);
    state.children_usage.add(&report.usage);
    drop(state);
    let child = table.remove_process(&child);
    Found::Report(report, Some(child))
}

/// What a child has to tell a wait with these options. A stop or continuation is told once; an end stays to be told
/// until the child is removed.
fn tell(child: &Arc<Process>, options: Options) -> Option<Report> {
    let report = |change| Report { pid: child.id, user: child.user(), change, usage: child.total_usage() };
    let ended = {
        let state = child.state.lock();
        state.ending.filter(|_| state.zombie)
    };
    if let Some(change) = ended {
        return options.contains(Options::EXITED).then(|| report(change));
    }
    let mut shared = child.signals.lock();
    let keep = options.contains(Options::NO_WAIT);
    let mut change = None;
    if options.contains(Options::STOPPED) {
        let stopped = if keep { shared.job.stopped_unreported() } else { shared.job.take_stopped() };
        change = stopped.map(Change::Stopped);
    }
    if change.is_none() && options.contains(Options::CONTINUED) {
        let continued = if keep { shared.job.continued_unreported() } else { shared.job.take_continued() };
        change = continued.then_some(Change::Continued);
    }
    drop(shared);
    change.map(report)
}
