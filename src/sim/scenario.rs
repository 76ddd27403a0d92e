//! One story from a seed.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, Gone, fetch_from, produce_to};
use super::ledger::{Acknowledged, Expiry, Found, Ledger, Read, Send};
use crate::base::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use crate::broker;
use crate::io::Io;
use crate::io::sim::{Crash, Loss, Process, Random, World, WorldOptions};
use crate::node::{self, Listen, Seat};
use crate::protocol::messages::{create_topics, fetch, init_producer_id, list_offsets, metadata, produce};
use crate::protocol::{ApiKey, ErrorCode};
use crate::record::{Builder, NewRecord, records};
use crate::shard::{self, Defect, HIGH_WATERMARK, Layout, OffsetSpec, Shard};
use crate::storage::drive::DriveOptions;

/// What happened, so that a run in which nothing happened can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Story {
    /// Batches that were acknowledged.
    pub acknowledged: u64,
    /// Sends that were attempted again.
    pub retried: u64,
    /// Batches that a reader saw while others wrote.
    pub read: u64,
    /// Times that the broker was brought down.
    pub crashes: u64,
    /// Unflushed operations that power cuts took away or tore.
    pub lost: u64,
    /// Starts that took batches out of a journal.
    pub recovered: u64,
    /// Journal files that were recycled is told by segments: batches that stood in segments before the last crash.
    pub drained: u64,
    /// Deletions of records that were answered.
    pub deletions: u64,
    /// Times that a reader found its offset deleted.
    pub skipped: u64,
    /// Partitions of which records expired.
    pub expired: u64,
    /// The same for the same seed.
    pub trace: u64,
}

const TOPIC: &str = "story";
const PARTITIONS: usize = 3;
const PRODUCERS: u32 = 3;
const SENDS: u32 = 30;
const PATIENCE: Duration = Duration::from_secs(120);
const YEAR_MS: i64 = 366 * 24 * 60 * 60 * 1000;

/// Tells the story of `seed`. `Err` is the rule that was broken.
pub fn tell(seed: u64, defect: Option<Defect>) -> Result<Story, String> {
    let world = World::new(seed, WorldOptions::default());
    let mut stage = Stage::new(&world, defect);
    stage.start();
    stage.make_topic()?;
    stage.begin_work();
    let crashes = stage.chance.between(1, 3);
    for _ in 0..crashes {
        stage.let_work();
        stage.jump_clock();
        stage.bring_down();
        stage.start();
        if stage.chance.one_in(4) {
            // Inside recovery, or soon after.
            let soon = stage.chance.between(0, 20_000);
            world.run_for(Duration::from_micros(soon));
            stage.bring_down();
            stage.start();
        }
        stage.check_epochs()?;
    }
    stage.finish()
}

/// Whether records go in this story, and how. A stream of chance of its own, so that the other stories stay as they were.
#[derive(Clone)]
struct Plot {
    /// Somebody deletes records.
    deletes: bool,
    expiry: Expiry,
    /// Milliseconds, of the topic and of the broker.
    segment_ms: u64,
    file_delete_delay_ms: u64,
    check_interval_ms: u64,
}

impl Plot {
    fn of(world: &World) -> Option<Self> {
        let mut chance = world.random("deletions");
        if chance.one_in(2) {
            return None;
        }
        let expiry = match chance.below(4) {
            0 => Expiry::Ms(chance.between(20, 150) as i64),
            1 => Expiry::Bytes(chance.between(5_000, 60_000)),
            _ => Expiry::Never,
        };
        Some(Self {
            deletes: expiry == Expiry::Never || chance.one_in(2),
            expiry,
            segment_ms: chance.between(1, 20),
            file_delete_delay_ms: chance.between(0, 30),
            check_interval_ms: chance.between(2, 40),
        })
    }

    /// The topic's configurations.
    fn configs(&self) -> Vec<(&'static str, String)> {
        let mut configs = vec![
            ("segment.ms", self.segment_ms.to_string()),
            ("file.delete.delay.ms", self.file_delete_delay_ms.to_string()),
        ];
        match self.expiry {
            Expiry::Never => {}
            Expiry::Ms(ms) => configs.push(("retention.ms", ms.to_string())),
            Expiry::Bytes(bytes) => configs.push(("retention.bytes", bytes.to_string())),
        }
        configs
    }
}

/// A node with any settings, small enough to come to its bounds.
pub(super) fn node_options(chance: &mut Random) -> node::Options {
    let file_bytes = chance.between(2, 4) * (64 << 10);
    let block_bytes = 32 << 10;
    node::Options {
        layout: Layout { data: PathBuf::from("/data"), journals: PathBuf::from("/data/journals") },
        node: NodeId(1),
        rack: None,
        cluster_id: None,
        listeners: vec![Listen {
            name: "PLAINTEXT".into(),
            bind: address(),
            advertised_host: "127.0.0.1".into(),
            advertised_port: 0,
        }],
        shard: shard::Options {
            cache_bytes: (chance.between(0, 3) * (64 << 10)) as usize,
            journal_bytes: file_bytes * chance.between(2, 4),
            journal_file_bytes: file_bytes,
            metadata_file_bytes: 256 << 10,
            journal_depth: chance.between(1, 4) as usize,
            journal_block_bytes: block_bytes,
            journal_threshold: 8 << 10,
            drive: DriveOptions {
                files_flushed_apart_max: if chance.between(0, 1) == 0 { 0 } else { usize::MAX },
                read_depth: chance.between(1, 2) as usize,
                ..DriveOptions::default()
            },
            ..shard::Options::default()
        },
        net: crate::net::Options::default(),
        broker: broker::Options::default(),
        on_failure: Arc::new(|error| panic!("the disk works, and yet: {error}")),
        on_impatience: Arc::new(|| {}),
    }
}

struct Stage<'a> {
    world: &'a World,
    plot: Option<Plot>,
    broker: Process,
    clients: Process,
    chance: Random,
    deletions: Random,
    defect: Option<Defect>,
    ledger: Rc<RefCell<Ledger>>,
    working: Rc<Cell<u32>>,
    story: Story,
    summaries: Rc<RefCell<Vec<shard::BootSummary>>>,
    failures: Rc<RefCell<Vec<String>>>,
}

pub(super) fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9092))
}

impl<'a> Stage<'a> {
    fn new(world: &'a World, defect: Option<Defect>) -> Self {
        Self {
            world,
            plot: Plot::of(world),
            deletions: world.random("what is deleted"),
            broker: world.process("broker"),
            clients: world.process("clients"),
            chance: world.random("story"),
            defect,
            ledger: Rc::new(RefCell::new(Ledger::new(PARTITIONS))),
            working: Rc::new(Cell::new(PRODUCERS)),
            story: Story::default(),
            summaries: Rc::default(),
            failures: Rc::default(),
        }
    }

    /// Starts the broker with any number of cores and any settings. Does not wait for it.
    fn start(&mut self) {
        let cores = self.chance.between(1, 3) as u16;
        let options = self.options();
        let (heard, failures) = (self.summaries.clone(), self.failures.clone());
        let (announce, announced) = std::sync::mpsc::channel();
        let (seats, _stop) = node::seats(cores, move |outcome| {
            let _ = announce.send(outcome);
        });
        let seats: Rc<RefCell<Vec<Option<Seat>>>> = Rc::new(RefCell::new(seats.into_iter().map(Some).collect()));
        let announced = Rc::new(announced);
        let deletes = self.plot.as_ref().is_some_and(|plot| plot.deletes);
        let deleting = deletes.then(|| (self.deletions.next_u64(), self.ledger.clone(), self.working.clone()));
        self.world.start(self.broker, cores, move |io: Io| {
            let seat = seats.borrow_mut()[usize::from(io.shard().0)].take().expect("a core takes its seat once");
            let (options, heard, failures, announced) =
                (options.clone(), heard.clone(), failures.clone(), announced.clone());
            let deleting = deleting.clone().filter(|_| io.shard().0 == 0);
            async move {
                if io.shard().0 == 0 {
                    io.spawn(hear(io.clone(), announced.clone(), heard, failures.clone()));
                }
                let ready = |shard: &Shard| {
                    if let Some((seed, ledger, working)) = deleting {
                        let chance = Random::new(seed, "deletions");
                        shard.io().spawn(delete_on(shard.clone(), chance, ledger, working));
                    }
                };
                node::core_seen(io, seat, options, ready).await;
                // A start that fails ends the core, and who listened on it.
                if let Ok(Err(error)) = announced.try_recv() {
                    failures.borrow_mut().push(does_not_start(&error));
                }
            }
        });
    }

    fn options(&mut self) -> node::Options {
        let mut options = node_options(&mut self.chance);
        let check_interval_ms = self.plot.as_ref().map_or(300_000, |plot| plot.check_interval_ms);
        options.shard.retention_check_interval = Duration::from_millis(check_interval_ms);
        options.shard.defect = self.defect;
        options
    }

    fn make_topic(&mut self) -> Result<(), String> {
        let configs = self.plot.as_ref().map(Plot::configs).unwrap_or_default();
        let made = self.world.run(self.clients, async move |io| {
            let configs = configs.iter().map(|(name, value)| create_topics::CreatableTopicConfig {
                name: (*name).into(),
                value: Some(value.as_str().into()),
            });
            let request = create_topics::CreateTopicsRequest {
                topics: vec![create_topics::CreatableTopic {
                    name: TOPIC.into(),
                    num_partitions: PARTITIONS as i32,
                    replication_factor: 1,
                    configs: configs.collect(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let mut last = "nobody listens".to_owned();
            for _ in 0..1000 {
                if let Ok(mut client) = Client::connect(&io, address()).await {
                    let answer = client.call(ApiKey::CreateTopics, 5, &request).await;
                    match answer.map(|answer: create_topics::CreateTopicsResponse| answer.topics[0].error_code) {
                        Ok(code) if [0, ErrorCode::TopicAlreadyExists.code()].contains(&code) => return Ok(()),
                        outcome => last = format!("{outcome:?}"),
                    }
                }
                io.sleep(Duration::from_millis(5)).await;
            }
            Err(format!("the topic cannot be made: {last}"))
        });
        self.verdict()?;
        made?;
        self.check_epochs()
    }

    fn begin_work(&mut self) {
        let (ledger, working) = (self.ledger.clone(), self.working.clone());
        let may_delete = self.plot.is_some();
        let seeds: Vec<u64> = (0..=PRODUCERS).map(|_| self.chance.next_u64()).collect();
        self.world.start(self.clients, 1, move |io: Io| {
            for producer in 0..PRODUCERS {
                let chance = Random::new(seeds[producer as usize], "producer");
                let (ledger, working) = (ledger.clone(), working.clone());
                let producing = produce_all(io.clone(), producer, chance, ledger);
                io.spawn(async move {
                    producing.await;
                    working.set(working.get() - 1);
                });
            }
            io.spawn(read_on(io.clone(), ledger.clone(), may_delete));
            async move { std::future::pending().await }
        });
    }

    fn let_work(&mut self) {
        let time = Duration::from_micros(self.chance.between(500, 60_000));
        let (ledger, working) = (self.ledger.clone(), self.working.clone());
        self.world.run_until(time, || ledger.borrow().broken().is_some() || working.get() == 0);
    }

    /// Where records expire by their age, the broker's clock may be wrong for less than the time between two looks at them.
    fn jump_clock(&mut self) {
        let Some(Plot { expiry: Expiry::Ms(_), check_interval_ms, .. }) = self.plot else { return };
        if self.deletions.one_in(2) {
            self.world.jump_clock(self.broker, YEAR_MS);
            self.world.run_for(Duration::from_micros(check_interval_ms * 900));
            self.world.jump_clock(self.broker, -YEAR_MS);
        }
    }

    fn bring_down(&mut self) {
        let how = match self.chance.below(6) {
            0 => Crash::Kill,
            1 => Crash::PowerCut(Loss::Everything),
            2 => Crash::PowerCut(Loss::Nothing),
            _ => Crash::PowerCut(Loss::Random),
        };
        tracing::debug!(?how, "the broker is brought down");
        self.world.crash(self.broker, how);
        self.story.crashes += 1;
        if self.chance.one_in(2) {
            let dark = self.chance.between(0, 50_000);
            self.world.run_for(Duration::from_micros(dark));
        }
    }

    /// Every start announces a higher leader epoch.
    fn check_epochs(&mut self) -> Result<(), String> {
        let ledger = self.ledger.clone();
        let observer = self.world.process("observer");
        self.world.run(observer, async move |io| {
            for _ in 0..4000 {
                if let Ok(epochs) = leader_epochs(&io).await {
                    let mut ledger = ledger.borrow_mut();
                    epochs.into_iter().for_each(|(partition, epoch)| ledger.started(partition, epoch));
                    return;
                }
                io.sleep(Duration::from_millis(5)).await;
            }
            ledger.borrow_mut().break_rule("the broker does not answer after a start".into());
        });
        self.verdict()
    }

    fn verdict(&self) -> Result<(), String> {
        if let Some(failure) = self.failures.borrow().first() {
            return Err(failure.clone());
        }
        self.ledger.borrow().broken().map_or(Ok(()), |rule| Err(rule.to_owned()))
    }

    /// Everybody finishes, and everything is read.
    fn finish(mut self) -> Result<Story, String> {
        let (ledger, working) = (self.ledger.clone(), self.working.clone());
        self.world.run_until(PATIENCE, || ledger.borrow().broken().is_some() || working.get() == 0);
        self.verdict()?;
        if self.working.get() > 0 {
            return Err(format!("no progress: {} producers are not done after {PATIENCE:?}", self.working.get()));
        }
        if self.chance.one_in(2) {
            self.bring_down();
            self.start();
            self.check_epochs()?;
        }
        let expiry = self.plot.as_ref().map_or(Expiry::Never, |plot| plot.expiry);
        if self.plot.is_some() {
            // Somebody may still delete, and something expire.
            self.world.run_for(Duration::from_millis(self.deletions.between(0, 200)));
        }
        let observer = self.world.process("observer");
        for partition in 0..PARTITIONS {
            let may_delete = self.plot.is_some();
            let shown = self.ledger.borrow().shown_start(partition);
            let read = self.world.run(observer, async move |io| {
                let read = read_everything(&io, partition, may_delete).await;
                read.map(|(start, batches)| (start, batches, io.wall_clock().0))
            });
            let (start, batches, now) =
                read.map_err(|why| format!("partition {partition} cannot be read to its end: {why}"))?;
            self.ledger.borrow_mut().settle(partition, &Read { shown, start, batches }, expiry, now);
        }
        self.verdict()?;
        let ledger = self.ledger.borrow();
        let counts = self.world.disk_counts(self.broker);
        let recovered = self.summaries.borrow().iter().filter(|summary| summary.batches > 0).count() as u64;
        Ok(Story {
            acknowledged: ledger.acknowledged,
            retried: ledger.retried,
            read: ledger.read,
            deletions: ledger.deletions,
            skipped: ledger.skipped,
            expired: ledger.expired,
            lost: counts.lost + counts.torn,
            recovered,
            trace: self.world.trace_hash(),
            ..self.story
        })
    }
}

type Announced = std::sync::mpsc::Receiver<Result<node::Started, node::StartError>>;

/// Listens for how a start went.
async fn hear(
    io: Io,
    announced: Rc<Announced>,
    heard: Rc<RefCell<Vec<shard::BootSummary>>>,
    failures: Rc<RefCell<Vec<String>>>,
) {
    loop {
        match announced.try_recv() {
            Ok(Ok(started)) => return heard.borrow_mut().push(started.summary),
            Ok(Err(error)) => return failures.borrow_mut().push(does_not_start(&error)),
            Err(_) => io.sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Starts the broker with these options, and does not wait for it. `fails` is told if it does not come up.
pub(super) fn start_broker(
    world: &World,
    broker: Process,
    cores: u16,
    options: node::Options,
    fails: impl Fn(String) + Clone + 'static,
) {
    let (announce, announced) = std::sync::mpsc::channel();
    let (seats, _stop) = node::seats(cores, move |outcome| {
        let _ = announce.send(outcome);
    });
    let seats: Rc<RefCell<Vec<Option<Seat>>>> = Rc::new(RefCell::new(seats.into_iter().map(Some).collect()));
    let announced = Rc::new(announced);
    world.start(broker, cores, move |io: Io| {
        let seat = seats.borrow_mut()[usize::from(io.shard().0)].take().expect("a core takes its seat once");
        let (options, fails, announced) = (options.clone(), fails.clone(), announced.clone());
        async move {
            node::core(io, seat, options).await;
            if let Ok(Err(error)) = announced.try_recv() {
                fails(does_not_start(&error));
            }
        }
    });
}

fn does_not_start(error: &node::StartError) -> String {
    format!("the broker does not start: {error}")
}

async fn leader_epochs(io: &Io) -> Result<Vec<(usize, i32)>, Gone> {
    let mut client = Client::connect(io, address()).await?;
    let request = metadata::MetadataRequest {
        topics: Some(vec![metadata::MetadataRequestTopic { name: Some(TOPIC.into()), topic_id: TopicId::ZERO }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer: metadata::MetadataResponse = client.call(ApiKey::Metadata, 9, &request).await?;
    let topic = answer.topics.first().filter(|topic| topic.error_code == 0).ok_or(Gone)?;
    Ok(topic.partitions.iter().map(|partition| (partition.partition_index as usize, partition.leader_epoch)).collect())
}

/// What a send holds: who, which, and enough to be of any size.
fn payload(send: Send, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(8 + bytes);
    payload.extend(send.producer.to_be_bytes());
    payload.extend(send.number.to_be_bytes());
    payload.resize(8 + bytes, (send.number % 251) as u8);
    payload
}

fn sent_by(value: &[u8]) -> Option<Send> {
    let producer = u32::from_be_bytes(value.get(..4)?.try_into().ok()?);
    let number = u32::from_be_bytes(value.get(4..8)?.try_into().ok()?);
    Some(Send { producer, number })
}

async fn produce_all(io: Io, producer: u32, mut chance: Random, ledger: Rc<RefCell<Ledger>>) {
    let mut client = None;
    let id = loop {
        match new_producer_id(&io, &mut client).await {
            Ok(id) => break id,
            Err(Gone) => reconnect_later(&io, &mut client).await,
        }
    };
    let mut sequences = [0; PARTITIONS];
    for number in 0..SENDS {
        let partition = chance.below(PARTITIONS as u64) as usize;
        let send = Send { producer, number };
        let count = chance.between(1, 3) as i32;
        let bytes = if chance.one_in(10) { chance.between(8_000, 14_000) } else { chance.between(0, 3_000) } as usize;
        let value = payload(send, bytes);
        let mut batch = Builder::new().producer(ProducerId(id), ProducerEpoch(0), sequences[partition]);
        let timestamp = io.wall_clock();
        for _ in 0..count {
            batch.push(NewRecord { timestamp, key: None, value: Some(&value), headers: &[] });
        }
        let batch = batch.build();
        let mut attempts = 0;
        loop {
            match produce_one(&io, &mut client, partition, batch.clone()).await {
                Ok((0, offset)) => {
                    let last = offset + i64::from(count) - 1;
                    let what = Acknowledged { send, last, timestamp: timestamp.0 };
                    ledger.borrow_mut().acknowledge(partition, offset, what);
                    break;
                }
                Ok((code, _)) if may_try_again(code) => {}
                Ok((code, _)) => {
                    let rule =
                        format!("{send:?} to partition {partition}, attempt {attempts}, was refused with {code}");
                    return ledger.borrow_mut().break_rule(rule);
                }
                Err(Gone) => {}
            }
            attempts += 1;
            ledger.borrow_mut().retried += 1;
            reconnect_later(&io, &mut client).await;
        }
        sequences[partition] += count;
        if chance.one_in(3) {
            io.sleep(Duration::from_micros(chance.between(0, 2_000))).await;
        }
    }
}

fn may_try_again(code: i16) -> bool {
    [ErrorCode::NotLeaderOrFollower, ErrorCode::UnknownTopicOrPartition, ErrorCode::RequestTimedOut]
        .iter()
        .any(|known| known.code() == code)
}

async fn reconnect_later(io: &Io, client: &mut Option<Client>) {
    *client = None;
    io.sleep(Duration::from_millis(5)).await;
}

async fn connected<'c>(io: &Io, client: &'c mut Option<Client>) -> Result<&'c mut Client, Gone> {
    if client.is_none() {
        *client = Some(Client::connect(io, address()).await?);
    }
    client.as_mut().ok_or(Gone)
}

async fn new_producer_id(io: &Io, client: &mut Option<Client>) -> Result<i64, Gone> {
    let client = connected(io, client).await?;
    let request = init_producer_id::InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
    let answer: init_producer_id::InitProducerIdResponse = client.call(ApiKey::InitProducerId, 4, &request).await?;
    if answer.error_code == 0 { Ok(answer.producer_id) } else { Err(Gone) }
}

async fn produce_one(io: &Io, client: &mut Option<Client>, partition: usize, batch: Bytes) -> Result<(i16, i64), Gone> {
    let client = connected(io, client).await?;
    let request = produce_to(TOPIC, partition as i32, batch);
    let answer: produce::ProduceResponse = client.call(ApiKey::Produce, 9, &request).await?;
    let answer = &answer.responses[0].partition_responses[0];
    Ok((answer.error_code, answer.base_offset))
}

/// One fetch of one partition: error code, high watermark, log start and bytes.
async fn fetch_one(
    io: &Io,
    client: &mut Option<Client>,
    partition: usize,
    offset: i64,
    max_wait_ms: i32,
) -> Result<(i16, i64, i64, Bytes), Gone> {
    let client = connected(io, client).await?;
    let request = fetch_from(TOPIC, partition as i32, offset, 64 << 10, max_wait_ms);
    let answer: fetch::FetchResponse = client.call(ApiKey::Fetch, 11, &request).await?;
    let part = answer.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next()).ok_or(Gone)?;
    Ok((part.error_code, part.high_watermark, part.log_start_offset, part.records.into_bytes()))
}

/// Deletes records now and then, as long as somebody produces. Runs inside the broker, on its first core.
async fn delete_on(shard: Shard, mut chance: Random, ledger: Rc<RefCell<Ledger>>, working: Rc<Cell<u32>>) {
    while working.get() > 0 {
        shard.io().sleep(Duration::from_micros(chance.between(50, 3_000))).await;
        let partition = chance.below(PARTITIONS as u64) as usize;
        let image = shard.image();
        let topic = image.topic(TOPIC).and_then(|topic| topic.partition(PartitionIndex(partition as i32)));
        let Some(log) = topic.map(|partition| partition.log_id) else { continue };
        let latest = OffsetSpec::Latest { read_committed: false };
        let Ok(high) = shard.list_offset(log, latest, LeaderEpoch::NONE).await else { continue };
        let high = high.offset.0;
        let up_to = match chance.below(8) {
            0 => HIGH_WATERMARK.0,
            1 => high,
            2 => high + 1_000_000,
            _ => chance.between(high as u64 / 2, high as u64) as i64,
        };
        if up_to <= high {
            ledger.borrow_mut().ask_to_delete(partition, up_to);
        }
        match shard.delete_records(log, Offset(up_to)).await {
            Ok(start) => ledger.borrow_mut().deleted(partition, up_to, start.0),
            Err(_) if up_to > high => {}
            Err(refused) => {
                let rule = format!("partition {partition}: {up_to} cannot be deleted: {refused:?}");
                return ledger.borrow_mut().break_rule(rule);
            }
        }
    }
}

/// The first offset of a partition.
async fn earliest(io: &Io, client: &mut Option<Client>, partition: usize) -> Result<i64, Gone> {
    let client = connected(io, client).await?;
    let partitions = vec![list_offsets::ListOffsetsPartition {
        partition_index: partition as i32,
        timestamp: -2,
        ..Default::default()
    }];
    let request = list_offsets::ListOffsetsRequest {
        replica_id: -1,
        topics: vec![list_offsets::ListOffsetsTopic { name: TOPIC.into(), partitions }],
        ..Default::default()
    };
    let answer: list_offsets::ListOffsetsResponse = client.call(ApiKey::ListOffsets, 5, &request).await?;
    let answer = &answer.topics[0].partitions[0];
    if answer.error_code == 0 { Ok(answer.offset) } else { Err(Gone) }
}

/// Reads all partitions in turn, for ever. With `may_delete` an offset may be out of range: then it goes on where the log starts.
async fn read_on(io: Io, ledger: Rc<RefCell<Ledger>>, may_delete: bool) {
    let (mut client, mut next) = (None, [0; PARTITIONS]);
    loop {
        for (partition, next) in next.iter_mut().enumerate() {
            match fetch_one(&io, &mut client, partition, *next, 2).await {
                Ok((0, high, log_start, bytes)) => {
                    let mut ledger = ledger.borrow_mut();
                    ledger.marks(partition, high, log_start);
                    *next = ledger.saw(partition, &bytes, *next);
                }
                Ok((code, ..)) if may_try_again(code) => reconnect_later(&io, &mut client).await,
                Ok((code, ..)) if may_delete && code == ErrorCode::OffsetOutOfRange.code() => {
                    match earliest(&io, &mut client, partition).await {
                        Ok(start) => {
                            ledger.borrow_mut().out_of_range(partition, *next, start);
                            *next = start;
                        }
                        Err(Gone) => reconnect_later(&io, &mut client).await,
                    }
                }
                Ok((code, high, ..)) => {
                    let rule = format!(
                        "a fetch of partition {partition} from {next} failed with {code}; high watermark {high}"
                    );
                    return ledger.borrow_mut().break_rule(rule);
                }
                Err(Gone) => {
                    // Back before the producers are: what they send again would hide what was lost.
                    client = None;
                    io.sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }
}

/// Where a partition starts, and every batch from there on.
async fn read_everything(io: &Io, partition: usize, may_delete: bool) -> Result<(i64, Vec<Found>), String> {
    let (mut client, mut begin, mut next, mut found) = (None, None, 0, Vec::new());
    for _ in 0..10_000 {
        let start = match begin {
            Some(start) => start,
            None => match earliest(io, &mut client, partition).await {
                Ok(start) => {
                    (begin, next, found) = (Some(start), start, Vec::new());
                    start
                }
                Err(Gone) => {
                    reconnect_later(io, &mut client).await;
                    continue;
                }
            },
        };
        let Ok((code, high, _, bytes)) = fetch_one(io, &mut client, partition, next, 0).await else {
            reconnect_later(io, &mut client).await;
            continue;
        };
        if may_delete && code == ErrorCode::OffsetOutOfRange.code() {
            begin = None;
            continue;
        }
        if code != 0 {
            return Err(format!("error {code} at offset {next}"));
        }
        if next >= high {
            return Ok((start, found));
        }
        let before = next;
        for batch in crate::record::batches(&bytes) {
            let values: Vec<_> = records(batch.body())
                .map(|record| record.ok().and_then(|record| record.value.and_then(sent_by)))
                .collect();
            let send = values.first().copied().flatten().ok_or(format!("an alien batch at {}", batch.base_offset()))?;
            if values.iter().any(|value| *value != Some(send)) {
                return Err(format!("a mixed batch at {}", batch.base_offset()));
            }
            let (base, last, bytes) = (batch.base_offset().0, batch.last_offset().0, batch.bytes().len() as u64);
            found.push(Found { base, last, bytes, send });
            next = last + 1;
        }
        if next == before {
            return Err(format!("nothing at offset {next}, although the high watermark is {high}"));
        }
    }
    Err("it has no end".into())
}
