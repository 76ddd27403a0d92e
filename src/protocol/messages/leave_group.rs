//! LeaveGroup (key 13): members leave a group, or an administrator removes them.
//! KIP-345 (static members, many in one request), KIP-800 (reason).

use crate::protocol::{Str, message};

message! {
    /// One `member_id` up to version 2, `members` from then on.
    LeaveGroupRequest, versions 0..=5, flexible from 4 {
        group_id: Str,
        member_id: Str [..=2],
        members: Vec<MemberIdentity> [3..],
    }

    /// One member. A static one may be named by `group_instance_id` alone; `member_id` is empty then.
    MemberIdentity {
        member_id: Str,
        group_instance_id: Option<Str>,
        reason: Option<Str> [5..],
    }
}

message! {
    /// Answers for every member.
    LeaveGroupResponse, versions 0..=5, flexible from 4 {
        throttle_time_ms: i32 [1..],
        error_code: i16,
        members: Vec<MemberResponse> [3..],
    }

    /// What became of one member, named as in the request.
    MemberResponse {
        member_id: Str,
        group_instance_id: Option<Str>,
        error_code: i16,
    }
}
