//! Calls about timers: the three of each process, those that a program makes, those that are files; and `adjtimex`.

use super::time::{clock_named, from_timespec, from_timeval, to_timespec, to_timeval};
use super::{descriptor, events, unimplemented};
use crate::alarm::Remaining;
use crate::clock::Clock;
use crate::interval_timer::Kind;
use crate::posix_timer::{Notification, Start};
use crate::thread::Caller;
use crate::time;
use crate::timer_file::{OnClockSet, TimerFile};
use ::process::credentials::Capability;
use ::process::signal::Signal;
use abi::linux::general as number;
use alloc::sync::Arc;
use base::address::VirtualAddress;
use base::{Error, Result};
use vfs::{OpenFile, OpenFlags};

/// The timer of a process that `setitimer` names.
fn kind(which: usize) -> Result<Kind> {
    match which as u32 {
        number::ITIMER_REAL => Ok(Kind::Real),
        number::ITIMER_VIRTUAL => Ok(Kind::Virtual),
        number::ITIMER_PROF => Ok(Kind::Profiling),
        _ => Err(Error::InvalidArgument),
    }
}

/// `struct itimerval` in its words.
fn to_itimerval(remaining: Remaining) -> [i64; 4] {
    let [interval, value] = [to_timeval(remaining.interval_ns), to_timeval(remaining.value_ns)];
    [interval[0], interval[1], value[0], value[1]]
}

/// `getitimer`
pub async fn getitimer(caller: &Caller, which: usize, address: usize) -> Result<usize> {
    let remaining = caller.process().interval_timers.remaining(kind(which)?);
    caller.space.write_object(VirtualAddress::new(address), &to_itimerval(remaining)).await?;
    Ok(0)
}

/// `setitimer`
pub async fn setitimer(caller: &Caller, which: usize, new: usize, old: usize) -> Result<usize> {
    let given = match new {
        0 => [0; 4],
        _ => caller.space.read_object::<[i64; 4]>(VirtualAddress::new(new)).await?,
    };
    let interval_ns = from_timeval([given[0], given[1]])?;
    let value_ns = from_timeval([given[2], given[3]])?;
    let process = caller.process();
    let before = process.interval_timers.set(kind(which)?, process, Remaining { value_ns, interval_ns })?;
    if old != 0 {
        caller.space.write_object(VirtualAddress::new(old), &to_itimerval(before)).await?;
    }
    Ok(0)
}

/// `struct itimerspec` in its words.
fn to_itimerspec(remaining: Remaining) -> [i64; 4] {
    let [interval, value] = [remaining.interval_ns, remaining.value_ns].map(|ns| to_timespec(ns as i64));
    [interval[0], interval[1], value[0], value[1]]
}

async fn read_itimerspec(caller: &Caller, address: usize) -> Result<Remaining> {
    let words = caller.space.read_object::<[i64; 4]>(VirtualAddress::new(address)).await?;
    let interval_ns = from_timespec([words[0], words[1]])?;
    Ok(Remaining { value_ns: from_timespec([words[2], words[3]])?, interval_ns })
}

/// The clock of a timer: those that are only to be read have none.
fn timer_clock(caller: &Caller, clock: usize) -> Result<Clock> {
    let found = clock_named(caller, clock)?;
    match clock as u32 {
        number::CLOCK_MONOTONIC_RAW | number::CLOCK_MONOTONIC_COARSE | number::CLOCK_REALTIME_COARSE => {
            Err(Error::NotSupported)
        }
        _ => Ok(found),
    }
}

/// `struct sigevent` as far as the kernel looks at it.
struct SignalEvent {
    value: u64,
    signal: u32,
    how: u32,
    thread: u32,
}

impl SignalEvent {
    async fn read(caller: &Caller, address: usize) -> Result<Self> {
        /// The structure is so long.
        const WORDS: usize = 8;
        let words = caller.space.read_object::<[u64; WORDS]>(VirtualAddress::new(address)).await?;
        let (signal, how) = (words[1] as u32, (words[1] >> 32) as u32);
        Ok(Self { value: words[0], signal, how, thread: words[2] as u32 })
    }

    /// Whom it tells.
    fn notification(&self, caller: &Caller) -> Result<Notification> {
        const BY_SIGNAL: u32 = 0;
        const BY_NOTHING: u32 = 1;
        const BY_THREAD: u32 = 2;
        const TO_THREAD: u32 = 4;
        let signal = || Signal::new(self.signal).ok_or(Error::InvalidArgument);
        match self.how {
            BY_NOTHING => Ok(Notification::None),
            // To start a thread is the C library's affair, which does it by a signal.
            BY_SIGNAL | BY_THREAD => {
                Ok(Notification::Process(Arc::downgrade(caller.process()), signal()?, self.value))
            }
            TO_THREAD => {
                let thread = crate::process::find_thread(self.thread)
                    .filter(|thread| thread.process.id == caller.process().id)
                    .ok_or(Error::InvalidArgument)?;
                Ok(Notification::Thread(Arc::downgrade(&thread), signal()?, self.value))
            }
            _ => Err(Error::InvalidArgument),
        }
    }
}

/// `timer_create`
pub async fn timer_create(caller: &Caller, clock: usize, event: usize, id: usize) -> Result<usize> {
    let event = match event {
        0 => None,
        _ => Some(SignalEvent::read(caller, event).await?),
    };
    let clock = timer_clock(caller, clock)?;
    let process = caller.process();
    let number = match event {
        Some(event) => {
            let notification = event.notification(caller)?;
            process.posix_timers.create(clock, |_| notification)?
        }
        // As on Linux: `SIGALRM` with the timer's number.
        None => process.posix_timers.create(clock, |number| {
            Notification::Process(Arc::downgrade(process), Signal::ALRM, number.into())
        })?,
    };
    if let Err(error) = caller.space.write_object(VirtualAddress::new(id), &number).await {
        // Another thread may have guessed it and been quicker.
        let _ = process.posix_timers.delete(number);
        return Err(error);
    }
    Ok(0)
}

/// `timer_settime`
pub async fn timer_settime(
    caller: &Caller,
    id: usize,
    flags: usize,
    new: usize,
    old: usize,
) -> Result<usize> {
    if new == 0 {
        return Err(Error::InvalidArgument);
    }
    let new = read_itimerspec(caller, new).await?;
    let timer = caller.process().posix_timers.get(id as u32)?;
    let start = if flags as u32 & number::TIMER_ABSTIME != 0 { Start::Absolute } else { Start::Now };
    let before = timer.set(new, start)?;
    if old != 0 {
        caller.space.write_object(VirtualAddress::new(old), &to_itimerspec(before)).await?;
    }
    Ok(0)
}

/// `timer_gettime`
pub async fn timer_gettime(caller: &Caller, id: usize, address: usize) -> Result<usize> {
    let remaining = caller.process().posix_timers.get(id as u32)?.remaining();
    caller.space.write_object(VirtualAddress::new(address), &to_itimerspec(remaining)).await?;
    Ok(0)
}

/// `timer_getoverrun`
pub async fn timer_getoverrun(caller: &Caller, id: usize) -> Result<usize> {
    Ok(caller.process().posix_timers.get(id as u32)?.overrun() as usize)
}

/// `timer_delete`
pub async fn timer_delete(caller: &Caller, id: usize) -> Result<usize> {
    caller.process().posix_timers.delete(id as u32).map(|()| 0)
}

/// `timerfd_create`
pub async fn timerfd_create(caller: &Caller, clock: usize, flags: usize) -> Result<usize> {
    let flags = super::names::check_flags(flags, number::O_CLOEXEC | number::O_NONBLOCK)?;
    let clock = match clock as u32 {
        number::CLOCK_REALTIME | number::CLOCK_REALTIME_ALARM => Clock::Realtime,
        number::CLOCK_MONOTONIC | number::CLOCK_BOOTTIME | number::CLOCK_BOOTTIME_ALARM => Clock::Monotonic,
        _ => return Err(Error::InvalidArgument),
    };
    events::insert(caller, TimerFile::new(clock), "[timerfd]", OpenFlags::from_bits_retain(flags))
}

fn timer_of(caller: &Caller, file: usize) -> Result<Arc<OpenFile>> {
    let file = caller.files.get(descriptor(file))?;
    let is_timer = file.file().downcast_ref::<TimerFile>().is_some();
    if is_timer { Ok(file) } else { Err(Error::InvalidArgument) }
}

fn timer_in(file: &OpenFile) -> Result<&TimerFile> {
    file.file().downcast_ref::<TimerFile>().ok_or(Error::InvalidArgument)
}

/// `timerfd_settime`
pub async fn timerfd_settime(
    caller: &Caller,
    file: usize,
    flags: usize,
    new: usize,
    old: usize,
) -> Result<usize> {
    const ABSOLUTE: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    let new = read_itimerspec(caller, new).await?;
    let flags = flags as u32;
    if flags & !(ABSOLUTE | CANCEL_ON_SET) != 0 {
        return Err(Error::InvalidArgument);
    }
    let file = timer_of(caller, file)?;
    let start = if flags & ABSOLUTE != 0 { Start::Absolute } else { Start::Now };
    let on_clock_set = if flags & CANCEL_ON_SET != 0 { OnClockSet::Cancel } else { OnClockSet::GoOn };
    let before = timer_in(&file)?.set(new, start, on_clock_set)?;
    if old != 0 {
        caller.space.write_object(VirtualAddress::new(old), &to_itimerspec(before)).await?;
    }
    Ok(0)
}

/// `timerfd_gettime`
pub async fn timerfd_gettime(caller: &Caller, file: usize, address: usize) -> Result<usize> {
    let file = timer_of(caller, file)?;
    let remaining = timer_in(&file)?.remaining();
    caller.space.write_object(VirtualAddress::new(address), &to_itimerspec(remaining)).await?;
    Ok(0)
}

/// `adjtimex`, and `clock_adjtime` of the time of day: tells of a clock that nobody disciplines. To adjust it is not
/// implemented.
pub async fn adjtimex(caller: &Caller, asked: u32, address: usize) -> Result<usize> {
    /// `TIME_ERROR`: the clock is not synchronized.
    const NOT_SYNCHRONIZED: usize = 5;
    /// `STA_UNSYNC`
    const UNSYNCHRONIZED: u64 = 0x40;
    /// `NTP_PHASE_LIMIT`, in microseconds: what an error is that nobody knows.
    const UNKNOWN_ERROR: u64 = 16_000_000;
    /// `ADJ_OFFSET_SS_READ`: how much of an adjustment is left.
    const OFFSET_READ: u32 = 0xa001;
    /// `ADJ_OFFSET_SINGLESHOT`: an adjustment, in microseconds.
    const OFFSET_ONCE: u32 = 0x8001;
    const WORDS: usize = 26;
    let place = VirtualAddress::new(address);
    let mut words = caller.space.read_object::<[u64; WORDS]>(place).await?;
    let asks = matches!(words[0] as u32, 0 | OFFSET_READ);
    // To adjust it by nothing is done already.
    let nothing = words[0] as u32 == OFFSET_ONCE && words[1] == 0;
    if !asks {
        let allowed = caller.process().identity().credentials.has(Capability::Time);
        match (allowed, nothing) {
            (false, _) => return Err(Error::NotPermitted),
            (true, false) => return unimplemented::refuse(asked as usize),
            (true, true) => {}
        }
    }
    let [seconds, nanoseconds] = to_timespec(time::realtime_ns()).map(|word| word as u64);
    words[1..].fill(0);
    // maxerror, esterror, status, constant, precision, tolerance, time, tick.
    (words[3], words[4], words[5], words[6]) = (UNKNOWN_ERROR, UNKNOWN_ERROR, UNSYNCHRONIZED, 2);
    (words[7], words[8], words[9], words[10]) = (1, 500 << 16, seconds, nanoseconds / 1000);
    words[11] = 10_000;
    caller.space.write_object(place, &words).await?;
    Ok(NOT_SYNCHRONIZED)
}

/// `clock_adjtime`
pub async fn clock_adjtime(caller: &Caller, clock: usize, address: usize) -> Result<usize> {
    clock_named(caller, clock)?;
    match clock as u32 {
        number::CLOCK_REALTIME => adjtimex(caller, number::__NR_clock_adjtime, address).await,
        _ => Err(Error::NotSupported),
    }
}
