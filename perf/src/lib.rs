//! What the benchmark programs share: pre-built batches, a small blocking Kafka client, measurements of processes, and the runs themselves.
//!
//! Nothing here is linked into the broker, and nothing of the broker is linked in here: the programs measure any endpoint that speaks the
//! Kafka protocol, so they know only the wire.

pub mod batch;
pub mod beside;
pub mod client;
pub mod compare;
pub mod fetch;
pub mod flood;
pub mod groups;
pub mod procfs;
pub mod produce;
pub mod report;
pub mod units;
pub mod wire;

/// What can go wrong in a benchmark ends it: a message for the person who started it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of a step of a benchmark.
pub type Result<T> = std::result::Result<T, Error>;
