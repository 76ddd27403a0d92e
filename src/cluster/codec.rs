//! How the room's bytes are written and read: big-endian numbers, strings and lists with a 32-bit count in front. Nothing is sized from a count before
//! the bytes that must follow it are known to be there.

use crate::base::{Cursor, Short, limits};

/// Why bytes are not what this room writes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the bytes end early: {0}")]
    Short(#[from] Short),
    /// A version that this program does not know. Newer programs write newer versions.
    #[error("{what} has format version {found}; this program reads up to {known}")]
    Version {
        /// What was read.
        what: &'static str,
        /// The version in the bytes.
        found: u16,
        /// The newest version that can be read.
        known: u16,
    },
    /// A command of a kind that this program does not know.
    #[error("a command of kind {0} is not known to this program")]
    Kind(u8),
    /// A field that breaks its own rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// Bytes after the end.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// The checksum does not match.
    #[error("the checksum is {found:08x}, the bytes give {computed:08x}")]
    Checksum {
        /// The one that stands in the bytes.
        found: u32,
        /// The one that the bytes have.
        computed: u32,
    },
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u32(out, u32::try_from(count).expect("lists of a command are far below 2^32"));
}

pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_option_str(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_str(out, text);
    }
}

pub(super) fn str<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(cursor.prefixed()?).map_err(|_| DecodeError::Invalid("a string is not UTF-8"))
}

pub(super) fn bool(cursor: &mut Cursor<'_>) -> Result<bool, DecodeError> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid("a flag is neither 0 nor 1")),
    }
}

pub(super) fn option_str<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a str>, DecodeError> {
    Ok(if bool(cursor)? { Some(str(cursor)?) } else { None })
}

/// A list whose elements take at least `smallest` bytes each.
pub(super) fn list<'a, T>(
    cursor: &mut Cursor<'a>,
    smallest: usize,
    mut element: impl FnMut(&mut Cursor<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = cursor.u32()? as usize;
    let wanted = count.saturating_mul(smallest);
    if wanted > cursor.left() {
        return Err(Short { wanted, left: cursor.left() }.into());
    }
    let mut elements = Vec::with_capacity(count.min(limits::DECODE_RESERVE_MAX));
    for _ in 0..count {
        elements.push(element(cursor)?);
    }
    Ok(elements)
}

pub(super) fn end(cursor: &Cursor<'_>) -> Result<(), DecodeError> {
    match cursor.left() {
        0 => Ok(()),
        left => Err(DecodeError::Trailing(left)),
    }
}
