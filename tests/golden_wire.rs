//! Our messages against Kafka's own: bytes that kafka-clients 4.3.1 wrote (`golden/wire.txt`), and the schemas that stand in its jar
//! (`golden/schemas.txt`). `golden/make.sh` makes both files anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use coretide::protocol::header::decode_response_header;
use coretide::protocol::messages::consumer_protocol::{decode_versioned, encode_versioned};
use coretide::protocol::messages::*;
use coretide::protocol::schema::{Field, Schema, Span};
use coretide::protocol::{ApiKey, ErrorCode, Frame, Message, Reader, decode_request_header};

const WIRE: &str = include_str!("golden/wire.txt");
const SCHEMAS: &str = include_str!("golden/schemas.txt");

/// The client id and the correlation id in all golden headers.
const CLIENT_ID: &str = "golden";
const CORRELATION_ID: i32 = 0x0c0f_fee0;

fn bytes(hex: &str) -> Bytes {
    if hex == "-" {
        return Bytes::new();
    }
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits")).collect()
}

/// Reads the header and the body with our codec, and writes both again, with the length in front. A message within others has its version for a
/// header.
fn again<M: Message>(declared: &Declared, version: i16, header: &Bytes, body: &Bytes) -> Bytes {
    let mut reader = Reader::new(body);
    let message = M::decode(&mut reader, version).unwrap_or_else(|e| panic!("{} {version}: {e}", declared.name));
    assert_eq!(reader.left(), 0, "{} {version}", declared.name);
    let Some(api) = declared.api else {
        assert_eq!(header[..], version.to_be_bytes());
        let whole: M = decode_versioned(&[&header[..], body].concat().into()).expect("the version is its own");
        let bytes = encode_versioned(&whole, version);
        return [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat().into();
    };
    let mut reader = Reader::new(header);
    let frame = if declared.is_request() {
        let found = decode_request_header(&mut reader).expect("Kafka's header is sound");
        assert_eq!((found.api, found.version, found.correlation_id), (api, version, CORRELATION_ID));
        assert_eq!(found.client_id.as_deref(), Some(CLIENT_ID));
        Frame::request(api, version, CORRELATION_ID, Some(CLIENT_ID), &message)
    } else {
        assert_eq!(decode_response_header(&mut reader, api, version), Ok(CORRELATION_ID));
        Frame::response(api, version, CORRELATION_ID, &message).expect("Kafka's messages are small")
    };
    assert_eq!(reader.left(), 0, "{} {version}: header", declared.name);
    frame.into_bytes()
}

#[test]
fn every_message_of_every_version_has_kafkas_bytes() {
    let mut missing: BTreeSet<(&str, i16, &str)> = DECLARED
        .iter()
        .flat_map(|message| (message.first..=message.last).map(move |version| (message.name, version)))
        .flat_map(|(name, version)| ["full", "nulls", "bare"].map(|fill| (name, version, fill)))
        .collect();
    for line in WIRE.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, version, fill, header, body] = words[..] else { continue };
        let version: i16 = version.parse().expect("a version is a number");
        let declared = DECLARED.iter().find(|message| message.name == name).expect("a golden message is declared");
        let (header, body) = (bytes(header), bytes(body));
        macro_rules! typed {
            ($($message:ident)+) => {
                match name {
                    $(stringify!($message) => again::<$message>(declared, version, &header, &body),)+
                    _ => panic!("{name} is declared but not tested"),
                }
            };
        }
        let found = typed! {
            ProduceRequest ProduceResponse FetchRequest FetchResponse ListOffsetsRequest ListOffsetsResponse
            MetadataRequest MetadataResponse ApiVersionsRequest ApiVersionsResponse CreateTopicsRequest
            CreateTopicsResponse DeleteTopicsRequest DeleteTopicsResponse InitProducerIdRequest InitProducerIdResponse
            OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse DescribeClusterRequest DescribeClusterResponse
            FindCoordinatorRequest FindCoordinatorResponse JoinGroupRequest JoinGroupResponse SyncGroupRequest
            SyncGroupResponse HeartbeatRequest HeartbeatResponse LeaveGroupRequest LeaveGroupResponse
            OffsetCommitRequest OffsetCommitResponse OffsetFetchRequest OffsetFetchResponse OffsetDeleteRequest
            OffsetDeleteResponse DescribeGroupsRequest DescribeGroupsResponse ListGroupsRequest ListGroupsResponse
            DeleteGroupsRequest DeleteGroupsResponse CreatePartitionsRequest CreatePartitionsResponse
            DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse DescribeConfigsRequest
            DescribeConfigsResponse IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse AlterConfigsRequest
            AlterConfigsResponse ListConfigResourcesRequest ListConfigResourcesResponse DeleteRecordsRequest
            DeleteRecordsResponse DescribeLogDirsRequest DescribeLogDirsResponse AlterReplicaLogDirsRequest
            AlterReplicaLogDirsResponse DescribeProducersRequest DescribeProducersResponse UnregisterBrokerRequest
            UnregisterBrokerResponse ElectLeadersRequest ElectLeadersResponse AlterPartitionReassignmentsRequest
            AlterPartitionReassignmentsResponse ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
            DescribeQuorumRequest DescribeQuorumResponse ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse
            ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse
            ConsumerProtocolSubscription ConsumerProtocolAssignment
        };
        let length = (header.len() + body.len()) as u32;
        assert_eq!(found, [&length.to_be_bytes()[..], &header, &body].concat(), "{name} {version} {fill}");
        assert!(missing.remove(&(name, version, fill)), "{name} {version} {fill} twice");
    }
    assert!(missing.is_empty(), "no golden bytes of {missing:?}");
}

/// `NOT_LEADER_OR_FOLLOWER` as we write it.
fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
}

#[test]
fn error_codes_are_kafkas() {
    let kafkas = WIRE.lines().filter_map(|line| line.strip_prefix("error ")?.split_once(' '));
    let kafkas: BTreeSet<(i16, String)> = kafkas.map(|(code, name)| (code.parse().unwrap(), camel(name))).collect();
    let ours = ErrorCode::ALL.iter().map(|error| (error.code(), error.name().to_owned())).collect();
    assert_eq!(kafkas, ours);
}

#[test]
fn apis_are_kafkas() {
    let kafkas: BTreeSet<String> =
        WIRE.lines().filter_map(|line| line.strip_prefix("api ")).map(str::to_owned).collect();
    let flexible = |api: &ApiKey| match api.flexible_from() {
        i16::MAX => "never".to_owned(),
        version => version.to_string(),
    };
    let ours = ApiKey::ALL.iter().map(|api| format!("{} {} {}", api.key(), api.name(), flexible(api))).collect();
    assert_eq!(kafkas, ours);
    assert!(ApiKey::ALL.iter().all(|api| ApiKey::from_key(api.key()) == Some(*api)));
}

/// The part of `inner` that lies within `outer`.
fn cut(inner: Span, outer: Span) -> Span {
    Span { first: inner.first.max(outer.first), last: inner.last.min(outer.last) }
}

/// The declaration in the form of `golden/schemas.txt`; `golden/schemas.py` describes it.
fn print(fields: &[Field], outer: Span, depth: usize, out: &mut String) {
    for field in fields {
        let versions = cut(field.versions, outer);
        let (nullable, schema) = match &field.schema {
            Schema::Nullable(inner) => (true, &**inner),
            // A plain field of records reads null as none and never writes it.
            schema => (*schema == Schema::Plain("records"), schema),
        };
        let (array, schema) = match schema {
            Schema::Array(element) => ("[]", &**element),
            schema => ("", schema),
        };
        let (name, inner) = match schema {
            Schema::Plain(name) => (*name, &[][..]),
            Schema::Struct(name, inner) => (*name, &inner[..]),
            other => panic!("Kafka has no field of type {other:?}"),
        };
        write!(out, "{:1$}{2} {array}{name} {3}-{4}", "", 2 * depth, field.name, versions.first, versions.last)
            .unwrap();
        if nullable {
            let nulls = cut(field.nulls, versions);
            write!(out, " null {}-{}", nulls.first, nulls.last).unwrap();
        }
        if let Some(tag) = field.tag {
            write!(out, " tag {tag}").unwrap();
        }
        let default = match field.default {
            "i32::MAX" => i32::MAX.to_string(),
            "i32::MIN" => i32::MIN.to_string(),
            "i64::MAX" => i64::MAX.to_string(),
            other => other.to_owned(),
        };
        if !default.is_empty() {
            write!(out, " = {default}").unwrap();
        }
        out.push('\n');
        print(inner, versions, depth + 1, out);
    }
}

#[test]
fn declarations_equal_kafkas_schemas() {
    // What Kafka says of each message: the rest of its first line, and the lines below that are indented.
    let mut kafkas: BTreeMap<&str, String> = BTreeMap::new();
    let mut name = "";
    for line in SCHEMAS.split_inclusive('\n') {
        if line.starts_with(' ') {
            kafkas.get_mut(name).expect("a field stands below its message").push_str(line);
        } else {
            let (of, rest) = line.split_once(' ').expect("a name and its versions");
            name = of;
            assert!(kafkas.insert(name, rest.to_owned()).is_none(), "{name} twice");
        }
    }
    for message in DECLARED {
        let Schema::Struct(name, fields) = (message.schema)() else { panic!("{} is no structure", message.name) };
        let flexible = match message.flexible_from {
            i16::MAX => "never".to_owned(),
            version => version.to_string(),
        };
        let mut ours = format!("{name} {}-{} flexible {flexible}\n", message.first, message.last);
        print(&fields, Span { first: message.first, last: message.last }, 1, &mut ours);
        let (head, found) = (format!("{name} "), kafkas.remove(name));
        assert_eq!(ours, head + &found.unwrap_or_else(|| panic!("Kafka has no {name}")));
    }
    assert!(kafkas.is_empty(), "not declared: {kafkas:?}");
}
