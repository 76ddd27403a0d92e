//! ListGroups (key 16): the groups of this broker.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors;
use super::throttle::throttle_ms;
use crate::coordinator::ListGroups;
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::protocol::{ErrorCode, Str};

/// Answers a ListGroups request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: ListGroupsRequest) -> ListGroupsResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let filter = ListGroups {
        states: known(&request.states_filter, &STATES, DEAD),
        types: known(&request.types_filter, &[CLASSIC], NO_TYPE),
    };
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

/// What can be meant by a filter: the names among `names` that it has, however many others it has besides. One that has none of them lets nothing through, as
/// `none` does, which no group is listed with.
fn known(filter: &[Str], names: &[&str], none: &str) -> Vec<Str> {
    let has = |name: &&&str| filter.iter().any(|asked| asked.trim().eq_ignore_ascii_case(name));
    let known: Vec<Str> = names.iter().filter(has).map(|name| Str::from(*name)).collect();
    if known.is_empty() && !filter.is_empty() { vec![none.into()] } else { known }
}

/// The states of groups that are there.
const STATES: [&str; 4] = ["Empty", "PreparingRebalance", "CompletingRebalance", "Stable"];
const DEAD: &str = "Dead";
const CLASSIC: &str = "classic";
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
