//! The names of riscv64's system calls, for tracing and for telling which ones are missing.

/// The first number of a block of consecutive system calls, and their names; empty where there is none.
type Block = (usize, &'static [&'static str]);

/// Linux 6.17's table (`asm-generic/unistd.h` and riscv64's two additions), in blocks with nothing between them.
#[rustfmt::skip]
const BLOCKS: [Block; 3] = [
    (0, &[
        "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents", "setxattr", "lsetxattr", "fsetxattr",
        "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr",
        "lremovexattr", "fremovexattr", "getcwd", "lookup_dcookie", "eventfd2", "epoll_create1", "epoll_ctl",
        "epoll_pwait", "dup", "dup3", "fcntl", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "ioctl",
        "ioprio_set", "ioprio_get", "flock", "mknodat", "mkdirat", "unlinkat", "symlinkat", "linkat", "", "umount2",
        "mount", "pivot_root", "nfsservctl", "statfs", "fstatfs", "truncate", "ftruncate", "fallocate", "faccessat",
        "chdir", "fchdir", "chroot", "fchmod", "fchmodat", "fchownat", "fchown", "openat", "close", "vhangup",
        "pipe2", "quotactl", "getdents64", "lseek", "read", "write", "readv", "writev", "pread64", "pwrite64",
        "preadv", "pwritev", "sendfile", "pselect6", "ppoll", "signalfd4", "vmsplice", "splice", "tee",
        "readlinkat", "newfstatat", "fstat", "sync", "fsync", "fdatasync", "sync_file_range", "timerfd_create",
        "timerfd_settime", "timerfd_gettime", "utimensat", "acct", "capget", "capset", "personality", "exit",
        "exit_group", "waitid", "set_tid_address", "unshare", "futex", "set_robust_list", "get_robust_list",
        "nanosleep", "getitimer", "setitimer", "kexec_load", "init_module", "delete_module", "timer_create",
        "timer_gettime", "timer_getoverrun", "timer_settime", "timer_delete", "clock_settime", "clock_gettime",
        "clock_getres", "clock_nanosleep", "syslog", "ptrace", "sched_setparam", "sched_setscheduler",
        "sched_getscheduler", "sched_getparam", "sched_setaffinity", "sched_getaffinity", "sched_yield",
        "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "restart_syscall", "kill",
        "tkill", "tgkill", "sigaltstack", "rt_sigsuspend", "rt_sigaction", "rt_sigprocmask", "rt_sigpending",
        "rt_sigtimedwait", "rt_sigqueueinfo", "rt_sigreturn", "setpriority", "getpriority", "reboot", "setregid",
        "setgid", "setreuid", "setuid", "setresuid", "getresuid", "setresgid", "getresgid", "setfsuid", "setfsgid",
        "times", "setpgid", "getpgid", "getsid", "setsid", "getgroups", "setgroups", "uname", "sethostname",
        "setdomainname", "getrlimit", "setrlimit", "getrusage", "umask", "prctl", "getcpu", "gettimeofday",
        "settimeofday", "adjtimex", "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "gettid",
        "sysinfo", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
        "msgget", "msgctl", "msgrcv", "msgsnd", "semget", "semctl", "semtimedop", "semop", "shmget", "shmctl",
        "shmat", "shmdt", "socket", "socketpair", "bind", "listen", "accept", "connect", "getsockname",
        "getpeername", "sendto", "recvfrom", "setsockopt", "getsockopt", "shutdown", "sendmsg", "recvmsg",
        "readahead", "brk", "munmap", "mremap", "add_key", "request_key", "keyctl", "clone", "execve", "mmap",
        "fadvise64", "swapon", "swapoff", "mprotect", "msync", "mlock", "munlock", "mlockall", "munlockall",
        "mincore", "madvise", "remap_file_pages", "mbind", "get_mempolicy", "set_mempolicy", "migrate_pages",
        "move_pages", "rt_tgsigqueueinfo", "perf_event_open", "accept4", "recvmmsg",
    ]),
    (258, &[
        "riscv_hwprobe", "riscv_flush_icache", "wait4", "prlimit64", "fanotify_init", "fanotify_mark",
        "name_to_handle_at", "open_by_handle_at", "clock_adjtime", "syncfs", "setns", "sendmmsg",
        "process_vm_readv", "process_vm_writev", "kcmp", "finit_module", "sched_setattr", "sched_getattr",
        "renameat2", "seccomp", "getrandom", "memfd_create", "bpf", "execveat", "userfaultfd", "membarrier",
        "mlock2", "copy_file_range", "preadv2", "pwritev2", "pkey_mprotect", "pkey_alloc", "pkey_free", "statx",
        "io_pgetevents", "rseq", "kexec_file_load",
    ]),
    (424, &[
        "pidfd_send_signal", "io_uring_setup", "io_uring_enter", "io_uring_register", "open_tree", "move_mount",
        "fsopen", "fsconfig", "fsmount", "fspick", "pidfd_open", "clone3", "close_range", "openat2", "pidfd_getfd",
        "faccessat2", "process_madvise", "epoll_pwait2", "mount_setattr", "quotactl_fd", "landlock_create_ruleset",
        "landlock_add_rule", "landlock_restrict_self", "memfd_secret", "process_mrelease", "futex_waitv",
        "set_mempolicy_home_node", "cachestat", "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait",
        "futex_requeue", "statmount", "listmount", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules",
        "mseal", "setxattrat", "getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr",
        "file_setattr",
    ]),
];

/// One more than the greatest number of a system call.
pub const LIMIT: usize = BLOCKS[2].0 + BLOCKS[2].1.len();

/// The name of system call `number`, as in its manual page; `None` where Linux has none.
pub fn name(number: usize) -> Option<&'static str> {
    let in_block = |block: &Block| number.checked_sub(block.0).and_then(|index| block.1.get(index).copied());
    BLOCKS.iter().find_map(in_block).filter(|name| !name.is_empty())
}

// The constants of the build target are riscv64's only when it is the build target.
#[cfg(target_arch = "riscv64")]
const _: () = {
    use abi::linux::general as number;
    const fn is(number: u32, name: &str) -> bool {
        let mut block = 0;
        while block < BLOCKS.len() {
            let (first, names) = BLOCKS[block];
            let number = number as usize;
            if number >= first && number - first < names.len() {
                return equal(names[number - first].as_bytes(), name.as_bytes());
            }
            block += 1;
        }
        false
    }
    const fn equal(a: &[u8], b: &[u8]) -> bool {
        let mut index = 0;
        while index < a.len() && index < b.len() && a[index] == b[index] {
            index += 1;
        }
        index == a.len() && index == b.len()
    }
    assert!(is(number::__NR_io_setup, "io_setup"));
    assert!(is(number::__NR_openat, "openat"));
    assert!(is(number::__NR_rt_sigreturn, "rt_sigreturn"));
    assert!(is(number::__NR_recvmmsg, "recvmmsg"));
    assert!(is(number::__NR_riscv_hwprobe, "riscv_hwprobe"));
    assert!(is(number::__NR_kexec_file_load, "kexec_file_load"));
    assert!(is(number::__NR_pidfd_send_signal, "pidfd_send_signal"));
    assert!(is(number::__NR_io_uring_enter, "io_uring_enter"));
    assert!(is(number::__NR_file_setattr, "file_setattr"));
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_riscv64_s() {
        let expected =
            [(0, "io_setup"), (63, "read"), (64, "write"), (93, "exit"), (220, "clone"), (221, "execve")];
        for (number, text) in
            expected.into_iter().chain([(259, "riscv_flush_icache"), (425, "io_uring_setup")])
        {
            assert_eq!(name(number), Some(text));
        }
        for hole in [38, 244, 257, 295, 423, LIMIT, usize::MAX] {
            assert_eq!(name(hole), None);
        }
        assert_eq!(name(LIMIT - 1), Some("file_setattr"));
    }
}
