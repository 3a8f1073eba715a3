//! Sending: from a caller's memory into the queue of the receiver.

use super::endpoint::{Endpoint, Kind, Room, Shutdown};
use super::in_flight::Rights;
use super::message::{Ancillary, Credentials, Message, Payload, length_max};
use alloc::boxed::Box;
use alloc::sync::Arc;
use base::bytes::Source;
use base::{Error, Result};

impl Endpoint {
    /// The longest message that can be sent, in bytes; of a stream, the most that one [`Endpoint::send_some`] takes.
    #[inline]
    pub fn message_max(&self) -> usize {
        length_max(self.kind, self.options.send_limit())
    }

    /// Whom it is connected to, if something can be sent there.
    #[inline]
    fn peer_to_send_to(&self) -> Result<Arc<Endpoint>> {
        let mut state = self.state.lock();
        if state.shutdown.contains(Shutdown::SEND) && state.peer.is_some() {
            return Err(Error::BrokenPipe);
        }
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        state.peer.clone().ok_or(Error::NotConnected)
    }

    /// Sends the first bytes of a source on a stream, as many as are taken at a time, and with them descriptors, if there
    /// are any; returns how many.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::BrokenPipe`], [`Error::WouldBlock`] while the peer has much to receive,
    /// [`Error::OutOfMemory`], and what is to be told of the connection.
    #[inline]
    pub fn send_some(
        self: &Arc<Self>,
        source: &mut Source<'_>,
        credentials: Credentials,
        rights: &mut Option<Box<Rights>>,
    ) -> Result<usize> {
        let peer = self.peer_to_send_to()?;
        if source.remaining() == 0 {
            return Ok(0);
        }
        if !peer.has_room_for(self, Room::ForOne) {
            return Err(Error::WouldBlock);
        }
        let length = source.remaining().min(length_max(Kind::Stream, 0));
        let payload = Payload::from_source(source, length)?;
        peer.enqueue_message(self, payload, Ancillary { credentials, rights: rights.take() })?;
        Ok(length)
    }

    /// Looks whether a message could be sent, on a connection of messages or as a datagram to `target` or to whom it is
    /// connected to; returns whom it goes to.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::MessageTooLong`], [`Error::WrongProtocolType`], [`Error::NotPermitted`] when
    /// the target is connected to somebody else, [`Error::ConnectionRefused`] when it is closed, [`Error::BrokenPipe`],
    /// [`Error::WouldBlock`] while it has much to receive.
    pub fn prepare_message(
        self: &Arc<Self>,
        target: Option<&Arc<Endpoint>>,
        length: usize,
    ) -> Result<Arc<Endpoint>> {
        let target = match target {
            Some(target) => {
                if length > self.message_max() {
                    return Err(Error::MessageTooLong);
                }
                if target.kind != self.kind {
                    return Err(Error::WrongProtocolType);
                }
                if self.state.lock().shutdown.contains(Shutdown::SEND) {
                    return Err(Error::BrokenPipe);
                }
                target.clone()
            }
            None => {
                let peer = self.peer_to_send_to()?;
                if length > self.message_max() {
                    return Err(Error::MessageTooLong);
                }
                peer
            }
        };
        self.check_receiver(&target)?;
        if !target.has_room_for(self, Room::ForOne) {
            return Err(Error::WouldBlock);
        }
        Ok(target)
    }

    /// Whether sending to `target`, or to whom it is connected to, would be done or fail at once. If not, the queue of
    /// writers is woken once that has changed.
    pub fn need_not_wait_to_send(self: &Arc<Self>, target: Option<&Arc<Endpoint>>) -> bool {
        let peer = {
            let state = self.state.lock();
            if state.shutdown.contains(Shutdown::SEND) || state.error.is_some() {
                return true;
            }
            target.or(state.peer.as_ref()).cloned()
        };
        peer.is_none_or(|peer| peer.has_room_for(self, Room::ForOne))
    }

    fn check_receiver(self: &Arc<Self>, target: &Arc<Endpoint>) -> Result<()> {
        let (closed, shut_down, permitted) = {
            let state = target.state.lock();
            let permitted = state.peer.as_ref().is_none_or(|peer| Arc::ptr_eq(peer, self));
            (state.closed, state.shutdown.contains(Shutdown::RECEIVE), permitted)
        };
        if closed && self.kind == Kind::Datagram {
            let mut state = self.state.lock();
            let former = if state.peer.as_ref().is_some_and(|peer| Arc::ptr_eq(peer, target)) {
                state.peer.take()
            } else {
                None
            };
            drop(state);
            drop(former);
            return Err(Error::ConnectionRefused);
        }
        if closed || shut_down {
            return Err(Error::BrokenPipe);
        }
        if permitted { Ok(()) } else { Err(Error::NotPermitted) }
    }

    /// Sends a whole message to `target`, which [`Endpoint::prepare_message`] gave.
    ///
    /// # Errors
    /// As [`Endpoint::prepare_message`], when something has changed since.
    pub fn send_message(
        self: &Arc<Self>,
        target: &Arc<Endpoint>,
        payload: Payload,
        ancillary: Ancillary,
    ) -> Result<()> {
        match target.enqueue_message(self, payload, ancillary) {
            Err(Error::BrokenPipe) if self.kind == Kind::Datagram => Err(Error::ConnectionRefused),
            outcome => outcome,
        }
    }

    /// Puts a message of `sender` into the queue.
    #[inline]
    fn enqueue_message(
        self: &Arc<Self>,
        sender: &Arc<Endpoint>,
        payload: Payload,
        ancillary: Ancillary,
    ) -> Result<()> {
        let Ancillary { credentials, rights } = ancillary;
        // A connection's other end is known; on datagrams a name tells who sends.
        let sender = (self.kind == Kind::Datagram).then(|| sender.clone());
        let message = Message { payload, start: 0, credentials, sender, rights };
        {
            let mut state = self.state.lock();
            if state.closed || state.shutdown.contains(Shutdown::RECEIVE) {
                drop(state);
                return Err(Error::BrokenPipe);
            }
            state.charged += message.charge();
            state.queue.push_back(message);
        }
        self.readers.wake_all();
        Ok(())
    }
}
