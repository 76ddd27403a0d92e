//! Where each leader's records begin (KIP-101): what Kafka keeps in `leader-epoch-checkpoint`.

use super::StateFault;
use crate::base::limits::EPOCHS_PER_PARTITION_MAX;
use crate::base::{Cursor, LeaderEpoch, Offset};

/// The leader epochs of a log, oldest first. Both epochs and offsets rise strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
}

/// Where the records of an epoch end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch at or below the one asked for.
    pub epoch: LeaderEpoch,
    /// The first offset behind its records.
    pub end_offset: Offset,
}

impl EpochCache {
    /// Epochs and the offsets where they begin, oldest first: the lines of `leader-epoch-checkpoint`.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The last epoch, if any.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch under which the record at `offset` was appended; of the end, the latest. `None` before the first.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let behind = self.entries.partition_point(|(_, start)| *start <= offset);
        self.entries[..behind].last().map(|(epoch, _)| *epoch)
    }

    /// Records from `start` on were appended under `epoch`. An epoch that has begun does not begin again; entries that contradict the new one, such as that of a
    /// leader without a record, give way.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if let Some((latest, since)) = self.entries.last()
            && *latest == epoch
            && *since <= start
        {
            return;
        }
        while self.entries.last().is_some_and(|(other, since)| *other >= epoch || *since >= start) {
            self.entries.pop();
        }
        if self.entries.len() == EPOCHS_PER_PARTITION_MAX {
            // The oldest is merged with its successor: whoever asks for it is sent to where that one begins.
            self.entries.remove(0);
        }
        self.entries.push((epoch, start));
    }

    /// Kafka's `endOffsetFor`. `end` is the end of the log. `None` for an epoch of -1 or above the latest.
    pub fn end_of(&self, epoch: LeaderEpoch, end: Offset) -> Option<EpochEnd> {
        if epoch == LeaderEpoch::NONE {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some(EpochEnd { epoch, end_offset: end });
        }
        let higher = self.entries.partition_point(|(other, _)| *other <= epoch);
        let (_, end_offset) = *self.entries.get(higher)?;
        // Older than everything known: its records are gone, and what follows begins there.
        let found = self.entries[..higher].last().map_or(epoch, |(other, _)| *other);
        Some(EpochEnd { epoch: found, end_offset })
    }

    /// The log now begins at `start`: epochs without records are forgotten, the one that holds `start` begins there.
    pub(super) fn cut_front(&mut self, start: Offset) {
        let behind = self.entries.partition_point(|(_, since)| *since <= start);
        if behind > 0 {
            self.entries.drain(..behind - 1);
            self.entries[0].1 = start;
        }
    }

    /// Appends the count, then 12 bytes for each epoch.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.entries.len() as u32).to_be_bytes());
        for (epoch, start) in &self.entries {
            out.extend(epoch.0.to_be_bytes());
            out.extend(start.0.to_be_bytes());
        }
    }

    /// Reads what [`EpochCache::encode`] wrote.
    pub(super) fn decode(from: &mut Cursor<'_>) -> Result<Self, StateFault> {
        let count = from.u32()? as usize;
        if count > EPOCHS_PER_PARTITION_MAX || count > from.left() / 12 {
            return Err(StateFault::Damaged("more leader epochs than there can be"));
        }
        let mut entries: Vec<(LeaderEpoch, Offset)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (epoch, start) = (LeaderEpoch(from.i32()?), Offset(from.i64()?));
            let rises = entries.last().is_none_or(|(other, since)| epoch > *other && start > *since);
            if !rises || epoch.0 < 0 || start.0 < 0 {
                return Err(StateFault::Damaged("leader epochs do not rise"));
            }
            entries.push((epoch, start));
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (epoch, start) in entries {
            cache.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        cache
    }

    fn end_of(cache: &EpochCache, epoch: i32) -> Option<(i32, i64)> {
        cache.end_of(LeaderEpoch(epoch), Offset(100)).map(|end| (end.epoch.0, end.end_offset.0))
    }

    /// The table of KIP-101 and of Kafka's `LeaderEpochFileCache.endOffsetFor`.
    #[test]
    fn epochs_end_where_the_next_begins() {
        let known = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(end_of(&known, -1), None);
        assert_eq!(end_of(&known, 1), Some((1, 10)));
        assert_eq!(end_of(&known, 2), Some((2, 20)));
        assert_eq!(end_of(&known, 3), Some((2, 20)));
        assert_eq!(end_of(&known, 6), Some((4, 30)));
        assert_eq!(end_of(&known, 7), Some((7, 100)));
        assert_eq!(end_of(&known, 8), None);
        assert_eq!(end_of(&EpochCache::default(), 0), None);
    }

    #[test]
    fn a_leader_without_records_gives_way() {
        assert_eq!(cache(&[(1, 0), (2, 5), (3, 5), (4, 5)]), cache(&[(1, 0), (4, 5)]));
        assert_eq!(cache(&[(1, 0), (1, 9)]), cache(&[(1, 0)]));
        assert_eq!(cache(&[(1, 0), (5, 9), (3, 4)]), cache(&[(1, 0), (3, 4)]));
    }

    #[test]
    fn a_cut_keeps_what_holds_records() {
        let mut known = cache(&[(2, 10), (4, 20), (7, 30)]);
        known.cut_front(Offset(25));
        assert_eq!(known, cache(&[(4, 25), (7, 30)]));
        assert_eq!(known.epoch_of(Offset(24)), None);
        assert_eq!(known.epoch_of(Offset(25)), Some(LeaderEpoch(4)));
    }
}
