//! How much a connection sends.

use crate::base::Mono;
use crate::base::limits::{SENDS_LITTLE_BYTES_AT_ONCE, SENDS_LITTLE_BYTES_PER_SECOND};

/// What a connection has sent beyond the rate of one that sends little.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sends {
    bytes: u64,
    at: Mono,
}

impl Sends {
    /// With another request of so many bytes at `now`.
    pub fn and(self, bytes: usize, now: Mono) -> Self {
        let since = now.since(self.at).as_micros() as u64;
        let drained = since.saturating_mul(SENDS_LITTLE_BYTES_PER_SECOND) / 1_000_000;
        // Who sent much is one who sends little half a second after he has stopped.
        let bytes = (self.bytes.saturating_sub(drained) + bytes as u64).min(SENDS_BYTES_REMEMBERED);
        Self { bytes, at: now }
    }

    /// Whether that is little.
    pub fn are_little(self) -> bool {
        self.bytes <= SENDS_LITTLE_BYTES_AT_ONCE
    }
}

const SENDS_BYTES_REMEMBERED: u64 = SENDS_LITTLE_BYTES_AT_ONCE + SENDS_LITTLE_BYTES_PER_SECOND / 2;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after(requests: u32, bytes: usize, every: Duration) -> Sends {
        (1..=requests).fold(Sends::default(), |sends, at| sends.and(bytes, Mono::default() + every * at))
    }

    #[test]
    fn three_hundred_small_batches_a_second_are_little_and_a_flood_is_not() {
        assert!(after(10_000, 1 << 10, Duration::from_micros(3333)).are_little());
        assert!(after(10_000, 16 << 10, Duration::from_millis(5)).are_little());
        assert!(!after(10_000, 16 << 10, Duration::from_millis(3)).are_little());
        assert!(!after(1, 1 << 20, Duration::from_millis(1)).are_little());
    }

    #[test]
    fn a_flood_that_has_ended_is_soon_forgotten() {
        let flood = after(1000, 1 << 20, Duration::from_micros(1));
        let later = |ms| flood.and(100, Mono(1_000_000) + Duration::from_millis(ms));
        assert!(!later(490).are_little());
        assert!(later(510).are_little());
    }
}
