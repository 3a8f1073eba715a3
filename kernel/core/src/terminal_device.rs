//! The console's terminal, as a device.

use crate::process::Process;
use alloc::sync::Arc;

/// A session leader has ended: its terminal, if it has one, is free again.
pub fn session_leader_ends(process: &Arc<Process>) {
    let _ = process;
}
