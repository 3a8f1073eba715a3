//! The kernel's random bytes: one pool, seeded at boot and from the machine's generator when it has one.

use base::sync::SpinLock;
use drivers::entropy::EntropyPool;

static POOL: SpinLock<EntropyPool> = SpinLock::new(EntropyPool::new());

/// Mixes bytes in that are worth `bits` bits of entropy.
pub fn reseed(bytes: &[u8], bits: u32) {
    let pool = POOL.lock();
    pool.reseed(bytes, bits);
    pool.stir_time();
}

/// Random bytes.
pub fn fill(bytes: &mut [u8]) {
    POOL.lock().fill(bytes);
}

/// Four random words, for laying out an address space.
pub fn words() -> [u64; 4] {
    let mut bytes = [0; 32];
    fill(&mut bytes);
    core::array::from_fn(|index| {
        u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"))
    })
}
