//! SyncGroup, Heartbeat and LeaveGroup: what members do between two rebalances.

use bytes::Bytes;

use super::{Context, Group, State};
use crate::base::Map;
use crate::coordinator::command::{Heartbeat, LeaveGroup, MemberIdentity, SyncGroup, Token};
use crate::coordinator::error::GroupError;
use crate::coordinator::options::millis;
use crate::coordinator::reply::{LeftMember, Reply};
use crate::protocol::Str;

impl Group {
    /// A member asks for its assignment. It waits until the leader has brought it.
    pub fn sync(&mut self, cx: &mut Context<'_>, token: Token, sync: &SyncGroup) {
        let refused = match self.validate_sync(sync) {
            Err(error) => Some(error),
            Ok(()) if self.state == State::PreparingRebalance => Some(GroupError::RebalanceInProgress),
            Ok(()) => None,
        };
        if let Some(error) = refused {
            return cx.outbox.answer(token, Reply::SyncGroup(Err(error)));
        }
        self.pending_sync.remove(&sync.member_id);
        if self.pending_sync.is_empty() {
            cx.timers.cancel(&self.sync_timer());
        }
        if self.state == State::Stable {
            let member = self.member(&sync.member_id).expect("validated");
            let synced = self.synced(member);
            return cx.outbox.answer(token, Reply::SyncGroup(Ok(synced)));
        }
        self.await_sync(cx, &sync.member_id, token);
        if self.is_leader(&sync.member_id) {
            self.stabilize(cx, sync);
        }
    }

    /// The leader brought the assignment: it is on its way to the log, and the answers behind it.
    fn stabilize(&mut self, cx: &mut Context<'_>, sync: &SyncGroup) {
        let before = self.bytes();
        let assignments: Map<&str, &Bytes> =
            sync.assignments.iter().map(|(id, assignment)| (&**id, assignment)).collect();
        self.assign(&assignments);
        let record = self.record();
        let refused = if record.bytes_max() > cx.options.record_bytes_max() {
            Some(GroupError::UnknownServerError)
        } else if self.bytes().saturating_sub(before) > cx.room {
            Some(GroupError::CoordinatorNotAvailable)
        } else {
            None
        };
        if let Some(error) = refused {
            // Neither the log nor the memory takes it. Nobody gets an assignment, and the group tries again.
            self.assign(&Map::default());
            self.answer_syncs(cx, Some(error));
            return self.prepare_rebalance(cx);
        }
        cx.outbox.record(record);
        self.answer_syncs(cx, None);
        self.transition(State::Stable, cx.now.wall);
    }

    fn validate_sync(&self, sync: &SyncGroup) -> Result<(), GroupError> {
        self.validate_member(&sync.member_id, sync.group_instance_id.as_ref())?;
        if sync.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        let differ = |said: &Option<Str>, is: &Option<Str>| said.is_some() && is.is_some() && said != is;
        if differ(&sync.protocol_type, &self.protocol_type) || differ(&sync.protocol_name, &self.protocol_name) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// A member is alive, and learns whether it must join again.
    pub fn heartbeat(&mut self, cx: &mut Context<'_>, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        self.validate_member(&heartbeat.member_id, heartbeat.group_instance_id.as_ref())?;
        if heartbeat.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        self.alive(cx, &heartbeat.member_id);
        if self.state == State::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// The member's session begins anew.
    pub fn alive(&mut self, cx: &mut Context<'_>, id: &Str) {
        if let Some(member) = self.member(id) {
            cx.expect_member(&self.id, id, millis(member.session_timeout_ms));
        }
    }

    /// Members leave, each with an answer of its own.
    pub fn leave(&mut self, cx: &mut Context<'_>, leave: LeaveGroup) -> Vec<LeftMember> {
        let mut left = Vec::with_capacity(leave.members.len());
        for member in leave.members {
            let result = self.leave_one(cx, &member);
            left.push(LeftMember { member, result });
        }
        if left.iter().any(|member| member.result.is_ok()) {
            match self.state {
                State::Stable | State::CompletingRebalance => self.rebalance_or_complete(cx),
                State::PreparingRebalance => self.complete_if_all_joined(cx),
                State::Empty => {}
            }
        }
        left
    }

    fn leave_one(&mut self, cx: &mut Context<'_>, member: &MemberIdentity) -> Result<(), GroupError> {
        let id = if member.member_id.is_empty() {
            let instance_id = member.group_instance_id.as_ref().ok_or(GroupError::UnknownMemberId)?;
            self.static_member(instance_id).ok_or(GroupError::UnknownMemberId)?.clone()
        } else {
            if !self.is_pending(&member.member_id) {
                self.validate_member(&member.member_id, member.group_instance_id.as_ref())?;
            }
            member.member_id.clone()
        };
        self.dismiss(cx, &id);
        Ok(())
    }
}
