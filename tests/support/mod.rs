//! What the integration tests share.

pub mod kafka;
pub mod node;
pub mod process;
pub mod scrape;
