//! DescribeProducers (key 61): the producers that partitions remember (KIP-664).

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::dispatch::Held;
use super::errors::{self, Refusal};
use super::throttle::throttle_ms;
use super::{Broker, find_partition};
use crate::base::Set;
use crate::base::limits::{PRODUCERS_DESCRIBED_MAX, RESOURCES_LARGE};
use crate::partition::DescribedProducer;
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a DescribeProducers request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeProducersRequest,
) -> (DescribeProducersResponse, Option<Held>) {
    let partitions: usize = request.topics.iter().map(|topic| topic.partition_indexes.len()).sum();
    let mut place_of_large = None;
    if !context.is_large() && partitions > RESOURCES_LARGE {
        place_of_large = Some(broker.large_requests.take(1, 1).await);
    }
    let mut named: Set<(&Str, i32)> = Set::default();
    let mut left = PRODUCERS_DESCRIBED_MAX;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in &topic.partition_indexes {
            // Named again, it says nothing new.
            if !named.insert((&topic.name, *index)) {
                continue;
            }
            let found = match one(broker, context, &topic.name, *index).await {
                Ok(producers) if producers.len() > left => Err(too_many()),
                found => found,
            };
            left -= found.as_ref().map_or(0, Vec::len);
            partitions.push(answer(*index, found));
        }
        topics.push(TopicResponse { name: topic.name.clone(), partitions });
    }
    drop(place_of_large);
    let held = broker.hold_answer((PRODUCERS_DESCRIBED_MAX - left) * PRODUCER_BYTES).await;
    (DescribeProducersResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), topics }, held)
}

/// What a producer takes up in an answer.
const PRODUCER_BYTES: usize = 40;

fn too_many() -> Refusal {
    let why = format!("The answer would have more than {PRODUCERS_DESCRIBED_MAX} producers; ask for fewer partitions.");
    Refusal::new(ErrorCode::PolicyViolation, why)
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    name: &str,
    index: i32,
) -> Result<Vec<DescribedProducer>, Refusal> {
    if !allowed(context, Operation::Read, Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    let image = broker.shard().image();
    let (_, partition) = find_partition(broker, &image, name, index)?;
    broker.shard().producers(partition.log_id).await.map_err(|error| errors::read(&error).into())
}

fn answer(partition_index: i32, found: Result<Vec<DescribedProducer>, Refusal>) -> PartitionResponse {
    match found {
        Ok(producers) => PartitionResponse {
            partition_index,
            active_producers: producers.into_iter().map(state).collect(),
            ..Default::default()
        },
        Err(refusal) => PartitionResponse {
            partition_index,
            error_code: refusal.code.code(),
            error_message: refusal.message.map(Str::from),
            active_producers: Vec::new(),
        },
    }
}

fn state(producer: DescribedProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.id.0,
        producer_epoch: producer.epoch.0.into(),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.0,
    }
}
