//! The image: what the cluster agrees on after a command, as a value. Changing it makes another one that shares what did not change.
//!
//! Its bytes are the metadata snapshot. Kept twice; each is a whole file:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | magic `CTIM` |
//! | 4..6 | format version, 1 |
//! | 6..22 | term and index of the last command in it |
//! | 22..38 | next log id, next producer id |
//! | 38.. | cluster id, features, membership, nodes, topics in the order of their first log ids with their partitions and configurations |
//! | last 4 | CRC-32C of all before |

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::codec::{
    self, DecodeError, put_count, put_i32, put_i64, put_option_str, put_str, put_u16, put_u32, put_u64,
};
use super::command::{Endpoint, endpoints, features, put_endpoints, put_features};
use super::grants::Grants;
use super::names::{collision_key, is_internal};
use super::quorum::{EntryId, Membership, checked};
use super::shelf::Shelf;
use super::topic_config::{TopicOverrides, TopicSettings};
use crate::base::{
    BrokerEpoch, Cursor, Incarnation, LeaderEpoch, LogId, NodeId, PartitionIndex, ProducerId, ShardId, TopicId, crc,
};

/// The feature whose level says which Kafka release the cluster behaves like.
pub const METADATA_VERSION: &str = "metadata.version";
/// Its newest level that this program supports: Kafka's 4.3-IV0.
pub const METADATA_VERSION_LEVEL: i16 = 30;
/// Its oldest level that this program supports: Kafka's 3.3-IV3, the oldest that Kafka 4.3 knows.
pub const METADATA_VERSION_LEVEL_MIN: i16 = 7;

/// What the cluster agrees on. Cloning costs a few counters, never the topics.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) version: EntryId,
    pub(super) cluster_id: Option<Arc<str>>,
    pub(super) features: Arc<BTreeMap<Arc<str>, i16>>,
    pub(super) membership: Arc<Membership>,
    pub(super) nodes: Arc<BTreeMap<NodeId, Arc<Node>>>,
    pub(super) by_name: Shelf<Arc<str>, Arc<Topic>>,
    pub(super) by_id: Shelf<TopicId, Arc<Topic>>,
    pub(super) collisions: Shelf<String, Arc<str>>,
    pub(super) grants: Grants,
    pub(super) partitions: usize,
    pub(super) next_log_id: LogId,
    pub(super) next_producer_id: ProducerId,
}

/// A broker, as it was at its latest start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The index of the command that recorded its latest start.
    pub epoch: BrokerEpoch,
    /// How often it started. Leader epochs of its partitions move with it.
    pub starts: i32,
    /// That start's opening of the data directory.
    pub incarnation: Incarnation,
    /// Its `broker.rack`.
    pub rack: Option<Arc<str>>,
    /// Where clients reach it, one per listener.
    pub endpoints: Vec<Endpoint>,
    /// How many cores it runs on.
    pub cores: u16,
}

impl Node {
    /// Where clients that came in through `listener` reach it.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| &*endpoint.listener == listener)
    }
}

/// A topic. Never changes in place: a changed topic is another one under the same id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
    /// Its partitions; a partition's index is its place.
    pub partitions: Vec<Partition>,
    /// Its own configurations as they were given, by name.
    pub configs: BTreeMap<&'static str, Arc<str>>,
    /// The same as numbers.
    pub overrides: TopicOverrides,
}

impl Topic {
    /// One partition.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    /// Whether it belongs to the broker and clients may not write to it.
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// A configuration that stays as it is: the broker's own topics are kept by key.
    pub fn is_fixed(&self, name: &str) -> bool {
        self.is_internal() && name == "cleanup.policy"
    }

    /// What holds for it, given the broker's defaults.
    pub fn settings(&self, defaults: &TopicSettings) -> TopicSettings {
        self.overrides.over(defaults)
    }
}

/// A partition of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its log's id on every replica.
    pub log_id: LogId,
    /// The node that takes its writes.
    pub leader: NodeId,
    /// The leader epoch less the leader's starts; see [`Image::leader_epoch`].
    pub(super) epoch_base: i32,
    /// Its replicas, the preferred leader first.
    pub replicas: SmallVec<[NodeId; 2]>,
    /// The replicas in sync.
    pub in_sync: SmallVec<[NodeId; 2]>,
}

/// What became of a log id.
#[derive(Clone, Debug)]
pub enum LogState {
    /// It belongs to this partition.
    Live(Arc<Topic>, PartitionIndex),
    /// It was given out and its topic was deleted: what is on disk under it may go.
    Deleted,
    /// It was never given out: finding it on disk is corruption.
    NeverGivenOut,
}

/// The core on which a log lives, on a node with this many cores. Log ids go round robin, so the partitions of a topic spread evenly.
pub fn placement(log: LogId, cores: u16) -> ShardId {
    ShardId(u16::try_from(log.0 % u64::from(cores.max(1))).expect("a remainder of a u16 is a u16"))
}

impl Default for Image {
    fn default() -> Self {
        Self::empty()
    }
}

impl Image {
    /// Before the first command.
    pub fn empty() -> Self {
        Self {
            version: EntryId::default(),
            cluster_id: None,
            features: Arc::default(),
            membership: Arc::default(),
            nodes: Arc::default(),
            by_name: Shelf::default(),
            by_id: Shelf::default(),
            collisions: Shelf::default(),
            grants: Grants::default(),
            partitions: 0,
            next_log_id: LogId(1),
            next_producer_id: ProducerId(0),
        }
    }

    /// The last command in it.
    pub fn version(&self) -> EntryId {
        self.version
    }

    /// Whether a command at this place may be applied next. Anything else read from a journal is a gap, hence corruption.
    pub fn followed_by(&self, entry: EntryId) -> bool {
        self.version.index.checked_add(1) == Some(entry.index) && entry.term >= self.version.term
    }

    /// The cluster's id; `None` before the cluster was formed.
    pub fn cluster_id(&self) -> Option<&Arc<str>> {
        self.cluster_id.as_ref()
    }

    /// Finalized features with their levels, by name. Their epoch is the image's index.
    pub fn features(&self) -> impl ExactSizeIterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (&**name, *level))
    }

    /// Who votes on the metadata log.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// A node that started at least once.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// All nodes that started at least once, by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(id)
    }

    /// All topics, in no particular order (the same one in every run).
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// What became of a log id.
    pub fn log_state(&self, log: LogId) -> LogState {
        if log.0 == 0 || log >= self.next_log_id {
            return LogState::NeverGivenOut;
        }
        let Some(grant) = self.grants.at_or_below(log) else { return LogState::Deleted };
        let within = log.0 - grant.first.0;
        if within >= u64::from(grant.count) {
            return LogState::Deleted;
        }
        let topic = self.topic_by_id(&grant.topic).expect("a grant goes with its topic");
        LogState::Live(topic.clone(), PartitionIndex(grant.first_partition.0 + within as i32))
    }

    /// A partition's leader epoch: it grows by one with each start of its leader, so no command has to visit the partitions.
    pub fn leader_epoch(&self, partition: &Partition) -> LeaderEpoch {
        LeaderEpoch(partition.epoch_base + self.nodes.get(&partition.leader).map_or(0, |node| node.starts))
    }

    /// The core of the leader on which a partition lives.
    pub fn shard(&self, partition: &Partition) -> ShardId {
        placement(partition.log_id, self.nodes.get(&partition.leader).map_or(1, |node| node.cores))
    }

    /// Where clients that came in through `listener` reach a partition's leader.
    pub fn endpoint(&self, partition: &Partition, listener: &str) -> Option<&Endpoint> {
        self.nodes.get(&partition.leader)?.endpoint(listener)
    }

    /// The first log id that was not given out.
    pub fn next_log_id(&self) -> LogId {
        self.next_log_id
    }

    /// The first producer id that was not leased.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// A new topic, whose log ids are above all that were given out.
    pub(super) fn put_topic(&mut self, topic: Arc<Topic>) {
        self.give_logs(&topic, 0);
        self.put_names(topic);
    }

    /// A topic in place of an older state of itself. What it has more of partitions has log ids above all that were given out.
    pub(super) fn replace_topic(&mut self, old: &Topic, topic: Arc<Topic>) {
        self.give_logs(&topic, old.partitions.len());
        self.partitions -= old.partitions.len();
        self.put_names(topic);
    }

    fn give_logs(&mut self, topic: &Topic, from: usize) {
        for (index, partition) in (0..).zip(&topic.partitions).skip(from) {
            self.grants.give(partition.log_id, topic.id, PartitionIndex(index));
        }
    }

    fn put_names(&mut self, topic: Arc<Topic>) {
        self.partitions += topic.partitions.len();
        if let Some(key) = collision_key(&topic.name) {
            self.collisions.insert(key, topic.name.clone());
        }
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(super) fn take_topic(&mut self, topic: &Topic) {
        self.partitions -= topic.partitions.len();
        if let Some(key) = collision_key(&topic.name) {
            self.collisions.remove(&key);
        }
        self.grants.forget(topic.id);
        self.by_id.remove(&topic.id);
        self.by_name.remove(&topic.name);
    }

    /// The snapshot's bytes. Images that hold the same have the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(IMAGE_MAGIC);
        put_u16(&mut out, IMAGE_VERSION);
        put_u64(&mut out, self.version.term);
        put_u64(&mut out, self.version.index);
        put_u64(&mut out, self.next_log_id.0);
        put_i64(&mut out, self.next_producer_id.0);
        put_option_str(&mut out, self.cluster_id.as_deref());
        put_features(&mut out, self.features());
        self.membership.encode(&mut out);
        put_count(&mut out, self.nodes.len());
        self.nodes.values().for_each(|node| put_node(&mut out, node));
        let mut topics: Vec<_> = self.topics().collect();
        topics.sort_by_key(|topic| topic.partitions.first().map(|partition| partition.log_id));
        put_count(&mut out, topics.len());
        topics.into_iter().for_each(|topic| put_topic(&mut out, topic));
        let sum = crc::crc32c(&out);
        put_u32(&mut out, sum);
        out
    }

    /// Reads what [`Image::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = checked(bytes, IMAGE_MAGIC, "the metadata snapshot", IMAGE_VERSION)?;
        let cursor = &mut cursor;
        let mut image = Self::empty();
        image.version = EntryId { term: cursor.u64()?, index: cursor.u64()? };
        image.next_log_id = LogId(cursor.u64()?);
        image.next_producer_id = ProducerId(cursor.i64()?);
        image.cluster_id = codec::option_str(cursor)?.map(Arc::from);
        image.features = Arc::new(features(cursor)?.into_iter().collect());
        image.membership = Arc::new(Membership::decode(cursor)?);
        let nodes = codec::list(cursor, NODE_BYTES_MIN, node)?;
        image.nodes = Arc::new(nodes.into_iter().map(|node| (node.id, Arc::new(node))).collect());
        let mut logs = Vec::new();
        for topic in codec::list(cursor, TOPIC_BYTES_MIN, topic)? {
            logs.extend(
                (0..).map(PartitionIndex).zip(&topic.partitions).map(|(index, one)| (one.log_id, topic.id, index)),
            );
            if topic.partitions.is_empty()
                || image.topic(&topic.name).is_some()
                || image.topic_by_id(&topic.id).is_some()
            {
                return Err(DecodeError::Invalid("a topic is there twice or has no partitions"));
            }
            image.put_names(Arc::new(topic));
        }
        // A topic that got more partitions later has log ids behind those of others.
        logs.sort_unstable_by_key(|(log, ..)| *log);
        let mut last = LogId(0);
        for (log, topic, index) in logs {
            if log <= last || log >= image.next_log_id {
                return Err(DecodeError::Invalid("a log id is there twice or was never given out"));
            }
            last = log;
            image.grants.give(log, topic, index);
        }
        codec::end(cursor)?;
        Ok(image)
    }
}

fn put_node(out: &mut Vec<u8>, node: &Node) {
    put_i32(out, node.id.0);
    put_i64(out, node.epoch.0);
    put_i32(out, node.starts);
    put_u64(out, node.incarnation.0);
    put_option_str(out, node.rack.as_deref());
    put_endpoints(out, &node.endpoints);
    put_u16(out, node.cores);
}

fn node(cursor: &mut Cursor<'_>) -> Result<Node, DecodeError> {
    Ok(Node {
        id: NodeId(cursor.i32()?),
        epoch: BrokerEpoch(cursor.i64()?),
        starts: cursor.i32()?,
        incarnation: Incarnation(cursor.u64()?),
        rack: codec::option_str(cursor)?.map(Arc::from),
        endpoints: endpoints(cursor)?,
        cores: cursor.u16()?,
    })
}

fn put_topic(out: &mut Vec<u8>, topic: &Topic) {
    put_str(out, &topic.name);
    out.extend_from_slice(&topic.id.0);
    put_count(out, topic.partitions.len());
    for partition in &topic.partitions {
        put_u64(out, partition.log_id.0);
        put_i32(out, partition.leader.0);
        put_i32(out, partition.epoch_base);
        for nodes in [&partition.replicas, &partition.in_sync] {
            put_count(out, nodes.len());
            nodes.iter().for_each(|node| put_i32(out, node.0));
        }
    }
    put_count(out, topic.configs.len());
    for (name, value) in &topic.configs {
        put_str(out, name);
        put_str(out, value);
    }
}

fn topic(cursor: &mut Cursor<'_>) -> Result<Topic, DecodeError> {
    let name: Arc<str> = codec::str(cursor)?.into();
    let internal = is_internal(&name);
    let id = TopicId(cursor.array()?);
    let partitions = codec::list(cursor, PARTITION_BYTES_MIN, |cursor| {
        Ok(Partition {
            log_id: LogId(cursor.u64()?),
            leader: NodeId(cursor.i32()?),
            epoch_base: cursor.i32()?,
            replicas: codec::list(cursor, 4, |cursor| Ok(NodeId(cursor.i32()?)))?.into(),
            in_sync: codec::list(cursor, 4, |cursor| Ok(NodeId(cursor.i32()?)))?.into(),
        })
    })?;
    let mut overrides = TopicOverrides::default();
    let mut configs = BTreeMap::new();
    for (name, value) in codec::list(cursor, 8, |cursor| Ok((codec::str(cursor)?, codec::str(cursor)?)))? {
        let set = match internal {
            true => overrides.set_internal(name, Some(value)),
            false => overrides.set(name, Some(value)),
        };
        let key =
            set.map_err(|_| DecodeError::Invalid("a topic has a configuration that this program does not accept"))?;
        configs.insert(key.name, Arc::from(value));
    }
    Ok(Topic { name, id, partitions, configs, overrides })
}

const IMAGE_MAGIC: &[u8; 4] = b"CTIM";
const IMAGE_VERSION: u16 = 1;
const NODE_BYTES_MIN: usize = 31;
const TOPIC_BYTES_MIN: usize = 28;
const PARTITION_BYTES_MIN: usize = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn placement_goes_round_robin() {
        let shards: Vec<_> = (1..7).map(|log| placement(LogId(log), 3).0).collect();
        assert_eq!(shards, [1, 2, 0, 1, 2, 0]);
        assert_eq!(placement(LogId(u64::MAX), u16::MAX).0, 0);
        assert_eq!(placement(LogId(9), 0).0, 0);
    }

    #[test]
    fn an_empty_image_has_these_bytes() {
        let bytes = Image::empty().encode();
        assert_eq!(&bytes[..6], b"CTIM\x00\x01");
        assert_eq!(bytes[6..29], [0; 23], "term and index 0, log ids from 1");
        assert_eq!(bytes[29], 1);
        assert_eq!(bytes[30..59], [0; 29], "nothing else");
        assert_eq!(bytes.len(), 63);
        assert_eq!(Image::decode(&bytes).expect("decodes").encode(), bytes);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_an_image_or_an_error(mut body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Image::decode(&body);
            body.splice(0..0, *b"CTIM\x00\x01");
            let sum = crc::crc32c(&body);
            put_u32(&mut body, sum);
            if let Ok(image) = Image::decode(&body) {
                let _ = image.encode();
            }
        }
    }
}
