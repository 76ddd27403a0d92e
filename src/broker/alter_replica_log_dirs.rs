//! AlterReplicaLogDirs (key 34): there is one data directory, and everything is in it (KIP-113).

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::describe_log_dirs::directory;
use super::throttle::throttle_ms;
use super::{Broker, find_partition};
use crate::protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Answers an AlterReplicaLogDirs request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let permitted = allowed(context, Operation::Alter, Resource::Cluster);
    let (image, own) = (broker.shard().image(), directory(broker));
    let code = |path: &Str, topic: &Str, index: i32| {
        if !permitted {
            return ErrorCode::ClusterAuthorizationFailed;
        }
        if *path != own {
            return ErrorCode::LogDirNotFound;
        }
        // It is where it is to go.
        find_partition(broker, &image, topic, index).map_or_else(|code| code, |_| ErrorCode::None)
    };
    let mut results = Vec::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let answer = |index: &i32| AlterReplicaLogDirPartitionResult {
                partition_index: *index,
                error_code: code(&dir.path, &topic.name, *index).code(),
            };
            let partitions = topic.partitions.iter().map(answer).collect();
            results.push(AlterReplicaLogDirTopicResult { topic_name: topic.name.clone(), partitions });
        }
    }
    AlterReplicaLogDirsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), results }
}
