//! LeaveGroup (key 13): members leave, or are made to.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors;
use super::throttle::throttle_ms;
use crate::coordinator::{self, Command, LeftMember, Reply};
use crate::protocol::ErrorCode;
use crate::protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};

/// Answers a LeaveGroup request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let left = left(broker, context, request).await;
    let code_of = |member: &LeftMember| member.result.map_or_else(errors::group, |()| ErrorCode::None).code();
    match left {
        Err(code) => LeaveGroupResponse { throttle_time_ms, error_code: code.code(), members: Vec::new() },
        // The one member's error is that of the whole.
        Ok(members) if context.version < SEVERAL_FROM => {
            let error_code = members.first().map_or(ErrorCode::UnknownServerError.code(), code_of);
            LeaveGroupResponse { throttle_time_ms, error_code, members: Vec::new() }
        }
        Ok(members) => LeaveGroupResponse {
            throttle_time_ms,
            error_code: ErrorCode::None.code(),
            members: members
                .into_iter()
                .map(|left| MemberResponse {
                    error_code: code_of(&left),
                    member_id: left.member.member_id,
                    group_instance_id: left.member.group_instance_id,
                })
                .collect(),
        },
    }
}

async fn left(
    broker: &Broker,
    context: &RequestContext,
    request: LeaveGroupRequest,
) -> Result<Vec<LeftMember>, ErrorCode> {
    if !allowed(context, Operation::Read, Resource::Group(&request.group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let members = if context.version < SEVERAL_FROM {
        vec![coordinator::MemberIdentity { member_id: request.member_id, group_instance_id: None }]
    } else {
        let members = request.members.into_iter();
        members
            .map(|one| coordinator::MemberIdentity {
                member_id: one.member_id,
                group_instance_id: one.group_instance_id,
            })
            .collect()
    };
    let leave = Command::LeaveGroup(coordinator::LeaveGroup { group: request.group_id.clone(), members });
    match broker.shard().group_command(&request.group_id, leave).await {
        Reply::LeaveGroup(left) => left.map_err(errors::group),
        other => unreachable!("a LeaveGroup was answered with {other:?}"),
    }
}

/// The first version in which several members may leave.
const SEVERAL_FROM: i16 = 3;
