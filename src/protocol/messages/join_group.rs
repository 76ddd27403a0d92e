//! JoinGroup (key 11): become a member of a classic group, or stay one in its next generation.
//! KIP-62 (rebalance timeout), KIP-394 (join again with the given id), KIP-345 (static members), KIP-559 (the protocol
//! is named in the response), KIP-800 (reason), KIP-814 (the leader may be told not to assign).

use bytes::Bytes;

use crate::protocol::{Str, message};

message! {
    /// `member_id` is empty for a new member. Without `rebalance_timeout_ms`, `session_timeout_ms` counts for it.
    JoinGroupRequest, versions 0..=9, flexible from 6 {
        group_id: Str,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32 [1..] = -1,
        member_id: Str,
        group_instance_id: Option<Str> [5..],
        protocol_type: Str,
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<Str> [8..],
    }

    /// A protocol that the member supports, the most preferred first. Only clients understand `metadata`.
    JoinGroupRequestProtocol {
        name: Str,
        metadata: Bytes,
    }
}

message! {
    /// The new generation. `members` is filled for the leader only, whose task it is to assign, unless
    /// `skip_assignment`.
    JoinGroupResponse, versions 0..=9, flexible from 6 {
        throttle_time_ms: i32 [2..],
        error_code: i16,
        generation_id: i32 = -1,
        protocol_type: Option<Str> [7..],
        protocol_name: Option<Str> [.., null 7..],
        leader: Str,
        skip_assignment: bool [9..],
        member_id: Str,
        members: Vec<JoinGroupResponseMember>,
    }

    /// One member, with its metadata for the protocol that was chosen.
    JoinGroupResponseMember {
        member_id: Str,
        group_instance_id: Option<Str> [5..],
        metadata: Bytes,
    }
}
