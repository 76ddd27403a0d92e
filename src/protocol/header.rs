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
