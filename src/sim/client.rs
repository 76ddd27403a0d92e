//! A client with one connection and one request at a time.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};

use crate::io::{Io, Stream};
use crate::protocol::header::decode_response_header;
use crate::protocol::messages::{fetch, produce};
use crate::protocol::{ApiKey, Frame, Message, Reader, Records};

/// The connection is gone, or what came over it makes no sense; the broker may or may not have done what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

pub(super) struct Client {
    stream: Stream,
    buffer: BytesMut,
    correlation_id: i32,
}

impl Client {
    pub(super) async fn connect(io: &Io, address: SocketAddr) -> Result<Self, Gone> {
        Ok(Self { stream: io.connect(address).await?, buffer: BytesMut::new(), correlation_id: 0 })
    }

    /// Asks and waits for the answer.
    pub(super) async fn call<A: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Message,
    ) -> Result<A, Gone> {
        self.correlation_id += 1;
        let frame = Frame::request(api, version, self.correlation_id, Some("sim"), request);
        let mut parts = [frame.into_bytes()].into_iter().collect();
        self.stream.write_all(&mut parts).await?;
        let answer = self.frame().await?;
        let mut reader = Reader::new(&answer);
        let correlation_id = decode_response_header(&mut reader, api, version).map_err(|_| Gone)?;
        assert_eq!(correlation_id, self.correlation_id, "answers come in the order of the requests");
        Ok(A::decode(&mut reader, version).expect("the broker writes what can be read"))
    }

    async fn frame(&mut self) -> Result<Bytes, Gone> {
        loop {
            if let Some((length, _)) = self.buffer.split_first_chunk::<4>() {
                let len = i32::from_be_bytes(*length) as usize;
                if self.buffer.len() >= 4 + len {
                    self.buffer.advance(4);
                    return Ok(self.buffer.split_to(len).freeze());
                }
            }
            self.buffer.reserve(64 << 10);
            if self.stream.read(&mut self.buffer).await? == 0 {
                return Err(Gone);
            }
        }
    }
}

/// One batch for one partition, with all acknowledgements.
pub(super) fn produce_to(topic: &str, partition: i32, batch: Bytes) -> produce::ProduceRequest {
    produce::ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![produce::TopicProduceData {
            name: topic.into(),
            partition_data: vec![produce::PartitionProduceData {
                index: partition,
                records: Some(Records::from(batch)),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// At most so many bytes of one partition, which may be waited for.
pub(super) fn fetch_from(
    topic: &str,
    partition: i32,
    fetch_offset: i64,
    partition_max_bytes: i32,
    max_wait_ms: i32,
) -> fetch::FetchRequest {
    fetch::FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![fetch::FetchTopic {
            topic: topic.into(),
            partitions: vec![fetch::FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}
