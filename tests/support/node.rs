//! A broker inside the test's own process, and a connection that speaks to it in messages or in raw bytes.
#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coretide::io::uring::{Cores, host};
use coretide::node::{Broker, Listen, Options};
use coretide::protocol::header::decode_response_header;
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, Frame, Message, Reader, Records};
use coretide::shard::Layout;

/// A broker on a free port, with a directory of its own under cargo's target directory. Dropping it stops it.
pub struct Node {
    broker: Option<Broker>,
    pub address: SocketAddr,
    dir: PathBuf,
    options: Options,
    cpus: Vec<usize>,
}

impl Node {
    /// One core, everything by default but a small journal.
    pub fn start(name: &str) -> Self {
        Self::with(name, 1, |_| {})
    }

    /// So many cores, and options changed by `change`.
    pub fn with(name: &str, cores: usize, change: impl FnOnce(&mut Options)) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        let mut options = Options {
            layout: Layout { data: dir.clone(), journals: dir.join("journals") },
            node: coretide::base::NodeId(1),
            rack: None,
            cluster_id: None,
            listeners: vec![Listen {
                name: "PLAINTEXT".into(),
                bind: ([127, 0, 0, 1], 0).into(),
                advertised_host: "127.0.0.1".into(),
                advertised_port: 0,
            }],
            shard: Default::default(),
            net: Default::default(),
            broker: Default::default(),
            on_failure: Arc::new(|error| panic!("the disk failed: {error}")),
            on_impatience: Arc::new(|| {}),
        };
        options.net.buffer_bytes = 32 << 20;
        change(&mut options);
        if std::env::var_os("CORETIDE_TEST_LOG").is_some() {
            let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).try_init();
        }
        let cpus = host::allowed_cpus().expect("the process has a CPU");
        let cpus = (0..cores).map(|core| cpus[core % cpus.len()]).collect();
        Self::on(cpus, options)
    }

    fn on(cpus: Vec<usize>, options: Options) -> Self {
        let cores = Cores::on(cpus.clone());
        let broker = Broker::start(&cores, options.clone()).unwrap_or_else(|fault| panic!("no broker: {fault}"));
        let address = broker.started().addresses[0];
        Self { broker: Some(broker), address, dir: options.layout.data.clone(), options, cpus }
    }

    /// Stops it, lets `meanwhile` do something to a copy of its data directory, and starts another one on that.
    pub fn restart(mut self, meanwhile: impl FnOnce(&Path)) -> Self {
        let broker = self.broker.take().expect("it runs");
        broker.stop();
        broker.wait().expect("a clean end");
        // A copy, because files that were open in this process stay locked for a while.
        let data = self.dir.with_extension("again");
        let _ = std::fs::remove_dir_all(&data);
        let copied = std::process::Command::new("cp").arg("-r").arg(&self.dir).arg(&data).status();
        assert!(copied.expect("cp").success());
        meanwhile(&data);
        let mut options = self.options.clone();
        options.layout = Layout { journals: data.join("journals"), data };
        Self::on(self.cpus.clone(), options)
    }

    /// A new connection.
    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// Asks it to stop, without waiting.
    pub fn begin_stop(&self) {
        self.broker.as_ref().expect("it runs").stop();
    }

    /// Waits until it has stopped.
    pub fn wait(mut self) {
        self.broker.take().expect("it runs").wait().expect("a clean end");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop();
            let ended = broker.wait();
            if !std::thread::panicking() {
                ended.expect("a clean end");
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A connection.
pub struct Wire {
    pub stream: TcpStream,
    correlation: i32,
}

impl Wire {
    /// Connects. What takes longer than 30 s fails.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a TCP socket");
        stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a TCP socket");
        Self { stream, correlation: 0 }
    }

    /// Asks and waits for the answer.
    pub fn call<Q: Message, A: Message>(&mut self, api: ApiKey, version: i16, request: &Q) -> A {
        self.ask(api, version, request);
        self.answer(api, version)
    }

    /// Asks and does not wait.
    pub fn ask<Q: Message>(&mut self, api: ApiKey, version: i16, request: &Q) {
        self.correlation += 1;
        let frame = Frame::request(api, version, self.correlation, Some("test"), request).into_bytes();
        self.send(&frame);
    }

    /// The next answer, to a request of this API and version.
    pub fn answer<A: Message>(&mut self, api: ApiKey, version: i16) -> A {
        let (_, message) = self.numbered(api, version);
        message
    }

    /// Whether an answer has come, without waiting for it.
    pub fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a TCP socket");
        let came = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).expect("a TCP socket");
        came
    }

    /// The next answer and the number of the request that it belongs to.
    pub fn numbered<A: Message>(&mut self, api: ApiKey, version: i16) -> (i32, A) {
        let frame = self.frame().unwrap_or_else(|error| panic!("no answer to {api} version {version}: {error}"));
        let mut reader = Reader::new(&frame);
        let number = decode_response_header(&mut reader, api, version).expect("a response header");
        let message =
            A::decode(&mut reader, version).unwrap_or_else(|fault| panic!("{api} version {version}: {fault}"));
        assert_eq!(reader.left(), 0, "{api} version {version} has bytes behind its end");
        (number, message)
    }

    /// The next answer's bytes, without their length.
    pub fn frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// Sends a request whose body is raw bytes.
    pub fn send_request(&mut self, key: i16, version: i16, body: &[u8]) {
        self.correlation += 1;
        let mut frame = Vec::new();
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(self.correlation.to_be_bytes());
        frame.extend([0xff, 0xff]);
        frame.extend(body);
        self.send(&(frame.len() as i32).to_be_bytes());
        self.send(&frame);
    }

    /// Says that nothing more is sent.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// Waits for the end of the connection. Panics if an answer comes instead, or nothing for 30 s.
    pub fn expect_closed(&mut self, why: &str) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("{why}: answered, and should have been closed"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{why}: {error}"),
        }
    }

    /// Makes a topic.
    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let response = self.create_topic(name, partitions, configs);
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    }

    /// Asks for a topic by CreateTopics version 7.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsResponse {
        use create_topics::*;
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: configs.collect(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        self.call(ApiKey::CreateTopics, 7, &request)
    }

    /// Produces one batch with Produce version 9.
    pub fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        batch: &[u8],
    ) -> produce::PartitionProduceResponse {
        let request = produce_request(topic, partition, acks, Some(batch));
        let mut response: ProduceResponse = self.call(ApiKey::Produce, 9, &request);
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// The values of all records of a partition from offset 0 on.
    pub fn read_all(&mut self, topic: &str, partition: i32) -> Vec<Vec<u8>> {
        use fetch::*;
        let mut values = Vec::new();
        loop {
            let wanted = FetchPartition {
                partition,
                fetch_offset: values.len() as i64,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            };
            let topic = FetchTopic { topic: topic.into(), partitions: vec![wanted], ..Default::default() };
            let request = FetchRequest { max_bytes: 1 << 20, topics: vec![topic], ..Default::default() };
            let mut response: FetchResponse = self.call(ApiKey::Fetch, 11, &request);
            let found = response.responses.remove(0).partitions.remove(0);
            assert_eq!(found.error_code, 0, "partition {partition} at offset {}", values.len());
            let bytes = found.records.into_bytes();
            for batch in coretide::record::batches(&bytes) {
                assert!(batch.crc_holds() && batch.base_offset().0 == values.len() as i64);
                let records = coretide::record::records(batch.body());
                values.extend(records.map(|record| record.expect("a record").value.unwrap_or_default().to_vec()));
            }
            if values.len() as i64 >= found.high_watermark {
                return values;
            }
        }
    }

    /// The end of a partition, by ListOffsets.
    pub fn latest(&mut self, topic: &str, partition: i32) -> i64 {
        use list_offsets::*;
        let partition = ListOffsetsPartition { partition_index: partition, timestamp: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let response: ListOffsetsResponse = self.call(ApiKey::ListOffsets, 7, &request);
        let found = &response.topics[0].partitions[0];
        assert_eq!(found.error_code, 0);
        found.offset
    }
}

/// A Produce request of one batch.
pub fn produce_request(topic: &str, partition: i32, acks: i16, batch: Option<&[u8]>) -> ProduceRequest {
    use produce::*;
    let records = batch.map(|batch| Records::from(Bytes::copy_from_slice(batch)));
    let data = PartitionProduceData { index: partition, records };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}
