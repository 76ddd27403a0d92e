//! DescribeGroups, ListGroups and DeleteGroups.

use super::census::STATES;
use super::command::ListGroups;
use super::consumer::{CONSUMER_TYPE, ConsumerGroup};
use super::error::GroupError;
use super::group::{DEAD, Group, State};
use super::handle::Coordinator;
use super::line::Outbox;
use super::offsets::View;
use super::records::CoordinatorRecord;
use super::reply::{DeletedGroup, DescribedGroup, DescribedMember, ListedGroup};
use crate::base::{PartitionIndex, Set};
use crate::protocol::Str;
use bytes::Bytes;

impl Coordinator {
    pub(super) fn describe_groups(&self, groups: Vec<Str>) -> Vec<DescribedGroup> {
        let described = each_once(groups).map(|id| match self.groups.get(&id) {
            Some(group) => group.describe(),
            None => DescribedGroup {
                group: id,
                error: Some(GroupError::GroupIdNotFound),
                state: DEAD,
                protocol_type: Str::default(),
                protocol: Str::default(),
                members: Vec::new(),
            },
        });
        described.collect()
    }

    pub(super) fn list_groups(&self, filter: &ListGroups) -> Vec<ListedGroup> {
        let is_any =
            |names: &[Str], it: &str| names.is_empty() || names.iter().any(|name| name.trim().eq_ignore_ascii_case(it));
        let classic = self.groups.values().filter(|_| is_any(&filter.types, CLASSIC)).map(|group| ListedGroup {
            group: group.id.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state.name(),
            group_type: CLASSIC,
        });
        let consumers = self.consumers.values().filter(|_| is_any(&filter.types, CONSUMER_TYPE));
        let listed = classic.chain(consumers.map(ConsumerGroup::listed));
        listed.filter(|group| is_any(&filter.states, group.state)).collect()
    }

    pub(super) fn delete_groups(&mut self, groups: Vec<Str>, outbox: &mut Outbox) -> Vec<DeletedGroup> {
        let deleted = each_once(groups).map(|group| DeletedGroup { result: self.delete_group(&group, outbox), group });
        deleted.collect()
    }

    fn delete_group(&mut self, id: &Str, outbox: &mut Outbox) -> Result<(), GroupError> {
        let empty = match (self.groups.get(id), self.consumers.get(id)) {
            (Some(group), _) => group.state == State::Empty,
            (None, Some(group)) => group.is_empty(),
            (None, None) => return Err(GroupError::GroupIdNotFound),
        };
        if !empty {
            return Err(GroupError::NonEmptyGroup);
        }
        // The group's own tombstone comes last: if the batch is cut and the broker crashes between, the group is there to be deleted again.
        for (topic, partition) in self.offsets_of(id) {
            self.delete_offset(id, &topic, partition, outbox);
        }
        self.bury(id, outbox);
        Ok(())
    }

    /// Writes the tombstones of a group without members, and forgets it.
    pub(super) fn bury(&mut self, id: &Str, outbox: &mut Outbox) {
        if self.groups.contains_key(id) {
            outbox.record(CoordinatorRecord::group_tombstone(id));
            self.remove(id);
        }
        self.give_way(id, outbox);
    }

    /// The partitions for which a group has offsets.
    fn offsets_of(&self, group: &str) -> Vec<(Str, PartitionIndex)> {
        let Some(offsets) = self.offsets.group(group) else { return Vec::new() };
        let all = offsets
            .topics(View::Latest)
            .flat_map(|topic| offsets.topic(View::Latest, topic).map(|(partition, _)| (topic.clone(), partition)));
        all.collect()
    }
}

impl Group {
    fn describe(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        let members = self.members().iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(self.protocol_name.as_ref()) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            group: self.id.clone(),
            error: None,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: if stable { self.protocol_name.clone().unwrap_or_default() } else { Str::default() },
            members: members.collect(),
        }
    }
}

/// The groups of a request. One that is named twice is answered once: else a small request could ask for an answer of any size.
pub(super) fn each_once(groups: Vec<Str>) -> impl Iterator<Item = Str> {
    let mut seen = Set::default();
    groups.into_iter().filter(move |group| seen.insert(group.clone()))
}

/// The type of groups of the classic protocol, as KIP-848 names it.
const CLASSIC: &str = "classic";

impl ListGroups {
    /// What filters can mean, however many other names they have besides: each partition's coordinator gets a copy, and holds every group against it.
    pub fn of(states: &[Str], types: &[Str]) -> Self {
        Self { states: known(states, &STATES, DEAD), types: known(types, &[CLASSIC, CONSUMER_TYPE], NO_TYPE) }
    }
}

/// The names among `names` that a filter has. One that has none of them lets nothing through, as `none` does, which no group is listed with.
fn known(filter: &[Str], names: &[&str], none: &str) -> Vec<Str> {
    let has = |name: &&&str| filter.iter().any(|asked| asked.trim().eq_ignore_ascii_case(name));
    let known: Vec<Str> = names.iter().filter(has).map(|name| Str::from(*name)).collect();
    if known.is_empty() && !filter.is_empty() { vec![none.into()] } else { known }
}

const NO_TYPE: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    /// Every group of every partition was held against every name, for as long as a request can make that.
    #[test]
    fn a_filter_is_what_it_knows() {
        let states = |asked: &[&str]| -> Vec<String> {
            let asked: Vec<Str> = asked.iter().map(|name| Str::from(*name)).collect();
            known(&asked, &STATES, DEAD).iter().map(|name| name.to_string()).collect()
        };
        assert!(states(&[]).is_empty(), "everything");
        assert_eq!(states(&["stable ", "x", "STABLE", "Empty"]), ["Empty", "Stable"]);
        assert_eq!(states(&["x"]), ["Dead"]);
    }
}
