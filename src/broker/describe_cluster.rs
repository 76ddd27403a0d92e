//! DescribeCluster (key 60): the cluster's id, controller and brokers (KIP-700).

use super::Broker;
use super::authorize::{Operation, Resource, allowed, authorized_operations};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a DescribeCluster request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let image = broker.shard().image();
    let fault = match request.endpoint_type {
        ENDPOINT_BROKERS => None,
        ENDPOINT_CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of the wrong type: this is a broker.",
        )),
        _ => Some((ErrorCode::UnsupportedEndpointType, "There is no such endpoint type.")),
    };
    if let Some((code, message)) = fault {
        return DescribeClusterResponse {
            throttle_time_ms,
            error_code: code.code(),
            error_message: Some(message.into()),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    let mut response = DescribeClusterResponse {
        throttle_time_ms,
        cluster_id: image.cluster_id().map(|id| Str::from(id.clone())).unwrap_or_default(),
        controller_id: broker.options().node_id.0,
        brokers: image
            .nodes()
            .filter_map(|node| {
                let endpoint = node.endpoint(&context.listener)?;
                Some(DescribeClusterBroker {
                    broker_id: node.id.0,
                    host: endpoint.host.clone().into(),
                    port: endpoint.port.into(),
                    rack: node.rack.clone().map(Str::from),
                    is_fenced: false,
                })
            })
            .collect(),
        ..Default::default()
    };
    if request.include_cluster_authorized_operations && allowed(context, Operation::Describe, Resource::Cluster) {
        response.cluster_authorized_operations = authorized_operations(context, Resource::Cluster);
    }
    response
}

const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;
