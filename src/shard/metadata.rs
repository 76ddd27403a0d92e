//! The metadata log, run by core 0: commands are judged in order, made durable, shown to every core, and only then answered.
//!
//! ```text
//! submit --> queue --> apply to the newest image --> metadata journal --> durable --> every core takes the image --> answer
//! ```
//!
//! Commands that came together travel together: one block, one round over the cores. A refused command leaves no trace.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::message::{Ask, CommandError};
use super::waiters::Signal;
use super::{Replica, Shard, State};
use crate::base::limits::COMMAND_BYTES_MAX;
use crate::base::{LeaderEpoch, LogId, Offset, PartitionIndex, ShardId};
use crate::cluster::{self, Command, EntryId, Event, Image, Outcome, Topic, TopicSettings, placement};
use crate::io::Io;
use crate::partition::Partition;
use crate::storage::drive::Notify;
use crate::storage::drive::boot::{CheckpointWriter, Seal};
use crate::storage::drive::journal::{self, JournalFiles, JournalHost};
use crate::storage::journal::{Head, Journal, Kind, Ticket, Write};
use crate::storage::{Log, LogOptions, LogSpec, StorageError};

/// Commands that are judged and made durable together at most.
const TOGETHER_MAX: usize = 256;

/// The metadata journal, open, and the image it stands for.
pub(super) struct Seed {
    pub journal: Journal,
    pub files: JournalFiles,
    pub checkpoints: CheckpointWriter,
    pub image: Arc<Image>,
    pub term: u64,
}

/// The command log as core 0 holds it.
#[derive(Clone)]
pub(super) struct Metadata(Rc<Inner>);

struct Inner {
    journal: RefCell<Journal>,
    files: JournalFiles,
    checkpoints: RefCell<CheckpointWriter>,
    image: RefCell<Arc<Image>>,
    term: u64,
    queue: RefCell<VecDeque<(Command, Rc<Verdict>)>>,
    queue_wake: Notify,
    journal_wake: Notify,
    durable: RefCell<Vec<(Ticket, Rc<Signal>)>>,
    closed: Cell<bool>,
    on_failure: Rc<dyn Fn(&StorageError)>,
}

#[derive(Default)]
struct Verdict {
    outcome: RefCell<Option<Result<Outcome, CommandError>>>,
    ready: Signal,
}

impl Verdict {
    fn give(&self, outcome: Result<Outcome, CommandError>) {
        *self.outcome.borrow_mut() = Some(outcome);
        self.ready.fire();
    }
}

impl Metadata {
    /// Starts to write blocks. Commands are carried out once [`Metadata::run`] runs.
    pub(super) fn start(io: &Io, seed: Seed, on_failure: Rc<dyn Fn(&StorageError)>) -> Self {
        let metadata = Self(Rc::new(Inner {
            journal: RefCell::new(seed.journal),
            files: seed.files,
            checkpoints: RefCell::new(seed.checkpoints),
            image: RefCell::new(seed.image),
            term: seed.term,
            queue: RefCell::default(),
            queue_wake: Notify::default(),
            journal_wake: Notify::default(),
            durable: RefCell::default(),
            closed: Cell::new(false),
            on_failure,
        }));
        let (files, wake) = (metadata.0.files.clone(), metadata.0.journal_wake.clone());
        io.spawn(journal::run(io.clone(), files, metadata.clone(), wake));
        metadata
    }

    pub(super) fn image(&self) -> Arc<Image> {
        self.0.image.borrow().clone()
    }

    /// Carries out a command alone, before there are cores to tell: for the start of the broker.
    pub(super) async fn apply_alone(&self, io: &Io, command: &Command) -> Result<Outcome, CommandError> {
        let mut image = (*self.image()).clone();
        let (outcome, _) = self.judge(&mut image, command)?;
        self.wait_durable().await;
        *self.0.image.borrow_mut() = Arc::new(image);
        self.make_room(io).await;
        journal::publish(&self.0.files, self, &self.0.journal_wake).await;
        Ok(outcome)
    }

    /// Puts a command into the queue and waits for its end.
    pub(super) async fn submit(&self, command: Command) -> Result<Outcome, CommandError> {
        if self.0.closed.get() {
            return Err(CommandError::Stopping);
        }
        let verdict = Rc::new(Verdict::default());
        self.0.queue.borrow_mut().push_back((command, verdict.clone()));
        self.0.queue_wake.notify();
        verdict.ready.fired().await;
        verdict.outcome.take().expect("a verdict is given before it is announced")
    }

    /// Carries out commands as long as the broker runs.
    pub(super) async fn run(self, shard: Shard) {
        loop {
            self.0.queue_wake.notified().await;
            while !self.0.queue.borrow().is_empty() {
                self.carry_out_some(&shard).await;
            }
            if self.0.closed.get() {
                return;
            }
        }
    }

    /// Takes no more commands.
    pub(super) fn close(&self) {
        self.0.closed.set(true);
        self.0.queue_wake.notify();
    }

    /// Writes the last checkpoint: the image, and that nothing in the journal counts.
    pub(super) async fn seal(&self, io: &Io) -> Result<(), StorageError> {
        self.close();
        self.wait_durable().await;
        let seal = self.checkpoint_parts(true);
        self.write_checkpoint(io, seal).await
    }

    async fn carry_out_some(&self, shard: &Shard) {
        let io = shard.io();
        // Room for at least one command; the image of every durable command is in the snapshot that makes it.
        self.make_room(io).await;
        let mut image = (*self.image()).clone();
        let (mut events, mut verdicts) = (Vec::new(), Vec::new());
        while verdicts.len() < TOGETHER_MAX && self.has_room() {
            let Some((command, verdict)) = self.0.queue.borrow_mut().pop_front() else { break };
            match self.judge(&mut image, &command) {
                Ok((outcome, happened)) => {
                    events.extend(happened);
                    verdicts.push((verdict, Ok(outcome)));
                }
                Err(refused) => verdicts.push((verdict, Err(refused))),
            }
        }
        self.wait_durable().await;
        if verdicts.iter().any(|(_, outcome)| outcome.is_ok()) {
            let image = Arc::new(image);
            *self.0.image.borrow_mut() = image.clone();
            shard.show_everyone(image, Arc::new(events)).await;
        }
        verdicts.into_iter().for_each(|(verdict, outcome)| verdict.give(outcome));
        // Commands are rare: say at once how far they are durable, so that damage to the last one is told from the frontier of a crash.
        journal::publish(&self.0.files, self, &self.0.journal_wake).await;
    }

    /// Applies a command to `image` and journals it, unless it is refused.
    fn judge(&self, image: &mut Image, command: &Command) -> Result<(Outcome, Vec<Event>), CommandError> {
        let encoded = command.encode();
        if encoded.len() > self.command_bytes_max() {
            return Err(CommandError::TooLarge { bytes: encoded.len() });
        }
        let entry = EntryId { term: self.0.term, index: image.version().index + 1 };
        let (next, events, outcome) = cluster::apply(image, entry, command);
        let outcome = outcome.map_err(CommandError::Refused)?;
        *image = next;
        let head = Head {
            first: Offset(entry.index as i64),
            last: Offset(entry.index as i64),
            epoch: LeaderEpoch(entry.term as i32),
            ..Head::about(Kind::Command, LogId(0))
        };
        self.0.journal.borrow_mut().append(head, &encoded);
        self.0.journal_wake.notify();
        Ok((outcome, events))
    }

    fn has_room(&self) -> bool {
        let bytes = self.command_bytes_max();
        self.0.journal.borrow().has_room(bytes)
    }

    /// A quarter of a file: two such commands always find room once the older file is recycled.
    fn command_bytes_max(&self) -> usize {
        COMMAND_BYTES_MAX.min(self.0.journal.borrow().options().file_bytes as usize / 4)
    }

    async fn wait_durable(&self) {
        let signal = {
            let journal = self.0.journal.borrow();
            let ticket = journal.newest();
            if journal.is_durable(ticket) {
                return;
            }
            let signal = Rc::new(Signal::default());
            self.0.durable.borrow_mut().push((ticket, signal.clone()));
            signal
        };
        self.0.journal_wake.notify();
        signal.fired().await;
    }

    /// Recycles the oldest file once there is a newer one: the image so far goes into a checkpoint.
    async fn make_room(&self, io: &Io) {
        let bytes = self.command_bytes_max();
        let finished = {
            let journal = self.0.journal.borrow();
            journal.oldest_finished().filter(|_| !journal.has_room(bytes))
        };
        let Some(finished) = finished else { return };
        self.wait_durable().await;
        let seal = self.checkpoint_parts(false);
        match self.write_checkpoint(io, seal).await {
            Ok(()) => self.0.journal.borrow_mut().recycle(finished.number),
            Err(error) => (self.0.on_failure)(&error),
        }
    }

    fn checkpoint_parts(&self, clean: bool) -> Seal {
        let journal = self.0.journal.borrow();
        let tail = if clean { None } else { Some(journal.tail_after_oldest()) };
        Seal {
            tail,
            committed: journal.durable(),
            end: journal.end(),
            logs: Vec::new(),
            snapshot: self.image().encode().into(),
        }
    }

    async fn write_checkpoint(&self, io: &Io, seal: Seal) -> Result<(), StorageError> {
        let mut writer = self.0.checkpoints.borrow().clone();
        let written = writer.write(io, seal).await;
        *self.0.checkpoints.borrow_mut() = writer;
        written
    }
}

impl JournalHost for Metadata {
    fn next_write(&self) -> Option<Write> {
        self.0.journal.borrow_mut().next_write()
    }

    fn publish(&self) -> Option<Write> {
        self.0.journal.borrow_mut().publish()
    }

    fn written(&self, sequence: u64) {
        let mut journal = self.0.journal.borrow_mut();
        journal.written(sequence, |_| {});
        let durable = journal.durable();
        drop(journal);
        self.0.durable.borrow_mut().retain(|(ticket, signal)| {
            let due = ticket.0 <= durable;
            due.then(|| signal.fire());
            !due
        });
    }

    fn failed(&self, error: StorageError) {
        (self.0.on_failure)(&error);
    }
}

impl Shard {
    /// Gives an image to every core and returns when all have it.
    async fn show_everyone(&self, image: Arc<Image>, events: Arc<Vec<Event>>) {
        self.take_image(image.clone(), &events);
        let mut waits = Vec::new();
        for core in (0..self.0.mesh.cores()).map(ShardId).filter(|core| *core != self.id()) {
            let signal = Rc::new(Signal::default());
            let ask = Ask::Image { image: image.clone(), events: events.clone() };
            self.0.mesh.wake_on_reply(core, ask, signal.clone());
            waits.push(signal);
        }
        for signal in waits {
            signal.fired().await;
        }
    }

    /// Takes a newer image: makes the replicas that are new on this core and lets go of those that are gone.
    pub(super) fn take_image(&self, image: Arc<Image>, events: &[Event]) {
        let (id, cores) = (self.id(), self.0.mesh.cores());
        let mine = |log: LogId| placement(log, cores) == id;
        let now = self.both_clocks();
        self.with(|state| {
            state.image = image;
            let mut deleted: Vec<&Topic> = Vec::new();
            if events.iter().any(changes_topics) {
                state.groups.topics_changed();
            }
            for event in events {
                match event {
                    Event::TopicCreated(topic) => {
                        for (index, partition) in (0..).zip(&topic.partitions) {
                            if mine(partition.log_id) {
                                state.new_replica(topic, PartitionIndex(index), &self.0.topics);
                            }
                        }
                        state.groups_topic_created(topic, mine, now);
                    }
                    Event::TopicDeleted(topic) => {
                        topic.partitions.iter().filter(|partition| mine(partition.log_id)).for_each(|partition| {
                            state.delete_replica(partition.log_id);
                        });
                        deleted.push(topic);
                    }
                    Event::PartitionsCreated(topic, first) => {
                        for (index, partition) in (0..).map(PartitionIndex).zip(&topic.partitions) {
                            if index >= *first && mine(partition.log_id) {
                                state.new_replica(topic, index, &self.0.topics);
                            }
                        }
                    }
                    Event::ConfigsAltered(topic) => {
                        let logs = topic.partitions.iter().map(|partition| partition.log_id);
                        logs.filter(|log| mine(*log)).for_each(|log| state.refresh_options(log));
                    }
                    Event::NodeStarted(_) => {}
                }
            }
            state.topics_deleted(&deleted, now);
        });
    }
}

/// Which topics there are, or how many partitions they have, is not what it was.
fn changes_topics(event: &Event) -> bool {
    match event {
        Event::TopicCreated(_) | Event::TopicDeleted(_) | Event::PartitionsCreated(..) => true,
        Event::ConfigsAltered(_) | Event::NodeStarted(_) => false,
    }
}

impl State {
    fn new_replica(&mut self, topic: &Arc<Topic>, index: PartitionIndex, root: &Path) {
        let described = topic.partition(index).expect("a topic's own partition");
        let mut partition = Partition::new(described.log_id);
        partition.lead(self.image.leader_epoch(described)).expect("an empty log has seen no epoch");
        let log = Log::new(spec(topic, index, root, &self.options.topics));
        self.replicas.insert(described.log_id, Replica::new(partition, log));
    }

    /// The metadata command is durable, and replay skips what it deleted. The journal's own entry says the same once more; where there is no room, or
    /// for a topic of very many partitions, it is left out.
    fn delete_replica(&mut self, log: LogId) {
        let Some(mut replica) = self.replicas.remove(&log) else { return };
        replica.wake();
        let ticket = if self.journal.has_reserve(0) {
            self.journal.append(Head::about(Kind::Deleted, log), &[])
        } else {
            self.journal.newest()
        };
        self.deletions.push_back((ticket, replica.log));
        self.journal_wake.notify();
        self.drain_wake.notify();
    }
}

/// What storage needs to know of a partition, the topic's own configuration over the broker's.
pub(super) fn spec(topic: &Topic, index: PartitionIndex, root: &Path, defaults: &TopicSettings) -> LogSpec {
    let id = topic.partition(index).expect("a topic's own partition").log_id;
    let options = log_options(&topic.settings(defaults));
    LogSpec { id, topic: topic.name.clone(), topic_id: topic.id, partition: index, root: root.to_owned(), options }
}

/// The part of a topic's settings that shapes its segments.
pub(super) fn log_options(settings: &TopicSettings) -> LogOptions {
    LogOptions {
        segment_bytes: settings.segment_bytes as u32,
        segment_ms: settings.segment_ms,
        segment_jitter_ms: settings.segment_jitter_ms,
        index_interval_bytes: settings.index_interval_bytes as u32,
        segment_index_bytes: settings.segment_index_bytes as u32,
    }
}
