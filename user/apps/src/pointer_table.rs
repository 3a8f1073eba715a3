//! What each argument of each system call is, for the test that gives bad pointers to all of them.

/// What one argument is; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A number that lets the call get as far as its pointers.
    Number(i64),
    /// The descriptor of an ordinary file of 100 bytes.
    File,
    /// The descriptor of a pipe's reading end with 64 bytes in it.
    Pipe,
    /// The descriptor of a connected stream socket with 64 bytes to receive.
    Socket,
    /// The descriptor of a directory.
    Directory,
    /// The descriptor of the console.
    Terminal,
    /// The kernel reads so many bytes.
    In(usize),
    /// The kernel reads so many bytes, unless the pointer is null.
    InOrNull(usize),
    /// The kernel writes so many bytes.
    Out(usize),
    /// The kernel writes so many bytes, unless the pointer is null.
    OutOrNull(usize),
    /// The kernel reads and writes.
    InOut(usize),
    /// The kernel reads and writes, unless the pointer is null.
    InOutOrNull(usize),
    /// A NUL-terminated path; the good one names a file of the scratch directory.
    Path,
    /// A path, or null.
    PathOrNull,
    /// An array of one `struct iovec` over four good bytes.
    Vector,
    /// A null-terminated array of texts.
    Strings,
    /// Input with this content where it must make sense.
    Bytes(&'static [u8]),
    /// The same, and never replaced by a bad pointer: another row does that, or null means something else.
    Good(&'static [u8]),
}

impl Kind {
    /// Whether the argument is a pointer.
    pub fn is_pointer(self) -> bool {
        !matches!(
            self,
            Kind::Number(_)
                | Kind::File
                | Kind::Pipe
                | Kind::Socket
                | Kind::Directory
                | Kind::Terminal
                | Kind::Good(_)
        )
    }
}

/// One way to call a system call.
pub struct Row {
    /// What it is called in the report.
    pub name: &'static str,
    /// Its number.
    pub number: libc::c_long,
    /// Its arguments, as many as matter.
    pub arguments: &'static [Kind],
    /// Errors that Linux may give before it looks at the pointer.
    pub also: &'static [i32],
}

use Kind::{
    Bytes, Directory, File, Good, In, InOrNull, InOut, InOutOrNull, Number, Out, OutOrNull, Path, PathOrNull,
    Pipe, Socket,
};
use Kind::{Strings, Terminal, Vector};

const HERE: Kind = Number(libc::AT_FDCWD as i64);

const fn row(name: &'static str, number: libc::c_long, arguments: &'static [Kind]) -> Row {
    Row { name, number, arguments, also: &[] }
}

const fn row_also(
    name: &'static str,
    number: libc::c_long,
    arguments: &'static [Kind],
    also: &'static [i32],
) -> Row {
    Row { name, number, arguments, also }
}

/// Every call with a pointer that the system has or is to have.
pub const CALLS: &[Row] = &[
    // Paths.
    row("openat", libc::SYS_openat, &[HERE, Path, Number(0), Number(0)]),
    row("openat2", libc::SYS_openat2, &[HERE, Path, In(24), Number(24)]),
    row("mkdirat", libc::SYS_mkdirat, &[HERE, Path, Number(0o755)]),
    row("mknodat", libc::SYS_mknodat, &[HERE, Path, Number(0o100_644), Number(0)]),
    row("unlinkat", libc::SYS_unlinkat, &[HERE, Path, Number(0)]),
    row("linkat old", libc::SYS_linkat, &[HERE, Path, HERE, Bytes(b"new\0"), Number(0)]),
    row("symlinkat", libc::SYS_symlinkat, &[Path, HERE, Bytes(b"new\0")]),
    row("readlinkat", libc::SYS_readlinkat, &[HERE, Bytes(b"/proc/self/exe\0"), Out(64), Number(64)]),
    row("renameat2", libc::SYS_renameat2, &[HERE, Path, HERE, Bytes(b"new\0"), Number(0)]),
    row("faccessat", libc::SYS_faccessat, &[HERE, Path, Number(0)]),
    row("faccessat2", libc::SYS_faccessat2, &[HERE, Path, Number(0), Number(0)]),
    row("fchmodat", libc::SYS_fchmodat, &[HERE, Path, Number(0o644)]),
    row("fchownat", libc::SYS_fchownat, &[HERE, Path, Number(0), Number(0), Number(0)]),
    row("truncate", libc::SYS_truncate, &[Path, Number(10)]),
    row("chdir", libc::SYS_chdir, &[Path]),
    row("chroot", libc::SYS_chroot, &[Path]),
    row("statfs", libc::SYS_statfs, &[Bytes(b".\0"), Out(120)]),
    row("newfstatat", libc::SYS_newfstatat, &[HERE, Bytes(b".\0"), Out(128), Number(0)]),
    row("statx", libc::SYS_statx, &[HERE, Bytes(b".\0"), Number(0), Number(0x7ff), Out(256)]),
    row("utimensat", libc::SYS_utimensat, &[HERE, PathOrNull, InOrNull(32), Number(0)]),
    row_also(
        "mount",
        libc::SYS_mount,
        &[PathOrNull, Bytes(b".\0"), Bytes(b"tmpfs\0"), Number(0), InOrNull(1)],
        &[libc::EINVAL],
    ),
    row_also("umount2", libc::SYS_umount2, &[Path, Number(0)], &[libc::EINVAL]),
    row_also("pivot_root", libc::SYS_pivot_root, &[Path, Bytes(b".\0")], &[libc::EINVAL, libc::ENOTDIR]),
    row("execve", libc::SYS_execve, &[Bytes(b"/proc/self/exe\0"), Strings, Strings]),
    row("getcwd", libc::SYS_getcwd, &[Out(128), Number(128)]),
    row_also(
        "setxattr",
        libc::SYS_setxattr,
        &[Path, Bytes(b"user.name\0"), In(4), Number(4), Number(0)],
        &[libc::EOPNOTSUPP],
    ),
    row_also(
        "getxattr",
        libc::SYS_getxattr,
        &[Path, Bytes(b"user.name\0"), Out(4), Number(4)],
        &[libc::ENODATA, libc::EOPNOTSUPP],
    ),
    row_also(
        "inotify_add_watch",
        libc::SYS_inotify_add_watch,
        &[Number(-1), Path, Number(2)],
        &[libc::EBADF],
    ),
    row("memfd_create", libc::SYS_memfd_create, &[Path, Number(0)]),
    // Descriptors.
    row("read file", libc::SYS_read, &[File, Out(64), Number(64)]),
    row("read pipe", libc::SYS_read, &[Pipe, Out(64), Number(64)]),
    row("write file", libc::SYS_write, &[File, In(64), Number(64)]),
    row("pread64", libc::SYS_pread64, &[File, Out(64), Number(64), Number(0)]),
    row("pwrite64", libc::SYS_pwrite64, &[File, In(64), Number(64), Number(0)]),
    row("readv", libc::SYS_readv, &[File, Vector, Number(1)]),
    row("writev", libc::SYS_writev, &[File, Vector, Number(1)]),
    row("preadv", libc::SYS_preadv, &[File, Vector, Number(1), Number(0)]),
    row("pwritev", libc::SYS_pwritev, &[File, Vector, Number(1), Number(0)]),
    row("fstat", libc::SYS_fstat, &[File, Out(128)]),
    row("fstatfs", libc::SYS_fstatfs, &[File, Out(120)]),
    row("getdents64", libc::SYS_getdents64, &[Directory, Out(512), Number(512)]),
    row("pipe2", libc::SYS_pipe2, &[Out(8), Number(0)]),
    row_also(
        "sendfile offset",
        libc::SYS_sendfile,
        &[File, File, InOutOrNull(8), Number(4)],
        &[libc::EINVAL],
    ),
    row_also(
        "fcntl F_GETLK",
        libc::SYS_fcntl,
        &[File, Number(libc::F_GETLK as i64), InOut(32)],
        &[libc::EINVAL],
    ),
    row("fcntl F_SETLK", libc::SYS_fcntl, &[File, Number(libc::F_SETLK as i64), In(32)]),
    row_also(
        "ppoll",
        libc::SYS_ppoll,
        &[InOut(8), Number(1), Good(&[0; 16]), InOrNull(8), Number(8)],
        &[libc::EINVAL],
    ),
    row_also(
        "pselect6",
        libc::SYS_pselect6,
        &[Number(1), InOutOrNull(8), InOutOrNull(8), InOutOrNull(8), InOrNull(16), InOrNull(16)],
        &[libc::EINVAL],
    ),
    row(
        "epoll_ctl",
        libc::SYS_epoll_ctl,
        &[Number(-1), Number(libc::EPOLL_CTL_ADD as i64), Number(0), In(16)],
    ),
    row("ioctl TCGETS", libc::SYS_ioctl, &[Terminal, Number(libc::TCGETS as i64), Out(36)]),
    row("ioctl TCSETS", libc::SYS_ioctl, &[Terminal, Number(libc::TCSETS as i64), In(36)]),
    row("ioctl TIOCGWINSZ", libc::SYS_ioctl, &[Terminal, Number(libc::TIOCGWINSZ as i64), Out(8)]),
    row("ioctl TIOCSWINSZ", libc::SYS_ioctl, &[Terminal, Number(libc::TIOCSWINSZ as i64), In(8)]),
    row("ioctl FIONREAD pipe", libc::SYS_ioctl, &[Pipe, Number(libc::FIONREAD as i64), Out(4)]),
    row_also(
        "copy_file_range",
        libc::SYS_copy_file_range,
        &[File, InOutOrNull(8), File, InOutOrNull(8), Number(4), Number(0)],
        &[libc::EINVAL],
    ),
    row_also(
        "splice",
        libc::SYS_splice,
        &[Pipe, Number(0), File, InOutOrNull(8), Number(4), Number(0)],
        &[libc::EINVAL],
    ),
    // Sockets.
    row("socketpair", libc::SYS_socketpair, &[Number(1), Number(1), Number(0), Out(8)]),
    row("bind", libc::SYS_bind, &[Socket, In(10), Number(10)]),
    row("connect", libc::SYS_connect, &[Socket, In(10), Number(10)]),
    row("getsockname", libc::SYS_getsockname, &[Socket, Out(2), Good(b"\x10\0\0\0")]),
    row_also("getsockname length", libc::SYS_getsockname, &[Socket, Number(0), InOut(4)], &[libc::EINVAL]),
    row("getpeername", libc::SYS_getpeername, &[Socket, Out(2), Good(b"\x10\0\0\0")]),
    row("sendto", libc::SYS_sendto, &[Socket, In(4), Number(4), Number(0), Number(0), Number(0)]),
    row("recvfrom", libc::SYS_recvfrom, &[Socket, Out(4), Number(4), Number(0), Number(0), Number(0)]),
    row("sendmsg", libc::SYS_sendmsg, &[Socket, In(56), Number(0)]),
    row_also("recvmsg", libc::SYS_recvmsg, &[Socket, InOut(56), Number(0)], &[libc::EINVAL]),
    row_also("sendmmsg", libc::SYS_sendmmsg, &[Socket, InOut(64), Number(1), Number(0)], &[libc::EINVAL]),
    row_also(
        "recvmmsg",
        libc::SYS_recvmmsg,
        &[Socket, InOut(64), Number(1), Number(0), Number(0)],
        &[libc::EINVAL],
    ),
    row("getsockopt", libc::SYS_getsockopt, &[Socket, Number(1), Number(3), Out(4), Good(b"\x04\0\0\0")]),
    row("setsockopt", libc::SYS_setsockopt, &[Socket, Number(1), Number(9), In(4), Number(4)]),
    // Processes and signals.
    row("clone3", libc::SYS_clone3, &[In(88), Number(88)]),
    row_also(
        "wait4",
        libc::SYS_wait4,
        &[Number(-1), OutOrNull(4), Number(0), OutOrNull(144)],
        &[libc::ECHILD],
    ),
    row_also(
        "waitid",
        libc::SYS_waitid,
        &[Number(0), Number(0), OutOrNull(128), Number(4), OutOrNull(144)],
        &[libc::ECHILD],
    ),
    row("rt_sigaction", libc::SYS_rt_sigaction, &[Number(10), InOrNull(24), OutOrNull(24), Number(8)]),
    row("rt_sigprocmask", libc::SYS_rt_sigprocmask, &[Number(0), InOrNull(8), OutOrNull(8), Number(8)]),
    row("rt_sigpending", libc::SYS_rt_sigpending, &[Out(8), Number(8)]),
    row_also(
        "rt_sigtimedwait",
        libc::SYS_rt_sigtimedwait,
        &[In(8), OutOrNull(128), Good(&[0; 16]), Number(8)],
        &[libc::EAGAIN],
    ),
    row("rt_sigsuspend", libc::SYS_rt_sigsuspend, &[In(8), Number(8)]),
    row_also("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, &[Number(1), Number(10), In(128)], &[libc::EPERM]),
    row("sigaltstack new", libc::SYS_sigaltstack, &[InOrNull(24), Number(0)]),
    row("sigaltstack old", libc::SYS_sigaltstack, &[Number(0), OutOrNull(24)]),
    row("prlimit64", libc::SYS_prlimit64, &[Number(0), Number(7), InOrNull(16), OutOrNull(16)]),
    row("getrlimit", libc::SYS_getrlimit, &[Number(7), Out(16)]),
    row("setrlimit", libc::SYS_setrlimit, &[Number(7), In(16)]),
    row("getrusage", libc::SYS_getrusage, &[Number(0), Out(144)]),
    row("times", libc::SYS_times, &[OutOrNull(32)]),
    row("getresuid", libc::SYS_getresuid, &[Out(4), Out(4), Out(4)]),
    row("getresgid", libc::SYS_getresgid, &[Out(4), Out(4), Out(4)]),
    row("getgroups", libc::SYS_getgroups, &[Number(64), Out(8)]),
    row("setgroups", libc::SYS_setgroups, &[Number(2), In(8)]),
    row("prctl PR_SET_NAME", libc::SYS_prctl, &[Number(libc::PR_SET_NAME as i64), In(16)]),
    row("prctl PR_GET_NAME", libc::SYS_prctl, &[Number(libc::PR_GET_NAME as i64), Out(16)]),
    row("sched_getaffinity", libc::SYS_sched_getaffinity, &[Number(0), Number(128), Out(8)]),
    row("sched_setaffinity", libc::SYS_sched_setaffinity, &[Number(0), Number(8), In(8)]),
    row_also("sched_getparam", libc::SYS_sched_getparam, &[Number(0), Out(4)], &[libc::EINVAL]),
    row_also(
        "sched_setscheduler",
        libc::SYS_sched_setscheduler,
        &[Number(0), Number(0), In(4)],
        &[libc::EINVAL],
    ),
    row("get_robust_list", libc::SYS_get_robust_list, &[Number(0), Out(8), Out(8)]),
    row_also(
        "futex wait",
        libc::SYS_futex,
        &[InOut(4), Number(0), Number(1), InOrNull(16)],
        &[libc::EINVAL, libc::EAGAIN],
    ),
    row("capget header", libc::SYS_capget, &[InOut(8), Number(0)]),
    row("capget data", libc::SYS_capget, &[Good(&[0x22, 5, 8, 0x20, 0, 0, 0, 0]), OutOrNull(24)]),
    row("getcpu", libc::SYS_getcpu, &[OutOrNull(4), OutOrNull(4), Number(0)]),
    // Time and the system.
    row("clock_gettime", libc::SYS_clock_gettime, &[Number(1), Out(16)]),
    row("clock_getres", libc::SYS_clock_getres, &[Number(1), OutOrNull(16)]),
    row("clock_nanosleep", libc::SYS_clock_nanosleep, &[Number(1), Number(0), In(16), Number(0)]),
    row("nanosleep", libc::SYS_nanosleep, &[In(16), Number(0)]),
    row("gettimeofday", libc::SYS_gettimeofday, &[OutOrNull(16), OutOrNull(8)]),
    row("settimeofday", libc::SYS_settimeofday, &[InOrNull(16), InOrNull(8)]),
    row("setitimer", libc::SYS_setitimer, &[Number(0), InOrNull(32), OutOrNull(32)]),
    row("getitimer", libc::SYS_getitimer, &[Number(0), Out(32)]),
    row("timerfd_settime", libc::SYS_timerfd_settime, &[Number(-1), Number(0), In(32)]),
    row("timer_create", libc::SYS_timer_create, &[Number(1), Number(0), Out(4)]),
    row_also("timer_settime", libc::SYS_timer_settime, &[Number(99), Number(0), In(32)], &[libc::EINVAL]),
    row("adjtimex", libc::SYS_adjtimex, &[InOut(208)]),
    row("clock_adjtime", libc::SYS_clock_adjtime, &[Number(0), InOut(208)]),
    row("signalfd4", libc::SYS_signalfd4, &[Number(-1), In(8), Number(8), Number(0)]),
    row_also("sched_setattr", libc::SYS_sched_setattr, &[Number(0), In(48), Number(0)], &[libc::EINVAL]),
    row_also(
        "sched_getattr",
        libc::SYS_sched_getattr,
        &[Number(0), Out(56), Number(56), Number(0)],
        &[libc::EINVAL],
    ),
    row("process_vm_readv", libc::SYS_process_vm_readv, &[Number(1), Vector, Number(1), Vector, Number(1)]),
    row("uname", libc::SYS_uname, &[Out(390)]),
    row("sethostname", libc::SYS_sethostname, &[In(4), Number(4)]),
    row("sysinfo", libc::SYS_sysinfo, &[Out(112)]),
    row("getrandom", libc::SYS_getrandom, &[Out(16), Number(16), Number(0)]),
    row_also("mincore", libc::SYS_mincore, &[Number(0x10000), Number(4096), Out(1)], &[libc::ENOMEM]),
];
