//! Interest lists (`epoll`): which of many files are ready, without looking at all of them each time.
//!
//! An interest has a place in the queues of its file. A change of the file calls its waker, which puts it on the list of those
//! to be looked at ([`EventPoll::candidates`]) and wakes one waiter. Who waits takes candidates from the list, one at a time:
//! it takes the places in the file's queues again *first*, and looks at the file *then*, so that a change in between is seen or
//! puts the interest back on the list. A level-triggered interest whose file was ready goes to the end of the list; an
//! edge-triggered one waits for the next change.
//!
//! # Life
//! An interest ends when it is deleted, when its file's open description is gone ([`Dependant`]) or when the list is gone.
//! Each of these makes it give up its places, whose wakers hold it: that cycle is broken there and nowhere else.
//!
//! # Locks
//! `interests`, `candidates` and an interest's `state` and `places` are spin locks of which no two are held together, but a file's
//! queues under `places`.

use crate::calls::watching::{FileQueue, Places};
use abi::file::EpollEvent;
use abi::linux::general as linux;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use alloc::vec::Vec;
use base::sync::atomic::{AtomicBool, Ordering};
use base::sync::{SpinLock, WaitQueue};
use base::{Error, Result};
use core::task::Waker;
use vfs::inode::WaitQueues;
use vfs::open_file::Dependant;
use vfs::{File, FileKind, OpenFile, Readiness};

/// How deep lists can be in lists.
const NESTING_MAX: usize = 5;
/// What an exclusive interest may be in.
const EXCLUSIVE_ALLOWED: u32 = linux::EPOLLIN
    | linux::EPOLLOUT
    | linux::EPOLLERR
    | linux::EPOLLHUP
    | linux::EPOLLWAKEUP
    | linux::EPOLLET
    | linux::EPOLLEXCLUSIVE;

/// What tells interests of one list apart: the open description and the descriptor.
type Key = (usize, u32);

/// An interest list, as an open file.
pub struct EventPoll {
    this: Weak<EventPoll>,
    interests: SpinLock<BTreeMap<Key, Arc<Interest>>>,
    /// Those to be looked at. Has room for all of `interests`, so that a waker allocates nothing.
    candidates: SpinLock<VecDeque<Arc<Interest>>>,
    /// Where those wait who want events, and the lists in which this one is.
    waiters: WaitQueue,
}

/// A file that is watched.
struct Interest {
    list: Weak<EventPoll>,
    file: Weak<OpenFile>,
    state: SpinLock<Wanted>,
    /// It is on the list of candidates.
    queued: AtomicBool,
    places: SpinLock<Option<Places>>,
}

/// What is wanted of a file, and what the program calls it.
#[derive(Clone, Copy)]
struct Wanted {
    events: u32,
    data: u64,
    /// It was reported once and waits to be changed (`EPOLLONESHOT`).
    spent: bool,
}

impl Wanted {
    fn new(event: &EpollEvent) -> Self {
        Self { events: event.events, data: event.data, spent: false }
    }

    fn readiness(&self) -> Readiness {
        Readiness::from_bits_truncate(self.events as u16) | Readiness::ALWAYS
    }
}

impl Wake for Interest {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(list) = self.list.upgrade() {
            list.enqueue(self);
        }
    }
}

/// What a look at an interest found.
enum Look {
    Nothing,
    Once(EpollEvent),
    /// It is to be looked at again.
    Again(EpollEvent),
}

impl Interest {
    /// Takes the places in the file's queues and looks at the file: what is wanted, and what of it was found, if any was.
    fn watch(self: &Arc<Self>) -> Option<(Wanted, Readiness)> {
        let file = self.file.upgrade()?;
        let wanted = *self.state.lock();
        if wanted.spent {
            return None;
        }
        // Without places it has ended.
        self.places.lock().as_mut()?.register(&Waker::from(self.clone()));
        let found = file.readiness() & wanted.readiness();
        (!found.is_empty()).then_some((wanted, found))
    }

    /// As [`Interest::watch`], to report what was found.
    fn look(self: &Arc<Self>) -> Look {
        let Some((wanted, found)) = self.watch() else { return Look::Nothing };
        let event = EpollEvent { events: found.bits().into(), padding: 0, data: wanted.data };
        if wanted.events & linux::EPOLLONESHOT != 0 {
            self.state.lock().spent = true;
            return Look::Once(event);
        }
        if wanted.events & linux::EPOLLET != 0 { Look::Once(event) } else { Look::Again(event) }
    }

    /// Gives up the places in the file's queues.
    fn end(&self) {
        let places = self.places.lock().take();
        drop(places);
    }
}

impl EventPoll {
    /// An empty list.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            interests: SpinLock::new(BTreeMap::new()),
            candidates: SpinLock::new(VecDeque::new()),
            waiters: WaitQueue::new(),
        })
    }

    /// Adds a file.
    ///
    /// # Errors
    /// `AlreadyExists`; `NotPermitted` for a file that is always ready; `TooManySymbolicLinks` for a list that contains this
    /// one, or too many in each other; `InvalidArgument`, `OutOfMemory`.
    pub fn add(&self, file: &Arc<OpenFile>, descriptor: u32, event: &EpollEvent) -> Result<()> {
        let everything = Readiness::READABLE | Readiness::WRITABLE;
        let kind = file.location().kind();
        if matches!(kind, FileKind::Regular | FileKind::Directory)
            || file.wait_queues(everything).first.is_none()
        {
            return Err(Error::NotPermitted);
        }
        let exclusive = event.events & linux::EPOLLEXCLUSIVE != 0;
        let nested = file.file().downcast_ref::<EventPoll>();
        if exclusive && (event.events & !EXCLUSIVE_ALLOWED != 0 || nested.is_some()) {
            return Err(Error::InvalidArgument);
        }
        if nested.is_some_and(|nested| nested.reaches(self, NESTING_MAX - 1)) {
            return Err(Error::TooManySymbolicLinks);
        }
        let wanted = Wanted::new(event);
        // Every queue: what is wanted may change.
        let places = Places::new(FileQueue::of(file.file(), everything | wanted.readiness()));
        let interest = Arc::new(Interest {
            list: self.this.clone(),
            file: Arc::downgrade(file),
            state: SpinLock::new(wanted),
            queued: AtomicBool::new(false),
            places: SpinLock::new(Some(places)),
        });
        self.make_room()?;
        let key = (file.identity(), descriptor);
        {
            let mut interests = self.interests.lock();
            if interests.contains_key(&key) {
                return Err(Error::AlreadyExists);
            }
            interests.insert(key, interest.clone());
        }
        let dependant: Weak<dyn Dependant> = self.this.clone();
        file.tell_when_closed(dependant);
        self.begin(&interest);
        Ok(())
    }

    /// Makes sure that one more interest has room among the candidates.
    fn make_room(&self) -> Result<()> {
        let wanted = self.interests.lock().len() + 1;
        let mut candidates = self.candidates.lock();
        let missing = (wanted + 1).saturating_sub(candidates.len());
        candidates.try_reserve(missing).map_err(|_| Error::OutOfMemory)
    }

    fn find(&self, file: &OpenFile, descriptor: u32) -> Result<Arc<Interest>> {
        self.interests.lock().get(&(file.identity(), descriptor)).cloned().ok_or(Error::NotFound)
    }

    /// Changes what is wanted of a file.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` for an exclusive interest.
    pub fn change(&self, file: &OpenFile, descriptor: u32, event: &EpollEvent) -> Result<()> {
        let interest = self.find(file, descriptor)?;
        {
            let mut state = interest.state.lock();
            if (state.events | event.events) & linux::EPOLLEXCLUSIVE != 0 {
                return Err(Error::InvalidArgument);
            }
            *state = Wanted::new(event);
        }
        self.begin(&interest);
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`
    pub fn remove(&self, file: &OpenFile, descriptor: u32) -> Result<()> {
        let removed = self.interests.lock().remove(&(file.identity(), descriptor));
        self.forget(removed.ok_or(Error::NotFound)?);
        Ok(())
    }

    /// Ends an interest that was taken off the list.
    fn forget(&self, interest: Arc<Interest>) {
        interest.end();
        self.candidates.lock().retain(|candidate| !Arc::ptr_eq(candidate, &interest));
    }

    /// Takes the places of an interest that is new or wants something else, and makes it a candidate if its file is ready.
    fn begin(&self, interest: &Arc<Interest>) {
        if interest.watch().is_some() {
            self.enqueue(interest);
        }
    }

    /// Whether a candidate's file is ready, which stays one. Those in front of it that are not are candidates no more.
    fn has_ready(&self) -> bool {
        loop {
            let Some(interest) = self.candidates.lock().front().cloned() else { return false };
            if interest.watch().is_some() {
                return true;
            }
            let mut candidates = self.candidates.lock();
            if !candidates.front().is_some_and(|front| Arc::ptr_eq(front, &interest)) {
                continue;
            }
            let removed = candidates.pop_front();
            drop(candidates);
            drop(removed);
            interest.queued.store(false, Ordering::Release);
            // A change before that left it where it was.
            self.begin(&interest);
        }
    }

    /// Puts an interest among those to be looked at, and wakes one who waits.
    fn enqueue(&self, interest: &Arc<Interest>) {
        if interest.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.candidates.lock().push_back(interest.clone());
        self.waiters.wake_one();
    }

    /// Whether there is something to be looked at.
    pub fn has_candidates(&self) -> bool {
        !self.candidates.lock().is_empty()
    }

    /// Looks at the candidates; appends the events of those whose files are ready, up to `most` events in all.
    pub fn collect(&self, events: &mut Vec<EpollEvent>, most: usize) {
        // What is put back is not looked at again in the same round.
        let mut left = self.candidates.lock().len();
        while left > 0 && events.len() < most {
            left -= 1;
            let Some(interest) = self.candidates.lock().pop_front() else { break };
            interest.queued.store(false, Ordering::Release);
            match interest.look() {
                Look::Nothing => {}
                Look::Once(event) => events.push(event),
                Look::Again(event) => {
                    events.push(event);
                    if !interest.queued.swap(true, Ordering::AcqRel) {
                        self.candidates.lock().push_back(interest);
                    }
                }
            }
        }
    }

    /// Where to wait for candidates.
    pub fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    /// Passes on to the next who waits what is left.
    pub fn pass_on(&self) {
        if self.has_candidates() {
            self.waiters.wake_one();
        }
    }

    /// Whether `list` is this one or in it, or lists are nested deeper than `depth`.
    fn reaches(&self, list: &EventPoll, depth: usize) -> bool {
        if core::ptr::eq(self, list) {
            return true;
        }
        let files: Vec<_> = self.interests.lock().values().map(|interest| interest.file.clone()).collect();
        files.iter().filter_map(Weak::upgrade).any(|file| match file.file().downcast_ref::<EventPoll>() {
            Some(inner) => depth == 0 || inner.reaches(list, depth - 1),
            None => false,
        })
    }
}

impl Dependant for EventPoll {
    fn closed(&self, identity: usize) {
        loop {
            let removed = {
                let mut interests = self.interests.lock();
                let key = interests.range((identity, 0)..=(identity, u32::MAX)).next().map(|(key, _)| *key);
                key.and_then(|key| interests.remove(&key))
            };
            match removed {
                Some(interest) => self.forget(interest),
                None => return,
            }
        }
    }
}

impl File for EventPoll {
    fn readiness(&self) -> Readiness {
        if self.has_ready() { Readiness::READABLE } else { Readiness::empty() }
    }

    fn wait_queues(&self, _: Readiness) -> WaitQueues<'_> {
        WaitQueues::one(&self.waiters)
    }

    fn seekable(&self) -> bool {
        false
    }
}

impl Drop for EventPoll {
    fn drop(&mut self) {
        let interests = core::mem::take(self.interests.get_mut());
        interests.values().for_each(|interest| interest.end());
    }
}
