//! JoinGroup: who may join, and what becomes of the group. Ids for dynamic members by KIP-394, static members by KIP-345, assignments that stay by KIP-814.

use std::time::Duration;

use super::{Context, Group, State};
use crate::base::limits::GROUP_PENDING_MEMBERS_MAX;
use crate::coordinator::command::{JoinGroup, Token};
use crate::coordinator::error::GroupError;
use crate::coordinator::member::{Member, MemberUpdate};
use crate::coordinator::options::{Options, millis};
use crate::coordinator::reply::{JoinedGroup, Reply};
use crate::protocol::Str;
use bytes::Bytes;

impl Group {
    /// A member joins, or joins again. The reply may come out of this, of another command, or of a timer.
    pub fn join(&mut self, cx: &mut Context<'_>, token: Token, join: JoinGroup) {
        if !self.accepts(cx.options, &join.member_id) {
            self.dismiss(cx, &join.member_id);
            cx.refuse_join(token, GroupError::GroupMaxSizeReached, "");
        } else if join.member_id.is_empty() {
            self.join_new(cx, token, join);
        } else {
            self.join_existing(cx, token, join);
        }
    }

    /// The group is not full, or the member has a place in it.
    fn accepts(&self, options: &Options, member_id: &str) -> bool {
        let member = self.member(member_id);
        match self.state {
            State::Empty => true,
            // Whoever joins the rebalance first has a place, even if a group that was too large is to shrink by it.
            State::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.awaiting_join() < options.members_max()
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.members().len() < options.members_max()
            }
        }
    }

    fn join_new(&mut self, cx: &mut Context<'_>, token: Token, join: JoinGroup) {
        if !self.supports(&join.protocol_type, &join.protocols) {
            return cx.refuse_join(token, GroupError::InconsistentGroupProtocol, "");
        }
        let new_id = join.new_member_id();
        if let Some(instance_id) = &join.group_instance_id {
            return match self.static_member(instance_id).cloned() {
                Some(old_id) => self.rejoin_static(cx, token, join, old_id, new_id),
                None => self.add_member(cx, token, join, new_id),
            };
        }
        if !join.require_known_member_id {
            return self.add_member(cx, token, join, new_id);
        }
        // Ids of Kafka have no bound of their own; ours keep those from growing who ask and never come back.
        if self.pending() >= GROUP_PENDING_MEMBERS_MAX {
            return cx.refuse_join(token, GroupError::GroupMaxSizeReached, "");
        }
        cx.expect_member(&self.id, &new_id, millis(join.session_timeout_ms));
        cx.refuse_join(token, GroupError::MemberIdRequired, &new_id);
        self.add_pending(new_id);
    }

    fn join_existing(&mut self, cx: &mut Context<'_>, token: Token, join: JoinGroup) {
        let id = join.member_id.clone();
        if !self.supports(&join.protocol_type, &join.protocols) {
            return cx.refuse_join(token, GroupError::InconsistentGroupProtocol, &id);
        }
        if self.is_pending(&id) {
            if join.group_instance_id.is_some() {
                // The id was given to a dynamic member.
                return cx.refuse_join(token, GroupError::UnknownServerError, &id);
            }
            return self.add_member(cx, token, join, id);
        }
        if let Err(error) = self.validate_member(&id, join.group_instance_id.as_ref()) {
            return cx.refuse_join(token, error, &id);
        }
        let unchanged = self.member(&id).is_some_and(|member| member.protocols == join.protocols);
        let stays = match self.state {
            State::Empty => return cx.refuse_join(token, GroupError::UnknownMemberId, &id),
            State::PreparingRebalance => false,
            // The member missed the answer to its JoinGroup.
            State::CompletingRebalance => unchanged,
            // A leader that joins again wants to assign anew. A follower that has nothing new to say missed the answer.
            State::Stable => unchanged && !self.is_leader(&id),
        };
        if stays {
            let joined = self.joined(&id);
            return cx.outbox.answer(token, Reply::JoinGroup(Ok(joined)));
        }
        self.update(cx, &id, join.update(), Some(token));
        self.rebalance_or_complete(cx);
    }

    fn add_member(&mut self, cx: &mut Context<'_>, token: Token, join: JoinGroup, id: Str) {
        if self.state == State::PreparingRebalance && self.previous == Some(State::Empty) {
            self.new_member_added = true;
        }
        let member = Member {
            group_instance_id: join.group_instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(token),
            awaiting_sync: None,
            is_new: true,
        };
        self.add(id.clone(), member, join.protocol_type);
        // A client may give up and come again under another id, so the wait for a new member ends before the rebalance must.
        cx.expect_member(&self.id, &id, NEW_MEMBER_JOIN_TIMEOUT);
        self.rebalance_or_complete(cx);
    }

    /// A static member came back without its id: it gets a new one. A stable group stays as it is if the protocol does.
    fn rejoin_static(&mut self, cx: &mut Context<'_>, token: Token, join: JoinGroup, old_id: Str, new_id: Str) {
        let leader_before = self.leader.clone().unwrap_or_default();
        let instance_id = join.group_instance_id.clone().expect("only static members come here");
        self.replace_static(cx, &instance_id, &old_id, &new_id);
        let member = self.member(&new_id).expect("just replaced");
        cx.expect_member(&self.id, &new_id, millis(member.session_timeout_ms));
        let before = MemberUpdate {
            protocols: member.protocols.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
        };
        if self.state != State::Stable {
            self.update(cx, &new_id, join.update(), Some(token));
            return match self.state {
                State::CompletingRebalance => self.prepare_rebalance(cx),
                _ => self.complete_if_all_joined(cx),
            };
        }
        self.update(cx, &new_id, join.update(), None);
        if self.select_protocol() != self.protocol_name {
            self.update(cx, &new_id, join.update(), Some(token));
            return self.rebalance_or_complete(cx);
        }
        let record = self.record();
        if record.bytes_max() > cx.options.record_bytes_max() {
            self.update(cx, &new_id, before, None);
            self.replace_static(cx, &instance_id, &new_id, &old_id);
            let member = self.member(&old_id).expect("just replaced");
            cx.expect_member(&self.id, &old_id, millis(member.session_timeout_ms));
            return cx.refuse_join(token, GroupError::UnknownServerError, "");
        }
        cx.outbox.record(record);
        let joined = self.joined(&new_id);
        let joined = if join.can_skip_assignment {
            JoinedGroup { skip_assignment: self.is_leader(&new_id), ..joined }
        } else {
            // Told of the leader before, a leader takes itself for a follower and leaves the assignment alone.
            JoinedGroup { leader: leader_before, members: Vec::new(), ..joined }
        };
        cx.outbox.answer(token, Reply::JoinGroup(Ok(joined)));
    }
}

impl JoinGroup {
    /// The id that the member would get: after its instance or its client.
    pub fn new_member_id(&self) -> Str {
        let name = self.group_instance_id.as_ref().unwrap_or(&self.client_id);
        Str::from(format!("{name}-{}", uuid::Builder::from_random_bytes(self.member_uuid).as_uuid()))
    }

    /// What the member says of itself.
    fn update(&self) -> MemberUpdate {
        MemberUpdate {
            protocols: self.protocols.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
        }
    }
}

/// How long a member is waited for that has not been through a rebalance, even if the rebalance takes longer.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);
