//! SyncGroup (key 14): a member asks for its part of the work; the leader brings all parts. Waits for the leader.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::dispatch::Held;
use super::errors;
use super::throttle::throttle_ms;
use crate::coordinator::{self, Command, Reply, SyncedGroup};
use crate::protocol::ErrorCode;
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// Answers a SyncGroup request. A large part of the work is charged.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> (SyncGroupResponse, Option<Held>) {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let response = match synced(broker, context, request).await {
        Ok(SyncedGroup { protocol_type, protocol_name, assignment }) => SyncGroupResponse {
            throttle_time_ms,
            error_code: ErrorCode::None.code(),
            protocol_type,
            protocol_name,
            assignment,
        },
        Err(code) => SyncGroupResponse { throttle_time_ms, error_code: code.code(), ..Default::default() },
    };
    let held = broker.hold_answer(response.assignment.len()).await;
    (response, held)
}

async fn synced(
    broker: &Broker,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> Result<SyncedGroup, ErrorCode> {
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    if context.version >= NAMED_FROM && unnamed {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    if !allowed(context, Operation::Read, Resource::Group(&request.group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let assignments = request.assignments.into_iter();
    let sync = Command::SyncGroup(coordinator::SyncGroup {
        group: request.group_id.clone(),
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        generation_id: request.generation_id,
        protocol_type: request.protocol_type,
        protocol_name: request.protocol_name,
        assignments: assignments.map(|one| (one.member_id, one.assignment)).collect(),
    });
    match broker.shard().group_command(&request.group_id, sync).await {
        Reply::SyncGroup(synced) => synced.map_err(errors::group),
        other => unreachable!("a SyncGroup was answered with {other:?}"),
    }
}

/// From here on a member says which protocol it means (KIP-559).
const NAMED_FROM: i16 = 5;
