//! All connections of one core: takes arrivals in, closes the idle, and ends them when the broker stops.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::Options;
use super::bell::Bell;
use super::buffers::Buffers;
use super::connection::Connection;
use super::counts::Counts;
use super::listener::Arrival;
use super::stream::Stream;
use crate::base::Map;
use crate::broker::{Broker, Peer};
use crate::io::{Io, Receiver};

/// Serves the connections that arrive at this core until the broker stops and the last of them has ended, or the time for that is over.
pub async fn serve(io: Io, broker: Rc<Broker>, arrivals: Receiver<Arrival>, options: Rc<Options>, counts: Rc<Counts>) {
    let core = Rc::new(Core {
        io: io.clone(),
        broker: broker.clone(),
        buffers: Buffers::new(options.buffer_bytes),
        options: options.clone(),
        connections: RefCell::default(),
        next: Cell::new(0),
        stopping: Cell::new(false),
        ended: Bell::default(),
        counts,
    });
    io.spawn(core.clone().take_in(arrivals));
    io.spawn(core.clone().sweep());
    broker.shard().stopping().await;
    core.stop().await;
}

struct Core {
    io: Io,
    broker: Rc<Broker>,
    buffers: Buffers,
    options: Rc<Options>,
    connections: RefCell<Map<u64, Rc<Connection>>>,
    next: Cell<u64>,
    stopping: Cell<bool>,
    ended: Bell,
    counts: Rc<Counts>,
}

impl Core {
    async fn take_in(self: Rc<Self>, mut arrivals: Receiver<Arrival>) {
        while let Some(arrival) = arrivals.recv().await {
            if self.stopping.get() {
                continue;
            }
            match self.io.adopt(arrival.socket) {
                Ok(stream) => {
                    let peer = Peer::new(arrival.peer, arrival.listener);
                    let connection = Rc::new(Connection::new(Stream::Plain(stream), peer, self.io.now()));
                    let id = self.next.replace(self.next.get() + 1);
                    self.connections.borrow_mut().insert(id, connection.clone());
                    self.counts.count(|counts| {
                        counts.accepted += 1;
                        counts.open += 1;
                    });
                    let core = self.clone();
                    self.io.spawn(async move {
                        core.clone().one(connection).await;
                        core.connections.borrow_mut().remove(&id);
                        core.counts.count(|counts| counts.open -= 1);
                        core.ended.ring();
                        drop(arrival.admission);
                    });
                }
                Err(error) => {
                    self.counts.count(|counts| counts.refused += 1);
                    tracing::warn!(peer = %arrival.peer, %error, "connection closed: its socket could not be taken over")
                }
            }
            self.io.yield_now().await;
        }
    }

    /// One connection from its first byte to its last answer.
    async fn one(self: Rc<Self>, connection: Rc<Connection>) {
        let (core, reader) = (self.clone(), connection.clone());
        self.io.spawn(async move {
            reader.read_requests(&core.io, &core.broker, &core.buffers, core.options.request_bytes_max).await
        });
        connection.write_answers(&self.io).await;
    }

    /// Closes connections on which nothing moves: after the idle time, and much earlier where others wait for the memory that a frame or an answer
    /// holds.
    async fn sweep(self: Rc<Self>) {
        let period = (self.options.idle_max / 4).clamp(SWEEP_PERIOD_MIN, SWEEP_PERIOD_MAX);
        while !self.stopping.get() {
            self.io.sleep(period).await;
            let now = self.io.now();
            let (scarce, answers_scarce) = (self.buffers.scarce(), self.broker.answers_are_scarce());
            for connection in self.connections.borrow().values() {
                let still = now.since(connection.last_moved());
                if answers_scarce && connection.is_slow_reader(now) {
                    tracing::warn!(peer = %connection.peer.address, "connection closed: it does not read, and others wait for the memory of its answer");
                } else if scarce && connection.is_slow_writer(now) {
                    tracing::warn!(peer = %connection.peer.address, "connection closed: its request does not come, and others wait for the memory of it");
                } else if still <= self.options.idle_max {
                    continue;
                }
                connection.stream.shutdown();
            }
        }
    }

    /// Lets what is under way end, then cuts off what is left.
    async fn stop(self: Rc<Self>) {
        self.stopping.set(true);
        for connection in self.connections.borrow().values() {
            connection.close_when_answered();
        }
        let (core, out_of_time) = (self.clone(), Rc::new(Cell::new(false)));
        let late = out_of_time.clone();
        self.io.spawn(async move {
            core.io.sleep(core.options.stop_within).await;
            late.set(true);
            core.ended.ring();
        });
        self.ended.until(|| out_of_time.get() || self.connections.borrow().is_empty()).await;
        for connection in self.connections.borrow().values() {
            tracing::warn!(peer = %connection.peer.address, "connection cut off: its request did not end in time");
            connection.stream.shutdown();
        }
    }
}

const SWEEP_PERIOD_MIN: Duration = Duration::from_millis(50);
const SWEEP_PERIOD_MAX: Duration = Duration::from_secs(5);
