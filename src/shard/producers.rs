//! How many idempotent producers a core remembers, over all its logs.

use super::State;
use crate::base::Timestamp;

impl State {
    /// A log remembers one producer more.
    pub(super) fn producer_added(&mut self) {
        self.producers += 1;
        self.bound_producers();
    }

    /// Beyond the bound those are forgotten that were silent longest, and a sixteenth part of all with them, so that a stream of new producers pays for
    /// the search only now and then.
    pub(super) fn bound_producers(&mut self) {
        let max = self.options.producers_max;
        if self.producers <= max {
            return;
        }
        // Counted anew: logs forget some by themselves, and are deleted.
        self.producers = self.replicas.values().map(|replica| replica.partition.producers().len()).sum();
        let Some(beyond) = self.producers.checked_sub(max + 1) else { return };
        let producers = self.replicas.values().map(|replica| replica.partition.producers());
        let mut seen: Vec<Timestamp> = producers.flat_map(|producers| producers.last_seen()).collect();
        let (_, latest, _) = seen.select_nth_unstable(beyond + max / 16);
        let before = self.producers;
        for replica in self.replicas.values_mut() {
            self.producers -= replica.partition.expire_producers(*latest, 0);
        }
        tracing::debug!(forgotten = before - self.producers, max, "a core remembers no more producers");
    }
}
