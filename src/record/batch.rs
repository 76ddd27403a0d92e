//! The header of a batch, byte by byte, and what can be done to a stored batch without looking inside.
//!
//! ```text
//!  0  base offset        8   set when appended
//!  8  length             4   bytes that follow this field
//! 12  leader epoch       4   set when appended
//! 16  magic              1   2
//! 17  CRC-32C            4   of everything from byte 21 on
//! 21  attributes         2   codec 0-2, timestamp type 3, transactional 4, control 5
//! 23  last offset delta  4
//! 27  base timestamp     8
//! 35  max timestamp      8
//! 43  producer id        8
//! 51  producer epoch     2
//! 53  base sequence      4
//! 57  record count       4
//! 61  records, compressed as a whole if the codec says so
//! ```

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, crc};
use zerocopy::byteorder::big_endian::{I16, I32, I64, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a batch's header; the records follow.
pub const HEADER_BYTES: usize = 61;
/// Bytes in front of what the length field counts: base offset and length.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Bytes up to and including the magic byte. Shorter than this, nothing can be said about a batch.
pub(super) const UP_TO_MAGIC_BYTES: usize = 17;
/// Where the bytes begin that the CRC covers.
pub(super) const CRC_FROM: usize = 21;
/// The smallest length field that Kafka's reader takes: the rest of a message of format 0.
pub(super) const LENGTH_MIN: i32 = 14;

const CODEC_BITS: u16 = 0x07;
pub(super) const LOG_APPEND_TIME_BIT: u16 = 0x08;
pub(super) const TRANSACTIONAL_BIT: u16 = 0x10;
pub(super) const CONTROL_BIT: u16 = 0x20;

/// The first 61 bytes of a batch, as they lie in memory.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BatchHeader {
    /// Offset of the first record. 0 from a client.
    pub base_offset: I64,
    /// Bytes after this field.
    pub length: I32,
    /// Epoch of the leader that appended the batch.
    pub leader_epoch: I32,
    /// The message format: 2.
    pub magic: u8,
    /// CRC-32C of all bytes from the attributes on.
    pub crc: U32,
    /// Codec, timestamp type and flags.
    pub attributes: U16,
    /// Offset of the last record less the first.
    pub last_offset_delta: I32,
    /// The timestamp that the records' deltas count from, in ms.
    pub base_timestamp: I64,
    /// The largest timestamp of the batch in ms, or the log append time.
    pub max_timestamp: I64,
    /// The idempotent producer, or -1.
    pub producer_id: I64,
    /// Its epoch, or -1.
    pub producer_epoch: I16,
    /// Sequence of the first record, or -1.
    pub base_sequence: I32,
    /// How many records there are.
    pub records: I32,
}

const _: () = assert!(size_of::<BatchHeader>() == HEADER_BYTES);

impl BatchHeader {
    /// The header at the front of `batch`; `None` when there are fewer than 61 bytes.
    pub fn read(batch: &[u8]) -> Option<&BatchHeader> {
        BatchHeader::ref_from_prefix(batch).ok().map(|(header, _)| header)
    }

    /// Bytes of the whole batch, the first 12 included; `None` for a negative length or one that no batch can have.
    pub fn batch_bytes(&self) -> Option<usize> {
        whole_bytes(self.length.get()).filter(|bytes| *bytes >= HEADER_BYTES)
    }

    /// The codec of the records; the number found when it is none that we know.
    pub fn codec(&self) -> Result<Codec, u8> {
        let bits = (self.attributes.get() & CODEC_BITS) as u8;
        Codec::from_bits(bits).ok_or(bits)
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes.get() & LOG_APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// The batch belongs to a transaction.
    pub fn transactional(&self) -> bool {
        self.attributes.get() & TRANSACTIONAL_BIT != 0
    }

    /// The batch holds a control record (a transaction marker), not data.
    pub fn control(&self) -> bool {
        self.attributes.get() & CONTROL_BIT != 0
    }

    /// What the broker wants to know of the batch, in plain numbers. `None` when length or codec make no sense.
    pub fn info(&self) -> Option<BatchInfo> {
        Some(BatchInfo {
            bytes: u32::try_from(self.batch_bytes()?).ok()?,
            records: self.records.get(),
            last_offset_delta: self.last_offset_delta.get(),
            producer_id: ProducerId(self.producer_id.get()),
            producer_epoch: ProducerEpoch(self.producer_epoch.get()),
            base_sequence: self.base_sequence.get(),
            base_timestamp: Timestamp(self.base_timestamp.get()),
            max_timestamp: Timestamp(self.max_timestamp.get()),
            codec: self.codec().ok()?,
            timestamp_type: self.timestamp_type(),
            transactional: self.transactional(),
            control: self.control(),
        })
    }
}

/// Bytes of a batch whose length field is `length`; `None` for a length below zero.
pub(super) fn whole_bytes(length: i32) -> Option<usize> {
    usize::try_from(length).ok().map(|length| length + LOG_OVERHEAD_BYTES)
}

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// The xerial stream format, or one raw block.
    Snappy,
    /// An LZ4 frame of independent blocks.
    Lz4,
    /// RFC 8878. Produce from version 7 on (KIP-110).
    Zstd,
}

impl Codec {
    /// The codec of these attribute bits.
    pub const fn from_bits(bits: u8) -> Option<Codec> {
        Some(match bits {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return None,
        })
    }

    /// The attribute bits of this codec.
    pub const fn bits(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }
}

/// Who sets the timestamps of a topic's records (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, when it appends.
    LogAppendTime,
}

/// A batch's header in plain numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchInfo {
    /// Bytes of the whole batch, the first 12 included.
    pub bytes: u32,
    /// How many records there are.
    pub records: i32,
    /// Offset of the last record less the first.
    pub last_offset_delta: i32,
    /// The idempotent producer, or -1.
    pub producer_id: ProducerId,
    /// Its epoch, or -1.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// The timestamp that the records' deltas count from.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of the batch, or the log append time.
    pub max_timestamp: Timestamp,
    /// How the records are compressed.
    pub codec: Codec,
    /// Who set the timestamps.
    pub timestamp_type: TimestampType,
    /// The batch belongs to a transaction.
    pub transactional: bool,
    /// The batch holds a control record.
    pub control: bool,
}

impl BatchInfo {
    /// The batch comes from an idempotent producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id > ProducerId::NONE
    }
}

/// Writes into a batch what only the broker knows: offset, leader epoch and, for a topic with log append time, that time. The CRC covers
/// neither offset nor epoch, so it is made anew only when the time changes something.
///
/// Panics when `batch` is shorter than its header says: it is our own copy of a checked batch.
///
/// Gives where the bytes begin that the batch's own CRC covers, and that CRC: whoever sums the whole batch need not look at them again.
pub fn patch(
    batch: &mut [u8],
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    log_append_time: Option<Timestamp>,
) -> (usize, u32) {
    let (header, _) = BatchHeader::mut_from_prefix(batch).expect("a checked batch holds its header");
    header.base_offset = base_offset.0.into();
    header.leader_epoch = leader_epoch.0.into();
    if let Some(time) = log_append_time {
        let attributes = header.attributes.get() | LOG_APPEND_TIME_BIT;
        if attributes != header.attributes.get() || header.max_timestamp.get() != time.0 {
            header.attributes = attributes.into();
            set_max_timestamp(batch, time);
        }
    }
    let header = BatchHeader::read(batch).expect("a checked batch holds its header");
    assert_eq!(header.batch_bytes(), Some(batch.len()), "the CRC covers the batch to its end");
    (CRC_FROM, header.crc.get())
}

/// Sets the largest timestamp and makes the CRC anew.
pub(super) fn set_max_timestamp(batch: &mut [u8], time: Timestamp) {
    let (header, _) = BatchHeader::mut_from_prefix(batch).expect("a checked batch holds its header");
    header.max_timestamp = time.0.into();
    set_crc(batch);
}

/// Names another codec, and makes length and CRC anew.
pub(super) fn set_codec(batch: &mut [u8], codec: Codec) {
    let length = i32::try_from(batch.len() - LOG_OVERHEAD_BYTES).expect("a batch is smaller than 2 GiB");
    let (header, _) = BatchHeader::mut_from_prefix(batch).expect("a checked batch holds its header");
    header.attributes = (header.attributes.get() & !CODEC_BITS | u16::from(codec.bits())).into();
    header.length = length.into();
    set_crc(batch);
}

/// Makes the CRC anew.
pub(super) fn set_crc(batch: &mut [u8]) {
    let header = BatchHeader::read(batch).expect("a batch of ours holds its header");
    let bytes = header.batch_bytes().expect("a batch of ours has a length");
    let checksum = crc::crc32c(&batch[CRC_FROM..bytes]);
    let (header, _) = BatchHeader::mut_from_prefix(batch).expect("read above");
    header.crc = checksum.into();
}

/// The batches that stand one behind the other in `bytes`: a stretch of a segment, of a journal entry, or of a fetch response.
///
/// Checks lengths, not checksums. Ends where the bytes end, or before a batch that is cut off or is none; [`Batches::rest`] tells which.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// Iterator of [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// What has not been walked over. Not empty at the end: the next batch is cut off or is none.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = StoredBatch<'a>;

    fn next(&mut self) -> Option<StoredBatch<'a>> {
        let header = BatchHeader::read(self.rest)?;
        let (bytes, rest) = self.rest.split_at_checked(header.batch_bytes()?)?;
        let info = header.info()?;
        if header.magic != 2 || info.last_offset_delta < 0 || header.base_offset.get() < 0 {
            return None;
        }
        self.rest = rest;
        Some(StoredBatch { header, bytes, info })
    }
}

/// One batch among stored bytes.
#[derive(Clone, Copy, Debug)]
pub struct StoredBatch<'a> {
    header: &'a BatchHeader,
    bytes: &'a [u8],
    info: BatchInfo,
}

impl<'a> StoredBatch<'a> {
    /// The whole batch, header and records.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, as they stand (compressed or not).
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The header.
    pub fn header(&self) -> &'a BatchHeader {
        self.header
    }

    /// The header in plain numbers.
    pub fn info(&self) -> &BatchInfo {
        &self.info
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset(self.header.base_offset.get())
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.header.base_offset.get().saturating_add(i64::from(self.info.last_offset_delta)))
    }

    /// Epoch of the leader that appended it.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.header.leader_epoch.get())
    }

    /// The CRC fits the bytes.
    pub fn crc_holds(&self) -> bool {
        crc::crc32c(&self.bytes[CRC_FROM..]) == self.header.crc.get()
    }
}
