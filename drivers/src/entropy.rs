//! Random bytes for the whole system: a ChaCha20 generator, seeded from whatever the machine has.
//!
//! The pool is as unpredictable as the best that was ever put in: a new seed is mixed with the generator's own output,
//! so that a bad source cannot make it worse. After every request the key is replaced by output that nobody sees
//! (fast key erasure), so that who reads the kernel's memory learns nothing of bytes that were given before.

use base::sync::SpinLock;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// Bytes of a key.
const KEY: usize = 32;
/// Bytes that are made ahead, from which small requests are served: one cut of the generator's own buffer.
const AHEAD: usize = 256 - KEY;

/// Bits of a seed that make the pool count as seeded.
const ENOUGH_BITS: u32 = 256;

/// The pool. Cheap to ask: most small requests are a copy under a spin lock.
pub struct EntropyPool {
    state: SpinLock<State>,
}

struct State {
    key: [u8; KEY],
    /// Made with an earlier key that is gone; what was given out is zero.
    ahead: [u8; AHEAD],
    /// How many of the bytes at the end of `ahead` are still to be given.
    left: usize,
    /// Bits of unpredictability that were put in, as their sources claim.
    bits: u32,
}

impl EntropyPool {
    /// A pool with nothing in it: it gives bytes that look random and are the same every time.
    pub const fn new() -> Self {
        let state = State { key: [0; KEY], ahead: [0; AHEAD], left: 0, bits: 0 };
        Self { state: SpinLock::new(state) }
    }

    /// Mixes `seed` in. `bits` says how much of it an attacker cannot guess, 0 for what only may help (a time, say).
    pub fn reseed(&self, seed: &[u8], bits: u32) {
        let mut state = self.state.lock();
        // Each block of the seed is added to the key, and the sum is stirred by the generator, like a sponge.
        for block in seed.chunks(KEY) {
            state.key.iter_mut().zip(block).for_each(|(key, byte)| *key ^= byte);
            state.stir();
        }
        // So that a seed and the same seed with zeros behind it differ.
        for (key, byte) in state.key.iter_mut().zip((seed.len() as u64).to_le_bytes()) {
            *key ^= byte;
        }
        state.stir();
        state.bits = state.bits.saturating_add(bits);
    }

    /// Mixes in when this call happened: a little more from each interrupt and device.
    pub fn stir_time(&self) {
        self.reseed(&base::hal::now_ns().to_le_bytes(), 0);
    }

    /// Whether the sources claim to have put in enough for keys: 256 bits.
    pub fn is_seeded(&self) -> bool {
        self.state.lock().bits >= ENOUGH_BITS
    }

    /// Fills `bytes` with random ones. Never waits; see [`EntropyPool::is_seeded`] for whether they are good.
    pub fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > AHEAD {
            return self.fill_many(bytes);
        }
        let mut state = self.state.lock();
        if state.left < bytes.len() {
            state.refill();
        }
        let start = AHEAD - state.left;
        let given = &mut state.ahead[start..start + bytes.len()];
        bytes.copy_from_slice(given);
        given.fill(0);
        state.left -= bytes.len();
    }

    /// Long requests get a generator of their own, so that the lock is not held for long.
    fn fill_many(&self, bytes: &mut [u8]) {
        let mut key = [0; KEY];
        self.fill(&mut key);
        ChaCha20Rng::from_seed(key).fill_bytes(bytes);
    }
}

impl Default for EntropyPool {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Replaces the key by the generator's output, and what was made ahead by nothing.
    fn stir(&mut self) {
        ChaCha20Rng::from_seed(self.key).fill_bytes(&mut self.key);
        self.left = 0;
    }

    /// Makes new bytes, and a new key.
    fn refill(&mut self) {
        let mut generator = ChaCha20Rng::from_seed(self.key);
        generator.fill_bytes(&mut self.key);
        generator.fill_bytes(&mut self.ahead);
        self.left = AHEAD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn take<const N: usize>(pool: &EntropyPool) -> [u8; N] {
        let mut bytes = [0; N];
        pool.fill(&mut bytes);
        bytes
    }

    #[test]
    fn gives_the_cipher_s_stream_after_the_key() {
        let pool = EntropyPool::new();
        // ChaCha20 with a zero key and nonce (RFC 8439, A.1): the first 32 bytes became the key, the next are given.
        let expected =
            [0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24, 0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37];
        assert_eq!(take::<16>(&pool), expected);
        assert_eq!(pool.state.lock().key[..4], [0x76, 0xb8, 0xe0, 0xad]);
    }

    #[test]
    fn what_was_given_is_gone() {
        let pool = EntropyPool::new();
        let given = take::<64>(&pool);
        let state = pool.state.lock();
        assert!(state.ahead[..64].iter().all(|byte| *byte == 0) && given.iter().any(|byte| *byte != 0));
    }

    #[test]
    fn every_seed_changes_the_stream() {
        let streams: std::collections::BTreeSet<[u8; 32]> =
            [&b""[..], b"a", b"a\0", b"b", &[7; 31], &[7; 32], &[7; 64]]
                .into_iter()
                .map(|seed| {
                    let pool = EntropyPool::new();
                    pool.reseed(seed, 0);
                    take(&pool)
                })
                .collect();
        assert_eq!(streams.len(), 7);
        let pool = EntropyPool::new();
        let before = take::<32>(&pool);
        pool.reseed(&[1; 64], 200);
        assert!(!pool.is_seeded());
        pool.reseed(&[1; 8], 56);
        assert!(pool.is_seeded());
        assert_ne!(before, take::<32>(&pool));
    }

    #[test]
    fn lengths_of_all_kinds_never_repeat() {
        let pool = EntropyPool::new();
        let mut seen = std::collections::BTreeSet::new();
        for length in (16..600).step_by(7) {
            let mut bytes = vec![0; length];
            pool.fill(&mut bytes);
            assert!(
                seen.insert(bytes[..16].to_vec()) && seen.insert(bytes[length - 16..].to_vec())
                    || length < 32
            );
        }
        pool.fill(&mut []);
    }
}
