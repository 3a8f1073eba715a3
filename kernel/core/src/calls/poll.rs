//! Waiting for descriptors: `ppoll` and `pselect6`.

use super::watching::{FileQueue, Places};
use crate::signals;
use crate::thread::{ATTENTION_SIGNAL, Caller};
use ::process::limits::Resource;
use ::process::signal::SignalSet;
use ::process::signal::action::Interruption;
use abi::file::{PollEntry, TimeSpec};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::{Error, Result};
use core::future::poll_fn;
use core::task::Poll;
use vfs::{OpenFile, Readiness};
use zerocopy::IntoBytes;

/// Bytes of a signal set.
const SIGNAL_SET_SIZE: usize = size_of::<u64>();

/// Until when to wait, as the caller said it, and where to tell what was left of it.
pub struct Timeout {
    address: usize,
    /// In nanoseconds since boot; `None`: for ever.
    deadline_ns: Option<u64>,
    is_zero: bool,
}

impl Timeout {
    /// The `struct timespec` at `address`, if that is not null.
    ///
    /// # Errors
    /// `InvalidArgument`, `BadAddress`.
    pub async fn read(caller: &Caller, address: usize) -> Result<Self> {
        if address == 0 {
            return Ok(Self { address, deadline_ns: None, is_zero: false });
        }
        let time: TimeSpec = caller.space.read_object(VirtualAddress::new(address)).await?;
        let duration_ns = time.duration_ns().ok_or(Error::InvalidArgument)?;
        let deadline_ns = Some(now_ns().saturating_add(duration_ns));
        Ok(Self { address, deadline_ns, is_zero: duration_ns == 0 })
    }

    /// Whether there is a time and it is over.
    pub fn is_over(&self) -> bool {
        self.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= now_ns())
    }

    /// Tells the caller how much was left; memory that cannot be written changes nothing.
    pub async fn tell_rest(&self, caller: &Caller) {
        if let Some(deadline_ns) = self.deadline_ns
            && !self.is_zero
        {
            let rest = TimeSpec::from_ns(deadline_ns.saturating_sub(now_ns()) as i64);
            let _ = caller.space.write_object(VirtualAddress::new(self.address), &rest).await;
        }
    }
}

/// The signals that a call blocks while it waits, at `address`, if that is not null.
///
/// # Errors
/// `InvalidArgument`, `BadAddress`.
pub async fn read_mask(caller: &Caller, address: usize, size: usize) -> Result<Option<SignalSet>> {
    if address == 0 {
        return Ok(None);
    }
    if size != SIGNAL_SET_SIZE {
        return Err(Error::InvalidArgument);
    }
    let bits = caller.space.read_object::<u64>(VirtualAddress::new(address)).await?;
    Ok(Some(SignalSet::mask_from_bits(bits)))
}

/// Waits with other signals blocked than else, if asked. When a signal ends the wait, the former mask comes back on the way
/// to user mode, behind the handler.
pub async fn with_mask<T>(
    caller: &mut Caller,
    mask: Option<SignalSet>,
    wait: impl AsyncFnOnce(&Caller) -> Result<T>,
) -> Result<T> {
    caller.call.interruption = Interruption::UnlessHandled;
    let Some(mask) = mask else { return wait(caller).await };
    {
        let mut own = caller.thread.signals.lock();
        let former = core::mem::replace(&mut own.mask, mask);
        own.saved_mask = Some(former);
    }
    caller.thread.notify_self(ATTENTION_SIGNAL);
    let outcome = wait(caller).await;
    if !matches!(outcome, Err(Error::Interrupted)) {
        let former = caller.thread.signals.lock().saved_mask.take();
        if let Some(former) = former {
            signals::set_mask(&caller.thread, former);
        }
    }
    outcome
}

/// Waits until `look` finds something, which is looked at first and then at each change of one of the `files`; `None`
/// when the time is over.
///
/// # Errors
/// `Interrupted`
pub async fn wait_for_files<T>(
    caller: &Caller,
    files: impl Iterator<Item = (&Arc<OpenFile>, Readiness)>,
    deadline_ns: Option<u64>,
    mut look: impl FnMut() -> Option<T>,
) -> Result<Option<T>> {
    let mut places = Places::new(files.flat_map(|(file, interest)| FileQueue::of(file.file(), interest)));
    let mut registered = false;
    let found = poll_fn(|context| {
        // First without a place: a wake-up that was for one is passed on when the places are dropped.
        if registered && let Some(found) = look() {
            return Poll::Ready(found);
        }
        registered = true;
        places.register(context.waker());
        look().map_or(Poll::Pending, Poll::Ready)
    });
    match caller.interruptible_until(found, deadline_ns).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A descriptor that is waited for, in the order of the caller's.
struct Watched {
    file: Option<Arc<OpenFile>>,
    interest: Readiness,
}

impl Watched {
    fn look(&self) -> Readiness {
        match &self.file {
            Some(file) => file.readiness() & (self.interest | Readiness::ALWAYS),
            None => Readiness::INVALID,
        }
    }

    fn for_waiting(&self) -> Option<(&Arc<OpenFile>, Readiness)> {
        Some((self.file.as_ref()?, self.interest))
    }
}

/// `ppoll`
pub async fn ppoll(
    caller: &mut Caller,
    entries: usize,
    count: usize,
    timeout: usize,
    mask: usize,
    mask_size: usize,
) -> Result<usize> {
    let timeout = Timeout::read(caller, timeout).await?;
    let mask = read_mask(caller, mask, mask_size).await?;
    let limit = caller.process().limits.lock().soft(Resource::OpenFiles);
    if count as u32 as u64 > limit {
        return Err(Error::InvalidArgument);
    }
    let address = VirtualAddress::new(entries);
    let mut entries = vec![PollEntry::default(); count as u32 as usize];
    caller.space.read_bytes(address, entries.as_mut_slice().as_mut_bytes()).await?;
    let found =
        with_mask(caller, mask, async |caller| poll(caller, &mut entries, timeout.deadline_ns).await).await;
    timeout.tell_rest(caller).await;
    let found = found?;
    caller.space.write_bytes(address, entries.as_bytes()).await?;
    Ok(found)
}

async fn poll(caller: &Caller, entries: &mut [PollEntry], deadline_ns: Option<u64>) -> Result<usize> {
    let watched: Vec<Option<Watched>> = entries
        .iter()
        .map(|entry| {
            let number = u32::try_from(entry.descriptor).ok()?;
            let interest = Readiness::from_bits_truncate(entry.events);
            Some(Watched { file: caller.files.get(number).ok(), interest })
        })
        .collect();
    let mut look = || {
        let mut found = 0;
        for (entry, watched) in entries.iter_mut().zip(&watched) {
            let readiness = watched.as_ref().map_or(Readiness::empty(), Watched::look);
            entry.found = readiness.bits();
            found += usize::from(!readiness.is_empty());
        }
        (found > 0).then_some(found)
    };
    if let Some(found) = look() {
        return Ok(found);
    }
    if deadline_ns.is_some_and(|deadline_ns| deadline_ns <= now_ns()) {
        return Ok(0);
    }
    let files = watched.iter().flatten().filter_map(Watched::for_waiting);
    Ok(wait_for_files(caller, files, deadline_ns, look).await?.unwrap_or(0))
}

/// Descriptors that a `select` can be about at most; a table has no more under any limit that can be set.
const SELECT_MAX: usize = 1 << 20;
const WORD: usize = u64::BITS as usize;

/// What makes a descriptor a member of each of the three sets that `select` answers.
const SELECTED: [Readiness; 3] = [
    Readiness::READABLE.union(Readiness::READ_BAND).union(Readiness::HANG_UP).union(Readiness::ERROR),
    Readiness::WRITABLE.union(Readiness::WRITE_BAND).union(Readiness::ERROR),
    Readiness::PRIORITY,
];

/// The three sets of a `select`, of as many words each as there are descriptors to look at.
struct Sets {
    addresses: [usize; 3],
    words: [Vec<u64>; 3],
}

impl Sets {
    async fn read(caller: &Caller, addresses: [usize; 3], count: usize) -> Result<Self> {
        let length = count.div_ceil(WORD);
        let mut words = [const { Vec::new() }; 3];
        for (words, address) in words.iter_mut().zip(addresses) {
            words.resize(length, 0u64);
            if address != 0 {
                let bytes = words.as_mut_slice().as_mut_bytes();
                caller.space.read_bytes(VirtualAddress::new(address), bytes).await?;
            }
            if let Some(last) = words.last_mut()
                && !count.is_multiple_of(WORD)
            {
                *last &= (1 << (count % WORD)) - 1;
            }
        }
        Ok(Self { addresses, words })
    }

    async fn write(&self, caller: &Caller) -> Result<()> {
        for (words, address) in self.words.iter().zip(self.addresses) {
            if address != 0 {
                caller.space.write_bytes(VirtualAddress::new(address), words.as_bytes()).await?;
            }
        }
        Ok(())
    }

    fn contains(&self, set: usize, number: usize) -> bool {
        self.words[set][number / WORD] >> (number % WORD) & 1 != 0
    }

    /// The descriptors that are in one of the sets, with what each is watched for.
    fn watched(&self, caller: &Caller) -> Result<Vec<(usize, Watched)>> {
        let mut watched = Vec::new();
        for index in 0..self.words[0].len() {
            let mut left = self.words.iter().fold(0, |all, words| all | words[index]);
            while left != 0 {
                let number = index * WORD + left.trailing_zeros() as usize;
                left &= left - 1;
                let mut interest = Readiness::empty();
                for (set, readiness) in SELECTED.into_iter().enumerate() {
                    interest.set(readiness, self.contains(set, number));
                }
                let file = caller.files.get(number as u32)?;
                watched.push((number, Watched { file: Some(file), interest }));
            }
        }
        Ok(watched)
    }
}

/// `pselect6`
pub async fn pselect6(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let [count, reading, writing, exceptional, timeout, mask] = arguments;
    let timeout = Timeout::read(caller, timeout).await?;
    let mask = match mask {
        0 => None,
        _ => {
            let [address, size] = caller.space.read_object::<[usize; 2]>(VirtualAddress::new(mask)).await?;
            read_mask(caller, address, size).await?
        }
    };
    let count = usize::try_from(count as i32).map_err(|_| Error::InvalidArgument)?.min(SELECT_MAX);
    // Beyond what the caller's table has, nothing is looked at.
    let count = count.min((caller.files.bound() as usize).next_multiple_of(WORD).max(WORD));
    let sets = Sets::read(caller, [reading, writing, exceptional], count).await?;
    let outcome =
        with_mask(caller, mask, async |caller| select(caller, &sets, timeout.deadline_ns).await).await;
    timeout.tell_rest(caller).await;
    let (found, words) = outcome?;
    Sets { words, ..sets }.write(caller).await?;
    Ok(found)
}

/// How many members the sets that are answered have, and the sets.
type Selected = (usize, [Vec<u64>; 3]);

async fn select(caller: &Caller, sets: &Sets, deadline_ns: Option<u64>) -> Result<Selected> {
    let watched = sets.watched(caller)?;
    let mut answer = sets.words.each_ref().map(|words| vec![0u64; words.len()]);
    let mut look = || {
        let mut found = 0;
        for (number, watched) in &watched {
            let readiness = watched.look();
            for (set, selected) in SELECTED.into_iter().enumerate() {
                let member = sets.contains(set, *number) && readiness.intersects(selected);
                if member {
                    answer[set][number / WORD] |= 1 << (number % WORD);
                    found += 1;
                }
            }
        }
        (found > 0).then_some(found)
    };
    let mut found = look();
    if found.is_none() && deadline_ns.is_none_or(|deadline_ns| deadline_ns > now_ns()) {
        let files = watched.iter().filter_map(|(_, watched)| watched.for_waiting());
        found = wait_for_files(caller, files, deadline_ns, look).await?;
    }
    Ok((found.unwrap_or(0), answer))
}
