//! Retention: records that are old, or too many, go, and whoever asks for them is told so.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coretide::protocol::ErrorCode;

use crate::support::kafka::{Batch, Client};
use crate::support::node::{Node, Wire};

const CHECK: Duration = Duration::from_millis(50);

fn node(name: &str) -> Node {
    Node::with(name, 2, |options| options.shard.retention_check_interval = CHECK)
}

/// One record of so many bytes, from so long ago.
fn batch(age: Duration, bytes: usize) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let timestamp = (now - age).as_millis() as i64;
    Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp, values: &[&vec![7; bytes]] }.encode()
}

fn produce(wire: &mut Wire, topic: &str, batch: &[u8]) {
    assert_eq!(wire.produce(topic, 0, -1, batch).error_code, 0);
}

/// Waits until the partition starts there.
fn wait_for_start(client: &mut Client, topic: &str, start: i64) {
    let begun = Instant::now();
    loop {
        let (code, found) = client.list_offset(topic, 0, -2).expect("an answer");
        assert!(code == 0 && found <= start, "error {code}, the log starts at {found}");
        if found == start {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the log still starts at {found}");
        std::thread::sleep(CHECK);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Nothing of it was ever drained: the journal is large, and the broker is not busy.
#[test]
fn old_records_expire_and_young_ones_stay() {
    let node = node("retention-age");
    let (mut wire, mut client) = (node.connect(), Client::connect(node.address).expect("a connection"));
    wire.create("aging", 1, &[("retention.ms", "600000"), ("segment.ms", "60000"), ("file.delete.delay.ms", "0")]);
    (0..3).for_each(|_| produce(&mut wire, "aging", &batch(HOUR, 100)));
    (0..2).for_each(|_| produce(&mut wire, "aging", &batch(Duration::ZERO, 100)));
    wait_for_start(&mut client, "aging", 3);
    let mut fetch = |offset| {
        let answer = client.fetch("aging", &[(0, offset)], Duration::ZERO, 1 << 20).expect("an answer");
        (answer[0].error, answer[0].records.len())
    };
    assert_eq!(fetch(2).0, ErrorCode::OffsetOutOfRange.code());
    assert!(matches!(fetch(3), (0, bytes) if bytes > 200));
    assert_eq!(wire.latest("aging", 0), 5);
}

#[test]
fn a_log_may_expire_as_a_whole_and_goes_on() {
    let node = node("retention-all");
    let (mut wire, mut client) = (node.connect(), Client::connect(node.address).expect("a connection"));
    wire.create("gone", 1, &[("retention.ms", "600000")]);
    (0..4).for_each(|_| produce(&mut wire, "gone", &batch(HOUR, 100)));
    wait_for_start(&mut client, "gone", 4);
    produce(&mut wire, "gone", &batch(Duration::ZERO, 100));
    let answer = client.fetch("gone", &[(0, 4)], Duration::ZERO, 1 << 20).expect("an answer");
    assert_eq!((answer[0].error, answer[0].log_start, answer[0].high_watermark), (0, 4, 5));
}

#[test]
fn too_many_bytes_expire_by_whole_segments() {
    let node = node("retention-bytes");
    let (mut wire, mut client) = (node.connect(), Client::connect(node.address).expect("a connection"));
    wire.create("full", 1, &[("retention.bytes", "2500000"), ("segment.bytes", "1048576")]);
    // Two of these fill a segment, so 5 segments stand there, and 2 may go.
    (0..10).for_each(|_| produce(&mut wire, "full", &batch(HOUR, 500_000)));
    wait_for_start(&mut client, "full", 4);
    std::thread::sleep(4 * CHECK);
    wait_for_start(&mut client, "full", 4);
}
