//! Connections: listening, connecting, accepting, shutting down.

use super::address::Name;
use super::endpoint::{Endpoint, Kind, Phase, Shutdown};
use super::message::Credentials;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use base::{Error, Result};
use core::mem::take;

/// Connections that may wait to be accepted at most (`net.core.somaxconn`).
pub const BACKLOG_MAX: usize = 4096;

/// What came of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connecting {
    /// It is connected.
    Done,
    /// As many wait as may: to be tried again when the listener's queue of writers is woken.
    Full,
}

impl Endpoint {
    /// Takes connections from now on; up to `backlog` and one may wait.
    ///
    /// # Errors
    /// [`Error::NotSupported`] for datagrams, [`Error::InvalidArgument`] when it has no name or is connected.
    pub fn listen(&self, backlog: usize, credentials: Credentials) -> Result<()> {
        if !self.kind.is_connected() {
            return Err(Error::NotSupported);
        }
        let backlog = backlog.min(BACKLOG_MAX);
        let mut state = self.state.lock();
        if state.name.is_none() {
            return Err(Error::InvalidArgument);
        }
        match &mut state.phase {
            Phase::Connected => return Err(Error::InvalidArgument),
            Phase::Listening { backlog: former, .. } => *former = backlog,
            Phase::Idle => state.phase = Phase::Listening { backlog, pending: VecDeque::new() },
        }
        state.peer_credentials = Some(credentials);
        drop(state);
        self.writers.wake_all();
        Ok(())
    }

    /// Whether a connection to this listener would not have to wait, or would fail.
    pub fn takes_connections(&self) -> bool {
        let state = self.state.lock();
        let Phase::Listening { backlog, pending } = &state.phase else { return true };
        state.closed || state.shutdown.contains(Shutdown::RECEIVE) || pending.len() <= *backlog
    }

    /// Connects to a listener.
    ///
    /// # Errors
    /// [`Error::WrongProtocolType`], [`Error::ConnectionRefused`] by who does not listen, [`Error::AlreadyConnected`],
    /// [`Error::InvalidArgument`] when it listens itself.
    pub fn connect(
        self: &Arc<Self>,
        listener: &Arc<Endpoint>,
        credentials: Credentials,
    ) -> Result<Connecting> {
        if listener.kind != self.kind {
            return Err(Error::WrongProtocolType);
        }
        let (name, listener_credentials) = listener.check_listening()?;
        if !listener.takes_connections() {
            return Ok(Connecting::Full);
        }
        // Nobody else knows of it yet, so that its state is set up before it is queued.
        let server = Endpoint::new(&self.domain, self.kind);
        {
            let mut state = server.state.lock();
            state.peer = Some(self.clone());
            state.phase = Phase::Connected;
            state.name = name;
            state.peer_credentials = Some(credentials);
        }
        server.options.inherit(&listener.options);
        {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Idle => {}
                Phase::Connected => return Err(Error::AlreadyConnected),
                Phase::Listening { .. } => return Err(Error::InvalidArgument),
            }
            state.phase = Phase::Connected;
            state.peer = Some(server.clone());
            state.peer_credentials = listener_credentials;
        }
        let outcome = listener.enqueue(&server);
        if outcome != Ok(Connecting::Done) {
            let mut state = self.state.lock();
            state.phase = Phase::Idle;
            state.peer_credentials = None;
            let peer = state.peer.take();
            drop(state);
            drop(peer);
            let own = server.state.lock().peer.take();
            drop(own);
        }
        outcome
    }

    fn check_listening(&self) -> Result<(Option<Arc<Name>>, Option<Credentials>)> {
        let state = self.state.lock();
        let listens = matches!(state.phase, Phase::Listening { .. });
        if !listens || state.closed || state.shutdown.contains(Shutdown::RECEIVE) {
            return Err(Error::ConnectionRefused);
        }
        Ok((state.name.clone(), state.peer_credentials))
    }

    /// Puts the server's side of a connection where it can be accepted.
    fn enqueue(&self, server: &Arc<Endpoint>) -> Result<Connecting> {
        let mut state = self.state.lock();
        if state.closed || state.shutdown.contains(Shutdown::RECEIVE) {
            return Err(Error::ConnectionRefused);
        }
        let Phase::Listening { backlog, pending } = &mut state.phase else {
            return Err(Error::ConnectionRefused);
        };
        if pending.len() > *backlog {
            return Ok(Connecting::Full);
        }
        pending.push_back(server.clone());
        drop(state);
        self.readers.wake_all();
        Ok(Connecting::Done)
    }

    /// Takes the connection that waits longest.
    ///
    /// # Errors
    /// [`Error::NotSupported`] for datagrams; [`Error::InvalidArgument`] when it does not listen, or not any more;
    /// [`Error::WouldBlock`] when none waits.
    pub fn accept(&self) -> Result<Arc<Endpoint>> {
        if !self.kind.is_connected() {
            return Err(Error::NotSupported);
        }
        let mut state = self.state.lock();
        let shut_down = state.shutdown.contains(Shutdown::RECEIVE);
        let Phase::Listening { pending, .. } = &mut state.phase else { return Err(Error::InvalidArgument) };
        let Some(accepted) = pending.pop_front() else {
            return Err(if shut_down { Error::InvalidArgument } else { Error::WouldBlock });
        };
        drop(state);
        self.writers.wake_all();
        Ok(accepted)
    }

    /// Makes a datagram socket send to `target` unless told otherwise, and receive from there only; `None` undoes it.
    ///
    /// # Errors
    /// [`Error::WrongProtocolType`]; [`Error::NotPermitted`] when the target is connected to somebody else.
    pub fn connect_datagrams(self: &Arc<Self>, target: Option<&Arc<Endpoint>>) -> Result<()> {
        if let Some(target) = target {
            if target.kind != self.kind {
                return Err(Error::WrongProtocolType);
            }
            if !target.may_receive_from(self) {
                return Err(Error::NotPermitted);
            }
        }
        let (former, dropped) = {
            let mut state = self.state.lock();
            let same = match (&state.peer, target) {
                (Some(peer), Some(target)) => Arc::ptr_eq(peer, target),
                _ => false,
            };
            let former = core::mem::replace(&mut state.peer, target.cloned());
            // What the former peer sent is nothing that the new one said.
            match former {
                Some(former) if !same => {
                    state.charged = 0;
                    (Some(former), take(&mut state.queue))
                }
                _ => (None, VecDeque::new()),
            }
        };
        if let Some(former) = former {
            if !dropped.is_empty() {
                former.reset_by(self);
            }
            former.writers.wake_all();
        }
        self.wake_blocked();
        self.domain.discard(dropped);
        Ok(())
    }

    /// Whether a datagram of `sender` may come here.
    pub(super) fn may_receive_from(&self, sender: &Arc<Endpoint>) -> bool {
        self.state.lock().peer.as_ref().is_none_or(|peer| Arc::ptr_eq(peer, sender))
    }

    /// What was sent to `peer` was thrown away unread.
    fn reset_by(&self, peer: &Arc<Endpoint>) {
        let mut state = self.state.lock();
        if !state.closed && state.peer.as_ref().is_some_and(|own| Arc::ptr_eq(own, peer)) {
            state.error = Some(Error::ConnectionReset);
        }
    }

    /// Wakes the senders that found the queue full.
    pub(super) fn wake_blocked(&self) {
        let blocked = take(&mut self.state.lock().blocked);
        blocked.iter().filter_map(alloc::sync::Weak::upgrade).for_each(|sender| sender.writers.wake_all());
    }

    /// Shuts down one direction or both, of a connection on both sides.
    ///
    /// # Errors
    /// None; as on Linux also one that is not connected can be shut down.
    pub fn shut_down(&self, how: Shutdown) {
        let peer = {
            let mut state = self.state.lock();
            state.shutdown |= how;
            state.peer.clone()
        };
        self.wake_all();
        let Some(peer) = peer.filter(|_| self.kind != Kind::Datagram) else { return self.wake_blocked() };
        let mut reverse = Shutdown::empty();
        reverse.set(Shutdown::SEND, how.contains(Shutdown::RECEIVE));
        reverse.set(Shutdown::RECEIVE, how.contains(Shutdown::SEND));
        peer.state.lock().shutdown |= reverse;
        peer.wake_all();
    }

    pub(super) fn wake_all(&self) {
        self.readers.wake_all();
        self.writers.wake_all();
    }
}
