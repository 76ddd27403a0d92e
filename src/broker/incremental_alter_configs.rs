//! IncrementalAlterConfigs (key 44): some configurations of topics changed, the others left (KIP-339).

use super::Broker;
use super::alter_configs::{Alteration, Change, times};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

/// Answers an IncrementalAlterConfigs request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let named = times(request.resources.iter().map(|resource| (resource.resource_type, &resource.resource_name)));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let change = |config: &AlterableConfig| Change {
            name: config.name.clone(),
            operation: config.config_operation,
            value: config.value.clone(),
        };
        let alteration = Alteration {
            resource_type: resource.resource_type,
            name: &resource.resource_name,
            named: named[&(resource.resource_type, &resource.resource_name)],
            replace: false,
            changes: resource.configs.iter().map(change).collect(),
        };
        let (error_code, error_message) = alteration.carry_out(broker, context, request.validate_only).await;
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    IncrementalAlterConfigsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), responses }
}
