//! Heartbeat (key 12): a member of a classic group is alive.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors;
use super::throttle::throttle_ms;
use crate::coordinator::{self, Command, GroupError, Reply};
use crate::protocol::ErrorCode;
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

/// Answers a Heartbeat request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let code = if allowed(context, Operation::Read, Resource::Group(&request.group_id)) {
        heard(broker, request).await
    } else {
        ErrorCode::GroupAuthorizationFailed
    };
    HeartbeatResponse { throttle_time_ms, error_code: code.code() }
}

async fn heard(broker: &Broker, request: HeartbeatRequest) -> ErrorCode {
    let heartbeat = Command::Heartbeat(coordinator::Heartbeat {
        group: request.group_id.clone(),
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        generation_id: request.generation_id,
    });
    match broker.shard().group_command(&request.group_id, heartbeat).await {
        // As in Kafka: nobody is to leave a group because its coordinator has just come up.
        Reply::Heartbeat(Ok(()) | Err(GroupError::CoordinatorLoadInProgress)) => ErrorCode::None,
        Reply::Heartbeat(Err(error)) => errors::group(error),
        other => unreachable!("a heartbeat was answered with {other:?}"),
    }
}
