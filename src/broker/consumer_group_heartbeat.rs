//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, is alive, says what it has, or leaves (KIP-848). Answered at once, unless it
//! brings an expression for topics that has to be resolved first.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::dispatch::Held;
use super::errors::{self, Refusal};
use super::throttle::throttle_ms;
use crate::base::PartitionIndex;
use crate::coordinator::{self, Command, ConsumerAssigned, ConsumerHeartbeat, Reply};
use crate::protocol::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

/// Answers a ConsumerGroupHeartbeat request. An assignment of many partitions is charged.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> (ConsumerGroupHeartbeatResponse, Option<Held>) {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let response = heard(broker, context, request).await.map_or_else(refused, answer);
    let topics = response.assignment.iter().flat_map(|assignment| &assignment.topic_partitions);
    let bytes = topics.map(|topic| size_of::<TopicPartitions>() + size_of_val(&topic.partitions[..])).sum();
    let held = broker.hold_answer(bytes).await;
    (ConsumerGroupHeartbeatResponse { throttle_time_ms, ..response }, held)
}

async fn heard(
    broker: &Broker,
    context: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerAssigned, Refusal> {
    if !broker.options().consumer_groups {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    if !allowed(context, Operation::Read, Resource::Group(&request.group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed.into());
    }
    let mut names = request.subscribed_topic_names.iter().flatten();
    if !names.all(|name| allowed(context, Operation::Describe, Resource::Topic(name))) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    // The other rules are the coordinator's, which does not know of versions.
    if context.version >= OWN_ID_FROM && request.member_id.trim().is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "A member makes its own id; it must not be empty."));
    }
    let group = request.group_id.clone();
    match broker.shard().group_command(&group, command(broker, context, request)).await {
        Reply::ConsumerHeartbeat(Ok(assigned)) => Ok(assigned),
        Reply::ConsumerHeartbeat(Err(error)) => Err(Refusal::new(errors::group(error), error.to_string())),
        other => unreachable!("a ConsumerGroupHeartbeat was answered with {other:?}"),
    }
}

fn command(broker: &Broker, context: &RequestContext, request: ConsumerGroupHeartbeatRequest) -> Command {
    let owned = |topic: TopicPartitions| coordinator::TopicPartitions {
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(PartitionIndex).collect(),
    };
    Command::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
        group: request.group_id,
        member_id: request.member_id,
        member_epoch: request.member_epoch,
        group_instance_id: request.instance_id,
        rack_id: request.rack_id,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        subscribed_topics: request.subscribed_topic_names,
        subscribed_regex: request.subscribed_topic_regex,
        server_assignor: request.server_assignor,
        owned: request.topic_partitions.map(|topics| topics.into_iter().map(owned).collect()),
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: context.client_host(),
        member_uuid: broker.random_uuid(),
        resolved: Vec::new(),
    }))
}

fn answer(assigned: ConsumerAssigned) -> ConsumerGroupHeartbeatResponse {
    let topic = |topic: coordinator::TopicPartitions| TopicPartitions {
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(|partition| partition.0).collect(),
    };
    let assignment = |topics: Vec<_>| Assignment { topic_partitions: topics.into_iter().map(topic).collect() };
    ConsumerGroupHeartbeatResponse {
        error_code: ErrorCode::None.code(),
        member_id: assigned.member_id,
        member_epoch: assigned.member_epoch,
        heartbeat_interval_ms: assigned.heartbeat_interval_ms,
        assignment: assigned.assignment.map(assignment),
        ..Default::default()
    }
}

fn refused(refusal: Refusal) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: refusal.code.code(),
        error_message: refusal.message.map(Into::into),
        ..Default::default()
    }
}

/// From here on a member makes its id itself (KIP-1082).
const OWN_ID_FROM: i16 = 1;
