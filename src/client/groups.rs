//! Consumer groups and the offsets that they committed.

use super::{Client, ClientError, Result, check};
use crate::protocol::messages::consumer_group_describe;
use crate::protocol::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_fetch::OffsetFetchRequestGroup;
use crate::protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DeleteGroupsRequest, DescribeGroupsRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use crate::protocol::{ErrorCode, Message, Reader};

/// A group as it is listed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ListedGroup {
    /// Its name.
    pub group: String,
    /// `Stable`, `Empty` and so on.
    pub state: String,
    /// `consumer`, `connect` and so on.
    pub protocol_type: String,
    /// `classic` or `consumer`.
    pub kind: String,
}

/// A group as it is described.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupView {
    /// Its name.
    pub group: String,
    /// `Stable`, `Empty`, `Dead` and so on.
    pub state: String,
    /// `consumer`, `connect` and so on.
    pub protocol_type: String,
    /// The assignment strategy.
    pub protocol: String,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    /// The group's epoch and that of its assignment, where there are epochs.
    pub epochs: Option<(i32, i32)>,
    /// Who is in it.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it is.
    pub host: String,
    /// Its epoch, where there are epochs.
    pub epoch: Option<i32>,
    /// What it was given, if it is a consumer.
    pub partitions: Vec<(String, i32)>,
    /// What it is to have in the end, where that is said.
    pub target: Vec<(String, i32)>,
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next record to read.
    pub offset: i64,
}

impl Client {
    /// All groups of the cluster, by name.
    pub fn groups(&mut self) -> Result<Vec<ListedGroup>> {
        let mut groups = Vec::new();
        for broker in self.everybody()? {
            let answer = self.ask_at(&broker, &ListGroupsRequest::default())?;
            check(answer.error_code, None, || "the list of groups".into())?;
            groups.extend(answer.groups.iter().map(|group| ListedGroup {
                group: group.group_id.to_string(),
                state: group.group_state.to_string(),
                protocol_type: group.protocol_type.to_string(),
                kind: group.group_type.to_string(),
            }));
        }
        groups.sort();
        Ok(groups)
    }

    /// One group, if there is one, of whichever protocol.
    pub fn describe_group(&mut self, group: &str) -> Result<Option<GroupView>> {
        let coordinator = self.coordinator(group)?;
        match self.describe_consumer_group(&coordinator, group)? {
            Some(found) => Ok(Some(found)),
            None => self.describe_classic_group(&coordinator, group),
        }
    }

    /// Absent for a group of another protocol, and from brokers that do not know this one.
    fn describe_consumer_group(&mut self, coordinator: &str, group: &str) -> Result<Option<GroupView>> {
        let request = ConsumerGroupDescribeRequest { group_ids: vec![group.into()], ..Default::default() };
        let answer = match self.ask_at(coordinator, &request) {
            Err(ClientError::NotServed { .. }) => return Ok(None),
            answer => answer?,
        };
        let Some(found) = answer.groups.first() else { return Ok(None) };
        // An empty name is that of a group that old clients made.
        let no_such = [ErrorCode::GroupIdNotFound, ErrorCode::UnsupportedVersion, ErrorCode::InvalidGroupId];
        if no_such.iter().any(|code| code.code() == found.error_code) {
            return Ok(None);
        }
        check(found.error_code, found.error_message.as_deref(), || format!("group {group:?}"))?;
        let members = found.members.iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            instance: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            epoch: Some(member.member_epoch),
            partitions: partitions(&member.assignment),
            target: partitions(&member.target_assignment),
        });
        Ok(Some(GroupView {
            group: found.group_id.to_string(),
            state: found.group_state.to_string(),
            protocol_type: "consumer".into(),
            protocol: found.assignor_name.to_string(),
            kind: "consumer",
            epochs: Some((found.group_epoch, found.assignment_epoch)),
            members: members.collect(),
        }))
    }

    fn describe_classic_group(&mut self, coordinator: &str, group: &str) -> Result<Option<GroupView>> {
        let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
        let answer = self.ask_at(coordinator, &request)?;
        let found = answer.groups.first();
        let found = found.ok_or_else(|| ClientError::Usage(format!("no answer for group {group:?}")))?;
        // Old versions say it with the state, new ones with GROUP_ID_NOT_FOUND.
        if &*found.group_state == "Dead" {
            return Ok(None);
        }
        check(found.error_code, found.error_message.as_deref(), || format!("group {group:?}"))?;
        let members = found.members.iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            instance: member.group_instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            epoch: None,
            partitions: assigned(&member.member_assignment),
            target: Vec::new(),
        });
        Ok(Some(GroupView {
            group: found.group_id.to_string(),
            state: found.group_state.to_string(),
            protocol_type: found.protocol_type.to_string(),
            protocol: found.protocol_data.to_string(),
            kind: "classic",
            epochs: None,
            members: members.collect(),
        }))
    }

    /// The offsets that a group committed, by topic and partition.
    pub fn group_offsets(&mut self, group: &str) -> Result<Vec<GroupOffset>> {
        let coordinator = self.coordinator(group)?;
        let asked = OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
        let answer = self.ask_at(&coordinator, &OffsetFetchRequest { groups: vec![asked], ..Default::default() })?;
        let mut offsets = Vec::new();
        for found in &answer.groups {
            check(found.error_code, None, || format!("offsets of group {group:?}"))?;
            for (topic, partition) in found.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p))) {
                check(partition.error_code, None, || format!("offset of {topic}-{}", partition.partition_index))?;
                let (partition, offset) = (partition.partition_index, partition.committed_offset);
                offsets.push(GroupOffset { topic: topic.to_string(), partition, offset });
            }
        }
        offsets.sort();
        Ok(offsets)
    }

    /// Commits offsets for a group that nobody is in.
    pub fn commit_offsets(&mut self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        let coordinator = self.coordinator(group)?;
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for GroupOffset { topic, partition, offset } in offsets {
            let committed = OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_metadata: Some("".into()),
                ..Default::default()
            };
            match topics.iter_mut().find(|listed| *listed.name == **topic) {
                Some(listed) => listed.partitions.push(committed),
                None => topics.push(OffsetCommitRequestTopic {
                    name: topic.into(),
                    partitions: vec![committed],
                    ..Default::default()
                }),
            }
        }
        let request = OffsetCommitRequest { group_id: group.into(), topics, ..Default::default() };
        for topic in self.ask_at(&coordinator, &request)?.topics {
            for partition in &topic.partitions {
                check(partition.error_code, None, || {
                    format!("offset of group {group:?} for {}-{}", topic.name, partition.partition_index)
                })?;
            }
        }
        Ok(())
    }

    /// Deletes a group that nobody is in, with its offsets.
    pub fn delete_group(&mut self, group: &str) -> Result<()> {
        let coordinator = self.coordinator(group)?;
        let request = DeleteGroupsRequest { groups_names: vec![group.into()] };
        for result in self.ask_at(&coordinator, &request)?.results {
            check(result.error_code, None, || format!("group {group:?}"))?;
        }
        Ok(())
    }
}

fn partitions(assignment: &consumer_group_describe::Assignment) -> Vec<(String, i32)> {
    let topics = assignment.topic_partitions.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|&number| (topic.topic_name.to_string(), number))).collect()
}

/// The partitions in a consumer's assignment. Whatever is not one of a consumer has none.
fn assigned(assignment: &bytes::Bytes) -> Vec<(String, i32)> {
    let mut reader = Reader::new(assignment);
    // Two bytes of version; all versions begin with the same fields.
    let decoded = reader.i16().and_then(|_| ConsumerProtocolAssignment::decode(&mut reader, 0));
    let Ok(decoded) = decoded else { return Vec::new() };
    let topics = decoded.assigned_partitions.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|&partition| (topic.topic.to_string(), partition))).collect()
}
