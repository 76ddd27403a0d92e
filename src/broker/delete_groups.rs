//! DeleteGroups (key 42): groups without members go, with all their offsets (KIP-229).

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::describe_groups::by_coordinator;
use super::errors;
use super::throttle::throttle_ms;
use crate::coordinator::{Command, Reply};
use crate::protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::protocol::{ErrorCode, Str};

/// Answers a DeleteGroups request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    let mut asked = Vec::new();
    for group in request.groups_names {
        match allowed(context, Operation::Delete, Resource::Group(&group)) {
            true => asked.push(group),
            false => results.push(result(group, ErrorCode::GroupAuthorizationFailed)),
        }
    }
    for (log, names) in by_coordinator(broker, asked) {
        let Some(log) = log else {
            results.extend(names.into_iter().map(|name| result(name, ErrorCode::NotCoordinator)));
            continue;
        };
        let delete = Command::DeleteGroups { groups: names.clone() };
        match broker.shard().coordinator_command(log, delete).await {
            Reply::DeleteGroups(Ok(deleted)) => results.extend(deleted.into_iter().map(|deleted| {
                let code = deleted.result.map_or_else(errors::group, |()| ErrorCode::None);
                result(deleted.group, code)
            })),
            Reply::DeleteGroups(Err(error)) => {
                results.extend(names.into_iter().map(|name| result(name, errors::group(error))));
            }
            other => unreachable!("a DeleteGroups was answered with {other:?}"),
        }
    }
    DeleteGroupsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), results }
}

fn result(group_id: Str, code: ErrorCode) -> DeletableGroupResult {
    DeletableGroupResult { group_id, error_code: code.code() }
}
