//! IncrementalAlterConfigs (key 44): some configurations of topics changed, the others left (KIP-339).

use super::Broker;
use super::alter_configs::{Alteration, Altered, Change, carry_out_all};
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
    let change =
        |config: AlterableConfig| Change { name: config.name, operation: config.config_operation, value: config.value };
    let alterations = request.resources.into_iter().map(|resource| Alteration {
        resource_type: resource.resource_type,
        name: resource.resource_name,
        replace: false,
        changes: resource.configs.into_iter().map(change).collect(),
    });
    let altered = carry_out_all(broker, context, alterations.collect(), request.validate_only).await;
    let response = |Altered { resource_type, resource_name, error_code, error_message }| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type,
        resource_name,
    };
    let responses = altered.into_iter().map(response).collect();
    IncrementalAlterConfigsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), responses }
}
