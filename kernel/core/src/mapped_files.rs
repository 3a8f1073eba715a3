//! Files that get shorter while programs have them mapped: what lies behind the new end is nobody's any more.

use crate::process;
use abi::linux::general::MADV_DONTNEED;
use base::address::{PAGE_SIZE, VirtualAddress};

/// Takes the pages behind `length` bytes of a file out of every mapping of it, as nothing may be seen there any more: who
/// touches one then faults, and is told that there is nothing (`SIGBUS`). The file is known by its device and number, and
/// has its new length already.
pub async fn cut(identity: (u64, u64), length: u64) {
    let first_gone = length.next_multiple_of(PAGE_SIZE as u64);
    for space in process::spaces() {
        // Without memory for a list of its mappings a process keeps what it sees.
        let Ok(mappings) = space.mappings().await else { continue };
        for mapping in mappings.iter().filter(|mapping| mapping.identity == identity) {
            let bytes = (mapping.range.end - mapping.range.start) as u64;
            let kept = first_gone.saturating_sub(mapping.offset);
            if kept < bytes {
                let start = VirtualAddress::new(mapping.range.start + kept as usize);
                // A mapping that has gone meanwhile shows nothing, and one that is locked may not be cut.
                let _ = space.advise(start, (bytes - kept) as usize, MADV_DONTNEED).await;
            }
        }
    }
}
