//! The table of subjects, in the order in which they run. A subject is a file here; a test is a row of its table.

mod signal_actions;

use crate::runner::Subject;

/// Every subject.
pub const ALL: &[Subject] = &[Subject { name: "signal-actions", tests: signal_actions::TESTS }];
