//! Who asks, and what is known of the request: handed to every handler.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::Mono;
use crate::base::limits::{REQUEST_BYTES_LARGE, SENDS_LITTLE_BYTES_PER_SECOND, SMALL_PRODUCE_BYTES};
use crate::base::rate::Rate;
use crate::protocol::{ApiKey, Str};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// The listener it came in by, as its number among those configured.
    pub listener: usize,
    /// Whom it has proved to be.
    pub principal: Principal,
    sent: Cell<Rate<SENDS_LITTLE_BYTES_PER_SECOND>>,
}

impl Peer {
    /// A peer that has not proved to be anyone.
    pub fn new(address: SocketAddr, listener: usize) -> Self {
        Self { address, listener, principal: Principal::anonymous(), sent: Cell::default() }
    }

    /// Counts a request of so many bytes.
    pub fn sends(&self, bytes: usize, now: Mono) {
        self.sent.set(self.sent.get().and(bytes, now));
    }

    /// Whether it sent little lately.
    pub fn sends_little(&self) -> bool {
        self.sent.get().is_kept()
    }
}

/// Whom a peer has proved to be, for authorisation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal(Rc<str>);

impl Principal {
    /// Nobody in particular: `User:ANONYMOUS`, Kafka's name for it.
    pub fn anonymous() -> Self {
        Self(Rc::from("User:ANONYMOUS"))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One request and its circumstances.
#[derive(Debug)]
pub struct RequestContext {
    /// What is asked.
    pub api: ApiKey,
    /// The version of request and response.
    pub version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
    /// The name of the listener it came in by.
    pub listener: Arc<str>,
    /// Where the client is.
    pub peer: SocketAddr,
    /// Whom the client has proved to be.
    pub principal: Principal,
    /// Bytes of the request.
    pub request_bytes: usize,
    /// Whether the client sent little lately.
    pub sends_little: bool,
    /// When it reached each stage.
    pub stamps: Stamps,
}

impl RequestContext {
    /// Whether it may name so much that only a few like it are answered at a time.
    pub fn is_large(&self) -> bool {
        self.request_bytes > REQUEST_BYTES_LARGE
    }

    /// Whether it has small batches, of a client that does not send many of them.
    pub fn is_small(&self) -> bool {
        self.sends_little && self.request_bytes <= SMALL_PRODUCE_BYTES
    }

    /// Where the client is, as groups show it.
    pub fn client_host(&self) -> Str {
        printed(self.peer.ip())
    }
}

/// An address as Java prints one without a name: IPv6 without the short form.
fn printed(address: IpAddr) -> Str {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}").into(),
        IpAddr::V6(address) => {
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:x}")).collect();
            format!("/{}", groups.join(":")).into()
        }
    }
}

/// A stage on a request's way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Stage {
    /// The last byte was read.
    Read,
    /// The body was understood.
    Decoded,
    /// It was sent to the cores that own its partitions.
    Routed,
    /// Its records have their offsets. Known only where the owner is this core.
    Appended,
    /// Its records are on disk.
    Durable,
    /// The response was made.
    Responded,
}

/// How many stages there are.
pub const STAGES: usize = 6;

/// When a request reached each stage; zero where it did not.
#[derive(Default, Debug)]
pub struct Stamps([Cell<Mono>; STAGES]);

impl Stamps {
    /// A request whose last byte was read at `read`.
    pub fn new(read: Mono) -> Self {
        let stamps = Self::default();
        stamps.mark(Stage::Read, read);
        stamps
    }

    /// The request reached `stage`.
    pub fn mark(&self, stage: Stage, now: Mono) {
        self.0[stage as usize].set(now);
    }

    /// When it reached `stage`, if it did.
    pub fn at(&self, stage: Stage) -> Option<Mono> {
        Some(self.0[stage as usize].get()).filter(|at| *at != Mono::default())
    }

    /// From the last byte read to the response.
    pub fn total(&self) -> Option<Duration> {
        Some(self.at(Stage::Responded)?.since(self.at(Stage::Read)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_that_were_not_reached_have_no_time() {
        let stamps = Stamps::new(Mono(5));
        assert_eq!((stamps.at(Stage::Read), stamps.at(Stage::Durable), stamps.total()), (Some(Mono(5)), None, None));
        stamps.mark(Stage::Responded, Mono(9));
        assert_eq!(stamps.total(), Some(Duration::from_nanos(4)));
    }

    #[test]
    fn hosts_are_printed_as_java_does() {
        for (address, expected) in [
            ("127.0.0.1", "/127.0.0.1"),
            ("::1", "/0:0:0:0:0:0:0:1"),
            ("::ffff:10.0.0.1", "/10.0.0.1"),
            ("fe80::a:b0", "/fe80:0:0:0:0:0:a:b0"),
        ] {
            assert_eq!(printed(address.parse().unwrap()), *expected);
        }
    }
}
