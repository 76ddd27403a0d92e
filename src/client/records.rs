//! Records: sent and read.

use std::time::Duration;

use super::{Client, ClientError, Result, check};
use crate::base::Timestamp;
use crate::protocol::messages::fetch::{FetchPartition, FetchTopic};
use crate::protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use crate::protocol::messages::{FetchRequest, ProduceRequest};
use crate::record::compress::decompress_bounded;
use crate::record::{self, Builder, Codec, Header, NewRecord, Scratch, TimestampType};

/// Bytes that a batch of one fetch unfolds to at most.
const UNFOLDED_BYTES_MAX: usize = 256 << 20;
/// Bytes that one fetch asks for.
const FETCH_BYTES: i32 = 4 << 20;

/// A record that is to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ToSend {
    /// In ms since 1970; -1 for none.
    pub timestamp: i64,
    /// `None` for no key.
    pub key: Option<Vec<u8>>,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedRecord {
    /// Its place.
    pub offset: i64,
    /// In ms since 1970.
    pub timestamp: i64,
    /// `None` for no key.
    pub key: Option<Vec<u8>>,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What one fetch gave for a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Which.
    pub partition: i32,
    /// In order. Those below the offset that was asked for are left out.
    pub records: Vec<FetchedRecord>,
    /// Where to go on.
    pub next: i64,
    /// Where the partition ended when it answered.
    pub high_watermark: i64,
}

impl Client {
    /// Sends records as one batch and waits until they are acknowledged. Gives the offset of the first.
    pub fn produce(&mut self, topic: &str, partition: i32, codec: Codec, records: &[ToSend]) -> Result<i64> {
        let mut builder = Builder::new().codec(codec);
        for record in records {
            let headers: Vec<_> =
                record.headers.iter().map(|(key, value)| Header { key, value: Some(value) }).collect();
            builder.push(NewRecord {
                timestamp: Timestamp(record.timestamp),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            });
        }
        let data = PartitionProduceData { index: partition, records: Some(builder.build().into()) };
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: self.timeout_ms(),
            topic_data: vec![TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() }],
        };
        let leader = self.leader(topic, partition)?;
        let answer = self.ask_at(&leader, &request)?;
        let answered = answer.responses.iter().flat_map(|topic| &topic.partition_responses).next();
        let answered = answered.ok_or_else(|| ClientError::Usage(format!("no answer for {topic}-{partition}")))?;
        check(answered.error_code, answered.error_message.as_deref(), || format!("records for {topic}-{partition}"))?;
        Ok(answered.base_offset)
    }

    /// Reads what is there from these offsets on, transactions that are open or aborted included; waits up to `wait` if there is nothing.
    pub fn fetch(&mut self, topic: &str, from: &[(i32, i64)], wait: Duration) -> Result<Vec<Fetched>> {
        let shares = self.by_leader(topic, from.iter().map(|&(partition, offset)| (partition, (partition, offset))))?;
        // With several brokers each waits in turn, so that the whole takes no longer.
        let wait = wait / u32::try_from(shares.len()).unwrap_or(u32::MAX).max(1);
        let mut all = Vec::new();
        for (leader, share) in shares {
            let partitions = share.iter().map(|&(partition, fetch_offset)| FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: FETCH_BYTES,
                ..Default::default()
            });
            let request = FetchRequest {
                max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
                min_bytes: 1,
                max_bytes: FETCH_BYTES,
                topics: vec![FetchTopic {
                    topic: topic.into(),
                    partitions: partitions.collect(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let timeout = self.timeout();
            let connection = self.connection(&leader)?;
            connection.wait(wait + timeout);
            let answer = connection.call(&request);
            connection.wait(timeout);
            let answer = answer?;
            check(answer.error_code, None, || format!("records of {topic:?}"))?;
            for data in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
                let partition = data.partition_index;
                check(data.error_code, None, || format!("records of {topic}-{partition}"))?;
                let Some((_, from)) = share.iter().find(|(asked, _)| *asked == partition) else { continue };
                let (records, next) = unfold(&data.records.into_bytes(), *from)
                    .map_err(|fault| ClientError::Usage(format!("records of {topic}-{partition}: {fault}")))?;
                all.push(Fetched { partition, records, next, high_watermark: data.high_watermark });
            }
        }
        all.sort_by_key(|fetched| fetched.partition);
        Ok(all)
    }
}

/// The records in fetched bytes from an offset on, and the offset behind them. A batch that is cut off at the end is left for the next fetch.
fn unfold(bytes: &[u8], from: i64) -> std::result::Result<(Vec<FetchedRecord>, i64), String> {
    let (mut records, mut next, mut scratch) = (Vec::new(), from, Scratch::default());
    for batch in record::batches(bytes) {
        let base = batch.base_offset().0;
        if !batch.crc_holds() {
            return Err(format!("the batch at offset {base} is damaged"));
        }
        next = next.max(batch.last_offset().0 + 1);
        if batch.header().control() {
            continue;
        }
        let codec = batch.header().codec().map_err(|codec| format!("the batch at offset {base} has codec {codec}"))?;
        let body = decompress_bounded(codec, batch.body(), UNFOLDED_BYTES_MAX, &mut scratch);
        let body = body.map_err(|fault| format!("the batch at offset {base}: {fault}"))?;
        for found in record::records(&body) {
            let found = found.map_err(|fault| format!("the batch at offset {base}: {fault}"))?;
            let offset = base.saturating_add(found.offset_delta.into());
            if offset < from {
                continue;
            }
            let headers = found
                .headers
                .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value.map(<[u8]>::to_vec)));
            records.push(FetchedRecord {
                offset,
                timestamp: match batch.header().timestamp_type() {
                    TimestampType::LogAppendTime => batch.header().max_timestamp.get(),
                    TimestampType::CreateTime => {
                        batch.header().base_timestamp.get().saturating_add(found.timestamp_delta)
                    }
                },
                key: found.key.map(<[u8]>::to_vec),
                value: found.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            });
        }
    }
    Ok((records, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{LeaderEpoch, Offset};

    #[test]
    fn fetched_bytes_become_records_from_the_offset_on() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut builder = Builder::new().codec(codec).at(Offset(7), LeaderEpoch(0));
            for (at, value) in [b"a", b"b", b"c"].into_iter().enumerate() {
                let headers = [Header { key: "h", value: None }];
                let timestamp = Timestamp(100 + at as i64);
                builder.push(NewRecord { timestamp, key: None, value: Some(value), headers: &headers });
            }
            let mut bytes = builder.build().to_vec();
            let whole = bytes.len();
            bytes.extend_from_slice(&bytes.clone()[..whole / 2]);
            let (records, next) = unfold(&bytes, 8).unwrap();
            assert_eq!(next, 10, "the half batch behind it waits for the next fetch");
            let found: Vec<_> = records.iter().map(|r| (r.offset, r.timestamp, r.value.as_deref().unwrap())).collect();
            assert_eq!(found, [(8, 101, &b"b"[..]), (9, 102, b"c")]);
            assert_eq!(records[0].headers, [("h".to_owned(), None)]);
            bytes[whole - 1] ^= 1;
            assert!(unfold(&bytes, 8).unwrap_err().contains("damaged"));
        }
    }
}
