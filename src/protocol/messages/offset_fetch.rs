//! OffsetFetch (key 9): what groups have committed.
//! KIP-88 (all topics), KIP-320 (leader epochs), KIP-447 (only stable offsets), KIP-709 (many groups in one request),
//! KIP-848 (member epochs; topic ids).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// One group up to version 7, `groups` from then on. `topics` absent asks for all of them. With `require_stable` a
    /// partition whose offset a transaction may still change is answered with an error.
    OffsetFetchRequest, versions 1..=10, flexible from 6 {
        group_id: Str [..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7, null 2..=7],
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7..],
    }

    /// One topic of the one group.
    OffsetFetchRequestTopic {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// One group. `topics` absent asks for all of them. `member_epoch` is checked for a consumer group; -1 asks for no
    /// check.
    OffsetFetchRequestGroup {
        group_id: Str,
        member_id: Option<Str> [9..],
        member_epoch: i32 [9..] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    }

    /// One topic of one of many groups, by name or, from version 10, by id.
    OffsetFetchRequestTopics {
        name: Str [..=9],
        topic_id: TopicId [10..],
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// One group up to version 7, `groups` from then on.
    OffsetFetchResponse, versions 1..=10, flexible from 6 {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        error_code: i16 [2..=7],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// One topic of the one group.
    OffsetFetchResponseTopic {
        name: Str,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// What was committed; `committed_offset` is -1 if nothing was.
    OffsetFetchResponsePartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [5..] = -1,
        metadata: Option<Str>,
        error_code: i16,
    }

    /// One group.
    OffsetFetchResponseGroup {
        group_id: Str,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: i16,
    }

    /// One topic of one of many groups, named as in the request.
    OffsetFetchResponseTopics {
        name: Str [..=9],
        topic_id: TopicId [10..],
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    /// What was committed; `committed_offset` is -1 if nothing was.
    OffsetFetchResponsePartitions {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 = -1,
        metadata: Option<Str>,
        error_code: i16,
    }
}
