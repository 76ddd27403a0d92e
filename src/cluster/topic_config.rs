//! The topic configurations that are honoured, one table: name, values, default, the broker key that sets the default, and what it does.
//!
//! A key that is not in the table is refused, never accepted and ignored. Kafka's own keys that are not honoured yet are told apart from typing errors.

use std::sync::Arc;

use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::nearest::nearest;
use crate::record::{Codec, TimestampType};

/// What holds for one topic: its own configurations over the broker's defaults. Ranges are those of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicSettings {
    /// Bytes of a record batch at most.
    pub max_message_bytes: i32,
    /// Whose clock a batch's timestamp is.
    pub timestamp_type: TimestampType,
    /// Milliseconds that a producer's timestamp may lie before the broker's clock.
    pub timestamp_before_max_ms: i64,
    /// Milliseconds that a producer's timestamp may lie after the broker's clock.
    pub timestamp_after_max_ms: i64,
    /// Bytes of a segment before the next one begins.
    pub segment_bytes: i32,
    /// Milliseconds of a segment's life before the next one begins.
    pub segment_ms: i64,
    /// Milliseconds by which a segment may end earlier.
    pub segment_jitter_ms: i64,
    /// Bytes of batches between two entries of the offset index.
    pub index_interval_bytes: i32,
    /// Bytes of an index file at most.
    pub segment_index_bytes: i32,
    /// Milliseconds that records stay; -1: for ever.
    pub retention_ms: i64,
    /// Bytes of a partition that stay; -1: all.
    pub retention_bytes: i64,
    /// Milliseconds between the last use of a segment's files and their removal.
    pub file_delete_delay_ms: i64,
    /// In-sync replicas that a produce with acks=all needs.
    pub min_insync_replicas: i32,
    /// The codec in which batches are stored. `None`: the one in which the producer sent them.
    pub compression: Option<Codec>,
    /// How hard gzip tries, 1 to 9; -1: as it does by itself.
    pub gzip_level: i32,
    /// How hard lz4 tries, 1 to 17; 9 is the fast way.
    pub lz4_level: i32,
    /// How hard zstd tries.
    pub zstd_level: i32,
    /// Records between flushes. Shown, and kept whatever it is: there is a flush before every acknowledgement.
    pub flush_messages: i64,
    /// Milliseconds between flushes, likewise.
    pub flush_ms: i64,
}

/// The table's defaults.
impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            min_insync_replicas: 1,
            compression: None,
            gzip_level: -1,
            lz4_level: 9,
            zstd_level: 3,
            flush_messages: 1,
            flush_ms: i64::MAX,
        }
    }
}

/// What a topic sets itself. `None`: the broker's default.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TopicOverrides {
    max_message_bytes: Option<i32>,
    timestamp_type: Option<TimestampType>,
    timestamp_before_max_ms: Option<i64>,
    timestamp_after_max_ms: Option<i64>,
    segment_bytes: Option<i32>,
    segment_ms: Option<i64>,
    segment_jitter_ms: Option<i64>,
    index_interval_bytes: Option<i32>,
    segment_index_bytes: Option<i32>,
    retention_ms: Option<i64>,
    retention_bytes: Option<i64>,
    file_delete_delay_ms: Option<i64>,
    min_insync_replicas: Option<i32>,
    compression: Option<Option<Codec>>,
    gzip_level: Option<i32>,
    lz4_level: Option<i32>,
    zstd_level: Option<i32>,
    flush_messages: Option<i64>,
    flush_ms: Option<i64>,
}

impl TopicOverrides {
    /// What holds, given the broker's defaults.
    pub fn over(&self, defaults: &TopicSettings) -> TopicSettings {
        TopicSettings {
            max_message_bytes: self.max_message_bytes.unwrap_or(defaults.max_message_bytes),
            timestamp_type: self.timestamp_type.unwrap_or(defaults.timestamp_type),
            timestamp_before_max_ms: self.timestamp_before_max_ms.unwrap_or(defaults.timestamp_before_max_ms),
            timestamp_after_max_ms: self.timestamp_after_max_ms.unwrap_or(defaults.timestamp_after_max_ms),
            segment_bytes: self.segment_bytes.unwrap_or(defaults.segment_bytes),
            segment_ms: self.segment_ms.unwrap_or(defaults.segment_ms),
            segment_jitter_ms: self.segment_jitter_ms.unwrap_or(defaults.segment_jitter_ms),
            index_interval_bytes: self.index_interval_bytes.unwrap_or(defaults.index_interval_bytes),
            segment_index_bytes: self.segment_index_bytes.unwrap_or(defaults.segment_index_bytes),
            retention_ms: self.retention_ms.unwrap_or(defaults.retention_ms),
            retention_bytes: self.retention_bytes.unwrap_or(defaults.retention_bytes),
            file_delete_delay_ms: self.file_delete_delay_ms.unwrap_or(defaults.file_delete_delay_ms),
            min_insync_replicas: self.min_insync_replicas.unwrap_or(defaults.min_insync_replicas),
            compression: self.compression.unwrap_or(defaults.compression),
            gzip_level: self.gzip_level.unwrap_or(defaults.gzip_level),
            lz4_level: self.lz4_level.unwrap_or(defaults.lz4_level),
            zstd_level: self.zstd_level.unwrap_or(defaults.zstd_level),
            flush_messages: self.flush_messages.unwrap_or(defaults.flush_messages),
            flush_ms: self.flush_ms.unwrap_or(defaults.flush_ms),
        }
    }

    /// As [`TopicOverrides::set`], for a topic of the broker's own: those may be called compacted, and nothing of them expires.
    pub fn set_internal(&mut self, name: &str, value: Option<&str>) -> Result<&'static TopicKey, ConfigFault> {
        if let ("cleanup.policy", Some("compact")) = (name, value.map(str::trim)) {
            return self.set(name, Some("delete"));
        }
        self.set(name, value)
    }

    /// Sets one key to a value as a client wrote it. Gives the table's row.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<&'static TopicKey, ConfigFault> {
        let key = find(name).ok_or_else(|| ConfigFault::unknown(name))?;
        let value = value.ok_or_else(|| ConfigFault::Null { name: name.into() })?;
        let parsed = key.values.parse(value).ok_or_else(|| ConfigFault::Value {
            name: key.name,
            value: quoted(value),
            rule: key.values.rule(),
        })?;
        (key.store)(self, parsed);
        Ok(key)
    }
}

/// The row of a key, if it is honoured.
pub fn find(name: &str) -> Option<&'static TopicKey> {
    KEYS.iter().find(|key| key.name == name)
}

/// One row of the table.
#[derive(Debug)]
pub struct TopicKey {
    /// Kafka's name.
    pub name: &'static str,
    /// The broker key that sets its default.
    pub broker_key: &'static str,
    /// What it may be set to.
    pub values: Values,
    /// Its default, as text.
    pub default: &'static str,
    /// What it does.
    pub documentation: &'static str,
    store: fn(&mut TopicOverrides, i64),
}

impl TopicKey {
    /// A list with the elements of `change` added, or taken out.
    pub fn changed_list(&self, now: &str, change: &str, adds: bool) -> Result<String, ConfigFault> {
        if !matches!(self.values, Values::List(_)) {
            return Err(ConfigFault::NotAList { name: self.name, change: if adds { "APPEND" } else { "SUBTRACT" } });
        }
        let mut elements: Vec<&str> = now.split(',').map(str::trim).collect();
        for element in change.split(',').map(str::trim) {
            match elements.iter().position(|known| *known == element) {
                Some(at) if !adds => {
                    elements.remove(at);
                }
                None if adds => elements.push(element),
                _ => {}
            }
        }
        Ok(elements.join(","))
    }

    /// What holds, as text.
    pub fn show(&self, settings: &TopicSettings) -> String {
        match self.name {
            "max.message.bytes" => settings.max_message_bytes.to_string(),
            "message.timestamp.type" => match settings.timestamp_type {
                TimestampType::CreateTime => "CreateTime".into(),
                TimestampType::LogAppendTime => "LogAppendTime".into(),
            },
            "message.timestamp.before.max.ms" => settings.timestamp_before_max_ms.to_string(),
            "message.timestamp.after.max.ms" => settings.timestamp_after_max_ms.to_string(),
            "segment.bytes" => settings.segment_bytes.to_string(),
            "segment.ms" => settings.segment_ms.to_string(),
            "segment.jitter.ms" => settings.segment_jitter_ms.to_string(),
            "retention.ms" => settings.retention_ms.to_string(),
            "retention.bytes" => settings.retention_bytes.to_string(),
            "file.delete.delay.ms" => settings.file_delete_delay_ms.to_string(),
            "index.interval.bytes" => settings.index_interval_bytes.to_string(),
            "segment.index.bytes" => settings.segment_index_bytes.to_string(),
            "min.insync.replicas" => settings.min_insync_replicas.to_string(),
            "compression.type" => {
                CODEC_WORDS[settings.compression.map_or(0, |codec| usize::from(codec.bits()) + 1)].into()
            }
            "compression.gzip.level" => settings.gzip_level.to_string(),
            "compression.lz4.level" => settings.lz4_level.to_string(),
            "compression.zstd.level" => settings.zstd_level.to_string(),
            "flush.messages" => settings.flush_messages.to_string(),
            "flush.ms" => settings.flush_ms.to_string(),
            // Keys with one possible value have no field.
            _ => self.default.into(),
        }
    }
}

/// What a configuration may be set to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    /// A 32-bit number from the first to the last, both included.
    Int(i32, i32),
    /// A 64-bit number from the first to the last, both included.
    Long(i64, i64),
    /// -1 for no limit, or a 32-bit number of at least this.
    IntOrNone(i32),
    /// -1 for no limit, or a 64-bit number of at least this.
    LongOrNone(i64),
    /// -1 for what is done by itself, or a 32-bit number from the first to the last, both included.
    IntOrDefault(i32, i32),
    /// `false` or `true`, in any case of letters; the number is 0 or 1.
    Bool,
    /// One of these words; the number is its place.
    Word(&'static [&'static str]),
    /// This value alone.
    Only(Look, &'static str),
    /// A list of these words with commas between, at least one and none twice; the number has a bit for each.
    List(&'static [&'static str]),
}

/// What a value looks like that is the only one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Look {
    Bool,
    Double,
    Int,
    Long,
    Word,
}

impl Values {
    /// The value as a number, if it is allowed. Surrounding spaces are, as in Kafka.
    pub fn parse(&self, value: &str) -> Option<i64> {
        let value = value.trim();
        match *self {
            Self::Int(first, last) => {
                value.parse::<i32>().ok().filter(|value| (first..=last).contains(value)).map(i64::from)
            }
            Self::Long(first, last) => value.parse::<i64>().ok().filter(|value| (first..=last).contains(value)),
            Self::IntOrNone(first) => {
                value.parse::<i32>().ok().filter(|value| *value == -1 || *value >= first).map(i64::from)
            }
            Self::LongOrNone(first) => value.parse::<i64>().ok().filter(|value| *value == -1 || *value >= first),
            Self::IntOrDefault(first, last) => {
                let number = value.parse::<i32>().ok();
                number.filter(|value| *value == -1 || (first..=last).contains(value)).map(i64::from)
            }
            Self::Bool => {
                ["false", "true"].iter().position(|word| value.eq_ignore_ascii_case(word)).map(|at| at as i64)
            }
            Self::Word(words) => words.iter().position(|word| *word == value).map(|at| at as i64),
            Self::Only(_, only) => value.eq_ignore_ascii_case(only).then_some(0),
            Self::List(words) => value.split(',').try_fold(0, |bits, part| {
                let at = words.iter().position(|word| *word == part.trim())?;
                (bits & 1 << at == 0).then_some(bits | 1 << at)
            }),
        }
    }

    /// The rule as half a sentence.
    pub fn rule(&self) -> String {
        match *self {
            Self::Int(first, i32::MAX) => format!("a whole number of at least {first}"),
            Self::Int(first, last) => format!("a whole number from {first} to {last}"),
            Self::Long(first, i64::MAX) => format!("a whole number of at least {first}"),
            Self::Long(first, last) => format!("a whole number from {first} to {last}"),
            Self::IntOrNone(first) => format!("-1 for no limit, or a whole number of at least {first}"),
            Self::LongOrNone(first) => format!("-1 for no limit, or a whole number of at least {first}"),
            Self::IntOrDefault(first, last) => format!("-1 for the default, or a whole number from {first} to {last}"),
            Self::Bool => "true or false".into(),
            Self::Only(_, only) | Self::Word(&[only]) | Self::List(&[only]) => {
                format!("'{only}', the only value honoured by this version")
            }
            Self::Word(words) => format!("one of '{}'", words.join("', '")),
            Self::List(words) => format!("a list of '{}', none of them twice", words.join("', '")),
        }
    }
}

/// Why a topic configuration was refused (Kafka code 40, INVALID_CONFIG).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigFault {
    /// No such key in Kafka either.
    #[error("Unknown topic config name: {name}.{}", hint(*nearest))]
    Unknown {
        /// The name given.
        name: String,
        /// The known name nearest to it.
        nearest: Option<&'static str>,
    },
    /// Kafka has the key and this version does not honour it.
    #[error("Topic config {name} is not honoured by this version and was therefore not accepted; leave it out.")]
    NotHonoured {
        /// The name given.
        name: &'static str,
    },
    /// A null value.
    #[error("Null value not supported for topic config {name}; give a value or leave the config out.")]
    Null {
        /// The name given.
        name: String,
    },
    /// A configuration of a topic of the broker's own that stays as it is.
    #[error("The configuration {name} of {topic} stays as it is: the broker relies on it.")]
    Fixed {
        /// The key.
        name: &'static str,
        /// The topic.
        topic: Arc<str>,
    },
    /// Elements for something that is no list.
    #[error("Can't {change} to key {name} because its type is not LIST.")]
    NotAList {
        /// The key.
        name: &'static str,
        /// What was to be done.
        change: &'static str,
    },
    /// The wrong kind of value, or one out of range.
    #[error("Invalid value {value} for configuration {name}: it must be {rule}.")]
    Value {
        /// The key.
        name: &'static str,
        /// The value given, cut to a length that can be read.
        value: String,
        /// What it may be.
        rule: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" Did you mean {name}?"))
}

impl ConfigFault {
    /// What is wrong with a name that is not in the table.
    pub fn unknown(name: &str) -> Self {
        match NOT_HONOURED.iter().find(|known| **known == name) {
            Some(name) => Self::NotHonoured { name },
            None => Self::Unknown {
                name: quoted(name),
                nearest: if name.len() > QUOTED_CHARS_MAX {
                    None
                } else {
                    nearest(name, KEYS.iter().map(|key| key.name))
                },
            },
        }
    }
}

/// The configurations that are honoured.
pub const KEYS: &[TopicKey] = &[
    TopicKey {
        name: "cleanup.policy",
        broker_key: "log.cleanup.policy",
        values: Values::List(&["delete"]),
        default: "delete",
        documentation: "What happens to old segments: they are deleted when retention.ms or retention.bytes says so. Compaction is not there yet.",
        store: |_, _| {},
    },
    TopicKey {
        name: "compression.gzip.level",
        broker_key: "compression.gzip.level",
        values: Values::IntOrDefault(1, 9),
        default: "-1",
        documentation: "How hard gzip tries where the broker compresses, that is with compression.type=gzip.",
        store: |overrides, value| overrides.gzip_level = Some(value as i32),
    },
    TopicKey {
        name: "compression.lz4.level",
        broker_key: "compression.lz4.level",
        values: Values::Int(1, 17),
        default: "9",
        documentation: "How hard lz4 tries where the broker compresses, that is with compression.type=lz4. 9 stands for the fast way, as in Kafka; above 12 nothing changes.",
        store: |overrides, value| overrides.lz4_level = Some(value as i32),
    },
    TopicKey {
        name: "compression.type",
        broker_key: "compression.type",
        values: Values::Word(CODEC_WORDS),
        default: "producer",
        documentation: "The codec in which batches are stored: that in which the producer sent them, or one into which the broker puts those that come in another.",
        store: |overrides, value| {
            let codec = u8::try_from(value - 1).ok().and_then(Codec::from_bits);
            overrides.compression = Some(codec);
        },
    },
    TopicKey {
        name: "compression.zstd.level",
        broker_key: "compression.zstd.level",
        values: Values::Int(-131_072, 22),
        default: "3",
        documentation: "How hard zstd tries where the broker compresses, that is with compression.type=zstd. The window is 2 MiB at most.",
        store: |overrides, value| overrides.zstd_level = Some(value as i32),
    },
    TopicKey {
        name: "delete.retention.ms",
        broker_key: "log.cleaner.delete.retention.ms",
        values: Values::Only(Look::Long, "86400000"),
        default: "86400000",
        documentation: "Milliseconds that a tombstone stays in a compacted topic. There is no compaction yet, so another value is refused.",
        store: |_, _| {},
    },
    TopicKey {
        name: "file.delete.delay.ms",
        broker_key: "log.segment.delete.delay.ms",
        values: Values::Long(0, i64::MAX),
        default: "60000",
        documentation: "Milliseconds that the files of a segment stay on disk, under another name, after its last record was deleted.",
        store: |overrides, value| overrides.file_delete_delay_ms = Some(value),
    },
    TopicKey {
        name: "flush.messages",
        broker_key: "log.flush.interval.messages",
        values: Values::Long(1, i64::MAX),
        default: "1",
        documentation: "Records after which there is a flush at the latest. Kept whatever it is: every acknowledgement waits until its records are on disk.",
        store: |overrides, value| overrides.flush_messages = Some(value),
    },
    TopicKey {
        name: "flush.ms",
        broker_key: "log.flush.interval.ms",
        values: Values::Long(0, i64::MAX),
        default: "9223372036854775807",
        documentation: "Milliseconds after which there is a flush at the latest. Kept whatever it is: every acknowledgement waits until its records are on disk.",
        store: |overrides, value| overrides.flush_ms = Some(value),
    },
    TopicKey {
        name: "index.interval.bytes",
        broker_key: "log.index.interval.bytes",
        values: Values::Int(0, i32::MAX),
        default: "4096",
        documentation: "Bytes of batches between two entries of the offset index.",
        store: |overrides, value| overrides.index_interval_bytes = Some(value as i32),
    },
    TopicKey {
        name: "max.compaction.lag.ms",
        broker_key: "log.cleaner.max.compaction.lag.ms",
        values: Values::Only(Look::Long, "9223372036854775807"),
        default: "9223372036854775807",
        documentation: "Milliseconds after which a record of a compacted topic is compacted at the latest. There is no compaction yet, so another value is refused.",
        store: |_, _| {},
    },
    TopicKey {
        name: "max.message.bytes",
        broker_key: "message.max.bytes",
        values: Values::Int(0, BATCH_BYTES_MAX as i32),
        default: "1048588",
        documentation: "Bytes of a record batch at most, as sent (compressed). The upper bound follows from the journal: a batch is at most a quarter of \
            a journal file.",
        store: |overrides, value| overrides.max_message_bytes = Some(value as i32),
    },
    TopicKey {
        name: "message.timestamp.after.max.ms",
        broker_key: "log.message.timestamp.after.max.ms",
        values: Values::Long(0, i64::MAX),
        default: "3600000",
        documentation: "Milliseconds that a record's timestamp may lie after the broker's clock; not checked with LogAppendTime.",
        store: |overrides, value| overrides.timestamp_after_max_ms = Some(value),
    },
    TopicKey {
        name: "message.timestamp.before.max.ms",
        broker_key: "log.message.timestamp.before.max.ms",
        values: Values::Long(0, i64::MAX),
        default: "9223372036854775807",
        documentation: "Milliseconds that a record's timestamp may lie before the broker's clock; not checked with LogAppendTime.",
        store: |overrides, value| overrides.timestamp_before_max_ms = Some(value),
    },
    TopicKey {
        name: "message.timestamp.type",
        broker_key: "log.message.timestamp.type",
        values: Values::Word(&["CreateTime", "LogAppendTime"]),
        default: "CreateTime",
        documentation: "Whose clock a record's timestamp is: the producer's or the broker's at append.",
        store: |overrides, value| {
            overrides.timestamp_type =
                Some(if value == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime });
        },
    },
    TopicKey {
        name: "min.cleanable.dirty.ratio",
        broker_key: "log.cleaner.min.cleanable.ratio",
        values: Values::Only(Look::Double, "0.5"),
        default: "0.5",
        documentation: "The part of a compacted topic's log that is not compacted before it is. There is no compaction yet, so another value is refused.",
        store: |_, _| {},
    },
    TopicKey {
        name: "min.compaction.lag.ms",
        broker_key: "log.cleaner.min.compaction.lag.ms",
        values: Values::Only(Look::Long, "0"),
        default: "0",
        documentation: "Milliseconds that a record of a compacted topic stays as it is. There is no compaction yet, so another value is refused.",
        store: |_, _| {},
    },
    TopicKey {
        name: "min.insync.replicas",
        broker_key: "min.insync.replicas",
        values: Values::Int(1, i32::MAX),
        default: "1",
        documentation: "In-sync replicas that a produce with acks=all needs. With one node only 1 can be reached.",
        store: |overrides, value| overrides.min_insync_replicas = Some(value as i32),
    },
    TopicKey {
        name: "preallocate",
        broker_key: "log.preallocate",
        values: Values::Only(Look::Bool, "false"),
        default: "false",
        documentation: "Whether a segment's file has its full size from the start. It grows in steps of up to 16 MiB.",
        store: |_, _| {},
    },
    TopicKey {
        name: "retention.bytes",
        broker_key: "log.retention.bytes",
        values: Values::LongOrNone(0),
        default: "-1",
        documentation: "Bytes of a partition that are kept at least: the oldest segments are deleted as long as so many are left without them.",
        store: |overrides, value| overrides.retention_bytes = Some(value),
    },
    TopicKey {
        name: "retention.ms",
        broker_key: "log.retention.ms",
        values: Values::LongOrNone(0),
        default: "604800000",
        documentation: "Milliseconds that records are kept at least: a segment is deleted when its largest timestamp is older.",
        store: |overrides, value| overrides.retention_ms = Some(value),
    },
    TopicKey {
        name: "segment.bytes",
        broker_key: "log.segment.bytes",
        values: Values::Int(1 << 20, i32::MAX),
        default: "1073741824",
        documentation: "Bytes of a segment at most: a batch that does not fit begins the next one.",
        store: |overrides, value| overrides.segment_bytes = Some(value as i32),
    },
    TopicKey {
        name: "segment.index.bytes",
        broker_key: "log.index.size.max.bytes",
        values: Values::Int(4, i32::MAX),
        default: "10485760",
        documentation: "Bytes of an index file at most; a segment whose index is full is followed by the next one.",
        store: |overrides, value| overrides.segment_index_bytes = Some(value as i32),
    },
    TopicKey {
        name: "segment.jitter.ms",
        broker_key: "log.roll.jitter.ms",
        values: Values::Long(0, i64::MAX),
        default: "0",
        documentation: "Milliseconds, at most, by which a segment ends earlier than segment.ms says, so that not all partitions begin new ones together.",
        store: |overrides, value| overrides.segment_jitter_ms = Some(value),
    },
    TopicKey {
        name: "segment.ms",
        broker_key: "log.roll.ms",
        values: Values::Long(1, i64::MAX),
        default: "604800000",
        documentation: "Milliseconds after its first record at which a segment is followed by the next one, even if it is not full.",
        store: |overrides, value| overrides.segment_ms = Some(value),
    },
    TopicKey {
        name: "unclean.leader.election.enable",
        broker_key: "unclean.leader.election.enable",
        values: Values::Only(Look::Bool, "false"),
        default: "false",
        documentation: "Whether a replica that is not in sync may lead. There is one replica, and it is in sync.",
        store: |_, _| {},
    },
];

/// Values of `compression.type`: as the producer sent it, then the codecs in the order of their numbers.
const CODEC_WORDS: &[&str] = &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];

/// Kafka 4.3's topic configurations that are refused.
const NOT_HONOURED: &[&str] = &[
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
];

/// A client's text, as a message repeats it.
pub fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// Characters of a client's text that a message repeats at most.
const QUOTED_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_defaults_are_the_struct_s() {
        let mut overrides = TopicOverrides::default();
        for key in KEYS {
            overrides.set(key.name, Some(key.default)).expect(key.name);
        }
        let zero = TopicSettings { max_message_bytes: 7, segment_ms: 7, ..TopicSettings::default() };
        assert_eq!(overrides.over(&zero), TopicSettings::default());
        assert_eq!(TopicOverrides::default().over(&zero), zero);
    }

    #[test]
    fn every_default_prints_as_the_table_has_it() {
        for key in KEYS {
            assert_eq!(key.show(&TopicSettings::default()), key.default, "{}", key.name);
        }
    }

    #[test]
    fn codecs_go_by_kafkas_names() {
        let mut overrides = TopicOverrides::default();
        let key = find("compression.type").expect("there");
        let codecs =
            [None, Some(Codec::None), Some(Codec::Gzip), Some(Codec::Snappy), Some(Codec::Lz4), Some(Codec::Zstd)];
        for (word, codec) in CODEC_WORDS.iter().zip(codecs) {
            overrides.set("compression.type", Some(word)).expect(word);
            let settings = overrides.over(&TopicSettings { compression: Some(Codec::Lz4), ..Default::default() });
            assert_eq!((settings.compression, key.show(&settings).as_str()), (codec, *word));
        }
        for (name, value, rule) in [
            ("compression.type", "none", "one of 'producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'."),
            ("compression.gzip.level", "0", "-1 for the default, or a whole number from 1 to 9."),
            ("compression.gzip.level", "10", "-1 for the default, or a whole number from 1 to 9."),
            ("compression.lz4.level", "0", "a whole number from 1 to 17."),
            ("compression.lz4.level", "18", "a whole number from 1 to 17."),
            ("compression.zstd.level", "23", "a whole number from -131072 to 22."),
        ] {
            let fault = overrides.set(name, Some(value)).expect_err(name).to_string();
            assert!(fault.ends_with(&format!("it must be {rule}")), "{fault}");
        }
    }

    #[test]
    fn lists_are_of_known_words_and_none_twice() {
        let list = Values::List(&["compact", "delete"]);
        let parsed = |value: &str| list.parse(value);
        assert_eq!((parsed("delete"), parsed(" compact , delete ")), (Some(2), Some(3)));
        for value in ["", ",", "delete,", "delete,delete", "other"] {
            assert_eq!(parsed(value), None, "{value}");
        }
        assert_eq!(list.rule(), "a list of 'compact', 'delete', none of them twice");
    }

    #[test]
    fn rows_are_sorted_documented_and_apart() {
        assert!(KEYS.is_sorted_by(|left, right| left.name < right.name));
        assert!(NOT_HONOURED.is_sorted());
        for key in KEYS {
            assert!(key.documentation.ends_with('.') && !NOT_HONOURED.contains(&key.name), "{}", key.name);
        }
    }

    #[test]
    fn faults_say_what_to_do() {
        let mut overrides = TopicOverrides::default();
        let mut fault = |name, value| overrides.set(name, value).unwrap_err().to_string();
        assert_eq!(
            fault("segment.byte", Some("1")),
            "Unknown topic config name: segment.byte. Did you mean segment.bytes?"
        );
        assert_eq!(fault("zebra", Some("1")), "Unknown topic config name: zebra.");
        assert!(fault("local.retention.ms", Some("1")).contains("not honoured by this version"));
        let lag = fault("min.compaction.lag.ms", Some("1"));
        assert!(lag.ends_with("it must be '0', the only value honoured by this version."), "{lag}");
        assert!(
            fault("retention.ms", Some("-2")).ends_with("it must be -1 for no limit, or a whole number of at least 0.")
        );
        assert!(fault("segment.bytes", None).starts_with("Null value not supported for topic config segment.bytes"));
        assert_eq!(
            fault("segment.bytes", Some("100")),
            "Invalid value 100 for configuration segment.bytes: it must be a whole number of at least 1048576."
        );
        assert_eq!(
            fault("cleanup.policy", Some("compact")),
            "Invalid value compact for configuration cleanup.policy: it must be 'delete', the only value honoured by this version."
        );
        assert!(fault("max.message.bytes", Some("16000000")).ends_with("from 0 to 15728640."));
        let long = "9".repeat(5000);
        assert!(fault("segment.ms", Some(&long)).len() < 200);
        assert!(fault(&long, Some("1")).len() < 200);
    }
}
