//! Heartbeat (key 12): a member of a classic group says that it lives, and learns of a rebalance. KIP-345 (static
//! members).

use crate::protocol::{Str, message};

message! {
    /// `generation_id` is the one that the member last joined.
    HeartbeatRequest, versions 0..=4, flexible from 4 {
        group_id: Str,
        generation_id: i32,
        member_id: Str,
        group_instance_id: Option<Str> [3..],
    }
}

message! {
    /// With error 27 the member has to join again.
    HeartbeatResponse, versions 0..=4, flexible from 4 {
        throttle_time_ms: i32 [1..],
        error_code: i16,
    }
}
