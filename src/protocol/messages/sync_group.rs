//! SyncGroup (key 14): the leader hands in what it assigned, and each member gets its own part.
//! KIP-345 (static members), KIP-559 (the protocol is named, so that a mistake shows).

use bytes::Bytes;

use crate::protocol::{Str, message};

message! {
    /// `assignments` come from the leader only.
    SyncGroupRequest, versions 0..=5, flexible from 4 {
        group_id: Str,
        generation_id: i32,
        member_id: Str,
        group_instance_id: Option<Str> [3..],
        protocol_type: Option<Str> [5..],
        protocol_name: Option<Str> [5..],
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// What one member gets. Only clients understand `assignment`.
    SyncGroupRequestAssignment {
        member_id: Str,
        assignment: Bytes,
    }
}

message! {
    /// What this member gets; empty with an error.
    SyncGroupResponse, versions 0..=5, flexible from 4 {
        throttle_time_ms: i32 [1..],
        error_code: i16,
        protocol_type: Option<Str> [5..],
        protocol_name: Option<Str> [5..],
        assignment: Bytes,
    }
}
