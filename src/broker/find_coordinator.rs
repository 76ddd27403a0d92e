//! FindCoordinator (key 10): which broker coordinates a group. The first one to ask has the topic of the groups made.

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::create_topics::new_topic_id;
use super::errors::Refusal;
use super::throttle::throttle_ms;
use crate::cluster::{Command, CommandFault, ConfigEntry, CreateTopic, GROUPS_TOPIC};
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::{ErrorCode, Str};
use crate::shard::{CommandError, Shard};

/// Answers a FindCoordinator request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let mut no_topic = None;
    if context.version >= BATCHED_FROM {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for (place, key) in request.coordinator_keys.into_iter().enumerate() {
            if place % KEYS_PER_STEP == KEYS_PER_STEP - 1 {
                broker.shard().io().yield_now().await;
            }
            coordinators.push(one(broker, context, request.key_type, key, &mut no_topic).await);
        }
        return FindCoordinatorResponse { throttle_time_ms, coordinators, ..Default::default() };
    }
    let found = one(broker, context, request.key_type, request.key, &mut no_topic).await;
    FindCoordinatorResponse {
        throttle_time_ms,
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

async fn one(
    broker: &Broker,
    context: &RequestContext,
    key_type: i8,
    key: Str,
    no_topic: &mut Option<Refusal>,
) -> Coordinator {
    match find(broker, context, key_type, &key, no_topic).await {
        Ok((node_id, host, port)) => {
            Coordinator { key, node_id, host, port, error_code: ErrorCode::None.code(), error_message: None }
        }
        Err(Refusal { code, message, .. }) => Coordinator {
            key,
            node_id: -1,
            host: Str::default(),
            port: -1,
            error_code: code.code(),
            error_message: message.map(Str::from),
        },
    }
}

/// The coordinator's node, host and port. `no_topic`: why the topic of the groups could not be made for an earlier key; it is not tried again for each.
async fn find(
    broker: &Broker,
    context: &RequestContext,
    key_type: i8,
    key: &Str,
    no_topic: &mut Option<Refusal>,
) -> Result<(i32, Str, i32), Refusal> {
    match key_type {
        GROUP => {}
        // Final for clients: with an answer that one may try again, they would ask for ever.
        TRANSACTION if !allowed(context, Operation::Describe, Resource::TransactionalId(key)) => {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed.into());
        }
        TRANSACTION => {
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, "Transactions are not served by this version."));
        }
        _ => {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Only coordinators of groups (key type 0) are served by this version.",
            ));
        }
    }
    if !allowed(context, Operation::Describe, Resource::Group(key)) {
        return Err(ErrorCode::GroupAuthorizationFailed.into());
    }
    if broker.shard().image().topic(GROUPS_TOPIC).is_none() {
        if let Some(refusal) = no_topic {
            return Err(refusal.clone());
        }
        make_groups_topic(broker).await.inspect_err(|refusal| *no_topic = Some(refusal.clone()))?;
    }
    let image = broker.shard().image();
    let not_there = || Refusal::new(ErrorCode::CoordinatorNotAvailable, "The topic of the groups is not there.");
    let partition = Shard::group_partition(&image, key).ok_or_else(not_there)?;
    match image.endpoint(partition, &context.listener) {
        Some(endpoint) => Ok((partition.leader.0, endpoint.host.clone().into(), endpoint.port.into())),
        None => Err(Refusal::new(ErrorCode::CoordinatorNotAvailable, "No broker of this listener leads the group.")),
    }
}

/// Makes the topic, as Kafka would. One that was made meanwhile is as good. Kafka answers 15 the first time and creates it meanwhile; here the answer
/// waits for it.
async fn make_groups_topic(broker: &Broker) -> Result<(), Refusal> {
    let config = |name: &str, value: &str| ConfigEntry { name: name.into(), value: Some(value.into()) };
    let options = broker.options();
    let create = CreateTopic {
        name: GROUPS_TOPIC.into(),
        topic_id: new_topic_id(broker),
        partitions: options.offsets_partitions,
        default_partitions: options.offsets_partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![
            config("cleanup.policy", "compact"),
            config("compression.type", "producer"),
            config("segment.bytes", &options.offsets_segment_bytes.to_string()),
        ],
    };
    match broker.shard().command(Command::CreateTopic(create)).await {
        Ok(_) => {
            tracing::info!(
                topic = GROUPS_TOPIC,
                partitions = options.offsets_partitions,
                "topic of the groups created"
            );
            Ok(())
        }
        Err(CommandError::Refused(CommandFault::TopicExists(_))) => Ok(()),
        Err(error) => {
            let message = Refusal::from(error).message.unwrap_or_default();
            Err(Refusal::new(ErrorCode::CoordinatorNotAvailable, message))
        }
    }
}

/// Keys that are looked up before others have their turn.
const KEYS_PER_STEP: usize = 1000;
/// The first version in which there may be many keys.
const BATCHED_FROM: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
