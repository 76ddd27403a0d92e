//! Commands for groups of the consumer protocol, and what becomes of a group that changes its protocol: one without members may.

use super::ConsumerGroup;
use crate::base::Mono;
use crate::base::limits::GROUPS_PER_PARTITION_MAX;
use crate::coordinator::admin::each_once;
use crate::coordinator::command::{Command, CommitTopic, ConsumerHeartbeat, Now, OffsetCommit, OffsetFetch, Resolved};
use crate::coordinator::error::GroupError;
use crate::coordinator::group::{Context, State};
use crate::coordinator::handle::Coordinator;
use crate::coordinator::line::Outbox;
use crate::coordinator::reply::{ConsumerAssigned, DescribedConsumerGroup};
use crate::coordinator::topics::Topics;
use crate::protocol::Str;

impl Coordinator {
    pub(in crate::coordinator) fn consumer_heartbeat(
        &mut self,
        heartbeat: &ConsumerHeartbeat,
        topics: &dyn Topics,
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<ConsumerAssigned, GroupError> {
        heartbeat.check(&self.options)?;
        if heartbeat.member_epoch < 0 {
            let left =
                self.with_consumers(&heartbeat.group, now, outbox, |group, cx| group.leave(cx, topics, heartbeat));
            return left.unwrap_or(Err(GroupError::GroupIdNotFound));
        }
        if !self.consumers.contains_key(&heartbeat.group) {
            return self.first_consumer(heartbeat, topics, now, outbox);
        }
        let answer = self.with_consumers(&heartbeat.group, now, outbox, |group, cx| {
            let plan = group.plan(cx, topics, heartbeat)?;
            Ok(group.apply(cx, heartbeat, plan))
        });
        answer.expect("seen above")
    }

    /// An expression that is to be held against all topics before the command can be carried out, if there is any. The owner does it, tells
    /// [`Coordinator::refreshed`] what fits, puts it into the command ([`Resolved`]), and asks again.
    pub fn unresolved(&self, command: &Command) -> Option<Str> {
        let Command::ConsumerHeartbeat(heartbeat) = command else { return None };
        if heartbeat.member_epoch < 0 {
            return None;
        }
        match self.consumers.get(&heartbeat.group) {
            Some(group) => group.unresolved(&self.options, heartbeat),
            None if heartbeat.member_epoch != 0 => None,
            None => ConsumerGroup::new(heartbeat.group.clone()).unresolved(&self.options, heartbeat),
        }
    }

    /// Expressions of the command's group that are to be held against all topics of this version again, and the group. Nobody waits for it.
    pub fn due(&self, command: &Command, version: u64, now: Mono) -> Option<(Str, Vec<Str>)> {
        let Command::ConsumerHeartbeat(heartbeat) = command else { return None };
        let due = self.consumers.get(&heartbeat.group)?.subscribed.due(version, now);
        (!due.is_empty()).then(|| (heartbeat.group.clone(), due))
    }

    /// An expression of a group was held against all topics. What follows from it comes with the next heartbeat.
    pub fn refreshed(&mut self, group: &str, found: &Resolved, now: Mono) {
        if let Some(group) = self.consumers.get_mut(group) {
            let before = group.bytes();
            group.subscribed.take_over(std::slice::from_ref(found), now);
            self.group_bytes = self.group_bytes - before + group.bytes();
        }
    }

    /// The first member of a group. A classic group without members becomes one of this protocol, and keeps its offsets.
    fn first_consumer(
        &mut self,
        heartbeat: &ConsumerHeartbeat,
        topics: &dyn Topics,
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<ConsumerAssigned, GroupError> {
        let id = heartbeat.group.clone();
        let classic = self.groups.get(&id);
        if heartbeat.member_epoch != 0 || classic.is_some_and(|group| group.state != State::Empty) {
            return Err(GroupError::GroupIdNotFound);
        }
        if classic.is_none() && self.len() >= GROUPS_PER_PARTITION_MAX {
            return Err(GroupError::GroupMaxSizeReached);
        }
        let mut group = ConsumerGroup::new(id.clone());
        let room = self.room().saturating_sub(group.bytes());
        let plan = {
            let (options, timers) = (&self.options, &mut self.timers);
            group.plan(&mut Context { options, timers, outbox, now, room }, topics, heartbeat)?
        };
        self.bury(&id, outbox);
        self.group_bytes += group.bytes();
        self.consumers.insert(id.clone(), group);
        let answer = self.with_consumers(&id, now, outbox, |group, cx| group.apply(cx, heartbeat, plan));
        Ok(answer.expect("just put in"))
    }

    /// A group of this protocol without members gives way to a classic one.
    pub(in crate::coordinator) fn give_way(&mut self, id: &str, outbox: &mut Outbox) {
        if let Some(group) = self.consumers.get(id) {
            assert!(group.is_empty(), "group {id} has members");
            group.bury(outbox);
            self.remove_consumers(id);
        }
    }

    /// Forgets a group without members.
    pub(in crate::coordinator) fn remove_consumers(&mut self, id: &str) {
        if let Some(group) = self.consumers.remove(id) {
            self.group_bytes -= group.bytes();
        }
    }

    pub(in crate::coordinator) fn describe_consumer_groups(
        &self,
        groups: Vec<Str>,
        topics: &dyn Topics,
    ) -> Vec<DescribedConsumerGroup> {
        let described = each_once(groups).map(|id| match self.consumers.get(&id) {
            Some(group) => group.describe(&self.options, topics),
            None => DescribedConsumerGroup {
                group: id,
                error: Some(GroupError::GroupIdNotFound),
                state: crate::coordinator::group::DEAD,
                group_epoch: 0,
                assignment_epoch: 0,
                assignor: Str::default(),
                members: Vec::new(),
            },
        });
        described.collect()
    }

    /// Lends a group of this protocol, if there is one, with all that its rules need.
    pub(in crate::coordinator) fn with_consumers<R>(
        &mut self,
        id: &str,
        now: Now,
        outbox: &mut Outbox,
        rules: impl FnOnce(&mut ConsumerGroup, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let room = self.room();
        let group = self.consumers.get_mut(id)?;
        let before = group.bytes();
        let result = rules(group, &mut Context { options: &self.options, timers: &mut self.timers, outbox, now, room });
        self.group_bytes = self.group_bytes - before + group.bytes();
        Some(result)
    }
}

impl ConsumerGroup {
    /// The client may commit for the group: as a member, or as somebody without the group's help while it has no members. A member whose epoch is not the
    /// newest may commit for what it has since then (KIP-1251).
    pub fn check_commit(&self, commit: &OffsetCommit, topics: &dyn Topics) -> Result<(), GroupError> {
        if commit.generation_id < 0 && self.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&commit.member_id).ok_or(GroupError::UnknownMemberId)?;
        if !commit.knows_epochs {
            return Err(GroupError::UnsupportedVersion);
        }
        let (epoch, current) = (commit.generation_id, &member.current);
        let has_since = |topic: &CommitTopic| {
            let named = Some(topic.topic_id).filter(|id| !id.is_zero());
            let Some(id) = named.or_else(|| topics.find(&topic.name).map(|(id, _)| id)) else { return false };
            let since = |partition| current.since(id, partition).is_some_and(|since| since <= epoch);
            topic.partitions.iter().all(|partition| since(partition.partition))
        };
        if epoch == current.epoch || (epoch < current.epoch && commit.topics.iter().all(has_since)) {
            Ok(())
        } else {
            Err(GroupError::StaleMemberEpoch)
        }
    }

    /// The client may ask for the group's offsets.
    pub fn check_fetch(&self, fetch: &OffsetFetch) -> Result<(), GroupError> {
        let Some(member_id) = &fetch.member_id else {
            return if fetch.member_epoch < 0 { Ok(()) } else { Err(GroupError::UnknownMemberId) };
        };
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMemberId)?;
        if member.current.epoch == fetch.member_epoch { Ok(()) } else { Err(GroupError::StaleMemberEpoch) }
    }
}
