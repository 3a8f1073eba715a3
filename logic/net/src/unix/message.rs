//! What goes from one endpoint to another: bytes, who sent them, and descriptors.

use super::address::Name;
use super::endpoint::{Endpoint, Kind};
use super::in_flight::Rights;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use base::address::PAGE_SIZE;
use base::bytes::{Sink, Source};
use base::{Error, Result};
use memory::Frame;
use vfs::OpenFile;

/// Messages of up to so many bytes are on the heap, longer ones in pages of their own.
const SMALL_MAX: usize = PAGE_SIZE / 2;
/// What a message counts against the sender's limit beside its bytes.
const OVERHEAD: usize = 256;

/// Who sent something (`struct ucred`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process.
    pub process: u32,
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

/// The bytes of a message.
pub enum Payload {
    /// A few.
    Small(Box<[u8]>),
    /// Many: pages, and how many bytes there are in them.
    Large(Vec<Frame>, usize),
}

impl Payload {
    /// Room for `length` bytes, to be filled.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]
    pub fn new(length: usize) -> Result<Self> {
        if length <= SMALL_MAX {
            return Ok(Self::Small(vec![0; length].into_boxed_slice()));
        }
        let count = length.div_ceil(PAGE_SIZE);
        let mut frames = Vec::new();
        frames.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        for _ in 0..count {
            frames.push(Frame::uninitialised()?);
        }
        Ok(Self::Large(frames, length))
    }

    /// The next `length` bytes of a source, which has as many.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]
    #[inline]
    pub fn from_source(source: &mut Source<'_>, length: usize) -> Result<Self> {
        let mut payload = Self::new(length)?;
        let filled = payload.fill(0, source);
        debug_assert_eq!(filled, length);
        Ok(payload)
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(_, length) => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills it from `start` on with what the source has; returns how many bytes were taken.
    pub fn fill(&mut self, start: usize, source: &mut Source<'_>) -> usize {
        match self {
            Self::Small(bytes) => source.copy_to(&mut bytes[start..]),
            Self::Large(frames, length) => {
                let mut at = start;
                while at < *length && source.remaining() > 0 {
                    let (frame, offset) = (&frames[at / PAGE_SIZE], at % PAGE_SIZE);
                    at += source.copy_to_shared(frame.bytes().slice(offset, *length - at));
                }
                at - start
            }
        }
    }

    /// Puts the bytes from `start` to `end` into a sink, as many as it takes; returns how many.
    pub fn copy_to(&self, start: usize, end: usize, sink: &mut Sink<'_>) -> usize {
        match self {
            Self::Small(bytes) => sink.copy_from(&bytes[start..end]),
            Self::Large(frames, _) => {
                let mut at = start;
                while at < end && sink.remaining() > 0 {
                    let (frame, offset) = (&frames[at / PAGE_SIZE], at % PAGE_SIZE);
                    at += sink.copy_from_shared(frame.bytes().slice(offset, end - at));
                }
                at - start
            }
        }
    }

    fn try_clone(&self) -> Result<Self> {
        let mut copy = Self::new(self.len())?;
        match (self, &mut copy) {
            (Self::Small(bytes), Self::Small(target)) => target.copy_from_slice(bytes),
            (Self::Large(frames, _), Self::Large(targets, _)) => {
                for (frame, target) in frames.iter().zip(targets) {
                    frame.bytes().copy_to_shared(target.bytes());
                }
            }
            _ => unreachable!("equally long payloads are of one kind"),
        }
        Ok(copy)
    }
}

/// What goes with bytes.
pub struct Ancillary {
    /// Who sends.
    pub credentials: Credentials,
    /// Descriptors.
    pub rights: Option<Box<Rights>>,
}

impl Ancillary {
    /// Nothing but who sends.
    pub const fn from(credentials: Credentials) -> Self {
        Self { credentials, rights: None }
    }
}

/// One message, or on a stream the bytes of one write.
pub struct Message {
    pub(super) payload: Payload,
    /// Bytes that were received already; on streams only.
    pub(super) start: usize,
    pub(super) credentials: Credentials,
    /// Who sent a datagram: its name is asked for when it is received.
    pub(super) sender: Option<Arc<Endpoint>>,
    pub(super) rights: Option<Box<Rights>>,
}

impl Message {
    /// What it counts against the sender's limit.
    #[inline]
    pub(super) fn charge(&self) -> usize {
        self.payload.len() + OVERHEAD
    }

    /// Bytes that were not received yet.
    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.payload.len() - self.start
    }

    /// The bytes.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Who sent it.
    pub fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// The sender's name, if it has one.
    pub fn sender(&self) -> Option<Arc<Name>> {
        self.sender.as_ref()?.name()
    }

    /// The descriptors that it carries, which are no longer on their way.
    pub fn take_rights(&mut self) -> Vec<Arc<OpenFile>> {
        self.rights.take().map(|rights| (*rights).arrive()).unwrap_or_default()
    }

    /// The same message, for a look at it.
    pub(super) fn peek(&self) -> Result<Peeked> {
        let rights = self.rights.as_ref().map(|rights| rights.files().to_vec()).unwrap_or_default();
        let message = Message {
            payload: self.payload.try_clone()?,
            start: self.start,
            credentials: self.credentials,
            sender: self.sender.clone(),
            rights: None,
        };
        Ok((message, rights))
    }
}

/// A message and its descriptors.
pub type Peeked = (Message, Vec<Arc<OpenFile>>);

/// What a receiver is told beside the bytes.
#[derive(Default)]
pub struct Received {
    /// Who sent the first of them.
    pub credentials: Option<Credentials>,
    /// Descriptors that came with them.
    pub rights: Vec<Arc<OpenFile>>,
    /// The sender's name.
    pub sender: Option<Arc<Name>>,
}

/// The longest message of a kind for a sender with this limit.
pub(super) const fn length_max(kind: Kind, limit: usize) -> usize {
    match kind {
        // Of a stream, what one look for room takes.
        Kind::Stream => 32 << 10,
        _ => limit - 32,
    }
}
