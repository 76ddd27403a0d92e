//! ListOffsets (key 2): offsets by timestamp, and the special ones.

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::fetch_session::TopicKey;
use super::throttle::throttle_ms;
use super::{Broker, errors, find_topic};
use crate::base::{LeaderEpoch, Map, Offset, PartitionIndex, Timestamp};
use crate::cluster::Image;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::{ListedOffset, OffsetSpec};

/// Answers a ListOffsets request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let image = broker.shard().image();
    let mut times: Map<(&Str, i32), usize> = Map::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times.entry((&topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let found = if !matches!(request.isolation_level, 0 | 1) {
                Err(ErrorCode::UnknownServerError)
            } else if times[&(&topic.name, partition.partition_index)] > 1 {
                Err(ErrorCode::InvalidRequest)
            } else {
                one(broker, context, &image, &topic.name, partition, request.isolation_level == 1).await
            };
            partitions.push(answer(partition.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
    }
    ListOffsetsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), topics }
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    image: &Image,
    name: &Str,
    asked: &ListOffsetsPartition,
    read_committed: bool,
) -> Result<ListedOffset, ErrorCode> {
    if !allowed(context, Operation::Describe, Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let topic = find_topic(image, &TopicKey::Name(name.clone()))?;
    let index = PartitionIndex(asked.partition_index);
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if partition.leader != broker.options().node_id {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let epoch = LeaderEpoch(asked.current_leader_epoch);
    match spec(context.version, asked.timestamp, read_committed)? {
        Some(spec) => {
            broker.shard().list_offset(partition.log_id, spec, epoch).await.map_err(|error| errors::read(&error))
        }
        None => Ok(NO_OFFSET),
    }
}

/// What a timestamp asks for in this version. None: something that no log here has, because nothing is tiered.
fn spec(version: i16, timestamp: i64, read_committed: bool) -> Result<Option<OffsetSpec>, ErrorCode> {
    let (spec, since) = match timestamp {
        0.. => (Some(OffsetSpec::AtLeast(Timestamp(timestamp))), 1),
        LATEST => (Some(OffsetSpec::Latest { read_committed }), 1),
        EARLIEST => (Some(OffsetSpec::Earliest), 1),
        MAX_TIMESTAMP => (Some(OffsetSpec::MaxTimestamp), 7),
        EARLIEST_LOCAL => (Some(OffsetSpec::Earliest), 8),
        LATEST_TIERED => (None, 9),
        EARLIEST_PENDING_UPLOAD => (None, 11),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    if version < since { Err(ErrorCode::UnsupportedVersion) } else { Ok(spec) }
}

fn answer(partition_index: i32, found: Result<ListedOffset, ErrorCode>) -> ListOffsetsPartitionResponse {
    match found {
        Ok(found) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: ErrorCode::None.code(),
            timestamp: found.timestamp.0,
            offset: found.offset.0,
            leader_epoch: found.epoch.0,
        },
        Err(code) => ListOffsetsPartitionResponse { partition_index, error_code: code.code(), ..Default::default() },
    }
}

const NO_OFFSET: ListedOffset =
    ListedOffset { offset: Offset(-1), timestamp: Timestamp::NONE, epoch: LeaderEpoch::NONE };

/// Kafka's special timestamps.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_times_are_known_from_their_version_on() {
        for (timestamp, since) in [(0, 1), (-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
            for version in 1..=11 {
                let known = spec(version, timestamp, false).is_ok();
                assert_eq!(known, version >= since, "time {timestamp} version {version}");
            }
        }
        for timestamp in [-7, i64::MIN] {
            assert_eq!(spec(11, timestamp, false), Err(ErrorCode::UnsupportedVersion));
        }
    }
}
