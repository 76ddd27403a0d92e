//! The record batch: Kafka's message format 2 (KIP-98), as it comes from a socket, stands in the journal and in a segment, and leaves again.
//!
//! Always true: a [`CheckedBatch`] obeys every rule of the format, so nothing behind it looks at records again; bytes of a stored batch
//! are only ever changed in the header, in place, by [`patch`]. Memory that a check needs does not grow with what a batch unfolds to.
//! Knows nothing of topics, partitions, offsets given out, or Kafka's error codes; has no clock and no effects.

mod batch; // the 61 bytes in front, stored batches, and patching them in place
mod build; // batches of our own
mod check; // from a hope to a proof
pub mod compress; // gzip, snappy, lz4, zstd: both ways, bounded
mod recode; // a checked batch in another codec
mod records; // the records inside: iterator and resumable walk
mod search; // a record by its timestamp

pub use batch::{
    BatchHeader, BatchInfo, Batches, Codec, HEADER_BYTES, LOG_OVERHEAD_BYTES, StoredBatch, TimestampType, batches,
    patch,
};
pub use build::{Builder, Header, NewRecord};
pub use check::{BatchFault, BatchLimits, CheckedBatch, Checker, Progress, RawBatch, RecordFault, RecordFaultKind};
pub use compress::{Fold, Scratch};
pub use recode::{Recoded, Recoder};
pub use records::{Headers, Record, RecordsFault, records};
pub use search::{Search, SearchFault, Searched, max_timestamp};
