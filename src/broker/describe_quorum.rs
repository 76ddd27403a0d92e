//! DescribeQuorum (key 55): the quorum of the metadata log, which is this broker alone.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_quorum::request::PartitionData as AskedPartition;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};

/// Answers a DescribeQuorum request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    if !allowed(context, Operation::Describe, Resource::Cluster) {
        let error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return DescribeQuorumResponse { error_code, ..Default::default() };
    }
    // As in Kafka, it is about that one partition or about nothing.
    let valid = match request.topics.as_slice() {
        [topic] => {
            topic.topic_name.as_str() == METADATA_TOPIC
                && matches!(topic.partitions.as_slice(), [AskedPartition { partition_index: 0 }])
        }
        _ => false,
    };
    let topics = request.topics.into_iter().map(|topic| TopicData {
        topic_name: topic.topic_name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|asked| if valid { described(broker) } else { unknown(asked.partition_index) })
            .collect(),
    });
    DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: if valid { nodes(broker) } else { Vec::new() },
        ..Default::default()
    }
}

fn unknown(partition_index: i32) -> PartitionData {
    PartitionData {
        partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        leader_id: -1,
        leader_epoch: -1,
        high_watermark: -1,
        ..Default::default()
    }
}

/// The image is what is durable, so its place in the log is the high watermark.
fn described(broker: &Broker) -> PartitionData {
    let version = broker.shard().image().version();
    let end = i64::try_from(version.index).unwrap_or(i64::MAX).saturating_add(1);
    let now = broker.shard().io().wall_clock();
    let voter = ReplicaState {
        replica_id: broker.options().node_id.0,
        replica_directory_id: broker.shard().directory_id(),
        log_end_offset: end,
        last_fetch_timestamp: now.0,
        last_caught_up_timestamp: now.0,
    };
    PartitionData {
        leader_id: voter.replica_id,
        leader_epoch: i32::try_from(version.term).unwrap_or(i32::MAX),
        high_watermark: end,
        current_voters: vec![voter],
        ..Default::default()
    }
}

fn nodes(broker: &Broker) -> Vec<Node> {
    let image = broker.shard().image();
    let Some(node) = image.node(broker.options().node_id) else { return Vec::new() };
    let listener = |endpoint: &crate::cluster::Endpoint| Listener {
        name: endpoint.listener.clone().into(),
        host: endpoint.host.clone().into(),
        port: endpoint.port,
    };
    vec![Node { node_id: node.id.0, listeners: node.endpoints.iter().map(listener).collect() }]
}

/// Kafka's name of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";
