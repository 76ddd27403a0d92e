//! A directory over stops and starts, with other numbers of cores and other journals; journals that are full; starts that are refused.

use std::path::{Path, PathBuf};

use coretide::node::Options;
use coretide::protocol::ApiKey;
use coretide::protocol::messages::*;

use crate::support::kafka::Batch;
use crate::support::node::{Node, Wire, produce_request};
use crate::support::process::Process;

/// A journal of two files of so many KiB.
fn journal(options: &mut Options, file_kib: u64) {
    options.shard.journal_file_bytes = file_kib << 10;
    options.shard.journal_bytes = 2 * (file_kib << 10);
    options.shard.journal_block_bytes = 32 << 10;
    options.shard.journal_threshold = 8 << 10;
}

fn value(number: usize, bytes: usize) -> Vec<u8> {
    let mut value = format!("{number} ").into_bytes();
    value.resize(bytes.max(value.len()), b'.');
    value
}

fn batch(producer_id: i64, base_sequence: i32, value: &[u8]) -> Vec<u8> {
    let producer_epoch = if producer_id < 0 { -1 } else { 0 };
    Batch { producer_id, producer_epoch, base_sequence, timestamp: 1_767_225_600_000, values: &[value] }.encode()
}

/// Produces one record and gives its offset.
fn produce(wire: &mut Wire, topic: &str, partition: i32, batch: &[u8]) -> i64 {
    let answer = wire.produce(topic, partition, -1, batch);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.base_offset
}

/// An empty directory of a test's own.
pub fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

#[test]
fn everything_is_there_after_each_clean_stop() {
    const PARTITIONS: i32 = 5;
    let (directory, mut sent) = (directory("restarts"), vec![Vec::new(); PARTITIONS as usize]);
    // Twice as it was; more cores, fewer; a larger journal, a smaller one.
    let lives = [("1", "128MiB"), ("1", "128MiB"), ("2", "128MiB"), ("2", "192MiB"), ("2", "128MiB"), ("1", "192MiB")];
    for (life, (cores, journal)) in lives.into_iter().enumerate() {
        let mut broker = Process::start(&directory, &["--cores", cores, "--journal-size", journal]);
        let mut wire = Wire::connect(broker.address());
        if life == 0 {
            wire.create("kept", PARTITIONS, &[]);
        }
        for (partition, sent) in (0..).zip(&sent) {
            assert_eq!(wire.read_all("kept", partition), *sent, "life {life}, partition {partition}");
        }
        for round in 0..20 {
            for (partition, sent) in (0..).zip(&mut sent) {
                let value = value(1000 * life + round, 10 + 1999 * (round % 3));
                let offset = produce(&mut wire, "kept", partition, &batch(7, sent.len() as i32, &value));
                assert_eq!(offset, sent.len() as i64);
                sent.push(value);
            }
        }
        drop(wire);
        broker.stop();
    }
    // A repetition is told over a stop.
    let mut broker = Process::start(&directory, &["--cores", "2", "--journal-size", "128MiB"]);
    let mut wire = Wire::connect(broker.address());
    for (partition, sent) in (0..).zip(&sent) {
        assert_eq!(wire.read_all("kept", partition), *sent);
        let last = sent.len() - 1;
        let repeated = produce(&mut wire, "kept", partition, &batch(7, last as i32, &sent[last]));
        assert_eq!(repeated, last as i64);
    }
    broker.stop();
    std::fs::remove_dir_all(directory).expect("the test's own directory");
}

/// With many partitions the reserve was half of a journal of two files: produce was refused before the first file was full, no file was finished, so
/// none could be used again, and the requests waited for ever.
#[test]
fn many_partitions_do_not_stop_a_small_journal() {
    let node = Node::with("many-partitions", 1, |options| journal(options, 128));
    let mut wire = node.connect();
    wire.create("many", 100, &[]);
    for number in 0..300 {
        let request = produce_request("many", number % 100, -1, Some(&batch(-1, -1, &value(number as usize, 7_000))));
        wire.ask(ApiKey::Produce, 9, &request);
    }
    for number in 0..300 {
        let answer: ProduceResponse = wire.answer(ApiKey::Produce, 9);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "produce {number}");
    }
}

/// A deletion took room in the journal without asking for it: with many partitions, or a full journal, the broker panicked.
#[test]
fn a_topic_is_deleted_although_the_journal_is_full() {
    let node = Node::with("full-deletion", 1, |options| journal(options, 128));
    let mut wire = node.connect();
    wire.create("wide", 4000, &[]);
    produce(&mut wire, "wide", 3999, &batch(-1, -1, b"one"));
    let request = DeleteTopicsRequest { topic_names: vec!["wide".into()], timeout_ms: 10_000, ..Default::default() };
    let answer: DeleteTopicsResponse = wire.call(ApiKey::DeleteTopics, 4, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    wire.create("wide", 1, &[]);
    for number in 0..100 {
        assert_eq!(produce(&mut wire, "wide", 0, &batch(-1, -1, &value(number, 5_000))), number as i64);
    }
}

/// A start under another node id went well, and no partition had a leader any more. Each start that was refused left one more metadata journal.
#[test]
fn another_node_id_is_refused_and_nothing_piles_up() {
    let directory = directory("other-node");
    let flags = ["--cores", "1", "--journal-size", "128MiB"];
    let mut broker = Process::start(&directory, &flags);
    Wire::connect(broker.address()).create("kept", 1, &[]);
    broker.stop();
    for _ in 0..3 {
        let mut refused = Process::start(&directory, &["--cores", "1", "--node-id", "2"]);
        let (status, said) = (refused.wait(), refused.said());
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains("belongs to node 1") && said.contains("--node-id 2"), "{said}");
    }
    let journals = std::fs::read_dir(directory.join("data/metadata")).expect("the metadata").count();
    assert_eq!(journals, 1, "metadata journals");
    Process::start(&directory, &flags).address();
    std::fs::remove_dir_all(directory).expect("the test's own directory");
}

/// The producers of all logs of a core stand in each of its checkpoints, and there was a bound per log only.
#[test]
fn the_producers_of_a_core_that_were_silent_longest_give_way() {
    let node = Node::with("many-producers", 1, |options| options.shard.producers_max = 32);
    let mut wire = node.connect();
    wire.create("crowd", 2, &[]);
    for producer in 0..100 {
        let partition = (producer % 2) as i32;
        assert_eq!(produce(&mut wire, "crowd", partition, &batch(producer, 0, b"one")), producer / 2);
    }
    assert_eq!(produce(&mut wire, "crowd", 1, &batch(99, 0, b"one")), 49, "a repetition of the last one");
    assert_eq!(produce(&mut wire, "crowd", 1, &batch(1, 0, b"one")), 50, "the first one is not known any more");
}

/// Producers that were silent for too long were restored by a start and forgotten a minute later.
#[test]
fn a_start_does_not_remember_who_was_silent_for_too_long() {
    let directory = directory("silent");
    let flags = ["--cores", "1", "--journal-size", "128MiB", "--set"];
    for (life, expiration, offset) in [(0, 86_400_000, 0), (1, 86_400_000, 0), (2, 1, 1)] {
        let expiration = format!("producer.id.expiration.ms={expiration}");
        let mut broker = Process::start(&directory, &[flags.as_slice(), &[expiration.as_str()]].concat());
        let mut wire = Wire::connect(broker.address());
        if life == 0 {
            wire.create("silent", 1, &[]);
        }
        assert_eq!(produce(&mut wire, "silent", 0, &batch(5, 0, b"one")), offset, "life {life}");
        broker.stop();
    }
    std::fs::remove_dir_all(directory).expect("the test's own directory");
}
