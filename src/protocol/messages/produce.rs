//! Produce (key 0): append record batches to partitions.
//! KIP-98 (transactional ids), KIP-467 (errors of single records), KIP-951 (who leads now), KIP-516 (topic ids), KIP-890 (version 12 adds the
//! partitions to the transaction). Versions 0 to 2 are advertised for old clients' sake (KAFKA-18659) and not declared.

use crate::base::TopicId;
use crate::protocol::{Records, Str, message};

message! {
    /// `acks`: 0 none, 1 the leader, -1 all in-sync replicas. `timeout_ms` is how long to wait for those.
    ProduceRequest, versions 3..=13, flexible from 9 {
        transactional_id: Option<Str>,
        acks: i16,
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }

    /// One topic, by name or, from version 13, by id.
    TopicProduceData {
        name: Str [..=12],
        topic_id: TopicId [13..],
        partition_data: Vec<PartitionProduceData>,
    }

    /// `records` is one batch of the current format.
    PartitionProduceData {
        index: i32,
        records: Option<Records>,
    }
}

message! {
    /// Answers in the order of the request.
    ProduceResponse, versions 3..=13, flexible from 9 {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32,
        node_endpoints: Vec<NodeEndpoint> [10.., tag 0],
    }

    /// One topic, named as in the request.
    TopicProduceResponse {
        name: Str [..=12],
        topic_id: TopicId [13..],
        partition_responses: Vec<PartitionProduceResponse>,
    }

    /// Where a broker that leads now can be reached (KIP-951).
    NodeEndpoint {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str>,
    }

    /// What became of one batch. `log_append_time_ms` is -1 where the client's timestamps were kept.
    PartitionProduceResponse {
        index: i32,
        error_code: i16,
        base_offset: i64,
        log_append_time_ms: i64 = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        error_message: Option<Str> [8..],
        current_leader: LeaderIdAndEpoch [10.., tag 0],
    }

    /// One record that made the whole batch fail.
    BatchIndexAndErrorMessage {
        batch_index: i32,
        batch_index_error_message: Option<Str>,
    }

    /// Who leads now, as far as this broker knows; -1 where it does not.
    LeaderIdAndEpoch {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }
}
