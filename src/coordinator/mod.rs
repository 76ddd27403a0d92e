//! Consumer groups of the classic protocol, and the offsets that groups commit. So far: their records, and where they live.

mod partition; // which partition a group belongs to
pub mod records; // the bytes in __consumer_offsets

pub use partition::partition_for;
pub use records::{CoordinatorRecord, RecordFault};
