//! How much came lately, in two numbers.

use super::Mono;

/// Bytes beyond `PER_SECOND`: a bucket that leaks as fast as that allows.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rate<const PER_SECOND: u64> {
    bytes: u64,
    at: Mono,
}

impl<const PER_SECOND: u64> Rate<PER_SECOND> {
    const AT_ONCE: u64 = PER_SECOND / 16;

    /// With so many more at `now`.
    pub fn and(self, bytes: usize, now: Mono) -> Self {
        let since = now.since(self.at).as_micros() as u64;
        let leaked = since.saturating_mul(PER_SECOND) / 1_000_000;
        // However much it was, half a second later it is forgotten.
        let most = Self::AT_ONCE + PER_SECOND / 2;
        Self { bytes: (self.bytes.saturating_sub(leaked) + bytes as u64).min(most), at: now }
    }

    /// Whether no more came than the rate allows, and a sixteenth of a second's bytes at once.
    pub fn is_kept(self) -> bool {
        self.bytes <= Self::AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::Mono;
    use std::time::Duration;

    type Rate = super::Rate<{ 4 << 20 }>;

    fn after(times: u32, bytes: usize, every: Duration) -> Rate {
        (1..=times).fold(Rate::default(), |rate, at| rate.and(bytes, Mono::default() + every * at))
    }

    #[test]
    fn three_hundred_small_batches_a_second_keep_it_and_a_flood_does_not() {
        assert!(after(10_000, 1 << 10, Duration::from_micros(3333)).is_kept());
        assert!(after(10_000, 16 << 10, Duration::from_millis(5)).is_kept());
        assert!(!after(10_000, 16 << 10, Duration::from_millis(3)).is_kept());
        assert!(!after(1, 1 << 20, Duration::from_millis(1)).is_kept());
    }

    #[test]
    fn a_flood_that_has_ended_is_soon_forgotten() {
        let flood = after(1000, 1 << 20, Duration::from_micros(1));
        let later = |ms| flood.and(100, Mono(1_000_000) + Duration::from_millis(ms));
        assert!(!later(490).is_kept());
        assert!(later(510).is_kept());
    }
}
