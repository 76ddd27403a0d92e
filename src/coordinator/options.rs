//! What an operator may choose about groups.

use std::time::Duration;

use crate::base::limits::{BATCH_BYTES_MAX, COORDINATOR_BYTES_MAX, GROUP_MEMBERS_MAX};

/// The settings of a coordinator, with Kafka's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `group.min.session.timeout.ms`.
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub group_max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub group_initial_rebalance_delay: Duration,
    /// `group.max.size`. Never more than [`GROUP_MEMBERS_MAX`].
    pub group_max_size: usize,
    /// `offset.metadata.max.bytes`. Kafka counts UTF-16 code units.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// `group.consumer.session.timeout.ms`.
    pub group_consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub group_consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`.
    pub group_consumer_assignment_interval_ms: i32,
    /// `group.consumer.max.size`. Never more than [`GROUP_MEMBERS_MAX`].
    pub group_consumer_max_size: usize,
    /// `group.consumer.assignors`. The first one is that of groups whose members do not name one. Never none.
    pub group_consumer_assignors: Vec<Assignor>,
    /// Bytes of a batch that the partition takes at most (`max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Bytes of members and offsets that may be held at most.
    pub bytes_max: usize,
}

/// Who deals partitions out to the members of a group of the consumer protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assignor {
    /// Each member has as many as the others, and keeps what it has where that is possible.
    Uniform,
    /// Each member has neighbouring partitions of each topic, the same ones of topics with the same number of partitions.
    Range,
}

impl Assignor {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.name() == name)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_initial_rebalance_delay: Duration::from_secs(3),
            group_max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(10 * 60),
            group_consumer_session_timeout_ms: 45_000,
            group_consumer_heartbeat_interval_ms: 5_000,
            group_consumer_assignment_interval_ms: 1_000,
            group_consumer_max_size: i32::MAX as usize,
            group_consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            batch_bytes_max: 1_048_588,
            bytes_max: COORDINATOR_BYTES_MAX,
        }
    }
}

impl Options {
    /// Members that a group may have.
    pub(super) fn members_max(&self) -> usize {
        self.group_max_size.min(GROUP_MEMBERS_MAX)
    }

    /// Members that a group of the consumer protocol may have.
    pub(super) fn consumers_max(&self) -> usize {
        self.group_consumer_max_size.min(GROUP_MEMBERS_MAX)
    }

    /// The assignor of groups whose members do not name one.
    pub(super) fn default_assignor(&self) -> Assignor {
        self.group_consumer_assignors.first().copied().unwrap_or(Assignor::Uniform)
    }

    /// Bytes that a record may add to a batch of its own.
    pub(super) fn record_bytes_max(&self) -> usize {
        self.batch_bytes_max.min(BATCH_BYTES_MAX).saturating_sub(crate::record::HEADER_BYTES)
    }
}

/// A timeout as clients and records give it. Below zero counts as zero.
pub(super) fn millis(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}
