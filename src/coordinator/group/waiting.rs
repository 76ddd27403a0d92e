//! Members that wait: for a generation, after JoinGroup, and for their assignment, after SyncGroup. And what they are told.

use super::{Context, Group};
use crate::coordinator::command::Token;
use crate::coordinator::error::GroupError;
use crate::coordinator::member::Member;
use crate::coordinator::options::millis;
use crate::coordinator::reply::{JoinRefused, JoinedGroup, JoinedMember, Reply, SyncedGroup};
use crate::protocol::Str;

impl Group {
    /// Answers a member's JoinGroup, if it waits.
    pub fn answer_join(&mut self, cx: &mut Context<'_>, id: &str, joined: JoinedGroup) {
        let token = self.members.get_mut(id).and_then(|member| member.awaiting_join.take());
        if let Some(token) = token {
            self.awaiting_join -= 1;
            cx.outbox.answer(token, Reply::JoinGroup(Ok(joined)));
        }
    }

    /// Answers every SyncGroup that waits, and expects the members to live on.
    pub fn answer_syncs(&mut self, cx: &mut Context<'_>, error: Option<GroupError>) {
        let waiting: Vec<(Str, Token)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.awaiting_sync.take()?)))
            .collect();
        for (id, token) in waiting {
            let member = &self.members[&id];
            let reply = match error {
                Some(error) => Err(error),
                None => Ok(self.synced(member)),
            };
            cx.outbox.answer(token, Reply::SyncGroup(reply));
            cx.expect_member(&self.id, &id, millis(member.session_timeout_ms));
        }
    }

    /// Lets a member's SyncGroup wait.
    pub fn await_sync(&mut self, cx: &mut Context<'_>, id: &str, token: Token) {
        let member = self.members.get_mut(id).expect("the caller found the member");
        if let Some(before) = member.awaiting_sync.replace(token) {
            // The client asks again, so it gave the older request up.
            cx.outbox.answer(before, Reply::SyncGroup(Err(GroupError::RebalanceInProgress)));
        }
    }

    /// Every waiting request, for a coordinator that ends here.
    pub fn give_up(self, error: GroupError) -> impl Iterator<Item = (Token, Reply)> {
        self.members.into_iter().flat_map(move |(member_id, member)| {
            let join =
                member.awaiting_join.map(|token| (token, Reply::JoinGroup(Err(JoinRefused { error, member_id }))));
            join.into_iter().chain(member.awaiting_sync.map(|token| (token, Reply::SyncGroup(Err(error)))))
        })
    }

    /// What a member that joined is told.
    pub fn joined(&self, id: &str) -> JoinedGroup {
        let members = if self.is_leader(id) { self.joined_members() } else { Vec::new() };
        JoinedGroup {
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.into(),
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let members = self.members.iter().map(|(id, member)| JoinedMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: member.metadata(self.protocol_name.as_ref()),
        });
        members.collect()
    }

    /// What a member is told about its part of the work.
    pub fn synced(&self, member: &Member) -> SyncedGroup {
        SyncedGroup {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: member.assignment.clone(),
        }
    }
}
