//! A coordinator that is being loaded: the records of its partition, from the first to the last.

use std::collections::VecDeque;

use bytes::Bytes;

use super::command::Now;
use super::consumer::{ConsumerGroup, Parts};
use super::expiry::DeletedTopics;
use super::group::{Context, Group};
use super::handle::Coordinator;
use super::line::{Line, Outbox};
use super::offsets::Offsets;
use super::options::{Options, millis};
use super::records::{RecordFault, Replay, decode};
use super::timers::{Timer, Timers};
use crate::base::Map;
use crate::protocol::Str;

/// Gathers the records of a partition. Commands that come meanwhile are refused by the owner with `CoordinatorLoadInProgress`.
#[derive(Debug)]
pub struct Loading {
    options: Options,
    groups: Map<Str, Group>,
    consumers: Map<Str, Parts>,
    offsets: Offsets,
    replayed: Replayed,
}

/// What was found while loading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Records that were understood.
    pub records: u64,
    /// Records of kinds that this program does not have.
    pub unknown_kinds: u64,
    /// Records of versions that this program does not know.
    pub unknown_versions: u64,
    /// Records that cannot be read.
    pub malformed: u64,
}

impl Loading {
    /// Nothing is known yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            groups: Map::default(),
            consumers: Map::default(),
            offsets: Offsets::default(),
            replayed: Replayed::default(),
        }
    }

    /// The next record, in the order of the log, control records left out. A record that is not understood is counted and passed over; the fault is given for
    /// the log, never to stop at: the rest of the partition is worth having.
    pub fn replay(&mut self, key: &Bytes, value: Option<&Bytes>, now: Now) -> Result<(), RecordFault> {
        let counted = match decode(key, value) {
            Ok(record) => {
                self.apply(record, now);
                self.replayed.records += 1;
                return Ok(());
            }
            Err(fault) => fault,
        };
        match counted {
            RecordFault::UnknownKind(_) => self.replayed.unknown_kinds += 1,
            RecordFault::UnknownVersion { .. } => self.replayed.unknown_versions += 1,
            RecordFault::Malformed(_) => self.replayed.malformed += 1,
        }
        Err(counted)
    }

    fn apply(&mut self, record: Replay, now: Now) {
        match record {
            Replay::Offset(key, value) => {
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    self.groups.insert(key.group.clone(), Group::new(key.group.clone(), now.wall));
                }
                self.offsets.replay(key, value);
            }
            Replay::Group(key, Some(value)) => {
                let group = Group::from_record(key.group.clone(), value, now.wall);
                self.groups.insert(key.group, group);
            }
            Replay::Group(key, None) => {
                self.groups.remove(&key.group);
            }
            Replay::ConsumerGroup(key, value) => {
                if value.is_none() {
                    // What offsets of the group made meanwhile.
                    self.groups.remove(&key.group);
                }
                self.parts(key.group, |parts| parts.group = value);
            }
            Replay::PartitionMetadata(key, is) => self.parts(key.group, |parts| parts.partition_metadata = is),
            Replay::TargetEpoch(key, value) => self.parts(key.group, |parts| parts.target = value),
            Replay::ConsumerMember(key, value) => {
                self.parts(key.group, |parts| parts.member(key.member_id, |member| member.said = value));
            }
            Replay::Target(key, value) => {
                self.parts(key.group, |parts| parts.member(key.member_id, |member| member.target = value));
            }
            Replay::Current(key, value) => {
                self.parts(key.group, |parts| parts.member(key.member_id, |member| member.current = value));
            }
            // Expressions are held against the topics that there are then, as soon as a member is heard of.
            Replay::RegularExpression(..) => {}
        }
    }

    fn parts(&mut self, group: Str, change: impl FnOnce(&mut Parts)) {
        let parts = self.consumers.entry(group.clone()).or_default();
        change(parts);
        if parts.is_empty() {
            self.consumers.remove(&group);
        }
    }

    /// What was found so far.
    pub fn replayed(&self) -> Replayed {
        self.replayed
    }

    /// The last record was read: members have the time of their sessions to be heard of.
    pub fn loaded(self, now: Now) -> Coordinator {
        let built = self.consumers.into_iter().filter_map(|(id, parts)| Some((id.clone(), parts.build(id)?)));
        let consumers: Map<Str, ConsumerGroup> = built.collect();
        let mut groups = self.groups;
        // Offsets made a group where there was none; and a crash may have come between two records that make a group of another.
        groups.retain(|id, _| !consumers.contains_key(id));
        for (id, _) in self.offsets.groups() {
            if !groups.contains_key(id) && !consumers.contains_key(id) {
                groups.insert(id.clone(), Group::new(id.clone(), now.wall));
            }
        }
        let classic_bytes: usize = groups.values().map(Group::bytes).sum();
        let mut coordinator = Coordinator {
            group_bytes: classic_bytes + consumers.values().map(ConsumerGroup::bytes).sum::<usize>(),
            options: self.options,
            groups,
            consumers,
            offsets: self.offsets,
            timers: Timers::default(),
            line: Line::default(),
            to_expire: VecDeque::new(),
            deleted: DeletedTopics::default(),
        };
        let mut outbox = Outbox::default();
        let Coordinator { options, timers, groups, consumers, .. } = &mut coordinator;
        let members_max = options.members_max();
        for group in groups.values_mut() {
            let mut cx = Context { options, timers, outbox: &mut outbox, now, room: 0 };
            for (id, member) in group.members() {
                cx.expect_member(&group.id, id, millis(member.session_timeout_ms));
            }
            if group.members().len() > members_max {
                // Consumers get a chance to commit their offsets; as many as may stay will find a place.
                group.prepare_rebalance(&mut cx);
            }
        }
        for group in consumers.values() {
            group.expect_all(&mut Context { options, timers, outbox: &mut outbox, now, room: 0 });
        }
        timers.set(Timer::Expiry, now.mono + options.offsets_retention_check_interval);
        coordinator
    }
}
