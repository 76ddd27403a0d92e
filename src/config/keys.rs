//! The broker settings that keep their Kafka names: one table of those that are honoured, and the names of those that are not.
//!
//! Rows that only set the default of a topic configuration come from the topic table, so that name, range and meaning cannot differ.

use crate::base::limits::{FETCH_SESSIONS_PER_CORE_MAX, PARTITIONS_PER_TOPIC_MAX, REQUEST_BYTES_MAX};
use crate::cluster::TopicSettings;
use crate::cluster::topic_config::{self, Look, TopicKey, TopicOverrides, Values};

/// What the honoured keys come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KafkaSettings {
    /// Partitions of a topic that is created without a count.
    pub num_partitions: i32,
    /// Whether asking for the metadata of an unknown topic creates it.
    pub auto_create_topics: bool,
    /// Bytes of a request at most.
    pub socket_request_max_bytes: usize,
    /// Bytes of a fetch response at most, whatever the client asks for (the first batch always fits).
    pub fetch_max_bytes: i32,
    /// Incremental fetch sessions of the whole broker at most.
    pub fetch_session_slots: usize,
    /// Milliseconds after which an idle idempotent producer is forgotten.
    pub producer_id_expiration_ms: i64,
    /// Milliseconds between two looks for expired records.
    pub retention_check_interval_ms: i64,
    /// How often the assignment of a consumer group may be made anew.
    pub group_consumer_assignment_interval_ms: Bounded,
    /// How members of a consumer group may be assigned to, the default first: `uniform`, `range`.
    pub group_consumer_assignors: Vec<String>,
    /// How often members of a consumer group are to be heard of.
    pub group_consumer_heartbeat_interval_ms: Bounded,
    /// Members of one consumer group at most.
    pub group_consumer_max_size: i32,
    /// How long members of a consumer group may be silent.
    pub group_consumer_session_timeout_ms: Bounded,
    /// Whether groups of the consumer protocol are served.
    pub group_protocols: GroupProtocols,
    /// Milliseconds that the first rebalance of an empty group waits.
    pub group_initial_rebalance_delay_ms: i32,
    /// The longest session timeout of a member, in milliseconds.
    pub group_max_session_timeout_ms: i32,
    /// Members of one group at most.
    pub group_max_size: i32,
    /// The shortest session timeout of a member, in milliseconds.
    pub group_min_session_timeout_ms: i32,
    /// Characters of the note beside a committed offset at most.
    pub offset_metadata_max_bytes: i32,
    /// Milliseconds between two looks for committed offsets whose time is over.
    pub offsets_retention_check_interval_ms: i64,
    /// Milliseconds that committed offsets are kept without members.
    pub offsets_retention_ms: i64,
    /// Partitions of `__consumer_offsets`, when it is made.
    pub offsets_topic_num_partitions: i32,
    /// Bytes of a segment of it.
    pub offsets_topic_segment_bytes: i32,
    /// Milliseconds after which an idle connection is closed; negative: never.
    pub connections_max_idle_ms: i64,
    /// Connections of the whole broker at most.
    pub max_connections: usize,
    /// Connections from one address at most.
    pub max_connections_per_ip: usize,
    /// The rack, as clients see it.
    pub rack: Option<String>,
    /// What holds for topics that do not say otherwise.
    pub topic_defaults: TopicSettings,
}

/// Milliseconds, and the bounds that the operator sets for them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bounded {
    /// What holds.
    pub value: i32,
    /// The least.
    pub min: i32,
    /// The most.
    pub max: i32,
}

/// The protocols of groups that are served.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GroupProtocols {
    /// JoinGroup and its like.
    pub classic: bool,
    /// ConsumerGroupHeartbeat (KIP-848).
    pub consumer: bool,
}

impl KafkaSettings {
    /// Whether settings go together that are each in their range, as Kafka asks at its start. If not, a sentence.
    pub(super) fn go_together(&self) -> Result<(), String> {
        let (session, heartbeat) = (self.group_consumer_session_timeout_ms, self.group_consumer_heartbeat_interval_ms);
        let bounded = [
            (session, "session.timeout.ms"),
            (heartbeat, "heartbeat.interval.ms"),
            (self.group_consumer_assignment_interval_ms, "assignment.interval.ms"),
        ];
        for (Bounded { value, min, max }, name) in bounded {
            if !(min..=max).contains(&value) {
                return Err(format!(
                    "group.consumer.{name} is {value}; it must be from group.consumer.min.{name}, which is {min}, to group.consumer.max.{name}, which is {max}."
                ));
            }
        }
        if heartbeat.value >= session.value {
            return Err(format!(
                "group.consumer.heartbeat.interval.ms is {}; it must be less than group.consumer.session.timeout.ms, which is {}.",
                heartbeat.value, session.value
            ));
        }
        if !self.group_protocols.classic {
            return Err("group.coordinator.rebalance.protocols must name classic, which cannot be turned off.".into());
        }
        Ok(())
    }
}

impl Default for KafkaSettings {
    /// The table's defaults.
    fn default() -> Self {
        let mut draft = Draft::default();
        for key in keys() {
            if let Some(default) = key.default {
                draft.set(&key, default).expect("the defaults of the table are in range");
            }
        }
        draft.finish()
    }
}

/// One honoured key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kafka's name.
    pub name: &'static str,
    /// What it may be set to.
    pub range: Range,
    /// Its default; `None`: not set.
    pub default: Option<&'static str>,
    /// What it does.
    pub documentation: &'static str,
    store: Store,
}

impl Key {
    /// The topic configuration whose default it sets, and how many of that one's unit its own unit is.
    pub fn topic_config(&self) -> Option<(&'static str, i64)> {
        match self.store {
            Store::Topic(key) => Some((key.name, 1)),
            Store::Coarse(name, unit) => Some((name, unit)),
            Store::Number(_) | Store::List(_) | Store::Text(_) => None,
        }
    }
}

/// What a key may be set to.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// A number, a flag or a word.
    Values(Values),
    /// Text of 1 to so many bytes.
    Text(usize),
}

impl Range {
    /// The rule as half a sentence.
    pub fn rule(&self) -> String {
        match self {
            Self::Values(values) => values.rule(),
            Self::Text(max) => format!("text of 1 to {max} bytes"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Store {
    Number(fn(&mut KafkaSettings, i64)),
    Text(fn(&mut KafkaSettings, &str)),
    /// Words of a list, in their order.
    List(fn(&mut KafkaSettings, Vec<String>)),
    Topic(&'static TopicKey),
    /// The default of a topic configuration in milliseconds, in a coarser unit of so many.
    Coarse(&'static str, i64),
}

/// Settings on their way.
#[derive(Debug)]
pub(super) struct Draft {
    settings: KafkaSettings,
    topic: TopicOverrides,
    /// What was said in coarser units: the topic configuration, milliseconds of the unit, milliseconds.
    coarse: Vec<(&'static str, i64, i64)>,
    /// The topic configurations that were set in milliseconds.
    fine: Vec<&'static str>,
}

impl Default for Draft {
    fn default() -> Self {
        let settings = KafkaSettings {
            num_partitions: 0,
            auto_create_topics: false,
            socket_request_max_bytes: 0,
            fetch_max_bytes: 0,
            fetch_session_slots: 0,
            producer_id_expiration_ms: 0,
            retention_check_interval_ms: 0,
            group_consumer_assignment_interval_ms: Bounded::default(),
            group_consumer_assignors: Vec::new(),
            group_consumer_heartbeat_interval_ms: Bounded::default(),
            group_consumer_max_size: 0,
            group_consumer_session_timeout_ms: Bounded::default(),
            group_protocols: GroupProtocols::default(),
            group_initial_rebalance_delay_ms: 0,
            group_max_session_timeout_ms: 0,
            group_max_size: 0,
            group_min_session_timeout_ms: 0,
            offset_metadata_max_bytes: 0,
            offsets_retention_check_interval_ms: 0,
            offsets_retention_ms: 0,
            offsets_topic_num_partitions: 0,
            offsets_topic_segment_bytes: 0,
            connections_max_idle_ms: 0,
            max_connections: 0,
            max_connections_per_ip: 0,
            rack: None,
            topic_defaults: TopicSettings::default(),
        };
        Self { settings, topic: TopicOverrides::default(), coarse: Vec::new(), fine: Vec::new() }
    }
}

impl Draft {
    /// Stores a value. `None`: it is not in the key's range.
    pub(super) fn set(&mut self, key: &Key, value: &str) -> Option<()> {
        let number = || match key.range {
            Range::Values(values) => values.parse(value),
            Range::Text(_) => None,
        };
        match (key.store, key.range) {
            (Store::Number(store), _) => store(&mut self.settings, number()?),
            (Store::List(store), _) => {
                number()?;
                store(&mut self.settings, value.split(',').map(|word| word.trim().into()).collect());
            }
            (Store::Topic(topic), _) => {
                number()?;
                self.topic.set(topic.name, Some(value)).ok()?;
                self.fine.push(topic.name);
            }
            (Store::Coarse(name, unit), _) => {
                let number = number()?;
                let ms = if number < 0 { -1 } else { number * unit };
                self.coarse.push((name, unit, ms));
            }
            (Store::Text(store), Range::Text(max)) if (1..=max).contains(&value.len()) => {
                store(&mut self.settings, value);
            }
            (Store::Text(_), _) => return None,
        }
        Some(())
    }

    /// The finest unit that was set wins, as in Kafka.
    pub(super) fn finish(mut self) -> KafkaSettings {
        self.coarse.sort_by_key(|(_, unit, _)| std::cmp::Reverse(*unit));
        for (name, _, ms) in self.coarse.iter().filter(|(name, ..)| !self.fine.contains(name)) {
            self.topic.set(name, Some(&ms.to_string())).expect("the ranges of the table are within the topic's");
        }
        KafkaSettings { topic_defaults: self.topic.over(&TopicSettings::default()), ..self.settings }
    }
}

/// All honoured keys, sorted by name.
pub fn keys() -> Vec<Key> {
    let has_coarse = |key: &TopicKey| {
        BROKER_KEYS.iter().any(|other| matches!(other.store, Store::Coarse(name, _) if name == key.name))
    };
    let topic = topic_config::KEYS.iter().map(move |key| Key {
        name: key.broker_key,
        // A topic may keep nothing; a broker on which everything expires at once is a mistake, and Kafka refuses it too.
        range: Range::Values(if key.name == "retention.ms" { Values::LongOrNone(1) } else { key.values }),
        // Unset, it leaves the word to the coarser unit, which has a default.
        default: Some(key.default).filter(|_| !has_coarse(key)),
        documentation: key.documentation,
        store: Store::Topic(key),
    });
    let mut keys: Vec<Key> = BROKER_KEYS.iter().copied().chain(topic).collect();
    keys.sort_by_key(|key| key.name);
    keys
}

/// Whether Kafka 4.3 has a broker key of this name.
pub fn is_kafka_key(name: &str) -> bool {
    kafka_names().any(|known| known == name)
}

/// The engine flag that does what a Kafka key of this name does.
pub fn engine_flag(name: &str) -> Option<&'static str> {
    ENGINE_FLAGS.iter().find(|(key, _)| *key == name).map(|(_, flag)| *flag)
}

/// The names of all broker keys of Apache Kafka 4.3.1.
pub(super) fn kafka_names() -> impl Iterator<Item = &'static str> {
    KAFKA_KEYS.lines()
}

const BROKER_KEYS: &[Key] = &[
    Key {
        name: "auto.create.topics.enable",
        range: Range::Values(Values::Bool),
        default: Some("true"),
        documentation: "Whether asking for the metadata of an unknown topic creates it, if the client allows it.",
        store: Store::Number(|settings, value| settings.auto_create_topics = value == 1),
    },
    Key {
        name: "broker.rack",
        range: Range::Text(255),
        default: None,
        documentation: "The rack of this broker, as clients see it.",
        store: Store::Text(|settings, value| settings.rack = Some(value.into())),
    },
    Key {
        name: "connections.max.idle.ms",
        range: Range::Values(Values::Long(-1, i64::MAX)),
        default: Some("600000"),
        documentation: "Milliseconds after which an idle connection is closed; -1 never closes it.",
        store: Store::Number(|settings, value| settings.connections_max_idle_ms = value),
    },
    Key {
        name: "fetch.max.bytes",
        range: Range::Values(Values::Int(1024, i32::MAX)),
        default: Some("57671680"),
        documentation: "Bytes of a fetch response at most, whatever the client asks for; the first batch is sent even if it is larger.",
        store: Store::Number(|settings, value| settings.fetch_max_bytes = value as i32),
    },
    Key {
        name: "group.consumer.assignment.interval.ms",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("1000"),
        documentation: "Milliseconds from one assignment of a consumer group to the next one at least.",
        store: Store::Number(|settings, value| settings.group_consumer_assignment_interval_ms.value = value as i32),
    },
    Key {
        name: "group.consumer.assignors",
        range: Range::Values(Values::List(&["uniform", "range"])),
        default: Some("uniform,range"),
        documentation: "How members of a consumer group may be assigned to. The first one holds for members that do not say.",
        store: Store::List(|settings, words| settings.group_consumer_assignors = words),
    },
    Key {
        name: "group.consumer.heartbeat.interval.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("5000"),
        documentation: "Milliseconds after which a member of a consumer group is told to be heard of again.",
        store: Store::Number(|settings, value| settings.group_consumer_heartbeat_interval_ms.value = value as i32),
    },
    Key {
        name: "group.consumer.max.assignment.interval.ms",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("15000"),
        documentation: "The most that group.consumer.assignment.interval.ms may be.",
        store: Store::Number(|settings, value| settings.group_consumer_assignment_interval_ms.max = value as i32),
    },
    Key {
        name: "group.consumer.max.heartbeat.interval.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("15000"),
        documentation: "The most that group.consumer.heartbeat.interval.ms may be.",
        store: Store::Number(|settings, value| settings.group_consumer_heartbeat_interval_ms.max = value as i32),
    },
    Key {
        name: "group.consumer.max.session.timeout.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("60000"),
        documentation: "The most that group.consumer.session.timeout.ms may be.",
        store: Store::Number(|settings, value| settings.group_consumer_session_timeout_ms.max = value as i32),
    },
    Key {
        name: "group.consumer.max.size",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("2147483647"),
        documentation: "Members of one consumer group at most. Never more than 10000.",
        store: Store::Number(|settings, value| settings.group_consumer_max_size = value as i32),
    },
    Key {
        name: "group.consumer.migration.policy",
        range: Range::Values(Values::Only(Look::Word, "disabled")),
        default: Some("disabled"),
        documentation: "Whether a group with members may change from one protocol to the other. It may not, so disabled; an empty group may.",
        store: Store::Number(|_, _| {}),
    },
    Key {
        name: "group.consumer.min.assignment.interval.ms",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("0"),
        documentation: "The least that group.consumer.assignment.interval.ms may be.",
        store: Store::Number(|settings, value| settings.group_consumer_assignment_interval_ms.min = value as i32),
    },
    Key {
        name: "group.consumer.min.heartbeat.interval.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("5000"),
        documentation: "The least that group.consumer.heartbeat.interval.ms may be.",
        store: Store::Number(|settings, value| settings.group_consumer_heartbeat_interval_ms.min = value as i32),
    },
    Key {
        name: "group.consumer.min.session.timeout.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("45000"),
        documentation: "The least that group.consumer.session.timeout.ms may be.",
        store: Store::Number(|settings, value| settings.group_consumer_session_timeout_ms.min = value as i32),
    },
    Key {
        name: "group.consumer.session.timeout.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("45000"),
        documentation: "Milliseconds after which a silent member of a consumer group is out of it.",
        store: Store::Number(|settings, value| settings.group_consumer_session_timeout_ms.value = value as i32),
    },
    Key {
        name: "group.coordinator.rebalance.protocols",
        range: Range::Values(Values::List(&["classic", "consumer"])),
        default: Some("classic,consumer"),
        documentation: "The protocols of groups that are served. Without consumer, heartbeats of consumer groups are refused.",
        store: Store::List(|settings, words| {
            let has = |protocol: &str| words.iter().any(|word| word == protocol);
            settings.group_protocols = GroupProtocols { classic: has("classic"), consumer: has("consumer") };
        }),
    },
    Key {
        name: "group.initial.rebalance.delay.ms",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("3000"),
        documentation: "Milliseconds that the first rebalance of an empty group waits for further members.",
        store: Store::Number(|settings, value| settings.group_initial_rebalance_delay_ms = value as i32),
    },
    Key {
        name: "group.max.session.timeout.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("1800000"),
        documentation: "The longest session timeout, in milliseconds, that a member of a group may ask for.",
        store: Store::Number(|settings, value| settings.group_max_session_timeout_ms = value as i32),
    },
    Key {
        name: "group.max.size",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("2147483647"),
        documentation: "Members of one group at most. Never more than 10000.",
        store: Store::Number(|settings, value| settings.group_max_size = value as i32),
    },
    Key {
        name: "group.min.session.timeout.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("6000"),
        documentation: "The shortest session timeout, in milliseconds, that a member of a group may ask for.",
        store: Store::Number(|settings, value| settings.group_min_session_timeout_ms = value as i32),
    },
    Key {
        name: "log.retention.check.interval.ms",
        range: Range::Values(Values::Long(1, i64::MAX)),
        default: Some("300000"),
        documentation: "Milliseconds between two looks for records that have expired.",
        store: Store::Number(|settings, value| settings.retention_check_interval_ms = value),
    },
    Key {
        name: "log.retention.hours",
        range: Range::Values(Values::IntOrNone(1)),
        default: Some("168"),
        documentation: "Hours that records are kept at least; log.retention.minutes and log.retention.ms go before it.",
        store: Store::Coarse("retention.ms", HOUR_MS),
    },
    Key {
        name: "log.retention.minutes",
        range: Range::Values(Values::IntOrNone(1)),
        default: None,
        documentation: "Minutes that records are kept at least; log.retention.ms goes before it.",
        store: Store::Coarse("retention.ms", 60_000),
    },
    Key {
        name: "log.roll.hours",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("168"),
        documentation: "Hours after its first record at which a segment is followed by the next one; log.roll.ms goes before it.",
        store: Store::Coarse("segment.ms", HOUR_MS),
    },
    Key {
        name: "log.roll.jitter.hours",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("0"),
        documentation: "Hours, at most, by which a segment ends earlier; log.roll.jitter.ms goes before it.",
        store: Store::Coarse("segment.jitter.ms", HOUR_MS),
    },
    Key {
        name: "max.connections",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("2147483647"),
        documentation: "Connections of the whole broker at most; further ones wait until one ends. Cores and the limit of open files have bounds of their own.",
        store: Store::Number(|settings, value| settings.max_connections = value as usize),
    },
    Key {
        name: "max.connections.per.ip",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("2147483647"),
        documentation: "Connections from one address at most; further ones are closed at once.",
        store: Store::Number(|settings, value| settings.max_connections_per_ip = value as usize),
    },
    Key {
        name: "max.incremental.fetch.session.cache.slots",
        range: Range::Values(Values::Int(0, FETCH_SESSIONS_PER_CORE_MAX as i32)),
        default: Some("1000"),
        documentation: "Incremental fetch sessions at most; clients without one send and get full fetches.",
        store: Store::Number(|settings, value| settings.fetch_session_slots = value as usize),
    },
    Key {
        name: "num.partitions",
        range: Range::Values(Values::Int(1, PARTITIONS_PER_TOPIC_MAX)),
        default: Some("1"),
        documentation: "Partitions of a topic that is created automatically, or by a request without a count.",
        store: Store::Number(|settings, value| settings.num_partitions = value as i32),
    },
    Key {
        name: "offset.metadata.max.bytes",
        range: Range::Values(Values::Int(0, i32::MAX)),
        default: Some("4096"),
        documentation: "Characters of the note that a client may keep beside a committed offset.",
        store: Store::Number(|settings, value| settings.offset_metadata_max_bytes = value as i32),
    },
    Key {
        name: "offsets.retention.check.interval.ms",
        range: Range::Values(Values::Long(1, i64::MAX)),
        default: Some("600000"),
        documentation: "Milliseconds between two looks for committed offsets whose time is over.",
        store: Store::Number(|settings, value| settings.offsets_retention_check_interval_ms = value),
    },
    Key {
        name: "offsets.retention.minutes",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("10080"),
        documentation: "Minutes that committed offsets are kept after their group lost its last member.",
        store: Store::Number(|settings, value| settings.offsets_retention_ms = value * 60_000),
    },
    Key {
        name: "offsets.topic.num.partitions",
        range: Range::Values(Values::Int(1, PARTITIONS_PER_TOPIC_MAX)),
        default: Some("50"),
        documentation: "Partitions of __consumer_offsets, when it is made: the first time that anybody looks for the coordinator of a group.",
        store: Store::Number(|settings, value| settings.offsets_topic_num_partitions = value as i32),
    },
    Key {
        name: "offsets.topic.replication.factor",
        range: Range::Values(Values::Int(1, 1)),
        default: Some("1"),
        documentation: "Replicas of __consumer_offsets. There is one node, so 1.",
        store: Store::Number(|_, _| {}),
    },
    Key {
        name: "offsets.topic.segment.bytes",
        range: Range::Values(Values::Int(1 << 20, i32::MAX)),
        default: Some("104857600"),
        documentation: "Bytes of a segment of __consumer_offsets, when that topic is made.",
        store: Store::Number(|settings, value| settings.offsets_topic_segment_bytes = value as i32),
    },
    Key {
        name: "producer.id.expiration.ms",
        range: Range::Values(Values::Int(1, i32::MAX)),
        default: Some("86400000"),
        documentation: "Milliseconds after its last batch at which a partition forgets an idempotent producer.",
        store: Store::Number(|settings, value| settings.producer_id_expiration_ms = value),
    },
    Key {
        name: "socket.request.max.bytes",
        range: Range::Values(Values::Int(1, REQUEST_BYTES_MAX as i32)),
        default: Some("104857600"),
        documentation: "Bytes of a request at most; a connection that announces more is closed.",
        store: Store::Number(|settings, value| settings.socket_request_max_bytes = value as usize),
    },
];

const HOUR_MS: i64 = 60 * 60 * 1000;

/// Kafka keys whose work an engine flag does here.
const ENGINE_FLAGS: &[(&str, &str)] = &[
    ("advertised.listeners", "--advertise"),
    ("broker.id", "--node-id"),
    ("listeners", "--listen"),
    ("log.dir", "--data-dir"),
    ("log.dirs", "--data-dir"),
    ("node.id", "--node-id"),
    ("num.io.threads", "--cores"),
    ("num.network.threads", "--cores"),
];

/// The broker keys of Apache Kafka 4.3.1, one per line.
const KAFKA_KEYS: &str = include_str!("kafka_4_3.txt");

#[cfg(test)]
mod tests {
    use super::*;

    /// A key without a sentence in `--help` pages and DescribeConfigs is a key that nobody can use.
    #[test]
    fn each_key_is_documented_known_to_kafka_and_there_once() {
        let keys = keys();
        for key in &keys {
            assert!(key.documentation.len() > 20 && key.documentation.ends_with('.'), "{}", key.name);
            assert!(is_kafka_key(key.name), "{} is not a key of Kafka", key.name);
            assert!(engine_flag(key.name).is_none(), "{} is also an engine flag", key.name);
        }
        assert!(keys.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(ENGINE_FLAGS.iter().all(|(key, _)| is_kafka_key(key)));
    }

    #[test]
    fn defaults_are_kafkas() {
        let settings = KafkaSettings::default();
        assert_eq!(settings.num_partitions, 1);
        assert!(settings.auto_create_topics);
        assert_eq!(settings.socket_request_max_bytes, 100 << 20);
        assert_eq!(settings.fetch_max_bytes, 55 << 20);
        assert_eq!(settings.topic_defaults, TopicSettings::default());
        assert_eq!(settings.rack, None);
        assert_eq!(settings.group_protocols, GroupProtocols { classic: true, consumer: true });
        assert_eq!(settings.group_consumer_assignors, ["uniform", "range"]);
        assert_eq!(settings.group_consumer_session_timeout_ms, Bounded { value: 45_000, min: 45_000, max: 60_000 });
        assert_eq!(settings.group_consumer_heartbeat_interval_ms, Bounded { value: 5_000, min: 5_000, max: 15_000 });
        assert_eq!(settings.go_together(), Ok(()));
    }

    /// Kafka's order: milliseconds, minutes, hours; whichever was written first.
    #[test]
    fn the_finest_unit_that_is_set_wins() {
        let keys = keys();
        let with = |set: &[(&str, &str)]| {
            let mut draft = Draft::default();
            for key in &keys {
                let value = set.iter().find(|(name, _)| *name == key.name).map(|(_, value)| *value).or(key.default);
                if let Some(value) = value {
                    draft.set(key, value).expect(key.name);
                }
            }
            let settings = draft.finish().topic_defaults;
            (settings.retention_ms, settings.segment_ms, settings.segment_jitter_ms)
        };
        assert_eq!(with(&[]), (604_800_000, 604_800_000, 0));
        assert_eq!(
            with(&[("log.retention.hours", "2"), ("log.roll.hours", "3"), ("log.roll.jitter.hours", "1")]),
            (7_200_000, 10_800_000, 3_600_000)
        );
        assert_eq!(with(&[("log.retention.hours", "2"), ("log.retention.minutes", "5")]).0, 300_000);
        assert_eq!(with(&[("log.retention.minutes", "5"), ("log.retention.ms", "7")]).0, 7);
        assert_eq!(with(&[("log.retention.ms", "-1"), ("log.retention.hours", "2")]).0, -1);
        assert_eq!(with(&[("log.retention.minutes", "-1")]).0, -1);
        assert_eq!(with(&[("log.retention.hours", "2147483647")]).0, 2_147_483_647 * HOUR_MS);
        assert_eq!(with(&[("log.roll.ms", "9"), ("log.roll.jitter.ms", "4")]), (604_800_000, 9, 4));
    }

    #[test]
    fn values_out_of_range_are_not_stored() {
        let keys = keys();
        let key = |name| keys.iter().find(|key| key.name == name).expect("there");
        let mut draft = Draft::default();
        for (name, value) in [
            ("num.partitions", "0"),
            ("num.partitions", "four"),
            ("auto.create.topics.enable", "yes"),
            ("broker.rack", ""),
            ("log.segment.bytes", "1000"),
            ("log.retention.ms", "0"),
            ("log.retention.minutes", "0"),
            ("log.retention.hours", "-2"),
            ("log.roll.ms", "0"),
            ("log.retention.check.interval.ms", "0"),
            ("compression.type", "brotli"),
            ("socket.request.max.bytes", "104857601"),
            ("group.consumer.assignors", ""),
            ("group.consumer.assignors", "range,range"),
            ("group.consumer.assignors", "org.example.Mine"),
            ("group.consumer.session.timeout.ms", "0"),
            ("group.consumer.migration.policy", "bidirectional"),
            ("group.coordinator.rebalance.protocols", "classic,share"),
        ] {
            assert_eq!(draft.set(key(name), value), None, "{name}={value}");
        }
        draft.set(key("auto.create.topics.enable"), "FALSE").expect("in range");
        draft.set(key("log.segment.bytes"), "1048576").expect("in range");
        draft.set(key("broker.rack"), "r1").expect("in range");
        draft.set(key("group.consumer.migration.policy"), "DISABLED").expect("in range");
        draft.set(key("group.consumer.assignors"), "range, uniform").expect("in range");
        draft.set(key("group.coordinator.rebalance.protocols"), "classic").expect("in range");
        let settings = draft.finish();
        assert_eq!((settings.auto_create_topics, settings.topic_defaults.segment_bytes), (false, 1 << 20));
        assert_eq!(settings.rack.as_deref(), Some("r1"));
        assert_eq!(settings.group_consumer_assignors, ["range", "uniform"]);
        assert_eq!(settings.group_protocols, GroupProtocols { classic: true, consumer: false });
    }
}
