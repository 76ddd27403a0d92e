//! CreateTopics (key 19): make new topics. KIP-4, KIP-464 (partitions and replicas by default), KIP-525 (settings in the response), KIP-516
//! (topic ids).

use crate::base::TopicId;
use crate::protocol::{Str, message};

message! {
    /// With `validate_only` nothing is made.
    CreateTopicsRequest, versions 2..=7, flexible from 5 {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32 = 60000,
        validate_only: bool,
    }

    /// -1 for partitions or replicas takes the broker's default, or what `assignments` say.
    CreatableTopic {
        name: Str,
        num_partitions: i32,
        replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }

    /// Who holds one partition; the first broker is the preferred leader.
    CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    /// One setting of the new topic.
    CreatableTopicConfig {
        name: Str,
        value: Option<Str>,
    }
}

message! {
    /// Answers for every topic.
    CreateTopicsResponse, versions 2..=7, flexible from 5 {
        throttle_time_ms: i32,
        topics: Vec<CreatableTopicResult>,
    }

    /// The topic as it was made. `topic_config_error_code` says why there are no `configs`.
    CreatableTopicResult {
        name: Str,
        topic_id: TopicId [7..],
        error_code: i16,
        error_message: Option<Str>,
        topic_config_error_code: i16 [5.., tag 0],
        num_partitions: i32 [5..] = -1,
        replication_factor: i16 [5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5..],
    }

    /// One setting as it took effect. `config_source` is Kafka's number for where the value comes from.
    CreatableTopicConfigs {
        name: Str,
        value: Option<Str>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }
}
