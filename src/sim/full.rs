//! A story of a full disk: producers are refused before anything else fails, what was acknowledged can be read, also after a crash, and when a topic
//! is deleted others go on.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Gone, fetch_from, produce_to};
use super::scenario::{address, node_options, start_broker};
use crate::base::limits::DISK_RESERVE_LOG_BYTES;
use crate::io::Io;
use crate::io::sim::{Crash, DiskOptions, Loss, Process, Random, World, WorldOptions};
use crate::protocol::messages::{create_topics, delete_topics, fetch, produce};
use crate::protocol::{ApiKey, ErrorCode, Message};
use crate::record::{Builder, NewRecord};
use crate::shard::Defect;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FullStory {
    /// Batches that were acknowledged before the disk was full.
    pub first: u64,
    /// Those that were acknowledged after the first topic had been deleted.
    pub second: u64,
    /// The same for the same seed.
    pub trace: u64,
}

const TOPICS: [&str; 2] = ["first", "second"];
/// Partitions of each topic. With many of them, space that is allocated ahead for each would be more than what is left for what was acknowledged.
const PARTITIONS: [i32; 2] = [2, 96];
/// Sends that fill any disk of this story.
const SENDS_MAX: u64 = 2000;
const BATCH_BYTES: usize = 200 << 10;

/// Tells the story of `seed`. `Err` is the rule that was broken.
pub fn tell_of_a_full_disk(seed: u64, defect: Option<Defect>) -> Result<FullStory, String> {
    let world = World::new(seed, WorldOptions::default());
    let mut chance = world.random("full");
    let (broker, clients) = (world.process("broker"), world.process("clients"));
    let broken = Rc::new(RefCell::new(None));
    let cores = chance.between(1, 3) as u16;
    // What the reserve leaves for batches is from nearly nothing to a few times the journals.
    let partitions = PARTITIONS[chance.below(2) as usize];
    // All logs may be on one core, and each core counts on the same share.
    let reserved = (TOPICS.len() as u64) * partitions as u64 * DISK_RESERVE_LOG_BYTES;
    let capacity = u64::from(cores) * (chance.between(110 << 20, 140 << 20) + reserved);
    world.set_disk(broker, DiskOptions { capacity, ..DiskOptions::default() });
    start(&world, broker, cores, &mut chance, defect, &broken);
    let verdict = || broken.borrow().clone().map_or(Ok(()), Err);
    let first =
        world.run(clients, |io| async move { make_topics(&io, partitions).await?.fill(TOPICS[0], partitions).await });
    verdict()?;
    let first = first?;
    let crashes = chance.one_in(2);
    if crashes {
        let how = if chance.one_in(2) { Crash::Kill } else { Crash::PowerCut(Loss::Random) };
        world.crash(broker, how);
        start(&world, broker, cores, &mut chance, defect, &broken);
    }
    let second = world.run(clients, move |io| async move {
        let mut client = Patient { client: None, io };
        client.reads_all(TOPICS[0], &first).await?;
        let sent = client.produce(TOPICS[1], 0).await?;
        // A start makes smaller journals, and another core may have taken in less.
        if !crashes && cores == 1 && sent != Err(ErrorCode::KafkaStorageError.code()) {
            return Err(format!("a send to a full disk came to {sent:?}"));
        }
        client.delete(TOPICS[0]).await?;
        client.until_taken(TOPICS[1]).await?;
        let second = client.fill(TOPICS[1], partitions).await?;
        client.reads_all(TOPICS[1], &second).await?;
        Ok([first.iter().sum::<u64>(), second.iter().sum()])
    });
    verdict()?;
    let [first, second] = second?;
    Ok(FullStory { first, second, trace: world.trace_hash() })
}

/// A disk has space for the first files of each journal only (2 MiB each), and later for all. `Err` is the rule that was broken.
pub fn tell_of_a_journal_that_grows_later(seed: u64) -> Result<(), String> {
    let world = World::new(seed, WorldOptions::default());
    let mut chance = world.random("full");
    let broker = world.process("broker");
    let broken = Rc::new(RefCell::new(None));
    let cores = chance.between(1, 3) as u16;
    world.set_disk(broker, DiskOptions { capacity: u64::from(cores) * (9 << 20), ..DiskOptions::default() });
    let files = start(&world, broker, cores, &mut chance, None, &broken);
    if world.run(broker, move |io| journals_are_whole(io, files)).is_ok() {
        return Err("the journals grew on a disk that has no space for segments then".into());
    }
    world.set_disk(broker, DiskOptions::default());
    let grown = world.run(broker, move |io| journals_are_whole(io, files));
    broken.borrow().clone().map_or(grown, Err)
}

/// After a while every journal has the files that it is to have.
async fn journals_are_whole(io: Io, files: u64) -> Result<(), String> {
    io.sleep(Duration::from_secs(70)).await;
    let journals = PathBuf::from("/data/journals");
    let list = async |dir: &Path| io.list_dir(dir).await.map_err(|error| format!("{}: {error}", dir.display()));
    for journal in list(&journals).await? {
        let names = list(&journals.join(&journal)).await?;
        let found = names.iter().filter(|name| name.ends_with(".journal")).count() as u64;
        if found < files {
            return Err(format!("{journal} has {found} files instead of {files}"));
        }
    }
    Ok(())
}

/// Starts the broker. Does not wait for it. Gives the files that each journal is to have.
fn start(
    world: &World,
    broker: Process,
    cores: u16,
    chance: &mut Random,
    defect: Option<Defect>,
    broken: &Rc<RefCell<Option<String>>>,
) -> u64 {
    let mut options = node_options(chance);
    let files = chance.between(2, 6);
    options.shard.defect = defect;
    options.shard.journal_file_bytes = 2 << 20;
    options.shard.journal_bytes = files * (2 << 20);
    options.shard.journal_block_bytes = 256 << 10;
    let broken = broken.clone();
    start_broker(world, broker, cores, options, move |rule| {
        broken.borrow_mut().get_or_insert(rule);
    });
    files
}

async fn make_topics(io: &Io, partitions: i32) -> Result<Patient, String> {
    let mut client = Patient { client: None, io: io.clone() };
    let topics = TOPICS.map(|name| create_topics::CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    });
    let request = create_topics::CreateTopicsRequest { topics: topics.into(), timeout_ms: 5000, ..Default::default() };
    let answer: create_topics::CreateTopicsResponse = client.ask(ApiKey::CreateTopics, 5, &request).await?;
    match answer.topics.iter().all(|topic| topic.error_code == 0) {
        true => Ok(client),
        false => Err(format!("{:?}", answer.topics)),
    }
}

/// A client that comes back when its connection breaks.
struct Patient {
    client: Option<Client>,
    io: Io,
}

impl Patient {
    async fn ask<A: Message>(&mut self, api: ApiKey, version: i16, request: &impl Message) -> Result<A, String> {
        for _ in 0..4000 {
            if self.client.is_none() {
                self.client = Client::connect(&self.io, address()).await.ok();
            }
            if let Some(client) = &mut self.client {
                match client.call(api, version, request).await {
                    Ok(answer) => return Ok(answer),
                    Err(Gone) => self.client = None,
                }
            }
            self.io.sleep(Duration::from_millis(5)).await;
        }
        Err(format!("{api} is not answered"))
    }

    /// Sends one batch. Gives its offset, or the error that it was refused with.
    async fn produce(&mut self, topic: &str, partition: i32) -> Result<Result<i64, i16>, String> {
        let value = vec![7; BATCH_BYTES];
        let mut batch = Builder::new();
        batch.push(NewRecord { timestamp: self.io.wall_clock(), key: None, value: Some(&value), headers: &[] });
        let request = produce_to(topic, partition, batch.build());
        let answer: produce::ProduceResponse = self.ask(ApiKey::Produce, 9, &request).await?;
        let answer = &answer.responses[0].partition_responses[0];
        Ok(if answer.error_code == 0 { Ok(answer.base_offset) } else { Err(answer.error_code) })
    }

    /// Sends until the disk is full, and stays so when all is drained. Gives how many batches each partition took.
    async fn fill(&mut self, topic: &str, partitions: i32) -> Result<Vec<u64>, String> {
        let (mut taken, mut refused) = (vec![0; partitions as usize], 0);
        for send in 0..SENDS_MAX {
            let partition = send as usize % taken.len();
            match self.produce(topic, partition as i32).await? {
                Ok(offset) => (taken[partition], refused) = (offset as u64 + 1, 0),
                Err(code) if code == ErrorCode::KafkaStorageError.code() => refused += 1,
                Err(code) => return Err(format!("send {send} was refused with {code}")),
            }
            match refused {
                0 => {}
                4 => return Ok(taken),
                // What was allocated for what is drained now was missing twice.
                _ => self.io.sleep(Duration::from_secs(2)).await,
            }
        }
        Err("the disk takes more than it has".into())
    }

    /// Sends until one batch is taken.
    async fn until_taken(&mut self, topic: &str) -> Result<(), String> {
        for _ in 0..3000 {
            if self.produce(topic, 0).await?.is_ok() {
                return Ok(());
            }
            self.io.sleep(Duration::from_millis(20)).await;
        }
        Err("a topic was deleted, and there is no space for another after a minute".into())
    }

    async fn delete(&mut self, topic: &str) -> Result<(), String> {
        let request = delete_topics::DeleteTopicsRequest {
            topic_names: vec![topic.into()],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let answer: delete_topics::DeleteTopicsResponse = self.ask(ApiKey::DeleteTopics, 4, &request).await?;
        match answer.responses[0].error_code {
            0 => Ok(()),
            code => Err(format!("a topic cannot be deleted while the disk is full: {code}")),
        }
    }

    /// Everything that was acknowledged is there.
    async fn reads_all(&mut self, topic: &str, taken: &[u64]) -> Result<(), String> {
        for (partition, taken) in (0..).zip(taken) {
            let mut next = 0;
            while (next as u64) < *taken {
                let request = fetch_from(topic, partition, next, 1 << 20, 0);
                let answer: fetch::FetchResponse = self.ask(ApiKey::Fetch, 11, &request).await?;
                let part = &answer.responses[0].partitions[0];
                let bytes = part.records.clone().into_bytes();
                let last = crate::record::batches(&bytes).last().map(|batch| batch.last_offset().0);
                match (part.error_code, last) {
                    (0, Some(last)) => next = last + 1,
                    (code, _) => {
                        return Err(format!(
                            "{topic}-{partition} ends at {next} with {code}, and took {taken} batches"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
