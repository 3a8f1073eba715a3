//! The user-mode test library: what passes on Linux must pass here. `testlib [FILTER]` runs it by hand.

mod check;
mod handling;
mod runner;
mod socket;
mod subjects;

use runner::Runner;
use std::process::ExitCode;

/// Runs every test whose `subject/name` contains the filter; success only when there was one and all passed.
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    if filter == "--signals" {
        subjects::signal_queues::say_signals();
        return ExitCode::SUCCESS;
    }
    if arguments.next().is_some() || filter.starts_with('-') {
        eprintln!("usage: testlib [FILTER]");
        return ExitCode::from(2);
    }
    let mut runner = match Runner::new() {
        Ok(runner) => runner,
        Err(error) => {
            eprintln!("testlib: cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    for subject in subjects::ALL {
        for test in
            subject.tests.iter().filter(|test| format!("{}/{}", subject.name, test.name).contains(&filter))
        {
            runner.run(subject.name, test);
        }
    }
    runner.finish()
}
