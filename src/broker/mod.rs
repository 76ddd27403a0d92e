//! Kafka's APIs: one file each, behind one catalogue.
//!
//! Always true: what is served stands in [`catalogue`]; every operation on every resource is asked of [`authorize`], every response of
//! [`throttle`]; faults of other rooms become Kafka's codes only in [`errors`]. Handlers hold no state beyond the request, but for fetch
//! sessions. Knows nothing of sockets, journals or which core owns what: it asks its core's shard.

pub mod authorize; // may they? everyone may, for now
pub mod catalogue; // every API, once
pub mod context; // who asks, and when what happened
mod dispatch; // frame to handler, answer to frame
pub mod errors; // faults to Kafka's codes, only here
pub mod fetch_session; // incremental fetch sessions (KIP-227)
pub mod metrics; // what is counted of requests
mod recode; // batches into the codec of their topic
pub mod settings; // what settings are now, and from where
pub mod throttle; // how long to pause? not at all, for now

mod alter_configs; // key 33
mod alter_partition_reassignments; // key 45
mod alter_replica_log_dirs; // key 34
mod api_versions; // key 18
mod consumer_group_describe; // key 69
mod consumer_group_heartbeat; // key 68
mod create_partitions; // key 37
mod create_topics; // key 19
mod delete_groups; // key 42
mod delete_records; // key 21
mod delete_topics; // key 20
mod describe_cluster; // key 60
mod describe_configs; // key 32
mod describe_groups; // key 15
mod describe_log_dirs; // key 35
mod describe_producers; // key 61
mod describe_quorum; // key 55
mod describe_topic_partitions; // key 75
mod elect_leaders; // key 43
mod fetch; // key 1
mod find_coordinator; // key 10
mod heartbeat; // key 12
mod incremental_alter_configs; // key 44
mod init_producer_id; // key 22
mod join_group; // key 11
mod leave_group; // key 13
mod list_config_resources; // key 74
mod list_groups; // key 16
mod list_offsets; // key 2
mod list_partition_reassignments; // key 46
mod metadata; // key 3
mod offset_commit; // key 8
mod offset_delete; // key 47
mod offset_fetch; // key 9
mod offset_for_leader_epoch; // key 23
mod produce; // key 0
mod sync_group; // key 14

pub use context::{Peer, RequestContext};
pub use dispatch::{Answer, Handled, Held, LaterAnswer};

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::budget::Budget;
use crate::base::limits::{
    ANSWER_BYTES_CHARGED, ANSWER_BYTES_MIN, FETCH_SESSIONS_PER_CORE_MAX, LARGE_REQUESTS_AT_ONCE, RECODED_BYTES_MAX,
};
use crate::base::{Mono, NodeId, PartitionIndex, TopicId};
use crate::cluster::{Command, EntryId, Image, Outcome, Partition, Topic, TopicSettings};
use crate::protocol::{ErrorCode, Str};
use crate::shard::{CommandError, Shard};
use fetch_session::{FetchSessions, TopicKey};

/// What an operator may set about answering requests.
#[derive(Clone, Debug)]
pub struct Options {
    /// This broker's id (`node.id`).
    pub node_id: NodeId,
    /// Names of the listeners, in the order in which connections number them.
    pub listeners: Vec<Arc<str>>,
    /// Whether a Metadata request may create topics (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Partitions of a topic for which nobody says how many (`num.partitions`).
    pub num_partitions: i32,
    /// What holds for topics that do not say otherwise.
    pub topic_defaults: TopicSettings,
    /// The settings that keep their Kafka names, as they are described to clients.
    pub settings: Vec<settings::BrokerSetting>,
    /// Bytes of records in one Fetch response at most, whatever the client asks (`fetch.max.bytes`).
    pub fetch_bytes_max: i32,
    /// Fetch sessions that one core keeps at most (its share of `max.incremental.fetch.session.cache.slots`).
    pub fetch_sessions_max: usize,
    /// Whether groups of the consumer protocol are served (`group.coordinator.rebalance.protocols`).
    pub consumer_groups: bool,
    /// Partitions of `__consumer_offsets` when it is made (`offsets.topic.num.partitions`).
    pub offsets_partitions: i32,
    /// Bytes of its segments (`offsets.topic.segment.bytes`).
    pub offsets_segment_bytes: i32,
    /// Bytes of large answers of one core that may be held at a time, from before they are made until the peer has taken them.
    pub answer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_id: NodeId(1),
            listeners: vec!["PLAINTEXT".into()],
            auto_create_topics: true,
            num_partitions: 1,
            topic_defaults: TopicSettings::default(),
            settings: Vec::new(),
            fetch_bytes_max: 55 << 20,
            fetch_sessions_max: FETCH_SESSIONS_PER_CORE_MAX,
            consumer_groups: true,
            offsets_partitions: 50,
            offsets_segment_bytes: 100 << 20,
            answer_bytes: 128 << 20,
        }
    }
}

/// What one core needs to answer requests.
pub struct Broker {
    shard: Shard,
    options: Arc<Options>,
    sessions: RefCell<FetchSessions>,
    answer_memory: Budget,
    recode_memory: Budget,
    large_requests: Budget,
    counter: metrics::Counter,
}

impl Broker {
    /// For the core of `shard`.
    pub fn new(shard: Shard, options: Arc<Options>) -> Self {
        let sessions = RefCell::new(FetchSessions::new(shard.id(), options.fetch_sessions_max));
        let answer_memory = Budget::new(options.answer_bytes);
        let large_requests = Budget::new(LARGE_REQUESTS_AT_ONCE);
        let recode_memory = Budget::new(RECODED_BYTES_MAX);
        Self {
            shard,
            options,
            sessions,
            answer_memory,
            recode_memory,
            large_requests,
            counter: metrics::Counter::default(),
        }
    }

    /// Has a request answered. `frame` begins with the API key; its last byte was read at `read`.
    ///
    /// Requests of one connection must be handed over one at a time; a Produce has its place in every log when this returns.
    pub async fn handle(self: &Rc<Self>, peer: &Peer, frame: Bytes, read: Mono) -> Handled {
        dispatch::handle(self, peer, frame, read).await
    }

    /// What was counted of requests.
    pub fn metrics(&self) -> metrics::Metrics {
        self.counter.copy()
    }

    /// What the operator set.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// This core's part of the data.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Whether a request waits for the memory that unread answers hold.
    pub fn answers_are_scarce(&self) -> bool {
        self.answer_memory.is_scarce()
    }

    /// Charges an answer of about so many bytes, before it is made, once there is memory for what peers do not take. A small one is not charged.
    async fn hold_answer(&self, bytes: usize) -> Option<Held> {
        if bytes < ANSWER_BYTES_CHARGED {
            return None;
        }
        let held = self.answer_memory.take(bytes, ANSWER_BYTES_MIN).await;
        held.set(bytes);
        Some(held)
    }

    /// 16 bytes of chance.
    fn random_uuid(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for half in bytes.chunks_exact_mut(8) {
            half.copy_from_slice(&self.shard.io().random_u64().to_be_bytes());
        }
        bytes
    }

    fn listener(&self, number: usize) -> Arc<str> {
        self.options.listeners[number].clone()
    }
}

/// A topic by what a request calls it, or why there is none.
fn find_topic<'a>(image: &'a Image, key: &TopicKey) -> Result<&'a Arc<Topic>, ErrorCode> {
    match key {
        TopicKey::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        TopicKey::Id(id) => image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
    }
}

/// A partition by name and number, if this broker leads it.
fn find_partition<'a>(
    broker: &Broker,
    image: &'a Image,
    topic: &str,
    index: i32,
) -> Result<(&'a Arc<Topic>, &'a Partition), ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(PartitionIndex(index)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if partition.leader != broker.options().node_id {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok((topic, partition))
}

/// Carries out a metadata command, or only says what it would do now and changes nothing.
async fn decide(broker: &Broker, command: Command, validate_only: bool) -> Result<Outcome, CommandError> {
    if !validate_only {
        return broker.shard().command(command).await;
    }
    let image = broker.shard().image();
    let version = image.version();
    let entry = EntryId { index: version.index + 1, ..version };
    let (_, _, outcome) = crate::cluster::apply(&image, entry, &command);
    outcome.map_err(CommandError::Refused)
}

/// A topic's name or id as requests carry them: by id where the version says so.
fn topic_key(by_id: bool, name: Str, id: TopicId) -> TopicKey {
    if by_id { TopicKey::Id(id) } else { TopicKey::Name(name) }
}
