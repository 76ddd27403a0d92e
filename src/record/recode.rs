//! A checked batch in another codec: the same records, byte for byte, folded anew.
//!
//! Header and records stay as they are but for codec, length and CRC, so offsets, timestamps, producer and sequences do too. Kafka makes the records anew; what
//! a consumer reads is the same.

use super::batch::{self, BatchInfo, Codec, HEADER_BYTES};
use super::check::{BatchFault, CheckedBatch};
use super::compress::{Fold, Refolded, Scratch};
use crate::base::limits::UNFOLD_CHUNK_BYTES;

/// A batch on its way into another codec. The caller gives way to others between steps.
#[derive(Debug)]
pub struct Recoder<'s> {
    source: CheckedBatch,
    fold: Fold,
    max_bytes: usize,
    out: Vec<u8>,
    /// Bytes of an uncompressed source that were folded.
    done: usize,
    scratch: &'s mut Scratch,
}

/// Where it stands.
#[derive(Debug)]
pub enum Recoded {
    /// Step again.
    More,
    /// The batch in its new codec.
    Done(CheckedBatch),
}

impl CheckedBatch {
    /// Bytes that the batch may have in another codec, at most, as far as that is known before.
    pub fn recoded_bytes_max(&self, codec: Codec) -> usize {
        let folded = match codec {
            Codec::None => self.unfolded_bytes,
            // Headers and checksums of blocks; what cannot be folded is stored as it is.
            _ => self.unfolded_bytes.saturating_add(self.unfolded_bytes / 6).saturating_add(FOLD_BYTES_MIN),
        };
        folded.saturating_add(HEADER_BYTES)
    }

    /// Begins to put it into another codec, in which it may have `max_bytes`.
    pub fn recoder(self, fold: Fold, max_bytes: usize, scratch: &mut Scratch) -> Recoder<'_> {
        let mut recoder = Recoder { source: self, fold, max_bytes, out: Vec::new(), done: 0, scratch };
        recoder.begin();
        recoder
    }
}

impl Recoder<'_> {
    /// Folds about `budget` more bytes of records, counted as they unfold.
    ///
    /// # Errors
    /// [`BatchFault::TooLarge`] as soon as it is; [`BatchFault::Compression`] cannot be, for the batch was unfolded when it was checked.
    pub fn step(&mut self, budget: usize) -> Result<Recoded, BatchFault> {
        let ended = match self.source.info.codec {
            Codec::None => self.step_in_place(budget),
            _ => self.step_unfolding(budget)?,
        };
        if ended {
            self.scratch.end_fold(&mut self.out);
        }
        if self.out.len() > self.max_bytes {
            return Err(BatchFault::TooLarge { bytes: self.out.len(), max: self.max_bytes });
        }
        if ended { Ok(Recoded::Done(self.finish())) } else { Ok(Recoded::More) }
    }

    fn begin(&mut self) {
        // Once, with room for the pieces in which it grows: growing by doubling would take three times as much for a moment.
        let most = self.source.recoded_bytes_max(self.fold.codec).min(self.max_bytes);
        self.out.reserve_exact(most + 2 * UNFOLD_CHUNK_BYTES);
        self.out.extend_from_slice(&self.source.bytes[..HEADER_BYTES]);
        self.scratch.begin(self.source.info.codec);
        self.scratch.begin_fold(self.fold, self.source.unfolded_bytes, &mut self.out);
    }

    fn step_in_place(&mut self, budget: usize) -> bool {
        let rest = &self.source.bytes[HEADER_BYTES + self.done..];
        let piece = &rest[..rest.len().min(budget)];
        self.scratch.fold(piece, &mut self.out);
        self.done += piece.len();
        piece.len() == rest.len()
    }

    fn step_unfolding(&mut self, budget: usize) -> Result<bool, BatchFault> {
        let mut spent = 0;
        while spent < budget && self.out.len() <= self.max_bytes {
            let body = &self.source.bytes[HEADER_BYTES..];
            match self.scratch.refold(body, &mut self.out).map_err(BatchFault::Compression)? {
                // A piece without bytes costs time too.
                Refolded::Bytes(bytes) => spent += bytes.max(PIECE_COST_MIN),
                Refolded::End => return Ok(true),
                Refolded::Again => {
                    self.out.truncate(HEADER_BYTES);
                    self.scratch.begin_fold(self.fold, self.source.unfolded_bytes, &mut self.out);
                }
            }
        }
        Ok(false)
    }

    fn finish(&mut self) -> CheckedBatch {
        let mut out = std::mem::take(&mut self.out);
        out.shrink_to_fit();
        let bytes = u32::try_from(out.len()).expect("no more than max_bytes");
        batch::set_codec(&mut out, self.fold.codec);
        let info = BatchInfo { bytes, codec: self.fold.codec, ..self.source.info };
        CheckedBatch { bytes: out.into(), info, unfolded_bytes: self.source.unfolded_bytes }
    }
}

/// Bytes that a piece counts for at least.
const PIECE_COST_MIN: usize = 1 << 10;
/// Bytes that the frame around folded records takes at most.
const FOLD_BYTES_MIN: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ProducerEpoch, ProducerId, Timestamp};
    use crate::record::{BatchLimits, Builder, Header, NewRecord, RawBatch, TimestampType, records};

    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    const LIMITS: BatchLimits = BatchLimits {
        max_bytes: 1 << 24,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        zstd_allowed: true,
    };

    fn checked(codec: Codec, count: usize, scratch: &mut Scratch) -> CheckedBatch {
        let mut builder = Builder::new().codec(codec).producer(ProducerId(9), ProducerEpoch(3), 77);
        let value: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect();
        for n in 0..count {
            let headers = [Header { key: "k", value: Some(&value[..n % 50]) }, Header { key: "k", value: None }];
            builder.push(NewRecord {
                timestamp: Timestamp(1000 + (n as i64 * 7919) % 100),
                key: (n % 3 > 0).then_some(&value[..n % 7]),
                value: (n % 5 > 0).then(|| &value[n..n + 40_000 / count]),
                headers: if n % 2 == 0 { &headers } else { &[] },
            });
        }
        RawBatch(builder.build()).check(&LIMITS, Timestamp(0), scratch).expect("good")
    }

    fn recoded(batch: CheckedBatch, fold: Fold, max: usize, scratch: &mut Scratch) -> Result<CheckedBatch, BatchFault> {
        let mut recoder = batch.recoder(fold, max, scratch);
        loop {
            if let Recoded::Done(batch) = recoder.step(5000)? {
                return Ok(batch);
            }
        }
    }

    /// Every codec into every other one: the records are the same bytes, and of the header only codec, length and CRC differ.
    #[test]
    fn every_pair_of_codecs_keeps_the_records() {
        let mut scratch = Scratch::default();
        for count in [1, 7, 3000] {
            let plain = checked(Codec::None, count, &mut scratch);
            let body = plain.bytes.slice(HEADER_BYTES..);
            assert_eq!(records(&body).filter(Result::is_ok).count(), count);
            for (from, to) in CODECS.into_iter().flat_map(|from| CODECS.map(|to| (from, to))) {
                let source = checked(from, count, &mut scratch);
                assert_eq!(source.unfolded_bytes, body.len());
                let max = source.recoded_bytes_max(to);
                let batch = recoded(source.clone(), Fold { codec: to, level: None }, max, &mut scratch).expect("folds");
                assert_eq!(batch.info, BatchInfo { codec: to, bytes: batch.bytes.len() as u32, ..source.info });
                // The header says so too, and the CRC holds: the batch passes as one that a client sent.
                let again = RawBatch(batch.bytes.clone()).check(&LIMITS, Timestamp(0), &mut scratch).expect("good");
                assert_eq!(again.info, batch.info, "{from:?} to {to:?}");
                for place in [0..8, 12..17, 23..HEADER_BYTES] {
                    assert_eq!(batch.bytes[place.clone()], source.bytes[place], "{from:?} to {to:?}");
                }
                let back = recoded(batch, Fold { codec: Codec::None, level: None }, usize::MAX, &mut scratch);
                assert!(back.expect("unfolds").bytes == plain.bytes, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn what_grows_too_large_is_refused_at_its_bound() {
        let mut scratch = Scratch::default();
        for to in CODECS {
            let source = checked(Codec::Gzip, 1000, &mut scratch);
            let fault = recoded(source, Fold { codec: to, level: Some(1) }, 4000, &mut scratch).expect_err("too large");
            assert!(matches!(fault, BatchFault::TooLarge { max: 4000, .. }), "{to:?}: {fault}");
        }
    }

    #[test]
    fn levels_count() {
        let mut scratch = Scratch::default();
        for (codec, low, high) in [(Codec::Gzip, 1, 9), (Codec::Zstd, -5, 19)] {
            let [low, high] = [low, high].map(|level| {
                let source = checked(Codec::None, 3000, &mut scratch);
                recoded(source, Fold { codec, level: Some(level) }, 1 << 24, &mut scratch).expect("folds").bytes.len()
            });
            assert!(high < low, "{codec:?}: {high} of {low} bytes");
        }
    }
}
