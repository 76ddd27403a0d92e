//! What a coordinator can be asked, in words of its own: wire messages are translated by the room that answers clients.

use bytes::Bytes;

use super::error::GroupError;
use super::reply::{JoinRefused, Reply};
use crate::base::{LeaderEpoch, Mono, Offset, PartitionIndex, Timestamp, TopicId};
use crate::protocol::Str;

/// Names one waiting request. Given by the caller; comes back with the reply, exactly once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// The time on both clocks: timeouts go by the one that never jumps, records carry the one that people read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For timeouts.
    pub mono: Mono,
    /// For records.
    pub wall: Timestamp,
}

/// A request of a client.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// A member joins, or joins again.
    JoinGroup(JoinGroup),
    /// A member asks for its assignment; the leader brings all of them.
    SyncGroup(SyncGroup),
    /// A member is alive.
    Heartbeat(Heartbeat),
    /// Members leave.
    LeaveGroup(LeaveGroup),
    /// Offsets are committed.
    OffsetCommit(OffsetCommit),
    /// Committed offsets are asked for.
    OffsetFetch(OffsetFetch),
    /// Committed offsets are deleted (KIP-496).
    OffsetDelete(OffsetDelete),
    /// Groups are described.
    DescribeGroups {
        /// Which. The empty name is one, too.
        groups: Vec<Str>,
    },
    /// Groups are listed.
    ListGroups(ListGroups),
    /// Groups are deleted with all their offsets (KIP-229).
    DeleteGroups {
        /// Which.
        groups: Vec<Str>,
    },
    /// A member of a consumer group joins, is alive, says what it has, or leaves (KIP-848).
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    /// Consumer groups are described.
    DescribeConsumerGroups {
        /// Which.
        groups: Vec<Str>,
    },
}

/// JoinGroup (key 11).
#[derive(Clone, PartialEq, Debug)]
pub struct JoinGroup {
    /// The group.
    pub group: Str,
    /// Empty for a member without an id.
    pub member_id: Str,
    /// Of a static member (KIP-345).
    pub group_instance_id: Option<Str>,
    /// From the request's header. Begins the id of a dynamic member.
    pub client_id: Str,
    /// Where the client is, as Kafka shows it: `/127.0.0.1`.
    pub client_host: Str,
    /// A member that is silent for longer is removed.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for the member. Version 0 has none; the session timeout counts then.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect` and so on.
    pub protocol_type: Str,
    /// What the member can do, in the order of its preference.
    pub protocols: Vec<Protocol>,
    /// From version 4 on a dynamic member must come back with the id that it was given (KIP-394).
    pub require_known_member_id: bool,
    /// From version 9 on a leader can be told not to assign anything (KIP-814).
    pub can_skip_assignment: bool,
    /// 16 bytes of chance for the member's id, should it need one.
    pub member_uuid: [u8; 16],
}

/// A protocol that a member offers, with what the member says under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    /// `range` and so on.
    pub name: Str,
    /// Understood by the members only, except for the topics of consumers.
    pub metadata: Bytes,
}

/// SyncGroup (key 14).
#[derive(Clone, PartialEq, Debug)]
pub struct SyncGroup {
    /// The group.
    pub group: Str,
    /// The member.
    pub member_id: Str,
    /// Of a static member.
    pub group_instance_id: Option<Str>,
    /// The generation that the member joined.
    pub generation_id: i32,
    /// What the member takes the group's protocol type for. Absent below version 5 (KIP-559).
    pub protocol_type: Option<Str>,
    /// What the member takes the chosen protocol for. Absent below version 5.
    pub protocol_name: Option<Str>,
    /// From the leader: member id and assignment.
    pub assignments: Vec<(Str, Bytes)>,
}

/// Heartbeat (key 12).
#[derive(Clone, PartialEq, Debug)]
pub struct Heartbeat {
    /// The group.
    pub group: Str,
    /// The member.
    pub member_id: Str,
    /// Of a static member.
    pub group_instance_id: Option<Str>,
    /// The generation that the member is in.
    pub generation_id: i32,
}

/// LeaveGroup (key 13). Below version 3 there is one member.
#[derive(Clone, PartialEq, Debug)]
pub struct LeaveGroup {
    /// The group.
    pub group: Str,
    /// Who leaves.
    pub members: Vec<MemberIdentity>,
}

/// Who is meant: by id, or by instance id with an empty id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberIdentity {
    /// May be empty.
    pub member_id: Str,
    /// Of a static member.
    pub group_instance_id: Option<Str>,
}

/// ConsumerGroupHeartbeat (key 68, KIP-848). What is absent did not change since the member's last heartbeat.
#[derive(Clone, PartialEq, Debug)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: Str,
    /// Made by the client. Empty in version 0 for a member without an id.
    pub member_id: Str,
    /// The member's epoch; 0 to join, -1 to leave, -2 for a static member that means to come back.
    pub member_epoch: i32,
    /// Of a static member (KIP-345).
    pub group_instance_id: Option<Str>,
    /// Where the consumer is.
    pub rack_id: Option<Str>,
    /// How long the member may take to give partitions up; -1 for no change.
    pub rebalance_timeout_ms: i32,
    /// Names of the topics that the member subscribes to.
    pub subscribed_topics: Option<Vec<Str>>,
    /// An expression for topics that the member subscribes to (version 1). Empty for none any more.
    pub subscribed_regex: Option<Str>,
    /// The assignor that the member prefers.
    pub server_assignor: Option<Str>,
    /// The partitions that the member has.
    pub owned: Option<Vec<TopicPartitions>>,
    /// From the request's header.
    pub client_id: Str,
    /// Where the client is, as Kafka shows it: `/127.0.0.1`.
    pub client_host: Str,
    /// 16 bytes of chance for the member's id, should it need one.
    pub member_uuid: [u8; 16],
    /// What the owner found for [`Coordinator::unresolved`](super::Coordinator::unresolved), and told [`refreshed`](super::Coordinator::refreshed); empty when the
    /// command comes.
    pub resolved: Vec<Resolved>,
}

/// What an expression for topics stands for.
#[derive(Clone, PartialEq, Debug)]
pub struct Resolved {
    /// The expression.
    pub regex: Str,
    /// The version of the topics that it was held against.
    pub version: u64,
    /// The topics that fit, in order. Errors: it is no expression, or it takes too long.
    pub topics: Result<Vec<Str>, GroupError>,
}

/// Partitions of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicPartitions {
    /// The topic.
    pub topic_id: TopicId,
    /// Which of its partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// OffsetCommit (key 8). Topics were found and allowed before.
#[derive(Clone, PartialEq, Debug)]
pub struct OffsetCommit {
    /// The group. May be empty.
    pub group: Str,
    /// Empty for a client that manages its partitions itself.
    pub member_id: Str,
    /// Of a static member.
    pub group_instance_id: Option<Str>,
    /// The member's generation, or its epoch in a consumer group; -1 without a member.
    pub generation_id: i32,
    /// The client can be told that its epoch is stale (from version 9 on).
    pub knows_epochs: bool,
    /// How long the offsets are to be kept (versions 2 to 4); -1 for the broker's default.
    pub retention_time_ms: i64,
    /// What is committed.
    pub topics: Vec<CommitTopic>,
}

/// A topic of [`OffsetCommit`].
#[derive(Clone, PartialEq, Debug)]
pub struct CommitTopic {
    /// Its name.
    pub name: Str,
    /// Its id, or zero where the client does not speak of ids.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// A partition of [`CommitTopic`].
#[derive(Clone, PartialEq, Debug)]
pub struct CommitPartition {
    /// Which.
    pub partition: PartitionIndex,
    /// The next offset to read. Neither negative nor far offsets are refused.
    pub offset: Offset,
    /// Epoch of the last record that was read, or none.
    pub leader_epoch: LeaderEpoch,
    /// Whatever the client wants to keep beside it.
    pub metadata: Str,
}

/// OffsetFetch (key 9), for one group.
#[derive(Clone, PartialEq, Debug)]
pub struct OffsetFetch {
    /// The group. May be empty.
    pub group: Str,
    /// The member that asks, from version 9 on, if it says so.
    pub member_id: Option<Str>,
    /// Its epoch; -1 where it gives none.
    pub member_epoch: i32,
    /// Absent for all topics.
    pub topics: Option<Vec<FetchTopic>>,
    /// The client would rather wait than read an offset that is about to be replaced (KIP-447).
    pub require_stable: bool,
}

/// A topic of [`OffsetFetch`].
#[derive(Clone, PartialEq, Debug)]
pub struct FetchTopic {
    /// Its name.
    pub name: Str,
    /// Its id, or zero. An offset of a topic with the same name and another id is not shown.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// OffsetDelete (key 47).
#[derive(Clone, PartialEq, Debug)]
pub struct OffsetDelete {
    /// The group.
    pub group: Str,
    /// Topics and their partitions.
    pub topics: Vec<(Str, Vec<PartitionIndex>)>,
}

/// ListGroups (key 16). An empty filter lets everything through.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ListGroups {
    /// Names of states, in any case (KIP-518).
    pub states: Vec<Str>,
    /// Names of types, in any case (KIP-848): `classic` or `consumer`.
    pub types: Vec<Str>,
}

impl Command {
    /// The reply that refuses the whole command: while loading, or because the coordinator is elsewhere.
    pub fn refused(&self, error: GroupError) -> Reply {
        match self {
            Command::JoinGroup(join) => Reply::JoinGroup(Err(JoinRefused { error, member_id: join.member_id.clone() })),
            Command::SyncGroup(_) => Reply::SyncGroup(Err(error)),
            Command::Heartbeat(_) => Reply::Heartbeat(Err(error)),
            Command::LeaveGroup(_) => Reply::LeaveGroup(Err(error)),
            Command::OffsetCommit(_) => Reply::OffsetCommit(Err(error)),
            Command::OffsetFetch(_) => Reply::OffsetFetch(Err(error)),
            Command::OffsetDelete(_) => Reply::OffsetDelete(Err(error)),
            Command::DescribeGroups { .. } => Reply::DescribeGroups(Err(error)),
            Command::ListGroups(_) => Reply::ListGroups(Err(error)),
            Command::DeleteGroups { .. } => Reply::DeleteGroups(Err(error)),
            Command::ConsumerHeartbeat(_) => Reply::ConsumerHeartbeat(Err(error)),
            Command::DescribeConsumerGroups { .. } => Reply::DescribeConsumerGroups(Err(error)),
        }
    }
}
