//! A ring of records with one writer that never waits and readers that never stop it.
//!
//! # Protocol
//! Records are numbered from 0; record `n` lies in slot `n % capacity`. Only the ring's hart writes, with preemption off.
//!
//! 1. The writer of record `n` first stores `started = n + 1`, and then, behind a release fence, the record's words.
//! 2. It publishes by storing `written = n + 1` (release).
//! 3. A reader takes `n < written` (acquire), so that it sees all words of record `n` or of a later one in the same slot.
//! 4. Having read the words it looks, behind an acquire fence, at `started`. If it read any word of record
//!    `n + capacity`, the fences make it see that record's `started`, which is above `n + capacity`: it then knows
//!    nothing about record `n`. Otherwise what it read is record `n`, whole.

use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

const WORDS: usize = 4;

/// The ring of one hart.
pub(super) struct Ring {
    slots: Box<[[AtomicU64; WORDS]]>,
    started: AtomicU64,
    written: AtomicU64,
}

impl Ring {
    /// A ring for `capacity` records, rounded up to a power of two.
    ///
    /// # Errors
    /// `OutOfMemory`; `InvalidArgument` for a ring without records or one that is larger than memory can be.
    pub(super) fn new(capacity: usize) -> Result<Self> {
        let capacity = capacity.checked_next_power_of_two().filter(|_| capacity > 0);
        let capacity = capacity.ok_or(Error::InvalidArgument)?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(capacity).map_err(|_| Error::OutOfMemory)?;
        slots.resize_with(capacity, || core::array::from_fn(|_| AtomicU64::new(0)));
        let slots = slots.into_boxed_slice();
        Ok(Self { slots, started: AtomicU64::new(0), written: AtomicU64::new(0) })
    }

    fn slot(&self, index: u64) -> &[AtomicU64; WORDS] {
        &self.slots[index as usize & (self.slots.len() - 1)]
    }

    /// Adds a record. Only one at a time may write.
    pub(super) fn push(&self, words: [u64; WORDS]) {
        let index = self.written.load(Ordering::Relaxed);
        self.started.store(index + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (place, word) in self.slot(index).iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.written.store(index + 1, Ordering::Release);
    }

    /// The numbers of the records that are there now; the first ones may be gone when they are read.
    pub(super) fn span(&self) -> Range<u64> {
        let end = self.written.load(Ordering::Acquire);
        end.saturating_sub(self.slots.len() as u64)..end
    }

    /// The record with this number, from a [`Self::span`]; nothing when it has made room meanwhile.
    pub(super) fn read(&self, index: u64) -> Option<[u64; WORDS]> {
        let slot = self.slot(index);
        let words = core::array::from_fn(|word| slot[word].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let started = self.started.load(Ordering::Relaxed);
        (started <= index + self.slots.len() as u64).then_some(words)
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;

    /// A reader while two records come into a ring of one: whatever it is given is one record, and the right one.
    fn read_beside_a_writer(read: fn(&Ring, u64) -> Option<[u64; WORDS]>) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let ring = Arc::new(Ring::new(1).unwrap());
            let reader = {
                let ring = ring.clone();
                loom::thread::spawn(move || {
                    for index in ring.span() {
                        if let Some(words) = read(&ring, index) {
                            assert_eq!(words, [index + 1; WORDS]);
                        }
                    }
                })
            };
            ring.push([1; WORDS]);
            ring.push([2; WORDS]);
            reader.join().unwrap();
            assert_eq!((ring.span(), ring.read(1)), (1..2, Some([2; WORDS])));
        });
    }

    #[test]
    fn a_record_is_read_whole_or_not_at_all() {
        read_beside_a_writer(Ring::read);
    }

    #[test]
    #[should_panic]
    fn the_model_finds_a_reader_that_does_not_look_again() {
        read_beside_a_writer(|ring, index| {
            let slot = ring.slot(index);
            Some(core::array::from_fn(|word| slot[word].load(Ordering::Relaxed)))
        });
    }
}
