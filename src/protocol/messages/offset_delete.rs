//! OffsetDelete (key 47): a group forgets offsets of topics that it does not subscribe to. KIP-496.

use crate::protocol::{Str, message};

message! {
    /// Whose offsets of what.
    OffsetDeleteRequest, versions 0..=0, flexible from never {
        group_id: Str,
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// One topic.
    OffsetDeleteRequestTopic {
        name: Str,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// One partition.
    OffsetDeleteRequestPartition {
        partition_index: i32,
    }
}

message! {
    /// Answers for every partition; `topics` is empty with an error of the whole group.
    OffsetDeleteResponse, versions 0..=0, flexible from never {
        error_code: i16,
        throttle_time_ms: i32,
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// One topic.
    OffsetDeleteResponseTopic {
        name: Str,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// What became of one partition's offset.
    OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: i16,
    }
}
