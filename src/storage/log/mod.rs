//! One replica's stored state on one core: its segments on disk, its tail cache, and how far it is drained and flushed.
//!
//! Always true: `flushed <= drained <= end`; everything from `drained` on is in the cache, and everything from `flushed` on is in the journal;
//! segments rise and do not overlap; the log start never goes back; one drain runs at a time. Decides what is to be read, drained, rolled and flushed, and never does it: the
//! steps it gives out are carried out by `drive`, which reports back. Knows no file handle, no clock and no producer.

mod drain; // into segments: steps, rolls, flushes
mod read; // what to read for a fetch or a timestamp
mod retention; // what of it may go

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smallvec::SmallVec;

pub use drain::{CreateStep, FlushStep, Flushed, SealStep, Step, WriteStep, offset_position, time_position};
pub use read::{DiskRange, ReadPlan, TimestampPlan};
pub use retention::{Retention, Stretch, expired};

use super::cache::{CachedBatch, TailCache};
use super::log_checkpoint::LogCheckpoint;
use super::segment::{ActiveSegment, Segment, TailBytes};
use crate::base::{LeaderEpoch, LogId, Offset, PartitionIndex, TopicId};

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
    /// `segment.jitter.ms`: a segment ends up to so much earlier.
    pub segment_jitter_ms: i64,
    /// `index.interval.bytes`: an index entry is made after more than this.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: an index file is at most this long.
    pub segment_index_bytes: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        let segment_ms = 7 * 24 * 60 * 60 * 1000;
        Self {
            segment_bytes: 1 << 30,
            segment_ms,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
        }
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
    /// `Drive::recover_tail`, which finds out what the journal still holds.
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

    /// Lets go of cached batches that are drained and whose journal block is `seq` or older. Gives the bytes of their slices. `scarce`: there is too little memory
    /// even for the last page of a log that has nothing to drain; the next drain reads it again.
    pub fn evict_through(&mut self, seq: u64, scarce: bool) -> u64 {
        let freed = self.cache.evict_through(seq);
        if scarce && self.cache.is_empty() && !self.draining && self.tail.as_ref().is_some_and(|tail| !tail.is_empty())
        {
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

/// Readers of history whose place is remembered per log.
const HINTS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use bytes::Bytes;
    use proptest::prelude::*;

    pub(super) fn log(options: LogOptions) -> Log {
        let (topic, topic_id, root) = ("t".into(), TopicId::ZERO, PathBuf::from("r"));
        Log::new(LogSpec { id: LogId(1), topic, topic_id, partition: PartitionIndex(0), root, options })
    }

    pub(super) fn batch(base: i64, count: i64, bytes: usize, seq: u64) -> CachedBatch {
        let slices = SmallVec::from_iter([Bytes::from(vec![base as u8; bytes])]);
        let (base, last) = (Offset(base), Offset(base + count - 1));
        CachedBatch { base, last, epoch: LeaderEpoch(0), max_timestamp: Timestamp(base.0 * 10), seq, slices }
    }

    /// Carries out the steps of a drain without a disk.
    pub(super) fn drain(log: &mut Log, up_to: Offset) -> Vec<&'static str> {
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

    /// Eight batches of 64 KiB fill a write, but not behind the start of a page that is written again: that would be one more write, of a page.
    #[test]
    fn what_is_drained_ahead_fills_whole_writes() {
        let mut log = log(LogOptions { segment_bytes: 1 << 30, ..LogOptions::default() });
        let push = |log: &mut Log, place: i64, bytes| log.push(batch(place, 1, bytes, 1));
        (0..7).for_each(|place| push(&mut log, place, 64 << 10));
        assert_eq!(log.drain_ahead(), None);
        push(&mut log, 7, 64 << 10);
        assert_eq!(log.drain_ahead(), Some(Offset(8)), "exactly one write");
        push(&mut log, 8, 100);
        assert_eq!(log.drain_ahead(), Some(Offset(8)));
        drain(&mut log, Offset(9));
        (9..17).for_each(|place| push(&mut log, place, 64 << 10));
        assert_eq!(log.drain_ahead(), Some(Offset(16)), "the last page is written again, too");
        (17..26).for_each(|place| push(&mut log, place, 64 << 10));
        assert_eq!(log.drain_ahead(), Some(Offset(24)), "two writes");
        drain(&mut log, Offset(24));
        assert_eq!(log.drain_ahead(), None);
        push(&mut log, 26, 3 << 20);
        assert_eq!(log.drain_ahead(), Some(Offset(26)), "what fits, before a batch that does not");
        drain(&mut log, Offset(26));
        assert_eq!(log.drain_ahead(), Some(Offset(27)), "and that by itself");
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
                        log.evict_through(seq.saturating_sub(count as u64), true);
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
