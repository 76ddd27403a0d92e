//! How long a client should pause before its next request (KIP-219). Asked for every response; there are no quotas yet.

use super::context::RequestContext;

/// Milliseconds to pause, given what the request and its response weigh.
pub fn throttle_ms(_context: &RequestContext, _bytes: usize) -> i32 {
    0
}
