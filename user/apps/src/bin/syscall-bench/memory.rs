//! Mappings and page faults.

use asyncos_apps::call;
use asyncos_apps::system::{Access, Mapping, PAGE_BYTES, in_child, trap};

use crate::files::Scratch;
use crate::{Bench, must, row, timed};

pub const BENCHES: &[Bench] = &[
    row("mmap-munmap", 5_000, |count| map_unmap(count, false)),
    row("mmap-touch-munmap", 5_000, |count| map_unmap(count, true)),
    row("mprotect-pair", 5_000, protect),
    row("page-fault", 8_192, anonymous_faults),
    row("page-fault-cow", 8_192, copying_faults),
    row("page-fault-shared", 8_192, shared_faults),
];

/// One page, written to or not.
fn map_unmap(count: usize, touch: bool) -> u64 {
    timed(|| {
        for _ in 0..count {
            // SAFETY: a new page, which is touched before it is unmapped again.
            unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let [access, flags] = [Access::WRITE.0 as usize, flags as usize];
                let page = trap(libc::SYS_mmap as usize, [0, PAGE_BYTES, access, flags, usize::MAX, 0]);
                if touch {
                    std::ptr::with_exposed_provenance_mut::<u8>(page as usize).write_volatile(1);
                }
                must(libc::SYS_munmap, [page as usize, PAGE_BYTES, 0, 0], 0);
            }
        }
    })
}

/// Write protection of a page that is there, on and off.
fn protect(count: usize) -> u64 {
    let memory = Mapping::anonymous(3 * PAGE_BYTES, Access::WRITE).expect("memory");
    memory.fill(0, 3 * PAGE_BYTES, 1);
    timed(|| {
        for _ in 0..count {
            for access in [Access::READ, Access::WRITE] {
                let page = memory.address() + PAGE_BYTES;
                must(libc::SYS_mprotect, [page, PAGE_BYTES, access.0 as usize, 0], 0);
            }
        }
    })
}

/// Memory of so many pages, which will be small ones, so that each touch is a fault of its own.
fn small_pages(count: usize) -> Mapping {
    let memory = Mapping::anonymous(count * PAGE_BYTES, Access::WRITE).expect("memory");
    let _ = call!(SYS_madvise, memory.address(), memory.length(), libc::MADV_NOHUGEPAGE);
    memory
}

fn write_pages(memory: &Mapping) -> u64 {
    timed(|| {
        for offset in (0..memory.length()).step_by(PAGE_BYTES) {
            memory.set_byte(offset, 1);
        }
    })
}

fn anonymous_faults(count: usize) -> u64 {
    write_pages(&small_pages(count))
}

/// Pages that a parent still has, written to by its child.
fn copying_faults(count: usize) -> u64 {
    let memory = small_pages(count);
    write_pages(&memory);
    let result = Mapping::shared(PAGE_BYTES).expect("a page");
    let child = in_child(|| {
        result.store(0, &write_pages(&memory).to_ne_bytes());
        0
    });
    child.and_then(|child| child.wait()).expect("a child");
    u64::from_ne_bytes(result.load(0, 8).try_into().expect("eight bytes were read"))
}

/// Pages that a file in memory has, each read once through a new mapping.
fn shared_faults(count: usize) -> u64 {
    let file = Scratch::new(count * PAGE_BYTES);
    let memory = Mapping::new(count * PAGE_BYTES, Access::WRITE, libc::MAP_SHARED, file.descriptor, 0);
    let memory = memory.expect("the file is mapped");
    timed(|| {
        for offset in (0..memory.length()).step_by(PAGE_BYTES) {
            assert!(memory.byte(offset) == 1, "what was written");
        }
    })
}
