//! What a checkpoint keeps of one log: everything that is flushed, and nothing that is not.
//!
//! All numbers are big endian.
//! ```text
//! version 2 bytes, 1
//! log id 8, log start 8, high watermark 8, drained offset 8
//! count 4, then per sealed segment: base 8, bytes 8, largest timestamp 8
//! present 1; the active segment: base 8, bytes 8, created 8, first timestamp present 1 and 8, index state 40, tail checksum 4,
//!     tail guard present 1 and 8
//! count 4, then per leader epoch: epoch 4, start offset 8
//! producer offset 8, producer state 4 + n
//! ```
//! Where no record of a segment has a timestamp, its largest one is -2 less the time of its last write; -1 when that is not known either.

use super::index::IndexState;
use super::segment::{ActiveSegment, Segment};
use crate::base::limits::{EPOCHS_PER_LOG_MAX, PRODUCER_STATE_BYTES_MAX, SEGMENTS_PER_LOG_MAX};
use crate::base::{Cursor, LeaderEpoch, LogId, Offset, Short, Timestamp};

/// The state of a log as of its last flush.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogCheckpoint {
    /// Whose it is.
    pub log: LogId,
    /// Offsets below were deleted.
    pub log_start: Offset,
    /// The high watermark, a lower bound after a crash. Filled by the shard.
    pub high: Offset,
    /// Everything below this offset is in a flushed segment; everything from here on is in the journal.
    pub drained: Offset,
    /// The sealed segments, oldest first.
    pub sealed: Vec<Segment>,
    /// The active segment at the drained offset; its `bytes` are the drained position.
    pub active: Option<ActiveSegment>,
    /// Leader epochs and the offsets they start at.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// The offset that `producer_state` stands at. Filled by the shard; replay feeds producers only batches from here on.
    pub producer_offset: Offset,
    /// Producers and open transactions at `producer_offset`. Filled by the shard; opaque here.
    pub producer_state: Vec<u8>,
}

/// Why bytes are not the checkpoint of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogCheckpointFault {
    /// The bytes end too early.
    #[error("the state of the log is cut off: {0}")]
    Short(#[from] Short),
    /// Another version of this program wrote it.
    #[error("the state of the log has version {0}, which is not known")]
    Version(u16),
    /// A count is above its bound.
    #[error("{found} {what} are more than the {most} that a log may have")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A rule is broken; the text names it.
    #[error("{0}")]
    Malformed(&'static str),
}

impl LogCheckpoint {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(192 + self.sealed.len() * 24 + self.epochs.len() * 12 + self.producer_state.len());
        out.extend(VERSION.to_be_bytes());
        out.extend(self.log.0.to_be_bytes());
        for offset in [self.log_start, self.high, self.drained] {
            out.extend(offset.0.to_be_bytes());
        }
        out.extend((self.sealed.len() as u32).to_be_bytes());
        for segment in &self.sealed {
            out.extend(segment.base.0.to_be_bytes());
            out.extend(segment.bytes.to_be_bytes());
            out.extend(time(segment.max_timestamp, segment.written));
        }
        out.push(u8::from(self.active.is_some()));
        if let Some(active) = &self.active {
            encode_active(active, &mut out);
        }
        out.extend((self.epochs.len() as u32).to_be_bytes());
        for (epoch, start) in &self.epochs {
            out.extend(epoch.0.to_be_bytes());
            out.extend(start.0.to_be_bytes());
        }
        out.extend(self.producer_offset.0.to_be_bytes());
        out.extend((self.producer_state.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.producer_state);
        out
    }

    /// Reads what [`LogCheckpoint::encode`] wrote. Nothing is reserved on the word of a count.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogCheckpointFault> {
        let mut cursor = Cursor::new(bytes);
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(LogCheckpointFault::Version(version));
        }
        let log = LogId(cursor.u64()?);
        let [log_start, high, drained] = [offset(&mut cursor)?, offset(&mut cursor)?, offset(&mut cursor)?];
        let sealed = many(&mut cursor, "segments", SEGMENTS_PER_LOG_MAX, 24, |cursor| {
            let (base, bytes, (max_timestamp, written)) = (offset(cursor)?, cursor.u64()?, times(cursor.i64()?));
            Ok(Segment { base, bytes, max_timestamp, written })
        })?;
        let active = if flag(&mut cursor)? { Some(decode_active(&mut cursor)?) } else { None };
        let epochs = many(&mut cursor, "leader epochs", EPOCHS_PER_LOG_MAX, 12, |cursor| {
            Ok((LeaderEpoch(cursor.i32()?), offset(cursor)?))
        })?;
        let producer_offset = offset(&mut cursor)?;
        let producer_state = cursor.prefixed()?;
        if producer_state.len() > PRODUCER_STATE_BYTES_MAX {
            let (found, most) = (producer_state.len(), PRODUCER_STATE_BYTES_MAX);
            return Err(LogCheckpointFault::TooMany { what: "bytes of producer state", found, most });
        }
        if cursor.left() > 0 {
            return Err(LogCheckpointFault::Malformed("bytes follow the state of the log"));
        }
        let bases = sealed.iter().map(|segment| segment.base).chain(active.iter().map(|active| active.base));
        if !bases.clone().zip(bases.skip(1)).all(|(before, after)| before < after) {
            return Err(LogCheckpointFault::Malformed("the segments of the log do not rise"));
        }
        let producer_state = producer_state.to_vec();
        Ok(Self { log, log_start, high, drained, sealed, active, epochs, producer_offset, producer_state })
    }
}

fn encode_active(active: &ActiveSegment, out: &mut Vec<u8>) {
    out.extend(active.base.0.to_be_bytes());
    out.extend(active.bytes.to_be_bytes());
    out.extend(active.created.0.to_be_bytes());
    out.push(u8::from(active.first_timestamp.is_some()));
    out.extend(active.first_timestamp.unwrap_or(Timestamp::NONE).0.to_be_bytes());
    let index = &active.index;
    out.extend(index.offset_entries.to_be_bytes());
    out.extend(index.time_entries.to_be_bytes());
    out.extend(index.last_time.0.to_be_bytes());
    out.extend(time(index.max_timestamp, active.written));
    out.extend(index.max_timestamp_offset.0.to_be_bytes());
    out.extend(index.bytes_since_entry.to_be_bytes());
    out.extend(active.tail_sum.to_be_bytes());
    out.push(u8::from(active.tail_guard.is_some()));
    out.extend(active.tail_guard.unwrap_or(0).to_be_bytes());
}

fn decode_active(cursor: &mut Cursor<'_>) -> Result<ActiveSegment, LogCheckpointFault> {
    let (base, bytes, created) = (offset(cursor)?, cursor.u64()?, Timestamp(cursor.i64()?));
    let (has_first, first) = (flag(cursor)?, Timestamp(cursor.i64()?));
    let (offset_entries, time_entries, last_time) = (cursor.u32()?, cursor.u32()?, Timestamp(cursor.i64()?));
    let (max_timestamp, written) = times(cursor.i64()?);
    let index = IndexState {
        offset_entries,
        time_entries,
        last_time,
        max_timestamp,
        max_timestamp_offset: offset(cursor)?,
        bytes_since_entry: cursor.u64()?,
    };
    let tail_sum = cursor.u32()?;
    let (has_guard, guard) = (flag(cursor)?, cursor.u64()?);
    let (first_timestamp, tail_guard) = (has_first.then_some(first), has_guard.then_some(guard));
    Ok(ActiveSegment { base, bytes, created, written, first_timestamp, index, tail_sum, tail_guard })
}

/// The largest timestamp and the time of the last write in one number: the second is needed only where the first is not there.
fn time(max_timestamp: Timestamp, written: Timestamp) -> [u8; 8] {
    let number = if max_timestamp.0 < 0 && written.0 >= 0 { -2 - written.0 } else { max_timestamp.0.max(-1) };
    number.to_be_bytes()
}

fn times(number: i64) -> (Timestamp, Timestamp) {
    if number < -1 {
        return (Timestamp::NONE, Timestamp(-2 - number.max(-i64::MAX)));
    }
    (Timestamp(number), Timestamp::NONE)
}

fn offset(cursor: &mut Cursor<'_>) -> Result<Offset, Short> {
    cursor.i64().map(Offset)
}

fn flag(cursor: &mut Cursor<'_>) -> Result<bool, LogCheckpointFault> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(LogCheckpointFault::Malformed("a flag is neither 0 nor 1")),
    }
}

fn many<'a, T>(
    cursor: &mut Cursor<'a>,
    what: &'static str,
    most: usize,
    bytes: usize,
    mut one: impl FnMut(&mut Cursor<'a>) -> Result<T, Short>,
) -> Result<Vec<T>, LogCheckpointFault> {
    let found = cursor.u32()? as usize;
    if found > most {
        return Err(LogCheckpointFault::TooMany { what, found, most });
    }
    let mut all = Vec::with_capacity(found.min(cursor.left() / bytes));
    for _ in 0..found {
        all.push(one(cursor)?);
    }
    Ok(all)
}

const VERSION: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn example() -> LogCheckpoint {
        let mut active = ActiveSegment::new(Offset(500), Timestamp(9));
        active.bytes = 12_345;
        active.first_timestamp = Some(Timestamp(77));
        active.index.max_timestamp = Timestamp(99);
        active.tail_sum = 0xfeed_beef;
        active.tail_guard = Some(42);
        LogCheckpoint {
            log: LogId(3),
            log_start: Offset(10),
            high: Offset(600),
            drained: Offset(590),
            sealed: vec![
                Segment { base: Offset(0), bytes: 999, max_timestamp: Timestamp(5), written: Timestamp::NONE },
                Segment { base: Offset(7), bytes: 99, max_timestamp: Timestamp::NONE, written: Timestamp(0) },
                Segment { base: Offset(8), bytes: 9, max_timestamp: Timestamp::NONE, written: Timestamp::NONE },
            ],
            active: Some(active),
            epochs: vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(4), Offset(321))],
            producer_offset: Offset(595),
            producer_state: b"opaque".to_vec(),
        }
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let example = example();
        assert_eq!(LogCheckpoint::decode(&example.encode()), Ok(example.clone()));
        let bare = LogCheckpoint { active: None, sealed: vec![], epochs: vec![], producer_state: vec![], ..example };
        assert_eq!(LogCheckpoint::decode(&bare.encode()), Ok(bare));
        assert_eq!(times(i64::MIN).1, Timestamp(i64::MAX - 2), "no number overflows");
    }

    #[test]
    fn a_cut_or_lengthened_checkpoint_is_refused() {
        let bytes = example().encode();
        for cut in 0..bytes.len() {
            assert!(LogCheckpoint::decode(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        assert!(LogCheckpoint::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_huge_count_reserves_nothing() {
        let mut bytes = example().encode();
        bytes[34..38].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(LogCheckpoint::decode(&bytes), Err(LogCheckpointFault::TooMany { .. })));
    }
}
