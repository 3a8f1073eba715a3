//! `/proc/PID/maps` and the other files about a process's memory.

use super::{line, part};
use crate::process::Process;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::PAGE_SIZE;
use base::{Error, Result};
use memory::space::{AddressSpace, Attributes, MappingInfo, Protection, Sharing};

/// The column in which names stand in `maps`.
const NAME_COLUMN: usize = 73;
/// The most that is shown of arguments and environment.
const STRINGS_MAX: usize = 2 << 20;

/// Which strings of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strings {
    /// Its arguments.
    Arguments,
    /// Its environment.
    Environment,
}

/// What the areas of a space come to: bytes, but for what is resident, which is in pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Locked.
    pub locked: usize,
    /// The stack.
    pub stack: usize,
    /// Executable code.
    pub code: usize,
    /// All that is shared with others.
    pub shared_pages: usize,
    /// Pages of private memory without a file.
    pub resident_anonymous: usize,
    /// Pages of files.
    pub resident_files: usize,
    /// Pages of shared memory without a file.
    pub resident_shared: usize,
}

impl Summary {
    /// Sums it up.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub async fn of(space: &AddressSpace) -> Result<Self> {
        let mut summary = Self::default();
        for area in space.mappings().await? {
            let bytes = area.range.len();
            let usage = space.usage(area.range.clone());
            if area.attributes.contains(Attributes::LOCKED) {
                summary.locked += bytes;
            }
            if area.attributes.contains(Attributes::STACK) {
                summary.stack += bytes;
            }
            if area.protection.contains(Protection::EXECUTE) {
                summary.code += bytes;
            }
            match (area.identity, area.sharing) {
                ((0, 0), Sharing::Shared) => summary.resident_shared += usage.resident,
                ((0, 0), Sharing::Private) => summary.resident_anonymous += usage.resident,
                // What a private mapping of a file changed is its own.
                (_, Sharing::Private) if area.protection.contains(Protection::WRITE) => {
                    summary.resident_anonymous += usage.exclusive;
                    summary.resident_files += usage.resident - usage.exclusive;
                }
                _ => summary.resident_files += usage.resident,
            }
        }
        summary.shared_pages = summary.resident_files + summary.resident_shared;
        Ok(summary)
    }
}

fn space(process: &Process) -> Result<Arc<AddressSpace>> {
    process.space().ok_or(Error::NoSuchProcess)
}

/// `statm`: seven numbers, in pages; zeros for what has ended.
pub async fn pages(process: &Process, text: &mut Vec<u8>) -> Result<()> {
    let Some(space) = process.space() else {
        line!(text, "0 0 0 0 0 0 0");
        return Ok(());
    };
    let (mapped, data) = space.mapped_bytes().await;
    let summary = Summary::of(&space).await?;
    let in_pages = |bytes: usize| bytes / PAGE_SIZE;
    part!(text, "{} {} {} ", in_pages(mapped), space.resident_pages(), summary.shared_pages);
    line!(text, "{} 0 {} 0", in_pages(summary.code), in_pages(data + summary.stack));
    Ok(())
}

/// `cmdline` and `environ`: as they stand in the program's memory; nothing for what has ended.
pub async fn strings(process: &Process, which: Strings, text: &mut Vec<u8>) -> Result<()> {
    let range = {
        let state = process.state.lock();
        match which {
            Strings::Arguments => state.arguments.clone(),
            Strings::Environment => state.environment.clone(),
        }
    };
    let Some(space) = process.space() else { return Ok(()) };
    let length = (range.end.value() - range.start.value()).min(STRINGS_MAX);
    text.try_reserve_exact(length).map_err(|_| Error::OutOfMemory)?;
    text.resize(length, 0);
    if space.read_bytes(range.start, text).await.is_err() {
        // The program unmapped them.
        text.clear();
    }
    Ok(())
}

fn write_mapping(area: &MappingInfo, text: &mut Vec<u8>) {
    let start = text.len();
    part!(text, "{:08x}-{:08x} ", area.range.start, area.range.end);
    for (right, letter) in [(Protection::READ, b'r'), (Protection::WRITE, b'w'), (Protection::EXECUTE, b'x')]
    {
        text.push(if area.protection.contains(right) { letter } else { b'-' });
    }
    text.push(if area.sharing == Sharing::Shared { b's' } else { b'p' });
    let device = vfs::metadata::DeviceNumber(area.identity.0);
    part!(text, " {:08x} {:02x}:{:02x} {}", area.offset, device.major(), device.minor(), area.identity.1);
    text.push(b' ');
    if !area.name.is_empty() {
        while text.len() - start < NAME_COLUMN {
            text.push(b' ');
        }
        // A newline in a name would look like another mapping.
        for byte in area.name.bytes() {
            match byte {
                b'\n' => text.extend_from_slice(b"\\012"),
                _ => text.push(byte),
            }
        }
    }
    text.push(b'\n');
}

/// `maps`
pub async fn maps(process: &Process, text: &mut Vec<u8>) -> Result<()> {
    for area in space(process)?.mappings().await? {
        write_mapping(&area, text);
    }
    Ok(())
}

/// `smaps`. Pages that several share count whole for each, as nobody counts by how many.
pub async fn detailed_maps(process: &Process, text: &mut Vec<u8>) -> Result<()> {
    let space = space(process)?;
    for area in space.mappings().await? {
        write_mapping(&area, text);
        let usage = space.usage(area.range.clone());
        let shared = usage.resident - usage.exclusive;
        line!(text, "Size:           {:8} kB", area.range.len() / 1024);
        line!(text, "KernelPageSize: {:8} kB\nMMUPageSize:    {:8} kB", 4, 4);
        line!(text, "Rss:            {:8} kB", usage.resident * 4);
        line!(text, "Pss:            {:8} kB", usage.resident * 4);
        line!(text, "Shared_Clean:   {:8} kB\nShared_Dirty:   {:8} kB", 0, shared * 4);
        line!(text, "Private_Clean:  {:8} kB\nPrivate_Dirty:  {:8} kB", 0, usage.exclusive * 4);
        line!(text, "AnonHugePages:  {:8} kB", usage.large * 4);
        line!(text, "Swap:           {:8} kB", 0);
        let locked = if area.attributes.contains(Attributes::LOCKED) { usage.resident * 4 } else { 0 };
        line!(text, "Locked:         {locked:8} kB");
    }
    Ok(())
}
