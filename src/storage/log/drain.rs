//! How a log comes into its segments: what a drain does next, what is to be flushed, and what each step left behind.
//!
//! Always true: one drain runs at a time; a mark moves only when the step that moves it was carried out. Carries nothing out itself.

use std::fmt::Write as _;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Dirty, Log, Mark};
use crate::base::limits::{
    DRAIN_AHEAD_BYTES, DRAIN_BUFFER_BYTES, DRAIN_STEP_BYTES, PAGE_BYTES, SEGMENT_ALLOCATE_BYTES_MAX,
    SEGMENT_ALLOCATE_BYTES_MIN,
};
use crate::base::{LogId, Offset, Timestamp};
use crate::storage::cache::CachedBatch;
use crate::storage::index::{IndexTail, IndexedBatch, OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
use crate::storage::segment::{ActiveSegment, TailBytes, page_ceil, page_floor};

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
    /// Up to where a log is drained although the journal has room: batches that fill whole writes, or nearly. `None`: there are not enough of them.
    pub fn drain_ahead(&self) -> Option<Offset> {
        let undrained = self.undrained_bytes();
        if undrained < DRAIN_AHEAD_BYTES {
            return None;
        }
        // The last page is written again with them.
        let before = self.active.map_or(0, |active| active.bytes % PAGE_BYTES as u64);
        let whole = (before + undrained) / DRAIN_BUFFER_BYTES as u64 * DRAIN_BUFFER_BYTES as u64;
        let mut end = before;
        let next = self.cache.undrained().find(|batch| {
            let first = end == before;
            end += batch.bytes() as u64;
            end > whole && !first
        });
        Some(next.map_or(self.end, |batch| batch.base))
    }

    /// Begins a drain. `false`: one is under way.
    pub fn begin_drain(&mut self) -> bool {
        !std::mem::replace(&mut self.draining, true)
    }

    /// The drain is over.
    pub fn end_drain(&mut self) {
        self.draining = false;
    }

    /// What the drain does next, to bring every batch that begins below `up_to` into a segment. `now` is the wall clock. An active segment of which
    /// nothing can be read any more is sealed in the end, so that it can go.
    pub fn next_step(&mut self, up_to: Offset, now: Timestamp) -> Step {
        assert!(self.draining, "log {}: a step outside of a drain", self.spec.id);
        let first = self.cache.undrained().next().filter(|batch| batch.base < up_to);
        match (self.active, first) {
            (Some(active), None) if self.active_is_dead() => Step::Seal(seal_step(&active, self.allocated)),
            (_, None) => Step::Done,
            (None, Some(first)) => {
                let (base, make_directory) = (first.base, !self.directory_made);
                Step::Create(CreateStep { base, make_directory, epochs: self.take_epochs() })
            }
            (Some(active), Some(first)) if self.begins_segment(&active, first, now) => {
                Step::Seal(seal_step(&active, self.allocated))
            }
            (Some(active), Some(_)) => Step::Write(Box::new(self.write_step(active, up_to, now))),
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

    /// Recovery has removed files from the directory: the next flush makes that durable.
    pub fn names_changed(&mut self) {
        self.dirty.directory = true;
    }

    fn touched(&mut self, base: Offset) {
        if !self.dirty.segments.contains(&base) {
            self.dirty.segments.push(base);
        }
    }

    /// Whether a batch that follows on `segment` must go into a new one: by the rules for rolling; because the last page cannot be written again; or
    /// because the log starts in this batch, so that the segment before it can go as a whole.
    pub(super) fn begins_segment(&self, segment: &ActiveSegment, batch: &CachedBatch, now: Timestamp) -> bool {
        let starts_log = batch.base <= self.log_start && self.log_start <= batch.last;
        let of_need = segment.bytes > 0 && (self.roll_next || starts_log);
        of_need || segment.must_roll(self.spec.id, &self.spec.options, &indexed(segment, batch), now)
    }

    fn write_step(&mut self, before: ActiveSegment, up_to: Offset, now: Timestamp) -> WriteStep {
        let options = self.spec.options;
        let (mut after, mut indexes, mut batches) = (before, IndexTail::default(), Vec::new());
        for batch in self.cache.undrained().take_while(|batch| batch.base < up_to) {
            let taken = after.bytes - before.bytes;
            if taken > 0 && taken + batch.bytes() as u64 > DRAIN_STEP_BYTES as u64
                || self.begins_segment(&after, batch, now)
            {
                break;
            }
            after.take_in(&indexed(&after, batch), &options, now, &mut indexes);
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
    pub(super) fn take_epochs(&mut self) -> Option<String> {
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

/// A batch as the indexes see it, at the end of a segment.
pub(super) fn indexed(segment: &ActiveSegment, batch: &CachedBatch) -> IndexedBatch {
    let (last, max_timestamp, bytes) = (batch.last, batch.max_timestamp, batch.bytes() as u32);
    IndexedBatch { position: segment.bytes, last, max_timestamp, bytes }
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
