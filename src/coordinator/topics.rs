//! The topics that there are, as a coordinator has to know them: groups of the consumer protocol subscribe to them, and the coordinator deals them out.

use crate::base::TopicId;
use crate::protocol::Str;

/// The topics of the cluster, as they are now.
pub trait Topics {
    /// Changes whenever a topic is created, is deleted, or gets more partitions.
    fn version(&self) -> u64;

    /// A topic's id and how many partitions it has.
    fn find(&self, name: &str) -> Option<(TopicId, i32)>;

    /// The name of the topic with this id.
    fn name(&self, id: TopicId) -> Option<Str>;
}
