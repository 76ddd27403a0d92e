//! Connections: frames in, responses out in order, everything bounded.
//!
//! One core accepts and hands each socket to the core that has the fewest; each core serves its own connections to their end. Always true: a length
//! from the wire is checked before anything is sized by it; memory is charged before a body is read, and a connection that must wait for memory is not
//! read; responses leave in request order; only Produce after Produce overlaps; a read of a living connection is never abandoned half way.
//! Knows nothing of what a request means: that is the broker room's.

mod bell; // wakes the tasks of this core that wait for a condition
mod buffers; // read buffers lent by the core, charged against its budget
mod connection; // one connection: its reader and its writer
mod counts; // connections, counted
mod inbox; // cuts frames out of a read buffer
mod listener; // accepts, counts and hands sockets out
mod outbox; // responses in request order
mod serve; // all connections of one core
mod stream; // the bytes of one connection

pub use counts::{Counts, Metrics};
pub use listener::{Arrival, Door, Turn, accept, doors};
pub use serve::serve;

use std::time::Duration;

use crate::base::limits::REQUEST_BYTES_MAX;

/// What an operator may set about connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a request frame at most (`socket.request.max.bytes`); the catalogue sets a lower limit for those without records.
    pub request_bytes_max: usize,
    /// Connections of the whole broker at most (`max.connections`).
    pub connections_max: usize,
    /// Connections from one address at most (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
    /// A connection on which nothing moved for this long is closed (`connections.max.idle.ms`).
    pub idle_max: Duration,
    /// Bytes of read buffers that one core lends at a time.
    pub buffer_bytes: usize,
    /// How long requests may take to end when the broker stops.
    pub stop_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: REQUEST_BYTES_MAX,
            connections_max: usize::MAX,
            connections_per_ip_max: usize::MAX,
            idle_max: Duration::from_secs(600),
            buffer_bytes: 128 << 20,
            stop_within: Duration::from_secs(5),
        }
    }
}
