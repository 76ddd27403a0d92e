//! A group out of its records, whatever their order: a log that was compacted keeps the last one of each key, wherever that stands.

use std::collections::BTreeMap;

use super::ConsumerGroup;
use super::member::{Current, Member, Said, from_record};
use crate::coordinator::records::{
    ConsumerGroupMetadataValue, ConsumerMemberMetadataValue, CurrentAssignmentValue, TargetAssignmentMemberValue,
    TargetAssignmentMetadataValue,
};
use crate::protocol::Str;

/// The last records of a group.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Without it there is no group, unless there are members.
    pub group: Option<ConsumerGroupMetadataValue>,
    /// There are topics as brokers before 4.1 kept them.
    pub partition_metadata: bool,
    /// The epoch of what members are to have.
    pub target: Option<TargetAssignmentMetadataValue>,
    /// By member id.
    pub members: BTreeMap<Str, MemberParts>,
}

/// The last records of a member.
#[derive(Clone, Debug, Default)]
pub struct MemberParts {
    /// Without it there is no member.
    pub said: Option<ConsumerMemberMetadataValue>,
    /// What it is to have.
    pub target: Option<TargetAssignmentMemberValue>,
    /// What it has.
    pub current: Option<CurrentAssignmentValue>,
}

impl Parts {
    /// A record of a member. Of one that has none any more nothing is kept: a long log is full of members that are gone.
    pub fn member(&mut self, id: Str, change: impl FnOnce(&mut MemberParts)) {
        let member = self.members.entry(id.clone()).or_default();
        change(member);
        if member.said.is_none() && member.target.is_none() && member.current.is_none() {
            self.members.remove(&id);
        }
    }

    /// There are no records any more.
    pub fn is_empty(&self) -> bool {
        self.group.is_none() && self.target.is_none() && !self.partition_metadata && self.members.is_empty()
    }

    /// The group, if there is one. A member whose own record is missing was on its way, in or out, when the broker crashed.
    pub fn build(self, id: Str) -> Option<ConsumerGroup> {
        let has_members = self.members.values().any(|member| member.said.is_some());
        if self.group.is_none() && !has_members {
            return None;
        }
        let mut group = ConsumerGroup::new(id);
        // A group whose members never subscribed to anything has neither of these records.
        if let Some(ConsumerGroupMetadataValue { epoch, metadata_hash }) = self.group {
            (group.epoch, group.metadata_hash) = (epoch, metadata_hash);
        }
        if let Some(TargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp }) = self.target {
            (group.target_epoch, group.dealt_at) = (assignment_epoch, assignment_timestamp);
        }
        group.epoch = group.epoch.max(group.target_epoch);
        group.has_partition_metadata = self.partition_metadata;
        for (id, member) in self.members {
            let Some(said) = member.said else { continue };
            let current = member.current.map(Current::from_record).unwrap_or_default();
            let member = Member { said: Said::from_record(said), current, target: member.target.map(from_record) };
            group.insert(&id, member);
        }
        Some(group)
    }
}
