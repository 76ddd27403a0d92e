//! Fetch: limits, waiting, sessions, epochs.

use std::time::{Duration, Instant};

use coretide::base::TopicId;
use coretide::protocol::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic, PartitionData};
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode};

use crate::connect;
use crate::support::kafka::{Batch, Stored};
use crate::support::node::{Node, Wire};

fn batch(bytes: usize) -> Vec<u8> {
    let timestamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let (timestamp, value) = (timestamp.as_millis() as i64, vec![7; bytes]);
    Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp, values: &[&value] }.encode()
}

fn from(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() }
}

fn request(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topics = vec![FetchTopic { topic: topic.into(), partitions, ..Default::default() }];
    FetchRequest { min_bytes: 1, topics, ..Default::default() }
}

fn waiting(topic: &str, wait: Duration, min_bytes: i32, partitions: Vec<FetchPartition>) -> FetchRequest {
    FetchRequest { max_wait_ms: wait.as_millis() as i32, min_bytes, ..request(topic, partitions) }
}

fn fetch(wire: &mut Wire, request: &FetchRequest) -> FetchResponse {
    wire.call(ApiKey::Fetch, 12, request)
}

/// All partitions of the answer, in its order.
fn answers(response: &FetchResponse) -> Vec<&PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

fn one(response: &FetchResponse) -> &PartitionData {
    let all = answers(response);
    assert_eq!(all.len(), 1);
    all[0]
}

fn offsets(data: &PartitionData) -> Vec<i64> {
    let bytes = data.records.clone().into_bytes();
    Stored::walk(&bytes).map(Stored::base_offset).collect()
}

/// A topic with so many batches of one record in each of two partitions.
fn filled(wire: &mut Wire, topic: &str, batches: usize, bytes: usize) {
    wire.create(topic, 2, &[]);
    for partition in 0..2 {
        for _ in 0..batches {
            assert_eq!(wire.produce(topic, partition, -1, &batch(bytes)).error_code, 0);
        }
    }
}

#[test]
fn every_version_gives_the_stored_batches() {
    let mut wire = connect();
    let created = wire.create_topic("f-versions", 1, &[]);
    assert_eq!(wire.produce("f-versions", 0, -1, &batch(100)).error_code, 0);
    for version in 4..=18 {
        let mut request = request("f-versions", vec![from(0, 0)]);
        request.topics[0].topic_id = created.topics[0].topic_id;
        let response: FetchResponse = wire.call(ApiKey::Fetch, version, &request);
        let data = one(&response);
        assert_eq!((data.error_code, data.high_watermark, data.last_stable_offset), (0, 1, 1), "version {version}");
        let bytes = data.records.clone().into_bytes();
        let stored = Stored::walk(&bytes).next().expect("a batch");
        assert!(stored.crc_holds() && stored.leader_epoch() >= 0);
        assert_eq!(response.session_id, 0);
    }
}

#[test]
fn one_batch_comes_whatever_the_limits_and_no_more_than_they_allow() {
    let mut wire = connect();
    filled(&mut wire, "f-limits", 4, 1000);
    let tiny = |offset| FetchPartition { partition_max_bytes: 1, ..from(0, offset) };
    let response = fetch(&mut wire, &request("f-limits", vec![tiny(0), FetchPartition { partition: 1, ..tiny(0) }]));
    let found: Vec<_> = answers(&response).into_iter().map(offsets).collect();
    assert_eq!(found, [vec![0], vec![]], "one batch overall");
    let response =
        fetch(&mut wire, &FetchRequest { max_bytes: 1, ..request("f-limits", vec![from(0, 2), from(1, 1)]) });
    let found: Vec<_> = answers(&response).into_iter().map(offsets).collect();
    assert_eq!(found, [vec![2], vec![]]);
    let response =
        fetch(&mut wire, &FetchRequest { max_bytes: 3000, ..request("f-limits", vec![from(0, 0), from(1, 0)]) });
    let bytes: usize = answers(&response).into_iter().map(|data| data.records.byte_len()).sum();
    assert!(bytes > 2000 && bytes <= 3000, "{bytes}");
    let response = fetch(&mut wire, &request("f-limits", vec![from(0, 0), from(1, 3)]));
    let found: Vec<_> = answers(&response).into_iter().map(offsets).collect();
    assert_eq!(found, [vec![0, 1, 2, 3], vec![3]]);
}

/// The one batch that comes in any case was asked of the first partition that had something planned. When reading that one failed, nothing came, now
/// and at every later fetch.
#[test]
fn one_batch_comes_although_the_partition_before_it_is_damaged() {
    let node = Node::start("broker-api-damaged");
    let mut wire = node.connect();
    filled(&mut wire, "f-damaged", 2, 1000);
    drop(wire);
    let node = node.restart(|data| {
        for entry in std::fs::read_dir(data.join("topics/f-damaged")).expect("the topic") {
            let entry = entry.expect("readable").path();
            if !entry.file_name().expect("a name").to_string_lossy().starts_with("0-") {
                continue;
            }
            let log = entry.join(format!("{:020}.log", 0));
            let mut bytes = std::fs::read(&log).expect("a segment");
            bytes[100] ^= 1;
            std::fs::write(&log, bytes).expect("a segment");
        }
    });
    let mut wire = node.connect();
    let tiny = |partition| FetchPartition { partition_max_bytes: 1, ..from(partition, 0) };
    let response = fetch(&mut wire, &request("f-damaged", vec![tiny(0), tiny(1)]));
    let found = answers(&response);
    assert_eq!(found[0].error_code, ErrorCode::KafkaStorageError.code());
    assert_eq!(offsets(found[1]), [0]);
}

#[test]
fn a_batch_is_whole_even_when_asked_for_from_its_middle() {
    let mut wire = connect();
    wire.create("f-middle", 1, &[]);
    let values: [&[u8]; 3] = [b"a", b"b", b"c"];
    let three = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &values };
    assert_eq!(wire.produce("f-middle", 0, -1, &three.encode()).error_code, 0);
    let response = fetch(&mut wire, &request("f-middle", vec![from(0, 1)]));
    assert_eq!(offsets(one(&response)), [0]);
}

#[test]
fn a_fetch_waits_for_records_and_is_woken_by_them() {
    let mut wire = connect();
    filled(&mut wire, "f-wait", 1, 10);
    wire.ask(ApiKey::Fetch, 12, &waiting("f-wait", Duration::from_secs(25), 1, vec![from(0, 1), from(1, 1)]));
    assert_eq!(connect().produce("f-wait", 1, -1, &batch(10)).error_code, 0);
    let response: FetchResponse = wire.answer(ApiKey::Fetch, 12);
    let found: Vec<_> = answers(&response).into_iter().map(offsets).collect();
    assert_eq!(found, [vec![], vec![1]]);
}

#[test]
fn a_fetch_waits_for_its_least_bytes_and_no_longer_than_it_says() {
    let mut wire = connect();
    filled(&mut wire, "f-least", 1, 10);
    let begun = Instant::now();
    let wait = Duration::from_millis(300);
    let response = fetch(&mut wire, &waiting("f-least", wait, 1 << 20, vec![from(0, 0)]));
    assert!(begun.elapsed() >= wait);
    assert_eq!(offsets(one(&response)), [0], "what there is comes in the end");
    wire.ask(ApiKey::Fetch, 12, &waiting("f-least", Duration::from_secs(25), 2000, vec![from(0, 0)]));
    let mut other = connect();
    for _ in 0..2 {
        assert_eq!(other.produce("f-least", 0, -1, &batch(1000)).error_code, 0);
    }
    let response: FetchResponse = wire.answer(ApiKey::Fetch, 12);
    assert_eq!(offsets(one(&response)), [0, 1, 2]);
}

/// An unknown partition is reported, and is no reason to answer before the time is over; an offset out of range is.
#[test]
fn what_ends_a_wait_early() {
    let mut wire = connect();
    filled(&mut wire, "f-early", 1, 10);
    let wait = Duration::from_millis(300);
    let begun = Instant::now();
    let response = fetch(&mut wire, &waiting("f-early", wait, 1, vec![from(0, 1), from(7, 0)]));
    assert!(begun.elapsed() >= wait);
    let codes: Vec<_> = answers(&response).into_iter().map(|data| data.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
    let long = Duration::from_secs(25);
    let response = fetch(&mut wire, &waiting("f-early", long, 1, vec![from(0, 1), from(1, 9)]));
    let codes: Vec<_> = answers(&response).into_iter().map(|data| data.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::OffsetOutOfRange.code()]);
    let response = fetch(&mut wire, &waiting("f-nothing", long, 1, vec![from(0, 0)]));
    assert_eq!(one(&response).error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn requests_that_are_wrong_get_kafkas_answers() {
    let mut wire = connect();
    filled(&mut wire, "f-wrong", 1, 10);
    let response = fetch(&mut wire, &FetchRequest { isolation_level: 2, ..request("f-wrong", vec![from(0, 0)]) });
    assert_eq!((response.error_code, one(&response).error_code), (-1, -1));
    let negative = FetchPartition { partition_max_bytes: -1, ..from(0, 0) };
    assert_eq!(one(&fetch(&mut wire, &request("f-wrong", vec![negative]))).error_code, -1);
    let response = fetch(&mut wire, &FetchRequest { max_bytes: -1, ..request("f-wrong", vec![from(0, 0)]) });
    assert_eq!(one(&response).error_code, -1);
    let response = fetch(&mut wire, &FetchRequest { replica_id: 7, ..request("f-wrong", vec![from(0, 0)]) });
    assert_eq!(one(&response).error_code, ErrorCode::NotLeaderOrFollower.code());
    for (epoch, code) in [(0, ErrorCode::FencedLeaderEpoch), (1000, ErrorCode::UnknownLeaderEpoch)] {
        let asked = FetchPartition { current_leader_epoch: epoch, ..from(0, 0) };
        let found = one(&fetch(&mut wire, &request("f-wrong", vec![asked]))).error_code;
        // The first epoch of a log is that of the broker's first start, so 0 may be the current one.
        assert!(found == code.code() || (epoch == 0 && found == 0), "{found}");
    }
    for offset in [-1, 2, i64::MAX] {
        let response = fetch(&mut wire, &request("f-wrong", vec![from(0, offset)]));
        let data = one(&response);
        assert_eq!((data.error_code, data.high_watermark), (ErrorCode::OffsetOutOfRange.code(), -1));
    }
}

#[test]
fn an_epoch_that_the_log_does_not_have_diverges() {
    let mut wire = connect();
    filled(&mut wire, "f-diverge", 2, 10);
    let response = fetch(&mut wire, &request("f-diverge", vec![from(0, 0)]));
    let bytes = one(&response).records.clone().into_bytes();
    let epoch = Stored::walk(&bytes).next().expect("a batch").leader_epoch();
    let asked = FetchPartition { last_fetched_epoch: epoch, ..from(0, 2) };
    let response = fetch(&mut wire, &request("f-diverge", vec![asked]));
    assert_eq!((one(&response).error_code, one(&response).diverging_epoch.end_offset), (0, -1));
}

#[test]
fn read_committed_names_no_aborted_transactions_and_read_uncommitted_no_list() {
    let mut wire = connect();
    filled(&mut wire, "f-committed", 1, 10);
    let response = fetch(&mut wire, &request("f-committed", vec![from(0, 0)]));
    assert_eq!(one(&response).aborted_transactions, None);
    let response = fetch(&mut wire, &FetchRequest { isolation_level: 1, ..request("f-committed", vec![from(0, 0)]) });
    assert_eq!(one(&response).aborted_transactions, Some(Vec::new()));
    assert_eq!(offsets(one(&response)), [0]);
}

fn session(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest { min_bytes: 1, session_id, session_epoch, topics, ..Default::default() }
}

#[test]
fn a_session_sends_changes_alone() {
    let mut wire = connect();
    filled(&mut wire, "f-session", 1, 10);
    let asked = request("f-session", vec![from(0, 1), from(1, 1)]).topics;
    let response = fetch(&mut wire, &session(0, 0, asked));
    let id = response.session_id;
    assert!(id > 0);
    assert_eq!(answers(&response).len(), 2);
    let response = fetch(&mut wire, &session(id, 1, Vec::new()));
    assert_eq!((response.session_id, answers(&response).len()), (id, 0));
    assert_eq!(wire.produce("f-session", 1, -1, &batch(10)).error_code, 0);
    let response = fetch(&mut wire, &session(id, 2, Vec::new()));
    assert_eq!((one(&response).partition_index, offsets(one(&response))), (1, vec![1]));
    // Forgotten, it is not heard of again; an unknown one is reported each time.
    let forget = ForgottenTopic { topic: "f-session".into(), partitions: vec![1], ..Default::default() };
    let unknown = request("f-session-none", vec![from(0, 0)]).topics;
    let response = fetch(&mut wire, &FetchRequest { forgotten_topics_data: vec![forget], ..session(id, 3, unknown) });
    assert_eq!(one(&response).error_code, ErrorCode::UnknownTopicOrPartition.code());
    let response = fetch(&mut wire, &session(id, 4, Vec::new()));
    assert_eq!(one(&response).error_code, ErrorCode::UnknownTopicOrPartition.code());
    // Errors of the session itself.
    for (id, epoch, code) in [
        (id, 4, ErrorCode::InvalidFetchSessionEpoch),
        (id, 9, ErrorCode::InvalidFetchSessionEpoch),
        (id ^ (1 << 20), 1, ErrorCode::FetchSessionIdNotFound),
    ] {
        let response = fetch(&mut wire, &session(id, epoch, Vec::new()));
        assert_eq!((response.error_code, response.session_id), (code.code(), 0));
        assert!(response.responses.is_empty());
    }
    // Closed, it is gone.
    let response = fetch(&mut wire, &session(id, -1, request("f-session", vec![from(0, 0)]).topics));
    assert_eq!((response.error_code, response.session_id, answers(&response).len()), (0, 0, 1));
    let response = fetch(&mut wire, &session(id, 5, Vec::new()));
    assert_eq!(response.error_code, ErrorCode::FetchSessionIdNotFound.code());
}

/// Any client may say that it is a replica. Its sessions pushed those of consumers out, although no replica is served here.
#[test]
fn one_who_claims_to_be_a_replica_pushes_no_session_out() {
    let node = Node::with("broker-api-replica", 1, |options| options.broker.fetch_sessions_max = 1);
    let mut wire = node.connect();
    filled(&mut wire, "f-replica", 1, 10);
    let asked = request("f-replica", vec![from(0, 1), from(1, 1)]).topics;
    let id = fetch(&mut wire, &session(0, 0, asked.clone())).session_id;
    assert!(id > 0);
    let response = fetch(&mut node.connect(), &FetchRequest { replica_id: 7, ..session(0, 0, asked) });
    assert_eq!(response.session_id, 0, "there is room for one session");
    let response = fetch(&mut wire, &session(id, 1, Vec::new()));
    assert_eq!((response.error_code, response.session_id), (0, id));
}

#[test]
fn a_session_by_id_is_not_continued_by_name() {
    let mut wire = connect();
    let created = wire.create_topic("f-naming", 1, &[]);
    let by_id =
        vec![FetchTopic { topic_id: created.topics[0].topic_id, partitions: vec![from(0, 0)], ..Default::default() }];
    let response: FetchResponse = wire.call(ApiKey::Fetch, 13, &session(0, 0, by_id));
    assert_eq!(one(&response).error_code, 0);
    let response = fetch(&mut wire, &session(response.session_id, 1, Vec::new()));
    assert_eq!(response.error_code, ErrorCode::FetchSessionTopicIdError.code());
    let nobody = vec![FetchTopic { topic_id: TopicId([9; 16]), partitions: vec![from(0, 0)], ..Default::default() }];
    let response: FetchResponse = wire.call(ApiKey::Fetch, 13, &session(0, -1, nobody));
    assert_eq!(one(&response).error_code, ErrorCode::UnknownTopicId.code());
}

/// Nothing counted as movement before the last byte of an answer was taken, so a client on a slow link was cut off in the middle of a large one.
#[test]
fn a_slow_reader_is_not_idle() {
    let node = Node::with("broker-api-slow", 1, |options| options.net.idle_max = Duration::from_millis(400));
    let mut wire = node.connect();
    wire.create("f-slow", 1, &[]);
    // Somebody reads from here on, so all of it stays in memory and fits one answer.
    assert_eq!(one(&fetch(&mut wire, &request("f-slow", vec![from(0, 0)]))).error_code, 0);
    for _ in 0..40 {
        assert_eq!(wire.produce("f-slow", 0, -1, &batch(1_000_000)).error_code, 0);
    }
    let large = FetchPartition { partition_max_bytes: 50 << 20, ..from(0, 0) };
    wire.ask(ApiKey::Fetch, 12, &FetchRequest { max_bytes: 50 << 20, ..request("f-slow", vec![large]) });
    let mut read = 0;
    let mut some = vec![0; 1 << 20];
    while read < 40_000_000 {
        let bytes = std::io::Read::read(&mut wire.stream, &mut some).expect("a slow connection lives");
        assert!(bytes > 0, "cut off after {read} bytes");
        read += bytes;
        std::thread::sleep(Duration::from_secs_f64(bytes as f64 / 16e6));
    }
}

/// A stop ends parked fetches at once: they are answered, or their connection ends, long before their time.
#[test]
fn a_stop_ends_parked_fetches() {
    let node = Node::with("broker-api-stop", 2, |_| {});
    let mut wires: Vec<_> = (0..4).map(|_| node.connect()).collect();
    filled(&mut wires[0], "f-stop", 1, 10);
    for wire in &mut wires {
        wire.ask(ApiKey::Fetch, 12, &waiting("f-stop", Duration::from_secs(600), 1, vec![from(0, 1), from(1, 1)]));
    }
    // Each is parked by the time its connection's core has answered this on another connection of its own.
    for _ in 0..2 {
        let _: ApiVersionsResponse = node.connect().call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    }
    let begun = Instant::now();
    node.begin_stop();
    for wire in &mut wires {
        while wire.frame().is_ok() {}
    }
    node.wait();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
