//! A small blocking Kafka client for the tests, on std sockets: written apart from the broker's own codec, so that both cannot be wrong in
//! the same way. It panics with a sentence when an answer is not what a test may expect, except where a broker may die at any moment.
#![allow(dead_code)]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// One connection. Requests are answered in order.
pub struct Client {
    stream: TcpStream,
    correlation: i32,
}

/// The answer to one Produce request of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub correlation: i32,
    pub partition: i32,
    pub error: i16,
    pub base_offset: i64,
}

/// What a fetch says of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub partition: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub log_start: i64,
    pub records: Vec<u8>,
}

/// A topic of a Metadata answer.
#[derive(Clone, Debug)]
pub struct Topic {
    pub error: i16,
    pub name: String,
    pub leaders: Vec<(i32, i32)>,
}

impl Client {
    /// Connects. Reads and writes that take longer than 30 s fail.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client { stream, correlation: 0 })
    }

    /// ApiVersions v0: key, lowest and highest version of everything served.
    pub fn api_versions(&mut self) -> io::Result<Vec<(i16, i16, i16)>> {
        let answer = self.call(18, 0, Body::default())?;
        let mut r = Answer(&answer);
        assert_eq!(r.i16(), 0, "ApiVersions v0 fails");
        Ok((0..r.i32()).map(|_| (r.i16(), r.i16(), r.i16())).collect())
    }

    /// Metadata v4 for one topic, created if `create`.
    pub fn metadata(&mut self, topic: &str, create: bool) -> io::Result<Topic> {
        let mut body = Body::default();
        body.i32(1).string(topic).i8(create.into());
        let answer = self.call(3, 4, body)?;
        let mut r = Answer(&answer);
        r.i32();
        for _ in 0..r.i32() {
            r.i32();
            r.bytes16();
            r.i32();
            r.bytes16();
        }
        r.bytes16();
        r.i32();
        assert_eq!(r.i32(), 1, "one topic was asked for");
        let error = r.i16();
        let name = String::from_utf8_lossy(r.bytes16()).into_owned();
        r.i8();
        let leaders = (0..r.i32())
            .map(|_| {
                let error = r.i16();
                let (partition, leader) = (r.i32(), r.i32());
                for _ in 0..2 {
                    let count = r.i32();
                    r.take(count.max(0) as usize * 4);
                }
                (partition, if error == 0 { leader } else { -1 })
            })
            .collect();
        Ok(Topic { error, name, leaders })
    }

    /// CreateTopics v4 with one replica; returns the error code.
    pub fn create_topic(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> io::Result<i16> {
        let mut body = Body::default();
        body.i32(1).string(topic).i32(partitions).i16(1).i32(0).i32(configs.len() as i32);
        for (key, value) in configs {
            body.string(key).string(value);
        }
        body.i32(30_000).i8(0);
        let answer = self.call(19, 4, body)?;
        let mut r = Answer(&answer);
        r.i32();
        assert_eq!(r.i32(), 1, "one topic was asked for");
        r.bytes16();
        Ok(r.i16())
    }

    /// InitProducerId v1 without a transaction: error code, id, epoch.
    pub fn init_producer_id(&mut self) -> io::Result<(i16, i64, i16)> {
        let mut body = Body::default();
        body.i16(-1).i32(60_000);
        let answer = self.call(22, 1, body)?;
        let mut r = Answer(&answer);
        r.i32();
        Ok((r.i16(), r.i64(), r.i16()))
    }

    /// ListOffsets v4: error code and offset; -2 is the earliest, -1 the latest.
    pub fn list_offset(&mut self, topic: &str, partition: i32, time: i64) -> io::Result<(i16, i64)> {
        let mut body = Body::default();
        body.i32(-1).i8(0).i32(1).string(topic).i32(1).i32(partition).i32(-1).i64(time);
        let answer = self.call(2, 4, body)?;
        let mut r = Answer(&answer);
        r.i32();
        r.i32();
        r.bytes16();
        r.i32();
        r.i32();
        let error = r.i16();
        r.i64();
        Ok((error, r.i64()))
    }

    /// Fetch v11 without a session, of (partition, offset) pairs.
    pub fn fetch(&mut self, topic: &str, from: &[(i32, i64)], wait: Duration, max: i32) -> io::Result<Vec<Fetched>> {
        let answer = self.call(1, 11, fetch_body(topic, from, wait, max))?;
        let mut r = Answer(&answer);
        r.i32();
        assert_eq!(r.i16(), 0, "the fetch as a whole fails");
        r.i32();
        let mut fetched = Vec::new();
        for _ in 0..r.i32() {
            r.bytes16();
            for _ in 0..r.i32() {
                let (partition, error, high_watermark) = (r.i32(), r.i16(), r.i64());
                r.i64();
                let log_start = r.i64();
                let aborted = r.i32();
                r.take(aborted.max(0) as usize * 16);
                r.i32();
                let records = r.bytes32().to_vec();
                fetched.push(Fetched { partition, error, high_watermark, log_start, records });
            }
        }
        Ok(fetched)
    }

    /// As [`Client::fetch`], but the answer is not read.
    pub fn send_fetch(&mut self, topic: &str, from: &[(i32, i64)], wait: Duration, max: i32) -> io::Result<i32> {
        self.request(1, 11, fetch_body(topic, from, wait, max))
    }

    /// FindCoordinator v0: the error code. The first to ask has the topic of the groups made.
    pub fn find_coordinator(&mut self, group: &str) -> io::Result<i16> {
        let mut body = Body::default();
        body.string(group);
        let answer = self.call(10, 0, body)?;
        Ok(Answer(&answer).i16())
    }

    /// OffsetCommit v2 by a client that is in no group: the error code.
    pub fn commit_offset(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> io::Result<i16> {
        let mut body = Body::default();
        body.string(group).i32(-1).string("").i64(-1).i32(1).string(topic);
        body.i32(1).i32(partition).i64(offset).string("");
        let answer = self.call(8, 2, body)?;
        let mut r = Answer(&answer);
        assert_eq!(r.i32(), 1, "one topic was committed");
        r.bytes16();
        assert_eq!((r.i32(), r.i32()), (1, partition), "one partition was committed");
        Ok(r.i16())
    }

    /// OffsetFetch v2 of one partition: the group's error code, and the offset; -1 if none is committed.
    pub fn committed_offset(&mut self, group: &str, topic: &str, partition: i32) -> io::Result<(i16, i64)> {
        let mut body = Body::default();
        body.string(group).i32(1).string(topic).i32(1).i32(partition);
        let answer = self.call(9, 2, body)?;
        let mut r = Answer(&answer);
        let mut offset = -1;
        for _ in 0..r.i32() {
            r.bytes16();
            for _ in 0..r.i32() {
                assert_eq!(r.i32(), partition, "one partition was asked for");
                offset = r.i64();
                r.bytes16();
                r.i16();
            }
        }
        Ok((r.i16(), offset))
    }

    /// IncrementalAlterConfigs v0 that sets one configuration of a topic: the error code.
    pub fn set_config(&mut self, topic: &str, key: &str, value: &str) -> io::Result<i16> {
        let mut body = Body::default();
        body.i32(1).i8(2).string(topic).i32(1).string(key).i8(0).string(value).i8(0);
        let answer = self.call(44, 0, body)?;
        let mut r = Answer(&answer);
        r.i32();
        assert_eq!(r.i32(), 1, "one topic was altered");
        Ok(r.i16())
    }

    /// DescribeConfigs v1 of one configuration of a topic: its value.
    pub fn config(&mut self, topic: &str, key: &str) -> io::Result<String> {
        let mut body = Body::default();
        body.i32(1).i8(2).string(topic).i32(1).string(key).i8(0);
        let answer = self.call(32, 1, body)?;
        let mut r = Answer(&answer);
        r.i32();
        assert_eq!((r.i32(), r.i16()), (1, 0), "one topic is described");
        r.bytes16();
        r.i8();
        r.bytes16();
        assert_eq!((r.i32(), r.bytes16()), (1, key.as_bytes()), "one configuration is described");
        Ok(String::from_utf8_lossy(r.bytes16()).into_owned())
    }

    /// Sends a Produce v9 request of one batch with acks=all and does not wait. Returns its correlation id.
    pub fn send(&mut self, topic: &str, partition: i32, batch: &[u8]) -> io::Result<i32> {
        let mut body = Body::default();
        body.uvarint(0).uvarint(0).i16(-1).i32(30_000).uvarint(2).compact(topic).uvarint(2).i32(partition);
        body.uvarint(batch.len() as u32 + 1).raw(batch).uvarint(0).uvarint(0).uvarint(0);
        self.request(0, 9, body)
    }

    /// The answer to the oldest request of [`Client::send`] that has none yet.
    pub fn receive(&mut self) -> io::Result<Produced> {
        let answer = self.answer()?;
        let mut r = Answer(&answer);
        let correlation = r.i32();
        assert_eq!(r.uvarint(), 0, "no tags in the header");
        assert_eq!(r.uvarint(), 2, "one topic was sent");
        let name = r.uvarint();
        r.take(name as usize - 1);
        assert_eq!(r.uvarint(), 2, "one partition was sent");
        Ok(Produced { correlation, partition: r.i32(), error: r.i16(), base_offset: r.i64() })
    }

    fn call(&mut self, key: i16, version: i16, body: Body) -> io::Result<Vec<u8>> {
        let correlation = self.request(key, version, body)?;
        let mut answer = self.answer()?;
        assert_eq!(Answer(&answer).i32(), correlation, "answers come in the order of requests");
        answer.drain(..4);
        Ok(answer)
    }

    fn request(&mut self, key: i16, version: i16, body: Body) -> io::Result<i32> {
        self.correlation += 1;
        let mut frame = Body::default();
        frame.i32(0).i16(key).i16(version).i32(self.correlation).string("test").raw(&body.0);
        let length = (frame.0.len() - 4) as i32;
        frame.0[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame.0)?;
        Ok(self.correlation)
    }

    fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn fetch_body(topic: &str, from: &[(i32, i64)], wait: Duration, max: i32) -> Body {
    let mut body = Body::default();
    body.i32(-1).i32(wait.as_millis() as i32).i32(1).i32(max).i8(0).i32(0).i32(-1);
    body.i32(1).string(topic).i32(from.len() as i32);
    for &(partition, offset) in from {
        body.i32(partition).i32(-1).i64(offset).i64(-1).i32(max);
    }
    body.i32(0).string("");
    body
}

/// A batch as a test builds it: records without keys, not compressed.
pub struct Batch<'a> {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub timestamp: i64,
    pub values: &'a [&'a [u8]],
}

impl Batch<'_> {
    /// The batch in Kafka's format 2, with its checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Body::default();
        let last = self.values.len() as i32 - 1;
        body.i16(0).i32(last).i64(self.timestamp).i64(self.timestamp);
        body.i64(self.producer_id).i16(self.producer_epoch).i32(self.base_sequence).i32(last + 1);
        for (index, value) in self.values.iter().enumerate() {
            let mut record = Body::default();
            record.i8(0).varint(0).varint(index as i64).varint(-1).varint(value.len() as i64).raw(value).varint(0);
            body.varint(record.0.len() as i64).raw(&record.0);
        }
        let mut batch = Body::default();
        batch.i64(0).i32(body.0.len() as i32 + 9).i32(-1).i8(2).i32(crc32c::crc32c(&body.0) as i32).raw(&body.0);
        batch.0
    }
}

/// A whole batch as it was fetched.
#[derive(Clone, Copy)]
pub struct Stored<'a>(pub &'a [u8]);

impl<'a> Stored<'a> {
    /// The whole batches at the front of a records field; a cut one at the end is left out.
    pub fn walk(mut bytes: &'a [u8]) -> impl Iterator<Item = Stored<'a>> {
        std::iter::from_fn(move || {
            let length = i32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
            assert!(length >= 49, "a batch of length {length} was fetched");
            let (batch, rest) = bytes.split_at_checked(length as usize + 12)?;
            bytes = rest;
            Some(Stored(batch))
        })
    }
    pub fn base_offset(self) -> i64 {
        Answer(self.0).i64()
    }
    pub fn leader_epoch(self) -> i32 {
        Answer(&self.0[12..]).i32()
    }
    pub fn magic(self) -> u8 {
        self.0[16]
    }
    pub fn crc(self) -> u32 {
        Answer(&self.0[17..]).i32() as u32
    }
    pub fn crc_holds(self) -> bool {
        crc32c::crc32c(&self.0[21..]) == self.crc()
    }
    pub fn last_offset(self) -> i64 {
        self.base_offset() + i64::from(Answer(&self.0[23..]).i32())
    }
    pub fn producer_id(self) -> i64 {
        Answer(&self.0[43..]).i64()
    }
    pub fn base_sequence(self) -> i32 {
        Answer(&self.0[53..]).i32()
    }
    pub fn records(self) -> i32 {
        Answer(&self.0[57..]).i32()
    }
}

#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn i8(&mut self, v: i8) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    fn i16(&mut self, v: i16) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    fn i32(&mut self, v: i32) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    fn i64(&mut self, v: i64) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    fn string(&mut self, s: &str) -> &mut Self {
        self.i16(s.len() as i16).raw(s.as_bytes())
    }
    fn compact(&mut self, s: &str) -> &mut Self {
        self.uvarint(s.len() as u32 + 1).raw(s.as_bytes())
    }
    fn uvarint(&mut self, v: u32) -> &mut Self {
        self.unsigned(v.into())
    }
    fn varint(&mut self, v: i64) -> &mut Self {
        self.unsigned(((v << 1) ^ (v >> 63)) as u64)
    }
    fn unsigned(&mut self, mut v: u64) -> &mut Self {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
        self
    }
}

/// Reads an answer; one that is too short fails the test by the slice's own panic.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        head
    }
    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("take returns N bytes")
    }
    fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.array())
    }
    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.array())
    }
    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.array())
    }
    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.array())
    }
    fn bytes16(&mut self) -> &'a [u8] {
        let n = self.i16();
        self.take(n.max(0) as usize)
    }
    fn bytes32(&mut self) -> &'a [u8] {
        let n = self.i32();
        self.take(n.max(0) as usize)
    }
    fn uvarint(&mut self) -> u32 {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
}
