//! Time: the timebase in nanoseconds, sleeping, and the hart's one timer.
//!
//! Nothing ticks. A hart's timer is set for the earliest of its pending sleeps and, while equally important coroutines
//! compete on it, the end of the running one's slice; when there is neither, it is not set at all.

use crate::hart::{self, Hart};
use arch_riscv64 as arch;
use base::hal::now_ns;
use base::sync::atomic::{AtomicU32, Ordering};
use base::sync::{OnceCell, WaitQueue};
use base::timer::TimerKey;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use drivers::rtc::GoldfishRtc;

const SECOND_NS: u64 = 1_000_000_000;

struct Clock {
    /// Whole nanoseconds in a tick when that is exact, which every known machine's timebase is.
    ns_per_tick: Option<u64>,
    ticks_per_second: u64,
    boot_ticks: u64,
    sstc: bool,
}

static CLOCK: OnceCell<Clock> = OnceCell::new();
/// Woken when the time of day was set, and how often that happened.
static WALL_SET: WaitQueue = WaitQueue::new();
static WALL_SETTINGS: AtomicU32 = AtomicU32::new(0);

/// Tells the timebase's frequency. `sstc`: every hart has its own `stimecmp`.
pub fn initialise(ticks_per_second: u64, sstc: bool, boot_ticks: u64) {
    let exact = SECOND_NS.is_multiple_of(ticks_per_second);
    let ns_per_tick = exact.then(|| SECOND_NS / ticks_per_second);
    // Set once, at boot.
    let _ = CLOCK.set(Clock { ns_per_tick, ticks_per_second, boot_ticks, sstc });
}

/// Nanoseconds since boot.
#[inline]
pub fn since_boot_ns() -> u64 {
    let Some(clock) = CLOCK.get() else { return 0 };
    let ticks = arch::timer::ticks() - clock.boot_ticks;
    match clock.ns_per_tick {
        Some(factor) => ticks * factor,
        None => (u128::from(ticks) * u128::from(SECOND_NS) / u128::from(clock.ticks_per_second)) as u64,
    }
}

/// The first tick at which `deadline_ns` since boot has passed.
fn to_ticks(clock: &Clock, deadline_ns: u64) -> u64 {
    let ticks =
        match clock.ns_per_tick {
            Some(factor) => deadline_ns.div_ceil(factor),
            None => (u128::from(deadline_ns) * u128::from(clock.ticks_per_second))
                .div_ceil(u128::from(SECOND_NS)) as u64,
        };
    ticks.saturating_add(clock.boot_ticks)
}

/// Sets the time of day to what the machine's clock says, if it has one.
pub fn start_wall_clock() {
    let system = crate::boot::system();
    let Some(device) = &system.machine.rtc else { return };
    match GoldfishRtc::new(device, &system.devices) {
        Ok(mut clock) => wall_clock().set_ns(clock.time_ns() as i64),
        Err(error) => crate::log!("the machine's clock cannot be read: {error}"),
    }
}

/// The time of day, which file systems stamp their files by.
fn wall_clock() -> &'static vfs::WallClock {
    &crate::devices::environment().clock
}

/// What the counter showed at boot, and the nanoseconds in a tick; 0 when that is no whole number.
pub fn counter() -> (u64, u64) {
    CLOCK.get().map_or((0, 0), |clock| (clock.boot_ticks, clock.ns_per_tick.unwrap_or(0)))
}

/// What is added to the time since boot to get the time since 1970, in nanoseconds.
pub fn realtime_offset_ns() -> i64 {
    wall_clock().offset_ns()
}

/// Nanoseconds since 1970, as far as anybody said what time it was.
pub fn realtime_ns() -> i64 {
    wall_clock().now_ns()
}

/// Says that it is `realtime_ns` nanoseconds since 1970, and has those look who wait for a time of day.
pub fn set_realtime_ns(realtime_ns: i64) {
    wall_clock().set_ns(realtime_ns);
    crate::vdso::set_realtime_offset(realtime_offset_ns());
    WALL_SETTINGS.fetch_add(1, Ordering::Release);
    WALL_SET.wake_all();
}

/// How often the time of day was set.
pub fn wall_clock_settings() -> u32 {
    WALL_SETTINGS.load(Ordering::Acquire)
}

/// Waits until it is `deadline_ns` nanoseconds since 1970, whoever sets the clock meanwhile.
pub async fn sleep_until_realtime(deadline_ns: i64) {
    while deadline_ns > realtime_ns() {
        sleep_until_realtime_or_set(deadline_ns).await;
    }
}

/// As [`sleep_until_realtime`], but only until somebody sets the clock.
pub async fn sleep_until_realtime_or_set(deadline_ns: i64) {
    let settings = wall_clock_settings();
    let left = deadline_ns.saturating_sub(realtime_ns());
    if left <= 0 {
        return;
    }
    let mut sleep = pin!(sleep_until(now_ns().saturating_add(left as u64)));
    let mut set = pin!(WALL_SET.wait_until(|| (wall_clock_settings() != settings).then_some(())));
    poll_fn(|context| match sleep.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => set.as_mut().poll(context),
    })
    .await;
}

/// Sees to it that the hart's timer interrupts when a slice ends, or before: one that is set for an earlier moment already is
/// left as it is, and its handler will set it anew. For the hart itself, preemption off or interrupts masked.
#[inline]
pub fn arm_for_slice(hart: &Hart) {
    if hart.local.armed_ns.get() > hart.local.slice_end_ns.get() {
        arm(hart);
    } else {
        hart.local.slice_timer_set.set(true);
    }
}

/// Sets the hart's timer for the earliest deadline that it has. For the hart itself, preemption off or interrupts masked.
pub fn arm(hart: &Hart) {
    let timers = hart.timers.lock().next_deadline().unwrap_or(u64::MAX);
    let slice_end = hart.local.slice_end_ns.get();
    // A slice that has ended is judged on the way out of its interrupt, and asks for nothing more.
    let sliced = hart.slice_armed.load(Ordering::Relaxed) && slice_end > now_ns();
    let deadline = if sliced { timers.min(slice_end) } else { timers };
    hart.local.slice_timer_set.set(sliced);
    if deadline == hart.local.armed_ns.get() {
        return;
    }
    hart.local.armed_ns.set(deadline);
    let Some(clock) = CLOCK.get() else { return };
    let ticks = if deadline == u64::MAX { u64::MAX } else { to_ticks(clock, deadline) };
    arch::timer::set_deadline(ticks, clock.sstc);
}

/// The timer's interrupt: wakes what is due and sets the timer anew.
pub fn on_interrupt(hart: &'static Hart) {
    let now = now_ns();
    loop {
        let expired = hart.timers.lock().pop_expired(now);
        match expired {
            Some(waker) => waker.wake(),
            None => break,
        }
    }
    if hart.slice_armed.load(Ordering::Relaxed) {
        hart.reschedule.store(true, Ordering::Relaxed);
    }
    // The deadline that interrupted has passed: the timer must be set or switched off, whatever comes next.
    hart.local.armed_ns.set(0);
    hart.local.slice_timer_set.set(false);
    arm(hart);
}

/// Waits until `deadline_ns` since boot; dropping it takes the timer away.
pub fn sleep_until(deadline_ns: u64) -> Sleep {
    Sleep { deadline_ns, timer: None }
}

/// See [`sleep_until`].
#[must_use = "a future does nothing unless awaited"]
pub struct Sleep {
    deadline_ns: u64,
    /// On which hart's queue the timer is.
    timer: Option<(u32, TimerKey)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.deadline_ns <= now_ns() {
            return Poll::Ready(());
        }
        if let Some((index, key)) = self.timer
            && hart::by_index(index as usize).timers.lock().update_waker(key, context.waker())
        {
            return Poll::Pending;
        }
        let waker = context.waker().clone();
        let deadline_ns = self.deadline_ns;
        let inserted = hart::with(|hart| {
            let key = hart.timers.lock().insert(deadline_ns, waker).ok()?;
            arm(hart);
            Some((hart.index() as u32, key))
        });
        match inserted {
            Some(timer) => self.timer = Some(timer),
            // No memory for a timer: look again at once, so that the deadline is kept at the cost of the CPU.
            None => context.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((index, key)) = self.timer {
            let waker = hart::by_index(index as usize).timers.lock().remove(key);
            drop(waker);
        }
    }
}
