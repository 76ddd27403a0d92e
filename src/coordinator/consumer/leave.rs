//! Members that leave, that are silent for too long, that do not give up what they must, or that somebody removes.

use super::ConsumerGroup;
use super::member::{LEFT_FOR_A_WHILE, MemberState};
use crate::coordinator::command::{ConsumerHeartbeat, LeaveGroup, MemberIdentity};
use crate::coordinator::error::GroupError;
use crate::coordinator::group::Context;
use crate::coordinator::records::CoordinatorRecord;
use crate::coordinator::reply::{ConsumerAssigned, LeftMember};
use crate::coordinator::topics::Topics;
use crate::protocol::Str;

impl ConsumerGroup {
    /// A member leaves, for ever or for a while.
    pub fn leave(
        &mut self,
        cx: &mut Context<'_>,
        topics: &dyn Topics,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<ConsumerAssigned, GroupError> {
        let id = match &heartbeat.group_instance_id {
            None => heartbeat.member_id.clone(),
            Some(instance_id) => {
                let holder = self.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
                if *holder != heartbeat.member_id {
                    return Err(GroupError::FencedInstanceId);
                }
                holder.clone()
            }
        };
        if !self.members.contains_key(&id) {
            return Err(GroupError::UnknownMemberId);
        }
        if heartbeat.group_instance_id.is_some() && heartbeat.member_epoch == LEFT_FOR_A_WHILE {
            self.leave_for_a_while(cx, &id);
        } else {
            self.dismiss(cx, topics, std::slice::from_ref(&id));
        }
        Ok(ConsumerAssigned {
            member_id: Some(id),
            member_epoch: heartbeat.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }

    /// A static member keeps its place, with what is assigned to it, until its session ends or its instance comes back.
    fn leave_for_a_while(&mut self, cx: &mut Context<'_>, id: &Str) {
        cx.timers.cancel(&self.rebalance_timer(id));
        let member = self.members.get_mut(id).expect("the caller found it");
        let left = member.current.left_for_a_while();
        self.taken.remove(&member.current);
        self.taken.add(&left);
        member.current = left;
        cx.outbox.record(CoordinatorRecord::current(&self.id, id, &member.current.to_record()));
    }

    /// Members leave by LeaveGroup, which administrators use for members of this protocol, too.
    pub fn remove_members(&mut self, cx: &mut Context<'_>, topics: &dyn Topics, leave: LeaveGroup) -> Vec<LeftMember> {
        let mut left = Vec::with_capacity(leave.members.len());
        let mut gone: Vec<Str> = Vec::new();
        for member in leave.members {
            let found = self.named(&member);
            let result = found.map(|id| gone.push(id));
            left.push(LeftMember { member, result });
        }
        gone.sort_unstable();
        gone.dedup();
        self.dismiss(cx, topics, &gone);
        left
    }

    fn named(&self, member: &MemberIdentity) -> Result<Str, GroupError> {
        let Some(instance_id) = &member.group_instance_id else {
            let known = self.members.contains_key(&member.member_id);
            return if known { Ok(member.member_id.clone()) } else { Err(GroupError::UnknownMemberId) };
        };
        let holder = self.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
        let fenced = !member.member_id.is_empty() && member.member_id != *holder;
        if fenced { Err(GroupError::FencedInstanceId) } else { Ok(holder.clone()) }
    }

    /// Why a member of the classic protocol is refused what it asks of this group: no member here speaks that protocol.
    pub fn refuse_classic(&self, member_id: &str, instance_id: Option<&Str>) -> GroupError {
        let holder = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
        let fenced = holder.is_some_and(|holder| **holder != *member_id);
        if fenced { GroupError::FencedInstanceId } else { GroupError::UnknownMemberId }
    }

    /// The timer of a member's session is due.
    pub fn session_due(&mut self, cx: &mut Context<'_>, topics: &dyn Topics, id: &Str) {
        if self.members.contains_key(id) {
            self.dismiss(cx, topics, std::slice::from_ref(id));
        }
    }

    /// The member had the time to give up what it must.
    pub fn revocation_due(&mut self, cx: &mut Context<'_>, topics: &dyn Topics, id: &Str) {
        if self.members.get(id).is_some_and(|member| member.current.state == MemberState::Unrevoked) {
            self.dismiss(cx, topics, std::slice::from_ref(id));
        }
    }

    /// Removes members; the epoch rises once for all of them.
    fn dismiss(&mut self, cx: &mut Context<'_>, topics: &dyn Topics, ids: &[Str]) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            self.remove(id).expect("the caller found it");
            cx.timers.cancel(&self.session_timer(id));
            cx.timers.cancel(&self.rebalance_timer(id));
        }
        // The epoch comes first: if the records are cut into batches and the broker crashes between, those that are left are dealt what the others had.
        let known = self.look(topics);
        self.rise(cx, true, known);
        for id in ids {
            self.bury_member(cx, id);
        }
    }
}
