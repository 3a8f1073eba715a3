//! `/dev/kmsg`: the kernel's log, a record at a time, and lines that programs add to it.

use crate::log::{self, Line, Reader, TEXT_MAX};
use alloc::sync::Arc;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::SpinLock;
use base::{Error, Result};
use core::fmt::Write;
use vfs::environment::Device;
use vfs::inode::{WaitQueues, WritePosition, Written};
use vfs::metadata::DeviceNumber;
use vfs::{File, OpenFlags, Readiness};

/// `/dev/kmsg`
pub const KERNEL_MESSAGES: DeviceNumber = DeviceNumber::new(1, 11);

/// The priority of a line that says none: from a user program (1), a warning (4), as on Linux.
const UNSAID: u8 = 1 << 3 | 4;
/// The most bytes of a record as it is read: its text may need four for each.
const SHOWN_MAX: usize = 64 + 4 * TEXT_MAX;
/// The most bytes of one write, as on Linux.
const WRITE_MAX: usize = 1024;

/// The device.
pub struct KernelMessagesNode;

/// An open file of it: where its readers are.
struct KernelMessages {
    reader: SpinLock<Reader>,
}

impl Device for KernelMessagesNode {
    fn open(&self, _: OpenFlags) -> Operation<'static, Result<Arc<dyn File>>> {
        Operation::Ready(Ok(Arc::new(KernelMessages { reader: SpinLock::new(Reader::oldest()) })))
    }
}

impl KernelMessages {
    /// One record: priority, sequence number, time in microseconds and a flag that says nothing, then the text, in which
    /// what is not printable stands as `\xNN`.
    fn read_record(&self, sink: &mut Sink<'_>) -> Result<usize> {
        let mut text = [0; TEXT_MAX];
        let mut reader = self.reader.lock();
        let mut after = *reader;
        let record = match after.next(&mut text) {
            Ok(Some(record)) => record,
            Ok(None) => return Err(Error::WouldBlock),
            Err(lost) => {
                *reader = after;
                return Err(lost);
            }
        };
        let mut prefix = Line::new();
        // Writing to a `Line` cannot fail.
        let _ = write!(prefix, "{},{},{},-;", record.priority, record.sequence, record.time_us);
        let mut shown = [0; SHOWN_MAX];
        let mut length = 0;
        let mut put = |bytes: &[u8]| {
            shown[length..length + bytes.len()].copy_from_slice(bytes);
            length += bytes.len();
        };
        put(prefix.as_bytes());
        for &byte in &text[..record.length] {
            match byte {
                b' '..=b'[' | b']'..=b'~' => put(&[byte]),
                _ => put(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]),
            }
        }
        put(b"\n");
        if sink.remaining() < length {
            return Err(Error::InvalidArgument);
        }
        *reader = after;
        Ok(sink.copy_from(&shown[..length]))
    }
}

fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value)]
}

/// The priority at the start of a line, `<N>`, and the rest. A program cannot speak as the kernel (facility 0).
fn split_priority(line: &[u8]) -> (u8, &[u8]) {
    let said = line.strip_prefix(b"<").and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'>')?;
        let number: u32 = core::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        Some((number, &rest[end + 1..]))
    });
    match said {
        Some((number, rest)) => {
            let facility = if number >> 3 == 0 { UNSAID >> 3 } else { (number >> 3) as u8 };
            (facility << 3 | (number & 7) as u8, rest)
        }
        None => (UNSAID, line),
    }
}

impl File for KernelMessages {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.read_record(sink))
    }

    fn write<'a>(&'a self, source: &'a mut Source<'_>, _: WritePosition) -> Operation<'a, Result<Written>> {
        let count = source.remaining();
        if count > WRITE_MAX {
            return Operation::Ready(Err(Error::InvalidArgument));
        }
        let mut line = [0; WRITE_MAX];
        source.copy_to(&mut line);
        let line = &line[..count];
        let (priority, text) = split_priority(line.strip_suffix(b"\n").unwrap_or(line));
        log::write_record(priority, text);
        Operation::Ready(Ok(Written { count, end: 0 }))
    }

    fn readiness(&self) -> Readiness {
        let readable = self.reader.lock().is_behind();
        if readable { Readiness::READABLE | Readiness::WRITABLE } else { Readiness::WRITABLE }
    }

    fn wait_queues(&self, _: Readiness) -> WaitQueues<'_> {
        WaitQueues::one(log::grown())
    }

    fn seekable(&self) -> bool {
        false
    }
}
