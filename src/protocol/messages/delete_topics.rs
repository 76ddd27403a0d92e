//! DeleteTopics (key 20): take topics away, by name or, from version 6, by id. KIP-4, KIP-516 (topic ids).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// `topic_names` up to version 5, `topics` from then on.
    DeleteTopicsRequest, versions 1..=6, flexible from 4 {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<Str> [..=5],
        timeout_ms: i32,
    }

    /// A name or an id, not both.
    DeleteTopicState {
        name: Option<Str>,
        topic_id: TopicId,
    }
}

message! {
    /// Answers for every topic.
    DeleteTopicsResponse, versions 1..=6, flexible from 4 {
        throttle_time_ms: i32,
        responses: Vec<DeletableTopicResult>,
    }

    /// What became of one topic. `name` is null if it was asked for by an id that is not known.
    DeletableTopicResult {
        name: Option<Str> [.., null 6..],
        topic_id: TopicId [6..],
        error_code: i16,
        error_message: Option<Str> [5..],
    }
}
