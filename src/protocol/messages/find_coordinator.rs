//! FindCoordinator (key 10): which broker coordinates a group, a transactional producer or a share partition.
//! KIP-98 (transactions), KIP-699 (many keys in one request), KIP-890 (a new error), KIP-932 (share groups).

use crate::protocol::{Str, message};

message! {
    /// `key_type`: 0 group, 1 transaction, 2 share, with `groupId:topicId:partition` as the key. One `key` up to
    /// version 3, `coordinator_keys` from then on.
    FindCoordinatorRequest, versions 0..=6, flexible from 3 {
        key: Str [..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<Str> [4..],
    }
}

message! {
    /// One coordinator up to version 3, `coordinators` in the order of the keys from then on.
    FindCoordinatorResponse, versions 0..=6, flexible from 3 {
        throttle_time_ms: i32 [1..],
        error_code: i16 [..=3],
        error_message: Option<Str> [1..=3],
        node_id: i32 [..=3],
        host: Str [..=3],
        port: i32 [..=3],
        coordinators: Vec<Coordinator> [4..],
    }

    /// Who coordinates one key. With an error, `node_id` and `port` are -1 and `host` is empty.
    Coordinator {
        key: Str,
        node_id: i32,
        host: Str,
        port: i32,
        error_code: i16,
        error_message: Option<Str>,
    }
}
