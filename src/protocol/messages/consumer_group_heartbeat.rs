//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, is alive, says what it has, or leaves. The answer says what it is to have.
//! KIP-848, KIP-1082 (members make their own ids).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// What is absent did not change since the last heartbeat. `member_epoch` is 0 to join, -1 to leave, and -2 for a
    /// static member that means to come back. `rebalance_timeout_ms` of -1 did not change either.
    ConsumerGroupHeartbeatRequest, versions 0..=1, flexible from 0 {
        group_id: Str,
        member_id: Str,
        member_epoch: i32,
        instance_id: Option<Str>,
        rack_id: Option<Str>,
        rebalance_timeout_ms: i32 = -1,
        subscribed_topic_names: Option<Vec<Str>>,
        subscribed_topic_regex: Option<Str> [1..],
        server_assignor: Option<Str>,
        topic_partitions: Option<Vec<TopicPartitions>>,
    }

    /// Partitions of a topic.
    TopicPartitions {
        topic_id: TopicId,
        partitions: Vec<i32>,
    }
}

message! {
    /// `assignment` is absent as long as it is the one that the member knows.
    ConsumerGroupHeartbeatResponse, versions 0..=1, flexible from 0 {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<Str>,
        member_id: Option<Str>,
        member_epoch: i32,
        heartbeat_interval_ms: i32,
        assignment: Option<Assignment>,
    }

    /// What the member may use at once.
    Assignment {
        topic_partitions: Vec<TopicPartitions>,
    }
}
