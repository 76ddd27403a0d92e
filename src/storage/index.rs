//! The offset index and the time index of one segment: which entries they get, and how one is looked up. Byte-exact Kafka.
//!
//! ```text
//! .index       4 bytes  offset relative to the segment's base (the last offset of a batch), big endian
//!              4 bytes  position of that batch in the .log file
//! .timeindex   8 bytes  largest timestamp so far, in milliseconds
//!              4 bytes  relative last offset of the batch that holds it
//! ```
//! Always true: entries rise strictly in offset and position, and in timestamp; the last time entry of a sealed segment is its largest
//! timestamp. Neither file carries a checksum: what a lookup gives is a place to begin a scan, and the scan proves itself.

use crate::base::{Offset, Timestamp};

/// Bytes of one entry of an `.index` file.
pub const OFFSET_ENTRY_BYTES: usize = 8;
/// Bytes of one entry of a `.timeindex` file.
pub const TIME_ENTRY_BYTES: usize = 12;

/// How far the two indexes of a segment have come. Small and copied freely: a checkpoint holds it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexState {
    /// Entries of the `.index` file.
    pub offset_entries: u32,
    /// Entries of the `.timeindex` file.
    pub time_entries: u32,
    /// Timestamp of the last time entry; none when there is no entry.
    pub last_time: Timestamp,
    /// Largest timestamp in the segment; none in an empty segment, or when no record has one.
    pub max_timestamp: Timestamp,
    /// Last offset of the first batch that holds `max_timestamp`.
    pub max_timestamp_offset: Offset,
    /// Bytes of batches since the last entry of the `.index` file.
    pub bytes_since_entry: u64,
}

/// Entries to be appended to the files.
#[derive(Default, Debug)]
pub struct IndexTail {
    /// For the `.index` file.
    pub offsets: Vec<u8>,
    /// For the `.timeindex` file.
    pub times: Vec<u8>,
}

impl IndexState {
    /// The indexes of an empty segment.
    pub fn new(base: Offset) -> Self {
        Self {
            offset_entries: 0,
            time_entries: 0,
            last_time: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: base,
            bytes_since_entry: 0,
        }
    }

    /// Takes in one batch of `bytes` bytes that stands at `position`. As `LogSegment.append` of Kafka 4.3: an entry is made before a batch once
    /// more than `interval_bytes` stand between.
    pub fn append(&mut self, base: Offset, batch: &IndexedBatch, interval_bytes: u32, out: &mut IndexTail) {
        if batch.max_timestamp > self.max_timestamp {
            self.max_timestamp = batch.max_timestamp;
            self.max_timestamp_offset = batch.last;
        }
        if self.bytes_since_entry > u64::from(interval_bytes) {
            out.offsets.extend_from_slice(&relative(base, batch.last).to_be_bytes());
            let position = u32::try_from(batch.position).expect("a segment is at most 2 GiB");
            out.offsets.extend_from_slice(&position.to_be_bytes());
            self.offset_entries += 1;
            self.append_time(base, out);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += u64::from(batch.bytes);
    }

    /// The entry of the largest timestamp, which ends the time index of a sealed or closed segment. Nothing when it stands there already.
    pub fn append_time(&mut self, base: Offset, out: &mut IndexTail) {
        if self.max_timestamp > self.last_time {
            out.times.extend_from_slice(&self.max_timestamp.0.to_be_bytes());
            out.times.extend_from_slice(&relative(base, self.max_timestamp_offset).to_be_bytes());
            self.last_time = self.max_timestamp;
            self.time_entries += 1;
        }
    }

    /// Whether one of the files has as many entries as `index_bytes_max` (`segment.index.bytes`) allows; the time index keeps room for its last one.
    pub fn is_full(&self, index_bytes_max: u32) -> bool {
        self.offset_entries >= index_bytes_max / OFFSET_ENTRY_BYTES as u32
            || self.time_entries >= (index_bytes_max / TIME_ENTRY_BYTES as u32).saturating_sub(1)
    }
}

/// What the indexes need to know of a batch.
#[derive(Clone, Copy, Debug)]
pub struct IndexedBatch {
    /// Where the batch begins in the `.log` file, in bytes.
    pub position: u64,
    /// Its last offset.
    pub last: Offset,
    /// Its largest timestamp.
    pub max_timestamp: Timestamp,
    /// Its length.
    pub bytes: u32,
}

/// An entry of an `.index` file: a last offset, relative to the segment's base, and the position of its batch.
pub fn offset_entry(bytes: &[u8]) -> (u32, u32) {
    let (offset, position) = bytes.split_at(4);
    (u32::from_be_bytes(four(offset)), u32::from_be_bytes(four(position)))
}

/// An entry of a `.timeindex` file: a timestamp and the last offset, relative to the segment's base, of the batch that holds it.
pub fn time_entry(bytes: &[u8]) -> (Timestamp, u32) {
    let (timestamp, offset) = bytes.split_at(8);
    (Timestamp(i64::from_be_bytes(timestamp.try_into().expect("8 bytes"))), u32::from_be_bytes(four(offset)))
}

/// A search for the last entry whose key is not above a target, over entries that are read piece by piece.
///
/// Ask [`Search::probe`] for the entry to look at, tell [`Search::answer`] how it compares, until there is nothing more to look at.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    low: u64,
    high: u64,
}

impl Search {
    /// Over `entries` entries.
    pub fn new(entries: u64) -> Self {
        Self { low: 0, high: entries }
    }

    /// The entries among which the answer may still change.
    pub fn left(&self) -> std::ops::Range<u64> {
        self.low..self.high
    }

    /// The entry to look at next.
    pub fn probe(&self) -> Option<u64> {
        (self.low < self.high).then(|| self.low + (self.high - self.low) / 2)
    }

    /// Whether the key of the probed entry is at or below the target.
    pub fn answer(&mut self, probe: u64, at_or_below: bool) {
        if at_or_below {
            self.low = probe + 1;
        } else {
            self.high = probe;
        }
    }

    /// The entry found, once nothing is left to look at.
    pub fn found(&self) -> Option<u64> {
        self.low.checked_sub(1)
    }
}

/// `offset` relative to `base`, as the files hold it.
fn relative(base: Offset, offset: Offset) -> u32 {
    let distance = offset.0 - base.0;
    assert!(
        (0..=i64::from(i32::MAX)).contains(&distance),
        "offset {offset} does not fit a segment that begins at {base}"
    );
    distance as u32
}

fn four(bytes: &[u8]) -> [u8; 4] {
    bytes.try_into().expect("4 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(position: u64, last: i64, max_timestamp: i64, bytes: u32) -> IndexedBatch {
        IndexedBatch { position, last: Offset(last), max_timestamp: Timestamp(max_timestamp), bytes }
    }

    #[test]
    fn an_entry_is_made_once_more_than_the_interval_stands_between() {
        let (mut state, mut out) = (IndexState::new(Offset(100)), IndexTail::default());
        state.append(Offset(100), &batch(0, 109, 1000, 4096), 4096, &mut out);
        state.append(Offset(100), &batch(4096, 119, 900, 1), 4096, &mut out);
        assert!(out.offsets.is_empty(), "4096 bytes are not more than 4096");
        state.append(Offset(100), &batch(4097, 129, 2000, 50), 4096, &mut out);
        assert_eq!(offset_entry(&out.offsets), (29, 4097));
        assert_eq!(time_entry(&out.times), (Timestamp(2000), 29));
        assert_eq!(state.bytes_since_entry, 50);
    }

    #[test]
    fn the_last_time_entry_is_the_largest_timestamp_and_is_made_once() {
        let (mut state, mut out) = (IndexState::new(Offset(0)), IndexTail::default());
        state.append(Offset(0), &batch(0, 4, 77, 100), 4096, &mut out);
        state.append(Offset(0), &batch(100, 9, 70, 100), 4096, &mut out);
        state.append_time(Offset(0), &mut out);
        state.append_time(Offset(0), &mut out);
        assert_eq!(out.times.len(), TIME_ENTRY_BYTES);
        assert_eq!(time_entry(&out.times), (Timestamp(77), 4));
    }

    #[test]
    fn records_without_a_timestamp_make_no_time_entry() {
        let (mut state, mut out) = (IndexState::new(Offset(0)), IndexTail::default());
        state.append(Offset(0), &batch(0, 4, -1, 9000), 4096, &mut out);
        state.append(Offset(0), &batch(9000, 9, -1, 9000), 4096, &mut out);
        state.append_time(Offset(0), &mut out);
        assert_eq!((out.offsets.len(), out.times.len()), (8, 0));
    }

    proptest! {
        #[test]
        fn a_search_finds_the_last_key_at_or_below(mut keys in proptest::collection::btree_set(0u32..1000, 0..50), target in 0u32..1000) {
            let keys: Vec<u32> = std::mem::take(&mut keys).into_iter().collect();
            let mut search = Search::new(keys.len() as u64);
            while let Some(probe) = search.probe() {
                search.answer(probe, keys[probe as usize] <= target);
            }
            prop_assert_eq!(search.found(), keys.iter().rposition(|key| *key <= target).map(|place| place as u64));
        }
    }
}
