//! Coordinators of groups: the core that owns the log of a partition of `__consumer_offsets` owns the partition's coordinator. What is decided stands in
//! [`crate::coordinator`]; here it is carried out.
//!
//! ```text
//! start:    records of the log, in steps --> Loading --> Coordinator      commands meanwhile: CoordinatorLoadInProgress
//! command:  Coordinator --> batches --> journal, as any batch --> durable --> committed --> answers
//!                       \-> answers that need no batch
//! time:     one clock per core, set to the earliest deadline of all coordinators
//! ```
//!
//! Always true: a coordinator's batches are appended in the order in which it gave them, and reported durable in that order; each command is answered once,
//! unless the broker stops. A coordinator whose batch was refused ends, and its partition is loaded anew: there is no way back from half an effect.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::append::{Origin, Part};
use super::expressions::Expressions;
use super::lines::Sender;
use super::message::{
    Answer, Ask, FetchSpec, GroupCommand, GroupReply, ProduceBatch, ProduceError, ReadError, ReadSpec, Reply,
};
use super::metrics::GroupOffset;
use super::read::joined;
use super::router::Call;
use super::waiters::{Answers, first};
use super::{Shard, State};
use crate::base::limits::{GROUP_REQUESTS_PARKED_PER_CORE_MAX, LABEL_BYTES_MAX, SEGMENT_READ_BYTES_MAX, YIELD_BYTES};
use crate::base::{LeaderEpoch, LogId, Map, Mono, Offset, ShardId, Timestamp, TopicId};
use crate::cluster::{GROUPS_TOPIC, Image, Partition, Topic, placement};
use crate::coordinator::{
    self, Append, AppendId, Coordinator, Effects, GroupError, ListGroups, ListedGroup, Loading, Now, Resolved, Token,
    partition_for,
};
use crate::partition::AppendRules;
use crate::protocol::Str;
use crate::record::{self, BatchLimits, Codec, RawBatch, Scratch, TimestampType};
use crate::storage::drive::Notify;

impl Shard {
    /// The partition of `__consumer_offsets` that holds a group. `None`: that topic was not made yet.
    pub fn group_partition<'a>(image: &'a Image, group: &str) -> Option<&'a Partition> {
        let topic = image.topic(GROUPS_TOPIC)?;
        let partitions = i32::try_from(topic.partitions.len()).ok().filter(|partitions| *partitions > 0)?;
        topic.partition(partition_for(group, partitions))
    }

    /// The log of that partition.
    pub fn group_log(image: &Image, group: &str) -> Option<LogId> {
        Self::group_partition(image, group).map(|partition| partition.log_id)
    }

    /// Has a command carried out by the coordinator of `group`.
    pub async fn group_command(&self, group: &str, command: GroupCommand) -> GroupReply {
        match Self::group_log(&self.image(), group) {
            Some(log) => self.coordinator_command(log, command).await,
            None => command.refused(GroupError::NotCoordinator),
        }
    }

    /// Has a command carried out by the coordinator whose partition has this log. A JoinGroup or SyncGroup that waits ends when the broker begins to stop;
    /// whoever waits for the disk is still answered then.
    pub async fn coordinator_command(&self, log: LogId, command: GroupCommand) -> GroupReply {
        let at_stop = parks(&command).then(|| command.refused(GroupError::NotCoordinator));
        let call = Rc::new(Call::default());
        let owner = self.owner(log);
        if owner == self.id() {
            self.group_command_here(Asker::Here(call.clone()), log, command);
        } else {
            let ask = Ask::Group { log, command: Box::new(command) };
            self.0.mesh.ask(owner, ask, call.clone(), at_stop.is_some());
        }
        match at_stop {
            None => call.ready().await,
            Some(_) => first(call.ready(), self.stopping()).await,
        }
        match (call.take(), at_stop) {
            (Some(Answer::Group(reply)), _) => *reply,
            (None, Some(refused)) => refused,
            (other, _) => unreachable!("a command for a group was answered with {other:?}"),
        }
    }

    /// The groups of all partitions. One that is still being loaded refuses the whole, as in Kafka: half a list would look like a whole one.
    pub async fn list_groups(&self, filter: &ListGroups) -> Result<Vec<ListedGroup>, GroupError> {
        let image = self.image();
        let Some(topic) = image.topic(GROUPS_TOPIC) else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        for partition in &topic.partitions {
            self.io().yield_now().await;
            match self.coordinator_command(partition.log_id, GroupCommand::ListGroups(filter.clone())).await {
                GroupReply::ListGroups(Ok(groups)) => listed.extend(groups),
                // Deleted meanwhile.
                GroupReply::ListGroups(Err(GroupError::NotCoordinator)) => {}
                GroupReply::ListGroups(Err(error)) => return Err(error),
                other => unreachable!("a list of groups was answered with {other:?}"),
            }
        }
        Ok(listed)
    }

    pub(super) fn group_command_here(&self, asker: Asker, log: LogId, command: GroupCommand) {
        let now = self.both_clocks();
        self.with(|state| state.group_command(asker, log, command, now));
    }

    pub(super) fn both_clocks(&self) -> Now {
        Now { mono: self.io().now(), wall: self.io().wall_clock() }
    }

    /// Loads partitions as long as the broker runs, one after the other.
    pub(super) async fn load_coordinators(self) {
        let wake = self.with(|state| state.groups.load_wake.clone());
        while !self.is_stopping() {
            match self.with(|state| state.groups.next_to_load()) {
                Some((log, life)) => self.load_coordinator(log, life).await,
                None => first(wake.notified(), self.stopping()).await,
            }
        }
    }

    /// Replays the records of a partition. Nobody appends to it meanwhile.
    async fn load_coordinator(&self, log: LogId, life: u64) {
        let began = self.io().now();
        let Some((options, mut from)) = self.with(|state| {
            let start = state.replicas.get(&log)?.partition.log_start();
            Some((state.groups.seats.get(&log)?.options.clone(), start))
        }) else {
            return;
        };
        let mut loading = Loading::new(options);
        while !self.is_stopping() {
            let Some(high) = self.with(|state| state.replicas.get(&log).map(|replica| replica.partition.high())) else {
                return;
            };
            if from >= high {
                let (now, found) = (self.both_clocks(), loading.replayed());
                tracing::debug!(log = log.0, ?found, took = ?now.mono.since(began), "the coordinator of a partition is loaded");
                return self.with(|state| state.coordinator_loaded(log, life, loading, now));
            }
            match self.read_records(log, from).await {
                Ok(Some(bytes)) => from = self.replay(log, &bytes, from, &mut loading).await,
                Ok(None) => from = high,
                Err(ReadError::NoSuchLog) => return,
                Err(error) => {
                    tracing::error!(
                        log = log.0,
                        ?error,
                        "a partition of {GROUPS_TOPIC} cannot be read at {from}: its groups are not served"
                    );
                    return self.with(|state| state.groups.failed(log, life));
                }
            }
        }
    }

    /// Whole batches from an offset on. `None`: there are none.
    async fn read_records(&self, log: LogId, offset: Offset) -> Result<Option<Bytes>, ReadError> {
        let fetch = FetchSpec {
            log,
            offset,
            max_bytes: SEGMENT_READ_BYTES_MAX as u32,
            current_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
            read_committed: false,
        };
        let mut read = self.read_here(vec![ReadSpec { fetch, at_least_one: true }], u64::MAX).await;
        let slices = read.pop().expect("one read was asked for")?.slices;
        Ok(Some(joined(&slices)).filter(|bytes| !bytes.is_empty()))
    }

    /// Gives the offset behind the last batch.
    async fn replay(&self, log: LogId, bytes: &Bytes, mut from: Offset, loading: &mut Loading) -> Offset {
        let now = self.both_clocks();
        let mut since_yield = 0;
        for batch in record::batches(bytes) {
            let (first, last) = (from, batch.last_offset());
            from = last.plus(1);
            // Records of our own are not compressed, and no client may write here.
            if batch.info().control || batch.info().codec != Codec::None {
                tracing::warn!(log = log.0, "a batch that ends at {last} is not the broker's own and is passed over");
                continue;
            }
            for record in record::records(batch.body()) {
                let Ok(record) = record else {
                    tracing::error!(log = log.0, "a record in the batch that ends at {last} cannot be read");
                    break;
                };
                let offset = batch.base_offset().plus(i64::from(record.offset_delta));
                let Some(key) = record.key.filter(|_| offset >= first) else { continue };
                let value = record.value.map(|value| bytes.slice_ref(value));
                if let Err(fault) = loading.replay(&bytes.slice_ref(key), value.as_ref(), now) {
                    tracing::warn!(log = log.0, offset = offset.0, "{fault}; it is passed over");
                }
                since_yield += key.len() + record.value.map_or(0, <[u8]>::len);
                if since_yield >= YIELD_BYTES {
                    since_yield = 0;
                    self.io().yield_now().await;
                }
            }
        }
        from
    }

    /// Lets the coordinators know what time it is, as long as the broker runs.
    pub(super) async fn tick_coordinators(self) {
        let wake = self.with(|state| state.groups.clock_wake.clone());
        while !self.is_stopping() {
            let now = self.both_clocks();
            match self.with(|state| state.tick_one_coordinator(now)) {
                Tick::Done => self.io().yield_now().await,
                Tick::Wait(None) => first(wake.notified(), self.stopping()).await,
                Tick::Wait(Some(due)) => {
                    let sleep = self.io().sleep_until(due.min(now.mono + SLEEP_MAX));
                    first(sleep, first(wake.notified(), self.stopping())).await;
                }
            }
        }
    }
}

/// Who gets the reply to a command.
pub(super) enum Asker {
    /// A connection of this core.
    Here(Rc<Call>),
    /// Another core.
    There { shard: ShardId, token: u32 },
}

/// A command that is not answered.
struct Waiting {
    asker: Asker,
    parks: bool,
}

/// The coordinators of a core and those who wait for them.
pub(super) struct Groups {
    options: coordinator::Options,
    /// Bytes of members and offsets that all coordinators together may take up.
    bytes_max: usize,
    bytes: usize,
    seats: Map<LogId, Seat>,
    waiting: Map<Token, Waiting>,
    /// How many of those wait for other members.
    parked: usize,
    tokens_given: u64,
    lives: u64,
    deadlines: BTreeSet<(Mono, LogId)>,
    /// What the clock is set to. `None`: it sleeps until it is woken.
    clock: Option<Mono>,
    clock_wake: Notify,
    /// Counts how often topics changed since the start.
    topics_version: u64,
    to_load: VecDeque<(LogId, u64)>,
    load_wake: Notify,
    pub(super) expressions: Expressions,
    /// The broker is stopping: nothing more is taken in.
    closed: bool,
}

/// The groups of a core, counted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GroupsCensus {
    /// How many there are.
    pub counts: coordinator::Census,
    /// Partitions of `__consumer_offsets` whose coordinator is not loaded: their groups are not counted.
    pub not_loaded: u64,
    /// Committed offsets of partitions that are there, as many as there was room for.
    pub offsets: Vec<GroupOffset>,
}

/// The place of one partition's coordinator.
struct Seat {
    /// Tells the coordinator from those that were here before it.
    life: u64,
    options: coordinator::Options,
    stage: Stage,
    /// When it wants to know the time.
    due: Option<Mono>,
}

enum Stage {
    /// With the topics that were deleted meanwhile.
    Loading(Vec<(Str, TopicId)>),
    Ready(Box<Coordinator>),
    /// Its records cannot be read.
    Failed,
}

enum Tick {
    /// Something was due.
    Done,
    /// Nothing is due before this.
    Wait(Option<Mono>),
}

impl Groups {
    pub(super) fn new(options: coordinator::Options, bytes_max: usize) -> Self {
        Self {
            options,
            bytes_max,
            bytes: 0,
            seats: Map::default(),
            waiting: Map::default(),
            parked: 0,
            tokens_given: 0,
            lives: 0,
            deadlines: BTreeSet::new(),
            clock: None,
            clock_wake: Notify::default(),
            topics_version: 0,
            to_load: VecDeque::new(),
            load_wake: Notify::default(),
            expressions: Expressions::default(),
            closed: false,
        }
    }

    /// The partitions whose coordinators are here.
    pub(super) fn logs(&self) -> Vec<LogId> {
        self.seats.keys().copied().collect()
    }

    /// Whether the partition with this log has its coordinator here.
    pub(super) fn has(&self, log: LogId) -> bool {
        self.seats.contains_key(&log)
    }

    /// Counts one coordinator, if it is loaded, and shows at most `room` of its offsets whose partitions are there.
    pub(super) fn look_at(&self, log: LogId, image: &Image, cores: u16, room: usize, census: &mut GroupsCensus) {
        let Some(coordinator) = self.ready_at(log) else {
            census.not_loaded += u64::from(self.has(log));
            return;
        };
        census.counts.merge(&coordinator.census());
        // Offsets of topics that are gone take no room, but a look.
        let looks = coordinator.committed_places().filter(|place| place.group.len() <= LABEL_BYTES_MAX).take(2 * room);
        let mut topic: Option<(Str, Option<&Arc<Topic>>)> = None;
        let shown = looks.filter_map(|place| {
            if topic.as_ref().is_none_or(|(name, _)| *name != place.topic) {
                topic = Some((place.topic.clone(), image.topic(&place.topic)));
            }
            let known = topic.as_ref().and_then(|(_, topic)| *topic);
            let same = known.filter(|known| place.topic_id == TopicId::ZERO || place.topic_id == known.id);
            let log = same?.partition(place.partition)?.log_id;
            Some(GroupOffset { place, log: (log, placement(log, cores)) })
        });
        census.offsets.extend(shown.take(room));
    }

    /// Topics were made or deleted, or have more partitions: groups that subscribe to them look again.
    pub(super) fn topics_changed(&mut self) {
        self.topics_version += 1;
    }

    pub(super) fn topics_version(&self) -> u64 {
        self.topics_version
    }

    fn ready_at(&self, log: LogId) -> Option<&Coordinator> {
        match self.seats.get(&log).map(|seat| &seat.stage) {
            Some(Stage::Ready(coordinator)) => Some(coordinator),
            _ => None,
        }
    }

    /// An expression that is to be held against all topics before the command can be carried out.
    pub(super) fn unresolved(&self, log: LogId, command: &GroupCommand) -> Option<Str> {
        self.ready_at(log)?.unresolved(command)
    }

    /// An expression of a group was held against all topics.
    pub(super) fn refreshed(&mut self, log: LogId, group: &str, found: &Resolved, now: Mono) {
        self.lend(log, |coordinator| coordinator.refreshed(group, found, now));
    }

    /// Has the expressions of the command's group held against new topics.
    fn refresh_if_due(&mut self, log: LogId, command: &GroupCommand, now: Mono) {
        let version = self.topics_version;
        if let Some((group, due)) = self.ready_at(log).and_then(|coordinator| coordinator.due(command, version, now)) {
            self.expressions.refresh(log, group, due);
        }
    }

    /// Takes no more commands.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// A partition of this core that has records. They are loaded in its turn.
    pub(super) fn open(&mut self, log: LogId, batch_bytes_max: usize) {
        self.lives += 1;
        let options = coordinator::Options { batch_bytes_max, ..self.options.clone() };
        let seat = Seat { life: self.lives, options, stage: Stage::Loading(Vec::new()), due: None };
        self.seats.insert(log, seat);
        self.to_load.push_back((log, self.lives));
        self.load_wake.notify();
    }

    /// A partition that was just made.
    fn open_empty(&mut self, log: LogId, batch_bytes_max: usize, now: Now) {
        self.open(log, batch_bytes_max);
        self.to_load.pop_back();
        let seat = self.seats.get(&log).expect("just opened");
        self.ready(log, Loading::new(seat.options.clone()).loaded(now));
    }

    fn ready(&mut self, log: LogId, coordinator: Coordinator) {
        let seat = self.seats.get_mut(&log).expect("the caller found it");
        self.bytes += coordinator.bytes();
        let due = coordinator.next_deadline();
        seat.stage = Stage::Ready(Box::new(coordinator));
        self.set_due(log, due);
    }

    fn next_to_load(&mut self) -> Option<(LogId, u64)> {
        self.to_load.pop_front()
    }

    fn failed(&mut self, log: LogId, life: u64) {
        if let Some(seat) = self.seats.get_mut(&log).filter(|seat| seat.life == life) {
            seat.stage = Stage::Failed;
        }
    }

    /// Ends a coordinator. Gives those who waited, and what they are told.
    fn close_one(&mut self, log: LogId, error: GroupError) -> Vec<coordinator::Answer> {
        self.set_due(log, None);
        match self.seats.remove(&log).map(|seat| seat.stage) {
            Some(Stage::Ready(coordinator)) => {
                self.bytes -= coordinator.bytes();
                coordinator.unload(error)
            }
            _ => Vec::new(),
        }
    }

    /// Lends a coordinator that is ready, and keeps account of its memory and its deadline.
    fn lend<R>(&mut self, log: LogId, act: impl FnOnce(&mut Coordinator) -> R) -> Option<R> {
        let seat = self.seats.get_mut(&log)?;
        let Stage::Ready(coordinator) = &mut seat.stage else { return None };
        let before = coordinator.bytes();
        let left = self.bytes_max.saturating_sub(self.bytes);
        coordinator.allow_bytes(seat.options.bytes_max.min(before + left));
        let result = act(coordinator);
        self.bytes = self.bytes - before + coordinator.bytes();
        let due = coordinator.next_deadline();
        self.set_due(log, due);
        Some(result)
    }

    fn set_due(&mut self, log: LogId, due: Option<Mono>) {
        let Some(seat) = self.seats.get_mut(&log) else { return };
        let before = std::mem::replace(&mut seat.due, due);
        if before == due {
            return;
        }
        before.map(|at| self.deadlines.remove(&(at, log)));
        let Some(at) = due else { return };
        self.deadlines.insert((at, log));
        if self.clock.is_none_or(|clock| at < clock) {
            self.clock = Some(at);
            self.clock_wake.notify();
        }
    }

    /// Why a command cannot be given to its coordinator now.
    fn refusal(&self, log: LogId, joins: bool, no_space: bool) -> Option<GroupError> {
        if self.closed {
            return Some(GroupError::NotCoordinator);
        }
        match self.seats.get(&log).map(|seat| &seat.stage) {
            None => Some(GroupError::NotCoordinator),
            Some(Stage::Loading(_)) => Some(GroupError::CoordinatorLoadInProgress),
            Some(Stage::Failed) => Some(GroupError::CoordinatorNotAvailable),
            Some(Stage::Ready(_)) if no_space => Some(GroupError::CoordinatorNotAvailable),
            Some(Stage::Ready(_)) => {
                let full = joins && self.parked >= GROUP_REQUESTS_PARKED_PER_CORE_MAX;
                full.then_some(GroupError::CoordinatorNotAvailable)
            }
        }
    }
}

impl State {
    fn group_command(&mut self, asker: Asker, log: LogId, command: GroupCommand, now: Now) {
        let parks = parks(&command);
        // Who joined may sync: rebalances under way can end, and there are no more of those than joined.
        let joins = matches!(command, GroupCommand::JoinGroup(_));
        let grows = joins
            || match &command {
                GroupCommand::OffsetCommit(_) => true,
                GroupCommand::ConsumerHeartbeat(heartbeat) => heartbeat.may_write_much(),
                _ => false,
            };
        let no_space = grows && self.admission.is_closed_to_groups();
        if let Some(error) = self.groups.refusal(log, joins, no_space) {
            return self.tell(asker, command.refused(error));
        }
        if self.groups.unresolved(log, &command).is_some() {
            if self.groups.expressions.is_full() {
                return self.tell(asker, command.refused(GroupError::CoordinatorNotAvailable));
            }
            return self.groups.expressions.hold(asker, log, command);
        }
        self.groups.refresh_if_due(log, &command, now.mono);
        self.groups.tokens_given += 1;
        let token = Token(self.groups.tokens_given);
        self.groups.waiting.insert(token, Waiting { asker, parks });
        self.groups.parked += usize::from(parks);
        let topics = TopicsNow { image: &self.image, version: self.groups.topics_version };
        let effects = self.groups.lend(log, |coordinator| coordinator.handle(token, command, &topics, now));
        self.carry_out(log, effects.unwrap_or_default(), now.wall);
    }

    fn tick_one_coordinator(&mut self, now: Now) -> Tick {
        let next = self.groups.deadlines.first().copied();
        let Some((_, log)) = next.filter(|(due, _)| *due <= now.mono) else {
            self.groups.clock = next.map(|(due, _)| due);
            return Tick::Wait(self.groups.clock);
        };
        let topics = TopicsNow { image: &self.image, version: self.groups.topics_version };
        let effects = self.groups.lend(log, |coordinator| coordinator.tick(&topics, now));
        self.carry_out(log, effects.unwrap_or_default(), now.wall);
        Tick::Done
    }

    fn carry_out(&mut self, log: LogId, effects: Effects, wall: Timestamp) {
        self.deliver(effects.answers);
        if effects.appends.is_empty() {
            return;
        }
        let Some(seat) = self.groups.seats.get(&log) else { return };
        let appends = effects.appends.iter().map(|append| append.id).collect();
        let origin = Origin::Group { log, life: seat.life, appends };
        let batches = effects.appends.iter().map(|append| batch(log, append)).collect();
        self.take_part(
            wall,
            Part { sender: Sender::Coordinator(log), origin, batches, answers: Answers::new(), ticket: None },
        );
    }

    /// Batches of a coordinator are durable, or were refused.
    pub(super) fn group_batches_settled(
        &mut self,
        log: LogId,
        life: u64,
        appends: SmallVec<[AppendId; 1]>,
        answers: Answers,
    ) {
        if self.groups.seats.get(&log).is_none_or(|seat| seat.life != life) {
            return;
        }
        for (id, answer) in appends.into_iter().zip(answers) {
            match answer {
                Ok(_) => {
                    let answers = self.groups.lend(log, |coordinator| coordinator.committed(id));
                    self.deliver(answers.unwrap_or_default());
                }
                Err(error) => return self.coordinator_failed(log, &error),
            }
        }
    }

    /// A batch of a coordinator was refused.
    fn coordinator_failed(&mut self, log: LogId, error: &ProduceError) {
        tracing::warn!(log = log.0, ?error, "a batch of a coordinator was refused: its partition is loaded anew");
        let batch_bytes_max = self.groups.seats.get(&log).map(|seat| seat.options.batch_bytes_max);
        let answers = self.groups.close_one(log, GroupError::NotCoordinator);
        self.deliver(answers);
        if let Some(bytes) = batch_bytes_max.filter(|_| !self.groups.closed && self.replicas.contains_key(&log)) {
            self.groups.open(log, bytes);
        }
    }

    fn coordinator_loaded(&mut self, log: LogId, life: u64, loading: Loading, now: Now) {
        let Some(seat) = self.groups.seats.get_mut(&log).filter(|seat| seat.life == life) else { return };
        let Stage::Loading(deleted) = &mut seat.stage else { return };
        let deleted = std::mem::take(deleted);
        self.groups.ready(log, loading.loaded(now));
        self.groups.lend(log, |coordinator| coordinator.topics_deleted(&deleted, now));
    }

    /// A topic is new. If it is that of the groups, its partitions of this core have coordinators from now on.
    pub(super) fn groups_topic_created(&mut self, topic: &Topic, mine: impl Fn(LogId) -> bool, now: Now) {
        if &*topic.name != GROUPS_TOPIC {
            return;
        }
        let bytes = batch_bytes_max(topic, &self.options.topics);
        for partition in topic.partitions.iter().filter(|partition| mine(partition.log_id)) {
            self.groups.open_empty(partition.log_id, bytes, now);
        }
    }

    /// Topics are gone: so are the offsets in them, by and by. If that of the groups is, so are the groups.
    pub(super) fn topics_deleted(&mut self, topics: &[&Topic], now: Now) {
        for topic in topics.iter().filter(|topic| &*topic.name == GROUPS_TOPIC) {
            for partition in &topic.partitions {
                let answers = self.groups.close_one(partition.log_id, GroupError::NotCoordinator);
                self.deliver(answers);
            }
        }
        let gone: Vec<_> = topics.iter().map(|topic| (Str::from(topic.name.clone()), topic.id)).collect();
        let logs: Vec<LogId> = if gone.is_empty() { Vec::new() } else { self.groups.seats.keys().copied().collect() };
        for log in logs {
            if let Some(Stage::Loading(deleted)) = self.groups.seats.get_mut(&log).map(|seat| &mut seat.stage) {
                deleted.extend(gone.iter().cloned());
            }
            self.groups.lend(log, |coordinator| coordinator.topics_deleted(&gone, now));
        }
    }

    fn deliver(&mut self, answers: Vec<coordinator::Answer>) {
        for coordinator::Answer { token, reply } in answers {
            let waiting = self.groups.waiting.remove(&token);
            let Waiting { asker, parks } = waiting.expect("each command is answered once");
            self.groups.parked -= usize::from(parks);
            self.tell(asker, reply);
        }
    }

    fn tell(&self, asker: Asker, reply: GroupReply) {
        let answer = Answer::Group(Box::new(reply));
        match asker {
            Asker::Here(call) => call.give(answer),
            Asker::There { shard, token } => self.mesh.reply(shard, Reply { token, answer }),
        }
    }
}

/// The topics of an image, as coordinators know them.
struct TopicsNow<'a> {
    image: &'a Image,
    version: u64,
}

impl coordinator::Topics for TopicsNow<'_> {
    fn version(&self) -> u64 {
        self.version
    }

    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        let topic = self.image.topic(name)?;
        Some((topic.id, i32::try_from(topic.partitions.len()).ok()?))
    }

    fn name(&self, id: TopicId) -> Option<Str> {
        self.image.topic_by_id(&id).map(|topic| Str::from(topic.name.clone()))
    }
}

/// Whether a command may wait for other members.
pub(super) fn parks(command: &GroupCommand) -> bool {
    matches!(command, GroupCommand::JoinGroup(_) | GroupCommand::SyncGroup(_))
}

/// Bytes of a batch that a partition of the topic takes.
pub(super) fn batch_bytes_max(topic: &Topic, defaults: &crate::cluster::TopicSettings) -> usize {
    usize::try_from(topic.settings(defaults).max_message_bytes).unwrap_or(0)
}

fn batch(log: LogId, append: &Append) -> ProduceBatch {
    const LIMITS: BatchLimits = BatchLimits {
        max_bytes: usize::MAX,
        compacted: true,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        zstd_allowed: false,
    };
    // Allocates nothing: the batch is not compressed.
    let checked = RawBatch(append.batch()).check(&LIMITS, append.timestamp, &mut Scratch::default());
    let batch = checked.expect("a batch of the broker's own is as it should be");
    ProduceBatch { log, batch, rules: AppendRules { log_append_time: false } }
}

/// The clock looks again after this, however far off the next deadline is.
const SLEEP_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
