//! InitProducerId (key 22): give an id and an epoch to an idempotent or transactional producer.
//! KIP-98, KIP-360 (an epoch may be raised), KIP-890. Version 6 (KIP-939, two-phase commit) is not stable in Kafka 4.3 and not declared.

use crate::protocol::{Str, message};

message! {
    /// Without a `transactional_id` the id is for idempotence only.
    InitProducerIdRequest, versions 0..=5, flexible from 2 {
        transactional_id: Option<Str>,
        transaction_timeout_ms: i32,
        producer_id: i64 [3..] = -1,
        producer_epoch: i16 [3..] = -1,
    }
}

message! {
    /// The id and epoch to write into batches.
    InitProducerIdResponse, versions 0..=5, flexible from 2 {
        throttle_time_ms: i32,
        error_code: i16,
        producer_id: i64 = -1,
        producer_epoch: i16,
    }
}
