//! ELF executables: from the bytes of the headers to a plan of what to map where.
//!
//! A file is an allegation. [`Header::parse`] and [`Image::parse`] check every number once, with arithmetic that cannot
//! overflow, and hand on a plan in which each range lies inside the file and inside the user half of the address space;
//! nothing is allocated that the file has not paid for with bytes of its own. (System V ABI, chapters 4 and 5;
//! the RISC-V ELF psABI.)

use abi::Error;
use alloc::vec::Vec;
use base::Result;
use base::address::PAGE_SIZE;
use bitflags::bitflags;

/// Bytes at the start of a file that decide what kind of executable it is, as many as Linux reads (`BINPRM_BUF_SIZE`).
pub const PREFIX_LENGTH: usize = 256;
/// Bytes in an ELF64 file header.
pub const HEADER_LENGTH: usize = 64;
/// Bytes in one ELF64 program header.
pub const PROGRAM_HEADER_LENGTH: usize = 56;
/// The most bytes that all program headers together may take (Linux's limit).
pub const PROGRAM_HEADERS_MAX: usize = 65536;
/// The longest path of an interpreter, with its final NUL.
pub const INTERPRETER_MAX: usize = 4096;
/// The first address that a process cannot have: the end of the lower half of Sv39.
pub const USER_END: u64 = 1 << 38;

const MACHINE_RISCV: u16 = 243;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_DYNAMIC: u16 = 3;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_INTERPRETER: u32 = 3;
const SEGMENT_GNU_STACK: u32 = 0x6474_e551;
const FLAG_EXECUTE: u32 = 1;
const FLAG_WRITE: u32 = 2;
const FLAG_READ: u32 = 4;
const PAGE: u64 = PAGE_SIZE as u64;

bitflags! {
    /// What a segment may be used for; the bits are those of `mmap`'s protection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Protection: u32 {
        /// `PROT_READ`.
        const READ = 1;
        /// `PROT_WRITE`.
        const WRITE = 2;
        /// `PROT_EXEC`.
        const EXECUTE = 4;
    }
}

/// How an image is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ET_EXEC`: at the addresses that the file names.
    Fixed,
    /// `ET_DYN`: anywhere; addresses in the file are relative to the load bias.
    Relocatable,
}

/// The file header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How the image is placed.
    pub kind: Kind,
    /// Where execution starts; relative to the load bias when relocatable.
    pub entry: u64,
    /// Where in the file the program headers are, in bytes.
    pub program_headers_offset: u64,
    /// How many program headers there are, at least 1.
    pub program_headers_count: u16,
}

/// One loadable segment, as mappings of whole pages. Addresses are relative to the load bias.
///
/// The pages `[address, address + file_length)` come from the file at `file_offset`, private. When `zero_length` is not
/// 0, that many bytes from `zero_address` are then set to zero: the rest of the last page from the file. The pages
/// `[anonymous_address, anonymous_address + anonymous_length)` are anonymous. Later segments are mapped over earlier
/// ones where they share a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first address of the pages from the file; a multiple of the page size.
    pub address: u64,
    /// Where in the file they start; a multiple of the page size.
    pub file_offset: u64,
    /// Bytes mapped from the file; a multiple of the page size.
    pub file_length: u64,
    /// Where the bytes to be zeroed start.
    pub zero_address: u64,
    /// How many bytes to zero; less than a page.
    pub zero_length: u64,
    /// The first address of the anonymous pages; a multiple of the page size.
    pub anonymous_address: u64,
    /// Bytes of anonymous memory; a multiple of the page size.
    pub anonymous_length: u64,
    /// What the segment may be used for.
    pub protection: Protection,
}

/// A range of bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: usize,
}

/// What a file asks for, checked: everything that mapping it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The file header.
    pub header: Header,
    /// The loadable segments in ascending order, at least one.
    pub segments: Vec<Segment>,
    /// Where the path of the interpreter stands, if the program has one. See [`interpreter_path`].
    pub interpreter: Option<FileRange>,
    /// What `PT_GNU_STACK` says of the stack; without one it is not executable.
    pub executable_stack: bool,
    /// Where the program headers appear in memory (`AT_PHDR`), relative to the load bias; `None` if in no segment.
    pub program_headers_address: Option<u64>,
    /// The first page of all segments.
    pub start: u64,
    /// The end of the last page of all segments.
    pub end: u64,
    /// The greatest alignment that a segment asks for, at least a page; for choosing the load bias.
    pub alignment: u64,
    /// The end of the last segment's bytes, not rounded: where `brk` starts.
    pub break_start: u64,
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

/// Whether a file that starts so claims to be ELF.
pub fn is_elf(prefix: &[u8]) -> bool {
    prefix.starts_with(b"\x7fELF")
}

impl Header {
    /// Checks the file header; `prefix` is the start of the file, at least [`HEADER_LENGTH`] bytes of it.
    ///
    /// # Errors
    /// [`Error::ExecFormat`] for anything but a little-endian ELF64 executable or shared object for RISC-V.
    pub fn parse(prefix: &[u8]) -> Result<Header> {
        Self::parse_fields(prefix).ok_or(Error::ExecFormat)
    }

    fn parse_fields(prefix: &[u8]) -> Option<Header> {
        const CLASS_64: u8 = 2;
        const LITTLE_ENDIAN: u8 = 1;
        let header = prefix.get(..HEADER_LENGTH)?;
        let kind = match u16_at(header, 16)? {
            TYPE_EXECUTABLE => Kind::Fixed,
            TYPE_DYNAMIC => Kind::Relocatable,
            _ => return None,
        };
        let identified = is_elf(header) && header[4] == CLASS_64 && header[5] == LITTLE_ENDIAN;
        let machine = u16_at(header, 18)?;
        let entry_size = usize::from(u16_at(header, 54)?);
        let count = u16_at(header, 56)?;
        let length = usize::from(count) * PROGRAM_HEADER_LENGTH;
        if !identified || machine != MACHINE_RISCV || entry_size != PROGRAM_HEADER_LENGTH {
            return None;
        }
        if length == 0 || length > PROGRAM_HEADERS_MAX {
            return None;
        }
        Some(Header {
            kind,
            entry: u64_at(header, 24)?,
            program_headers_offset: u64_at(header, 32)?,
            program_headers_count: count,
        })
    }

    /// Where the program headers are in the file: what to read for [`Image::parse`].
    pub fn program_headers(&self) -> FileRange {
        FileRange {
            offset: self.program_headers_offset,
            length: usize::from(self.program_headers_count) * PROGRAM_HEADER_LENGTH,
        }
    }
}

struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}

impl ProgramHeader {
    fn parse(bytes: &[u8]) -> Option<ProgramHeader> {
        Some(ProgramHeader {
            kind: u32_at(bytes, 0)?,
            flags: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            address: u64_at(bytes, 16)?,
            file_size: u64_at(bytes, 32)?,
            memory_size: u64_at(bytes, 40)?,
            alignment: u64_at(bytes, 48)?,
        })
    }

    /// The mappings of this segment, all inside the file and the user half; `None` when it asks for anything else.
    fn segment(&self, file_length: u64) -> Option<Segment> {
        let memory_end = self.address.checked_add(self.memory_size)?;
        let inside_file = self.offset.checked_add(self.file_size)? <= file_length;
        let congruent = self.address % PAGE == self.offset % PAGE;
        if self.file_size > self.memory_size || memory_end > USER_END || !inside_file || !congruent {
            return None;
        }
        let address = self.address - self.address % PAGE;
        let data_end = self.address + self.file_size;
        let has_file_pages = self.file_size > 0;
        let file_end = if has_file_pages { data_end.next_multiple_of(PAGE) } else { address };
        let zeroed_end = memory_end.min(file_end);
        // Linux zeroes to the end of the page, also past the segment's own end; only when the segment has more memory
        // than file, so that a read-only segment's page is not touched.
        let has_zeroes = self.memory_size > self.file_size && has_file_pages && zeroed_end > data_end;
        Some(Segment {
            address,
            file_offset: self.offset - self.offset % PAGE,
            file_length: file_end - address,
            zero_address: data_end,
            zero_length: if has_zeroes { file_end - data_end } else { 0 },
            anonymous_address: file_end,
            anonymous_length: memory_end.next_multiple_of(PAGE).saturating_sub(file_end),
            protection: self.protection(),
        })
    }

    fn protection(&self) -> Protection {
        let mut protection = Protection::empty();
        protection.set(Protection::READ, self.flags & FLAG_READ != 0);
        protection.set(Protection::WRITE, self.flags & FLAG_WRITE != 0);
        protection.set(Protection::EXECUTE, self.flags & FLAG_EXECUTE != 0);
        protection
    }
}

impl Segment {
    /// The end of its last page.
    pub fn end(&self) -> u64 {
        self.anonymous_address + self.anonymous_length
    }
}

impl Image {
    /// Checks the program headers and plans the mappings.
    ///
    /// `program_headers` is what the file holds at [`Header::program_headers`]; `file_length` is the file's, in bytes.
    ///
    /// # Errors
    /// [`Error::ExecFormat`] when the headers are incomplete, there is nothing to load, a segment reaches outside the
    /// file or the user half, or segments overlap or do not ascend.
    pub fn parse(header: Header, program_headers: &[u8], file_length: u64) -> Result<Image> {
        if program_headers.len() < header.program_headers().length {
            return Err(Error::ExecFormat);
        }
        let mut image = Image {
            header,
            segments: Vec::new(),
            interpreter: None,
            executable_stack: false,
            program_headers_address: None,
            start: 0,
            end: 0,
            alignment: PAGE,
            break_start: 0,
        };
        let entries = program_headers.chunks_exact(PROGRAM_HEADER_LENGTH);
        for bytes in entries.take(usize::from(header.program_headers_count)) {
            let entry = ProgramHeader::parse(bytes).ok_or(Error::ExecFormat)?;
            image.add(&entry, file_length).ok_or(Error::ExecFormat)?;
        }
        let first = image.segments.first().ok_or(Error::ExecFormat)?;
        image.start = first.address;
        Ok(image)
    }

    fn add(&mut self, entry: &ProgramHeader, file_length: u64) -> Option<()> {
        match entry.kind {
            SEGMENT_LOAD if entry.memory_size > 0 => self.add_segment(entry, file_length),
            SEGMENT_INTERPRETER if self.interpreter.is_none() => {
                let length = usize::try_from(entry.file_size).ok()?;
                let end = entry.offset.checked_add(entry.file_size)?;
                if !(2..=INTERPRETER_MAX).contains(&length) || end > file_length {
                    return None;
                }
                self.interpreter = Some(FileRange { offset: entry.offset, length });
                Some(())
            }
            SEGMENT_GNU_STACK => {
                self.executable_stack = entry.flags & FLAG_EXECUTE != 0;
                Some(())
            }
            _ => Some(()),
        }
    }

    fn add_segment(&mut self, entry: &ProgramHeader, file_length: u64) -> Option<()> {
        let segment = entry.segment(file_length)?;
        if !self.segments.is_empty() && entry.address < self.break_start {
            return None;
        }
        let headers = self.header.program_headers_offset;
        if (entry.offset..entry.offset + entry.file_size).contains(&headers)
            && self.program_headers_address.is_none()
        {
            self.program_headers_address = Some(headers - entry.offset + entry.address);
        }
        if entry.alignment.is_power_of_two() && entry.alignment < USER_END {
            self.alignment = self.alignment.max(entry.alignment);
        }
        self.break_start = entry.address + entry.memory_size;
        self.end = segment.end();
        self.segments.push(segment);
        Some(())
    }

    /// Bytes from the first page of the first segment to the end of the last page of the last.
    pub fn span(&self) -> u64 {
        self.end - self.start
    }
}

/// The path of the interpreter in the bytes that the file holds at [`Image::interpreter`], without its NUL.
///
/// # Errors
/// [`Error::ExecFormat`] when it is empty or does not end in NUL.
pub fn interpreter_path(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.split_last() {
        Some((0, _)) => {}
        _ => return Err(Error::ExecFormat),
    }
    let path = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if path.is_empty() { Err(Error::ExecFormat) } else { Ok(path) }
}

#[cfg(test)]
mod tests;
