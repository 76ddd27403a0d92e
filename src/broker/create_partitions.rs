//! CreatePartitions (key 37). The rules stand in `cluster`: one command per topic.

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::create_topics::Admission;
use super::errors::Refusal;
use super::throttle::throttle_ms;
use super::{Broker, decide};
use crate::base::NodeId;
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
    let names = request.topics.iter().map(|topic| &topic.name);
    let wanted = partitions_wanted(&broker.shard().image(), &request);
    let mut admission = Admission::new(names, wanted, request.timeout_ms);
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        broker.shard().io().yield_now().await;
        let done = match admission.admit(&topic.name) {
            Some(Ok(())) => one(broker, context, topic, request.validate_only).await,
            Some(Err(refusal)) => Err(refusal),
            None => continue,
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
    match decide(broker, command, validate_only).await {
        Ok(_) if validate_only => Ok(()),
        Ok(_) => {
            tracing::info!(topic = %asked.name, partitions = asked.count, peer = %context.peer, "partitions created");
            Ok(())
        }
        // Deleted meanwhile.
        Err(CommandError::Refused(CommandFault::UnknownTopic(_))) => Err(ErrorCode::UnknownTopicOrPartition.into()),
        Err(error) => Err(error.into()),
    }
}
