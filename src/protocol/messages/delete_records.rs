//! DeleteRecords (key 21): move the start of partitions forward. KIP-107.

use crate::protocol::{Str, message};

message! {
    /// `timeout_ms` is how long to wait for the other replicas.
    DeleteRecordsRequest, versions 0..=2, flexible from 2 {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }

    /// One topic.
    DeleteRecordsTopic {
        name: Str,
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// Records below `offset` go; -1 is the high watermark.
    DeleteRecordsPartition {
        partition_index: i32,
        offset: i64,
    }
}

message! {
    /// Answers for every partition.
    DeleteRecordsResponse, versions 0..=2, flexible from 2 {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// One topic.
    DeleteRecordsTopicResult {
        name: Str,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// `low_watermark` is the lowest start among the replicas; -1 with an error.
    DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: i16,
    }
}
