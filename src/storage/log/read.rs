//! What to read of a log: from memory when it is there, else which part of which segment.
//!
//! Always true: a plan names only whole batches at or above the log start and below the bound that the caller gives. Reads nothing itself.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{HINTS, Hint, Log};
use crate::base::{LogId, Offset, Timestamp};
use crate::storage::cache::CachedBatch;
use crate::storage::checksums::TailSum;

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

    /// The largest timestamp of what is there, even if it lies before the log start; none in an empty log.
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
