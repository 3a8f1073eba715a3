//! The table of subjects, in the order in which they run. A subject is a file here; a test is a row of its table.

mod signal_actions;
mod timers;

use crate::runner::Subject;

/// Every subject.
pub const ALL: &[Subject] = &[
    Subject { name: "signal-actions", tests: signal_actions::TESTS },
    Subject { name: "timers", tests: timers::TESTS },
];
