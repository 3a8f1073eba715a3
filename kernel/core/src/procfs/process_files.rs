//! The contents of `/proc/PID/*`.

use super::subject::{self, Subject};
use super::{line, memory_files, mounts, part};
use crate::process::{Process, traits};
use crate::thread::Thread;
use crate::{hart, terminal_device};
use ::process::capabilities::CapabilitySets;
use ::process::limits::{INFINITY, Resource};
use ::process::signal::{Disposition, Signal, SignalSet};
use ::process::wait::Usage;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::operation::Operation;
use base::sync::atomic::Ordering;
use base::{Error, Result};
use memory::space::AddressSpace;
use vfs::synthetic::Content;

/// Nanoseconds in a tick as programs count them: `sysconf(_SC_CLK_TCK)` is 100.
pub const TICK_NS: u64 = 10_000_000;

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// `stat`
    Stat,
    /// `status`
    Status,
    /// `statm`
    MemoryPages,
    /// `cmdline`
    CommandLine,
    /// `comm`
    Name,
    /// `environ`
    Environment,
    /// `auxv`
    Auxiliary,
    /// `maps`
    Maps,
    /// `smaps`
    DetailedMaps,
    /// `limits`
    Limits,
    /// `mounts`
    Mounts,
    /// `mountinfo`
    MountInformation,
    /// `oom_score`
    Score,
    /// `oom_score_adj`
    ScoreAdjustment,
    /// `wchan`
    WaitChannel,
    /// `personality`
    Personality,
}

/// The content of one such file.
pub struct ReportContent {
    /// Whom it is about.
    pub subject: Subject,
    /// Which file it is.
    pub report: Report,
}

impl ReportContent {
    async fn write(&self, text: &mut Vec<u8>) -> Result<()> {
        let process = self.subject.process()?;
        let thread = self.subject.thread(&process)?;
        match self.report {
            Report::Stat => stat(&self.subject, &process, thread.as_deref(), text).await,
            Report::Status => status(&self.subject, &process, thread.as_deref(), text).await,
            Report::MemoryPages => memory_files::pages(&process, text).await?,
            Report::CommandLine => {
                memory_files::strings(&process, memory_files::Strings::Arguments, text).await?
            }
            Report::Name => {
                text.extend_from_slice(&name(&process, thread.as_deref()));
                text.push(b'\n');
            }
            Report::Limits => limits(&process, text),
            Report::Mounts => mounts::mounts(&process, text),
            Report::MountInformation => mounts::mount_information(&process, text),
            Report::Score => line!(text, "{}", crate::out_of_memory::score(&process)),
            Report::ScoreAdjustment => {
                line!(text, "{}", process.memory_score_adjustment.load(Ordering::Relaxed))
            }
            // What a coroutine waits for has no name.
            Report::WaitChannel => text.push(b'0'),
            Report::Personality => {
                subject::check_inspection(&process)?;
                line!(text, "{:08x}", process.personality.load(Ordering::Relaxed));
            }
            Report::Environment | Report::Auxiliary | Report::Maps | Report::DetailedMaps => {
                subject::check_inspection(&process)?;
                self.write_protected(&process, text).await?;
            }
        }
        Ok(())
    }

    async fn write_protected(&self, process: &Process, text: &mut Vec<u8>) -> Result<()> {
        match self.report {
            Report::Environment => {
                memory_files::strings(process, memory_files::Strings::Environment, text).await?
            }
            Report::Auxiliary => {
                let auxiliary = process.state.lock().auxiliary.clone();
                for (kind, value) in auxiliary {
                    text.extend_from_slice(&kind.to_le_bytes());
                    text.extend_from_slice(&value.to_le_bytes());
                }
            }
            Report::Maps => memory_files::maps(process, text).await?,
            _ => memory_files::detailed_maps(process, text).await?,
        }
        Ok(())
    }
}

impl Content for ReportContent {
    fn generate<'a>(&'a self, text: &'a mut Vec<u8>) -> Operation<'a, Result<()>> {
        Operation::pending(self.write(text))
    }

    fn store<'a>(&'a self, bytes: &'a [u8]) -> Operation<'a, Result<()>> {
        Operation::Ready(match self.report {
            Report::Name => self.rename(bytes),
            Report::ScoreAdjustment => self.adjust_score(bytes),
            _ => Err(Error::InvalidArgument),
        })
    }
}

impl ReportContent {
    /// `comm`: only the process's own threads may do that.
    fn rename(&self, bytes: &[u8]) -> Result<()> {
        let process = self.subject.process()?;
        let thread = self.subject.thread(&process)?.ok_or(Error::NoSuchProcess)?;
        if subject::current_process()?.id != process.id {
            return Err(Error::InvalidArgument);
        }
        let mut name = [0; 16];
        let count = bytes.len().min(15);
        name[..count].copy_from_slice(&bytes[..count]);
        *thread.name.lock() = name;
        Ok(())
    }

    /// `oom_score_adj`: lowering it takes a capability.
    fn adjust_score(&self, bytes: &[u8]) -> Result<()> {
        let process = self.subject.process()?;
        let value: i32 = super::settings::parse(bytes)?;
        if !(-1000..=1000).contains(&value) {
            return Err(Error::InvalidArgument);
        }
        let asker = subject::current_process()?.identity();
        let lowers = value < process.memory_score_adjustment.load(Ordering::Relaxed);
        if lowers && !asker.credentials.has(::process::credentials::Capability::Resource) {
            return Err(Error::AccessDenied);
        }
        process.memory_score_adjustment.store(value, Ordering::Relaxed);
        Ok(())
    }
}

/// The ids of the living threads.
pub fn thread_ids(process: &Process) -> Vec<u32> {
    process.state.lock().threads.iter().map(|thread| thread.id()).collect()
}

/// A thread's name, without its padding; where the first thread has ended, another's.
fn name(process: &Process, thread: Option<&Thread>) -> Vec<u8> {
    let other = process.state.lock().threads.first().cloned();
    let bytes = match (thread, &other) {
        (Some(thread), _) => *thread.name.lock(),
        (None, Some(other)) => *other.name.lock(),
        (None, None) => *process.last_name.lock(),
    };
    bytes.iter().copied().take_while(|byte| *byte != 0).collect()
}

/// What a thread does, as `stat` shows it, and in words.
fn activity(process: &Process, thread: Option<&Thread>) -> (char, &'static str) {
    let Some(thread) = thread else { return ('Z', "zombie") };
    let stopped = process.signals.lock().job.is_stopped();
    let waits = thread.task().is_none_or(|task| task.state().is_waiting());
    match (waits, stopped) {
        (false, _) => ('R', "running"),
        (true, true) => ('T', "stopped"),
        (true, false) => ('S', "sleeping"),
    }
}

/// The signals of a process or thread, as both `stat` and `status` show them.
#[derive(Default)]
struct SignalReport {
    own: u64,
    shared: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl SignalReport {
    fn of(process: &Process, thread: Option<&Thread>) -> Self {
        let shared = process.signals.lock();
        let mut report = Self { shared: shared.pending.set().bits(), ..Self::default() };
        if let Some(thread) = thread {
            let own = thread.signals.lock();
            (report.own, report.blocked) = (own.pending.set().bits(), own.mask.bits());
        }
        let actions = shared.actions.lock();
        let (mut ignored, mut caught) = (SignalSet::EMPTY, SignalSet::EMPTY);
        for signal in SignalSet::ALL.iter() {
            match actions.get(signal).disposition() {
                Disposition::Ignore => ignored.insert(signal),
                Disposition::Handler(_) => caught.insert(signal),
                Disposition::Default => {}
            }
        }
        (report.ignored, report.caught) = (ignored.bits(), caught.bits());
        report
    }
}

/// Who a process is related to.
struct Relations {
    parent: u32,
    group: u32,
    session: u32,
    /// The controlling terminal's number and its foreground group.
    terminal: (u64, i64),
}

impl Relations {
    fn of(process: &Process) -> Self {
        let (group, session) = {
            let table = crate::process::TABLE.lock();
            (table.identifiers.group(process.id), table.identifiers.session(process.id))
        };
        let terminal = terminal_device::controlling_terminal(process);
        Self {
            parent: process.parent_id.load(Ordering::Relaxed),
            group: group.unwrap_or(0),
            session: session.unwrap_or(0),
            terminal: terminal
                .map_or((0, -1), |device| (device.number.0, i64::from(device.terminal.foreground()))),
        }
    }
}

/// What is used of the CPU, by the thread alone where it is about one.
fn usage(subject: &Subject, process: &Process, thread: Option<&Thread>) -> Usage {
    match (subject.thread, thread) {
        (Some(_), Some(thread)) => {
            let (user_ns, system_ns) = thread.times();
            Usage { user_ns, system_ns, ..Usage::default() }
        }
        _ => process.usage(),
    }
}

async fn stat(subject: &Subject, process: &Process, thread: Option<&Thread>, text: &mut Vec<u8>) {
    let relations = Relations::of(process);
    let used = usage(subject, process, thread);
    let (children, thread_count, range) = {
        let state = process.state.lock();
        (state.children_usage, state.threads.len(), (state.arguments.clone(), state.environment.clone()))
    };
    let (size, resident) = match process.space() {
        Some(space) => (space.mapped_bytes().await.0, space.resident_pages()),
        None => (0, 0),
    };
    let nice = thread.map_or(0, |thread| thread.nice.load(Ordering::Relaxed));
    let limit = process.limits.lock().soft(Resource::ResidentSet);
    let signals = SignalReport::of(process, thread);
    part!(text, "{} (", subject.thread.unwrap_or(process.id));
    text.extend_from_slice(&name(process, thread));
    part!(
        text,
        ") {} {} {} {} ",
        activity(process, thread).0,
        relations.parent,
        relations.group,
        relations.session
    );
    part!(text, "{} {} 0 ", relations.terminal.0, relations.terminal.1);
    part!(
        text,
        "{} {} {} {} ",
        used.minor_faults,
        children.minor_faults,
        used.major_faults,
        children.major_faults
    );
    part!(text, "{} {} ", used.user_ns / TICK_NS, used.system_ns / TICK_NS);
    part!(text, "{} {} ", children.user_ns / TICK_NS, children.system_ns / TICK_NS);
    let (policy, parameter) = thread.map_or((0, 0), Thread::policy);
    // Real-time priorities show as numbers below zero.
    let priority = if parameter > 0 { -1 - parameter } else { 20 + nice };
    part!(text, "{priority} {nice} {thread_count} 0 {} ", process.started_ns / TICK_NS);
    part!(text, "{size} {resident} {limit} ");
    // Where code and stack are, the stack pointer and the program counter: Linux too shows nothing for a running program.
    part!(text, "0 0 0 0 0 ");
    // The signals as 32-bit sets, as they were of old; `status` has them whole.
    let narrow = |bits: u64| bits & 0x7fff_ffff;
    part!(text, "{} {} ", narrow(signals.own | signals.shared), narrow(signals.blocked));
    part!(text, "{} {} ", narrow(signals.ignored), narrow(signals.caught));
    let exit_signal = process.exit_signal.load(Ordering::Relaxed);
    part!(text, "0 0 0 {exit_signal} 0 {parameter} {policy} 0 0 0 ");
    let (arguments, environment) = range;
    part!(text, "0 0 0 {} {} ", arguments.start.value(), arguments.end.value());
    line!(text, "{} {} 0", environment.start.value(), environment.end.value());
}

async fn status(subject: &Subject, process: &Process, thread: Option<&Thread>, text: &mut Vec<u8>) {
    let identity = process.identity();
    let credentials = &identity.credentials;
    let (letter, word) = activity(process, thread);
    text.extend_from_slice(b"Name:\t");
    text.extend_from_slice(&name(process, thread));
    line!(text, "\nUmask:\t{:04o}", process.place().umask);
    line!(text, "State:\t{letter} ({word})");
    line!(text, "Tgid:\t{}\nNgid:\t0", process.id);
    line!(text, "Pid:\t{}", subject.thread.unwrap_or(process.id));
    line!(text, "PPid:\t{}\nTracerPid:\t0", process.parent_id.load(Ordering::Relaxed));
    for (label, ids) in [("Uid", credentials.user), ("Gid", credentials.group)] {
        line!(text, "{label}:\t{}\t{}\t{}\t{}", ids.real, ids.effective, ids.saved, ids.filesystem);
    }
    let (files, thread_count) = {
        let state = process.state.lock();
        (state.files.clone(), state.threads.len())
    };
    line!(text, "FDSize:\t{}", files.map_or(0, |files| files.count().next_multiple_of(64)));
    text.extend_from_slice(b"Groups:\t");
    for group in credentials.groups() {
        part!(text, "{group} ");
    }
    text.push(b'\n');
    line!(text, "Kthread:\t0");
    if let Some(space) = process.space() {
        memory_status(&space, text).await;
    }
    line!(text, "Threads:\t{thread_count}");
    let limit = process.limits.lock().soft(Resource::PendingSignals);
    line!(text, "SigQ:\t{}/{limit}", identity.user.signals.queued());
    let signals = SignalReport::of(process, thread);
    line!(text, "SigPnd:\t{:016x}\nShdPnd:\t{:016x}", signals.own, signals.shared);
    line!(text, "SigBlk:\t{:016x}", signals.blocked);
    line!(text, "SigIgn:\t{:016x}\nSigCgt:\t{:016x}", signals.ignored, signals.caught);
    let CapabilitySets { effective, permitted, inheritable } = credentials.capabilities;
    line!(text, "CapInh:\t{inheritable:016x}\nCapPrm:\t{permitted:016x}\nCapEff:\t{effective:016x}");
    line!(text, "CapBnd:\t{:016x}\nCapAmb:\t{:016x}", ::process::credentials::ALL_CAPABILITIES, 0);
    let no_privileges = process.traits.load(Ordering::Relaxed) & traits::NO_NEW_PRIVILEGES != 0;
    line!(text, "NoNewPrivs:\t{}\nSeccomp:\t0", u8::from(no_privileges));
    let online = hart::online().len();
    let allowed =
        thread.and_then(Thread::task).map_or(u64::MAX, |task| task.allowed_harts()) & ((1 << online) - 1);
    line!(text, "Cpus_allowed:\t{allowed:x}");
    text.extend_from_slice(b"Cpus_allowed_list:\t");
    super::system_files::write_set(allowed, text);
    let used = process.usage();
    line!(text, "\nvoluntary_ctxt_switches:\t{}", used.voluntary_switches);
    line!(text, "nonvoluntary_ctxt_switches:\t{}", used.involuntary_switches);
}

async fn memory_status(space: &Arc<AddressSpace>, text: &mut Vec<u8>) {
    let (mapped, data) = space.mapped_bytes().await;
    let kib = |bytes: usize| bytes / 1024;
    let summary = memory_files::Summary::of(space).await.unwrap_or_default();
    line!(text, "VmPeak:\t{:8} kB\nVmSize:\t{:8} kB", kib(mapped), kib(mapped));
    line!(text, "VmLck:\t{:8} kB\nVmPin:\t{:8} kB", kib(summary.locked), 0);
    line!(
        text,
        "VmHWM:\t{:8} kB\nVmRSS:\t{:8} kB",
        space.peak_resident_pages() * 4,
        space.resident_pages() * 4
    );
    line!(
        text,
        "RssAnon:\t{:8} kB\nRssFile:\t{:8} kB",
        summary.resident_anonymous * 4,
        summary.resident_files * 4
    );
    line!(text, "RssShmem:\t{:8} kB", summary.resident_shared * 4);
    line!(text, "VmData:\t{:8} kB\nVmStk:\t{:8} kB", kib(data), kib(summary.stack));
    line!(text, "VmExe:\t{:8} kB\nVmLib:\t{:8} kB", kib(summary.code), 0);
    line!(text, "VmPTE:\t{:8} kB\nVmSwap:\t{:8} kB", space.table_frames() * 4, 0);
}

fn limits(process: &Process, text: &mut Vec<u8>) {
    let limits = process.limits.lock().clone();
    line!(text, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units");
    for resource in Resource::ALL {
        let (name, unit) = resource.name_and_unit();
        let limit = limits.get(resource);
        part!(text, "{name:<25} ");
        for value in [limit.soft, limit.hard] {
            match value {
                INFINITY => part!(text, "{:<20} ", "unlimited"),
                value => part!(text, "{value:<20} "),
            }
        }
        if unit.is_empty() {
            text.push(b'\n');
        } else {
            line!(text, "{unit:<10}");
        }
    }
}

/// Signals are numbered from 1 to this.
const _: () = assert!(Signal::LAST as u32 == u64::BITS);
