//! UnregisterBroker (key 64): the cluster forgets a broker that will not come back. KIP-631.

use crate::protocol::{Str, message};

message! {
    /// Which broker.
    UnregisterBrokerRequest, versions 0..=0, flexible from 0 {
        broker_id: i32,
    }
}

message! {
    /// What became of it.
    UnregisterBrokerResponse, versions 0..=0, flexible from 0 {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<Str>,
    }
}
