//! OffsetFetch (key 9): what groups have committed.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors;
use super::throttle::throttle_ms;
use crate::base::{PartitionIndex, Set, TopicId};
use crate::cluster::Image;
use crate::coordinator::{self, Command, FetchTopic, FetchedPartition, FetchedTopic, Reply};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::protocol::{ErrorCode, Str};

/// Answers an OffsetFetch request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    if context.version < SEVERAL_FROM {
        let topics = request.topics.map(|topics| topics.into_iter().map(as_of_several).collect::<Vec<_>>());
        let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
        let group = one(broker, context, group, request.require_stable).await;
        let (topics, error_code) = as_of_one(context.version, group);
        return OffsetFetchResponse { throttle_time_ms, topics, error_code, ..Default::default() };
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    let mut seen = Set::default();
    for group in request.groups {
        if !seen.insert(group.group_id.clone()) {
            // A small request could ask for all offsets of a large group a hundred thousand times.
            groups.push(refused(group.group_id, ErrorCode::InvalidRequest, None).answer);
            continue;
        }
        let Asked { answer, .. } = one(broker, context, group, request.require_stable).await;
        groups.push(answer);
    }
    OffsetFetchResponse { throttle_time_ms, groups, ..Default::default() }
}

/// One group's answer.
struct Asked {
    answer: OffsetFetchResponseGroup,
    /// The topics that were asked for, where the whole is refused.
    topics: Vec<OffsetFetchRequestTopics>,
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    request: OffsetFetchRequestGroup,
    require_stable: bool,
) -> Asked {
    let OffsetFetchRequestGroup { group_id: group, member_id, member_epoch, topics } = request;
    if !allowed(context, Operation::Describe, Resource::Group(&group)) {
        return refused(group, ErrorCode::GroupAuthorizationFailed, topics);
    }
    let image = broker.shard().image();
    let by_id = context.version >= BY_ID_FROM;
    let all = topics.is_none();
    let (mut answers, mut known) = (Vec::new(), Vec::new());
    let mut places = Vec::new();
    for (place, topic) in topics.iter().flatten().enumerate() {
        match name_of(context, &image, by_id, topic) {
            Ok(name) => {
                let partitions = topic.partition_indexes.iter().copied().map(PartitionIndex).collect();
                known.push(FetchTopic { name, topic_id: topic.topic_id, partitions });
                places.push(place);
                answers.push(None);
            }
            Err(code) => answers.push(Some(without(topic, code))),
        }
    }
    let wanted = if all { None } else { Some(known) };
    if wanted.as_ref().is_some_and(Vec::is_empty) && !answers.is_empty() {
        let topics = answers.into_iter().flatten().collect();
        let answer = OffsetFetchResponseGroup { group_id: group, topics, error_code: ErrorCode::None.code() };
        return Asked { answer, topics: Vec::new() };
    }
    let fetch =
        coordinator::OffsetFetch { group: group.clone(), member_id, member_epoch, topics: wanted, require_stable };
    let fetched = match broker.shard().group_command(&group, Command::OffsetFetch(fetch)).await {
        Reply::OffsetFetch(Ok(fetched)) => fetched,
        Reply::OffsetFetch(Err(error)) => return refused(group, errors::group(error), topics),
        other => unreachable!("an OffsetFetch was answered with {other:?}"),
    };
    let topics: Vec<_> = if all {
        fetched.into_iter().filter_map(|topic| of_all(context, &image, by_id, topic)).collect()
    } else {
        for (place, topic) in places.into_iter().zip(fetched) {
            answers[place] = Some(found(by_id, topic));
        }
        answers.into_iter().flatten().collect()
    };
    let answer = OffsetFetchResponseGroup { group_id: group, topics, error_code: ErrorCode::None.code() };
    Asked { answer, topics: Vec::new() }
}

/// The name under which a topic's offsets stand. A name that no topic has may have offsets all the same.
fn name_of(
    context: &RequestContext,
    image: &Image,
    by_id: bool,
    topic: &OffsetFetchRequestTopics,
) -> Result<Str, ErrorCode> {
    let name = match by_id {
        true => image.topic_by_id(&topic.topic_id).map(|topic| Str::from(topic.name.clone())),
        false => Some(topic.name.clone()),
    };
    let name = name.ok_or(ErrorCode::UnknownTopicId)?;
    match allowed(context, Operation::Describe, Resource::Topic(&name)) {
        true => Ok(name),
        false => Err(ErrorCode::TopicAuthorizationFailed),
    }
}

/// A topic of all that a group has committed, unless it is not to be seen, or has no id where ids are spoken of.
fn of_all(
    context: &RequestContext,
    image: &Image,
    by_id: bool,
    topic: FetchedTopic,
) -> Option<OffsetFetchResponseTopics> {
    if !allowed(context, Operation::Describe, Resource::Topic(&topic.name)) {
        return None;
    }
    let topic_id = if by_id { image.topic(&topic.name)?.id } else { TopicId::ZERO };
    Some(found(by_id, FetchedTopic { topic_id, ..topic }))
}

fn found(by_id: bool, topic: FetchedTopic) -> OffsetFetchResponseTopics {
    let partition = |found: FetchedPartition| OffsetFetchResponsePartitions {
        partition_index: found.partition.0,
        committed_offset: found.offset.0,
        committed_leader_epoch: found.leader_epoch.0,
        metadata: Some(found.metadata),
        error_code: ErrorCode::None.code(),
    };
    OffsetFetchResponseTopics {
        name: if by_id { Str::default() } else { topic.name },
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}

fn without(topic: &OffsetFetchRequestTopics, code: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::default()),
        error_code: code.code(),
    });
    OffsetFetchResponseTopics { partitions: partitions.collect(), name: topic.name.clone(), topic_id: topic.topic_id }
}

fn refused(group_id: Str, code: ErrorCode, topics: Option<Vec<OffsetFetchRequestTopics>>) -> Asked {
    let answer = OffsetFetchResponseGroup { group_id, topics: Vec::new(), error_code: code.code() };
    Asked { answer, topics: topics.unwrap_or_default() }
}

fn as_of_several(topic: crate::protocol::messages::offset_fetch::OffsetFetchRequestTopic) -> OffsetFetchRequestTopics {
    OffsetFetchRequestTopics { name: topic.name, topic_id: TopicId::ZERO, partition_indexes: topic.partition_indexes }
}

/// The answer where there is one group. Versions 0 and 1 have no place for the error of the whole, so each partition carries it.
fn as_of_one(version: i16, Asked { mut answer, topics }: Asked) -> (Vec<OffsetFetchResponseTopic>, i16) {
    if let (true, Some(code)) = (version < WHOLE_REFUSED_FROM, ErrorCode::from_code(answer.error_code))
        && code != ErrorCode::None
    {
        answer.topics = topics.iter().map(|topic| without(topic, code)).collect();
    }
    let partition = |one: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: one.partition_index,
        committed_offset: one.committed_offset,
        committed_leader_epoch: one.committed_leader_epoch,
        metadata: one.metadata,
        error_code: one.error_code,
    };
    let topics = answer.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    });
    (topics.collect(), answer.error_code)
}

/// The first version in which several groups may be asked for.
const SEVERAL_FROM: i16 = 8;
/// The first version with an error of the whole.
const WHOLE_REFUSED_FROM: i16 = 2;
/// The first version that speaks of topics by id.
const BY_ID_FROM: i16 = 10;
