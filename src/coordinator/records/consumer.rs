//! The records of groups of the consumer protocol (KIP-848): the group's epoch, what each member says of itself, what it is to have, and what it has.
//!
//! ```text
//! kind 3   group                 epoch, and a hash of the topics that it subscribes to
//! kind 4   group                 topics as brokers before 4.1 kept them; read, and written as a tombstone only
//! kind 5   group, member         what the member says of itself
//! kind 6   group                 the epoch of the assignment that is aimed at
//! kind 7   group, member         what the member is to have in the end
//! kind 8   group, member         what the member has, its epoch and state
//! kind 16  group, expression     topics that an expression stood for; read and passed over, for expressions are resolved anew after a start
//! ```

use bytes::Bytes;

use super::{CoordinatorRecord, prefixed};
use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// Which group.
    ConsumerGroupKey, versions 0..=0, flexible from never {
        group: Str,
    }
}

message! {
    /// Which member of which group.
    ConsumerMemberKey, versions 0..=0, flexible from never {
        group: Str,
        member_id: Str,
    }
}

message! {
    /// Which expression of which group.
    RegularExpressionKey, versions 0..=0, flexible from never {
        group: Str,
        regular_expression: Str,
    }
}

message! {
    /// A group's epoch. The hash is 0 for a group whose topics do not exist.
    ConsumerGroupMetadataValue, versions 0..=0, flexible from 0 {
        epoch: i32,
        metadata_hash: i64 [.., tag 0],
    }
}

message! {
    /// What a member says of itself. Kafka always writes what a member that came by JoinGroup says besides, null for one that did not; there are no others
    /// here, and the record of one cannot be read.
    ConsumerMemberMetadataValue, versions 0..=0, flexible from 0 {
        instance_id: Option<Str>,
        rack_id: Option<Str>,
        client_id: Str,
        client_host: Str,
        subscribed_topic_names: Vec<Str>,
        subscribed_topic_regex: Option<Str>,
        rebalance_timeout_ms: i32 = -1,
        server_assignor: Option<Str>,
        classic_member_metadata: Option<Bytes> [.., tag 0] = Some(Bytes::new()),
    }
}

message! {
    /// The epoch of the assignment that is aimed at, and when it was made; 0 is not known.
    TargetAssignmentMetadataValue, versions 0..=0, flexible from 0 {
        assignment_epoch: i32,
        assignment_timestamp: i64 [.., tag 0],
    }
}

message! {
    /// What a member is to have in the end.
    TargetAssignmentMemberValue, versions 0..=0, flexible from 0 {
        topic_partitions: Vec<TargetPartitions>,
    }

    /// Partitions of a topic.
    TargetPartitions {
        topic_id: TopicId,
        partitions: Vec<i32>,
    }
}

message! {
    /// What a member has. The state is 0 for stable, 1 for one that must give partitions up, 2 for one that waits for partitions.
    CurrentAssignmentValue, versions 0..=0, flexible from 0 {
        member_epoch: i32,
        previous_member_epoch: i32,
        state: i8,
        assigned_partitions: Vec<CurrentPartitions>,
        partitions_pending_revocation: Vec<CurrentPartitions>,
    }

    /// Partitions of a topic, and the epoch since when the member has each (KIP-1251).
    CurrentPartitions {
        topic_id: TopicId,
        partitions: Vec<i32>,
        assignment_epochs: Option<Vec<i32>> [.., tag 0],
    }
}

message! {
    /// What an expression stood for.
    RegularExpressionValue, versions 0..=0, flexible from 0 {
        topics: Vec<Str>,
        version: i64,
        timestamp: i64,
    }
}

impl CoordinatorRecord {
    /// A group's epoch.
    pub fn consumer_group(group: &Str, value: &ConsumerGroupMetadataValue) -> Self {
        Self { key: group_key(CONSUMER_GROUP_KIND, group), value: Some(prefixed(0, value, 0)) }
    }

    /// A group that is gone.
    pub fn consumer_group_tombstone(group: &Str) -> Self {
        Self { key: group_key(CONSUMER_GROUP_KIND, group), value: None }
    }

    /// Topics as brokers before 4.1 kept them are gone.
    pub fn partition_metadata_tombstone(group: &Str) -> Self {
        Self { key: group_key(PARTITION_METADATA_KIND, group), value: None }
    }

    /// What a member says of itself.
    pub fn consumer_member(group: &Str, member_id: &Str, value: &ConsumerMemberMetadataValue) -> Self {
        Self { key: member_key(CONSUMER_MEMBER_KIND, group, member_id), value: Some(prefixed(0, value, 0)) }
    }

    /// A member that is gone.
    pub fn consumer_member_tombstone(group: &Str, member_id: &Str) -> Self {
        Self { key: member_key(CONSUMER_MEMBER_KIND, group, member_id), value: None }
    }

    /// The epoch of the assignment that is aimed at.
    pub fn target_epoch(group: &Str, value: &TargetAssignmentMetadataValue) -> Self {
        Self { key: group_key(TARGET_EPOCH_KIND, group), value: Some(prefixed(0, value, 0)) }
    }

    /// Nothing is aimed at any more.
    pub fn target_epoch_tombstone(group: &Str) -> Self {
        Self { key: group_key(TARGET_EPOCH_KIND, group), value: None }
    }

    /// What a member is to have in the end.
    pub fn target(group: &Str, member_id: &Str, value: &TargetAssignmentMemberValue) -> Self {
        Self { key: member_key(TARGET_KIND, group, member_id), value: Some(prefixed(0, value, 0)) }
    }

    /// A member that is to have nothing, for it is gone.
    pub fn target_tombstone(group: &Str, member_id: &Str) -> Self {
        Self { key: member_key(TARGET_KIND, group, member_id), value: None }
    }

    /// What a member has.
    pub fn current(group: &Str, member_id: &Str, value: &CurrentAssignmentValue) -> Self {
        Self { key: member_key(CURRENT_KIND, group, member_id), value: Some(prefixed(0, value, 0)) }
    }

    /// A member that has nothing, for it is gone.
    pub fn current_tombstone(group: &Str, member_id: &Str) -> Self {
        Self { key: member_key(CURRENT_KIND, group, member_id), value: None }
    }
}

fn group_key(kind: i16, group: &Str) -> Bytes {
    prefixed(kind, &ConsumerGroupKey { group: group.clone() }, 0)
}

fn member_key(kind: i16, group: &Str, member_id: &Str) -> Bytes {
    prefixed(kind, &ConsumerMemberKey { group: group.clone(), member_id: member_id.clone() }, 0)
}

pub(super) const CONSUMER_GROUP_KIND: i16 = 3;
pub(super) const PARTITION_METADATA_KIND: i16 = 4;
pub(super) const CONSUMER_MEMBER_KIND: i16 = 5;
pub(super) const TARGET_EPOCH_KIND: i16 = 6;
pub(super) const TARGET_KIND: i16 = 7;
pub(super) const CURRENT_KIND: i16 = 8;
pub(super) const REGULAR_EXPRESSION_KIND: i16 = 16;
