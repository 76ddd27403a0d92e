//! DescribeProducers (key 61): the producers that partitions remember. KIP-664.

use crate::protocol::{Str, message};

message! {
    /// Which partitions.
    DescribeProducersRequest, versions 0..=0, flexible from 0 {
        topics: Vec<TopicRequest>,
    }

    /// One topic.
    TopicRequest {
        name: Str,
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// Answers for every partition.
    DescribeProducersResponse, versions 0..=0, flexible from 0 {
        throttle_time_ms: i32,
        topics: Vec<TopicResponse>,
    }

    /// One topic.
    TopicResponse {
        name: Str,
        partitions: Vec<PartitionResponse>,
    }

    /// One partition.
    PartitionResponse {
        partition_index: i32,
        error_code: i16,
        error_message: Option<Str>,
        active_producers: Vec<ProducerState>,
    }

    /// One producer. `current_txn_start_offset` is -1 unless a transaction is open.
    ProducerState {
        producer_id: i64,
        producer_epoch: i32,
        last_sequence: i32 = -1,
        last_timestamp: i64 = -1,
        coordinator_epoch: i32,
        current_txn_start_offset: i64 = -1,
    }
}
