//! ListGroups (key 16): the groups of this broker.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors;
use super::throttle::throttle_ms;
use crate::coordinator::ListGroups;
use crate::protocol::ErrorCode;
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

/// Answers a ListGroups request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: ListGroupsRequest) -> ListGroupsResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let filter = ListGroups::of(&request.states_filter, &request.types_filter);
    let listed = match broker.shard().list_groups(&filter).await {
        Ok(listed) => listed,
        Err(error) => {
            let error_code = errors::group(error).code();
            return ListGroupsResponse { throttle_time_ms, error_code, groups: Vec::new() };
        }
    };
    let all = allowed(context, Operation::Describe, Resource::Cluster);
    let may = |group: &str| all || allowed(context, Operation::Describe, Resource::Group(group));
    let mut groups: Vec<_> = listed
        .into_iter()
        .filter(|listed| may(&listed.group))
        .map(|listed| ListedGroup {
            group_id: listed.group,
            protocol_type: listed.protocol_type,
            group_state: listed.state.into(),
            group_type: listed.group_type.into(),
        })
        .collect();
    groups.sort_unstable_by(|one, other| one.group_id.as_str().cmp(&other.group_id));
    ListGroupsResponse { throttle_time_ms, error_code: ErrorCode::None.code(), groups }
}
