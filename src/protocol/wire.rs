//! Reading within bounds, and writing.
//!
//! The reader trusts no number: a count is checked against the bytes that remain and against the request's budget of elements before
//! anything is reserved. The writer keeps what it is given to share apart from what it writes itself.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use std::borrow::Cow;

use crate::base::limits::{DECODE_RESERVE_MAX, REQUEST_ELEMENTS_MAX};
use crate::base::{TopicId, varint};

/// Bytes of the longest string (Kafka's own bound: the largest `i16`).
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Why bytes are not the message they should be. The peer is at fault; as in Kafka, the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// A value, or the smallest that a count of elements can take, goes beyond the end.
    #[error("the message ends early: {wanted} more bytes expected, {left} left")]
    Truncated {
        /// Bytes the value needs.
        wanted: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A variable-length number has more bytes than its type can hold.
    #[error("an overlong variable-length number")]
    Overlong,
    /// A field is null in a version that does not allow it.
    #[error("a field is null that may not be null")]
    Null,
    /// A string is longer than [`STRING_BYTES_MAX`].
    #[error("a string of {0} bytes; at most {STRING_BYTES_MAX} are allowed")]
    StringTooLong(usize),
    /// The arrays of the message have more elements than [`REQUEST_ELEMENTS_MAX`].
    #[error("more than {REQUEST_ELEMENTS_MAX} elements in one message")]
    TooManyElements,
    /// The value of a tagged field ends before the size that was announced for it.
    #[error("tagged field {tag} has {left} bytes too many")]
    TagTooLong {
        /// The field's tag.
        tag: u32,
        /// Bytes left over.
        left: usize,
    },
    /// No API has this key.
    #[error("no API has the key {0}")]
    UnknownApi(i16),
    /// The message is not declared for this version.
    #[error("{message} has no version {version}")]
    UnknownVersion {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// The version that a message is read or written in, as its fields see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// The version's number.
    pub number: i16,
    /// Whether lengths are compact and tagged fields follow each structure (KIP-482).
    pub flexible: bool,
    /// Whether this one field may be null.
    pub nullable: bool,
}

impl Version {
    /// A version whose field at hand may not be null.
    pub const fn new(number: i16, flexible: bool) -> Self {
        Self { number, flexible, nullable: false }
    }

    /// The same version for a field that may be null, or may not.
    #[must_use]
    pub const fn with_null(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }
}

/// A place in a frame, and how many array elements may still be read from it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
    elements: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte, with a budget of [`REQUEST_ELEMENTS_MAX`].
    pub fn new(frame: &'a Bytes) -> Self {
        Self { frame, rest: frame, elements: REQUEST_ELEMENTS_MAX }
    }

    /// Bytes that have not been read.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// What has not been read, as a slice that shares the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice_ref(self.rest)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(DecodeError::Truncated { wanted: count, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `count` bytes, as a slice that shares the frame.
    pub fn share(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let taken = self.take(count)?;
        Ok(self.frame.slice_ref(taken))
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take gave N bytes"))
    }

    /// One byte, signed.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// Two bytes, signed.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A UUID.
    pub fn topic_id(&mut self) -> Result<TopicId, DecodeError> {
        Ok(TopicId(self.array()?))
    }

    /// An unsigned number of one to five bytes.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        match varint::read_u32(self.rest) {
            Some((value, taken)) => {
                self.rest = &self.rest[taken..];
                Ok(value)
            }
            None if self.rest.len() < varint::U32_BYTES_MAX && self.rest.iter().all(|byte| byte & 0x80 != 0) => {
                Err(DecodeError::Truncated { wanted: 1, left: 0 })
            }
            None => Err(DecodeError::Overlong),
        }
    }

    /// The length before a string: two bytes, or compact. `None` is null.
    fn string_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let len = if flexible { self.compact_len()? } else { usize::try_from(self.i16()?).ok() };
        match len {
            Some(len) if len > STRING_BYTES_MAX => Err(DecodeError::StringTooLong(len)),
            len => Ok(len),
        }
    }

    /// The length before bytes, records or the elements of an array: four bytes, or compact. `None` is null.
    pub fn len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.compact_len() } else { Ok(usize::try_from(self.i32()?).ok()) }
    }

    /// A compact length is written one higher, so that zero can be null.
    fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    /// A string. `None` is null. Bytes that are not UTF-8 are replaced one by one, as Kafka does; only then is anything allocated.
    pub fn text(&mut self, flexible: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let Some(len) = self.string_len(flexible)? else { return Ok(None) };
        let text = String::from_utf8_lossy(self.take(len)?);
        if text.len() > STRING_BYTES_MAX {
            return Err(DecodeError::StringTooLong(text.len()));
        }
        Ok(Some(text))
    }

    /// Bytes or records that share the frame. `None` is null.
    pub fn bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.len(flexible)? {
            Some(len) => self.share(len).map(Some),
            None => Ok(None),
        }
    }

    /// Charges `count` elements of at least `smallest` bytes each, and says how many may be reserved for.
    ///
    /// Errors: the count cannot be true, or the budget of elements is used up.
    pub fn elements(&mut self, count: usize, smallest: usize) -> Result<usize, DecodeError> {
        let wanted = count.saturating_mul(smallest.max(1));
        if wanted > self.rest.len() {
            return Err(DecodeError::Truncated { wanted, left: self.rest.len() });
        }
        self.elements = self.elements.checked_sub(count).ok_or(DecodeError::TooManyElements)?;
        Ok(count.min(DECODE_RESERVE_MAX))
    }

    /// The tagged fields that end a flexible structure. `known` is given a reader that ends with the field, and answers whether it knows
    /// the tag; fields that it does not know are skipped.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.uvarint()?;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let len = self.uvarint()? as usize;
            let field = self.take(len)?;
            let after = std::mem::replace(&mut self.rest, field);
            if known(self, tag)? && !self.rest.is_empty() {
                return Err(DecodeError::TagTooLong { tag, left: self.rest.len() });
            }
            self.rest = after;
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

/// Gathers what a message becomes: bytes of its own, and slices that it only shares.
#[derive(Debug, Default)]
pub struct Writer {
    own: BytesMut,
    /// Shared slices, each with the number of own bytes that stand before it.
    shared: SmallVec<[(usize, Bytes); 4]>,
    shared_bytes: usize,
    has_error: bool,
}

impl Writer {
    /// An empty writer with room for `capacity` bytes of its own.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { own: BytesMut::with_capacity(capacity), ..Self::default() }
    }

    /// Bytes written so far, shared ones included.
    pub fn written(&self) -> usize {
        self.own.len() + self.shared_bytes
    }

    /// One byte, signed.
    pub fn i8(&mut self, value: i8) {
        self.own.put_i8(value);
    }

    /// Two bytes, signed.
    pub fn i16(&mut self, value: i16) {
        self.own.put_i16(value);
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self, value: u16) {
        self.own.put_u16(value);
    }

    /// Four bytes, signed.
    pub fn i32(&mut self, value: i32) {
        self.own.put_i32(value);
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) {
        self.own.put_i64(value);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.own.put_slice(bytes);
    }

    /// A slice that is shared, not copied.
    pub fn share(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.shared_bytes += slice.len();
            self.shared.push((self.own.len(), slice));
        }
    }

    /// An unsigned number of one to five bytes.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.own.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.own.put_u8(value as u8);
    }

    /// The length before bytes, records or the elements of an array. `None` is null.
    pub fn len(&mut self, len: Option<usize>, flexible: bool) {
        // Records of one partition are bounded by `fetch.max.bytes`, which is an i32, and elements by memory.
        let len = len.map(|len| i32::try_from(len).expect("a length fits a frame"));
        match (flexible, len) {
            (true, len) => self.uvarint(len.map_or(0, |len| len as u32 + 1)),
            (false, len) => self.i32(len.unwrap_or(-1)),
        }
    }

    /// A string. `None` is null. A string that is too long for the protocol is cut at the last whole character: only our own explanations
    /// could be, for the reader refuses longer ones.
    pub fn text(&mut self, text: Option<&str>, flexible: bool) {
        let text = text.map(|text| &text[..text.floor_char_boundary(STRING_BYTES_MAX)]);
        match (flexible, text) {
            (true, text) => self.uvarint(text.map_or(0, |text| text.len() as u32 + 1)),
            (false, text) => self.i16(text.map_or(-1, |text| text.len() as i16)),
        }
        self.raw(text.unwrap_or_default().as_bytes());
    }

    /// One tagged field: its tag, its size, and what `value` writes.
    pub fn tagged_field(&mut self, tag: u32, value: impl FnOnce(&mut Self)) {
        self.uvarint(tag);
        let start = self.own.len();
        let shared = self.shared.len();
        value(self);
        assert_eq!(self.shared.len(), shared, "tagged field {tag} holds no records");
        let len = self.own.len() - start;
        let size = varint::len_u64(len as u64);
        self.own.put_bytes(0, size);
        self.own.copy_within(start..start + len, start + size);
        varint::write_u32(&mut Slots(self.own[start..start + size].iter_mut()), len as u32);
    }

    /// The two bytes that were written last are an error code.
    pub fn error_code_written(&mut self) {
        self.has_error |= !self.own.ends_with(&[0, 0]);
    }

    /// Whether an error code was written that is not zero.
    pub(super) fn has_error(&self) -> bool {
        self.has_error
    }

    /// Puts four bytes over those at `position` of the writer's own bytes.
    ///
    /// # Panics
    /// If fewer than four bytes have been written from there on.
    pub(super) fn overwrite_i32(&mut self, position: usize, value: i32) {
        self.own[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Everything in order, own bytes and shared slices taking turns. Nothing is copied.
    pub fn finish(mut self) -> SmallVec<[Bytes; 4]> {
        let mut parts = SmallVec::with_capacity(2 * self.shared.len() + 1);
        let mut cut = 0;
        for (before, slice) in self.shared {
            if before > cut {
                parts.push(self.own.split_to(before - cut).freeze());
                cut = before;
            }
            parts.push(slice);
        }
        if !self.own.is_empty() {
            parts.push(self.own.freeze());
        }
        parts
    }
}

/// Bytes that are already there, to be overwritten one after the other.
struct Slots<'a>(std::slice::IterMut<'a, u8>);

impl Extend<u8> for Slots<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            *self.0.next().expect("the size was reckoned before") = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four bytes once made a published codec reserve 2 GiB times the size of an element, before authentication, and the process ended.
    #[test]
    fn a_count_is_not_believed() {
        for (bytes, flexible) in [(&[0x7f, 0xff, 0xff, 0xff][..], false), (&[0xff, 0xff, 0xff, 0xff, 0x0f][..], true)] {
            let frame = Bytes::copy_from_slice(bytes);
            let mut reader = Reader::new(&frame);
            let count = reader.len(flexible).unwrap().unwrap();
            assert!(count > i32::MAX as usize - 1);
            assert!(matches!(reader.elements(count, 1), Err(DecodeError::Truncated { left: 0, .. })));
        }
    }

    #[test]
    fn no_more_is_reserved_than_a_bounded_number_of_elements() {
        let frame = Bytes::from(vec![0; 10 * DECODE_RESERVE_MAX]);
        let mut reader = Reader::new(&frame);
        assert_eq!(reader.elements(3, 4), Ok(3));
        assert_eq!(reader.elements(2 * DECODE_RESERVE_MAX, 4), Ok(DECODE_RESERVE_MAX));
        assert!(matches!(reader.elements(3 * DECODE_RESERVE_MAX, 4), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn all_arrays_of_a_message_share_one_budget() {
        let frame = Bytes::from(vec![0; REQUEST_ELEMENTS_MAX]);
        let mut reader = Reader::new(&frame);
        assert!(reader.elements(REQUEST_ELEMENTS_MAX - 1, 1).is_ok());
        assert!(reader.elements(1, 1).is_ok());
        assert_eq!(reader.elements(1, 1), Err(DecodeError::TooManyElements));
    }

    #[test]
    fn an_overlong_number_is_told_from_one_that_ends_early() {
        let read = |bytes: &'static [u8]| Reader::new(&Bytes::from_static(bytes)).uvarint();
        assert_eq!(read(&[0xac, 0x02]), Ok(300));
        assert_eq!(read(&[0x80, 0x80]), Err(DecodeError::Truncated { wanted: 1, left: 0 }));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), Err(DecodeError::Overlong));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(DecodeError::Overlong));
    }

    #[test]
    fn a_string_that_is_not_text_is_mended_as_kafka_does() {
        let frame = Bytes::from_static(b"\x00\x03a\xffb\xff\xff");
        let mut reader = Reader::new(&frame);
        assert_eq!(reader.text(false).unwrap().unwrap(), "a\u{fffd}b");
        assert_eq!(reader.text(false), Ok(None));
        let longest = Bytes::from([&i16::MAX.to_be_bytes()[..], &[0xff; STRING_BYTES_MAX]].concat());
        assert!(matches!(Reader::new(&longest).text(false), Err(DecodeError::StringTooLong(98_301))));
        let compact = Bytes::from([&[0x81, 0x80, 0x02][..], &[b'a'; 0x8000]].concat());
        assert_eq!(Reader::new(&compact).text(true), Err(DecodeError::StringTooLong(0x8000)));
    }

    #[test]
    fn an_explanation_that_is_too_long_is_cut_at_a_character() {
        let mut writer = Writer::default();
        writer.text(Some(&"é".repeat(20_000)), false);
        let bytes = Bytes::from(writer.finish().concat());
        let text = Reader::new(&bytes).text(false).unwrap().unwrap().into_owned();
        assert_eq!((text.len(), text.chars().all(|c| c == 'é')), (STRING_BYTES_MAX - 1, true));
    }

    #[test]
    fn unknown_tagged_fields_are_skipped_and_known_ones_end_where_they_say() {
        let frame = Bytes::from_static(&[2, 9, 3, 1, 2, 3, 5, 2, 0, 7, 0xee]);
        let mut found = 0;
        let mut reader = Reader::new(&frame);
        let fields = |reader: &mut Reader<'_>, tag| {
            if tag == 5 {
                found = reader.i16()?;
            }
            Ok(tag == 5)
        };
        reader.tagged_fields(fields).unwrap();
        assert_eq!((found, reader.left()), (7, 1));

        let mut reader = Reader::new(&frame);
        let short = reader.tagged_fields(|reader, tag| if tag == 9 { reader.i8().map(|_| true) } else { Ok(false) });
        assert_eq!(short, Err(DecodeError::TagTooLong { tag: 9, left: 2 }));
        let mut reader = Reader::new(&frame);
        let long = reader.tagged_fields(|reader, _| reader.i32().map(|_| true));
        assert_eq!(long, Err(DecodeError::Truncated { wanted: 4, left: 3 }));
    }

    #[test]
    fn a_tagged_field_of_any_size_is_written_with_its_size() {
        for len in [0, 1, 127, 128, 20_000] {
            let mut writer = Writer::default();
            writer.uvarint(1);
            writer.tagged_field(300, |writer| writer.raw(&vec![7; len]));
            let frame = Bytes::from(writer.finish().concat());
            let mut reader = Reader::new(&frame);
            let field = |reader: &mut Reader<'_>, tag| {
                assert_eq!((tag, reader.left()), (300, len));
                Ok(reader.take(len)?.iter().all(|byte| *byte == 7))
            };
            reader.tagged_fields(field).unwrap();
            assert_eq!(reader.left(), 0);
        }
    }

    #[test]
    fn shared_slices_stand_where_they_were_put() {
        let batch = Bytes::from_static(b"batch");
        let mut writer = Writer::default();
        writer.share(batch.clone());
        writer.raw(b"ab");
        writer.share(Bytes::new());
        writer.share(batch.clone());
        writer.share(batch.clone());
        writer.raw(b"c");
        assert_eq!(writer.written(), 18);
        let parts = writer.finish();
        assert_eq!(&parts[..], [&b"batch"[..], b"ab", b"batch", b"batch", b"c"]);
        assert_eq!(parts[2].as_ptr(), batch.as_ptr());
    }
}
