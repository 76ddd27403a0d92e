//! CreateTopics (key 19), and the topics that a Metadata request creates. The rules stand in `cluster`: one command per topic.

use super::alter_configs::check_value;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::errors::Refusal;
use super::settings;
use super::throttle::throttle_ms;
use super::{Broker, decide};
use crate::base::limits::PARTITIONS_PER_CREATE_MAX;
use crate::base::{Map, NodeId, PartitionIndex, TopicId};
use crate::cluster::topic_config::{KEYS, TopicKey};
use crate::cluster::{Assignment, Command, CommandFault, ConfigEntry, CreateTopic, Outcome, Topic};
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::CommandError;

/// Answers a CreateTopics request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let names = request.topics.iter().map(|topic| &topic.name);
    let mut admission = Admission::new(names, partitions_wanted(broker, &request), request.timeout_ms);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        broker.shard.io().yield_now().await;
        let made = match admission.admit(&topic.name) {
            Some(Ok(())) => one(broker, context, topic, request.validate_only).await,
            Some(Err(refusal)) => Err(refusal),
            None => continue,
        };
        topics.push(made.unwrap_or_else(|refusal| CreatableTopicResult {
            name: topic.name.clone(),
            error_code: refusal.code.code(),
            error_message: refusal.message.map(Str::from),
            ..Default::default()
        }));
    }
    CreateTopicsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), topics }
}

/// Which topics of a request are given partitions, each answered once.
pub(super) struct Admission {
    /// How often each is named; 0 once it is answered.
    times: Map<Str, usize>,
    too_many: bool,
    no_time: bool,
}

impl Admission {
    /// Of a request that would make `partitions` partitions for these topics.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a Str>, partitions: u64, timeout_ms: i32) -> Self {
        let mut times: Map<Str, usize> = Map::default();
        names.for_each(|name| *times.entry(name.clone()).or_default() += 1);
        Self { times, too_many: partitions > PARTITIONS_PER_CREATE_MAX, no_time: timeout_ms <= 0 }
    }

    /// Whether the topic gets its partitions, or why not; `None`: it was answered before.
    pub(super) fn admit(&mut self, name: &Str) -> Option<Result<(), Refusal>> {
        let named = self.times.get_mut(name)?;
        match *named {
            0 => return None,
            1 => {}
            // One answer for all of them, and it is no.
            _ => {
                *named = 0;
                return Some(Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.")));
            }
        }
        if self.too_many {
            let why = format!("The request makes more than {PARTITIONS_PER_CREATE_MAX} partitions; make several.");
            return Some(Err(Refusal::new(ErrorCode::PolicyViolation, why)));
        }
        if self.no_time {
            return Some(Err(Refusal::new(ErrorCode::RequestTimedOut, "The request gave no time.")));
        }
        Some(Ok(()))
    }
}

/// Partitions that the request would make, and one for each topic that says nothing sensible.
fn partitions_wanted(broker: &Broker, request: &CreateTopicsRequest) -> u64 {
    let partitions = |topic: &CreatableTopic| match (topic.assignments.len() as u64, topic.num_partitions) {
        (0, -1) => broker.options.num_partitions as u64,
        (0, partitions) => u64::try_from(partitions).unwrap_or(0),
        (assigned, _) => assigned,
    };
    request.topics.iter().map(|topic| partitions(topic).max(1)).sum()
}

/// Makes a topic with the broker's defaults, because someone asked for it by name. One that exists by now is as good.
pub async fn create_automatically(broker: &Broker, context: &RequestContext, name: &Str) -> Result<(), ErrorCode> {
    let cluster = allowed(context, Operation::Create, Resource::Cluster);
    if !cluster && !allowed(context, Operation::Create, Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let create = Command::CreateTopic(CreateTopic {
        name: name.clone().into(),
        topic_id: new_topic_id(broker),
        partitions: -1,
        default_partitions: broker.options().num_partitions,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    });
    match broker.shard().command(create).await {
        Ok(_) | Err(CommandError::Refused(CommandFault::TopicExists(_))) => {
            tracing::info!(topic = %name, peer = %context.peer, "topic created automatically");
            Ok(())
        }
        Err(error) => Err(Refusal::from(error).code),
    }
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let cluster = allowed(context, Operation::Create, Resource::Cluster);
    if !cluster && !allowed(context, Operation::Create, Resource::Topic(&asked.name)) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    asked.configs.iter().try_for_each(|config| check_value(config.value.as_deref()))?;
    let create = CreateTopic {
        name: asked.name.clone().into(),
        topic_id: new_topic_id(broker),
        partitions: asked.num_partitions,
        default_partitions: broker.options().num_partitions,
        replication_factor: asked.replication_factor,
        assignments: asked
            .assignments
            .iter()
            .map(|assignment| Assignment {
                partition: PartitionIndex(assignment.partition_index),
                brokers: assignment.broker_ids.iter().copied().map(NodeId).collect(),
            })
            .collect(),
        configs: asked
            .configs
            .iter()
            .map(|config| ConfigEntry { name: config.name.clone().into(), value: config.value.clone().map(Into::into) })
            .collect(),
    };
    match decide(broker, Command::CreateTopic(create), validate_only).await? {
        Outcome::Created(topic) if validate_only => {
            Ok(CreatableTopicResult { topic_id: TopicId::ZERO, ..result(broker, context, &topic) })
        }
        Outcome::Created(topic) => {
            tracing::info!(topic = %topic.name, partitions = topic.partitions.len(), peer = %context.peer, "topic created");
            Ok(result(broker, context, &topic))
        }
        other => unreachable!("CreateTopic gave {other:?}"),
    }
}

fn result(broker: &Broker, context: &RequestContext, topic: &Topic) -> CreatableTopicResult {
    let may_see = allowed(context, Operation::DescribeConfigs, Resource::Topic(&topic.name));
    CreatableTopicResult {
        name: topic.name.clone().into(),
        topic_id: topic.id,
        error_code: ErrorCode::None.code(),
        topic_config_error_code: if may_see { ErrorCode::None } else { ErrorCode::TopicAuthorizationFailed }.code(),
        num_partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: topic.partitions.first().map_or(-1, |one| one.replicas.len() as i16),
        configs: may_see.then(|| KEYS.iter().map(|key| config(topic, key, broker)).collect()),
        ..Default::default()
    }
}

fn config(topic: &Topic, key: &'static TopicKey, broker: &Broker) -> CreatableTopicConfigs {
    let found = settings::topic(topic, key, broker.options());
    CreatableTopicConfigs {
        name: key.name.into(),
        value: Some(found.value),
        read_only: false,
        config_source: found.source as i8,
        is_sensitive: false,
    }
}

/// A topic id that nobody has.
pub fn new_topic_id(broker: &Broker) -> TopicId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&broker.shard.io().random_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&broker.shard.io().random_u64().to_be_bytes());
    TopicId::from_random(bytes)
}
