//! CreatePartitions (key 37). The rules stand in `cluster`: one command per topic.

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors::Refusal;
use super::throttle::throttle_ms;
use super::{Broker, would_be};
use crate::base::limits::PARTITIONS_PER_CREATE_MAX;
use crate::base::{Map, NodeId};
use crate::cluster::{Command, CommandFault, CreatePartitions, Image};
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::CommandError;

/// Answers a CreatePartitions request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut times: Map<Str, usize> = Map::default();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let too_many = partitions_wanted(&broker.shard().image(), &request) > PARTITIONS_PER_CREATE_MAX;
    let mut results = Vec::with_capacity(times.len());
    for topic in &request.topics {
        broker.shard().io().yield_now().await;
        let done = match times.get_mut(&topic.name) {
            // Named twice: one answer for all of them, and it is no.
            Some(named) if *named > 1 => {
                *named = 0;
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            }
            Some(1) if too_many => {
                let why = format!("The request makes more than {PARTITIONS_PER_CREATE_MAX} partitions; make several.");
                Err(Refusal::new(ErrorCode::PolicyViolation, why))
            }
            Some(1) if request.timeout_ms <= 0 => {
                Err(Refusal::new(ErrorCode::RequestTimedOut, "The request gave no time."))
            }
            Some(1) => one(broker, context, topic, request.validate_only).await,
            _ => continue,
        };
        let (code, error_message) = match done {
            Ok(()) => (ErrorCode::None, None),
            Err(refusal) => (refusal.code, refusal.message.map(Str::from)),
        };
        let name = topic.name.clone();
        results.push(CreatePartitionsTopicResult { name, error_code: code.code(), error_message });
    }
    CreatePartitionsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), results }
}

/// Partitions that the request would make, and one for each topic that says nothing sensible.
fn partitions_wanted(image: &Image, request: &CreatePartitionsRequest) -> u64 {
    let more = |topic: &CreatePartitionsTopic| {
        let has = image.topic(&topic.name).map_or(0, |topic| topic.partitions.len() as u64);
        u64::try_from(topic.count).unwrap_or(0).saturating_sub(has).max(1)
    };
    request.topics.iter().map(more).sum()
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    if !allowed(context, Operation::Alter, Resource::Topic(&asked.name)) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    let image = broker.shard().image();
    let topic = image.topic(&asked.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.is_internal() {
        // Which partition keeps what is known to the broker by their number alone.
        let why = "The number of partitions of an internal topic stays as it is.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    let assigned = asked.assignments.as_ref().map(|assignments| {
        assignments.iter().map(|one| one.broker_ids.iter().copied().map(NodeId).collect()).collect()
    });
    let command =
        Command::CreatePartitions(CreatePartitions { topic_id: topic.id, count: asked.count, assignments: assigned });
    let done = match validate_only {
        true => would_be(broker, &command).map(drop).map_err(CommandError::Refused),
        false => broker.shard().command(command).await.map(drop),
    };
    match done {
        Ok(()) if validate_only => Ok(()),
        Ok(()) => {
            tracing::info!(topic = %asked.name, partitions = asked.count, peer = %context.peer, "partitions created");
            Ok(())
        }
        // Deleted meanwhile.
        Err(CommandError::Refused(CommandFault::UnknownTopic(_))) => Err(ErrorCode::UnknownTopicOrPartition.into()),
        Err(error) => Err(error.into()),
    }
}
