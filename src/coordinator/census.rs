//! How many groups, members and offsets a coordinator has, and what was committed.

use super::consumer::ConsumerState;
use super::group::State;
use super::handle::Coordinator;
use super::offsets::View;
use crate::base::{Offset, PartitionIndex, TopicId};
use crate::protocol::Str;

/// Kafka's names of the states of a group, in the order of [`Census::groups`]. The last two are of the consumer protocol only, which shares two others.
pub const STATES: [&str; 6] = [
    State::Empty.name(),
    State::PreparingRebalance.name(),
    State::CompletingRebalance.name(),
    State::Stable.name(),
    ConsumerState::Assigning.name(),
    ConsumerState::Reconciling.name(),
];

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Census {
    /// Groups by state.
    pub groups: [u64; STATES.len()],
    /// Members of all groups.
    pub members: u64,
    /// Offsets of all groups, those that are on their way to the disk included.
    pub offsets: u64,
}

impl Census {
    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.groups.iter_mut().zip(other.groups).for_each(|(mine, more)| *mine += more);
        self.members += other.members;
        self.offsets += other.offsets;
    }
}

/// What a group committed for a partition.
#[derive(Clone, PartialEq, Debug)]
pub struct CommittedPlace {
    /// The group.
    pub group: Str,
    /// The topic's name.
    pub topic: Str,
    /// The topic's id, or zero where the client did not say it.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read.
    pub offset: Offset,
}

impl Coordinator {
    /// Counts.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for group in self.groups.values() {
            census.groups[group.state as usize] += 1;
            census.members += group.members().len() as u64;
        }
        for group in self.consumers.values() {
            let state = match group.state() {
                ConsumerState::Empty => State::Empty as usize,
                ConsumerState::Stable => State::Stable as usize,
                ConsumerState::Assigning => 4,
                ConsumerState::Reconciling => 5,
            };
            census.groups[state] += 1;
            census.members += group.len() as u64;
        }
        census.offsets = self.offsets.groups().map(|(_, offsets)| offsets.slots() as u64).sum();
        census
    }

    /// What was committed and is durable, group by group and topic by topic.
    pub fn committed_places(&self) -> impl Iterator<Item = CommittedPlace> {
        let topics = self.offsets.groups().flat_map(|(group, offsets)| {
            offsets.topics(View::Committed).map(move |topic| (group, topic, offsets.topic(View::Committed, topic)))
        });
        topics.flat_map(|(group, topic, committed)| {
            committed.map(move |(partition, committed)| CommittedPlace {
                group: group.clone(),
                topic: topic.clone(),
                topic_id: committed.topic_id,
                partition,
                offset: committed.offset,
            })
        })
    }
}
