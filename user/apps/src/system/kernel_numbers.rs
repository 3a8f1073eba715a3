//! The kernel's exact memory numbers, where the kernel gives them.

use std::ffi::CStr;

use super::{close, open, read};

const MEMORY: &CStr = c"/proc/asyncos/memory";

/// One reading of `/proc/asyncos/memory`, kept without any allocation, so that reading changes nothing.
#[derive(Clone)]
pub struct MemoryNumbers {
    text: [u8; 2048],
    length: usize,
}

impl MemoryNumbers {
    /// Reads the numbers; `None` where the kernel has no such file.
    pub fn read() -> Option<MemoryNumbers> {
        let descriptor = open(MEMORY, libc::O_RDONLY | libc::O_CLOEXEC).ok()?;
        let mut numbers = MemoryNumbers { text: [0; 2048], length: 0 };
        while let Ok(count @ 1..) = read(descriptor, &mut numbers.text[numbers.length..]) {
            numbers.length += count;
        }
        close(descriptor).ok()?;
        Some(numbers)
    }

    /// Each `name value` line in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u64)> {
        let text = str::from_utf8(&self.text[..self.length]).unwrap_or("");
        text.lines().filter_map(|line| {
            let (name, value) = line.split_once(char::is_whitespace)?;
            Some((name.trim_end_matches(':'), value.trim().parse().ok()?))
        })
    }

    /// The value named `name`.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.entries().find(|(entry, _)| *entry == name).map(|(_, value)| value)
    }
}
