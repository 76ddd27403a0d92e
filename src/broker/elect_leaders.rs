//! ElectLeaders (key 43): every partition has one replica, which leads it already.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use crate::base::PartitionIndex;
use crate::cluster::Image;
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult, TopicPartitions,
};
use crate::protocol::{ErrorCode, Str};

/// Answers an ElectLeaders request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let mut response =
        ElectLeadersResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), ..Default::default() };
    let topics = request.topic_partitions.unwrap_or_default();
    let fault = if !allowed(context, Operation::Alter, Resource::Cluster) {
        Some(ErrorCode::ClusterAuthorizationFailed)
    } else if !matches!(request.election_type, PREFERRED | UNCLEAN) {
        Some(ErrorCode::InvalidRequest)
    } else {
        None
    };
    if let Some(code) = fault {
        // Version 0 has no place for it but the partitions.
        response.error_code = code.code();
        response.replica_election_results = topics.iter().map(|topic| results(topic, |_| (code, None))).collect();
        return response;
    }
    let image = broker.shard().image();
    // Asked about all partitions, Kafka is silent about those that have the leader that they should have.
    let elect = |topic: &TopicPartitions| results(topic, |index| elect(&image, &topic.topic, index));
    response.replica_election_results = topics.iter().map(elect).collect();
    response
}

fn results(topic: &TopicPartitions, outcome: impl Fn(i32) -> (ErrorCode, Option<String>)) -> ReplicaElectionResult {
    let result = |partition_id: &i32| {
        let (code, message) = outcome(*partition_id);
        let error_message = message.map(Str::from);
        PartitionResult { partition_id: *partition_id, error_code: code.code(), error_message }
    };
    ReplicaElectionResult {
        topic: topic.topic.clone(),
        partition_result: topic.partitions.iter().map(result).collect(),
    }
}

fn elect(image: &Image, name: &str, index: i32) -> (ErrorCode, Option<String>) {
    let Some(topic) = image.topic(name) else {
        return (ErrorCode::UnknownTopicOrPartition, Some(format!("No such topic as {name}")));
    };
    match topic.partition(PartitionIndex(index)) {
        None => (ErrorCode::UnknownTopicOrPartition, Some(format!("No such partition as {name}-{index}"))),
        Some(_) => (ErrorCode::ElectionNotNeeded, Some("Leader election not needed for topic partition.".into())),
    }
}

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
