//! The terminal: settings, window size, job control, and what goes in and out, on the console this runs on.
//!
//! `terminal-basic` must have a terminal as standard output and as its controlling terminal; without one it says so and fails.
//! Nothing may be typed meanwhile: what is tested of input is its absence.

use std::process::ExitCode;

use asyncos_apps::system::{
    Child, Ended, Errno, SignalSet, block_signals, default_signal, ignore_signal, in_child, open, read,
    sleep_ns, write,
};
use asyncos_apps::{Report, call};

/// The kernel's `struct termios`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct WindowSize {
    rows: u16,
    columns: u16,
    pixels: [u16; 2],
}

fn main() -> ExitCode {
    let mut report = Report::new();
    let Ok(terminal) = open(c"/dev/tty", libc::O_RDWR) else {
        eprintln!(
            "terminal-basic: no controlling terminal (start it from a shell with job control, or by setsid -c)"
        );
        return ExitCode::from(2);
    };
    let Ok(original) = settings(terminal) else {
        eprintln!("terminal-basic: /dev/tty has no settings");
        return ExitCode::from(2);
    };
    modes(&mut report, terminal, original);
    window(&mut report, terminal);
    input(&mut report, terminal, original);
    job_control(&mut report, terminal);
    sessions(&mut report);
    report.equal("the settings are as they were", restore(terminal, original), Ok(original));
    report.finish()
}

fn settings(terminal: i32) -> Result<Settings, Errno> {
    let mut settings = Settings::default();
    call!(SYS_ioctl, terminal, libc::TCGETS as usize, &mut settings).map(|_| settings)
}

fn restore(terminal: i32, wanted: Settings) -> Result<Settings, Errno> {
    call!(SYS_ioctl, terminal, libc::TCSETSW as usize, &wanted)?;
    settings(terminal)
}

fn modes(report: &mut Report, terminal: i32, original: Settings) {
    let mut raw = original;
    raw.local &= !(libc::ICANON | libc::ECHO | libc::ISIG);
    raw.characters[libc::VMIN] = 1;
    raw.characters[libc::VTIME] = 0;
    report.equal("raw settings are kept", restore(terminal, raw), Ok(raw));
    let mut changed = original;
    changed.characters[libc::VINTR] = 0x18;
    changed.output ^= libc::OPOST;
    report.equal("characters and output too", restore(terminal, changed), Ok(changed));
    report.succeeds("TCSETSF", call!(SYS_ioctl, terminal, libc::TCSETSF as usize, &original));
    report.equal(
        "a file is no terminal",
        open(c"/proc/self/exe", libc::O_RDONLY).and_then(settings),
        Err(Errno(libc::ENOTTY)),
    );
    report.equal(
        "/dev/null neither",
        open(c"/dev/null", libc::O_RDWR).and_then(settings),
        Err(Errno(libc::ENOTTY)),
    );
    report.fails("an unknown ioctl", call!(SYS_ioctl, terminal, 0x5499, 0), libc::ENOTTY);
    report.succeeds("flushing", call!(SYS_ioctl, terminal, libc::TCFLSH as usize, libc::TCIFLUSH));
    report.fails(
        "flushing what is not there",
        call!(SYS_ioctl, terminal, libc::TCFLSH as usize, 99),
        libc::EINVAL,
    );
    report.succeeds("draining", call!(SYS_ioctl, terminal, libc::TCSBRK as usize, 1));
}

fn window(report: &mut Report, terminal: i32) {
    let size = || {
        let mut size = WindowSize::default();
        call!(SYS_ioctl, terminal, libc::TIOCGWINSZ as usize, &mut size).map(|_| size)
    };
    let before = size().unwrap_or_default();
    report.equal("the window's size can be asked", size(), Ok(before));
    let wanted = WindowSize { rows: 33, columns: 99, pixels: [0; 2] };
    report.succeeds("and set", call!(SYS_ioctl, terminal, libc::TIOCSWINSZ as usize, &wanted));
    report.equal("it is what was set", size(), Ok(wanted));
    let _ = call!(SYS_ioctl, terminal, libc::TIOCSWINSZ as usize, &before);
}

fn input(report: &mut Report, terminal: i32, original: Settings) {
    let mut timed = original;
    timed.local &= !(libc::ICANON | libc::ECHO);
    timed.characters[libc::VMIN] = 0;
    timed.characters[libc::VTIME] = 1;
    let _ = restore(terminal, timed);
    let started = asyncos_apps::system::now_ns();
    report.equal("VMIN 0, VTIME 1: nothing comes", read(terminal, &mut [0; 8]), Ok(0));
    let waited = asyncos_apps::system::now_ns() - started;
    report.check("after a tenth of a second", waited >= 90_000_000, || format!("{waited} ns"));
    timed.characters[libc::VTIME] = 0;
    let _ = restore(terminal, timed);
    report.equal("VMIN 0, VTIME 0: at once", read(terminal, &mut [0; 8]), Ok(0));
    let _ = restore(terminal, original);
    let mut waiting = -1i32;
    let asked = call!(SYS_ioctl, terminal, libc::FIONREAD as usize, &mut waiting);
    report.equal("nothing is waiting", asked.map(|_| waiting), Ok(0));
    let quick = open(c"/dev/tty", libc::O_RDWR | libc::O_NONBLOCK);
    report.fails("reading without waiting", quick.and_then(|quick| read(quick, &mut [0; 8])), libc::EAGAIN);
    let mut entry = libc::pollfd { fd: terminal, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    let polled = call!(SYS_ppoll, &mut entry, 1, &[0u64; 2], 0, 8);
    report.equal("it can be written, not read", polled.map(|_| entry.revents), Ok(libc::POLLOUT));
    report.equal("writing", write(terminal, b"# written to the terminal\n"), Ok(26));
}

fn foreground(terminal: i32) -> Result<i32, Errno> {
    let mut group = 0i32;
    call!(SYS_ioctl, terminal, libc::TIOCGPGRP as usize, &mut group).map(|_| group)
}

fn job_control(report: &mut Report, terminal: i32) {
    let own = call!(SYS_getpgid, 0).map(|group| group as i32);
    report.equal("this is the foreground group", foreground(terminal), own);
    let mut session = 0i32;
    let asked = call!(SYS_ioctl, terminal, libc::TIOCGSID as usize, &mut session).map(|_| session as usize);
    report.equal("of the terminal's session", asked, call!(SYS_getsid, 0));
    let background = in_child(|| {
        let _ = (call!(SYS_setpgid, 0, 0), default_signal(libc::SIGTTIN));
        i32::from(read(terminal, &mut [0; 8]).is_ok())
    })
    .expect("a child");
    let stopped = background.wait_with(libc::WUNTRACED);
    report.equal("reading in the background stops", stopped, Ok(Some(Ended::Stopped(libc::SIGTTIN))));
    let _ = (background.signal(libc::SIGKILL), background.wait());
    let ignoring = in_child(|| {
        let _ = (call!(SYS_setpgid, 0, 0), ignore_signal(libc::SIGTTIN));
        read(terminal, &mut [0; 8]).err().map_or(0, |error| error.0)
    });
    report.equal(
        "or fails when that is ignored",
        ignoring.and_then(Child::wait),
        Ok(Ended::Exited(libc::EIO)),
    );
    let setting = in_child(|| {
        let _ = (call!(SYS_setpgid, 0, 0), default_signal(libc::SIGTTOU));
        let Ok(settings) = settings(terminal) else { return 1 };
        i32::from(call!(SYS_ioctl, terminal, libc::TCSETS as usize, &settings).is_ok())
    })
    .expect("a child");
    let stopped = setting.wait_with(libc::WUNTRACED);
    report.equal(
        "changing settings in the background stops",
        stopped,
        Ok(Some(Ended::Stopped(libc::SIGTTOU))),
    );
    let _ = (setting.signal(libc::SIGKILL), setting.wait());
    handing_over(report, terminal, own);
}

fn handing_over(report: &mut Report, terminal: i32, own: Result<i32, Errno>) {
    let child = in_child(|| {
        let _ = call!(SYS_setpgid, 0, 0);
        let _ = block_signals(SignalSet::of(&[libc::SIGTTOU]));
        let group = std::process::id() as i32;
        let taken = call!(SYS_ioctl, terminal, libc::TIOCSPGRP as usize, &group);
        sleep_ns(1_000_000);
        i32::from(taken.is_err() || foreground(terminal) != Ok(group))
    });
    report.equal("the foreground can be handed over", child.and_then(Child::wait), Ok(Ended::Exited(0)));
    let _ = block_signals(SignalSet::of(&[libc::SIGTTOU]));
    let back = call!(SYS_ioctl, terminal, libc::TIOCSPGRP as usize, &own.unwrap_or(0));
    report.succeeds("and taken back", back);
    report.equal("the foreground is here again", foreground(terminal), own);
    let _ = asyncos_apps::system::unblock_signals(SignalSet::of(&[libc::SIGTTOU]));
    let nobody = 4_000_000i32;
    report.fails(
        "a group of nobody",
        call!(SYS_ioctl, terminal, libc::TIOCSPGRP as usize, &nobody),
        libc::ESRCH,
    );
}

fn sessions(report: &mut Report) {
    let child = in_child(|| {
        let _ = call!(SYS_setsid);
        match open(c"/dev/tty", libc::O_RDWR) {
            Err(Errno(libc::ENXIO)) => 0,
            _ => 1,
        }
    });
    report.equal("a new session has no terminal", child.and_then(Child::wait), Ok(Ended::Exited(0)));
    let thief = in_child(|| {
        let _ = call!(SYS_setsid);
        let Ok(console) = open(c"/dev/console", libc::O_RDWR | libc::O_NOCTTY) else { return 1 };
        call!(SYS_ioctl, console, libc::TIOCSCTTY as usize, 0).err().map_or(0, |error| error.0)
    });
    report.equal(
        "and cannot take another session's",
        thief.and_then(Child::wait),
        Ok(Ended::Exited(libc::EPERM)),
    );
}
