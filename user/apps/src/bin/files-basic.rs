//! Files and directories: what the calls do, and the error for each way of misusing them.

use std::ffi::CStr;
use std::process::ExitCode;

use asyncos_apps::system::{close, open, read, seek, write};
use asyncos_apps::{Errno, Report, call};

const HERE: i32 = libc::AT_FDCWD;

fn main() -> ExitCode {
    let mut report = Report::new();
    let _ = std::fs::remove_dir_all("/tmp/files-basic");
    report.succeeds("mkdir", call!(SYS_mkdirat, HERE, c"/tmp/files-basic", 0o755));
    report.succeeds("chdir", call!(SYS_chdir, c"/tmp/files-basic"));
    opening(&mut report);
    reading_and_writing(&mut report);
    positions_and_sizes(&mut report);
    names(&mut report);
    directories(&mut report);
    descriptors(&mut report);
    vectors(&mut report);
    devices(&mut report);
    let _ = call!(SYS_chdir, c"/");
    report.holds("the scratch directory can be removed", std::fs::remove_dir_all("/tmp/files-basic").is_ok());
    report.finish()
}

fn make(path: &CStr, text: &[u8]) {
    let file = open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC).expect("a new file");
    assert_eq!(write(file, text), Ok(text.len()), "space for a few bytes");
    close(file).expect("it was open");
}

fn size(path: &CStr) -> Result<i64, Errno> {
    status(path, 0).map(|status| status.st_size)
}

fn status(path: &CStr, flags: i32) -> Result<libc::stat, Errno> {
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    call!(SYS_newfstatat, HERE, path, &mut status, flags).map(|_| status)
}

fn opening(report: &mut Report) {
    report.fails("open of nothing", open(c"nothing", libc::O_RDONLY), libc::ENOENT);
    report.fails("open of an empty path", open(c"", libc::O_RDONLY), libc::ENOENT);
    make(c"file", b"content");
    let exclusive = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    report.fails("exclusive creation of what exists", open(c"file", exclusive), libc::EEXIST);
    report.fails("a path through a file", open(c"file/below", libc::O_RDONLY), libc::ENOTDIR);
    report.fails("a trailing slash on a file", open(c"file/", libc::O_RDONLY), libc::ENOTDIR);
    report.fails("O_DIRECTORY on a file", open(c"file", libc::O_RDONLY | libc::O_DIRECTORY), libc::ENOTDIR);
    report.fails("writing a directory", open(c".", libc::O_WRONLY), libc::EISDIR);
    let long = std::ffi::CString::new("x".repeat(256)).expect("no NUL");
    report.fails("a name of 256 bytes", open(&long, libc::O_RDONLY), libc::ENAMETOOLONG);
    let longer = std::ffi::CString::new("x/".repeat(2100)).expect("no NUL");
    report.fails("a path of 4,200 bytes", open(&longer, libc::O_RDONLY), libc::ENAMETOOLONG);
    report.fails("a relative path from no descriptor", call!(SYS_openat, 999, c"file", 0, 0), libc::EBADF);
    let truncated = open(c"file", libc::O_RDWR | libc::O_TRUNC).and_then(close);
    report.succeeds("O_TRUNC", truncated);
    report.equal("O_TRUNC empties", size(c"file"), Ok(0));
    let mask = call!(SYS_umask, 0o027);
    report.equal("umask before", mask.map(|mask| mask & !0o777), Ok(0));
    report.succeeds(
        "creation under a umask",
        call!(SYS_openat, HERE, c"masked", libc::O_CREAT | libc::O_WRONLY, 0o666),
    );
    report.equal("the umask applies", status(c"masked", 0).map(|status| status.st_mode & 0o7777), Ok(0o640));
    let _ = call!(SYS_umask, mask.unwrap_or(0o022));
}

fn reading_and_writing(report: &mut Report) {
    make(c"text", b"0123456789");
    let file = open(c"text", libc::O_RDWR).expect("it was made");
    let mut bytes = [0; 16];
    report.equal("a short read at the end", read(file, &mut bytes), Ok(10));
    report.equal("the bytes read", &bytes[..10], b"0123456789");
    report.equal("a read at the end", read(file, &mut bytes), Ok(0));
    report.equal("pread", call!(SYS_pread64, file, &mut bytes[..], 3, 4), Ok(3));
    report.equal("pread's bytes", &bytes[..3], b"456");
    report.fails("pread before the start", call!(SYS_pread64, file, &mut bytes[..], 3, -1), libc::EINVAL);
    report.equal("pwrite past the end", call!(SYS_pwrite64, file, c"!", 1, 20), Ok(1));
    report.equal("pread of the hole", call!(SYS_pread64, file, &mut bytes[..], 12, 9), Ok(12));
    report.equal("a hole reads as zeroes", &bytes[..12], b"9\0\0\0\0\0\0\0\0\0\0!");
    report.equal("reading nothing", call!(SYS_read, file, 0, 0), Ok(0));
    let reader = open(c"text", libc::O_RDONLY).expect("it was made");
    report.fails("writing what is open for reading", write(reader, b"x"), libc::EBADF);
    let writer = open(c"text", libc::O_WRONLY | libc::O_APPEND).expect("it was made");
    report.fails("reading what is open for writing", read(writer, &mut bytes), libc::EBADF);
    report.equal("appending", write(writer, b"end"), Ok(3));
    report.equal("appending goes to the end", size(c"text"), Ok(24));
    let directory = open(c".", libc::O_RDONLY).expect("the directory is there");
    report.fails("reading a directory", read(directory, &mut bytes), libc::EISDIR);
    for descriptor in [file, reader, writer, directory] {
        report.succeeds("close", close(descriptor));
    }
    report.fails("closing twice", close(file), libc::EBADF);
    report.fails("reading what is closed", read(file, &mut bytes), libc::EBADF);
}

fn positions_and_sizes(report: &mut Report) {
    make(c"sized", b"0123456789");
    let file = open(c"sized", libc::O_RDWR).expect("it was made");
    report.equal("seek to the end", seek(file, 0, libc::SEEK_END), Ok(10));
    report.equal("seek back", seek(file, -3, libc::SEEK_CUR), Ok(7));
    report.fails("seek before the start", seek(file, -8, libc::SEEK_CUR), libc::EINVAL);
    report.equal("a failed seek moves nothing", seek(file, 0, libc::SEEK_CUR), Ok(7));
    report.fails("seek from nowhere", seek(file, 0, 99), libc::EINVAL);
    report.equal("seek past the end", seek(file, 100, libc::SEEK_SET), Ok(100));
    report.equal("seeking changes no size", size(c"sized"), Ok(10));
    report.equal("writing there", write(file, b"x"), Ok(1));
    report.equal("writing there does", size(c"sized"), Ok(101));
    report.succeeds("shrinking", call!(SYS_ftruncate, file, 4));
    report.succeeds("growing", call!(SYS_truncate, c"sized", 8));
    let mut bytes = [9; 8];
    report.equal("reading it", call!(SYS_pread64, file, &mut bytes[..], 8, 0), Ok(8));
    report.equal("what was cut off comes back as zeroes", &bytes, b"0123\0\0\0\0");
    report.fails("a negative size", call!(SYS_ftruncate, file, -1), libc::EINVAL);
    report.fails("the size of a directory", call!(SYS_truncate, c".", 0), libc::EISDIR);
    let _ = close(file);
}

fn names(report: &mut Report) {
    make(c"one", b"one");
    report.succeeds("link", call!(SYS_linkat, HERE, c"one", HERE, c"two", 0));
    let (one, two) = (status(c"one", 0).expect("one"), status(c"two", 0).expect("two"));
    report.equal("two names, one file", (one.st_ino, one.st_nlink), (two.st_ino, 2));
    report.fails("link over a name", call!(SYS_linkat, HERE, c"one", HERE, c"two", 0), libc::EEXIST);
    report.fails("link of a directory", call!(SYS_linkat, HERE, c".", HERE, c"dot", 0), libc::EPERM);
    report.succeeds("symlink", call!(SYS_symlinkat, c"one", HERE, c"soft"));
    let mut target = [0u8; 16];
    report.equal("readlink", call!(SYS_readlinkat, HERE, c"soft", &mut target[..], 16), Ok(3));
    report.equal(
        "readlink into little room",
        call!(SYS_readlinkat, HERE, c"soft", &mut target[..], 2),
        Ok(2),
    );
    report.fails(
        "readlink of a file",
        call!(SYS_readlinkat, HERE, c"one", &mut target[..], 16),
        libc::EINVAL,
    );
    report.fails("O_NOFOLLOW on a link", open(c"soft", libc::O_RDONLY | libc::O_NOFOLLOW), libc::ELOOP);
    let kind = |flags| status(c"soft", flags).map(|status| status.st_mode & libc::S_IFMT);
    report.equal("stat follows", kind(0), Ok(libc::S_IFREG));
    report.equal("lstat does not", kind(libc::AT_SYMLINK_NOFOLLOW), Ok(libc::S_IFLNK));
    report.succeeds("a loop of links", call!(SYS_symlinkat, c"loop", HERE, c"loop"));
    report.fails("following the loop", open(c"loop", libc::O_RDONLY), libc::ELOOP);
    make(c"three", b"three");
    report.succeeds("rename over a file", call!(SYS_renameat2, HERE, c"three", HERE, c"one", 0));
    report.equal("the new content", size(c"one"), Ok(5));
    report.equal("the old file keeps its other name", status(c"two", 0).map(|status| status.st_nlink), Ok(1));
    let refuse = libc::RENAME_NOREPLACE;
    report.fails(
        "rename that must not replace",
        call!(SYS_renameat2, HERE, c"one", HERE, c"two", refuse),
        libc::EEXIST,
    );
    report.fails("rename of nothing", call!(SYS_renameat2, HERE, c"none", HERE, c"two", 0), libc::ENOENT);
    let open_file = open(c"two", libc::O_RDONLY).expect("it is there");
    report.succeeds("unlink of an open file", call!(SYS_unlinkat, HERE, c"two", 0));
    let mut bytes = [0; 8];
    report.equal("it can still be read", read(open_file, &mut bytes), Ok(3));
    report.fails("its name is gone", open(c"two", libc::O_RDONLY), libc::ENOENT);
    let _ = close(open_file);
}

fn directories(report: &mut Report) {
    report.succeeds("mkdir", call!(SYS_mkdirat, HERE, c"dir", 0o755));
    report.fails("mkdir again", call!(SYS_mkdirat, HERE, c"dir", 0o755), libc::EEXIST);
    report.fails("mkdir below nothing", call!(SYS_mkdirat, HERE, c"none/dir", 0o755), libc::ENOENT);
    make(c"dir/inside", b"");
    report.fails(
        "rmdir of a full one",
        call!(SYS_unlinkat, HERE, c"dir", libc::AT_REMOVEDIR),
        libc::ENOTEMPTY,
    );
    report.fails("unlink of a directory", call!(SYS_unlinkat, HERE, c"dir", 0), libc::EISDIR);
    report.fails(
        "rmdir of a file",
        call!(SYS_unlinkat, HERE, c"dir/inside", libc::AT_REMOVEDIR),
        libc::ENOTDIR,
    );
    report.fails("rmdir of dot", call!(SYS_unlinkat, HERE, c"dir/.", libc::AT_REMOVEDIR), libc::EINVAL);
    report.fails("into itself", call!(SYS_renameat2, HERE, c"dir", HERE, c"dir/sub", 0), libc::EINVAL);
    report.equal("links of a directory", status(c"dir", 0).map(|status| status.st_nlink), Ok(2));
    for number in 0..300 {
        make(&std::ffi::CString::new(format!("dir/entry{number}")).expect("no NUL"), b"");
    }
    let listed = std::fs::read_dir("dir").map(|entries| entries.flatten().count()).unwrap_or(0);
    report.equal("every entry is listed once", listed, 301);
    let directory = open(c"dir", libc::O_RDONLY | libc::O_DIRECTORY).expect("it is there");
    let mut little = [0u8; 4];
    let refused = call!(SYS_getdents64, directory, &mut little[..], 4);
    report.fails("no room for an entry", refused, libc::EINVAL);
    report.succeeds("fchdir", call!(SYS_fchdir, directory));
    let mut path = [0u8; 64];
    report.equal(
        "getcwd counts the NUL",
        call!(SYS_getcwd, &mut path[..], 64),
        Ok(b"/tmp/files-basic/dir\0".len()),
    );
    report.fails("getcwd without room", call!(SYS_getcwd, &mut path[..], 5), libc::ERANGE);
    report.succeeds("back", call!(SYS_chdir, c".."));
    report.fails("chdir to a file", call!(SYS_chdir, c"file"), libc::ENOTDIR);
    let _ = close(directory);
}

fn descriptors(report: &mut Report) {
    make(c"shared", b"abcdef");
    let file = open(c"shared", libc::O_RDONLY | libc::O_CLOEXEC).expect("it was made");
    let copy = call!(SYS_dup, file).expect("dup") as i32;
    let mut byte = [0; 1];
    let _ = read(file, &mut byte);
    report.equal("copies share the position", seek(copy, 0, libc::SEEK_CUR), Ok(1));
    report.equal("close-on-exec is set", call!(SYS_fcntl, file, libc::F_GETFD, 0), Ok(1));
    report.equal("a copy has it not", call!(SYS_fcntl, copy, libc::F_GETFD, 0), Ok(0));
    report.equal("dup3 to a number", call!(SYS_dup3, file, 77, 0), Ok(77));
    report.fails("dup3 to itself", call!(SYS_dup3, 77, 77, 0), libc::EINVAL);
    report.fails("dup of nothing", call!(SYS_dup, 999), libc::EBADF);
    report.equal("F_DUPFD from 50", call!(SYS_fcntl, file, libc::F_DUPFD, 50), Ok(50));
    report.fails("an unknown fcntl", call!(SYS_fcntl, file, 9999, 0), libc::EINVAL);
    report.succeeds("F_SETFL", call!(SYS_fcntl, file, libc::F_SETFL, libc::O_NONBLOCK));
    let flags = call!(SYS_fcntl, copy, libc::F_GETFL, 0).map(|flags| flags as i32 & libc::O_NONBLOCK);
    report.equal("copies share the flags", flags, Ok(libc::O_NONBLOCK));
    report.fails(
        "an unknown ioctl of a file",
        call!(SYS_ioctl, file, libc::TCGETS as usize, &mut byte[..]),
        libc::ENOTTY,
    );
    for descriptor in [file, copy, 77, 50] {
        let _ = close(descriptor);
    }
}

fn vectors(report: &mut Report) {
    let file = open(c"vector", libc::O_RDWR | libc::O_CREAT).expect("a new file");
    let (first, second) = (*b"hello ", *b"world");
    let parts = [first.as_ptr() as usize, first.len(), second.as_ptr() as usize, second.len()];
    report.equal("writev", call!(SYS_writev, file, &parts, 2), Ok(11));
    report.equal("writev of nothing", call!(SYS_writev, file, &parts, 0), Ok(0));
    report.fails("writev of too many", call!(SYS_writev, file, &parts, 1025), libc::EINVAL);
    let (mut start, mut rest) = ([0u8; 4], [0u8; 20]);
    let parts = [start.as_mut_ptr() as usize, start.len(), rest.as_mut_ptr() as usize, rest.len()];
    report.equal("preadv", call!(SYS_preadv, file, &parts, 2, 0), Ok(11));
    report.equal("its parts", (std::hint::black_box(start), &rest[..7]), (*b"hell", &b"o world"[..]));
    let _ = close(file);
}

fn devices(report: &mut Report) {
    let mut bytes = [7u8; 8];
    let null = open(c"/dev/null", libc::O_RDWR).expect("/dev/null");
    report.equal("null reads nothing", read(null, &mut bytes), Ok(0));
    report.equal("null takes all", write(null, &bytes), Ok(8));
    let zero = open(c"/dev/zero", libc::O_RDWR).expect("/dev/zero");
    report.equal("zero reads", read(zero, &mut bytes).map(|count| (count, bytes)), Ok((8, [0; 8])));
    let full = open(c"/dev/full", libc::O_RDWR).expect("/dev/full");
    report.fails("full takes nothing", write(full, &bytes), libc::ENOSPC);
    let random = open(c"/dev/urandom", libc::O_RDONLY).expect("/dev/urandom");
    let (mut first, mut second) = ([0u8; 32], [0u8; 32]);
    let both = (read(random, &mut first), read(random, &mut second));
    report.check("urandom differs", both == (Ok(32), Ok(32)) && first != second, || {
        format!("{both:?} {first:?}")
    });
    report.equal(
        "null is a character device",
        status(c"/dev/null", 0).map(|status| (status.st_mode & libc::S_IFMT, status.st_rdev)),
        Ok((libc::S_IFCHR, 0x103)),
    );
    for descriptor in [null, zero, full, random] {
        let _ = close(descriptor);
    }
}
