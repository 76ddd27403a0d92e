//! Consumer groups, of the classic protocol and of that of KIP-848, and the offsets that groups commit. One [`Coordinator`] per partition of `__consumer_offsets`.
//!
//! The behaviour is that of Apache Kafka 4.3: what a client is answered, when a group rebalances, and the bytes of every record. Always true: nobody is
//! told what is not durable; each command is answered exactly once; whatever a client can make grow has a bound (`base/limits`) and an answer when it is
//! reached. Everything is a function of records, commands, topics and time. Knows nothing of logs, cores, sockets, or Kafka's error codes.

mod admin; // describe, list and delete groups
mod census; // how many groups, members and offsets there are
mod command; // what can be asked
mod commit; // offsets: commit, fetch, delete
mod consumer; // groups of the consumer protocol: members, epochs, and who is to have which partitions
mod error; // why something is refused
mod expiry; // offsets whose time is over, topics that are gone
mod group; // one classic group: members, generation, state, and the rules of joining and leaving
mod handle; // commands and time in, effects out
mod line; // answers wait for the appends before them
mod load; // the records of a partition, from the first to the last
mod member; // one member
mod offsets; // committed and latest
mod options; // what an operator may choose
mod partition; // which partition a group belongs to
pub mod records; // the bytes in __consumer_offsets
mod reply; // what is answered
mod subscription; // the topics in a consumer's metadata
#[cfg(test)]
mod tests;
mod timers; // what is waited for
mod topics; // the topics that there are

pub use census::{Census, CommittedPlace, STATES};
pub use command::{
    Command, CommitPartition, CommitTopic, ConsumerHeartbeat, FetchTopic, Heartbeat, JoinGroup, LeaveGroup, ListGroups,
    MemberIdentity, Now, OffsetCommit, OffsetDelete, OffsetFetch, Protocol, Resolved, SyncGroup, Token,
    TopicPartitions,
};
pub use consumer::TopicRegex;
pub use error::GroupError;
pub use handle::Coordinator;
pub use line::{Append, AppendId, Effects};
pub use load::{Loading, Replayed};
pub use options::{Assignor, Options};
pub use partition::partition_for;
pub use records::{CoordinatorRecord, RecordFault};
pub use reply::{
    Answer, CommittedTopic, ConsumerAssigned, DeletedGroup, DeletedTopic, DescribedConsumer, DescribedConsumerGroup,
    DescribedGroup, DescribedMember, FetchedPartition, FetchedTopic, JoinRefused, JoinedGroup, JoinedMember,
    LeftMember, ListedGroup, Reply, SyncedGroup,
};
pub use topics::Topics;
