//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, is alive, says what it has, or leaves (KIP-848). Answered at once.

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
    if let Some(wrong) = wrong(context.version, &request) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, wrong));
    }
    let group = request.group_id.clone();
    match broker.shard().group_command(&group, command(broker, context, request)).await {
        Reply::ConsumerHeartbeat(Ok(assigned)) => Ok(assigned),
        Reply::ConsumerHeartbeat(Err(error)) => Err(Refusal::new(errors::group(error), error.to_string())),
        other => unreachable!("a ConsumerGroupHeartbeat was answered with {other:?}"),
    }
}

/// What no heartbeat may be, whatever the group is.
fn wrong(version: i16, request: &ConsumerGroupHeartbeatRequest) -> Option<&'static str> {
    let epoch = request.member_epoch;
    let must_know_id = version >= OWN_ID_FROM || epoch > JOIN || epoch == LEAVE;
    if must_know_id && request.member_id.is_empty() {
        return Some("The member id must not be empty.");
    }
    if request.group_id.is_empty() {
        return Some("The group id must not be empty.");
    }
    if request.instance_id.as_deref().is_some_and(str::is_empty) {
        return Some("The instance id must not be empty.");
    }
    if request.rack_id.as_deref().is_some_and(str::is_empty) {
        return Some("The rack id must not be empty.");
    }
    match epoch {
        JOIN if request.rebalance_timeout_ms == UNCHANGED => {
            Some("A member that joins must give its rebalance timeout.")
        }
        JOIN if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            Some("A member that joins must say that it has no partitions.")
        }
        JOIN if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            Some("A member that joins must subscribe, by names or by an expression.")
        }
        COME_BACK if request.instance_id.is_none() => {
            Some("A member that means to come back must have an instance id.")
        }
        ..COME_BACK => Some("The member epoch must be -2 or more."),
        _ => None,
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

/// The epoch of a member that joins.
const JOIN: i32 = 0;
/// The epoch of a member that leaves.
const LEAVE: i32 = -1;
/// The epoch of a static member that leaves and means to come back.
const COME_BACK: i32 = -2;
/// The rebalance timeout that stands for the one given before.
const UNCHANGED: i32 = -1;
/// From here on a member makes its id itself (KIP-1082).
const OWN_ID_FROM: i16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn joining() -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            member_epoch: JOIN,
            rebalance_timeout_ms: 1000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        }
    }

    #[test]
    fn heartbeats_that_cannot_be_are_named() {
        type Change = fn(&mut ConsumerGroupHeartbeatRequest);
        assert_eq!((wrong(0, &joining()), wrong(1, &joining())), (None, None));
        let cases: [(&str, Change); 11] = [
            ("group id", |request| request.group_id = "".into()),
            ("member id", |request| request.member_id = "".into()),
            ("instance id", |request| request.instance_id = Some("".into())),
            ("rack id", |request| request.rack_id = Some("".into())),
            ("rebalance timeout", |request| request.rebalance_timeout_ms = -1),
            ("no partitions", |request| request.topic_partitions = None),
            ("no partitions", |request| request.topic_partitions = Some(vec![TopicPartitions::default()])),
            ("subscribe", |request| request.subscribed_topic_names = None),
            ("come back", |request| request.member_epoch = -2),
            ("-2 or more", |request| request.member_epoch = -3),
            ("-2 or more", |request| request.member_epoch = i32::MIN),
        ];
        for (says, change) in cases {
            let mut request = joining();
            change(&mut request);
            let fault = wrong(1, &request).unwrap_or("nothing");
            assert!(fault.contains(says), "{says}: {fault}");
        }
    }

    #[test]
    fn an_id_is_given_out_in_version_0_to_those_who_join() {
        let mut request = ConsumerGroupHeartbeatRequest { member_id: "".into(), ..joining() };
        assert_eq!(wrong(0, &request), None);
        for epoch in [LEAVE, 1] {
            request.member_epoch = epoch;
            assert!(wrong(0, &request).is_some(), "{epoch}");
        }
    }

    #[test]
    fn what_did_not_change_may_be_absent_later() {
        let bare = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            member_epoch: 7,
            ..Default::default()
        };
        assert_eq!((bare.rebalance_timeout_ms, wrong(1, &bare)), (UNCHANGED, None));
    }
}
