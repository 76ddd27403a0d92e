//! From the bytes of a client to a batch that may be appended.

use super::batch::{BatchInfo, TimestampType};
use super::compress::Scratch;
use crate::base::Timestamp;
use bytes::Bytes;

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
}

impl RawBatch {
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

    /// Checks header, length, CRC and counts now and leaves the records to [`Checker::step`]. `now` judges the timestamps.
    pub fn checker<'s>(
        self,
        _limits: &BatchLimits,
        _now: Timestamp,
        _scratch: &'s mut Scratch,
    ) -> Result<Checker<'s>, BatchFault> {
        todo!()
    }
}

/// A check under way. The caller gives way to others between steps.
#[derive(Debug)]
pub struct Checker<'s> {
    _scratch: &'s mut Scratch,
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
    pub fn step(&mut self, _budget: usize) -> Result<Progress, BatchFault> {
        todo!()
    }
}

/// Which rule a batch broke. The comment says what Kafka 4.3 answers.
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
        fault: super::RecordsFault,
    },
    /// UNKNOWN_SERVER_ERROR.
    #[error("the records cannot be decompressed: {0}")]
    Compression(super::compress::CompressFault),
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
