//! One segment of a log: what the log must know of it, when the next one begins, and the names of its files.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::checksums::{BLOCK_BYTES, Place, TailSum};
use super::index::{IndexState, IndexTail, IndexedBatch};
use super::log::LogOptions;
use crate::base::limits::PAGE_BYTES;
use crate::base::{LogId, Offset, Timestamp};

/// A segment that takes no more batches. Its `.log` file is exactly `bytes` long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its first offset, which names its files.
    pub base: Offset,
    /// Bytes of batches in it.
    pub bytes: u64,
    /// The largest timestamp in it; none when no record has one.
    pub max_timestamp: Timestamp,
    /// When it was last written to, by the wall clock. Known where `max_timestamp` is none: it stands in for it then.
    pub written: Timestamp,
}

impl Segment {
    /// The time that `retention.ms` counts from: the largest timestamp, without one the last write, as `LogSegment.largestTimestamp` of Kafka 4.3.
    /// `None`: not known.
    pub fn newest(&self) -> Option<Timestamp> {
        [self.max_timestamp, self.written].into_iter().find(|time| time.0 >= 0)
    }
}

/// The segment that batches are drained into, as of a batch boundary. This is what a checkpoint keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActiveSegment {
    /// Its first offset, which names its files.
    pub base: Offset,
    /// Bytes of batches in it. The file may be longer: space is allocated ahead, and is cut off when the segment is sealed or closed.
    pub bytes: u64,
    /// When it was created, by the wall clock.
    pub created: Timestamp,
    /// When it was last written to, by the wall clock. After a start known only where no record has a timestamp.
    pub written: Timestamp,
    /// Largest timestamp of its first batch; `segment.ms` counts from here. `None` while it is empty.
    pub first_timestamp: Option<Timestamp>,
    /// How far its indexes have come.
    pub index: IndexState,
    /// Checksum of the bytes of its last block, when that block is partial.
    pub tail_sum: u32,
    /// Sequence of the oldest journal block that is needed to rewrite its last page, if the journal holds all of the page's bytes.
    pub tail_guard: Option<u64>,
}

impl ActiveSegment {
    /// An empty segment.
    pub fn new(base: Offset, created: Timestamp) -> Self {
        Self {
            base,
            bytes: 0,
            created,
            written: Timestamp::NONE,
            first_timestamp: None,
            index: IndexState::new(base),
            tail_sum: 0,
            tail_guard: None,
        }
    }

    /// What it is once it takes no more batches.
    pub fn sealed(&self) -> Segment {
        let max_timestamp = self.index.max_timestamp;
        Segment { base: self.base, bytes: self.bytes, max_timestamp, written: self.written }
    }

    /// Whether a batch must go into a new segment. As `LogSegment.shouldRoll` of Kafka 4.3; an empty segment takes any batch.
    pub fn must_roll(&self, log: LogId, options: &LogOptions, batch: &IndexedBatch, now: Timestamp) -> bool {
        if self.bytes == 0 {
            return false;
        }
        let waited_ms = match self.first_timestamp {
            Some(first) if first.0 >= 0 => batch.max_timestamp.0.saturating_sub(first.0),
            _ => now.0.saturating_sub(self.created.0),
        };
        self.bytes + u64::from(batch.bytes) > u64::from(options.segment_bytes)
            || waited_ms > options.segment_ms - roll_jitter_ms(log, self.base, options)
            || self.index.is_full(options.segment_index_bytes)
            || batch.last.0 - self.base.0 > i64::from(i32::MAX)
    }

    /// A batch is put at its end at `now`.
    pub fn take_in(&mut self, batch: &IndexedBatch, options: &LogOptions, now: Timestamp, out: &mut IndexTail) {
        self.index.append(self.base, batch, options.index_interval_bytes, out);
        self.first_timestamp.get_or_insert(batch.max_timestamp);
        self.bytes += u64::from(batch.bytes);
        self.written = now;
    }

    /// Where the last, partial page begins; the logical end when there is none.
    pub fn tail_page(&self) -> u64 {
        page_floor(self.bytes)
    }

    /// The checksum of the last block, when that block is partial.
    pub fn tail_block(&self) -> Option<TailSum> {
        let block = self.bytes / BLOCK_BYTES as u64;
        (!self.bytes.is_multiple_of(BLOCK_BYTES as u64)).then_some(TailSum { block, sum: self.tail_sum })
    }

    /// The checksum to go on with at the logical end.
    pub fn partial_sum(&self, log: LogId) -> u32 {
        self.tail_block()
            .map_or_else(|| Place { log, base: self.base }.seed(self.bytes / BLOCK_BYTES as u64), |tail| tail.sum)
    }
}

/// The bytes of the last, partial page of the active segment. Empty when the segment ends on a page boundary.
pub type TailBytes = Bytes;

/// The files of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The batches.
    Log,
    /// The offset index.
    Index,
    /// The time index.
    TimeIndex,
    /// The checksums; ours alone.
    Sums,
    /// The transaction index. Kafka makes it with the first aborted transaction, and so do we.
    TxnIndex,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Log, Self::Index, Self::TimeIndex, Self::Sums, Self::TxnIndex];

    /// Those that every segment has from its beginning.
    pub const ALWAYS: [Self; 4] = [Self::Log, Self::Index, Self::TimeIndex, Self::Sums];

    /// Those of them that hold little beside the batches, and go through the page cache.
    pub const SMALL: [Self; 3] = [Self::Index, Self::TimeIndex, Self::Sums];

    /// What the names of these files end in.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Index => "index",
            Self::TimeIndex => "timeindex",
            Self::Sums => "sums",
            Self::TxnIndex => "txnindex",
        }
    }
}

/// The path of a file of the segment that begins at `base`: 20 digits and a suffix.
pub fn file_path(directory: &Path, base: Offset, kind: Kind) -> PathBuf {
    directory.join(format!("{:020}.{}", base.0, kind.suffix()))
}

/// What is put behind the name of a segment's file that is to be removed, as Kafka does.
pub const DELETED: &str = "deleted";

/// The path of such a file while it waits to be removed.
pub fn deleted_path(directory: &Path, base: Offset, kind: Kind) -> PathBuf {
    directory.join(format!("{:020}.{}.{DELETED}", base.0, kind.suffix()))
}

/// Whether a file is one of a segment that waits to be removed.
pub fn is_deleted(name: &str) -> bool {
    let rest = name.strip_suffix(DELETED).and_then(|rest| rest.strip_suffix('.'));
    rest.is_some_and(|rest| parse_file_name(rest).is_some())
}

/// Which segment a file belongs to, if its name is that of a segment's file.
pub fn parse_file_name(name: &str) -> Option<(Offset, Kind)> {
    let (digits, suffix) = name.split_once('.')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), kind))
}

/// Milliseconds by which a segment rolls earlier, so that segments of many partitions do not all end together (`segment.jitter.ms`). Kafka draws a number
/// when it opens a segment; here it follows from the segment's name, so that it is the same after a restart.
fn roll_jitter_ms(log: LogId, base: Offset, options: &LogOptions) -> i64 {
    let most = options.segment_jitter_ms.min(options.segment_ms);
    if most <= 0 {
        return 0;
    }
    // The finalizer of SplitMix64: neighbours in, unrelated numbers out.
    let mut mixed = log.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ base.0 as u64;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) % most as u64) as i64
}

/// `position` rounded down to a page.
pub fn page_floor(position: u64) -> u64 {
    position - position % PAGE_BYTES as u64
}

/// `position` rounded up to a page.
pub fn page_ceil(position: u64) -> u64 {
    position.next_multiple_of(PAGE_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: LogOptions = LogOptions {
        segment_bytes: 1000,
        segment_ms: 500,
        segment_jitter_ms: 0,
        index_interval_bytes: 4096,
        segment_index_bytes: 1 << 20,
    };

    fn filled(bytes: u64, first: i64) -> ActiveSegment {
        ActiveSegment {
            bytes,
            first_timestamp: Some(Timestamp(first)),
            ..ActiveSegment::new(Offset(10), Timestamp(7000))
        }
    }

    #[test]
    fn a_segment_rolls_by_bytes_by_time_and_by_offset() {
        let roll = |segment: &ActiveSegment, last, timestamp, bytes, now| {
            let (last, max_timestamp) = (Offset(last), Timestamp(timestamp));
            let batch = IndexedBatch { position: segment.bytes, last, max_timestamp, bytes };
            segment.must_roll(LogId(1), &OPTIONS, &batch, Timestamp(now))
        };
        assert!(!roll(&filled(900, 100), 20, 600, 100, 0), "exactly full, exactly old");
        assert!(roll(&filled(900, 100), 20, 600, 101, 0), "too many bytes");
        assert!(roll(&filled(900, 100), 20, 601, 100, 0), "too old by the batch's clock");
        assert!(!roll(&filled(900, -1), 20, 5, 100, 7500), "no timestamps: the wall clock counts");
        assert!(roll(&filled(900, -1), 20, 5, 100, 7501));
        assert!(roll(&filled(900, 100), 10 + (1 << 31), 100, 1, 0), "the relative offset is full");
        assert!(
            !roll(&ActiveSegment::new(Offset(10), Timestamp(0)), 20, 600, 5000, 9000),
            "an empty one takes anything"
        );
    }

    #[test]
    fn jitter_rolls_earlier_and_never_by_more_than_it_may() {
        let options = LogOptions { segment_jitter_ms: 200, ..OPTIONS };
        let found: Vec<i64> = (0..1000).map(|base| roll_jitter_ms(LogId(7), Offset(base), &options)).collect();
        assert!(found.iter().all(|jitter| (0..200).contains(jitter)));
        assert!(
            (0..4).all(|quarter| found.iter().filter(|jitter| **jitter / 50 == quarter).count() > 150),
            "{found:?}"
        );
        assert_eq!(found[3], roll_jitter_ms(LogId(7), Offset(3), &options), "the same after a restart");
        let short = LogOptions { segment_ms: 10, ..options };
        assert!((0..100).all(|base| roll_jitter_ms(LogId(7), Offset(base), &short) < 10), "not beyond segment.ms");
        let segment = filled(900, 100);
        let jitter = roll_jitter_ms(LogId(7), segment.base, &options);
        let batch =
            |waited| IndexedBatch { position: 900, last: Offset(20), max_timestamp: Timestamp(100 + waited), bytes: 1 };
        assert!(!segment.must_roll(LogId(7), &options, &batch(500 - jitter), Timestamp(0)));
        assert!(segment.must_roll(LogId(7), &options, &batch(501 - jitter), Timestamp(0)));
    }

    #[test]
    fn without_timestamps_the_last_write_counts() {
        let segment = |max, written| Segment {
            base: Offset(0),
            bytes: 1,
            max_timestamp: Timestamp(max),
            written: Timestamp(written),
        };
        assert_eq!(segment(5, 9).newest(), Some(Timestamp(5)));
        assert_eq!(segment(-1, 9).newest(), Some(Timestamp(9)));
        assert_eq!(segment(-1, -1).newest(), None);
    }

    #[test]
    fn file_names_are_kafkas() {
        let path = file_path(Path::new("d"), Offset(4711), Kind::TimeIndex);
        assert_eq!(path, Path::new("d/00000000000000004711.timeindex"));
        assert_eq!(parse_file_name("00000000000000004711.timeindex"), Some((Offset(4711), Kind::TimeIndex)));
        let deleted = deleted_path(Path::new("d"), Offset(4711), Kind::Log);
        assert_eq!(deleted, Path::new("d/00000000000000004711.log.deleted"));
        assert!(is_deleted("00000000000000004711.log.deleted") && !is_deleted("00000000000000004711.log"));
        assert!(!is_deleted("partition.metadata.deleted"), "only what is ours to remove");
        for other in [
            "00000000000000004711.log.deleted",
            "4711.log",
            "partition.metadata",
            "00000000000000004711.log.tmp",
            "0000000000000000471x.log",
            "leader-epoch-checkpoint",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
