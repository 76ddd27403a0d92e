//! DescribeTopicPartitions (key 75): topics and their partitions in order of their names, a page at a time (KIP-966).

use std::sync::Arc;

use super::Broker;
use super::authorize::{Operation, Resource, allowed, authorized_operations};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use crate::base::TopicId;
use crate::base::limits::PARTITIONS_DESCRIBED_MAX;
use crate::cluster::{Image, Partition, Topic, is_internal, validate_name};
use crate::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a DescribeTopicPartitions request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    if request.cursor.as_ref().is_some_and(|cursor| cursor.partition_index < 0) {
        let refused = |asked: crate::protocol::messages::describe_topic_partitions::TopicRequest| {
            without(ErrorCode::InvalidRequest, asked.name)
        };
        let topics = request.topics.into_iter().map(refused).collect();
        return DescribeTopicPartitionsResponse { throttle_time_ms, topics, next_cursor: None };
    }
    let image = broker.shard().image();
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_DESCRIBED_MAX);
    let cursor = request.cursor.as_ref();
    let from = cursor.map_or("", |cursor| cursor.topic_name.as_str());
    let all = request.topics.is_empty();
    let names = match all {
        true => first_names(context, &image, from, limit),
        false => {
            let asked = request.topics.iter().map(|topic| &topic.name).chain(cursor.map(|cursor| &cursor.topic_name));
            let mut names: Vec<Str> = asked.filter(|name| name.as_str() >= from).cloned().collect();
            names.sort_unstable();
            names.dedup();
            names
        }
    };
    let mut page = Page { context, image: &image, left: limit, topics: Vec::new() };
    let mut refused = Vec::new();
    let mut next_cursor = None;
    for name in names {
        if !allowed(context, Operation::Describe, Resource::Topic(&name)) {
            refused.push(without(ErrorCode::TopicAuthorizationFailed, name));
            continue;
        }
        let first = cursor.filter(|cursor| cursor.topic_name == name).map_or(0, |cursor| cursor.partition_index);
        next_cursor = page.add(name, first);
        if next_cursor.is_some() {
            break;
        }
    }
    page.topics.append(&mut refused);
    DescribeTopicPartitionsResponse { throttle_time_ms, topics: page.topics, next_cursor }
}

/// The first names from `from` on of topics that may be described: one more than can fit a page, as each has a partition.
fn first_names(context: &RequestContext, image: &Image, from: &str, limit: usize) -> Vec<Str> {
    let topics = image.topics().filter(|topic| &*topic.name >= from);
    let topics = topics.filter(|topic| allowed(context, Operation::Describe, Resource::Topic(&topic.name)));
    let mut names: Vec<&Arc<str>> = topics.map(|topic| &topic.name).collect();
    if names.len() > limit + 1 {
        names.select_nth_unstable(limit);
        names.truncate(limit + 1);
    }
    names.sort_unstable();
    names.into_iter().map(|name| name.clone().into()).collect()
}

/// The answer as it grows.
struct Page<'a> {
    context: &'a RequestContext,
    image: &'a Image,
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
}

impl Page<'_> {
    /// Adds a topic from a partition on. Gives where to go on when not all of it fits.
    fn add(&mut self, name: Str, first: i32) -> Option<Cursor> {
        if self.left == 0 {
            return Some(Cursor { topic_name: name, partition_index: 0 });
        }
        let Some(topic) = self.image.topic(&name) else {
            let code = match validate_name(&name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            self.topics.push(without(code, name));
            return None;
        };
        let rest = (0..).zip(&topic.partitions).skip(usize::try_from(first).unwrap_or(0));
        let partitions: Vec<_> = rest.take(self.left).map(|(index, one)| self.partition(index, one)).collect();
        self.left -= partitions.len();
        let next = i64::from(first) + partitions.len() as i64;
        self.topics.push(self.topic(topic, partitions));
        let next = i32::try_from(next).ok().filter(|next| (*next as usize) < topic.partitions.len())?;
        Some(Cursor { topic_name: name, partition_index: next })
    }

    fn topic(
        &self,
        topic: &Topic,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    ) -> DescribeTopicPartitionsResponseTopic {
        DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::None.code(),
            name: Some(topic.name.clone().into()),
            topic_id: topic.id,
            is_internal: topic.is_internal(),
            partitions,
            topic_authorized_operations: authorized_operations(self.context, Resource::Topic(&topic.name)),
        }
    }

    fn partition(&self, index: i32, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
        let reachable = self.image.endpoint(partition, &self.context.listener).is_some();
        DescribeTopicPartitionsResponsePartition {
            error_code: if reachable { ErrorCode::None } else { ErrorCode::ListenerNotFound }.code(),
            partition_index: index,
            leader_id: if reachable { partition.leader.0 } else { -1 },
            leader_epoch: self.image.leader_epoch(partition).0,
            replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
            isr_nodes: partition.in_sync.iter().map(|node| node.0).collect(),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: Vec::new(),
        }
    }
}

fn without(code: ErrorCode, name: Str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        is_internal: is_internal(&name),
        name: Some(name),
        topic_id: TopicId::ZERO,
        ..Default::default()
    }
}
