//! Accepts connections, counts them against the operator's limits and hands the sockets to the cores in turn.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Options, counts};
use crate::base::Map;
use crate::base::limits::ARRIVALS_MAX;
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
    lanes: Vec<Sender<Arrival>>,
    counts: Counts,
}

/// Makes the ways to `cores` cores, before the cores are started.
pub fn doors(cores: usize) -> (Door, Vec<Receiver<Arrival>>) {
    let (lanes, ends) = (0..cores).map(|_| io::mailbox(ARRIVALS_MAX)).unzip();
    (Door { lanes, counts: Counts::default() }, ends)
}

/// Accepts on one listener for ever. All acceptors run on the same core, with clones of one door; `turn` is theirs together.
pub async fn accept(io: Io, listener: Listener, number: usize, door: Door, turn: Rc<Turn>, options: Rc<Options>) {
    loop {
        // As Kafka does: at the limit nobody is turned away, the next one waits outside.
        while door.counts.all.load(Ordering::Relaxed) >= options.connections_max {
            io.sleep(FULL_PAUSE).await;
        }
        match listener.accept().await {
            Ok((socket, peer)) => match door.counts.admit(&turn, peer.ip(), options.connections_per_ip_max) {
                Some(admission) => {
                    let arrival = Arrival { socket, peer, listener: number, admission };
                    if turn.next_lane(&door).try_send(arrival).is_err() {
                        turn.counts.count(|counts| counts.refused += 1);
                        tracing::warn!(%peer, "connection closed: its core takes no more");
                    }
                }
                None => {
                    turn.counts.count(|counts| counts.refused += 1);
                    tracing::warn!(%peer, "connection closed: max.connections.per.ip is reached");
                }
            },
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
    lane: std::cell::Cell<usize>,
    addresses: RefCell<Map<IpAddr, Arc<AtomicUsize>>>,
    counts: Rc<counts::Counts>,
}

impl Turn {
    /// Whoever is turned away is counted in `counts`.
    pub fn new(counts: Rc<counts::Counts>) -> Self {
        Self { counts, ..Self::default() }
    }

    fn next_lane<'a>(&self, door: &'a Door) -> &'a Sender<Arrival> {
        let lane = self.lane.get();
        self.lane.set((lane + 1) % door.lanes.len());
        &door.lanes[lane]
    }
}

#[derive(Clone, Default)]
struct Counts {
    all: Arc<AtomicUsize>,
}

impl Counts {
    fn admit(&self, turn: &Turn, address: IpAddr, per_ip_max: usize) -> Option<Admission> {
        let mut addresses = turn.addresses.borrow_mut();
        if addresses.len() > ADDRESSES_KEPT {
            addresses.retain(|_, count| count.load(Ordering::Relaxed) > 0);
        }
        let from_here = addresses.entry(address).or_default();
        if from_here.load(Ordering::Relaxed) >= per_ip_max {
            return None;
        }
        from_here.fetch_add(1, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
        Some(Admission { all: self.all.clone(), from_here: from_here.clone() })
    }
}

/// One connection's place in the counts. May be dropped on any core.
#[derive(Debug)]
pub struct Admission {
    all: Arc<AtomicUsize>,
    from_here: Arc<AtomicUsize>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.from_here.fetch_sub(1, Ordering::Relaxed);
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
        let (counts, turn) = (Counts::default(), Turn::default());
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = counts.admit(&turn, here, 2).unwrap();
        let _second = counts.admit(&turn, here, 2).unwrap();
        assert!(counts.admit(&turn, here, 2).is_none());
        assert!(counts.admit(&turn, there, 2).is_some());
        assert_eq!(counts.all.load(Ordering::Relaxed), 2);
        drop(first);
        assert!(counts.admit(&turn, here, 2).is_some());
    }
}
