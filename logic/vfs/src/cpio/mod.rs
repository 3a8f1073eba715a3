//! Unpacking the archive that the system starts from: cpio in the "newc" format, as Linux's initramfs is.
//!
//! What the boot loader hands over is a row of archives with zeros between them, each plain or gzip-compressed. The
//! bytes are an allegation: every number is checked, and whatever is wrong ends the unpacking with an error that names
//! the place.

mod gzip;
mod header;
mod reader;
#[cfg(test)]
mod tests;
mod unpack;

pub use gzip::GzipReader;
pub use reader::{Reader, SliceReader};
pub use unpack::{Adopt, Summary, unpack, unpack_plain};

use crate::Error;
use core::fmt;

/// What is wrong with an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It ends in the middle of something.
    Truncated,
    /// There is no header where one must be.
    BadMagic,
    /// A header has something other than hexadecimal digits.
    BadNumber,
    /// A name is empty, too long, has a NUL inside or none at its end.
    BadName,
    /// The type bits of a mode are none that a file can have.
    BadMode,
    /// The sum of a file's bytes is not what its header says ("070702").
    BadChecksum,
    /// The compressed data is damaged.
    BadCompression,
    /// It is compressed in a way that is not understood (xz, zstd, lz4, bzip2, lzma, lzo).
    UnknownCompression,
    /// A file could not be made.
    Unpack(Error),
}

/// An archive that could not be unpacked to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, in bytes from the start of the archive as it was before compression.
    pub offset: u64,
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad initial archive at byte {}: ", self.offset)?;
        match self.problem {
            Problem::Truncated => f.write_str("it ends too early"),
            Problem::BadMagic => f.write_str("no cpio header (070701 or 070702) where one must be"),
            Problem::BadNumber => f.write_str("a header field is not a hexadecimal number"),
            Problem::BadName => f.write_str("a name is empty, too long or not terminated"),
            Problem::BadMode => f.write_str("a mode is of no known file type"),
            Problem::BadChecksum => f.write_str("a checksum does not match"),
            Problem::BadCompression => f.write_str("the gzip data is damaged"),
            Problem::UnknownCompression => f.write_str("compressed, but not with gzip"),
            Problem::Unpack(error) => write!(f, "cannot unpack: {error}"),
        }
    }
}

impl core::error::Error for UnpackError {}
