//! `cargo xtask run`: boots the system, for a shell or for one program.

use crate::build::{ImageOptions, Images, build};
use crate::cpio::{Archive, Node};
use crate::guest::{Ending, Session};
use crate::qemu::{Boot, Console, DEBUGGER_PORT, Machine};
use crate::workspace::{TemporaryFolder, note, output_dir};
use crate::{setup, trace};
use anyhow::{Context, Result};
use clap::Args;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The exit status after a kernel panic, or when QEMU ended without the guest's word.
const PANIC_STATUS: u8 = 125;
/// The exit status after a hang.
const TIMEOUT_STATUS: u8 = 124;
const DEFAULT_TIMEOUT: u64 = 60;
/// When stdin has not ended after this long, a person is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    #[command(flatten)]
    image: ImageOptions,
    #[command(flatten)]
    machine: Machine,
    /// Write a trace of the run to this file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Show the kernel's log
    #[arg(short, long)]
    verbose: bool,
    /// Kill the machine after this many seconds [default: 60 with CMD, never without]
    #[arg(long, value_name = "S")]
    timeout: Option<u64>,
    /// A program to run instead of a shell; its output and exit status become ours
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl RunOptions {
    /// The machine, told to record if a trace is wanted.
    fn machine(&self) -> Machine {
        let mut machine = self.machine.clone();
        if self.trace.is_some() {
            trace::ask_for(&mut machine);
        }
        machine
    }
}

/// What the guest is to do when it has booted.
#[derive(Clone, Debug, Default)]
pub struct Errand {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE` beside the usual ones.
    pub environment: Vec<String>,
    /// Its standard input; none is the console, and that is our terminal.
    pub stdin: Option<Vec<u8>>,
    /// More files for its root: paths and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Errand {
    /// To run a command with nothing to read.
    pub fn command(words: &[&str]) -> Self {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        Self { command, stdin: Some(Vec::new()), ..Self::default() }
    }
}

/// The command; gives the exit status.
pub fn run(options: &RunOptions) -> Result<u8> {
    options.machine.check()?;
    let recorder = options.trace.as_deref().map(trace::Recorder::create).transpose()?;
    setup::qemu()?;
    let images = build(&options.image)?;
    if options.machine.gdb {
        let symbols = images.symbols.display();
        note(format_args!("gdb-multiarch -ex 'target remote :{DEBUGGER_PORT}' {symbols}"));
    }
    let mut records = recorder.is_some().then(Vec::new);
    let ending = if options.command.is_empty() {
        shell(options, &images, records.as_mut())
    } else {
        program(options, &images, records.as_mut())
    }?;
    if let (Some(recorder), Some(records)) = (recorder, records) {
        recorder.write(&records)?;
    }
    Ok(report(&ending, options.command.is_empty()))
}

/// Says what is unusual about an ending; gives the exit status that stands for it.
fn report(ending: &Ending, interactive: bool) -> u8 {
    match ending {
        Ending::Exit(status) => return *status,
        Ending::Panic => note("kernel panic"),
        Ending::Timeout => {
            note("time is up: the guest hangs or needs a longer --timeout");
            return TIMEOUT_STATUS;
        }
        // Without an errand the machine's own status is all there is: leaving QEMU by hand is no failure.
        Ending::Lost(Some(status), words) if interactive && words.is_empty() => {
            return *status as u8;
        }
        Ending::Lost(_, words) if words.is_empty() => note("QEMU ended before the program did"),
        Ending::Lost(_, words) => note(words),
    }
    PANIC_STATUS
}

fn deadline(seconds: Option<u64>) -> Option<Instant> {
    seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds))
}

fn shell(options: &RunOptions, images: &Images, trace: Option<&mut Vec<u8>>) -> Result<Ending> {
    let log = match (options.verbose, &trace) {
        // Frames carry the trace, and the log with it.
        (_, Some(_)) => "asyncos.log=framed",
        (true, None) => "asyncos.log=console",
        (false, None) => "asyncos.log=off quiet",
    };
    let append = command_line(&options.machine(), log);
    let boot = Boot { kernel: &images.kernel, initrd: Some(&images.initrd), append: &append };
    let qemu = options.machine.command(&boot, Console::Interactive)?;
    note("to leave: Ctrl-A X");
    let session = Session {
        output: &mut std::io::stdout().lock(),
        errors: &mut std::io::stderr().lock(),
        verbose: options.verbose,
        symbols: Some(&images.symbols),
        trace,
        deadline: deadline(options.timeout),
        stdin: Stdio::inherit(),
    };
    session.run(qemu)
}

fn program(options: &RunOptions, images: &Images, trace: Option<&mut Vec<u8>>) -> Result<Ending> {
    // A person who attaches a debugger takes her time.
    let default = if options.machine.gdb { None } else { Some(DEFAULT_TIMEOUT) };
    let deadline = deadline(options.timeout.or(default));
    let Some(stdin) = own_stdin(deadline)? else {
        return Ok(Ending::Timeout);
    };
    let errand = Errand { command: options.command.clone(), stdin, ..Errand::default() };
    let session = Session {
        output: &mut std::io::stdout().lock(),
        errors: &mut std::io::stderr().lock(),
        verbose: options.verbose,
        symbols: Some(&images.symbols),
        trace,
        deadline,
        stdin: if errand.stdin.is_some() { Stdio::null() } else { Stdio::inherit() },
    };
    boot_errand(images, &options.machine(), &errand, session)
}

/// Boots a machine for one program, and follows it to its end.
pub fn boot_errand(
    images: &Images,
    machine: &Machine,
    errand: &Errand,
    session: Session<'_>,
) -> Result<Ending> {
    let folder = TemporaryFolder::new(&output_dir()?)?;
    let initrd = folder.path().join("initrd.cpio");
    write_initrd(&initrd, &images.initrd, errand)?;
    let append = command_line(machine, "asyncos.log=framed");
    let boot = Boot { kernel: &images.kernel, initrd: Some(&initrd), append: &append };
    let console = if errand.stdin.is_some() { Console::Output } else { Console::Interactive };
    session.run(machine.command(&boot, console)?)
}

/// The kernel's command line.
fn command_line(machine: &Machine, log: &str) -> String {
    let mut line = format!("console=ttyS0 asyncos.realm={} {log}", machine.realm);
    if let Some(more) = &machine.append {
        line.push(' ');
        line.push_str(more);
    }
    line
}

/// The root image with a second archive after it, which the kernel unpacks over the first: what `/init` is to do.
fn write_initrd(path: &Path, base: &Path, errand: &Errand) -> Result<()> {
    let mut archive = Archive::new();
    archive.put(".asyncos/command", Node::Bytes(0o600, terminated(&errand.command)));
    if !errand.environment.is_empty() {
        archive.put(".asyncos/environment", Node::Bytes(0o600, terminated(&errand.environment)));
    }
    for (path, content) in &errand.files {
        archive.put(path, Node::Bytes(0o755, content.clone()));
    }
    match &errand.stdin {
        Some(stdin) => archive.put(".asyncos/stdin", Node::Bytes(0o600, stdin.clone())),
        None => archive.put(".asyncos/raw-output", Node::Bytes(0o600, Vec::new())),
    }
    std::fs::copy(base, path).with_context(|| format!("cannot copy {}", base.display()))?;
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    file.write_all(&bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn terminated(words: &[String]) -> Vec<u8> {
    words.iter().flat_map(|word| word.bytes().chain([0])).collect()
}

/// All of our standard input, unless it is a terminal; nothing at all when time is up before it ends.
#[expect(clippy::option_option, reason = "the outer one is time, the inner one is whether there is an input")]
fn own_stdin(deadline: Option<Instant>) -> Result<Option<Option<Vec<u8>>>> {
    if std::io::stdin().is_terminal() {
        return Ok(Some(None));
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes);
        // Nobody listens when time is up.
        let _ = sender.send(result);
    });
    let received = receiver.recv_timeout(PATIENCE).or_else(|_| {
        note("waiting for the end of standard input (take it from /dev/null if there is none)");
        let longest = Duration::from_secs(u64::from(u32::MAX));
        receiver.recv_timeout(deadline.map_or(longest, |time| time.saturating_duration_since(Instant::now())))
    });
    match received {
        Ok(Ok(bytes)) => Ok(Some(Some(bytes))),
        // A closed descriptor is an empty input.
        Ok(Err(_)) => Ok(Some(Some(Vec::new()))),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_with_nul() {
        assert_eq!(terminated(&["echo".into(), String::new(), "a b".into()]), b"echo\0\0a b\0");
    }

    #[test]
    fn the_command_line_names_realm_and_log() {
        let machine = Machine { append: Some("init=/bin/sh".into()), ..Machine::default() };
        let line = command_line(&machine, "asyncos.log=framed");
        assert_eq!(line, "console=ttyS0 asyncos.realm=auto asyncos.log=framed init=/bin/sh");
    }

    #[test]
    fn endings_have_their_statuses() {
        assert_eq!(report(&Ending::Exit(3), false), 3);
        assert_eq!(report(&Ending::Panic, false), 125);
        assert_eq!(report(&Ending::Timeout, false), 124);
        assert_eq!(report(&Ending::Lost(Some(0), String::new()), false), 125);
        assert_eq!(report(&Ending::Lost(Some(0), String::new()), true), 0);
    }
}
