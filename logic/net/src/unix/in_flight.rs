//! Descriptors on their way, and how sockets that only hold each other are found.
//!
//! A message can carry a descriptor of a socket, and be on its way to that very socket: closed by everybody, it holds
//! itself. So every open file of a socket that some message carries is counted here. [`Domain::collect`] looks for those
//! that nobody but messages holds, and of them for those whose messages all wait in sockets of the same kind: nobody can
//! ever receive these, and they are dropped. It runs when a socket is closed while others are on their way, and when a
//! sender has many on theirs; in between garbage is bounded by the limits on senders, as on Linux.
//!
//! # Why nothing is dropped that somebody could still receive
//! Descriptors are counted before their message enters a queue and until after it left it. So while the table is locked, the
//! count of a file is never less than the messages in queues that carry it; a message that a receiver has taken, and
//! not accounted for yet, shows as a reference from outside, and what it carries is kept with all that can be reached
//! from there.
//!
//! # Depth
//! Dropping a message can close a socket whose queue holds messages that close sockets. What is to be dropped is therefore
//! put on a list ([`Domain::bury`]), and whoever is dropping from it already goes on until it is empty.

use super::address::Domain;
use super::endpoint::{Endpoint, Phase, State};
use super::message::Message;
use super::socket::Socket;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Error, Result};
use core::mem::take;
use vfs::OpenFile;

/// Descriptors that one message carries at most (`SCM_MAX_FD`).
pub const RIGHTS_MAX: usize = 253;
/// From so many sockets on their way on, a sender looks for garbage first; and again when twice as many are as were left.
const COLLECT_FROM: usize = 8 * RIGHTS_MAX;
/// When a socket is closed, garbage is looked for if this many times the closings since are as many as are on their way, so
/// that closing many costs no more for each than closing a few.
const CLOSINGS: usize = 64;

/// The descriptors that are on their way.
#[derive(Default)]
pub struct Flights {
    pub(super) sockets: BTreeMap<usize, Flight>,
    /// How many descriptors each user has on their way.
    users: BTreeMap<u32, usize>,
    /// How many there were when garbage was last looked for, less what was found.
    left: usize,
    /// How many sockets were closed since.
    closings: usize,
    /// What is to be dropped.
    buried: Vec<Buried>,
    /// Somebody is dropping from `buried`.
    burying: bool,
}

/// An open file of a socket that messages carry.
pub(super) struct Flight {
    file: Weak<OpenFile>,
    endpoint: Weak<Endpoint>,
    count: usize,
}

/// Something whose end can close sockets.
enum Buried {
    Messages(#[expect(dead_code, reason = "only dropped")] VecDeque<Message>),
    Files(#[expect(dead_code, reason = "only dropped")] Vec<Arc<OpenFile>>),
}

/// Descriptors that a message carries.
pub struct Rights {
    files: Vec<Arc<OpenFile>>,
    domain: Arc<Domain>,
    user: u32,
}

impl Rights {
    /// Puts files on their way, on behalf of a user who may have `limit` descriptors so (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// [`Error::TooManyReferences`] beyond the limit.
    pub fn depart(
        domain: &Arc<Domain>,
        files: Vec<Arc<OpenFile>>,
        user: u32,
        limit: u64,
    ) -> Result<Box<Self>> {
        let many = {
            let flights = domain.flights.lock();
            flights.sockets.len() >= COLLECT_FROM.max(2 * flights.left)
        };
        if many {
            domain.collect();
        }
        let mut flights = domain.flights.lock();
        let count = flights.users.entry(user).or_default();
        if *count as u64 > limit {
            return Err(Error::TooManyReferences);
        }
        *count += files.len();
        for file in &files {
            let Some(socket) = file.file().downcast_ref::<Socket>() else { continue };
            let flight = flights.sockets.entry(file.identity()).or_insert_with(|| Flight {
                file: Arc::downgrade(file),
                endpoint: Arc::downgrade(socket.endpoint()),
                count: 0,
            });
            flight.count += 1;
        }
        drop(flights);
        Ok(Box::new(Self { files, domain: domain.clone(), user }))
    }

    /// The files.
    pub fn files(&self) -> &[Arc<OpenFile>] {
        &self.files
    }

    /// Takes the files off their way.
    pub fn arrive(mut self) -> Vec<Arc<OpenFile>> {
        self.land();
        take(&mut self.files)
    }

    fn land(&self) {
        let mut flights = self.domain.flights.lock();
        for file in &self.files {
            let identity = file.identity();
            if let Some(flight) = flights.sockets.get_mut(&identity) {
                flight.count -= 1;
                if flight.count == 0 {
                    flights.sockets.remove(&identity);
                }
            }
        }
        if let Some(count) = flights.users.get_mut(&self.user) {
            *count -= self.files.len();
            if *count == 0 {
                flights.users.remove(&self.user);
            }
        }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            self.land();
            self.domain.bury(Buried::Files(take(&mut self.files)));
        }
    }
}

/// A candidate for garbage: nobody but messages holds it.
struct Candidate {
    endpoint: Arc<Endpoint>,
    /// References that were not found in queues of candidates.
    from_outside: usize,
    kept: bool,
}

/// Calls `action` for every file that waits to be received from an endpoint, or from a connection to it.
fn for_each_carried(endpoint: &Endpoint, action: &mut dyn FnMut(&Arc<OpenFile>)) {
    let each = |state: &State, action: &mut dyn FnMut(&Arc<OpenFile>)| {
        let rights = state.queue.iter().filter_map(|message| message.rights.as_ref());
        rights.flat_map(|rights| rights.files()).for_each(action);
    };
    let pending: Vec<Arc<Endpoint>> = {
        let state = endpoint.state.lock();
        each(&state, action);
        match &state.phase {
            Phase::Listening { pending, .. } => pending.iter().cloned().collect(),
            _ => Vec::new(),
        }
    };
    for connection in &pending {
        each(&connection.state.lock(), action);
    }
}

impl Domain {
    /// Drops messages that nobody will receive.
    pub(super) fn discard(&self, messages: VecDeque<Message>) {
        if messages.iter().any(|message| message.rights.is_some()) {
            self.bury(Buried::Messages(messages));
        }
    }

    fn bury(&self, buried: Buried) {
        let mut flights = self.flights.lock();
        flights.buried.push(buried);
        if flights.burying {
            return;
        }
        flights.burying = true;
        loop {
            let batch = take(&mut flights.buried);
            if batch.is_empty() {
                flights.burying = false;
                return;
            }
            drop(flights);
            drop(batch);
            flights = self.flights.lock();
        }
    }

    /// A socket was closed: what is on its way may have become garbage.
    pub(super) fn socket_closed(&self) {
        let due = {
            let mut flights = self.flights.lock();
            flights.closings += 1;
            !flights.sockets.is_empty() && flights.closings * CLOSINGS >= flights.sockets.len()
        };
        if due {
            self.collect();
        }
    }

    /// Drops what waits in sockets that nobody can ever receive from.
    pub(super) fn collect(&self) {
        let mut candidates = BTreeMap::new();
        let mut doomed = VecDeque::new();
        let mut flights = self.flights.lock();
        flights.closings = 0;
        flights.left = 0;
        if flights.sockets.is_empty() {
            return;
        }
        for (identity, flight) in &flights.sockets {
            if flight.file.strong_count() == flight.count
                && let Some(endpoint) = flight.endpoint.upgrade()
            {
                let candidate = Candidate { endpoint, from_outside: flight.count, kept: false };
                candidates.insert(*identity, candidate);
            }
        }
        let endpoints: Vec<Arc<Endpoint>> =
            candidates.values().map(|candidate| candidate.endpoint.clone()).collect();
        for endpoint in &endpoints {
            for_each_carried(endpoint, &mut |file| {
                if let Some(found) = candidates.get_mut(&file.identity()) {
                    found.from_outside = found.from_outside.saturating_sub(1);
                }
            });
        }
        keep_reachable(&mut candidates);
        for candidate in candidates.values().filter(|candidate| !candidate.kept) {
            candidate.endpoint.take_unreceived(&mut doomed);
        }
        flights.left = flights.sockets.len();
        drop(flights);
        drop((candidates, endpoints));
        self.discard(doomed);
    }
}

/// Keeps what is held from outside, and what can be received from there.
fn keep_reachable(candidates: &mut BTreeMap<usize, Candidate>) {
    let mut next: Vec<usize> = candidates
        .iter()
        .filter(|(_, candidate)| candidate.from_outside > 0)
        .map(|(identity, _)| *identity)
        .collect();
    while let Some(identity) = next.pop() {
        let Some(candidate) = candidates.get_mut(&identity) else { continue };
        if core::mem::replace(&mut candidate.kept, true) {
            continue;
        }
        let endpoint = candidate.endpoint.clone();
        for_each_carried(&endpoint, &mut |file| next.push(file.identity()));
    }
}
