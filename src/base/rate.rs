//! How much came lately, in two numbers.

use super::Mono;

/// Bytes beyond a rate: a bucket that leaks as fast as the rate allows. The rate is given with each call and always the same.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rate {
    bytes: u64,
    at: Mono,
}

impl Rate {
    /// With so many more at `now`.
    pub fn and(self, bytes: usize, now: Mono, per_second: u64) -> Self {
        let since = now.since(self.at).as_micros() as u64;
        let leaked = since.saturating_mul(per_second) / 1_000_000;
        // However much it was, half a second later it is forgotten.
        let most = at_once(per_second) + per_second / 2;
        Self { bytes: (self.bytes.saturating_sub(leaked) + bytes as u64).min(most), at: now }
    }

    /// Whether no more came than the rate allows, and a sixteenth of a second's bytes at once.
    pub fn is_kept(self, per_second: u64) -> bool {
        self.bytes <= at_once(per_second)
    }
}

fn at_once(per_second: u64) -> u64 {
    per_second / 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PER_SECOND: u64 = 4 << 20;

    fn after(times: u32, bytes: usize, every: Duration) -> Rate {
        (1..=times).fold(Rate::default(), |rate, at| rate.and(bytes, Mono::default() + every * at, PER_SECOND))
    }

    #[test]
    fn three_hundred_small_batches_a_second_keep_it_and_a_flood_does_not() {
        assert!(after(10_000, 1 << 10, Duration::from_micros(3333)).is_kept(PER_SECOND));
        assert!(after(10_000, 16 << 10, Duration::from_millis(5)).is_kept(PER_SECOND));
        assert!(!after(10_000, 16 << 10, Duration::from_millis(3)).is_kept(PER_SECOND));
        assert!(!after(1, 1 << 20, Duration::from_millis(1)).is_kept(PER_SECOND));
    }

    #[test]
    fn a_flood_that_has_ended_is_soon_forgotten() {
        let flood = after(1000, 1 << 20, Duration::from_micros(1));
        let later = |ms| flood.and(100, Mono(1_000_000) + Duration::from_millis(ms), PER_SECOND);
        assert!(!later(490).is_kept(PER_SECOND));
        assert!(later(510).is_kept(PER_SECOND));
    }
}
