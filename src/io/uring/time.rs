//! Clocks, timers and randomness of the kernel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use glommio::timer::Timer;

use crate::base::Timestamp;

/// Ready after a time: never early, and on an idle core about a millisecond late at most (the wheel's step).
pub struct Sleep(Timer);

impl Sleep {
    pub(super) fn new(wait: Duration) -> Self {
        Self(Timer::new(wait))
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// Milliseconds since 1970, negative before.
pub(super) fn wall_clock() -> Timestamp {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        Err(before) => Timestamp(i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms)),
    }
}

/// The kernel's random numbers, fetched a page at a time.
#[derive(Default)]
pub(super) struct Random {
    words: Vec<u64>,
}

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        if let Some(word) = self.words.pop() {
            return word;
        }
        let mut bytes = [0u8; 512];
        getrandom::fill(&mut bytes).expect("the kernel has random numbers");
        self.words.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)));
        self.words.pop().expect("just filled")
    }
}
