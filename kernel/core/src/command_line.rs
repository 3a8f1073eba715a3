//! The kernel's command line, from the device tree's `/chosen`: our own options, and those of Linux that matter.
//!
//! `console=`, `quiet`, `root=` and everything else that a Linux takes and that has no meaning here is accepted and passed
//! over, as Linux does with what it does not know; words without a dot go to process 1, as on Linux.

use alloc::string::String;
use alloc::vec::Vec;

/// Where the kernel's log goes besides its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogMode {
    /// Nowhere.
    Off,
    /// To the console as it is.
    Console,
    /// To the console, each line in a frame that `cargo xtask run` takes out again.
    Framed,
}

/// The most records of a trace for each hart (128 MiB).
const TRACE_MAX: usize = 1 << 22;

/// In which realm programs start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealmPolicy {
    /// In the direct one, until a program asks for what only the isolated one has.
    Automatic,
    /// In the direct one.
    Direct,
    /// In the isolated one where the harts have H.
    Isolated,
}

/// What the kernel was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// `asyncos.log=off|console|framed`; `quiet` means `off` where it is not given.
    pub log: LogMode,
    /// `asyncos.realm=auto|direct|isolated`.
    pub realm: RealmPolicy,
    /// `asyncos.trace=N`: record what happens, the last N events of each hart; 0 records nothing.
    pub trace_records: usize,
    /// `asyncos.selftest`: run the kernel's own tests instead of process 1.
    pub selftest: bool,
    /// `rdinit=`, or else `init=`: the program that becomes process 1.
    pub init: Option<String>,
    /// Arguments of process 1: what stands behind `--`.
    pub init_arguments: Vec<String>,
    /// Environment of process 1: words of the form `name=value` that nobody else takes.
    pub init_environment: Vec<String>,
    /// Words that begin with `asyncos.` and mean nothing, for the log.
    pub unknown: Vec<String>,
}

impl Options {
    /// Reads the command line; an option with a bad value is reported as unknown and keeps its default.
    pub fn parse(line: &str) -> Options {
        let mut options = Options {
            log: LogMode::Console,
            realm: RealmPolicy::Automatic,
            trace_records: 0,
            selftest: false,
            init: None,
            init_arguments: Vec::new(),
            init_environment: Vec::new(),
            unknown: Vec::new(),
        };
        let mut words = line.split_ascii_whitespace();
        let mut quiet = false;
        let mut log = None;
        for word in words.by_ref() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match (name, value) {
                ("--", "") => break,
                ("quiet", "") => quiet = true,
                ("asyncos.log", "off") => log = Some(LogMode::Off),
                ("asyncos.log", "console") => log = Some(LogMode::Console),
                ("asyncos.log", "framed") => log = Some(LogMode::Framed),
                ("asyncos.realm", "auto") => options.realm = RealmPolicy::Automatic,
                ("asyncos.realm", "direct") => options.realm = RealmPolicy::Direct,
                ("asyncos.realm", "isolated") => options.realm = RealmPolicy::Isolated,
                ("asyncos.trace", count) if count.parse::<usize>().is_ok_and(|count| count <= TRACE_MAX) => {
                    options.trace_records = count.parse().unwrap_or(0);
                }
                ("asyncos.selftest", "") => options.selftest = true,
                ("rdinit", path) => options.init = Some(path.into()),
                ("init", path) => options.init = options.init.or_else(|| Some(path.into())),
                _ if name.starts_with("asyncos.") => options.unknown.push(word.into()),
                // Linux's own parameters with a dot belong to modules; others with a value are the environment.
                ("console" | "root" | "ro" | "rw" | "rootfstype" | "earlycon", _) => {}
                _ if name.contains('.') => {}
                (_, "") => {}
                _ => options.init_environment.push(word.into()),
            }
        }
        options.init_arguments = words.map(String::from).collect();
        options.log = log.unwrap_or(if quiet { LogMode::Off } else { LogMode::Console });
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_ours_and_linux_s_and_passes_the_rest_to_process_1() {
        let options = Options::parse(
            "console=ttyS0 quiet asyncos.realm=isolated TERM=xterm init=/a rdinit=/b asyncos.x=1 kfence.y=2 -- run me",
        );
        assert_eq!(options.log, LogMode::Off);
        assert_eq!(options.realm, RealmPolicy::Isolated);
        assert_eq!(options.init.as_deref(), Some("/b"));
        assert_eq!(options.init_environment, ["TERM=xterm"]);
        assert_eq!(options.init_arguments, ["run", "me"]);
        assert_eq!(options.unknown, ["asyncos.x=1"]);
    }

    #[test]
    fn a_bad_value_is_reported_and_changes_nothing() {
        let options = Options::parse("asyncos.log=loud");
        assert_eq!(
            (options.log, options.unknown.as_slice()),
            (LogMode::Console, &["asyncos.log=loud".into()][..])
        );
    }
}
