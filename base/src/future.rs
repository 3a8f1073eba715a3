//! Futures that end before what they wait for has come, and take no more room than that and their reason.

use core::pin::Pin;
use core::task::{Context, Poll};

/// The result of `future`, unless `stop` gives a reason to end first. At each poll `future` is looked at first; what it
/// waits for is let go of when the result is dropped.
#[inline]
pub fn unless<F: Future, E, S: FnMut(&mut Context<'_>) -> Option<E>>(future: F, stop: S) -> Unless<F, S> {
    Unless { future, stop }
}

/// See [`unless`]. (An `async fn` that takes a future and waits for it has room for it twice.)
#[must_use = "a future does nothing until it is awaited"]
pub struct Unless<F, S> {
    future: F,
    stop: S,
}

impl<F: Future, E, S: FnMut(&mut Context<'_>) -> Option<E>> Future for Unless<F, S> {
    type Output = Result<F::Output, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned with the whole; `stop` never is.
        let (future, stop) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.stop)
        };
        match future.poll(context) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => stop(context).map_or(Poll::Pending, |reason| Poll::Ready(Err(reason))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unless;
    use core::future::{pending, ready};
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    #[test]
    fn what_has_come_is_preferred_to_a_reason_to_stop() {
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(pin!(unless(ready(1), |_| Some(2))).poll(&mut context), Poll::Ready(Ok(1)));
        assert_eq!(pin!(unless(pending::<u8>(), |_| Some(2))).poll(&mut context), Poll::Ready(Err(2)));
        assert_eq!(pin!(unless(pending::<u8>(), |_| None::<u8>)).poll(&mut context), Poll::Pending);
    }
}
