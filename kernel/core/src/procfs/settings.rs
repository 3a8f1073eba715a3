//! `/proc/sys`: what can be set, and what programs expect to find there.

use super::subject::current_process;
use super::{Builder, Writer, line};
use crate::calls::system::{DOMAIN_NAME, HOST_NAME, KERNEL_NAME, RELEASE, SettableName, VERSION};
use crate::{entropy, power, process};
use ::process::credentials::Capability;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::operation::Operation;
use base::sync::{Lazy, SpinLock};
use base::{Error, Result};
use core::str::FromStr;
use vfs::synthetic::{Content, SyntheticDirectory};

/// Made once at boot.
static BOOT_ID: Lazy<[u8; 16]> = Lazy::new(random_id);

/// The number that somebody wrote, with space around it.
///
/// # Errors
/// `InvalidArgument`.
pub fn parse<T: FromStr>(bytes: &[u8]) -> Result<T> {
    let text = str::from_utf8(bytes).map_err(|_| Error::InvalidArgument)?;
    text.trim_matches(['\0', ' ', '\t', '\n']).parse().map_err(|_| Error::InvalidArgument)
}

fn random_id() -> [u8; 16] {
    let mut bytes = [0; 16];
    entropy::fill(&mut bytes);
    // A random one, version 4 of variant 1 (RFC 9562, section 5.4).
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

fn write_id(bytes: &[u8; 16], text: &mut Vec<u8>) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        super::part!(text, "{byte:02x}");
    }
    text.push(b'\n');
}

/// A name of the system that can be set.
struct NameSetting(&'static SpinLock<SettableName>);

impl Content for NameSetting {
    fn generate<'a>(&'a self, text: &'a mut Vec<u8>) -> Operation<'a, Result<()>> {
        text.extend_from_slice(self.0.lock().as_bytes());
        text.push(b'\n');
        Operation::Ready(Ok(()))
    }

    fn store<'a>(&'a self, bytes: &'a [u8]) -> Operation<'a, Result<()>> {
        let end = bytes.iter().position(|byte| matches!(byte, b'\n' | 0)).unwrap_or(bytes.len());
        Operation::Ready(check_administrator().map(|()| self.0.lock().set(&bytes[..end])))
    }
}

/// `/proc/sysrq-trigger`: what an administrator asks the kernel for by a letter. `b` restarts the machine and `o` powers it
/// off, both at once; `c` makes the kernel panic, to see what it says then.
pub struct Request;

impl Content for Request {
    fn generate<'a>(&'a self, _: &'a mut Vec<u8>) -> Operation<'a, Result<()>> {
        Operation::Ready(Err(Error::InputOutput))
    }

    fn store<'a>(&'a self, bytes: &'a [u8]) -> Operation<'a, Result<()>> {
        Operation::Ready(check_administrator().and_then(|()| match bytes.first() {
            Some(b'b') => power::restart(),
            Some(b'o') => power::off(0),
            Some(b'c') => panic!("asked for by /proc/sysrq-trigger"),
            _ => Err(Error::InvalidArgument),
        }))
    }
}

/// The greatest id of a process, and one.
struct GreatestId;

impl Content for GreatestId {
    fn generate<'a>(&'a self, text: &'a mut Vec<u8>) -> Operation<'a, Result<()>> {
        let max = process::TABLE.lock().identifiers.max();
        line!(text, "{max}");
        Operation::Ready(Ok(()))
    }

    fn store<'a>(&'a self, bytes: &'a [u8]) -> Operation<'a, Result<()>> {
        Operation::Ready(parse(bytes).and_then(|max| process::TABLE.lock().identifiers.set_max(max)))
    }
}

fn check_administrator() -> Result<()> {
    let identity = current_process()?.identity();
    if identity.credentials.has(Capability::SystemAdministration) { Ok(()) } else { Err(Error::NotPermitted) }
}

/// The directory.
///
/// # Errors
/// `AlreadyExists` when two entries have one name.
pub fn directory(builder: &Builder<'_>) -> Result<Arc<SyntheticDirectory>> {
    let top = builder.directory();
    top.insert("kernel", kernel(builder)?)?;
    let memory = builder.directory();
    insert_all(
        builder,
        &memory,
        &[
            // Pages are given when they are touched, whatever was promised.
            ("overcommit_memory", |text| line!(text, "1")),
            ("max_map_count", |text| line!(text, "65530")),
            ("mmap_min_addr", |text| line!(text, "{}", memory::space::USER_START)),
        ],
    )?;
    top.insert("vm", memory)?;
    let files = builder.directory();
    insert_all(
        builder,
        &files,
        &[
            ("nr_open", |text| line!(text, "{}", 1 << 20)),
            ("file-max", |text| line!(text, "{}", i64::MAX)),
            ("pipe-max-size", |text| line!(text, "{}", 1 << 20)),
        ],
    )?;
    top.insert("fs", files)?;
    Ok(top)
}

fn insert_all(builder: &Builder<'_>, directory: &SyntheticDirectory, files: &[(&str, Writer)]) -> Result<()> {
    files.iter().try_for_each(|(name, content)| directory.insert(name, builder.text(*content)))
}

fn kernel(builder: &Builder<'_>) -> Result<Arc<SyntheticDirectory>> {
    let kernel = builder.directory();
    kernel.insert("hostname", builder.file(0o644, NameSetting(&HOST_NAME)))?;
    kernel.insert("domainname", builder.file(0o644, NameSetting(&DOMAIN_NAME)))?;
    kernel.insert("pid_max", builder.file(0o644, GreatestId))?;
    insert_all(
        builder,
        &kernel,
        &[
            ("ostype", |text| line!(text, "{KERNEL_NAME}")),
            ("osrelease", |text| line!(text, "{RELEASE}")),
            ("version", |text| line!(text, "{VERSION}")),
            ("threads-max", |text| line!(text, "{}", process::THREADS_MAX)),
            ("ngroups_max", |text| line!(text, "{}", ::process::credentials::GROUPS_MAX)),
            ("cap_last_cap", |text| line!(text, "40")),
            ("overflowuid", |text| line!(text, "65534")),
            ("overflowgid", |text| line!(text, "65534")),
            // Addresses are laid out at random, the heap's start included.
            ("randomize_va_space", |text| line!(text, "2")),
        ],
    )?;
    let random = builder.directory();
    insert_all(
        builder,
        &random,
        &[
            ("uuid", |text| {
                write_id(&random_id(), text);
            }),
            ("boot_id", |text| {
                write_id(&BOOT_ID, text);
            }),
            ("poolsize", |text| line!(text, "256")),
            ("entropy_avail", |text| line!(text, "256")),
        ],
    )?;
    kernel.insert("random", random)?;
    Ok(kernel)
}
