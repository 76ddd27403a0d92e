//! ApiVersions (key 18): what the broker speaks, and which features the cluster has turned on.
//! KIP-35, KIP-511 (clients introduce themselves), KIP-584 (features). The header of the response is always of version 0.

use crate::protocol::{Str, message};

message! {
    /// Who the client is: names of letters, digits, dots and dashes.
    ApiVersionsRequest, versions 0..=4, flexible from 3 {
        client_software_name: Str [3..],
        client_software_version: Str [3..],
    }
}

message! {
    /// With error 35, only the range of this API, in version 0.
    ApiVersionsResponse, versions 0..=4, flexible from 3 {
        error_code: i16,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [1..],
        supported_features: Vec<SupportedFeatureKey> [3.., tag 0],
        finalized_features_epoch: i64 [3.., tag 1] = -1,
        finalized_features: Vec<FinalizedFeatureKey> [3.., tag 2],
        zk_migration_ready: bool [3.., tag 3],
    }

    /// One API and its range, both ends included.
    ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    /// A feature that the broker could turn on, and its levels. Before version 4 a feature with `min_version` 0 is left out (KAFKA-17011).
    SupportedFeatureKey {
        name: Str,
        min_version: i16,
        max_version: i16,
    }

    /// A feature that the cluster has turned on, and its level.
    FinalizedFeatureKey {
        name: Str,
        max_version_level: i16,
        min_version_level: i16,
    }
}
