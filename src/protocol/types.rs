//! How each type of field is read and written. Behaviour lives here, on the types; declarations only name them.

use bytes::Bytes;
use std::ops::RangeInclusive;

use super::records::Records;
use super::schema::Schema;
use super::text::Str;
use super::wire::{DecodeError, Reader, Version, Writer};
use crate::base::TopicId;

/// A type that a field may have.
pub trait Wire: Sized {
    /// Reads a value. Errors: the bytes are not such a value.
    fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError>;
    /// Writes the value.
    fn write(&self, writer: &mut Writer, version: Version);
    /// Bytes of the smallest value. Bounds how many elements an array can have in the bytes that remain.
    fn smallest(version: Version) -> usize;
    /// The type in Kafka's words.
    fn schema() -> Schema;
}

/// A type whose value may be null on the wire.
pub trait Nullable: Wire {
    /// Reads a value that may be null.
    fn read_nullable(reader: &mut Reader<'_>, version: Version) -> Result<Option<Self>, DecodeError>;
    /// Writes a value or null. Where the version does not allow null, the empty value is written.
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, version: Version);
    /// Bytes of the smallest value when it may be null.
    fn smallest_nullable(version: Version) -> usize {
        Self::smallest(version)
    }
}

/// A whole request or response.
pub trait Message: Wire + Default {
    /// Kafka's name of it.
    const NAME: &'static str;
    /// The versions that are declared.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version (KIP-482); `i16::MAX` if there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads a message. Bytes that follow it are left unread, as Kafka does.
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnknownVersion { message: Self::NAME, version });
        }
        Self::read(reader, Version::new(version, version >= Self::FLEXIBLE_FROM))
    }

    /// Writes the message. Fields that the version does not have are left out.
    ///
    /// # Panics
    /// If the message has no such version. Versions are checked when a request arrives, so this is our mistake.
    fn encode(&self, writer: &mut Writer, version: i16) {
        assert!(Self::VERSIONS.contains(&version), "{} has no version {version}", Self::NAME);
        self.write(writer, Version::new(version, version >= Self::FLEXIBLE_FROM));
    }
}

macro_rules! number {
    ($($type:ident, $kafka:literal, $bytes:literal;)+) => { $(
        impl Wire for $type {
            fn read(reader: &mut Reader<'_>, _: Version) -> Result<Self, DecodeError> {
                reader.$type()
            }
            fn write(&self, writer: &mut Writer, _: Version) {
                writer.$type(*self);
            }
            fn smallest(_: Version) -> usize {
                $bytes
            }
            fn schema() -> Schema {
                Schema::Plain($kafka)
            }
        }
    )+ };
}

number! {
    i8, "int8", 1;
    i16, "int16", 2;
    u16, "uint16", 2;
    i32, "int32", 4;
    i64, "int64", 8;
}

/// Any byte but zero is true, as in Kafka.
impl Wire for bool {
    fn read(reader: &mut Reader<'_>, _: Version) -> Result<Self, DecodeError> {
        Ok(reader.i8()? != 0)
    }
    fn write(&self, writer: &mut Writer, _: Version) {
        writer.i8(i8::from(*self));
    }
    fn smallest(_: Version) -> usize {
        1
    }
    fn schema() -> Schema {
        Schema::Plain("bool")
    }
}

impl Wire for TopicId {
    fn read(reader: &mut Reader<'_>, _: Version) -> Result<Self, DecodeError> {
        reader.topic_id()
    }
    fn write(&self, writer: &mut Writer, _: Version) {
        writer.raw(&self.0);
    }
    fn smallest(_: Version) -> usize {
        16
    }
    fn schema() -> Schema {
        Schema::Plain("uuid")
    }
}

/// What all types with a length in front share: a plain value is one that is not null.
macro_rules! never_null {
    () => {
        fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
            Self::read_nullable(reader, version)?.ok_or(DecodeError::Null)
        }
        fn write(&self, writer: &mut Writer, version: Version) {
            Self::write_nullable(Some(self), writer, version);
        }
    };
}

impl Wire for Str {
    never_null!();
    fn smallest(version: Version) -> usize {
        if version.flexible { 1 } else { 2 }
    }
    fn schema() -> Schema {
        Schema::Plain("string")
    }
}

impl Nullable for Str {
    fn read_nullable(reader: &mut Reader<'_>, version: Version) -> Result<Option<Self>, DecodeError> {
        Ok(reader.text(version.flexible)?.map(Str::from))
    }
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, version: Version) {
        let absent = if version.nullable { None } else { Some("") };
        writer.text(value.map(Str::as_str).or(absent), version.flexible);
    }
}

/// Bytes of the length that stands before bytes, records and arrays.
fn len_bytes(version: Version) -> usize {
    if version.flexible { 1 } else { 4 }
}

/// The length to write for a value that may be absent.
fn len_or_null(len: Option<usize>, version: Version) -> Option<usize> {
    len.or(if version.nullable { None } else { Some(0) })
}

impl Wire for Bytes {
    never_null!();
    fn smallest(version: Version) -> usize {
        len_bytes(version)
    }
    fn schema() -> Schema {
        Schema::Plain("bytes")
    }
}

impl Nullable for Bytes {
    fn read_nullable(reader: &mut Reader<'_>, version: Version) -> Result<Option<Self>, DecodeError> {
        reader.bytes(version.flexible)
    }
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, version: Version) {
        writer.len(len_or_null(value.map(Bytes::len), version), version.flexible);
        writer.raw(value.map_or(&[], |bytes| bytes));
    }
}

/// Plain `Records` are never written as null, for librdkafka refuses a response with a length of -1; null is read as no records. Where null
/// means something, the field is an `Option<Records>`.
impl Wire for Records {
    fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        Ok(Self::read_nullable(reader, version)?.unwrap_or_default())
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        Self::write_nullable(Some(self), writer, version);
    }
    fn smallest(version: Version) -> usize {
        len_bytes(version)
    }
    fn schema() -> Schema {
        Schema::Plain("records")
    }
}

impl Nullable for Records {
    fn read_nullable(reader: &mut Reader<'_>, version: Version) -> Result<Option<Self>, DecodeError> {
        Ok(reader.bytes(version.flexible)?.map(Records::from))
    }
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, version: Version) {
        writer.len(len_or_null(value.map(Records::byte_len), version), version.flexible);
        value.map_or(&[][..], Records::slices).iter().for_each(|slice| writer.share(slice.clone()));
    }
}

impl<T: Wire> Wire for Vec<T> {
    never_null!();
    fn smallest(version: Version) -> usize {
        len_bytes(version)
    }
    fn schema() -> Schema {
        Schema::Array(Box::new(T::schema()))
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader<'_>, version: Version) -> Result<Option<Self>, DecodeError> {
        let version = version.with_null(false);
        let Some(count) = reader.len(version.flexible)? else { return Ok(None) };
        let mut elements = Vec::with_capacity(reader.elements(count, T::smallest(version))?);
        for _ in 0..count {
            elements.push(T::read(reader, version)?);
        }
        Ok(Some(elements))
    }
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, version: Version) {
        writer.len(len_or_null(value.map(Vec::len), version), version.flexible);
        value.map_or(&[][..], Vec::as_slice).iter().for_each(|element| element.write(writer, version.with_null(false)));
    }
}

impl<T: Nullable> Wire for Option<T> {
    fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        match T::read_nullable(reader, version)? {
            None if !version.nullable => Err(DecodeError::Null),
            value => Ok(value),
        }
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        T::write_nullable(self.as_ref(), writer, version);
    }
    fn smallest(version: Version) -> usize {
        T::smallest_nullable(version)
    }
    fn schema() -> Schema {
        Schema::Nullable(Box::new(T::schema()))
    }
}
