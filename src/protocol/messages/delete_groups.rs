//! DeleteGroups (key 42): take empty groups away, with their offsets. KIP-229.

use crate::protocol::{Str, message};

message! {
    /// Which groups.
    DeleteGroupsRequest, versions 0..=2, flexible from 2 {
        groups_names: Vec<Str>,
    }
}

message! {
    /// Answers for every group.
    DeleteGroupsResponse, versions 0..=2, flexible from 2 {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }

    /// What became of one group.
    DeletableGroupResult {
        group_id: Str,
        error_code: i16,
    }
}
