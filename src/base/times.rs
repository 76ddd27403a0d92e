//! How long things took, counted in a few fixed classes.

use std::time::Duration;

/// The longest time of each class, in microseconds. What took longer than the last one is in a class of its own.
pub const CLASSES_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// A histogram of times. Plain numbers: whoever owns it counts in it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Times {
    counts: [u64; CLASSES_US.len() + 1],
    sum_ns: u64,
}

impl Times {
    /// One more thing took so long.
    pub fn add(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let class = CLASSES_US.partition_point(|longest| longest * 1000 < ns);
        self.counts[class] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Takes in what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, more)| *mine += more);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// How many took at most the time of each class, in the order of [`CLASSES_US`].
    pub fn at_most(&self) -> impl Iterator<Item = (Duration, u64)> {
        CLASSES_US.iter().zip(&self.counts).scan(0, |sum, (longest, count)| {
            *sum += count;
            Some((Duration::from_micros(*longest), *sum))
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All times together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_classes_and_add_up() {
        let mut times = Times::default();
        for us in [0, 100, 101, 10_000_000, 10_000_001] {
            times.add(Duration::from_micros(us));
        }
        let mut other = Times::default();
        other.add(Duration::from_micros(300));
        times.merge(&other);
        let at_most: Vec<u64> = times.at_most().map(|(_, count)| count).collect();
        assert_eq!(at_most[..4], [2, 3, 4, 4]);
        assert_eq!((at_most[15], times.count()), (5, 6));
        assert_eq!(times.sum(), Duration::from_micros(20_000_502));
    }
}
