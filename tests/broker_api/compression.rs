//! compression.type: batches are stored in the codec of their topic, whatever the producer sent.

use bytes::Bytes;
use coretide::base::{ProducerEpoch, ProducerId, Timestamp};
use coretide::protocol::messages::fetch::{FetchPartition, FetchTopic};
use coretide::protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode, Records};
use coretide::record::compress::decompress_bounded;
use coretide::record::{Builder, Codec, HEADER_BYTES, Header, NewRecord, Scratch, batches, records};

use crate::connect;
use crate::support::node::{Node, Wire};

const CODECS: [(&str, Codec); 5] = [
    ("uncompressed", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];

/// Records with all that a record may have, of a producer, in this codec.
fn batch(codec: Codec, producer: i64, sequence: i32, value: &[u8]) -> Bytes {
    let mut builder = Builder::new().codec(codec).producer(ProducerId(producer), ProducerEpoch(2), sequence);
    let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "h", value: None }];
    builder.push(NewRecord { timestamp: Timestamp(1_000), key: Some(b"k"), value: Some(value), headers: &headers });
    builder.push(NewRecord { timestamp: Timestamp(3_000), key: None, value: None, headers: &[] });
    builder.push(NewRecord { timestamp: Timestamp(2_000), key: Some(b""), value: Some(b""), headers: &[] });
    builder.build()
}

fn fetch(wire: &mut Wire, version: i16, topic: &str, offset: i64) -> (i16, Bytes) {
    let partition =
        FetchPartition { partition: 0, fetch_offset: offset, partition_max_bytes: 64 << 20, ..Default::default() };
    let topics = vec![FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() }];
    let request = FetchRequest { max_bytes: 64 << 20, topics, ..Default::default() };
    let mut response: FetchResponse = wire.call(ApiKey::Fetch, version, &request);
    let found = response.responses.remove(0).partitions.remove(0);
    (found.error_code, found.records.into_bytes())
}

fn unfolded(codec: Codec, body: &[u8]) -> Vec<u8> {
    decompress_bounded(codec, body, 64 << 20, &mut Scratch::default()).expect("it unfolds")
}

#[test]
fn every_codec_is_stored_as_every_other_one() {
    let mut wire = connect();
    let value: Vec<u8> = b"something that can be compressed ".repeat(3000);
    for (name, stored) in CODECS {
        let topic = format!("z-{name}");
        wire.create(&topic, 1, &[("compression.type", name)]);
        for (number, (_, sent)) in (0..).zip(CODECS) {
            let batch = batch(sent, 9_100_000, 3 * number, &value);
            let answer = wire.produce(&topic, 0, -1, &batch);
            assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(3 * number)));
            // Sent again it is told from a new one.
            assert_eq!(wire.produce(&topic, 0, -1, &batch).base_offset, i64::from(3 * number));
            let (code, bytes) = fetch(&mut wire, 11, &topic, i64::from(3 * number));
            let found = batches(&bytes).next().expect("a batch");
            assert!(code == 0 && found.crc_holds() && found.info().codec == stored, "{sent:?} as {name}");
            assert_eq!(found.base_offset().0, i64::from(3 * number));
            let info = found.info();
            assert_eq!((info.producer_id.0, info.producer_epoch.0, info.base_sequence), (9_100_000, 2, 3 * number));
            assert_eq!((info.records, info.base_timestamp.0, info.max_timestamp.0), (3, 1_000, 3_000));
            let body = unfolded(stored, found.body());
            assert_eq!(body, unfolded(sent, &batch[HEADER_BYTES..]), "{sent:?} as {name}");
            assert_eq!(records(&body).filter(Result::is_ok).count(), 3);
            if sent == stored {
                assert_eq!(found.body(), &batch[HEADER_BYTES..], "what is right already stays as it came");
            }
        }
    }
}

#[test]
fn lz4_tries_as_hard_as_the_topic_says() {
    let mut wire = connect();
    let value: Vec<u8> =
        (0..20_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 21).to_string().into_bytes()).collect();
    let sizes = ["9", "12"].map(|level| {
        let topic = format!("z-lz4-{level}");
        wire.create(&topic, 1, &[("compression.type", "lz4"), ("compression.lz4.level", level)]);
        assert_eq!(wire.produce(&topic, 0, -1, &batch(Codec::None, -1, -1, &value)).error_code, 0);
        let (_, bytes) = fetch(&mut wire, 11, &topic, 0);
        let found = batches(&bytes).next().expect("a batch");
        assert_eq!(unfolded(Codec::Lz4, found.body()), batch(Codec::None, -1, -1, &value)[HEADER_BYTES..]);
        found.body().len()
    });
    assert!(sizes[1] < sizes[0], "{sizes:?}");
}

#[test]
fn the_broker_s_default_holds_and_a_topic_may_say_otherwise() {
    let node = Node::with("compression-default", 2, |options| {
        let defaults = coretide::cluster::TopicSettings { compression: Some(Codec::Zstd), ..Default::default() };
        options.broker.topic_defaults = defaults;
        options.shard.topics = defaults;
    });
    let mut wire = node.connect();
    wire.create("default", 1, &[]);
    wire.create("own", 1, &[("compression.type", "producer")]);
    for (topic, codec) in [("default", Codec::Zstd), ("own", Codec::Gzip)] {
        assert_eq!(wire.produce(topic, 0, -1, &batch(Codec::Gzip, -1, -1, b"x")).error_code, 0);
        let (code, bytes) = fetch(&mut wire, 11, topic, 0);
        assert_eq!((code, batches(&bytes).next().expect("a batch").info().codec), (0, codec));
    }
    // A client that cannot know zstd is told so.
    assert_eq!(fetch(&mut wire, 9, "default", 0).0, ErrorCode::UnsupportedCompressionType.code());
    assert_eq!(fetch(&mut wire, 9, "own", 0).0, 0);
}

/// `max.message.bytes` is about the batch as it came and as it is stored. 15 MiB of zeros come in a few kilobytes.
#[test]
fn what_unfolds_to_more_than_the_topic_takes_is_refused() {
    let mut wire = connect();
    wire.create("z-bound", 1, &[("compression.type", "uncompressed"), ("max.message.bytes", "100000")]);
    let too_large = ErrorCode::MessageTooLarge.code();
    for bytes in [100_000, 15 << 20] {
        let batch = batch(Codec::Gzip, -1, -1, &vec![0; bytes]);
        assert!(batch.len() < 100_000);
        assert_eq!(wire.produce("z-bound", 0, -1, &batch).error_code, too_large, "{bytes}");
    }
    assert_eq!(wire.produce("z-bound", 0, -1, &batch(Codec::Gzip, -1, -1, &[0; 90_000])).error_code, 0);
    assert_eq!(wire.latest("z-bound", 0), 3);
    // Too large as it came, although it would be small.
    wire.create("z-bound-in", 1, &[("compression.type", "gzip"), ("max.message.bytes", "100000")]);
    let batch = batch(Codec::None, -1, -1, &[0; 100_000]);
    assert_eq!(wire.produce("z-bound-in", 0, -1, &batch).error_code, too_large);
}

/// One request of a few hundred kilobytes whose batches have 200 MiB as they are stored: they are handed over bit by bit, in their order.
#[test]
fn a_request_that_becomes_large_is_handed_over_in_parts() {
    const PARTITIONS: i32 = 20;
    let node = Node::with("compression-large", 2, |_| {});
    let mut wire = node.connect();
    wire.create("large", PARTITIONS, &[("compression.type", "uncompressed"), ("max.message.bytes", "11000000")]);
    let data = |index| PartitionProduceData {
        index,
        records: Some(Records::from(batch(Codec::Gzip, -1, -1, &vec![index as u8; 10_000_000]))),
    };
    let topic = TopicProduceData {
        name: "large".into(),
        partition_data: (0..PARTITIONS).map(data).collect(),
        ..Default::default()
    };
    let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() };
    for round in 0..2 {
        let response: ProduceResponse = wire.call(ApiKey::Produce, 9, &request);
        let answers = &response.responses[0].partition_responses;
        let found: Vec<_> = answers.iter().map(|one| (one.index, one.error_code, one.base_offset)).collect();
        assert_eq!(found, (0..PARTITIONS).map(|index| (index, 0, 3 * round)).collect::<Vec<_>>());
    }
    let (_, bytes) = fetch(&mut wire, 11, "large", 3);
    assert!(batches(&bytes).next().is_some_and(|batch| batch.crc_holds() && batch.body().len() > 10_000_000));
}

/// The hardest way to compress 4 MiB takes seconds in a test build; meanwhile others are served.
#[test]
fn others_are_served_while_a_batch_is_recompressed() {
    let node = Node::start("compression-yields");
    let mut wire = node.connect();
    let hard = [("compression.type", "zstd"), ("compression.zstd.level", "19"), ("max.message.bytes", "5000000")];
    wire.create("hard", 1, &hard);
    let value: Vec<u8> = (0..4_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 25) as u8 % 23).collect();
    let request = crate::support::node::produce_request("hard", 0, -1, Some(&batch(Codec::None, -1, -1, &value)));
    wire.ask(ApiKey::Produce, 9, &request);
    wire.stream.set_nonblocking(true).expect("a TCP socket");
    let mut other = node.connect();
    let mut served = 0;
    while wire.stream.peek(&mut [0]).is_err() {
        let response: ApiVersionsResponse = other.call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
        assert_eq!(response.error_code, 0);
        served += 1;
    }
    assert!(served >= 20, "{served} requests were served meanwhile");
    wire.stream.set_nonblocking(false).expect("a TCP socket");
    let response: ProduceResponse = wire.answer(ApiKey::Produce, 9);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}
