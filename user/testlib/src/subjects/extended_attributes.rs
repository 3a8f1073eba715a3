//! Extended attributes on files in memory.

use crate::check::{equal, fails, need, succeeds};
use crate::runner::{Test, test};
use crate::socket::{close_all, ended};
use asyncos_apps::call;
use asyncos_apps::system::{Ended, Errno, become_user, in_child, open};
use std::ffi::CStr;

/// The tests of this subject.
pub const TESTS: &[Test] = &[test("values", values), test("names", names), test("rights", rights)];

const PATH: &CStr = c"/tmp/testlib-attributes";
const LINK: &CStr = c"/tmp/testlib-attributes-link";

/// A file without attributes.
fn fresh() -> i32 {
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, PATH, 0);
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, LINK, 0);
    need(open(PATH, libc::O_CREAT | libc::O_RDWR))
}

fn set(name: &CStr, value: &[u8], flags: i32) -> Result<usize, Errno> {
    call!(SYS_setxattr, PATH, name, value, value.len(), flags)
}

fn get(name: &CStr, room: usize) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0u8; room];
    let count = call!(SYS_getxattr, PATH, name, value.as_mut_slice(), room)?;
    value.truncate(count);
    Ok(value)
}

fn list(room: usize) -> Result<Vec<u8>, Errno> {
    let mut names = vec![0u8; room];
    let count = call!(SYS_listxattr, PATH, names.as_mut_slice(), room)?;
    names.truncate(count);
    Ok(names)
}

fn values() {
    let file = fresh();
    fails("one that is not there", get(c"user.a", 10), libc::ENODATA);
    equal("none is listed", list(100), Ok(vec![]));
    succeeds("a value", set(c"user.a", b"value", 0));
    equal("is got", get(c"user.a", 10), Ok(b"value".to_vec()));
    equal("its length is told", call!(SYS_getxattr, PATH, c"user.a", 0, 0), Ok(5));
    fails("too little room", get(c"user.a", 4), libc::ERANGE);
    fails("it is there already", set(c"user.a", b"x", libc::XATTR_CREATE), libc::EEXIST);
    fails("another is not", set(c"user.b", b"x", libc::XATTR_REPLACE), libc::ENODATA);
    succeeds("it is replaced", set(c"user.a", b"other", libc::XATTR_REPLACE));
    succeeds("by its descriptor", call!(SYS_fsetxattr, file, c"user.b", b"".as_slice(), 0, 0));
    equal("an empty value is one", get(c"user.b", 10), Ok(vec![]));
    let mut all = need(list(100));
    all.sort_unstable();
    let mut wanted = b"user.a\0user.b\0".to_vec();
    wanted.sort_unstable();
    equal("both are listed", all, wanted);
    equal("the length of the list", call!(SYS_flistxattr, file, 0, 0), Ok(14));
    fails("too little room for it", list(13), libc::ERANGE);
    succeeds("one is removed", call!(SYS_removexattr, PATH, c"user.a"));
    fails("once", call!(SYS_fremovexattr, file, c"user.a"), libc::ENODATA);
    equal("the other remains", list(100), Ok(b"user.b\0".to_vec()));
    let large = vec![7u8; 65_536];
    succeeds("a large value", set(c"user.large", &large, 0));
    equal("is got whole", get(c"user.large", 65_536).map(|value| value == large), Ok(true));
    fails("a larger one", set(c"user.more", &vec![7u8; 65_537], 0), libc::E2BIG);
    close_all(&[file]);
    need(call!(SYS_unlinkat, libc::AT_FDCWD, PATH, 0));
}

fn names() {
    let file = fresh();
    fails("an unknown space", set(c"other.a", b"x", 0), libc::EOPNOTSUPP);
    fails("no space", set(c"a", b"x", 0), libc::EOPNOTSUPP);
    fails("an empty name", set(c"", b"x", 0), libc::ERANGE);
    fails("a space without a name", set(c"user.", b"x", 0), libc::EINVAL);
    let long = std::ffi::CString::new(format!("user.{}", "n".repeat(251))).expect("no NUL in it");
    fails("a long name", set(&long, b"x", 0), libc::ERANGE);
    let long = std::ffi::CString::new(format!("user.{}", "n".repeat(250))).expect("no NUL in it");
    succeeds("one not so long", set(&long, b"x", 0));
    fails("unknown flags", set(c"user.a", b"x", 4), libc::EINVAL);
    fails("a name that cannot be read", call!(SYS_setxattr, PATH, 8, b"x".as_slice(), 1, 0), libc::EFAULT);
    fails("a value that cannot be read", call!(SYS_setxattr, PATH, c"user.a", 8, 1, 0), libc::EFAULT);
    fails("a file that is not there", call!(SYS_getxattr, c"/tmp/nothing", c"user.a", 0, 0), libc::ENOENT);
    fails("no descriptor", call!(SYS_fgetxattr, 999, c"user.a", 0, 0), libc::EBADF);
    need(call!(SYS_symlinkat, PATH, libc::AT_FDCWD, LINK));
    succeeds("through a link", call!(SYS_setxattr, LINK, c"user.through", b"x".as_slice(), 1, 0));
    equal("is the file's", get(c"user.through", 10), Ok(b"x".to_vec()));
    fails(
        "a link has none of a user",
        call!(SYS_lsetxattr, LINK, c"user.a", b"x".as_slice(), 1, 0),
        libc::EPERM,
    );
    succeeds("but trusted ones", call!(SYS_lsetxattr, LINK, c"trusted.a", b"x".as_slice(), 1, 0));
    fails("which are its own", get(c"trusted.a", 10), libc::ENODATA);
    close_all(&[file]);
    need(call!(SYS_unlinkat, libc::AT_FDCWD, PATH, 0));
    need(call!(SYS_unlinkat, libc::AT_FDCWD, LINK, 0));
}

fn rights() {
    let file = fresh();
    need(set(c"user.a", b"x", 0));
    need(set(c"trusted.t", b"x", 0));
    need(call!(SYS_fchmod, file, 0o644));
    let as_user = |body: fn() -> bool| {
        ended(in_child(|| {
            need(become_user(1000));
            i32::from(!body())
        }))
    };
    let good = Ended::Exited(0);
    equal("who may read gets it", as_user(|| get(c"user.a", 4).is_ok()), good);
    equal(
        "who may not write does not set it",
        as_user(|| set(c"user.a", b"y", 0) == Err(Errno(libc::EACCES))),
        good,
    );
    equal("trusted ones are not there", as_user(|| get(c"trusted.t", 4) == Err(Errno(libc::ENODATA))), good);
    equal("nor set", as_user(|| set(c"trusted.t", b"y", 0) == Err(Errno(libc::EPERM))), good);
    equal("nor listed", as_user(|| list(100) == Ok(b"user.a\0".to_vec())), good);
    need(call!(SYS_fchmod, file, 0o600));
    equal(
        "who may not read does not get it",
        as_user(|| get(c"user.a", 4) == Err(Errno(libc::EACCES))),
        good,
    );
    close_all(&[file]);
    need(call!(SYS_unlinkat, libc::AT_FDCWD, PATH, 0));
}
