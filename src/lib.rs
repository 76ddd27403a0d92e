//! Coretide: a broker that speaks the Apache Kafka protocol. `src/ARCHITECTURE.md` shows the house.

pub mod base;
pub mod broker;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod control;
pub mod coordinator;
pub mod io;
pub mod logs;
pub mod net;
pub mod node;
pub mod partition;
pub mod protocol;
pub mod record;
pub mod serve;
pub mod shard;
pub mod sim;
pub mod storage;
