//! InitProducerId (key 22), for idempotent producers (KIP-98). Transactions are not served yet.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors::Refusal;
use super::throttle::throttle_ms;
use crate::base::ProducerId;
use crate::protocol::ErrorCode;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

/// Answers an InitProducerId request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    match new_id(broker, context, &request).await {
        // A new id makes the epoch that the client had meaningless, so it starts at 0, as in Kafka.
        Ok(id) => InitProducerIdResponse { throttle_time_ms, producer_id: id.0, producer_epoch: 0, error_code: 0 },
        Err(code) => {
            InitProducerIdResponse { throttle_time_ms, error_code: code.code(), producer_id: -1, producer_epoch: -1 }
        }
    }
}

async fn new_id(
    broker: &Broker,
    context: &RequestContext,
    request: &InitProducerIdRequest,
) -> Result<ProducerId, ErrorCode> {
    match request.transactional_id.as_deref() {
        Some("") => return Err(ErrorCode::InvalidRequest),
        // Clients look for a coordinator first, and FindCoordinator refuses them with the same words, so few come here. To those that do this is final:
        // Java and librdkafka end the producer and say that the broker does not support it. An authorisation error would send people looking for an ACL.
        Some(_) => return Err(ErrorCode::UnsupportedVersion),
        None => {}
    }
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    if !allowed(context, Operation::IdempotentWrite, Resource::Cluster) {
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    broker.shard().next_producer_id().await.map_err(|error| match Refusal::from(error).code {
        // Retriable for every client; NOT_CONTROLLER is not among the answers that they expect here.
        ErrorCode::NotController => ErrorCode::CoordinatorNotAvailable,
        code => code,
    })
}
