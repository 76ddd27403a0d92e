//! `kill -9` in the middle of a saturating idempotent produce, again and again, with another number of cores each time.
//!
//! Four producers keep up to five batches in flight on each of eight partitions. At a random moment the broker is killed; sometimes the next
//! start is killed too, before or while it recovers. After the restart everything is read back, and then the producers go on where they were:
//! what was not acknowledged is sent again with the same sequence. Checked after every restart:
//!
//! - every acknowledged send is present exactly once, at its acknowledged offset, with its bytes;
//! - every other send is present at most once, and a retry of one that is present is answered with the offset where it stands;
//! - nothing is present that was not sent; each producer's sequences are without a gap;
//! - offsets are dense from the log start; log start and high watermark never went back, leader epochs never fell;
//! - a group's committed offsets and a topic's configuration are the acknowledged ones, or ones that were asked for after them;
//! - what a consumer read while the producers ran, and what earlier rounds read, still stands there.
//!
//! `CORETIDE_KILL9_ROUNDS` (5) says how often to kill, `CORETIDE_KILL9_SEED` repeats the choices (not the timing) of a run, and
//! `CORETIDE_KILL9_BROKER` names another program to test in the broker's place. `tests/kill9.sh` does the full 50 rounds.

mod support;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    env,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use support::kafka::{Batch, Client, Stored};

const TOPIC: &str = "kill9";
const PARTITIONS: i32 = 8;
const PRODUCERS: usize = 4;
/// A broker remembers the last five batches of a producer, so no more may be unanswered per partition.
const UNANSWERED_PER_PARTITION: usize = 5;
const UNANSWERED_PER_CONNECTION: usize = 20;
/// Rounds on one data directory, before a fresh one is taken.
const ROUNDS_PER_DIRECTORY: usize = 5;
/// Acknowledged bytes after which a round's kill comes, at most: twice what the smallest journal of one core holds.
const ROUND_BYTES_MAX: u64 = 256 << 20;

/// Which cores to start with, in turn.
const CORES: [usize; 3] = [2, 1, 2];

#[test]
fn acknowledged_sends_survive_kill_9() {
    let rounds = env::var("CORETIDE_KILL9_ROUNDS").map_or(5, |text| text.parse().expect("a number of rounds"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let seed = env::var("CORETIDE_KILL9_SEED").map_or(now, |text| text.parse().expect("a seed"));
    println!("seed {seed}, {rounds} rounds");
    let mut random = Random(seed | 1);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kill9-{}", std::process::id()));
    let mut total = Tally::default();
    let mut done = 0;
    while done < rounds {
        let directory = root.join(format!("{}", done / ROUNDS_PER_DIRECTORY));
        fs::create_dir_all(&directory).expect("the target directory can be written");
        let count = ROUNDS_PER_DIRECTORY.min(rounds - done);
        total.add(one_directory(&directory, done, count, &mut random));
        fs::remove_dir_all(&directory).expect("the data directory can be removed");
        done += count;
    }
    let _ = fs::remove_dir_all(&root);
    println!("{total:?}");
    // A run that exercised nothing proves nothing.
    assert!(
        total.acknowledged > 0 && total.kept > 0 && total.unanswered_at_kill > 0,
        "no kill fell into the middle: {total:?}"
    );
}

/// What happened, for people and against vacuity.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    kills: usize,
    kills_while_starting: usize,
    acknowledged: usize,
    unanswered_at_kill: usize,
    unanswered_but_stored: usize,
    /// Offsets committed and configurations altered.
    kept: usize,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.kills += other.kills;
        self.kills_while_starting += other.kills_while_starting;
        self.acknowledged += other.acknowledged;
        self.unanswered_at_kill += other.unanswered_at_kill;
        self.unanswered_but_stored += other.unanswered_but_stored;
        self.kept += other.kept;
        self.bytes += other.bytes;
    }
}

/// Kills `count` times on one data directory, checking after each restart.
fn one_directory(directory: &Path, first_round: usize, count: usize, random: &mut Random) -> Tally {
    let mut tally = Tally::default();
    let mut broker = Broker::start(directory, first_round).listening();
    let mut control = Client::connect(broker.address).expect("the broker listens");
    assert_eq!(control.create_topic(TOPIC, PARTITIONS, &[]).expect("the broker lives"), 0, "CreateTopics fails");
    wait_for_leaders(&mut control);
    let mut history = History::new();
    let mut producers: Vec<Producer> =
        (0..PRODUCERS).map(|_| Producer::new(history.new_producer_id(&mut control), random.next())).collect();
    let mut keeper = Keeper::default();
    for round in first_round..first_round + count {
        let most = if random.below(4) == 0 { 256 << 10 } else { ROUND_BYTES_MAX };
        let target = 1 + random.below(most);
        let observed = produce_and_kill(broker, &mut producers, &mut keeper, &history, target, random);
        tally.kills += 1;
        tally.bytes += history.take_in(&mut producers, observed);
        tally.unanswered_at_kill += producers.iter().map(Producer::unanswered).sum::<usize>();
        if random.below(3) == 0 {
            // The start that follows is killed as well, somewhere between its first instruction and its first request.
            let starting = Broker::start(directory, round + 2);
            thread::sleep(Duration::from_micros(random.below(150_000)));
            drop(starting);
            tally.kills_while_starting += 1;
        }
        broker = Broker::start(directory, round + 1).listening();
        let mut control = Client::connect(broker.address).expect("the broker listens");
        wait_for_leaders(&mut control);
        tally.unanswered_but_stored += history.check(&mut control, round);
        keeper.check(&mut control, round);
        history.new_producer_id(&mut control);
    }
    tally.kept = keeper.acknowledged;
    tally.acknowledged = history.sends.values().filter(|send| send.acknowledged.is_some()).count();
    tally
}

fn wait_for_leaders(control: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let topic = control.metadata(TOPIC, false).expect("the broker lives");
        // A leader may be named before it has taken the partition up.
        let mut leads = |partition| control.list_offset(TOPIC, partition, -1).expect("the broker lives").0 == 0;
        if topic.leaders.len() == PARTITIONS as usize
            && topic.leaders.iter().all(|&(p, leader)| leader >= 0 && leads(p))
        {
            return;
        }
        assert!(Instant::now() < deadline, "partitions without a leader after 20 s: {topic:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lets all producers and a consumer run, kills the broker once `target` bytes are acknowledged, and returns what the consumer saw.
fn produce_and_kill(
    broker: Broker,
    producers: &mut [Producer],
    keeper: &mut Keeper,
    history: &History,
    target: u64,
    random: &mut Random,
) -> Vec<Observed> {
    let acknowledged = AtomicU64::new(0);
    let gone = AtomicBool::new(false);
    let address = broker.address;
    thread::scope(|scope| {
        let running: Vec<_> = producers
            .iter_mut()
            .map(|producer| {
                let acknowledged = &acknowledged;
                scope.spawn(move || producer.run(address, acknowledged))
            })
            .collect();
        let positions = history.ends();
        let consumer = scope.spawn(|| consume(address, positions, &gone));
        let keeping = scope.spawn(|| keeper.run(address, &gone));
        let deadline = Instant::now() + Duration::from_secs(60);
        while acknowledged.load(Relaxed) < target {
            assert!(
                Instant::now() < deadline,
                "only {} of {target} bytes acknowledged in 60 s",
                acknowledged.load(Relaxed)
            );
            if running.iter().any(|producer| producer.is_finished()) {
                break; // It failed; its panic is reported below.
            }
            thread::sleep(Duration::from_micros(200 + random.below(800)));
        }
        gone.store(true, Relaxed);
        broker.kill();
        for producer in running {
            if let Err(panic) = producer.join() {
                std::panic::resume_unwind(panic);
            }
        }
        match keeping.join().and_then(|()| consumer.join()) {
            Ok(observed) => observed,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A batch as a consumer saw it.
struct Observed {
    partition: i32,
    high_watermark: i64,
    batch: StoredBatch,
}

/// Reads all partitions from the given offsets on until the broker is gone.
fn consume(address: SocketAddr, mut positions: Vec<(i32, i64)>, gone: &AtomicBool) -> Vec<Observed> {
    let mut observed = Vec::new();
    let mut run = || -> io::Result<()> {
        let mut client = Client::connect(address)?;
        loop {
            for fetched in client.fetch(TOPIC, &positions, Duration::from_millis(100), 1 << 20)? {
                assert_eq!(fetched.error, 0, "fetch of partition {}", fetched.partition);
                let position = &mut positions[fetched.partition as usize].1;
                for batch in Stored::walk(&fetched.records) {
                    assert_eq!(batch.base_offset(), *position, "partition {}: a gap", fetched.partition);
                    assert!(batch.crc_holds(), "partition {} at {position}: wrong checksum", fetched.partition);
                    *position = batch.last_offset() + 1;
                    observed.push(Observed {
                        partition: fetched.partition,
                        high_watermark: fetched.high_watermark,
                        batch: StoredBatch::of(batch),
                    });
                }
            }
        }
    };
    let ended = run().expect_err("the loop ends by an error only");
    assert!(gone.load(Relaxed), "the consumer lost its connection before the kill: {ended}");
    observed
}

/// Commits offsets and alters a configuration, one at a time, each with the next higher number.
#[derive(Default)]
struct Keeper {
    asked: i64,
    /// Per place: the last number that was acknowledged.
    kept: [i64; KEPT],
    acknowledged: usize,
}

/// Groups, so that several coordinators on several cores have one, and one configuration.
const GROUPS: [&str; 3] = ["kill9-one", "kill9-two", "kill9-three"];
const KEPT: usize = GROUPS.len() + 1;
/// Milliseconds that nobody waits for: what is kept is the number behind it.
const RETENTION: i64 = 1_000_000_000_000;

impl Keeper {
    /// Until the connection breaks.
    fn run(&mut self, address: SocketAddr, gone: &AtomicBool) {
        let mut run = || -> io::Result<()> {
            let mut client = Client::connect(address)?;
            assert_eq!(client.find_coordinator(GROUPS[0])?, 0, "FindCoordinator");
            loop {
                self.asked += 1;
                let place = self.asked as usize % KEPT;
                let error = match GROUPS.get(place) {
                    Some(group) => client.commit_offset(group, TOPIC, place as i32, self.asked)?,
                    None => client.set_config(TOPIC, "retention.ms", &(RETENTION + self.asked).to_string())?,
                };
                // A coordinator that loads is asked again.
                if error != 14 {
                    assert_eq!(error, 0, "place {place}, number {}", self.asked);
                    self.kept[place] = self.asked;
                    self.acknowledged += 1;
                }
            }
        };
        let ended = run().expect_err("the loop ends by an error only");
        assert!(gone.load(Relaxed), "the keeper lost its connection before the kill: {ended}");
    }

    /// What is there is what was acknowledged last, or what was asked for after it.
    fn check(&mut self, control: &mut Client, round: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        for (place, kept) in self.kept.iter_mut().enumerate().filter(|(_, kept)| **kept > 0) {
            let found = loop {
                let Some(group) = GROUPS.get(place) else {
                    let value = control.config(TOPIC, "retention.ms").expect("the broker lives");
                    break value.parse::<i64>().expect("a number") - RETENTION;
                };
                match control.committed_offset(group, TOPIC, place as i32).expect("the broker lives") {
                    (0, offset) => break offset,
                    (14, _) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                    other => panic!("round {round}: OffsetFetch of {group} answers {other:?}"),
                }
            };
            assert!(
                (*kept..=self.asked).contains(&found),
                "round {round}, place {place}: {found} is there, {kept} was acknowledged, {} asked for",
                self.asked
            );
            assert_eq!(found as usize % KEPT, place, "round {round}: {found} was never asked for here");
            *kept = found;
        }
    }
}

/// A batch that was sent at least once.
#[derive(Clone, Debug)]
struct Send {
    crc: u32,
    records: i32,
    bytes: u64,
    acknowledged: Option<i64>,
}

/// Names a send: producer id, partition, base sequence.
type SendId = (i64, i32, i32);

/// An idempotent producer that lives through all restarts of one data directory.
struct Producer {
    id: i64,
    random: Random,
    /// Sent or to be sent, not acknowledged, in order of sequence; one queue per partition.
    pending: Vec<VecDeque<Pending>>,
    next_sequence: Vec<i32>,
    /// What was sent for the first time, and what was acknowledged, since the history was last told.
    news: Vec<(SendId, Send)>,
    answers: Vec<(SendId, i64)>,
}

struct Pending {
    sequence: i32,
    batch: Vec<u8>,
    sent: bool,
}

impl Producer {
    fn new(id: i64, seed: u64) -> Self {
        Producer {
            id,
            random: Random(seed | 1),
            pending: (0..PARTITIONS).map(|_| VecDeque::new()).collect(),
            next_sequence: vec![0; PARTITIONS as usize],
            news: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn unanswered(&self) -> usize {
        self.pending.iter().map(VecDeque::len).sum()
    }

    /// Produces until the connection breaks. What is pending from before goes first.
    fn run(&mut self, address: SocketAddr, acknowledged: &AtomicU64) {
        self.pending.iter_mut().flatten().for_each(|pending| pending.sent = false);
        // The broker may be killed before all have connected.
        let Ok(mut client) = Client::connect(address) else { return };
        let mut in_flight: VecDeque<(i32, i32)> = VecDeque::new();
        let mut writing = true;
        loop {
            while writing && in_flight.len() < UNANSWERED_PER_CONNECTION {
                let Some(partition) = self.ready_partition() else { break };
                let pending = self.pending[partition as usize].iter_mut().find(|pending| !pending.sent);
                let pending = pending.expect("a ready partition has a batch that was not sent");
                pending.sent = true;
                match client.send(TOPIC, partition, &pending.batch) {
                    Ok(correlation) => in_flight.push_back((correlation, partition)),
                    // The broker is gone, but answers that it had sent may still be there to read.
                    Err(_) => writing = false,
                }
            }
            let Ok(answer) = client.receive() else { return };
            let (correlation, partition) = in_flight.pop_front().expect("an answer to nothing");
            assert_eq!((answer.correlation, answer.partition), (correlation, partition), "answers are out of order");
            let pending = self.pending[partition as usize].pop_front().expect("what is in flight is pending");
            let id = (self.id, partition, pending.sequence);
            assert_eq!(answer.error, 0, "Produce {id:?}");
            acknowledged.fetch_add(pending.batch.len() as u64, Relaxed);
            self.answers.push((id, answer.base_offset));
        }
    }

    /// A partition with something to send: what is left from before, or else a new batch where there is room.
    fn ready_partition(&mut self) -> Option<i32> {
        let start = self.random.below(PARTITIONS as u64) as i32;
        let order = || (0..PARTITIONS).map(|i| (start + i) % PARTITIONS);
        let left = order().find(|&p| self.pending[p as usize].iter().any(|pending| !pending.sent));
        left.or_else(|| {
            let partition = order().find(|&p| self.pending[p as usize].len() < UNANSWERED_PER_PARTITION)?;
            self.new_batch(partition);
            Some(partition)
        })
    }

    fn new_batch(&mut self, partition: i32) {
        // Mostly small ones, some of a usual size, a few that need several journal blocks.
        let value_bytes = match self.random.below(100) {
            0 => self.random.below(900 << 10),
            1..=14 => self.random.below(64 << 10),
            _ => self.random.below(4 << 10),
        };
        let mut value = vec![0u8; value_bytes as usize + 8];
        for chunk in value.chunks_mut(8) {
            let word = self.random.next().to_be_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        let records = 1 + self.random.below(8) as usize;
        let values: Vec<&[u8]> = value.chunks(value.len().div_ceil(records)).collect();
        let sequence = self.next_sequence[partition as usize];
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        let batch =
            Batch { producer_id: self.id, producer_epoch: 0, base_sequence: sequence, timestamp, values: &values }
                .encode();
        self.next_sequence[partition as usize] += values.len() as i32;
        let send = Send {
            crc: Stored(&batch).crc(),
            records: values.len() as i32,
            bytes: batch.len() as u64,
            acknowledged: None,
        };
        self.news.push(((self.id, partition, sequence), send));
        self.pending[partition as usize].push_back(Pending { sequence, batch, sent: false });
    }
}

/// All that was ever sent, acknowledged and read on one data directory.
struct History {
    sends: HashMap<SendId, Send>,
    producer_ids: HashSet<i64>,
    /// Per partition: what was read, in order.
    stored: Vec<Vec<StoredBatch>>,
    high_watermark: Vec<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StoredBatch {
    base_offset: i64,
    last_offset: i64,
    crc: u32,
    leader_epoch: i32,
}

impl StoredBatch {
    fn of(batch: Stored<'_>) -> Self {
        StoredBatch {
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            crc: batch.crc(),
            leader_epoch: batch.leader_epoch(),
        }
    }
}

impl History {
    fn new() -> Self {
        History {
            sends: HashMap::new(),
            producer_ids: HashSet::new(),
            stored: vec![Vec::new(); PARTITIONS as usize],
            high_watermark: vec![0; PARTITIONS as usize],
        }
    }

    /// A producer id that was never given out before.
    fn new_producer_id(&mut self, control: &mut Client) -> i64 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match control.init_producer_id().expect("the broker lives") {
                (0, id, 0) => {
                    assert!(self.producer_ids.insert(id), "producer id {id} was given out twice");
                    return id;
                }
                // The coordinator is not there yet.
                (14 | 15, ..) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                other => panic!("InitProducerId answers {other:?}"),
            }
        }
    }

    fn ends(&self) -> Vec<(i32, i64)> {
        (0..PARTITIONS).map(|p| (p, self.stored[p as usize].last().map_or(0, |batch| batch.last_offset + 1))).collect()
    }

    /// Takes in what a round did. Returns the bytes acknowledged in it.
    fn take_in(&mut self, producers: &mut [Producer], observed: Vec<Observed>) -> u64 {
        let mut bytes = 0;
        for producer in producers {
            self.sends.extend(producer.news.drain(..));
            for (id, offset) in producer.answers.drain(..) {
                let send = self.sends.get_mut(&id).expect("what is acknowledged was sent");
                assert_eq!(send.acknowledged.replace(offset), None, "{id:?} was acknowledged before");
                bytes += send.bytes;
                let high = &mut self.high_watermark[id.1 as usize];
                *high = (*high).max(offset + i64::from(send.records));
            }
        }
        for Observed { partition, high_watermark, batch } in observed {
            // The consumer started where the last check ended, and it saw no gap.
            self.stored[partition as usize].push(batch);
            let high = &mut self.high_watermark[partition as usize];
            *high = (*high).max(high_watermark);
        }
        bytes
    }

    /// Reads everything back and compares. Returns how many sends are stored that were never acknowledged.
    fn check(&mut self, control: &mut Client, round: usize) -> usize {
        let mut found = HashMap::new();
        for partition in 0..PARTITIONS {
            let place = format!("round {round}, partition {partition}");
            let (records, high_watermark) = read_partition(control, partition, &place);
            self.check_partition(partition, &place, &records, high_watermark, &mut found);
        }
        self.check_acknowledged(round, &found)
    }

    /// One partition from its start to its high watermark: dense, sent by us, once, in order, and no less than before. Enters every send
    /// that it finds into `found`, with its offset.
    fn check_partition(
        &mut self,
        partition: i32,
        place: &str,
        records: &[u8],
        high_watermark: i64,
        found: &mut HashMap<SendId, i64>,
    ) {
        let mut batches: Vec<StoredBatch> = Vec::new();
        let mut sequences: HashMap<i64, i32> = HashMap::new();
        let mut next = 0;
        for batch in Stored::walk(records) {
            let id = (batch.producer_id(), partition, batch.base_sequence());
            assert_eq!((batch.magic(), batch.base_offset()), (2, next), "{place}: {id:?} leaves a gap or overlaps");
            assert!(batch.crc_holds(), "{place} at {next}: {id:?} has a wrong checksum");
            let send = self.sends.get(&id).unwrap_or_else(|| panic!("{place} at {next}: {id:?} was never sent"));
            let (sent, stands) = ((send.crc, send.bytes), (batch.crc(), batch.0.len() as u64));
            assert_eq!(sent, stands, "{place} at {next}: {id:?} has other bytes (right) than were sent (left)");
            if let Some(first) = found.insert(id, next) {
                panic!("{place}: {id:?} stands at {first} and again at {next}");
            }
            let sequence = sequences.entry(id.0).or_default();
            assert_eq!(*sequence, id.2, "{place} at {next}: a gap in the sequences of producer {}", id.0);
            *sequence += batch.records();
            next = batch.last_offset() + 1;
            batches.push(StoredBatch::of(batch));
        }
        assert_eq!(next, high_watermark, "{place}: the end of what was read is not the high watermark");
        let before = self.high_watermark[partition as usize];
        assert!(high_watermark >= before, "{place}: the high watermark went back from {before} to {high_watermark}");
        for (old, new) in self.stored[partition as usize].iter().zip(&batches) {
            assert_eq!(old, new, "{place}: what was read before (left) is not what stands there now");
        }
        let rises = batches.windows(2).all(|pair| pair[0].leader_epoch <= pair[1].leader_epoch);
        assert!(rises, "{place}: the leader epoch falls");
        self.high_watermark[partition as usize] = high_watermark;
        self.stored[partition as usize] = batches;
    }

    /// Every acknowledged send is where it was acknowledged. Returns how many others were found.
    fn check_acknowledged(&self, round: usize, found: &HashMap<SendId, i64>) -> usize {
        let mut unanswered = 0;
        for (id, send) in &self.sends {
            match (send.acknowledged, found.get(id)) {
                (Some(offset), Some(&at)) => {
                    assert_eq!(offset, at, "round {round}: {id:?} was acknowledged at {offset} and stands at {at}");
                }
                (Some(offset), None) => panic!("round {round}: {id:?}, acknowledged at {offset}, is lost"),
                (None, Some(_)) => unanswered += 1,
                (None, None) => {}
            }
        }
        unanswered
    }
}

/// All whole batches of a partition, and its high watermark. The log starts at 0 and nobody produces.
fn read_partition(control: &mut Client, partition: i32, place: &str) -> (Vec<u8>, i64) {
    let earliest = control.list_offset(TOPIC, partition, -2).expect("the broker lives");
    assert_eq!(earliest, (0, 0), "{place}: the earliest offset");
    let (error, latest) = control.list_offset(TOPIC, partition, -1).expect("the broker lives");
    assert_eq!(error, 0, "{place}: the latest offset");
    let mut records = Vec::new();
    let mut next = 0;
    while next < latest {
        let fetched = control.fetch(TOPIC, &[(partition, next)], Duration::from_millis(500), 8 << 20);
        let fetched = fetched.expect("the broker lives").pop().expect("one partition was asked for");
        assert_eq!((fetched.error, fetched.log_start), (0, 0), "{place} at {next}: error and log start");
        assert_eq!(fetched.high_watermark, latest, "{place}: the high watermark without a producer");
        let before = next;
        for batch in Stored::walk(&fetched.records) {
            records.extend_from_slice(batch.0);
            next = batch.last_offset() + 1;
        }
        assert!(next > before, "{place}: nothing comes at {next}, though the end is {latest}");
    }
    (records, latest)
}

/// A broker process. Killed with SIGKILL when dropped.
struct Broker {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
}

impl Broker {
    /// Starts the broker on a data directory with the cores whose turn it is, and three times of four with a journal so small that its
    /// files are drained and used again within a round.
    fn start(directory: &Path, round: usize) -> Self {
        let program = env::var("CORETIDE_KILL9_BROKER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_coretide").into());
        let log = directory.join("broker.log");
        // What an earlier start said goes away: it is not to be taken for this one's.
        let file = File::create(&log).expect("the target directory can be written");
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.join("data"));
        // What a file system does with a power cut is not the question here.
        command.args(["--allow-unsafe-filesystem", "--cores", &CORES[round % CORES.len()].to_string()]);
        if round % 4 != 3 {
            command.args(SMALL_JOURNAL);
        }
        // The broker takes its settings from such variables, and refuses those that it does not know.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORETIDE_")) {
            command.env_remove(name);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor is left"))
            .stderr(file)
            .spawn()
            .expect("the broker's binary can be started");
        Broker { child, log, address: ([127, 0, 0, 1], 0).into() }
    }

    /// Waits for the line in which the broker says where it listens.
    fn listening(mut self) -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(address) = said.lines().filter(|_| said.ends_with('\n')).find_map(listening_address) {
                self.address = address;
                return self;
            }
            let ended = self.child.try_wait().expect("the child is ours");
            assert!(ended.is_none(), "the broker ended with {ended:?} and said:\n{said}");
            assert!(Instant::now() < deadline, "the broker does not listen after 60 s and said:\n{said}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(mut self) {
        let ended = self.child.try_wait().expect("the child is ours");
        let said = || fs::read_to_string(&self.log).unwrap_or_default();
        assert!(ended.is_none(), "the broker ended by itself with {ended:?} and said:\n{}", said());
        // Dropping sends SIGKILL.
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // `Child::kill` is SIGKILL; it fails only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `HOST:PORT` after the words `listening on`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(|c: char| c.is_whitespace() || c == ',' || c == '"').next()?.parse().ok()
}

/// Flags for the smallest journal there may be.
const SMALL_JOURNAL: [&str; 2] = ["--journal-size", "128MiB"];

/// xorshift64: small, seeded, good enough to choose moments and sizes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// Below `bound`, which is above zero.
    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

/// The checks themselves: a check that cannot fail proves nothing.
mod checks {
    use super::*;

    /// Three sends of two records each, all acknowledged, at offsets 0, 2 and 4.
    fn history() -> (History, Vec<Vec<u8>>) {
        let mut history = History::new();
        let mut stored = Vec::new();
        for index in 0..3 {
            let values: [&[u8]; 2] = [b"one", &[index as u8]];
            let batch =
                Batch { producer_id: 7, producer_epoch: 0, base_sequence: index * 2, timestamp: 1, values: &values };
            let batch = batch.encode();
            let send = Send {
                crc: Stored(&batch).crc(),
                records: 2,
                bytes: batch.len() as u64,
                acknowledged: Some(i64::from(index) * 2),
            };
            history.sends.insert((7, 0, index * 2), send);
            stored.push(at(batch, i64::from(index) * 2));
        }
        (history, stored)
    }

    fn at(mut batch: Vec<u8>, offset: i64) -> Vec<u8> {
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        batch
    }

    fn check(history: &mut History, stored: &[Vec<u8>]) -> usize {
        let mut found = HashMap::new();
        let end = stored.iter().map(|batch| Stored(batch).last_offset() + 1).max().unwrap_or(0);
        history.check_partition(0, "here", &stored.concat(), end, &mut found);
        history.check_acknowledged(0, &found)
    }

    #[test]
    fn what_is_right_passes() {
        let (mut history, stored) = history();
        assert_eq!(check(&mut history, &stored), 0);
        history.sends.get_mut(&(7, 0, 4)).expect("was put there").acknowledged = None;
        assert_eq!(check(&mut history, &stored), 1);
    }

    #[test]
    #[should_panic(expected = "is lost")]
    fn a_lost_send_is_seen() {
        let (mut history, stored) = history();
        check(&mut history, &stored[..2]);
    }

    #[test]
    #[should_panic(expected = "stands at 4 and again at 6")]
    fn a_send_that_is_there_twice_is_seen() {
        let (mut history, mut stored) = history();
        stored.push(at(stored[2].clone(), 6));
        check(&mut history, &stored);
    }

    #[test]
    #[should_panic(expected = "was acknowledged at 4 and stands at 2")]
    fn a_send_at_another_offset_is_seen() {
        let (mut history, _) = history();
        let found = HashMap::from([((7, 0, 0), 0), ((7, 0, 2), 2), ((7, 0, 4), 2)]);
        history.sends.remove(&(7, 0, 2));
        history.check_acknowledged(0, &found);
    }

    #[test]
    #[should_panic(expected = "leaves a gap or overlaps")]
    fn a_hole_in_the_offsets_is_seen() {
        let (mut history, mut stored) = history();
        stored[2] = at(stored[2].clone(), 5);
        check(&mut history, &stored);
    }

    #[test]
    #[should_panic(expected = "has other bytes")]
    fn other_bytes_are_seen() {
        let (mut history, mut stored) = history();
        let values: [&[u8]; 2] = [b"two", &[1]];
        let batch = Batch { producer_id: 7, producer_epoch: 0, base_sequence: 2, timestamp: 1, values: &values };
        stored[1] = at(batch.encode(), 2);
        check(&mut history, &stored);
    }

    #[test]
    #[should_panic(expected = "the high watermark went back from 6 to 4")]
    fn a_shorter_log_is_seen_though_nothing_acknowledged_is_missing() {
        let (mut history, stored) = history();
        history.sends.get_mut(&(7, 0, 4)).expect("was put there").acknowledged = None;
        check(&mut history, &stored);
        check(&mut history, &stored[..2]);
    }

    #[test]
    #[should_panic(expected = "what was read before (left) is not what stands there now")]
    fn bytes_that_change_after_they_were_read_are_seen() {
        let (mut history, mut stored) = history();
        check(&mut history, &stored);
        stored[2][15] = 9; // another leader epoch, which no checksum of the batch covers
        check(&mut history, &stored);
    }
}
