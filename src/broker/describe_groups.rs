//! DescribeGroups (key 15): groups, their states and members.

use super::Broker;
use super::authorize::{Operation, Resource, allowed, authorized_operations};
use super::context::RequestContext;
use super::errors;
use super::throttle::throttle_ms;
use crate::base::{LogId, Map};
use crate::coordinator::{self, Command, GroupError, Reply};
use crate::protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::Shard;

/// Answers a DescribeGroups request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    let mut asked = Vec::new();
    for group in request.groups {
        match allowed(context, Operation::Describe, Resource::Group(&group)) {
            true => asked.push(group),
            false => groups.push(refused(group, ErrorCode::GroupAuthorizationFailed)),
        }
    }
    for (log, names) in by_coordinator(broker, asked) {
        let Some(log) = log else {
            groups.extend(names.into_iter().map(|name| refused(name, ErrorCode::NotCoordinator)));
            continue;
        };
        let describe = Command::DescribeGroups { groups: names.clone() };
        match broker.shard().coordinator_command(log, describe).await {
            Reply::DescribeGroups(Ok(described)) => {
                groups.extend(described.into_iter().map(|group| answer(context.version, group)));
            }
            Reply::DescribeGroups(Err(error)) => {
                groups.extend(names.into_iter().map(|name| refused(name, errors::group(error))));
            }
            other => unreachable!("a DescribeGroups was answered with {other:?}"),
        }
    }
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == ErrorCode::None.code()) {
            group.authorized_operations = authorized_operations(context, Resource::Group(&group.group_id));
        }
    }
    DescribeGroupsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), groups }
}

/// Groups by the logs of their coordinators, each once; without a log as long as the topic of the groups was not made.
pub fn by_coordinator(broker: &Broker, groups: Vec<Str>) -> Vec<(Option<LogId>, Vec<Str>)> {
    let image = broker.shard().image();
    let mut places: Map<Option<LogId>, usize> = Map::default();
    let mut sorted: Vec<(Option<LogId>, Vec<Str>)> = Vec::new();
    for group in groups {
        let log = Shard::group_log(&image, &group);
        let place = *places.entry(log).or_insert(sorted.len());
        if place == sorted.len() {
            sorted.push((log, Vec::new()));
        }
        sorted[place].1.push(group);
    }
    sorted
}

fn answer(version: i16, group: coordinator::DescribedGroup) -> DescribedGroup {
    let error = group.error.filter(|error| *error != GroupError::GroupIdNotFound || version >= NOT_FOUND_FROM);
    let members = group.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    DescribedGroup {
        error_code: error.map_or(ErrorCode::None, errors::group).code(),
        error_message: error.map(|_| format!("Group {} not found.", group.group).into()),
        group_state: group.state.into(),
        protocol_type: group.protocol_type,
        protocol_data: group.protocol,
        members: members.collect(),
        group_id: group.group,
        authorized_operations: i32::MIN,
    }
}

fn refused(group_id: Str, code: ErrorCode) -> DescribedGroup {
    DescribedGroup { error_code: code.code(), group_id, authorized_operations: i32::MIN, ..Default::default() }
}

/// The first version in which an unknown group is an error (KIP-1043); below, the state `Dead` says it.
const NOT_FOUND_FROM: i16 = 6;
