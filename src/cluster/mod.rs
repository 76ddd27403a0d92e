//! What the whole cluster agrees on: a log of commands, and the image that applying them gives.
//!
//! Always true: the image is a function of the commands alone, so every node that applies the same log holds the same image. Every rule is checked
//! inside [`apply`]; a refused command leaves everything but the position unchanged. A log id is given out once and never again. Knows nothing of
//! files, cores' state, clocks, chance or the network: ids that need chance are carried by the command.

mod apply;
mod codec;
mod command;
mod grants;
mod image;
mod names;
mod quorum;
mod shelf;
pub mod topic_config;

pub use apply::{CommandFault, Event, Outcome, apply};
pub use codec::DecodeError;
pub use command::{
    AlterTopicConfigs, Assignment, BrokerStarted, Command, ConfigChange, ConfigEntry, ConfigOperation,
    CreatePartitions, CreateTopic, Endpoint,
};
pub use image::{
    Image, LogState, METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_LEVEL_MIN, Node, Partition, Topic,
    placement,
};
pub use names::{GROUPS_TOPIC, collision_key, is_internal, validate_name};
pub use quorum::{EntryId, Membership, Vote};
pub use topic_config::{TopicOverrides, TopicSettings};
