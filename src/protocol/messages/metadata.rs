//! Metadata (key 3): which topics exist, how they are partitioned, and who leads each partition.
//! KIP-4 (admin), KIP-516 (topic ids), KIP-700 (cluster operations moved to DescribeCluster), KIP-1102 (a response may ask to start over).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// `topics` absent asks for all of them; in version 0, an empty list does.
    MetadataRequest, versions 0..=13, flexible from 9 {
        topics: Option<Vec<MetadataRequestTopic>> [.., null 1..],
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    /// One topic, by name or, from version 12 on, by id.
    MetadataRequestTopic {
        topic_id: TopicId [10..],
        name: Option<Str> [.., null 10..],
    }
}

message! {
    /// `cluster_authorized_operations` is `i32::MIN` unless it was asked for.
    MetadataResponse, versions 0..=13, flexible from 9 {
        throttle_time_ms: i32 [3..],
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<Str> [2..],
        controller_id: i32 [1..] = -1,
        topics: Vec<MetadataResponseTopic>,
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        error_code: i16 [13..],
    }

    /// One broker, as this listener's clients reach it.
    MetadataResponseBroker {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str> [1..],
    }

    /// One topic. `name` is null only for an id that is not known.
    MetadataResponseTopic {
        error_code: i16,
        name: Option<Str> [.., null 12..],
        topic_id: TopicId [10..],
        is_internal: bool [1..],
        partitions: Vec<MetadataResponsePartition>,
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    /// One partition. `leader_id` is -1 while it has none.
    MetadataResponsePartition {
        error_code: i16,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 [7..] = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [5..],
    }
}
