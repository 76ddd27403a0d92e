//! DescribeQuorum (key 55): who leads the metadata quorum, and how far its voters and observers have come.
//! KIP-595, KIP-836 (times), KIP-853 (directory ids; where the nodes are).

use crate::base::TopicId;
use crate::protocol::{Str, message};

pub use request::DescribeQuorumRequest;

/// The request. Its structures have the names of those in the response, and other fields.
pub mod request {
    use crate::protocol::{Str, message};

    message! {
        /// Which partitions; there is one, of the metadata topic.
        DescribeQuorumRequest, versions 0..=2, flexible from 0 {
            topics: Vec<TopicData>,
        }

        /// One topic.
        TopicData {
            topic_name: Str,
            partitions: Vec<PartitionData>,
        }

        /// One partition.
        PartitionData {
            partition_index: i32,
        }
    }
}

message! {
    /// Answers for every partition, and the nodes that are named in them.
    DescribeQuorumResponse, versions 0..=2, flexible from 0 {
        error_code: i16,
        error_message: Option<Str> [2..],
        topics: Vec<TopicData>,
        nodes: Vec<Node> [2..],
    }

    /// One topic.
    TopicData {
        topic_name: Str,
        partitions: Vec<PartitionData>,
    }

    /// One partition. `leader_id` is -1 while it has none.
    PartitionData {
        partition_index: i32,
        error_code: i16,
        error_message: Option<Str> [2..],
        leader_id: i32,
        leader_epoch: i32,
        high_watermark: i64,
        current_voters: Vec<ReplicaState>,
        observers: Vec<ReplicaState>,
    }

    /// How far one replica has come; -1 where it is not known. `last_caught_up_timestamp` is when the leader appended
    /// what the replica asked for last; both times are by the leader's clock, in milliseconds.
    ReplicaState {
        replica_id: i32,
        replica_directory_id: TopicId [2..],
        log_end_offset: i64,
        last_fetch_timestamp: i64 [1..] = -1,
        last_caught_up_timestamp: i64 [1..] = -1,
    }

    /// One node of the quorum.
    Node {
        node_id: i32,
        listeners: Vec<Listener>,
    }

    /// Where a node can be reached.
    Listener {
        name: Str,
        host: Str,
        port: u16,
    }
}
