//! The journal: where every acknowledged entry first becomes durable.
//!
//! Always true: entries become durable in the order in which they were appended; no write here changes the size of a file; a block is
//! never rewritten before its file was recycled. Knows nothing of segments or of Kafka: it keeps typed entries about numbered logs.
//! The rules and the scenarios behind them stand in the storage contract (`src/ARCHITECTURE.md`, "The journal").

pub mod block; // the bytes of one block, as a table
pub mod entry; // the typed entries and their fragments
pub mod plan; // a running journal's decisions: group commit, order, recycling
pub mod recover; // crash frontier or corruption; what survives

pub use entry::{Extent, Head, Kind, Opened};
pub use plan::{Committed, CommittedBlock, Journal, Options, Tail, Ticket, Write};
