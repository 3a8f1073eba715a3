//! Receiving: out of the queue into a caller's memory.

use super::endpoint::{Endpoint, Kind, Phase, Shutdown, State};
use super::message::{Message, Peeked, Received};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::PAGE_SIZE;
use base::bytes::Sink;
use base::{Error, Result};

/// What one hold of an endpoint's lock copies at most, in bytes.
const COPY_AT_ONCE: usize = PAGE_SIZE;

/// Whether what is received stays in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is taken.
    Out,
    /// It stays (`MSG_PEEK`).
    Look,
}

/// What is to be told of who sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Nothing.
    Nothing,
    /// Bytes of different senders are not mixed in one answer (`SO_PASSCRED`).
    Credentials,
}

impl State {
    /// What an empty queue means.
    fn nothing_to_receive(&mut self) -> Result<usize> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.shutdown.contains(Shutdown::RECEIVE) { Ok(0) } else { Err(Error::WouldBlock) }
    }

    /// Removes the first message.
    fn pop(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        self.charged = self.charged.saturating_sub(message.charge());
        Some(message)
    }
}

impl Endpoint {
    /// Receives bytes of a stream into a sink: as many as there are, but never past descriptors that came with them. Returns
    /// how many; 0 at the end.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is not connected, [`Error::WouldBlock`] when there is nothing,
    /// [`Error::ConnectionReset`].
    pub fn receive_some(&self, sink: &mut Sink<'_>, tell: Tell, received: &mut Received) -> Result<usize> {
        let mut total = 0;
        loop {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Connected) {
                return Err(Error::InvalidArgument);
            }
            let Some(message) = state.queue.front_mut() else {
                return if total > 0 { Ok(total) } else { state.nothing_to_receive() };
            };
            let sender = *received.credentials.get_or_insert(message.credentials);
            if tell == Tell::Credentials && sender != message.credentials {
                return Ok(total);
            }
            if sink.remaining() == 0 {
                return Ok(total);
            }
            let rights = message.rights.take();
            let end = message.payload.len().min(message.start + COPY_AT_ONCE);
            let count = message.payload.copy_to(message.start, end, sink);
            message.start += count;
            total += count;
            let finished = message.remaining() == 0;
            let popped = if finished { state.pop() } else { None };
            let writer = if finished { waiting_writer(&state) } else { None };
            drop(state);
            drop(popped);
            if let Some(writer) = writer {
                writer.writers.wake_all();
            }
            if let Some(rights) = rights {
                received.rights = (*rights).arrive();
            }
            if finished && !received.rights.is_empty() || sink.remaining() == 0 {
                return Ok(total);
            }
        }
    }

    /// Looks at bytes of a stream without taking them.
    ///
    /// # Errors
    /// As [`Endpoint::receive_some`].
    pub fn peek_some(&self, sink: &mut Sink<'_>, tell: Tell, received: &mut Received) -> Result<usize> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Connected) {
            return Err(Error::InvalidArgument);
        }
        if state.queue.is_empty() {
            return state.nothing_to_receive();
        }
        let mut total = 0;
        for message in &state.queue {
            let sender = *received.credentials.get_or_insert(message.credentials);
            if tell == Tell::Credentials && sender != message.credentials || sink.remaining() == 0 {
                break;
            }
            total += message.payload.copy_to(message.start, message.payload.len(), sink);
            if let Some(rights) = &message.rights {
                received.rights = rights.files().to_vec();
                break;
            }
        }
        Ok(total)
    }

    /// Takes the first message, or a copy of it; `None` at the end. What it is to be told beside is for the caller to take
    /// from it.
    ///
    /// # Errors
    /// [`Error::NotConnected`] on a connection of messages that is none, [`Error::WouldBlock`] when there is nothing,
    /// [`Error::ConnectionReset`], [`Error::OutOfMemory`].
    pub fn receive_message(&self, take: Take) -> Result<Option<Peeked>> {
        let mut state = self.state.lock();
        if self.kind == Kind::SequencedPacket && !matches!(state.phase, Phase::Connected) {
            return Err(Error::NotConnected);
        }
        if state.queue.is_empty() {
            return state.nothing_to_receive().map(|_| None);
        }
        if take == Take::Look {
            return state.queue.front().map(Message::peek).transpose();
        }
        let Some(mut message) = state.pop() else { return Ok(None) };
        let writer = waiting_writer(&state);
        let blocked = !state.blocked.is_empty();
        drop(state);
        if let Some(writer) = writer {
            writer.writers.wake_all();
        }
        if blocked {
            self.wake_blocked();
        }
        let rights = if message.rights.is_some() { message.take_rights() } else { Vec::new() };
        Ok(Some((message, rights)))
    }

    /// Whether a receiver would not have to wait.
    #[inline]
    pub fn has_something(&self) -> bool {
        let state = self.state.lock();
        let nothing =
            state.queue.is_empty() && state.error.is_none() && !state.shutdown.contains(Shutdown::RECEIVE);
        match &state.phase {
            Phase::Listening { pending, .. } => !nothing || !pending.is_empty(),
            Phase::Idle if self.kind.is_connected() => true,
            _ => !nothing,
        }
    }

    /// Bytes of a stream that wait, up to `enough`; `None` when no more will come.
    pub fn has_bytes(&self, enough: usize) -> Option<bool> {
        let state = self.state.lock();
        if state.shutdown.contains(Shutdown::RECEIVE) || state.error.is_some() {
            return None;
        }
        let mut bytes = 0;
        Some(state.queue.iter().any(|message| {
            bytes += message.remaining();
            bytes >= enough
        }))
    }
}

/// The peer, if somebody waits there for room and there is some.
#[inline]
fn waiting_writer(state: &State) -> Option<Arc<Endpoint>> {
    let peer = state.peer.as_ref()?;
    (peer.writers.has_waiters() && state.charged * 4 <= peer.options.send_limit()).then(|| peer.clone())
}
