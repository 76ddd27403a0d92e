//! From the bytes of a client to a batch that may be appended.

use super::batch::{
    self, BatchHeader, BatchInfo, CRC_FROM, Codec, HEADER_BYTES, LENGTH_MIN, LOG_OVERHEAD_BYTES, TimestampType,
    UP_TO_MAGIC_BYTES,
};
use super::compress::{CompressFault, Piece, Scratch};
use super::records::{Near, RecordsFault, Walk, WalkRules};
use crate::base::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::base::{Timestamp, crc};
use bytes::{Bytes, BytesMut};

/// What a topic and a request allow.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Bytes of the largest batch (`max.message.bytes`), the first 12 included.
    pub max_bytes: usize,
    /// The topic is compacted, so every record needs a key.
    pub compacted: bool,
    /// Who sets the topic's timestamps (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// How far a record's timestamp may lie behind now, in ms (`message.timestamp.before.max.ms`).
    pub timestamp_before_max_ms: i64,
    /// How far it may lie ahead, in ms (`message.timestamp.after.max.ms`).
    pub timestamp_after_max_ms: i64,
    /// Produce version 7 and later may carry zstd (KIP-110).
    pub zstd_allowed: bool,
}

/// A record batch as it came from a socket: a length and a hope. The records field of one partition of a Produce request.
#[derive(Clone, Debug)]
pub struct RawBatch(pub Bytes);

/// Its checksum, sizes, counts, codec and every record hold. Only [`RawBatch::check`] and [`Checker`] make one, and only this can be appended.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    /// The batch, without anything that stood behind it.
    pub bytes: Bytes,
    /// Its header in plain numbers.
    pub info: BatchInfo,
    /// Bytes of its records, unfolded.
    pub unfolded_bytes: usize,
}

impl RawBatch {
    /// Whether its attributes name a codec, known or not, so that a check needs memory to unfold it in.
    pub fn is_compressed(&self) -> bool {
        self.0.get(CRC_FROM + 1).is_some_and(|attributes| Codec::from_bits(attributes & 7) != Some(Codec::None))
    }

    /// Checks everything in one go. For small or uncompressed batches, and for tests.
    pub fn check(
        self,
        limits: &BatchLimits,
        now: Timestamp,
        scratch: &mut Scratch,
    ) -> Result<CheckedBatch, BatchFault> {
        let mut checker = self.checker(limits, now, scratch)?;
        loop {
            if let Progress::Done(batch) = checker.step(usize::MAX)? {
                return Ok(batch);
            }
        }
    }

    /// Checks lengths, CRC and counts now and leaves the records to [`Checker::step`]. `now` judges the timestamps.
    ///
    /// In the order in which Kafka 4.3 finds fault, so that a batch with several faults gets the same answer.
    pub fn checker<'s>(
        self,
        limits: &BatchLimits,
        now: Timestamp,
        scratch: &'s mut Scratch,
    ) -> Result<Checker<'s>, BatchFault> {
        let bytes = self.only_batch(limits)?;
        let header = BatchHeader::read(&bytes);
        if let Some(header) = header
            && header.base_offset.get() != 0
        {
            return Err(BatchFault::BaseOffset { found: header.base_offset.get() });
        }
        if bytes.len() > limits.max_bytes {
            return Err(BatchFault::TooLarge { bytes: bytes.len(), max: limits.max_bytes });
        }
        let header = header.ok_or(BatchFault::Length { length: (bytes.len() - LOG_OVERHEAD_BYTES) as i32 })?;
        let (stored, computed) = (header.crc.get(), crc::crc32c(&bytes[CRC_FROM..]));
        if stored != computed {
            return Err(BatchFault::Crc { stored, computed });
        }
        header.codec().map_err(|found| BatchFault::UnknownCodec { found })?;
        let info = header.info().expect("length and codec were checked");
        check_info(&info)?;
        let walk = Walk::new(WalkRules {
            count: info.records,
            base_timestamp: info.base_timestamp.0,
            timestamps: (limits.timestamp_type == TimestampType::CreateTime).then_some(Near {
                now: now.0,
                before_max_ms: limits.timestamp_before_max_ms,
                after_max_ms: limits.timestamp_after_max_ms,
            }),
            keys: limits.compacted,
            wanted: None,
        });
        scratch.begin(info.codec);
        Ok(Checker { bytes, info, timestamp_type: limits.timestamp_type, walk: Some(walk), walked: 0, scratch })
    }

    /// The one batch there must be. Bytes behind it are cut off if they are not a batch: Kafka takes them too.
    fn only_batch(self, limits: &BatchLimits) -> Result<Bytes, BatchFault> {
        let bytes = batch_at_front(&self.0)?.ok_or(BatchFault::NoBatch { bytes: self.0.len() })?;
        let magic = self.0[UP_TO_MAGIC_BYTES - 1];
        if magic != 2 {
            return Err(BatchFault::OldFormat { found: magic });
        }
        let zstd =
            self.0.get(CRC_FROM + 1).is_some_and(|attributes| Codec::from_bits(attributes & 7) == Some(Codec::Zstd));
        if zstd && !limits.zstd_allowed {
            return Err(BatchFault::ZstdTooEarly);
        }
        if batch_at_front(&self.0[bytes..])?.is_some() {
            return Err(BatchFault::SecondBatch);
        }
        Ok(self.0.slice(..bytes))
    }
}

/// How long the batch is that begins here, of whatever format; `None` when it is cut off.
fn batch_at_front(bytes: &[u8]) -> Result<Option<usize>, BatchFault> {
    let Some(overhead) = bytes.first_chunk::<LOG_OVERHEAD_BYTES>() else { return Ok(None) };
    let [.., a, b, c, d] = *overhead;
    let length = i32::from_be_bytes([a, b, c, d]);
    let whole = batch::whole_bytes(length).filter(|_| length >= LENGTH_MIN).ok_or(BatchFault::Length { length })?;
    match bytes.get(UP_TO_MAGIC_BYTES - 1) {
        Some(magic) if *magic > 2 => Err(BatchFault::Magic { found: *magic }),
        Some(_) if whole <= bytes.len() => Ok(Some(whole)),
        _ => Ok(None),
    }
}

/// The rules about the numbers in the header.
fn check_info(info: &BatchInfo) -> Result<(), BatchFault> {
    let BatchInfo { records, last_offset_delta, base_sequence, .. } = *info;
    if records <= 0 || i64::from(last_offset_delta) + 1 != i64::from(records) {
        return Err(BatchFault::Count { records, last_offset_delta });
    }
    if info.control {
        return Err(BatchFault::Control);
    }
    if info.has_producer() && base_sequence < 0 {
        return Err(BatchFault::Sequence { producer_id: info.producer_id.0, base_sequence });
    }
    // Kafka lets such a batch pass if the topic has CreateTime and the batch any max timestamp, and then turns the type back. No client sends it.
    if info.timestamp_type == TimestampType::LogAppendTime {
        return Err(BatchFault::LogAppendTime);
    }
    Ok(())
}

/// A check under way. The caller gives way to others between steps.
#[derive(Debug)]
pub struct Checker<'s> {
    bytes: Bytes,
    info: BatchInfo,
    timestamp_type: TimestampType,
    /// `None` when the check has ended.
    walk: Option<Walk>,
    /// Bytes of records walked over, as they unfold.
    walked: usize,
    scratch: &'s mut Scratch,
}

/// Where a check stands.
#[derive(Debug)]
pub enum Progress {
    /// Step again.
    More,
    /// The batch holds.
    Done(CheckedBatch),
}

impl Checker<'_> {
    /// Walks over about `budget` more bytes of records, counted as they unfold.
    ///
    /// Panics when the check has already ended.
    pub fn step(&mut self, budget: usize) -> Result<Progress, BatchFault> {
        let ended = match self.info.codec {
            Codec::None => self.step_in_place(budget)?,
            _ => self.step_unfolding(budget)?,
        };
        if ended { self.finish().map(Progress::Done) } else { Ok(Progress::More) }
    }

    fn step_in_place(&mut self, budget: usize) -> Result<bool, BatchFault> {
        let rest = &self.bytes[HEADER_BYTES + self.walked..];
        let piece = &rest[..rest.len().min(budget)];
        feed(&mut self.walk, piece)?;
        self.walked += piece.len();
        Ok(piece.len() == rest.len())
    }

    fn step_unfolding(&mut self, budget: usize) -> Result<bool, BatchFault> {
        let body = &self.bytes[HEADER_BYTES..];
        let mut spent = 0;
        while spent < budget {
            match self.scratch.next(body).map_err(|fault| compression(fault, self.walk.as_ref()))? {
                Piece::Bytes(piece) => {
                    self.walked += piece.len();
                    if self.walked > DECOMPRESSED_BATCH_BYTES_MAX {
                        return Err(BatchFault::UnfoldsTooLarge { max: DECOMPRESSED_BATCH_BYTES_MAX });
                    }
                    feed(&mut self.walk, piece)?;
                    // A piece without bytes costs time too.
                    spent = spent.saturating_add(piece.len().max(PIECE_COST_MIN));
                }
                Piece::Again => {
                    self.walked = 0;
                    self.walk = self.walk.as_ref().map(Walk::again);
                }
                Piece::End => return Ok(true),
            }
        }
        Ok(false)
    }

    fn finish(&mut self) -> Result<CheckedBatch, BatchFault> {
        let walk = self.walk.take().expect("a check ends once");
        let index = walk.index();
        let (max_timestamp, refused) = walk.finish().map_err(|fault| BatchFault::Record { index, fault })?;
        if !refused.is_empty() {
            return Err(BatchFault::Refused(refused));
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut info = self.info;
        if self.timestamp_type == TimestampType::CreateTime && info.max_timestamp.0 != max_timestamp {
            // Kafka corrects it silently. Rare enough for a copy.
            info.max_timestamp = Timestamp(max_timestamp);
            let mut corrected = BytesMut::from(&bytes[..]);
            batch::set_max_timestamp(&mut corrected, info.max_timestamp);
            bytes = corrected.freeze();
        }
        Ok(CheckedBatch { bytes, info, unfolded_bytes: self.walked })
    }
}

/// Kafka finds a gzip stream that is cut off before its last record to hold too few records, and every other fault to be its own.
fn compression(fault: CompressFault, walk: Option<&Walk>) -> BatchFault {
    match walk {
        Some(walk) if fault.ends_early && fault.codec == Codec::Gzip && !walk.complete() => {
            BatchFault::Record { index: walk.index(), fault: RecordsFault::EndsEarly }
        }
        _ => BatchFault::Compression(fault),
    }
}

fn feed(walk: &mut Option<Walk>, piece: &[u8]) -> Result<(), BatchFault> {
    let walk = walk.as_mut().expect("a check ends once");
    walk.feed(piece).map_err(|fault| BatchFault::Record { index: walk.index(), fault })
}

/// Bytes that a piece counts for at least.
const PIECE_COST_MIN: usize = 1 << 10;

/// Which rule a batch broke. The comment says what Kafka 4.3.1 answers.
///
/// Stricter than Kafka in three places, each to keep from the log what consumers would fall over: offset deltas other than 0, 1, 2, ...; a record of a compressed
/// batch whose length does not fit its fields; the timestamp type LogAppendTime from a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchFault {
    /// INVALID_RECORD.
    #[error("there is no whole record batch in {bytes} bytes")]
    NoBatch {
        /// Bytes there are.
        bytes: usize,
    },
    /// CORRUPT_MESSAGE.
    #[error("the length field says {length}, too small for a batch")]
    Length {
        /// The length field.
        length: i32,
    },
    /// CORRUPT_MESSAGE.
    #[error("magic {found} is not a message format")]
    Magic {
        /// The magic byte.
        found: u8,
    },
    /// INVALID_RECORD.
    #[error("message format {found} is not taken any more, only 2 is")]
    OldFormat {
        /// The magic byte, 0 or 1.
        found: u8,
    },
    /// INVALID_RECORD.
    #[error("a second batch follows the first")]
    SecondBatch,
    /// UNSUPPORTED_COMPRESSION_TYPE.
    #[error("zstd needs Produce version 7 or later")]
    ZstdTooEarly,
    /// INVALID_RECORD.
    #[error("the base offset is {found}, a client's must be 0")]
    BaseOffset {
        /// The base offset.
        found: i64,
    },
    /// MESSAGE_TOO_LARGE.
    #[error("the batch has {bytes} bytes, the topic takes {max}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// `max.message.bytes`.
        max: usize,
    },
    /// CORRUPT_MESSAGE.
    #[error("the CRC is {computed:#010x}, the batch says {stored:#010x}")]
    Crc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// UNKNOWN_SERVER_ERROR in Kafka, which falls over its own table.
    #[error("there is no codec {found}")]
    UnknownCodec {
        /// The codec bits, 5 to 7.
        found: u8,
    },
    /// INVALID_RECORD.
    #[error("the header counts {records} records and a last offset delta of {last_offset_delta}")]
    Count {
        /// Record count of the header.
        records: i32,
        /// Last offset delta of the header.
        last_offset_delta: i32,
    },
    /// INVALID_RECORD.
    #[error("clients may not write control batches")]
    Control,
    /// INVALID_RECORD.
    #[error("producer {producer_id} sent the sequence {base_sequence}")]
    Sequence {
        /// The producer.
        producer_id: i64,
        /// Below zero.
        base_sequence: i32,
    },
    /// INVALID_TIMESTAMP.
    #[error("only the broker may set the timestamp type to LogAppendTime")]
    LogAppendTime,
    /// INVALID_RECORD.
    #[error("record {index}: {fault}")]
    Record {
        /// Which record, counted from 0.
        index: i32,
        /// What is wrong with it.
        fault: RecordsFault,
    },
    /// UNKNOWN_SERVER_ERROR.
    #[error("the records cannot be decompressed: {0}")]
    Compression(CompressFault),
    /// MESSAGE_TOO_LARGE, which makes clients split their batches. Kafka has no such bound.
    #[error("the records unfold to more than {max} bytes")]
    UnfoldsTooLarge {
        /// The bound.
        max: usize,
    },
    /// INVALID_TIMESTAMP when any of them is about a timestamp, else INVALID_RECORD; the records go into the response one by one.
    #[error("{} records are refused, the first: {}", .0.len(), .0[0])]
    Refused(Vec<RecordFault>),
}

/// A record that is well formed and still refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record {index}: {kind}")]
pub struct RecordFault {
    /// Which record of the batch, counted from 0.
    pub index: i32,
    /// Why.
    pub kind: RecordFaultKind,
}

/// Why a well-formed record is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordFaultKind {
    /// INVALID_RECORD.
    #[error("a compacted topic cannot accept a record without a key")]
    NoKey,
    /// INVALID_TIMESTAMP.
    #[error("timestamp {timestamp} is outside [{from}, {to}]")]
    Timestamp {
        /// The record's.
        timestamp: i64,
        /// The earliest taken.
        from: i64,
        /// The latest taken.
        to: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, Header, NewRecord, Scratch, batches, compress, patch, records};
    use super::*;
    use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const LIMITS: BatchLimits = BatchLimits {
        max_bytes: 1 << 20,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        zstd_allowed: true,
    };
    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn check(bytes: &[u8], limits: &BatchLimits) -> Result<CheckedBatch, BatchFault> {
        RawBatch(Bytes::copy_from_slice(bytes)).check(limits, NOW, &mut Scratch::default())
    }

    fn some_batch(codec: Codec, count: usize) -> Bytes {
        let mut builder = Builder::new().codec(codec);
        for n in 0..count {
            builder.push(NewRecord {
                timestamp: Timestamp(NOW.0 + n as i64),
                key: Some(b"key"),
                value: Some(&[n as u8; 100]),
                headers: &[Header { key: "h", value: Some(b"v") }, Header { key: "", value: None }],
            });
        }
        builder.build()
    }

    /// Changes some bytes and makes the CRC fit again.
    fn changed(batch: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = batch.to_vec();
        change(&mut bytes);
        super::batch::set_crc(&mut bytes);
        bytes
    }

    /// A batch around a body written by hand.
    fn around(codec: Codec, count: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Builder::new().build().to_vec();
        bytes.extend_from_slice(body);
        changed(&bytes, |bytes| {
            let length = (bytes.len() - LOG_OVERHEAD_BYTES) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[22] = codec.bits();
            bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
        })
    }

    fn record_fault(index: i32, fault: RecordsFault) -> BatchFault {
        BatchFault::Record { index, fault }
    }

    #[test]
    fn good_batches_pass_untouched() {
        for codec in CODECS {
            let batch = some_batch(codec, 50);
            let checked = RawBatch(batch.clone()).check(&LIMITS, NOW, &mut Scratch::default()).unwrap();
            assert_eq!(checked.bytes.as_ptr(), batch.as_ptr(), "no copy");
            assert_eq!((checked.info.records, checked.info.codec), (50, codec));
            assert_eq!(checked.info.max_timestamp, Timestamp(NOW.0 + 49));
            assert_eq!(checked.info.bytes as usize, batch.len());
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let batch = some_batch(Codec::None, 1);
        let fault = |bytes: &[u8]| check(bytes, &LIMITS).unwrap_err();
        assert_eq!(fault(b""), BatchFault::NoBatch { bytes: 0 });
        assert_eq!(fault(&batch[..11]), BatchFault::NoBatch { bytes: 11 });
        assert_eq!(fault(&batch[..batch.len() - 1]), BatchFault::NoBatch { bytes: batch.len() - 1 });
        assert_eq!(fault(&changed(&batch, |bytes| bytes[16] = 3)), BatchFault::Magic { found: 3 });
        assert_eq!(fault(&changed(&batch, |bytes| bytes[16] = 1)), BatchFault::OldFormat { found: 1 });
        assert_eq!(fault(&changed(&batch, |bytes| bytes[16] = 0)), BatchFault::OldFormat { found: 0 });
        let mut short = batch.to_vec();
        short[8..12].copy_from_slice(&13i32.to_be_bytes());
        assert_eq!(fault(&short), BatchFault::Length { length: 13 });
        short[8..12].copy_from_slice(&(-1i32).to_be_bytes());
        assert_eq!(fault(&short), BatchFault::Length { length: -1 });
        short[8..12].copy_from_slice(&40i32.to_be_bytes());
        short.truncate(52);
        assert_eq!(fault(&short), BatchFault::Length { length: 40 });
    }

    #[test]
    fn bytes_behind_the_batch_are_cut_off_unless_they_are_another() {
        let batch = some_batch(Codec::None, 2);
        let with = |tail: &[u8]| check(&[&batch[..], tail].concat(), &LIMITS);
        assert_eq!(with(&[1, 2, 3]).unwrap().bytes, batch);
        assert_eq!(with(&batch[..batch.len() - 1]).unwrap().bytes, batch);
        assert_eq!(with(&batch).unwrap_err(), BatchFault::SecondBatch);
        assert_eq!(with(&[0; 12]).unwrap_err(), BatchFault::Length { length: 0 });
    }

    #[test]
    fn the_numbers_in_the_header_must_agree() {
        let batch = some_batch(Codec::None, 2);
        let fault =
            |change: &dyn Fn(&mut Vec<u8>)| check(&changed(&batch, |bytes| change(bytes)), &LIMITS).unwrap_err();
        assert_eq!(fault(&|bytes| bytes[7] = 9), BatchFault::BaseOffset { found: 9 });
        assert_eq!(fault(&|bytes| bytes[22] |= 5), BatchFault::UnknownCodec { found: 5 });
        assert_eq!(fault(&|bytes| bytes[22] |= 0x20), BatchFault::Control);
        assert_eq!(fault(&|bytes| bytes[22] |= 0x08), BatchFault::LogAppendTime);
        assert_eq!(fault(&|bytes| bytes[26] = 2), BatchFault::Count { records: 2, last_offset_delta: 2 });
        assert_eq!(fault(&|bytes| bytes[60] = 1), BatchFault::Count { records: 1, last_offset_delta: 1 });
        let count = |n: i32| check(&around(Codec::None, n, b""), &LIMITS).unwrap_err();
        assert_eq!(count(0), BatchFault::Count { records: 0, last_offset_delta: -1 });
        assert_eq!(fault(&|bytes| bytes[43..51].fill(0)), BatchFault::Sequence { producer_id: 0, base_sequence: -1 });
        let mut wrong = batch.to_vec();
        wrong[70] ^= 1;
        assert!(matches!(check(&wrong, &LIMITS), Err(BatchFault::Crc { .. })));
        let limits = BatchLimits { max_bytes: batch.len() - 1, ..LIMITS };
        assert_eq!(
            check(&batch, &limits).unwrap_err(),
            BatchFault::TooLarge { bytes: batch.len(), max: batch.len() - 1 }
        );
        assert!(check(&batch, &BatchLimits { max_bytes: batch.len(), ..LIMITS }).is_ok());
        let early = BatchLimits { zstd_allowed: false, ..LIMITS };
        assert_eq!(check(&some_batch(Codec::Zstd, 1), &early).unwrap_err(), BatchFault::ZstdTooEarly);
    }

    #[test]
    fn records_must_fill_the_batch_exactly() {
        let batch = some_batch(Codec::None, 3);
        let body = &batch[HEADER_BYTES..];
        for codec in CODECS {
            let fault = |count: i32, body: &[u8]| {
                let mut folded = Vec::new();
                compress::compress(codec, None, body, &mut folded);
                check(&around(codec, count, &folded), &LIMITS).map(|_| ()).map_err(|fault| (codec, fault))
            };
            assert_eq!(fault(3, body), Ok(()));
            assert_eq!(fault(4, body), Err((codec, record_fault(3, RecordsFault::EndsEarly))));
            assert_eq!(fault(2, body), Err((codec, record_fault(2, RecordsFault::BytesLeft))));
            assert_eq!(fault(3, &body[..body.len() - 1]), Err((codec, record_fault(2, RecordsFault::EndsEarly))));
            assert_eq!(fault(4, &[body, &[0]].concat()), Err((codec, record_fault(3, RecordsFault::Length))));
            // length, attributes, timestamp, offset, no key, no value, no headers
            assert_eq!(fault(1, &[12, 0, 0, 0, 1, 1, 0]), Ok(()));
            assert_eq!(
                fault(1, &[12, 0, 0, 2, 1, 1, 0]),
                Err((codec, record_fault(0, RecordsFault::OffsetDelta { found: 1 })))
            );
            assert_eq!(fault(1, &[14, 0, 0, 0, 1, 1, 0, 0]), Err((codec, record_fault(0, RecordsFault::Length))));
            assert_eq!(fault(1, &[10, 0, 0, 0, 1, 1, 0]), Err((codec, record_fault(0, RecordsFault::Length))));
            assert_eq!(fault(1, &[12, 0, 0, 0, 1, 1, 1]), Err((codec, record_fault(0, RecordsFault::Headers))));
            assert_eq!(fault(1, &[16, 0, 0, 0, 1, 1, 2, 1, 1]), Err((codec, record_fault(0, RecordsFault::Headers))));
            assert_eq!(fault(1, &[12, 0, 0, 0, 4, 1, 0]), Err((codec, record_fault(0, RecordsFault::Length))));
            assert_eq!(fault(1, &[1, 0, 0, 0, 1, 1, 0]), Err((codec, record_fault(0, RecordsFault::Length))));
            assert_eq!(
                fault(1, &[0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0]),
                Err((codec, record_fault(0, RecordsFault::Number)))
            );
        }
    }

    #[test]
    fn garbage_in_place_of_compressed_records_is_found() {
        for codec in &CODECS[1..] {
            let fault = check(&around(*codec, 1, &[9; 40]), &LIMITS).unwrap_err();
            assert!(matches!(fault, BatchFault::Compression(fault) if fault.codec == *codec), "{fault}");
        }
        let batch = some_batch(Codec::Gzip, 100);
        let cut = |bytes: usize| {
            let body = &batch[HEADER_BYTES..batch.len() - bytes];
            check(&around(Codec::Gzip, 100, body), &LIMITS).unwrap_err()
        };
        assert!(matches!(cut(100), BatchFault::Record { fault: RecordsFault::EndsEarly, .. }));
        assert!(matches!(cut(1), BatchFault::Compression(_)), "all records were there");
        // A broken record in front of a wrong checksum is found first.
        let mut folded = Vec::new();
        compress::compress(Codec::Gzip, None, &[12, 0, 0, 9, 1, 1, 0], &mut folded);
        let last = folded.len() - 5;
        folded[last] ^= 1;
        let fault = check(&around(Codec::Gzip, 1, &folded), &LIMITS).unwrap_err();
        assert_eq!(fault, record_fault(0, RecordsFault::OffsetDelta { found: -5 }));
    }

    #[test]
    fn a_wrong_max_timestamp_is_corrected() {
        for codec in CODECS {
            let batch = some_batch(codec, 5);
            let wrong = changed(&batch, |bytes| bytes[35..43].copy_from_slice(&77i64.to_be_bytes()));
            let checked = check(&wrong, &LIMITS).unwrap();
            assert_eq!(checked.bytes, batch);
            assert_eq!(checked.info.max_timestamp, Timestamp(NOW.0 + 4));
            // With log append time it does not matter: appending sets it.
            let limits = BatchLimits { timestamp_type: TimestampType::LogAppendTime, ..LIMITS };
            assert_eq!(check(&wrong, &limits).unwrap().bytes, wrong);
        }
    }

    #[test]
    fn timestamps_must_be_near() {
        let mut builder = Builder::new();
        for delta in [0, -1_001, 501, -1_000, 500] {
            builder.push(NewRecord { timestamp: Timestamp(NOW.0 + delta), ..NewRecord::default() });
        }
        let batch = builder.build();
        let limits = BatchLimits { timestamp_before_max_ms: 1_000, timestamp_after_max_ms: 500, ..LIMITS };
        let BatchFault::Refused(refused) = check(&batch, &limits).unwrap_err() else {
            panic!("the records are refused")
        };
        assert_eq!(refused.iter().map(|fault| fault.index).collect::<Vec<_>>(), [1, 2]);
        let kind = RecordFaultKind::Timestamp { timestamp: NOW.0 + 501, from: NOW.0 - 1_000, to: NOW.0 + 500 };
        assert_eq!(refused[1].kind, kind);
        assert!(check(&batch, &BatchLimits { timestamp_type: TimestampType::LogAppendTime, ..limits }).is_ok());
        let oldest = changed(&some_batch(Codec::None, 1), |bytes| bytes[27] = 0x80);
        assert!(check(&oldest, &LIMITS).is_ok(), "the sums wrap, as Kafka's do");
        let mut none = Builder::new();
        none.push(NewRecord { timestamp: Timestamp::NONE, ..NewRecord::default() });
        assert!(check(&none.build(), &limits).is_ok(), "a record without timestamp passes");
    }

    #[test]
    fn a_compacted_topic_wants_keys() {
        let mut builder = Builder::new();
        for key in [Some(&b"a"[..]), None, Some(b""), None] {
            builder.push(NewRecord { timestamp: NOW, key, ..NewRecord::default() });
        }
        let batch = builder.build();
        assert!(check(&batch, &LIMITS).is_ok());
        let fault = check(&batch, &BatchLimits { compacted: true, ..LIMITS }).unwrap_err();
        let refused = [1, 3].map(|index| RecordFault { index, kind: RecordFaultKind::NoKey });
        assert_eq!(fault, BatchFault::Refused(refused.to_vec()));
    }

    /// 300 MiB of zeros in one record. The check gives way at least once per budget, stops at the bound, and needs no memory to speak of.
    #[test]
    fn a_bomb_is_stopped_in_small_steps() {
        let mut body = Vec::new();
        crate::base::varint::write_i32(&mut body, 300 << 20);
        body.extend([0, 0, 0, 1]);
        crate::base::varint::write_i32(&mut body, 299 << 20);
        body.resize(300 << 20, 0);
        let mut folded = Vec::new();
        compress::compress(Codec::Zstd, Some(1), &body, &mut folded);
        drop(body);
        let mut scratch = Scratch::default();
        let batch = RawBatch(around(Codec::Zstd, 1, &folded).into());
        let mut checker = batch.checker(&LIMITS, NOW, &mut scratch).unwrap();
        let mut steps = 0;
        let fault = loop {
            match checker.step(256 << 10) {
                Ok(Progress::More) => steps += 1,
                Ok(Progress::Done(_)) => panic!("the bomb went off"),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault, BatchFault::UnfoldsTooLarge { max: DECOMPRESSED_BATCH_BYTES_MAX });
        assert!(steps >= 1_000, "{steps} steps");
        assert!(scratch.held_bytes() < 9 << 20);
    }

    #[test]
    fn patching_sets_offset_epoch_and_time() {
        for codec in CODECS {
            let batch = some_batch(codec, 3);
            let mut stored = batch.to_vec();
            patch(&mut stored, Offset(70), LeaderEpoch(4), None);
            let mut walk = batches(&stored);
            let found = walk.next().unwrap();
            assert_eq!(
                (found.base_offset(), found.last_offset(), found.leader_epoch()),
                (Offset(70), Offset(72), LeaderEpoch(4))
            );
            assert!(found.crc_holds() && walk.next().is_none() && walk.rest().is_empty());
            assert_eq!(stored[16..], batch[16..]);
            patch(&mut stored, Offset(70), LeaderEpoch(4), Some(Timestamp(5)));
            let found = batches(&stored).next().unwrap();
            assert!(found.crc_holds());
            assert_eq!(
                (found.info().timestamp_type, found.info().max_timestamp),
                (TimestampType::LogAppendTime, Timestamp(5))
            );
            assert_eq!(found.info().codec, codec);
        }
    }

    #[test]
    fn stored_batches_are_walked_up_to_a_cut() {
        let mut stored = Vec::new();
        for n in 0..4 {
            let at = stored.len();
            stored.extend_from_slice(&some_batch(Codec::None, 2));
            patch(&mut stored[at..], Offset(2 * n), LeaderEpoch(0), None);
        }
        let one = stored.len() / 4;
        let mut walk = batches(&stored[..stored.len() - 1]);
        assert_eq!(walk.by_ref().map(|batch| batch.base_offset().0).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(walk.rest().len(), one - 1);
    }

    /// The same three records as kafka-clients 4.3.1 writes them with each codec (`MemoryRecords.withIdempotentRecords`).
    const KAFKAS: [(Codec, &str); 5] = [
        (
            Codec::None,
            "000000000000000000000089ffffffff02cc1099740000000000020000018bcfe568000000018bcfe56802000000000000126700020000002800000003560000000a6b65792d303276616c75652076616c75652076616c75652076616c756520300402680278026e013e000202013276616c75652076616c75652076616c75652076616c7565203100160004040a6b65792d320100",
        ),
        (
            Codec::Gzip,
            "000000000000000000000073ffffffff02e412a7750001000000020000018bcfe568000000018bcfe568020000000000001267000200000028000000031f8b08000000000000ff0b636060e0ca4eadd435302a4bcc294d55c0240d589832982a98f218ed18989818712a336410636061019b65c4c800002505613258000000",
        ),
        (
            Codec::Snappy,
            "00000000000000000000007cffffffff0222d3f7440002000000020000018bcfe568000000018bcfe5680200000000000012670002000000280000000382534e41505059000000000100000001000000375840560000000a6b65792d303276616c75652046060034300402680278026e013e00020201622700343100160004040a6b65792d320100",
        ),
        (
            Codec::Lz4,
            "000000000000000000000076ffffffff02fdf7ecab0003000000020000018bcfe568000000018bcfe5680200000000000012670002000000280000000304224d1860408236000000fe02560000000a6b65792d303276616c7565200600ef300402680278026e013e00020201270006e03100160004040a6b65792d32010000000000",
        ),
        (
            Codec::Zstd,
            "000000000000000000000074ffffffff0212ae86040004000000020000018bcfe568000000018bcfe5680200000000000012670002000000280000000328b52ffd0058bc0100d402560000000a6b65792d303276616c756520300402680278026e013e000202013100160004040a6b65792d32010002004a2d6abcb204010000",
        ),
    ];

    #[test]
    fn kafkas_own_batches_are_read() {
        let hex = |text: &str| -> Bytes {
            text.as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect::<Vec<u8>>()
                .into()
        };
        let mut ours = Builder::new().producer(ProducerId(4711), ProducerEpoch(2), 40);
        for (key, value, headers) in [
            (Some("key-0"), Some("value value value value 0"), &[("h", Some("x")), ("n", None)][..]),
            (None, Some("value value value value 1"), &[]),
            (Some("key-2"), None, &[]),
        ] {
            let headers: Vec<_> =
                headers.iter().map(|(key, value)| Header { key, value: value.map(str::as_bytes) }).collect();
            ours.push(NewRecord {
                timestamp: Timestamp(NOW.0 + ours.len() as i64),
                key: key.map(str::as_bytes),
                value: value.map(str::as_bytes),
                headers: &headers,
            });
        }
        let ours = ours.build();
        for (codec, text) in KAFKAS {
            let batch = hex(text);
            let checked = check(&batch, &LIMITS).unwrap();
            assert_eq!((checked.info.codec, checked.info.producer_id), (codec, ProducerId(4711)));
            let body =
                compress::decompress_bounded(codec, &batch[HEADER_BYTES..], 1 << 16, &mut Scratch::default()).unwrap();
            assert_eq!(body, ours[HEADER_BYTES..]);
        }
        assert_eq!(hex(KAFKAS[0].1), ours, "without a codec we write the same bytes");
    }

    type Given = (Option<Vec<u8>>, Option<Vec<u8>>, i64, Vec<(String, Option<Vec<u8>>)>);

    fn given() -> impl Strategy<Value = Vec<Given>> {
        let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
        let headers = prop::collection::vec(("[a-z]{0,8}", bytes()), 0..4);
        prop::collection::vec((bytes(), bytes(), -5_000i64..5_000, headers), 1..40)
    }

    fn built(given: &[Given], codec: Codec) -> Bytes {
        let mut builder = Builder::new().codec(codec).producer(ProducerId(9), ProducerEpoch(1), 7);
        for (key, value, delta, headers) in given {
            let headers: Vec<_> = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let timestamp = Timestamp(NOW.0 + delta);
            builder.push(NewRecord { timestamp, key: key.as_deref(), value: value.as_deref(), headers: &headers });
        }
        builder.build()
    }

    proptest! {
        #[test]
        fn what_was_built_is_read_again(given in given(), codec in prop::sample::select(&CODECS[..])) {
            let batch = built(&given, codec);
            let checked = check(&batch, &LIMITS).unwrap();
            prop_assert_eq!(&checked.bytes, &batch);
            let body = compress::decompress_bounded(codec, &batch[HEADER_BYTES..], 1 << 24, &mut Scratch::default()).unwrap();
            let found: Vec<_> = records(&body).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(found.len(), given.len());
            for (index, (record, (key, value, delta, headers))) in found.iter().zip(&given).enumerate() {
                prop_assert_eq!(record.offset_delta, index as i32);
                prop_assert_eq!(checked.info.base_timestamp.0 + record.timestamp_delta, NOW.0 + delta);
                prop_assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
                let wanted: Vec<_> = headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
                prop_assert_eq!(record.headers.collect::<Vec<_>>(), wanted);
            }
        }

        /// However the pieces are cut, the walk says the same as over the whole, also of records that are broken somewhere.
        #[test]
        fn pieces_and_the_whole_agree(given in given(), cuts in prop::collection::vec(1usize..60, 1..50), at in any::<usize>(), with in any::<u8>()) {
            let mut body = built(&given, Codec::None)[HEADER_BYTES..].to_vec();
            let at = at % body.len();
            body[at] = with;
            let rules = WalkRules { count: given.len() as i32, base_timestamp: 0, timestamps: None, keys: false, wanted: None };
            let walked = |pieces: &mut dyn Iterator<Item = &[u8]>| {
                let mut walk = Walk::new(rules);
                for piece in pieces {
                    if let Err(fault) = walk.feed(piece) {
                        return Err((walk.index(), fault));
                    }
                }
                let index = walk.index();
                walk.finish().map_err(|fault| (index, fault))
            };
            let whole = walked(&mut std::iter::once(&body[..]));
            let mut rest = &body[..];
            let mut sizes = cuts.iter().cycle();
            let cut = walked(&mut std::iter::from_fn(|| {
                let (head, tail) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                rest = tail;
                (!head.is_empty()).then_some(head)
            }));
            prop_assert_eq!(whole, cut);
        }

        /// One changed byte behind the CRC field is always found, and nothing panics.
        #[test]
        fn a_flipped_bit_is_found(given in given(), codec in prop::sample::select(&CODECS[..]), at in any::<usize>(), bit in 0u8..8) {
            let mut batch = built(&given, codec).to_vec();
            let at = CRC_FROM + at % (batch.len() - CRC_FROM);
            batch[at] ^= 1 << bit;
            let found = matches!(check(&batch, &LIMITS), Err(BatchFault::Crc { .. }));
            prop_assert!(found, "byte {}", at);
            super::batch::set_crc(&mut batch);
            let _ = check(&batch, &LIMITS);
        }

        /// The encoder of another code base makes the same bytes, and its decoder reads ours.
        #[test]
        fn kafka_protocol_agrees(given in given()) {
            use kafka_protocol::indexmap::IndexMap;
            use kafka_protocol::protocol::StrBytes;
            use kafka_protocol::records::{Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
            // It keeps headers in a map.
            let given: Vec<Given> = given
                .into_iter()
                .map(|(key, value, delta, headers)| {
                    let headers: IndexMap<_, _> = headers.into_iter().collect();
                    (key, value, delta, headers.into_iter().collect())
                })
                .collect();
            let theirs: Vec<Record> = given
                .iter()
                .enumerate()
                .map(|(index, (key, value, delta, headers))| Record {
                    transactional: false,
                    control: false,
                    delete_horizon: false,
                    partition_leader_epoch: -1,
                    producer_id: 9,
                    producer_epoch: 1,
                    timestamp_type: TimestampType::Creation,
                    offset: index as i64,
                    sequence: 7 + index as i32,
                    timestamp: NOW.0 + delta,
                    key: key.clone().map(Into::into),
                    value: value.clone().map(Into::into),
                    headers: headers.iter().map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Into::into))).collect(),
                })
                .collect();
            let options = RecordEncodeOptions { version: 2, compression: Compression::None };
            let mut encoded = BytesMut::new();
            RecordBatchEncoder::encode(&mut encoded, &theirs, &options).unwrap();
            let ours = built(&given, Codec::None);
            let checked = check(&encoded, &LIMITS).unwrap();
            prop_assert_eq!(checked.info.records as usize, given.len());
            let read = |bytes: &[u8]| {
                records(&bytes[HEADER_BYTES..]).map(|record| record.map(|r| (r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), r.offset_delta))).collect::<Result<Vec<_>, _>>().unwrap()
            };
            prop_assert_eq!(read(&ours), read(&encoded));
            let decoded = RecordBatchDecoder::decode(&mut ours.clone()).unwrap().records;
            prop_assert_eq!(decoded, theirs);
        }
    }
}
