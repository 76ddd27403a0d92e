//! ElectLeaders (key 43): let partitions choose their leader anew. KIP-183 (the preferred one), KIP-460 (one that is
//! not in sync).

use crate::protocol::{Str, message};

message! {
    /// `election_type`: 0 the preferred replica, 1 any that lives if none is in sync. `topic_partitions` absent asks
    /// for all of them.
    ElectLeadersRequest, versions 0..=2, flexible from 2 {
        election_type: i8 [1..],
        topic_partitions: Option<Vec<TopicPartitions>>,
        timeout_ms: i32 = 60000,
    }

    /// One topic.
    TopicPartitions {
        topic: Str,
        partitions: Vec<i32>,
    }
}

message! {
    /// Answers for every partition.
    ElectLeadersResponse, versions 0..=2, flexible from 2 {
        throttle_time_ms: i32,
        error_code: i16 [1..],
        replica_election_results: Vec<ReplicaElectionResult>,
    }

    /// One topic.
    ReplicaElectionResult {
        topic: Str,
        partition_result: Vec<PartitionResult>,
    }

    /// What became of one election.
    PartitionResult {
        partition_id: i32,
        error_code: i16,
        error_message: Option<Str>,
    }
}
