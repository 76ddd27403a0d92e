//! AlterPartitionReassignments (key 45): move partitions to other brokers, or call a move off.
//! KIP-455, KIP-860 (the number of replicas may be held fast).

use crate::protocol::{Str, message};

message! {
    /// What goes where.
    AlterPartitionReassignmentsRequest, versions 0..=1, flexible from 0 {
        timeout_ms: i32 = 60000,
        allow_replication_factor_change: bool [1..] = true,
        topics: Vec<ReassignableTopic>,
    }

    /// One topic.
    ReassignableTopic {
        name: Str,
        partitions: Vec<ReassignablePartition>,
    }

    /// `replicas` absent calls off what is under way.
    ReassignablePartition {
        partition_index: i32,
        replicas: Option<Vec<i32>>,
    }
}

message! {
    /// Answers for every partition.
    AlterPartitionReassignmentsResponse, versions 0..=1, flexible from 0 {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool [1..] = true,
        error_code: i16,
        error_message: Option<Str>,
        responses: Vec<ReassignableTopicResponse>,
    }

    /// One topic.
    ReassignableTopicResponse {
        name: Str,
        partitions: Vec<ReassignablePartitionResponse>,
    }

    /// Whether the move began, or was called off.
    ReassignablePartitionResponse {
        partition_index: i32,
        error_code: i16,
        error_message: Option<Str>,
    }
}
