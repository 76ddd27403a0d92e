//! DescribeLogDirs (key 35): the broker's data directories, and what each partition takes up in them.
//! KIP-113, KIP-784 (an error of the whole request), KIP-827 (size of the volume), KIP-1066 (cordoned directories).

use crate::protocol::{Str, message};

message! {
    /// `topics` absent asks for all of them.
    DescribeLogDirsRequest, versions 1..=5, flexible from 2 {
        topics: Option<Vec<DescribableLogDirTopic>>,
    }

    /// One topic.
    DescribableLogDirTopic {
        topic: Str,
        partitions: Vec<i32>,
    }
}

message! {
    /// Every directory of the broker.
    DescribeLogDirsResponse, versions 1..=5, flexible from 2 {
        throttle_time_ms: i32,
        error_code: i16 [3..],
        results: Vec<DescribeLogDirsResult>,
    }

    /// One directory. `total_bytes` and `usable_bytes` are those of its volume; -1 if not known.
    DescribeLogDirsResult {
        error_code: i16,
        log_dir: Str,
        topics: Vec<DescribeLogDirsTopic>,
        total_bytes: i64 [4..] = -1,
        usable_bytes: i64 [4..] = -1,
        is_cordoned: bool [5..],
    }

    /// One topic.
    DescribeLogDirsTopic {
        name: Str,
        partitions: Vec<DescribeLogDirsPartition>,
    }

    /// `partition_size` in bytes. `offset_lag` is how far the log's end is ahead of the high watermark or, for a log
    /// that is to replace another one (`is_future_key`), behind that one's end.
    DescribeLogDirsPartition {
        partition_index: i32,
        partition_size: i64,
        offset_lag: i64,
        is_future_key: bool,
    }
}
