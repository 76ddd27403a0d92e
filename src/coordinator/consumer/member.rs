//! One member of a group of the consumer protocol: what it says of itself, what it has, and what it is to have.

use std::collections::BTreeMap;

use crate::base::{PartitionIndex, TopicId};
use crate::coordinator::command::{ConsumerHeartbeat, TopicPartitions};
use crate::coordinator::records::{
    ConsumerMemberMetadataValue, CurrentAssignmentValue, CurrentPartitions, TargetAssignmentMemberValue,
    TargetPartitions,
};
use crate::protocol::Str;

/// Partitions by topic, in order. No topic is without partitions.
pub type Partitions = BTreeMap<TopicId, Vec<PartitionIndex>>;

/// Partitions by topic, in order, each with the epoch since when the member has it. No topic is without partitions.
pub type Held = BTreeMap<TopicId, Vec<(PartitionIndex, i32)>>;

/// One member.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Member {
    pub said: Said,
    pub current: Current,
    /// What it is to have in the end. `None` until it was dealt with once.
    pub target: Option<Partitions>,
}

/// What a member says of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Said {
    pub instance_id: Option<Str>,
    pub rack_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    /// Names of topics, in order, none twice.
    pub topics: Vec<Str>,
    /// An expression for topics; empty for none.
    pub regex: Str,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<Str>,
}

/// What a member has.
#[derive(Clone, PartialEq, Debug)]
pub struct Current {
    /// 0 before the first assignment; -2 for a static member that left and means to come back.
    pub epoch: i32,
    /// The epoch before. The member comes with it if the answer with the next one was lost.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Held,
    /// What it is told to give up, and still has.
    pub pending: Held,
}

/// How far a member is on its way to what it is to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemberState {
    /// It has all of it.
    #[default]
    Stable,
    /// It must give partitions up.
    Unrevoked,
    /// It waits for partitions that others have not given up.
    Unreleased,
}

impl Said {
    /// What the member says now, if that is not what it said before. What a heartbeat leaves out did not change.
    pub fn updated(&self, heartbeat: &ConsumerHeartbeat) -> Option<Said> {
        let mut said = self.clone();
        if let Some(id) = &heartbeat.group_instance_id {
            said.instance_id = Some(id.clone());
        }
        if let Some(rack) = &heartbeat.rack_id {
            said.rack_id = Some(rack.clone());
        }
        if heartbeat.rebalance_timeout_ms != -1 {
            said.rebalance_timeout_ms = heartbeat.rebalance_timeout_ms;
        }
        if let Some(assignor) = &heartbeat.server_assignor {
            said.assignor = Some(assignor.clone());
        }
        if let Some(topics) = &heartbeat.subscribed_topics {
            said.topics = in_order(topics.clone());
        }
        if let Some(regex) = &heartbeat.subscribed_regex {
            said.regex = regex.clone();
        }
        said.client_id = heartbeat.client_id.clone();
        said.client_host = heartbeat.client_host.clone();
        (said != *self).then_some(said)
    }

    /// What a member says that was not there before.
    pub fn first(heartbeat: &ConsumerHeartbeat) -> Said {
        let nothing = Said { rebalance_timeout_ms: -1, ..Said::default() };
        nothing.updated(heartbeat).unwrap_or(nothing)
    }

    /// The heartbeat says nothing that could be new.
    pub fn is_confirmed_by(&self, heartbeat: &ConsumerHeartbeat) -> bool {
        heartbeat.group_instance_id.as_ref().is_none_or(|id| self.instance_id.as_ref() == Some(id))
            && heartbeat.rack_id.is_none()
            && heartbeat.rebalance_timeout_ms == -1
            && heartbeat.server_assignor.is_none()
            && heartbeat.subscribed_topics.is_none()
            && heartbeat.subscribed_regex.is_none()
            && heartbeat.client_id == self.client_id
            && heartbeat.client_host == self.client_host
    }

    /// Memory, as it is charged.
    pub fn bytes(&self) -> usize {
        let optional = [&self.instance_id, &self.rack_id, &self.assignor];
        let optional: usize = optional.into_iter().flatten().map(|text| text.len()).sum();
        let topics: usize = self.topics.iter().map(|topic| NAME_BYTES + topic.len()).sum();
        optional + topics + self.client_id.len() + self.client_host.len() + 2 * self.regex.len()
    }

    /// As a record holds it.
    pub fn to_record(&self) -> ConsumerMemberMetadataValue {
        ConsumerMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.topics.clone(),
            subscribed_topic_regex: Some(self.regex.clone()),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.assignor.clone(),
            classic_member_metadata: None,
        }
    }

    /// Out of a record.
    pub fn from_record(value: ConsumerMemberMetadataValue) -> Self {
        Self {
            instance_id: value.instance_id,
            rack_id: value.rack_id,
            client_id: value.client_id,
            client_host: value.client_host,
            topics: in_order(value.subscribed_topic_names),
            regex: value.subscribed_topic_regex.unwrap_or_default(),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            assignor: value.server_assignor,
        }
    }
}

impl Default for Current {
    fn default() -> Self {
        let nothing = Held::new();
        Self { epoch: 0, previous_epoch: -1, state: MemberState::Stable, assigned: nothing.clone(), pending: nothing }
    }
}

impl Current {
    /// A static member goes away for a while: it keeps what is assigned to it, and whoever comes in its place may commit with any epoch.
    pub fn left_for_a_while(&self) -> Self {
        let mut left = Self { epoch: LEFT_FOR_A_WHILE, pending: Held::new(), ..self.clone() };
        left.assigned.values_mut().flatten().for_each(|(_, since)| *since = 0);
        left
    }

    /// It has what it is to have by this epoch.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Everything that it lists is assigned to it.
    pub fn covers(&self, owned: &[TopicPartitions]) -> bool {
        owned.iter().all(|topic| {
            let held = self.assigned.get(&topic.topic_id);
            topic.partitions.iter().all(|partition| held.is_some_and(|held| epoch_of(held, *partition).is_some()))
        })
    }

    /// Since when the member has a partition, one that it is to give up included.
    pub fn since(&self, topic: TopicId, partition: PartitionIndex) -> Option<i32> {
        let in_held = |held: &Held| held.get(&topic).and_then(|held| epoch_of(held, partition));
        in_held(&self.assigned).or_else(|| in_held(&self.pending))
    }

    /// All that it has, what it is to give up included.
    pub fn all(&self) -> Held {
        let mut all = self.assigned.clone();
        for (topic, pending) in &self.pending {
            let held = all.entry(*topic).or_default();
            held.extend(pending);
            held.sort_unstable();
        }
        all
    }

    /// All partitions that nobody else may have.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        let all = self.assigned.iter().chain(&self.pending);
        all.flat_map(|(topic, held)| held.iter().map(|(partition, _)| (*topic, *partition)))
    }

    /// As a record holds it.
    pub fn to_record(&self) -> CurrentAssignmentValue {
        let held = |held: &Held| {
            let topics = held.iter().map(|(topic_id, held)| CurrentPartitions {
                topic_id: *topic_id,
                partitions: held.iter().map(|(partition, _)| partition.0).collect(),
                assignment_epochs: Some(held.iter().map(|(_, epoch)| *epoch).collect()),
            });
            topics.collect()
        };
        CurrentAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state as i8,
            assigned_partitions: held(&self.assigned),
            partitions_pending_revocation: held(&self.pending),
        }
    }

    /// Out of a record. Brokers before 4.3 wrote no epochs of partitions: those were assigned by the member's epoch at the latest.
    pub fn from_record(value: CurrentAssignmentValue) -> Self {
        let epoch = value.member_epoch;
        let held = |topics: Vec<CurrentPartitions>| {
            let mut all = Held::new();
            for topic in topics {
                let epochs = topic.assignment_epochs.unwrap_or_default();
                let with_epoch = topic.partitions.iter().enumerate();
                let with_epoch =
                    with_epoch.map(|(at, id)| (PartitionIndex(*id), epochs.get(at).copied().unwrap_or(epoch)));
                let held = all.entry(topic.topic_id).or_default();
                held.extend(with_epoch);
                held.sort_unstable();
                held.dedup_by_key(|(partition, _)| *partition);
            }
            all.retain(|_, held: &mut Vec<_>| !held.is_empty());
            all
        };
        let assigned = held(value.assigned_partitions);
        let pending = held(value.partitions_pending_revocation);
        let state = match value.state {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            // What a newer broker may write is worked out anew.
            _ => MemberState::Unreleased,
        };
        Self { epoch, previous_epoch: value.previous_member_epoch, state, assigned, pending }
    }
}

/// Names in order, none twice.
fn in_order(mut names: Vec<Str>) -> Vec<Str> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Partitions as a record holds them.
pub fn to_record(partitions: &Partitions) -> TargetAssignmentMemberValue {
    let topics = partitions.iter().map(|(topic_id, partitions)| TargetPartitions {
        topic_id: *topic_id,
        partitions: partitions.iter().map(|partition| partition.0).collect(),
    });
    TargetAssignmentMemberValue { topic_partitions: topics.collect() }
}

/// Partitions out of a record.
pub fn from_record(value: TargetAssignmentMemberValue) -> Partitions {
    let mut all = Partitions::new();
    for topic in value.topic_partitions {
        let partitions: &mut Vec<_> = all.entry(topic.topic_id).or_default();
        partitions.extend(topic.partitions.into_iter().map(PartitionIndex));
        partitions.sort_unstable();
        partitions.dedup();
    }
    all.retain(|_, partitions| !partitions.is_empty());
    all
}

/// Partitions as a client is told.
pub fn told(held: &Held) -> Vec<TopicPartitions> {
    let topics = held.iter().map(|(topic_id, held)| TopicPartitions {
        topic_id: *topic_id,
        partitions: held.iter().map(|(partition, _)| *partition).collect(),
    });
    topics.collect()
}

/// Since when a partition is held.
pub fn epoch_of(held: &[(PartitionIndex, i32)], partition: PartitionIndex) -> Option<i32> {
    held.binary_search_by_key(&partition, |(held, _)| *held).ok().map(|at| held[at].1)
}

/// The epoch of a static member that left and means to come back.
pub const LEFT_FOR_A_WHILE: i32 = -2;
/// What a name in a list is charged besides its characters.
pub const NAME_BYTES: usize = 96;
