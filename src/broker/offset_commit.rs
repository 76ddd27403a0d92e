//! OffsetCommit (key 8): a group remembers how far it has read. Answered once that is on disk.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use super::{errors, find_topic, topic_key};
use crate::base::{LeaderEpoch, Offset, PartitionIndex};
use crate::cluster::Image;
use crate::coordinator::{self, Command, CommitPartition, CommitTopic, GroupError, Reply};
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::protocol::{ErrorCode, Str};

/// Answers an OffsetCommit request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let image = broker.shard().image();
    let may = allowed(context, Operation::Read, Resource::Group(&request.group_id));
    let (mut topics, mut commits) = (Vec::with_capacity(request.topics.len()), Vec::new());
    for topic in request.topics {
        let (answer, commit) = match may {
            true => sort_out(context, &image, topic),
            false => (refused(topic, ErrorCode::GroupAuthorizationFailed), None),
        };
        topics.push(answer);
        commits.extend(commit);
    }
    if !commits.is_empty() {
        let commit = Command::OffsetCommit(coordinator::OffsetCommit {
            group: request.group_id.clone(),
            member_id: request.member_id,
            group_instance_id: request.group_instance_id,
            generation_id: request.generation_id_or_member_epoch,
            knows_epochs: context.version >= CONSUMER_GROUPS_FROM,
            retention_time_ms: request.retention_time_ms,
            topics: commits,
        });
        let reply = broker.shard().group_command(&request.group_id, commit).await;
        fill_in(context.version, &mut topics, reply);
    }
    OffsetCommitResponse { throttle_time_ms, topics }
}

/// The answer to a topic, in which those partitions that go to the coordinator wait for theirs; and what goes to the coordinator.
fn sort_out(
    context: &RequestContext,
    image: &Image,
    asked: OffsetCommitRequestTopic,
) -> (OffsetCommitResponseTopic, Option<CommitTopic>) {
    let key = topic_key(context.version >= BY_ID_FROM, asked.name.clone(), asked.topic_id);
    let topic = match find_topic(image, &key) {
        Ok(topic) if allowed(context, Operation::Read, Resource::Topic(&topic.name)) => topic,
        Ok(_) => return (refused(asked, ErrorCode::TopicAuthorizationFailed), None),
        Err(code) => return (refused(asked, code), None),
    };
    let mut commit = CommitTopic {
        name: Str::from(topic.name.clone()),
        topic_id: asked.topic_id,
        partitions: Vec::with_capacity(asked.partitions.len()),
    };
    let mut partitions = Vec::with_capacity(asked.partitions.len());
    for partition in asked.partitions {
        let index = PartitionIndex(partition.partition_index);
        let known = topic.partition(index).is_some();
        partitions.push(OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: if known { WAITS } else { ErrorCode::UnknownTopicOrPartition.code() },
        });
        if known {
            commit.partitions.push(CommitPartition {
                partition: index,
                offset: Offset(partition.committed_offset),
                leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                metadata: partition.committed_metadata.unwrap_or_default(),
            });
        }
    }
    let answer = OffsetCommitResponseTopic { name: asked.name, topic_id: asked.topic_id, partitions };
    (answer, Some(commit).filter(|commit| !commit.partitions.is_empty()))
}

fn refused(asked: OffsetCommitRequestTopic, code: ErrorCode) -> OffsetCommitResponseTopic {
    let partitions = asked.partitions.iter().map(|partition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: code.code(),
    });
    OffsetCommitResponseTopic { partitions: partitions.collect(), name: asked.name, topic_id: asked.topic_id }
}

/// Gives each partition that waits the answer to it. They come in the order in which they were asked.
fn fill_in(version: i16, topics: &mut [OffsetCommitResponseTopic], reply: Reply) {
    let code = |error| match error {
        GroupError::GroupIdNotFound if version < CONSUMER_GROUPS_FROM => ErrorCode::IllegalGeneration,
        error => errors::group(error),
    };
    let waiting = topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|one| one.error_code == WAITS);
    match reply {
        Reply::OffsetCommit(Ok(committed)) => {
            let results = committed.into_iter().flat_map(|topic| topic.partitions);
            answer_in_order(waiting.map(|one| (one.partition_index, &mut one.error_code)), results, code);
        }
        Reply::OffsetCommit(Err(error)) => waiting.for_each(|partition| partition.error_code = code(error).code()),
        other => unreachable!("an OffsetCommit was answered with {other:?}"),
    }
}

/// Gives partitions that wait for the coordinator its results, which come in the order in which they were asked.
pub(super) fn answer_in_order<'a>(
    waiting: impl Iterator<Item = (i32, &'a mut i16)>,
    results: impl Iterator<Item = (PartitionIndex, Result<(), GroupError>)>,
    code: impl Fn(GroupError) -> ErrorCode,
) {
    for ((asked, error_code), (index, result)) in waiting.zip(results) {
        debug_assert_eq!(asked, index.0);
        *error_code = result.map_or_else(&code, |()| ErrorCode::None).code();
    }
}

/// Stands for an answer that is not known. No error of Kafka's has this code.
pub(super) const WAITS: i16 = i16::MIN;
/// The first version that speaks of topics by id.
const BY_ID_FROM: i16 = 10;
/// The first version that knows consumer groups: it may be told that there is no such group, or that an epoch is stale.
const CONSUMER_GROUPS_FROM: i16 = 9;
