//! What a socket is to its peers: a queue, a name, and whom it is connected to.

use super::address::{Domain, Name};
use super::message::{Credentials, Message};
use super::options::Options;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::sync::{SpinLock, WaitQueue};
use base::{Error, Result};
use bitflags::bitflags;
use core::sync::atomic::{AtomicU64, Ordering};
use vfs::Readiness;

/// How a socket of one machine carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A connection without boundaries (`SOCK_STREAM`).
    Stream,
    /// Messages to anybody (`SOCK_DGRAM`).
    Datagram,
    /// A connection of messages (`SOCK_SEQPACKET`).
    SequencedPacket,
}

impl Kind {
    /// Whether it has connections, which are made by listening and accepting.
    #[inline]
    pub const fn is_connected(self) -> bool {
        !matches!(self, Self::Datagram)
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

bitflags! {
    /// What is shut down.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Shutdown: u8 {
        /// Nothing more is received.
        const RECEIVE = 1;
        /// Nothing more is sent.
        const SEND = 2;
    }
}

/// How many datagrams wait for a receiver who is not connected to their sender (`net.unix.max_dgram_qlen`).
pub(super) const DATAGRAMS_MAX: usize = 10;

/// Where an endpoint is in its life.
pub(super) enum Phase {
    /// Neither connected nor listening. Datagram sockets stay so, connected or not.
    Idle,
    /// It takes connections: how many may wait, and those that do.
    Listening { backlog: usize, pending: VecDeque<Arc<Endpoint>> },
    /// It is connected, or was.
    Connected,
}

pub(super) struct State {
    /// What is to be received.
    pub queue: VecDeque<Message>,
    /// What that counts against the limits of the senders, in bytes.
    pub charged: usize,
    pub peer: Option<Arc<Endpoint>>,
    pub phase: Phase,
    pub shutdown: Shutdown,
    /// The socket is closed.
    pub closed: bool,
    pub name: Option<Arc<Name>>,
    /// Who connected or listened on the other side; of a listener, itself.
    pub peer_credentials: Option<Credentials>,
    /// What the next call on it is told.
    pub error: Option<Error>,
    /// Senders that found the queue full.
    pub blocked: Vec<Weak<Endpoint>>,
}

/// One end of a connection, or something that datagrams can be sent to.
pub struct Endpoint {
    pub(super) kind: Kind,
    pub(super) serial: u64,
    /// The number of its open file's inode; 0 while it has none.
    inode: AtomicU64,
    pub(super) domain: Arc<Domain>,
    pub(super) state: SpinLock<State>,
    /// Where those wait who want something to receive or to accept.
    pub(super) readers: WaitQueue,
    /// Where those wait who want room at the other side; of a listener, those who want to connect to it.
    pub(super) writers: WaitQueue,
    pub(super) options: Options,
}

impl Endpoint {
    /// An endpoint without name and peer.
    pub fn new(domain: &Arc<Domain>, kind: Kind) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            charged: 0,
            peer: None,
            phase: Phase::Idle,
            shutdown: Shutdown::empty(),
            closed: false,
            name: None,
            peer_credentials: None,
            error: None,
            blocked: Vec::new(),
        };
        let endpoint = Arc::new(Self {
            kind,
            serial: domain.next_serial(),
            inode: AtomicU64::new(0),
            domain: domain.clone(),
            state: SpinLock::new(state),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            options: Options::new(),
        });
        domain.sockets.lock().insert(endpoint.serial, Arc::downgrade(&endpoint));
        endpoint
    }

    /// Two endpoints that are connected with each other.
    pub fn pair(domain: &Arc<Domain>, kind: Kind, credentials: Credentials) -> [Arc<Self>; 2] {
        let pair = [Self::new(domain, kind), Self::new(domain, kind)];
        for (own, peer) in [(0, 1), (1, 0)] {
            let mut state = pair[own].state.lock();
            state.peer = Some(pair[peer].clone());
            state.peer_credentials = Some(credentials);
            if kind.is_connected() {
                state.phase = Phase::Connected;
            }
        }
        pair
    }

    /// How it carries bytes.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of its open file's inode; 0 while it waits to be accepted.
    pub fn inode(&self) -> u64 {
        self.inode.load(Ordering::Relaxed)
    }

    /// Says what its open file's inode is.
    pub fn set_inode(&self, number: u64) {
        self.inode.store(number, Ordering::Relaxed);
    }

    /// What it shares with all others.
    pub fn domain(&self) -> &Arc<Domain> {
        &self.domain
    }

    /// What `setsockopt` changes.
    #[inline]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where those wait who want something to receive or to accept.
    #[inline]
    pub fn readers(&self) -> &WaitQueue {
        &self.readers
    }

    /// Where those wait who want room to send, or to connect to this listener.
    #[inline]
    pub fn writers(&self) -> &WaitQueue {
        &self.writers
    }

    /// The name that it is bound to.
    pub fn name(&self) -> Option<Arc<Name>> {
        self.state.lock().name.clone()
    }

    pub(super) fn set_name(&self, name: Arc<Name>) -> Result<()> {
        let mut state = self.state.lock();
        if state.name.is_some() {
            return Err(Error::InvalidArgument);
        }
        state.name = Some(name);
        Ok(())
    }

    /// The name of whom it is connected to; `None` inside when that has none.
    ///
    /// # Errors
    /// [`Error::NotConnected`]
    pub fn peer_name(&self) -> Result<Option<Arc<Name>>> {
        let peer = self.state.lock().peer.clone().ok_or(Error::NotConnected)?;
        Ok(peer.name())
    }

    /// Who connected or listened on the other side, if anybody did.
    pub fn peer_credentials(&self) -> Option<Credentials> {
        self.state.lock().peer_credentials
    }

    /// Takes what the next call would have been told (`SO_ERROR`).
    pub fn take_error(&self) -> Option<Error> {
        self.state.lock().error.take()
    }

    /// Whether it listens.
    pub fn is_listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }

    /// Whether it is, or was, one end of a connection.
    pub fn is_connected(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Connected)
    }

    /// Bytes that can be received at once (`FIONREAD`): of a stream all, else those of the first message.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a listener.
    pub fn receivable(&self) -> Result<usize> {
        let state = self.state.lock();
        match state.phase {
            Phase::Listening { .. } => Err(Error::InvalidArgument),
            _ if self.kind == Kind::Stream => Ok(state.queue.iter().map(Message::remaining).sum()),
            _ => Ok(state.queue.front().map_or(0, Message::remaining)),
        }
    }

    /// What it sent that was not received yet, in bytes as they count against its limit (`SIOCOUTQ`).
    pub fn unsent(&self) -> usize {
        let peer = self.state.lock().peer.clone();
        peer.map_or(0, |peer| peer.state.lock().charged)
    }

    /// What can be done without waiting.
    pub fn readiness(self: &Arc<Self>) -> Readiness {
        let (mut readiness, peer) = {
            let state = self.state.lock();
            let mut readiness = Readiness::empty();
            readiness.set(Readiness::ERROR, state.error.is_some());
            readiness.set(Readiness::HANG_UP, state.shutdown == Shutdown::all());
            if state.shutdown.contains(Shutdown::RECEIVE) {
                readiness |= Readiness::READ_HANG_UP | Readiness::READABLE;
            }
            readiness.set(Readiness::READABLE, readiness.contains(Readiness::IN) || !state.queue.is_empty());
            match &state.phase {
                Phase::Listening { pending, .. } => {
                    readiness
                        .set(Readiness::READABLE, readiness.contains(Readiness::IN) || !pending.is_empty());
                    return readiness;
                }
                Phase::Idle if self.kind.is_connected() => {
                    return readiness | Readiness::HANG_UP | Readiness::WRITABLE | Readiness::WRITE_BAND;
                }
                _ => {}
            }
            (readiness, state.peer.clone())
        };
        if peer.is_none_or(|peer| peer.has_room_for(self, Room::ToBeReady)) {
            readiness |= Readiness::WRITABLE | Readiness::WRITE_BAND;
        }
        readiness
    }

    /// Whether a message of `sender` may enter the queue. If not, the sender's queue of writers is woken once that has
    /// changed.
    pub(super) fn has_room_for(&self, sender: &Arc<Endpoint>, room: Room) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.shutdown.contains(Shutdown::RECEIVE) {
            return true;
        }
        let limit = sender.options.send_limit();
        let is_peer = state.peer.as_ref().is_some_and(|peer| Arc::ptr_eq(peer, sender));
        let fits = match room {
            Room::ToBeReady => state.charged * 4 <= limit,
            Room::ForOne => state.charged < limit,
        };
        if fits && (is_peer || state.queue.len() <= DATAGRAMS_MAX) {
            return true;
        }
        // A peer is woken without being on the list.
        if !is_peer {
            let sender = Arc::downgrade(sender);
            state.blocked.retain(|blocked| blocked.strong_count() > 0);
            if !state.blocked.iter().any(|blocked| blocked.ptr_eq(&sender)) {
                state.blocked.push(sender);
            }
        }
        false
    }
}

/// How much room is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// So much that a poll says so: three quarters.
    ToBeReady,
    /// Any: the message that needs it may exceed the limit.
    ForOne,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.domain.sockets.lock().remove(&self.serial);
    }
}
