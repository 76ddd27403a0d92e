//! Batches of our own: for internal topics, tools and tests.

use super::batch::{Codec, TimestampType};
use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use bytes::Bytes;

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
#[derive(Clone, Debug, Default)]
pub struct Builder {
    _p: (),
}

impl Builder {
    /// A batch without producer, uncompressed, with base offset 0.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the codec.
    pub fn codec(self, _codec: Codec) -> Self {
        todo!()
    }
    /// Sets producer, its epoch and the sequence of the first record (KIP-98).
    pub fn producer(self, _id: ProducerId, _epoch: ProducerEpoch, _base_sequence: i32) -> Self {
        todo!()
    }
    /// Sets the base offset and the leader epoch, as in a stored batch.
    pub fn at(self, _base_offset: Offset, _epoch: LeaderEpoch) -> Self {
        todo!()
    }
    /// Sets the transactional flag.
    pub fn transactional(self, _yes: bool) -> Self {
        todo!()
    }
    /// Sets the control flag.
    pub fn control(self, _yes: bool) -> Self {
        todo!()
    }
    /// Sets the timestamp type.
    pub fn timestamp_type(self, _timestamp_type: TimestampType) -> Self {
        todo!()
    }
    /// Adds a record behind the others.
    pub fn push(&mut self, _record: NewRecord<'_>) -> &mut Self {
        todo!()
    }
    /// How many records there are.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// There are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The batch. A batch without records is possible and is one of those that compaction leaves behind.
    pub fn build(&self) -> Bytes {
        todo!()
    }
}
