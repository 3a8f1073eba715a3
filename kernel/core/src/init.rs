//! Process 1 and what must be there before it.

use crate::{hart, log, power, time};
use base::hal::now_ns;

/// The first coroutine.
pub async fn run() {
    log!("{} harts, first coroutine on hart {}", hart::online().len(), hart::with(|hart| hart.index()));
    time::sleep_until(now_ns() + 10_000_000).await;
    log!("slept");
    power::off(0)
}
