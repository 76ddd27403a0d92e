//! From a data directory to the state of each core.
//!
//! ```text
//! directory -> metadata journal -> image -> this start's command, durable
//!           -> data journals -> what each log's checkpoint says + what the journal adds -> drained into segments, flushed
//!           -> one journal per core, its first checkpoint durable -> old journals removed
//! ```
//!
//! Every journal is read and drained before any new one is written, so any number of cores may follow. Until the old journals are
//! removed a crash finds them again, and for each log the state with the highest incarnation counts: starting over gives the same.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::metadata::{self, Metadata, spec};
use super::read::joined;
use super::{CommandError, Defect, Options};
use crate::base::{
    Incarnation, JournalId, LeaderEpoch, LogId, Map, NodeId, Offset, PartitionIndex, Timestamp, TopicId,
};
use crate::cluster::{
    self, BrokerStarted, Command, Endpoint, EntryId, Image, LogState, METADATA_VERSION, METADATA_VERSION_LEVEL,
    Membership, TopicSettings, placement,
};
use crate::io::{Io, Pool};
use crate::partition::{Partition, StateFault};
use crate::record;
use crate::storage::drive::boot::{
    DirectoryError, Found, JournalPlan, ReadDefects, find_journals, flush_names, open_directory, remove_journal,
};
use crate::storage::drive::{Drive, Host, Recovering, TailPage, TailPiece};
use crate::storage::journal::block::Owner;
use crate::storage::journal::recover::{Known, survivors};
use crate::storage::journal::{self, Extent, Journal, Kind};
use crate::storage::{CachedBatch, Fault, Log, LogCheckpoint, LogSpec, StorageError};

/// Where a broker keeps what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The data directory.
    pub data: PathBuf,
    /// Where the journals stand; usually `data/journals`.
    pub journals: PathBuf,
}

/// Who this broker is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its node id.
    pub node: NodeId,
    /// `broker.rack`.
    pub rack: Option<Arc<str>>,
    /// Its advertised addresses.
    pub endpoints: Vec<Endpoint>,
    /// How many cores it runs on.
    pub cores: u16,
    /// The cluster id to form a new cluster with; `None`: a random one.
    pub cluster_id: Option<Arc<str>>,
}

/// Why a broker cannot start from its directory.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The directory is not usable, or damaged.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The metadata says something else than the logs.
    #[error("{dir}: {found}", dir = dir.display())]
    Inconsistent {
        /// Where.
        dir: PathBuf,
        /// What.
        found: String,
    },
    /// The directory belongs to another cluster than the one that was asked for.
    #[error("the data directory belongs to cluster {found}, and {wanted} was asked for")]
    OtherCluster {
        /// The setting.
        wanted: Arc<str>,
        /// The directory's.
        found: Arc<str>,
    },
    /// The directory belongs to another node than the one that was asked for, and all its partitions are that one's.
    #[error("the data directory belongs to node {found}, and --node-id {wanted} was asked for")]
    OtherNode {
        /// The setting.
        wanted: NodeId,
        /// The directory's.
        found: NodeId,
    },
    /// The metadata log refused this start.
    #[error("the metadata log refused this start: {0}")]
    Refused(CommandError),
}

/// What the start found, for the screen and the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BootSummary {
    /// The directory was empty.
    pub new: bool,
    /// The last stop was clean.
    pub clean: bool,
    /// Bytes of journal that were read.
    pub journal_bytes: u64,
    /// Batches that were taken from the journal into segments.
    pub batches: u64,
    /// Journal blocks behind the frontier of a crash.
    pub discarded_blocks: usize,
    /// Partitions.
    pub partitions: usize,
}

/// What one core starts from. Goes to it by message.
#[derive(Clone, Debug)]
pub struct CoreSeed {
    pub(super) directory: [u8; 16],
    pub(super) topics: PathBuf,
    pub(super) plan: JournalPlan,
    pub(super) incarnation: Incarnation,
    pub(super) image: Arc<Image>,
    pub(super) logs: Vec<(LogId, Bytes)>,
}

/// A directory that was brought in order.
pub struct Booted {
    /// One per core.
    pub cores: Vec<CoreSeed>,
    /// The image after this start's command.
    pub image: Arc<Image>,
    /// For the screen.
    pub summary: BootSummary,
    pub(super) metadata: Metadata,
    retired: Vec<PathBuf>,
}

impl Booted {
    /// Removes the journals that this start replaced. Only when every core has its first checkpoint.
    pub async fn remove_retired(&self, io: &Io) -> Result<(), StorageError> {
        for dir in &self.retired {
            remove_journal(io, dir).await?;
        }
        Ok(())
    }
}

/// Brings a data directory in order. The caller holds its lock.
pub async fn boot(
    io: &Io,
    layout: &Layout,
    identity: &Identity,
    options: &Options,
    on_failure: Rc<dyn Fn(&StorageError)>,
) -> Result<Booted, BootError> {
    let directory = open_directory(io, &layout.data).await?;
    let defects = ReadDefects { behind_frontier: options.defect == Some(Defect::RecoversBehindFrontier) };
    let metadata_dir = layout.data.join("metadata");
    let metadata_found = find_journals(io, &metadata_dir, directory, ReadDefects::default()).await?;
    let data_found = find_journals(io, &layout.journals, directory, defects).await?;
    tracing::debug!(metadata = metadata_found.len(), data = data_found.len(), "journals are read");
    let newest = metadata_found.iter().chain(&data_found).map(|found| found.checkpoint.incarnation).max();
    let incarnation = Incarnation(newest.map_or(1, |newest| newest.0 + 1));
    let mut summary = BootSummary {
        new: metadata_found.is_empty(),
        clean: metadata_found.iter().chain(&data_found).all(|found| found.clean),
        journal_bytes: metadata_found.iter().chain(&data_found).map(|found| found.bytes_read).sum(),
        discarded_blocks: metadata_found.iter().chain(&data_found).map(|found| found.discarded).sum(),
        ..BootSummary::default()
    };

    let metadata = open_metadata(
        io,
        &metadata_dir,
        directory,
        metadata_found,
        incarnation,
        options.metadata_file_bytes,
        on_failure,
    )
    .await?;
    begin(io, &metadata, identity, incarnation, options).await?;
    tracing::debug!("this start is recorded");
    let image = metadata.image();
    summary.partitions = image.partition_count();

    let topics = layout.data.join("topics");
    create_dir(io, &topics).await?;
    if data_found.is_empty() {
        // Later starts find a journal, and so know that this was done.
        io.create_dir_all(&layout.journals).await.map_err(StorageError::write(&layout.journals))?;
        flush_names(io, &layout.journals).await?;
    }
    let recovery = Recovery::new(io, directory, &image, &topics, options).await?;
    let logs = recovery.run(&data_found, &mut summary).await?;
    remove_empty_topics(io, &topics, &image).await?;

    let plans = plan_journals(&layout.journals, directory, &data_found, identity.cores, options);
    let kept: Vec<_> = plans.iter().map(|plan| plan.dir.clone()).collect();
    let retired = data_found.iter().map(|found| found.dir.clone()).filter(|dir| !kept.contains(dir)).collect();
    let mut cores: Vec<_> = plans
        .into_iter()
        .map(|plan| CoreSeed {
            directory,
            topics: topics.clone(),
            plan,
            incarnation,
            image: image.clone(),
            logs: Vec::new(),
        })
        .collect();
    for (log, state) in logs {
        cores[usize::from(placement(log, identity.cores).0)].logs.push((log, state));
    }
    Ok(Booted { cores, image, summary, metadata, retired })
}

/// Bytes of a block of the metadata journal at most; larger commands continue over blocks.
const METADATA_BLOCK_BYTES: usize = 64 << 10;

/// Opens the metadata journal for writing, with the image that it stands for. Those that it replaces are gone when this returns: whatever becomes
/// of this start, they do not add up.
async fn open_metadata(
    io: &Io,
    dir: &Path,
    directory: [u8; 16],
    mut found: Vec<Found>,
    incarnation: Incarnation,
    file_bytes: u64,
    on_failure: Rc<dyn Fn(&StorageError)>,
) -> Result<Metadata, BootError> {
    let current = found.pop();
    let mut replaced: Vec<_> = found.into_iter().map(|older| older.dir).collect();
    let mut image = Image::empty();
    let inconsistent = |found: String| BootError::Inconsistent { dir: dir.to_owned(), found };
    if let Some(current) = &current {
        if !current.checkpoint.snapshot.is_empty() {
            image = Image::decode(&current.checkpoint.snapshot)
                .map_err(|error| inconsistent(format!("the snapshot of the metadata cannot be read: {error}")))?;
        }
        for entry in current.entries.iter().filter(|entry| entry.head.kind == Kind::Command) {
            let id = EntryId { term: entry.head.epoch.0 as u64, index: entry.head.first.0 as u64 };
            if id.index <= image.version().index {
                continue;
            }
            let bytes = entry.payload.concat();
            let command = Command::decode(&bytes)
                .map_err(|error| inconsistent(format!("command {} cannot be read: {error}", id.index)))?;
            let (next, _, outcome) = cluster::apply(&image, id, &command);
            outcome.map_err(|fault| inconsistent(format!("command {} does not apply: {fault}", id.index)))?;
            image = next;
        }
    }
    tracing::debug!(version = ?image.version(), entries = ?current.as_ref().map(|found| (found.entries.iter().map(|entry| (entry.head.kind, entry.head.first)).collect::<Vec<_>>(), found.end, found.checkpoint.tail, found.clean)), "the metadata is read");
    let reuse = current.as_ref().and_then(|found| JournalPlan::reuse(found, file_bytes));
    let next_id = current.as_ref().map_or(0, |found| found.owner.journal.0 + 1);
    let plan = match (reuse, current) {
        (Some(plan), _) => plan,
        (None, current) => {
            replaced.extend(current.map(|found| found.dir));
            let owner = Owner { directory, journal: JournalId(next_id) };
            JournalPlan::make(dir, owner, file_bytes)
        }
    };
    create_dir(io, dir).await?;
    let term = image.version().term + 1;
    let (files, checkpoints, mut numbers) = plan.open(io, incarnation, Vec::new(), image.encode().into(), true).await?;
    for dir in replaced {
        remove_journal(io, &dir).await?;
    }
    if numbers.len() < 2 {
        files.create(io, 1, plan.file_bytes).await?;
        numbers.push(1);
    }
    let journal_options = journal::Options {
        owner: plan.owner,
        incarnation,
        file_bytes: plan.file_bytes,
        block_bytes_max: METADATA_BLOCK_BYTES,
        chunk_bytes: METADATA_BLOCK_BYTES,
        depth: 1,
        threshold: 0,
    };
    let journal = Journal::new(journal_options, Pool::new(0), numbers, plan.end);
    let seed = metadata::Seed { journal, files, checkpoints, image: Arc::new(image), term };
    Ok(Metadata::start(io, seed, on_failure))
}

/// Forms the cluster if there is none, and records this start. Both are durable when this returns.
async fn begin(
    io: &Io,
    metadata: &Metadata,
    identity: &Identity,
    incarnation: Incarnation,
    options: &Options,
) -> Result<(), BootError> {
    if metadata.image().cluster_id().is_none() {
        let random = || {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&io.random_u64().to_be_bytes());
            bytes[8..].copy_from_slice(&io.random_u64().to_be_bytes());
            TopicId::from_random(bytes).to_string().into()
        };
        let command = Command::ClusterFormed {
            cluster_id: identity.cluster_id.clone().unwrap_or_else(random),
            features: vec![(METADATA_VERSION.into(), METADATA_VERSION_LEVEL)],
            membership: Membership { voters: vec![identity.node], observers: Vec::new() },
        };
        metadata.apply_alone(io, &command).await.map_err(BootError::Refused)?;
    }
    if let (Some(wanted), Some(found)) = (&identity.cluster_id, metadata.image().cluster_id())
        && wanted != found
    {
        return Err(BootError::OtherCluster { wanted: wanted.clone(), found: found.clone() });
    }
    let image = metadata.image();
    if image.node(identity.node).is_none()
        && let Some(found) = image.nodes().next()
    {
        return Err(BootError::OtherNode { wanted: identity.node, found: found.id });
    }
    if options.defect == Some(Defect::KeepsLeaderEpoch) && metadata.image().node(identity.node).is_some() {
        return Ok(());
    }
    let started = BrokerStarted {
        node: identity.node,
        incarnation,
        rack: identity.rack.clone(),
        endpoints: identity.endpoints.clone(),
        cores: identity.cores,
    };
    metadata.apply_alone(io, &Command::BrokerStarted(started)).await.map_err(BootError::Refused)?;
    Ok(())
}

/// One journal per core. Those of a clean stop are used again when they fit as they are: as many as there are cores, each with the logs of
/// its core, of the right size. Else all are new: if only some were kept, a kill between the first checkpoints of two cores could find a
/// log that its old journal no longer names and its new one does not name yet.
fn plan_journals(
    parent: &Path,
    directory: [u8; 16],
    found: &[Found],
    cores: u16,
    options: &Options,
) -> Vec<JournalPlan> {
    let file_bytes = options.journal_file_bytes;
    let fits = |(core, found): (u16, &Found)| {
        let here = found.checkpoint.logs.iter().all(|(log, _)| placement(*log, cores).0 == core);
        let small_enough = found.files.len() as u64 <= (options.journal_bytes / file_bytes).max(2);
        if here && small_enough { JournalPlan::reuse(found, file_bytes) } else { None }
    };
    let again: Option<Vec<_>> = (0..).zip(found).map(fits).collect();
    if let Some(plans) = again.filter(|plans| plans.len() == usize::from(cores)) {
        return plans;
    }
    let next = found.iter().map(|found| found.owner.journal.0 + 1).max().unwrap_or(0);
    let make = |journal| JournalPlan::make(parent, Owner { directory, journal: JournalId(journal) }, file_bytes);
    (next..next + u32::from(cores)).map(make).collect()
}

/// Removes the directories of topics of which nothing is left. Once the broker runs, a core may be making a partition in any of them.
async fn remove_empty_topics(io: &Io, topics: &Path, image: &Image) -> Result<(), StorageError> {
    for name in io.list_dir(topics).await.map_err(StorageError::read(topics))? {
        let dir = topics.join(&name);
        if image.topic(&name).is_some() || !io.is_dir(&dir).await.map_err(StorageError::read(&dir))? {
            continue;
        }
        if io.list_dir(&dir).await.map_err(StorageError::read(&dir))?.is_empty() {
            io.remove_dir_all(&dir).await.map_err(StorageError::write(&dir))?;
        }
    }
    Ok(())
}

async fn create_dir(io: &Io, dir: &Path) -> Result<(), StorageError> {
    io.create_dir_all(dir).await.map_err(StorageError::write(dir))?;
    let parent = dir.parent().unwrap_or(dir);
    io.sync_dir(parent).await.map_err(StorageError::write(parent))
}

/// The logs of all journals, on their way into segments.
struct Recovery<'a> {
    io: &'a Io,
    image: &'a Image,
    topics: &'a Path,
    defaults: &'a TopicSettings,
    defect: Option<Defect>,
    drive: Drive,
    host: RecoveryHost,
    now: Timestamp,
}

/// A log while it is recovered.
struct Recovered {
    log: Log,
    partition: Partition,
}

#[derive(Clone, Default)]
struct RecoveryHost(Rc<RefCell<Map<LogId, Recovered>>>);

impl Host for RecoveryHost {
    fn with_log<R>(&self, log: LogId, with: impl FnOnce(&mut Log) -> R) -> Option<R> {
        self.0.borrow_mut().get_mut(&log).map(|recovered| with(&mut recovered.log))
    }

    async fn journal_tail_page(&self, _: TailPage) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }

    fn hurries(&self) -> bool {
        true
    }

    /// The segments are cut again in a moment, and there may be just enough for all of them.
    fn spares(&self, _bytes: u64) -> bool {
        false
    }

    fn oldest_journal_seq(&self) -> u64 {
        0
    }
}

impl<'a> Recovery<'a> {
    async fn new(
        io: &'a Io,
        directory: [u8; 16],
        image: &'a Image,
        topics: &'a Path,
        options: &'a Options,
    ) -> Result<Self, BootError> {
        Ok(Self {
            io,
            image,
            topics,
            defaults: &options.topics,
            defect: options.defect,
            drive: Drive::open(io, topics, directory, options.drive.clone()).await?,
            host: RecoveryHost::default(),
            now: io.wall_clock(),
        })
    }

    /// The state of every log, drained and flushed.
    async fn run(&self, found: &[Found], summary: &mut BootSummary) -> Result<Vec<(LogId, Bytes)>, BootError> {
        let mut states: Map<LogId, (Incarnation, Bytes)> = Map::default();
        for journal in found {
            for (log, state) in &journal.checkpoint.logs {
                let incarnation = journal.checkpoint.incarnation;
                if states.get(log).is_none_or(|(newest, _)| *newest < incarnation) {
                    states.insert(*log, (incarnation, state.clone()));
                }
            }
        }
        for journal in found.iter().filter(|journal| !journal.clean) {
            self.recover_journal(journal, &mut states, summary).await?;
        }
        self.refuse_lost_journals(&states).await?;
        let mut logs: Vec<_> = states.into_iter().map(|(log, (_, state))| (log, state)).collect();
        logs.retain(|(log, _)| matches!(self.image.log_state(*log), LogState::Live(..)));
        logs.sort_by_key(|(log, _)| *log);
        Ok(logs)
    }

    /// A log that no journal knows has never been written to. Segments of such a log mean that its journal is not here.
    async fn refuse_lost_journals(&self, states: &Map<LogId, (Incarnation, Bytes)>) -> Result<(), BootError> {
        for topic in self.image.topics() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                if states.contains_key(&partition.log_id) {
                    continue;
                }
                let dir = spec(topic, PartitionIndex(index), self.topics, self.defaults).directory();
                if self.io.is_dir(&dir).await.map_err(StorageError::read(&dir))? {
                    let found = "it holds segments that no journal knows of; a journal is missing. Was --journal-dir \
                                 given at the last start, and is it the same now?";
                    return Err(BootError::Inconsistent { dir, found: found.into() });
                }
            }
        }
        Ok(())
    }

    async fn recover_journal(
        &self,
        journal: &Found,
        states: &mut Map<LogId, (Incarnation, Bytes)>,
        summary: &mut BootSummary,
    ) -> Result<(), BootError> {
        let incarnation = journal.checkpoint.incarnation;
        let newest = |log: &LogId, states: &Map<LogId, (Incarnation, Bytes)>| {
            states.get(log).is_none_or(|(newest, _)| *newest == incarnation)
        };
        let mut touched: Vec<LogId> = journal.checkpoint.logs.iter().map(|(log, _)| *log).collect();
        touched.extend(journal.entries.iter().map(|entry| entry.head.log).filter(|log| log.0 != 0));
        touched.sort();
        touched.dedup();
        touched.retain(|log| newest(log, states));
        let mut starts: Map<LogId, Offset> = Map::default();
        for entry in journal.entries.iter().filter(|entry| self.moves_log_start(entry)) {
            let start = starts.entry(entry.head.log).or_insert(entry.head.first);
            *start = entry.head.first.max(*start);
        }
        let mut logs = Vec::new();
        for log in touched {
            let state = states.get(&log).map(|(_, state)| state.clone());
            if self.take_in(journal, log, state, starts.get(&log).copied())? {
                logs.push(log);
            }
        }
        tracing::debug!(logs = logs.len(), journal = %journal.dir.display(), "a journal is recovered");
        self.recover_tails(journal, &logs).await?;
        tracing::debug!("the ends of its logs are in order");
        self.replay(journal, summary)?;
        tracing::debug!("its batches are taken over");
        self.drive.drain_all(&self.host, &logs).await?;
        tracing::debug!("they are in segments");
        self.drive.close(&self.host, &logs).await?;
        tracing::debug!("which are flushed");
        for (id, mut recovered) in std::mem::take(&mut *self.host.0.borrow_mut()) {
            recovered.partition.recovered(recovered.log.end()).map_err(|fault| self.impossible(journal, id, &fault))?;
            recovered.log.leave_journal();
            let mut checkpoint = recovered.log.checkpoint();
            checkpoint.high = recovered.partition.high();
            checkpoint.producer_offset = recovered.partition.end();
            checkpoint.producer_state = recovered.partition.encode();
            states.insert(id, (incarnation, checkpoint.encode().into()));
        }
        Ok(())
    }

    fn moves_log_start(&self, entry: &journal::Committed) -> bool {
        entry.head.kind == Kind::LogStart && self.defect != Some(Defect::ForgetsLogStart)
    }

    /// Makes a log ready for recovery. `false`: it was deleted. `start` is where the journal says that it begins.
    fn take_in(
        &self,
        journal: &Found,
        id: LogId,
        state: Option<Bytes>,
        start: Option<Offset>,
    ) -> Result<bool, BootError> {
        let (topic, index) = match self.image.log_state(id) {
            LogState::Live(topic, index) => (topic, index),
            LogState::Deleted => return Ok(false),
            LogState::NeverGivenOut => {
                let found =
                    format!("it holds entries of log {id}, which was never given out; metadata is lost or damaged");
                return Err(BootError::Inconsistent { dir: journal.dir.clone(), found });
            }
        };
        let mut recovered = restore(spec(&topic, index, self.topics, self.defaults), state.as_ref())
            .map_err(|found| BootError::Inconsistent { dir: journal.dir.clone(), found })?;
        // Before any file is looked at: what lies below may be gone.
        let start = start.unwrap_or_default().max(recovered.log.log_start());
        recovered.log.recover_log_start(start);
        tracing::debug!(log = id.0, log_start = start.0, drained = recovered.log.drained().0, "a log is recovered");
        self.host.0.borrow_mut().insert(id, recovered);
        Ok(true)
    }

    async fn recover_tails(&self, journal: &Found, logs: &[LogId]) -> Result<(), BootError> {
        let mut tails: Map<LogId, Recovering> = logs.iter().map(|log| (*log, Recovering::default())).collect();
        for entry in &journal.entries {
            let Some(tail) = tails.get_mut(&entry.head.log) else { continue };
            let drained = self.host.with_log(entry.head.log, |log| log.drained());
            match entry.head.kind {
                Kind::Append if drained.is_some_and(|drained| entry.head.last < drained) => {
                    tail.pieces.push(TailPiece::Batch(cached(entry)));
                }
                Kind::AppendRef => {
                    let extent = Extent::decode(&entry.payload.concat());
                    let extent = extent.ok_or_else(|| self.unreadable(journal, "an AppendRef"))?;
                    let Extent { segment, position, tail: bytes, .. } = extent;
                    tail.pieces.push(TailPiece::Page {
                        segment,
                        position,
                        bytes: bytes.into(),
                        seq: entry.first_block,
                    });
                }
                _ => {}
            }
        }
        let tails = logs.iter().filter_map(|log| Some((*log, tails.remove(log)?)));
        Ok(self.drive.recover_tails(&self.host, tails).await?)
    }

    /// The second pass: pushes what survives, and only that.
    fn replay(&self, journal: &Found, summary: &mut BootSummary) -> Result<(), BootError> {
        let known =
            |log: LogId| self.host.0.borrow().get(&log).map(|recovered| Known { drained: recovered.log.drained() });
        for entry in survivors(journal.entries.clone(), known) {
            if self.moves_log_start(&entry) {
                let mut logs = self.host.0.borrow_mut();
                let recovered = logs.get_mut(&entry.head.log).expect("a survivor's log is known");
                recovered.partition.replay_log_start(entry.head.first);
                continue;
            }
            if entry.head.kind != Kind::Append || self.defect == Some(Defect::RecoversSegmentsOnly) {
                continue;
            }
            let mut logs = self.host.0.borrow_mut();
            let recovered = logs.get_mut(&entry.head.log).expect("a survivor's log is known");
            let whole = joined(&entry.payload);
            let batch = record::batches(&whole).next().filter(|batch| batch.crc_holds());
            let batch = batch.ok_or_else(|| self.unreadable(journal, "a record batch"))?;
            let expected = recovered.log.end();
            if entry.head.first > expected {
                let found = format!(
                    "log {} goes on at offset {}, and nothing holds what stood from {expected} on",
                    entry.head.log, entry.head.first
                );
                return Err(BootError::Inconsistent { dir: journal.dir.clone(), found });
            }
            let replayed = recovered.partition.replay(&batch, self.now);
            replayed.map_err(|fault| self.impossible(journal, entry.head.log, &fault))?;
            recovered.log.push(cached(&entry));
            summary.batches += 1;
        }
        if self.defect == Some(Defect::ForgetsProducers) {
            let mut logs = self.host.0.borrow_mut();
            logs.values_mut().for_each(|recovered| {
                recovered.partition.expire_producers(Timestamp(i64::MAX), 0);
            });
        }
        Ok(())
    }

    fn unreadable(&self, journal: &Found, what: &'static str) -> BootError {
        tracing::error!("{}: {what} does not pass its checks although its block does", journal.dir.display());
        StorageError::corrupt(&journal.dir, 0, Fault::Malformed(what)).into()
    }

    fn impossible(&self, journal: &Found, log: LogId, fault: &StateFault) -> BootError {
        BootError::Inconsistent { dir: journal.dir.clone(), found: format!("log {log} cannot be replayed: {fault}") }
    }
}

/// A log and its partition from the state in a checkpoint, or new ones. Errors say what is wrong with the state.
fn restore(spec: LogSpec, state: Option<&Bytes>) -> Result<Recovered, String> {
    let id = spec.id;
    let Some(state) = state else {
        return Ok(Recovered { partition: Partition::new(id), log: Log::new(spec) });
    };
    let checkpoint = LogCheckpoint::decode(state).map_err(|fault| format!("the state of log {id}: {fault}"))?;
    let partition = match checkpoint.producer_state.as_slice() {
        [] => Ok(Partition::new(id)),
        saved => Partition::restore(id, saved).map_err(|fault| format!("the state of log {id}: {fault}")),
    }?;
    Ok(Recovered { partition, log: Log::restore(spec, checkpoint) })
}

/// A core's own replica: restored from its seed, led under this start's epoch. Producers that were silent for too long at this time are forgotten.
pub(super) fn replica(
    spec: LogSpec,
    state: Option<&Bytes>,
    epoch: LeaderEpoch,
    (now, producer_expiration_ms): (Timestamp, i64),
) -> Result<(Partition, Log), String> {
    let Recovered { mut partition, log } = restore(spec, state)?;
    partition.expire_producers(now, producer_expiration_ms);
    partition.recovered(log.end()).map_err(|fault| fault.to_string())?;
    partition.lead(epoch).map_err(|fault| fault.to_string())?;
    Ok((partition, log))
}

/// Every partition of an image that lives on a core, with its topic.
pub(super) fn mine(
    image: &Image,
    shard: crate::base::ShardId,
    cores: u16,
) -> impl Iterator<Item = (&Arc<cluster::Topic>, PartitionIndex, &cluster::Partition)> {
    image
        .topics()
        .flat_map(|topic| topic.partitions.iter().enumerate().map(move |(at, partition)| (topic, at, partition)))
        .filter(move |(_, _, partition)| placement(partition.log_id, cores) == shard)
        .map(|(topic, at, partition)| (topic, PartitionIndex(at as i32), partition))
}

fn cached(entry: &journal::Committed) -> CachedBatch {
    CachedBatch {
        base: entry.head.first,
        last: entry.head.last,
        epoch: entry.head.epoch,
        max_timestamp: record::max_timestamp(&entry.payload[0]),
        seq: entry.first_block,
        slices: entry.payload.clone(),
    }
}
