//! Executing programs: arguments, environment, auxiliary vector, scripts, descriptors, signals, and what is refused.
//!
//! Executes itself: `exec-basic --child WHAT ...` is the other side.

use std::ffi::{CStr, CString};
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use asyncos_apps::system::{
    Child, Ended, Errno, SignalSet, block_signals, close, execute, exit_now, ignore_signal, in_child, open,
    pipe, read, write,
};
use asyncos_apps::{Report, call};

const SELF: &CStr = c"/proc/self/exe";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some("--child") {
        exit_now(other_side(&arguments));
    }
    let mut report = Report::new();
    let _ = std::fs::remove_dir_all("/tmp/exec-basic");
    std::fs::create_dir("/tmp/exec-basic").expect("a scratch directory");
    std::env::set_current_dir("/tmp/exec-basic").expect("it is there");
    passing(&mut report);
    keeping(&mut report);
    refused(&mut report);
    scripts(&mut report);
    let _ = std::env::set_current_dir("/");
    let _ = std::fs::remove_dir_all("/tmp/exec-basic");
    report.finish()
}

/// What the executed program finds, as an exit status.
fn other_side(arguments: &[String]) -> i32 {
    // SAFETY: getauxval reads only the process's own auxiliary vector.
    let auxiliary = |kind| unsafe { libc::getauxval(kind) };
    // A script's own path stands here too, and its name says what is wanted.
    match arguments.get(2).and_then(|what| what.rsplit('/').next()).unwrap_or("") {
        "status" => 42,
        "count" => arguments.len() as i32,
        "last" => arguments.last().map_or(0, |last| (last.len() % 251) as i32),
        "environment" => {
            let value = std::env::var("EXEC_BASIC").unwrap_or_default();
            i32::from(value == "a value") + 10 * std::env::vars().count() as i32
        }
        "page-size" => (auxiliary(libc::AT_PAGESZ) / 1024) as i32,
        "random" => {
            let address = auxiliary(libc::AT_RANDOM) as usize;
            i32::from(address != 0)
        }
        "auxiliary" => {
            let own = auxiliary(libc::AT_UID) == 0
                && auxiliary(libc::AT_EUID) == 0
                && auxiliary(libc::AT_SECURE) == 0;
            let headers = auxiliary(libc::AT_PHENT) == 56
                && auxiliary(libc::AT_PHNUM) > 0
                && auxiliary(libc::AT_PHDR) != 0;
            let program = auxiliary(libc::AT_ENTRY) != 0 && auxiliary(libc::AT_EXECFN) != 0;
            let extensions =
                b"imafdc".iter().all(|letter| auxiliary(libc::AT_HWCAP) >> (letter - b'a') & 1 == 1);
            i32::from(own) + 2 * i32::from(headers) + 4 * i32::from(program) + 8 * i32::from(extensions)
        }
        "descriptors" => {
            i32::from(read(50, &mut [0]).is_ok())
                + 2 * i32::from(read(51, &mut [0]) == Err(Errno(libc::EBADF)))
        }
        "signals" => {
            let mask = block_signals(SignalSet(0)).map_or(0, |mask| mask.0);
            let _ = call!(SYS_kill, std::process::id(), libc::SIGTERM);
            i32::from(mask == SignalSet::of(&[libc::SIGUSR2]).0)
        }
        "same-process" => i32::from(arguments.get(3).is_some_and(|id| *id == std::process::id().to_string())),
        _ => 1,
    }
}

fn texts(texts: &[&str]) -> Vec<CString> {
    texts.iter().map(|text| CString::new(*text).expect("no NUL")).collect()
}

/// Executes this program's other side; how it ended.
fn run(arguments: &[&str], environment: &[&str]) -> Result<Ended, Errno> {
    let (arguments, environment) = (texts(arguments), texts(environment));
    in_child(|| 200 + execute(SELF, &arguments, &environment).0).and_then(Child::wait)
}

fn passing(report: &mut Report) {
    report.equal("a status comes back", run(&["x", "--child", "status"], &[]), Ok(Ended::Exited(42)));
    report.equal("arguments", run(&["x", "--child", "count", "", "b c", "d"], &[]), Ok(Ended::Exited(6)));
    let long = "y".repeat(100_000);
    report.equal(
        "a long argument",
        run(&["x", "--child", "last", &long], &[]),
        Ok(Ended::Exited(100_000 % 251)),
    );
    let many: Vec<&str> =
        ["x", "--child", "last"].into_iter().chain(std::iter::repeat_n("word", 20_000)).collect();
    report.equal("20,000 arguments", run(&many, &[]), Ok(Ended::Exited(4)));
    let environment = ["A=1", "EXEC_BASIC=a value"];
    report.equal(
        "the environment",
        run(&["x", "--child", "environment"], &environment),
        Ok(Ended::Exited(21)),
    );
    report.equal("an empty one", run(&["x", "--child", "environment"], &[]), Ok(Ended::Exited(0)));
    report.equal("the page size", run(&["x", "--child", "page-size"], &[]), Ok(Ended::Exited(4)));
    report.equal("random bytes", run(&["x", "--child", "random"], &[]), Ok(Ended::Exited(1)));
    report.equal("the auxiliary vector", run(&["x", "--child", "auxiliary"], &[]), Ok(Ended::Exited(15)));
    let same = in_child(|| {
        let own = std::process::id().to_string();
        200 + execute(SELF, &texts(&["x", "--child", "same-process", &own]), &[]).0
    });
    report.equal("the process stays the same", same.and_then(Child::wait), Ok(Ended::Exited(1)));
}

fn keeping(report: &mut Report) {
    let kept = in_child(|| {
        let Ok(file) = open(c"/dev/zero", libc::O_RDONLY) else { return 100 };
        let both = call!(SYS_dup3, file, 50, 0).and(call!(SYS_dup3, file, 51, libc::O_CLOEXEC));
        if both.is_err() {
            return 101;
        }
        200 + execute(SELF, &texts(&["x", "--child", "descriptors"]), &[]).0
    });
    report.equal("close-on-exec closes, others stay", kept.and_then(Child::wait), Ok(Ended::Exited(3)));
    let signals = in_child(|| {
        let _ = (ignore_signal(libc::SIGTERM), block_signals(SignalSet::of(&[libc::SIGUSR2])));
        200 + execute(SELF, &texts(&["x", "--child", "signals"]), &[]).0
    });
    report.equal("ignored and blocked signals stay so", signals.and_then(Child::wait), Ok(Ended::Exited(1)));
    let (reader, writer) = pipe(libc::O_CLOEXEC).expect("a pipe");
    let child = in_child(|| 200 + execute(SELF, &texts(&["x", "--child", "status"]), &[]).0);
    let _ = close(writer);
    report.equal("an executed program lets go of a pipe", read(reader, &mut [0]), Ok(0));
    report.equal("it ran", child.and_then(Child::wait), Ok(Ended::Exited(42)));
    let failed = in_child(|| {
        let error = execute(c"/nonexistent", &texts(&["x"]), &[]);
        i32::from(error == Errno(libc::ENOENT)) * 7
    });
    report.equal("a failed call changes nothing", failed.and_then(Child::wait), Ok(Ended::Exited(7)));
}

fn file(name: &CStr, mode: u32, content: &[u8]) {
    let path = name.to_str().expect("plain text");
    std::fs::write(path, content).expect("space for a little file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn refused(report: &mut Report) {
    let attempt = |path: &CStr| execute(path, &texts(&["x"]), &[]);
    file(c"text", 0o644, b"not executable\n");
    file(c"empty", 0o755, b"");
    file(c"nothing", 0o755, b"no format at all\n");
    file(c"short", 0o755, b"\x7fELF\x02\x01\x01");
    let mut foreign = vec![0u8; 4096];
    foreign[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    file(c"foreign", 0o755, &foreign);
    report.equal("nothing there", attempt(c"nowhere"), Errno(libc::ENOENT));
    report.equal("not executable", attempt(c"text"), Errno(libc::EACCES));
    report.equal("a directory", attempt(c"/tmp"), Errno(libc::EACCES));
    report.equal("through a file", attempt(c"text/x"), Errno(libc::ENOTDIR));
    report.equal("an empty file", attempt(c"empty"), Errno(libc::ENOEXEC));
    report.equal("no known format", attempt(c"nothing"), Errno(libc::ENOEXEC));
    report.equal("a cut ELF file", attempt(c"short"), Errno(libc::ENOEXEC));
    report.equal("another machine's", attempt(c"foreign"), Errno(libc::ENOEXEC));
    let busy = open(c"busy", libc::O_WRONLY | libc::O_CREAT).expect("a file");
    file(c"busy", 0o755, &foreign);
    report.equal("open for writing", attempt(c"busy"), Errno(libc::ETXTBSY));
    let _ = close(busy);
    let huge = vec![CString::new("z".repeat(120_000)).expect("no NUL"); 100];
    report.equal("12 MB of arguments", execute(SELF, &huge, &[]), Errno(libc::E2BIG));
    let one = vec![CString::new("z".repeat(140_000)).expect("no NUL")];
    report.equal("an argument past 128 KiB", execute(SELF, &one, &[]), Errno(libc::E2BIG));
}

fn scripts(report: &mut Report) {
    let own = std::env::current_exe().expect("it runs");
    let own = own.to_str().expect("a plain path").to_string();
    let run = |path: &'static CStr, arguments: &[&str]| {
        let arguments = texts(arguments);
        in_child(|| execute(path, &arguments, &[]).0).and_then(Child::wait)
    };
    // The kernel gives the whole rest of the line as one argument; the script's path and its arguments follow.
    file(c"script", 0o755, format!("#!{own} --child\nrest\n").as_bytes());
    let ended = run(c"script", &["x", "status"]);
    report.equal("an interpreter gets the script's path", ended, Ok(Ended::Exited(1)));
    std::fs::copy("script", "status").expect("a copy");
    report.equal("as its first argument", run(c"status", &["x"]), Ok(Ended::Exited(42)));
    std::fs::copy("script", "count").expect("a copy");
    report.equal(
        "then the arguments, without the first",
        run(c"count", &["x", "a", "b"]),
        Ok(Ended::Exited(5)),
    );
    file(c"spaced", 0o755, format!("#!  {own}  --child  \n").as_bytes());
    std::fs::rename("spaced", "last").expect("a rename");
    report.equal("blanks around do not count", run(c"last", &["x", "1234567"]), Ok(Ended::Exited(7)));
    file(c"lost", 0o755, b"#!/nonexistent/interpreter\n");
    report.equal("no such interpreter", run(c"lost", &["x"]), Ok(Ended::Exited(libc::ENOENT)));
    file(c"bare", 0o755, b"#!\n");
    report.equal("no interpreter", run(c"bare", &["x"]), Ok(Ended::Exited(libc::ENOEXEC)));
    file(c"loop", 0o755, b"#!/tmp/exec-basic/loop\n");
    report.equal("its own interpreter", run(c"loop", &["x"]), Ok(Ended::Exited(libc::ELOOP)));
    file(c"chain", 0o755, b"#!/tmp/exec-basic/status\n");
    let chained = run(c"chain", &["x"]);
    report.equal("a script for a script", chained, Ok(Ended::Exited(42)));
    let wrote = write(1, b"");
    report.equal("standard output is as it was", wrote, Ok(0));
}
