//! One replica's log as a state: what may be appended, what may be read, who produced, and under which leaders.
//!
//! Always true: log start <= high <= durable <= end, and none of them goes back; an offset is given out once; a leader epoch starts where the one
//! before it ends. What stands above `durable` is speculative: if it is lost, the process is gone too. Decides, and has no effects, no clock and no bytes
//! of records: the shard carries decisions out.

mod append; // may this batch be appended, and where
mod epochs; // where each leader's records begin (KIP-101)
mod producers; // idempotent producers: repetition, gap or next (KIP-98)
mod read; // what a reader may see (KIP-320, KIP-595)

pub use append::{AppendFault, AppendRules, Decision};
pub use epochs::{EpochCache, EpochEnd};
pub use producers::Producers;
pub use read::{Isolation, ReadBounds, ReadCheck, ReadFault, ReadRequest};

use crate::base::{LeaderEpoch, LogId, Offset, Timestamp};
use crate::record::{BatchInfo, StoredBatch};

/// One replica's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    log_id: LogId,
    leader_epoch: LeaderEpoch,
    log_start: Offset,
    end: Offset,
    durable: Offset,
    high: Offset,
    last_append_time: Timestamp,
    producers: Producers,
    epochs: EpochCache,
}

/// State that cannot be read back, or does not fit the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateFault {
    /// The bytes end early or hold impossible values.
    #[error("the saved state of the log is damaged: {0}")]
    Damaged(&'static str),
    /// A later version wrote it.
    #[error("the saved state of the log has version {found}, this broker knows up to {known}")]
    Version {
        /// In the bytes.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// A batch that is replayed overlaps the one before it.
    #[error("a batch begins at {base}, but the log already ends at {end}")]
    Overlap {
        /// Its first offset.
        base: Offset,
        /// The end so far.
        end: Offset,
    },
    /// The log ends before offsets that were durable when its state was saved.
    #[error("the log ends at {end}, but its saved state was taken at {saved}")]
    EndsEarly {
        /// The recovered end.
        end: Offset,
        /// The end when the state was saved.
        saved: Offset,
    },
}

/// A log's start may move to any offset from where it is up to the high watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the log start cannot move to {to}, the high watermark is {high}")]
pub struct StartFault {
    /// Where it should have moved.
    pub to: Offset,
    /// The high watermark.
    pub high: Offset,
}

impl Partition {
    /// An empty log. Its leader epoch is set by [`Partition::lead`].
    pub fn new(log_id: LogId) -> Self {
        let _ = log_id;
        todo!()
    }

    /// The log as it was when [`Partition::encode`] saved it. What was appended later comes by [`Partition::replay`], then [`Partition::recovered`].
    pub fn restore(log_id: LogId, state: &[u8]) -> Result<Self, StateFault> {
        let _ = (log_id, state);
        todo!()
    }

    /// The state for a checkpoint, as of [`Partition::end`] now. It may be written only once `durable` has reached that offset, because it
    /// speaks of batches up to there. Holds log start, epochs and producers; at most as long as the bounds in `base::limits` allow.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Takes over a batch that the log holds: recovery, in offset order. Batches below the saved state are already part of it and are passed over.
    pub fn replay(&mut self, batch: &StoredBatch<'_>, now: Timestamp) -> Result<(), StateFault> {
        let _ = (batch, now);
        todo!()
    }

    /// Ends recovery: everything up to the end is durable and, on a single node, visible.
    pub fn recovered(&mut self) -> Result<(), StateFault> {
        todo!()
    }

    /// This node leads the log from now on, under `epoch`. Later starts and elections come with a higher one.
    pub fn lead(&mut self, epoch: LeaderEpoch) {
        let _ = epoch;
        todo!()
    }

    /// Decides about a batch, and reserves its offsets if it is to be appended: the end and the producer's state move at once.
    pub fn append(&mut self, batch: &BatchInfo, now: Timestamp, rules: &AppendRules) -> Result<Decision, AppendFault> {
        let _ = (batch, now, rules);
        todo!()
    }

    /// Everything below `durable` is on disk, in the order it was reserved. Returns whether the high watermark moved.
    pub fn set_durable(&mut self, durable: Offset) -> bool {
        let _ = durable;
        todo!()
    }

    /// Moves the start of the log forward: DeleteRecords, retention. Returns whether it moved; an offset behind the start changes nothing.
    pub fn move_log_start(&mut self, to: Offset) -> Result<bool, StartFault> {
        let _ = to;
        todo!()
    }

    /// Forgets producers that were silent for `expiration_ms` (`producer.id.expiration.ms`). Returns how many.
    pub fn expire_producers(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        let _ = (now, expiration_ms);
        todo!()
    }

    /// What a reader at this offset may see.
    pub fn read_check(&self, request: &ReadRequest) -> Result<ReadCheck, ReadFault> {
        let _ = request;
        todo!()
    }

    /// Whether the caller believes in the right leader epoch; -1 asks for nothing. For every request that carries one.
    pub fn check_leader_epoch(&self, current: LeaderEpoch) -> Result<(), ReadFault> {
        let _ = current;
        todo!()
    }

    /// Where the records of `epoch` end (OffsetForLeaderEpoch). `None`: nothing is known of that epoch, answered with -1 and -1.
    pub fn epoch_end(&self, current: LeaderEpoch, epoch: LeaderEpoch) -> Result<Option<EpochEnd>, ReadFault> {
        let _ = (current, epoch);
        todo!()
    }

    /// Whose log this is.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
    /// The epoch under which this node leads.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }
    /// The first offset that can be read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }
    /// The offset that the next record gets.
    pub fn end(&self) -> Offset {
        self.end
    }
    /// Everything below is on disk.
    pub fn durable(&self) -> Offset {
        self.durable
    }
    /// Consumers read below this: the high watermark.
    pub fn high(&self) -> Offset {
        self.high
    }
    /// Readers of committed data read below this. Equals the high watermark as long as there are no transactions.
    pub fn last_stable(&self) -> Offset {
        self.high
    }
    /// The leader epochs of the log and where each begins.
    pub fn epochs(&self) -> &EpochCache {
        &self.epochs
    }
    /// The producers remembered.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }
}
