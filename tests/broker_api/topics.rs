//! Topics and what is known of them: CreateTopics, DeleteTopics, Metadata, DescribeCluster, ListOffsets, epochs and producer ids.

use std::io::Write;

use coretide::base::TopicId;
use coretide::protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
};
use coretide::protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use coretide::protocol::messages::delete_topics::DeleteTopicState;
use coretide::protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use coretide::protocol::messages::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use coretide::protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode};

use crate::connect;
use crate::producing::{compressed, sealed, varint};
use crate::support::kafka::Batch;
use crate::support::node::{Node, Wire};

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions: -1, replication_factor: -1, ..Default::default() }
}

fn create(wire: &mut Wire, version: i16, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: false };
    let response: CreateTopicsResponse = wire.call(ApiKey::CreateTopics, version, &request);
    response.topics
}

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.into()), ..Default::default() }
}

fn describe(wire: &mut Wire, version: i16, topics: Option<Vec<MetadataRequestTopic>>, make: bool) -> MetadataResponse {
    let request = MetadataRequest { topics, allow_auto_topic_creation: make, ..Default::default() };
    wire.call(ApiKey::Metadata, version, &request)
}

fn describe_one(wire: &mut Wire, version: i16, name: &str, make: bool) -> MetadataResponseTopic {
    let mut response = describe(wire, version, Some(vec![by_name(name)]), make);
    assert_eq!(response.topics.len(), 1);
    response.topics.remove(0)
}

#[test]
fn every_version_of_every_api_answers() {
    let mut wire = connect();
    let served: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    let found: Vec<_> = served.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    let expected = [
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (32, 1, 4),
        (33, 0, 2),
        (34, 1, 2),
        (35, 1, 5),
        (37, 0, 3),
        (42, 0, 2),
        (43, 0, 2),
        (44, 0, 1),
        (45, 0, 1),
        (46, 0, 0),
        (47, 0, 0),
        (55, 0, 2),
        (60, 0, 2),
        (61, 0, 0),
        (68, 0, 1),
        (69, 0, 1),
        (74, 0, 1),
        (75, 0, 0),
    ];
    assert_eq!(found, expected);
    let client = ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
    for version in 0..=4 {
        let response: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, version, &client);
        assert_eq!((response.error_code, response.api_keys.len()), (0, expected.len()));
        if version >= 3 {
            let features: Vec<_> = response.finalized_features.iter().map(|feature| feature.name.as_str()).collect();
            assert_eq!(features, ["metadata.version", "group.version"]);
            let group = &response.finalized_features[1];
            assert_eq!((group.min_version_level, group.max_version_level), (1, 1));
            let group = response.supported_features.iter().find(|feature| *feature.name == *"group.version");
            assert_eq!(group.map(|feature| (feature.min_version, feature.max_version)), Some((1, 1)));
            assert!(response.finalized_features_epoch > 0);
        }
    }
    for version in 0..=13 {
        let response = describe(&mut wire, version, Some(Vec::new()), false);
        assert_eq!(response.brokers.len(), 1, "version {version}");
        assert!(version < 2 || response.cluster_id.is_some_and(|id| !id.is_empty()));
        assert!(version < 1 || response.controller_id == 1);
    }
    for version in 0..=2 {
        let request = DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() };
        let response: DescribeClusterResponse = wire.call(ApiKey::DescribeCluster, version, &request);
        assert_eq!((response.error_code, response.controller_id, response.brokers.len()), (0, 1, 1));
        assert_eq!(response.cluster_authorized_operations, 8096);
    }
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let response: DescribeClusterResponse = wire.call(ApiKey::DescribeCluster, 1, &controllers);
    assert_eq!(response.error_code, ErrorCode::MismatchedEndpointType.code());
}

#[test]
fn topics_are_made_in_every_version_and_answered_with_what_they_are() {
    let mut wire = connect();
    for version in 2..=7 {
        let mut asked = topic(&format!("t-made-{version}"));
        asked.num_partitions = 3;
        asked.configs = vec![CreatableTopicConfig { name: "segment.bytes".into(), value: Some("2097152".into()) }];
        let made = &create(&mut wire, version, vec![asked])[0];
        assert_eq!(made.error_code, 0, "{:?}", made.error_message);
        assert_eq!(!made.topic_id.is_zero(), version >= 7);
        if version >= 5 {
            assert_eq!((made.num_partitions, made.replication_factor), (3, 1));
            let configs = made.configs.as_ref().expect("configurations");
            let one = |name: &str| {
                let config = configs.iter().find(|config| config.name.as_str() == name).expect(name);
                (config.value.as_ref().expect("a value").to_string(), config.config_source)
            };
            assert_eq!(one("segment.bytes"), ("2097152".into(), 1));
            assert_eq!(one("max.message.bytes"), ("1048588".into(), 5));
        }
        let described = describe_one(&mut wire, 12, &format!("t-made-{version}"), false);
        assert_eq!((described.error_code, described.partitions.len()), (0, 3));
        assert!(version < 7 || described.topic_id == made.topic_id);
        for partition in &described.partitions {
            assert_eq!((partition.error_code, partition.leader_id), (0, 1));
            assert_eq!((&partition.replica_nodes[..], &partition.isr_nodes[..]), (&[1][..], &[1][..]));
            assert!(partition.leader_epoch >= 0);
        }
    }
}

#[test]
fn topics_that_cannot_be_made_say_why() {
    use ErrorCode::*;
    let mut wire = connect();
    wire.create("t-there", 1, &[]);
    wire.create("t.dots", 1, &[]);
    let config = |name: &str, value: Option<&str>| {
        vec![CreatableTopicConfig { name: name.into(), value: value.map(Into::into) }]
    };
    let assigned =
        |broker_ids: &[i32]| vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: broker_ids.to_vec() }];
    let long = "x".repeat(250);
    let cases = vec![
        (topic("t-there"), TopicAlreadyExists),
        (topic(""), InvalidTopicException),
        (topic("."), InvalidTopicException),
        (topic("a/b"), InvalidTopicException),
        (topic(&long), InvalidTopicException),
        (topic("t_dots"), InvalidTopicException),
        (CreatableTopic { num_partitions: 0, ..topic("t-zero") }, InvalidPartitions),
        (CreatableTopic { num_partitions: -2, ..topic("t-minus") }, InvalidPartitions),
        (CreatableTopic { num_partitions: 100_000_000, ..topic("t-many") }, PolicyViolation),
        (CreatableTopic { replication_factor: 0, ..topic("t-none") }, InvalidReplicationFactor),
        (CreatableTopic { replication_factor: 3, ..topic("t-three") }, InvalidReplicationFactor),
        (CreatableTopic { assignments: assigned(&[2]), ..topic("t-who") }, InvalidReplicaAssignment),
        (CreatableTopic { assignments: assigned(&[1]), num_partitions: 1, ..topic("t-both") }, InvalidRequest),
        (CreatableTopic { configs: config("no.such.key", Some("1")), ..topic("t-key") }, InvalidConfig),
        (CreatableTopic { configs: config("min.compaction.lag.ms", Some("1")), ..topic("t-later") }, InvalidConfig),
        (CreatableTopic { configs: config("segment.bytes", Option::None), ..topic("t-null") }, InvalidConfig),
        (CreatableTopic { configs: config("segment.bytes", Some("x")), ..topic("t-value") }, InvalidConfig),
    ];
    for (asked, code) in cases {
        let name = asked.name.clone();
        let made = &create(&mut wire, 7, vec![asked])[0];
        assert_eq!(ErrorCode::from_code(made.error_code), Some(code), "{name}: {:?}", made.error_message);
    }
    let twice = create(&mut wire, 7, vec![topic("t-twice"), topic("t-once"), topic("t-twice")]);
    let codes: Vec<_> = twice.iter().map(|made| (made.name.to_string(), made.error_code)).collect();
    assert_eq!(codes, [("t-twice".into(), InvalidRequest.code()), ("t-once".into(), 0)]);
    for validate_only in [true, false] {
        let request = CreateTopicsRequest { topics: vec![topic("t-no-time")], timeout_ms: 0, validate_only };
        let response: CreateTopicsResponse = wire.call(ApiKey::CreateTopics, 7, &request);
        assert_eq!(response.topics[0].error_code, RequestTimedOut.code());
    }
    let request = CreateTopicsRequest { topics: vec![topic("t-only")], timeout_ms: 1000, validate_only: true };
    let response: CreateTopicsResponse = wire.call(ApiKey::CreateTopics, 7, &request);
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 1));
    let nowhere = UnknownTopicOrPartition.code();
    assert_eq!(describe_one(&mut wire, 12, "t-only", false).error_code, nowhere);
}

#[test]
fn metadata_makes_topics_where_it_may() {
    let mut wire = connect();
    for version in 0..4 {
        let made = describe_one(&mut wire, version, &format!("t-auto-{version}"), false);
        assert_eq!((made.error_code, made.partitions.len()), (0, 1), "these versions always allow it");
    }
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(describe_one(&mut wire, 4, "t-auto-4", false).error_code, unknown);
    assert_eq!(describe_one(&mut wire, 4, "t-auto-4", true).error_code, 0);
    assert_eq!(describe_one(&mut wire, 12, "__consumer_offsets", true).error_code, unknown);
    for make in [true, false] {
        let illegal = describe_one(&mut wire, 12, "not/a name", make);
        assert_eq!(illegal.error_code, ErrorCode::InvalidTopicException.code());
    }
    let node = Node::with("broker-api-no-auto", 1, |options| {
        options.broker.auto_create_topics = false;
        options.broker.num_partitions = 5;
    });
    let mut wire = node.connect();
    assert_eq!(describe_one(&mut wire, 3, "t", true).error_code, unknown);
    assert_eq!(create(&mut wire, 7, vec![topic("t")])[0].num_partitions, 5);
}

#[test]
fn metadata_by_id() {
    let mut wire = connect();
    let id = wire.create_topic("t-by-id", 1, &[]).topics[0].topic_id;
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let response = describe(&mut wire, 12, Some(vec![by_id(id), by_id(TopicId([8; 16]))]), false);
    let found: Vec<_> =
        response.topics.iter().map(|topic| (topic.error_code, topic.name.as_deref().map(String::from))).collect();
    assert_eq!(found, [(0, Some("t-by-id".into())), (ErrorCode::UnknownTopicId.code(), None)]);
    for version in [10, 11] {
        let response = describe(&mut wire, version, Some(vec![by_id(id)]), false);
        assert_eq!(response.topics[0].error_code, ErrorCode::InvalidRequest.code());
    }
    for version in [12, 13] {
        let response = describe(&mut wire, version, Some(vec![by_id(TopicId::ZERO)]), false);
        assert_eq!(response.topics[0].error_code, -1);
    }
    let all = describe(&mut wire, 12, None, false);
    assert!(all.topics.iter().any(|topic| topic.name.as_deref() == Some("t-by-id")));
    assert!(describe(&mut wire, 0, Some(Vec::new()), false).topics.len() >= all.topics.len().min(1));
    let request = MetadataRequest {
        topics: Some(vec![by_name("t-by-id")]),
        include_topic_authorized_operations: true,
        include_cluster_authorized_operations: true,
        ..Default::default()
    };
    let response: MetadataResponse = wire.call(ApiKey::Metadata, 8, &request);
    assert_eq!((response.topics[0].topic_authorized_operations, response.cluster_authorized_operations), (3576, 8096));
}

#[test]
fn topics_are_deleted_by_name_or_id_and_their_names_are_free_again() {
    let mut wire = connect();
    let delete = |wire: &mut Wire, version, request: DeleteTopicsRequest| -> Vec<i16> {
        let response: DeleteTopicsResponse = wire.call(ApiKey::DeleteTopics, version, &request);
        response.responses.iter().map(|topic| topic.error_code).collect()
    };
    let named = |names: &[&str]| DeleteTopicsRequest {
        topic_names: names.iter().map(|name| (*name).into()).collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    let states =
        |topics: Vec<DeleteTopicState>| DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let invalid = ErrorCode::InvalidRequest.code();
    for version in 1..=5 {
        wire.create("t-delete", 2, &[]);
        assert_eq!(wire.produce("t-delete", 1, -1, &batch()).error_code, 0);
        assert_eq!(delete(&mut wire, version, named(&["t-delete", "t-never"])), [0, unknown]);
        assert_eq!(wire.produce("t-delete", 1, -1, &batch()).error_code, unknown);
    }
    let id = wire.create_topic("t-delete", 1, &[]).topics[0].topic_id;
    assert_eq!(wire.latest("t-delete", 0), 0, "a new topic under an old name is empty");
    let both = DeleteTopicState { name: Some("t-delete".into()), topic_id: id };
    let neither = DeleteTopicState::default();
    let nobody = DeleteTopicState { name: None, topic_id: TopicId([5; 16]) };
    let codes = delete(&mut wire, 6, states(vec![both, neither, nobody]));
    assert_eq!(codes, [invalid, invalid, ErrorCode::UnknownTopicId.code()]);
    assert_eq!(delete(&mut wire, 5, named(&["t-delete", "t-delete"])), [invalid]);
    let no_time = DeleteTopicsRequest { timeout_ms: 0, ..named(&["t-delete"]) };
    assert_eq!(delete(&mut wire, 5, no_time), [ErrorCode::RequestTimedOut.code()]);
    assert_eq!(delete(&mut wire, 6, states(vec![DeleteTopicState { name: None, topic_id: id }])), [0]);
    assert_eq!(describe_one(&mut wire, 12, "t-delete", false).error_code, unknown);
}

#[test]
fn offsets_are_listed_by_time_and_by_special_times() {
    let mut wire = connect();
    wire.create("t-offsets", 2, &[]);
    for timestamp in [1000, 3000, 2000] {
        let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp, values: &[b"a", b"b"] };
        assert_eq!(wire.produce("t-offsets", 0, -1, &batch.encode()).error_code, 0);
    }
    let mut list = |version, partition, timestamp| {
        let asked = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: "t-offsets".into(), partitions: vec![asked] }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let mut response: ListOffsetsResponse = wire.call(ApiKey::ListOffsets, version, &request);
        let found = response.topics.remove(0).partitions.remove(0);
        (found.error_code, found.offset, found.timestamp)
    };
    for version in 1..=11 {
        assert_eq!(list(version, 0, -1), (0, 6, -1), "version {version}");
        assert_eq!(list(version, 0, -2), (0, 0, -1));
        assert_eq!(list(version, 0, 0), (0, 0, 1000));
        assert_eq!(list(version, 0, 1500), (0, 2, 3000));
        assert_eq!(list(version, 0, 3001), (0, -1, -1));
        assert_eq!(list(version, 0, -7).0, ErrorCode::UnsupportedVersion.code());
        assert_eq!(list(version, 9, -1).0, ErrorCode::UnknownTopicOrPartition.code());
    }
    assert_eq!(list(7, 0, -3), (0, 2, 3000));
    assert_eq!(list(7, 1, -3), (0, -1, -1));
    assert_eq!(list(8, 0, -4), (0, 0, -1));
    assert_eq!(list(9, 0, -5), (0, -1, -1));
    assert_eq!(list(11, 0, -6), (0, -1, -1));
    let twice = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "t-offsets".into(), partitions: vec![twice.clone(), twice] }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let response: ListOffsetsResponse = wire.call(ApiKey::ListOffsets, 7, &request);
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.code(); 2]);
}

/// "Nothing" would mean an empty partition. Kafka tells where the largest timestamp is as long as its segment is there.
#[test]
fn the_largest_timestamp_is_told_even_if_its_record_was_deleted() {
    let mut wire = connect();
    wire.create("t-largest", 1, &[]);
    for timestamp in [3000, 1000] {
        let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp, values: &[b"a", b"b"] };
        assert_eq!(wire.produce("t-largest", 0, -1, &batch.encode()).error_code, 0);
    }
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 2 }];
    let topics = vec![DeleteRecordsTopic { name: "t-largest".into(), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 10_000 };
    let response: DeleteRecordsResponse = wire.call(ApiKey::DeleteRecords, 2, &request);
    assert_eq!(response.topics[0].partitions[0].low_watermark, 2);
    let largest = ListOffsetsPartition { timestamp: -3, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "t-largest".into(), partitions: vec![largest] }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let response: ListOffsetsResponse = wire.call(ApiKey::ListOffsets, 7, &request);
    let found = &response.topics[0].partitions[0];
    assert_eq!((found.error_code, found.offset, found.timestamp), (0, 0, 3000));
}

#[test]
fn the_end_of_an_epoch_is_known() {
    let mut wire = connect();
    wire.create("t-epochs", 1, &[]);
    assert_eq!(wire.produce("t-epochs", 0, -1, &batch()).error_code, 0);
    let current = describe_one(&mut wire, 12, "t-epochs", false).partitions[0].leader_epoch;
    let mut end = |version, current_leader_epoch, leader_epoch| {
        let asked = OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch };
        let topics = vec![OffsetForLeaderTopic { topic: "t-epochs".into(), partitions: vec![asked] }];
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
        let mut response: OffsetForLeaderEpochResponse = wire.call(ApiKey::OffsetForLeaderEpoch, version, &request);
        let found = response.topics.remove(0).partitions.remove(0);
        (found.error_code, found.leader_epoch, found.end_offset)
    };
    for version in 2..=4 {
        assert_eq!(end(version, current, current), (0, current, 1));
        assert_eq!(end(version, -1, current + 5), (0, -1, -1));
        assert_eq!(end(version, current + 1, current).0, ErrorCode::UnknownLeaderEpoch.code());
    }
}

#[test]
fn producer_ids_are_never_given_twice() {
    let mut wires = [connect(), connect(), connect()];
    let mut given = Vec::new();
    for version in 0..=5 {
        for wire in &mut wires {
            let response: InitProducerIdResponse =
                wire.call(ApiKey::InitProducerId, version, &InitProducerIdRequest::default());
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            given.push(response.producer_id);
        }
    }
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), count);
    let mut refused = |request: InitProducerIdRequest| {
        let response: InitProducerIdResponse = wires[0].call(ApiKey::InitProducerId, 4, &request);
        response.error_code
    };
    let id = |id: &str| InitProducerIdRequest { transactional_id: Some(id.into()), ..Default::default() };
    assert_eq!(refused(id("t")), ErrorCode::UnsupportedVersion.code());
    assert_eq!(refused(id("")), ErrorCode::InvalidRequest.code());
    let half = InitProducerIdRequest { producer_id: 5, ..Default::default() };
    assert_eq!(refused(half), ErrorCode::InvalidRequest.code());
}

fn batch() -> Vec<u8> {
    let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &[b"x"] };
    batch.encode()
}

/// Kafka's bound and answer. Each topic was judged with all of its partitions, twice, and nobody else on that core was served: a request of 8 MiB could
/// name 500,000 of them.
#[test]
fn a_request_makes_a_bounded_number_of_partitions() {
    let mut wire = connect();
    let wide = |number: usize, partitions| CreatableTopic {
        num_partitions: partitions,
        ..topic(&format!("t-bounded-{number}"))
    };
    let mut ask = |topics: Vec<CreatableTopic>| -> Vec<i16> {
        let request = CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: true };
        let response: CreateTopicsResponse = wire.call(ApiKey::CreateTopics, 7, &request);
        response.topics.iter().map(|topic| topic.error_code).collect()
    };
    assert_eq!(ask(vec![wide(0, 9_999), wide(1, -1)]), [0, 0]);
    let violation = ErrorCode::PolicyViolation.code();
    assert_eq!(ask(vec![wide(0, 9_999), wide(1, 2)]), [violation; 2]);
    let begun = std::time::Instant::now();
    assert_eq!(ask((0..2000).map(|number| wide(number, 10_000)).collect()), vec![violation; 2000]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "{:?}", begun.elapsed());
    // What is wrong with a count is still said by itself.
    assert_eq!(
        ask(vec![wide(0, 0), wide(1, -7), wide(2, 1)]),
        [ErrorCode::InvalidPartitions.code(); 2].into_iter().chain([0]).collect::<Vec<_>>()
    );
}

/// A batch of 200 KB whose first record has 200 MiB and whose second is the one that is looked for.
fn deep_batch() -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let length = 200 << 20;
    let front = [&[0, 0, 0, 1][..], &varint(length)].concat();
    let record = [&varint(length + front.len() as i64 + 1)[..], &front].concat();
    packer.write_all(&record).expect("memory");
    let zeros = vec![0; 1 << 20];
    for _ in 0..200 {
        packer.write_all(&zeros).expect("memory");
    }
    // No headers; then a record of attributes, 1 s later, offset 1, no key, no value, no headers.
    packer.write_all(&[0]).expect("memory");
    let record = [&[0][..], &varint(1000), &varint(1), &[1, 1, 0]].concat();
    packer.write_all(&[&varint(record.len() as i64)[..], &record].concat()).expect("memory");
    let mut batch = compressed(1, &packer.finish().expect("memory"));
    batch[26] = 1;
    batch[60] = 2;
    sealed(batch)
}

/// The batch in which a time is looked for was unfolded in one go, up to 256 MiB of it, while the core did nothing else.
#[test]
fn others_are_served_while_a_time_is_looked_for() {
    let node = Node::start("broker-api-search");
    let mut wire = node.connect();
    wire.create("t-search", 1, &[]);
    assert_eq!(wire.produce("t-search", 0, -1, &deep_batch()).error_code, 0);
    let max = ListOffsetsPartition { timestamp: -3, ..Default::default() };
    let ask = |partition| {
        let topic = ListOffsetsTopic { name: "t-search".into(), partitions: vec![partition] };
        ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
    };
    let response: ListOffsetsResponse = wire.call(ApiKey::ListOffsets, 7, &ask(max.clone()));
    let found = &response.topics[0].partitions[0];
    assert_eq!((found.error_code, found.offset), (0, 1));
    let mut other = node.connect();
    wire.ask(ApiKey::ListOffsets, 7, &ask(max));
    wire.stream.set_nonblocking(true).expect("a TCP socket");
    let mut served = 0;
    while wire.stream.peek(&mut [0]).is_err() {
        let response: ApiVersionsResponse = other.call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
        assert_eq!(response.error_code, 0);
        served += 1;
    }
    assert!(served >= 50, "{served} requests were served meanwhile");
}
