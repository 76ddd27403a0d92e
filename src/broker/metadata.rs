//! Metadata (key 3): brokers, topics, leaders. May create topics that are asked for by name.

use std::sync::Arc;

use super::Broker;
use super::authorize::{Operation, Resource, allowed, authorized_operations};
use super::context::RequestContext;
use super::create_topics::create_automatically;
use super::throttle::throttle_ms;
use crate::base::TopicId;
use crate::cluster::{Image, Partition, Topic, is_internal, validate_name};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a Metadata request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: MetadataRequest) -> MetadataResponse {
    let answer = match fault(context.version, &request) {
        Some(code) => refused(code, &request),
        None => topics(broker, context, &request).await,
    };
    let image = broker.shard().image();
    let mut response = MetadataResponse {
        throttle_time_ms: throttle_ms(context, context.request_bytes),
        brokers: brokers(&image, &context.listener),
        cluster_id: image.cluster_id().map(|id| Str::from(id.clone())),
        controller_id: broker.options().node_id.0,
        topics: answer,
        ..Default::default()
    };
    if request.include_cluster_authorized_operations && allowed(context, Operation::Describe, Resource::Cluster) {
        response.cluster_authorized_operations = authorized_operations(context, Resource::Cluster);
    }
    response
}

/// The brokers as clients of this listener reach them.
fn brokers(image: &Image, listener: &str) -> Vec<MetadataResponseBroker> {
    image
        .nodes()
        .filter_map(|node| {
            let endpoint = node.endpoint(listener)?;
            Some(MetadataResponseBroker {
                node_id: node.id.0,
                host: endpoint.host.clone().into(),
                port: endpoint.port.into(),
                rack: node.rack.clone().map(Str::from),
            })
        })
        .collect()
}

/// What is wrong with the request as a whole. Kafka answers these for every topic.
fn fault(version: i16, request: &MetadataRequest) -> Option<ErrorCode> {
    let topics = request.topics.as_deref()?;
    let by_id = |topic: &MetadataRequestTopic| !topic.topic_id.is_zero() || topic.name.is_none();
    if version < BY_ID_FROM {
        // Versions 10 and 11 have room for ids on the wire, and Kafka takes none.
        return topics.iter().any(by_id).then_some(ErrorCode::InvalidRequest);
    }
    let nothing = |topic: &MetadataRequestTopic| topic.topic_id.is_zero() && topic.name.is_none();
    topics.iter().any(nothing).then_some(ErrorCode::UnknownServerError)
}

fn refused(code: ErrorCode, request: &MetadataRequest) -> Vec<MetadataResponseTopic> {
    let topics = request.topics.iter().flatten();
    topics.map(|topic| without(code, Some(topic.name.clone().unwrap_or_default()), topic.topic_id)).collect()
}

async fn topics(broker: &Broker, context: &RequestContext, request: &MetadataRequest) -> Vec<MetadataResponseTopic> {
    let operations = request.include_topic_authorized_operations;
    let image = broker.shard().image();
    let asked = match &request.topics {
        Some(topics) if context.version > 0 || !topics.is_empty() => topics,
        _ => {
            let mut all: Vec<_> = image.topics().filter(|topic| may_describe(context, &topic.name)).collect();
            all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            return all.into_iter().map(|topic| with(context, &image, topic, operations)).collect();
        }
    };
    if asked.iter().any(|topic| !topic.topic_id.is_zero()) {
        // As in Kafka, one id makes the whole request one by id.
        let ids = asked.iter().map(|topic| topic.topic_id).filter(|id| !id.is_zero());
        let answer = |id| match image.topic_by_id(&id).filter(|topic| may_describe(context, &topic.name)) {
            Some(topic) => with(context, &image, topic, operations),
            None => without(ErrorCode::UnknownTopicId, None, id),
        };
        return ids.map(answer).collect();
    }
    let may_create = request.allow_auto_topic_creation && broker.options().auto_create_topics;
    let mut answers = Vec::with_capacity(asked.len());
    let mut names: Vec<&Str> = asked.iter().flat_map(|topic| &topic.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        answers.push(one(broker, context, &image, name, may_create, operations).await);
    }
    answers
}

/// One topic by name, made if there is none and it may be. Kafka answers 3 the first time and creates it meanwhile; here the answer waits for it.
async fn one(
    broker: &Broker,
    context: &RequestContext,
    image: &Image,
    name: &Str,
    may_create: bool,
    operations: bool,
) -> MetadataResponseTopic {
    if !may_describe(context, name) {
        return without(ErrorCode::TopicAuthorizationFailed, Some(name.clone()), TopicId::ZERO);
    }
    if let Some(topic) = image.topic(name) {
        return with(context, image, topic, operations);
    }
    let code = match validate_name(name) {
        Err(_) => ErrorCode::InvalidTopicException,
        // The broker's own topics are made by those parts of it that need them.
        Ok(()) if !may_create || is_internal(name) => ErrorCode::UnknownTopicOrPartition,
        Ok(()) => match create_automatically(broker, context, name).await {
            Ok(()) => {
                let image = broker.shard().image();
                match image.topic(name) {
                    Some(topic) => return with(context, &image, topic, operations),
                    // Deleted again meanwhile.
                    None => ErrorCode::UnknownTopicOrPartition,
                }
            }
            Err(code) => code,
        },
    };
    without(code, Some(name.clone()), TopicId::ZERO)
}

fn may_describe(context: &RequestContext, name: &str) -> bool {
    allowed(context, Operation::Describe, Resource::Topic(name))
}

fn with(context: &RequestContext, image: &Image, topic: &Arc<Topic>, operations: bool) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.name.clone().into()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: (0..).zip(&topic.partitions).map(|(index, one)| partition(context, image, index, one)).collect(),
        ..Default::default()
    };
    if operations {
        answer.topic_authorized_operations = authorized_operations(context, Resource::Topic(&topic.name));
    }
    answer
}

fn partition(context: &RequestContext, image: &Image, index: i32, partition: &Partition) -> MetadataResponsePartition {
    let reachable = image.endpoint(partition, &context.listener).is_some();
    MetadataResponsePartition {
        error_code: if reachable { ErrorCode::None } else { ErrorCode::ListenerNotFound }.code(),
        partition_index: index,
        leader_id: if reachable { partition.leader.0 } else { -1 },
        leader_epoch: image.leader_epoch(partition).0,
        replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
        isr_nodes: partition.in_sync.iter().map(|node| node.0).collect(),
        offline_replicas: Vec::new(),
    }
}

fn without(code: ErrorCode, name: Option<Str>, topic_id: TopicId) -> MetadataResponseTopic {
    let is_internal = name.as_deref().is_some_and(is_internal);
    MetadataResponseTopic { error_code: code.code(), name, topic_id, is_internal, ..Default::default() }
}

/// The first version in which topics may be asked for by id.
const BY_ID_FROM: i16 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(topics: &[(Option<&str>, u8)]) -> MetadataRequest {
        let topic = |(name, id): &(Option<&str>, u8)| MetadataRequestTopic {
            topic_id: TopicId([*id; 16]),
            name: name.map(Str::from),
        };
        MetadataRequest { topics: Some(topics.iter().map(topic).collect()), ..Default::default() }
    }

    #[test]
    fn ids_are_taken_from_version_12_and_nothing_at_all_never() {
        for version in [10, 11] {
            assert_eq!(fault(version, &asked(&[(Some("a"), 0)])), None);
            assert_eq!(fault(version, &asked(&[(None, 1)])), Some(ErrorCode::InvalidRequest));
            assert_eq!(fault(version, &asked(&[(None, 0)])), Some(ErrorCode::InvalidRequest));
        }
        for version in [12, 13] {
            assert_eq!(fault(version, &asked(&[(None, 1), (Some("a"), 0)])), None);
            assert_eq!(fault(version, &asked(&[(None, 0)])), Some(ErrorCode::UnknownServerError));
        }
        assert_eq!(fault(13, &MetadataRequest { topics: None, ..Default::default() }), None);
    }
}
