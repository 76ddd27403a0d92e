//! Where each leader's records begin.

use crate::base::{LeaderEpoch, Offset};

/// The leader epochs of a log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
}

/// Where the records of an epoch end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch at or below the one asked for.
    pub epoch: LeaderEpoch,
    /// The first offset behind its records.
    pub end_offset: Offset,
}

impl EpochCache {
    /// Epochs and the offsets where they begin, oldest first: the lines of `leader-epoch-checkpoint`.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }
}
