//! One member: what it said of itself, its part of the work, and what it waits for.

use bytes::Bytes;

use super::command::{Protocol, Token};
use crate::protocol::Str;

/// One member.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Member {
    pub(super) group_instance_id: Option<Str>,
    pub(super) client_id: Str,
    pub(super) client_host: Str,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// In the order of its preference; no name twice.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// The JoinGroup that waits.
    pub(super) awaiting_join: Option<Token>,
    /// The SyncGroup that waits.
    pub(super) awaiting_sync: Option<Token>,
    /// It has not been through a rebalance. It may vanish while it waits, so waiting does not prove that it lives.
    pub(super) is_new: bool,
}

impl Member {
    /// What it said under a protocol.
    pub(super) fn metadata(&self, protocol: Option<&Str>) -> Bytes {
        let found = self.protocols.iter().find(|offered| Some(&offered.name) == protocol);
        found.map(|offered| offered.metadata.clone()).unwrap_or_default()
    }

    /// Memory, as it is charged.
    pub(super) fn bytes(&self) -> usize {
        let identity = self.group_instance_id.as_ref().map_or(0, |id| id.len());
        let protocols =
            self.protocols.iter().map(|protocol| PROTOCOL_BYTES + protocol.name.len() + protocol.metadata.len());
        identity + self.client_id.len() + self.client_host.len() + self.assignment.len() + protocols.sum::<usize>()
    }
}

/// What a member says of itself when it joins again.
#[derive(Clone, Debug)]
pub(super) struct MemberUpdate {
    pub(super) protocols: Vec<Protocol>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
}

/// A copy that keeps no frame and no batch in memory.
pub(super) fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// What a member is charged for its id, its timer and its places in maps.
pub(super) fn member_bytes(id: &str) -> usize {
    MEMBER_BYTES + 4 * id.len()
}

/// What a member is charged besides what it says.
const MEMBER_BYTES: usize = 768;
/// What a protocol of a member is charged besides name and metadata.
pub(super) const PROTOCOL_BYTES: usize = 96;
