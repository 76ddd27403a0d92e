//! What a broker keeps on disk: the journal that makes a batch durable, and the segments it is drained into.
//!
//! Always true: acknowledged bytes are in a journal file that is not yet recycled, or in a segment that was flushed and stands in a durable
//! checkpoint; no byte of a segment is served before its checksum was verified. Knows nothing of requests, groups or replication.
//! The rules come from the storage contract (`ARCHITECTURE.md` names it); only `drive` awaits.

pub mod checkpoint; // a journal's checkpoint file, as a table
pub mod drive; // the only part that waits for a disk
pub mod journal; // where an acknowledged entry first becomes durable
pub mod log; // one replica's stored state: what to read, drain, roll and flush

pub mod cache; // the newest batches, in memory
pub mod checksums; // the checksum file of a segment
pub mod index; // Kafka's offset and time index
pub mod log_checkpoint; // what a checkpoint keeps of one log
pub mod segment; // one segment, and when the next begins

mod error; // what can be wrong with a disk

pub use cache::CachedBatch;
pub use error::{Fault, StorageError};
pub use log::{Log, LogOptions, LogSpec, ReadPlan};
pub use log_checkpoint::{LogCheckpoint, LogCheckpointFault};
