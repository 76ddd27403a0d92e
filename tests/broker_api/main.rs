//! The broker through its public door: real sockets, a broker inside the test's process.

#[path = "../support/mod.rs"]
mod support;

mod admin; // partitions added, records deleted, sizes, producers, elections and the quorum
mod bad_input; // what a peer may send that it should not
mod compression; // batches stored in the codec of their topic
mod configs; // settings described and altered
mod consumer_groups; // members and epochs of the consumer protocol
mod fetching; // sessions, limits, waiting
mod groups; // members, generations, committed offsets
mod producing; // acks, order, sequences, batches that are refused
mod restarts; // a directory over stops and starts; journals that are full
mod retention; // what is old, or too much, goes
mod topics; // making, describing and deleting them; offsets; ids

use std::net::SocketAddr;
use std::sync::OnceLock;

use support::node::{Node, Wire};

/// A connection to a broker on two cores that all tests of this program share. Each test has topics of its own.
fn connect() -> Wire {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let address = ADDRESS.get_or_init(|| {
        let node = Node::with("broker-api", 2, |_| {});
        let address = node.address;
        // It ends with the process.
        std::mem::forget(node);
        address
    });
    Wire::connect(*address)
}
