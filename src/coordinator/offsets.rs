//! Committed offsets, by group, topic and partition.
//!
//! Always true: what [`View::Committed`] shows is durable. [`View::Latest`] is that with all appends that are under way, and checks the next command.

use std::collections::BTreeMap;

use super::records::{OffsetCommitKey, OffsetCommitValue};
use crate::base::{LeaderEpoch, Map, Offset, PartitionIndex, Timestamp, TopicId};
use crate::protocol::Str;

/// What a group committed for a partition.
#[derive(Clone, PartialEq, Debug)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// Epoch of the last record that was read, or none.
    pub leader_epoch: LeaderEpoch,
    /// Whatever the client keeps beside it.
    pub metadata: Str,
    /// When it was committed.
    pub commit_timestamp: Timestamp,
    /// When it is to be forgotten, if the client said so.
    pub expire_timestamp: Option<Timestamp>,
    /// The topic's id, or zero where the client does not speak of ids.
    pub topic_id: TopicId,
}

impl CommittedOffset {
    pub(super) fn to_record(&self) -> OffsetCommitValue {
        OffsetCommitValue {
            offset: self.offset.0,
            leader_epoch: self.leader_epoch.0,
            metadata: self.metadata.clone(),
            commit_timestamp: self.commit_timestamp.0,
            expire_timestamp: self.expire_timestamp.unwrap_or(Timestamp::NONE).0,
            topic_id: self.topic_id,
        }
    }

    fn from_record(value: OffsetCommitValue) -> Self {
        Self {
            offset: Offset(value.offset),
            leader_epoch: LeaderEpoch(value.leader_epoch),
            metadata: value.metadata,
            commit_timestamp: Timestamp(value.commit_timestamp),
            expire_timestamp: Some(Timestamp(value.expire_timestamp)).filter(|at| *at != Timestamp::NONE),
            topic_id: value.topic_id,
        }
    }
}

/// Which state is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum View {
    /// What is durable.
    Committed,
    /// As if all appends under way were durable.
    Latest,
}

/// A change that takes effect for readers once its record is durable.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct OffsetChange {
    number: u64,
    key: OffsetCommitKey,
    value: Option<CommittedOffset>,
}

/// The offsets of all groups.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    groups: Map<Str, GroupOffsets>,
    changes: u64,
    bytes: usize,
}

/// The offsets of one group.
#[derive(Debug, Default)]
pub(super) struct GroupOffsets {
    topics: BTreeMap<Str, BTreeMap<PartitionIndex, Slot>>,
    slots: usize,
}

/// One partition. Never empty in both views.
#[derive(Debug, Default)]
struct Slot {
    committed: Option<CommittedOffset>,
    /// What the newest change is to make of it, while that is under way. Older ones are known to the line only.
    pending: Option<Option<CommittedOffset>>,
    /// The newest change. 0: there was none since the start.
    changed: u64,
}

impl Slot {
    fn seen(&self, view: View) -> Option<&CommittedOffset> {
        match (view, &self.pending) {
            (View::Latest, Some(pending)) => pending.as_ref(),
            _ => self.committed.as_ref(),
        }
    }

    fn bytes(&self, topic: &str) -> usize {
        let pending = self.pending.as_ref().and_then(Option::as_ref);
        let metadata = [self.committed.as_ref(), pending].into_iter().flatten().map(|offset| offset.metadata.len());
        SLOT_BYTES + topic.len() + metadata.sum::<usize>()
    }
}

impl Offsets {
    /// Changes the latest view, and gives what is to be done when the record is durable.
    pub(super) fn change(&mut self, key: OffsetCommitKey, value: Option<CommittedOffset>) -> OffsetChange {
        self.changes += 1;
        let number = self.changes;
        self.with_slot(&key, |slot| (slot.pending, slot.changed) = (Some(value.clone()), number));
        OffsetChange { number, key, value }
    }

    /// The change's record is durable.
    pub(super) fn commit(&mut self, change: OffsetChange) {
        let OffsetChange { number, key, value } = change;
        self.with_slot(&key, |slot| {
            slot.committed = value;
            if slot.changed == number {
                slot.pending = None;
            }
        });
    }

    /// A record that was read while loading.
    pub(super) fn replay(&mut self, key: OffsetCommitKey, value: Option<OffsetCommitValue>) {
        self.with_slot(&key, |slot| slot.committed = value.map(CommittedOffset::from_record));
    }

    fn with_slot(&mut self, key: &OffsetCommitKey, change: impl FnOnce(&mut Slot)) {
        let partition = PartitionIndex(key.partition);
        let group = self.groups.entry(key.group.clone()).or_default();
        let topic = group.topics.entry(key.topic.clone()).or_default();
        let slot = topic.entry(partition).or_insert_with(|| {
            group.slots += 1;
            self.bytes += Slot::default().bytes(&key.topic);
            Slot::default()
        });
        self.bytes -= slot.bytes(&key.topic);
        change(slot);
        if slot.committed.is_some() || slot.pending.is_some() {
            self.bytes += slot.bytes(&key.topic);
            return;
        }
        topic.remove(&partition);
        group.slots -= 1;
        if topic.is_empty() {
            group.topics.remove(&key.topic);
        }
        if group.topics.is_empty() {
            self.groups.remove(&key.group);
        }
    }

    /// The offsets of a group, if it has any.
    pub(super) fn group(&self, group: &str) -> Option<&GroupOffsets> {
        self.groups.get(group)
    }

    /// The groups that have offsets in either view.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Str, &GroupOffsets)> {
        self.groups.iter()
    }

    /// How many changes there were. The next one has a higher number.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Memory, as it is charged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl GroupOffsets {
    /// One partition's offset.
    pub(super) fn get(&self, view: View, topic: &str, partition: PartitionIndex) -> Option<&CommittedOffset> {
        self.topics.get(topic)?.get(&partition)?.seen(view)
    }

    /// Whether memory is taken up for the partition, in either view.
    pub(super) fn has_slot(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.topics.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
    }

    /// How many partitions take up memory.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// The topics that have offsets in this view.
    pub(super) fn topics(&self, view: View) -> impl Iterator<Item = &Str> {
        let seen = move |slot: &Slot| slot.seen(view).is_some();
        self.topics.iter().filter(move |(_, partitions)| partitions.values().any(seen)).map(|(topic, _)| topic)
    }

    /// The offsets of a topic, in the order of its partitions.
    pub(super) fn topic(&self, view: View, topic: &str) -> impl Iterator<Item = (PartitionIndex, &CommittedOffset)> {
        let partitions = self.topics.get(topic).into_iter().flatten();
        partitions.filter_map(move |(partition, slot)| Some((*partition, slot.seen(view)?)))
    }

    /// The latest offsets of a topic that are not younger than a change.
    pub(super) fn until(&self, topic: &str, change: u64) -> impl Iterator<Item = (PartitionIndex, &CommittedOffset)> {
        let partitions = self.topics.get(topic).into_iter().flatten();
        let old = partitions.filter(move |(_, slot)| slot.changed <= change);
        old.filter_map(|(partition, slot)| Some((*partition, slot.seen(View::Latest)?)))
    }
}

/// Memory that one more offset of `topic` takes.
pub(super) fn slot_bytes(topic: &str, metadata: &str) -> usize {
    SLOT_BYTES + topic.len() + metadata.len()
}

/// What a partition's offset is charged besides names and metadata: two views, keys, and the nodes of the trees.
const SLOT_BYTES: usize = 384;
