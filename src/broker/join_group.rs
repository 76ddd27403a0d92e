//! JoinGroup (key 11): a member of a classic group, or one that wants to be. Waits for the others.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::dispatch::Held;
use super::errors;
use super::throttle::throttle_ms;
use crate::coordinator::{self, JoinRefused, Protocol, Reply};
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::protocol::{ErrorCode, Str};

/// Answers a JoinGroup request. What the leader is told of many members is charged.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: JoinGroupRequest,
) -> (JoinGroupResponse, Option<Held>) {
    let response = joined(broker, context, request).await;
    let of_member = |member: &JoinGroupResponseMember| member.metadata.len() + 2 * member.member_id.len();
    let held = broker.hold_answer(response.members.iter().map(of_member).sum()).await;
    (response, held)
}

async fn joined(broker: &Broker, context: &RequestContext, request: JoinGroupRequest) -> JoinGroupResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    if !allowed(context, Operation::Read, Resource::Group(&request.group_id)) {
        return JoinGroupResponse { throttle_time_ms, ..refused(ErrorCode::GroupAuthorizationFailed, Str::default()) };
    }
    let group = request.group_id.clone();
    let reply = broker.shard().group_command(&group, command(broker, context, request)).await;
    let response = match reply {
        Reply::JoinGroup(Ok(joined)) => JoinGroupResponse {
            error_code: ErrorCode::None.code(),
            generation_id: joined.generation_id,
            protocol_type: joined.protocol_type,
            protocol_name: joined.protocol_name.or_else(|| (context.version < NO_NAME_FROM).then(Str::default)),
            leader: joined.leader,
            skip_assignment: joined.skip_assignment,
            member_id: joined.member_id,
            members: joined
                .members
                .into_iter()
                .map(|member| JoinGroupResponseMember {
                    member_id: member.member_id,
                    group_instance_id: member.group_instance_id,
                    metadata: member.metadata,
                })
                .collect(),
            ..Default::default()
        },
        Reply::JoinGroup(Err(JoinRefused { error, member_id })) => refused(errors::group(error), member_id),
        other => unreachable!("a JoinGroup was answered with {other:?}"),
    };
    JoinGroupResponse { throttle_time_ms, ..response }
}

fn command(broker: &Broker, context: &RequestContext, request: JoinGroupRequest) -> coordinator::Command {
    let rebalance_timeout_ms = match context.version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    let protocols = request.protocols.into_iter();
    coordinator::Command::JoinGroup(coordinator::JoinGroup {
        group: request.group_id,
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: context.client_host(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type,
        protocols: protocols.map(|one| Protocol { name: one.name, metadata: one.metadata }).collect(),
        require_known_member_id: context.version >= KNOWN_MEMBER_FROM,
        can_skip_assignment: context.version >= SKIP_ASSIGNMENT_FROM,
        member_uuid: broker.random_uuid(),
    })
}

fn refused(code: ErrorCode, member_id: Str) -> JoinGroupResponse {
    JoinGroupResponse { error_code: code.code(), protocol_name: Some(Str::default()), member_id, ..Default::default() }
}

/// From here on a dynamic member must come back with the id that it was given (KIP-394).
const KNOWN_MEMBER_FROM: i16 = 4;
/// From here on the name of the protocol may be absent (KIP-559).
const NO_NAME_FROM: i16 = 7;
/// From here on a leader may be told not to assign (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;
