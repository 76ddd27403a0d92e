//! Which log ids were given to which topic, as runs in the order of the ids. Copies share what did not change: a write copies one chunk.
//!
//! With one flat list each new topic copied the runs of all topics before it.

use std::sync::Arc;

use crate::base::{LogId, PartitionIndex, TopicId};

/// A run of log ids given to one topic's partitions, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grant {
    /// The first log id.
    pub first: LogId,
    /// How many.
    pub count: u32,
    /// The topic.
    pub topic: TopicId,
    /// The partition that has the first.
    pub first_partition: PartitionIndex,
}

/// All runs, cheap to clone and to change a little. No chunk is empty.
#[derive(Clone, Default, Debug)]
pub(super) struct Grants {
    chunks: Arc<Vec<Arc<Vec<Grant>>>>,
}

impl Grants {
    /// Gives out `log`, above all that were given out before.
    pub(super) fn give(&mut self, log: LogId, topic: TopicId, partition: PartitionIndex) {
        let chunks = Arc::make_mut(&mut self.chunks);
        if let Some(chunk) = chunks.last_mut() {
            let last = chunk.last().expect("no chunk is empty");
            let follows = last.topic == topic && last.first.0 + u64::from(last.count) == log.0;
            if follows {
                Arc::make_mut(chunk).last_mut().expect("as before").count += 1;
                return;
            }
        }
        let grant = Grant { first: log, count: 1, topic, first_partition: partition };
        match chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => Arc::make_mut(chunk).push(grant),
            None => chunks.push(Arc::new(vec![grant])),
        }
    }

    /// Forgets what was given to a topic.
    pub(super) fn forget(&mut self, topic: TopicId) {
        let has = |chunk: &Arc<Vec<Grant>>| chunk.iter().any(|grant| grant.topic == topic);
        if !self.chunks.iter().any(has) {
            return;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        for chunk in chunks.iter_mut().filter(|chunk| has(chunk)) {
            Arc::make_mut(chunk).retain(|grant| grant.topic != topic);
        }
        chunks.retain(|chunk| !chunk.is_empty());
    }

    /// The last run that begins at or below `log`.
    pub(super) fn at_or_below(&self, log: LogId) -> Option<Grant> {
        let after = self.chunks.partition_point(|chunk| chunk[0].first <= log);
        let chunk = &self.chunks[after.checked_sub(1)?];
        let after = chunk.partition_point(|grant| grant.first <= log);
        Some(chunk[after - 1])
    }
}

/// Runs in a chunk at most.
const CHUNK: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u64) -> TopicId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        TopicId(id)
    }

    #[test]
    fn runs_are_found_and_forgotten() {
        let mut grants = Grants::default();
        // Three ids for each topic; every fifth id is given to nobody.
        let logs = (1..=3000u64).filter(|log| log % 5 != 0);
        logs.clone().for_each(|log| grants.give(LogId(log), topic(log / 3), PartitionIndex((log % 3) as i32)));
        for log in logs {
            let found = grants.at_or_below(LogId(log)).unwrap();
            assert!(found.topic == topic(log / 3) && log - found.first.0 < u64::from(found.count));
        }
        assert_eq!(grants.at_or_below(LogId(0)), None);
        (0..1000).filter(|number| number % 2 == 0).for_each(|number| grants.forget(topic(number)));
        assert_eq!(grants.at_or_below(LogId(6)).map(|grant| grant.topic), Some(topic(1)));
        assert_eq!(grants.at_or_below(LogId(9)).map(|grant| grant.topic), Some(topic(3)));
        (0..1001).for_each(|number| grants.forget(topic(number)));
        assert!(grants.chunks.is_empty());
    }

    /// 10,000 topics in a row copied 50 million runs.
    #[test]
    fn a_new_topic_copies_one_chunk() {
        let mut grants = Grants::default();
        (1..=10_000).for_each(|log| grants.give(LogId(log), topic(log), PartitionIndex(0)));
        let before = grants.clone();
        grants.give(LogId(10_001), topic(10_001), PartitionIndex(0));
        let pairs = before.chunks.iter().zip(grants.chunks.iter());
        assert_eq!(pairs.filter(|(old, new)| !Arc::ptr_eq(old, new)).count(), 1);
        assert_eq!(before.at_or_below(LogId(10_001)).map(|grant| grant.first), Some(LogId(10_000)));
    }
}
