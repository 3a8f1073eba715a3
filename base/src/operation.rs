//! The result of an operation that mostly is done at once and sometimes has to wait.

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// What an operation of an object behind `dyn` returns: its result, or the future of it.
///
/// A file in memory answers at once and allocates nothing; only one that has to wait pays for a box.
/// It is a future itself: `operation.await` gives the result either way.
pub enum Operation<'a, T> {
    /// The result is here.
    Ready(T),
    /// The result is still to come.
    Pending(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
    /// The result was taken.
    Taken,
}

impl<'a, T> Operation<'a, T> {
    /// An operation that has to wait.
    pub fn pending(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self::Pending(Box::pin(future))
    }
}

impl<T: Unpin> Future for Operation<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Operation::Pending(future) = &mut *self {
            return future.as_mut().poll(context);
        }
        match core::mem::replace(&mut *self, Operation::Taken) {
            Operation::Ready(result) => Poll::Ready(result),
            _ => panic!("an operation polled after it gave its result"),
        }
    }
}
