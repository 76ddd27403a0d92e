//! OffsetForLeaderEpoch (key 23): where an epoch of a partition ends, so that a reader can tell what was cut off.
//! KIP-101, KIP-279, KIP-320.

use crate::protocol::{Str, message};

message! {
    /// `replica_id` is -1 for a consumer, -2 for a tool that may see past the high watermark.
    OffsetForLeaderEpochRequest, versions 2..=4, flexible from 4 {
        replica_id: i32 [3..] = -2,
        topics: Vec<OffsetForLeaderTopic>,
    }

    /// One topic.
    OffsetForLeaderTopic {
        topic: Str,
        partitions: Vec<OffsetForLeaderPartition>,
    }

    /// `leader_epoch` is the one asked about.
    OffsetForLeaderPartition {
        partition: i32,
        current_leader_epoch: i32 = -1,
        leader_epoch: i32,
    }
}

message! {
    /// Answers for every partition.
    OffsetForLeaderEpochResponse, versions 2..=4, flexible from 4 {
        throttle_time_ms: i32,
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// One topic.
    OffsetForLeaderTopicResult {
        topic: Str,
        partitions: Vec<EpochEndOffset>,
    }

    /// The largest epoch that is not above the one asked about, and where it ends; -1 if there is none.
    EpochEndOffset {
        error_code: i16,
        partition: i32,
        leader_epoch: i32 = -1,
        end_offset: i64 = -1,
    }
}
