//! `/proc/PID/fd` and `/proc/PID/fdinfo`.

use super::line;
use super::process_directory::parse_number;
use super::subject::{self, Subject};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::operation::Operation;
use base::{Error, Result};
use vfs::file_table::OnExec;
use vfs::inode::{DirectoryEntry, EntryVisitor};
use vfs::synthetic::{Content, Entries, FIRST_DYNAMIC_COOKIE, Origin, SyntheticFile, SyntheticLink};
use vfs::{FileKind, FileTable, Inode, LinkTarget, OpenFile, OpenFlags};

/// Where the numbers of the descriptors' nodes begin among their subject's: links, then information.
const LINKS: u64 = 1 << 32;
const INFORMATION: u64 = 2 << 32;

fn table(subject: &Subject) -> Result<Arc<FileTable>> {
    let process = subject.process().map_err(|_| Error::NotFound)?;
    subject::check_inspection(&process)?;
    let files = process.state.lock().files.clone();
    files.ok_or(Error::NotFound)
}

fn open_file(subject: &Subject, descriptor: u32) -> Result<Arc<OpenFile>> {
    table(subject)?.get(descriptor).map_err(|_| Error::NotFound)
}

fn list(subject: &Subject, base: u64, kind: FileKind, cookie: u64, visitor: &mut EntryVisitor<'_>) {
    let Ok(files) = table(subject) else { return };
    let mut next = (cookie - FIRST_DYNAMIC_COOKIE) as usize;
    while let Some(descriptor) = files.next_used(next) {
        next = descriptor as usize + 1;
        let name = format!("{descriptor}");
        let number = subject.number(base + u64::from(descriptor));
        let entry = DirectoryEntry {
            name: name.as_bytes(),
            number,
            kind,
            cookie: FIRST_DYNAMIC_COOKIE + next as u64,
        };
        if visitor(entry).is_break() {
            return;
        }
    }
}

/// The entries of `fd`.
pub struct DescriptorLinks {
    /// Whose numbers its nodes have.
    pub origin: Arc<Origin>,
    /// Whose descriptors they are.
    pub subject: Subject,
}

impl Entries for DescriptorLinks {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let descriptor = parse_number(name).ok_or(Error::NotFound)?;
        let subject = self.subject;
        let flags = open_file(&subject, descriptor)?.flags();
        let mut permissions = 0o100;
        permissions |= if flags.reads() { 0o400 } else { 0 };
        permissions |= if flags.writes() { 0o200 } else { 0 };
        let process = subject.process().map_err(|_| Error::NotFound)?;
        let number = subject.number(LINKS + u64::from(descriptor));
        let node = self.origin.node_with(number, subject.ownership(&process, permissions));
        Ok(SyntheticLink::new(node, move || {
            open_file(&subject, descriptor).map(|file| LinkTarget::Location(file.location().clone()))
        }))
    }

    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        list(&self.subject, LINKS, FileKind::SymbolicLink, cookie, visitor);
    }
}

/// The entries of `fdinfo`.
pub struct DescriptorFiles {
    /// Whose numbers its nodes have.
    pub origin: Arc<Origin>,
    /// Whose descriptors they are.
    pub subject: Subject,
}

impl Entries for DescriptorFiles {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let descriptor = parse_number(name).ok_or(Error::NotFound)?;
        let subject = self.subject;
        open_file(&subject, descriptor)?;
        let process = subject.process().map_err(|_| Error::NotFound)?;
        let number = subject.number(INFORMATION + u64::from(descriptor));
        let node = self.origin.node_with(number, subject.ownership(&process, 0o400));
        Ok(SyntheticFile::new(node, Information { subject, descriptor }))
    }

    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        list(&self.subject, INFORMATION, FileKind::Regular, cookie, visitor);
    }
}

/// What is said about one descriptor.
struct Information {
    subject: Subject,
    descriptor: u32,
}

impl Information {
    async fn write(&self, text: &mut Vec<u8>) -> Result<()> {
        let files = table(&self.subject)?;
        let file = files.get(self.descriptor).map_err(|_| Error::NotFound)?;
        let mut flags = file.flags();
        flags.set(OpenFlags::CLOSE_ON_EXEC, files.on_exec(self.descriptor)? == OnExec::Close);
        let offset = if file.is_seekable() { file.offset().await } else { 0 };
        line!(text, "pos:\t{offset}");
        line!(text, "flags:\t0{:o}", flags.bits());
        line!(text, "mnt_id:\t{}", file.location().mount.id());
        line!(text, "ino:\t{}", file.location().inode().number());
        Ok(())
    }
}

impl Content for Information {
    fn generate<'a>(&'a self, text: &'a mut Vec<u8>) -> Operation<'a, Result<()>> {
        Operation::Pending(Box::pin(self.write(text)))
    }
}
