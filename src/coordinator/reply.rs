//! What a coordinator answers, with all that any version of the response needs.

use bytes::Bytes;

use super::command::{MemberIdentity, Token, TopicPartitions};
use super::error::GroupError;
use crate::base::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::protocol::Str;

/// An answer and whom it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The token that came with the command.
    pub token: Token,
    /// The answer.
    pub reply: Reply,
}

/// The answer to a command of the same name. The outer error refuses the whole.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// To JoinGroup.
    JoinGroup(Result<JoinedGroup, JoinRefused>),
    /// To SyncGroup.
    SyncGroup(Result<SyncedGroup, GroupError>),
    /// To Heartbeat.
    Heartbeat(Result<(), GroupError>),
    /// To LeaveGroup: each member in the order of the request. Below version 3 the one member's error is that of the response.
    LeaveGroup(Result<Vec<LeftMember>, GroupError>),
    /// To OffsetCommit: topics and partitions in the order of the request.
    OffsetCommit(Result<Vec<CommittedTopic>, GroupError>),
    /// To OffsetFetch: topics and partitions in the order of the request, a committed offset once; or all there are.
    OffsetFetch(Result<Vec<FetchedTopic>, GroupError>),
    /// To OffsetDelete: topics and partitions in the order of the request.
    OffsetDelete(Result<Vec<DeletedTopic>, GroupError>),
    /// To DescribeGroups: each group once, in the order of the request.
    DescribeGroups(Result<Vec<DescribedGroup>, GroupError>),
    /// To ListGroups.
    ListGroups(Result<Vec<ListedGroup>, GroupError>),
    /// To DeleteGroups: each group once.
    DeleteGroups(Result<Vec<DeletedGroup>, GroupError>),
    /// To ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Result<ConsumerAssigned, GroupError>),
    /// To ConsumerGroupDescribe: each group once, in the order of the request.
    DescribeConsumerGroups(Result<Vec<DescribedConsumerGroup>, GroupError>),
}

impl Reply {
    /// The refusal to give in place of this reply.
    pub(super) fn refused(&self, error: GroupError) -> Reply {
        match self {
            Reply::JoinGroup(answer) => {
                let member_id = match answer {
                    Ok(joined) => joined.member_id.clone(),
                    Err(refused) => refused.member_id.clone(),
                };
                Reply::JoinGroup(Err(JoinRefused { error, member_id }))
            }
            Reply::SyncGroup(_) => Reply::SyncGroup(Err(error)),
            Reply::Heartbeat(_) => Reply::Heartbeat(Err(error)),
            Reply::LeaveGroup(_) => Reply::LeaveGroup(Err(error)),
            Reply::OffsetCommit(_) => Reply::OffsetCommit(Err(error)),
            Reply::OffsetFetch(_) => Reply::OffsetFetch(Err(error)),
            Reply::OffsetDelete(_) => Reply::OffsetDelete(Err(error)),
            Reply::DescribeGroups(_) => Reply::DescribeGroups(Err(error)),
            Reply::ListGroups(_) => Reply::ListGroups(Err(error)),
            Reply::DeleteGroups(_) => Reply::DeleteGroups(Err(error)),
            Reply::ConsumerHeartbeat(_) => Reply::ConsumerHeartbeat(Err(error)),
            Reply::DescribeConsumerGroups(_) => Reply::DescribeConsumerGroups(Err(error)),
        }
    }
}

/// A member of a generation.
#[derive(Clone, PartialEq, Debug)]
pub struct JoinedGroup {
    /// The generation.
    pub generation_id: i32,
    /// What kind of protocol the group has.
    pub protocol_type: Option<Str>,
    /// The protocol that was chosen.
    pub protocol_name: Option<Str>,
    /// The leader's member id.
    pub leader: Str,
    /// The leader is not to assign anything: the generation has an assignment (KIP-814).
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: Str,
    /// All members, for the leader; empty for others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Str,
    /// Of a static member.
    pub group_instance_id: Option<Str>,
    /// What it said under the chosen protocol.
    pub metadata: Bytes,
}

/// A member that could not join. The generation is -1, and other fields are empty.
#[derive(Clone, PartialEq, Debug)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// With [`GroupError::MemberIdRequired`] the id to come back with; else as Kafka gives it back, often empty.
    pub member_id: Str,
}

/// A member's part of the work.
#[derive(Clone, PartialEq, Debug)]
pub struct SyncedGroup {
    /// What kind of protocol the group has.
    pub protocol_type: Option<Str>,
    /// The protocol that was chosen.
    pub protocol_name: Option<Str>,
    /// Understood by the members only. May be empty.
    pub assignment: Bytes,
}

/// A member that was to leave.
#[derive(Clone, PartialEq, Debug)]
pub struct LeftMember {
    /// As in the request.
    pub member: MemberIdentity,
    /// Whether it left.
    pub result: Result<(), GroupError>,
}

/// A topic of an OffsetCommit.
#[derive(Clone, PartialEq, Debug)]
pub struct CommittedTopic {
    /// Its name.
    pub name: Str,
    /// Its id as in the request.
    pub topic_id: TopicId,
    /// Each partition.
    pub partitions: Vec<(PartitionIndex, Result<(), GroupError>)>,
}

/// A topic of an OffsetFetch.
#[derive(Clone, PartialEq, Debug)]
pub struct FetchedTopic {
    /// Its name.
    pub name: Str,
    /// Its id as in the request; zero where all topics were asked for.
    pub topic_id: TopicId,
    /// Each partition.
    pub partitions: Vec<FetchedPartition>,
}

/// A partition's committed offset.
#[derive(Clone, PartialEq, Debug)]
pub struct FetchedPartition {
    /// Which.
    pub partition: PartitionIndex,
    /// The offset; -1 if none is committed.
    pub offset: Offset,
    /// The epoch that was committed with it, or none.
    pub leader_epoch: LeaderEpoch,
    /// What the client kept beside it.
    pub metadata: Str,
}

/// A topic of an OffsetDelete.
#[derive(Clone, PartialEq, Debug)]
pub struct DeletedTopic {
    /// Its name.
    pub name: Str,
    /// Each partition. One that had no offset is no error.
    pub partitions: Vec<(PartitionIndex, Result<(), GroupError>)>,
}

/// A group as DescribeGroups shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct DescribedGroup {
    /// Its name.
    pub group: Str,
    /// [`GroupError::GroupIdNotFound`] is shown from version 6 on; below, the state `Dead` says it.
    pub error: Option<GroupError>,
    /// `Stable` and so on.
    pub state: &'static str,
    /// Empty for a group that never had members.
    pub protocol_type: Str,
    /// The protocol that was chosen; empty unless the group is stable.
    pub protocol: Str,
    /// The members.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: Str,
    /// Of a static member.
    pub group_instance_id: Option<Str>,
    /// From its request's header.
    pub client_id: Str,
    /// Where it is.
    pub client_host: Str,
    /// What it said under the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its part of the work.
    pub assignment: Bytes,
}

/// A group that was to be deleted.
#[derive(Clone, PartialEq, Debug)]
pub struct DeletedGroup {
    /// Its name.
    pub group: Str,
    /// Whether it is gone.
    pub result: Result<(), GroupError>,
}

/// A group as ListGroups shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedGroup {
    /// Its name.
    pub group: Str,
    /// Empty for a group that never had members.
    pub protocol_type: Str,
    /// `Stable` and so on.
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub group_type: &'static str,
}

/// What a member of a consumer group is told (KIP-848).
#[derive(Clone, PartialEq, Debug)]
pub struct ConsumerAssigned {
    /// The member's id; absent when it left.
    pub member_id: Option<Str>,
    /// Its epoch; -1 or -2 when it left.
    pub member_epoch: i32,
    /// When it is to be heard of again.
    pub heartbeat_interval_ms: i32,
    /// What it is to have; absent when it knows.
    pub assignment: Option<Vec<TopicPartitions>>,
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct DescribedConsumerGroup {
    /// Its name.
    pub group: Str,
    /// Why it is not shown: [`GroupError::GroupIdNotFound`], also for a group of another type.
    pub error: Option<GroupError>,
    /// `Empty`, `Assigning`, `Reconciling` or `Stable`.
    pub state: &'static str,
    /// The group's epoch.
    pub group_epoch: i32,
    /// The epoch of the assignment that it goes for.
    pub assignment_epoch: i32,
    /// Who assigns: `uniform` or `range`.
    pub assignor: Str,
    /// The members.
    pub members: Vec<DescribedConsumer>,
}

/// A member as ConsumerGroupDescribe shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct DescribedConsumer {
    /// Its id.
    pub member_id: Str,
    /// Of a static member.
    pub group_instance_id: Option<Str>,
    /// Where it is, as it says.
    pub rack_id: Option<Str>,
    /// Its epoch.
    pub member_epoch: i32,
    /// From its request's header.
    pub client_id: Str,
    /// Where it is, as the broker sees it.
    pub client_host: Str,
    /// Names of the topics that it subscribes to.
    pub subscribed_topics: Vec<Str>,
    /// Its expression for topics.
    pub subscribed_regex: Option<Str>,
    /// What it has: id, name and partitions.
    pub assignment: Vec<(TopicPartitions, Str)>,
    /// What it is to have in the end.
    pub target: Vec<(TopicPartitions, Str)>,
}
