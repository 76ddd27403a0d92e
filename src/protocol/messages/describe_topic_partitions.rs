//! DescribeTopicPartitions (key 75): topics and their partitions, a page at a time. KIP-966 (eligible leader replicas).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// No `topics` asks for all of them. `cursor` says where to go on; absent, at the beginning.
    DescribeTopicPartitionsRequest, versions 0..=0, flexible from 0 {
        topics: Vec<TopicRequest>,
        response_partition_limit: i32 = 2000,
        cursor: Option<Cursor>,
    }

    /// One topic.
    TopicRequest {
        name: Str,
    }

    /// A place among topics in order of their names, and partitions in order of their numbers.
    Cursor {
        topic_name: Str,
        partition_index: i32,
    }
}

message! {
    /// Topics in order of their names. `next_cursor` is absent when there is nothing more.
    DescribeTopicPartitionsResponse, versions 0..=0, flexible from 0 {
        throttle_time_ms: i32,
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        next_cursor: Option<Cursor>,
    }

    /// One topic. `topic_authorized_operations` is `i32::MIN` unless it is known.
    DescribeTopicPartitionsResponseTopic {
        error_code: i16,
        name: Option<Str>,
        topic_id: TopicId,
        is_internal: bool,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        topic_authorized_operations: i32 = i32::MIN,
    }

    /// One partition. `leader_id` is -1 while it has none.
    DescribeTopicPartitionsResponsePartition {
        error_code: i16,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>,
        last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
