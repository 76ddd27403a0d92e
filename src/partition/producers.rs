//! Idempotent producers.

/// The producers that a log remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {}
