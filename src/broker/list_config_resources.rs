//! ListConfigResources (key 74): which resources have settings (KIP-714, KIP-1142).

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::describe_configs::Kind;
use super::throttle::throttle_ms;
use crate::protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a ListConfigResources request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let refused = |code: ErrorCode| ListConfigResourcesResponse {
        throttle_time_ms,
        error_code: code.code(),
        config_resources: Vec::new(),
    };
    if !allowed(context, Operation::DescribeConfigs, Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    if request.resource_types.iter().any(|number| Kind::from_number(*number).is_none()) {
        return refused(ErrorCode::UnsupportedVersion);
    }
    // Version 0 is about client metrics, of which there are none; nor are there groups or loggers with settings.
    let wants = |kind: Kind| {
        let types = &request.resource_types;
        let named = types.iter().any(|number| Kind::from_number(*number) == Some(kind));
        context.version >= ALL_KINDS_FROM && (types.is_empty() || named)
    };
    let image = broker.shard().image();
    let mut config_resources = Vec::new();
    if wants(Kind::Topic) {
        let mut names: Vec<Str> = image.topics().map(|topic| topic.name.clone().into()).collect();
        names.sort_unstable();
        config_resources.extend(
            names.into_iter().map(|name| ConfigResource { resource_name: name, resource_type: Kind::Topic.number() }),
        );
    }
    if wants(Kind::Broker) {
        config_resources.extend(image.nodes().map(|node| ConfigResource {
            resource_name: node.id.to_string().into(),
            resource_type: Kind::Broker.number(),
        }));
    }
    ListConfigResourcesResponse { throttle_time_ms, error_code: ErrorCode::None.code(), config_resources }
}

/// The first version that asks for kinds.
const ALL_KINDS_FROM: i16 = 1;
