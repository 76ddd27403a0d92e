//! The records of `__consumer_offsets`, byte for byte as Kafka 4.3 writes them, because tools read that topic.
//!
//! ```text
//! key     2  kind: 0 and 1 an offset, 2 a classic group, 3 to 8 and 16 a group of the consumer protocol (`records/consumer.rs`)
//!         n  the key's message, version 0
//! value   2  version
//!         n  the value's message
//! ```
//!
//! A record without a value is a tombstone: the offset or the group is gone.

mod consumer; // groups of the consumer protocol

use bytes::{Bytes, BytesMut};

use crate::base::{PartitionIndex, TopicId};
use crate::protocol::{DecodeError, Message, Reader, Str, Writer, message};
use consumer::{
    CONSUMER_GROUP_KIND, CONSUMER_MEMBER_KIND, CURRENT_KIND, PARTITION_METADATA_KIND, REGULAR_EXPRESSION_KIND,
    TARGET_EPOCH_KIND, TARGET_KIND,
};
pub use consumer::{
    ConsumerGroupKey, ConsumerGroupMetadataValue, ConsumerMemberKey, ConsumerMemberMetadataValue,
    CurrentAssignmentValue, CurrentPartitions, RegularExpressionKey, RegularExpressionValue,
    TargetAssignmentMemberValue, TargetAssignmentMetadataValue, TargetPartitions,
};

message! {
    /// Whose offset, and of which partition.
    OffsetCommitKey, versions 0..=0, flexible from never {
        group: Str,
        topic: Str,
        partition: i32,
    }
}

message! {
    /// Where a group is in a partition. -1 for the epoch or the expiry is none.
    OffsetCommitValue, versions 0..=4, flexible from 4 {
        offset: i64,
        leader_epoch: i32 [3..] = -1,
        metadata: Str,
        commit_timestamp: i64,
        expire_timestamp: i64 [1..=1] = -1,
        topic_id: TopicId [4.., tag 0],
    }
}

message! {
    /// Which group.
    GroupMetadataKey, versions 0..=0, flexible from never {
        group: Str,
    }
}

message! {
    /// A generation of a group, or a group that is empty.
    GroupMetadataValue, versions 0..=4, flexible from 4 {
        protocol_type: Str,
        generation: i32,
        protocol: Option<Str>,
        leader: Option<Str>,
        current_state_timestamp: i64 [2..] = -1,
        members: Vec<MemberMetadata>,
    }

    /// A member of the generation. -1 for the rebalance timeout means that the session timeout counts.
    MemberMetadata {
        member_id: Str,
        group_instance_id: Option<Str> [3..],
        client_id: Str,
        client_host: Str,
        rebalance_timeout: i32 [1..] = -1,
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }
}

/// A record to be appended to `__consumer_offsets`. Its timestamp is that of the append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoordinatorRecord {
    /// Kind and key.
    pub key: Bytes,
    /// Version and value; `None` for a tombstone.
    pub value: Option<Bytes>,
}

impl CoordinatorRecord {
    /// Bytes that the record takes up in a batch at most.
    pub fn bytes_max(&self) -> usize {
        RECORD_OVERHEAD_BYTES_MAX + self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    /// A committed offset.
    pub fn offset(key: &OffsetCommitKey, value: &OffsetCommitValue) -> Self {
        // Kafka 4.3 writes version 1 where a client of old gave a retention time, since only that version can hold it, and else version 4.
        let version = if value.expire_timestamp == -1 { 4 } else { 1 };
        Self { key: prefixed(OFFSET_KIND, key, 0), value: Some(prefixed(version, value, version)) }
    }

    /// An offset that is gone.
    pub fn offset_tombstone(key: &OffsetCommitKey) -> Self {
        Self { key: prefixed(OFFSET_KIND, key, 0), value: None }
    }

    /// A group.
    pub fn group(group: &Str, value: &GroupMetadataValue) -> Self {
        let key = prefixed(GROUP_KIND, &GroupMetadataKey { group: group.clone() }, 0);
        Self { key, value: Some(prefixed(GROUP_VERSION, value, GROUP_VERSION)) }
    }

    /// A group that is gone.
    pub fn group_tombstone(group: &Str) -> Self {
        Self { key: prefixed(GROUP_KIND, &GroupMetadataKey { group: group.clone() }, 0), value: None }
    }
}

/// A record of `__consumer_offsets`, understood.
#[derive(Clone, PartialEq, Debug)]
pub enum Replay {
    /// An offset was committed, or is gone.
    Offset(OffsetCommitKey, Option<OffsetCommitValue>),
    /// A classic group changed, or is gone.
    Group(GroupMetadataKey, Option<GroupMetadataValue>),
    /// The epoch of a group of the consumer protocol, or the group is gone.
    ConsumerGroup(ConsumerGroupKey, Option<ConsumerGroupMetadataValue>),
    /// The topics of a group as brokers before 4.1 kept them, or they are gone.
    PartitionMetadata(ConsumerGroupKey, bool),
    /// What a member says of itself, or it is gone.
    ConsumerMember(ConsumerMemberKey, Option<ConsumerMemberMetadataValue>),
    /// The epoch of the assignment that a group aims at.
    TargetEpoch(ConsumerGroupKey, Option<TargetAssignmentMetadataValue>),
    /// What a member is to have in the end.
    Target(ConsumerMemberKey, Option<TargetAssignmentMemberValue>),
    /// What a member has.
    Current(ConsumerMemberKey, Option<CurrentAssignmentValue>),
    /// What an expression stood for.
    RegularExpression(RegularExpressionKey, Option<RegularExpressionValue>),
}

/// Why a record was passed over. A newer program, or one with more kinds of groups, may have written it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordFault {
    /// A kind of record that this room does not have.
    #[error("records of kind {0} are not known to this program")]
    UnknownKind(i16),
    /// A version that this program does not know.
    #[error("a record of kind {kind} has version {version}, which is not known to this program")]
    UnknownVersion {
        /// The kind of record.
        kind: i16,
        /// The version of its value.
        version: i16,
    },
    /// Bytes that are not what they should be.
    #[error("a record cannot be read: {0}")]
    Malformed(DecodeError),
}

impl From<DecodeError> for RecordFault {
    fn from(fault: DecodeError) -> Self {
        RecordFault::Malformed(fault)
    }
}

/// Understands a record. Errors: it is of another kind or version, or damaged.
pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Replay, RecordFault> {
    let mut reader = Reader::new(key);
    Ok(match reader.i16()? {
        kind @ (OLD_OFFSET_KIND | OFFSET_KIND) => {
            Replay::Offset(OffsetCommitKey::decode(&mut reader, 0)?, self::value(kind, value)?)
        }
        GROUP_KIND => Replay::Group(GroupMetadataKey::decode(&mut reader, 0)?, self::value(GROUP_KIND, value)?),
        kind @ CONSUMER_GROUP_KIND => {
            Replay::ConsumerGroup(ConsumerGroupKey::decode(&mut reader, 0)?, self::value(kind, value)?)
        }
        PARTITION_METADATA_KIND => {
            Replay::PartitionMetadata(ConsumerGroupKey::decode(&mut reader, 0)?, value.is_some())
        }
        kind @ CONSUMER_MEMBER_KIND => {
            Replay::ConsumerMember(ConsumerMemberKey::decode(&mut reader, 0)?, self::value(kind, value)?)
        }
        kind @ TARGET_EPOCH_KIND => {
            Replay::TargetEpoch(ConsumerGroupKey::decode(&mut reader, 0)?, self::value(kind, value)?)
        }
        kind @ TARGET_KIND => Replay::Target(ConsumerMemberKey::decode(&mut reader, 0)?, self::value(kind, value)?),
        kind @ CURRENT_KIND => Replay::Current(ConsumerMemberKey::decode(&mut reader, 0)?, self::value(kind, value)?),
        kind @ REGULAR_EXPRESSION_KIND => {
            Replay::RegularExpression(RegularExpressionKey::decode(&mut reader, 0)?, self::value(kind, value)?)
        }
        kind => return Err(RecordFault::UnknownKind(kind)),
    })
}

fn value<M: Message>(kind: i16, value: Option<&Bytes>) -> Result<Option<M>, RecordFault> {
    let Some(value) = value else { return Ok(None) };
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    if !M::VERSIONS.contains(&version) {
        return Err(RecordFault::UnknownVersion { kind, version });
    }
    Ok(Some(M::decode(&mut reader, version)?))
}

/// Two bytes, then the message.
fn prefixed(prefix: i16, message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::default();
    writer.i16(prefix);
    message.encode(&mut writer, version);
    let mut parts = writer.finish();
    if parts.len() == 1 {
        return parts.remove(0);
    }
    parts
        .iter()
        .fold(BytesMut::new(), |mut whole, part| {
            whole.extend_from_slice(part);
            whole
        })
        .freeze()
}

/// The key of a partition's offset.
pub fn offset_key(group: &Str, topic: &Str, partition: PartitionIndex) -> OffsetCommitKey {
    OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition: partition.0 }
}

/// The kind of an offset, as brokers before 0.8.2 wrote it.
const OLD_OFFSET_KIND: i16 = 0;
const OFFSET_KIND: i16 = 1;
const GROUP_KIND: i16 = 2;
/// The version in which groups are written.
const GROUP_VERSION: i16 = 3;
/// What a batch adds to the bytes of a key and a value: length, attributes, the two deltas, the lengths of key and value, and the count of headers.
const RECORD_OVERHEAD_BYTES_MAX: usize = 5 + 1 + 1 + 5 + 5 + 5 + 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The records in `tests/golden/consumer_offsets.txt` that stand under `verb`, by name.
    fn golden(verb: &str) -> Vec<(&'static str, Bytes, Option<Bytes>)> {
        let bytes = |hex: &str| -> Bytes {
            let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
            (0..hex.len()).step_by(2).map(digits).collect()
        };
        let lines = include_str!("../../tests/golden/consumer_offsets.txt").lines();
        let records = lines.filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [word, name, key, value] if word == verb => Some((name, bytes(key), (value != "-").then(|| bytes(value)))),
            _ => None,
        });
        records.collect()
    }

    const TOPIC_ID: TopicId =
        TopicId([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x19, 0x00, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);

    fn offset() -> OffsetCommitValue {
        OffsetCommitValue {
            offset: 42,
            leader_epoch: 5,
            metadata: "note".into(),
            commit_timestamp: 1_700_000_000_001,
            expire_timestamp: 1_700_000_000_002,
            topic_id: TOPIC_ID,
        }
    }

    fn group() -> GroupMetadataValue {
        let member = |number: i32, instance: Option<&str>, subscription: &[u8], assignment: &[u8]| MemberMetadata {
            member_id: format!("member-{number}").into(),
            group_instance_id: instance.map(Str::from),
            client_id: format!("client-{number}").into(),
            client_host: format!("/127.0.0.{number}").into(),
            rebalance_timeout: 299_999 + number,
            session_timeout: 44_999 + number,
            subscription: Bytes::copy_from_slice(subscription),
            assignment: Bytes::copy_from_slice(assignment),
        };
        GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 3,
            protocol: Some("range".into()),
            leader: Some("member-1".into()),
            current_state_timestamp: 1_700_000_000_003,
            members: vec![member(1, Some("instance-1"), &[0, 1, 2], &[3, 4]), member(2, None, &[5], &[])],
        }
    }

    fn empty() -> GroupMetadataValue {
        GroupMetadataValue { current_state_timestamp: 1_700_000_000_003, ..Default::default() }
    }

    #[test]
    fn records_of_every_version_are_read() {
        let key = offset_key(&"group".into(), &"topic".into(), PartitionIndex(7));
        let mut seen = 0;
        for (name, bytes, value) in golden("read") {
            let (kind, version) = name.split_once('-').expect("kind and version");
            let version: i16 = version.parse().expect("a number");
            let expected = match kind {
                "legacy" | "offset" => {
                    let mut value = offset();
                    value.leader_epoch = if version >= 3 { 5 } else { -1 };
                    value.expire_timestamp = if version == 1 { value.expire_timestamp } else { -1 };
                    value.topic_id = if version >= 4 { TOPIC_ID } else { TopicId::ZERO };
                    Replay::Offset(key.clone(), Some(value))
                }
                "group" | "empty" => {
                    let mut value = if kind == "group" { group() } else { empty() };
                    value.current_state_timestamp = if version >= 2 { value.current_state_timestamp } else { -1 };
                    for member in &mut value.members {
                        member.rebalance_timeout = if version >= 1 { member.rebalance_timeout } else { -1 };
                        member.group_instance_id = member.group_instance_id.take().filter(|_| version >= 3);
                    }
                    Replay::Group(GroupMetadataKey { group: "group".into() }, Some(value))
                }
                "expression" => {
                    let key = RegularExpressionKey { group: "group".into(), regular_expression: "c.*".into() };
                    let topics = vec!["ca".into()];
                    let value = RegularExpressionValue { topics, version: 7, timestamp: 1_700_000_000_003 };
                    Replay::RegularExpression(key, Some(value))
                }
                _ => panic!("{name}"),
            };
            assert_eq!(decode(&bytes, value.as_ref()), Ok(expected), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 1 + 5 + 2 * 5 + 1);
    }

    #[test]
    fn records_are_written_as_kafka_writes_them() {
        let key = offset_key(&"group".into(), &"topic".into(), PartitionIndex(7));
        let lasting = OffsetCommitValue { expire_timestamp: -1, ..offset() };
        let plain = OffsetCommitValue { leader_epoch: -1, topic_id: TopicId::ZERO, ..lasting.clone() };
        let written = [
            ("group", CoordinatorRecord::group(&"group".into(), &group())),
            ("empty", CoordinatorRecord::group(&"group".into(), &empty())),
            ("group-tombstone", CoordinatorRecord::group_tombstone(&"group".into())),
            ("offset", CoordinatorRecord::offset(&key, &lasting)),
            ("offset-plain", CoordinatorRecord::offset(&key, &plain)),
            ("offset-expires", CoordinatorRecord::offset(&key, &offset())),
            ("offset-tombstone", CoordinatorRecord::offset_tombstone(&key)),
        ];
        let consumers = written_of_consumers();
        let written: Vec<_> = written.into_iter().chain(consumers).collect();
        let golden = golden("write");
        assert_eq!(golden.len(), written.len());
        for (name, key, value) in golden {
            let (_, record) = written.iter().find(|(written, _)| *written == name).expect(name);
            assert_eq!((&record.key, &record.value), (&key, &value), "{name}");
            if value.is_some() {
                assert!(decode(&key, value.as_ref()).is_ok(), "{name}");
            }
        }
    }

    /// Records of groups of the consumer protocol.
    fn written_of_consumers() -> Vec<(&'static str, CoordinatorRecord)> {
        let (group, first, second) = (Str::from("group"), Str::from("member-1"), Str::from("member-2"));
        let other = TopicId([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        let said = ConsumerMemberMetadataValue {
            instance_id: Some("instance-1".into()),
            rack_id: Some("rack-1".into()),
            client_id: "client-1".into(),
            client_host: "/127.0.0.1".into(),
            subscribed_topic_names: vec!["a".into(), "b".into()],
            subscribed_topic_regex: Some("c.*".into()),
            rebalance_timeout_ms: 300_000,
            server_assignor: Some("range".into()),
            classic_member_metadata: None,
        };
        let plain = ConsumerMemberMetadataValue {
            client_id: "client-2".into(),
            client_host: "/127.0.0.2".into(),
            subscribed_topic_regex: Some(Str::default()),
            classic_member_metadata: None,
            ..Default::default()
        };
        let held = |topic_id: TopicId, partitions: &[(i32, i32)]| CurrentPartitions {
            topic_id,
            partitions: partitions.iter().map(|(partition, _)| *partition).collect(),
            assignment_epochs: Some(partitions.iter().map(|(_, epoch)| *epoch).collect()),
        };
        let current = CurrentAssignmentValue {
            member_epoch: 5,
            previous_member_epoch: 4,
            state: 1,
            assigned_partitions: vec![held(TOPIC_ID, &[(0, 4), (2, 5)])],
            partitions_pending_revocation: vec![held(other, &[(1, 3)])],
        };
        let nothing = CurrentAssignmentValue { previous_member_epoch: -1, ..Default::default() };
        let target = TargetPartitions { topic_id: TOPIC_ID, partitions: vec![0, 2] };
        let target = TargetAssignmentMemberValue { topic_partitions: vec![target] };
        let epoch = |epoch, metadata_hash| {
            CoordinatorRecord::consumer_group(&"group".into(), &ConsumerGroupMetadataValue { epoch, metadata_hash })
        };
        let target_epoch =
            TargetAssignmentMetadataValue { assignment_epoch: 5, assignment_timestamp: 1_700_000_000_003 };
        vec![
            ("consumer-group", epoch(5, 0x1122_3344_5566_7788)),
            ("consumer-group-plain", epoch(1, 0)),
            ("consumer-group-tombstone", CoordinatorRecord::consumer_group_tombstone(&group)),
            ("partition-metadata-tombstone", CoordinatorRecord::partition_metadata_tombstone(&group)),
            ("consumer-member", CoordinatorRecord::consumer_member(&group, &first, &said)),
            ("consumer-member-plain", CoordinatorRecord::consumer_member(&group, &second, &plain)),
            ("consumer-member-tombstone", CoordinatorRecord::consumer_member_tombstone(&group, &first)),
            ("target-epoch", CoordinatorRecord::target_epoch(&group, &target_epoch)),
            ("target-epoch-tombstone", CoordinatorRecord::target_epoch_tombstone(&group)),
            ("target", CoordinatorRecord::target(&group, &first, &target)),
            ("target-plain", CoordinatorRecord::target(&group, &second, &TargetAssignmentMemberValue::default())),
            ("target-tombstone", CoordinatorRecord::target_tombstone(&group, &first)),
            ("current", CoordinatorRecord::current(&group, &first, &current)),
            ("current-plain", CoordinatorRecord::current(&group, &second, &nothing)),
            ("current-tombstone", CoordinatorRecord::current_tombstone(&group, &first)),
        ]
    }

    #[test]
    fn tombstones_are_read() {
        for (name, key, value) in golden("write") {
            match decode(&key, None) {
                Ok(Replay::Offset(_, None)) => assert!(name.starts_with("offset"), "{name}"),
                Ok(Replay::Group(_, None)) => assert!(name.starts_with("group") || name == "empty", "{name}"),
                Ok(Replay::ConsumerGroup(_, None)) => assert!(name.starts_with("consumer-group"), "{name}"),
                Ok(Replay::PartitionMetadata(_, false)) => assert!(name.starts_with("partition"), "{name}"),
                Ok(Replay::ConsumerMember(_, None)) => assert!(name.starts_with("consumer-member"), "{name}"),
                Ok(Replay::TargetEpoch(_, None)) => assert!(name.starts_with("target-epoch"), "{name}"),
                Ok(Replay::Target(_, None)) => assert!(name.starts_with("target"), "{name}"),
                Ok(Replay::Current(_, None)) => assert!(name.starts_with("current"), "{name}"),
                other => panic!("{name}: {other:?}"),
            }
            assert_eq!(value.is_none(), name.ends_with("tombstone"));
        }
    }

    #[test]
    fn what_is_not_known_is_a_fault_and_no_panic() {
        let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        // The kinds of share groups and streams groups.
        assert_eq!(decode(&bytes(b"\0\x0a\0\x01g"), None), Err(RecordFault::UnknownKind(10)));
        assert_eq!(decode(&bytes(b"\xff\xff"), None), Err(RecordFault::UnknownKind(-1)));
        let (_, key, _) = golden("write").remove(0);
        let fault = decode(&key, Some(&bytes(b"\0\x05newer")));
        assert_eq!(fault, Err(RecordFault::UnknownVersion { kind: 2, version: 5 }));
        for (name, key, value) in golden("read") {
            let value = value.expect("no tombstones");
            for end in 0..value.len() {
                let cut = decode(&key, Some(&value.slice(..end)));
                assert!(matches!(cut, Err(RecordFault::Malformed(_))), "{name} cut at {end}: {cut:?}");
            }
            for end in 0..key.len() {
                let cut = decode(&key.slice(..end), Some(&value));
                assert!(matches!(cut, Err(RecordFault::Malformed(_))), "{name}, key cut at {end}: {cut:?}");
            }
        }
    }

    #[test]
    fn the_room_of_a_record_in_a_batch_is_never_underrated() {
        for (name, key, value) in golden("read") {
            let record = CoordinatorRecord { key, value };
            let mut builder = crate::record::Builder::new();
            let mut bound = crate::record::HEADER_BYTES;
            for _ in 0..300 {
                let value = record.value.as_deref();
                builder.push(crate::record::NewRecord { key: Some(&record.key), value, ..Default::default() });
                bound += record.bytes_max();
                assert!(builder.build().len() <= bound, "{name}");
            }
        }
    }
}
