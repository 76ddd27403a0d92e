//! CreatePartitions (key 37): give topics more partitions. KIP-195, KIP-599 (an error for those who do it too often).

use crate::protocol::{Str, message};

message! {
    /// With `validate_only` nothing is made.
    CreatePartitionsRequest, versions 0..=3, flexible from 2 {
        topics: Vec<CreatePartitionsTopic>,
        timeout_ms: i32,
        validate_only: bool,
    }

    /// `count` is that of all partitions afterwards. `assignments` are those of the new ones; absent, the broker
    /// chooses.
    CreatePartitionsTopic {
        name: Str,
        count: i32,
        assignments: Option<Vec<CreatePartitionsAssignment>>,
    }

    /// Who holds one new partition; the first broker is the preferred leader.
    CreatePartitionsAssignment {
        broker_ids: Vec<i32>,
    }
}

message! {
    /// Answers for every topic.
    CreatePartitionsResponse, versions 0..=3, flexible from 2 {
        throttle_time_ms: i32,
        results: Vec<CreatePartitionsTopicResult>,
    }

    /// What became of one topic.
    CreatePartitionsTopicResult {
        name: Str,
        error_code: i16,
        error_message: Option<Str>,
    }
}
