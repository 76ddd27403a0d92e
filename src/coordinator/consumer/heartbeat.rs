//! ConsumerGroupHeartbeat of a member that joins or stays: first everything that may be refused, then what it changes.

use std::time::Duration;

use super::assign::{List, Player, assign};
use super::member::{LEFT_FOR_A_WHILE, Member, MemberState, Partitions, Said, to_record, told};
use super::reconcile::{Aim, reconcile};
use super::subscribed::Known;
use super::{ConsumerGroup, place_bytes};
use crate::base::limits::{GROUP_LISTED_TOPICS_MAX, GROUP_REGEXES_MAX, MEMBER_BYTES_MAX};
use crate::base::{Map, TopicId};
use crate::coordinator::command::{ConsumerHeartbeat, Resolved};
use crate::coordinator::error::GroupError;
use crate::coordinator::group::Context;
use crate::coordinator::options::{Assignor, Options, millis};
use crate::coordinator::records::CoordinatorRecord;
use crate::coordinator::reply::ConsumerAssigned;
use crate::coordinator::timers::Timer;
use crate::coordinator::topics::Topics;
use crate::protocol::Str;
use crate::protocol::wire::STRING_BYTES_MAX;

/// What a heartbeat is going to change, none of which can be refused any more.
pub struct Plan {
    /// The member.
    id: Str,
    /// The static member in whose place it comes.
    replaces: Option<Str>,
    /// What it says, if that is new.
    said: Option<Said>,
    /// It subscribes to something else than before.
    subscription_changed: bool,
    /// The topics of the group, if they were looked at.
    known: Option<Known>,
}

impl ConsumerGroup {
    /// Looks whether a heartbeat is in order. If so, what it subscribes to is counted, and [`ConsumerGroup::apply`] has to follow.
    pub fn plan(
        &mut self,
        cx: &mut Context<'_>,
        topics: &dyn Topics,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<Plan, GroupError> {
        let id = heartbeat.id();
        self.check_place(cx.options, heartbeat, &id)?;
        let replaces = self.check_member(heartbeat, &id)?;
        let before = self.members.get(replaces.as_ref().unwrap_or(&id)).map(|member| &member.said);
        let said = match before {
            Some(before) if before.is_confirmed_by(heartbeat) => None,
            Some(before) => before.updated(heartbeat),
            None => Some(Said::first(heartbeat)),
        };
        let nothing = Said::default();
        let (old, new) = (before.unwrap_or(&nothing), said.as_ref().or(before).unwrap_or(&nothing));
        let subscription_changed = old.topics != new.topics || old.regex != new.regex;
        let more = match &said {
            Some(said) => self.check_said(cx, &id, before, said)?,
            None => 0,
        };
        let new_regex = said.as_ref().map(|said| &said.regex).filter(|regex| !regex.is_empty());
        let resolved = match new_regex.filter(|regex| !self.subscribed.has_regex(regex)) {
            Some(regex) => {
                let found = heartbeat.found(regex).ok_or(GroupError::CoordinatorNotAvailable)?;
                found.topics.as_ref().map_err(|error| *error)?.len()
            }
            None => 0,
        };
        let found = resolved * size_of::<Str>();
        if self.subscribed.unresolved().next().is_some() {
            // The members with that expression would be dealt nothing.
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let before = before.cloned();
        let fitted = before.as_ref().and_then(|before| self.subscribed.fitting(&before.regex).cloned());
        if let Some(said) = &said {
            self.subscribed.exchange(before.as_ref(), Some(said));
            self.subscribed.take_over(&heartbeat.resolved, cx.now.mono);
        }
        let known = self.look(topics);
        let refused = self.has_room_for(cx, &id, known.as_ref(), more, found);
        if let (Err(error), true) = (refused, subscription_changed) {
            self.subscribed.exchange(said.as_ref(), before.as_ref());
            if let (Some(before), Some(fitted)) = (before, fitted) {
                self.subscribed.fit(&before.regex, fitted);
            }
            return Err(error);
        }
        // A group that was there before its topics grew beyond all bounds goes on with those that it knows.
        let known = known.filter(|_| refused.is_ok());
        Ok(Plan { id, replaces, said, subscription_changed, known })
    }

    /// The group is not full, or the member has a place in it.
    fn check_place(&self, options: &Options, heartbeat: &ConsumerHeartbeat, id: &Str) -> Result<(), GroupError> {
        let full = self.members.len() >= options.consumers_max();
        if full && (heartbeat.member_id.is_empty() || !self.members.contains_key(id)) {
            return Err(GroupError::GroupMaxSizeReached);
        }
        Ok(())
    }

    /// The member may come with this epoch. Gives the static member in whose place it comes, if it does.
    fn check_member(&self, heartbeat: &ConsumerHeartbeat, id: &Str) -> Result<Option<Str>, GroupError> {
        let joins = heartbeat.member_epoch == 0;
        if let Some(instance_id) = &heartbeat.group_instance_id {
            match self.static_members.get(instance_id) {
                None if joins => return Ok(None),
                None => return Err(GroupError::UnknownMemberId),
                // Not even the member itself, as long as it did not leave.
                Some(holder) if joins => {
                    let left = self.members[holder].current.epoch == LEFT_FOR_A_WHILE;
                    return if left { Ok(Some(holder.clone())) } else { Err(GroupError::UnreleasedInstanceId) };
                }
                Some(holder) if holder != id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.members.get(id);
        if joins {
            return Ok(None);
        }
        let current = &member.ok_or(GroupError::UnknownMemberId)?.current;
        let lost_answer = heartbeat.member_epoch == current.previous_epoch
            && heartbeat.owned.as_ref().is_some_and(|owned| current.covers(owned));
        if heartbeat.member_epoch == current.epoch || (heartbeat.member_epoch < current.epoch && lost_answer) {
            Ok(None)
        } else {
            Err(GroupError::FencedMemberEpoch)
        }
    }

    /// Bounds of what a member may say. Gives the bytes by which the group grows.
    fn check_said(&self, cx: &Context<'_>, id: &Str, before: Option<&Said>, said: &Said) -> Result<usize, GroupError> {
        let record = CoordinatorRecord::consumer_member(&self.id, id, &said.to_record());
        if said.bytes() > MEMBER_BYTES_MAX
            || id.len() > STRING_BYTES_MAX
            || record.bytes_max() > cx.options.record_bytes_max()
        {
            return Err(GroupError::MemberTooLarge);
        }
        let new_regex = !said.regex.is_empty() && !self.subscribed.has_regex(&said.regex);
        if new_regex && self.subscribed.regexes() >= GROUP_REGEXES_MAX {
            return Err(GroupError::InvalidRegularExpression);
        }
        let more = match before {
            Some(before) => said.bytes().saturating_sub(before.bytes()),
            None => said.bytes() + place_bytes(id),
        };
        // Who is a member already stays one, as long as it does not say more than before.
        let more = COUNTED_TIMES * more;
        if more > 0 && more > cx.room { Err(GroupError::CoordinatorNotAvailable) } else { Ok(more) }
    }

    /// The topics of the group, if they may be others than those that it knows.
    pub(super) fn look(&self, topics: &dyn Topics) -> Option<Known> {
        (!self.subscribed.is_fresh(topics.version())).then(|| self.subscribed.look(topics))
    }

    /// An expression that is to be held against all topics before this heartbeat can be heard. None, if it is refused anyway.
    pub fn unresolved(&self, options: &Options, heartbeat: &ConsumerHeartbeat) -> Option<Str> {
        let room = self.subscribed.regexes() < GROUP_REGEXES_MAX;
        let is_new = |regex: &&Str| room && !regex.is_empty() && !self.subscribed.has_regex(regex);
        let new = heartbeat.subscribed_regex.iter().filter(is_new);
        let regex = self.subscribed.unresolved().chain(new).find(|regex| heartbeat.found(regex).is_none())?;
        let id = heartbeat.id();
        heartbeat.check(options).ok()?;
        self.check_place(options, heartbeat, &id).ok()?;
        self.check_member(heartbeat, &id).ok()?;
        Some(regex.clone())
    }

    /// Memory takes the topics, and those that a new expression stands for (`found` bytes); a record takes the partitions that a single member may have; and
    /// dealing takes time.
    fn has_room_for(
        &self,
        cx: &Context<'_>,
        id: &Str,
        known: Option<&Known>,
        more: usize,
        found: usize,
    ) -> Result<(), GroupError> {
        let Some(known) = known else { return Ok(()) };
        let before = self.subscribed.known();
        let grown = known.bytes().saturating_sub(before.map_or(0, Known::bytes));
        let in_record = known.partitions * RECORD_PARTITION_BYTES + known.topics.len() * RECORD_TOPIC_BYTES;
        let names = self.id.len() + self.members.keys().chain([id]).map(|id| id.len()).max().unwrap_or(0);
        if grown > 0 && in_record + names + RECORD_BYTES > cx.options.record_bytes_max() {
            return Err(GroupError::InvalidRequest("the group subscribes to more partitions than a record can hold"));
        }
        if grown + more > 0 && (self.members.len() + 1) * known.topics.len() > GROUP_LISTED_TOPICS_MAX {
            return Err(GroupError::InvalidRequest("the group has too many members for so many topics"));
        }
        // After a start a group looks at its topics for the first time, too, but had room for them before.
        let loaded = before.is_none() && !self.members.is_empty();
        if grown + found > 0 && !loaded && grown + found + more > cx.room {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        Ok(())
    }

    /// Does what was planned. The member's session begins anew.
    pub fn apply(&mut self, cx: &mut Context<'_>, heartbeat: &ConsumerHeartbeat, plan: Plan) -> ConsumerAssigned {
        let Plan { id, replaces, said, subscription_changed, known } = plan;
        // The epoch comes before what a member loses, as when members leave: that of another member whose id a static one takes.
        let displaces = replaces.as_ref().is_some_and(|old| *old != id && self.members.contains_key(&id));
        self.rise(cx, subscription_changed || displaces, known);
        if let Some(old) = replaces {
            self.replace(cx, &old, &id);
        }
        if let Some(said) = said {
            self.say(cx, &id, said);
        }
        if self.epoch > self.target_epoch && self.may_deal(cx) {
            self.deal(cx);
        }
        let changed = self.step(cx, &id, subscription_changed, heartbeat);
        let session = millis(cx.options.group_consumer_session_timeout_ms);
        cx.timers.set(self.session_timer(&id), cx.now.mono + session);
        let current = &self.members[&id].current;
        let tell = heartbeat.member_epoch == 0 || heartbeat.is_full() || changed;
        ConsumerAssigned {
            member_epoch: current.epoch,
            heartbeat_interval_ms: cx.options.group_consumer_heartbeat_interval_ms,
            assignment: tell.then(|| told(&current.assigned)),
            member_id: Some(id),
        }
    }

    /// A static member came back under another id: it has what it had, and whoever holds the old id is unknown from now on.
    fn replace(&mut self, cx: &mut Context<'_>, old: &Str, new: &Str) {
        let mut member = self.take_out(old).expect("an instance id names a member");
        cx.timers.cancel(&self.session_timer(old));
        cx.timers.cancel(&self.rebalance_timer(old));
        self.bury_member(cx, old);
        (member.current.epoch, member.current.previous_epoch) = (0, 0);
        cx.outbox.record(CoordinatorRecord::consumer_member(&self.id, new, &member.said.to_record()));
        let target = to_record(member.target.as_ref().unwrap_or(&Partitions::new()));
        cx.outbox.record(CoordinatorRecord::target(&self.id, new, &target));
        member.target.get_or_insert_default();
        cx.outbox.record(CoordinatorRecord::current(&self.id, new, &member.current.to_record()));
        // What a client chose may be the id of another member.
        if self.remove(new).is_some() {
            cx.timers.cancel(&self.rebalance_timer(new));
        }
        self.put_in(new, member);
    }

    /// Tombstones of a member's records.
    pub(super) fn bury_member(&self, cx: &mut Context<'_>, id: &Str) {
        cx.outbox.record(CoordinatorRecord::current_tombstone(&self.id, id));
        cx.outbox.record(CoordinatorRecord::target_tombstone(&self.id, id));
        cx.outbox.record(CoordinatorRecord::consumer_member_tombstone(&self.id, id));
    }

    /// Takes over what a member says now. What it subscribes to was counted.
    fn say(&mut self, cx: &mut Context<'_>, id: &Str, said: Said) {
        cx.outbox.record(CoordinatorRecord::consumer_member(&self.id, id, &said.to_record()));
        let member = self.take_out(id).unwrap_or_default();
        self.put_in(id, Member { said, ..member });
    }

    /// Raises the epoch if a member subscribes to something else, or the topics themselves are others.
    pub(super) fn rise(&mut self, cx: &mut Context<'_>, subscription_changed: bool, known: Option<Known>) {
        let mut hash = self.metadata_hash;
        if let Some(known) = known {
            hash = known.hash();
            self.subscribed.know(known);
        }
        if subscription_changed || hash != self.metadata_hash {
            self.metadata_hash = hash;
            self.epoch = self.epoch.saturating_add(1);
            cx.outbox.record(self.epoch_record());
        }
        if self.has_partition_metadata {
            self.has_partition_metadata = false;
            cx.outbox.record(CoordinatorRecord::partition_metadata_tombstone(&self.id));
        }
    }

    /// Partitions were not dealt just now. A clock that went back does not make members wait.
    fn may_deal(&self, cx: &Context<'_>) -> bool {
        let interval = i64::from(cx.options.group_consumer_assignment_interval_ms);
        let since = cx.now.wall.0.saturating_sub(self.dealt_at);
        self.dealt_at == 0 || since < 0 || since >= interval
    }

    /// Deals all partitions anew.
    fn deal(&mut self, cx: &mut Context<'_>) {
        let dealt = self.dealt(self.assignor(cx.options));
        for ((id, member), target) in self.members.iter_mut().zip(dealt) {
            if member.target.as_ref() != Some(&target) {
                cx.outbox.record(CoordinatorRecord::target(&self.id, id, &to_record(&target)));
                member.target = Some(target);
            }
        }
        self.target_epoch = self.epoch;
        self.dealt_at = cx.now.wall.0;
        cx.outbox.record(self.target_epoch_record());
    }

    /// What each member is to have, in the order of members.
    fn dealt(&self, assignor: Assignor) -> Vec<Partitions> {
        let nothing = Partitions::new();
        let mut numbers: Map<(&[Str], &Str), usize> = Map::default();
        let mut lists: Vec<List> = Vec::new();
        let mut players = Vec::with_capacity(self.members.len());
        for (id, Member { said, target, .. }) in &self.members {
            let list = *numbers.entry((&said.topics, &said.regex)).or_insert_with(|| {
                let mut list: List = self.subscribed.of(said).collect();
                list.sort_unstable();
                list.dedup();
                lists.push(list);
                lists.len() - 1
            });
            let had = target.as_ref().unwrap_or(&nothing);
            players.push(Player { id, instance_id: said.instance_id.as_deref(), list, had });
        }
        assign(assignor, &players, &lists)
    }

    /// One step of the member towards what it is to have. True if something else is assigned to it then.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        id: &Str,
        subscription_changed: bool,
        heartbeat: &ConsumerHeartbeat,
    ) -> bool {
        let member = self.members.get(id).expect("it was put in");
        if !subscription_changed && member.current.is_reconciled_to(self.target_epoch) {
            return false;
        }
        let nothing = Partitions::new();
        let aim = Aim {
            epoch: self.target_epoch,
            target: member.target.as_ref().unwrap_or(&nothing),
            subscribed: &self.subscribed.ids_of(&member.said),
            subscription_changed,
            owned: heartbeat.owned.as_deref(),
        };
        let taken = |topic: TopicId, partition| self.taken.has(topic, partition);
        let Some(next) = reconcile(&member.current, &aim, taken) else { return false };
        cx.outbox.record(CoordinatorRecord::current(&self.id, id, &next.to_record()));
        let timer = self.rebalance_timer(id);
        match next.state {
            MemberState::Unrevoked => cx.timers.set(timer, cx.now.mono + revocation_timeout(&member.said)),
            MemberState::Stable | MemberState::Unreleased => cx.timers.cancel(&timer),
        }
        let member = self.members.get_mut(id).expect("seen above");
        self.taken.remove(&member.current);
        self.taken.add(&next);
        let changed = member.current.assigned != next.assigned;
        member.current = next;
        changed
    }

    /// Sets the timers of all members, after a start.
    pub fn expect_all(&self, cx: &mut Context<'_>) {
        let session = millis(cx.options.group_consumer_session_timeout_ms);
        for (id, member) in &self.members {
            cx.timers.set(Timer::Session { group: self.id.clone(), member: id.clone() }, cx.now.mono + session);
            if member.current.state == MemberState::Unrevoked && member.current.epoch >= 0 {
                cx.timers.set(self.rebalance_timer(id), cx.now.mono + revocation_timeout(&member.said));
            }
        }
    }
}

fn revocation_timeout(said: &Said) -> Duration {
    millis(said.rebalance_timeout_ms)
}

impl ConsumerHeartbeat {
    /// What the owner found for an expression.
    fn found(&self, regex: &str) -> Option<&Resolved> {
        self.resolved.iter().find(|found| *found.regex == *regex)
    }

    /// The member's id: its own, or one that is made for it.
    fn id(&self) -> Str {
        if !self.member_id.is_empty() {
            return self.member_id.clone();
        }
        // Kafka makes these ids as it makes those of topics.
        Str::from(TopicId::from_random(self.member_uuid).to_string())
    }

    /// The member comes, or may say something else of itself than before. What a member that only goes on writes is small.
    pub fn may_write_much(&self) -> bool {
        let says = self.subscribed_topics.is_some() || self.subscribed_regex.is_some();
        self.member_epoch == 0 || says || self.rack_id.is_some() || self.server_assignor.is_some()
    }

    /// It says everything that a member that joins says.
    fn is_full(&self) -> bool {
        self.rebalance_timeout_ms != -1
            && (self.subscribed_topics.is_some() || self.subscribed_regex.is_some())
            && self.owned.is_some()
    }

    /// The rules that do not depend on the group, in Kafka's order.
    pub(super) fn check(&self, options: &Options) -> Result<(), GroupError> {
        let blank = |text: &str| text.trim_matches(|c: char| c <= ' ').is_empty();
        let invalid = |what| Err(GroupError::InvalidRequest(what));
        if (self.member_epoch > 0 || self.member_epoch == -1) && blank(&self.member_id) {
            return invalid("A member that has joined must give its id.");
        }
        if blank(&self.group) {
            return invalid("The group needs a name.");
        }
        if self.group_instance_id.as_deref().is_some_and(blank) {
            return invalid("An instance id that is given must not be blank.");
        }
        if self.rack_id.as_deref().is_some_and(blank) {
            return invalid("A rack that is given must not be blank.");
        }
        match self.member_epoch {
            0 if self.rebalance_timeout_ms == -1 => {
                return invalid("A member that joins must give its rebalance timeout.");
            }
            0 if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
                return invalid("A member that joins has no partitions, and must say so with an empty list.");
            }
            0 if self.subscribed_topics.is_none() && self.subscribed_regex.is_none() => {
                return invalid(
                    "A member that joins must subscribe to names of topics, to an expression, or to an empty list of names.",
                );
            }
            -2 if self.group_instance_id.is_none() => {
                return invalid("Only a member with an instance id can leave for a while (epoch -2).");
            }
            epoch if epoch < -2 => return invalid("There are no epochs below -2."),
            _ => {}
        }
        let allowed = |name: &Str| options.group_consumer_assignors.iter().any(|assignor| assignor.name() == &**name);
        if self.server_assignor.as_ref().is_some_and(|name| !allowed(name)) {
            return Err(GroupError::UnsupportedAssignor);
        }
        Ok(())
    }
}

/// Bytes that one partition takes in the record of a member that has it, with its epoch.
const RECORD_PARTITION_BYTES: usize = 8;
/// Bytes that a topic takes in it: id, counts and tags.
const RECORD_TOPIC_BYTES: usize = 32;
/// Bytes of such a record besides the two names in its key, at most: counts, and what a batch adds.
const RECORD_BYTES: usize = 128;
/// How often what a member says counts at most: with the member, among the names of all, and among the topics that are known.
const COUNTED_TIMES: usize = 4;
