//! The reading side of a core: what a fetch may see, the bytes themselves, offsets by time, and waiting for more.

use std::rc::Rc;

use smallvec::SmallVec;

use super::message::{
    Answer, Ask, Diverging, EpochEnd, FetchSpec, ListedOffset, Marks, OffsetSpec, Planned, ReadDone, ReadError,
    ReadSpec,
};
use super::waiters::{Signal, all, first};
use super::{Replica, Shard};
use crate::base::limits::YIELD_BYTES;
use crate::base::{LeaderEpoch, LogId, Mono, Offset, ShardId, Timestamp};
use crate::partition::{Isolation, ReadBounds, ReadCheck, ReadRequest};
use crate::record::{self, Scratch, Search, SearchFault, Searched, StoredBatch};
use crate::storage::StorageError;

impl Shard {
    /// What each partition could give, in the order asked. One message per core that owns some of them, to all cores at once.
    pub async fn fetch_plan(&self, specs: Vec<FetchSpec>) -> Vec<Result<Planned, ReadError>> {
        let Some(split) = self.split(&specs, |spec| spec.log) else { return self.plan_here(&specs) };
        let parts = split.iter().map(|(core, places)| {
            let part: Vec<_> = places.iter().map(|place| specs[*place]).collect();
            async move {
                if *core == self.id() {
                    return self.plan_here(&part);
                }
                match self.0.mesh.call(*core, Ask::Plan(part)).await {
                    Answer::Planned(part) => part,
                    other => unreachable!("a plan was answered with {other:?}"),
                }
            }
        });
        in_order(&split, all(parts).await)
    }

    /// The bytes of each partition, in the order asked, from all cores at once. A core that has read `bytes_max` reads no further partition: what was
    /// planned of history is an estimate.
    pub async fn fetch_read(&self, specs: Vec<ReadSpec>, bytes_max: u64) -> Vec<Result<ReadDone, ReadError>> {
        let Some(split) = self.split(&specs, |spec| spec.fetch.log) else {
            return self.read_here(specs, bytes_max).await;
        };
        let parts = split.iter().map(|(core, places)| {
            let part: Vec<_> = places.iter().map(|place| specs[*place]).collect();
            async move {
                if *core == self.id() {
                    return self.read_here(part, bytes_max).await;
                }
                match self.0.mesh.call(*core, Ask::Read(part, bytes_max)).await {
                    Answer::Read(part) => part,
                    other => unreachable!("a read was answered with {other:?}"),
                }
            }
        });
        in_order(&split, all(parts).await)
    }

    /// Waits until a log has something at or above its offset (also when it has already), or is gone; until the deadline; or until the
    /// broker begins to stop.
    pub async fn fetch_wait(&self, logs: Vec<(LogId, Offset)>, deadline: Mono) {
        let signal = Rc::new(Signal::default());
        let mut asked = Cancel { shard: self, tokens: SmallVec::new() };
        match self.split(&logs, |(log, _)| *log) {
            None => self.register(&logs, &signal),
            Some(split) => {
                for (core, places) in split {
                    let part: Vec<_> = places.into_iter().map(|place| logs[place]).collect();
                    if core == self.id() {
                        self.register(&part, &signal);
                    } else {
                        let ask = Ask::Wait { logs: part, deadline };
                        let token = self.0.mesh.ask_to_wait(core, ask, signal.clone());
                        asked.tokens.push((core, token));
                    }
                }
            }
        }
        first(signal.fired(), first(self.io().sleep_until(deadline), self.stopping())).await;
    }

    /// One offset of a log.
    pub async fn list_offset(
        &self,
        log: LogId,
        spec: OffsetSpec,
        current_epoch: LeaderEpoch,
    ) -> Result<ListedOffset, ReadError> {
        let owner = self.owner(log);
        if owner == self.id() {
            return self.list_offset_here(log, spec, current_epoch).await;
        }
        match self.0.mesh.call(owner, Ask::ListOffset { log, spec, current_epoch }).await {
            Answer::ListedOffset(listed) => listed,
            other => unreachable!("a search for an offset was answered with {other:?}"),
        }
    }

    /// Where a leader epoch ends.
    pub async fn epoch_end(
        &self,
        log: LogId,
        current_epoch: LeaderEpoch,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        let owner = self.owner(log);
        if owner == self.id() {
            return self.epoch_end_here(log, current_epoch, epoch);
        }
        match self.0.mesh.call(owner, Ask::EpochEnd { log, current_epoch, epoch }).await {
            Answer::EpochEnd(end) => end,
            other => unreachable!("a search for an epoch was answered with {other:?}"),
        }
    }

    pub(super) fn plan_here(&self, specs: &[FetchSpec]) -> Vec<Result<Planned, ReadError>> {
        let now = self.io().now();
        self.with(|state| {
            let plan = |spec: &FetchSpec| {
                let replica = state.replicas.get_mut(&spec.log).ok_or(ReadError::NoSuchLog)?;
                let (bounds, diverging) = check(replica, spec)?;
                replica.readers.asked(spec.offset, now);
                let available = if diverging.is_some() { 0 } else { replica.log.available(spec.offset, bounds.up_to) };
                Ok(Planned { marks: marks(&bounds), available, diverging })
            };
            specs.iter().map(plan).collect()
        })
    }

    pub(super) async fn read_here(&self, specs: Vec<ReadSpec>, bytes_max: u64) -> Vec<Result<ReadDone, ReadError>> {
        let mut answers = Vec::with_capacity(specs.len());
        let mut bytes = 0;
        for spec in specs {
            let read = self.read_one(&spec, bytes < bytes_max || spec.at_least_one).await;
            let slices = read.iter().flat_map(|done| &done.slices);
            bytes += slices.map(|slice| slice.len() as u64).sum::<u64>();
            answers.push(read);
        }
        answers
    }

    /// Without `room` only its marks.
    async fn read_one(&self, spec: &ReadSpec, room: bool) -> Result<ReadDone, ReadError> {
        let ReadSpec { fetch, at_least_one } = spec;
        let bounds = self.with(|state| {
            let replica = state.replicas.get(&fetch.log).ok_or(ReadError::NoSuchLog)?;
            check(replica, fetch).map(|(bounds, _)| bounds)
        })?;
        if !room {
            return Ok(ReadDone { marks: marks(&bounds), slices: SmallVec::new() });
        }
        let max_bytes = fetch.max_bytes as usize;
        let read = self.0.drive.read(self, fetch.log, fetch.offset, max_bytes, *at_least_one, bounds.up_to).await;
        let slices = read.map_err(|error| self.unreadable(fetch.log, &error))?;
        if slices.is_empty() {
            // The log start may have moved beyond the offset meanwhile.
            self.with(|state| check(state.replicas.get(&fetch.log).ok_or(ReadError::NoSuchLog)?, fetch))?;
        }
        Ok(ReadDone { marks: marks(&bounds), slices })
    }

    pub(super) fn epoch_end_here(
        &self,
        log: LogId,
        current_epoch: LeaderEpoch,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        self.with(|state| {
            let replica = state.replicas.get(&log).ok_or(ReadError::NoSuchLog)?;
            let end = replica.partition.epoch_end(current_epoch, epoch).map_err(ReadError::Refused)?;
            Ok(end.map_or(EpochEnd { epoch: LeaderEpoch::NONE, end_offset: Offset(-1) }, |end| EpochEnd {
                epoch: end.epoch,
                end_offset: end.end_offset,
            }))
        })
    }

    pub(super) async fn list_offset_here(
        &self,
        log: LogId,
        spec: OffsetSpec,
        current_epoch: LeaderEpoch,
    ) -> Result<ListedOffset, ReadError> {
        let (start, high, stable, largest) = self.with(|state| {
            let Replica { partition, log, .. } = state.replicas.get(&log).ok_or(ReadError::NoSuchLog)?;
            partition.check_leader_epoch(current_epoch).map_err(ReadError::Refused)?;
            Ok((partition.log_start(), partition.high(), partition.last_stable(), log.max_timestamp()))
        })?;
        match spec {
            OffsetSpec::Earliest => Ok(self.listed(log, start, Timestamp::NONE)),
            OffsetSpec::Latest { read_committed } => {
                Ok(self.listed(log, if read_committed { stable } else { high }, Timestamp::NONE))
            }
            OffsetSpec::AtLeast(timestamp) => self.first_record(log, timestamp, start, high).await,
            OffsetSpec::MaxTimestamp if largest == Timestamp::NONE => Ok(NOTHING),
            OffsetSpec::MaxTimestamp => match self.first_record(log, largest, start, high).await? {
                // It was deleted, and its segment is still there. Kafka tells where it is even so; "nothing" would mean an empty partition.
                NOTHING if start < high => self.first_record(log, largest, Offset(0), high).await,
                found => Ok(found),
            },
        }
    }

    /// The first record below `end` with at least this timestamp.
    async fn first_record(
        &self,
        log: LogId,
        timestamp: Timestamp,
        mut from: Offset,
        end: Offset,
    ) -> Result<ListedOffset, ReadError> {
        loop {
            let found = self.0.drive.first_batch_at(self, log, timestamp, from, end).await;
            let slices = found.map_err(|error| self.unreadable(log, &error))?;
            if slices.is_empty() {
                return Ok(NOTHING);
            }
            let whole = joined(&slices);
            let Some(batch) = record::batches(&whole).next() else { return Ok(NOTHING) };
            let last = batch.last_offset();
            match self.first_in_batch(batch, timestamp, from).await {
                Ok(Some((offset, timestamp))) => return Ok(self.listed(log, offset, timestamp)),
                Ok(None) => from = last.plus(1),
                Err(error) => {
                    tracing::error!(log = log.0, "the batch that ends at {last} cannot be searched: {error}");
                    return Err(ReadError::Storage);
                }
            }
        }
    }

    /// Gives way to others while it unfolds the batch.
    async fn first_in_batch(
        &self,
        batch: StoredBatch<'_>,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<(Offset, Timestamp)>, SearchFault> {
        let (mut lent, mut none) = (None, Scratch::default());
        if Search::needs_scratch(&batch) {
            lent = Some(self.scratch().await);
        }
        let scratch = lent.as_deref_mut().unwrap_or(&mut none);
        let mut search = Search::new(batch, timestamp, from, scratch)?;
        loop {
            match search.step(YIELD_BYTES)? {
                Searched::Ended(found) => return Ok(found),
                Searched::More => self.io().yield_now().await,
            }
        }
    }

    fn listed(&self, log: LogId, offset: Offset, timestamp: Timestamp) -> ListedOffset {
        let epoch = self.with(|state| {
            let epochs = state.replicas.get(&log)?.partition.epochs().entries();
            epochs.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
        });
        ListedOffset { offset, timestamp, epoch: epoch.unwrap_or(LeaderEpoch::NONE) }
    }

    fn unreadable(&self, log: LogId, error: &StorageError) -> ReadError {
        tracing::error!(log = log.0, "{error}");
        ReadError::Storage
    }

    fn register(&self, logs: &[(LogId, Offset)], signal: &Rc<Signal>) {
        self.with(|state| {
            for (log, offset) in logs {
                match state.replicas.get_mut(log) {
                    Some(replica) if replica.partition.high() <= *offset => replica.wait(signal.clone()),
                    _ => signal.fire(),
                }
            }
        });
    }

    /// The wait of a fetch that runs on another core: registered at once, so that a cancellation right behind it finds it.
    pub(super) fn wait_for_other_core(&self, from: ShardId, token: u32, logs: &[(LogId, Offset)], deadline: Mono) {
        let signal = Rc::new(Signal::default());
        self.0.foreign_waits.borrow_mut().insert((from, token), signal.clone());
        self.register(logs, &signal);
        let shard = self.clone();
        self.io().spawn(async move {
            first(signal.fired(), first(shard.io().sleep_until(deadline), shard.stopping())).await;
            shard.0.foreign_waits.borrow_mut().remove(&(from, token));
            shard.0.mesh.reply_to_wait(from, token).await;
        });
    }

    pub(super) fn cancel_wait(&self, from: ShardId, token: u32) {
        if let Some(signal) = self.0.foreign_waits.borrow().get(&(from, token)) {
            signal.fire();
        }
    }

    /// Which places of `items` belong to which core; `None`: all to this one.
    pub(super) fn split<T>(&self, items: &[T], log: impl Fn(&T) -> LogId) -> Option<Split> {
        if items.iter().all(|item| self.owner(log(item)) == self.id()) {
            return None;
        }
        let mut split = Split::new();
        for (place, item) in items.iter().enumerate() {
            let owner = self.owner(log(item));
            match split.iter_mut().find(|(core, _)| *core == owner) {
                Some((_, places)) => places.push(place),
                None => split.push((owner, vec![place])),
            }
        }
        Some(split)
    }
}

/// Ends the waits on other cores when the fetch that asked for them goes on.
struct Cancel<'a> {
    shard: &'a Shard,
    tokens: SmallVec<[(ShardId, u32); 4]>,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        for (core, token) in self.tokens.drain(..) {
            self.shard.0.mesh.cancel(core, token);
        }
    }
}

/// Cores, and which places of a list are theirs.
pub(super) type Split = SmallVec<[(ShardId, Vec<usize>); 4]>;

const NOTHING: ListedOffset = ListedOffset { offset: Offset(-1), timestamp: Timestamp::NONE, epoch: LeaderEpoch::NONE };

fn check(replica: &Replica, spec: &FetchSpec) -> Result<(ReadBounds, Option<Diverging>), ReadError> {
    let request = ReadRequest {
        offset: spec.offset,
        isolation: if spec.read_committed { Isolation::LastStable } else { Isolation::HighWatermark },
        current_leader_epoch: spec.current_epoch,
        last_fetched_epoch: spec.last_fetched_epoch,
    };
    match replica.partition.read_check(&request).map_err(ReadError::Refused)? {
        ReadCheck::Read(bounds) => Ok((bounds, None)),
        ReadCheck::Diverging(end, bounds) => {
            Ok((bounds, Some(Diverging { epoch: end.epoch, end_offset: end.end_offset })))
        }
    }
}

fn marks(bounds: &ReadBounds) -> Marks {
    Marks { high_watermark: bounds.high_watermark, last_stable: bounds.last_stable, log_start: bounds.log_start }
}

/// What each core answered, put back into the order of the request.
pub(super) fn in_order<T>(split: &Split, parts: Vec<Vec<T>>) -> Vec<T> {
    let places = split.iter().flat_map(|(_, places)| places).copied();
    let mut answers: Vec<_> = places.zip(parts.into_iter().flatten()).collect();
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// One slice of what may be several; copies only then.
pub(super) fn joined(slices: &[bytes::Bytes]) -> bytes::Bytes {
    match slices {
        [one] => one.clone(),
        several => several.concat().into(),
    }
}
