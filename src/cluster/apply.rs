//! Applies a command to an image. All rules stand here, so that no two nodes and no replay can judge a command differently.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::smallvec;

use super::command::{BrokerStarted, Command, CreateTopic};
use super::image::{
    Image, METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_LEVEL_MIN, Node, Partition, Topic,
};
use super::names::{METADATA_TOPIC, NameFault, collision_key, validate_name};
use super::quorum::{EntryId, Membership};
use super::topic_config::{ConfigFault, TopicOverrides};
use crate::base::limits::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX};
use crate::base::{BrokerEpoch, LogId, NodeId, ProducerId, TopicId};

/// What changed, for those who keep state beside the image.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A node started: the leader epochs of its partitions moved.
    NodeStarted(Arc<Node>),
    /// A topic is new; its logs are to be made on the cores that [`Image::shard`] names.
    TopicCreated(Arc<Topic>),
    /// A topic is gone; its logs are to be deleted.
    TopicDeleted(Arc<Topic>),
}

/// What the one who wrote the command is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Nothing more than that it was done.
    Done,
    /// The node's epoch for this start.
    Started(BrokerEpoch),
    /// The topic as it is now.
    Created(Arc<Topic>),
    /// The topic as it was.
    Deleted(Arc<Topic>),
    /// Producer ids from `first` on, `count` of them.
    Leased {
        /// The first.
        first: ProducerId,
        /// How many.
        count: u32,
    },
}

/// Why a command was refused. The room that answers clients turns each into a Kafka code; the sentence may be sent along.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandFault {
    /// The cluster has an id already.
    #[error("The cluster was formed already.")]
    AlreadyFormed,
    /// Nothing can happen before [`Command::ClusterFormed`].
    #[error("The cluster was not formed yet.")]
    NotFormed,
    /// A cluster id that is empty, too long, or has other characters.
    #[error("The cluster id '{0}' is not 1 to 64 characters of A-Z, a-z, 0-9, '-' and '_'.")]
    ClusterIdInvalid(String),
    /// A feature or a level that this program does not support.
    #[error("The feature {name} at level {level} is not supported.")]
    FeatureUnsupported {
        /// The feature.
        name: String,
        /// Its level.
        level: i16,
    },
    /// A broker that runs on no core, or has a negative id.
    #[error("Broker {0} has no cores or a negative id.")]
    BrokerInvalid(NodeId),
    /// No broker started yet, so partitions have nowhere to live.
    #[error("No broker has started yet.")]
    NoBroker,
    /// 36, TOPIC_ALREADY_EXISTS.
    #[error("Topic '{0}' already exists.")]
    TopicExists(Arc<str>),
    /// A topic id that is zero or in use.
    #[error("The topic id {0} is zero or in use.")]
    TopicIdInvalid(TopicId),
    /// 17, INVALID_TOPIC_EXCEPTION.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// 17, INVALID_TOPIC_EXCEPTION.
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    NameCollides {
        /// The name wanted.
        name: Arc<str>,
        /// The name in its way.
        existing: Arc<str>,
    },
    /// 42, INVALID_REQUEST.
    #[error("Creation of internal topic {METADATA_TOPIC} is prohibited.")]
    NameReserved,
    /// 37, INVALID_PARTITIONS.
    #[error("Number of partitions was set to an invalid non-positive value.")]
    PartitionsNotPositive,
    /// 44, POLICY_VIOLATION, as Kafka answers excessive counts.
    #[error("{wanted} partitions are more than {what} may have ({max}).")]
    TooManyPartitions {
        /// How many were asked for, or would be there.
        wanted: u64,
        /// What the bound is on.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// 38, INVALID_REPLICATION_FACTOR.
    #[error("Replication factor was set to an invalid non-positive value.")]
    ReplicationFactorNotPositive,
    /// 38, INVALID_REPLICATION_FACTOR.
    #[error(
        "Unable to replicate the partition {wanted} time(s): The target replication factor of {wanted} cannot be reached because only {brokers} broker(s) \
         are registered."
    )]
    ReplicationFactorTooLarge {
        /// Replicas wanted.
        wanted: i16,
        /// Brokers there are.
        brokers: usize,
    },
    /// 42, INVALID_REQUEST.
    #[error("A manual partition assignment was specified, but {0} was not set to -1.")]
    AssignmentWithCount(&'static str),
    /// 39, INVALID_REPLICA_ASSIGNMENT.
    #[error("{0}")]
    Assignment(String),
    /// 40, INVALID_CONFIG.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// 3, UNKNOWN_TOPIC_OR_PARTITION, or 100, UNKNOWN_TOPIC_ID.
    #[error("There is no topic with id {0}.")]
    UnknownTopic(TopicId),
    /// A lease of nothing.
    #[error("A lease must be of at least one producer id.")]
    EmptyLease,
    /// No producer id is left.
    #[error("All producer ids were given out.")]
    ProducerIdsExhausted,
    /// No log id is left.
    #[error("All log ids were given out.")]
    LogIdsExhausted,
}

/// Applies the command at `entry`. A refused command gives an image that differs in its version only, and no events.
///
/// Panics if `entry` does not follow the image ([`Image::followed_by`]): the caller numbers commands, and has checked what it read from disk.
pub fn apply(image: &Image, entry: EntryId, command: &Command) -> (Image, Vec<Event>, Result<Outcome, CommandFault>) {
    assert!(image.followed_by(entry), "{entry:?} does not follow {:?}", image.version);
    let mut next = Image { version: entry, ..image.clone() };
    match change(&mut next, command) {
        Ok((outcome, events)) => (next, events, Ok(outcome)),
        Err(fault) => (Image { version: entry, ..image.clone() }, Vec::new(), Err(fault)),
    }
}

/// Whether the command would be accepted now; for `validate_only` and for refusing before anything is written.
pub fn check(image: &Image, command: &Command) -> Result<(), CommandFault> {
    change(&mut image.clone(), command).map(|_| ())
}

fn change(image: &mut Image, command: &Command) -> Result<(Outcome, Vec<Event>), CommandFault> {
    if image.cluster_id.is_none() && !matches!(command, Command::ClusterFormed { .. }) {
        return Err(CommandFault::NotFormed);
    }
    match command {
        Command::ClusterFormed { cluster_id, features, membership } => form(image, cluster_id, features, membership),
        Command::BrokerStarted(started) => start(image, started),
        Command::CreateTopic(create) => create_topic(image, create),
        Command::DeleteTopic { topic_id } => delete_topic(image, topic_id),
        Command::LeaseProducerIds { count } => lease(image, *count),
    }
}

fn form(
    image: &mut Image,
    cluster_id: &Arc<str>,
    features: &[(Arc<str>, i16)],
    membership: &Membership,
) -> Result<(Outcome, Vec<Event>), CommandFault> {
    if image.cluster_id.is_some() {
        return Err(CommandFault::AlreadyFormed);
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if cluster_id.is_empty() || cluster_id.len() > CLUSTER_ID_CHARS_MAX || !cluster_id.bytes().all(legal) {
        return Err(CommandFault::ClusterIdInvalid(cluster_id.chars().take(CLUSTER_ID_CHARS_MAX).collect()));
    }
    for (name, level) in features {
        if &**name != METADATA_VERSION || !(METADATA_VERSION_LEVEL_MIN..=METADATA_VERSION_LEVEL).contains(level) {
            return Err(CommandFault::FeatureUnsupported { name: name.to_string(), level: *level });
        }
    }
    image.cluster_id = Some(cluster_id.clone());
    image.features = Arc::new(features.iter().cloned().collect());
    image.membership = Arc::new(membership.clone());
    Ok((Outcome::Done, Vec::new()))
}

fn start(image: &mut Image, started: &BrokerStarted) -> Result<(Outcome, Vec<Event>), CommandFault> {
    if started.cores == 0 || started.node.0 < 0 {
        return Err(CommandFault::BrokerInvalid(started.node));
    }
    let epoch = BrokerEpoch(image.version.index as i64);
    let node = Arc::new(Node {
        id: started.node,
        epoch,
        starts: image.node(started.node).map_or(0, |node| node.starts) + 1,
        incarnation: started.incarnation,
        rack: started.rack.clone(),
        endpoints: started.endpoints.clone(),
        cores: started.cores,
    });
    Arc::make_mut(&mut image.nodes).insert(node.id, node.clone());
    Ok((Outcome::Started(epoch), vec![Event::NodeStarted(node)]))
}

fn create_topic(image: &mut Image, create: &CreateTopic) -> Result<(Outcome, Vec<Event>), CommandFault> {
    name_is_free(image, &create.name)?;
    if create.topic_id.is_zero() || image.topic_by_id(&create.topic_id).is_some() {
        return Err(CommandFault::TopicIdInvalid(create.topic_id));
    }
    let (configs, overrides) = configs(create)?;
    let replicas = replicas(image, create)?;
    let count = replicas.len() as u64;
    let all = image.partitions as u64 + count;
    if all > PARTITIONS_MAX as u64 {
        return Err(CommandFault::TooManyPartitions { wanted: all, what: "the cluster", max: PARTITIONS_MAX as u64 });
    }
    let first = image.next_log_id.0;
    let next = first.checked_add(count).ok_or(CommandFault::LogIdsExhausted)?;
    let partitions = (first..next).zip(replicas).map(|(log, leader)| Partition {
        log_id: LogId(log),
        leader,
        epoch_base: -image.node(leader).map_or(0, |node| node.starts),
        replicas: smallvec![leader],
        in_sync: smallvec![leader],
    });
    let topic = Arc::new(Topic {
        name: create.name.clone(),
        id: create.topic_id,
        partitions: partitions.collect(),
        configs,
        overrides,
    });
    image.next_log_id = LogId(next);
    image.put_topic(topic.clone());
    Ok((Outcome::Created(topic.clone()), vec![Event::TopicCreated(topic)]))
}

/// In Kafka's order: a topic that exists says so, whatever else is wrong with it.
fn name_is_free(image: &Image, name: &Arc<str>) -> Result<(), CommandFault> {
    if image.topic(name).is_some() {
        return Err(CommandFault::TopicExists(name.clone()));
    }
    validate_name(name)?;
    if &**name == METADATA_TOPIC {
        return Err(CommandFault::NameReserved);
    }
    match collision_key(name).and_then(|key| image.collisions.get(&key)) {
        Some(existing) => Err(CommandFault::NameCollides { name: name.clone(), existing: existing.clone() }),
        None => Ok(()),
    }
}

type Configs = (BTreeMap<&'static str, Arc<str>>, TopicOverrides);

/// A key given twice keeps its last value, as in Kafka.
fn configs(create: &CreateTopic) -> Result<Configs, CommandFault> {
    let mut overrides = TopicOverrides::default();
    let mut configs = BTreeMap::new();
    for config in &create.configs {
        let key = overrides.set(&config.name, config.value.as_deref())?;
        configs.insert(key.name, config.value.clone().expect("a null value was refused"));
    }
    Ok((configs, overrides))
}

/// The replica of each partition. One per partition: data replication is not there yet.
fn replicas(image: &Image, create: &CreateTopic) -> Result<Vec<NodeId>, CommandFault> {
    if !create.assignments.is_empty() {
        return assigned(image, create);
    }
    if create.replication_factor == 0 || create.replication_factor < -1 {
        return Err(CommandFault::ReplicationFactorNotPositive);
    }
    let partitions = match create.partitions {
        -1 => create.default_partitions,
        partitions => partitions,
    };
    if partitions <= 0 {
        return Err(CommandFault::PartitionsNotPositive);
    }
    partitions_fit(partitions as u64)?;
    if create.replication_factor > 1 {
        return Err(CommandFault::ReplicationFactorTooLarge {
            wanted: create.replication_factor,
            brokers: image.nodes.len(),
        });
    }
    let nodes: Vec<NodeId> = image.nodes.keys().copied().collect();
    if nodes.is_empty() {
        return Err(CommandFault::NoBroker);
    }
    Ok((0..partitions as usize).map(|partition| nodes[partition % nodes.len()]).collect())
}

fn assigned(image: &Image, create: &CreateTopic) -> Result<Vec<NodeId>, CommandFault> {
    if create.replication_factor != -1 {
        return Err(CommandFault::AssignmentWithCount("replication factor"));
    }
    if create.partitions != -1 {
        return Err(CommandFault::AssignmentWithCount("numPartitions"));
    }
    partitions_fit(create.assignments.len() as u64)?;
    let mut leaders: Vec<Option<NodeId>> = vec![None; create.assignments.len()];
    for assignment in &create.assignments {
        let index = assignment.partition;
        let place = usize::try_from(index.0).ok().and_then(|at| leaders.get_mut(at)).ok_or_else(|| {
            CommandFault::Assignment("partitions should be a consecutive 0-based integer sequence".into())
        })?;
        if place.is_some() {
            return Err(CommandFault::Assignment(format!(
                "Found multiple manual partition assignments for partition {index}"
            )));
        }
        let leader = match *assignment.brokers.as_slice() {
            [leader] => leader,
            [] => {
                return Err(CommandFault::Assignment(
                    "The manual partition assignment includes an empty replica list.".into(),
                ));
            }
            _ => {
                return Err(CommandFault::Assignment(format!(
                    "The manual assignment of partition {index} has {} replicas; this version keeps one.",
                    assignment.brokers.len()
                )));
            }
        };
        if image.node(leader).is_none() {
            return Err(CommandFault::Assignment(format!(
                "The manual partition assignment includes broker {leader}, but no such broker is registered."
            )));
        }
        *place = Some(leader);
    }
    Ok(leaders.into_iter().map(|leader| leader.expect("as many places as assignments, none used twice")).collect())
}

fn partitions_fit(wanted: u64) -> Result<(), CommandFault> {
    let max = PARTITIONS_PER_TOPIC_MAX as u64;
    if wanted > max {
        return Err(CommandFault::TooManyPartitions { wanted, what: "a topic", max });
    }
    Ok(())
}

fn delete_topic(image: &mut Image, id: &TopicId) -> Result<(Outcome, Vec<Event>), CommandFault> {
    let topic = image.topic_by_id(id).cloned().ok_or(CommandFault::UnknownTopic(*id))?;
    image.take_topic(&topic);
    Ok((Outcome::Deleted(topic.clone()), vec![Event::TopicDeleted(topic)]))
}

fn lease(image: &mut Image, count: u32) -> Result<(Outcome, Vec<Event>), CommandFault> {
    if count == 0 {
        return Err(CommandFault::EmptyLease);
    }
    let first = image.next_producer_id;
    let next = first.0.checked_add(count.into()).ok_or(CommandFault::ProducerIdsExhausted)?;
    image.next_producer_id = ProducerId(next);
    Ok((Outcome::Leased { first, count }, Vec::new()))
}

const CLUSTER_ID_CHARS_MAX: usize = 64;
