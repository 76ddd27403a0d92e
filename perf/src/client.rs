//! A small blocking Kafka client: one connection, one request at a time, for what is not measured (topics, producer ids, offsets).

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    wire::{Reader, Writer, api, close_frame, open_frame},
};

/// One connection.
pub struct Client {
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    /// Connects; answers that take longer than 30 s are an error.
    pub fn connect(bootstrap: &str) -> Result<Self> {
        Ok(Client { stream: connect(bootstrap)?, correlation: 0 })
    }

    /// Sends a request with a classic (not flexible) header and returns the answer's body.
    pub fn call(&mut self, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
        self.correlation += 1;
        let mut frame = open_frame(key, version, self.correlation, false);
        frame.raw(body);
        self.stream.write_all(&close_frame(frame))?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length))?];
        self.stream.read_exact(&mut answer)?;
        if Reader(&answer).i32()? != self.correlation {
            return Err("the answer is to another request".into());
        }
        Ok(answer.split_off(4))
    }

    /// Creates a topic with one replica and waits until each of its partitions has a leader. A topic that exists is used as it is.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<()> {
        let mut body = Writer::default();
        body.i32(1).string(name).i32(partitions).i16(1).i32(0).i32(0).i32(30_000).i8(0);
        let answer = self.call(api::CREATE_TOPICS, 4, &body.0)?;
        let mut r = Reader(&answer);
        r.i32()?;
        r.i32()?;
        r.bytes16()?;
        match r.i16()? {
            0 | 36 => {}
            code => {
                let message = String::from_utf8_lossy(r.bytes16()?);
                return Err(format!("CreateTopics {name}: error {code} {message}").into());
            }
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let leaders = self.leaders(name)?;
            if leaders.len() >= partitions as usize && leaders.iter().all(|&leader| leader >= 0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("topic {name} has leaders {leaders:?} after 20 s").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Deletes a topic. An unknown topic is no error.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let mut body = Writer::default();
        body.i32(1).string(name).i32(30_000);
        let answer = self.call(api::DELETE_TOPICS, 3, &body.0)?;
        let mut r = Reader(&answer);
        r.i32()?;
        r.i32()?;
        r.bytes16()?;
        match r.i16()? {
            0 | 3 => Ok(()),
            code => Err(format!("DeleteTopics {name}: error {code}").into()),
        }
    }

    /// The leader of each partition of a topic; empty while the topic is unknown.
    pub fn leaders(&mut self, topic: &str) -> Result<Vec<i32>> {
        let mut body = Writer::default();
        body.i32(1).string(topic).i8(0);
        let answer = self.call(api::METADATA, 4, &body.0)?;
        let mut r = Reader(&answer);
        r.i32()?;
        for _ in 0..r.i32()? {
            r.i32()?;
            r.bytes16()?;
            r.i32()?;
            r.bytes16()?;
        }
        r.bytes16()?;
        r.i32()?;
        let mut leaders = Vec::new();
        for _ in 0..r.i32()? {
            r.i16()?;
            r.bytes16()?;
            r.i8()?;
            for _ in 0..r.i32()? {
                let error = r.i16()?;
                r.i32()?;
                let leader = r.i32()?;
                leaders.push(if error == 0 { leader } else { -1 });
                for _ in 0..2 {
                    let n = r.i32()?;
                    r.take(n.max(0) as usize * 4)?;
                }
            }
        }
        Ok(leaders)
    }

    /// A fresh producer id and its epoch.
    pub fn init_producer_id(&mut self) -> Result<(i64, i16)> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut body = Writer::default();
            body.i16(-1).i32(60_000);
            let answer = self.call(api::INIT_PRODUCER_ID, 1, &body.0)?;
            let mut r = Reader(&answer);
            r.i32()?;
            match r.i16()? {
                0 => return Ok((r.i64()?, r.i16()?)),
                // The coordinator is loading or not known yet.
                14 | 15 if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
                code => return Err(format!("InitProducerId: error {code}").into()),
            }
        }
    }

    /// The offset at a special time: -2 the earliest, -1 the latest.
    pub fn list_offset(&mut self, topic: &str, partition: i32, time: i64) -> Result<i64> {
        let mut body = Writer::default();
        body.i32(-1).i8(0).i32(1).string(topic).i32(1).i32(partition).i32(-1).i64(time);
        let answer = self.call(api::LIST_OFFSETS, 4, &body.0)?;
        let mut r = Reader(&answer);
        r.i32()?;
        r.i32()?;
        r.bytes16()?;
        r.i32()?;
        r.i32()?;
        match r.i16()? {
            0 => {
                r.i64()?;
                r.i64()
            }
            code => Err(format!("ListOffsets {topic}-{partition}: error {code}").into()),
        }
    }
}

/// A connection without Nagle's delay whose reads and writes fail after 30 s.
pub fn connect(bootstrap: &str) -> Result<TcpStream> {
    let address = bootstrap
        .to_socket_addrs()
        .map_err(|e| format!("{bootstrap}: {e}"))?
        .next()
        .ok_or_else(|| format!("{bootstrap} has no address"))?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .map_err(|e| format!("cannot connect to {bootstrap}: {e}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}
