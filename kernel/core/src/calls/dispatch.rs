//! From a number to a call.

use super::attributes::Subject;
use super::process_files::Direction;
use super::{
    Attempt, attributes, copying, descriptors, events, execution, file, futex, identity, locking, memory,
    messages, mounts, names, poll, process_files, resources, scheduling, signal, socket, socket_options,
    splicing, status, system, time, timers, unimplemented,
};
use crate::thread::Caller;
use abi::linux::general as number;
use alloc::boxed::Box;
use arch_riscv64::trap::register;
use base::{Error, Result};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// Makes the call that the registers name if it is one of those that only read a number.
#[inline(always)]
pub fn answer(caller: &mut Caller) -> Option<usize> {
    let result = match caller.context.registers[register::A7] as u32 {
        number::__NR_getpid => at_once(identity::getpid(caller)),
        number::__NR_getppid => at_once(identity::getppid(caller)),
        _ => return None,
    };
    Some(result.unwrap_or_else(Error::to_return_value))
}

/// Defines which calls are tried at once, and how: a table from numbers to the dense list of them, so that the way to
/// each is a load and a jump, however many there are.
macro_rules! attempts {
    ($caller:ident: $($name:ident = $number:ident => $attempt:expr,)*) => {
        #[derive(Clone, Copy)]
        enum Quick {
            Other,
            $($name,)*
        }

        const QUICK_NUMBERS: usize = 300;

        static QUICK: [Quick; QUICK_NUMBERS] = {
            let mut table = [Quick::Other; QUICK_NUMBERS];
            $(table[number::$number as usize] = Quick::$name;)*
            table
        };

        /// Makes the call that the registers name if it is one of those that are made so often that the way through the
        /// table of all calls would be most of their cost, and if it needs no waiting.
        #[inline(always)]
        pub fn attempt($caller: &mut Caller) -> Attempt {
            let number = $caller.context.registers[register::A7] as u32 as usize;
            match QUICK.get(number).copied().unwrap_or(Quick::Other) {
                Quick::Other => Attempt::InFull,
                $(Quick::$name => $attempt,)*
            }
        }
    };
}

attempts! {
    caller:
    Read = __NR_read => file::attempt_read(caller),
    Write = __NR_write => file::attempt_write(caller),
    Pread = __NR_pread64 => file::attempt_pread64(caller),
    Send = __NR_sendto => messages::attempt::send(caller),
    Receive = __NR_recvfrom => messages::attempt::receive(caller),
    Futex = __NR_futex => futex::attempt(caller),
    Open = __NR_openat => done(names::openat_at_once(caller)),
    Close = __NR_close => Attempt::Done(at_once(descriptors::close(caller, argument(caller, 0)))),
    Stat = __NR_newfstatat => done(status::newfstatat_at_once(caller)),
    Mask = __NR_rt_sigprocmask => done(signal::rt_sigprocmask_at_once(caller)),
    Return = __NR_rt_sigreturn => signal::attempt_rt_sigreturn(caller),
    Kill = __NR_kill => Attempt::Done(at_once(signal::kill(caller, argument(caller, 0), argument(caller, 1)))),
    Clock = __NR_clock_gettime => done(time::clock_gettime_at_once(caller)),
}

#[inline]
fn done(outcome: Option<Result<usize>>) -> Attempt {
    outcome.map_or(Attempt::InFull, Attempt::Done)
}

#[inline]
fn argument(caller: &Caller, index: usize) -> usize {
    caller.context.registers[register::A0 + index]
}

/// The result of a call that never waits.
#[inline]
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the call waits"),
    }
}

/// Defines the one function that is the table of all calls, from its rows.
macro_rules! system_calls {
    (($caller:ident, $asked:ident: $($argument:ident),*) $($rows:tt)*) => {
        /// Makes the call that the registers name. A call whose state is large is boxed, so that a waiting thread stays
        /// small. (The registers are read here and not passed, so that they are not copied into the future.)
        #[inline]
        pub async fn call($caller: &mut Caller) -> Result<usize> {
            let $asked = $caller.context.registers[register::A7];
            let [$($argument),*]: [usize; 6] =
                core::array::from_fn(|index| $caller.context.registers[register::A0 + index]);
            match $asked as u32 {
                $($rows)*
            }
        }
    };
}

system_calls! {
    (caller, asked: a, b, c, d, e, f)
    number::__NR_exit => execution::exit(caller, a).await,
    number::__NR_exit_group => execution::exit_group(caller, a).await,
    number::__NR_clone => Box::pin(execution::clone(caller, [a, b, c, d, e])).await,
    number::__NR_clone3 => Box::pin(execution::clone3(caller, a, b)).await,
    number::__NR_execve => Box::pin(execution::execve(caller, a, b, c)).await,
    number::__NR_execveat => Box::pin(execution::execveat(caller, [a, b, c, d, e])).await,
    number::__NR_wait4 => Box::pin(execution::wait4(caller, a, b, c, d)).await,
    number::__NR_waitid => Box::pin(execution::waitid(caller, [a, b, c, d, e])).await,
    number::__NR_rt_sigaction => Box::pin(signal::rt_sigaction(caller, a, b, c, d)).await,
    number::__NR_rt_sigprocmask => Box::pin(signal::rt_sigprocmask(caller, a, b, c, d)).await,
    number::__NR_rt_sigpending => Box::pin(signal::rt_sigpending(caller, a, b)).await,
    number::__NR_rt_sigsuspend => Box::pin(signal::rt_sigsuspend(caller, a, b)).await,
    number::__NR_rt_sigtimedwait => Box::pin(signal::rt_sigtimedwait(caller, [a, b, c, d])).await,
    number::__NR_rt_sigreturn => Box::pin(signal::rt_sigreturn(caller)).await,
    number::__NR_rt_sigqueueinfo => Box::pin(signal::rt_sigqueueinfo(caller, a, b, c)).await,
    number::__NR_rt_tgsigqueueinfo => Box::pin(signal::rt_tgsigqueueinfo(caller, [a, b, c, d])).await,
    number::__NR_sigaltstack => Box::pin(signal::sigaltstack(caller, a, b)).await,
    number::__NR_futex => futex::futex(caller, [a, b, c, d, e, f]).await,
    number::__NR_futex_waitv => Box::pin(futex::futex_waitv(caller, [a, b, c, d, e])).await,
    number::__NR_signalfd4 => Box::pin(signal::signalfd4(caller, a, b, c, d)).await,
    number::__NR_pidfd_open => process_files::pidfd_open(caller, a, b).await,
    number::__NR_pidfd_send_signal => Box::pin(process_files::pidfd_send_signal(caller, [a, b, c, d])).await,
    number::__NR_pidfd_getfd => process_files::pidfd_getfd(caller, a, b, c).await,
    number::__NR_process_vm_readv => {
        Box::pin(process_files::process_vm(caller, Direction::Read, [a, b, c, d, e, f])).await
    }
    number::__NR_process_vm_writev => {
        Box::pin(process_files::process_vm(caller, Direction::Write, [a, b, c, d, e, f])).await
    }
    number::__NR_kill => signal::kill(caller, a, b).await,
    number::__NR_tkill => signal::tkill(caller, a, b).await,
    number::__NR_tgkill => signal::tgkill(caller, a, b, c).await,
    number::__NR_gettid => identity::gettid(caller).await,
    number::__NR_set_tid_address => identity::set_tid_address(caller, a).await,
    number::__NR_getuid => identity::getuid(caller).await,
    number::__NR_geteuid => identity::geteuid(caller).await,
    number::__NR_getgid => identity::getgid(caller).await,
    number::__NR_getegid => identity::getegid(caller).await,
    number::__NR_setuid => identity::setuid(caller, a).await,
    number::__NR_setgid => identity::setgid(caller, a).await,
    number::__NR_setreuid => identity::setreuid(caller, a, b).await,
    number::__NR_setregid => identity::setregid(caller, a, b).await,
    number::__NR_setresuid => identity::setresuid(caller, [a, b, c]).await,
    number::__NR_setresgid => identity::setresgid(caller, [a, b, c]).await,
    number::__NR_setfsuid => identity::setfsuid(caller, a).await,
    number::__NR_setfsgid => identity::setfsgid(caller, a).await,
    number::__NR_getresuid => Box::pin(identity::getresuid(caller, [a, b, c])).await,
    number::__NR_getresgid => Box::pin(identity::getresgid(caller, [a, b, c])).await,
    number::__NR_getgroups => Box::pin(identity::getgroups(caller, a, b)).await,
    number::__NR_setgroups => Box::pin(identity::setgroups(caller, a, b)).await,
    number::__NR_setpgid => identity::setpgid(caller, a, b).await,
    number::__NR_getpgid => identity::getpgid(caller, a).await,
    number::__NR_setsid => identity::setsid(caller).await,
    number::__NR_getsid => identity::getsid(caller, a).await,
    number::__NR_capget => Box::pin(identity::capget(caller, a, b)).await,
    number::__NR_capset => Box::pin(identity::capset(caller, a, b)).await,
    number::__NR_personality => identity::personality(caller, a).await,
    number::__NR_prctl => Box::pin(identity::prctl(caller, [a, b, c, d, e])).await,
    number::__NR_unshare => Box::pin(identity::unshare(caller, a)).await,
    number::__NR_prlimit64 => Box::pin(resources::prlimit64(caller, [a, b, c, d])).await,
    number::__NR_getrlimit => Box::pin(resources::getrlimit(caller, a, b)).await,
    number::__NR_setrlimit => Box::pin(resources::setrlimit(caller, a, b)).await,
    number::__NR_getrusage => Box::pin(resources::getrusage(caller, a, b)).await,
    number::__NR_times => Box::pin(resources::times(caller, a)).await,
    number::__NR_getpriority => resources::getpriority(caller, a, b).await,
    number::__NR_setpriority => resources::setpriority(caller, a, b, c).await,
    number::__NR_sched_yield => resources::sched_yield(caller).await,
    number::__NR_sched_getaffinity => Box::pin(resources::sched_getaffinity(caller, a, b, c)).await,
    number::__NR_sched_setaffinity => Box::pin(resources::sched_setaffinity(caller, a, b, c)).await,
    number::__NR_sched_get_priority_max => scheduling::sched_get_priority_max(caller, a).await,
    number::__NR_sched_get_priority_min => scheduling::sched_get_priority_min(caller, a).await,
    number::__NR_sched_getscheduler => scheduling::sched_getscheduler(caller, a).await,
    number::__NR_sched_getparam => Box::pin(scheduling::sched_getparam(caller, a, b)).await,
    number::__NR_sched_setscheduler => Box::pin(scheduling::sched_setscheduler(caller, a, b, c)).await,
    number::__NR_sched_setparam => Box::pin(scheduling::sched_setparam(caller, a, b)).await,
    number::__NR_sched_rr_get_interval => Box::pin(scheduling::sched_rr_get_interval(caller, a, b)).await,
    number::__NR_sched_setattr => Box::pin(scheduling::sched_setattr(caller, a, b, c)).await,
    number::__NR_sched_getattr => Box::pin(scheduling::sched_getattr(caller, [a, b, c, d])).await,
    number::__NR_getcpu => Box::pin(resources::getcpu(caller, a, b)).await,
    number::__NR_membarrier => scheduling::membarrier(caller, a, b).await,
    number::__NR_set_robust_list => resources::set_robust_list(caller, a, b).await,
    number::__NR_get_robust_list => Box::pin(resources::get_robust_list(caller, a, b, c)).await,
    number::__NR_read => Box::pin(file::read(caller, a, b, c)).await,
    number::__NR_write => Box::pin(file::write(caller, a, b, c)).await,
    number::__NR_readv => Box::pin(file::readv(caller, a, b, c)).await,
    number::__NR_writev => Box::pin(file::writev(caller, a, b, c)).await,
    number::__NR_pread64 => Box::pin(file::pread64(caller, a, b, c, d)).await,
    number::__NR_pwrite64 => Box::pin(file::pwrite64(caller, a, b, c, d)).await,
    number::__NR_preadv => Box::pin(file::preadv(caller, a, b, c, d)).await,
    number::__NR_pwritev => Box::pin(file::pwritev(caller, a, b, c, d)).await,
    number::__NR_preadv2 => Box::pin(file::preadv2(caller, [a, b, c, d, e, f])).await,
    number::__NR_pwritev2 => Box::pin(file::pwritev2(caller, [a, b, c, d, e, f])).await,
    number::__NR_lseek => Box::pin(file::lseek(caller, a, b, c)).await,
    number::__NR_openat => Box::pin(names::openat(caller, a, b, c, d)).await,
    number::__NR_openat2 => Box::pin(names::openat2(caller, a, b, c, d)).await,
    number::__NR_close => descriptors::close(caller, a).await,
    number::__NR_close_range => descriptors::close_range(caller, a, b, c).await,
    number::__NR_dup => descriptors::dup(caller, a).await,
    number::__NR_dup3 => descriptors::dup3(caller, a, b, c).await,
    number::__NR_fcntl => Box::pin(descriptors::fcntl(caller, a, b, c)).await,
    number::__NR_ioctl => Box::pin(descriptors::ioctl(caller, a, b, c)).await,
    number::__NR_pipe2 => Box::pin(descriptors::pipe2(caller, a, b)).await,
    number::__NR_splice => Box::pin(splicing::splice(caller, [a, b, c, d, e, f])).await,
    number::__NR_tee => Box::pin(splicing::tee(caller, a, b, c, d)).await,
    number::__NR_vmsplice => Box::pin(splicing::vmsplice(caller, a, b, c, d)).await,
    number::__NR_sendfile => Box::pin(copying::sendfile(caller, a, b, c, d)).await,
    number::__NR_copy_file_range => Box::pin(copying::copy_file_range(caller, [a, b, c, d, e, f])).await,
    number::__NR_mount => Box::pin(mounts::mount(caller, [a, b, c, d, e])).await,
    number::__NR_umount2 => Box::pin(mounts::umount2(caller, a, b)).await,
    number::__NR_pivot_root => Box::pin(mounts::pivot_root(caller, a, b)).await,
    number::__NR_eventfd2 => events::eventfd2(caller, a, b).await,
    number::__NR_epoll_create1 => events::epoll_create1(caller, a).await,
    number::__NR_epoll_ctl => Box::pin(events::epoll_ctl(caller, a, b, c, d)).await,
    number::__NR_epoll_pwait => Box::pin(events::epoll_pwait(caller, [a, b, c, d, e, f])).await,
    number::__NR_epoll_pwait2 => Box::pin(events::epoll_pwait2(caller, [a, b, c, d, e, f])).await,
    number::__NR_memfd_create => Box::pin(events::memfd_create(caller, a, b)).await,
    number::__NR_flock => Box::pin(locking::flock(caller, a, b)).await,
    number::__NR_ppoll => Box::pin(poll::ppoll(caller, a, b, c, d, e)).await,
    number::__NR_pselect6 => Box::pin(poll::pselect6(caller, [a, b, c, d, e, f])).await,
    number::__NR_socket => Box::pin(socket::socket(caller, a, b, c)).await,
    number::__NR_socketpair => Box::pin(socket::socketpair(caller, a, b, c, d)).await,
    number::__NR_bind => Box::pin(socket::bind(caller, a, b, c)).await,
    number::__NR_listen => socket::listen(caller, a, b).await,
    number::__NR_accept => Box::pin(socket::accept4(caller, a, b, c, 0)).await,
    number::__NR_accept4 => Box::pin(socket::accept4(caller, a, b, c, d)).await,
    number::__NR_connect => Box::pin(socket::connect(caller, a, b, c)).await,
    number::__NR_getsockname => Box::pin(socket::getsockname(caller, a, b, c)).await,
    number::__NR_getpeername => Box::pin(socket::getpeername(caller, a, b, c)).await,
    number::__NR_shutdown => socket::shutdown(caller, a, b).await,
    number::__NR_setsockopt => Box::pin(socket_options::setsockopt(caller, a, b, c, d, e)).await,
    number::__NR_getsockopt => Box::pin(socket_options::getsockopt(caller, a, b, c, d, e)).await,
    number::__NR_sendto => Box::pin(messages::sendto(caller, [a, b, c, d, e, f])).await,
    number::__NR_recvfrom => Box::pin(messages::recvfrom(caller, [a, b, c, d, e, f])).await,
    number::__NR_sendmsg => Box::pin(messages::sendmsg(caller, a, b, c)).await,
    number::__NR_recvmsg => Box::pin(messages::recvmsg(caller, a, b, c)).await,
    number::__NR_sendmmsg => Box::pin(messages::sendmmsg(caller, a, b, c, d)).await,
    number::__NR_recvmmsg => Box::pin(messages::recvmmsg(caller, [a, b, c, d, e])).await,
    number::__NR_mkdirat => Box::pin(names::mkdirat(caller, a, b, c)).await,
    number::__NR_mknodat => Box::pin(names::mknodat(caller, a, b, c, d)).await,
    number::__NR_unlinkat => Box::pin(names::unlinkat(caller, a, b, c)).await,
    number::__NR_renameat2 => Box::pin(names::renameat2(caller, [a, b, c, d, e])).await,
    number::__NR_linkat => Box::pin(names::linkat(caller, [a, b, c, d, e])).await,
    number::__NR_symlinkat => Box::pin(names::symlinkat(caller, a, b, c)).await,
    number::__NR_readlinkat => Box::pin(names::readlinkat(caller, a, b, c, d)).await,
    number::__NR_chdir => Box::pin(names::chdir(caller, a)).await,
    number::__NR_fchdir => Box::pin(names::fchdir(caller, a)).await,
    number::__NR_chroot => Box::pin(names::chroot(caller, a)).await,
    number::__NR_getcwd => Box::pin(names::getcwd(caller, a, b)).await,
    number::__NR_umask => names::umask(caller, a).await,
    number::__NR_fstat => Box::pin(status::fstat(caller, a, b)).await,
    number::__NR_newfstatat => Box::pin(status::newfstatat(caller, a, b, c, d)).await,
    number::__NR_statx => Box::pin(status::statx(caller, a, b, c, d, e)).await,
    number::__NR_statfs => Box::pin(status::statfs(caller, a, b)).await,
    number::__NR_fstatfs => Box::pin(status::fstatfs(caller, a, b)).await,
    number::__NR_getdents64 => Box::pin(status::getdents64(caller, a, b, c)).await,
    number::__NR_faccessat => Box::pin(status::faccessat2(caller, a, b, c, 0)).await,
    number::__NR_faccessat2 => Box::pin(status::faccessat2(caller, a, b, c, d)).await,
    number::__NR_fchmod => Box::pin(status::fchmod(caller, a, b)).await,
    number::__NR_fchmodat => Box::pin(status::fchmodat2(caller, a, b, c, 0)).await,
    number::__NR_fchmodat2 => Box::pin(status::fchmodat2(caller, a, b, c, d)).await,
    number::__NR_fchown => Box::pin(status::fchown(caller, a, b, c)).await,
    number::__NR_fchownat => Box::pin(status::fchownat(caller, [a, b, c, d, e])).await,
    number::__NR_utimensat => Box::pin(status::utimensat(caller, a, b, c, d)).await,
    number::__NR_truncate => Box::pin(status::truncate(caller, a, b)).await,
    number::__NR_ftruncate => Box::pin(status::ftruncate(caller, a, b)).await,
    number::__NR_fallocate => Box::pin(status::fallocate(caller, a, b, c, d)).await,
    number::__NR_fsync | number::__NR_fdatasync => Box::pin(status::fsync(caller, a)).await,
    number::__NR_sync => status::sync(caller).await,
    number::__NR_syncfs => status::syncfs(caller, a).await,
    number::__NR_fadvise64 => status::fadvise64(caller, a, c, d).await,
    number::__NR_readahead => status::readahead(caller, a).await,
    number::__NR_setxattr => Box::pin(attributes::set(caller, Subject::Path(a), b, c, d, e)).await,
    number::__NR_getxattr => Box::pin(attributes::get(caller, Subject::Path(a), b, c, d)).await,
    number::__NR_listxattr => Box::pin(attributes::list(caller, Subject::Path(a), b, c)).await,
    number::__NR_removexattr => Box::pin(attributes::remove(caller, Subject::Path(a), b)).await,
    number::__NR_lsetxattr => Box::pin(attributes::set(caller, Subject::Link(a), b, c, d, e)).await,
    number::__NR_lgetxattr => Box::pin(attributes::get(caller, Subject::Link(a), b, c, d)).await,
    number::__NR_llistxattr => Box::pin(attributes::list(caller, Subject::Link(a), b, c)).await,
    number::__NR_lremovexattr => Box::pin(attributes::remove(caller, Subject::Link(a), b)).await,
    number::__NR_fsetxattr => Box::pin(attributes::set(caller, Subject::Descriptor(a), b, c, d, e)).await,
    number::__NR_fgetxattr => Box::pin(attributes::get(caller, Subject::Descriptor(a), b, c, d)).await,
    number::__NR_flistxattr => Box::pin(attributes::list(caller, Subject::Descriptor(a), b, c)).await,
    number::__NR_fremovexattr => Box::pin(attributes::remove(caller, Subject::Descriptor(a), b)).await,
    number::__NR_brk => memory::brk(caller, a).await,
    number::__NR_mmap => Box::pin(memory::mmap(caller, [a, b, c, d, e, f])).await,
    number::__NR_munmap => Box::pin(memory::munmap(caller, a, b)).await,
    number::__NR_mprotect => Box::pin(memory::mprotect(caller, a, b, c)).await,
    number::__NR_mremap => Box::pin(memory::mremap(caller, [a, b, c, d, e, f])).await,
    number::__NR_madvise => Box::pin(memory::madvise(caller, a, b, c)).await,
    number::__NR_mincore => Box::pin(memory::mincore(caller, a, b, c)).await,
    number::__NR_msync => Box::pin(memory::msync(caller, a, b, c)).await,
    number::__NR_mlock => Box::pin(memory::mlock(caller, a, b)).await,
    number::__NR_mlock2 => Box::pin(memory::mlock2(caller, a, b, c)).await,
    number::__NR_munlock => Box::pin(memory::munlock(caller, a, b)).await,
    number::__NR_mlockall => Box::pin(memory::mlockall(caller, a)).await,
    number::__NR_munlockall => Box::pin(memory::munlockall(caller)).await,
    number::__NR_riscv_flush_icache => memory::riscv_flush_icache(c).await,
    number::__NR_riscv_hwprobe => Box::pin(memory::riscv_hwprobe(caller, [a, b, c, d, e, f])).await,
    number::__NR_clock_gettime => Box::pin(time::clock_gettime(caller, a, b)).await,
    number::__NR_clock_settime => Box::pin(time::clock_settime(caller, a, b)).await,
    number::__NR_clock_getres => Box::pin(time::clock_getres(caller, a, b)).await,
    number::__NR_clock_nanosleep => Box::pin(time::clock_nanosleep(caller, [a, b, c, d])).await,
    number::__NR_nanosleep => Box::pin(time::nanosleep(caller, a, b)).await,
    number::__NR_restart_syscall => Box::pin(time::restart_syscall(caller, [a, b, c, d, e, f])).await,
    number::__NR_gettimeofday => Box::pin(time::gettimeofday(caller, a, b)).await,
    number::__NR_settimeofday => Box::pin(time::settimeofday(caller, a, b)).await,
    number::__NR_getitimer => Box::pin(timers::getitimer(caller, a, b)).await,
    number::__NR_setitimer => Box::pin(timers::setitimer(caller, a, b, c)).await,
    number::__NR_timer_create => Box::pin(timers::timer_create(caller, a, b, c)).await,
    number::__NR_timer_settime => Box::pin(timers::timer_settime(caller, a, b, c, d)).await,
    number::__NR_timer_gettime => Box::pin(timers::timer_gettime(caller, a, b)).await,
    number::__NR_timer_getoverrun => timers::timer_getoverrun(caller, a).await,
    number::__NR_timer_delete => timers::timer_delete(caller, a).await,
    number::__NR_timerfd_create => timers::timerfd_create(caller, a, b).await,
    number::__NR_timerfd_settime => Box::pin(timers::timerfd_settime(caller, a, b, c, d)).await,
    number::__NR_timerfd_gettime => Box::pin(timers::timerfd_gettime(caller, a, b)).await,
    number::__NR_adjtimex => Box::pin(timers::adjtimex(caller, asked as u32, a)).await,
    number::__NR_clock_adjtime => Box::pin(timers::clock_adjtime(caller, a, b)).await,
    number::__NR_uname => Box::pin(system::uname(caller, a)).await,
    number::__NR_sysinfo => Box::pin(system::sysinfo(caller, a)).await,
    number::__NR_getrandom => Box::pin(system::getrandom(caller, a, b, c)).await,
    number::__NR_reboot => Box::pin(system::reboot(caller, a, b, c)).await,
    number::__NR_sethostname => Box::pin(system::sethostname(caller, a, b)).await,
    number::__NR_setdomainname => Box::pin(system::setdomainname(caller, a, b)).await,
    number::__NR_syslog => Box::pin(system::syslog(caller, a, b, c)).await,
    _ => unimplemented::refuse(asked),
}
