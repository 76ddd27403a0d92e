//! DescribeCluster (key 60): the cluster's id, controller and brokers. KIP-700, KIP-919 (controllers), KIP-1073 (fenced brokers).

use crate::protocol::{Str, message};

message! {
    /// `endpoint_type`: 1 brokers, 2 controllers.
    DescribeClusterRequest, versions 0..=2, flexible from 0 {
        include_cluster_authorized_operations: bool,
        endpoint_type: i8 [1..] = 1,
        include_fenced_brokers: bool [2..],
    }
}

message! {
    /// `cluster_authorized_operations` is `i32::MIN` unless it was asked for.
    DescribeClusterResponse, versions 0..=2, flexible from 0 {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<Str>,
        endpoint_type: i8 [1..] = 1,
        cluster_id: Str,
        controller_id: i32 = -1,
        brokers: Vec<DescribeClusterBroker>,
        cluster_authorized_operations: i32 = i32::MIN,
    }

    /// One broker, as this listener's clients reach it.
    DescribeClusterBroker {
        broker_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str>,
        is_fenced: bool [2..],
    }
}
