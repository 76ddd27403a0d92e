//! OffsetDelete (key 47): a group forgets offsets of topics that it does not read (KIP-496).

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors;
use super::offset_commit::{WAITS, answer_in_order};
use super::throttle::throttle_ms;
use crate::base::PartitionIndex;
use crate::coordinator::{self, Command, Reply};
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

/// Answers an OffsetDelete request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    match deleted(broker, context, request).await {
        Ok(topics) => OffsetDeleteResponse { error_code: ErrorCode::None.code(), throttle_time_ms, topics },
        Err(code) => OffsetDeleteResponse { error_code: code.code(), throttle_time_ms, topics: Vec::new() },
    }
}

async fn deleted(
    broker: &Broker,
    context: &RequestContext,
    request: OffsetDeleteRequest,
) -> Result<Vec<OffsetDeleteResponseTopic>, ErrorCode> {
    if !allowed(context, Operation::Delete, Resource::Group(&request.group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let image = broker.shard().image();
    let (mut topics, mut asked) = (Vec::with_capacity(request.topics.len()), Vec::new());
    for topic in request.topics {
        let found = image.topic(&topic.name);
        let may = allowed(context, Operation::Read, Resource::Topic(&topic.name));
        let mut known = Vec::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = PartitionIndex(partition.partition_index);
            let error_code = if !may {
                ErrorCode::TopicAuthorizationFailed.code()
            } else if found.is_none_or(|topic| topic.partition(index).is_none()) {
                ErrorCode::UnknownTopicOrPartition.code()
            } else {
                known.push(index);
                WAITS
            };
            partitions.push(OffsetDeleteResponsePartition { partition_index: index.0, error_code });
        }
        if !known.is_empty() {
            asked.push((topic.name.clone(), known));
        }
        topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    // Asked even if nothing is left to delete: whether there is such a group is part of the answer.
    let delete = coordinator::OffsetDelete { group: request.group_id.clone(), topics: asked };
    let results = match broker.shard().group_command(&request.group_id, Command::OffsetDelete(delete)).await {
        Reply::OffsetDelete(Ok(deleted)) => deleted.into_iter().flat_map(|topic| topic.partitions),
        Reply::OffsetDelete(Err(error)) => return Err(errors::group(error)),
        other => unreachable!("an OffsetDelete was answered with {other:?}"),
    };
    let waiting = topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|one| one.error_code == WAITS);
    answer_in_order(waiting.map(|one| (one.partition_index, &mut one.error_code)), results, errors::group);
    Ok(topics)
}
