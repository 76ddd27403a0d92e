//! One group: its members, its generation, and the state that it is in. The rules of joining and leaving stand beside this file.
//!
//! ```text
//!            first member joins                     all joined, or time is up
//!   Empty ----------------------> PreparingRebalance ------------------------> CompletingRebalance
//!     ^                            |    ^        ^                                 |         |
//!     |   nobody is left           |    |        |   a member joins, leaves, dies  |         |
//!     +----------------------------+    |        +---------------------------------+         |
//!                                       +------------------- Stable <------------------------+
//!                                       a member joins, ...           the leader brings the assignment
//! ```
//!
//! The state is that of Apache Kafka's classic groups. One thing is simpler: a group is stable as soon as the record with the assignment is on its way,
//! for answers stand in line behind it (`line.rs`), so nobody sees the difference.

mod join; // who may join
mod membership; // sync, heartbeat, leave
mod rebalance; // from one generation to the next
mod waiting; // members that wait, and what they are told

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::base::{Map, Set, Timestamp};
use crate::coordinator::command::{Now, Protocol, Token};
use crate::coordinator::error::GroupError;
use crate::coordinator::line::Outbox;
use crate::coordinator::member::{Member, MemberUpdate, member_bytes, own};
use crate::coordinator::options::{Options, millis};
use crate::coordinator::records::{CoordinatorRecord, GroupMetadataValue, MemberMetadata};
use crate::coordinator::reply::{JoinRefused, Reply};
use crate::coordinator::subscription::{CONSUMER, subscribed};
use crate::coordinator::timers::{Timer, Timers};
use crate::protocol::Str;

/// What a group is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It has no members, perhaps offsets.
    Empty,
    /// Members are called to join.
    PreparingRebalance,
    /// Members have joined; the leader works on the assignment.
    CompletingRebalance,
    /// Every member has, or can get, its assignment.
    Stable,
}

impl State {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// Kafka's name of the state of a group that is not there.
pub const DEAD: &str = "Dead";

/// The rebalance that begins with a group's first member waits for others to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitialDelay {
    /// The wait that is under way.
    pub delay: Duration,
    /// How far it may still be extended.
    pub remaining: Duration,
}

/// A classic group.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: Str,
    pub state: State,
    /// The state before; none for a group that has been in one only.
    pub previous: Option<State>,
    /// When it came into its state.
    pub state_timestamp: Timestamp,
    pub protocol_type: Option<Str>,
    pub protocol_name: Option<Str>,
    pub generation_id: i32,
    pub leader: Option<Str>,
    members: BTreeMap<Str, Member>,
    /// Member ids by instance id.
    static_members: Map<Str, Str>,
    /// Ids that were given out and did not come back yet.
    pending_join: BTreeSet<Str>,
    /// How many members have a JoinGroup that waits.
    awaiting_join: usize,
    /// How many members offer each protocol.
    supported: Map<Str, usize>,
    /// Members that joined the generation and did not ask for their assignment yet.
    pub pending_sync: BTreeSet<Str>,
    /// The topics that consumers subscribe to. `None` while that is not known.
    subscribed: Option<Set<Str>>,
    /// Somebody came during the initial delay.
    pub new_member_added: bool,
    /// While the timer for joining is that of the initial delay.
    pub initial_delay: Option<InitialDelay>,
    /// Memory, as it is charged.
    bytes: usize,
}

/// What the rules need besides the group.
pub struct Context<'a> {
    pub options: &'a Options,
    pub timers: &'a mut Timers,
    pub outbox: &'a mut Outbox,
    pub now: Now,
    /// Bytes that members may still take up.
    pub room: usize,
}

impl Context<'_> {
    /// Refuses a JoinGroup.
    pub fn refuse_join(&mut self, token: Token, error: GroupError, member_id: &str) {
        self.outbox.answer(token, Reply::JoinGroup(Err(JoinRefused { error, member_id: member_id.into() })));
    }

    /// Sets the timer of a member's session.
    pub fn expect_member(&mut self, group: &Str, member: &Str, within: Duration) {
        self.timers.set(Timer::Session { group: group.clone(), member: member.clone() }, self.now.mono + within);
    }

    /// Forgets the timer of a member's session.
    pub fn forget_member(&mut self, group: &Str, member: &Str) {
        self.timers.cancel(&Timer::Session { group: group.clone(), member: member.clone() });
    }
}

impl Group {
    /// A group without members.
    pub fn new(id: Str, now: Timestamp) -> Self {
        Self {
            bytes: GROUP_BYTES + 2 * id.len(),
            id,
            state: State::Empty,
            previous: None,
            state_timestamp: now,
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: Map::default(),
            pending_join: BTreeSet::new(),
            awaiting_join: 0,
            supported: Map::default(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            new_member_added: false,
            initial_delay: None,
        }
    }

    /// The group that a record describes.
    pub fn from_record(id: Str, value: GroupMetadataValue, now: Timestamp) -> Self {
        let mut group = Self::new(id, now);
        group.protocol_type = Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty());
        group.protocol_name = value.protocol;
        group.generation_id = value.generation;
        group.state_timestamp = Timestamp(value.current_state_timestamp);
        let protocol = group.protocol_name.clone().unwrap_or_default();
        for member in value.members {
            let id = member.member_id;
            let twice = member.group_instance_id.as_ref().is_some_and(|id| group.static_members.contains_key(id));
            if twice || group.members.contains_key(&id) {
                continue;
            }
            let session_timeout_ms = member.session_timeout;
            let rebalance_timeout_ms =
                if member.rebalance_timeout == -1 { session_timeout_ms } else { member.rebalance_timeout };
            let member = Member {
                group_instance_id: member.group_instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout_ms,
                session_timeout_ms,
                protocols: vec![Protocol { name: protocol.clone(), metadata: own(&member.subscription) }],
                assignment: own(&member.assignment),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            let protocol_type = group.protocol_type.clone().unwrap_or_default();
            group.add(id, member, protocol_type);
        }
        if let Some(leader) = value.leader.filter(|leader| group.members.contains_key(leader)) {
            group.leader = Some(leader);
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.subscribed = group.subscriptions();
        group
    }

    /// Adds a member. The first one decides on the protocol type, and leads.
    pub fn add(&mut self, id: Str, member: Member, protocol_type: Str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type);
        }
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.insert(instance_id.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.remove_pending(&id);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        count_protocols(&mut self.supported, &member.protocols);
        self.bytes += member.bytes() + member_bytes(&id);
        self.members.insert(id, member);
    }

    /// Removes a member, or an id that was given out.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if let Some(member) = &removed {
            uncount_protocols(&mut self.supported, &member.protocols);
            self.awaiting_join -= usize::from(member.awaiting_join.is_some());
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.remove(instance_id);
            }
            self.bytes -= member.bytes() + member_bytes(id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.remove_pending(id);
        self.pending_sync.remove(id);
        removed
    }

    /// Removes a member, and tells it if it waits.
    pub fn dismiss(&mut self, cx: &mut Context<'_>, id: &Str) {
        cx.forget_member(&self.id, id);
        let Some(member) = self.remove(id) else { return };
        if let Some(token) = member.awaiting_join {
            cx.refuse_join(token, GroupError::UnknownMemberId, "");
        }
        if let Some(token) = member.awaiting_sync {
            cx.outbox.answer(token, Reply::SyncGroup(Err(GroupError::UnknownMemberId)));
        }
    }

    /// Gives out an id.
    pub fn add_pending(&mut self, id: Str) {
        let bytes = member_bytes(&id);
        if self.pending_join.insert(id) {
            self.bytes += bytes;
        }
    }

    fn remove_pending(&mut self, id: &str) {
        if self.pending_join.remove(id) {
            self.bytes -= member_bytes(id);
        }
    }

    /// Takes over what a member says of itself now, and lets its JoinGroup wait if there is one.
    pub fn update(&mut self, cx: &mut Context<'_>, id: &str, update: MemberUpdate, token: Option<Token>) {
        let member = self.members.get_mut(id).expect("the caller found the member");
        self.bytes -= member.bytes();
        uncount_protocols(&mut self.supported, &member.protocols);
        count_protocols(&mut self.supported, &update.protocols);
        member.protocols = update.protocols;
        member.rebalance_timeout_ms = update.rebalance_timeout_ms;
        member.session_timeout_ms = update.session_timeout_ms;
        self.bytes += member.bytes();
        let before = std::mem::replace(&mut member.awaiting_join, token);
        self.awaiting_join += usize::from(token.is_some());
        if let Some(token) = before {
            // The client asks again, so it gave the older request up.
            self.awaiting_join -= 1;
            cx.refuse_join(token, GroupError::RebalanceInProgress, id);
        }
    }

    /// A static member came back without its id: whoever holds the old id is fenced (KIP-345).
    pub fn replace_static(&mut self, cx: &mut Context<'_>, instance_id: &Str, old: &Str, new: &Str) {
        let mut member = self.members.remove(old).expect("an instance id names a member");
        if let Some(token) = member.awaiting_join.take() {
            self.awaiting_join -= 1;
            cx.refuse_join(token, GroupError::FencedInstanceId, old);
        }
        if let Some(token) = member.awaiting_sync.take() {
            cx.outbox.answer(token, Reply::SyncGroup(Err(GroupError::FencedInstanceId)));
        }
        cx.forget_member(&self.id, old);
        member.is_new = false;
        self.bytes = self.bytes - member_bytes(old) + member_bytes(new);
        self.members.insert(new.clone(), member);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.static_members.insert(instance_id.clone(), new.clone());
    }

    /// The leader's assignments; members that it forgot have nothing to do.
    pub fn assign(&mut self, assignments: &Map<&str, &Bytes>) {
        for (id, member) in &mut self.members {
            self.bytes -= member.assignment.len();
            member.assignment = assignments.get(&**id).map(|assignment| own(assignment)).unwrap_or_default();
            self.bytes += member.assignment.len();
        }
    }

    /// Comes into a state.
    pub fn transition(&mut self, state: State, now: Timestamp) {
        let from = match state {
            State::Empty | State::CompletingRebalance => &[State::PreparingRebalance][..],
            State::PreparingRebalance => &[State::Stable, State::CompletingRebalance, State::Empty],
            State::Stable => &[State::CompletingRebalance],
        };
        assert!(from.contains(&self.state), "group {} cannot go from {:?} to {state:?}", self.id, self.state);
        self.previous = Some(self.state);
        self.state = state;
        self.state_timestamp = now;
    }

    /// Begins the next generation, with the members that are there.
    pub fn next_generation(&mut self, now: Timestamp) {
        self.generation_id = self.generation_id.wrapping_add(1);
        self.protocol_name = self.select_protocol();
        self.subscribed = self.subscriptions();
        let empty = self.members.is_empty();
        self.transition(if empty { State::Empty } else { State::CompletingRebalance }, now);
    }

    /// If the leader did not join, another one leads who did. False if nobody joined.
    pub fn elect_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|leader| leader.awaiting_join.is_some()) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.awaiting_join.is_some());
        let Some((id, _)) = joined else { return false };
        self.leader = Some(id.clone());
        true
    }

    /// The group's record.
    pub fn record(&self) -> CoordinatorRecord {
        CoordinatorRecord::group(&self.id, &self.to_record())
    }

    pub fn to_record(&self) -> GroupMetadataValue {
        let members = self.members.iter().map(|(id, member)| MemberMetadata {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(self.protocol_name.as_ref()),
            assignment: member.assignment.clone(),
        });
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation_id,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_timestamp.0,
            members: members.collect(),
        }
    }

    /// The record of a group that was just made.
    pub fn first_record(&self) -> CoordinatorRecord {
        let current_state_timestamp = self.state_timestamp.0;
        CoordinatorRecord::group(&self.id, &GroupMetadataValue { current_state_timestamp, ..Default::default() })
    }

    /// The member exists, and is the one that holds the instance id.
    pub fn validate_member(&self, id: &str, instance_id: Option<&Str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(holder) if *holder != *id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// Somebody with this type and these protocols can work with all members.
    pub fn supports(&self, protocol_type: &Str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |protocol: &Protocol| self.supporters(&protocol.name) == self.members.len();
        self.protocol_type.as_ref() == Some(protocol_type) && protocols.iter().any(by_all)
    }

    /// The protocol that most members prefer, of those that all offer. Among equals the leader decides. `None` without members.
    pub fn select_protocol(&self) -> Option<Str> {
        let candidate = |protocol: &&Protocol| self.supporters(&protocol.name) == self.members.len();
        let mut votes: Map<&Str, usize> = Map::default();
        for member in self.members.values() {
            if let Some(preferred) = member.protocols.iter().find(candidate) {
                *votes.entry(&preferred.name).or_default() += 1;
            }
        }
        let leader =
            self.leader.as_ref().and_then(|leader| self.members.get(leader)).or(self.members.values().next())?;
        let most = *votes.values().max()?;
        let of_leader = leader.protocols.iter().find(|protocol| votes.get(&protocol.name) == Some(&most));
        of_leader.map(|protocol| protocol.name.clone())
    }

    fn supporters(&self, protocol: &Str) -> usize {
        self.supported.get(protocol).copied().unwrap_or(0)
    }

    /// The longest time that any member wants to have for a rebalance.
    pub fn rebalance_timeout(&self) -> Duration {
        millis(self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0))
    }

    /// The topics that consumers subscribe to, as far as it can be known.
    fn subscriptions(&self) -> Option<Set<Str>> {
        if !self.is_consumer() {
            return None;
        }
        let mut topics = Set::default();
        if !self.members.is_empty() {
            let protocol = self.protocol_name.as_ref()?;
            for member in self.members.values() {
                subscribed(&member.metadata(Some(protocol)), &mut topics)?;
            }
        }
        Some(topics)
    }

    /// The members speak the consumer protocol.
    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Consumers subscribe to the topic, or might.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// What consumers subscribe to is known.
    pub fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// Everybody has joined whom there is to wait for.
    pub fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// The member leads.
    pub fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// The id was given out and did not come back yet.
    pub fn is_pending(&self, id: &str) -> bool {
        self.pending_join.contains(id)
    }

    /// How many ids were given out and did not come back yet.
    pub fn pending(&self) -> usize {
        self.pending_join.len()
    }

    /// How many members have joined the rebalance.
    pub fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    /// A member.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// All members, in the order of their ids.
    pub fn members(&self) -> &BTreeMap<Str, Member> {
        &self.members
    }

    /// A member went through a rebalance.
    pub fn seasoned(&mut self, id: &str) {
        self.members.get_mut(id).expect("the caller found the member").is_new = false;
    }

    /// Who holds an instance id.
    pub fn static_member(&self, instance_id: &str) -> Option<&Str> {
        self.static_members.get(instance_id)
    }

    /// Ids that were given out and did not come back yet.
    pub fn pending_ids(&self) -> &BTreeSet<Str> {
        &self.pending_join
    }

    /// Memory, as it is charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every count that is kept equals what it counts.
    #[cfg(test)]
    pub fn check(&self) {
        let members: usize = self.members.iter().map(|(id, member)| member.bytes() + member_bytes(id)).sum();
        let pending: usize = self.pending_join.iter().map(|id| member_bytes(id)).sum();
        assert_eq!(self.bytes, GROUP_BYTES + 2 * self.id.len() + members + pending, "bytes of {}", self.id);
        assert_eq!(self.awaiting_join, self.members.values().filter(|member| member.awaiting_join.is_some()).count());
        let mut supported = Map::default();
        self.members.values().for_each(|member| count_protocols(&mut supported, &member.protocols));
        assert_eq!(self.supported, supported);
        let by_instance = self.members.iter().filter_map(|(id, m)| Some((m.group_instance_id.clone()?, id.clone())));
        assert_eq!(self.static_members, by_instance.collect::<Map<_, _>>());
        assert!(self.pending_sync.iter().all(|id| self.members.contains_key(id)));
        assert!(self.pending_join.iter().all(|id| !self.members.contains_key(id)));
        assert_eq!(self.state == State::Empty, self.members.is_empty() && self.state != State::PreparingRebalance);
        assert!(
            self.leader.as_ref().is_none_or(|leader| self.members.contains_key(leader)),
            "leader {:?}",
            self.leader
        );
        assert_eq!(self.leader.is_none(), self.members.is_empty());
    }
}

fn count_protocols(supported: &mut Map<Str, usize>, protocols: &[Protocol]) {
    for protocol in protocols {
        *supported.entry(protocol.name.clone()).or_default() += 1;
    }
}

fn uncount_protocols(supported: &mut Map<Str, usize>, protocols: &[Protocol]) {
    for protocol in protocols {
        let count = supported.get_mut(&protocol.name).expect("it was counted when the member came");
        *count -= 1;
        if *count == 0 {
            supported.remove(&protocol.name);
        }
    }
}

/// What a group is charged besides its name.
const GROUP_BYTES: usize = 1024;
