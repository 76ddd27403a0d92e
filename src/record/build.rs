//! Batches of our own: for internal topics, tools and tests.

use super::batch::{BatchHeader, Codec, HEADER_BYTES, LOG_OVERHEAD_BYTES, TimestampType};
use super::{batch, compress};
use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, varint};
use bytes::Bytes;
use zerocopy::IntoBytes;

/// A record to be put into a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// In ms.
    pub timestamp: Timestamp,
    /// `None` for no key.
    pub key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// In order; keys may repeat.
    pub headers: &'a [Header<'a>],
}

/// A header of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header<'a> {
    /// UTF-8.
    pub key: &'a str,
    /// `None` for null.
    pub value: Option<&'a [u8]>,
}

/// Collects records and makes a batch of them.
#[derive(Clone, Debug)]
pub struct Builder {
    header: BatchHeader,
    records: Vec<u8>,
    codec: Codec,
    /// Of one record, used again for the next.
    fields: Vec<u8>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// A batch without producer, uncompressed, with base offset 0 and no leader epoch: what a client sends.
    pub fn new() -> Self {
        let header = BatchHeader {
            base_offset: 0.into(),
            length: 0.into(),
            leader_epoch: (-1).into(),
            magic: 2,
            crc: 0.into(),
            attributes: 0.into(),
            last_offset_delta: (-1).into(),
            base_timestamp: (-1).into(),
            max_timestamp: (-1).into(),
            producer_id: (-1).into(),
            producer_epoch: (-1).into(),
            base_sequence: (-1).into(),
            records: 0.into(),
        };
        Self { header, records: Vec::new(), codec: Codec::None, fields: Vec::new() }
    }

    /// Sets the codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets producer, its epoch and the sequence of the first record (KIP-98).
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.header.producer_id = id.0.into();
        self.header.producer_epoch = epoch.0.into();
        self.header.base_sequence = base_sequence.into();
        self
    }

    /// Sets the base offset and the leader epoch, as in a stored batch.
    pub fn at(mut self, base_offset: Offset, epoch: LeaderEpoch) -> Self {
        self.header.base_offset = base_offset.0.into();
        self.header.leader_epoch = epoch.0.into();
        self
    }

    /// Sets the transactional flag.
    pub fn transactional(self, yes: bool) -> Self {
        self.flag(batch::TRANSACTIONAL_BIT, yes)
    }

    /// Sets the control flag.
    pub fn control(self, yes: bool) -> Self {
        self.flag(batch::CONTROL_BIT, yes)
    }

    /// Sets the timestamp type.
    pub fn timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.flag(batch::LOG_APPEND_TIME_BIT, timestamp_type == TimestampType::LogAppendTime)
    }

    /// Adds a record behind the others.
    ///
    /// Panics when the batch grows beyond what its fields can count, 2 GiB.
    pub fn push(&mut self, record: NewRecord<'_>) -> &mut Self {
        let index = self.header.records.get();
        if index == 0 {
            self.header.base_timestamp = record.timestamp.0.into();
        }
        let fields = &mut self.fields;
        fields.clear();
        fields.push(0);
        varint::write_i64(fields, record.timestamp.0.wrapping_sub(self.header.base_timestamp.get()));
        varint::write_i32(fields, index);
        write_nullable(fields, record.key);
        write_nullable(fields, record.value);
        varint::write_i32(fields, length_of(record.headers.len()));
        for header in record.headers {
            write_nullable(fields, Some(header.key.as_bytes()));
            write_nullable(fields, header.value);
        }
        varint::write_i32(&mut self.records, length_of(fields.len()));
        self.records.extend_from_slice(fields);
        self.header.max_timestamp = self.header.max_timestamp.get().max(record.timestamp.0).into();
        self.header.records = (index + 1).into();
        self.header.last_offset_delta = index.into();
        self
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.header.records.get()).expect("counted up from 0")
    }

    /// There are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch. One without records is possible, but no client may send it.
    pub fn build(&self) -> Bytes {
        let mut bytes = vec![0; HEADER_BYTES];
        compress::compress(self.codec, None, &self.records, &mut bytes);
        let mut header = self.header;
        header.length = length_of(bytes.len() - LOG_OVERHEAD_BYTES).into();
        header.attributes = (header.attributes.get() | u16::from(self.codec.bits())).into();
        bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        batch::set_crc(&mut bytes);
        Bytes::from(bytes)
    }

    fn flag(mut self, bit: u16, yes: bool) -> Self {
        let others = self.header.attributes.get() & !bit;
        self.header.attributes = (others | if yes { bit } else { 0 }).into();
        self
    }
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint::write_i32(out, bytes.map_or(-1, |bytes| length_of(bytes.len())));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn length_of(len: usize) -> i32 {
    i32::try_from(len).expect("a batch is smaller than 2 GiB")
}
