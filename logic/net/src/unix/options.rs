//! What `setsockopt` changes of a socket.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// What a socket may have sent that was not received yet, in bytes, unless told otherwise (`net.core.wmem_default`).
pub const BUFFER_DEFAULT: usize = 212_992;
/// What can be asked for at most (`net.core.wmem_max`), and the most that a socket gets. So one message always fits into
/// what a call pins of user memory.
pub const BUFFER_MAX: usize = 212_992;
/// What a sender has at least, in bytes.
pub const SEND_BUFFER_MIN: usize = 4608;
/// What a receiver has at least, in bytes.
pub const RECEIVE_BUFFER_MIN: usize = 2304;

/// The options of one socket; each by itself, so that reading one takes no lock.
pub struct Options {
    /// `SO_SNDBUF`
    pub send_buffer: AtomicUsize,
    /// `SO_RCVBUF`; what is sent is counted with the sender, so that this limits nothing.
    pub receive_buffer: AtomicUsize,
    /// `SO_PASSCRED`: tell who sent a message.
    pub pass_credentials: AtomicBool,
    /// `SO_RCVTIMEO` in nanoseconds; 0 for no limit.
    pub receive_timeout_ns: AtomicU64,
    /// `SO_SNDTIMEO` in nanoseconds; 0 for no limit.
    pub send_timeout_ns: AtomicU64,
    /// `SO_RCVLOWAT`: a receiver that may wait does so for this many bytes.
    pub low_water: AtomicUsize,
    /// Switches that are remembered and mean nothing between processes of one machine (`SO_REUSEADDR`, `SO_KEEPALIVE`),
    /// a bit for each option number below 32.
    pub switches: AtomicU32,
}

impl Options {
    pub(super) const fn new() -> Self {
        Self {
            send_buffer: AtomicUsize::new(BUFFER_DEFAULT),
            receive_buffer: AtomicUsize::new(BUFFER_DEFAULT),
            pass_credentials: AtomicBool::new(false),
            receive_timeout_ns: AtomicU64::new(0),
            send_timeout_ns: AtomicU64::new(0),
            low_water: AtomicUsize::new(1),
            switches: AtomicU32::new(0),
        }
    }

    /// Sets `SO_SNDBUF` as Linux does: twice what is asked for, within limits.
    pub fn set_send_buffer(&self, bytes: usize) {
        let bytes = bytes.min(BUFFER_MAX).saturating_mul(2).clamp(SEND_BUFFER_MIN, BUFFER_MAX);
        self.send_buffer.store(bytes, Ordering::Relaxed);
    }

    /// Sets `SO_RCVBUF` as Linux does.
    pub fn set_receive_buffer(&self, bytes: usize) {
        let bytes = bytes.min(BUFFER_MAX).saturating_mul(2).max(RECEIVE_BUFFER_MIN);
        self.receive_buffer.store(bytes, Ordering::Relaxed);
    }

    /// Takes over what a connection has of its listener.
    pub(super) fn inherit(&self, listener: &Self) {
        self.pass_credentials.store(listener.passes_credentials(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn send_limit(&self) -> usize {
        self.send_buffer.load(Ordering::Relaxed)
    }

    /// Whether the sender of each message is told.
    #[inline]
    pub fn passes_credentials(&self) -> bool {
        self.pass_credentials.load(Ordering::Relaxed)
    }
}
