//! The header of an archive member: six magic characters and thirteen numbers of eight hexadecimal digits.

use super::Problem;

/// Bytes of a header.
pub(super) const LENGTH: usize = 110;
/// Members start, and their data starts, at multiples of this.
pub(super) const ALIGNMENT: u64 = 4;

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u32,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) link_count: u32,
    pub(super) modified_seconds: u32,
    pub(super) size: u32,
    pub(super) device: (u32, u32),
    pub(super) special_device: (u32, u32),
    pub(super) name_length: u32,
    /// The sum of the data's bytes, if the format has one.
    pub(super) checksum: Option<u32>,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; LENGTH]) -> Result<Self, Problem> {
        let has_checksum = match &bytes[..6] {
            b"070701" => false,
            b"070702" => true,
            _ => return Err(Problem::BadMagic),
        };
        let mut fields = [0u32; 13];
        let (words, _) = bytes[6..].as_chunks::<8>();
        for (field, digits) in fields.iter_mut().zip(words) {
            for digit in digits {
                let value = (*digit as char).to_digit(16).ok_or(Problem::BadNumber)?;
                *field = *field << 4 | value;
            }
        }
        let [number, mode, uid, gid, link_count, modified_seconds, size, rest @ ..] = fields;
        let [device_major, device_minor, special_major, special_minor, name_length, sum] = rest;
        Ok(Self {
            number,
            mode,
            uid,
            gid,
            link_count,
            modified_seconds,
            size,
            device: (device_major, device_minor),
            special_device: (special_major, special_minor),
            name_length,
            checksum: has_checksum.then_some(sum),
        })
    }
}
