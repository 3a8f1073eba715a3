//! The flight recorder: for each hart a ring of what happened last.
//!
//! A trace point is a call of [`event`]: one load and a branch while recording is off. While it is on, the record goes into
//! the ring of the hart on which it happens, and the oldest makes room. Rings are read at any time, by anyone, without stopping
//! the writers ([`ring`] says how).

mod ring;

#[cfg(not(loom))]
pub use recorder::{enable, event, is_enabled, last, visit};

#[cfg(not(loom))]
mod recorder {
    use super::ring::Ring;
    use crate::hal::{PreemptGuard, now_ns};
    use crate::sync::OnceCell;
    use crate::sync::atomic::{AtomicBool, Ordering};
    use crate::{Error, Result};
    use abi::trace::{Event, Record};
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    static ENABLED: AtomicBool = AtomicBool::new(false);
    static RINGS: OnceCell<Box<[Ring]>> = OnceCell::new();

    /// Gives each of `harts` a ring of `records` (rounded up to a power of two) and begins to record. Once.
    ///
    /// # Errors
    /// `OutOfMemory`; `AlreadyExists` when it records already.
    pub fn enable(harts: usize, records: usize) -> Result<()> {
        let mut rings = Vec::new();
        rings.try_reserve_exact(harts).map_err(|_| Error::OutOfMemory)?;
        for _ in 0..harts {
            rings.push(Ring::new(records)?);
        }
        RINGS.set(rings.into_boxed_slice()).map_err(|_| Error::AlreadyExists)?;
        ENABLED.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether events are recorded.
    #[inline(always)]
    pub fn is_enabled() -> bool {
        ENABLED.load(Ordering::Relaxed)
    }

    /// Records that something happened on this hart to the coroutine at this address (0 for none).
    #[inline(always)]
    pub fn event(event: Event, coroutine: usize, detail: u32, argument: u64) {
        if is_enabled() {
            record(event, coroutine, detail, argument);
        }
    }

    #[cold]
    fn record(event: Event, coroutine: usize, detail: u32, argument: u64) {
        let guard = PreemptGuard::new();
        let hart = guard.hart_index();
        // Other harts than those that have a ring record nothing.
        if let Some(ring) = RINGS.get().and_then(|rings| rings.get(hart)) {
            let head = event as u64 | (hart as u64) << 16 | u64::from(detail) << 32;
            ring.push([now_ns(), coroutine as u64, argument, head]);
        }
    }

    /// Shows what the ring of `hart` holds, the oldest first, from its last `count` records on.
    pub fn last(hart: usize, count: u64, mut show: impl FnMut(Record)) {
        let Some(ring) = RINGS.get().and_then(|rings| rings.get(hart)) else { return };
        let span = ring.span();
        for index in span.end.saturating_sub(count).max(span.start)..span.end {
            if let Some([time_ns, coroutine, argument, head]) = ring.read(index) {
                let (event, hart, detail) = (head as u16, (head >> 16) as u16, (head >> 32) as u32);
                show(Record { time_ns, coroutine, argument, event, hart, detail });
            }
        }
    }

    /// Shows everything that the rings hold, hart after hart.
    pub fn visit(mut show: impl FnMut(Record)) {
        for hart in 0..RINGS.get().map_or(0, |rings| rings.len()) {
            last(hart, u64::MAX, &mut show);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn nothing_is_recorded_before_it_is_enabled_and_everything_after() {
            event(Event::Idle, 1, 2, 3);
            let mut seen = Vec::new();
            visit(|record| seen.push(record));
            assert!(seen.is_empty());
            enable(64, 4).unwrap();
            assert_eq!(enable(1, 4), Err(Error::AlreadyExists));
            for number in 0..6 {
                event(Event::Return, 0x1000, number, (-2_i64) as u64);
            }
            visit(|record| seen.push(record));
            assert_eq!(seen.iter().map(|record| record.detail).collect::<Vec<_>>(), [2, 3, 4, 5]);
            assert_eq!(Event::from_number(seen[0].event), Some(Event::Return));
            let text = alloc::format!("{}", seen[0]);
            assert!(text.ends_with("0x0000000000001000 return number=2 result=-2"), "{text}");
            let mut few = Vec::new();
            last(usize::from(seen[0].hart), 2, |record| few.push(record.detail));
            assert_eq!(few, [4, 5]);
        }
    }
}
