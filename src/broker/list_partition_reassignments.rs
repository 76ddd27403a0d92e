//! ListPartitionReassignments (key 46): nothing moves where there is one broker (KIP-455).

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use crate::protocol::ErrorCode;
use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

/// Answers a ListPartitionReassignments request.
pub async fn handle(
    _broker: &Broker,
    context: &RequestContext,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let code = match allowed(context, Operation::Describe, Resource::Cluster) {
        true => ErrorCode::None,
        false => ErrorCode::ClusterAuthorizationFailed,
    };
    ListPartitionReassignmentsResponse {
        throttle_time_ms: throttle_ms(context, context.request_bytes),
        error_code: code.code(),
        ..Default::default()
    }
}
