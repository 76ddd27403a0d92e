//! Produce: acknowledgements, order, sequences, and every way in which a batch can be wrong.

use std::io::Write;

use bytes::Bytes;
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode, Records};

use crate::connect;
use crate::support::kafka::Batch;
use crate::support::node::{Node, Wire, produce_request};

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn batch(values: &[&[u8]]) -> Vec<u8> {
    Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: now(), values }.encode()
}

fn sequenced(producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Vec<u8> {
    Batch { producer_id, producer_epoch, base_sequence, timestamp: now(), values: &[b"a", b"b"] }.encode()
}

/// Writes the checksum that the bytes now have.
pub fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// A batch whose attributes name `codec` and whose records are `body`.
pub fn compressed(codec: u8, body: &[u8]) -> Vec<u8> {
    let mut batch = batch(&[b"x"]);
    batch.truncate(61);
    batch.extend(body);
    let length = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = codec;
    sealed(batch)
}

pub fn varint(value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    coretide::base::varint::write_i64(&mut bytes, value);
    bytes
}

fn with(mut batch: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut batch);
    batch
}

#[test]
fn offsets_follow_each_other_and_answers_come_in_order() {
    let mut wire = connect();
    wire.create("p-order", 3, &[]);
    for number in 0..60 {
        let request = produce_request("p-order", number % 3, -1, Some(&batch(&[b"one", b"two"])));
        wire.ask(ApiKey::Produce, 9, &request);
    }
    // Asked behind the produces, answered behind them, and sees them all.
    let metadata = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    wire.ask(ApiKey::Metadata, 12, &metadata);
    for number in 0..60i64 {
        let (correlation, response): (i32, ProduceResponse) = wire.numbered(ApiKey::Produce, 9);
        assert_eq!(i64::from(correlation), number + 2);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, number / 3 * 2));
        assert_eq!((answer.index, answer.log_append_time_ms), ((number % 3) as i32, -1));
    }
    let (correlation, _): (i32, MetadataResponse) = wire.numbered(ApiKey::Metadata, 12);
    assert_eq!(correlation, 62);
}

#[test]
fn a_request_without_acks_is_not_answered_and_the_next_one_sees_its_records() {
    let mut wire = connect();
    wire.create("p-acks0", 1, &[]);
    for _ in 0..20 {
        wire.ask(ApiKey::Produce, 9, &produce_request("p-acks0", 0, 0, Some(&batch(&[b"x"]))));
    }
    assert_eq!(wire.latest("p-acks0", 0), 20);
}

#[test]
fn an_error_without_acks_closes_the_connection() {
    let mut wire = connect();
    wire.create("p-acks0-bad", 1, &[]);
    let bad = with(batch(&[b"x"]), |batch| batch[17] ^= 1);
    wire.ask(ApiKey::Produce, 9, &produce_request("p-acks0-bad", 0, 0, Some(&bad)));
    wire.expect_closed("acks=0 with a wrong CRC");
    let mut wire = connect();
    wire.ask(ApiKey::Produce, 9, &produce_request("p-nobody", 0, 0, Some(&batch(&[b"x"]))));
    wire.expect_closed("acks=0 for an unknown topic");
}

#[test]
fn acks_are_all_one_or_none() {
    let mut wire = connect();
    wire.create("p-acks", 1, &[]);
    for acks in [-1, 1] {
        assert_eq!(wire.produce("p-acks", 0, acks, &batch(&[b"x"])).error_code, 0);
    }
    for acks in [2, -2, i16::MAX] {
        let answer = wire.produce("p-acks", 0, acks, &batch(&[b"x"]));
        assert_eq!(answer.error_code, ErrorCode::InvalidRequiredAcks.code(), "acks={acks}");
    }
    assert_eq!(wire.latest("p-acks", 0), 2);
}

#[test]
fn batches_that_are_wrong_are_refused_as_kafka_refuses_them() {
    use ErrorCode::*;
    let mut wire = connect();
    wire.create("p-bad", 1, &[]);
    let good = || batch(&[b"one", b"two", b"three"]);
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("nothing", Vec::new(), InvalidRecord),
        ("a wrong CRC", with(good(), |b| b[17] ^= 0x80), CorruptMessage),
        ("a changed record", with(good(), |b| *b.last_mut().unwrap() ^= 1), CorruptMessage),
        ("magic 3", with(good(), |b| b[16] = 3), CorruptMessage),
        ("magic 1", with(good(), |b| b[16] = 1), InvalidRecord),
        ("magic 0", with(good(), |b| b[16] = 0), InvalidRecord),
        ("two batches", [good(), good()].concat(), InvalidRecord),
        ("more records than counted", sealed(with(good(), |b| b[60] = 2)), InvalidRecord),
        ("fewer records than counted", sealed(with(good(), |b| b[60] = 4)), InvalidRecord),
        ("a negative count", sealed(with(good(), |b| b[57] = 0xff)), InvalidRecord),
        ("another last offset delta", sealed(with(good(), |b| b[26] = 9)), InvalidRecord),
        ("a control batch", sealed(with(good(), |b| b[22] = 0x20)), InvalidRecord),
        ("a codec that is none", sealed(with(good(), |b| b[22] = 5)), UnknownServerError),
        ("garbage for gzip", compressed(1, b"this is no stream of gzip"), UnknownServerError),
        ("garbage for snappy", compressed(2, &[0xff; 40]), UnknownServerError),
        ("garbage for lz4", compressed(3, b"no lz4 frame"), UnknownServerError),
        ("garbage for zstd", compressed(4, b"no zstd"), UnknownServerError),
        ("the broker's kind of timestamp", sealed(with(good(), |b| b[22] = 0x08)), InvalidTimestamp),
        ("too large", batch(&[&vec![0; 1_048_588]]), MessageTooLarge),
        ("a transaction", sealed(with(sequenced(4000, 0, 0), |b| b[22] = 0x10)), UnsupportedVersion),
    ];
    for (what, bytes, code) in cases {
        let answer = wire.produce("p-bad", 0, -1, &bytes);
        let found = ErrorCode::from_code(answer.error_code);
        assert_eq!((found, answer.base_offset), (Some(code), -1), "{what}: {:?}", answer.error_message);
    }
    let null: ProduceResponse = wire.call(ApiKey::Produce, 9, &produce_request("p-bad", 0, -1, Option::None));
    assert_eq!(null.responses[0].partition_responses[0].error_code, InvalidRecord.code());
    assert_eq!(wire.latest("p-bad", 0), 0, "nothing was appended");
    // Bytes behind the batch and a wrong largest timestamp are taken, as in Kafka.
    let trailing = [good(), vec![1, 2, 3]].concat();
    assert_eq!(wire.produce("p-bad", 0, -1, &trailing).error_code, 0);
    assert_eq!(wire.produce("p-bad", 0, -1, &sealed(with(good(), |b| b[35..43].fill(0)))).error_code, 0);
}

/// 300 MB of zeros in 300 KB of gzip.
fn bomb() -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // One record of 300 MiB, as it says itself.
    let value = varint(300 << 20);
    let record = [&[0, 0, 0, 1][..], &value].concat();
    packer.write_all(&varint((300 << 20) + record.len() as i64 + 1)).expect("memory");
    packer.write_all(&record).expect("memory");
    let zeros = vec![0; 1 << 20];
    for _ in 0..300 {
        packer.write_all(&zeros).expect("memory");
    }
    packer.write_all(&[0]).expect("memory");
    compressed(1, &packer.finish().expect("memory"))
}

/// It is looked at in steps, within a bound, while others are served.
#[test]
fn a_bomb_is_refused() {
    let mut wire = connect();
    wire.create("p-bomb", 1, &[]);
    let bomb = bomb();
    assert!(bomb.len() < 1_048_588);
    assert_eq!(wire.produce("p-bomb", 0, -1, &bomb).error_code, ErrorCode::MessageTooLarge.code());
    assert_eq!(wire.latest("p-bomb", 0), 0);
}

/// Compressed batches of one request, so that it takes a while.
const BOMBS: i32 = 12;

/// Four at a time are looked into, and whoever sent a plain batch waited for one of them to end, for seconds and in a loop that kept the core busy.
#[test]
fn plain_batches_do_not_wait_for_compressed_ones() {
    let node = Node::start("broker-api-bombs");
    let mut wire = node.connect();
    wire.create("p-bombs", BOMBS, &[]);
    let mut bombs = produce_request("p-bombs", 0, -1, Some(&bomb()));
    let first = bombs.topic_data[0].partition_data[0].clone();
    let more = (1..BOMBS).map(|index| produce::PartitionProduceData { index, ..first.clone() });
    bombs.topic_data[0].partition_data.extend(more);
    let mut bombers: Vec<Wire> = (0..4).map(|_| node.connect()).collect();
    bombers.iter_mut().for_each(|bomber| bomber.ask(ApiKey::Produce, 9, &bombs));
    // The bombs have been sent to their last byte, so the broker is at them. Refused, because a busy disk is not the question here.
    let plain = with(batch(&[b"x"]), |batch| batch[17] ^= 1);
    for _ in 0..3 {
        assert_eq!(wire.produce("p-bombs", 0, -1, &plain).error_code, ErrorCode::CorruptMessage.code());
    }
    // Had each waited for one of them to end, three would have ended.
    let ended = bombers.iter().filter(|bomber| bomber.has_answer()).count();
    assert!(ended <= 1, "{ended} requests of compressed batches were done before three plain ones");
    for bomber in &mut bombers {
        let response: ProduceResponse = bomber.answer(ApiKey::Produce, 9);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, ErrorCode::MessageTooLarge.code());
    }
}

#[test]
fn zstd_needs_version_7() {
    let mut wire = connect();
    wire.create("p-zstd", 1, &[]);
    let body = &batch(&[b"x"])[61..];
    let zstd = compressed(4, &zstd::encode_all(body, 1).expect("memory"));
    let mut send = |version| {
        let request = produce_request("p-zstd", 0, -1, Some(&zstd));
        let response: ProduceResponse = wire.call(ApiKey::Produce, version, &request);
        response.responses[0].partition_responses[0].error_code
    };
    assert_eq!((send(6), send(7)), (ErrorCode::UnsupportedCompressionType.code(), 0));
}

#[test]
fn sequences_follow_kafkas_rules() {
    let mut wire = connect();
    wire.create("p-sequence", 1, &[]);
    let mut send = |batch: Vec<u8>| {
        let answer = wire.produce("p-sequence", 0, -1, &batch);
        (answer.error_code, answer.base_offset)
    };
    // An unknown producer may start anywhere.
    assert_eq!(send(sequenced(9001, 1, 7)), (0, 0));
    assert_eq!(send(sequenced(9001, 1, 9)), (0, 2));
    // Repeated: the first answer again.
    assert_eq!(send(sequenced(9001, 1, 7)), (0, 0));
    assert_eq!(send(sequenced(9001, 1, 13)), (ErrorCode::OutOfOrderSequenceNumber.code(), -1));
    assert_eq!(send(sequenced(9001, 0, 11)), (ErrorCode::InvalidProducerEpoch.code(), -1));
    assert_eq!(send(sequenced(9001, 1, 11)), (0, 4));
    // A new epoch starts at 0.
    assert_eq!(send(sequenced(9001, 2, 13)).0, ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!(send(sequenced(9001, 2, 0)), (0, 6));
}

#[test]
fn unknown_and_forbidden_places_are_refused() {
    let mut wire = connect();
    wire.create("p-places", 1, &[]);
    let mut send = |topic: &str, partition| wire.produce(topic, partition, -1, &batch(&[b"x"])).error_code;
    assert_eq!(send("p-none", 0), ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(send("not/a name", 0), ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(send("p-places", 1), ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(send("p-places", -1), ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(send("__consumer_offsets", 0), ErrorCode::InvalidTopicException.code());
    assert_eq!(send("p-places", 0), 0);
}

#[test]
fn topics_are_named_by_id_from_version_13() {
    let mut wire = connect();
    let created = wire.create_topic("p-by-id", 1, &[]);
    let mut request = produce_request("", 0, -1, Some(&batch(&[b"x"])));
    request.topic_data[0].topic_id = created.topics[0].topic_id;
    let response: ProduceResponse = wire.call(ApiKey::Produce, 13, &request);
    assert_eq!(response.responses[0].topic_id, created.topics[0].topic_id);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    request.topic_data[0].topic_id.0[15] ^= 1;
    let response: ProduceResponse = wire.call(ApiKey::Produce, 13, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[test]
fn a_transactional_id_is_refused() {
    let mut wire = connect();
    wire.create("p-txn", 1, &[]);
    let mut request = produce_request("p-txn", 0, -1, Some(&batch(&[b"x"])));
    request.transactional_id = Some("t".into());
    let response: ProduceResponse = wire.call(ApiKey::Produce, 9, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::UnsupportedVersion.code());
}

#[test]
fn the_same_partition_twice_gets_one_answer_and_the_later_batch_counts() {
    let mut wire = connect();
    wire.create("p-twice", 2, &[]);
    let mut request = produce_request("p-twice", 0, -1, Some(&batch(&[b"first"])));
    let again = |index, values: &[&[u8]]| produce::PartitionProduceData {
        index,
        records: Some(Records::from(Bytes::from(batch(values)))),
    };
    request.topic_data[0].partition_data.push(again(1, &[b"other"]));
    request.topic_data[0].partition_data.push(again(0, &[b"later", b"ones"]));
    request.topic_data.push(request.topic_data[0].clone());
    let response: ProduceResponse = wire.call(ApiKey::Produce, 9, &request);
    assert_eq!(response.responses.len(), 1);
    let answers: Vec<_> =
        response.responses[0].partition_responses.iter().map(|one| (one.index, one.error_code)).collect();
    assert_eq!(answers, [(0, 0), (1, 0)]);
    assert_eq!((wire.latest("p-twice", 0), wire.latest("p-twice", 1)), (2, 1));
}

#[test]
fn log_append_time_is_answered_and_create_time_is_checked() {
    let mut wire = connect();
    wire.create("p-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let old = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &[b"x"] };
    let answer = wire.produce("p-time", 0, -1, &old.encode());
    assert_eq!(answer.error_code, 0);
    assert!((answer.log_append_time_ms - now()).abs() < 60_000);
    wire.create("p-early", 1, &[("message.timestamp.before.max.ms", "1000")]);
    let answer = wire.produce("p-early", 0, -1, &old.encode());
    assert_eq!(answer.error_code, ErrorCode::InvalidTimestamp.code());
    assert_eq!(answer.record_errors.len(), 1);
}

/// Each batch of a request could name 1,024 refused records, with a sentence for each: 50 MB of batches became an answer of gigabytes, whose
/// length did not fit its field.
#[test]
fn an_answer_names_a_bounded_number_of_records() {
    let mut wire = connect();
    wire.create("p-many-early", 3, &[("message.timestamp.before.max.ms", "1000")]);
    let values = vec![&b"x"[..]; 1000];
    let old = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &values };
    let mut request = produce_request("p-many-early", 0, -1, Some(&old.encode()));
    for index in 1..3 {
        let again = produce::PartitionProduceData { index, ..request.topic_data[0].partition_data[0].clone() };
        request.topic_data[0].partition_data.push(again);
    }
    let response: ProduceResponse = wire.call(ApiKey::Produce, 9, &request);
    let answers = &response.responses[0].partition_responses;
    assert!(answers.iter().all(|one| one.error_code == ErrorCode::InvalidTimestamp.code()));
    let named: Vec<_> = answers.iter().map(|one| one.record_errors.len()).collect();
    assert_eq!(named, [1000, 24, 0]);
}

/// Partitions that were refused did not count, so a request could have as many of them as it had elements.
#[test]
fn partitions_beyond_the_bound_are_refused_whatever_the_others_are() {
    let mut wire = connect();
    let mut request = produce_request("p-crowd", 0, -1, None);
    let data = &mut request.topic_data[0].partition_data;
    data.extend((1..60_002).map(|index| produce::PartitionProduceData { index, records: None }));
    let response: ProduceResponse = wire.call(ApiKey::Produce, 9, &request);
    let answers = &response.responses[0].partition_responses;
    assert_eq!(answers.len(), 60_002);
    for (place, code) in [
        (0, ErrorCode::UnknownTopicOrPartition),
        (59_999, ErrorCode::UnknownTopicOrPartition),
        (60_000, ErrorCode::InvalidRequest),
        (60_001, ErrorCode::InvalidRequest),
    ] {
        assert_eq!(answers[place].error_code, code.code(), "{place}");
    }
}

#[test]
fn the_topics_own_limit_counts() {
    let mut wire = connect();
    wire.create("p-limit", 1, &[("max.message.bytes", "100")]);
    assert_eq!(wire.produce("p-limit", 0, -1, &batch(&[&[0; 20]])).error_code, 0);
    assert_eq!(wire.produce("p-limit", 0, -1, &batch(&[&[0; 200]])).error_code, ErrorCode::MessageTooLarge.code());
    wire.create("p-replicas", 1, &[("min.insync.replicas", "2")]);
    let answer = wire.produce("p-replicas", 0, -1, &batch(&[b"x"]));
    assert_eq!(answer.error_code, ErrorCode::NotEnoughReplicas.code());
    assert_eq!(wire.produce("p-replicas", 0, 1, &batch(&[b"x"])).error_code, 0);
}

/// One batch per version, each named as that version names topics.
#[test]
fn every_version_is_served() {
    let mut wire: Wire = connect();
    let created = wire.create_topic("p-versions", 1, &[]);
    for version in 3..=13 {
        let mut request = produce_request("p-versions", 0, -1, Some(&batch(&[b"x"])));
        request.topic_data[0].topic_id = created.topics[0].topic_id;
        let response: ProduceResponse = wire.call(ApiKey::Produce, version, &request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(version) - 3));
    }
}
