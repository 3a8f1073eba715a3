//! Futexes: waiting for words of user memory, and what is done about those that a thread still holds when it ends.
//!
//! Waiters stand in one table for the whole system, by their futex's key; a waiter is a node inside the thread's
//! coroutine, so that waiting allocates nothing. The word is looked at under the lock of the key's list, with the page at
//! hand: who changes the word and wakes then either finds the waiter or was seen by it.

use crate::thread::Caller;
use abi::linux::general as number;
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::sync::{TableKey, TableWaiter, WaitTable};
use base::{Error, Result};
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use memory::space::{AddressSpace, FutexKey, USER_END};

/// Bytes of `struct robust_list_head`.
pub const ROBUST_HEAD_SIZE: usize = 24;
/// As many entries of a robust list are looked at (`ROBUST_LIST_LIMIT`).
const ROBUST_LIST_LIMIT: usize = 2048;
/// Any waker wakes.
pub const ANY: u32 = u32::MAX;

const BUCKETS: usize = 256;

static FUTEXES: WaitTable<Key, BUCKETS> = WaitTable::new();

/// A futex: a word of one address space, or of a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(FutexKey);

impl TableKey for Key {
    fn hash(&self) -> u64 {
        match self.0 {
            FutexKey::Private { space, address } => space << 40 ^ (address as u64 >> 2),
            FutexKey::File { identity, offset } => identity.0.rotate_left(32) ^ identity.1 ^ (offset >> 2),
            FutexKey::Shared { object, offset } => object as u64 ^ (offset >> 2),
        }
    }
}

/// Whether only threads of one address space use a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only one address space's.
    Private,
    /// Whoever maps it.
    Shared,
}

/// The futex at an address.
///
/// # Errors
/// `InvalidArgument`: not aligned. `BadAddress`.
pub async fn key(space: &AddressSpace, address: usize, scope: Scope) -> Result<Key> {
    let place = VirtualAddress::new(address);
    match scope {
        _ if !place.is_aligned(size_of::<u32>()) => Err(Error::InvalidArgument),
        _ if address >= USER_END => Err(Error::BadAddress),
        Scope::Private => Ok(Key(space.private_futex_key(place))),
        Scope::Shared => space.futex_key(place).await.map(Key),
    }
}

/// The futex of one address space at an address; `None` where there can be none.
#[inline]
pub fn private_key(space: &AddressSpace, address: usize) -> Option<Key> {
    let place = VirtualAddress::new(address);
    (place.is_aligned(size_of::<u32>()) && address < USER_END).then(|| Key(space.private_futex_key(place)))
}

/// Why a waiter did not wait.
enum Refused {
    /// The word is not what was expected.
    Changed,
    /// The word's page is not at hand.
    NotPresent,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Where the word is.
    pub address: usize,
    /// Who uses it.
    pub scope: Scope,
    /// What the word must be.
    pub expected: u32,
    /// A waker must have one of these bits.
    pub bits: u32,
    /// Until when, in nanoseconds since boot.
    pub deadline_ns: Option<u64>,
}

/// Waits until somebody wakes the futex.
///
/// # Errors
/// `WouldBlock`: the word is another. `TimedOut`, `Interrupted`, `InvalidArgument`, `BadAddress`.
pub async fn wait(caller: &Caller, wait: &Wait) -> Result<()> {
    let key = key(&caller.space, wait.address, wait.scope).await?;
    let place = VirtualAddress::new(wait.address);
    let mut waiter = pin!(TableWaiter::new(&FUTEXES));
    loop {
        let check = || match caller.space.try_load_u32(place) {
            Some(value) if value == wait.expected => Ok(()),
            Some(_) => Err(Refused::Changed),
            None => Err(Refused::NotPresent),
        };
        let waiting = waiter.as_mut().wait(key, wait.bits, check);
        let outcome = caller.interruptible_until(waiting, wait.deadline_ns).await;
        // A wake-up that was spent on this thread counts, whatever else happened meanwhile.
        if waiter.as_mut().leave() {
            return Ok(());
        }
        match outcome? {
            Ok(()) => return Ok(()),
            Err(Refused::Changed) => return Err(Error::WouldBlock),
            Err(Refused::NotPresent) => caller.space.load_u32(place).await.map(drop)?,
        }
    }
}

/// A word that is one of several to be waited for.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Where it is.
    pub address: usize,
    /// Who uses it.
    pub scope: Scope,
    /// What it must be.
    pub expected: u32,
}

/// Waits until somebody wakes one of several futexes; returns which.
///
/// # Errors
/// As for [`wait`].
pub async fn wait_for_any(caller: &Caller, words: &[Word], deadline_ns: Option<u64>) -> Result<usize> {
    let mut keys = Vec::new();
    for word in words {
        keys.push(key(&caller.space, word.address, word.scope).await?);
    }
    let mut waiters: Vec<_> = words.iter().map(|_| Box::pin(TableWaiter::new(&FUTEXES))).collect();
    loop {
        let outcome = {
            let each = waiters.iter_mut().zip(&keys).zip(words).enumerate();
            let mut waits: Vec<_> = each
                .map(|(index, ((waiter, key), word))| {
                    let place = VirtualAddress::new(word.address);
                    let check = move || match caller.space.try_load_u32(place) {
                        Some(value) if value == word.expected => Ok(()),
                        Some(_) => Err((index, Refused::Changed)),
                        None => Err((index, Refused::NotPresent)),
                    };
                    Box::pin(waiter.as_mut().wait(*key, ANY, check))
                })
                .collect();
            let any = poll_fn(|context| {
                let ready = waits.iter_mut().find_map(|wait| match wait.as_mut().poll(context) {
                    Poll::Ready(outcome) => Some(outcome),
                    Poll::Pending => None,
                });
                ready.map_or(Poll::Pending, Poll::Ready)
            });
            caller.interruptible_until(any, deadline_ns).await
        };
        // A wake-up that was spent on this thread counts, whatever else happened meanwhile.
        let mut woken = None;
        for (index, waiter) in waiters.iter_mut().enumerate() {
            if waiter.as_mut().leave() {
                woken = woken.or(Some(index));
            }
        }
        if let Some(index) = woken {
            return Ok(index);
        }
        match outcome? {
            Ok(()) | Err((_, Refused::Changed)) => return Err(Error::WouldBlock),
            Err((index, Refused::NotPresent)) => {
                caller.space.load_u32(VirtualAddress::new(words[index].address)).await?;
            }
        }
    }
}

/// Wakes up to `count` who wait for a futex and accept one of `bits`; returns how many.
#[inline]
pub fn wake(key: &Key, bits: u32, count: usize) -> usize {
    FUTEXES.wake(key, bits, count)
}

/// Wakes up to `wake` who wait for `from`, and makes up to `limit` others wait for `to`; returns how many altogether.
/// With `expected`, only while the word at the address is that.
///
/// # Errors
/// `WouldBlock`: the word is another. `BadAddress`.
pub async fn requeue(
    caller: &Caller,
    [from, to]: [&Key; 2],
    [wake, limit]: [usize; 2],
    expected: Option<(usize, u32)>,
) -> Result<usize> {
    loop {
        let check = || {
            let Some((address, expected)) = expected else { return Ok(()) };
            match caller.space.try_load_u32(VirtualAddress::new(address)) {
                Some(value) if value == expected => Ok(()),
                Some(_) => Err(Refused::Changed),
                None => Err(Refused::NotPresent),
            }
        };
        match (FUTEXES.requeue(from, to, wake, limit, check), expected) {
            (Ok((woken, moved)), _) => return Ok(woken + moved),
            (Err(Refused::NotPresent), Some((address, _))) => {
                caller.space.load_u32(VirtualAddress::new(address)).await?;
            }
            (Err(_), _) => return Err(Error::WouldBlock),
        }
    }
}

/// What a thread leaves behind in its memory when it ends or starts another program: robust futexes that it holds are
/// marked, and one waiter of each is woken.
pub async fn thread_leaves(caller: &Caller) {
    use base::sync::atomic::Ordering;
    let head = caller.thread.robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        // A list that cannot be read ends where it cannot. Boxed, as few threads that end have one.
        let _ = alloc::boxed::Box::pin(release_robust_list(caller, head)).await;
    }
}

/// Tells who waits for it that the thread is over, or does another program: the word that tells its id becomes 0, and one
/// waiter is woken.
pub async fn tell_end(caller: &Caller) {
    use base::sync::atomic::Ordering;
    let address = caller.thread.clear_child_tid.swap(0, Ordering::Relaxed);
    if address == 0 {
        return;
    }
    // The memory may be gone; then nobody waits there.
    let written = caller.space.write_object(VirtualAddress::new(address), &0u32).await;
    if written.is_ok() {
        wake_shared(caller, address).await;
    }
}

async fn wake_shared(caller: &Caller, address: usize) {
    if let Ok(key) = key(&caller.space, address, Scope::Shared).await {
        wake(&key, ANY, 1);
    }
}

/// An entry of a robust list, as a pointer to it says: bit 0 tells a futex with priority inheritance.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link(usize);

impl Link {
    fn address(self) -> usize {
        self.0 & !1
    }

    fn inherits_priority(self) -> bool {
        self.0 & 1 != 0
    }
}

async fn read_link(caller: &Caller, address: usize) -> Result<Link> {
    caller.space.read_object::<usize>(VirtualAddress::new(address)).await.map(Link)
}

/// Walks the list of `set_robust_list`: `struct robust_list_head` is the first entry, the offset of the word from an
/// entry, and the entry that is being taken or released.
async fn release_robust_list(caller: &Caller, head: usize) -> Result<()> {
    let [first, offset, pending] = caller.space.read_object(VirtualAddress::new(head)).await?;
    let (mut entry, pending) = (Link(first), Link(pending));
    for _ in 0..ROBUST_LIST_LIMIT {
        if entry.address() == head {
            break;
        }
        // Read before the futex is released: its memory may be freed then.
        let next = read_link(caller, entry.address()).await;
        if entry.address() != pending.address() {
            release_robust_futex(caller, entry, offset, Held::Listed).await?;
        }
        entry = next?;
        crate::executor::yield_if_due().await;
    }
    if pending.address() != 0 {
        release_robust_futex(caller, pending, offset, Held::Pending).await?;
    }
    Ok(())
}

/// How a robust list mentions a futex.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Among its entries.
    Listed,
    /// As the one that is being taken or released.
    Pending,
}

/// Marks a futex whose owner has ended, if that is this thread, and wakes one who waits for it.
async fn release_robust_futex(caller: &Caller, entry: Link, offset: usize, held: Held) -> Result<()> {
    let address = entry.address().wrapping_add(offset);
    let place = VirtualAddress::new(address);
    let own = caller.thread.id();
    if held == Held::Pending && !entry.inherits_priority() {
        let value = caller.space.load_u32(place).await?;
        if value & number::FUTEX_TID_MASK == 0 {
            // Released, and perhaps ended before the wake-up.
            wake_shared(caller, address).await;
            return Ok(());
        }
    }
    let mark = |value: u32| {
        (value & number::FUTEX_TID_MASK == own)
            .then_some((value & number::FUTEX_WAITERS) | number::FUTEX_OWNER_DIED)
    };
    let marked = caller.space.fetch_update_u32(place, mark).await?;
    if let Ok(value) = marked
        && value & number::FUTEX_WAITERS != 0
        && !entry.inherits_priority()
    {
        wake_shared(caller, address).await;
    }
    Ok(())
}
