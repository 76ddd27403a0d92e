//! The ground floor: ids, limits, time types, the cursor, varints, checksums, maps, rates, and a lender that serves in order.
//!
//! Knows nothing of any other room, has no effects and never awaits.

pub mod budget;
pub mod crc;
pub mod cursor;
pub mod ids;
pub mod limits;
pub mod map;
pub mod nearest;
pub mod rate;
pub mod time;
pub mod times;
pub mod varint;

pub use cursor::{Cursor, Short};
pub use ids::{
    BrokerEpoch, Incarnation, JournalId, LeaderEpoch, LogId, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    ShardId, TopicId,
};
pub use map::{Map, Set};
pub use time::{Mono, Timestamp};
pub use times::Times;
