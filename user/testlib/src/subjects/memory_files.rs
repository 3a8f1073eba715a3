//! Files that are nothing but memory, and the seals that keep them as they are.

use crate::check::{equal, fails, holds, need, succeeds};
use crate::runner::{Test, test};
use crate::socket::close_all;
use asyncos_apps::call;
use asyncos_apps::system::{Access, Errno, Mapping, open, read, seek, write};
use std::ffi::CString;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("creation", creation),
    test("size-seals", size_seals),
    test("write-seals", write_seals),
    test("mappings", mappings),
    test("execution", execution),
    test("allocation", allocation),
];

const PAGE: usize = 4096;

fn create(flags: u32) -> Result<i32, Errno> {
    call!(SYS_memfd_create, c"testlib", flags).map(|file| file as i32)
}

fn seals(file: i32) -> Result<usize, Errno> {
    call!(SYS_fcntl, file, libc::F_GET_SEALS, 0)
}

fn seal(file: i32, seals: i32) -> Result<usize, Errno> {
    call!(SYS_fcntl, file, libc::F_ADD_SEALS, seals)
}

fn resize(file: i32, size: usize) -> Result<usize, Errno> {
    call!(SYS_ftruncate, file, size)
}

/// A file of a page of ones that can be sealed.
fn filled() -> i32 {
    let file = need(create(libc::MFD_ALLOW_SEALING));
    need(write(file, &[1; PAGE]));
    file
}

fn creation() {
    let file = need(create(0));
    equal("a file takes no seals unless asked", seals(file), Ok(libc::F_SEAL_SEAL as usize));
    fails("so that none can be added", seal(file, libc::F_SEAL_GROW), libc::EPERM);
    let open_to_seals = need(create(libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC));
    equal("or takes them", seals(open_to_seals), Ok(0));
    equal("and closes on exec", call!(SYS_fcntl, open_to_seals, libc::F_GETFD, 0), Ok(1));
    fails("an unknown seal", seal(open_to_seals, 0x100), libc::EINVAL);
    fails("unknown flags", create(0x1000), libc::EINVAL);
    fails("to be executable and not", create(libc::MFD_EXEC | libc::MFD_NOEXEC_SEAL), libc::EINVAL);
    let long = CString::new(vec![b'n'; 250]).expect("no NUL in it");
    fails("a long name", call!(SYS_memfd_create, &*long, 0), libc::EINVAL);
    fails("no name", call!(SYS_memfd_create, 8, 0), libc::EFAULT);
    let link = CString::new(format!("/proc/self/fd/{file}")).expect("no NUL in it");
    let mut text = [0u8; 64];
    let length = need(call!(SYS_readlinkat, libc::AT_FDCWD, &*link, text.as_mut_slice(), 64));
    equal("its name is told", &text[..length], &b"/memfd:testlib (deleted)"[..]);
    let reader =
        need(open(&CString::new(format!("/proc/self/fd/{open_to_seals}")).expect("no NUL"), libc::O_RDONLY));
    fails("who cannot write cannot seal", seal(reader, libc::F_SEAL_GROW), libc::EPERM);
    let null = need(open(c"/dev/null", libc::O_RDWR));
    fails("a device has no seals", seals(null), libc::EINVAL);
    close_all(&[file, open_to_seals, reader, null]);
}

fn size_seals() {
    let file = filled();
    succeeds("no more growing", seal(file, libc::F_SEAL_GROW));
    fails("not by its length", resize(file, PAGE + 1), libc::EPERM);
    fails("nor by writing behind its end", write(file, b"x"), libc::EPERM);
    equal("but it can shrink", resize(file, 100), Ok(0));
    need(seek(file, 0, libc::SEEK_SET));
    equal("and be written", write(file, &[2; 50]), Ok(50));
    fails("yet a page is not written past its end", write(file, &[2; 100]), libc::EPERM);
    succeeds("no more shrinking", seal(file, libc::F_SEAL_SHRINK));
    fails("not by its length, either", resize(file, 99), libc::EPERM);
    equal("it keeps its length", resize(file, 100), Ok(0));
    equal("both are told", seals(file), Ok((libc::F_SEAL_GROW | libc::F_SEAL_SHRINK) as usize));
    succeeds("and no more seals", seal(file, libc::F_SEAL_SEAL));
    fails("at all", seal(file, libc::F_SEAL_WRITE), libc::EPERM);
    close_all(&[file]);
}

fn write_seals() {
    let file = filled();
    succeeds("no more writing", seal(file, libc::F_SEAL_WRITE));
    need(seek(file, 0, libc::SEEK_SET));
    fails("at all", write(file, b"x"), libc::EPERM);
    let area = [b"x".as_ptr() as usize, 1];
    fails("in any way", call!(SYS_pwritev, file, &area, 1, 0, 0), libc::EPERM);
    let mut byte = [0; 1];
    equal("reading goes on", read(file, &mut byte), Ok(1));
    let shared = libc::MAP_SHARED;
    fails("no mapping writes", Mapping::new(PAGE, Access::WRITE, shared, file, 0).map(drop), libc::EPERM);
    let mapping = need(Mapping::new(PAGE, Access::READ, shared, file, 0));
    equal("one that reads is possible", mapping.byte(0), 1);
    fails("and stays so", mapping.protect(Access::WRITE), libc::EACCES);
    let private = need(Mapping::new(PAGE, Access::WRITE, libc::MAP_PRIVATE, file, 0));
    private.set_byte(0, 9);
    equal("a private one does not change it", mapping.byte(0), 1);
    close_all(&[file]);
}

fn mappings() {
    let file = filled();
    let mapping = need(Mapping::new(PAGE, Access::WRITE, libc::MAP_SHARED, file, 0));
    fails("a mapping that writes forbids the seal", seal(file, libc::F_SEAL_WRITE), libc::EBUSY);
    succeeds("but not one for the future", seal(file, libc::F_SEAL_FUTURE_WRITE));
    fails("which stops writes", call!(SYS_pwrite64, file, b"x".as_slice(), 1, 0), libc::EPERM);
    let shared = libc::MAP_SHARED;
    fails("and new mappings", Mapping::new(PAGE, Access::WRITE, shared, file, 0).map(drop), libc::EPERM);
    mapping.set_byte(5, 7);
    let mut bytes = [0; 8];
    need(call!(SYS_pread64, file, bytes.as_mut_slice(), 8, 0));
    equal("but not the mapping that was there", bytes, [1, 1, 1, 1, 1, 7, 1, 1]);
    need(mapping.protect(Access::READ));
    fails("nor does reading only help", seal(file, libc::F_SEAL_WRITE), libc::EBUSY);
    drop(mapping);
    succeeds("until it is gone", seal(file, libc::F_SEAL_WRITE));
    close_all(&[file]);
}

fn execution() {
    let mode = |file: i32| {
        let mut stat = [0u32; 32];
        need(call!(SYS_fstat, file, &mut stat));
        stat[4] & 0o777
    };
    let file = need(create(libc::MFD_NOEXEC_SEAL));
    equal("a file that is not to be executed", mode(file), 0o666);
    equal("is sealed so", seals(file), Ok(libc::F_SEAL_EXEC as usize));
    fails("for good", call!(SYS_fchmod, file, 0o777), libc::EPERM);
    equal("other rights change", call!(SYS_fchmod, file, 0o600), Ok(0));
    let executable = need(create(libc::MFD_EXEC | libc::MFD_ALLOW_SEALING));
    equal("one that is", mode(executable), 0o777);
    succeeds("when sealed so", seal(executable, libc::F_SEAL_EXEC));
    holds("stays what it is", need(seals(executable)) & libc::F_SEAL_WRITE as usize != 0);
    close_all(&[file, executable]);
}

fn allocation() {
    let file = filled();
    let allocate = |mode: i32, start: usize, length: usize| call!(SYS_fallocate, file, mode, start, length);
    equal("storage behind the end", allocate(libc::FALLOC_FL_KEEP_SIZE, PAGE, PAGE), Ok(0));
    equal("makes it no longer", seek(file, 0, libc::SEEK_END), Ok(PAGE));
    equal("or does", allocate(0, PAGE, PAGE), Ok(0));
    equal("so long", seek(file, 0, libc::SEEK_END), Ok(2 * PAGE));
    let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    equal("a hole", allocate(hole, 0, PAGE), Ok(0));
    let mut byte = [9; 1];
    need(call!(SYS_pread64, file, byte.as_mut_slice(), 1, 0));
    equal("reads as zero", byte[0], 0);
    fails("a hole changes the length never", allocate(libc::FALLOC_FL_PUNCH_HOLE, 0, PAGE), libc::EOPNOTSUPP);
    fails("nothing", allocate(0, 0, 0), libc::EINVAL);
    fails("an unknown mode", allocate(0x1000, 0, PAGE), libc::EOPNOTSUPP);
    need(seal(file, libc::F_SEAL_GROW | libc::F_SEAL_WRITE));
    fails("no hole in what is sealed", allocate(hole, 0, PAGE), libc::EPERM);
    fails("nor storage behind it", allocate(0, 2 * PAGE, PAGE), libc::EPERM);
    close_all(&[file]);
}
