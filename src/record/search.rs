//! Finds a record by its timestamp inside a stored batch.

use super::Codec;
use super::batch::{BatchHeader, HEADER_BYTES, StoredBatch, TimestampType};
use super::compress::{CompressFault, Piece, Scratch};
use super::records::{RecordsFault, Walk, WalkRules, Wanted};
use crate::base::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::base::{Offset, Timestamp};

/// Why a stored batch could not be searched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SearchFault {
    /// It names a codec that does not exist.
    #[error("the codec is not known")]
    Codec,
    /// It does not unfold.
    #[error(transparent)]
    Unfold(#[from] CompressFault),
    /// It unfolds to more than a batch may.
    #[error("it unfolds to more than {DECOMPRESSED_BATCH_BYTES_MAX} bytes")]
    TooLarge,
    /// A record in it cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsFault),
}

/// The largest timestamp that a stored batch claims; none when there is no whole header.
pub fn max_timestamp(batch: &[u8]) -> Timestamp {
    BatchHeader::read(batch).map_or(Timestamp::NONE, |header| Timestamp(header.max_timestamp.get()))
}

/// A search under way. The caller gives way to others between steps.
#[derive(Debug)]
pub struct Search<'b, 's> {
    batch: StoredBatch<'b>,
    codec: Codec,
    walk: Walk,
    /// Bytes of records looked at, as they unfold.
    walked: usize,
    scratch: &'s mut Scratch,
}

/// Where a search stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Searched {
    /// Step again.
    More,
    /// The record's offset and timestamp, if there is one.
    Ended(Option<(Offset, Timestamp)>),
}

impl<'b, 's> Search<'b, 's> {
    /// For the first record at or above `from` with at least this timestamp.
    pub fn new(
        batch: StoredBatch<'b>,
        timestamp: Timestamp,
        from: Offset,
        scratch: &'s mut Scratch,
    ) -> Result<Self, SearchFault> {
        let codec = batch.header().codec().map_err(|_| SearchFault::Codec)?;
        let wanted = Wanted { offset_delta: from.0.saturating_sub(batch.base_offset().0), timestamp: timestamp.0 };
        let walk = Walk::new(WalkRules {
            count: batch.info().records,
            base_timestamp: batch.info().base_timestamp.0,
            timestamps: None,
            keys: false,
            wanted: Some(wanted),
        });
        scratch.begin(codec);
        Ok(Self { batch, codec, walk, walked: 0, scratch })
    }

    /// Whether unfolding the batch needs memory.
    pub fn needs_scratch(batch: &StoredBatch<'_>) -> bool {
        batch.info().timestamp_type == TimestampType::CreateTime && batch.info().codec != Codec::None
    }

    /// Looks at about `budget` more bytes of records, counted as they unfold.
    pub fn step(&mut self, budget: usize) -> Result<Searched, SearchFault> {
        let info = self.batch.info();
        if info.timestamp_type == TimestampType::LogAppendTime {
            let Wanted { offset_delta, timestamp } = self.walk.wanted();
            let found = info.max_timestamp.0 >= timestamp && i64::from(info.last_offset_delta) >= offset_delta;
            let offset = self.batch.base_offset().plus(offset_delta.max(0));
            return Ok(Searched::Ended(found.then_some((offset, info.max_timestamp))));
        }
        let ended = match self.codec {
            Codec::None => self.step_in_place(budget)?,
            _ => self.step_unfolding(budget)?,
        };
        match self.walk.found() {
            Some((delta, timestamp)) => {
                let offset = self.batch.base_offset().plus(i64::from(delta));
                Ok(Searched::Ended(Some((offset, Timestamp(timestamp)))))
            }
            None if ended => Ok(Searched::Ended(None)),
            None => Ok(Searched::More),
        }
    }

    fn step_in_place(&mut self, budget: usize) -> Result<bool, SearchFault> {
        let rest = &self.batch.bytes()[HEADER_BYTES + self.walked..];
        let piece = &rest[..rest.len().min(budget)];
        self.walked += piece.len();
        let ended = piece.len() == rest.len();
        feed(&mut self.walk, piece).map(|found| found || ended)
    }

    fn step_unfolding(&mut self, budget: usize) -> Result<bool, SearchFault> {
        let body = self.batch.body();
        let mut spent = 0;
        while spent < budget {
            match self.scratch.next(body)? {
                Piece::Bytes(piece) => {
                    self.walked += piece.len();
                    if self.walked > DECOMPRESSED_BATCH_BYTES_MAX {
                        return Err(SearchFault::TooLarge);
                    }
                    spent += piece.len().max(PIECE_COST_MIN);
                    if feed(&mut self.walk, piece)? {
                        return Ok(true);
                    }
                }
                Piece::Again => {
                    self.walked = 0;
                    self.walk = self.walk.again();
                }
                Piece::End => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// Whether the record was found. What is wrong behind it does not matter.
fn feed(walk: &mut Walk, piece: &[u8]) -> Result<bool, SearchFault> {
    let fed = walk.feed(piece);
    if walk.found().is_some() {
        return Ok(true);
    }
    fed?;
    Ok(false)
}

/// Bytes that a piece counts for at least.
const PIECE_COST_MIN: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::super::{Builder, NewRecord, batches};
    use super::*;
    use crate::base::LeaderEpoch;
    use proptest::prelude::*;

    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn found(bytes: &[u8], timestamp: i64, from: i64, budget: usize) -> Option<(i64, i64)> {
        let mut scratch = Scratch::default();
        let batch = batches(bytes).next().unwrap();
        let mut search = Search::new(batch, Timestamp(timestamp), Offset(from), &mut scratch).unwrap();
        loop {
            if let Searched::Ended(found) = search.step(budget).unwrap() {
                return found.map(|(offset, timestamp)| (offset.0, timestamp.0));
            }
        }
    }

    proptest! {
        /// Whatever the codec and however small the steps are.
        #[test]
        fn the_first_record_that_is_late_enough_is_found(
            times in prop::collection::vec(0i64..50, 1..60),
            wanted in 0i64..60,
            from in 90i64..170,
            budget in 1usize..3000,
        ) {
            for codec in CODECS {
                let mut builder = Builder::new().codec(codec).at(Offset(100), LeaderEpoch(1));
                for time in &times {
                    let value = [*time as u8; 100];
                    builder.push(NewRecord { timestamp: Timestamp(*time), key: None, value: Some(&value), headers: &[] });
                }
                let expected = (100..).zip(&times).find(|(offset, time)| *offset >= from && **time >= wanted);
                let expected = expected.map(|(offset, time)| (offset, *time));
                prop_assert_eq!(found(&builder.build(), wanted, from, budget), expected, "{:?}", codec);
            }
        }
    }

    #[test]
    fn a_batch_stamped_by_the_broker_has_one_time() {
        let mut builder = Builder::new().at(Offset(100), LeaderEpoch(1)).timestamp_type(TimestampType::LogAppendTime);
        for _ in 0..3 {
            builder.push(NewRecord { timestamp: Timestamp(7), key: None, value: None, headers: &[] });
        }
        let bytes = builder.build();
        for (timestamp, from, expected) in
            [(7, 0, Some((100, 7))), (7, 102, Some((102, 7))), (7, 103, None), (8, 0, None)]
        {
            assert_eq!(found(&bytes, timestamp, from, 1), expected);
        }
    }
}
