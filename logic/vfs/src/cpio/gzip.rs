//! gzip members (RFC 1952): a header, deflated data, its sum and length.

use super::Problem;
use super::reader::Reader;
use alloc::boxed::Box;
use alloc::vec::Vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// Output goes round in this buffer: a power of two, as the decompressor asks, and no less than the 32 KiB that
/// inflating looks back.
const BUFFER: usize = 64 << 10;

const FLAG_HEADER_SUM: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
const FLAGS_RESERVED: u8 = 0xe0;

/// What one gzip member decompresses to.
pub struct GzipReader<'a> {
    input: &'a [u8],
    state: Box<DecompressorOxide>,
    buffer: Vec<u8>,
    /// Where in the buffer output goes on.
    write: usize,
    /// What of the buffer was not read yet: from here to `write`.
    read: usize,
    finished: bool,
    sum: Crc32,
    length: u32,
}

impl<'a> GzipReader<'a> {
    /// Whether these bytes start like a gzip member.
    pub fn detects(bytes: &[u8]) -> bool {
        bytes.starts_with(&[0x1f, 0x8b])
    }

    /// The member at the start of `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// [`Problem::BadCompression`], [`Problem::Truncated`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Problem> {
        Ok(Self {
            input: skip_header(bytes)?,
            state: Box::default(),
            buffer: alloc::vec![0; BUFFER],
            write: 0,
            read: 0,
            finished: false,
            sum: Crc32::new(),
            length: 0,
        })
    }

    /// What lies behind the member, once it was read to its end.
    pub fn remaining(&self) -> &'a [u8] {
        self.input
    }

    fn inflate(&mut self) -> Result<(), Problem> {
        if self.write == BUFFER {
            self.write = 0;
        }
        self.read = self.write;
        // It fills the buffer to its end at most and looks back round its start: what was read there before is the
        // window of what comes next.
        let (status, taken, written) =
            decompress(&mut self.state, self.input, &mut self.buffer, self.write, 0);
        self.input = &self.input[taken..];
        let fresh = &self.buffer[self.write..self.write + written];
        self.sum.update(fresh);
        self.length = self.length.wrapping_add(written as u32);
        self.write += written;
        match status {
            TINFLStatus::Done => self.check_trailer(),
            TINFLStatus::HasMoreOutput => Ok(()),
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => Err(Problem::Truncated),
            _ => Err(Problem::BadCompression),
        }
    }

    fn check_trailer(&mut self) -> Result<(), Problem> {
        let (trailer, rest) = self.input.split_first_chunk::<8>().ok_or(Problem::Truncated)?;
        let [a, b, c, d, length @ ..] = *trailer;
        if u32::from_le_bytes([a, b, c, d]) != self.sum.value() || u32::from_le_bytes(length) != self.length {
            return Err(Problem::BadCompression);
        }
        self.input = rest;
        self.finished = true;
        Ok(())
    }
}

impl Reader for GzipReader<'_> {
    fn fill(&mut self) -> Result<&[u8], Problem> {
        while self.read == self.write && !self.finished {
            self.inflate()?;
        }
        Ok(&self.buffer[self.read..self.write])
    }

    fn consume(&mut self, count: usize) {
        self.read = (self.read + count).min(self.write);
    }
}

/// What follows the header of a member.
fn skip_header(bytes: &[u8]) -> Result<&[u8], Problem> {
    let (header, mut rest) = bytes.split_first_chunk::<10>().ok_or(Problem::Truncated)?;
    let (method, flags) = (header[2], header[3]);
    if !GzipReader::detects(header) || method != 8 || flags & FLAGS_RESERVED != 0 {
        return Err(Problem::BadCompression);
    }
    if flags & FLAG_EXTRA != 0 {
        let (length, extra) = rest.split_first_chunk::<2>().ok_or(Problem::Truncated)?;
        rest = extra.get(usize::from(u16::from_le_bytes(*length))..).ok_or(Problem::Truncated)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(Problem::Truncated)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FLAG_HEADER_SUM != 0 {
        rest = rest.get(2..).ok_or(Problem::Truncated)?;
    }
    Ok(rest)
}

/// The sum of gzip: CRC-32 with the polynomial 0x04c11db7, reflected; four bytes a step.
struct Crc32(u32);

static TABLES: [[u32; 256]; 4] = crc_tables();

const fn crc_tables() -> [[u32; 256]; 4] {
    let mut tables = [[0u32; 256]; 4];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = value >> 1 ^ if value & 1 != 0 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut index = 0;
    while index < 256 {
        let mut table = 1;
        while table < 4 {
            let former = tables[table - 1][index];
            tables[table][index] = former >> 8 ^ tables[0][(former & 0xff) as usize];
            table += 1;
        }
        index += 1;
    }
    tables
}

impl Crc32 {
    const fn new() -> Self {
        Self(!0)
    }

    fn update(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            let mixed = sum ^ u32::from_le_bytes(*word);
            sum = TABLES[3][(mixed & 0xff) as usize]
                ^ TABLES[2][(mixed >> 8 & 0xff) as usize]
                ^ TABLES[1][(mixed >> 16 & 0xff) as usize]
                ^ TABLES[0][(mixed >> 24) as usize];
        }
        for byte in tail {
            sum = sum >> 8 ^ TABLES[0][((sum ^ u32::from(*byte)) & 0xff) as usize];
        }
        self.0 = sum;
    }

    const fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_standard() {
        let mut sum = Crc32::new();
        sum.update(b"1234");
        sum.update(b"56789");
        assert_eq!(sum.value(), 0xcbf4_3926);
    }
}
