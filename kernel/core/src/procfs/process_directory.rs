//! `/proc/PID` and `/proc/PID/task/TID`: which entries there are, made when somebody asks for them.

use super::descriptors::{DescriptorFiles, DescriptorLinks};
use super::process_files::{self, Report, ReportContent};
use super::subject::{self, Subject};
use crate::process::{self, Process};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Error, Result};
use core::ops::ControlFlow;
use vfs::inode::{DirectoryEntry, EntryVisitor};
use vfs::synthetic::{
    Entries, FIRST_DYNAMIC_COOKIE, Node, Origin, SyntheticDirectory, SyntheticFile, SyntheticLink,
};
use vfs::{FileKind, Inode, LinkTarget, Location};

/// The number of the directory itself among its subject's nodes; the entries' follow.
const DIRECTORY: u64 = 0;
/// The `task` directory's entries are numbered as the threads' own directories.
const FIRST_ENTRY: u64 = 1;

/// What an entry is.
#[derive(Clone, Copy)]
enum Kind {
    /// Text.
    File(Report),
    /// A link to what this gives.
    Link(fn(&Process) -> Option<Location>),
    /// The descriptors, as links.
    Descriptors,
    /// What is to be said about them.
    DescriptorInformation,
    /// The threads.
    Threads,
}

/// An entry of every process's directory.
struct Entry {
    name: &'static str,
    permissions: u16,
    kind: Kind,
}

const fn file(name: &'static str, permissions: u16, report: Report) -> Entry {
    Entry { name, permissions, kind: Kind::File(report) }
}

/// What a thread's directory has, and a process's too.
const ENTRIES: &[Entry] = &[
    file("stat", 0o444, Report::Stat),
    file("status", 0o444, Report::Status),
    file("statm", 0o444, Report::MemoryPages),
    file("cmdline", 0o444, Report::CommandLine),
    file("comm", 0o644, Report::Name),
    file("environ", 0o400, Report::Environment),
    file("auxv", 0o400, Report::Auxiliary),
    file("maps", 0o444, Report::Maps),
    file("smaps", 0o444, Report::DetailedMaps),
    file("limits", 0o444, Report::Limits),
    file("mounts", 0o444, Report::Mounts),
    file("mountinfo", 0o444, Report::MountInformation),
    file("oom_score", 0o444, Report::Score),
    file("oom_score_adj", 0o644, Report::ScoreAdjustment),
    file("wchan", 0o444, Report::WaitChannel),
    file("personality", 0o400, Report::Personality),
    Entry { name: "exe", permissions: 0o777, kind: Kind::Link(executable) },
    Entry { name: "cwd", permissions: 0o777, kind: Kind::Link(current_directory) },
    Entry { name: "root", permissions: 0o777, kind: Kind::Link(root_directory) },
    Entry { name: "fd", permissions: 0o500, kind: Kind::Descriptors },
    Entry { name: "fdinfo", permissions: 0o555, kind: Kind::DescriptorInformation },
    // The last one: a thread's directory has all but this.
    Entry { name: "task", permissions: 0o555, kind: Kind::Threads },
];

fn executable(process: &Process) -> Option<Location> {
    process.state.lock().executable.clone()
}

fn current_directory(process: &Process) -> Option<Location> {
    process.space().map(|_| process.place().current)
}

fn root_directory(process: &Process) -> Option<Location> {
    process.space().map(|_| process.place().root)
}

impl Kind {
    fn file_kind(self) -> FileKind {
        match self {
            Kind::File(_) => FileKind::Regular,
            Kind::Link(_) => FileKind::SymbolicLink,
            Kind::Descriptors | Kind::DescriptorInformation | Kind::Threads => FileKind::Directory,
        }
    }
}

/// A number in decimal digits without leading zeros, as a name of a directory of numbers.
pub fn parse_number(name: &[u8]) -> Option<u32> {
    let canonical = name == b"0" || !name.starts_with(b"0");
    if !canonical || !name.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(name).ok()?.parse().ok()
}

/// The directories of all processes, at the top.
pub struct Processes {
    origin: Arc<Origin>,
}

impl Processes {
    /// The entries for a new root.
    pub fn new(origin: Arc<Origin>) -> Self {
        Self { origin }
    }
}

impl Entries for Processes {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let id = parse_number(name).ok_or(Error::NotFound)?;
        // A thread's id finds its process's directory too, which is not listed under it.
        let process =
            process::find(id).or_else(|| process::find_thread(id).map(|thread| thread.process.clone()));
        let process = process.ok_or(Error::NotFound)?;
        let subject = Subject::of_process(&process);
        let node = self.origin.node_with(subject.number(DIRECTORY), subject.ownership(&process, 0o555));
        Ok(SyntheticDirectory::with_entries(node, SubjectDirectory { origin: self.origin.clone(), subject }))
    }

    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        let first = (cookie - FIRST_DYNAMIC_COOKIE) as u32;
        let found: Vec<Arc<Process>> = {
            let table = process::TABLE.lock();
            table.processes.range(first..).map(|(_, process)| process.clone()).collect()
        };
        for process in found {
            let (name, subject) = (format!("{}", process.id), Subject::of_process(&process));
            let number = subject.number(DIRECTORY);
            let cookie = FIRST_DYNAMIC_COOKIE + u64::from(process.id) + 1;
            let entry = DirectoryEntry { name: name.as_bytes(), number, kind: FileKind::Directory, cookie };
            if visitor(entry).is_break() {
                return;
            }
        }
    }
}

/// The directory of one process or thread.
struct SubjectDirectory {
    origin: Arc<Origin>,
    subject: Subject,
}

impl SubjectDirectory {
    fn entries(&self) -> &'static [Entry] {
        if self.subject.thread.is_some() { &ENTRIES[..ENTRIES.len() - 1] } else { ENTRIES }
    }

    fn link(&self, node: Node, target: fn(&Process) -> Option<Location>) -> Arc<dyn Inode> {
        let subject = self.subject;
        SyntheticLink::new(node, move || {
            let process = subject.process().map_err(|_| Error::NotFound)?;
            subject::check_inspection(&process)?;
            target(&process).map(LinkTarget::Location).ok_or(Error::NotFound)
        })
    }
}

impl Entries for SubjectDirectory {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let process = self.subject.process().map_err(|_| Error::NotFound)?;
        let entries = self.entries();
        let position =
            entries.iter().position(|entry| entry.name.as_bytes() == name).ok_or(Error::NotFound)?;
        let entry = &entries[position];
        let ownership = self.subject.ownership(&process, entry.permissions);
        let node = self.origin.node_with(self.subject.number(FIRST_ENTRY + position as u64), ownership);
        let (origin, subject) = (self.origin.clone(), self.subject);
        Ok(match entry.kind {
            Kind::File(report) => SyntheticFile::new(node, ReportContent { subject, report }),
            Kind::Link(target) => self.link(node, target),
            Kind::Descriptors => SyntheticDirectory::with_entries(node, DescriptorLinks { origin, subject }),
            Kind::DescriptorInformation => {
                SyntheticDirectory::with_entries(node, DescriptorFiles { origin, subject })
            }
            Kind::Threads => SyntheticDirectory::with_entries(node, Threads { origin, subject }),
        })
    }

    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        let first = (cookie - FIRST_DYNAMIC_COOKIE) as usize;
        if self.subject.process().is_err() {
            return;
        }
        for (position, entry) in self.entries().iter().enumerate().skip(first) {
            let entry = DirectoryEntry {
                name: entry.name.as_bytes(),
                number: self.subject.number(FIRST_ENTRY + position as u64),
                kind: entry.kind.file_kind(),
                cookie: FIRST_DYNAMIC_COOKIE + position as u64 + 1,
            };
            if visitor(entry).is_break() {
                return;
            }
        }
    }
}

/// The directories of a process's threads.
struct Threads {
    origin: Arc<Origin>,
    subject: Subject,
}

impl Entries for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let process = self.subject.process().map_err(|_| Error::NotFound)?;
        let id = parse_number(name).ok_or(Error::NotFound)?;
        let subject = self.subject.with_thread(id);
        subject.thread(&process).map_err(|_| Error::NotFound)?;
        let node = self.origin.node_with(subject.number(DIRECTORY), subject.ownership(&process, 0o555));
        Ok(SyntheticDirectory::with_entries(node, SubjectDirectory { origin: self.origin.clone(), subject }))
    }

    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        let first = (cookie - FIRST_DYNAMIC_COOKIE) as u32;
        let Ok(process) = self.subject.process() else { return };
        let mut ids = process_files::thread_ids(&process);
        ids.sort_unstable();
        for id in ids.into_iter().filter(|id| *id >= first) {
            let name = format!("{id}");
            let number = self.subject.with_thread(id).number(DIRECTORY);
            let cookie = FIRST_DYNAMIC_COOKIE + u64::from(id) + 1;
            let entry = DirectoryEntry { name: name.as_bytes(), number, kind: FileKind::Directory, cookie };
            if let ControlFlow::Break(()) = visitor(entry) {
                return;
            }
        }
    }
}
