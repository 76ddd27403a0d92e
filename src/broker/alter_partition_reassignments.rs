//! AlterPartitionReassignments (key 45): there is one broker, so a partition can only be told to stay where it is (KIP-455).

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use crate::base::{NodeId, PartitionIndex};
use crate::cluster::Image;
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Answers an AlterPartitionReassignments request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let mut response = AlterPartitionReassignmentsResponse {
        throttle_time_ms: throttle_ms(context, context.request_bytes),
        allow_replication_factor_change: request.allow_replication_factor_change,
        ..Default::default()
    };
    if !allowed(context, Operation::Alter, Resource::Cluster) {
        response.error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return response;
    }
    let image = broker.shard().image();
    for topic in request.topics {
        let answer = |asked: &ReassignablePartition| {
            let (code, message) = reassign(&image, &topic.name, asked, request.allow_replication_factor_change);
            ReassignablePartitionResponse {
                partition_index: asked.partition_index,
                error_code: code.code(),
                error_message: message.map(Str::from),
            }
        };
        let partitions = topic.partitions.iter().map(answer).collect();
        response.responses.push(ReassignableTopicResponse { name: topic.name.clone(), partitions });
    }
    response
}

/// Kafka's checks, in its order and words. What passes them is where it should be already.
fn reassign(
    image: &Image,
    name: &str,
    asked: &ReassignablePartition,
    factor_may_change: bool,
) -> (ErrorCode, Option<String>) {
    let Some(topic) = image.topic(name) else {
        return (ErrorCode::UnknownTopicOrPartition, Some(format!("Unable to find a topic named {name}.")));
    };
    let index = asked.partition_index;
    let Some(partition) = topic.partition(PartitionIndex(index)) else {
        return (ErrorCode::UnknownTopicOrPartition, Some(format!("Unable to find partition {name}:{index}.")));
    };
    let Some(replicas) = &asked.replicas else {
        return (ErrorCode::NoReassignmentInProgress, Some("No partition reassignment is in progress.".into()));
    };
    let invalid = |why: String| (ErrorCode::InvalidReplicaAssignment, Some(why));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    if let Some(broker) = replicas.iter().find(|broker| **broker < 0 || image.node(NodeId(**broker)).is_none()) {
        return invalid(format!(
            "The manual partition assignment includes broker {broker}, but no such broker is registered."
        ));
    }
    if replicas.len() > image.nodes().len() {
        return invalid(format!("The manual partition assignment includes the broker {} more than once.", replicas[0]));
    }
    if replicas.len() != partition.replicas.len() && !factor_may_change {
        let why = format!("The replication factor is changed from {} to {}", partition.replicas.len(), replicas.len());
        return (ErrorCode::InvalidReplicationFactor, Some(why));
    }
    if replicas.iter().map(|broker| NodeId(*broker)).eq(partition.replicas.iter().copied()) {
        return (ErrorCode::None, None);
    }
    invalid("Partitions stay where they are: this version does not move data between brokers.".into())
}
