//! What a reader may see.

use super::{EpochEnd, Partition};
use crate::base::{LeaderEpoch, Offset};

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark: a consumer that reads uncommitted.
    HighWatermark,
    /// Up to the last stable offset: a consumer that reads committed.
    LastStable,
    /// Up to the end: a follower.
    LogEnd,
}

/// Where somebody wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The first record wanted.
    pub offset: Offset,
    /// How far.
    pub isolation: Isolation,
    /// The leader epoch that the reader believes in, or -1 (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record that the reader has, or -1 (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
}

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    /// The first offset it may not see. May lie below the offset asked for: then there is nothing to read yet.
    pub up_to: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The last stable offset.
    pub last_stable: Offset,
    /// The first offset of the log.
    pub log_start: Offset,
}

/// May it read?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadCheck {
    /// Yes, between the offset asked for and `up_to`.
    Read(ReadBounds),
    /// The reader has records that this log does not have: it must cut its own log. Answered without an error and without records.
    Diverging(EpochEnd, ReadBounds),
}

/// Why it may not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} is outside [{log_start}, {end}]")]
    OffsetOutOfRange {
        /// Asked for.
        offset: Offset,
        /// The first offset of the log.
        log_start: Offset,
        /// The end of the log.
        end: Offset,
    },
    /// OFFSET_OUT_OF_RANGE.
    #[error("nothing is known of epoch {epoch}, that of the last record the reader has")]
    UnknownLastFetchedEpoch {
        /// The last fetched epoch.
        epoch: LeaderEpoch,
    },
    /// FENCED_LEADER_EPOCH.
    #[error("the reader's leader epoch is {found}, the log is at {current}")]
    FencedLeaderEpoch {
        /// The reader's.
        found: LeaderEpoch,
        /// Ours.
        current: LeaderEpoch,
    },
    /// UNKNOWN_LEADER_EPOCH.
    #[error("the reader's leader epoch is {found}, the log is only at {current}")]
    UnknownLeaderEpoch {
        /// The reader's.
        found: LeaderEpoch,
        /// Ours.
        current: LeaderEpoch,
    },
}

impl Partition {
    /// What a reader at this offset may see.
    pub fn read_check(&self, request: &ReadRequest) -> Result<ReadCheck, ReadFault> {
        self.check_leader_epoch(request.current_leader_epoch)?;
        let bounds = ReadBounds {
            up_to: match request.isolation {
                Isolation::HighWatermark => self.high,
                Isolation::LastStable => self.last_stable(),
                Isolation::LogEnd => self.end,
            },
            high_watermark: self.high,
            last_stable: self.last_stable(),
            log_start: self.log_start,
        };
        let offset = request.offset;
        let out_of_range = ReadFault::OffsetOutOfRange { offset, log_start: self.log_start, end: self.end };
        let epoch = request.last_fetched_epoch;
        if epoch != LeaderEpoch::NONE {
            let known = self.epochs.end_of(epoch, self.end).ok_or(ReadFault::UnknownLastFetchedEpoch { epoch })?;
            if offset < self.log_start {
                return Err(out_of_range);
            }
            if known.epoch < epoch || known.end_offset < offset {
                return Ok(ReadCheck::Diverging(known, bounds));
            }
        }
        if offset < self.log_start || offset > self.end {
            return Err(out_of_range);
        }
        Ok(ReadCheck::Read(bounds))
    }

    /// Whether the caller believes in the right leader epoch; -1 asks for nothing. For every request that carries one (KIP-320).
    pub fn check_leader_epoch(&self, found: LeaderEpoch) -> Result<(), ReadFault> {
        let current = self.leader_epoch;
        if found == LeaderEpoch::NONE || found == current {
            Ok(())
        } else if found < current {
            Err(ReadFault::FencedLeaderEpoch { found, current })
        } else {
            Err(ReadFault::UnknownLeaderEpoch { found, current })
        }
    }

    /// Where the records of `epoch` end (OffsetForLeaderEpoch). `None`: nothing is known of that epoch, answered with -1 and -1.
    pub fn epoch_end(&self, current: LeaderEpoch, epoch: LeaderEpoch) -> Result<Option<EpochEnd>, ReadFault> {
        self.check_leader_epoch(current)?;
        Ok(self.epochs.end_of(epoch, self.end))
    }
}
