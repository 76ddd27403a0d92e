//! The wire: Kafka's messages as types, and the bytes they become.
//!
//! A message is declared once, in a form that reads like the protocol's own documentation (`message!`), and both directions of
//! the codec follow from the declaration. Always true: nothing is sized from a number that came from the wire, no input makes a decoder panic,
//! and record bytes are shared, never copied. Knows nothing of topics that exist, of sockets or of what an error means to the broker.

mod message; // the declaration language
#[cfg(test)]
mod oracle; // every message and version against other codecs

pub mod api_key; // which APIs there are, and from which version they are flexible
pub mod error_code; // Kafka's error codes
pub mod frame; // one response as it leaves: header bytes and shared slices
pub mod header; // what stands before every request and response
pub mod messages; // one file per API
pub mod produce_walk; // the hot path's reading of a Produce request
pub mod records; // record batches, carried unread
pub mod schema; // a declaration as data, to be compared with Kafka's own
pub mod text; // a cheap shared string
pub mod types; // how each type of field is read and written
pub mod wire; // bounded reader, and the writer

pub(crate) use message::message;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use frame::{Frame, LENGTH_BYTES, TooLong};
pub use header::{RequestHeader, decode_request_header};
pub use records::Records;
pub use text::Str;
pub use types::{Message, Nullable, Wire};
pub use wire::{DecodeError, Reader, Version, Writer};
