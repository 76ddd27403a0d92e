//! One replica's stored state on one core: its segments on disk, its tail cache, and how far it is drained and flushed.
//!
//! Always true: `flushed <= drained <= end`; everything from `drained` on is in the cache, and everything from `flushed` on is in the journal;
//! segments rise and do not overlap; one drain runs at a time. Decides what is to be read, drained, rolled and flushed, and never does it: the
//! steps it gives out are carried out by `drive`, which reports back. Knows no file handle, no clock and no producer.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::cache::{CachedBatch, TailCache};
use super::checksums::TailSum;
use super::index::{IndexTail, IndexedBatch, OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
use super::log_checkpoint::LogCheckpoint;
use super::segment::{ActiveSegment, Segment, TailBytes, page_ceil, page_floor};
use crate::base::limits::{DRAIN_STEP_BYTES, PAGE_BYTES, SEGMENT_ALLOCATE_BYTES_MAX, SEGMENT_ALLOCATE_BYTES_MIN};
use crate::base::{LeaderEpoch, LogId, Offset, PartitionIndex, Timestamp, TopicId};

/// What a log is told about itself.
#[derive(Clone, Debug)]
pub struct LogSpec {
    /// Its id, unique for ever.
    pub id: LogId,
    /// Name of its topic.
    pub topic: Arc<str>,
    /// Id of its topic.
    pub topic_id: TopicId,
    /// Which partition of the topic.
    pub partition: PartitionIndex,
    /// The directory that holds a directory per topic.
    pub root: PathBuf,
    /// Settings of the topic.
    pub options: LogOptions,
}

impl LogSpec {
    /// `ROOT/<topic>/<partition>-<log id>`: the log id keeps a deleted and a re-created topic apart.
    pub fn directory(&self) -> PathBuf {
        self.root.join(&*self.topic).join(format!("{}-{}", self.partition, self.id))
    }
}

/// The settings of a topic that shape its segments. The defaults are Kafka's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// `segment.bytes`: a segment is at most this long, unless a single batch is longer. At most 2^31 - 1.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment spans at most this time, by the timestamps of its batches.
    pub segment_ms: i64,
    /// `index.interval.bytes`: an index entry is made after more than this.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: an index file is at most this long.
    pub segment_index_bytes: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        let segment_ms = 7 * 24 * 60 * 60 * 1000;
        Self { segment_bytes: 1 << 30, segment_ms, index_interval_bytes: 4096, segment_index_bytes: 10 << 20 }
    }
}

/// See the top of this file.
#[derive(Debug)]
pub struct Log {
    spec: LogSpec,
    directory: Arc<Path>,
    cache: TailCache,
    log_start: Offset,
    end: Offset,
    drained: Offset,
    sealed: VecDeque<Segment>,
    active: Option<ActiveSegment>,
    /// Bytes of the active segment's last page. `None`: on disk only, and unread since the start.
    tail: Option<TailBytes>,
    /// Length of the active segment's `.log` file.
    allocated: u64,
    epochs: Vec<(LeaderEpoch, Offset)>,
    epochs_unwritten: bool,
    directory_made: bool,
    draining: bool,
    roll_next: bool,
    dirty: Dirty,
    flushed: Mark,
    /// Sequence of the oldest journal block that a crash now would need for this log.
    needed_seq: Option<u64>,
    /// What `needed_seq` will be when the flush in progress is done.
    flushing: Option<Option<u64>>,
    /// The guard of the page that is being written again.
    rewriting: Option<u64>,
    /// The guard of the last page as the checkpoint had it; means something only to the recovery of the journal of that time.
    checkpointed_guard: Option<u64>,
    hints: [Option<Hint>; HINTS],
    next_hint: usize,
}

/// What must be flushed before a checkpoint may name it.
#[derive(Clone, Default, Debug)]
struct Dirty {
    segments: SmallVec<[Offset; 2]>,
    directory: bool,
    parents: bool,
}

/// What a flush made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    drained: Offset,
    active: Option<ActiveSegment>,
}

/// Where a batch stands in a segment: a reader of history goes on where it stopped.
#[derive(Clone, Copy, Debug)]
struct Hint {
    offset: Offset,
    base: Offset,
    position: u64,
}

impl Log {
    /// An empty log. Its directory is made by its first drain.
    pub fn new(spec: LogSpec) -> Self {
        let checkpoint = LogCheckpoint {
            log: spec.id,
            log_start: Offset(0),
            high: Offset(0),
            drained: Offset(0),
            sealed: Vec::new(),
            active: None,
            epochs: Vec::new(),
            producer_offset: Offset(0),
            producer_state: Vec::new(),
        };
        Self::restore(spec, checkpoint)
    }

    /// A log as its checkpoint describes it. Opens no file: that waits until somebody reads or drains.
    ///
    /// The guard of the tail page is not taken over, since journal sequences of an earlier start mean nothing now. After a crash call
    /// `Drive::recover_tail`, which knows better.
    pub fn restore(spec: LogSpec, checkpoint: LogCheckpoint) -> Self {
        assert_eq!(spec.id, checkpoint.log, "the checkpoint of another log");
        let directory: Arc<Path> = spec.directory().into();
        let active = checkpoint.active.map(|active| ActiveSegment { tail_guard: None, ..active });
        let directory_made = active.is_some() || !checkpoint.sealed.is_empty();
        Self {
            directory,
            spec,
            cache: TailCache::default(),
            log_start: checkpoint.log_start,
            end: checkpoint.drained,
            drained: checkpoint.drained,
            sealed: checkpoint.sealed.into(),
            active,
            tail: None,
            allocated: active.map_or(0, |active| active.bytes),
            epochs: checkpoint.epochs,
            epochs_unwritten: false,
            directory_made,
            draining: false,
            roll_next: false,
            dirty: Dirty::default(),
            flushed: Mark { drained: checkpoint.drained, active },
            needed_seq: None,
            flushing: None,
            rewriting: None,
            checkpointed_guard: checkpoint.active.and_then(|active| active.tail_guard),
            hints: [None; HINTS],
            next_hint: 0,
        }
    }

    /// Takes in the next batch, in offset order, once it is durable. Recovery pushes the batches of the journal from the drained offset on.
    pub fn push(&mut self, batch: CachedBatch) {
        assert!(
            batch.base >= self.end,
            "log {}: batch {} was pushed, the log ends at {}",
            self.spec.id,
            batch.base,
            self.end
        );
        self.end = batch.last.plus(1);
        self.start_epoch(batch.epoch, batch.base);
        self.needed_seq.get_or_insert(batch.seq);
        if let Some(next) = &mut self.flushing {
            next.get_or_insert(batch.seq);
        }
        self.cache.push(batch);
    }

    /// A leader epoch starts at `start`. Epochs that start there or later give way: they have no records. An older epoch changes nothing.
    pub fn start_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        if epoch < LeaderEpoch(0) || self.epochs.last().is_some_and(|(newest, _)| *newest >= epoch) {
            return;
        }
        while self.epochs.last().is_some_and(|(_, later)| *later >= start) {
            self.epochs.pop();
        }
        self.epochs.push((epoch, start));
        self.epochs_unwritten = true;
    }

    /// Offsets below `start` were deleted; the entry that says so is durable. Never goes back.
    pub fn set_log_start(&mut self, start: Offset) {
        self.log_start = self.log_start.max(start);
    }

    /// Lets go of cached batches that are drained and whose journal block is `seq` or older. Gives the bytes of their slices.
    pub fn evict_through(&mut self, seq: u64) -> u64 {
        let freed = self.cache.evict_through(seq);
        if self.cache.is_empty() && !self.draining && self.tail.as_ref().is_some_and(|tail| !tail.is_empty()) {
            self.tail = None;
        }
        freed
    }

    /// The log leaves its journal: everything is drained and flushed, and sequences of that journal mean nothing from now on. After recovery, and
    /// when a log moves to another core.
    pub fn leave_journal(&mut self) {
        assert_eq!(self.flushed.drained, self.end, "log {} leaves its journal with bytes there", self.spec.id);
        self.cache = TailCache::default();
        self.needed_seq = None;
        for active in [&mut self.active, &mut self.flushed.active].into_iter().flatten() {
            active.tail_guard = None;
        }
    }

    /// Settings changed. They hold from the next batch on.
    pub fn set_options(&mut self, options: LogOptions) {
        self.spec.options = options;
    }

    /// What it was told about itself.
    pub fn spec(&self) -> &LogSpec {
        &self.spec
    }

    /// Where its files are.
    pub fn directory(&self) -> Arc<Path> {
        Arc::clone(&self.directory)
    }

    /// The first offset that is not deleted.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset after the last batch pushed.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The first offset that is in no segment.
    pub fn drained(&self) -> Offset {
        self.drained
    }

    /// The first offset that a flush has not made safe in a segment.
    pub fn flushed(&self) -> Offset {
        self.flushed.drained
    }

    /// Sequence of the oldest journal block that a crash now would need for this log. A checkpoint that is written now keeps the journal from the
    /// smallest such number of all logs on; with nothing needed by any log, from the next block on.
    pub fn needed_seq(&self) -> Option<u64> {
        self.needed_seq
    }

    /// Sequence of the journal block of the oldest batch that is in no segment.
    pub fn oldest_undrained_seq(&self) -> Option<u64> {
        self.cache.undrained().next().map(|batch| batch.seq)
    }

    /// Bytes of batches that are in no segment.
    pub fn undrained_bytes(&self) -> u64 {
        self.cache.undrained_bytes()
    }

    /// Bytes of all cached slices.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// The leader epochs with the offsets they start at.
    pub fn epochs(&self) -> &[(LeaderEpoch, Offset)] {
        &self.epochs
    }

    /// The segments, the active one last.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment> {
        self.sealed.iter().copied().chain(self.active.iter().map(ActiveSegment::sealed))
    }

    /// Bytes of batches in segments.
    pub fn segment_bytes(&self) -> u64 {
        self.segments().map(|segment| segment.bytes).sum()
    }

    /// The active segment.
    pub fn active(&self) -> Option<&ActiveSegment> {
        self.active.as_ref()
    }

    /// The state as of the last flush. The shard fills in what it knows better: `high` and the producer state.
    pub fn checkpoint(&self) -> LogCheckpoint {
        let flushed_base = self.flushed.active.map_or(self.flushed.drained, |active| active.base);
        LogCheckpoint {
            log: self.spec.id,
            log_start: self.log_start,
            high: self.flushed.drained,
            drained: self.flushed.drained,
            sealed: self.sealed.iter().filter(|segment| segment.base < flushed_base).copied().collect(),
            active: self.flushed.active,
            epochs: self.epochs.clone(),
            producer_offset: self.flushed.drained,
            producer_state: Vec::new(),
        }
    }
}

/// What to read for a fetch.
#[derive(Clone, Debug)]
pub enum ReadPlan {
    /// Nothing at or above the offset may be read, or the first batch is larger than allowed.
    Empty,
    /// Whole batches from memory.
    Cached(SmallVec<[Bytes; 4]>),
    /// A part of one segment.
    Disk(DiskRange),
}

/// A part of one segment, to be read, verified and trimmed to whole batches.
#[derive(Clone, Debug)]
pub struct DiskRange {
    /// The log.
    pub log: LogId,
    /// Where its files are.
    pub directory: Arc<Path>,
    /// The segment.
    pub base: Offset,
    /// Its bytes that may be read.
    pub bytes: u64,
    /// The checksum of its last block, when that is partial and the segment is active.
    pub tail: Option<TailSum>,
    /// Where the batch with `offset` begins, if that is remembered.
    pub position: Option<u64>,
    /// The first batch is the one that holds this offset.
    pub offset: Offset,
    /// No batch from this offset on.
    pub up_to: Offset,
    /// Bytes of batches at most.
    pub max_bytes: usize,
    /// The first batch may be larger than `max_bytes`.
    pub at_least_one: bool,
    /// Where to go on when the segment has nothing at or above `offset`.
    pub next: Offset,
}

/// Where the first batch with a timestamp may be.
#[derive(Clone, Debug)]
pub enum TimestampPlan {
    /// There is none.
    None,
    /// This one.
    Cached(CachedBatch),
    /// In this segment, or further on.
    Disk(DiskRange),
}

impl Log {
    /// Plans a read from the batch that holds `offset`, of whole batches below `up_to` and not much more than `max_bytes`.
    ///
    /// The first batch may begin below `offset`. With `at_least_one` it may be larger than `max_bytes`. An offset below the log start plans nothing:
    /// the caller has answered OFFSET_OUT_OF_RANGE.
    pub fn read_plan(&self, offset: Offset, max_bytes: usize, at_least_one: bool, up_to: Offset) -> ReadPlan {
        if offset < self.log_start || offset >= up_to || offset >= self.end {
            return ReadPlan::Empty;
        }
        if self.cache.first().is_some_and(|first| first <= offset) {
            return self.read_cached(offset, max_bytes, at_least_one, up_to);
        }
        match self.disk_range(offset, max_bytes, at_least_one, up_to) {
            Some(range) => ReadPlan::Disk(range),
            None => self.read_cached(self.cache.first().unwrap_or(self.end), max_bytes, at_least_one, up_to),
        }
    }

    /// Bytes that a read from `offset` up to `up_to` may find: exact in the cache, an estimate on disk, and never 0 when there is something.
    pub fn available(&self, offset: Offset, up_to: Offset) -> u64 {
        let offset = offset.max(self.log_start);
        if offset >= up_to || offset >= self.end {
            return 0;
        }
        let cached_from = self.cache.first().unwrap_or(self.end);
        let from_cache = self.cache.from(offset.max(cached_from));
        let cached: u64 = from_cache.take_while(|batch| batch.base < up_to).map(|batch| batch.bytes() as u64).sum();
        if offset >= cached_from {
            return cached;
        }
        let mut next = cached_from.min(up_to);
        let mut on_disk = 0;
        for segment in self.segments().rev().skip_while(|segment| segment.base >= up_to) {
            let span = (next.0 - segment.base.0).max(1) as u128;
            let wanted = (next.0 - segment.base.0.max(offset.0)).max(0) as u128;
            on_disk += (u128::from(segment.bytes) * wanted / span) as u64;
            next = segment.base;
            if segment.base <= offset {
                break;
            }
        }
        (cached + on_disk).max(1)
    }

    /// Plans the search for the first batch at or above `from`, below `up_to`, that holds a record with `timestamp` or a later one.
    pub fn timestamp_plan(&self, timestamp: Timestamp, from: Offset, up_to: Offset) -> TimestampPlan {
        let from = from.max(self.log_start);
        let cached_from = self.cache.first().unwrap_or(self.end);
        let mut segments = self.segments().filter(|segment| segment.max_timestamp >= timestamp);
        let on_disk = segments.find_map(|segment| {
            let range = self.disk_range(from.max(segment.base), 0, true, up_to)?;
            (range.base == segment.base && range.offset < range.next && range.offset < cached_from).then_some(range)
        });
        if let Some(range) = on_disk.filter(|range| range.offset < up_to) {
            return TimestampPlan::Disk(range);
        }
        let mut cached = self.cache.all().filter(|batch| batch.last >= from && batch.base < up_to);
        cached
            .find(|batch| batch.max_timestamp >= timestamp)
            .cloned()
            .map_or(TimestampPlan::None, TimestampPlan::Cached)
    }

    /// The largest timestamp of the log; none in an empty log.
    pub fn max_timestamp(&self) -> Timestamp {
        let on_disk = self.segments().map(|segment| segment.max_timestamp).max();
        let undrained = self.cache.undrained().map(|batch| batch.max_timestamp).max();
        on_disk.max(undrained).unwrap_or(Timestamp::NONE)
    }

    /// Remembers that the batch at `offset` begins at `position` of segment `base`.
    pub fn remember(&mut self, offset: Offset, base: Offset, position: u64) {
        let known = self.hints.iter().position(|hint| hint.is_some_and(|hint| hint.offset == offset));
        let place = known.unwrap_or(self.next_hint);
        self.hints[place] = Some(Hint { offset, base, position });
        if known.is_none() {
            self.next_hint = (place + 1) % HINTS;
        }
    }

    fn read_cached(&self, offset: Offset, max_bytes: usize, at_least_one: bool, up_to: Offset) -> ReadPlan {
        let (mut slices, mut left, mut first) = (SmallVec::new(), max_bytes, at_least_one);
        for batch in self.cache.from(offset).take_while(|batch| batch.base < up_to) {
            let bytes = batch.bytes();
            if bytes > left && !first {
                break;
            }
            slices.extend(batch.slices.iter().cloned());
            left = left.saturating_sub(bytes);
            first = false;
        }
        if slices.is_empty() { ReadPlan::Empty } else { ReadPlan::Cached(slices) }
    }

    /// The part of the segment that holds `offset`; of the one after it when the segments below end before.
    fn disk_range(&self, offset: Offset, max_bytes: usize, at_least_one: bool, up_to: Offset) -> Option<DiskRange> {
        let after = self.sealed.partition_point(|segment| segment.base <= offset);
        let in_active = self.active.filter(|active| active.base <= offset || (after == 0 && self.sealed.is_empty()));
        let (base, bytes, tail, next) = match in_active {
            Some(active) => (active.base, active.bytes, active.tail_block(), self.drained),
            None => {
                let place = after.saturating_sub(1);
                let segment = self.sealed.get(place)?;
                let following = self.sealed.get(place + 1).map(|segment| segment.base);
                let next = following.or(self.active.map(|active| active.base)).unwrap_or(self.drained);
                (segment.base, segment.bytes, None, next)
            }
        };
        if bytes == 0 {
            return None;
        }
        let hint = self.hints.iter().flatten().find(|hint| hint.offset == offset && hint.base == base);
        let position = hint.map(|hint| hint.position).filter(|position| *position < bytes);
        let (log, directory) = (self.spec.id, self.directory());
        Some(DiskRange { log, directory, base, bytes, tail, position, offset, up_to, max_bytes, at_least_one, next })
    }
}

/// What a drain does next.
#[derive(Debug)]
pub enum Step {
    /// Nothing is left to drain.
    Done,
    /// The active segment takes no more batches.
    Seal(SealStep),
    /// A new active segment.
    Create(CreateStep),
    /// Batches for the active segment.
    Write(Box<WriteStep>),
}

/// Ends a segment, or closes the active one for a clean stop: its files are exactly as long as their content from here on.
#[derive(Debug)]
pub struct SealStep {
    /// The segment as it is afterwards.
    pub after: ActiveSegment,
    /// Where the last entry of the time index goes.
    pub time_position: u64,
    /// That entry, unless it stands there already.
    pub time_entry: Vec<u8>,
    /// Whether the `.log` file has space allocated that is to be cut off.
    pub cut: bool,
}

/// Makes the files of a segment.
#[derive(Debug)]
pub struct CreateStep {
    /// Its first offset.
    pub base: Offset,
    /// Make the partition's directory and its `partition.metadata` first.
    pub make_directory: bool,
    /// The epoch checkpoint as it must stand, when it changed.
    pub epochs: Option<String>,
}

/// Writes batches into the active segment.
#[derive(Debug)]
pub struct WriteStep {
    /// The segment before.
    pub before: ActiveSegment,
    /// The segment after, all but its tail checksum and the part of its guard that depends on `before`.
    pub after: ActiveSegment,
    /// The bytes of the last page before; `None`: read them from the disk.
    pub tail: Option<TailBytes>,
    /// The batches, in order.
    pub batches: Vec<CachedBatch>,
    /// Their bytes.
    pub bytes: u64,
    /// The new index entries.
    pub indexes: IndexTail,
    /// Length of the `.log` file.
    pub allocated: u64,
    /// Length it must have before the write.
    pub allocate: u64,
    /// The epoch checkpoint as it must stand, when it changed.
    pub epochs: Option<String>,
}

impl WriteStep {
    /// Whether a page that holds acknowledged bytes is written again, and where it begins.
    pub fn rewritten_page(&self) -> Option<u64> {
        (!self.before.bytes.is_multiple_of(PAGE_BYTES as u64)).then_some(self.before.tail_page())
    }
}

/// What became durable with a flush, and what the log still needs of its journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    /// The log.
    pub log: LogId,
    /// Everything below is in flushed segments.
    pub drained: Offset,
    /// As [`Log::needed_seq`].
    pub needed_seq: Option<u64>,
}

/// What to flush.
#[derive(Debug)]
pub struct FlushStep {
    /// Report this when it is done.
    pub mark: Mark,
    /// Segments whose files were written to.
    pub segments: SmallVec<[Offset; 2]>,
    /// The directory has new entries.
    pub directory: bool,
    /// So have the topic's directory and the root.
    pub parents: bool,
}

impl Log {
    /// Begins a drain. `false`: one is under way.
    pub fn begin_drain(&mut self) -> bool {
        !std::mem::replace(&mut self.draining, true)
    }

    /// The drain is over.
    pub fn end_drain(&mut self) {
        self.draining = false;
    }

    /// What the drain does next, to bring every batch that begins below `up_to` into a segment. `now` is the wall clock.
    pub fn next_step(&mut self, up_to: Offset, now: Timestamp) -> Step {
        assert!(self.draining, "log {}: a step outside of a drain", self.spec.id);
        let Some(first) = self.cache.undrained().next().filter(|batch| batch.base < up_to) else { return Step::Done };
        let (base, options) = (first.base, self.spec.options);
        match self.active {
            None => {
                let epochs = self.take_epochs();
                Step::Create(CreateStep { base, make_directory: !self.directory_made, epochs })
            }
            Some(active)
                if active.bytes > 0 && self.roll_next
                    || active.must_roll(&options, first.last, first.max_timestamp, first.bytes() as u64, now) =>
            {
                Step::Seal(seal_step(&active, self.allocated))
            }
            Some(active) => Step::Write(Box::new(self.write_step(active, up_to, now))),
        }
    }

    /// A `Seal` was carried out.
    pub fn sealed(&mut self, segment: &ActiveSegment) {
        let active = self.active.take().expect("a segment was sealed");
        assert_eq!(active.base, segment.base, "another segment was sealed");
        self.sealed.push_back(segment.sealed());
        self.touched(segment.base);
        (self.tail, self.allocated, self.roll_next) = (None, 0, false);
    }

    /// A `Create` was carried out at `now` on the wall clock.
    pub fn created(&mut self, step: &CreateStep, now: Timestamp) {
        self.active = Some(ActiveSegment::new(step.base, now));
        (self.tail, self.allocated, self.directory_made) = (Some(Bytes::new()), 0, true);
        self.touched(step.base);
        self.dirty.directory = true;
        self.dirty.parents |= step.make_directory;
    }

    /// A `Write` was carried out. `guard` is the one that covered the rewritten page, `tail_sum` and `tail` are those of the new end.
    pub fn written(&mut self, step: &WriteStep, guard: Option<u64>, tail_sum: u32, tail: TailBytes) {
        let mut after = step.after;
        after.tail_sum = tail_sum;
        if after.tail_page() < step.before.bytes {
            after.tail_guard = guard.min(after.tail_guard);
        }
        self.active = Some(after);
        self.tail = Some(tail);
        self.allocated = step.allocate;
        self.drained = step.batches.last().map_or(self.drained, |batch| batch.last.plus(1));
        self.cache.drained(self.drained);
        self.touched(after.base);
        if let Some(next) = &mut self.flushing {
            *next = oldest(*next, self.rewriting);
        }
        self.rewriting = None;
    }

    /// The last page is about to be written again. Until a flush that begins after that write, a crash may tear it, and then needs the journal from
    /// `guard` on.
    pub fn rewriting(&mut self, guard: Option<u64>) {
        self.rewriting = guard;
        self.needed_seq = oldest(self.needed_seq, guard);
    }

    /// The journal took the bytes of the last page again, in the block with the sequence `seq`.
    pub fn guarded(&mut self, seq: u64) {
        let active = self.active.as_mut().expect("a page of the active segment was guarded");
        active.tail_guard = Some(seq);
    }

    /// The last page cannot be guarded now: the next batch begins a new segment instead of rewriting it.
    pub fn roll_next(&mut self) {
        self.roll_next = true;
    }

    /// The closing of the active segment for a clean stop. `None`: it is closed.
    pub fn close_step(&self) -> Option<SealStep> {
        let step = seal_step(self.active.as_ref()?, self.allocated);
        (step.cut || !step.time_entry.is_empty()).then_some(step)
    }

    /// A close was carried out.
    pub fn closed(&mut self, segment: &ActiveSegment) {
        self.active = Some(*segment);
        self.allocated = segment.bytes;
        self.touched(segment.base);
    }

    /// What to flush. `None`: nothing changed since the last one.
    pub fn begin_flush(&mut self) -> Option<FlushStep> {
        let mark = Mark { drained: self.drained, active: self.active };
        let needed = oldest(self.oldest_undrained_seq(), self.rewriting);
        let clean = self.dirty.segments.is_empty() && !self.dirty.directory && !self.dirty.parents;
        if clean && mark == self.flushed && self.needed_seq == needed {
            return None;
        }
        self.flushing = Some(needed);
        let Dirty { segments, directory, parents } = std::mem::take(&mut self.dirty);
        Some(FlushStep { mark, segments, directory, parents })
    }

    /// The flush is done.
    pub fn finish_flush(&mut self, mark: Mark) -> Flushed {
        self.flushed = mark;
        self.needed_seq = self.flushing.take().expect("a flush was begun");
        self.flushed_state()
    }

    /// What a flush reports when there is nothing to do.
    pub fn flushed_state(&self) -> Flushed {
        Flushed { log: self.spec.id, drained: self.flushed.drained, needed_seq: self.needed_seq }
    }

    /// The guard of the last page as the checkpoint had it, for recovery.
    pub fn checkpointed_guard(&self) -> Option<u64> {
        self.checkpointed_guard
    }

    /// Recovery has put the last page in order: its bytes, and the journal sequence that covers them, if any.
    pub fn recovered(&mut self, tail: TailBytes, guard: Option<u64>) {
        if let Some(active) = &mut self.active {
            active.tail_guard = guard;
            self.allocated = active.bytes;
            self.tail = Some(tail);
            let base = active.base;
            self.touched(base);
        }
        self.epochs_unwritten = !self.epochs.is_empty();
        self.dirty.directory = true;
    }

    fn touched(&mut self, base: Offset) {
        if !self.dirty.segments.contains(&base) {
            self.dirty.segments.push(base);
        }
    }

    fn write_step(&mut self, before: ActiveSegment, up_to: Offset, now: Timestamp) -> WriteStep {
        let options = self.spec.options;
        let (mut after, mut indexes, mut batches) = (before, IndexTail::default(), Vec::new());
        for batch in self.cache.undrained().take_while(|batch| batch.base < up_to) {
            let bytes = batch.bytes() as u64;
            let taken = after.bytes - before.bytes;
            if taken > 0 && taken + bytes > DRAIN_STEP_BYTES as u64
                || after.must_roll(&options, batch.last, batch.max_timestamp, bytes, now)
            {
                break;
            }
            let (position, last, max_timestamp) = (after.bytes, batch.last, batch.max_timestamp);
            let indexed = IndexedBatch { position, last, max_timestamp, bytes: bytes as u32 };
            after.index.append(before.base, &indexed, options.index_interval_bytes, &mut indexes);
            after.first_timestamp.get_or_insert(batch.max_timestamp);
            after.bytes += bytes;
            batches.push(batch.clone());
        }
        after.tail_guard = tail_guard(&before, &after, &batches);
        let allocate = allocation(after.bytes, self.allocated, u64::from(options.segment_bytes));
        WriteStep {
            bytes: after.bytes - before.bytes,
            before,
            after,
            tail: self.tail.clone(),
            batches,
            indexes,
            allocated: self.allocated,
            allocate,
            epochs: self.take_epochs(),
        }
    }

    /// The text of Kafka's `leader-epoch-checkpoint`, when it changed since it was last asked for.
    fn take_epochs(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.epochs_unwritten) {
            return None;
        }
        let mut text = format!("0\n{}\n", self.epochs.len());
        for (epoch, start) in &self.epochs {
            writeln!(text, "{epoch} {start}").expect("a string takes text");
        }
        Some(text)
    }
}

/// The smaller of two sequences, where there are any.
fn oldest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// The oldest sequence among the new batches that have bytes in the last page; `None` when that page is whole.
fn tail_guard(before: &ActiveSegment, after: &ActiveSegment, batches: &[CachedBatch]) -> Option<u64> {
    if after.bytes.is_multiple_of(PAGE_BYTES as u64) {
        return None;
    }
    let (mut start, mut guard) = (after.bytes, None);
    for batch in batches.iter().rev() {
        guard = Some(batch.seq);
        start -= batch.bytes() as u64;
        if start <= after.tail_page() {
            break;
        }
    }
    debug_assert!(start >= before.bytes);
    guard
}

/// How long the `.log` file must be for `bytes` of batches: allocated in chunks that grow with the segment, not beyond what it may hold.
fn allocation(bytes: u64, allocated: u64, segment_bytes: u64) -> u64 {
    if page_ceil(bytes) <= allocated {
        return allocated;
    }
    let chunk = bytes.clamp(SEGMENT_ALLOCATE_BYTES_MIN, SEGMENT_ALLOCATE_BYTES_MAX);
    (page_floor(bytes) + chunk).min(page_ceil(segment_bytes)).max(page_ceil(bytes))
}

fn seal_step(active: &ActiveSegment, allocated: u64) -> SealStep {
    let (mut after, mut tail) = (*active, IndexTail::default());
    let time_position = u64::from(active.index.time_entries) * TIME_ENTRY_BYTES as u64;
    after.index.append_time(active.base, &mut tail);
    SealStep { after, time_position, time_entry: tail.times, cut: allocated > active.bytes }
}

/// Where the next entry of the `.index` file goes.
pub fn offset_position(segment: &ActiveSegment) -> u64 {
    u64::from(segment.index.offset_entries) * OFFSET_ENTRY_BYTES as u64
}

/// Where the next entry of the `.timeindex` file goes.
pub fn time_position(segment: &ActiveSegment) -> u64 {
    u64::from(segment.index.time_entries) * TIME_ENTRY_BYTES as u64
}

/// Readers of history whose place is remembered per log.
const HINTS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(options: LogOptions) -> Log {
        let (topic, topic_id, root) = ("t".into(), TopicId::ZERO, PathBuf::from("r"));
        Log::new(LogSpec { id: LogId(1), topic, topic_id, partition: PartitionIndex(0), root, options })
    }

    fn batch(base: i64, count: i64, bytes: usize, seq: u64) -> CachedBatch {
        let slices = SmallVec::from_iter([Bytes::from(vec![base as u8; bytes])]);
        let (base, last) = (Offset(base), Offset(base + count - 1));
        CachedBatch { base, last, epoch: LeaderEpoch(0), max_timestamp: Timestamp(base.0 * 10), seq, slices }
    }

    /// Carries out the steps of a drain without a disk.
    fn drain(log: &mut Log, up_to: Offset) -> Vec<&'static str> {
        let mut steps = Vec::new();
        assert!(log.begin_drain());
        loop {
            match log.next_step(up_to, Timestamp(0)) {
                Step::Done => break,
                Step::Seal(step) => {
                    log.sealed(&step.after);
                    steps.push("seal");
                }
                Step::Create(step) => {
                    log.created(&step, Timestamp(0));
                    steps.push("create");
                }
                Step::Write(step) => {
                    let guard = step.rewritten_page().and(step.before.tail_guard);
                    log.rewriting(guard);
                    log.written(&step, guard, 0, Bytes::new());
                    steps.push("write");
                }
            }
        }
        log.end_drain();
        steps
    }

    fn cached(plan: ReadPlan) -> Vec<u8> {
        match plan {
            ReadPlan::Cached(slices) => slices.concat(),
            ReadPlan::Empty => Vec::new(),
            ReadPlan::Disk(range) => panic!("the disk was asked: {range:?}"),
        }
    }

    proptest! {
        /// Whatever is pushed, drained and evicted: what is not drained is read from memory, whole batches, within the bounds; the rest is on disk.
        #[test]
        fn any_order_of_pushes_drains_and_evictions_reads_the_same(
            steps in proptest::collection::vec((0u8..6, 1i64..5, 1usize..3000), 1..60),
            offset in 0i64..200,
            max_bytes in 0usize..10_000,
        ) {
            let mut log = log(LogOptions { segment_bytes: 20_000, ..LogOptions::default() });
            let (mut all, mut end, mut evicted) = (Vec::new(), 0, 0);
            for (seq, (what, count, bytes)) in (1..).zip(steps) {
                match what {
                    0..=3 => {
                        let batch = batch(end, count, bytes, seq);
                        all.push(batch.clone());
                        log.push(batch);
                        end += count;
                    }
                    4 => drop(drain(&mut log, Offset(end - count))),
                    _ => {
                        log.evict_through(seq.saturating_sub(count as u64));
                        evicted = evicted.max(seq.saturating_sub(count as u64));
                    }
                }
            }
            let undrained: u64 = all.iter().filter(|batch| batch.base >= log.drained()).map(|batch| batch.bytes() as u64).sum();
            prop_assert_eq!(log.undrained_bytes(), undrained);
            prop_assert!(log.segments().all(|segment| segment.bytes <= 20_000));
            prop_assert_eq!(log.needed_seq(), all.first().map(|batch| batch.seq), "nothing was flushed");
            let first_cached = log.cache.first().unwrap_or(Offset(end));
            prop_assert!(first_cached <= log.drained());
            prop_assert!(all.iter().all(|batch| batch.seq <= evicted || batch.base >= first_cached), "evicted too much");
            let wanted: Vec<&CachedBatch> = all.iter().filter(|batch| batch.last >= Offset(offset)).collect();
            match log.read_plan(Offset(offset), max_bytes, true, Offset(end)) {
                ReadPlan::Empty => prop_assert!(wanted.is_empty()),
                ReadPlan::Disk(range) => {
                    prop_assert!(Offset(offset) < first_cached && range.base <= Offset(offset) && Offset(offset) < range.next);
                }
                ReadPlan::Cached(slices) => {
                    let mut bytes = 0;
                    let fits = wanted.iter().take_while(|batch| {
                        bytes += batch.bytes();
                        bytes <= max_bytes || bytes == batch.bytes()
                    });
                    let expected: Vec<u8> = fits.flat_map(|batch| batch.slices.concat()).collect();
                    prop_assert!(slices.concat() == expected);
                }
            }
            let available = log.available(Offset(offset), Offset(end));
            prop_assert_eq!(available > 0, !wanted.is_empty());
        }
    }

    #[test]
    fn a_read_stays_below_its_bound_and_takes_one_batch_at_least_only_when_asked() {
        let mut log = log(LogOptions::default());
        (0..4).for_each(|place| log.push(batch(place * 10, 10, 100, 1)));
        assert_eq!(
            cached(log.read_plan(Offset(15), 1000, true, Offset(30))).len(),
            200,
            "from the middle of a batch, below 30"
        );
        assert_eq!(cached(log.read_plan(Offset(15), 99, false, Offset(30))).len(), 0);
        assert_eq!(cached(log.read_plan(Offset(15), 99, true, Offset(30))).len(), 100);
        assert_eq!(cached(log.read_plan(Offset(30), 1000, true, Offset(30))).len(), 0);
        log.set_log_start(Offset(20));
        assert_eq!(cached(log.read_plan(Offset(15), 1000, true, Offset(30))).len(), 0, "deleted");
    }

    #[test]
    fn a_drain_creates_writes_and_rolls() {
        let mut log = log(LogOptions { segment_bytes: 250, ..LogOptions::default() });
        (0..5).for_each(|place| log.push(batch(place * 10, 10, 100, 1)));
        assert_eq!(
            drain(&mut log, Offset(45)),
            ["create", "write", "seal", "create", "write", "seal", "create", "write"]
        );
        let segments: Vec<_> =
            log.segments().map(|segment| (segment.base.0, segment.bytes, segment.max_timestamp.0)).collect();
        assert_eq!(segments, [(0, 200, 100), (20, 200, 300), (40, 100, 400)]);
        assert!(drain(&mut log, Offset(i64::MAX)).is_empty());
    }

    /// A flush that began before a page was written again does not cover that write: the page's guard is needed on.
    #[test]
    fn a_guard_is_needed_until_a_later_flush() {
        let mut log = log(LogOptions::default());
        log.push(batch(0, 1, 100, 5));
        drain(&mut log, Offset(1));
        let flush = log.begin_flush().expect("something to flush");
        log.push(batch(1, 1, 100, 9));
        drain(&mut log, Offset(2));
        assert_eq!(log.finish_flush(flush.mark).needed_seq, Some(5), "the page holds batch 0, whose block is 5");
        let flush = log.begin_flush().expect("something to flush");
        assert_eq!(log.finish_flush(flush.mark).needed_seq, None);
        assert!(log.begin_flush().is_none());
    }

    /// What a checkpoint says is what was flushed, not what was written since.
    #[test]
    fn a_checkpoint_lags_behind_the_drain() {
        let mut log = log(LogOptions { segment_bytes: 150, ..LogOptions::default() });
        log.push(batch(0, 1, 100, 5));
        drain(&mut log, Offset(1));
        let flush = log.begin_flush().expect("something to flush");
        log.push(batch(1, 1, 100, 6));
        drain(&mut log, Offset(2));
        log.finish_flush(flush.mark);
        let checkpoint = log.checkpoint();
        assert_eq!((checkpoint.drained, checkpoint.sealed.len()), (Offset(1), 0));
        assert_eq!(checkpoint.active.map(|active| (active.base, active.bytes)), Some((Offset(0), 100)));
    }

    #[test]
    fn an_epoch_without_records_gives_way() {
        let mut log = log(LogOptions::default());
        log.push(batch(0, 1, 100, 1));
        for epoch in 1..4 {
            log.start_epoch(LeaderEpoch(epoch), Offset(1));
        }
        log.start_epoch(LeaderEpoch(2), Offset(1));
        assert_eq!(log.epochs(), [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(1))]);
        assert_eq!(log.take_epochs().as_deref(), Some("0\n2\n0 0\n3 1\n"));
        assert_eq!(log.take_epochs(), None);
    }
}
