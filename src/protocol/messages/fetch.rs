//! Fetch (key 1): read record batches from partitions.
//! KIP-227 (sessions), KIP-320 (epochs), KIP-392 (racks), KIP-595 (diverging epochs), KIP-516 (topic ids), KIP-903 (replica epochs), KIP-951 (who
//! leads now), KIP-853 (directory ids), KIP-1166 (the follower's high watermark).

use crate::base::TopicId;
use crate::protocol::{Records, Str, message};

message! {
    /// Without a session all partitions stand in the request; within one, only those that changed. `isolation_level`: 0 uncommitted, 1 committed.
    FetchRequest, versions 4..=18, flexible from 12 {
        cluster_id: Option<Str> [12.., tag 0],
        replica_id: i32 [..=14] = -1,
        replica_state: ReplicaState [15.., tag 1],
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 = i32::MAX,
        isolation_level: i8,
        session_id: i32 [7..],
        session_epoch: i32 [7..] = -1,
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: Str [11..],
    }

    /// Which broker fetches to replicate; -1 for a consumer.
    ReplicaState {
        replica_id: i32 = -1,
        replica_epoch: i64 = -1,
    }

    /// One topic, by name or, from version 13, by id.
    FetchTopic {
        topic: Str [..=12],
        topic_id: TopicId [13..],
        partitions: Vec<FetchPartition>,
    }

    /// Partitions to drop from the session.
    ForgottenTopic {
        topic: Str [..=12],
        topic_id: TopicId [13..],
        partitions: Vec<i32>,
    }

    /// Where to read. `last_fetched_epoch` is that of the record before `fetch_offset`; -1 asks for no check.
    FetchPartition {
        partition: i32,
        current_leader_epoch: i32 [9..] = -1,
        fetch_offset: i64,
        last_fetched_epoch: i32 [12..] = -1,
        log_start_offset: i64 [5..] = -1,
        partition_max_bytes: i32,
        replica_directory_id: TopicId [17.., tag 0],
        high_watermark: i64 [18.., tag 1] = i64::MAX,
    }
}

message! {
    /// Within a session, partitions with nothing new are left out.
    FetchResponse, versions 4..=18, flexible from 12 {
        throttle_time_ms: i32,
        error_code: i16 [7..],
        session_id: i32 [7..],
        responses: Vec<FetchableTopicResponse>,
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }

    /// One topic, named as in the request.
    FetchableTopicResponse {
        topic: Str [..=12],
        topic_id: TopicId [13..],
        partitions: Vec<PartitionData>,
    }

    /// Where a broker that leads now can be reached (KIP-951).
    NodeEndpoint {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str>,
    }

    /// What was read. `records` is never null on the wire, for librdkafka refuses that; plain [`Records`] see to it. `aborted_transactions` is null for a
    /// reader of uncommitted records.
    PartitionData {
        partition_index: i32,
        error_code: i16,
        high_watermark: i64,
        last_stable_offset: i64 = -1,
        log_start_offset: i64 [5..] = -1,
        diverging_epoch: EpochEndOffset [12.., tag 0],
        current_leader: LeaderIdAndEpoch [12.., tag 1],
        snapshot_id: SnapshotId [12.., tag 2],
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        preferred_read_replica: i32 [11..] = -1,
        records: Records,
    }

    /// Where the reader's log and ours part: the largest common epoch and where it ends here; -1 if they do not.
    EpochEndOffset {
        epoch: i32 = -1,
        end_offset: i64 = -1,
    }

    /// Who leads now, as far as this broker knows; -1 where it does not.
    LeaderIdAndEpoch {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }

    /// From where to fetch a snapshot instead; only the metadata quorum uses it.
    SnapshotId {
        end_offset: i64 = -1,
        epoch: i32 = -1,
    }

    /// An aborted transaction whose records lie in what was read.
    AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }
}
