//! ListOffsets (key 2): offsets by timestamp, or the special ones: earliest -2, latest -1, largest timestamp -3, earliest local -4,
//! last tiered -5, earliest not yet tiered -6. KIP-320 (epochs), KIP-734 (largest timestamp), KIP-405 (tiers), KIP-1075 (timeout), KIP-1023.

use crate::protocol::{Str, message};

message! {
    /// `replica_id` is -1 for a consumer.
    ListOffsetsRequest, versions 1..=11, flexible from 6 {
        replica_id: i32,
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32 [10..],
    }

    /// One topic.
    ListOffsetsTopic {
        name: Str,
        partitions: Vec<ListOffsetsPartition>,
    }

    /// `timestamp` may be one of the special values.
    ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32 [4..] = -1,
        timestamp: i64,
    }
}

message! {
    /// Answers in the order of the request.
    ListOffsetsResponse, versions 1..=11, flexible from 6 {
        throttle_time_ms: i32 [2..],
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// One topic.
    ListOffsetsTopicResponse {
        name: Str,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// The first record at or after the timestamp, with its own epoch; -1 in every field if there is none.
    ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: i16,
        timestamp: i64 = -1,
        offset: i64 = -1,
        leader_epoch: i32 [4..] = -1,
    }
}
