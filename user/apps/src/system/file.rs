//! The file calls that nearly every test needs, in their shortest form.

use std::ffi::CStr;

use super::Errno;
use crate::call;

/// Opens `path` with `libc::O_*` flags; a new file gets mode 0644 less the umask.
pub fn open(path: &CStr, flags: i32) -> Result<i32, Errno> {
    call!(SYS_openat, libc::AT_FDCWD, path, flags, 0o644).map(|descriptor| descriptor as i32)
}

/// Closes a descriptor.
pub fn close(descriptor: i32) -> Result<(), Errno> {
    call!(SYS_close, descriptor).map(drop)
}

/// Reads up to `bytes.len()` bytes; the number read, zero at the end.
pub fn read(descriptor: i32, bytes: &mut [u8]) -> Result<usize, Errno> {
    let length = bytes.len();
    call!(SYS_read, descriptor, bytes, length)
}

/// Writes up to `bytes.len()` bytes; the number written.
pub fn write(descriptor: i32, bytes: &[u8]) -> Result<usize, Errno> {
    call!(SYS_write, descriptor, bytes, bytes.len())
}

/// Moves the file position; `whence` is `libc::SEEK_*`.
pub fn seek(descriptor: i32, offset: i64, whence: i32) -> Result<usize, Errno> {
    call!(SYS_lseek, descriptor, offset, whence)
}

/// A pipe: the reading descriptor and the writing one, with `libc::O_CLOEXEC`, `O_NONBLOCK` or 0.
pub fn pipe(flags: i32) -> Result<(i32, i32), Errno> {
    let mut ends = [0i32; 2];
    call!(SYS_pipe2, &mut ends, flags)?;
    Ok((ends[0], ends[1]))
}

/// Mounts a file system of `kind` on `target`.
pub fn mount(kind: &CStr, target: &CStr, flags: u64) -> Result<(), Errno> {
    call!(SYS_mount, kind, target, kind, flags, super::Argument::NULL).map(drop)
}
