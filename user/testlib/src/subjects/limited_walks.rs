//! `openat2`: opening with limits on the walk.

use crate::check::{equal, fails, need, succeeds};
use crate::runner::{Test, test};
use crate::socket::close_all;
use asyncos_apps::call;
use asyncos_apps::system::{Errno, close, open};
use std::ffi::CStr;

/// The tests of this subject.
pub const TESTS: &[Test] = &[test("arguments", arguments), test("limits", limits), test("scopes", scopes)];

/// `struct open_how`
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
    further: u64,
}

const NO_MOUNTS: u64 = 1;
const NO_PLACES: u64 = 2;
const NO_LINKS: u64 = 4;
const BENEATH: u64 = 8;
const IN_ROOT: u64 = 16;
const CACHED: u64 = 32;

const TOP: &CStr = c"/tmp/testlib-walks";

fn open_how(directory: i32, path: &CStr, how: &How, size: usize) -> Result<i32, Errno> {
    call!(SYS_openat2, directory, path, how, size).map(|file| file as i32)
}

fn open_limited(directory: i32, path: &CStr, resolve: u64) -> Result<(), Errno> {
    let how = How { flags: libc::O_RDONLY as u64, resolve, ..How::default() };
    open_how(directory, path, &how, 24).and_then(close)
}

/// A tree: `TOP/inner/file`, links beside it. Gives the descriptor of `TOP`.
fn tree() -> i32 {
    clear();
    need(call!(SYS_mkdirat, libc::AT_FDCWD, TOP, 0o755));
    let top = need(open(TOP, libc::O_RDONLY | libc::O_DIRECTORY));
    need(call!(SYS_mkdirat, top, c"inner", 0o755));
    let file = need(call!(SYS_openat, top, c"inner/file", libc::O_CREAT | libc::O_WRONLY, 0o644));
    need(close(file as i32));
    for (target, name) in [
        (c"inner/file", c"link"),
        (c"/inner/file", c"absolute"),
        (c"../..", c"out"),
        (c"/proc/self/fd", c"descriptors"),
    ] {
        need(call!(SYS_symlinkat, target, top, name));
    }
    top
}

fn clear() {
    for path in [
        c"/tmp/testlib-walks/inner/file",
        c"/tmp/testlib-walks/link",
        c"/tmp/testlib-walks/absolute",
        c"/tmp/testlib-walks/out",
        c"/tmp/testlib-walks/descriptors",
    ] {
        let _ = call!(SYS_unlinkat, libc::AT_FDCWD, path, 0);
    }
    for path in [c"/tmp/testlib-walks/inner", TOP] {
        let _ = call!(SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR);
    }
}

fn arguments() {
    let top = tree();
    let plain = How::default();
    let file = c"inner/file";
    succeeds("nothing special", open_how(top, file, &plain, 24).and_then(close));
    fails("a structure that is too short", open_how(top, file, &plain, 23), libc::EINVAL);
    succeeds("a longer one of zeroes", open_how(top, file, &plain, 32).and_then(close));
    fails("or not", open_how(top, file, &How { further: 1, ..plain }, 32), libc::E2BIG);
    fails("one that is much too long", open_how(top, file, &plain, 5000), libc::E2BIG);
    fails("unknown flags", open_how(top, file, &How { flags: 1 << 40, ..plain }, 24), libc::EINVAL);
    fails(
        "permissions for no new file",
        open_how(top, file, &How { mode: 0o644, ..plain }, 24),
        libc::EINVAL,
    );
    let create = How { flags: libc::O_CREAT as u64, mode: 0o1_0000, ..plain };
    fails("permissions that there are not", open_how(top, file, &create, 24), libc::EINVAL);
    fails("unknown limits", open_limited(top, file, 1 << 10), libc::EINVAL);
    fails("two scopes", open_limited(top, file, BENEATH | IN_ROOT), libc::EINVAL);
    succeeds("what is cached", open_limited(top, file, CACHED));
    close_all(&[top]);
    clear();
}

fn limits() {
    let top = tree();
    fails("no link at the end", open_limited(top, c"link", NO_LINKS), libc::ELOOP);
    fails("nor on the way", open_limited(top, c"out/tmp", NO_LINKS), libc::ELOOP);
    succeeds("but what is none", open_limited(top, c"inner/file", NO_LINKS));
    let path = How { flags: (libc::O_PATH | libc::O_NOFOLLOW) as u64, resolve: NO_LINKS, ..How::default() };
    succeeds("the link itself", open_how(top, c"link", &path, 24).and_then(close));
    succeeds("ordinary links", open_limited(top, c"link", NO_PLACES));
    fails("not those of descriptors", open_limited(top, c"/proc/self/fd/0", NO_PLACES), libc::ELOOP);
    fails("nor of programs", open_limited(top, c"/proc/self/exe", NO_PLACES), libc::ELOOP);
    let root = need(open(c"/", libc::O_RDONLY));
    fails("no other mount", open_limited(root, c"proc/self", NO_MOUNTS), libc::EXDEV);
    fails("not even its root", open_limited(root, c"proc", NO_MOUNTS), libc::EXDEV);
    fails("nor upwards", open_limited(need(open(c"/proc", libc::O_RDONLY)), c"..", NO_MOUNTS), libc::EXDEV);
    succeeds("what stays on one", open_limited(top, c"inner/file", NO_MOUNTS));
    fails("no link to another", open_limited(top, c"descriptors/0", NO_MOUNTS), libc::EXDEV);
    close_all(&[top, root]);
    clear();
}

fn scopes() {
    let top = tree();
    succeeds("beneath is what is below", open_limited(top, c"inner/../inner/file", BENEATH));
    fails("not what is above", open_limited(top, c"..", BENEATH), libc::EXDEV);
    fails("not even on the way", open_limited(top, c"../testlib-walks/link", BENEATH), libc::EXDEV);
    fails("nor an absolute path", open_limited(top, c"/tmp", BENEATH), libc::EXDEV);
    fails("nor a link to one", open_limited(top, c"absolute", BENEATH), libc::EXDEV);
    fails("nor one that leads out", open_limited(top, c"out", BENEATH), libc::EXDEV);
    succeeds("a link within", open_limited(top, c"link", BENEATH));
    succeeds("in a root, above is the root", open_limited(top, c"../../inner/file", IN_ROOT));
    succeeds("absolute paths start there", open_limited(top, c"/inner/file", IN_ROOT));
    succeeds("and absolute links", open_limited(top, c"absolute", IN_ROOT));
    succeeds("a link out stays in", open_limited(top, c"out/inner/file", IN_ROOT));
    fails("what is outside is not there", open_limited(top, c"/tmp", IN_ROOT), libc::ENOENT);
    let how = How {
        flags: libc::O_CREAT as u64 | libc::O_WRONLY as u64,
        mode: 0o600,
        resolve: IN_ROOT,
        ..How::default()
    };
    equal("a file is made there", open_how(top, c"/made", &how, 24).and_then(close), Ok(()));
    succeeds("and nowhere else", call!(SYS_unlinkat, top, c"made", 0));
    close_all(&[top]);
    clear();
}
