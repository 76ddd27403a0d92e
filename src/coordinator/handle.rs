//! The coordinator of one partition of `__consumer_offsets`: commands and time in, effects out.

use std::collections::VecDeque;

use super::command::{Command, Heartbeat, JoinGroup, LeaveGroup, Now, Protocol, SyncGroup, Token};
use super::consumer::ConsumerGroup;
use super::error::GroupError;
use super::expiry::DeletedTopics;
use super::group::{Context, Group};
use super::line::{AppendId, Effects, Line, Outbox};
use super::member::{PROTOCOL_BYTES, member_bytes, own};
use super::offsets::Offsets;
use super::options::Options;
use super::reply::{Answer, LeftMember, Reply};
use super::timers::{Timer, Timers};
use super::topics::Topics;
use crate::base::limits::{
    COORDINATOR_APPENDS_MAX, COORDINATOR_TIMERS_PER_TICK, GROUPS_PER_PARTITION_MAX, MEMBER_BYTES_MAX,
    MEMBER_PROTOCOLS_MAX,
};
use crate::base::{Map, Mono};
use crate::protocol::Str;
use crate::protocol::wire::STRING_BYTES_MAX;

/// The groups and offsets of one partition, after loading.
///
/// The owner appends [`Effects::appends`] in order, delivers [`Effects::answers`] at once, calls [`Coordinator::committed`] for each append when it is
/// durable, and [`Coordinator::tick`] when [`Coordinator::next_deadline`] has come. If an append fails it calls [`Coordinator::unload`] and loads anew.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) options: Options,
    /// Classic groups. No group is in both maps.
    pub(super) groups: Map<Str, Group>,
    /// Groups of the consumer protocol.
    pub(super) consumers: Map<Str, ConsumerGroup>,
    pub(super) offsets: Offsets,
    pub(super) timers: Timers,
    pub(super) line: Line,
    /// Groups that are still to be looked at in this search for expired offsets.
    pub(super) to_expire: VecDeque<Str>,
    pub(super) deleted: DeletedTopics,
    /// Memory of all groups, as it is charged.
    pub(super) group_bytes: usize,
}

impl Coordinator {
    /// Carries out a command. The reply comes with these effects, with those of a later call, or out of [`Coordinator::committed`]; once, and always.
    pub fn handle(&mut self, token: Token, command: Command, topics: &dyn Topics, now: Now) -> Effects {
        let mut outbox = Outbox::default();
        match self.refusal(&command) {
            Some(error) => outbox.answer_at_once(token, command.refused(error)),
            None => self.carry_out(token, command, topics, now, &mut outbox),
        }
        self.line.push(outbox, self.options.batch_bytes_max, now.wall)
    }

    /// What can be refused without a look at the group.
    fn refusal(&self, command: &Command) -> Option<GroupError> {
        let (named, writes) = match command {
            Command::JoinGroup(join) => (Some(&join.group), true),
            Command::SyncGroup(sync) => (Some(&sync.group), true),
            Command::LeaveGroup(leave) => (Some(&leave.group), true),
            Command::OffsetDelete(delete) => (Some(&delete.group), true),
            Command::Heartbeat(heartbeat) => (Some(&heartbeat.group), false),
            // These may be asked of the group without a name, which old clients can have made.
            Command::OffsetCommit(_) | Command::DeleteGroups { .. } => (None, true),
            Command::OffsetFetch(_)
            | Command::DescribeGroups { .. }
            | Command::DescribeConsumerGroups { .. }
            | Command::ListGroups(_) => (None, false),
            // What is wrong with its fields is said in an order of its own.
            Command::ConsumerHeartbeat(_) => (None, true),
        };
        if named.is_some_and(|group| group.is_empty()) {
            return Some(GroupError::InvalidGroupId);
        }
        (writes && self.line.appends() >= COORDINATOR_APPENDS_MAX).then_some(GroupError::CoordinatorNotAvailable)
    }

    fn carry_out(&mut self, token: Token, command: Command, topics: &dyn Topics, now: Now, outbox: &mut Outbox) {
        let reply = match command {
            Command::JoinGroup(join) => return self.join_group(token, join, now, outbox),
            Command::SyncGroup(sync) => return self.sync_group(token, &sync, now, outbox),
            Command::Heartbeat(heartbeat) => Reply::Heartbeat(self.heartbeat(&heartbeat, now, outbox)),
            Command::LeaveGroup(leave) => Reply::LeaveGroup(Ok(self.leave_group(leave, topics, now, outbox))),
            Command::OffsetCommit(commit) => Reply::OffsetCommit(self.commit_offsets(commit, topics, now, outbox)),
            Command::OffsetDelete(delete) => Reply::OffsetDelete(self.delete_offsets(delete, outbox)),
            Command::OffsetFetch(fetch) => return self.fetch_offsets(token, fetch, outbox),
            Command::DescribeGroups { groups } => Reply::DescribeGroups(Ok(self.describe_groups(groups))),
            Command::ListGroups(filter) => Reply::ListGroups(Ok(self.list_groups(&filter))),
            Command::DeleteGroups { groups } => Reply::DeleteGroups(Ok(self.delete_groups(groups, outbox))),
            Command::ConsumerHeartbeat(heartbeat) => {
                Reply::ConsumerHeartbeat(self.consumer_heartbeat(&heartbeat, topics, now, outbox))
            }
            Command::DescribeConsumerGroups { groups } => {
                Reply::DescribeConsumerGroups(Ok(self.describe_consumer_groups(groups, topics)))
            }
        };
        outbox.answer(token, reply);
    }

    fn join_group(&mut self, token: Token, mut join: JoinGroup, now: Now, outbox: &mut Outbox) {
        let id = join.group.clone();
        if let Err(error) = self.check_join(&mut join) {
            return outbox.answer_at_once(token, Command::JoinGroup(join).refused(error));
        }
        if self.consumers.get(&id).is_some_and(|group| !group.is_empty()) {
            return outbox.answer(token, Command::JoinGroup(join).refused(GroupError::InconsistentGroupProtocol));
        }
        let new = !self.groups.contains_key(&id);
        if new && !join.member_id.is_empty() {
            return outbox.answer(token, Command::JoinGroup(join).refused(GroupError::UnknownMemberId));
        }
        if new {
            self.give_way(&id, outbox);
            if self.len() >= GROUPS_PER_PARTITION_MAX {
                return outbox.answer_at_once(token, Command::JoinGroup(join).refused(GroupError::GroupMaxSizeReached));
            }
            self.create(id.clone(), now);
        }
        self.with_group(&id, now, outbox, |group, cx| {
            group.join(cx, token, join);
            if new {
                cx.outbox.record(group.first_record());
            }
        });
    }

    /// Bounds of what a member may say, and of all members together.
    fn check_join(&self, join: &mut JoinGroup) -> Result<(), GroupError> {
        let (shortest, longest) =
            (self.options.group_min_session_timeout_ms, self.options.group_max_session_timeout_ms);
        if !(shortest..=longest).contains(&join.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if join.protocols.len() > MEMBER_PROTOCOLS_MAX {
            return Err(GroupError::MemberTooLarge);
        }
        let new_id = join.new_member_id();
        let identity = [&join.member_id, &join.client_id, &join.client_host, &join.protocol_type, &new_id];
        let instance = join.group_instance_id.as_ref().map_or(0, |id| id.len());
        let said: usize = join.protocols.iter().map(|p| PROTOCOL_BYTES + p.name.len() + p.metadata.len()).sum();
        let bytes = said + instance + identity.iter().map(|text| text.len()).sum::<usize>();
        if bytes > MEMBER_BYTES_MAX || new_id.len() > STRING_BYTES_MAX {
            return Err(GroupError::MemberTooLarge);
        }
        // Who is a member already stays one, as long as it does not say more than before.
        let member = self.groups.get(&join.group).and_then(|group| group.member(&join.member_id));
        let wanted = match member {
            Some(member) => {
                bytes.saturating_sub(member.bytes() + join.member_id.len() + join.protocol_type.len() + new_id.len())
            }
            None => bytes + member_bytes(&new_id) + 2 * join.group.len(),
        };
        if wanted > self.room() {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        // A name twice would count the member twice among those who support it.
        let mut protocols: Vec<Protocol> = Vec::with_capacity(join.protocols.len());
        for Protocol { name, metadata } in join.protocols.drain(..) {
            if protocols.iter().all(|protocol| protocol.name != name) {
                protocols.push(Protocol { name, metadata: own(&metadata) });
            }
        }
        join.protocols = protocols;
        Ok(())
    }

    fn sync_group(&mut self, token: Token, sync: &SyncGroup, now: Now, outbox: &mut Outbox) {
        if self.with_group(&sync.group, now, outbox, |group, cx| group.sync(cx, token, sync)).is_none() {
            let error = self.not_classic(&sync.group, &sync.member_id, sync.group_instance_id.as_ref());
            outbox.answer(token, Reply::SyncGroup(Err(error)));
        }
    }

    /// Why a member that asks for something in a group that is not a classic one is refused.
    fn not_classic(&self, group: &str, member_id: &str, instance_id: Option<&Str>) -> GroupError {
        let group = self.consumers.get(group);
        group.map_or(GroupError::UnknownMemberId, |group| group.refuse_classic(member_id, instance_id))
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Now, outbox: &mut Outbox) -> Result<(), GroupError> {
        let answer = self.with_group(&heartbeat.group, now, outbox, |group, cx| group.heartbeat(cx, heartbeat));
        let instance_id = heartbeat.group_instance_id.as_ref();
        answer.unwrap_or_else(|| Err(self.not_classic(&heartbeat.group, &heartbeat.member_id, instance_id)))
    }

    fn leave_group(
        &mut self,
        leave: LeaveGroup,
        topics: &dyn Topics,
        now: Now,
        outbox: &mut Outbox,
    ) -> Vec<LeftMember> {
        if self.consumers.contains_key(&leave.group) {
            let group = leave.group.clone();
            let left = self.with_consumers(&group, now, outbox, |group, cx| group.remove_members(cx, topics, leave));
            return left.unwrap_or_default();
        }
        if !self.groups.contains_key(&leave.group) {
            let unknown = |member| LeftMember { member, result: Err(GroupError::UnknownMemberId) };
            return leave.members.into_iter().map(unknown).collect();
        }
        let group = leave.group.clone();
        self.with_group(&group, now, outbox, |group, cx| group.leave(cx, leave)).unwrap_or_default()
    }

    /// The append is durable: what it changed can be read, and answers behind it go out.
    ///
    /// Panics if it is not the oldest one under way.
    #[must_use]
    pub fn committed(&mut self, id: AppendId) -> Vec<Answer> {
        let (changes, answers) = self.line.committed(id);
        for change in changes {
            self.offsets.commit(change);
        }
        answers
    }

    /// When [`Coordinator::tick`] has something to do. None while as many appends wait for the disk as may: what is due then waits, too, until one of them
    /// is committed.
    pub fn next_deadline(&self) -> Option<Mono> {
        if self.line.appends() < COORDINATOR_APPENDS_MAX { self.timers.next() } else { None }
    }

    /// Time has passed. A call that comes early does nothing; one that finds much to do leaves some of it to the next.
    pub fn tick(&mut self, topics: &dyn Topics, now: Now) -> Effects {
        let mut outbox = Outbox::default();
        let steps = if self.line.appends() < COORDINATOR_APPENDS_MAX { COORDINATOR_TIMERS_PER_TICK } else { 0 };
        for _ in 0..steps {
            let Some(timer) = self.timers.due(now.mono) else { break };
            match timer {
                Timer::Session { group, member } if self.consumers.contains_key(&group) => {
                    self.with_consumers(&group, now, &mut outbox, |group, cx| group.session_due(cx, topics, &member));
                }
                Timer::Revocation { group, member } => {
                    self.with_consumers(&group, now, &mut outbox, |group, cx| {
                        group.revocation_due(cx, topics, &member)
                    });
                }
                Timer::Session { group, member } => {
                    self.with_group(&group, now, &mut outbox, |group, cx| group.session_due(cx, &member));
                }
                Timer::Join { group } => {
                    self.with_group(&group, now, &mut outbox, |group, cx| group.join_due(cx));
                }
                Timer::Sync { group } => {
                    self.with_group(&group, now, &mut outbox, |group, cx| group.sync_due(cx));
                }
                Timer::Expiry => {
                    self.expire(now, &mut outbox);
                    break;
                }
                Timer::DeletedTopics => {
                    self.forget_deleted(now, &mut outbox);
                    break;
                }
            }
        }
        self.line.push(outbox, self.options.batch_bytes_max, now.wall)
    }

    /// Ends the coordinator: its partition moves, or an append failed. Everybody who waits is refused.
    #[must_use]
    pub fn unload(self, error: GroupError) -> Vec<Answer> {
        let parked = self.groups.into_values().flat_map(|group| group.give_up(error));
        let parked = parked.map(|(token, reply)| Answer { token, reply });
        let in_line = self.line.give_up();
        in_line.map(|Answer { token, reply }| Answer { token, reply: reply.refused(error) }).chain(parked).collect()
    }

    /// Appends that are not durable.
    pub fn appends_under_way(&self) -> usize {
        self.line.appends()
    }

    /// Changes how many bytes members and offsets may take up. What is there stays.
    pub fn allow_bytes(&mut self, bytes_max: usize) {
        self.options.bytes_max = bytes_max;
    }

    /// Memory of members and offsets, as it is charged.
    pub fn bytes(&self) -> usize {
        self.group_bytes + self.offsets.bytes()
    }

    /// Bytes that may still be taken up.
    pub(super) fn room(&self) -> usize {
        self.options.bytes_max.saturating_sub(self.bytes())
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len() + self.consumers.len()
    }

    /// There is no group.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A group without members.
    pub(super) fn create(&mut self, id: Str, now: Now) {
        let group = Group::new(id.clone(), now.wall);
        self.group_bytes += group.bytes();
        self.groups.insert(id, group);
    }

    /// Forgets a group without members, and its timers.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(group) = self.groups.remove(id) else { return };
        self.group_bytes -= group.bytes();
        self.timers.cancel(&group.join_timer());
        self.timers.cancel(&group.sync_timer());
        for member in group.pending_ids() {
            self.timers.cancel(&Timer::Session { group: group.id.clone(), member: member.clone() });
        }
    }

    /// Lends a group, if there is one, with all that its rules need.
    pub(super) fn with_group<R>(
        &mut self,
        id: &str,
        now: Now,
        outbox: &mut Outbox,
        rules: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let room = self.room();
        let group = self.groups.get_mut(id)?;
        let before = group.bytes();
        let result = rules(group, &mut Context { options: &self.options, timers: &mut self.timers, outbox, now, room });
        self.group_bytes = self.group_bytes - before + group.bytes();
        Some(result)
    }
}
