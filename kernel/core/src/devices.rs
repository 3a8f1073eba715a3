//! What stands behind device numbers, and `/dev`.

use crate::entropy;
use alloc::sync::Arc;
use base::Result;
use base::sync::Lazy;
use vfs::Environment;
use vfs::devfs::{self, Entropy};

static ENVIRONMENT: Lazy<Arc<Environment>> = Lazy::new(Environment::new);

/// What every file system is given.
pub fn environment() -> &'static Arc<Environment> {
    &ENVIRONMENT
}

struct Pool;

impl Entropy for Pool {
    fn fill(&self, bytes: &mut [u8]) {
        entropy::fill(bytes);
    }

    fn stir(&self, bytes: &[u8]) {
        entropy::reseed(bytes, 0);
    }
}

/// Puts the devices that are nothing but code behind their numbers.
///
/// # Errors
/// None that could happen at boot.
pub fn register() -> Result<()> {
    devfs::register_memory_devices(environment(), Arc::new(Pool))
}
