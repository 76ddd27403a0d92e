//! ListGroups (key 16): the groups that this broker coordinates. KIP-40, KIP-518 (by state), KIP-848 (by type).

use crate::protocol::{Str, message};

message! {
    /// An empty filter lets every group pass.
    ListGroupsRequest, versions 0..=5, flexible from 3 {
        states_filter: Vec<Str> [4..],
        types_filter: Vec<Str> [5..],
    }
}

message! {
    /// The groups that pass both filters.
    ListGroupsResponse, versions 0..=5, flexible from 3 {
        throttle_time_ms: i32 [1..],
        error_code: i16,
        groups: Vec<ListedGroup>,
    }

    /// One group, with the names of its state and type.
    ListedGroup {
        group_id: Str,
        protocol_type: Str,
        group_state: Str [4..],
        group_type: Str [5..],
    }
}
