//! ListPartitionReassignments (key 46): which partitions are moving to other brokers. KIP-455.

use crate::protocol::{Str, message};

message! {
    /// `topics` absent asks for all of them.
    ListPartitionReassignmentsRequest, versions 0..=0, flexible from 0 {
        timeout_ms: i32 = 60000,
        topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }

    /// One topic.
    ListPartitionReassignmentsTopics {
        name: Str,
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// Only the partitions that are moving.
    ListPartitionReassignmentsResponse, versions 0..=0, flexible from 0 {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<Str>,
        topics: Vec<OngoingTopicReassignment>,
    }

    /// One topic.
    OngoingTopicReassignment {
        name: Str,
        partitions: Vec<OngoingPartitionReassignment>,
    }

    /// One partition. `replicas` are all of now; some are on their way in or out.
    OngoingPartitionReassignment {
        partition_index: i32,
        replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }
}
