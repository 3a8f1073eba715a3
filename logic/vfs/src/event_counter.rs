//! Event counters (`eventfd2`): a number that writers add to and readers take.

use crate::inode::{File, Readiness, WaitQueues, WritePosition, Written};
use crate::{Error, Result};
use alloc::sync::Arc;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::{SpinLock, WaitQueue};

/// The greatest value; one more is what an overflow would look like.
const MAXIMUM: u64 = u64::MAX - 1;
/// Bytes of a value.
const SIZE: usize = size_of::<u64>();

/// What a read takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// The whole value.
    Everything,
    /// One (`EFD_SEMAPHORE`).
    One,
}

/// A counter as an open file.
pub struct EventCounter {
    value: SpinLock<u64>,
    taking: Taking,
    readers: WaitQueue,
    writers: WaitQueue,
}

impl EventCounter {
    /// A counter with this value.
    pub fn new(value: u64, taking: Taking) -> Arc<Self> {
        Arc::new(Self {
            value: SpinLock::new(value),
            taking,
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
        })
    }

    /// The value, for `/proc/PID/fdinfo`.
    pub fn value(&self) -> u64 {
        *self.value.lock()
    }

    /// Adds to the value as the kernel does: what does not fit is lost, and nobody waits. To be used for completions.
    pub fn signal(&self, count: u64) {
        {
            let mut value = self.value.lock();
            *value = value.saturating_add(count).min(MAXIMUM);
        }
        self.readers.wake_all();
    }

    fn take(&self) -> Result<u64> {
        let mut value = self.value.lock();
        if *value == 0 {
            return Err(Error::WouldBlock);
        }
        Ok(match self.taking {
            Taking::Everything => core::mem::take(&mut *value),
            Taking::One => {
                *value -= 1;
                1
            }
        })
    }

    fn add(&self, count: u64) -> Result<()> {
        if count > MAXIMUM {
            return Err(Error::InvalidArgument);
        }
        let mut value = self.value.lock();
        if count > MAXIMUM - *value {
            return Err(Error::WouldBlock);
        }
        *value += count;
        Ok(())
    }

    fn read_now(&self, sink: &mut Sink<'_>) -> Result<usize> {
        if sink.remaining() < SIZE {
            return Err(Error::InvalidArgument);
        }
        let taken = self.take()?;
        self.writers.wake_all();
        Ok(sink.copy_from(&taken.to_ne_bytes()))
    }

    fn write_now(&self, source: &mut Source<'_>) -> Result<Written> {
        if source.remaining() != SIZE {
            return Err(Error::InvalidArgument);
        }
        let mut bytes = [0; SIZE];
        source.copy_to(&mut bytes);
        let count = u64::from_ne_bytes(bytes);
        self.add(count)?;
        if count > 0 {
            self.readers.wake_all();
        }
        Ok(Written { count: SIZE, end: 0 })
    }
}

impl File for EventCounter {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.read_now(sink))
    }

    fn write<'a>(&'a self, source: &'a mut Source<'_>, _: WritePosition) -> Operation<'a, Result<Written>> {
        Operation::Ready(self.write_now(source))
    }

    fn is_exhausted(&self, room: usize) -> bool {
        room >= SIZE && *self.value.lock() == 0
    }

    fn readiness(&self) -> Readiness {
        let value = *self.value.lock();
        let mut readiness = Readiness::empty();
        readiness.set(Readiness::IN, value > 0);
        readiness.set(Readiness::OUT, value < MAXIMUM);
        readiness
    }

    fn wait_queues(&self, interest: Readiness) -> WaitQueues<'_> {
        let first = (!interest.intersects(Readiness::WRITABLE) || interest.intersects(Readiness::READABLE))
            .then_some(&self.readers);
        let second = interest.intersects(Readiness::WRITABLE).then_some(&self.writers);
        WaitQueues { first: first.or(second), second: first.and(second) }
    }

    fn seekable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    fn read(counter: &EventCounter, room: usize) -> Result<u64> {
        let mut bytes = [0; 16];
        let count = block_on(counter.read(&mut Sink::new(&mut bytes[..room]), 0))?;
        assert_eq!(count, SIZE);
        Ok(u64::from_ne_bytes(bytes[..SIZE].try_into().expect("eight bytes")))
    }

    fn write(counter: &EventCounter, value: u64) -> Result<usize> {
        let written = block_on(counter.write(&mut Source::new(&value.to_ne_bytes()), WritePosition::At(0)))?;
        Ok(written.count)
    }

    #[test]
    fn a_read_takes_the_sum() {
        let counter = EventCounter::new(3, Taking::Everything);
        assert_eq!(write(&counter, 4), Ok(SIZE));
        assert_eq!(read(&counter, 16), Ok(7));
        assert_eq!(read(&counter, 8), Err(Error::WouldBlock));
        assert_eq!(read(&counter, 7), Err(Error::InvalidArgument));
    }

    #[test]
    fn a_semaphore_gives_one_at_a_time() {
        let counter = EventCounter::new(2, Taking::One);
        assert_eq!((read(&counter, 8), read(&counter, 8)), (Ok(1), Ok(1)));
        assert_eq!(read(&counter, 8), Err(Error::WouldBlock));
    }

    #[test]
    fn it_does_not_overflow() {
        let counter = EventCounter::new(1, Taking::Everything);
        assert_eq!(write(&counter, u64::MAX), Err(Error::InvalidArgument));
        assert_eq!(write(&counter, MAXIMUM - 1), Ok(SIZE));
        assert_eq!(write(&counter, 1), Err(Error::WouldBlock));
        assert!(!counter.readiness().contains(Readiness::OUT));
        assert_eq!(read(&counter, 8), Ok(MAXIMUM));
        assert_eq!(counter.readiness(), Readiness::OUT);
    }

    #[test]
    fn only_a_whole_value_is_taken() {
        let counter = EventCounter::new(0, Taking::Everything);
        for length in [0, 7, 9, 16] {
            let bytes = [1; 16];
            let written = block_on(counter.write(&mut Source::new(&bytes[..length]), WritePosition::At(0)));
            assert_eq!(written, Err(Error::InvalidArgument));
        }
        assert_eq!(counter.value(), 0);
    }
}
