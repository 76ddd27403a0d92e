//! Accepts connections, counts them against the operator's limits and hands each socket to the core that has the fewest.
//!
//! Always true: below the limits nobody is turned away. Where there is no room, at a limit or on the way to a core, the next one waits outside.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Options, counts};
use crate::base::Map;
use crate::base::limits::{ARRIVALS_MAX, CONNECTIONS_PER_CORE_MAX};
use crate::io::{self, Io, Listener, Receiver, Sender, Socket};

/// A connection on its way to the core that will serve it.
#[derive(Debug)]
pub struct Arrival {
    /// The connected socket.
    pub socket: Socket,
    /// Where the peer is.
    pub peer: SocketAddr,
    /// The number of the listener that it came to.
    pub listener: usize,
    /// Its place among the connections counted, given up when it is dropped.
    pub admission: Admission,
}

/// The ways from the acceptor to the cores, in the order of the cores.
#[derive(Clone)]
pub struct Door {
    lanes: Vec<Lane>,
    counts: Counts,
}

#[derive(Clone)]
struct Lane {
    arrivals: Sender<Arrival>,
    /// Connections of the core, those on their way to it included.
    connections: Arc<AtomicUsize>,
}

/// Makes the ways to `cores` cores, before the cores are started.
pub fn doors(cores: usize) -> (Door, Vec<Receiver<Arrival>>) {
    let ways = (0..cores).map(|_| {
        let (arrivals, end) = io::mailbox(ARRIVALS_MAX);
        (Lane { arrivals, connections: Arc::default() }, end)
    });
    let (lanes, ends) = ways.unzip();
    (Door { lanes, counts: Counts::default() }, ends)
}

/// Accepts on one listener for ever. All acceptors run on the same core, with clones of one door; `turn` is theirs together.
pub async fn accept(io: Io, listener: Listener, number: usize, door: Door, turn: Rc<Turn>, options: Rc<Options>) {
    let most = options.connections_max.min(door.lanes.len() * CONNECTIONS_PER_CORE_MAX);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                // As Kafka does: at the limit nobody is turned away, the next one waits.
                while door.counts.all.load(Ordering::Relaxed) >= most {
                    io.sleep(FULL_PAUSE).await;
                }
                let lane = turn.next_lane(&door);
                match door.counts.admit(&turn, lane, peer.ip(), options.connections_per_ip_max) {
                    Some(admission) => {
                        // It fails only when the broker has ended.
                        let _ = lane.arrivals.send(Arrival { socket, peer, listener: number, admission }).await;
                    }
                    None => {
                        turn.counts.count(|counts| counts.refused += 1);
                        tracing::warn!(%peer, "connection closed: max.connections.per.ip is reached");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed; trying again");
                io.sleep(ERROR_PAUSE).await;
            }
        }
        // Many may wait outside; those who are in have their turn.
        io.yield_now().await;
    }
}

/// What the acceptors of one core share: whose turn it is, and who comes from where.
#[derive(Default, Debug)]
pub struct Turn {
    lane: Cell<usize>,
    addresses: RefCell<Map<IpAddr, Arc<AtomicUsize>>>,
    counts: Rc<counts::Counts>,
}

impl Turn {
    /// Whoever is turned away is counted in `counts`.
    pub fn new(counts: Rc<counts::Counts>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// The core with the fewest connections. Those that have as many take turns.
    fn next_lane<'a>(&self, door: &'a Door) -> &'a Lane {
        let cores = door.lanes.len();
        let from = self.lane.get();
        let in_turn = (from..from + cores).map(|core| core % cores);
        let core = in_turn.min_by_key(|core| door.lanes[*core].connections.load(Ordering::Relaxed));
        let core = core.expect("there is a core");
        self.lane.set((core + 1) % cores);
        &door.lanes[core]
    }
}

#[derive(Clone, Default)]
struct Counts {
    all: Arc<AtomicUsize>,
}

impl Counts {
    fn admit(&self, turn: &Turn, lane: &Lane, address: IpAddr, per_ip_max: usize) -> Option<Admission> {
        let mut addresses = turn.addresses.borrow_mut();
        if addresses.len() > ADDRESSES_KEPT {
            addresses.retain(|_, count| count.load(Ordering::Relaxed) > 0);
        }
        let from_here = addresses.entry(address).or_default();
        if from_here.load(Ordering::Relaxed) >= per_ip_max {
            return None;
        }
        let counts = [&self.all, from_here, &lane.connections].map(Arc::clone);
        for count in &counts {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Some(Admission { counts })
    }
}

/// One connection's place in the counts. May be dropped on any core.
#[derive(Debug)]
pub struct Admission {
    /// Of the broker, of its address and of its core.
    counts: [Arc<AtomicUsize>; 3],
}

impl Drop for Admission {
    fn drop(&mut self) {
        for count in &self.counts {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How long the acceptor waits at `max.connections` before it looks again.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// How long the acceptor waits after a failure, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Addresses remembered before those without connections are forgotten.
const ADDRESSES_KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_limit_and_gets_its_places_back() {
        let (door, turn) = (doors(1).0, Turn::default());
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let admit = |address| door.counts.admit(&turn, &door.lanes[0], address, 2);
        let first = admit(here).unwrap();
        let _second = admit(here).unwrap();
        assert!(admit(here).is_none());
        assert!(admit(there).is_some());
        assert_eq!(door.counts.all.load(Ordering::Relaxed), 2);
        drop(first);
        assert!(admit(here).is_some());
    }

    /// In turn whatever they had, a core was full while another had room, and its clients were turned away.
    #[test]
    fn the_core_with_the_fewest_connections_is_next_and_equal_ones_take_turns() {
        let (door, turn) = (doors(3).0, Turn::default());
        let next = || {
            let lane = turn.next_lane(&door);
            let core = door.lanes.iter().position(|other| Arc::ptr_eq(&other.connections, &lane.connections)).unwrap();
            (core, door.counts.admit(&turn, lane, [10, 0, 0, 1].into(), usize::MAX).unwrap())
        };
        let mut held: Vec<_> = (0..6).map(|_| next()).collect();
        assert_eq!(held.iter().map(|(core, _)| *core).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        held.retain(|(core, _)| *core != 1);
        held.extend((0..3).map(|_| next()));
        assert_eq!(held[4..].iter().map(|(core, _)| *core).collect::<Vec<_>>(), [1, 1, 2]);
        drop(held);
        assert_eq!([next().0, next().0, next().0], [0, 1, 2], "each was gone before the next one came");
    }
}
