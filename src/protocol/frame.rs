//! One message as it goes over a connection: four bytes of length, a header, a body.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::api_key::ApiKey;
use super::header::{RequestHeader, encode_response_header};
use super::text::Str;
use super::types::Message;
use super::wire::Writer;

/// Bytes of the length that stands before every message. It does not count itself.
pub const LENGTH_BYTES: usize = 4;

/// Bytes reserved for what a frame does not share.
const OWN_BYTES: usize = 256;

/// A whole message, ready to be written: header bytes of its own and the shared slices of its records, taking turns.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// What to write, in order. No part is empty.
    pub parts: SmallVec<[Bytes; 4]>,
}

impl Frame {
    /// A response to a request of this API and version.
    ///
    /// An ApiVersions request of a version that the broker does not have is answered with version 0 here (KIP-511).
    ///
    /// # Panics
    /// If the message has no such version.
    pub fn response(api: ApiKey, version: i16, correlation_id: i32, message: &impl Message) -> Self {
        Self::build(|writer| {
            encode_response_header(writer, api, version, correlation_id);
            message.encode(writer, version);
        })
    }

    /// A request, for clients and tests.
    ///
    /// # Panics
    /// If the message has no such version.
    pub fn request(
        api: ApiKey,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
        message: &impl Message,
    ) -> Self {
        let header = RequestHeader { api, version, correlation_id, client_id: client_id.map(Str::from) };
        Self::build(|writer| {
            header.encode(writer);
            message.encode(writer, version);
        })
    }

    fn build(content: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::with_capacity(OWN_BYTES);
        writer.i32(0);
        content(&mut writer);
        let len = writer.written() - LENGTH_BYTES;
        writer.overwrite_i32(0, i32::try_from(len).expect("a frame stays below 2 GiB"));
        Self { parts: writer.finish() }
    }

    /// Bytes of the frame, its length included.
    pub fn byte_len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// The frame in one piece, its length included. Copies; for tests and small messages.
    pub fn into_bytes(self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.byte_len());
        self.parts.iter().for_each(|part| whole.extend_from_slice(part));
        whole.freeze()
    }
}
