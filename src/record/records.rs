//! The records inside a batch.

use std::marker::PhantomData;

/// A record that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordsFault {
    /// The bytes end inside it, or the declared count is higher than what is there.
    #[error("the bytes end early")]
    EndsEarly,
    /// Bytes are left behind the last record.
    #[error("bytes are left behind the last record")]
    BytesLeft,
    /// A varint is overlong.
    #[error("a number is overlong")]
    Number,
    /// The fields do not fill the record exactly, or reach beyond it.
    #[error("its length and its fields do not agree")]
    Length,
    /// A count of headers or the length of a header's key is below zero, or beyond the record.
    #[error("its headers make no sense")]
    Headers,
    /// The offsets are not 0, 1, 2, ...
    #[error("its offset delta is {found}")]
    OffsetDelta {
        /// What it says.
        found: i32,
    },
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Timestamp less the batch's base timestamp, in ms.
    pub timestamp_delta: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// `None` for no key.
    pub key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Key and value pairs.
    pub headers: Headers<'a>,
}

/// The headers of a record: an iterator of keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    _rest: &'a [u8],
}

/// The records of an uncompressed body, in order. Ends after a fault.
pub fn records(_body: &[u8]) -> Records<'_> {
    todo!()
}

/// Iterator of [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    _rest: PhantomData<&'a [u8]>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordsFault>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
