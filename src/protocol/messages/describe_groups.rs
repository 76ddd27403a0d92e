//! DescribeGroups (key 15): classic groups, their state and their members.
//! KIP-40, KIP-345 (static members), KIP-430 (authorized operations), KIP-1043 (an unknown group is an error).

use bytes::Bytes;

use crate::protocol::{Str, message};

message! {
    /// Which groups.
    DescribeGroupsRequest, versions 0..=6, flexible from 5 {
        groups: Vec<Str>,
        include_authorized_operations: bool [3..],
    }
}

message! {
    /// Answers for every group.
    DescribeGroupsResponse, versions 0..=6, flexible from 5 {
        throttle_time_ms: i32 [1..],
        groups: Vec<DescribedGroup>,
    }

    /// One group. `protocol_data` names the protocol that was chosen. `authorized_operations` is `i32::MIN` unless it
    /// was asked for.
    DescribedGroup {
        error_code: i16,
        error_message: Option<Str> [6..],
        group_id: Str,
        group_state: Str,
        protocol_type: Str,
        protocol_data: Str,
        members: Vec<DescribedGroupMember>,
        authorized_operations: i32 [3..] = i32::MIN,
    }

    /// One member. Metadata and assignment are empty unless the group is stable.
    DescribedGroupMember {
        member_id: Str,
        group_instance_id: Option<Str> [4..],
        client_id: Str,
        client_host: Str,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }
}
