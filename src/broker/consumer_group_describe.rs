//! ConsumerGroupDescribe (key 69): groups of the consumer protocol, their epochs and members (KIP-848).

use super::Broker;
use super::authorize::{Operation, Resource, allowed, authorized_operations};
use super::context::RequestContext;
use super::describe_groups::by_coordinator;
use super::errors::{self, Refusal};
use super::throttle::throttle_ms;
use crate::coordinator::{self, Command, DescribedConsumer, DescribedConsumerGroup, GroupError, Reply};
use crate::protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a ConsumerGroupDescribe request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let mut groups = Vec::with_capacity(request.group_ids.len());
    let mut asked = Vec::new();
    for group in request.group_ids {
        match refusal(broker, context, &group) {
            None => asked.push(group),
            Some(code) => groups.push(refused(group, code)),
        }
    }
    for (log, names) in by_coordinator(broker, asked) {
        let Some(log) = log else {
            groups.extend(names.into_iter().map(|name| refused(name, ErrorCode::NotCoordinator)));
            continue;
        };
        let describe = Command::DescribeConsumerGroups { groups: names.clone() };
        match broker.shard().coordinator_command(log, describe).await {
            Reply::DescribeConsumerGroups(Ok(described)) => {
                groups.extend(described.into_iter().map(|group| answer(context, group)));
            }
            Reply::DescribeConsumerGroups(Err(error)) => {
                let why = || Refusal::new(errors::group(error), error.to_string());
                groups.extend(names.into_iter().map(|name| refused(name, why())));
            }
            other => unreachable!("a ConsumerGroupDescribe was answered with {other:?}"),
        }
    }
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == ErrorCode::None.code()) {
            group.authorized_operations = authorized_operations(context, Resource::Group(&group.group_id));
        }
    }
    ConsumerGroupDescribeResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), groups }
}

fn refusal(broker: &Broker, context: &RequestContext, group: &str) -> Option<ErrorCode> {
    if !broker.options().consumer_groups {
        return Some(ErrorCode::UnsupportedVersion);
    }
    if !allowed(context, Operation::Describe, Resource::Group(group)) {
        return Some(ErrorCode::GroupAuthorizationFailed);
    }
    group.is_empty().then_some(ErrorCode::InvalidGroupId)
}

fn answer(context: &RequestContext, group: DescribedConsumerGroup) -> DescribedGroup {
    match group.error {
        Some(GroupError::GroupIdNotFound) => {
            let message = format!("Group {} not found.", group.group);
            return refused(group.group, Refusal::new(ErrorCode::GroupIdNotFound, message));
        }
        Some(error) => return refused(group.group, Refusal::new(errors::group(error), error.to_string())),
        None => {}
    }
    let may = |(_, name): &(_, Str)| allowed(context, Operation::Describe, Resource::Topic(name));
    if !group.members.iter().all(|member| member.assignment.iter().chain(&member.target).all(may)) {
        return refused(group.group, ErrorCode::TopicAuthorizationFailed);
    }
    DescribedGroup {
        error_code: ErrorCode::None.code(),
        error_message: None,
        group_id: group.group,
        group_state: group.state.into(),
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: group.assignor,
        members: group.members.into_iter().map(member).collect(),
        authorized_operations: i32::MIN,
    }
}

fn member(member: DescribedConsumer) -> Member {
    Member {
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        rack_id: member.rack_id,
        member_epoch: member.member_epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.subscribed_topics,
        subscribed_topic_regex: member.subscribed_regex,
        assignment: assignment(member.assignment),
        target_assignment: assignment(member.target),
        member_type: TYPE_CONSUMER,
    }
}

fn assignment(topics: Vec<(coordinator::TopicPartitions, Str)>) -> Assignment {
    let topic = |(topic, topic_name): (coordinator::TopicPartitions, Str)| TopicPartitions {
        topic_id: topic.topic_id,
        topic_name,
        partitions: topic.partitions.into_iter().map(|partition| partition.0).collect(),
    };
    Assignment { topic_partitions: topics.into_iter().map(topic).collect() }
}

fn refused(group_id: Str, refusal: impl Into<Refusal>) -> DescribedGroup {
    let Refusal { code, message, .. } = refusal.into();
    DescribedGroup { error_code: code.code(), error_message: message.map(Into::into), group_id, ..Default::default() }
}

/// Of a member that came by ConsumerGroupHeartbeat, with Kafka's number. There are no others: a group with members keeps its protocol.
const TYPE_CONSUMER: i8 = 1;
