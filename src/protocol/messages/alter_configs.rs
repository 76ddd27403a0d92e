//! AlterConfigs (key 33): replace all settings of a resource; what is not named goes back to its default. KIP-133.

use crate::protocol::{Str, message};

message! {
    /// With `validate_only` nothing is changed.
    AlterConfigsRequest, versions 0..=2, flexible from 2 {
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    }

    /// `resource_type` is a number as in DescribeConfigs.
    AlterConfigsResource {
        resource_type: i8,
        resource_name: Str,
        configs: Vec<AlterableConfig>,
    }

    /// One setting.
    AlterableConfig {
        name: Str,
        value: Option<Str>,
    }
}

message! {
    /// Answers for every resource.
    AlterConfigsResponse, versions 0..=2, flexible from 2 {
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
