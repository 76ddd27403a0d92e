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

/// A message that is longer than the length before it can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message of {bytes} bytes is longer than its length can say")]
pub struct TooLong {
    /// Bytes of the message.
    pub bytes: usize,
}

/// Bytes reserved for what a frame does not share.
const OWN_BYTES: usize = 256;

/// A whole message, ready to be written: header bytes of its own and the shared slices of its records, taking turns.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// What to write, in order. No part is empty.
    pub parts: SmallVec<[Bytes; 4]>,
    /// It has an error code somewhere that is not zero.
    pub has_error: bool,
}

impl Frame {
    /// A response to a request of this API and version.
    ///
    /// An ApiVersions request of a version that the broker does not have is answered with version 0 here (KIP-511).
    ///
    /// # Errors
    /// [`TooLong`] at 2 GiB.
    ///
    /// # Panics
    /// If the message has no such version.
    pub fn response(api: ApiKey, version: i16, correlation_id: i32, message: &impl Message) -> Result<Self, TooLong> {
        Self::build(|writer| {
            encode_response_header(writer, api, version, correlation_id);
            message.encode(writer, version);
        })
    }

    /// A request, for clients and tests.
    ///
    /// # Panics
    /// If the message has no such version, or reaches 2 GiB.
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
        .expect("a client asks for less than 2 GiB")
    }

    fn build(content: impl FnOnce(&mut Writer)) -> Result<Self, TooLong> {
        let mut writer = Writer::with_capacity(OWN_BYTES);
        writer.i32(0);
        content(&mut writer);
        let bytes = writer.written() - LENGTH_BYTES;
        writer.overwrite_i32(0, i32::try_from(bytes).map_err(|_| TooLong { bytes })?);
        let has_error = writer.has_error();
        Ok(Self { parts: writer.finish(), has_error })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Records;
    use crate::protocol::messages::fetch::{FetchableTopicResponse, PartitionData};
    use crate::protocol::messages::{ApiVersionsResponse, FetchResponse, MetadataResponse};

    fn length(frame: &Bytes) -> usize {
        u32::from_be_bytes(frame[..LENGTH_BYTES].try_into().unwrap()) as usize
    }

    /// A client reads this answer before it knows what the broker speaks, so its header never changes (KIP-511).
    #[test]
    fn the_response_to_api_versions_has_no_tagged_fields_in_its_header() {
        let response = ApiVersionsResponse { error_code: 35, ..Default::default() };
        let old = Frame::response(ApiKey::ApiVersions, 0, 9, &response).unwrap().into_bytes();
        assert_eq!(&old[..], b"\x00\x00\x00\x0a\x00\x00\x00\x09\x00\x23\x00\x00\x00\x00");
        let new = Frame::response(ApiKey::ApiVersions, 3, 9, &response).unwrap().into_bytes();
        assert_eq!(&new[..], b"\x00\x00\x00\x0c\x00\x00\x00\x09\x00\x23\x01\x00\x00\x00\x00\x00");
        let other = Frame::response(ApiKey::Metadata, 9, 9, &MetadataResponse::default()).unwrap().into_bytes();
        assert_eq!((length(&other), other[8]), (other.len() - LENGTH_BYTES, 0));
    }

    #[test]
    fn records_go_out_as_the_slices_they_came_in() {
        let batches = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        let full = PartitionData { records: batches.iter().cloned().collect(), ..Default::default() };
        let empty = PartitionData { records: Records::default(), ..Default::default() };
        let topic = FetchableTopicResponse { partitions: vec![full, empty], ..Default::default() };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        for version in [4, 11, 12, 18] {
            let frame = Frame::response(ApiKey::Fetch, version, 1, &response).unwrap();
            assert_eq!(frame.parts[1].as_ptr(), batches[0].as_ptr());
            assert_eq!(frame.parts[2].as_ptr(), batches[1].as_ptr());
            assert_eq!(frame.parts.len(), 4);
            let len = frame.byte_len();
            let whole = frame.into_bytes();
            assert_eq!((whole.len(), length(&whole)), (len, len - LENGTH_BYTES));
        }
    }

    /// This ended the process, and an answer with gigabytes of sentences about refused records could reach it.
    #[test]
    fn a_message_that_is_too_long_is_a_fault() {
        let records = Bytes::from(vec![0; 512 << 20]);
        let data = PartitionData { records: [records].into_iter().collect(), ..Default::default() };
        let topic = FetchableTopicResponse { partitions: vec![data; 4], ..Default::default() };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        let fault = Frame::response(ApiKey::Fetch, 12, 1, &response).unwrap_err();
        assert!(fault.bytes > 2 << 30);
    }

    /// librdkafka refuses a response whose records have a length of -1.
    #[test]
    fn no_records_are_written_as_a_length_of_zero() {
        let topic = FetchableTopicResponse { partitions: vec![PartitionData::default()], ..Default::default() };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        let whole = Frame::response(ApiKey::Fetch, 11, 1, &response).unwrap().into_bytes();
        assert_eq!(whole[whole.len() - 4..], [0; 4]);
        let whole = Frame::response(ApiKey::Fetch, 12, 1, &response).unwrap().into_bytes();
        // Records of no bytes, then no tagged fields of partition, topic and response.
        assert_eq!(whole[whole.len() - 4..], [1, 0, 0, 0]);
    }
}
