//! The name of a directory entry, and the hash that tables of names use.

use smallvec::SmallVec;

/// A name: bytes without `/` and NUL. Short ones, which most are, need no allocation.
pub type Name = SmallVec<[u8; 24]>;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 255;
/// The longest path that a system call takes, in bytes, with the NUL that ends it.
pub const PATH_MAX: usize = 4096;

/// A hash of `name` for tables in memory: eight bytes a step, a multiplication each, mixed at the end.
#[inline]
pub fn hash(name: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = name.len() as u64;
    let (words, tail) = name.as_chunks::<8>();
    for word in words {
        state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER).rotate_left(29);
    }
    // The tail as one word: its two halves, which may overlap, so that its bytes need no loop.
    let last = match (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        (Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32
        }
        _ => tail.iter().fold(0, |last, byte| last << 8 | u64::from(*byte)),
    };
    state = (state ^ last).wrapping_mul(MULTIPLIER);
    state ^ state >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::format;

    #[test]
    fn similar_names_hash_apart() {
        let names = (0..100_000).map(|index| format!("file-{index}"));
        let hashes: HashSet<u64> = names.map(|name| hash(name.as_bytes())).collect();
        assert_eq!(hashes.len(), 100_000);
        // hashbrown uses the top seven bits and the low ones: both must vary.
        assert!(hashes.iter().map(|hash| hash >> 57).collect::<HashSet<_>>().len() == 128);
        assert!(hashes.iter().map(|hash| hash & 0xfff).collect::<HashSet<_>>().len() == 4096);
    }
}
