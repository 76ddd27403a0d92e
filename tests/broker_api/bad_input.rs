//! Each kind of bad input gets what Kafka gives, an error code or a closed connection, and others notice nothing.

use std::io::Write;
use std::time::Duration;

use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode};

use crate::connect;
use crate::support::kafka::Batch;
use crate::support::node::{Node, Wire, produce_request};

/// What every test ends with: the broker answers someone else.
fn others_are_served() {
    let response: ApiVersionsResponse = connect().call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    assert_eq!(response.error_code, 0);
}

#[test]
fn lengths_that_no_request_has_close_the_connection() {
    for length in [-1, i32::MIN, 0, 1, 7, (100 << 20) + 1, i32::MAX] {
        let mut wire = connect();
        wire.send(&length.to_be_bytes());
        wire.send(&[0; 8]);
        wire.expect_closed(&format!("a length of {length}"));
    }
    others_are_served();
}

/// Up to the limit of its API a frame is waited for; a byte more ends the connection before the body is sent.
#[test]
fn a_frame_above_the_limit_of_its_api_closes_the_connection() {
    for key in [1i16, 3, 18, 19, 999] {
        let mut wire = connect();
        wire.send(&((8 << 20) + 1i32).to_be_bytes());
        wire.send(&key.to_be_bytes());
        wire.send(&[0; 6]);
        wire.expect_closed(&format!("8 MiB and a byte for key {key}"));
    }
    others_are_served();
}

#[test]
fn frames_that_end_early_close_only_their_own_connection() {
    for sent in [0, 1, 3, 4, 6, 11, 30] {
        let mut wire = connect();
        let mut frame = 40i32.to_be_bytes().to_vec();
        frame.extend([0, 3, 0, 1]);
        frame.resize(40, 0);
        wire.send(&frame[..sent]);
        wire.finish();
        wire.expect_closed(&format!("{sent} bytes of a frame"));
    }
    others_are_served();
}

#[test]
fn bodies_that_end_early_close_the_connection() {
    let bodies: &[(i16, i16, &[u8])] = &[
        (3, 1, &[0, 0, 0, 1, 0, 9, b'a']),
        (3, 9, &[0, 3, 2]),
        (0, 3, &[0xff, 0xff, 0, 1]),
        (0, 9, &[0, 0, 0]),
        (1, 4, &[0; 12]),
        (1, 12, &[0; 5]),
        (2, 1, &[0xff; 3]),
        (19, 5, &[0, 2]),
        (20, 4, &[0]),
        (22, 2, &[0]),
        (23, 2, &[0, 0]),
        (60, 0, &[]),
        (18, 3, &[0, 9, b'a']),
    ];
    for (key, version, body) in bodies {
        let mut wire = connect();
        wire.send_request(*key, *version, body);
        wire.expect_closed(&format!("key {key} version {version}"));
    }
    others_are_served();
}

/// A published Rust codec ends the process on a four-byte array length. Nothing is sized by a count here.
#[test]
fn counts_that_are_negative_or_huge_close_the_connection() {
    for count in [-2, i32::MIN, 1_000_000_000, i32::MAX] {
        // Where null is allowed, Kafka takes any negative count for it.
        if count > 0 {
            let mut metadata = connect();
            metadata.send_request(3, 1, &count.to_be_bytes());
            metadata.expect_closed(&format!("{count} topics in Metadata"));
        }
        let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 1];
        body.extend(count.to_be_bytes());
        let mut produce = connect();
        produce.send_request(0, 3, &body);
        produce.expect_closed(&format!("{count} topics in Produce"));
        let mut body = vec![0; 4 + 4 + 4 + 4 + 1];
        body.extend(count.to_be_bytes());
        let mut fetch = connect();
        fetch.send_request(1, 4, &body);
        fetch.expect_closed(&format!("{count} topics in Fetch"));
    }
    for count in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[0xff; 6]] {
        let mut body = vec![0];
        body.extend(count);
        let mut wire = connect();
        wire.send_request(3, 9, &body);
        wire.expect_closed("a huge compact count");
    }
    others_are_served();
}

#[test]
fn unknown_keys_and_versions_close_the_connection() {
    let unknown: &[(i16, i16)] = &[
        (999, 0),
        (-1, 0),
        (i16::MAX, 0),
        (10, 3), // FindCoordinator is a key of Kafka's, and not served yet
        (4, 0),
        (0, 0), // advertised, and refused
        (0, 2),
        (0, 14),
        (1, 3),
        (1, 19),
        (3, 14),
        (3, -1),
        (19, 1),
        (60, 3),
    ];
    for (key, version) in unknown {
        let mut wire = connect();
        wire.send_request(*key, *version, &[0; 32]);
        wire.expect_closed(&format!("key {key} version {version}"));
    }
    others_are_served();
}

#[test]
fn an_api_versions_request_from_the_future_is_answered_with_the_oldest_body() {
    for version in [5, 127, i16::MAX, -1] {
        let mut wire = connect();
        wire.send_request(18, version, &[0, 0xff, 0xff, 7]);
        let frame = wire.frame().expect("an answer");
        let expected = [&1i32.to_be_bytes()[..], &[0, 35], &1i32.to_be_bytes(), &[0, 18, 0, 0, 0, 4]].concat();
        assert_eq!(frame[..], expected[..], "version {version}");
        // The same connection goes on with a version that both know.
        let response: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, 4, &introduction("test", "1"));
        assert_eq!(response.error_code, 0);
    }
}

#[test]
fn software_names_are_checked_from_version_3() {
    for version in [3, 4] {
        for (name, number) in [("", "1"), ("a", ""), ("a b", "1"), ("-a", "1"), ("a", "1/2")] {
            let response: ApiVersionsResponse =
                connect().call(ApiKey::ApiVersions, version, &introduction(name, number));
            assert_eq!(response.error_code, ErrorCode::InvalidRequest.code(), "{name} {number}");
        }
    }
}

#[test]
fn trailing_bytes_and_unknown_tags_are_taken() {
    let mut wire = connect();
    wire.send_request(3, 1, &[0, 0, 0, 0, 1, 2, 3]);
    wire.frame().expect("bytes behind the body are passed over");
    // No topics, no creation, no operations, and one tagged field that nobody knows.
    wire.send_request(3, 9, &[0, 1, 0, 0, 0, 1, 77, 2, 5, 6]);
    wire.frame().expect("an unknown tag is passed over");
    // The same tag, longer than what is left.
    wire.send_request(3, 9, &[0, 1, 0, 0, 0, 1, 77, 9, 5, 6]);
    wire.expect_closed("an overlong tag");
}

/// A client that asks and never reads is bounded by the kernel's buffers and one write: its requests are not taken up any more.
#[test]
fn a_client_that_never_reads_is_not_read() {
    let mut wire = connect();
    wire.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a TCP socket");
    let mut request = Vec::new();
    for number in 0..4096i32 {
        request.extend(10i32.to_be_bytes());
        request.extend([0, 18, 0, 0]);
        request.extend(number.to_be_bytes());
        request.extend([0xff, 0xff]);
    }
    let mut sent = 0usize;
    while wire.stream.write_all(&request).is_ok() {
        sent += request.len();
        assert!(sent < 256 << 20, "the broker takes requests without end");
    }
    others_are_served();
}

/// The same with produces, which overlap: what waits unanswered is bounded too.
#[test]
fn a_producer_that_never_reads_is_not_read() {
    let mut wire = connect();
    wire.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a TCP socket");
    // An unknown topic with a long name: a small request whose answer is as long.
    let name = "n".repeat(200);
    let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 200];
    body.extend(name.as_bytes());
    body.extend([0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let mut request = Vec::new();
    for number in 0..256i32 {
        request.extend((body.len() as i32 + 10).to_be_bytes());
        request.extend([0, 0, 0, 3]);
        request.extend(number.to_be_bytes());
        request.extend([0xff, 0xff]);
        request.extend(&body);
    }
    let mut sent = 0usize;
    while wire.stream.write_all(&request).is_ok() {
        sent += request.len();
        assert!(sent < 256 << 20, "the broker takes requests without end");
    }
    others_are_served();
}

#[test]
fn an_address_may_have_only_so_many_connections() {
    let node = Node::with("broker-api-per-ip", 1, |options| options.net.connections_per_ip_max = 2);
    let mut served: Vec<Wire> = (0..2).map(|_| node.connect()).collect();
    for wire in &mut served {
        let response: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
        assert_eq!(response.error_code, 0);
    }
    node.connect().expect_closed("the third connection from one address");
}

#[test]
fn an_idle_connection_is_closed() {
    let node = Node::with("broker-api-idle", 1, |options| options.net.idle_max = Duration::from_millis(200));
    node.connect().expect_closed("nothing was ever sent");
    let mut begun = node.connect();
    begun.send(&[0, 0, 0, 40, 0, 3]);
    begun.expect_closed("a frame was never finished");
}

/// Frames that ask for more memory than there is wait for it, and are served in the end.
#[test]
fn frames_share_a_small_budget() {
    let node = Node::with("broker-api-budget", 1, |options| options.net.buffer_bytes = 1 << 20);
    let frame = |number: i32| {
        let mut frame = (600_000i32).to_be_bytes().to_vec();
        frame.extend([0, 3, 0, 1]);
        frame.extend(number.to_be_bytes());
        frame.extend([0xff, 0xff, 0, 0, 0, 0]);
        frame.resize(4 + 600_000, 0);
        frame
    };
    let mut wires: Vec<_> = (0..6).map(|_| node.connect()).collect();
    for (number, wire) in (0..).zip(&mut wires) {
        wire.send(&frame(number)[..10_000]);
    }
    std::thread::scope(|scope| {
        for (number, wire) in (0..).zip(&mut wires) {
            scope.spawn(move || {
                wire.send(&frame(number)[10_000..]);
                let answer = wire.frame().expect("an answer");
                assert_eq!(answer[..4], number.to_be_bytes());
            });
        }
    });
}

/// Topic ids that end in a constant of the hash function all had the hash 0, and a request of 100,000 of them kept a core busy for a quarter of a
/// minute: each was compared with all before it. The seed is drawn at start, so nobody outside can find such ids.
#[test]
fn ids_that_were_made_to_collide_cost_no_more_than_others() {
    let mut wire = connect();
    let body: Vec<u8> = (0..100_000u64)
        .flat_map(|number| {
            // Null for the name, the id, no tagged fields.
            [&[0][..], &number.to_be_bytes(), &0x3f84_d5b5_b547_0917u64.to_ne_bytes(), &[0]].concat()
        })
        .collect();
    let mut count = Vec::new();
    coretide::base::varint::write_u32(&mut count, 100_001);
    // No tagged fields in the header; then 10 s, and no tagged fields.
    let body = [&[0][..], &count, &body, &[0, 0, 0x27, 0x10, 0]].concat();
    let begun = std::time::Instant::now();
    wire.send_request(20, 6, &body);
    wire.frame().expect("an answer");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A Fetch of version 4, of the first so many partitions of a topic from their start.
fn fetch_body(topic: &str, partitions: u32, wait_ms: i32) -> Vec<u8> {
    // Replica, wait, bytes at least and at most, isolation; one topic.
    let mut body = [&(-1i32).to_be_bytes()[..], &wait_ms.to_be_bytes(), &[0, 0, 0, 1], &[0, 16, 0, 0], &[0]].concat();
    body.extend(1i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(partitions.to_be_bytes());
    for partition in 0..partitions {
        body.extend(partition.to_be_bytes());
        body.extend([0; 8]);
        body.extend([0, 0, 16, 0]);
    }
    body
}

/// 8 MiB of a Fetch named 520,000 partitions, which take 40 times as much when they are understood and answered.
#[test]
fn a_request_has_a_bounded_number_of_elements() {
    let mut wire = connect();
    wire.send_request(1, 4, &fetch_body("nobody", 60_000, 0));
    assert!(wire.frame().expect("an answer").len() > 60_000 * 20);
    wire.send_request(1, 4, &fetch_body("nobody", 520_000, 0));
    wire.expect_closed("520,000 partitions");
    others_are_served();
}

/// Four requests of many elements are under way at a time, so one that waits for records does not wait for long.
#[test]
fn a_fetch_of_thousands_of_partitions_is_not_parked() {
    let mut wire = connect();
    wire.create("b-wide", 3000, &[]);
    let begun = std::time::Instant::now();
    let mut wires: Vec<Wire> = (0..8).map(|_| connect()).collect();
    wires.iter_mut().for_each(|wire| wire.send_request(1, 4, &fetch_body("b-wide", 3000, 60_000)));
    for wire in &mut wires {
        assert!(wire.frame().expect("an answer").len() > 3000 * 20);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Twelve bytes announced a Produce of 100 MiB and were charged all of it, so two connections that never sent more kept a core from taking any Produce.
#[test]
fn memory_follows_the_bytes_and_not_the_announcement() {
    let node = Node::with("broker-api-announced", 1, |options| options.net.buffer_bytes = 8 << 20);
    let mut wire = node.connect();
    wire.create("b-announced", 1, &[]);
    let mut announcers: Vec<Wire> = (0..20).map(|_| node.connect()).collect();
    for announcer in &mut announcers {
        announcer.send(&[&(100i32 << 20).to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 1]].concat());
    }
    std::thread::sleep(Duration::from_millis(100));
    let begun = std::time::Instant::now();
    for bytes in [10, 100_000, 900_000] {
        let value = vec![7; bytes];
        let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &[&value] };
        assert_eq!(wire.produce("b-announced", 0, -1, &batch.encode()).error_code, 0);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// A frame of which more comes than was lent at first moves into larger and larger buffers, and arrives whole.
#[test]
fn a_large_frame_grows_as_it_arrives() {
    let node = Node::with("broker-api-large", 1, |options| options.net.buffer_bytes = 16 << 20);
    let mut wires: Vec<Wire> = (0..4).map(|_| node.connect()).collect();
    wires[0].create("b-large", 40, &[]);
    std::thread::scope(|scope| {
        for wire in &mut wires {
            scope.spawn(move || {
                let value = vec![7; 1_000_000];
                let batch =
                    Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &[&value] };
                let mut request = produce_request("b-large", 0, -1, Some(&batch.encode()));
                let first = request.topic_data[0].partition_data[0].clone();
                let more = (1..40).map(|index| produce::PartitionProduceData { index, ..first.clone() });
                request.topic_data[0].partition_data.extend(more);
                let response: ProduceResponse = wire.call(ApiKey::Produce, 9, &request);
                let answers = &response.responses[0].partition_responses;
                assert!(answers.len() == 40 && answers.iter().all(|one| one.error_code == 0));
            });
        }
    });
}

fn introduction(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: name.into(), client_software_version: version.into() }
}
