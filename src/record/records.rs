//! The records inside a batch: an iterator over bytes that are all there, and a walk that takes them piece by piece.
//!
//! ```text
//! length         varint   bytes that follow
//! attributes     1        unused
//! timestamp delta varlong
//! offset delta   varint
//! key            varint length (below zero: none), bytes
//! value          the same
//! headers        varint count, each: varint length and bytes of the key, varint length (below zero: none) and bytes of the value
//! ```

use super::check::{RecordFault, RecordFaultKind};
use crate::base::limits::RECORD_FAULTS_MAX;
use crate::base::varint;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The headers of a record: an iterator of keys (UTF-8 by agreement, not checked) and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        // Checked when the record was read, so this cannot fail.
        let mut fields = Fields { rest: self.rest };
        let key = fields.nullable().ok()?.unwrap_or_default();
        let value = fields.nullable().ok()?;
        self.rest = fields.rest;
        Some((key, value))
    }
}

/// The records of an uncompressed body, in order. Ends behind a fault.
pub fn records(body: &[u8]) -> Records<'_> {
    Records { rest: body }
}

/// Iterator of [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordsFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut fields = Fields { rest: self.rest };
        let record = fields.prefixed().and_then(read_record);
        self.rest = if record.is_ok() { fields.rest } else { &[] };
        Some(record)
    }
}

/// Reads one record from the bytes behind its length field. They must be used up exactly.
#[inline]
fn read_record(body: &[u8]) -> Result<Record<'_>, RecordsFault> {
    let mut fields = Fields { rest: body };
    fields.skip(1)?;
    let timestamp_delta = fields.i64()?;
    let offset_delta = fields.i32()?;
    let key = fields.nullable()?;
    let value = fields.nullable()?;
    let count = fields.i32()?;
    let headers = Headers { rest: fields.rest };
    if usize::try_from(count).map_or(true, |count| count > fields.rest.len()) {
        return Err(RecordsFault::Headers);
    }
    for _ in 0..count {
        fields.nullable()?.ok_or(RecordsFault::Headers)?;
        fields.nullable()?;
    }
    if !fields.rest.is_empty() {
        return Err(RecordsFault::Length);
    }
    Ok(Record { timestamp_delta, offset_delta, key, value, headers })
}

/// Timestamp delta, offset delta, and whether there is a key, of a good record whose numbers have one or two bytes each. `None` sends all others, and
/// faults, to [`read_record`].
#[inline]
fn read_plain_record(body: &[u8]) -> Option<(i64, i32, bool)> {
    let mut at = 1;
    let timestamp_delta = short(body, &mut at)?;
    let offset_delta = short(body, &mut at)?;
    let key = short(body, &mut at)?;
    at += key.max(0) as usize;
    let value = short(body, &mut at)?;
    at += value.max(0) as usize;
    let headers = u32::try_from(short(body, &mut at)?).ok()?;
    for _ in 0..headers {
        let key = usize::try_from(short(body, &mut at)?).ok()?;
        at += key;
        let value = short(body, &mut at)?;
        at += value.max(0) as usize;
    }
    (at == body.len()).then_some((i64::from(timestamp_delta), offset_delta, key >= 0))
}

/// A number of one or two bytes.
#[inline(always)]
fn short(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = u32::from(*bytes.get(*at)?);
    let raw = if first < 0x80 {
        *at += 1;
        first
    } else {
        let second = u32::from(*bytes.get(*at + 1)?);
        if second >= 0x80 {
            return None;
        }
        *at += 2;
        first & 0x7f | second << 7
    };
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads the fields of a record from front to back.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    fn skip(&mut self, count: usize) -> Result<&'a [u8], RecordsFault> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(RecordsFault::Length)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn i32(&mut self) -> Result<i32, RecordsFault> {
        if let Some(value) = self.short() {
            return Ok(i32::from(value));
        }
        let (value, taken) = varint::read_i32(self.rest).ok_or_else(|| fault_of(self.rest, varint::U32_BYTES_MAX))?;
        self.rest = &self.rest[taken..];
        Ok(value)
    }

    #[inline]
    fn i64(&mut self) -> Result<i64, RecordsFault> {
        if let Some(value) = self.short() {
            return Ok(i64::from(value));
        }
        let (value, taken) = varint::read_i64(self.rest).ok_or_else(|| fault_of(self.rest, varint::U64_BYTES_MAX))?;
        self.rest = &self.rest[taken..];
        Ok(value)
    }

    /// A number of one or two bytes, which almost all are.
    #[inline]
    fn short(&mut self) -> Option<i16> {
        let (raw, rest) = match self.rest {
            [first, rest @ ..] if *first < 0x80 => (u16::from(*first), rest),
            [first, second, rest @ ..] if *second < 0x80 => (u16::from(first & 0x7f) | u16::from(*second) << 7, rest),
            _ => return None,
        };
        self.rest = rest;
        Some((raw >> 1) as i16 ^ -((raw & 1) as i16))
    }

    /// Bytes with their length in front; a length below zero is none.
    #[inline]
    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordsFault> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.skip(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Bytes with their length in front, which must not be below zero: a whole record.
    fn prefixed(&mut self) -> Result<&'a [u8], RecordsFault> {
        let length = usize::try_from(self.i32().map_err(|fault| match fault {
            RecordsFault::Length => RecordsFault::EndsEarly,
            other => other,
        })?);
        self.skip(length.map_err(|_| RecordsFault::Length)?).map_err(|_| RecordsFault::EndsEarly)
    }
}

/// Why a number could not be read: overlong, or cut off by the end of the record.
#[cold]
fn fault_of(bytes: &[u8], longest: usize) -> RecordsFault {
    if bytes.len() < longest && bytes.iter().all(|byte| byte & 0x80 != 0) {
        RecordsFault::Length
    } else {
        RecordsFault::Number
    }
}

/// What a walk holds each record against.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalkRules {
    /// Records that there must be.
    pub count: i32,
    /// What the timestamps count from.
    pub base_timestamp: i64,
    /// Which timestamps are taken; `None` when the broker sets them.
    pub timestamps: Option<Near>,
    /// Every record needs a key.
    pub keys: bool,
    /// Nothing is held against the records; one is looked for.
    pub wanted: Option<Wanted>,
}

/// The first record that is both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// At or above this offset, less the batch's base offset.
    pub offset_delta: i64,
    /// At or after this timestamp.
    pub timestamp: i64,
}

/// Bounds of a record's timestamp around now, in ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    pub now: i64,
    pub before_max_ms: i64,
    pub after_max_ms: i64,
}

impl Near {
    /// Kafka's arithmetic, wrapping included. A record without a timestamp passes.
    #[inline]
    fn takes(&self, timestamp: i64) -> bool {
        let age = self.now.wrapping_sub(timestamp);
        timestamp == -1 || (age <= self.before_max_ms && age.wrapping_neg() <= self.after_max_ms)
    }
}

/// Walks over records that arrive piece by piece, cut anywhere, and keeps nothing of them. A record that lies within one piece is read in place.
#[derive(Debug)]
pub(super) struct Walk {
    rules: WalkRules,
    seen: i32,
    max_timestamp: i64,
    refused: Vec<RecordFault>,
    /// Offset delta and timestamp of the record that was looked for.
    found: Option<(i32, i64)>,
    /// The field that comes next.
    field: Field,
    /// The number being read: its bits so far and how many bytes they came in.
    number: (u64, u32),
    /// Bytes to pass over before `field`.
    skip: usize,
    /// Bytes of the record behind what was read and what is to be skipped.
    left: usize,
    headers_left: u32,
    timestamp_delta: i64,
    offset_delta: i32,
    has_key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Length,
    Attributes,
    TimestampDelta,
    OffsetDelta,
    Key,
    Value,
    HeaderCount,
    HeaderKey,
    HeaderValue,
    End,
}

impl Walk {
    pub(super) fn new(rules: WalkRules) -> Self {
        Self {
            rules,
            seen: 0,
            max_timestamp: -1,
            refused: Vec::new(),
            found: None,
            field: Field::Length,
            number: (0, 0),
            skip: 0,
            left: 0,
            headers_left: 0,
            timestamp_delta: 0,
            offset_delta: 0,
            has_key: false,
        }
    }

    /// Which record is being read, counted from 0.
    pub(super) fn index(&self) -> i32 {
        self.seen
    }

    /// All records were read.
    pub(super) fn complete(&self) -> bool {
        self.seen == self.rules.count
    }

    /// A walk from the start, over the same records.
    pub(super) fn again(&self) -> Self {
        Self::new(self.rules)
    }

    /// What is looked for.
    ///
    /// Panics if nothing is.
    pub(super) fn wanted(&self) -> Wanted {
        self.rules.wanted.expect("this walk looks for a record")
    }

    /// Offset delta and timestamp of the record that was looked for, once it was seen.
    pub(super) fn found(&self) -> Option<(i32, i64)> {
        self.found
    }

    /// Takes the next piece.
    pub(super) fn feed(&mut self, mut piece: &[u8]) -> Result<(), RecordsFault> {
        loop {
            if self.field == Field::Length && self.number.1 == 0 {
                piece = self.whole_records(piece)?;
            }
            if self.skip > 0 {
                let now = self.skip.min(piece.len());
                self.skip -= now;
                piece = &piece[now..];
                if self.skip > 0 {
                    return Ok(());
                }
            }
            if self.field == Field::End {
                self.end_record()?;
                continue;
            }
            let Some((byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.byte(*byte)?;
        }
    }

    /// All pieces were fed. Gives the largest timestamp, -1 or more, and the records that are refused.
    pub(super) fn finish(self) -> Result<(i64, Vec<RecordFault>), RecordsFault> {
        if self.seen < self.rules.count || self.field != Field::Length || self.number.1 != 0 {
            return Err(RecordsFault::EndsEarly);
        }
        Ok((self.max_timestamp, self.refused))
    }

    /// Reads records as long as they lie in the piece from end to end. Gives what is left: the front of a record, or nothing.
    fn whole_records<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], RecordsFault> {
        while !piece.is_empty() {
            if self.seen == self.rules.count {
                return Err(RecordsFault::BytesLeft);
            }
            let mut fields = Fields { rest: piece };
            let Some(body) = fields.i32().ok().and_then(|length| fields.skip(usize::try_from(length).ok()?).ok())
            else {
                break;
            };
            if let Some((timestamp_delta, offset_delta, has_key)) = read_plain_record(body) {
                self.record(timestamp_delta, offset_delta, has_key)?;
            } else {
                let record = read_record(body)?;
                self.record(record.timestamp_delta, record.offset_delta, record.key.is_some())?;
            }
            piece = fields.rest;
        }
        Ok(piece)
    }

    /// Takes one byte of a field that may be cut off at the end of the piece.
    fn byte(&mut self, byte: u8) -> Result<(), RecordsFault> {
        if self.field != Field::Length {
            self.left = self.left.checked_sub(1).ok_or(RecordsFault::Length)?;
        }
        if self.field == Field::Attributes {
            self.field = Field::TimestampDelta;
            return Ok(());
        }
        let Some(raw) = self.number_byte(byte)? else {
            // The last byte of the record, and its number goes on.
            let cut = self.field != Field::Length && self.left == 0;
            return if cut { Err(RecordsFault::Length) } else { Ok(()) };
        };
        let value = (raw >> 1) as i64 ^ -((raw & 1) as i64);
        // All numbers but the timestamp were checked to fit 32 bits.
        let length = usize::try_from(value).ok();
        match self.field {
            Field::Length => {
                self.left = length.ok_or(RecordsFault::Length)?;
                if self.left == 0 {
                    return Err(RecordsFault::Length);
                }
                self.field = Field::Attributes;
                return Ok(());
            }
            Field::TimestampDelta => {
                self.timestamp_delta = value;
                self.field = Field::OffsetDelta;
            }
            Field::OffsetDelta => {
                self.offset_delta = value as i32;
                self.field = Field::Key;
            }
            Field::Key => {
                self.has_key = length.is_some();
                self.pass(length.unwrap_or(0))?;
                self.field = Field::Value;
            }
            Field::Value => {
                self.pass(length.unwrap_or(0))?;
                self.field = Field::HeaderCount;
            }
            Field::HeaderCount => {
                let count = length.filter(|count| *count <= self.left).ok_or(RecordsFault::Headers)?;
                self.headers_left = count as u32;
                self.field = if count == 0 { Field::End } else { Field::HeaderKey };
            }
            Field::HeaderKey => {
                self.pass(length.ok_or(RecordsFault::Headers)?)?;
                self.field = Field::HeaderValue;
            }
            Field::HeaderValue => {
                self.pass(length.unwrap_or(0))?;
                self.headers_left -= 1;
                self.field = if self.headers_left == 0 { Field::End } else { Field::HeaderKey };
            }
            Field::Attributes | Field::End => unreachable!("no number in {:?}", self.field),
        }
        // Another field must follow, and it needs a byte.
        if self.left == 0 && self.field != Field::End { Err(RecordsFault::Length) } else { Ok(()) }
    }

    /// Takes one byte of a number; the whole number with its last byte.
    fn number_byte(&mut self, byte: u8) -> Result<Option<u64>, RecordsFault> {
        let (value, place) = self.number;
        let (longest, top) = if self.field == Field::TimestampDelta { (10, 0x01) } else { (5, 0x0f) };
        if place == longest - 1 && byte > top {
            return Err(RecordsFault::Number);
        }
        let value = value | u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 != 0 {
            self.number = (value, place + 1);
            return Ok(None);
        }
        self.number = (0, 0);
        Ok(Some(value))
    }

    /// `count` bytes of a key or a value come next.
    fn pass(&mut self, count: usize) -> Result<(), RecordsFault> {
        self.left = self.left.checked_sub(count).ok_or(RecordsFault::Length)?;
        self.skip = count;
        Ok(())
    }

    fn end_record(&mut self) -> Result<(), RecordsFault> {
        if self.left != 0 {
            return Err(RecordsFault::Length);
        }
        self.field = Field::Length;
        self.record(self.timestamp_delta, self.offset_delta, self.has_key)
    }

    /// Holds one well-formed record against the rules.
    #[inline]
    fn record(&mut self, timestamp_delta: i64, offset_delta: i32, has_key: bool) -> Result<(), RecordsFault> {
        if let Some(wanted) = self.rules.wanted {
            self.look(wanted, timestamp_delta, offset_delta);
            return Ok(());
        }
        if offset_delta != self.seen {
            return Err(RecordsFault::OffsetDelta { found: offset_delta });
        }
        let timestamp = self.rules.base_timestamp.wrapping_add(timestamp_delta);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        if self.rules.keys && !has_key {
            self.refuse(RecordFaultKind::NoKey);
        } else if let Some(near) = self.rules.timestamps
            && !near.takes(timestamp)
        {
            let (from, to) = (near.now.saturating_sub(near.before_max_ms), near.now.saturating_add(near.after_max_ms));
            self.refuse(RecordFaultKind::Timestamp { timestamp, from, to });
        }
        self.seen += 1;
        Ok(())
    }

    #[cold]
    fn look(&mut self, wanted: Wanted, timestamp_delta: i64, offset_delta: i32) {
        let timestamp = self.rules.base_timestamp.wrapping_add(timestamp_delta);
        self.seen += 1;
        if self.found.is_none() && i64::from(offset_delta) >= wanted.offset_delta && timestamp >= wanted.timestamp {
            self.found = Some((offset_delta, timestamp));
        }
    }

    #[cold]
    fn refuse(&mut self, kind: RecordFaultKind) {
        if self.refused.len() < RECORD_FAULTS_MAX {
            self.refused.push(RecordFault { index: self.seen, kind });
        }
    }
}
