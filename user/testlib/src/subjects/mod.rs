//! The table of subjects, in the order in which they run. A subject is a file here; a test is a row of its table.

mod children;
mod extended_attributes;
mod faults;
mod futexes;
mod interruptions;
mod limited_walks;
mod limits;
mod locks;
mod memory_files;
mod process_files;
mod pseudo_terminals;
mod readiness_signals;
mod scheduling;
mod signal_actions;
mod signal_files;
pub mod signal_queues;
mod splicing;
mod timers;
mod unix_messages;
mod unix_sockets;
mod waiting;

use crate::runner::Subject;

/// Every subject.
pub const ALL: &[Subject] = &[
    Subject { name: "signal-actions", tests: signal_actions::TESTS },
    Subject { name: "signal-queues", tests: signal_queues::TESTS },
    Subject { name: "signal-files", tests: signal_files::TESTS },
    Subject { name: "faults", tests: faults::TESTS },
    Subject { name: "interruptions", tests: interruptions::TESTS },
    Subject { name: "futexes", tests: futexes::TESTS },
    Subject { name: "scheduling", tests: scheduling::TESTS },
    Subject { name: "limits", tests: limits::TESTS },
    Subject { name: "children", tests: children::TESTS },
    Subject { name: "waiting", tests: waiting::TESTS },
    Subject { name: "readiness-signals", tests: readiness_signals::TESTS },
    Subject { name: "process-files", tests: process_files::TESTS },
    Subject { name: "timers", tests: timers::TESTS },
    Subject { name: "unix-sockets", tests: unix_sockets::TESTS },
    Subject { name: "pseudo-terminals", tests: pseudo_terminals::TESTS },
    Subject { name: "splicing", tests: splicing::TESTS },
    Subject { name: "memory-files", tests: memory_files::TESTS },
    Subject { name: "extended-attributes", tests: extended_attributes::TESTS },
    Subject { name: "limited-walks", tests: limited_walks::TESTS },
    Subject { name: "locks", tests: locks::TESTS },
    Subject { name: "unix-messages", tests: unix_messages::TESTS },
];
