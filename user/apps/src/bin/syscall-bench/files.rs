//! Files in memory, pipes and counters, used by one thread.

use std::ffi::CStr;

use asyncos_apps::call;
use asyncos_apps::system::{Access, Mapping, PAGE_BYTES, close, open, pipe, write};

use crate::{Bench, must, quick, row, timed};

pub const BENCHES: &[Bench] = &[
    row("stat", 5_000, stat),
    row("open-close", 5_000, open_close),
    row("create-delete", 2_000, create_delete),
    row("pread-4k", 10_000, |count| read_at(PAGE_BYTES, count)),
    row("pread-64k", 2_000, |count| read_at(16 * PAGE_BYTES, count)),
    row("pipe", 20_000, pipe_alone),
    row("eventfd", 20_000, counter_alone),
];

const PATH: &CStr = c"/tmp/syscall-bench-file";

/// Makes the file with so many bytes, and removes its name when dropped.
pub struct Scratch {
    /// Open for reading and writing.
    pub descriptor: i32,
}

impl Scratch {
    /// The file, full of ones.
    pub fn new(length: usize) -> Self {
        let descriptor = open(PATH, libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC).expect("a file in /tmp");
        assert!(write(descriptor, &vec![1; length]) == Ok(length), "there is room");
        Self { descriptor }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        close(self.descriptor).expect("it was open");
        call!(SYS_unlinkat, libc::AT_FDCWD, PATH, 0).expect("it has a name");
    }
}

fn stat(count: usize) -> u64 {
    let _file = Scratch::new(1);
    let mut status = [0u64; 16];
    timed(|| {
        for _ in 0..count {
            let status = (&raw mut status).addr();
            must(libc::SYS_newfstatat, [libc::AT_FDCWD as usize, PATH.as_ptr().addr(), status, 0], 0);
        }
    })
}

fn open_close(count: usize) -> u64 {
    let _file = Scratch::new(1);
    timed(|| {
        for _ in 0..count {
            let descriptor = quick(libc::SYS_openat, [libc::AT_FDCWD as usize, PATH.as_ptr().addr(), 0, 0]);
            must(libc::SYS_close, [descriptor as usize, 0, 0, 0], 0);
        }
    })
}

fn create_delete(count: usize) -> u64 {
    timed(|| {
        for _ in 0..count {
            let (directory, path) = (libc::AT_FDCWD as usize, PATH.as_ptr().addr());
            let flags = libc::O_CREAT | libc::O_WRONLY;
            let descriptor = quick(libc::SYS_openat, [directory, path, flags as usize, 0o644]);
            must(libc::SYS_close, [descriptor as usize, 0, 0, 0], 0);
            must(libc::SYS_unlinkat, [directory, path, 0, 0], 0);
        }
    })
}

fn read_at(length: usize, count: usize) -> u64 {
    let file = Scratch::new(length);
    let buffer = Mapping::anonymous(length, Access::WRITE).expect("memory");
    buffer.fill(0, length, 2);
    timed(|| {
        for _ in 0..count {
            let arguments = [file.descriptor as usize, buffer.address(), length, 0];
            must(libc::SYS_pread64, arguments, length as isize);
        }
    })
}

fn pipe_alone(count: usize) -> u64 {
    let (read_end, write_end) = pipe(0).expect("a pipe");
    let buffer = Mapping::anonymous(PAGE_BYTES, Access::WRITE).expect("a page");
    buffer.set_byte(0, 1);
    let total_ns = timed(|| {
        for _ in 0..count {
            must(libc::SYS_write, [write_end as usize, buffer.address(), 1, 0], 1);
            must(libc::SYS_read, [read_end as usize, buffer.address(), 1, 0], 1);
        }
    });
    close(read_end).and(close(write_end)).expect("both were open");
    total_ns
}

fn counter_alone(count: usize) -> u64 {
    let counter = call!(SYS_eventfd2, 0, 0).expect("a counter") as i32;
    let mut value = 1u64;
    let total_ns = timed(|| {
        for _ in 0..count {
            let value = (&raw mut value).addr();
            must(libc::SYS_write, [counter as usize, value, 8, 0], 8);
            must(libc::SYS_read, [counter as usize, value, 8, 0], 8);
        }
    });
    close(counter).expect("it was open");
    total_ns
}
