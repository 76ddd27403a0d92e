//! What of a log may go: where the rules of retention move its start, and which segments lie below the start.
//!
//! Always true: the start never goes back; a segment is let go only when its last offset lies below a start whose entry is durable, and when the last flush
//! went beyond it, so that neither a flush nor a checkpoint names its files again. Removes nothing itself.

use super::drain::indexed;
use super::{Log, Mark};
use crate::base::{Offset, Timestamp};
use crate::storage::index::IndexTail;
use crate::storage::segment::{ActiveSegment, Segment};

/// How long the records of a topic stay. `None`: without a limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Retention {
    /// `retention.ms`: a segment goes when its largest timestamp is older.
    pub ms: Option<i64>,
    /// `retention.bytes`: the oldest segments go as long as so many bytes are left without them.
    pub bytes: Option<u64>,
}

/// A segment as retention sees it. What is still in memory is seen as the segments that it is going to be in, so that it expires as if it were there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The offset behind its last batch.
    pub next: Offset,
    /// Bytes of batches.
    pub bytes: u64,
    /// See [`Segment::newest`].
    pub newest: Option<Timestamp>,
}

/// Where the log must start by the rules, if anything of it must go: the order and the comparisons are those of `UnifiedLog.deleteOldSegments` of Kafka
/// 4.3. Never beyond the high watermark. `now` is the wall clock; `None`: it cannot be believed, and nothing goes because of its age.
pub fn expired(stretches: &[Stretch], high: Offset, rules: &Retention, now: Option<Timestamp>) -> Option<Offset> {
    let mut start = None;
    let mut left = stretches.iter().take_while(|stretch| stretch.next <= high).peekable();
    if let Some(bytes) = rules.bytes {
        let all: u64 = stretches.iter().map(|stretch| stretch.bytes).sum();
        let mut too_many = all.saturating_sub(bytes);
        while let Some(stretch) = left.next_if(|stretch| stretch.bytes <= too_many) {
            too_many -= stretch.bytes;
            start = Some(stretch.next);
        }
    }
    if let (Some(ms), Some(now)) = (rules.ms, now) {
        let is_old = |stretch: &&Stretch| stretch.newest.is_some_and(|newest| now.0.saturating_sub(newest.0) > ms);
        while let Some(stretch) = left.next_if(is_old) {
            start = Some(stretch.next);
        }
    }
    start
}

impl Log {
    /// Offsets below `start` were deleted; the entry that says so is durable. Never goes back.
    pub fn set_log_start(&mut self, start: Offset) {
        if start <= self.log_start {
            return;
        }
        self.log_start = start;
        let behind = self.epochs.partition_point(|(_, since)| *since <= start);
        if behind > 0 {
            self.epochs.drain(..behind - 1);
            self.epochs[0].1 = start;
            self.epochs_unwritten = true;
        }
    }

    /// Recovery, before anything else: the log starts at `start` or later. Segments wholly below are forgotten, the active one too: their files may be gone,
    /// since a segment is removed as soon as the start is durable, and the checkpoint may be older.
    pub fn recover_log_start(&mut self, start: Offset) {
        self.set_log_start(start);
        while self.sealed.front().is_some() && self.second_base() <= self.log_start {
            self.sealed.pop_front();
        }
        if self.active.is_some() && self.drained <= self.log_start {
            (self.active, self.tail, self.allocated) = (None, None, 0);
            self.flushed = Mark { active: None, ..self.flushed };
        }
    }

    /// Lets go of the sealed segments that nobody will read or flush again: gives their first offsets, for their files to be removed.
    pub fn take_dead(&mut self) -> Vec<Offset> {
        let flushed = self.flushed.active.map_or(self.flushed.drained, |active| active.base);
        let mut dead = Vec::new();
        while let Some(first) = self.sealed.front().copied()
            && first.base < flushed
            && self.second_base() <= self.log_start
        {
            self.sealed.pop_front();
            dead.push(first.base);
        }
        dead
    }

    /// Whether nothing in the active segment can be read any more. A drain seals it then.
    pub fn active_is_dead(&self) -> bool {
        self.active.is_some_and(|active| active.bytes > 0) && self.drained <= self.log_start
    }

    /// Whether the segment that begins at `base` is still there.
    pub fn holds(&self, base: Offset) -> bool {
        self.sealed.binary_search_by_key(&base, |segment| segment.base).is_ok()
            || self.active.is_some_and(|active| active.base == base)
    }

    /// The log as retention sees it, oldest first, without what is deleted. `now` is the wall clock.
    pub fn stretches(&self, now: Timestamp) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut put = |segment: Segment, next| {
            if next > self.log_start {
                stretches.push(Stretch { next, bytes: segment.bytes, newest: segment.newest() });
            }
        };
        let behind_sealed = self.active.map_or(self.drained, |active| active.base);
        let following = self.sealed.iter().skip(1).map(|segment| segment.base).chain([behind_sealed]);
        self.sealed.iter().zip(following).for_each(|(segment, next)| put(*segment, next));
        let (mut last, mut next, mut entries) = (self.active, self.drained, IndexTail::default());
        for batch in self.cache.undrained() {
            if let Some(segment) = last.take_if(|segment| self.begins_segment(segment, batch, now)) {
                put(segment.sealed(), next);
            }
            let segment = last.get_or_insert_with(|| ActiveSegment::new(batch.base, now));
            segment.take_in(&indexed(segment, batch), &self.spec.options, now, &mut entries);
            entries.offsets.clear();
            entries.times.clear();
            next = batch.last.plus(1);
        }
        if let Some(segment) = last {
            put(segment.sealed(), next);
        }
        stretches
    }

    /// Where the second segment begins; without one, where the first ends.
    fn second_base(&self) -> Offset {
        let second = self.sealed.get(1).map(|segment| segment.base);
        second.or(self.active.map(|active| active.base)).unwrap_or(self.drained)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{batch, drain, log};
    use super::*;
    use crate::base::LeaderEpoch;
    use crate::storage::LogOptions;

    /// Segments of 100 bytes and 10 offsets; the newest timestamps are given, -1 is not known.
    fn stretches(newest: &[i64]) -> Vec<Stretch> {
        let stretch = |(place, newest): (usize, &i64)| Stretch {
            next: Offset(10 * (place as i64 + 1)),
            bytes: 100,
            newest: Some(Timestamp(*newest)).filter(|newest| newest.0 >= 0),
        };
        newest.iter().enumerate().map(stretch).collect()
    }

    fn start(newest: &[i64], high: i64, ms: i64, bytes: i64, now: i64) -> Option<i64> {
        let rules = Retention { ms: Some(ms).filter(|ms| *ms >= 0), bytes: u64::try_from(bytes).ok() };
        let now = Some(Timestamp(now)).filter(|now| now.0 >= 0);
        expired(&stretches(newest), Offset(high), &rules, now).map(|start| start.0)
    }

    #[test]
    fn old_segments_go_by_the_age_of_their_newest_record() {
        assert_eq!(start(&[100, 200, 300], 30, 50, -1, 250), Some(10), "the second is exactly as old as it may be");
        assert_eq!(start(&[100, 200, 300], 30, 50, -1, 251), Some(20));
        assert_eq!(start(&[100, 200, 300], 30, 50, -1, 1000), Some(30), "the last one goes too");
        assert_eq!(start(&[300, 100, 100], 30, 50, -1, 251), None, "the oldest segment holds a newer record");
        assert_eq!(start(&[100, 200, 300], 30, -1, -1, 10_000), None, "without a limit");
        assert_eq!(start(&[100, 200, 300], 30, 0, -1, 101), Some(10), "a retention of nothing");
        assert_eq!(start(&[-1, 100], 20, 50, -1, 1000), None, "nobody knows how old the first is");
        assert_eq!(start(&[i64::MAX, 1], 20, 50, -1, 1000), None, "a record from the future stays");
        assert_eq!(start(&[100, 200], 20, 50, -1, -1), None, "the clock cannot be believed");
        assert_eq!(start(&[], 0, 0, 0, 1000), None);
    }

    #[test]
    fn too_many_bytes_go_as_long_as_enough_are_left() {
        assert_eq!(start(&[1, 1, 1, 1], 40, -1, 200, -1), Some(20), "exactly as many are left as may be");
        assert_eq!(start(&[1, 1, 1, 1], 40, -1, 201, -1), Some(10));
        assert_eq!(start(&[1, 1, 1, 1], 40, -1, 301, -1), None);
        assert_eq!(start(&[1, 1, 1, 1], 40, -1, 0, -1), Some(40));
        assert_eq!(start(&[1, 1, 1, 900], 40, -1, 0, 0), Some(40));
        assert_eq!(
            start(&[900, 900, 1, 1], 40, 100, 300, 1000),
            Some(10),
            "the second is not old, whatever follows it"
        );
        assert_eq!(start(&[100, 100, 950, 1], 40, 100, 300, 1000), Some(20), "by size, and then by age");
    }

    #[test]
    fn nothing_goes_beyond_the_high_watermark() {
        assert_eq!(start(&[1, 1, 1], 29, 0, 0, 1000), Some(20));
        assert_eq!(start(&[1, 1, 1], 9, 0, 0, 1000), None);
    }

    fn flush(log: &mut Log) {
        if let Some(step) = log.begin_flush() {
            log.finish_flush(step.mark);
        }
    }

    fn shown(log: &Log) -> Vec<(i64, u64, i64)> {
        log.stretches(Timestamp(7000))
            .iter()
            .map(|stretch| (stretch.next.0, stretch.bytes, stretch.newest.map_or(-1, |newest| newest.0)))
            .collect()
    }

    /// Records that were never drained expire like those that were: a broker that is not busy drains nothing for weeks.
    #[test]
    fn what_is_in_memory_is_seen_as_the_segments_it_will_be_in() {
        let mut undrained = log(LogOptions { segment_bytes: 250, ..LogOptions::default() });
        (0..7).for_each(|place| undrained.push(batch(place * 10, 10, 100, 1)));
        let before = shown(&undrained);
        assert_eq!(before, [(20, 200, 100), (40, 200, 300), (60, 200, 500), (70, 100, 600)]);
        for up_to in [10, 20, 30, 50, 70] {
            drain(&mut undrained, Offset(up_to));
            assert_eq!(shown(&undrained), before, "drained up to {up_to}");
        }
        undrained.set_log_start(Offset(25));
        assert_eq!(shown(&undrained), before[1..], "the segment that holds the start is there as a whole");
    }

    #[test]
    fn a_segment_is_let_go_when_it_is_dead_and_flushed() {
        let mut log = log(LogOptions { segment_bytes: 250, ..LogOptions::default() });
        (0..7).for_each(|place| log.push(batch(place * 10, 10, 100, 1)));
        drain(&mut log, Offset(70));
        log.set_log_start(Offset(45));
        assert_eq!(log.take_dead(), [], "a checkpoint still names the first one as active, or nothing at all");
        flush(&mut log);
        assert_eq!(log.take_dead(), [Offset(0), Offset(20)]);
        assert!(log.holds(Offset(40)) && !log.holds(Offset(20)) && log.holds(Offset(60)));
        log.set_log_start(Offset(5));
        assert_eq!(log.log_start(), Offset(45), "never back");
        log.set_log_start(Offset(60));
        assert_eq!(log.take_dead(), [Offset(40)]);
        assert_eq!(log.take_dead(), []);
    }

    /// All that the log has expired: the active segment goes too, and the next batch begins a new one.
    #[test]
    fn an_active_segment_is_sealed_when_nothing_in_it_can_be_read() {
        let mut log = log(LogOptions::default());
        log.push(batch(0, 10, 100, 1));
        drain(&mut log, Offset(10));
        log.set_log_start(Offset(9));
        assert!(!log.active_is_dead());
        log.set_log_start(Offset(10));
        assert!(log.active_is_dead());
        assert_eq!(drain(&mut log, Offset(0)), ["seal"]);
        flush(&mut log);
        assert_eq!(log.take_dead(), [Offset(0)]);
        assert_eq!(
            (log.checkpoint().sealed.len(), log.checkpoint().active, log.checkpoint().drained),
            (0, None, Offset(10))
        );
        log.push(batch(10, 10, 100, 2));
        assert_eq!(drain(&mut log, Offset(20)), ["create", "write"]);
        assert_eq!(log.segments().map(|segment| segment.base).collect::<Vec<_>>(), [Offset(10)]);
    }

    /// Batches that are deleted before they were drained still go into a segment, since the journal may need their place in the log; what can be read
    /// begins another, so that the first can go.
    #[test]
    fn the_log_start_begins_a_segment() {
        let mut log = log(LogOptions::default());
        (0..5).for_each(|place| log.push(batch(place * 10, 10, 100, 1)));
        log.set_log_start(Offset(35));
        assert_eq!(drain(&mut log, Offset(50)), ["create", "write", "seal", "create", "write"]);
        assert_eq!(log.segments().map(|segment| segment.base.0).collect::<Vec<_>>(), [0, 30]);
        flush(&mut log);
        assert_eq!(log.take_dead(), [Offset(0)]);
    }

    #[test]
    fn recovery_forgets_segments_that_may_be_gone() {
        let mut log = log(LogOptions { segment_bytes: 250, ..LogOptions::default() });
        (0..7).for_each(|place| log.push(batch(place * 10, 10, 100, 1)));
        drain(&mut log, Offset(70));
        flush(&mut log);
        let restored = |start: i64| {
            let mut again = Log::restore(log.spec().clone(), log.checkpoint());
            again.recover_log_start(Offset(start));
            again.segments().map(|segment| segment.base.0).collect::<Vec<_>>()
        };
        assert_eq!(restored(0), [0, 20, 40, 60]);
        assert_eq!(restored(19), [0, 20, 40, 60]);
        assert_eq!(restored(20), [20, 40, 60]);
        assert_eq!(restored(65), [60]);
        assert_eq!(restored(70), [0; 0], "also the active one: it had grown since the checkpoint, and was sealed");
        assert_eq!(restored(90), [0; 0]);
    }

    #[test]
    fn leader_epochs_below_the_start_are_forgotten() {
        let mut log = log(LogOptions::default());
        for (epoch, start) in [(0, 0), (2, 10), (5, 20)] {
            log.start_epoch(LeaderEpoch(epoch), Offset(start));
        }
        log.set_log_start(Offset(15));
        assert_eq!(log.epochs(), [(LeaderEpoch(2), Offset(15)), (LeaderEpoch(5), Offset(20))]);
    }
}
