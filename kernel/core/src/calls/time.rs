//! Calls about time: clocks and sleeping.

use crate::clock::{Clock, Part};
use crate::process;
use crate::thread::Caller;
use crate::time;
use ::process::credentials::Capability;
use ::process::signal::action::Interruption;
use abi::linux::general as number;
use alloc::sync::Arc;
use arch_riscv64::trap::register;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::{Error, Result};

const SECOND_NS: u64 = 1_000_000_000;
const MICROSECOND_NS: u64 = 1000;
/// The most seconds that fit into signed nanoseconds (`KTIME_SEC_MAX`): longer waits last that long.
const SECONDS_MAX: u64 = i64::MAX as u64 / SECOND_NS;
/// The last second that the time of day may be set to: 30 years before nanoseconds overflow, as on Linux.
const SETTABLE_SECONDS: u64 = SECONDS_MAX - 30 * 365 * 24 * 3600;

/// The clock with this number.
///
/// # Errors
/// `InvalidArgument`.
pub fn clock_named(caller: &Caller, number: usize) -> Result<Clock> {
    let number = number as u32 as i32;
    if number < 0 {
        return clock_of_other(caller, number);
    }
    Ok(match number as u32 {
        number::CLOCK_REALTIME | number::CLOCK_REALTIME_COARSE | number::CLOCK_TAI => Clock::Realtime,
        number::CLOCK_REALTIME_ALARM => Clock::Realtime,
        number::CLOCK_MONOTONIC | number::CLOCK_MONOTONIC_RAW | number::CLOCK_MONOTONIC_COARSE => {
            Clock::Monotonic
        }
        number::CLOCK_BOOTTIME | number::CLOCK_BOOTTIME_ALARM => Clock::Monotonic,
        number::CLOCK_PROCESS_CPUTIME_ID => Clock::Process(caller.process().clone(), Part::All),
        number::CLOCK_THREAD_CPUTIME_ID => Clock::Thread(caller.thread.clone(), Part::All),
        _ => return Err(Error::InvalidArgument),
    })
}

/// A CPU-time clock by id, as `clock_getcpuclockid` makes its number: the id's complement, then a bit for threads, then
/// which time (0 all, 1 user mode, 2 all; 3 is no CPU clock but a device's).
fn clock_of_other(caller: &Caller, number: i32) -> Result<Clock> {
    const OF_THREAD: i32 = 4;
    let id = !(number >> 3) as u32;
    let part = match number & 3 {
        0 | 2 => Part::All,
        1 => Part::User,
        _ => return Err(Error::InvalidArgument),
    };
    let own = caller.process();
    if number & OF_THREAD != 0 {
        let thread = if id == 0 { Some(caller.thread.clone()) } else { process::find_thread(id) };
        // Threads are known to their own process only.
        let thread = thread.filter(|thread| thread.process.id == own.id).ok_or(Error::InvalidArgument)?;
        return Ok(Clock::Thread(thread, part));
    }
    let found = if id == 0 { Some(own.clone()) } else { process::find(id) };
    Ok(Clock::Process(found.ok_or(Error::InvalidArgument)?, part))
}

/// `struct timespec` in its words.
pub fn to_timespec(ns: i64) -> [i64; 2] {
    [ns.div_euclid(SECOND_NS as i64), ns.rem_euclid(SECOND_NS as i64)]
}

/// Nanoseconds of a `struct timespec` that means a time to come or a length.
///
/// # Errors
/// `InvalidArgument`.
pub fn from_timespec([seconds, nanoseconds]: [i64; 2]) -> Result<u64> {
    if seconds < 0 || !(0..SECOND_NS as i64).contains(&nanoseconds) {
        return Err(Error::InvalidArgument);
    }
    let seconds = seconds as u64;
    Ok(if seconds >= SECONDS_MAX { i64::MAX as u64 } else { seconds * SECOND_NS + nanoseconds as u64 })
}

/// Reads a `struct timespec`.
///
/// # Errors
/// `BadAddress`, `InvalidArgument`.
pub async fn read_timespec(caller: &Caller, address: usize) -> Result<u64> {
    from_timespec(caller.space.read_object(VirtualAddress::new(address)).await?)
}

/// Reads a `struct timespec` that says how long a call waits at most; `None` for address 0: without end. Gives the moment
/// in nanoseconds since boot.
///
/// # Errors
/// `BadAddress`, `InvalidArgument`.
pub async fn read_timeout(caller: &Caller, address: usize) -> Result<Option<u64>> {
    match address {
        0 => Ok(None),
        _ => Ok(Some(now_ns().saturating_add(read_timespec(caller, address).await?))),
    }
}

/// `clock_gettime`, of the clocks that everybody asks for, into memory that is there.
#[inline]
pub fn clock_gettime_at_once(caller: &Caller) -> Option<Result<usize>> {
    let [clock, address] = core::array::from_fn(|index| caller.context.registers[register::A0 + index]);
    let now = match clock as u32 {
        number::CLOCK_MONOTONIC => now_ns() as i64,
        number::CLOCK_REALTIME => time::realtime_ns(),
        _ => return None,
    };
    caller.space.try_write_object(VirtualAddress::new(address), &to_timespec(now)).then_some(Ok(0))
}

/// `clock_gettime`
pub async fn clock_gettime(caller: &Caller, clock: usize, address: usize) -> Result<usize> {
    let now = clock_named(caller, clock)?.now_ns();
    caller.space.write_object(VirtualAddress::new(address), &to_timespec(now)).await?;
    Ok(0)
}

/// `clock_getres`: all clocks count the timebase, whose ticks are shown as a nanosecond, as on Linux.
pub async fn clock_getres(caller: &Caller, clock: usize, address: usize) -> Result<usize> {
    clock_named(caller, clock)?;
    if address != 0 {
        caller.space.write_object(VirtualAddress::new(address), &[0i64, 1]).await?;
    }
    Ok(0)
}

/// Sets the time of day if it may be set to that.
fn set_realtime(caller: &Caller, [seconds, nanoseconds]: [i64; 2]) -> Result<usize> {
    let ns = from_timespec([seconds, nanoseconds])?;
    if seconds as u64 > SETTABLE_SECONDS {
        return Err(Error::InvalidArgument);
    }
    if !caller.process().identity().credentials.has(Capability::Time) {
        return Err(Error::NotPermitted);
    }
    if ns < now_ns() {
        // The machine would have booted before 1970.
        return Err(Error::InvalidArgument);
    }
    time::set_realtime_ns(ns as i64);
    Ok(0)
}

/// `clock_settime`
pub async fn clock_settime(caller: &Caller, clock: usize, address: usize) -> Result<usize> {
    let clock = clock as u32 as i32;
    if clock >= 0 && clock as u32 != number::CLOCK_REALTIME {
        return Err(Error::InvalidArgument);
    }
    let given = caller.space.read_object(VirtualAddress::new(address)).await?;
    if clock < 0 {
        // CPU time is not to be set.
        return Err(Error::NotPermitted);
    }
    set_realtime(caller, given)
}

/// Writes what is left of a sleep that a signal interrupted, and arranges that it goes on.
async fn interrupted(
    caller: &mut Caller,
    clock: &Clock,
    deadline_ns: u64,
    remaining: usize,
) -> Result<usize> {
    let left = deadline_ns.saturating_sub(clock.now_ns() as u64);
    if left == 0 {
        return Ok(0);
    }
    if remaining != 0 {
        caller.space.write_object(VirtualAddress::new(remaining), &to_timespec(left as i64)).await?;
    }
    caller.call.interruption = Interruption::Continued;
    caller.call.restart_deadline_ns = deadline_ns;
    Err(Error::Interrupted)
}

/// Sleeps until a moment since boot.
async fn sleep(caller: &mut Caller, deadline_ns: u64, remaining: usize) -> Result<usize> {
    match caller.interruptible(time::sleep_until(deadline_ns)).await {
        Ok(()) => Ok(0),
        Err(_) => interrupted(caller, &Clock::Monotonic, deadline_ns, remaining).await,
    }
}

/// Sleeps until another clock shows a moment.
async fn sleep_on(caller: &mut Caller, clock: &Clock, deadline_ns: u64, remaining: usize) -> Result<usize> {
    match caller.interruptible(clock.sleep_until(deadline_ns)).await {
        Ok(()) => Ok(0),
        Err(_) => interrupted(caller, clock, deadline_ns, remaining).await,
    }
}

/// `nanosleep`
pub async fn nanosleep(caller: &mut Caller, request: usize, remaining: usize) -> Result<usize> {
    let length = read_timespec(caller, request).await?;
    sleep(caller, now_ns().saturating_add(length), remaining).await
}

/// `clock_nanosleep`
pub async fn clock_nanosleep(caller: &mut Caller, arguments: [usize; 4]) -> Result<usize> {
    let [clock, how, request, remaining] = arguments;
    let named = clock;
    let clock = clock_named(caller, clock)?;
    let request = read_timespec(caller, request).await?;
    let absolute = how & number::TIMER_ABSTIME as usize != 0;
    match clock {
        Clock::Thread(..) if named as u32 == number::CLOCK_THREAD_CPUTIME_ID => Err(Error::NotSupported),
        // It would sleep until it has used more time.
        Clock::Thread(ref thread, _) if Arc::ptr_eq(thread, &caller.thread) => Err(Error::InvalidArgument),
        Clock::Thread(..) | Clock::Process(..) if absolute => {
            caller.call.interruption = Interruption::UnlessHandled;
            caller.interruptible(clock.sleep_until(request)).await.map(|()| 0)
        }
        Clock::Thread(..) | Clock::Process(..) => {
            let deadline_ns = (clock.now_ns() as u64).saturating_add(request);
            sleep_on(caller, &clock, deadline_ns, remaining).await
        }
        _ if !absolute => sleep(caller, now_ns().saturating_add(request), remaining).await,
        Clock::Monotonic => {
            caller.call.interruption = Interruption::UnlessHandled;
            caller.interruptible(time::sleep_until(request)).await.map(|()| 0)
        }
        Clock::Realtime => {
            caller.call.interruption = Interruption::UnlessHandled;
            caller.interruptible(time::sleep_until_realtime(request as i64)).await.map(|()| 0)
        }
    }
}

/// `restart_syscall`: goes on with a call that was interrupted and had a time to wait, with what is left of it.
pub async fn restart_syscall(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let deadline_ns = caller.call.restart_deadline_ns;
    let interrupted_call = core::mem::take(&mut caller.call.restart_number);
    // Kept in case it is interrupted once more.
    caller.call.restart_number = interrupted_call;
    match interrupted_call as u32 {
        number::__NR_nanosleep => sleep(caller, deadline_ns, arguments[1]).await,
        number::__NR_clock_nanosleep => match clock_named(caller, arguments[0])? {
            clock @ (Clock::Process(..) | Clock::Thread(..)) => {
                sleep_on(caller, &clock, deadline_ns, arguments[3]).await
            }
            _ => sleep(caller, deadline_ns, arguments[3]).await,
        },
        number::__NR_futex => super::futex::continue_wait(caller, arguments, deadline_ns).await,
        // Nothing to go on with.
        _ => {
            caller.call.interruption = Interruption::UnlessHandled;
            Err(Error::Interrupted)
        }
    }
}

/// `gettimeofday`
pub async fn gettimeofday(caller: &Caller, address: usize, zone: usize) -> Result<usize> {
    if address != 0 {
        let [seconds, nanoseconds] = to_timespec(time::realtime_ns());
        let value = [seconds, nanoseconds / MICROSECOND_NS as i64];
        caller.space.write_object(VirtualAddress::new(address), &value).await?;
    }
    if zone != 0 {
        caller.space.write_object(VirtualAddress::new(zone), &[0u32; 2]).await?;
    }
    Ok(0)
}

/// `settimeofday`. The kernel's clock is in UTC, and it keeps no time zone.
pub async fn settimeofday(caller: &Caller, address: usize, zone: usize) -> Result<usize> {
    let mut given = None;
    if address != 0 {
        let [seconds, microseconds] =
            caller.space.read_object::<[i64; 2]>(VirtualAddress::new(address)).await?;
        if !(0..=1_000_000).contains(&microseconds) {
            return Err(Error::InvalidArgument);
        }
        given = Some([seconds, microseconds * MICROSECOND_NS as i64]);
    }
    if zone != 0 {
        let [west, _] = caller.space.read_object::<[i32; 2]>(VirtualAddress::new(zone)).await?;
        if west != 0 {
            return Err(Error::InvalidArgument);
        }
    }
    match given {
        Some(given) => set_realtime(caller, given),
        None if caller.process().identity().credentials.has(Capability::Time) => Ok(0),
        None => Err(Error::NotPermitted),
    }
}

/// `struct timeval` in its words, of a length: what is not nothing is at least a microsecond.
pub fn to_timeval(ns: u64) -> [i64; 2] {
    let ns = if ns == 0 { 0 } else { ns.max(MICROSECOND_NS) };
    [(ns / SECOND_NS) as i64, (ns % SECOND_NS / MICROSECOND_NS) as i64]
}

/// Nanoseconds of a `struct timeval` that means a length.
///
/// # Errors
/// `InvalidArgument`.
pub fn from_timeval([seconds, microseconds]: [i64; 2]) -> Result<u64> {
    if !(0..1_000_000).contains(&microseconds) {
        return Err(Error::InvalidArgument);
    }
    from_timespec([seconds, microseconds * MICROSECOND_NS as i64])
}
