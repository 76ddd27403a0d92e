//! What checking a batch costs, with its CRC and the walk over its records: `cargo bench --bench walk`.
//!
//! A plain loop and the best of several rounds: the figures are for people who compare two builds on one machine.

use bytes::Bytes;
use coretide::base::Timestamp;
use coretide::base::crc::crc32c;
use coretide::record::{BatchLimits, Builder, Codec, NewRecord, RawBatch, Scratch, TimestampType, patch};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LIMITS: BatchLimits = BatchLimits {
    max_bytes: 1 << 20,
    compacted: false,
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: 3_600_000,
    zstd_allowed: true,
};

fn main() {
    println!("{:<34}{:>12}{:>12}{:>14}", "", "us/batch", "GB/s", "ns/record");
    for (batch_bytes, record_bytes) in [(16 << 10, 100), (16 << 10, 1 << 10), (64 << 10, 100), (64 << 10, 1 << 10)] {
        let records = batch_bytes / record_bytes;
        let name = format!("{} KiB of {record_bytes} B", batch_bytes >> 10);
        let plain = batch(Codec::None, records, record_bytes);
        report(&format!("crc     {name}"), plain.len(), records, || {
            black_box(crc32c(black_box(&plain)));
        });
        let mut scratch = Scratch::default();
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let batch = batch(codec, records, record_bytes);
            report(&format!("check   {name} {codec:?}"), plain.len(), records, || {
                black_box(RawBatch(batch.clone()).check(&LIMITS, NOW, &mut scratch).expect("the batch is good"));
            });
        }
        let mut stored = plain.to_vec();
        let mut time = 0;
        report(&format!("patch   {name} with time"), plain.len(), records, || {
            time += 1;
            patch(&mut stored, Default::default(), Default::default(), Some(Timestamp(time)));
        });
    }
}

/// Records of words, so that they compress about as logs do.
fn batch(codec: Codec, records: usize, record_bytes: usize) -> Bytes {
    const WORDS: [&str; 8] = ["user", "clicked", "on", "item", "price", "session", "from", "region"];
    let mut builder = Builder::new().codec(codec);
    let mut seed = 7u64;
    for n in 0..records {
        let mut value = String::new();
        while value.len() < record_bytes - 12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            value.push_str(WORDS[(seed >> 61) as usize]);
            value.push_str(&format!("={} ", seed >> 52));
        }
        value.truncate(record_bytes - 12);
        let timestamp = Timestamp(NOW.0 + n as i64);
        builder.push(NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
    }
    builder.build()
}

fn report(name: &str, bytes: usize, records: usize, mut work: impl FnMut()) {
    let mut best = Duration::MAX;
    let rounds = 20;
    for _ in 0..rounds {
        let started = Instant::now();
        let mut times = 0u32;
        while started.elapsed() < Duration::from_millis(5) {
            for _ in 0..10 {
                work();
            }
            times += 10;
        }
        best = best.min(started.elapsed() / times);
    }
    let nanos = best.as_nanos() as f64;
    println!("{name:<34}{:>12.2}{:>12.2}{:>14.2}", nanos / 1e3, bytes as f64 / nanos, nanos / records as f64);
}
