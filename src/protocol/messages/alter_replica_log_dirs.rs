//! AlterReplicaLogDirs (key 34): move replicas to another data directory of the same broker. KIP-113.

use crate::protocol::{Str, message};

message! {
    /// What goes where.
    AlterReplicaLogDirsRequest, versions 1..=2, flexible from 2 {
        dirs: Vec<AlterReplicaLogDir>,
    }

    /// One directory, by its absolute path, and what moves into it.
    AlterReplicaLogDir {
        path: Str,
        topics: Vec<AlterReplicaLogDirTopic>,
    }

    /// One topic.
    AlterReplicaLogDirTopic {
        name: Str,
        partitions: Vec<i32>,
    }
}

message! {
    /// Answers for every partition.
    AlterReplicaLogDirsResponse, versions 1..=2, flexible from 2 {
        throttle_time_ms: i32,
        results: Vec<AlterReplicaLogDirTopicResult>,
    }

    /// One topic.
    AlterReplicaLogDirTopicResult {
        topic_name: Str,
        partitions: Vec<AlterReplicaLogDirPartitionResult>,
    }

    /// Whether the move began.
    AlterReplicaLogDirPartitionResult {
        partition_index: i32,
        error_code: i16,
    }
}
