//! What peers can make the broker's program hold: answers that nobody reads, and frames that do not come.

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use coretide::protocol::ApiKey;
use coretide::protocol::messages::fetch::{FetchPartition, FetchTopic};
use coretide::protocol::messages::*;
use support::kafka::Batch;
use support::node::Wire;
use support::process::Process;

/// Twenty-four clients ask for 32 MiB of history each and do not read it. All of it stood in memory, once for each of them, for as long as they liked.
#[test]
fn answers_that_nobody_reads_hold_a_bounded_amount() {
    const PARTITIONS: i32 = 32;
    // On one core, with the least memory there may be.
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memory-answers");
    let _ = std::fs::remove_dir_all(&directory);
    let start = || {
        let flags = ["--cores", "1", "--journal-size", "128MiB", "--memory", "64MiB"];
        let mut broker = Process::start(&directory, &flags);
        let address = broker.address();
        (broker, address)
    };
    let (broker, address) = start();
    let mut wire = Wire::connect(address);
    wire.create("unread", PARTITIONS, &[]);
    let value = vec![7; 1_000_000];
    let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &[&value] };
    for partition in 0..PARTITIONS {
        assert_eq!(wire.produce("unread", partition, -1, &batch.encode()).error_code, 0);
    }
    // A stop drains everything: what there is is history then.
    broker.stop();
    let (broker, address) = start();
    let partitions = (0..PARTITIONS).map(|partition| FetchPartition {
        partition,
        partition_max_bytes: 2 << 20,
        ..Default::default()
    });
    let topics = vec![FetchTopic { topic: "unread".into(), partitions: partitions.collect(), ..Default::default() }];
    let request = FetchRequest { min_bytes: 1, max_bytes: 55 << 20, topics, ..Default::default() };
    let before = broker.resident();
    let mut unread: Vec<_> = (0..24).map(|_| Wire::connect(address)).collect();
    unread.iter_mut().for_each(|wire| wire.ask(ApiKey::Fetch, 12, &request));
    std::thread::sleep(Duration::from_secs(3));
    let more = broker.resident().saturating_sub(before);
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
    // Others are served, at the latest when those that hold the memory are found to stand still.
    let mut reader = Wire::connect(address);
    let response: FetchResponse = reader.call(ApiKey::Fetch, 12, &request);
    let records = response.responses.iter().flat_map(|topic| &topic.partitions).map(|one| one.records.byte_len());
    assert!(records.sum::<usize>() >= 1_000_000);
    drop(broker);
    let _ = std::fs::remove_dir_all(&directory);
}
