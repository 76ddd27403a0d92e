//! The catalogue: every API that is served, once. ApiVersions, dispatch, frame limits, authorisation and features are read from it.
//!
//! What cannot be served is not in it.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use super::authorize::{Needs, Operation};
use super::context::RequestContext;
use super::dispatch::{Handled, answered, answered_as, answered_charged, answered_holding, answered_parked};
use super::{
    Broker, alter_configs, alter_partition_reassignments, alter_replica_log_dirs, api_versions,
    consumer_group_describe, consumer_group_heartbeat, create_partitions, create_topics, delete_groups, delete_records,
    delete_topics, describe_cluster, describe_configs, describe_groups, describe_log_dirs, describe_producers,
    describe_quorum, describe_topic_partitions, elect_leaders, fetch, find_coordinator, heartbeat,
    incremental_alter_configs, init_producer_id, join_group, leave_group, list_config_resources, list_groups,
    list_offsets, list_partition_reassignments, metadata, offset_commit, offset_delete, offset_fetch,
    offset_for_leader_epoch, produce, sync_group,
};
use crate::base::limits::REQUEST_BYTES_MAX_SMALL;
use crate::cluster::{METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_LEVEL_MIN};
use crate::protocol::ApiKey;

/// One API.
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// The versions that ApiVersions names.
    pub advertised: RangeInclusive<i16>,
    /// The versions that are answered; others close the connection, as in Kafka.
    pub served: RangeInclusive<i16>,
    /// How large its requests may be.
    pub frame: FrameLimit,
    /// What one must be allowed to do.
    pub needs: Needs,
    /// What answers it.
    pub handler: Handler,
}

/// How large a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameLimit {
    /// As `socket.request.max.bytes` says: it carries records.
    Records,
    /// At most [`SMALL_FRAME_BYTES_MAX`], and no more than that setting.
    Small,
}

/// Answers a request: its context and its body.
pub type Handler = fn(Rc<Broker>, RequestContext, Bytes) -> Pin<Box<dyn Future<Output = Handled>>>;

/// A feature that this broker supports (KIP-584).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The levels supported, both included.
    pub levels: (i16, i16),
    /// Who says which level holds.
    pub holds: Holds,
}

/// Who says which level of a feature holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// The metadata.
    ByMetadata,
    /// The last level does, where this API is served: nothing about the feature is kept, so nothing has to be decided before.
    With(ApiKey),
}

/// Bytes of a frame that carries no records at most.
pub const SMALL_FRAME_BYTES_MAX: usize = REQUEST_BYTES_MAX_SMALL;

/// All APIs served, by key.
pub static APIS: &[Api] = &[
    Api {
        key: ApiKey::Produce,
        // 0 to 2 are named for old librdkafka, which does not compress without them, and refused (KAFKA-18659).
        advertised: 0..=13,
        served: 3..=13,
        frame: FrameLimit::Records,
        needs: Needs::EachTopic(Operation::Write),
        handler: |broker, context, body| Box::pin(produce::handle(broker, context, body)),
    },
    Api {
        key: ApiKey::Fetch,
        advertised: 4..=18,
        served: 4..=18,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Read),
        handler: |broker, context, body| Box::pin(answered_holding(broker, context, body, fetch::handle)),
    },
    Api {
        key: ApiKey::ListOffsets,
        advertised: 1..=11,
        served: 1..=11,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, list_offsets::handle)),
    },
    Api {
        key: ApiKey::Metadata,
        advertised: 0..=13,
        served: 0..=13,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, metadata::handle)),
    },
    Api {
        key: ApiKey::OffsetCommit,
        advertised: 2..=10,
        served: 2..=10,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Read),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, offset_commit::handle)),
    },
    Api {
        key: ApiKey::OffsetFetch,
        advertised: 1..=10,
        served: 1..=10,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered_charged(broker, context, body, offset_fetch::handle)),
    },
    Api {
        key: ApiKey::FindCoordinator,
        advertised: 0..=6,
        served: 0..=6,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, find_coordinator::handle)),
    },
    Api {
        key: ApiKey::JoinGroup,
        advertised: 0..=9,
        served: 0..=9,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Read),
        handler: |broker, context, body| Box::pin(answered_parked(broker, context, body, join_group::handle)),
    },
    Api {
        key: ApiKey::Heartbeat,
        advertised: 0..=4,
        served: 0..=4,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Read),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, heartbeat::handle)),
    },
    Api {
        key: ApiKey::LeaveGroup,
        advertised: 0..=5,
        served: 0..=5,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Read),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, leave_group::handle)),
    },
    Api {
        key: ApiKey::SyncGroup,
        advertised: 0..=5,
        served: 0..=5,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Read),
        handler: |broker, context, body| Box::pin(answered_parked(broker, context, body, sync_group::handle)),
    },
    Api {
        key: ApiKey::DescribeGroups,
        advertised: 0..=6,
        served: 0..=6,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered_charged(broker, context, body, describe_groups::handle)),
    },
    Api {
        key: ApiKey::ListGroups,
        advertised: 0..=5,
        served: 0..=5,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered_charged(broker, context, body, list_groups::handle)),
    },
    Api {
        key: ApiKey::ApiVersions,
        advertised: 0..=4,
        served: i16::MIN..=i16::MAX,
        frame: FrameLimit::Small,
        needs: Needs::Nothing,
        handler: |broker, context, body| Box::pin(answered_as(broker, context, body, api_versions::handle)),
    },
    Api {
        key: ApiKey::CreateTopics,
        advertised: 2..=7,
        served: 2..=7,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Create),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, create_topics::handle)),
    },
    Api {
        key: ApiKey::DeleteTopics,
        advertised: 1..=6,
        served: 1..=6,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Delete),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, delete_topics::handle)),
    },
    Api {
        key: ApiKey::DeleteRecords,
        advertised: 0..=2,
        served: 0..=2,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Delete),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, delete_records::handle)),
    },
    Api {
        key: ApiKey::InitProducerId,
        advertised: 0..=5,
        served: 0..=5,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::IdempotentWrite),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, init_producer_id::handle)),
    },
    Api {
        key: ApiKey::OffsetForLeaderEpoch,
        advertised: 2..=4,
        served: 2..=4,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, offset_for_leader_epoch::handle)),
    },
    Api {
        key: ApiKey::DescribeConfigs,
        advertised: 1..=4,
        served: 1..=4,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::DescribeConfigs),
        handler: |broker, context, body| Box::pin(answered_holding(broker, context, body, describe_configs::handle)),
    },
    Api {
        key: ApiKey::AlterConfigs,
        advertised: 0..=2,
        served: 0..=2,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::AlterConfigs),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, alter_configs::handle)),
    },
    Api {
        key: ApiKey::AlterReplicaLogDirs,
        advertised: 1..=2,
        served: 1..=2,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::Alter),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, alter_replica_log_dirs::handle)),
    },
    Api {
        key: ApiKey::DescribeLogDirs,
        advertised: 1..=5,
        served: 1..=5,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered_charged(broker, context, body, describe_log_dirs::handle)),
    },
    Api {
        key: ApiKey::CreatePartitions,
        advertised: 0..=3,
        served: 0..=3,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Alter),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, create_partitions::handle)),
    },
    Api {
        key: ApiKey::DeleteGroups,
        advertised: 0..=2,
        served: 0..=2,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Delete),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, delete_groups::handle)),
    },
    Api {
        key: ApiKey::ElectLeaders,
        advertised: 0..=2,
        served: 0..=2,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::Alter),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, elect_leaders::handle)),
    },
    Api {
        key: ApiKey::IncrementalAlterConfigs,
        advertised: 0..=1,
        served: 0..=1,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::AlterConfigs),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, incremental_alter_configs::handle)),
    },
    Api {
        key: ApiKey::AlterPartitionReassignments,
        advertised: 0..=1,
        served: 0..=1,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::Alter),
        handler: |broker, context, body| {
            Box::pin(answered(broker, context, body, alter_partition_reassignments::handle))
        },
    },
    Api {
        key: ApiKey::ListPartitionReassignments,
        advertised: 0..=0,
        served: 0..=0,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::Describe),
        handler: |broker, context, body| {
            Box::pin(answered(broker, context, body, list_partition_reassignments::handle))
        },
    },
    Api {
        key: ApiKey::OffsetDelete,
        advertised: 0..=0,
        served: 0..=0,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Delete),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, offset_delete::handle)),
    },
    Api {
        key: ApiKey::DescribeQuorum,
        advertised: 0..=2,
        served: 0..=2,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, describe_quorum::handle)),
    },
    Api {
        key: ApiKey::DescribeCluster,
        advertised: 0..=2,
        served: 0..=2,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, describe_cluster::handle)),
    },
    Api {
        key: ApiKey::DescribeProducers,
        advertised: 0..=0,
        served: 0..=0,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Read),
        handler: |broker, context, body| Box::pin(answered_holding(broker, context, body, describe_producers::handle)),
    },
    Api {
        key: ApiKey::ConsumerGroupHeartbeat,
        advertised: 0..=1,
        served: 0..=1,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Read),
        handler: |broker, context, body| {
            Box::pin(answered_holding(broker, context, body, consumer_group_heartbeat::handle))
        },
    },
    Api {
        key: ApiKey::ConsumerGroupDescribe,
        advertised: 0..=1,
        served: 0..=1,
        frame: FrameLimit::Small,
        needs: Needs::EachGroup(Operation::Describe),
        handler: |broker, context, body| {
            Box::pin(answered_charged(broker, context, body, consumer_group_describe::handle))
        },
    },
    Api {
        key: ApiKey::ListConfigResources,
        advertised: 0..=1,
        served: 0..=1,
        frame: FrameLimit::Small,
        needs: Needs::Cluster(Operation::DescribeConfigs),
        handler: |broker, context, body| {
            Box::pin(answered_charged(broker, context, body, list_config_resources::handle))
        },
    },
    Api {
        key: ApiKey::DescribeTopicPartitions,
        advertised: 0..=0,
        served: 0..=0,
        frame: FrameLimit::Small,
        needs: Needs::EachTopic(Operation::Describe),
        handler: |broker, context, body| Box::pin(answered(broker, context, body, describe_topic_partitions::handle)),
    },
];

/// The features supported. What the APIs above cannot keep is not promised: transactions and shares bring their own.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: METADATA_VERSION,
        levels: (METADATA_VERSION_LEVEL_MIN, METADATA_VERSION_LEVEL),
        holds: Holds::ByMetadata,
    },
    Feature { name: GROUP_VERSION, levels: (1, 1), holds: Holds::With(ApiKey::ConsumerGroupHeartbeat) },
];

/// Level 1: groups of the consumer protocol (KIP-848).
pub const GROUP_VERSION: &str = "group.version";

/// The row of an API, if it is served.
pub fn find(key: ApiKey) -> Option<&'static Api> {
    place(key).map(|at| &APIS[at])
}

/// Where the row of an API stands, if it is served.
pub fn place(key: ApiKey) -> Option<usize> {
    APIS.binary_search_by_key(&key, |api| api.key).ok()
}

/// Bytes that a frame for this key may have, given `socket.request.max.bytes`. Unknown keys get the smaller limit.
pub fn frame_bytes_max(key: i16, request_bytes_max: usize) -> usize {
    match ApiKey::from_key(key).and_then(find).map(|api| api.frame) {
        Some(FrameLimit::Records) => request_bytes_max,
        Some(FrameLimit::Small) | None => SMALL_FRAME_BYTES_MAX.min(request_bytes_max),
    }
}

/// Whether requests with this key may be under way at the same time on one connection. Their bytes may then outlive the call that handles them.
pub fn overlaps(key: i16) -> bool {
    key == ApiKey::Produce.key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_serve_nothing_that_is_not_named() {
        assert!(APIS.is_sorted_by_key(|api| api.key.key()));
        for api in APIS {
            assert!(api.served.end() >= api.advertised.end(), "{}", api.key);
            if api.key != ApiKey::ApiVersions {
                assert!(api.served.start() >= api.advertised.start() && api.served.end() <= api.advertised.end());
            }
        }
    }

    #[test]
    fn features_hold_by_what_is_served() {
        for feature in FEATURES {
            if let Holds::With(api) = feature.holds {
                assert!(find(api).is_some(), "{} without {api}", feature.name);
            }
        }
    }

    #[test]
    fn only_records_make_frames_large() {
        assert_eq!(frame_bytes_max(0, 100 << 20), 100 << 20);
        for key in [1, 3, 18, 999, -1] {
            assert_eq!(frame_bytes_max(key, 100 << 20), SMALL_FRAME_BYTES_MAX);
            assert_eq!(frame_bytes_max(key, 1 << 20), 1 << 20, "the operator's setting holds for all");
        }
    }
}
