//! ConsumerGroupDescribe (key 69): groups of the consumer protocol, their epochs and their members.
//! KIP-848, KIP-1099 (the protocol that a member speaks).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// Which groups.
    ConsumerGroupDescribeRequest, versions 0..=1, flexible from 0 {
        group_ids: Vec<Str>,
        include_authorized_operations: bool,
    }
}

message! {
    /// Answers for every group.
    ConsumerGroupDescribeResponse, versions 0..=1, flexible from 0 {
        throttle_time_ms: i32,
        groups: Vec<DescribedGroup>,
    }

    /// One group. `authorized_operations` is `i32::MIN` unless it was asked for.
    DescribedGroup {
        error_code: i16,
        error_message: Option<Str>,
        group_id: Str,
        group_state: Str,
        group_epoch: i32,
        assignment_epoch: i32,
        assignor_name: Str,
        members: Vec<Member>,
        authorized_operations: i32 = i32::MIN,
    }

    /// One member. `member_type` is 0 for one that joined by JoinGroup, 1 for one that came by ConsumerGroupHeartbeat.
    Member {
        member_id: Str,
        instance_id: Option<Str>,
        rack_id: Option<Str>,
        member_epoch: i32,
        client_id: Str,
        client_host: Str,
        subscribed_topic_names: Vec<Str>,
        subscribed_topic_regex: Option<Str>,
        assignment: Assignment,
        target_assignment: Assignment,
        member_type: i8 [1..] = -1,
    }

    /// What a member has, or is to have in the end.
    Assignment {
        topic_partitions: Vec<TopicPartitions>,
    }

    /// Partitions of a topic.
    TopicPartitions {
        topic_id: TopicId,
        topic_name: Str,
        partitions: Vec<i32>,
    }
}
