//! A socket as an open file.

use super::endpoint::{Endpoint, Kind};
use super::message::{Ancillary, Credentials, Payload, Received};
use super::receive::{Take, Tell};
use alloc::sync::Arc;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::{Error, Result};
use core::sync::atomic::Ordering;
use vfs::inode::{CallerMemory, WaitQueues, WritePosition, Written};
use vfs::{File, Readiness};

/// `ioctl`: how many bytes there are to receive.
const FIONREAD: u32 = 0x541b;
/// `ioctl`: how many bytes that were sent were not received.
const TIOCOUTQ: u32 = 0x5411;

/// A socket. Its end closes the endpoint.
pub struct Socket {
    endpoint: Arc<Endpoint>,
    /// As whom [`File::write`] sends: who made the socket. (The calls that send say for each message who does.)
    owner: Credentials,
}

impl Socket {
    /// The socket of an endpoint that has none.
    pub fn new(endpoint: Arc<Endpoint>, owner: Credentials) -> Arc<Self> {
        Arc::new(Self { endpoint, owner })
    }

    /// What it is to its peers.
    #[inline]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    #[inline]
    fn read_now(&self, sink: &mut Sink<'_>) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        if self.endpoint.kind() == Kind::Stream {
            let mut received = Received::default();
            return self.endpoint.receive_some(sink, Tell::Nothing, &mut received);
        }
        // Descriptors that nobody asked for are dropped, as is what does not fit.
        let Some((message, _)) = self.endpoint.receive_message(Take::Out)? else { return Ok(0) };
        Ok(message.payload().copy_to(0, message.payload().len(), sink))
    }

    /// Sends what a source has, of a stream as much as is taken at a time; returns how many bytes.
    ///
    /// # Errors
    /// Those of [`Endpoint::send_some`] and [`Endpoint::prepare_message`].
    #[inline]
    pub fn send_now(&self, source: &mut Source<'_>, credentials: Credentials) -> Result<usize> {
        let ancillary = Ancillary::from(credentials);
        if self.endpoint.kind() == Kind::Stream {
            return self.endpoint.send_some(source, credentials, &mut None);
        }
        if self.endpoint.kind() == Kind::Datagram && self.endpoint.options().passes_credentials() {
            self.endpoint.domain().bind_automatically(&self.endpoint)?;
        }
        let length = source.remaining();
        let target = self.endpoint.prepare_message(None, length)?;
        let payload = Payload::from_source(source, length)?;
        self.endpoint.send_message(&target, payload, ancillary)?;
        Ok(length)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.endpoint.close();
    }
}

impl File for Socket {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.read_now(sink))
    }

    fn write<'a>(
        &'a self,
        source: &'a mut Source<'_>,
        _position: WritePosition,
    ) -> Operation<'a, Result<Written>> {
        Operation::Ready(self.send_now(source, self.owner).map(|count| Written { count, end: 0 }))
    }

    fn readiness(&self) -> Readiness {
        self.endpoint.readiness()
    }

    fn wait_queues(&self, interest: Readiness) -> WaitQueues<'_> {
        let (readers, writers) = (self.endpoint.readers(), self.endpoint.writers());
        let reads = interest.intersects(Readiness::READABLE | Readiness::READ_HANG_UP);
        match (reads, interest.intersects(Readiness::WRITABLE | Readiness::WRITE_BAND)) {
            (true, true) => WaitQueues { first: Some(readers), second: Some(writers) },
            (false, true) => WaitQueues::one(writers),
            _ => WaitQueues::one(readers),
        }
    }

    fn ioctl<'a>(
        &'a self,
        request: u32,
        argument: usize,
        memory: &'a dyn CallerMemory,
    ) -> Operation<'a, Result<usize>> {
        let count = match request {
            FIONREAD => self.endpoint.receivable(),
            TIOCOUTQ => Ok(self.endpoint.unsent()),
            _ => Err(Error::NotTerminal),
        };
        match count {
            Err(error) => Operation::Ready(Err(error)),
            Ok(count) => Operation::pending(async move {
                memory.write(argument, &(count as u32).to_ne_bytes()).await?;
                Ok(0)
            }),
        }
    }

    fn seekable(&self) -> bool {
        false
    }

    fn waiting_limit_ns(&self, interest: Readiness) -> Option<u64> {
        let options = self.endpoint.options();
        let limit = if interest.intersects(Readiness::WRITABLE) {
            &options.send_timeout_ns
        } else {
            &options.receive_timeout_ns
        };
        Some(limit.load(Ordering::Relaxed)).filter(|limit_ns| *limit_ns > 0)
    }
}
