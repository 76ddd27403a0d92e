//! OffsetCommit (key 8): a group remembers how far it has read.
//! KIP-211 (retention is the broker's affair), KIP-320 (leader epochs), KIP-345 (static members), KIP-848 (member
//! epochs; topic ids).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// `generation_id_or_member_epoch` is -1 and `member_id` empty for a commit from outside of the group.
    /// `retention_time_ms` -1 asks for the broker's own retention.
    OffsetCommitRequest, versions 2..=10, flexible from 8 {
        group_id: Str,
        generation_id_or_member_epoch: i32 = -1,
        member_id: Str,
        group_instance_id: Option<Str> [7..],
        retention_time_ms: i64 [..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// One topic, by name or, from version 10, by id.
    OffsetCommitRequestTopic {
        name: Str [..=9],
        topic_id: TopicId [10..],
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// `committed_offset` is that of the next record to read; `committed_leader_epoch` that of the last one read, -1 if
    /// not known.
    OffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [6..] = -1,
        committed_metadata: Option<Str>,
    }
}

message! {
    /// Answers for every partition; an error of the whole group stands at each of them.
    OffsetCommitResponse, versions 2..=10, flexible from 8 {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// One topic, named as in the request.
    OffsetCommitResponseTopic {
        name: Str [..=9],
        topic_id: TopicId [10..],
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// What became of one commit.
    OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: i16,
    }
}
