//! What stands before every request and response.

use super::api_key::ApiKey;
use super::text::Str;
use super::wire::{DecodeError, Reader, Writer};

/// What a request says before its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// What is asked.
    pub api: ApiKey,
    /// The version of the body, and of the answer. Not checked against anything yet.
    pub version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
}

/// Reads the header of a request, in the version that its API key and API version imply: 1, or 2 with tagged fields. The client id is written
/// in the old way in both, so that a broker can read the header of an ApiVersions request from the future; such a header is read as one of the
/// newest version, and what the body holds is then nobody's concern (KIP-511).
pub fn decode_request_header(reader: &mut Reader<'_>) -> Result<RequestHeader, DecodeError> {
    let key = reader.i16()?;
    let api = ApiKey::from_key(key).ok_or(DecodeError::UnknownApi(key))?;
    let version = reader.i16()?;
    let correlation_id = reader.i32()?;
    let client_id = reader.text(false)?.map(Str::from);
    if api.request_header_version(version) >= 2 {
        reader.skip_tagged_fields()?;
    }
    Ok(RequestHeader { api, version, correlation_id, client_id })
}

impl RequestHeader {
    /// Writes the header, in the version that API and version imply.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i16(self.api.key());
        writer.i16(self.version);
        writer.i32(self.correlation_id);
        writer.text(self.client_id.as_deref(), false);
        if self.api.request_header_version(self.version) >= 2 {
            writer.uvarint(0);
        }
    }
}

/// Writes the header of a response: the correlation id, and from header version 1 on an empty section of tagged fields.
pub(super) fn encode_response_header(writer: &mut Writer, api: ApiKey, version: i16, correlation_id: i32) {
    writer.i32(correlation_id);
    if api.response_header_version(version) >= 1 {
        writer.uvarint(0);
    }
}

/// Reads the header of a response and returns its correlation id.
pub fn decode_response_header(reader: &mut Reader<'_>, api: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if api.response_header_version(version) >= 1 {
        reader.skip_tagged_fields()?;
    }
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn header(bytes: &[u8]) -> (Result<RequestHeader, DecodeError>, usize) {
        let frame = Bytes::copy_from_slice(bytes);
        let mut reader = Reader::new(&frame);
        (decode_request_header(&mut reader), reader.left())
    }

    #[test]
    fn a_header_has_tagged_fields_where_its_version_is_flexible() {
        let (old, left) = header(b"\x00\x03\x00\x08\x00\x00\x00\x07\x00\x02me\x00");
        let expected =
            RequestHeader { api: ApiKey::Metadata, version: 8, correlation_id: 7, client_id: Some("me".into()) };
        assert_eq!((old, left), (Ok(expected.clone()), 1));
        let (new, left) = header(b"\x00\x03\x00\x09\x00\x00\x00\x07\x00\x02me\x01\x05\x01\xff");
        assert_eq!((new, left), (Ok(RequestHeader { version: 9, ..expected }), 0));
        let (anonymous, _) = header(b"\x00\x03\x00\x08\x00\x00\x00\x07\xff\xff");
        assert_eq!(anonymous.unwrap().client_id, None);
        assert_eq!(header(b"\x7f\xff\x00\x08\x00\x00\x00\x07\xff\xff").0, Err(DecodeError::UnknownApi(i16::MAX)));
    }

    /// A client from the future asks in a version that we do not have; its header must be read all the same (KIP-511).
    #[test]
    fn the_header_of_api_versions_is_read_in_any_version() {
        for version in [0, 2, 3, 4, 5, 100, i16::MAX] {
            let expected =
                RequestHeader { api: ApiKey::ApiVersions, version, correlation_id: -3, client_id: Some("c".into()) };
            let mut writer = Writer::default();
            expected.encode(&mut writer);
            let (found, left) = header(&writer.finish().concat());
            assert_eq!((found, left), (Ok(expected), 0));
        }
    }
}
