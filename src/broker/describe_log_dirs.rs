//! DescribeLogDirs (key 35): the data directory, its volume, and what each partition takes up in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::throttle::throttle_ms;
use crate::base::{LogId, NodeId, PartitionIndex};
use crate::cluster::{Image, Topic};
use crate::protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::protocol::{ErrorCode, Str};

/// Answers a DescribeLogDirs request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    if !allowed(context, Operation::Describe, Resource::Cluster) {
        let error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return DescribeLogDirsResponse { throttle_time_ms, error_code, results: Vec::new() };
    }
    let image = broker.shard().image();
    let wanted = wanted(&image, request.topics.as_deref());
    let mine = replicas(&wanted, broker.options().node_id);
    let logs: Vec<LogId> = mine.iter().map(|(_, _, log)| *log).collect();
    let sizes = broker.shard().log_bytes(&logs).await;
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for ((topic, index, _), bytes) in mine.into_iter().zip(sizes) {
        // Deleted meanwhile.
        let Some(bytes) = bytes else { continue };
        if topics.last().is_none_or(|last| last.name.as_str() != &*topic.name) {
            topics.push(DescribeLogDirsTopic { name: topic.name.clone().into(), partitions: Vec::new() });
        }
        let partitions = &mut topics.last_mut().expect("just pushed").partitions;
        partitions.push(DescribeLogDirsPartition {
            partition_index: index,
            partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
            offset_lag: 0,
            is_future_key: false,
        });
    }
    let mut result = DescribeLogDirsResult { log_dir: directory(broker), topics, ..Default::default() };
    match broker.shard().space().await {
        Ok(space) => {
            result.total_bytes = i64::try_from(space.total_bytes).unwrap_or(i64::MAX);
            result.usable_bytes = i64::try_from(space.usable_bytes).unwrap_or(i64::MAX);
        }
        Err(error) => tracing::warn!("the space of the volume is not known: {error}"),
    }
    DescribeLogDirsResponse { throttle_time_ms, results: vec![result], ..Default::default() }
}

/// The data directory, as clients are told it.
pub(super) fn directory(broker: &Broker) -> Str {
    broker.shard().data_directory().display().to_string().into()
}

/// Topics by name, each with the partitions asked for; `None`: all of them.
type Wanted<'a> = BTreeMap<&'a str, (&'a Arc<Topic>, Option<BTreeSet<i32>>)>;

/// What is asked for and is there.
fn wanted<'a>(image: &'a Image, topics: Option<&[DescribableLogDirTopic]>) -> Wanted<'a> {
    let Some(topics) = topics else {
        return image.topics().map(|topic| (&*topic.name, (topic, None))).collect();
    };
    let mut wanted = Wanted::new();
    for asked in topics {
        let Some(topic) = image.topic(&asked.topic) else { continue };
        let (_, partitions) = wanted.entry(&topic.name).or_insert_with(|| (topic, Some(BTreeSet::new())));
        partitions.iter_mut().for_each(|partitions| partitions.extend(&asked.partitions));
    }
    wanted
}

/// The partitions of which this broker has a replica, in order.
fn replicas<'a>(wanted: &Wanted<'a>, node: NodeId) -> Vec<(&'a Arc<Topic>, i32, LogId)> {
    let mut replicas = Vec::new();
    for (topic, partitions) in wanted.values() {
        let all = 0..topic.partitions.len() as i32;
        let indexes: Vec<i32> = match partitions {
            Some(some) => some.iter().copied().collect(),
            None => all.collect(),
        };
        for index in indexes {
            let partition = topic.partition(PartitionIndex(index)).filter(|one| one.replicas.contains(&node));
            replicas.extend(partition.map(|partition| (*topic, index, partition.log_id)));
        }
    }
    replicas
}
