//! The end of an endpoint: what its peers are told.

use super::endpoint::{Endpoint, Phase, Shutdown};
use super::message::Message;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use base::Error;
use core::mem::{replace, take};

impl Endpoint {
    /// Nobody uses it any more. A peer that is connected can neither send nor, once it has received what was sent,
    /// receive; if something remained unread here, it is told that.
    pub(super) fn close(&self) {
        let (queue, peer, pending, name) = {
            let mut state = self.state.lock();
            state.closed = true;
            state.shutdown = Shutdown::all();
            state.charged = 0;
            let pending = match replace(&mut state.phase, Phase::Connected) {
                Phase::Listening { pending, .. } => pending,
                _ => VecDeque::new(),
            };
            (take(&mut state.queue), state.peer.take(), pending, state.name.clone())
        };
        if let Some(name) = &name {
            self.domain.unbind(self, name);
        }
        if let Some(peer) = peer {
            if self.kind.is_connected() {
                let mut state = peer.state.lock();
                state.shutdown = Shutdown::all();
                if !queue.is_empty() {
                    state.error = Some(Error::ConnectionReset);
                }
            }
            peer.wake_all();
        }
        for connection in pending {
            connection.refuse();
        }
        self.wake_all();
        self.wake_blocked();
        self.domain.discard(queue);
        self.domain.socket_closed();
    }

    /// A connection that nobody will accept.
    fn refuse(self: Arc<Self>) {
        let peer = self.state.lock().peer.clone();
        if let Some(peer) = peer {
            peer.state.lock().error = Some(Error::ConnectionReset);
        }
        self.close();
        // The endpoint goes with the last reference: that of its peer.
    }

    /// Takes everything that waits to be received here, and from connections that wait to be accepted.
    pub(super) fn take_unreceived(&self, doomed: &mut VecDeque<Message>) {
        let pending: VecDeque<Arc<Endpoint>> = {
            let mut state = self.state.lock();
            state.charged = 0;
            doomed.append(&mut state.queue);
            match &state.phase {
                Phase::Listening { pending, .. } => pending.clone(),
                _ => VecDeque::new(),
            }
        };
        for connection in pending {
            let mut state = connection.state.lock();
            state.charged = 0;
            doomed.append(&mut state.queue);
        }
    }
}
