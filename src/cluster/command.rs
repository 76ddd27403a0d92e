//! The commands of the metadata log, and their bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | format version, 1 |
//! | 1 | kind: 1 cluster formed, 2 broker started, 3 create topic, 4 delete topic, 5 lease producer ids, 6 create partitions,
//! | | 7 alter topic configurations |
//! | 2.. | the fields in the order of declaration: numbers big-endian; strings and lists with a 32-bit count in front; optional ones with a flag byte |
//!
//! The (term, index) of a command and its checksum belong to the journal that holds it.

use std::sync::Arc;

use super::codec::{
    self, DecodeError, put_count, put_i16, put_i32, put_option_str, put_str, put_u16, put_u32, put_u64,
};
use super::quorum::Membership;
use crate::base::{Cursor, Incarnation, NodeId, PartitionIndex, TopicId};

/// One change of what the cluster agrees on. Commands carry what needs chance or a clock, so that applying them needs neither.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The first command of a new cluster.
    ClusterFormed {
        /// The cluster's id: 1 to 64 characters of `A-Za-z0-9_-`; usually 22 as [`TopicId`] prints them.
        cluster_id: Arc<str>,
        /// Finalized features by name, for instance `metadata.version`.
        features: Vec<(Arc<str>, i16)>,
        /// Who votes.
        membership: Membership,
    },
    /// A broker process came up. Bumps the leader epoch of every partition that it leads; its index becomes the broker epoch.
    BrokerStarted(BrokerStarted),
    /// A new topic.
    CreateTopic(CreateTopic),
    /// The end of a topic and of its log ids.
    DeleteTopic {
        /// Which one.
        topic_id: TopicId,
    },
    /// Producer ids for one broker to hand out; never handed out again, used or not.
    LeaseProducerIds {
        /// How many, at least 1.
        count: u32,
    },
    /// More partitions for a topic.
    CreatePartitions(CreatePartitions),
    /// Other configurations for a topic.
    AlterTopicConfigs(AlterTopicConfigs),
}

/// Fields of [`Command::BrokerStarted`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerStarted {
    /// The broker.
    pub node: NodeId,
    /// This opening of its data directory.
    pub incarnation: Incarnation,
    /// Its `broker.rack`.
    pub rack: Option<Arc<str>>,
    /// Where clients reach it, one per listener.
    pub endpoints: Vec<Endpoint>,
    /// How many cores it runs on, at least 1. Decides on which core each of its partitions lives.
    pub cores: u16,
}

/// An advertised address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The listener's name, for instance `PLAINTEXT`.
    pub listener: Arc<str>,
    /// Host name or address, as clients should use it.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

/// Fields of [`Command::CreateTopic`]; the counts are those of the request, so that applying checks them all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTopic {
    /// The name.
    pub name: Arc<str>,
    /// A fresh random id.
    pub topic_id: TopicId,
    /// Partitions wanted; -1 asks for `default_partitions`, or goes with `assignments`.
    pub partitions: i32,
    /// `num.partitions` of the broker that took the request.
    pub default_partitions: i32,
    /// Replicas wanted; -1 asks for the default, or goes with `assignments`.
    pub replication_factor: i16,
    /// Replicas chosen by hand; empty: the cluster chooses.
    pub assignments: Vec<Assignment>,
    /// Topic configurations.
    pub configs: Vec<ConfigEntry>,
}

/// The replicas of one partition, chosen by hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// Which partition.
    pub partition: PartitionIndex,
    /// Its brokers, the preferred leader first.
    pub brokers: Vec<NodeId>,
}

/// A topic configuration as a client wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigEntry {
    /// Kafka's name of it.
    pub name: Arc<str>,
    /// Its value; `None` is refused.
    pub value: Option<Arc<str>>,
}

/// Fields of [`Command::CreatePartitions`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatePartitions {
    /// Which topic.
    pub topic_id: TopicId,
    /// Partitions that it has afterwards.
    pub count: i32,
    /// The brokers of each new partition, the preferred leader first; `None`: the cluster chooses.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// Fields of [`Command::AlterTopicConfigs`]; the changes are those of the request, so that applying checks them all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterTopicConfigs {
    /// Which topic.
    pub topic_id: TopicId,
    /// What is not named goes back to its default first.
    pub replace: bool,
    /// The changes, in their order.
    pub changes: Vec<ConfigChange>,
}

/// A change of one topic configuration, as a client wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigChange {
    /// Kafka's name of it.
    pub name: Arc<str>,
    /// What is done.
    pub operation: ConfigOperation,
    /// The value that is set, appended or subtracted.
    pub value: Option<Arc<str>>,
}

/// What is done to a configuration, with Kafka's numbers (`AlterConfigOp.OpType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ConfigOperation {
    /// It gets the value.
    Set = 0,
    /// It goes back to its default.
    Delete = 1,
    /// The value's elements are added to a list.
    Append = 2,
    /// They are taken out of it.
    Subtract = 3,
}

impl ConfigOperation {
    /// The operation of that number, if there is one.
    pub fn from_number(number: i8) -> Option<Self> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract].into_iter().find(|known| *known as i8 == number)
    }
}

impl Command {
    /// The command's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::ClusterFormed { cluster_id, features, membership } => {
                out.push(CLUSTER_FORMED);
                put_str(&mut out, cluster_id);
                put_features(&mut out, features.iter().map(|(name, level)| (&**name, *level)));
                membership.encode(&mut out);
            }
            Self::BrokerStarted(started) => {
                out.push(BROKER_STARTED);
                put_i32(&mut out, started.node.0);
                put_u64(&mut out, started.incarnation.0);
                put_option_str(&mut out, started.rack.as_deref());
                put_endpoints(&mut out, &started.endpoints);
                put_u16(&mut out, started.cores);
            }
            Self::CreateTopic(create) => create.encode(&mut out),
            Self::DeleteTopic { topic_id } => {
                out.push(DELETE_TOPIC);
                out.extend_from_slice(&topic_id.0);
            }
            Self::LeaseProducerIds { count } => {
                out.push(LEASE_PRODUCER_IDS);
                put_u32(&mut out, *count);
            }
            Self::CreatePartitions(create) => create.encode(&mut out),
            Self::AlterTopicConfigs(alter) => alter.encode(&mut out),
        }
        out
    }

    /// Reads what [`Command::encode`] wrote. Says nothing about whether the command will be accepted.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let version = cursor.u8()?;
        if version == 0 || version > VERSION {
            return Err(DecodeError::Version {
                what: "a metadata command",
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let command = match cursor.u8()? {
            CLUSTER_FORMED => Self::ClusterFormed {
                cluster_id: codec::str(&mut cursor)?.into(),
                features: features(&mut cursor)?,
                membership: Membership::decode(&mut cursor)?,
            },
            BROKER_STARTED => Self::BrokerStarted(BrokerStarted {
                node: NodeId(cursor.i32()?),
                incarnation: Incarnation(cursor.u64()?),
                rack: codec::option_str(&mut cursor)?.map(Arc::from),
                endpoints: endpoints(&mut cursor)?,
                cores: cursor.u16()?,
            }),
            CREATE_TOPIC => Self::CreateTopic(CreateTopic::decode(&mut cursor)?),
            DELETE_TOPIC => Self::DeleteTopic { topic_id: TopicId(cursor.array()?) },
            LEASE_PRODUCER_IDS => Self::LeaseProducerIds { count: cursor.u32()? },
            CREATE_PARTITIONS => Self::CreatePartitions(CreatePartitions::decode(&mut cursor)?),
            ALTER_TOPIC_CONFIGS => Self::AlterTopicConfigs(AlterTopicConfigs::decode(&mut cursor)?),
            kind => return Err(DecodeError::Kind(kind)),
        };
        codec::end(&cursor)?;
        Ok(command)
    }
}

impl CreateTopic {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(CREATE_TOPIC);
        put_str(out, &self.name);
        out.extend_from_slice(&self.topic_id.0);
        put_i32(out, self.partitions);
        put_i32(out, self.default_partitions);
        put_i16(out, self.replication_factor);
        put_count(out, self.assignments.len());
        for assignment in &self.assignments {
            put_i32(out, assignment.partition.0);
            put_count(out, assignment.brokers.len());
            assignment.brokers.iter().for_each(|broker| put_i32(out, broker.0));
        }
        put_count(out, self.configs.len());
        for config in &self.configs {
            put_str(out, &config.name);
            put_option_str(out, config.value.as_deref());
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: codec::str(cursor)?.into(),
            topic_id: TopicId(cursor.array()?),
            partitions: cursor.i32()?,
            default_partitions: cursor.i32()?,
            replication_factor: cursor.i16()?,
            assignments: codec::list(cursor, 8, |cursor| {
                Ok(Assignment {
                    partition: PartitionIndex(cursor.i32()?),
                    brokers: codec::list(cursor, 4, |cursor| Ok(NodeId(cursor.i32()?)))?,
                })
            })?,
            configs: codec::list(cursor, 5, |cursor| {
                Ok(ConfigEntry { name: codec::str(cursor)?.into(), value: codec::option_str(cursor)?.map(Arc::from) })
            })?,
        })
    }
}

impl CreatePartitions {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(CREATE_PARTITIONS);
        out.extend_from_slice(&self.topic_id.0);
        put_i32(out, self.count);
        out.push(u8::from(self.assignments.is_some()));
        if let Some(assignments) = &self.assignments {
            put_count(out, assignments.len());
            for brokers in assignments {
                put_count(out, brokers.len());
                brokers.iter().for_each(|broker| put_i32(out, broker.0));
            }
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let brokers = |cursor: &mut Cursor<'_>| codec::list(cursor, 4, |cursor| Ok(NodeId(cursor.i32()?)));
        Ok(Self {
            topic_id: TopicId(cursor.array()?),
            count: cursor.i32()?,
            assignments: match codec::bool(cursor)? {
                true => Some(codec::list(cursor, 4, brokers)?),
                false => None,
            },
        })
    }
}

impl AlterTopicConfigs {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(ALTER_TOPIC_CONFIGS);
        out.extend_from_slice(&self.topic_id.0);
        out.push(u8::from(self.replace));
        put_count(out, self.changes.len());
        for change in &self.changes {
            put_str(out, &change.name);
            out.push(change.operation as u8);
            put_option_str(out, change.value.as_deref());
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let change = |cursor: &mut Cursor<'_>| {
            Ok(ConfigChange {
                name: codec::str(cursor)?.into(),
                operation: i8::try_from(cursor.u8()?)
                    .ok()
                    .and_then(ConfigOperation::from_number)
                    .ok_or(DecodeError::Invalid("a change of a configuration is of no known kind"))?,
                value: codec::option_str(cursor)?.map(Arc::from),
            })
        };
        Ok(Self {
            topic_id: TopicId(cursor.array()?),
            replace: codec::bool(cursor)?,
            changes: codec::list(cursor, 6, change)?,
        })
    }
}

pub(super) fn put_endpoints(out: &mut Vec<u8>, endpoints: &[Endpoint]) {
    put_count(out, endpoints.len());
    for endpoint in endpoints {
        put_str(out, &endpoint.listener);
        put_str(out, &endpoint.host);
        put_u16(out, endpoint.port);
    }
}

pub(super) fn endpoints(cursor: &mut Cursor<'_>) -> Result<Vec<Endpoint>, DecodeError> {
    codec::list(cursor, 10, |cursor| {
        Ok(Endpoint { listener: codec::str(cursor)?.into(), host: codec::str(cursor)?.into(), port: cursor.u16()? })
    })
}

pub(super) fn put_features<'a>(out: &mut Vec<u8>, features: impl ExactSizeIterator<Item = (&'a str, i16)>) {
    put_count(out, features.len());
    for (name, level) in features {
        put_str(out, name);
        put_i16(out, level);
    }
}

pub(super) fn features(cursor: &mut Cursor<'_>) -> Result<Vec<(Arc<str>, i16)>, DecodeError> {
    codec::list(cursor, 6, |cursor| Ok((codec::str(cursor)?.into(), cursor.i16()?)))
}

const VERSION: u8 = 1;
const CLUSTER_FORMED: u8 = 1;
const BROKER_STARTED: u8 = 2;
const CREATE_TOPIC: u8 = 3;
const DELETE_TOPIC: u8 = 4;
const LEASE_PRODUCER_IDS: u8 = 5;
const CREATE_PARTITIONS: u8 = 6;
const ALTER_TOPIC_CONFIGS: u8 = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Arc<str>> {
        "[a-zA-Z0-9._-]{0,12}|\\PC{0,6}".prop_map(Arc::from)
    }

    fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
        prop::collection::vec(any::<i32>().prop_map(NodeId), 0..4)
    }

    fn create_topic() -> impl Strategy<Value = Command> {
        let assignment = (any::<i32>(), nodes())
            .prop_map(|(index, brokers)| Assignment { partition: PartitionIndex(index), brokers });
        let config = (text(), prop::option::of(text())).prop_map(|(name, value)| ConfigEntry { name, value });
        (
            (text(), any::<[u8; 16]>(), any::<i32>(), any::<i32>(), any::<i16>()),
            prop::collection::vec(assignment, 0..4),
            prop::collection::vec(config, 0..4),
        )
            .prop_map(
                |((name, id, partitions, default_partitions, replication_factor), assignments, configs)| {
                    Command::CreateTopic(CreateTopic {
                        name,
                        topic_id: TopicId(id),
                        partitions,
                        default_partitions,
                        replication_factor,
                        assignments,
                        configs,
                    })
                },
            )
    }

    fn alter_topic_configs() -> impl Strategy<Value = Command> {
        let change = (text(), 0i8..4, prop::option::of(text())).prop_map(|(name, operation, value)| ConfigChange {
            name,
            operation: ConfigOperation::from_number(operation).expect("there are four"),
            value,
        });
        (any::<[u8; 16]>(), any::<bool>(), prop::collection::vec(change, 0..4)).prop_map(|(id, replace, changes)| {
            Command::AlterTopicConfigs(AlterTopicConfigs { topic_id: TopicId(id), replace, changes })
        })
    }

    fn command() -> impl Strategy<Value = Command> {
        let endpoint =
            (text(), text(), any::<u16>()).prop_map(|(listener, host, port)| Endpoint { listener, host, port });
        prop_oneof![
            (text(), prop::collection::vec((text(), any::<i16>()), 0..3), nodes(), nodes()).prop_map(
                |(cluster_id, features, voters, observers)| Command::ClusterFormed {
                    cluster_id,
                    features,
                    membership: Membership { voters, observers }
                }
            ),
            (any::<i32>(), any::<u64>(), prop::option::of(text()), prop::collection::vec(endpoint, 0..3), any::<u16>())
                .prop_map(|(node, incarnation, rack, endpoints, cores)| {
                    Command::BrokerStarted(BrokerStarted {
                        node: NodeId(node),
                        incarnation: Incarnation(incarnation),
                        rack,
                        endpoints,
                        cores,
                    })
                }),
            create_topic(),
            any::<[u8; 16]>().prop_map(|id| Command::DeleteTopic { topic_id: TopicId(id) }),
            any::<u32>().prop_map(|count| Command::LeaseProducerIds { count }),
            (any::<[u8; 16]>(), any::<i32>(), prop::option::of(prop::collection::vec(nodes(), 0..4))).prop_map(
                |(id, count, assignments)| {
                    Command::CreatePartitions(CreatePartitions { topic_id: TopicId(id), count, assignments })
                }
            ),
            alter_topic_configs(),
        ]
    }

    proptest! {
        #[test]
        fn commands_come_back(command in command()) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }

        #[test]
        fn a_cut_command_is_refused(command in command(), keep in any::<prop::sample::Index>()) {
            let bytes = command.encode();
            prop_assert!(Command::decode(&bytes[..keep.index(bytes.len())]).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_a_command_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..9) {
            let _ = Command::decode(&bytes);
            bytes.splice(0..0, [VERSION, kind]);
            if let Ok(command) = Command::decode(&bytes) {
                prop_assert_eq!(command.encode(), bytes);
            }
        }
    }

    #[test]
    fn format_version_1_has_these_bytes() {
        let lease = Command::LeaseProducerIds { count: 1000 };
        assert_eq!(lease.encode(), b"\x01\x05\x00\x00\x03\xe8");
        let delete = Command::DeleteTopic { topic_id: TopicId(*b"0123456789abcdef") };
        assert_eq!(delete.encode(), b"\x01\x040123456789abcdef");
        let create = Command::CreatePartitions(CreatePartitions {
            topic_id: TopicId(*b"0123456789abcdef"),
            count: 3,
            assignments: Some(vec![vec![NodeId(1)]]),
        });
        assert_eq!(
            create.encode(),
            b"\x01\x060123456789abcdef\x00\x00\x00\x03\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01"
        );
        let change = ConfigChange { name: "k".into(), operation: ConfigOperation::Append, value: Some("v".into()) };
        let alter = Command::AlterTopicConfigs(AlterTopicConfigs {
            topic_id: TopicId(*b"0123456789abcdef"),
            replace: true,
            changes: vec![change],
        });
        assert_eq!(
            alter.encode(),
            b"\x01\x070123456789abcdef\x01\x00\x00\x00\x01\x00\x00\x00\x01k\x02\x01\x00\x00\x00\x01v"
        );
        let create = Command::CreateTopic(CreateTopic {
            name: "t".into(),
            topic_id: TopicId(*b"0123456789abcdef"),
            partitions: -1,
            default_partitions: 4,
            replication_factor: 1,
            assignments: vec![Assignment { partition: PartitionIndex(0), brokers: vec![NodeId(1)] }],
            configs: vec![ConfigEntry { name: "k".into(), value: Some("v".into()) }],
        });
        assert_eq!(
            create.encode(),
            b"\x01\x03\x00\x00\x00\x01t0123456789abcdef\xff\xff\xff\xff\x00\x00\x00\x04\x00\x01\
              \x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\
              \x00\x00\x00\x01\x00\x00\x00\x01k\x01\x00\x00\x00\x01v"
        );
        let started = Command::BrokerStarted(BrokerStarted {
            node: NodeId(1),
            incarnation: Incarnation(9),
            rack: None,
            endpoints: vec![Endpoint { listener: "P".into(), host: "h".into(), port: 9092 }],
            cores: 2,
        });
        assert_eq!(
            started.encode(),
            b"\x01\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x09\x00\
              \x00\x00\x00\x01\x00\x00\x00\x01P\x00\x00\x00\x01h\x23\x84\x00\x02"
        );
        let formed = Command::ClusterFormed {
            cluster_id: "c".into(),
            features: vec![("f".into(), 30)],
            membership: Membership { voters: vec![NodeId(1)], observers: vec![] },
        };
        assert_eq!(
            formed.encode(),
            b"\x01\x01\x00\x00\x00\x01c\x00\x00\x00\x01\x00\x00\x00\x01f\x00\x1e\
              \x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00"
        );
    }

    /// A count of four thousand million in a short command must not reserve anything.
    #[test]
    fn a_huge_count_reserves_nothing() {
        let bytes = b"\x01\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x09\x00\xff\xff\xff\xff";
        assert!(matches!(Command::decode(bytes), Err(DecodeError::Short(_))));
    }

    #[test]
    fn a_newer_version_and_an_unknown_kind_say_so() {
        assert!(matches!(Command::decode(b"\x02\x05"), Err(DecodeError::Version { found: 2, .. })));
        assert_eq!(Command::decode(b"\x01\x63"), Err(DecodeError::Kind(0x63)));
        assert_eq!(Command::decode(b"\x01\x05\x00\x00\x00\x01\x00"), Err(DecodeError::Trailing(1)));
    }
}
