//! DeleteTopics (key 20), by name or by id.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors::Refusal;
use super::throttle::throttle_ms;
use crate::base::{Map, TopicId};
use crate::cluster::{Command, CommandFault};
use crate::protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::CommandError;

/// Answers a DeleteTopics request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO };
    let asked: Vec<_> = request.topics.into_iter().chain(request.topic_names.into_iter().map(by_name)).collect();
    let mut times: Map<(Option<Str>, TopicId), usize> = Map::default();
    for topic in &asked {
        *times.entry((topic.name.clone(), topic.topic_id)).or_default() += 1;
    }
    let mut responses = Vec::with_capacity(asked.len());
    for topic in asked {
        let named = times.get_mut(&(topic.name.clone(), topic.topic_id)).expect("all were counted");
        let done = match *named {
            0 => continue,
            1 if request.timeout_ms <= 0 => Err(Refusal::new(ErrorCode::RequestTimedOut, "The request gave no time.")),
            1 => one(broker, context, &topic).await,
            _ => Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name or id.")),
        };
        *named = 0;
        let (code, message) = match &done {
            Ok(_) => (ErrorCode::None, None),
            Err(refusal) => (refusal.code, refusal.message.as_deref().map(Str::from)),
        };
        let (name, topic_id) = done.unwrap_or((topic.name, topic.topic_id));
        responses.push(DeletableTopicResult { name, topic_id, error_code: code.code(), error_message: message });
    }
    DeleteTopicsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), responses }
}

/// Deletes one topic. Gives its name and id.
async fn one(
    broker: &Broker,
    context: &RequestContext,
    asked: &DeleteTopicState,
) -> Result<(Option<Str>, TopicId), Refusal> {
    let image = broker.shard().image();
    let (topic, unknown) = match &asked.name {
        Some(_) if !asked.topic_id.is_zero() => {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "Specify the topic's name or its id, not both."));
        }
        Some(name) => (image.topic(name), ErrorCode::UnknownTopicOrPartition),
        None if asked.topic_id.is_zero() => {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "Neither a topic name nor an id was specified."));
        }
        None => (image.topic_by_id(&asked.topic_id), ErrorCode::UnknownTopicId),
    };
    let topic = topic.ok_or(Refusal::from(unknown))?;
    if !allowed(context, Operation::Delete, Resource::Topic(&topic.name)) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    match broker.shard().command(Command::DeleteTopic { topic_id: topic.id }).await {
        Ok(_) => {
            tracing::info!(topic = %topic.name, id = %topic.id, peer = %context.peer, "topic deleted");
            Ok((Some(topic.name.clone().into()), topic.id))
        }
        Err(CommandError::Refused(CommandFault::UnknownTopic(_))) => Err(unknown.into()),
        Err(error) => Err(error.into()),
    }
}
