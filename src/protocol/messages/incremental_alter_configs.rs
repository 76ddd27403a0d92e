//! IncrementalAlterConfigs (key 44): change some settings of a resource and leave the others. KIP-339.

use crate::protocol::{Str, message};

message! {
    /// With `validate_only` nothing is changed.
    IncrementalAlterConfigsRequest, versions 0..=1, flexible from 1 {
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    }

    /// `resource_type` is a number as in DescribeConfigs.
    AlterConfigsResource {
        resource_type: i8,
        resource_name: Str,
        configs: Vec<AlterableConfig>,
    }

    /// `config_operation`: 0 set, 1 delete, 2 append to a list, 3 subtract from it.
    AlterableConfig {
        name: Str,
        config_operation: i8,
        value: Option<Str>,
    }
}

message! {
    /// Answers for every resource.
    IncrementalAlterConfigsResponse, versions 0..=1, flexible from 1 {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }

    /// What became of one resource.
    AlterConfigsResourceResponse {
        error_code: i16,
        error_message: Option<Str>,
        resource_type: i8,
        resource_name: Str,
    }
}
