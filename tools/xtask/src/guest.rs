//! Runs a machine to its end: sorts what comes over its serial line, and says how it ended.

use crate::elf::{Elf, Symbols};
use crate::frame::{Decoder, Firmware, Kind, Piece};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A lone ESC is held back this long: a frame's other bytes follow its first at once.
const HOLD: Duration = Duration::from_millis(50);
/// How long QEMU may take to end once the guest has said how it ended.
const POWER_OFF: Duration = Duration::from_secs(10);
/// When the firmware's banner has not ended after this long, everything is shown.
const LONGEST_FIRMWARE: Duration = Duration::from_secs(15);

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Process 1 exited with this status.
    Exit(u8),
    /// The kernel panicked.
    Panic,
    /// Time was up; QEMU was killed.
    Timeout,
    /// QEMU ended and the guest had not said why: QEMU's status (none: a signal) and its last words.
    Lost(Option<i32>, String),
}

/// Where what the guest says goes, and how long it may take.
pub struct Session<'a> {
    /// Program output.
    pub output: &'a mut dyn Write,
    /// The program's standard error, and panics.
    pub errors: &'a mut dyn Write,
    /// Whether the kernel's log and the firmware's banner go to `errors`, too.
    pub verbose: bool,
    /// The kernel's ELF file, for names in panics.
    pub symbols: Option<&'a Path>,
    /// Where the records of the kernel's trace go, as they come ([`abi::trace::Record`]).
    pub trace: Option<&'a mut Vec<u8>>,
    /// When time is up.
    pub deadline: Option<Instant>,
    /// Where the machine's stdin comes from.
    pub stdin: Stdio,
}

enum Message {
    Serial(Vec<u8>),
    SerialEnd,
}

struct Progress {
    decoder: Decoder,
    firmware: Firmware,
    banner: Vec<u8>,
    status: Option<u8>,
    panicked: bool,
}

impl Session<'_> {
    /// Runs `command` (QEMU) until it ends or time is up.
    pub fn run(mut self, mut command: Command) -> Result<Ending> {
        command.stdin(std::mem::replace(&mut self.stdin, Stdio::null()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start QEMU")?;
        let mut serial = child.stdout.take().expect("piped");
        let mut complaints = child.stderr.take().expect("piped");
        let (sender, receiver) = channel();
        std::thread::spawn(move || read_serial(&mut serial, &sender));
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is not shown; the exit status still tells.
            let _ = complaints.read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        let mut progress = Progress {
            decoder: Decoder::new(),
            firmware: Firmware::new(),
            banner: Vec::new(),
            status: None,
            panicked: false,
        };
        let in_time = self.follow(&receiver, &mut progress, started);
        let finished = match in_time {
            Ok(true) => wait(&mut child, POWER_OFF)?,
            _ => None,
        };
        if finished.is_none() {
            // It may end by itself at this very moment: then there is nothing to kill.
            let _ = child.kill();
            child.wait().context("cannot wait for QEMU")?;
        }
        let in_time = in_time?;
        let last_words = complaints.join().unwrap_or_default();
        Ok(match (progress.panicked, progress.status, in_time) {
            (true, _, _) => Ending::Panic,
            (_, Some(status), _) => Ending::Exit(status),
            (_, None, false) => Ending::Timeout,
            (_, None, true) => {
                self.show_banner(&mut progress)?;
                Ending::Lost(finished.and_then(|status| status.code()), last_words)
            }
        })
    }

    /// Passes on what comes until the line closes (true) or time is up (false).
    fn follow(
        &mut self,
        receiver: &Receiver<Message>,
        progress: &mut Progress,
        started: Instant,
    ) -> Result<bool> {
        loop {
            let now = Instant::now();
            let mut until = self.deadline.unwrap_or(now + Duration::from_secs(3600));
            if progress.decoder.holds() {
                until = until.min(now + HOLD);
            }
            if progress.firmware.speaks() {
                until = until.min(started + LONGEST_FIRMWARE);
            }
            match receiver.recv_timeout(until.saturating_duration_since(now)) {
                Ok(Message::Serial(bytes)) => {
                    for piece in progress.decoder.push(&bytes) {
                        self.show(piece, progress)?;
                    }
                    self.flush()?;
                }
                Ok(Message::SerialEnd) | Err(RecvTimeoutError::Disconnected) => {
                    let rest = progress.decoder.release();
                    self.show_output(&rest, progress)?;
                    self.flush()?;
                    return Ok(true);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(false);
                    }
                    if progress.firmware.speaks() && started.elapsed() >= LONGEST_FIRMWARE {
                        self.show_banner(progress)?;
                        progress.firmware.end();
                    }
                    let held = progress.decoder.release();
                    self.show_output(&held, progress)?;
                    self.flush()?;
                }
            }
        }
    }

    fn show(&mut self, piece: Piece, progress: &mut Progress) -> Result<()> {
        if matches!(piece, Piece::Frame(..)) {
            progress.firmware.end();
        }
        match piece {
            Piece::Output(bytes) => self.show_output(&bytes, progress)?,
            Piece::Frame(Kind::Stdout, bytes) => write_all(self.output, &bytes)?,
            Piece::Frame(Kind::Stderr, bytes) => write_all(self.errors, &bytes)?,
            Piece::Frame(Kind::Log, bytes) if self.verbose => self.show_text(&bytes)?,
            Piece::Frame(Kind::Log, _) => {}
            Piece::Frame(Kind::Trace, bytes) => {
                if let Some(trace) = &mut self.trace {
                    trace.extend_from_slice(&bytes);
                }
            }
            Piece::Frame(Kind::Exit, bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let status: i64 =
                    text.trim().parse().with_context(|| format!("the guest sent status `{text}`"))?;
                progress.status = Some(status as u8);
                self.expect_the_end();
            }
            Piece::Frame(Kind::Panic, bytes) => {
                progress.panicked = true;
                let text = self.named(&String::from_utf8_lossy(&bytes));
                self.show_text(text.as_bytes())?;
                self.expect_the_end();
            }
        }
        Ok(())
    }

    /// From now on the machine has only to power off.
    fn expect_the_end(&mut self) {
        let soon = Instant::now() + POWER_OFF;
        self.deadline = Some(self.deadline.map_or(soon, |deadline| deadline.min(soon)));
    }

    fn show_output(&mut self, bytes: &[u8], progress: &mut Progress) -> Result<()> {
        let banner = progress.firmware.split(bytes);
        if self.verbose {
            write_all(self.errors, &bytes[..banner])?;
        } else {
            progress.banner.extend_from_slice(&bytes[..banner]);
        }
        write_all(self.output, &bytes[banner..])
    }

    /// What was taken for the firmware's banner, when nothing else came: it may say why.
    fn show_banner(&mut self, progress: &mut Progress) -> Result<()> {
        if progress.firmware.speaks() {
            write_all(self.errors, &std::mem::take(&mut progress.banner))?;
        }
        Ok(())
    }

    fn show_text(&mut self, text: &[u8]) -> Result<()> {
        write_all(self.errors, text)?;
        if text.last().is_some_and(|last| *last != b'\n') { write_all(self.errors, b"\n") } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.output.flush().or_else(blocked)?;
        self.errors.flush().or_else(blocked)?;
        Ok(())
    }

    fn named(&self, text: &str) -> String {
        let Some(path) = self.symbols else {
            return text.to_owned();
        };
        let symbols = std::fs::read(path)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| Elf::new(&bytes)?.symbols())
            // A panic without names is better than none.
            .unwrap_or_else(|_| Symbols::default());
        symbols.annotate(text)
    }
}

fn blocked(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
}

/// Writes everything, also to a terminal that QEMU has made non-blocking for us both.
fn write_all(output: &mut dyn Write, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot pass on what the guest says"),
        }
    }
    Ok(())
}

fn read_serial(serial: &mut dyn Read, sender: &Sender<Message>) {
    let mut buffer = [0; 16384];
    loop {
        match serial.read(&mut buffer) {
            Ok(0) => break,
            // A failed send means that the session is over.
            Ok(count) if sender.send(Message::Serial(buffer[..count].to_vec())).is_ok() => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
    let _ = sender.send(Message::SerialEnd);
}

/// Waits for the child to end, but no longer than `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for QEMU")? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen {
        ending: Ending,
        output: String,
        errors: String,
    }

    /// Runs a shell script in QEMU's place.
    fn session(script: &str, verbose: bool, limit: Duration) -> Seen {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let session = Session {
            output: &mut output,
            errors: &mut errors,
            verbose,
            symbols: None,
            deadline: Some(Instant::now() + limit),
            trace: None,
            stdin: Stdio::null(),
        };
        let ending = session.run(command).unwrap();
        Seen {
            ending,
            output: String::from_utf8(output).unwrap(),
            errors: String::from_utf8(errors).unwrap(),
        }
    }

    const BOOT: &str = "printf '\\nOpenSBI v1\\nBoot HART MEDELEG : 0\\n\\033_asyncos;log;4;boot\\033\\\\';";
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_errors_and_log_are_told_apart() {
        let script = format!(
            "{BOOT} printf 'out\\n\\033_asyncos;stderr;3;err\\033\\\\\\033_asyncos;exit;2;42\\033\\\\'"
        );
        let seen = session(&script, false, LONG);
        assert_eq!(
            (seen.ending, seen.output.as_str(), seen.errors.as_str()),
            (Ending::Exit(42), "out\n", "err")
        );
        let seen = session(&script, true, LONG);
        assert_eq!(seen.output, "out\n");
        assert_eq!(seen.errors, "\nOpenSBI v1\nBoot HART MEDELEG : 0\nboot\nerr");
    }

    #[test]
    fn a_panic_is_shown_and_wins_over_a_status() {
        let seen =
            session(&format!("{BOOT} printf '\\033_asyncos;panic;4;dead\\033\\\\'; exit 125"), false, LONG);
        assert_eq!((seen.ending, seen.errors.as_str()), (Ending::Panic, "dead\n"));
    }

    #[test]
    fn a_hang_is_ended_and_an_early_end_is_noticed() {
        let seen = session(&format!("{BOOT} exec sleep 600"), false, Duration::from_millis(300));
        assert_eq!(seen.ending, Ending::Timeout);
        let seen = session("echo no kernel; echo bad option >&2; exit 1", false, LONG);
        assert_eq!(seen.ending, Ending::Lost(Some(1), "bad option".into()));
        assert_eq!(seen.errors, "no kernel\n");
    }
}
