//! The Kafka wire, as much as the benchmark speaks: big-endian integers, strings and arrays of both kinds (classic and compact).

use crate::{Error, Result};

/// API keys used here.
pub mod api {
    #![allow(missing_docs)]
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const FIND_COORDINATOR: i16 = 10;
    pub const JOIN_GROUP: i16 = 11;
    pub const HEARTBEAT: i16 = 12;
    pub const LEAVE_GROUP: i16 = 13;
    pub const SYNC_GROUP: i16 = 14;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const DELETE_TOPICS: i16 = 20;
    pub const INIT_PRODUCER_ID: i16 = 22;
}

/// The Produce version that `load` speaks and `floor` answers: the first flexible one.
pub const PRODUCE_VERSION: i16 = 9;

/// Appends wire values to a vector.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

#[allow(missing_docs)]
impl Writer {
    pub fn i8(&mut self, v: i8) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    pub fn i16(&mut self, v: i16) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    pub fn i32(&mut self, v: i32) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    pub fn i64(&mut self, v: i64) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    /// An unsigned varint, as compact lengths and tags are.
    pub fn uvarint(&mut self, mut v: u32) -> &mut Self {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
        self
    }
    /// A classic string.
    pub fn string(&mut self, s: &str) -> &mut Self {
        self.i16(s.len() as i16).raw(s.as_bytes())
    }
    /// A classic byte field.
    pub fn bytes32(&mut self, bytes: &[u8]) -> &mut Self {
        self.i32(bytes.len() as i32).raw(bytes)
    }
    /// A compact string.
    pub fn compact(&mut self, s: &str) -> &mut Self {
        self.uvarint(s.len() as u32 + 1).raw(s.as_bytes())
    }
}

/// Starts a request frame: length left open (see [`close_frame`]), header version 1, or 2 if `flexible`.
pub fn open_frame(api: i16, version: i16, correlation: i32, flexible: bool) -> Writer {
    let mut w = Writer::default();
    w.i32(0).i16(api).i16(version).i32(correlation).string("coretide-perf");
    if flexible {
        w.uvarint(0);
    }
    w
}

/// Fills in the length of a frame begun with [`open_frame`].
pub fn close_frame(w: Writer) -> Vec<u8> {
    let mut bytes = w.0;
    let length = (bytes.len() - 4) as i32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Reads wire values from a slice; every method fails instead of reading past the end.
pub struct Reader<'a>(pub &'a [u8]);

#[allow(missing_docs)]
impl<'a> Reader<'a> {
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) =
            self.0.split_at_checked(n).ok_or_else(|| Error::from("the answer ends in the middle of a field"))?;
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take returned N bytes"))
    }
    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }
    pub fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a varint of more than five bytes".into())
    }
    /// A classic string or byte field; absent reads as empty.
    pub fn bytes16(&mut self) -> Result<&'a [u8]> {
        let n = self.i16()?;
        self.take(n.max(0) as usize)
    }
    pub fn bytes32(&mut self) -> Result<&'a [u8]> {
        let n = self.i32()?;
        self.take(n.max(0) as usize)
    }
    /// A compact string or byte field; absent reads as empty.
    pub fn compact(&mut self) -> Result<&'a [u8]> {
        let n = self.uvarint()?;
        self.take(n.saturating_sub(1) as usize)
    }
    pub fn tags(&mut self) -> Result<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let n = self.uvarint()?;
            self.take(n as usize)?;
        }
        Ok(())
    }
}
