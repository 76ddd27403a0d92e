//! Groups of the consumer protocol (KIP-848): the coordinator itself deals partitions out, and leads each member to its own by heartbeats.
//!
//! ```text
//! a member says something new, a topic changes   --> the group's epoch rises
//! the epoch is above that of the target          --> partitions are dealt anew: the target of every member
//! a member's heartbeat                           --> a step from what it has to its target (reconcile.rs)
//! ```
//!
//! Always true: no partition is assigned to two members, those that a member has not given up included; epochs never fall. What is said here is decided
//! at once, and answers stand in line behind the records of it (`line.rs`).

mod assign; // who is to have which partitions
mod describe; // what is shown of a group
mod handle; // commands for these groups
mod heartbeat; // what a heartbeat does
mod leave; // members that leave, are silent, or are removed
mod load; // a group out of its records
mod member; // one member
mod reconcile; // from what a member has to what it is to have
mod subscribed; // the topics of all members together
mod topic_regex; // an expression for topics

use std::collections::BTreeMap;

use crate::base::{Map, PartitionIndex, TopicId};
use crate::coordinator::line::Outbox;
use crate::coordinator::options::{Assignor, Options};
use crate::coordinator::records::{ConsumerGroupMetadataValue, CoordinatorRecord, TargetAssignmentMetadataValue};
use crate::coordinator::timers::Timer;
use crate::protocol::Str;
pub use describe::CONSUMER_TYPE;
pub use load::Parts;
#[cfg(test)]
use member::MemberState;
use member::{Current, Member};
use subscribed::Subscribed;
pub use topic_regex::TopicRegex;

/// What a group is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerState {
    /// It has no members, perhaps offsets.
    Empty,
    /// Partitions are to be dealt anew.
    Assigning,
    /// Some member does not have what it is to have.
    Reconciling,
    /// Every member has what it is to have.
    Stable,
}

impl ConsumerState {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            ConsumerState::Empty => "Empty",
            ConsumerState::Assigning => "Assigning",
            ConsumerState::Reconciling => "Reconciling",
            ConsumerState::Stable => "Stable",
        }
    }
}

/// A group of the consumer protocol.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub id: Str,
    /// Rises whenever partitions may have to be dealt anew.
    pub epoch: i32,
    /// Of the topics that it subscribed to when the epoch rose last.
    metadata_hash: i64,
    /// The epoch of what members are to have.
    target_epoch: i32,
    /// When partitions were dealt last, in milliseconds; 0 for never.
    dealt_at: i64,
    members: BTreeMap<Str, Member>,
    /// Member ids by instance id.
    static_members: Map<Str, Str>,
    taken: Taken,
    subscribed: Subscribed,
    /// The log has topics of this group as brokers before 4.1 kept them.
    has_partition_metadata: bool,
    /// Memory of members, as it is charged.
    member_bytes: usize,
}

/// The partitions that members have, those that they are to give up included.
#[derive(Clone, PartialEq, Debug, Default)]
struct Taken {
    /// How many members have each. More than one only if the records said so.
    topics: Map<TopicId, Map<PartitionIndex, u32>>,
    partitions: usize,
}

impl Taken {
    fn has(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.topics.get(&topic).is_some_and(|partitions| partitions.contains_key(&partition))
    }

    fn add(&mut self, current: &Current) {
        for (topic, partition) in current.partitions() {
            *self.topics.entry(topic).or_default().entry(partition).or_default() += 1;
            self.partitions += 1;
        }
    }

    fn remove(&mut self, current: &Current) {
        for (topic, partition) in current.partitions() {
            let partitions = self.topics.get_mut(&topic).expect("added when the member got it");
            let count = partitions.get_mut(&partition).expect("added when the member got it");
            *count -= 1;
            if *count == 0 {
                partitions.remove(&partition);
            }
            if partitions.is_empty() {
                self.topics.remove(&topic);
            }
            self.partitions -= 1;
        }
    }
}

impl ConsumerGroup {
    /// A group without members.
    pub fn new(id: Str) -> Self {
        Self {
            id,
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            target_epoch: FIRST_EPOCH,
            dealt_at: 0,
            members: BTreeMap::new(),
            static_members: Map::default(),
            taken: Taken::default(),
            subscribed: Subscribed::default(),
            has_partition_metadata: false,
            member_bytes: 0,
        }
    }

    /// What the group is doing.
    pub fn state(&self) -> ConsumerState {
        if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerState::Assigning
        } else if self.members.values().all(|member| member.current.is_reconciled_to(self.target_epoch)) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// There are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member subscribes to the topic, or might.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.has(topic)
    }

    /// Memory, as it is charged.
    pub fn bytes(&self) -> usize {
        let known = self.subscribed.known().map_or(0, |known| known.partitions);
        let partitions = known.max(self.taken.partitions);
        GROUP_BYTES + 2 * self.id.len() + self.member_bytes + self.subscribed.bytes() + partitions * PARTITION_BYTES
    }

    /// Tombstones of all records of the group. The group's own comes last: if the batch is cut and the broker crashes between, the group is there to be
    /// deleted again.
    pub fn bury(&self, outbox: &mut Outbox) {
        for id in self.members.keys() {
            outbox.record(CoordinatorRecord::current_tombstone(&self.id, id));
        }
        for id in self.members.keys() {
            outbox.record(CoordinatorRecord::target_tombstone(&self.id, id));
        }
        outbox.record(CoordinatorRecord::target_epoch_tombstone(&self.id));
        for id in self.members.keys() {
            outbox.record(CoordinatorRecord::consumer_member_tombstone(&self.id, id));
        }
        outbox.record(CoordinatorRecord::partition_metadata_tombstone(&self.id));
        outbox.record(CoordinatorRecord::consumer_group_tombstone(&self.id));
    }

    /// The assignor that most members prefer. Among equals that which the operator names first; without any, the first of all.
    fn assignor(&self, options: &Options) -> Assignor {
        let mut best = (options.default_assignor(), 0);
        for assignor in &options.group_consumer_assignors {
            let named = self.members.values().filter(|member| member.said.assignor.as_deref() == Some(assignor.name()));
            let votes = named.count();
            if votes > best.1 {
                best = (*assignor, votes);
            }
        }
        best.0
    }

    fn epoch_record(&self) -> CoordinatorRecord {
        let value = ConsumerGroupMetadataValue { epoch: self.epoch, metadata_hash: self.metadata_hash };
        CoordinatorRecord::consumer_group(&self.id, &value)
    }

    fn target_epoch_record(&self) -> CoordinatorRecord {
        let value =
            TargetAssignmentMetadataValue { assignment_epoch: self.target_epoch, assignment_timestamp: self.dealt_at };
        CoordinatorRecord::target_epoch(&self.id, &value)
    }

    /// Puts a member in, or in place of what it was.
    fn insert(&mut self, id: &Str, member: Member) {
        self.take_out(id);
        self.subscribed.exchange(None, Some(&member.said));
        self.put_in(id, member);
    }

    /// Takes a member out.
    fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.take_out(id)?;
        self.subscribed.exchange(Some(&member.said), None);
        Some(member)
    }

    /// As [`ConsumerGroup::insert`], by a caller that counts what the member subscribes to.
    fn put_in(&mut self, id: &Str, member: Member) {
        if let Some(instance_id) = &member.said.instance_id {
            self.static_members.insert(instance_id.clone(), id.clone());
        }
        self.taken.add(&member.current);
        self.member_bytes += member_bytes(id, &member);
        self.members.insert(id.clone(), member);
    }

    /// As [`ConsumerGroup::remove`], by a caller that counts what the member subscribed to.
    fn take_out(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.member_bytes -= member_bytes(id, &member);
        self.taken.remove(&member.current);
        if let Some(instance_id) = &member.said.instance_id
            && self.static_members.get(instance_id).is_some_and(|holder| **holder == *id)
        {
            self.static_members.remove(instance_id);
        }
        Some(member)
    }

    fn session_timer(&self, member: &Str) -> Timer {
        Timer::Session { group: self.id.clone(), member: member.clone() }
    }

    fn rebalance_timer(&self, member: &Str) -> Timer {
        Timer::Revocation { group: self.id.clone(), member: member.clone() }
    }

    /// Somebody waits for this timer.
    #[cfg(test)]
    pub fn needs(&self, timer: &Timer) -> bool {
        match timer {
            Timer::Session { member, .. } => self.members.contains_key(member),
            Timer::Revocation { member, .. } => {
                self.members.get(member).is_some_and(|member| member.current.state == MemberState::Unrevoked)
            }
            _ => false,
        }
    }

    /// The records say the same of both groups.
    #[cfg(test)]
    pub fn assert_same(&self, other: &Self) {
        let numbers = |group: &Self| (group.epoch, group.metadata_hash, group.target_epoch, group.dealt_at);
        assert_eq!(numbers(self), numbers(other), "{}", self.id);
        assert_eq!((&self.members, &self.static_members), (&other.members, &other.static_members));
        assert_eq!(self.taken, other.taken);
    }

    /// Every count that is kept equals what it counts, and nothing is given to two.
    #[cfg(test)]
    pub fn check(&self) {
        self.subscribed.check(self.members.values().map(|member| &member.said));
        let bytes: usize = self.members.iter().map(|(id, member)| member_bytes(id, member)).sum();
        assert_eq!(self.member_bytes, bytes);
        let mut taken = Taken::default();
        self.members.values().for_each(|member| taken.add(&member.current));
        assert_eq!(self.taken, taken);
        for (topic, partitions) in &taken.topics {
            assert!(partitions.values().all(|count| *count == 1), "{topic:?} {partitions:?} are given to two");
        }
        let by_instance = self.members.iter().filter_map(|(id, m)| Some((m.said.instance_id.clone()?, id.clone())));
        assert_eq!(self.static_members, by_instance.collect::<Map<_, _>>());
        assert!(self.epoch >= self.target_epoch);
        for (id, member) in &self.members {
            assert!(member.current.epoch <= self.target_epoch, "{id}");
            assert_eq!(member.current.state == MemberState::Unrevoked && member.current.epoch >= 0, {
                !member.current.pending.is_empty()
            });
        }
        // What expressions were found to stand for counts from the next heartbeat on.
        if self.epoch == self.target_epoch && !self.subscribed.is_stale() {
            self.check_targets();
        }
    }

    /// Every partition is dealt to one member that subscribes to it, if there is any.
    #[cfg(test)]
    fn check_targets(&self) {
        let Some(known) = self.subscribed.known() else { return };
        let mut dealt: Map<(TopicId, PartitionIndex), Str> = Map::default();
        for (id, member) in &self.members {
            let of = self.subscribed.ids_of(&member.said);
            for (topic, partitions) in member.target.iter().flatten() {
                assert!(of.contains(topic), "{id} does not subscribe to {topic:?}");
                for partition in partitions {
                    let before = dealt.insert((*topic, *partition), id.clone());
                    assert_eq!(before, None, "{topic:?} {partition} is dealt twice");
                }
            }
        }
        assert_eq!(dealt.len(), known.partitions, "not all are dealt");
    }
}

/// What a member is charged: what it says, its id, its timers and its places in maps.
fn member_bytes(id: &str, member: &Member) -> usize {
    member.said.bytes() + place_bytes(id)
}

/// What a member is charged besides what it says.
fn place_bytes(id: &str) -> usize {
    MEMBER_BYTES + 6 * id.len()
}

/// The epoch of a group that was just made, and of the nothing that it aims at. It has no records.
const FIRST_EPOCH: i32 = 1;
/// What a group is charged besides its name.
const GROUP_BYTES: usize = 1024;
/// What a member is charged besides its id and what it says.
const MEMBER_BYTES: usize = 1024;
/// What a partition is charged: with the member that is to have it, with the one that has it, and with who has what.
const PARTITION_BYTES: usize = 64;
