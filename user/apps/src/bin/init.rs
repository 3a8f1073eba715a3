//! Process 1: mounts what programs expect, then runs one command or a login shell, and reaps whatever is left behind.
//!
//! Command mode: `/.asyncos/command` holds NUL-terminated arguments; init runs them and ends with the program's status
//! (128 + the signal when it was killed, 127 when it was not found, 126 when it could not be executed). Beside it may stand
//! `stdin` (the program's standard input), `environment` (NUL-terminated `NAME=value`) and `raw-output` (an empty file: no
//! newline translation on the console although the console is the program's standard input).
//! Otherwise init runs its own arguments, or a shell on the console, and ends with its status.

use std::ffi::{CStr, CString};
use std::path::Path;

use asyncos_apps::call;
use asyncos_apps::system::{
    self, Child, Errno, close, execute, exit_now, fork, handle_signal, mount, open, sleep_ns, wait_any,
};

const COMMAND: &str = "/.asyncos/command";
const ENVIRONMENT: &str = "/.asyncos/environment";
const STDIN: &CStr = c"/.asyncos/stdin";
const RAW_OUTPUT: &str = "/.asyncos/raw-output";
const STDERR: &CStr = c"/dev/asyncos/stderr";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// What process 1 was asked to run.
struct Program {
    /// The file, or a name to look for in `PATH`.
    file: String,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Where it starts, if that exists.
    directory: &'static CStr,
    /// Whether standard input and error come from the places of command mode.
    redirected: bool,
}

fn main() {
    if std::process::id() != 1 {
        eprintln!("init: must be process 1");
        exit_now(1);
    }
    mount_all();
    open_console();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2] {
        if let Err(error) = handle_signal(signal, end_the_system, 0) {
            eprintln!("init: signal {signal}: {error}");
        }
    }
    let status = match chosen_program() {
        Ok(program) => run(&program),
        Err(message) => {
            eprintln!("init: {message}");
            1
        }
    };
    let _ = call!(SYS_sync);
    exit_now(status);
}

/// Mounts the file systems that programs expect; what is there already or unknown to the kernel is no reason to stop.
fn mount_all() {
    let mounts: [(&CStr, &CStr, u64); 6] = [
        (c"proc", c"/proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC),
        (c"sysfs", c"/sys", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC),
        (c"devtmpfs", c"/dev", libc::MS_NOSUID),
        (c"devpts", c"/dev/pts", libc::MS_NOSUID | libc::MS_NOEXEC),
        (c"tmpfs", c"/tmp", libc::MS_NOSUID | libc::MS_NODEV),
        (c"tmpfs", c"/run", libc::MS_NOSUID | libc::MS_NODEV),
    ];
    let mut failures = Vec::new();
    for (kind, target, flags) in mounts {
        if let Err(error) = call!(SYS_mkdirat, libc::AT_FDCWD, target, 0o755)
            && error != Errno(libc::EEXIST)
        {
            failures.push((target, error));
        }
        match mount(kind, target, flags) {
            Ok(()) | Err(Errno(libc::EBUSY)) => {}
            Err(error) => failures.push((target, error)),
        }
    }
    let _ = call!(SYS_fchmodat, libc::AT_FDCWD, c"/tmp", 0o1777);
    for (target, error) in failures {
        eprintln!("init: mounting {}: {error}", target.to_string_lossy());
    }
}

/// Makes the console descriptors 0, 1 and 2; what the kernel opened stays when there is no console device.
fn open_console() {
    match open(c"/dev/console", libc::O_RDWR | libc::O_NOCTTY) {
        Ok(console) => {
            for descriptor in 0..3 {
                if descriptor != console {
                    let _ = call!(SYS_dup3, console, descriptor, 0);
                }
            }
            if console > 2 {
                let _ = close(console);
            }
        }
        Err(error) => eprintln!("init: /dev/console: {error}"),
    }
}

/// The command of command mode, init's own arguments, or a shell; an error message when there is nothing to run.
fn chosen_program() -> Result<Program, String> {
    if Path::new(COMMAND).exists() {
        let arguments = texts_of(COMMAND)?;
        let file =
            arguments.first().ok_or(format!("{COMMAND}: no command in it"))?.to_string_lossy().into_owned();
        return Ok(Program {
            file,
            arguments,
            environment: environment()?,
            directory: c"/",
            redirected: true,
        });
    }
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let Some(file) = given.first().cloned() {
        let arguments = given
            .into_iter()
            .map(|argument| CString::new(argument).expect("arguments have no NUL"))
            .collect();
        return Ok(Program {
            file,
            arguments,
            environment: environment()?,
            directory: c"/",
            redirected: false,
        });
    }
    let shells = ["/bin/busybox", "/usr/bin/busybox", "/bin/sh", "/usr/bin/sh", "/bin/bash"];
    let shell = shells.into_iter().find(|shell| Path::new(shell).exists());
    let file =
        shell.ok_or("no command to run, and no shell: neither busybox nor /bin/sh is in the root image")?;
    Ok(Program {
        file: file.to_string(),
        arguments: vec![c"-sh".to_owned()],
        environment: environment()?,
        directory: c"/root",
        redirected: false,
    })
}

/// The NUL-terminated texts of a file; the last one may lack its NUL.
fn texts_of(path: &str) -> Result<Vec<CString>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    Ok(bytes.split(|byte| *byte == 0).map(|text| CString::new(text).expect("split at every NUL")).collect())
}

/// The environment of the program: the defaults, then what `/.asyncos/environment` sets or overrides.
fn environment() -> Result<Vec<CString>, String> {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let terminal = line.split_whitespace().find_map(|word| word.strip_prefix("TERM=")).unwrap_or("vt100");
    let defaults = [format!("PATH={PATH}"), "HOME=/root".to_string(), format!("TERM={terminal}")];
    let mut texts: Vec<CString> = defaults
        .into_iter()
        .map(|text| CString::new(text).expect("the kernel's command line has no NUL"))
        .collect();
    if Path::new(ENVIRONMENT).exists() {
        for text in texts_of(ENVIRONMENT)? {
            let name =
                text.to_bytes().split_inclusive(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
            texts.retain(|other| !other.to_bytes().starts_with(&name));
            texts.push(text);
        }
    }
    Ok(texts)
}

/// Runs the program as the leader of a session on the console; its status once it ended.
fn run(program: &Program) -> i32 {
    let stdin = program.redirected && path_exists(STDIN);
    if stdin {
        set_console(ConsoleMode::Raw);
    } else if program.redirected && Path::new(RAW_OUTPUT).exists() {
        set_console(ConsoleMode::RawOutput);
    }
    match fork() {
        Ok(None) => start(program, stdin),
        Ok(Some(child)) => reap_until(child),
        Err(error) => {
            eprintln!("init: fork: {error}");
            1
        }
    }
}

fn path_exists(path: &CStr) -> bool {
    call!(SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK).is_ok()
}

/// The child's side of `run`.
fn start(program: &Program, stdin: bool) -> ! {
    // `SIGPIPE` too: Rust's runtime ignores it, and what is ignored stays so in the program.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE] {
        let _ = system::default_signal(signal);
    }
    let _ = call!(SYS_setsid);
    let _ = call!(SYS_ioctl, 0, libc::TIOCSCTTY as usize, 0);
    if stdin {
        redirect(STDIN, libc::O_RDONLY, 0);
    }
    if program.redirected && path_exists(STDERR) {
        redirect(STDERR, libc::O_WRONLY, 2);
    }
    let _ = call!(SYS_chdir, program.directory);
    let error = search_and_execute(program);
    eprintln!("init: {}: {error}", program.file);
    exit_now(if error == Errno(libc::ENOENT) { NOT_FOUND } else { NOT_EXECUTABLE });
}

fn redirect(path: &CStr, flags: i32, descriptor: i32) {
    let opened = open(path, flags | libc::O_CLOEXEC).and_then(|file| call!(SYS_dup3, file, descriptor, 0));
    if let Err(error) = opened {
        eprintln!("init: {}: {error}", path.to_string_lossy());
        exit_now(NOT_EXECUTABLE);
    }
}

/// Executes the program as a shell would: a name without a slash is looked for along `PATH`. Returns only on failure.
fn search_and_execute(program: &Program) -> Errno {
    if program.file.contains('/') {
        return execute_file(&program.file, program);
    }
    let path =
        program.environment.iter().find_map(|text| text.to_str().ok()?.strip_prefix("PATH=")).unwrap_or(PATH);
    let mut answer = Errno(libc::ENOENT);
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        match execute_file(&format!("{directory}/{}", program.file), program) {
            Errno(libc::ENOENT | libc::ENOTDIR) => {}
            // A file that may not be executed does not hide one further along, but it is what to report.
            error @ Errno(libc::EACCES) => answer = error,
            error => return error,
        }
    }
    answer
}

/// Executes one file, by `/bin/sh` when it has no format that the kernel knows.
fn execute_file(file: &str, program: &Program) -> Errno {
    let Ok(path) = CString::new(file) else { return Errno(libc::ENOENT) };
    let error = execute(&path, &program.arguments, &program.environment);
    if error != Errno(libc::ENOEXEC) {
        return error;
    }
    let mut arguments = vec![c"sh".to_owned(), path];
    arguments.extend(program.arguments.iter().skip(1).cloned());
    match execute(c"/bin/sh", &arguments, &program.environment) {
        Errno(libc::ENOENT) => error,
        other => other,
    }
}

/// Reaps every process that ends until `child` does; its status as a shell gives it.
fn reap_until(child: Child) -> i32 {
    loop {
        match wait_any(0) {
            Ok(Some((ended_child, ended))) if ended_child == child => return ended.shell_status(),
            Ok(_) | Err(Errno(libc::EINTR)) => {}
            Err(error) => {
                eprintln!("init: wait: {error}");
                return 1;
            }
        }
    }
}

enum ConsoleMode {
    /// Bytes pass unchanged both ways, and none is a signal.
    Raw,
    /// Only the output passes unchanged.
    RawOutput,
}

/// Sets the console's mode; a console that is no terminal is raw already.
fn set_console(mode: ConsoleMode) {
    /// The kernel's `struct termios` of riscv64, which is shorter than the C library's.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Termios {
        input: u32,
        output: u32,
        control: u32,
        local: u32,
        line: u8,
        characters: [u8; 19],
    }
    let mut settings = Termios::default();
    if call!(SYS_ioctl, 1, libc::TCGETS as usize, &mut settings).is_err() {
        return;
    }
    settings.output &= !libc::OPOST;
    if matches!(mode, ConsoleMode::Raw) {
        settings.input &= !(libc::IGNBRK | libc::BRKINT | libc::PARMRK | libc::ISTRIP);
        settings.input &= !(libc::INLCR | libc::IGNCR | libc::ICRNL | libc::IXON);
        settings.local &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
    }
    if let Err(error) = call!(SYS_ioctl, 1, libc::TCSETS as usize, &settings) {
        eprintln!("init: setting the console's mode: {error}");
    }
}

/// Ends the system as BusyBox's `halt`, `poweroff` and `reboot` ask process 1 to (SIGUSR1, SIGUSR2, SIGTERM), and as
/// control-alt-delete does (SIGINT): everyone gets SIGTERM, half a second, then SIGKILL.
///
/// All of it happens in the handler, which only makes system calls, so no request can be lost between a check and a wait.
extern "C" fn end_the_system(signal: i32) {
    let _ = call!(SYS_kill, -1, libc::SIGTERM);
    let _ = call!(SYS_kill, -1, libc::SIGCONT);
    sleep_ns(500_000_000);
    let _ = call!(SYS_kill, -1, libc::SIGKILL);
    let _ = call!(SYS_sync);
    let command = match signal {
        libc::SIGUSR1 => libc::LINUX_REBOOT_CMD_HALT,
        libc::SIGUSR2 => libc::LINUX_REBOOT_CMD_POWER_OFF,
        _ => libc::LINUX_REBOOT_CMD_RESTART,
    };
    let (first, second) = (libc::LINUX_REBOOT_MAGIC1 as u32, libc::LINUX_REBOOT_MAGIC2 as u32);
    let _ = call!(SYS_reboot, first, second, command as u32, 0);
    exit_now(128 + signal);
}
