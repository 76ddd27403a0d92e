//! What operators do with topics: CreatePartitions, DeleteRecords, DescribeLogDirs, DescribeProducers, DescribeTopicPartitions, elections, moves, the quorum.

use coretide::protocol::messages::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
use coretide::protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use coretide::protocol::messages::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsResult};
use coretide::protocol::messages::describe_topic_partitions::{Cursor, TopicRequest};
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode};

use crate::connect;
use crate::support::kafka::Batch;
use crate::support::node::{Node, Wire};

fn batch(producer_id: i64, sequence: i32, values: &[&[u8]]) -> Vec<u8> {
    let producer_epoch = if producer_id < 0 { -1 } else { 3 };
    let base_sequence = if producer_id < 0 { -1 } else { sequence };
    Batch { producer_id, producer_epoch, base_sequence, timestamp: 77, values }.encode()
}

fn asked(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic { name: name.into(), count, assignments: None }
}

fn add(wire: &mut Wire, version: i16, topics: Vec<CreatePartitionsTopic>, validate_only: bool) -> Vec<(i16, String)> {
    let request = CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only };
    let response: CreatePartitionsResponse = wire.call(ApiKey::CreatePartitions, version, &request);
    let answer = |one: create_partitions::CreatePartitionsTopicResult| {
        (one.error_code, one.error_message.map(|message| message.to_string()).unwrap_or_default())
    };
    response.results.into_iter().map(answer).collect()
}

/// Gives a topic so many partitions.
pub fn more_partitions(wire: &mut Wire, topic: &str, count: i32) {
    assert_eq!(add(wire, 3, vec![asked(topic, count)], false), [(0, String::new())]);
}

#[test]
fn new_partitions_work_at_once_on_every_core() {
    let mut wires = [connect(), connect(), connect()];
    wires[0].create("a-more", 1, &[]);
    for (version, count) in (0..=3).zip([2, 5, 6, 9]) {
        assert_eq!(add(&mut wires[0], version, vec![asked("a-more", count)], false), [(0, String::new())]);
        for wire in &mut wires {
            for partition in 0..count {
                let answer = wire.produce("a-more", partition, -1, &batch(-1, -1, &[b"x"]));
                assert_eq!(answer.error_code, 0, "partition {partition} of {count}");
            }
        }
    }
    for (partition, records) in (0..9).zip([12, 12, 9, 9, 9, 6, 3, 3, 3]) {
        for wire in &mut wires {
            assert_eq!(wire.read_all("a-more", partition).len(), records, "partition {partition}");
        }
    }
}

#[test]
fn partitions_that_cannot_be_added_say_why() {
    let mut wire = connect();
    wire.create("a-three", 3, &[]);
    let assigned = |brokers: &[&[i32]]| CreatePartitionsTopic {
        assignments: Some(brokers.iter().map(|ids| CreatePartitionsAssignment { broker_ids: ids.to_vec() }).collect()),
        ..asked("a-three", 4)
    };
    use ErrorCode::*;
    let cases = [
        (asked("a-three", 3), InvalidPartitions, "Topic already has 3 partition(s)."),
        (
            asked("a-three", 2),
            InvalidPartitions,
            "The topic a-three currently has 3 partition(s); 2 would not be an increase.",
        ),
        (asked("a-three", -1), InvalidPartitions, "would not be an increase"),
        (asked("a-three", 100_000_000), PolicyViolation, "more than 10000"),
        (asked("a-three", 10_001), PolicyViolation, "more than a topic may have"),
        (asked("a-nowhere", 3), UnknownTopicOrPartition, ""),
        (assigned(&[&[1], &[1]]), InvalidReplicaAssignment, "Attempted to add 1 additional partition(s), but only 2"),
        (assigned(&[&[2]]), InvalidReplicaAssignment, "no such broker"),
        (assigned(&[&[]]), InvalidReplicaAssignment, "empty replica list"),
    ];
    for (topic, code, says) in cases {
        let (found, message) = add(&mut wire, 3, vec![topic], false).remove(0);
        assert!(found == code.code() && message.contains(says), "{code}: {found} {message}");
    }
    let twice = add(&mut wire, 3, vec![asked("a-three", 4), asked("a-three", 5)], false);
    assert_eq!(twice, [(InvalidRequest.code(), "Duplicate topic name.".into())]);
    let request = CreatePartitionsRequest { topics: vec![asked("a-three", 4)], timeout_ms: 0, validate_only: false };
    let response: CreatePartitionsResponse = wire.call(ApiKey::CreatePartitions, 3, &request);
    assert_eq!(response.results[0].error_code, RequestTimedOut.code());
    assert_eq!(add(&mut wire, 3, vec![asked("a-three", 4)], true)[0].0, 0);
    assert_eq!(wire.produce("a-three", 3, -1, &batch(-1, -1, &[b"x"])).error_code, UnknownTopicOrPartition.code());
    assert_eq!(add(&mut wire, 3, vec![assigned(&[&[1]])], false)[0].0, 0);
    assert_eq!(wire.produce("a-three", 3, -1, &batch(-1, -1, &[b"x"])).error_code, 0);
}

#[test]
fn records_are_deleted_up_to_an_offset_or_to_the_end() {
    let mut wire = connect();
    wire.create("a-deleted", 2, &[]);
    for partition in 0..2 {
        for _ in 0..5 {
            assert_eq!(wire.produce("a-deleted", partition, -1, &batch(-1, -1, &[b"x", b"y"])).error_code, 0);
        }
    }
    let mut delete = |version, topic: &str, partitions: &[(i32, i64)]| {
        let partition = |(partition_index, offset): &(i32, i64)| DeleteRecordsPartition {
            partition_index: *partition_index,
            offset: *offset,
        };
        let partitions = partitions.iter().map(partition).collect();
        let topics = vec![DeleteRecordsTopic { name: topic.into(), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 10_000 };
        let mut response: DeleteRecordsResponse = wire.call(ApiKey::DeleteRecords, version, &request);
        let answers = response.topics.remove(0).partitions;
        answers.iter().map(|one| (one.partition_index, one.low_watermark, one.error_code)).collect::<Vec<_>>()
    };
    for (version, offset) in (0..=2).zip([1, 3, 4]) {
        assert_eq!(delete(version, "a-deleted", &[(0, offset)]), [(0, offset, 0)]);
    }
    assert_eq!(delete(2, "a-deleted", &[(0, 2), (1, -1)]), [(0, 4, 0), (1, 10, 0)]);
    let (range, unknown) = (ErrorCode::OffsetOutOfRange.code(), ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(delete(2, "a-deleted", &[(0, 11), (1, -2), (2, 0)]), [(0, -1, range), (1, -1, range), (2, -1, unknown)]);
    assert_eq!(delete(2, "a-nowhere", &[(0, 0)]), [(0, -1, unknown)]);
    // Named again: one answer, to the last.
    assert_eq!(delete(2, "a-deleted", &[(0, 99), (0, 6)]), [(0, 6, 0)]);
    assert_eq!(wire.latest("a-deleted", 1), 10);
}

fn log_dirs(wire: &mut Wire, version: i16, topics: Option<Vec<DescribableLogDirTopic>>) -> DescribeLogDirsResult {
    let mut response: DescribeLogDirsResponse =
        wire.call(ApiKey::DescribeLogDirs, version, &DescribeLogDirsRequest { topics });
    assert_eq!((response.error_code, response.results.len()), (0, 1));
    response.results.remove(0)
}

#[test]
fn the_data_directory_is_described_with_real_sizes() {
    let node = Node::with("admin-log-dirs", 2, |options| {
        options.shard.journal_file_bytes = 256 << 10;
        options.shard.journal_bytes = 512 << 10;
        options.shard.journal_block_bytes = 32 << 10;
        options.shard.journal_threshold = 8 << 10;
    });
    let mut wire = node.connect();
    wire.create("sized", 3, &[]);
    wire.create("other", 1, &[]);
    let value = [7; 10_000];
    let one = batch(-1, -1, &[&value]);
    // More than the journal holds, so that some of it is in segments and some is not.
    for _ in 0..60 {
        assert_eq!(wire.produce("sized", 1, -1, &one).error_code, 0);
    }
    for version in 1..=5 {
        let asked = |topic: &str, partitions: &[i32]| DescribableLogDirTopic {
            topic: topic.into(),
            partitions: partitions.to_vec(),
        };
        let topics = vec![asked("sized", &[1, 0, 1, 9]), asked("nowhere", &[0])];
        let some = log_dirs(&mut wire, version, Some(topics));
        assert_eq!(some.topics.len(), 1);
        let found: Vec<_> =
            some.topics[0].partitions.iter().map(|one| (one.partition_index, one.partition_size)).collect();
        assert_eq!(found, [(0, 0), (1, 60 * one.len() as i64)]);
        assert!(some.topics[0].partitions.iter().all(|one| one.offset_lag == 0 && !one.is_future_key));
        assert!(version < 4 || (0 < some.usable_bytes && some.usable_bytes <= some.total_bytes));
        assert!(some.log_dir.starts_with('/') && !some.is_cordoned);
        let all = log_dirs(&mut wire, version, None);
        let names: Vec<_> = all.topics.iter().map(|topic| (topic.name.to_string(), topic.partitions.len())).collect();
        assert_eq!(names, [("other".into(), 1), ("sized".into(), 3)]);
    }
    let own = log_dirs(&mut wire, 5, None).log_dir;
    let mut moved = |path: &str, topic: &str, index| {
        use alter_replica_log_dirs::*;
        let topics = vec![AlterReplicaLogDirTopic { name: topic.into(), partitions: vec![index] }];
        let request = AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: path.into(), topics }] };
        let response: AlterReplicaLogDirsResponse = wire.call(ApiKey::AlterReplicaLogDirs, 2, &request);
        response.results[0].partitions[0].error_code
    };
    assert_eq!(moved(&own, "sized", 0), 0, "it is there already");
    assert_eq!(moved("/elsewhere", "sized", 0), ErrorCode::LogDirNotFound.code());
    assert_eq!(moved(&own, "sized", 3), ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn producers_are_described() {
    let mut wire = connect();
    wire.create("a-producers", 2, &[]);
    for (producer, sequence) in [(9_000_001, 0), (9_000_001, 2), (9_000_000, 0)] {
        assert_eq!(wire.produce("a-producers", 1, -1, &batch(producer, sequence, &[b"x", b"y"])).error_code, 0);
    }
    use describe_producers::*;
    let topics = vec![
        TopicRequest { name: "a-producers".into(), partition_indexes: vec![0, 1, 1, 2] },
        TopicRequest { name: "a-nowhere".into(), partition_indexes: vec![0] },
    ];
    let request = DescribeProducersRequest { topics };
    let response: DescribeProducersResponse = wire.call(ApiKey::DescribeProducers, 0, &request);
    let found: Vec<_> = response.topics[0]
        .partitions
        .iter()
        .map(|one| {
            let producers = one.active_producers.iter();
            let producers = producers.map(|p| (p.producer_id, p.producer_epoch, p.last_sequence, p.last_timestamp));
            (one.partition_index, one.error_code, producers.collect::<Vec<_>>())
        })
        .collect();
    let known = vec![(9_000_000, 3, 1, 77), (9_000_001, 3, 3, 77)];
    assert_eq!(found, [(0, 0, vec![]), (1, 0, known), (2, 3, vec![])]);
    assert!(response.topics[0].partitions[1].active_producers.iter().all(|one| one.current_txn_start_offset == -1));
    assert_eq!(response.topics[1].partitions[0].error_code, 3);
}

#[test]
fn topics_are_described_page_by_page() {
    let node = Node::with("admin-pages", 2, |_| {});
    let mut wire = node.connect();
    for (name, partitions) in [("c", 2), ("a", 3), ("b", 4)] {
        wire.create(name, partitions, &[]);
    }
    let mut page = |topics: &[&str], limit, cursor: Option<(&str, i32)>| {
        let request = DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| TopicRequest { name: (*name).into() }).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(name, index)| Cursor { topic_name: name.into(), partition_index: index }),
        };
        let response: DescribeTopicPartitionsResponse = wire.call(ApiKey::DescribeTopicPartitions, 0, &request);
        let topic = |topic: &describe_topic_partitions::DescribeTopicPartitionsResponseTopic| {
            let indexes: Vec<_> = topic.partitions.iter().map(|one| one.partition_index).collect();
            (topic.name.as_ref().expect("a name").to_string(), topic.error_code, indexes)
        };
        let topics: Vec<_> = response.topics.iter().map(topic).collect();
        (topics, response.next_cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index)))
    };
    let whole = |name: &str, indexes: std::ops::Range<i32>| (name.to_string(), 0, indexes.collect::<Vec<_>>());
    assert_eq!(page(&[], 2000, None), (vec![whole("a", 0..3), whole("b", 0..4), whole("c", 0..2)], None));
    assert_eq!(page(&[], 3, None), (vec![whole("a", 0..3)], Some(("b".into(), 0))));
    assert_eq!(page(&[], 5, None), (vec![whole("a", 0..3), whole("b", 0..2)], Some(("b".into(), 2))));
    assert_eq!(page(&[], 5, Some(("b", 2))), (vec![whole("b", 2..4), whole("c", 0..2)], None));
    assert_eq!(page(&[], 0, Some(("c", 1))), (vec![whole("c", 1..2)], None));
    assert_eq!(page(&[], -5, Some(("c", 0))), (vec![whole("c", 0..1)], Some(("c".into(), 1))));
    assert_eq!(page(&["c", "a", "c"], 2000, None), (vec![whole("a", 0..3), whole("c", 0..2)], None));
    let (unknown, illegal) = (ErrorCode::UnknownTopicOrPartition.code(), ErrorCode::InvalidTopicException.code());
    let found = page(&["x", "x/y", "a"], 3, None);
    assert_eq!(found.0, [whole("a", 0..3)]);
    assert_eq!(found.1, Some(("x".into(), 0)));
    let rest = page(&["x", "x/y", "a"], 3, Some(("x", 0)));
    assert_eq!(rest, (vec![("x".into(), unknown, vec![]), ("x/y".into(), illegal, vec![])], None));
    assert_eq!(page(&["a"], 3, Some(("a", -1))).0, [("a".into(), ErrorCode::InvalidRequest.code(), vec![])]);
}

#[test]
fn one_broker_leads_everything_and_moves_nothing() {
    let mut wire = connect();
    wire.create("a-led", 1, &[]);
    for (version, election_type) in [(0, 0), (1, 0), (2, 1)] {
        use elect_leaders::*;
        let topics = vec![TopicPartitions { topic: "a-led".into(), partitions: vec![0, 7] }];
        let request = ElectLeadersRequest { election_type, topic_partitions: Some(topics), timeout_ms: 1000 };
        let response: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, version, &request);
        let codes: Vec<_> =
            response.replica_election_results[0].partition_result.iter().map(|one| one.error_code).collect();
        let expected = [ErrorCode::ElectionNotNeeded.code(), ErrorCode::UnknownTopicOrPartition.code()];
        assert_eq!((response.error_code, &codes[..]), (0, &expected[..]));
    }
    let all = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    let response: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, 2, &all);
    assert_eq!((response.error_code, response.replica_election_results.len()), (0, 0));
    let odd = ElectLeadersRequest { election_type: 5, ..Default::default() };
    let response: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, 2, &odd);
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
    for (replicas, code) in [
        (Some(vec![1]), ErrorCode::None),
        (Some(vec![]), ErrorCode::InvalidReplicaAssignment),
        (Some(vec![2]), ErrorCode::InvalidReplicaAssignment),
        (Some(vec![1, 1]), ErrorCode::InvalidReplicaAssignment),
        (None, ErrorCode::NoReassignmentInProgress),
    ] {
        use alter_partition_reassignments::*;
        let partitions = vec![ReassignablePartition { partition_index: 0, replicas }];
        let topics = vec![ReassignableTopic { name: "a-led".into(), partitions }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let response: AlterPartitionReassignmentsResponse = wire.call(ApiKey::AlterPartitionReassignments, 1, &request);
        let found = &response.responses[0].partitions[0];
        assert_eq!((response.error_code, found.error_code), (0, code.code()), "{:?}", found.error_message);
    }
    let request = ListPartitionReassignmentsRequest::default();
    let response: ListPartitionReassignmentsResponse = wire.call(ApiKey::ListPartitionReassignments, 0, &request);
    assert_eq!((response.error_code, response.topics.len()), (0, 0));
}

#[test]
fn the_quorum_is_this_broker() {
    use describe_quorum::request::{PartitionData, TopicData};
    let mut wire = connect();
    let asked = |name: &str, index| DescribeQuorumRequest {
        topics: vec![TopicData { topic_name: name.into(), partitions: vec![PartitionData { partition_index: index }] }],
    };
    for version in 0..=2 {
        let mut end = 0;
        for step in 0..2 {
            let response: DescribeQuorumResponse =
                wire.call(ApiKey::DescribeQuorum, version, &asked("__cluster_metadata", 0));
            let found = &response.topics[0].partitions[0];
            assert_eq!((response.error_code, found.error_code, found.leader_id), (0, 0, 1));
            assert_eq!((found.current_voters.len(), found.observers.len()), (1, 0));
            let voter = &found.current_voters[0];
            assert_eq!((voter.replica_id, voter.log_end_offset), (1, found.high_watermark));
            assert!(found.high_watermark > end);
            assert!(version < 2 || (!voter.replica_directory_id.is_zero() && response.nodes[0].listeners.len() == 1));
            end = found.high_watermark;
            wire.create(&format!("a-quorum-{version}-{step}"), 1, &[]);
        }
    }
    for (name, index) in [("__cluster_metadata", 1), ("other", 0)] {
        let response: DescribeQuorumResponse = wire.call(ApiKey::DescribeQuorum, 2, &asked(name, index));
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    }
}
