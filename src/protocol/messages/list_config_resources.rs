//! ListConfigResources (key 74): which resources have settings. KIP-714 (version 0 lists client metrics), KIP-1142 (all
//! types).

use crate::protocol::{Str, message};

message! {
    /// `resource_types` are numbers as in DescribeConfigs; an empty list asks for every type.
    ListConfigResourcesRequest, versions 0..=1, flexible from 0 {
        resource_types: Vec<i8> [1..],
    }
}

message! {
    /// The resources of those types.
    ListConfigResourcesResponse, versions 0..=1, flexible from 0 {
        throttle_time_ms: i32,
        error_code: i16,
        config_resources: Vec<ConfigResource>,
    }

    /// One resource.
    ConfigResource {
        resource_name: Str,
        resource_type: i8 [1..] = 16,
    }
}
