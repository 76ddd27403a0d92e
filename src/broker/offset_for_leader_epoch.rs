//! OffsetForLeaderEpoch (key 23): where an epoch ends, so that a reader can tell what was cut off (KIP-101, KIP-320).

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::fetch_session::TopicKey;
use super::throttle::throttle_ms;
use super::{Broker, errors, find_topic};
use crate::base::{LeaderEpoch, PartitionIndex};
use crate::cluster::Image;
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::EpochEnd;

/// Answers an OffsetForLeaderEpoch request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = broker.shard().image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            partitions.push(match one(broker, context, &image, &topic.topic, asked).await {
                Ok(end) => EpochEndOffset {
                    error_code: ErrorCode::None.code(),
                    partition: asked.partition,
                    leader_epoch: end.epoch.0,
                    end_offset: end.end_offset.0,
                },
                Err(code) => {
                    EpochEndOffset { error_code: code.code(), partition: asked.partition, ..Default::default() }
                }
            });
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    OffsetForLeaderEpochResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), topics }
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    image: &Image,
    name: &Str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEnd, ErrorCode> {
    if !allowed(context, Operation::Describe, Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let topic = find_topic(image, &TopicKey::Name(name.clone()))?;
    let partition = topic.partition(PartitionIndex(asked.partition)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if partition.leader != broker.options().node_id {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let (current, epoch) = (LeaderEpoch(asked.current_leader_epoch), LeaderEpoch(asked.leader_epoch));
    broker.shard().epoch_end(partition.log_id, current, epoch).await.map_err(|error| errors::read(&error))
}
