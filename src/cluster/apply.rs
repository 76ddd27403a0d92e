//! Applies a command to an image. All rules stand here, so that no two nodes and no replay can judge a command differently.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use smallvec::smallvec;

use super::command::{AlterTopicConfigs, BrokerStarted, Command, ConfigOperation, CreatePartitions, CreateTopic};
use super::image::{
    Image, METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_LEVEL_MIN, Node, Partition, Topic,
};
use super::names::{METADATA_TOPIC, NameFault, collision_key, is_internal, validate_name};
use super::quorum::{EntryId, Membership};
use super::topic_config::{self, ConfigFault, TopicOverrides};
use crate::base::limits::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX};
use crate::base::{BrokerEpoch, LogId, NodeId, PartitionIndex, ProducerId, TopicId};

/// What changed, for those who keep state beside the image.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A node started: the leader epochs of its partitions moved.
    NodeStarted(Arc<Node>),
    /// A topic is new; its logs are to be made on the cores that [`Image::shard`] names.
    TopicCreated(Arc<Topic>),
    /// A topic is gone; its logs are to be deleted.
    TopicDeleted(Arc<Topic>),
    /// A topic has more partitions: the logs of those from this index on are to be made.
    PartitionsCreated(Arc<Topic>, PartitionIndex),
    /// A topic has other configurations.
    ConfigsAltered(Arc<Topic>),
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
    /// The topic as it is now.
    Altered(Arc<Topic>),
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
    /// 37, INVALID_PARTITIONS.
    #[error("{}", not_more(topic, *has, *wanted))]
    PartitionsNotMore {
        /// The topic.
        topic: Arc<str>,
        /// Partitions that it has.
        has: usize,
        /// Partitions that it was to have.
        wanted: i32,
    },
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

/// In Kafka's words.
fn not_more(topic: &str, has: usize, wanted: i32) -> String {
    if i64::from(wanted) == has as i64 {
        return format!("Topic already has {has} partition(s).");
    }
    format!("The topic {topic} currently has {has} partition(s); {wanted} would not be an increase.")
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

/// Whether the command would be accepted now.
#[cfg(test)]
fn check(image: &Image, command: &Command) -> Result<(), CommandFault> {
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
        Command::CreatePartitions(create) => create_partitions(image, create),
        Command::AlterTopicConfigs(alter) => alter_configs(image, alter),
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
    let (partitions, next_log_id) = new_partitions(image, replicas)?;
    let topic = Arc::new(Topic { name: create.name.clone(), id: create.topic_id, partitions, configs, overrides });
    image.next_log_id = next_log_id;
    image.put_topic(topic.clone());
    Ok((Outcome::Created(topic.clone()), vec![Event::TopicCreated(topic)]))
}

/// One partition for each of these leaders, and the first log id that is free behind them.
fn new_partitions(image: &Image, leaders: Vec<NodeId>) -> Result<(Vec<Partition>, LogId), CommandFault> {
    let count = leaders.len() as u64;
    let all = image.partitions as u64 + count;
    if all > PARTITIONS_MAX as u64 {
        return Err(CommandFault::TooManyPartitions { wanted: all, what: "the cluster", max: PARTITIONS_MAX as u64 });
    }
    let first = image.next_log_id.0;
    let next = first.checked_add(count).ok_or(CommandFault::LogIdsExhausted)?;
    let partitions = (first..next).zip(leaders).map(|(log, leader)| Partition {
        log_id: LogId(log),
        leader,
        epoch_base: -image.node(leader).map_or(0, |node| node.starts),
        replicas: smallvec![leader],
        in_sync: smallvec![leader],
    });
    Ok((partitions.collect(), LogId(next)))
}

fn create_partitions(image: &mut Image, create: &CreatePartitions) -> Result<(Outcome, Vec<Event>), CommandFault> {
    let old = image.topic_by_id(&create.topic_id).cloned().ok_or(CommandFault::UnknownTopic(create.topic_id))?;
    let has = old.partitions.len();
    let wanted = usize::try_from(create.count).unwrap_or(0);
    if wanted <= has {
        return Err(CommandFault::PartitionsNotMore { topic: old.name.clone(), has, wanted: create.count });
    }
    partitions_fit(wanted as u64)?;
    let leaders = match &create.assignments {
        Some(assignments) if assignments.len() != wanted - has => {
            return Err(CommandFault::Assignment(format!(
                "Attempted to add {} additional partition(s), but only {} assignment(s) were specified.",
                wanted - has,
                assignments.len()
            )));
        }
        Some(assignments) => {
            let indexes = (has as i32..).map(PartitionIndex);
            indexes
                .zip(assignments)
                .map(|(index, brokers)| the_replica(image, index, brokers))
                .collect::<Result<_, _>>()?
        }
        None => chosen(image, has..wanted)?,
    };
    let (new, next_log_id) = new_partitions(image, leaders)?;
    let mut topic = Topic::clone(&old);
    topic.partitions.extend(new);
    let topic = Arc::new(topic);
    image.next_log_id = next_log_id;
    image.replace_topic(&old, topic.clone());
    let first = PartitionIndex(has as i32);
    Ok((Outcome::Altered(topic.clone()), vec![Event::PartitionsCreated(topic, first)]))
}

fn alter_configs(image: &mut Image, alter: &AlterTopicConfigs) -> Result<(Outcome, Vec<Event>), CommandFault> {
    let old = image.topic_by_id(&alter.topic_id).cloned().ok_or(CommandFault::UnknownTopic(alter.topic_id))?;
    let mut configs = old.configs.clone();
    if alter.replace {
        configs.retain(|name, _| old.is_fixed(name));
    }
    for change in &alter.changes {
        let given = || change.value.clone().ok_or_else(|| ConfigFault::Null { name: change.name.to_string() });
        let Some(key) = topic_config::find(&change.name) else {
            // Nobody could set it, so there is nothing to take away. Kafka, too, looks only at what remains.
            if change.operation == ConfigOperation::Delete {
                continue;
            }
            return Err(ConfigFault::unknown(&change.name).into());
        };
        if old.is_fixed(key.name) {
            match (change.operation, change.value.as_deref()) {
                (ConfigOperation::Set, Some("compact")) => continue,
                _ => return Err(ConfigFault::Fixed { name: key.name, topic: old.name.clone() }.into()),
            }
        }
        match change.operation {
            ConfigOperation::Set => {
                configs.insert(key.name, given()?);
            }
            ConfigOperation::Delete => {
                configs.remove(key.name);
            }
            ConfigOperation::Append | ConfigOperation::Subtract => {
                let adds = change.operation == ConfigOperation::Append;
                let now = configs.get(key.name).map_or(key.default, |value| value);
                let then = key.changed_list(now, &given()?, adds)?.into();
                configs.insert(key.name, then);
            }
        }
    }
    let mut overrides = TopicOverrides::default();
    for (name, value) in configs.iter().filter(|(name, _)| !old.is_fixed(name)) {
        overrides.set(name, Some(value))?;
    }
    let topic = Arc::new(Topic { configs, overrides, ..Topic::clone(&old) });
    image.replace_topic(&old, topic.clone());
    Ok((Outcome::Altered(topic.clone()), vec![Event::ConfigsAltered(topic)]))
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
        let value = config.value.as_deref();
        let key = match is_internal(&create.name) {
            true => overrides.set_internal(&config.name, value)?,
            false => overrides.set(&config.name, value)?,
        };
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
    chosen(image, 0..partitions as usize)
}

/// The replicas of these partitions: the nodes in turn.
fn chosen(image: &Image, partitions: Range<usize>) -> Result<Vec<NodeId>, CommandFault> {
    let nodes: Vec<NodeId> = image.nodes.keys().copied().collect();
    if nodes.is_empty() {
        return Err(CommandFault::NoBroker);
    }
    Ok(partitions.map(|partition| nodes[partition % nodes.len()]).collect())
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
        *place = Some(the_replica(image, index, &assignment.brokers)?);
    }
    Ok(leaders.into_iter().map(|leader| leader.expect("as many places as assignments, none used twice")).collect())
}

/// The only broker of an assignment by hand.
fn the_replica(image: &Image, index: PartitionIndex, brokers: &[NodeId]) -> Result<NodeId, CommandFault> {
    let leader = match *brokers {
        [leader] => leader,
        [] => {
            return Err(CommandFault::Assignment(
                "The manual partition assignment includes an empty replica list.".into(),
            ));
        }
        _ => {
            return Err(CommandFault::Assignment(format!(
                "The manual assignment of partition {index} has {} replicas; this version keeps one.",
                brokers.len()
            )));
        }
    };
    if image.node(leader).is_none() {
        return Err(CommandFault::Assignment(format!(
            "The manual partition assignment includes broker {leader}, but no such broker is registered."
        )));
    }
    Ok(leader)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::command::{Assignment, ConfigChange, ConfigEntry, Endpoint};
    use super::super::image::LogState;
    use super::*;
    use crate::base::{Incarnation, LeaderEpoch, ShardId};

    /// An image with its commands, as one node makes them.
    struct Cluster(Image);

    impl Cluster {
        fn formed() -> Self {
            let mut cluster = Self(Image::empty());
            cluster
                .run(&Command::ClusterFormed {
                    cluster_id: "test".into(),
                    features: vec![(METADATA_VERSION.into(), METADATA_VERSION_LEVEL)],
                    membership: Membership { voters: vec![NodeId(1)], observers: vec![] },
                })
                .expect("forms");
            cluster.run(&started(2)).expect("starts");
            cluster
        }

        fn run(&mut self, command: &Command) -> Result<Outcome, CommandFault> {
            let before = self.0.encode();
            let entry = EntryId { term: 1, index: self.0.version.index + 1 };
            let (next, events, result) = apply(&self.0, entry, command);
            assert_eq!(before, self.0.encode(), "applying must not change the image it was given");
            assert_eq!(next.encode(), Image::decode(&next.encode()).expect("decodes").encode());
            assert!(result.is_ok() || events.is_empty());
            self.0 = next;
            result
        }

        fn create(&mut self, create: CreateTopic) -> Result<Arc<Topic>, CommandFault> {
            match self.run(&Command::CreateTopic(create))? {
                Outcome::Created(topic) => Ok(topic),
                outcome => panic!("{outcome:?}"),
            }
        }
    }

    fn started(cores: u16) -> Command {
        Command::BrokerStarted(BrokerStarted {
            node: NodeId(1),
            incarnation: Incarnation(1),
            rack: Some("r".into()),
            endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 }],
            cores,
        })
    }

    fn topic(name: &str, partitions: i32) -> CreateTopic {
        let mut id = [7; 16];
        id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        CreateTopic {
            name: name.into(),
            topic_id: TopicId(id),
            partitions,
            default_partitions: 3,
            replication_factor: -1,
            assignments: vec![],
            configs: vec![],
        }
    }

    fn config(name: &str, value: Option<&str>) -> ConfigEntry {
        ConfigEntry { name: name.into(), value: value.map(Arc::from) }
    }

    #[test]
    fn nothing_comes_before_the_cluster() {
        let mut cluster = Cluster(Image::empty());
        assert_eq!(cluster.run(&started(1)), Err(CommandFault::NotFormed));
        let form = |cluster_id: &str, level| Command::ClusterFormed {
            cluster_id: cluster_id.into(),
            features: vec![(METADATA_VERSION.into(), level)],
            membership: Membership::default(),
        };
        assert!(matches!(cluster.run(&form("", 30)), Err(CommandFault::ClusterIdInvalid(_))));
        assert!(matches!(cluster.run(&form("a b", 30)), Err(CommandFault::ClusterIdInvalid(_))));
        assert!(matches!(cluster.run(&form("a", 31)), Err(CommandFault::FeatureUnsupported { level: 31, .. })));
        assert_eq!(cluster.run(&form("a", 30)), Ok(Outcome::Done));
        assert_eq!(cluster.run(&form("a", 30)), Err(CommandFault::AlreadyFormed));
        assert_eq!(cluster.run(&Command::CreateTopic(topic("t", 1))), Err(CommandFault::NoBroker));
        assert_eq!(cluster.0.features().collect::<Vec<_>>(), [("metadata.version", 30)]);
    }

    #[test]
    fn a_topic_has_its_partitions_on_the_cores_in_turn() {
        let mut cluster = Cluster::formed();
        let created = cluster.create(topic("t", 4)).expect("created");
        let shards: Vec<_> = created.partitions.iter().map(|partition| cluster.0.shard(partition)).collect();
        assert_eq!(shards, [ShardId(1), ShardId(0), ShardId(1), ShardId(0)]);
        assert_eq!(cluster.0.topic("t"), Some(&created));
        assert_eq!(cluster.0.topic_by_id(&created.id), Some(&created));
        assert_eq!((cluster.0.topic_count(), cluster.0.partition_count()), (1, 4));
        let endpoint = cluster.0.endpoint(&created.partitions[0], "PLAINTEXT").expect("advertised");
        assert_eq!((&*endpoint.host, endpoint.port), ("127.0.0.1", 9092));
        assert_eq!(cluster.0.endpoint(&created.partitions[0], "OTHER"), None);
        assert_eq!(cluster.create(topic("default", -1)).expect("created").partitions.len(), 3);
    }

    #[test]
    fn every_start_moves_every_leader_epoch_by_one() {
        let mut cluster = Cluster::formed();
        let old = cluster.create(topic("old", 1)).expect("created");
        assert_eq!(cluster.0.leader_epoch(&old.partitions[0]), LeaderEpoch(0));
        let outcome = cluster.run(&started(1)).expect("starts");
        assert_eq!(outcome, Outcome::Started(BrokerEpoch(cluster.0.version.index as i64)));
        let new = cluster.create(topic("new", 1)).expect("created");
        assert_eq!(cluster.0.leader_epoch(&old.partitions[0]), LeaderEpoch(1));
        assert_eq!(cluster.0.leader_epoch(&new.partitions[0]), LeaderEpoch(0));
        assert_eq!(cluster.0.shard(&old.partitions[0]), ShardId(0), "one core now");
    }

    #[test]
    fn a_deleted_log_id_is_told_from_one_never_given_out() {
        let mut cluster = Cluster::formed();
        let first = cluster.create(topic("a", 2)).expect("created");
        let second = cluster.create(topic("b", 2)).expect("created");
        let deleted = cluster.run(&Command::DeleteTopic { topic_id: first.id });
        assert_eq!(deleted, Ok(Outcome::Deleted(first.clone())));
        let again = cluster.run(&Command::DeleteTopic { topic_id: first.id });
        assert_eq!(again, Err(CommandFault::UnknownTopic(first.id)));
        let third = cluster.create(topic("a", 1)).expect("created");
        assert_eq!(third.partitions[0].log_id, LogId(5), "a log id is never used again");
        let state = |log| cluster.0.log_state(LogId(log));
        assert!(matches!(state(0), LogState::NeverGivenOut));
        assert!(matches!(state(1), LogState::Deleted));
        assert!(matches!(state(2), LogState::Deleted));
        assert!(matches!(state(3), LogState::Live(topic, PartitionIndex(0)) if topic.id == second.id));
        assert!(matches!(state(4), LogState::Live(topic, PartitionIndex(1)) if topic.id == second.id));
        assert!(matches!(state(5), LogState::Live(topic, PartitionIndex(0)) if topic.id == third.id));
        assert!(matches!(state(6), LogState::NeverGivenOut));
    }

    #[test]
    fn names_are_judged_in_kafkas_order() {
        let mut cluster = Cluster::formed();
        cluster.create(topic("a.b", 1)).expect("created");
        let again = CreateTopic { partitions: 0, configs: vec![config("zebra", None)], ..topic("a.b", 1) };
        assert_eq!(cluster.create(again), Err(CommandFault::TopicExists("a.b".into())));
        assert_eq!(
            cluster.create(topic("a_b", 1)),
            Err(CommandFault::NameCollides { name: "a_b".into(), existing: "a.b".into() })
        );
        assert!(matches!(cluster.create(topic("a b", 1)), Err(CommandFault::Name(_))));
        assert_eq!(cluster.create(topic("__cluster_metadata", 1)), Err(CommandFault::NameReserved));
        let zero = CreateTopic { topic_id: TopicId::ZERO, ..topic("z", 1) };
        assert_eq!(cluster.create(zero), Err(CommandFault::TopicIdInvalid(TopicId::ZERO)));
        let id = cluster.0.topic("a.b").expect("there").id;
        cluster.run(&Command::DeleteTopic { topic_id: id }).expect("deleted");
        cluster.create(topic("a_b", 1)).expect("nothing is in its way any more");
    }

    #[test]
    fn counts_are_judged() {
        let mut cluster = Cluster::formed();
        let mut refused = |create| cluster.create(create).expect_err("refused");
        for partitions in [0, -2, i32::MIN] {
            assert_eq!(refused(topic("t", partitions)), CommandFault::PartitionsNotPositive);
        }
        for partitions in [PARTITIONS_PER_TOPIC_MAX + 1, i32::MAX] {
            assert!(matches!(refused(topic("t", partitions)), CommandFault::TooManyPartitions { max: 10_000, .. }));
        }
        for replication_factor in [0, -2] {
            let create = CreateTopic { replication_factor, ..topic("t", 1) };
            assert_eq!(refused(create), CommandFault::ReplicationFactorNotPositive);
        }
        let create = CreateTopic { replication_factor: 2, ..topic("t", 1) };
        assert_eq!(refused(create), CommandFault::ReplicationFactorTooLarge { wanted: 2, brokers: 1 });
        let create = CreateTopic { replication_factor: 1, ..topic("t", 1) };
        cluster.create(create).expect("one replica can be had");
    }

    #[test]
    fn the_cluster_has_a_bound_of_partitions() {
        let mut cluster = Cluster::formed();
        for at in 0..PARTITIONS_MAX / PARTITIONS_PER_TOPIC_MAX as usize {
            let entry = EntryId { term: 1, index: cluster.0.version.index + 1 };
            let create = Command::CreateTopic(topic(&format!("t{at}"), PARTITIONS_PER_TOPIC_MAX));
            let (next, _, result) = apply(&cluster.0, entry, &create);
            result.expect("fits");
            cluster.0 = next;
        }
        let one_more = check(&cluster.0, &Command::CreateTopic(topic("one-more", 1)));
        assert!(matches!(one_more, Err(CommandFault::TooManyPartitions { what: "the cluster", .. })));
    }

    #[test]
    fn assignments_by_hand_are_judged() {
        let mut cluster = Cluster::formed();
        let by_hand = |assignments: &[(i32, &[i32])]| CreateTopic {
            assignments: assignments
                .iter()
                .map(|(partition, brokers)| Assignment {
                    partition: PartitionIndex(*partition),
                    brokers: brokers.iter().copied().map(NodeId).collect(),
                })
                .collect(),
            ..topic("t", -1)
        };
        let mut refused = |create| cluster.create(create).expect_err("refused");
        let counted = CreateTopic { partitions: 1, ..by_hand(&[(0, &[1])]) };
        assert_eq!(refused(counted), CommandFault::AssignmentWithCount("numPartitions"));
        let counted = CreateTopic { replication_factor: 1, ..by_hand(&[(0, &[1])]) };
        assert_eq!(refused(counted), CommandFault::AssignmentWithCount("replication factor"));
        let bad: &[&[(i32, &[i32])]] = &[
            &[(1, &[1])],
            &[(-1, &[1])],
            &[(0, &[1]), (0, &[1])],
            &[(0, &[])],
            &[(0, &[1, 2])],
            &[(0, &[9])],
            &[(0, &[1]), (2, &[1])],
        ];
        for assignments in bad {
            assert!(matches!(refused(by_hand(assignments)), CommandFault::Assignment(_)), "{assignments:?}");
        }
        let created = cluster.create(by_hand(&[(1, &[1]), (0, &[1])])).expect("created");
        assert_eq!(created.partitions.len(), 2);
    }

    #[test]
    fn configurations_are_judged_and_kept() {
        let mut cluster = Cluster::formed();
        let with = |configs| CreateTopic { configs, ..topic("t", 1) };
        let null = with(vec![config("segment.ms", None)]);
        assert!(matches!(cluster.create(null), Err(CommandFault::Config(ConfigFault::Null { .. }))));
        let unknown = with(vec![config("local.retention.ms", Some("1"))]);
        assert!(matches!(cluster.create(unknown), Err(CommandFault::Config(ConfigFault::NotHonoured { .. }))));
        let kept = cluster
            .create(with(vec![config("segment.ms", Some("5")), config("segment.ms", Some(" 1000 "))]))
            .expect("created");
        assert_eq!(kept.settings(&Default::default()).segment_ms, 1000);
        let back = Image::decode(&cluster.0.encode()).expect("decodes");
        assert_eq!(back.topic("t"), Some(&kept));
    }

    fn more(topic: &Topic, count: i32) -> CreatePartitions {
        CreatePartitions { topic_id: topic.id, count, assignments: None }
    }

    /// Log ids of one topic do not stand together any more; the snapshot took that for damage.
    #[test]
    fn a_topic_gets_more_partitions_behind_those_of_others() {
        let mut cluster = Cluster::formed();
        let old = cluster.create(topic("a", 2)).expect("created");
        cluster.create(topic("b", 2)).expect("created");
        cluster.run(&started(2)).expect("starts");
        let outcome = cluster.run(&Command::CreatePartitions(more(&old, 4))).expect("more");
        let Outcome::Altered(new) = outcome else { panic!("{outcome:?}") };
        let logs: Vec<_> = new.partitions.iter().map(|partition| partition.log_id.0).collect();
        assert_eq!(logs, [1, 2, 5, 6]);
        let epochs: Vec<_> = new.partitions.iter().map(|one| cluster.0.leader_epoch(one).0).collect();
        assert_eq!(epochs, [1, 1, 0, 0], "a new log begins with epoch 0");
        assert_eq!((cluster.0.topic("a"), cluster.0.topic_by_id(&old.id)), (Some(&new), Some(&new)));
        assert_eq!((cluster.0.topic_count(), cluster.0.partition_count()), (2, 6));
        assert_eq!(cluster.0.next_log_id(), LogId(7));
        let back = Image::decode(&cluster.0.encode()).expect("decodes");
        assert_eq!(back.encode(), cluster.0.encode());
        for image in [&cluster.0, &back] {
            assert!(
                matches!(image.log_state(LogId(6)), LogState::Live(topic, PartitionIndex(3)) if topic.id == old.id)
            );
            assert!(
                matches!(image.log_state(LogId(4)), LogState::Live(topic, PartitionIndex(1)) if topic.id != old.id)
            );
        }
        cluster.run(&Command::DeleteTopic { topic_id: old.id }).expect("deleted");
        assert!(matches!(cluster.0.log_state(LogId(1)), LogState::Deleted));
        assert!(matches!(cluster.0.log_state(LogId(5)), LogState::Deleted));
        assert_eq!(cluster.0.partition_count(), 2);
    }

    #[test]
    fn more_partitions_are_judged_in_kafkas_words() {
        let mut cluster = Cluster::formed();
        let old = cluster.create(topic("a", 3)).expect("created");
        let mut refused = |create| cluster.run(&Command::CreatePartitions(create)).expect_err("refused");
        assert_eq!(refused(more(&old, 3)).to_string(), "Topic already has 3 partition(s).");
        for count in [2, 0, -1, i32::MIN] {
            let says = format!("The topic a currently has 3 partition(s); {count} would not be an increase.");
            assert_eq!(refused(more(&old, count)).to_string(), says);
        }
        for count in [PARTITIONS_PER_TOPIC_MAX + 1, i32::MAX] {
            assert!(matches!(refused(more(&old, count)), CommandFault::TooManyPartitions { .. }));
        }
        let unknown = CreatePartitions { topic_id: TopicId([9; 16]), ..more(&old, 4) };
        assert!(matches!(refused(unknown), CommandFault::UnknownTopic(_)));
        for brokers in [&[vec![]][..], &[vec![9]], &[vec![1, 2]], &[], &[vec![1], vec![1]]] {
            let assignments = brokers.iter().map(|one: &Vec<i32>| one.iter().copied().map(NodeId).collect()).collect();
            let create = CreatePartitions { assignments: Some(assignments), ..more(&old, 4) };
            assert!(matches!(refused(create), CommandFault::Assignment(_)), "{brokers:?}");
        }
        let create = CreatePartitions { assignments: Some(vec![vec![NodeId(1)]]), ..more(&old, 4) };
        cluster.run(&Command::CreatePartitions(create)).expect("created");
    }

    #[test]
    fn configurations_are_altered_one_by_one_or_as_a_whole() {
        use ConfigOperation::{Append, Delete, Set, Subtract};
        let mut cluster = Cluster::formed();
        let created = cluster
            .create(CreateTopic { configs: vec![config("segment.ms", Some("5"))], ..topic("t", 1) })
            .expect("created");
        let alter = |replace, changes: &[(&str, ConfigOperation, Option<&str>)]| {
            let change = |(name, operation, value): &(&str, ConfigOperation, Option<&str>)| ConfigChange {
                name: (*name).into(),
                operation: *operation,
                value: value.map(Arc::from),
            };
            let changes = changes.iter().map(change).collect();
            Command::AlterTopicConfigs(AlterTopicConfigs { topic_id: created.id, replace, changes })
        };
        let configs = |cluster: &Cluster| {
            let topic = cluster.0.topic("t").expect("there");
            let mut again = TopicOverrides::default();
            for (name, value) in &topic.configs {
                again.set(name, Some(value)).expect("valid");
            }
            assert_eq!(topic.overrides, again, "numbers and text say the same");
            topic.configs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        cluster.run(&alter(false, &[("retention.ms", Set, Some("9"))])).expect("set");
        assert_eq!(configs(&cluster), ["retention.ms=9", "segment.ms=5"]);
        cluster.run(&alter(false, &[("segment.ms", Delete, None), ("zstd", Set, Some("1"))])).expect_err("unknown");
        let gone = ["segment.ms", "local.retention.ms", "zstd"].map(|name| (name, Delete, None));
        cluster.run(&alter(false, &gone)).expect("what is not there can be taken away");
        assert_eq!(configs(&cluster), ["retention.ms=9"]);
        cluster.run(&alter(false, &[("cleanup.policy", Append, Some("delete"))])).expect("there already");
        assert_eq!(configs(&cluster), ["cleanup.policy=delete", "retention.ms=9"]);
        for (name, operation, value, says) in [
            ("cleanup.policy", Append, Some("compact"), "it must be 'delete'"),
            ("cleanup.policy", Subtract, Some("delete"), "it must be 'delete'"),
            ("retention.ms", Append, Some("1"), "Can't APPEND to key retention.ms because its type is not LIST."),
            ("retention.ms", Subtract, Some("1"), "Can't SUBTRACT to key retention.ms"),
            ("retention.ms", Set, None, "Null value"),
            ("retention.ms", Set, Some("-7"), "Invalid value -7"),
            ("retention.m", Set, Some("1"), "Did you mean retention.ms?"),
            ("local.retention.ms", Set, Some("1"), "not honoured"),
            ("preallocate", Set, Some("true"), "it must be 'false'"),
        ] {
            let fault = cluster.run(&alter(false, &[(name, operation, value)])).expect_err(name);
            assert!(matches!(fault, CommandFault::Config(_)) && fault.to_string().contains(says), "{fault}");
        }
        cluster.run(&alter(true, &[("segment.ms", Set, Some("7"))])).expect("replaced");
        assert_eq!(configs(&cluster), ["segment.ms=7"]);
        let back = Image::decode(&cluster.0.encode()).expect("decodes");
        assert_eq!(back.topic("t"), cluster.0.topic("t"));
        cluster.run(&alter(true, &[])).expect("all by default");
        assert_eq!(configs(&cluster), [""; 0]);
        assert_eq!(cluster.0.partition_count(), 1);
        let internal = cluster.create(topic("__consumer_offsets", 1)).expect("created");
        let change = |value: &str| {
            let (name, operation) = ("cleanup.policy".into(), Set);
            let changes = vec![ConfigChange { name, operation, value: Some(value.into()) }];
            Command::AlterTopicConfigs(AlterTopicConfigs { topic_id: internal.id, replace: true, changes })
        };
        cluster.run(&change("compact")).expect("it is");
        let fault = cluster.run(&change("delete")).expect_err("it stays");
        assert!(matches!(fault, CommandFault::Config(ConfigFault::Fixed { .. })));
    }

    #[test]
    fn producer_ids_are_leased_once() {
        let mut cluster = Cluster::formed();
        let leased = |first, count| Ok(Outcome::Leased { first: ProducerId(first), count });
        assert_eq!(cluster.run(&Command::LeaseProducerIds { count: 1000 }), leased(0, 1000));
        assert_eq!(cluster.run(&Command::LeaseProducerIds { count: 1 }), leased(1000, 1));
        assert_eq!(cluster.run(&Command::LeaseProducerIds { count: 0 }), Err(CommandFault::EmptyLease));
        cluster.0.next_producer_id = ProducerId(i64::MAX);
        assert_eq!(cluster.run(&Command::LeaseProducerIds { count: 1 }), Err(CommandFault::ProducerIdsExhausted));
    }

    #[test]
    fn a_refused_command_moves_only_the_version() {
        let cluster = Cluster::formed();
        let entry = EntryId { term: 2, index: cluster.0.version.index + 1 };
        let (next, events, result) = apply(&cluster.0, entry, &Command::CreateTopic(topic("a b", 1)));
        assert!(result.is_err() && events.is_empty());
        assert_eq!(next.version, entry);
        assert_eq!(Image { version: cluster.0.version, ..next }.encode(), cluster.0.encode());
    }

    #[test]
    fn order_is_checked() {
        let image = Cluster::formed().0;
        assert!(image.followed_by(EntryId { term: 1, index: 3 }));
        assert!(image.followed_by(EntryId { term: 9, index: 3 }));
        assert!(!image.followed_by(EntryId { term: 0, index: 3 }));
        assert!(!image.followed_by(EntryId { term: 1, index: 4 }));
    }

    /// The snapshot of one small cluster. If this fails, the format changed: give it a new version.
    #[test]
    fn format_version_1_of_the_snapshot_has_these_bytes() {
        let mut cluster = Cluster::formed();
        cluster
            .create(CreateTopic { configs: vec![config("segment.ms", Some("5"))], ..topic("t", 1) })
            .expect("created");
        let expected: &[u8] = b"CTIM\0\x01\
            \0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\
            \0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\
            \x01\0\0\0\x04test\
            \0\0\0\x01\0\0\0\x10metadata.version\0\x1e\
            \0\0\0\x01\0\0\0\x01\0\0\0\0\
            \0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x01\x01\0\0\0\x01r\
            \0\0\0\x01\0\0\0\x09PLAINTEXT\0\0\0\x09127.0.0.1\x23\x84\0\x02\
            \0\0\0\x01\0\0\0\x01tt\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
            \0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\
            \0\0\0\x01\0\0\0\x0asegment.ms\0\0\0\x015";
        let bytes = cluster.0.encode();
        assert_eq!(&bytes[..bytes.len() - 4], expected);
        for at in 0..bytes.len() {
            assert!(Image::decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Image::decode(&damaged).is_err(), "byte {at}");
        }
    }

    proptest! {
        /// Whatever happens, replaying the same commands gives the same bytes, log ids only grow, and each live one leads to its partition.
        #[test]
        fn the_image_is_a_function_of_the_commands(steps in prop::collection::vec((0u8..10, 0u8..6, -1i32..4), 1..40)) {
            let mut cluster = Cluster::formed();
            let mut replayed = Cluster::formed();
            for (step, name, partitions) in steps {
                let name = ["a", "b", "a.b", "a_b", "c d", "e"][name as usize];
                let command = match step {
                    0 => started(1 + name.len() as u16),
                    1 => Command::LeaseProducerIds { count: 10 },
                    2 | 3 => match cluster.0.topic(name) {
                        Some(topic) => Command::DeleteTopic { topic_id: topic.id },
                        None => Command::DeleteTopic { topic_id: TopicId([9; 16]) },
                    },
                    4 | 5 => {
                        let topic_id = cluster.0.topic(name).map_or(TopicId([9; 16]), |topic| topic.id);
                        match step {
                            4 => Command::CreatePartitions(CreatePartitions {
                                topic_id,
                                count: 2 * partitions,
                                assignments: None,
                            }),
                            _ => Command::AlterTopicConfigs(AlterTopicConfigs {
                                topic_id,
                                replace: partitions == 0,
                                changes: vec![ConfigChange {
                                    name: "retention.ms".into(),
                                    operation: ConfigOperation::Set,
                                    value: Some(partitions.to_string().into()),
                                }],
                            }),
                        }
                    }
                    _ => Command::CreateTopic(topic(name, partitions)),
                };
                let before = cluster.0.clone();
                let checked = check(&before, &command);
                let result = cluster.run(&command);
                prop_assert_eq!(checked.is_ok(), result.is_ok());
                let decoded = Command::decode(&command.encode()).expect("decodes");
                prop_assert_eq!(replayed.run(&decoded), result);
                prop_assert_eq!(replayed.0.encode(), cluster.0.encode());
                let back = Image::decode(&cluster.0.encode()).expect("decodes");
                prop_assert_eq!(back.encode(), cluster.0.encode());
                prop_assert_eq!(back.partition_count(), cluster.0.partition_count());
                prop_assert!(cluster.0.next_log_id >= before.next_log_id);
                let mut live = 0;
                for log in 1..cluster.0.next_log_id.0 {
                    if let LogState::Live(topic, index) = cluster.0.log_state(LogId(log)) {
                        live += 1;
                        prop_assert_eq!(topic.partition(index).expect("there").log_id, LogId(log));
                    }
                }
                prop_assert_eq!(live, cluster.0.partition_count());
                prop_assert_eq!(cluster.0.topics().count(), cluster.0.topic_count());
            }
        }
    }
}
