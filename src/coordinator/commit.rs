//! OffsetCommit, OffsetFetch and OffsetDelete.

use super::command::{FetchTopic, Now, OffsetCommit, OffsetDelete, OffsetFetch, Token};
use super::error::GroupError;
use super::group::{Group, State};
use super::handle::Coordinator;
use super::line::Outbox;
use super::offsets::{CommittedOffset, GroupOffsets, View, slot_bytes};
use super::records::{CoordinatorRecord, offset_key};
use super::reply::{CommittedTopic, DeletedTopic, FetchedPartition, FetchedTopic, Reply};
use super::topics::Topics;
use crate::base::limits::{GROUPS_PER_PARTITION_MAX, OFFSETS_PER_GROUP_MAX};
use crate::base::{LeaderEpoch, Offset, PartitionIndex, Set, Timestamp, TopicId};
use crate::protocol::Str;

impl Coordinator {
    pub(super) fn commit_offsets(
        &mut self,
        commit: OffsetCommit,
        topics: &dyn Topics,
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<Vec<CommittedTopic>, GroupError> {
        if !self.has_group(&commit.group) {
            if commit.generation_id >= 0 {
                return Err(GroupError::GroupIdNotFound);
            }
            // A client that manages its partitions itself makes a group by its first commit. The group has no record of its own.
            if self.len() >= GROUPS_PER_PARTITION_MAX {
                return Err(GroupError::InvalidCommitOffsetSize);
            }
        }
        if !self.has_room_for(&commit) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if !self.has_group(&commit.group) {
            self.create(commit.group.clone(), now);
        }
        if let Some(group) = self.consumers.get(&commit.group) {
            group.check_commit(&commit, topics)?;
            return Ok(self.commit_checked(commit, now, outbox));
        }
        let validated = self.with_group(&commit.group, now, outbox, |group, cx| {
            group.validate_commit(&commit)?;
            if matches!(group.state, State::Stable | State::PreparingRebalance) {
                group.alive(cx, &commit.member_id);
            }
            Ok(())
        });
        validated.expect("there is a group, or was made")?;
        Ok(self.commit_checked(commit, now, outbox))
    }

    /// There is a group of this name, of whatever protocol.
    pub(super) fn has_group(&self, id: &str) -> bool {
        self.groups.contains_key(id) || self.consumers.contains_key(id)
    }

    fn commit_checked(&mut self, commit: OffsetCommit, now: Now, outbox: &mut Outbox) -> Vec<CommittedTopic> {
        let expire_timestamp = match commit.retention_time_ms {
            -1 => None,
            retention => Some(Timestamp(now.wall.0.saturating_add(retention))),
        };
        let topics = commit.topics.into_iter().map(|topic| CommittedTopic {
            partitions: topic
                .partitions
                .into_iter()
                .map(|partition| {
                    let offset = CommittedOffset {
                        offset: partition.offset,
                        leader_epoch: partition.leader_epoch,
                        metadata: partition.metadata,
                        commit_timestamp: now.wall,
                        expire_timestamp,
                        topic_id: topic.topic_id,
                    };
                    let result = self.commit_offset(&commit.group, &topic.name, partition.partition, offset, outbox);
                    (partition.partition, result)
                })
                .collect(),
            name: topic.name.clone(),
            topic_id: topic.topic_id,
        });
        topics.collect()
    }

    fn commit_offset(
        &mut self,
        group: &Str,
        topic: &Str,
        partition: PartitionIndex,
        offset: CommittedOffset,
        outbox: &mut Outbox,
    ) -> Result<(), GroupError> {
        // Kafka counts as Java does, whatever the name of the setting.
        if offset.metadata.len() > self.options.offset_metadata_max_bytes
            && offset.metadata.encode_utf16().count() > self.options.offset_metadata_max_bytes
        {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        let offsets = self.offsets.group(group);
        let full =
            |offsets: &GroupOffsets| offsets.slots() >= OFFSETS_PER_GROUP_MAX && !offsets.has_slot(topic, partition);
        let key = offset_key(group, topic, partition);
        let record = CoordinatorRecord::offset(&key, &offset.to_record());
        if offsets.is_some_and(full) || record.bytes_max() > self.options.record_bytes_max() {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        let change = self.offsets.change(key, Some(offset));
        outbox.offset(record, change);
        Ok(())
    }

    /// Memory for all new offsets. Those that are there may be replaced whatever it costs, so that nobody loses its place.
    fn has_room_for(&self, commit: &OffsetCommit) -> bool {
        let offsets = self.offsets.group(&commit.group);
        let mut wanted = 0;
        for topic in &commit.topics {
            for partition in &topic.partitions {
                if !offsets.is_some_and(|offsets| offsets.has_slot(&topic.name, partition.partition)) {
                    wanted += slot_bytes(&topic.name, &partition.metadata);
                }
            }
        }
        wanted == 0 || wanted + 2 * commit.group.len() <= self.room()
    }

    pub(super) fn fetch_offsets(&mut self, token: Token, fetch: OffsetFetch, outbox: &mut Outbox) {
        if let Some(Err(error)) = self.consumers.get(&fetch.group).map(|group| group.check_fetch(&fetch)) {
            return outbox.answer(token, Reply::OffsetFetch(Err(error)));
        }
        let view = if fetch.require_stable { View::Latest } else { View::Committed };
        // An offset without its group is on its way out. What is committed is there until that is durable.
        let stays = view == View::Committed || self.has_group(&fetch.group);
        let offsets = self.offsets.group(&fetch.group).filter(|_| stays);
        let topics = match (fetch.topics, offsets) {
            (Some(topics), offsets) => fetch_some(offsets, view, topics),
            (None, Some(offsets)) => fetch_all(offsets, view),
            (None, None) => Vec::new(),
        };
        let reply = Reply::OffsetFetch(Ok(topics));
        match view {
            // What is shown may be under way, so the answer waits for it.
            View::Latest => outbox.answer(token, reply),
            View::Committed => outbox.answer_at_once(token, reply),
        }
    }

    pub(super) fn delete_offsets(
        &mut self,
        delete: OffsetDelete,
        outbox: &mut Outbox,
    ) -> Result<Vec<DeletedTopic>, GroupError> {
        let subscribed: Vec<bool> = if let Some(group) = self.consumers.get(&delete.group) {
            delete.topics.iter().map(|(topic, _)| group.is_subscribed_to(topic)).collect()
        } else {
            let group = self.groups.get(&delete.group).ok_or(GroupError::GroupIdNotFound)?;
            if group.state != State::Empty && !group.is_consumer() {
                return Err(GroupError::NonEmptyGroup);
            }
            delete.topics.iter().map(|(topic, _)| group.is_subscribed_to(topic)).collect()
        };
        let mut topics = Vec::with_capacity(delete.topics.len());
        for ((name, partitions), subscribed) in delete.topics.into_iter().zip(subscribed) {
            let result = if subscribed { Err(GroupError::GroupSubscribedToTopic) } else { Ok(()) };
            if !subscribed {
                partitions.iter().for_each(|partition| self.delete_offset(&delete.group, &name, *partition, outbox));
            }
            let partitions = partitions.into_iter().map(|partition| (partition, result)).collect();
            topics.push(DeletedTopic { name, partitions });
        }
        Ok(topics)
    }

    /// Writes a tombstone, if there is anything to be deleted.
    pub(super) fn delete_offset(&mut self, group: &Str, topic: &Str, partition: PartitionIndex, outbox: &mut Outbox) {
        let offset = self.offsets.group(group).and_then(|offsets| offsets.get(View::Latest, topic, partition));
        if offset.is_some() {
            let key = offset_key(group, topic, partition);
            let record = CoordinatorRecord::offset_tombstone(&key);
            outbox.offset(record, self.offsets.change(key, None));
        }
    }
}

impl Group {
    /// The client may commit for the group: as a member of this generation, or as somebody without the group's help while it has no members.
    fn validate_commit(&self, commit: &OffsetCommit) -> Result<(), GroupError> {
        if commit.generation_id < 0 && self.state == State::Empty {
            return Ok(());
        }
        let member = commit.generation_id >= 0 || !commit.member_id.is_empty() || commit.group_instance_id.is_some();
        if !member {
            return Err(GroupError::UnknownMemberId);
        }
        self.validate_member(&commit.member_id, commit.group_instance_id.as_ref())?;
        if commit.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        // Before its first sync a member does not know what is its to commit. During the call to join it still does.
        if self.state == State::CompletingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }
}

/// An offset that is asked for twice is shown once: else a small request could ask for an answer of any size.
fn fetch_some(offsets: Option<&GroupOffsets>, view: View, topics: Vec<FetchTopic>) -> Vec<FetchedTopic> {
    let mut seen = Set::default();
    let topics = topics.into_iter().map(|FetchTopic { name, topic_id, partitions }| {
        let partitions = partitions.into_iter().filter_map(|partition| {
            let offset = offsets.and_then(|offsets| offsets.get(view, &name, partition));
            let offset = offset.filter(|offset| is_same_topic(offset.topic_id, topic_id));
            let shown = offset.is_none() || seen.insert((name.clone(), partition));
            shown.then(|| fetched(partition, offset))
        });
        FetchedTopic { partitions: partitions.collect(), name, topic_id }
    });
    topics.collect()
}

fn fetch_all(offsets: &GroupOffsets, view: View) -> Vec<FetchedTopic> {
    let topics = offsets.topics(view).map(|name| FetchedTopic {
        name: name.clone(),
        topic_id: TopicId::ZERO,
        partitions: offsets.topic(view, name).map(|(partition, offset)| fetched(partition, Some(offset))).collect(),
    });
    topics.collect()
}

fn fetched(partition: PartitionIndex, offset: Option<&CommittedOffset>) -> FetchedPartition {
    FetchedPartition {
        partition,
        offset: offset.map_or(Offset(-1), |offset| offset.offset),
        leader_epoch: offset.map_or(LeaderEpoch::NONE, |offset| offset.leader_epoch),
        metadata: offset.map(|offset| offset.metadata.clone()).unwrap_or_default(),
    }
}

/// Two ids can be of the same topic: those that are not known can.
fn is_same_topic(left: TopicId, right: TopicId) -> bool {
    left.is_zero() || right.is_zero() || left == right
}
