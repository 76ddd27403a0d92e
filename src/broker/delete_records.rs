//! DeleteRecords (key 21): moves the start of partitions forward (KIP-107).

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors::Refusal;
use super::throttle::throttle_ms;
use super::{Broker, find_partition};
use crate::base::{LogId, Map, Offset};
use crate::cluster::Image;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a DeleteRecords request. A partition named again has one answer, to its last offset, as in Kafka.
pub async fn handle(broker: &Broker, context: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let image = broker.shard().image();
    let mut places: Map<Str, usize> = Map::default();
    let mut topics: Vec<DeleteRecordsTopicResult> = Vec::new();
    let mut named: Map<(usize, i32), usize> = Map::default();
    // What is to be deleted, and where its answer stands.
    let mut wanted: Vec<(LogId, Offset)> = Vec::new();
    let mut answers: Vec<(usize, usize)> = Vec::new();
    for topic in &request.topics {
        let place = *places.entry(topic.name.clone()).or_insert(topics.len());
        if place == topics.len() {
            topics.push(DeleteRecordsTopicResult { name: topic.name.clone(), partitions: Vec::new() });
        }
        for asked in &topic.partitions {
            let partitions = &mut topics[place].partitions;
            let code = match log(broker, context, &image, &topic.name, asked.partition_index) {
                Ok(log) => {
                    let next = wanted.len();
                    let at = *named.entry((place, asked.partition_index)).or_insert(next);
                    if at < next {
                        wanted[at].1 = Offset(asked.offset);
                        continue;
                    }
                    wanted.push((log, Offset(asked.offset)));
                    answers.push((place, partitions.len()));
                    ErrorCode::None
                }
                Err(code) => code,
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: -1,
                error_code: code.code(),
            });
        }
    }
    let deleted = broker.shard().delete_records_of(&wanted).await;
    for ((topic, partition), deleted) in answers.into_iter().zip(deleted) {
        let answer = &mut topics[topic].partitions[partition];
        match deleted {
            Ok(start) => answer.low_watermark = start.0,
            Err(error) => answer.error_code = Refusal::from(error).code.code(),
        }
    }
    DeleteRecordsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), topics }
}

/// The log of a partition, if this client may delete of it.
fn log(
    broker: &Broker,
    context: &RequestContext,
    image: &Image,
    topic: &str,
    partition: i32,
) -> Result<LogId, ErrorCode> {
    if !allowed(context, Operation::Delete, Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let (topic, partition) = find_partition(broker, image, topic, partition)?;
    if topic.is_internal() { Err(ErrorCode::InvalidTopicException) } else { Ok(partition.log_id) }
}
