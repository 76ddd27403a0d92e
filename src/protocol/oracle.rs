//! Tests over every declared message and version: bodies made from the declarations as data, read and written by the codec and by the crate
//! `kafka-protocol`, which was written by other hands from Kafka's own schemas.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::header::decode_request_header;
use super::messages::{DECLARED, Declared};
use super::schema::{Field, Schema};
use super::wire::{DecodeError, Reader, Writer};

/// Writes random bodies by the schema alone, so that what the codec makes of a declaration is checked against the declaration.
struct Maker {
    random: TestRng,
    version: i16,
    flexible: bool,
    nulls: bool,
}

impl Maker {
    fn body(message: &Declared, version: i16, seed: u64, nulls: bool) -> Bytes {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut maker = Self { random, version, flexible: version >= message.flexible_from, nulls };
        let mut writer = Writer::default();
        maker.value(&(message.schema)(), &mut writer, false);
        writer.finish().concat().into()
    }

    /// A number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        self.random.next_u32() % end
    }

    fn value(&mut self, schema: &Schema, writer: &mut Writer, nullable: bool) {
        let null = nullable && self.nulls && self.below(3) == 0;
        match schema {
            // A structure that may be null has a byte in front.
            Schema::Nullable(inner) if nullable && matches!(**inner, Schema::Struct(..)) => {
                writer.i8(if null { -1 } else { 1 });
                if !null {
                    self.value(inner, writer, false);
                }
            }
            Schema::Nullable(inner) => self.value(inner, writer, nullable),
            Schema::Plain("bool") => writer.i8(1),
            // No number is a default, so that every tagged field is written.
            Schema::Plain("int8") => writer.i8(self.below(100) as i8 + 2),
            Schema::Plain("int16") => writer.i16(self.below(30_000) as i16 + 2),
            Schema::Plain("uint16") => writer.u16(self.below(1 << 16) as u16),
            Schema::Plain("int32") => writer.i32(self.below(1 << 30) as i32 + 2),
            Schema::Plain("int64") => writer.i64(i64::from(self.random.next_u32()) << 20 | 2),
            Schema::Plain("uuid") => (0..16).for_each(|_| writer.i8(self.below(100) as i8 + 2)),
            Schema::Plain("string") if null => writer.text(None, self.flexible),
            Schema::Plain("string") => {
                let longest = if self.below(8) == 0 { 300 } else { 8 };
                let len = self.below(longest) as usize + 1;
                let text: String = (0..len).map(|_| char::from(b'a' + self.below(26) as u8)).collect();
                writer.text(Some(&text), self.flexible);
            }
            Schema::Plain("bytes" | "records") if null => writer.len(None, self.flexible),
            Schema::Plain("bytes" | "records") => {
                let len = self.below(200) as usize;
                writer.len(Some(len), self.flexible);
                (0..len).for_each(|_| writer.i8(self.random.next_u32() as i8));
            }
            Schema::Plain(other) => panic!("{other} is not made yet"),
            Schema::Array(_) if null => writer.len(None, self.flexible),
            Schema::Array(element) => {
                let count = self.below(3) as usize + 1;
                writer.len(Some(count), self.flexible);
                (0..count).for_each(|_| self.value(element, writer, false));
            }
            Schema::Struct(_, fields) => self.structure(fields, writer),
        }
    }

    fn structure(&mut self, fields: &[Field], writer: &mut Writer) {
        let present = |field: &&Field| field.versions.holds(self.version);
        let (tagged, plain): (Vec<_>, Vec<_>) = fields.iter().filter(present).partition(|field| field.tag.is_some());
        for field in plain {
            self.value(
                &field.schema,
                writer,
                field.nulls.holds(self.version) && matches!(field.schema, Schema::Nullable(_)),
            );
        }
        if self.flexible {
            writer.uvarint(tagged.len() as u32);
            for field in tagged {
                writer.tagged_field(field.tag.expect("chosen for its tag"), |writer| {
                    self.value(&field.schema, writer, false)
                });
            }
        }
    }
}

/// Calls `check` for every message, every version and a few seeds.
fn every(nulls: bool, check: impl Fn(&Declared, i16, Bytes)) {
    for message in DECLARED {
        for version in message.first..=message.last {
            for seed in 0..20 {
                check(message, version, Maker::body(message, version, seed, nulls));
            }
        }
    }
}

#[test]
fn what_is_read_is_written_again() {
    every(false, |message, version, body| {
        assert_eq!((message.recode)(&body, version), Ok(body), "{} {version}", message.name);
    });
    every(true, |message, version, body| {
        // Null records in a response are answered as none.
        if message.name != "FetchResponse" {
            assert_eq!((message.recode)(&body, version), Ok(body), "{} {version}", message.name);
        }
    });
}

#[test]
fn a_body_that_is_cut_short_is_an_error() {
    every(true, |message, version, body| {
        for len in 0..body.len().min(400) {
            let found = (message.recode)(&body.slice(..len), version);
            assert!(
                matches!(found, Err(DecodeError::Truncated { .. })),
                "{} {version} cut to {len}: {found:?}",
                message.name
            );
        }
    });
}

/// Kafka ignores what follows a message.
#[test]
fn bytes_after_the_body_are_left_alone() {
    every(true, |message, version, body| {
        let longer = Bytes::from([&body[..], b"more"].concat());
        assert_eq!((message.recode)(&longer, version), (message.recode)(&body, version), "{} {version}", message.name);
    });
}

#[test]
fn a_version_that_is_not_declared_is_refused() {
    for message in DECLARED {
        for version in [message.first - 1, message.last + 1, i16::MIN, i16::MAX] {
            let found = (message.recode)(&Bytes::new(), version);
            assert_eq!(found, Err(DecodeError::UnknownVersion { message: message.name, version }));
        }
    }
}

#[test]
fn tags_ascend() {
    fn check(schema: &Schema) {
        match schema {
            Schema::Plain(_) => {}
            Schema::Array(inner) | Schema::Nullable(inner) => check(inner),
            Schema::Struct(name, fields) => {
                assert!(fields.iter().filter_map(|field| field.tag).is_sorted_by(|one, next| one < next), "{name}");
                fields.iter().for_each(|field| check(&field.schema));
            }
        }
    }
    DECLARED.iter().for_each(|message| check(&(message.schema)()));
}

/// Reads and writes a body with `kafka-protocol`. `None`: it does not have the version.
fn by_other_hands(message: &Declared, version: i16, body: Bytes) -> Option<Bytes> {
    use kafka_protocol::protocol::{Decodable, Encodable, Message};
    macro_rules! recode {
        ($($name:ident)+) => {
            match message.name {
                $(stringify!($name) => {
                    use kafka_protocol::messages::$name;
                    if !(<$name as Message>::VERSIONS.min..=<$name as Message>::VERSIONS.max).contains(&version) {
                        return None;
                    }
                    let mut rest = body;
                    let message = $name::decode(&mut rest, version).expect("the other codec reads the body");
                    assert!(rest.is_empty(), "the other codec left {} bytes of {} {version}", rest.len(), stringify!($name));
                    let mut out = bytes::BytesMut::new();
                    message.encode(&mut out, version).expect("the other codec writes what it read");
                    Some(out.freeze())
                })+
                other => panic!("{other} is not compared"),
            }
        };
    }
    recode! {
        ProduceRequest ProduceResponse FetchRequest FetchResponse ListOffsetsRequest ListOffsetsResponse
        MetadataRequest MetadataResponse ApiVersionsRequest ApiVersionsResponse CreateTopicsRequest
        CreateTopicsResponse DeleteTopicsRequest DeleteTopicsResponse InitProducerIdRequest InitProducerIdResponse
        OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse DescribeClusterRequest DescribeClusterResponse
        FindCoordinatorRequest FindCoordinatorResponse JoinGroupRequest JoinGroupResponse SyncGroupRequest
        SyncGroupResponse HeartbeatRequest HeartbeatResponse LeaveGroupRequest LeaveGroupResponse OffsetCommitRequest
        OffsetCommitResponse OffsetFetchRequest OffsetFetchResponse OffsetDeleteRequest OffsetDeleteResponse
        DescribeGroupsRequest DescribeGroupsResponse ListGroupsRequest ListGroupsResponse DeleteGroupsRequest
        DeleteGroupsResponse CreatePartitionsRequest CreatePartitionsResponse DescribeTopicPartitionsRequest
        DescribeTopicPartitionsResponse DescribeConfigsRequest DescribeConfigsResponse IncrementalAlterConfigsRequest
        IncrementalAlterConfigsResponse AlterConfigsRequest AlterConfigsResponse ListConfigResourcesRequest
        ListConfigResourcesResponse DeleteRecordsRequest DeleteRecordsResponse DescribeLogDirsRequest
        DescribeLogDirsResponse AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse DescribeProducersRequest
        DescribeProducersResponse UnregisterBrokerRequest UnregisterBrokerResponse ElectLeadersRequest
        ElectLeadersResponse AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
        ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse DescribeQuorumRequest
        DescribeQuorumResponse ConsumerProtocolSubscription ConsumerProtocolAssignment
        ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse ConsumerGroupDescribeRequest
        ConsumerGroupDescribeResponse
    }
}

/// Messages and versions that `kafka-protocol` does not have.
const UNKNOWN_TO_OTHERS: &[(&str, i16)] = &[
    ("DescribeLogDirsRequest", 5),
    ("DescribeLogDirsResponse", 5),
    ("ListOffsetsRequest", 11),
    ("ListOffsetsResponse", 11),
    ("OffsetCommitRequest", 10),
    ("OffsetFetchRequest", 10),
];

#[test]
fn another_codec_reads_and_writes_the_same() {
    let unknown = std::cell::RefCell::new(std::collections::BTreeSet::new());
    every(true, |message, version, body| match by_other_hands(message, version, body.clone()) {
        Some(again) => assert_eq!(again, body, "{} {version}", message.name),
        None => drop(unknown.borrow_mut().insert((message.name, version))),
    });
    assert_eq!(unknown.into_inner(), UNKNOWN_TO_OTHERS.iter().copied().collect());
}

proptest! {
    /// Whatever arrives, the decoder answers; what it accepts, it writes in a form that it reads as the same.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let body = Bytes::from(bytes);
        let _ = decode_request_header(&mut Reader::new(&body));
        for message in DECLARED {
            for version in message.first..=message.last {
                if let Ok(once) = (message.recode)(&body, version) {
                    prop_assert_eq!((message.recode)(&once, version), Ok(once), "{} {}", message.name, version);
                }
            }
        }
    }

    /// Bodies that are nearly right go deeper than noise does.
    #[test]
    fn damaged_bodies_are_read_or_refused(
        seed: u64,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for message in DECLARED {
            for version in message.first..=message.last {
                let mut body = Maker::body(message, version, seed, true).to_vec();
                // The first versions of ApiVersions and ListGroups ask without a body.
                let damage = if body.is_empty() { &[][..] } else { &damage };
                for (place, byte) in damage {
                    let place = place.index(body.len());
                    body[place] = *byte;
                }
                if let Ok(once) = (message.recode)(&body.into(), version) {
                    prop_assert_eq!((message.recode)(&once, version), Ok(once), "{} {}", message.name, version);
                }
            }
        }
    }
}
