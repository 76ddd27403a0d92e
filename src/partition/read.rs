//! What a reader may see.

use super::EpochEnd;
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
