//! One core: all that it owns, and what carries plans out.
//!
//! Always true: state is reached only through `Shard::with`, a synchronous closure, so no borrow crosses an await; a partition has one
//! writer, the core that [`crate::cluster::placement`] names; an offset is reserved and its batch copied into the journal in one step;
//! nothing is answered before the ticket of its journal block is due. Knows nothing of sockets or of Kafka's messages.

mod admission; // no more is taken in than the disk has space for
mod append; // offsets, journal, answers
mod cache; // how much of the journal stays in memory
mod describe; // sizes, producers, the volume
mod expressions; // expressions of groups, held against all topics in steps
mod groups; // coordinators of groups, carried out
mod lines; // whose turn it is at the journal
mod message; // what travels between cores
mod metadata; // the command log, on core 0, and its image on every core
mod metrics; // what a core counts and holds, for whoever asks
mod producers; // how many producers a core remembers
mod read; // fetch plans and reads
mod recover; // from a data directory to the state of each core
mod retention; // what goes: DeleteRecords, old records, their files
mod router; // requests to the owning core, replies back
mod scratch; // memory for looking into compressed batches
mod tasks; // draining, checkpoints, growth, idle journal
mod waiters; // what waits, and what ends the wait

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::limits::{
    JOURNAL_BLOCK_BYTES_MAX, JOURNAL_FILE_BYTES, METADATA_JOURNAL_FILE_BYTES, PRODUCERS_PER_CORE_MAX,
    SMALL_BATCHES_BYTES_PER_SECOND, TURN_REQUESTS,
};
use crate::base::rate::Rate;
use crate::base::{LogId, Map, ProducerId, ShardId};
use crate::cluster::{Command, GROUPS_TOPIC, Image, Outcome, TopicSettings, placement};
use crate::coordinator;
use crate::io::{Io, Pool};
use crate::partition::Partition;
use crate::storage::drive::journal::JournalFiles;
use crate::storage::drive::{Drive, DriveOptions, Notify};
use crate::storage::journal::{self, CommittedBlock, Journal, Ticket};
use crate::storage::{Log, StorageError};

pub use crate::coordinator::{Census as GroupCounts, STATES as GROUP_STATES};
pub use groups::GroupsCensus;
pub use message::{
    Appended, CommandError, DeleteRecordsError, Diverging, EpochEnd, FetchSpec, GroupCommand, GroupReply, ListedOffset,
    Marks, OffsetSpec, Planned, ProduceBatch, ProduceError, ReadDone, ReadError, ReadSpec,
};
pub use metrics::{Counts, GroupOffset, Metrics};
pub use recover::{BootError, BootSummary, Booted, CoreSeed, Identity, Layout, boot};
pub use retention::HIGH_WATERMARK;
pub use router::{MeshSeat, mesh};
pub use scratch::ScratchLoan;
pub use waiters::{Answers, ProduceTicket};

use admission::Admission;
use append::{Due, Origin, Part};
use cache::{Cache, Readers};
use groups::{Asker, Groups};
use lines::{Lines, Sender};
use message::{Answer, Ask, Reply, Request};
use metrics::Counter;
use retention::Removals;
use router::Mesh;
use scratch::Scratches;
use waiters::{Crowd, Pending, Signal, Stop};

/// How a core behaves. Every field has a safe default.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of drained journal blocks that a core keeps in memory for consumers at the tail.
    pub cache_bytes: usize,
    /// Bytes of all journal files of a core together.
    pub journal_bytes: u64,
    /// Bytes of one journal file.
    pub journal_file_bytes: u64,
    /// Bytes of one file of the metadata journal.
    pub metadata_file_bytes: u64,
    /// Journal blocks in flight at most.
    pub journal_depth: usize,
    /// Bytes of a block at most.
    pub journal_block_bytes: usize,
    /// With a block in flight, the open one is written early once it holds this much.
    pub journal_threshold: usize,
    /// How a core reads and writes segments.
    pub drive: DriveOptions,
    /// What holds for topics that say nothing else.
    pub topics: TopicSettings,
    /// A producer that was silent for so long is forgotten (`producer.id.expiration.ms`).
    pub producer_expiration_ms: i64,
    /// How often a core looks for records that have expired (`log.retention.check.interval.ms`).
    pub retention_check_interval: Duration,
    /// Producers that a core remembers at most.
    pub producers_max: usize,
    /// How coordinators of groups behave.
    pub groups: coordinator::Options,
    /// Bytes of members and committed offsets that all coordinators of a core may take up together.
    pub groups_bytes: usize,
    /// A deliberate defect, for the simulation to find.
    pub defect: Option<Defect>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 128 << 20,
            journal_bytes: 256 << 20,
            journal_file_bytes: JOURNAL_FILE_BYTES as u64,
            metadata_file_bytes: METADATA_JOURNAL_FILE_BYTES as u64,
            journal_depth: 2,
            journal_block_bytes: JOURNAL_BLOCK_BYTES_MAX,
            journal_threshold: 256 << 10,
            drive: DriveOptions::default(),
            topics: TopicSettings::default(),
            producer_expiration_ms: 86_400_000,
            retention_check_interval: Duration::from_secs(300),
            producers_max: PRODUCERS_PER_CORE_MAX,
            groups: coordinator::Options::default(),
            groups_bytes: 128 << 20,
            defect: None,
        }
    }
}

/// Mistakes that the simulation must catch. Not reachable from the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// Produce requests are answered when they are appended, not when they are durable.
    AnswersBeforeDurable,
    /// The high watermark moves at append.
    ReadsBeforeDurable,
    /// Repetitions are not told from new batches.
    AppendsRepetitions,
    /// Journal files are recycled before the segments are flushed.
    RecyclesBeforeFlush,
    /// Journal files are recycled although a log still needs a block in them.
    RecyclesTooMuch,
    /// Recovery takes blocks behind the first gap.
    RecoversBehindFrontier,
    /// Recovery leaves out what the journal holds.
    RecoversSegmentsOnly,
    /// Recovery forgets what producers sent.
    ForgetsProducers,
    /// Journal blocks are written without waiting for the device.
    WritesWithoutFlush,
    /// The leader epoch stays over a restart.
    KeepsLeaderEpoch,
    /// Files of segments are removed before the entry that moves the log start is durable.
    UnlinksBeforeEntry,
    /// Recovery forgets where logs start.
    ForgetsLogStart,
    /// The log start moves when its entry is appended, not when it is durable.
    ShowsLogStartEarly,
    /// The log starts a segment later than it should.
    DeletesTooMuch,
    /// Records expire by a wall clock that has just jumped.
    BelievesAnyClock,
    /// Batches are taken in although the disk has no space for them.
    FillsTheDisk,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::AnswersBeforeDurable,
        Self::ReadsBeforeDurable,
        Self::AppendsRepetitions,
        Self::RecyclesBeforeFlush,
        Self::RecyclesTooMuch,
        Self::RecoversBehindFrontier,
        Self::RecoversSegmentsOnly,
        Self::ForgetsProducers,
        Self::WritesWithoutFlush,
        Self::KeepsLeaderEpoch,
        Self::UnlinksBeforeEntry,
        Self::ForgetsLogStart,
        Self::ShowsLogStartEarly,
        Self::DeletesTooMuch,
        Self::BelievesAnyClock,
        Self::FillsTheDisk,
    ];
}

/// A partition's replica on its core.
pub(super) struct Replica {
    pub partition: Partition,
    pub log: Log,
    /// It stands in [`State::ahead`].
    drains_ahead: bool,
    readers: Readers,
    waiting: Crowd,
}

impl Replica {
    fn new(partition: Partition, log: Log) -> Self {
        Self { partition, log, drains_ahead: false, readers: Readers::default(), waiting: Crowd::default() }
    }

    /// Whether it is to be put into [`State::ahead`]: it has enough to be drained ahead, and does not stand there yet. It counts as standing there then.
    fn joins_line_ahead(&mut self) -> bool {
        let joins = !self.drains_ahead && self.log.drain_ahead().is_some();
        self.drains_ahead |= joins;
        joins
    }

    /// Ends every wait for more of this log. Waits are one-shot.
    fn wake(&mut self) {
        self.waiting.fire_all();
    }

    fn wait(&mut self, signal: Rc<Signal>) {
        self.waiting.join(signal);
    }
}

/// Everything that one core owns.
pub(super) struct State {
    options: Options,
    image: Arc<Image>,
    journal: Journal,
    replicas: Map<LogId, Replica>,
    cache: Cache,
    /// Logs whose topic is deleted, until their directories may go.
    deletions: VecDeque<(Ticket, Log)>,
    /// Files of segments that went, until they are removed.
    removals: Removals,
    due: VecDeque<Due>,
    /// What waits for the next block of the journal, or for room in it.
    lines: Lines<Part>,
    /// The first of them waits for room.
    short_of_room: bool,
    /// The broker's own entries whose durability somebody waits for.
    control_waiters: Vec<(Ticket, Rc<Signal>)>,
    admission: Admission,
    /// Entries of the broker's own that wait for room in the journal.
    room_waiters: Vec<Rc<Signal>>,
    committed_scratch: Vec<CommittedBlock>,
    producer_ids: std::ops::Range<i64>,
    /// At least as many as all logs remember.
    producers: usize,
    /// Nothing is appended any more.
    finishing: bool,
    journal_wake: Notify,
    drain_wake: Notify,
    /// Logs with enough to drain before a pass is due, in the order in which they had it.
    ahead: VecDeque<LogId>,
    /// Coordinators of the partitions of `__consumer_offsets` that are this core's.
    groups: Groups,
    counter: Counter,
    mesh: Rc<Mesh>,
}

/// One core, as everything that runs on it holds it.
#[derive(Clone)]
pub struct Shard(Rc<Inner>);

struct Inner {
    io: Io,
    mesh: Rc<Mesh>,
    state: RefCell<State>,
    files: JournalFiles,
    drive: Drive,
    /// Small batches of those who send little.
    small_batches: Cell<Rate<SMALL_BATCHES_BYTES_PER_SECOND>>,
    /// The directory that holds a directory per topic.
    topics: PathBuf,
    /// The id of the data directory.
    directory: [u8; 16],
    /// Waits that run here for fetches on other cores.
    foreign_waits: RefCell<Map<(ShardId, u32), Rc<Signal>>>,
    scratches: Scratches,
    stop: Stop,
    failed: Cell<bool>,
    on_failure: Rc<dyn Fn(&StorageError)>,
    /// On core 0.
    metadata: Option<metadata::Metadata>,
    finished: Signal,
    /// At a clean stop: no file waits for its removal any more.
    removed: Signal,
    defect: Option<Defect>,
}

/// Another core's or the process's business with a core that is starting.
pub struct Start {
    /// Its place in the mesh.
    pub seat: MeshSeat,
    /// What it starts from.
    pub seed: CoreSeed,
    /// How it behaves.
    pub options: Options,
    /// Called once when nothing may be acknowledged any more; ends the process.
    pub on_failure: Rc<dyn Fn(&StorageError)>,
}

impl Shard {
    /// Opens the core's journal and its logs. When this returns the first checkpoint of the journal is durable and the core serves the
    /// others; on core 0 `booted` is what [`boot`] gave, and the metadata log runs.
    pub async fn start(io: &Io, start: Start, booted: Option<&Booted>) -> Result<Self, BootError> {
        let Start { seat, seed, options, on_failure } = start;
        let CoreSeed { directory, topics, plan, incarnation, image, logs } = seed;
        let (mesh, requests, replies) = Mesh::new(io, seat);
        let states: Map<LogId, Bytes> = logs.iter().cloned().collect();
        let flushed = options.defect != Some(Defect::WritesWithoutFlush);
        let (files, checkpoints, numbers) = plan.open(io, incarnation, logs, Bytes::new(), flushed).await?;
        let journal_options = journal::Options {
            owner: plan.owner,
            incarnation,
            file_bytes: plan.file_bytes,
            block_bytes_max: options.journal_block_bytes,
            chunk_bytes: 4 * options.journal_block_bytes,
            depth: options.journal_depth,
            threshold: options.journal_threshold,
        };
        // Blocks leave memory in bursts, when a drain ends; the pages they stood in are touched again at once.
        let pool = Pool::new(options.journal_bytes as usize);
        let journal = Journal::new(journal_options, pool, numbers, plan.end);
        let (mut replicas, mut producers) = (Map::default(), 0);
        let heard_since = (io.wall_clock(), options.producer_expiration_ms);
        let mut groups = Groups::new(options.groups.clone(), options.groups_bytes);
        for (topic, index, described) in recover::mine(&image, mesh.id(), mesh.cores()) {
            let spec = metadata::spec(topic, index, &topics, &options.topics);
            let epoch = image.leader_epoch(described);
            let (partition, log) = recover::replica(spec, states.get(&described.log_id), epoch, heard_since)
                .map_err(|found| BootError::Inconsistent { dir: plan.dir.clone(), found })?;
            producers += partition.producers().len();
            replicas.insert(described.log_id, Replica::new(partition, log));
            if &*topic.name == GROUPS_TOPIC {
                groups.open(described.log_id, groups::batch_bytes_max(topic, &options.topics));
            }
        }
        let mut state = State {
            image,
            journal,
            replicas,
            cache: Cache::new(options.cache_bytes),
            deletions: VecDeque::new(),
            removals: Removals::default(),
            due: VecDeque::new(),
            lines: Lines::default(),
            short_of_room: false,
            control_waiters: Vec::new(),
            admission: Admission::new(),
            room_waiters: Vec::new(),
            committed_scratch: Vec::new(),
            producer_ids: 0..0,
            producers,
            finishing: false,
            journal_wake: Notify::default(),
            drain_wake: Notify::default(),
            ahead: VecDeque::new(),
            groups,
            counter: Counter::default(),
            mesh: mesh.clone(),
            options: options.clone(),
        };
        state.bound_producers();
        let drive = Drive::open(io, &topics, directory, options.drive.clone()).await?;
        let shard = Self(Rc::new(Inner {
            io: io.clone(),
            mesh,
            state: RefCell::new(state),
            files,
            drive,
            small_batches: Cell::default(),
            topics,
            directory,
            foreign_waits: RefCell::default(),
            scratches: Scratches::default(),
            stop: Stop::default(),
            failed: Cell::new(false),
            on_failure,
            metadata: booted.map(|booted| booted.metadata.clone()),
            finished: Signal::default(),
            removed: Signal::default(),
            defect: options.defect,
        }));
        shard.with(State::retire_all);
        shard.look_at_the_disk().await;
        shard.spawn_lanes(requests, replies);
        shard.spawn_tasks(checkpoints);
        if let Some(metadata) = &shard.0.metadata {
            io.spawn(metadata.clone().run(shard.clone()));
        }
        Ok(shard)
    }

    /// This core's door to the world.
    pub fn io(&self) -> &Io {
        &self.0.io
    }

    /// A client that sends little has sent a request of so many bytes with batches: the disk is wanted for it, and probably soon again. Many such clients are a flood
    /// like any other.
    pub fn small_batches_came(&self, bytes: usize) {
        let now = self.io().now();
        let small = self.0.small_batches.get().and(bytes, now);
        self.0.small_batches.set(small);
        if small.is_kept() {
            self.0.drive.disk().small_batch_came(now);
        }
    }

    /// Which core this is.
    pub fn id(&self) -> ShardId {
        self.0.mesh.id()
    }

    /// The cluster's metadata, as this core knows it.
    pub fn image(&self) -> Arc<Image> {
        self.with(|state| state.image.clone())
    }

    /// Appends batches of a client, in order. Synchronous: when this returns their order among all batches of this client is fixed; the ticket
    /// resolves with an answer to each, in the same order, once all are durable or refused.
    pub fn produce(&self, client: SocketAddr, batches: SmallVec<[ProduceBatch; 4]>) -> ProduceTicket {
        let sender = Sender::Client(client);
        /// A core, its batches and their places in the request.
        type Share = (ShardId, SmallVec<[u16; 4]>, Vec<ProduceBatch>);
        let mut parts: SmallVec<[Share; 2]> = SmallVec::new();
        let total = batches.len();
        for (place, batch) in (0u16..).zip(batches) {
            let owner = self.owner(batch.log);
            let part = match parts.iter_mut().position(|(shard, ..)| *shard == owner) {
                Some(at) => &mut parts[at],
                None => {
                    parts.push((owner, SmallVec::new(), Vec::new()));
                    parts.last_mut().expect("just pushed")
                }
            };
            part.1.push(place);
            part.2.push(batch);
        }
        let pending = Pending::new(total, parts.len());
        for (owner, places, batches) in parts {
            if owner == self.id() {
                let origin = Origin::Here { pending: pending.clone(), places };
                self.take_part(sender, origin, batches);
            } else {
                self.0.mesh.produce(owner, Ask::Produce(sender, batches), pending.clone(), places);
            }
        }
        ProduceTicket(pending)
    }

    /// Carries out a metadata command. When this returns it is durable, and every core knows it.
    pub async fn command(&self, command: Command) -> Result<Outcome, CommandError> {
        if let Some(metadata) = &self.0.metadata {
            return metadata.submit(command).await;
        }
        match self.0.mesh.call(ShardId(0), Ask::Command(command)).await {
            Answer::Command(outcome) => *outcome,
            other => unreachable!("a command was answered with {other:?}"),
        }
    }

    /// A producer id that was never given out before.
    pub async fn next_producer_id(&self) -> Result<ProducerId, CommandError> {
        /// Ids leased by a core at a time.
        const LEASE: u32 = 1000;
        loop {
            if let Some(id) = self.with(|state| state.producer_ids.next()) {
                return Ok(ProducerId(id));
            }
            if let Outcome::Leased { first, count } = self.command(Command::LeaseProducerIds { count: LEASE }).await? {
                self.with(|state| state.producer_ids = first.0..first.0 + i64::from(count));
            }
        }
    }

    /// Whether the broker has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.stop.has_begun()
    }

    /// Resolves when the broker begins to stop.
    pub async fn stopping(&self) {
        self.0.stop.begun().await;
    }

    /// Begins to stop: parked requests end at once.
    pub fn begin_stop(&self) {
        if let Some(metadata) = &self.0.metadata {
            metadata.close();
        }
        self.with(|state| state.groups.close());
        self.0.stop.begin();
    }

    /// On core 0, after every core has finished: the last word of the metadata journal.
    pub async fn seal_metadata(&self) -> Result<(), StorageError> {
        match &self.0.metadata {
            Some(metadata) => metadata.seal(self.io()).await,
            None => Ok(()),
        }
    }

    pub(super) fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.state.try_borrow_mut().expect("a core's state is never entered twice");
        look(&mut state)
    }

    fn owner(&self, log: LogId) -> ShardId {
        placement(log, self.0.mesh.cores())
    }

    fn take_part(&self, sender: Sender, origin: Origin, batches: Vec<ProduceBatch>) {
        let now = self.io().wall_clock();
        let part = Part { sender, origin, batches: batches.into(), answers: Answers::new(), ticket: None };
        self.with(|state| state.take_part(now, part));
    }

    /// Answers the requests of other cores as long as the broker runs.
    fn spawn_lanes(&self, mut requests: crate::io::Receiver<Request>, mut replies: crate::io::Receiver<Reply>) {
        let shard = self.clone();
        self.io().spawn(async move {
            let mut served = 0;
            while let Some(request) = requests.recv().await {
                shard.serve(request);
                served += 1;
                if served == TURN_REQUESTS {
                    served = 0;
                    shard.io().yield_now().await;
                }
            }
        });
        let mesh = self.0.mesh.clone();
        self.io().spawn(async move {
            while let Some(reply) = replies.recv().await {
                mesh.settle(reply);
            }
        });
    }

    /// One request of another core. What can be answered at once is; the rest gets a task.
    fn serve(&self, request: Request) {
        let Request { from, token, ask } = request;
        let answer = match ask {
            Ask::Produce(sender, batches) => {
                return self.take_part(sender, Origin::There { shard: from, token }, batches);
            }
            Ask::Plan(specs) => Answer::Planned(self.plan_here(&specs)),
            Ask::LogBytes(logs) => Answer::LogBytes(self.log_bytes_here(&logs)),
            Ask::Producers(log) => Answer::Producers(self.producers_here(log)),
            Ask::EpochEnd { log, current_epoch, epoch } => {
                Answer::EpochEnd(self.epoch_end_here(log, current_epoch, epoch))
            }
            Ask::Group { log, command } => {
                return self.group_command_here(Asker::There { shard: from, token }, log, *command);
            }
            Ask::Cancel => return self.cancel_wait(from, token),
            Ask::Wait { logs, deadline } => return self.wait_for_other_core(from, token, &logs, deadline),
            Ask::Image { image, events } => {
                self.take_image(image, &events);
                Answer::Done
            }
            waits @ (Ask::Read(..) | Ask::ListOffset { .. } | Ask::DeleteRecords { .. } | Ask::Command(_)) => {
                let shard = self.clone();
                self.io().spawn(async move {
                    let answer = shard.answer_later(waits).await;
                    shard.0.mesh.reply(from, Reply { token, answer });
                });
                return;
            }
        };
        self.0.mesh.reply(from, Reply { token, answer });
    }

    async fn answer_later(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Read(specs, bytes_max) => Answer::Read(self.read_here(specs, bytes_max).await),
            Ask::ListOffset { log, spec, current_epoch } => {
                Answer::ListedOffset(self.list_offset_here(log, spec, current_epoch).await)
            }
            Ask::DeleteRecords { log, up_to } => Answer::DeletedRecords(self.delete_records_here(log, up_to).await),
            Ask::Command(command) => Answer::Command(Box::new(self.command(command).await)),
            other => unreachable!("{other:?} is answered at once"),
        }
    }

    /// Nothing may be acknowledged any more: says so once and lets the owner of the process end it.
    fn fail(&self, error: &StorageError) {
        if !self.0.failed.replace(true) {
            (self.0.on_failure)(error);
        }
    }
}

/// How long a broker that is asked to stop waits for requests that are under way.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
