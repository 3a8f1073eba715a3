//! Values from many coroutines to one, with room for a bounded number.
//!
//! A ring that is allocated once, under a spin lock, and a wait queue for each side. Either side closes the channel by
//! going away: then sending gives the value back, and receiving gives what was sent before, and then nothing.

use super::spin_lock::SpinLock;
use super::wait_queue::WaitQueue;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;

/// A channel with room for `capacity` values (at least 1).
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.max(1);
    let state = State { values: VecDeque::with_capacity(capacity), capacity, senders: 1, receiving: true };
    let shared = Arc::new(Shared {
        state: SpinLock::new(state),
        not_empty: WaitQueue::new(),
        not_full: WaitQueue::new(),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

struct Shared<T> {
    state: SpinLock<State<T>>,
    not_empty: WaitQueue,
    not_full: WaitQueue,
}

struct State<T> {
    values: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiving: bool,
}

/// The receiver is gone; here is the value back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendError<T>(pub T);

/// Why a value could not be sent at once; with the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrySendError<T> {
    /// There is no room now.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// Why there is no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryReceiveError {
    /// There is none now.
    Empty,
    /// There will be none: every sender is gone, and what they sent was received.
    Closed,
}

/// The end into which values go. Clone it for more senders.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends `value`, if there is room at once.
    ///
    /// # Errors
    /// The value, and why it was not sent.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        {
            let mut state = self.shared.state.lock();
            if !state.receiving {
                drop(state);
                return Err(TrySendError::Closed(value));
            }
            if state.values.len() >= state.capacity {
                drop(state);
                return Err(TrySendError::Full(value));
            }
            state.values.push_back(value);
        }
        self.shared.not_empty.wake_one();
        Ok(())
    }

    /// Sends `value`, once there is room. Dropped before it is done, it has not sent.
    ///
    /// # Errors
    /// The value, when the receiver is gone.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut unsent = match self.try_send(value) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(value)) => return Err(SendError(value)),
            Err(TrySendError::Full(value)) => Some(value),
        };
        self.shared
            .not_full
            .wait_until(|| match self.try_send(unsent.take()?) {
                Ok(()) => Some(Ok(())),
                Err(TrySendError::Closed(value)) => Some(Err(SendError(value))),
                Err(TrySendError::Full(value)) => {
                    unsent = Some(value);
                    None
                }
            })
            .await
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        !self.shared.state.lock().receiving
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.state.lock().senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let last = {
            let mut state = self.shared.state.lock();
            state.senders -= 1;
            state.senders == 0
        };
        if last {
            self.shared.not_empty.wake_all();
        }
    }
}

/// The end from which values come, in the order in which they were sent.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// The next value, if there is one.
    ///
    /// # Errors
    /// Why there is none.
    pub fn try_receive(&mut self) -> Result<T, TryReceiveError> {
        self.shared.try_receive()
    }

    /// Waits for the next value. `None`: every sender is gone, and what they sent was received. Dropped before it is
    /// done, it has taken no value.
    pub async fn receive(&mut self) -> Option<T> {
        let shared = &*self.shared;
        shared
            .not_empty
            .wait_until(|| match shared.try_receive() {
                Ok(value) => Some(Some(value)),
                Err(TryReceiveError::Closed) => Some(None),
                Err(TryReceiveError::Empty) => None,
            })
            .await
    }

    /// How many values wait to be received.
    pub fn len(&self) -> usize {
        self.shared.state.lock().values.len()
    }

    /// Whether no value waits to be received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Shared<T> {
    fn try_receive(&self) -> Result<T, TryReceiveError> {
        let value = {
            let mut state = self.state.lock();
            match state.values.pop_front() {
                Some(value) => value,
                None if state.senders == 0 => return Err(TryReceiveError::Closed),
                None => return Err(TryReceiveError::Empty),
            }
        };
        self.not_full.wake_one();
        Ok(value)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // The values are dropped where no lock is held: dropping may run any code.
        let unreceived = {
            let mut state = self.shared.state.lock();
            state.receiving = false;
            core::mem::take(&mut state.values)
        };
        self.shared.not_full.wake_all();
        drop(unreceived);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
