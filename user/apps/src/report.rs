//! The report of a test program: a line per check as TAP has it, and a summary that scripts can read.

use std::fmt::Debug;
use std::process::ExitCode;

use crate::system::Errno;

/// Counts and prints the checks of one program.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// An empty report.
    pub fn new() -> Report {
        Report::default()
    }

    /// Records one check; `detail` is only asked for when it failed.
    pub fn check(&mut self, name: &str, holds: bool, detail: impl FnOnce() -> String) {
        let number = self.passed + self.failed + 1;
        if holds {
            self.passed += 1;
            println!("ok {number} {name}");
        } else {
            self.failed += 1;
            println!("not ok {number} {name}: {}", detail());
        }
    }

    /// Checks that `holds` is true, where there is nothing more to say.
    pub fn holds(&mut self, name: &str, holds: bool) {
        self.check(name, holds, || "does not hold".to_string());
    }

    /// Checks that two values are equal and prints both when they are not.
    pub fn equal<T: PartialEq + Debug>(&mut self, name: &str, got: T, wanted: T) {
        let equal = got == wanted;
        self.check(name, equal, || format!("got {got:?}, wanted {wanted:?}"));
    }

    /// Checks that a call failed with exactly this errno value.
    pub fn fails<T: Debug>(&mut self, name: &str, got: Result<T, Errno>, wanted: i32) {
        let matches = matches!(&got, Err(Errno(number)) if *number == wanted);
        self.check(name, matches, || format!("got {got:?}, wanted Err({:?})", Errno(wanted)));
    }

    /// Checks that a call succeeded, and hands on its value.
    pub fn succeeds<T: Debug>(&mut self, name: &str, got: Result<T, Errno>) -> Option<T> {
        self.check(name, got.is_ok(), || format!("got {:?}", got.as_ref().err()));
        got.ok()
    }

    /// A remark that is no check.
    pub fn remark(&self, text: &str) {
        println!("# {text}");
    }

    /// Prints the summary; success only when every check passed and there was at least one.
    pub fn finish(self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
