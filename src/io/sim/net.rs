//! TCP between the simulated processes: bytes arrive late and in pieces, connections break, and whole machines are cut off from each other.
//!
//! Always true: what arrives of a connection is a first part of what was sent, in order. State is behind a lock only because a [`Socket`] may cross
//! cores, as its real twin may; here all cores are one thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

use super::random::Random;
use super::scheduler::{Clock, Outside};

/// How the network behaves.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Microseconds on the way, at least and at most, for each piece.
    pub latency_us: (u64, u64),
    /// Pieces that take `slow_us` instead, one in; 0 is never.
    pub slow_one_in: u32,
    /// Microseconds of a slow piece.
    pub slow_us: u64,
    /// Pieces whose connection breaks instead, both ways, one in; 0 is never.
    pub break_one_in: u32,
    /// Bytes that one direction of a connection holds before its writer waits.
    pub window_bytes: usize,
}

impl Default for NetOptions {
    /// 10 to 300 microseconds, a slow piece now and then, no breaks, 256 KiB.
    fn default() -> Self {
        Self { latency_us: (10, 300), slow_one_in: 2000, slow_us: 10_000, break_one_in: 0, window_bytes: 256 << 10 }
    }
}

/// Ports that are given out for port 0 and to connecting sides.
const FIRST_FREE_PORT: u16 = 20_000;
const LAST_FREE_PORT: u16 = 32_000;
/// Nanoseconds after which connecting to a machine that is cut off fails.
const CONNECT_TIMEOUT_NANOS: u64 = 5_000_000_000;
/// Nanoseconds after which what met a cut tries again.
const CUT_RETRY_NANOS: u64 = 10_000_000;
/// Room that a read makes when its buffer has none.
const READ_ROOM_BYTES: usize = 4096;

/// The machine (process) that an end of a connection is on.
pub(super) type Machine = usize;

#[derive(Clone)]
pub(super) struct Net {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    options: NetOptions,
    random: Random,
    listeners: BTreeMap<SocketAddr, ListenerState>,
    ends: BTreeMap<EndId, End>,
    next_end: EndId,
    next_port: u16,
    agenda: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// Pairs of machines that do not hear each other, the smaller first.
    cut: BTreeSet<(Machine, Machine)>,
    counts: NetCounts,
}

/// What has happened on the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetCounts {
    /// Connections that came about.
    pub connections: u64,
    /// Pieces that arrived.
    pub pieces: u64,
    /// Connections that were broken by injected faults or crashes.
    pub broken: u64,
}

type EndId = u64;

struct ListenerState {
    machine: Machine,
    waiting: VecDeque<EndId>,
    waker: Option<Waker>,
}

/// One end of a connection, with the bytes that have arrived at it.
struct End {
    machine: Machine,
    local: SocketAddr,
    peer_address: SocketAddr,
    /// Gone when the other end was closed.
    peer: EndId,
    /// Known once the connection has come about, and longer than the peer lives.
    peer_machine: Option<Machine>,
    arrived: VecDeque<Bytes>,
    arrived_bytes: usize,
    /// On the way to this end.
    coming_bytes: usize,
    /// Nothing arrives before this, so that order is kept.
    next_arrival: u64,
    /// What a cut holds back, in order; nothing overtakes it.
    held: VecDeque<Event>,
    /// The peer's last byte has arrived.
    ended: bool,
    /// This end will send no more.
    finished: bool,
    broken: bool,
    reader: Option<Waker>,
    /// Writers at the other end that wait for room here.
    writers: Vec<Waker>,
}

enum Event {
    Connect {
        client: EndId,
        to: SocketAddr,
        machine: Machine,
        answer: Arc<Mutex<Answer>>,
    },
    Arrive {
        to: EndId,
        bytes: Bytes,
    },
    End {
        to: EndId,
    },
    TimeOut {
        answer: Arc<Mutex<Answer>>,
    },
    /// Whether what is held back for this end may come now.
    Retry {
        to: EndId,
    },
}

#[derive(Default)]
struct Answer {
    outcome: Option<io::Result<()>>,
    waker: Option<Waker>,
}

impl Outside for Net {
    fn next_at(&self) -> Option<u64> {
        self.lock().agenda.first_key_value().map(|((at, _), _)| *at)
    }

    fn run_due(&self, now: u64) -> bool {
        let mut any = false;
        loop {
            let mut state = self.lock();
            match state.agenda.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let ((_, _), event) = first.remove_entry();
                    let mut wakers = Vec::new();
                    state.happen(event, now, &mut wakers);
                    drop(state);
                    wakers.into_iter().for_each(Waker::wake);
                    any = true;
                }
                _ => return any,
            }
        }
    }
}

impl Net {
    pub(super) fn new(clock: Clock, random: Random, options: NetOptions) -> Self {
        let state = State {
            options,
            random,
            listeners: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_end: 1,
            next_port: FIRST_FREE_PORT,
            agenda: BTreeMap::new(),
            next_event: 0,
            cut: BTreeSet::new(),
            counts: NetCounts::default(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_options(&self, options: NetOptions) {
        self.lock().options = options;
    }

    pub(super) fn counts(&self) -> NetCounts {
        self.lock().counts
    }

    /// Keeps two machines from hearing each other, or lets them again. What is on the way waits.
    pub(super) fn set_cut(&self, a: Machine, b: Machine, cut: bool) {
        let pair = (a.min(b), a.max(b));
        let mut state = self.lock();
        if cut {
            state.cut.insert(pair);
        } else {
            state.cut.remove(&pair);
        }
    }

    /// Breaks all connections of a machine.
    pub(super) fn break_connections(&self, machine: Machine) {
        let mut wakers = Vec::new();
        {
            let mut state = self.lock();
            let ends: Vec<EndId> =
                state.ends.iter().filter(|(_, end)| end.machine == machine).map(|(id, _)| *id).collect();
            for end in ends {
                state.break_both(end, &mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The machine's listeners and connections are gone, as after a crash; the other ends find their connections broken.
    pub(super) fn forget_machine(&self, machine: Machine) {
        self.break_connections(machine);
        let mut state = self.lock();
        state.listeners.retain(|_, listener| listener.machine != machine);
        state.ends.retain(|_, end| end.machine != machine);
    }

    /// The machine's process has ended well: its listeners are gone, and its connections end as they do when they are closed.
    pub(super) fn forget_listeners(&self, machine: Machine) {
        self.lock().listeners.retain(|_, listener| listener.machine != machine);
    }

    /// Nothing that was planned happens any more.
    pub(super) fn forget_agenda(&self) {
        let agenda = std::mem::take(&mut self.lock().agenda);
        drop(agenda);
    }

    pub(super) fn listen(&self, machine: Machine, mut address: SocketAddr) -> io::Result<Listener> {
        let mut state = self.lock();
        if address.port() == 0 {
            address.set_port(state.free_port());
        }
        let taken = |other: &SocketAddr| {
            other.port() == address.port()
                && (other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        if state.listeners.keys().any(taken) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.listeners.insert(address, ListenerState { machine, waiting: VecDeque::new(), waker: None });
        Ok(Listener { net: self.clone(), address, machine })
    }

    pub(super) async fn connect(&self, machine: Machine, to: SocketAddr) -> io::Result<Stream> {
        let answer: Arc<Mutex<Answer>> = Arc::default();
        let id = {
            let mut state = self.lock();
            let local = SocketAddr::new(to.ip(), state.free_port());
            let id = state.add_end(machine, local, to);
            let at = self.clock.now() + state.latency();
            state.plan(at, Event::Connect { client: id, to, machine, answer: Arc::clone(&answer) });
            id
        };
        // Made first, so that a caller who gives up leaves nothing behind.
        let stream = Stream { end: Arc::new(OpenEnd { net: self.clone(), id }) };
        poll_fn(|cx| {
            let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
            match answer.outcome.take() {
                Some(outcome) => Poll::Ready(outcome),
                None => {
                    answer.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await?;
        Ok(stream)
    }
}

impl State {
    fn latency(&mut self) -> u64 {
        let (least, most) = self.options.latency_us;
        let slow = self.random.one_in(self.options.slow_one_in);
        let nanos = self.random.between(least * 1000, most * 1000);
        if slow { self.options.slow_us * 1000 } else { nanos }
    }

    fn free_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = if port == LAST_FREE_PORT { FIRST_FREE_PORT } else { port + 1 };
            let used = self.listeners.keys().any(|address| address.port() == port)
                || self.ends.values().any(|end| end.local.port() == port);
            if !used {
                return port;
            }
        }
    }

    fn add_end(&mut self, machine: Machine, local: SocketAddr, peer_address: SocketAddr) -> EndId {
        let id = self.next_end;
        self.next_end += 1;
        let end = End {
            machine,
            local,
            peer_address,
            peer: 0,
            peer_machine: None,
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            coming_bytes: 0,
            next_arrival: 0,
            held: VecDeque::new(),
            ended: false,
            finished: false,
            broken: false,
            reader: None,
            writers: Vec::new(),
        };
        self.ends.insert(id, end);
        id
    }

    fn plan(&mut self, at: u64, event: Event) {
        self.agenda.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    fn is_cut(&self, a: Machine, b: Machine) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn happen(&mut self, event: Event, now: u64, wakers: &mut Vec<Waker>) {
        match event {
            Event::Connect { client, to, machine, answer } => {
                let listener = self.listeners.get(&to).or_else(|| {
                    let any = |address: &&SocketAddr| address.ip().is_unspecified() && address.port() == to.port();
                    self.listeners.get(self.listeners.keys().find(any)?)
                });
                let server = listener.map(|listener| listener.machine);
                if server.is_some_and(|server| self.is_cut(machine, server)) {
                    return self.plan(now + CONNECT_TIMEOUT_NANOS, Event::TimeOut { answer });
                }
                let outcome = match server {
                    None => Err(io::ErrorKind::ConnectionRefused.into()),
                    Some(server) => self.join(client, to, server, wakers),
                };
                reply(&answer, outcome, wakers);
            }
            Event::TimeOut { answer } => reply(&answer, Err(io::ErrorKind::TimedOut.into()), wakers),
            Event::Arrive { to, .. } | Event::End { to } if self.is_held(to) => {
                let end = self.ends.get_mut(&to).expect("what is held is there");
                end.held.push_back(event);
                if end.held.len() == 1 {
                    self.plan(now + CUT_RETRY_NANOS, Event::Retry { to });
                }
            }
            Event::Retry { to } if self.is_cut_off(to) => self.plan(now + CUT_RETRY_NANOS, Event::Retry { to }),
            Event::Retry { to } => {
                let held = self.ends.get_mut(&to).map(|end| std::mem::take(&mut end.held));
                held.into_iter().flatten().for_each(|event| self.happen(event, now, wakers));
            }
            Event::Arrive { to, bytes } => {
                if self.random.one_in(self.options.break_one_in) {
                    return self.break_both(to, wakers);
                }
                let Some(end) = self.ends.get_mut(&to) else { return };
                self.counts.pieces += 1;
                end.coming_bytes -= bytes.len();
                end.arrived_bytes += bytes.len();
                end.arrived.push_back(bytes);
                wakers.extend(end.reader.take());
            }
            Event::End { to } => {
                let Some(end) = self.ends.get_mut(&to) else { return };
                end.ended = true;
                wakers.extend(end.reader.take());
            }
        }
    }

    fn is_cut_off(&self, id: EndId) -> bool {
        let Some(end) = self.ends.get(&id) else { return false };
        end.peer_machine.is_some_and(|peer| self.is_cut(end.machine, peer))
    }

    /// Whether what comes to this end must wait: it is cut off, or something before it waits.
    fn is_held(&self, id: EndId) -> bool {
        self.is_cut_off(id) || self.ends.get(&id).is_some_and(|end| !end.held.is_empty())
    }

    fn join(&mut self, client: EndId, to: SocketAddr, machine: Machine, wakers: &mut Vec<Waker>) -> io::Result<()> {
        let Some(asking) = self.ends.get(&client) else { return Ok(()) };
        let (local, asking_machine) = (asking.local, asking.machine);
        let server = self.add_end(machine, to, local);
        let end = self.ends.get_mut(&server).expect("just added");
        (end.peer, end.peer_machine) = (client, Some(asking_machine));
        let end = self.ends.get_mut(&client).expect("just seen");
        (end.peer, end.peer_machine) = (server, Some(machine));
        self.counts.connections += 1;
        let any = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), to.port());
        let address = if self.listeners.contains_key(&to) { to } else { any };
        if let Some(listener) = self.listeners.get_mut(&address) {
            listener.waiting.push_back(server);
            wakers.extend(listener.waker.take());
        }
        Ok(())
    }

    fn break_both(&mut self, end: EndId, wakers: &mut Vec<Waker>) {
        let Some(peer) = self.ends.get(&end).map(|end| end.peer) else { return };
        self.counts.broken += 1;
        for id in [end, peer] {
            if let Some(end) = self.ends.get_mut(&id) {
                end.broken = true;
                end.arrived.clear();
                end.arrived_bytes = 0;
                wakers.extend(end.reader.take());
                wakers.append(&mut end.writers);
            }
        }
    }

    /// The last bytes have been sent; the end of the stream follows them.
    fn finish(&mut self, id: EndId, now: u64) {
        let latency = self.latency();
        let Some(end) = self.ends.get_mut(&id) else { return };
        if std::mem::replace(&mut end.finished, true) {
            return;
        }
        let peer = end.peer;
        let Some(peer_end) = self.ends.get_mut(&peer) else { return };
        let at = peer_end.next_arrival.max(now + latency);
        peer_end.next_arrival = at + 1;
        self.plan(at, Event::End { to: peer });
    }

    fn close(&mut self, id: EndId, now: u64, wakers: &mut Vec<Waker>) {
        self.finish(id, now);
        let Some(end) = self.ends.remove(&id) else { return };
        wakers.extend(end.writers);
    }

    fn send(&mut self, id: EndId, parts: &mut VecDeque<Bytes>, now: u64, waker: &Waker) -> Option<io::Result<()>> {
        loop {
            while parts.front().is_some_and(Bytes::is_empty) {
                parts.pop_front();
            }
            let end = self.ends.get(&id).expect("an open end");
            if end.broken {
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if end.finished {
                return Some(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let Some(first) = parts.front_mut() else { return Some(Ok(())) };
            let window = self.options.window_bytes;
            let latency = self.latency();
            let peer = self.ends[&id].peer;
            let Some(peer_end) = self.ends.get_mut(&peer) else {
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            };
            let room = window.saturating_sub(peer_end.arrived_bytes + peer_end.coming_bytes);
            if room == 0 {
                peer_end.writers.push(waker.clone());
                return None;
            }
            // Often all of it, sometimes a piece of any size.
            let most = first.len().min(room) as u64;
            let count = if self.random.one_in(3) { self.random.between(1, most) } else { most } as usize;
            let piece = first.split_to(count);
            peer_end.coming_bytes += count;
            let at = peer_end.next_arrival.max(now + latency);
            peer_end.next_arrival = at + 1;
            self.plan(at, Event::Arrive { to: peer, bytes: piece });
        }
    }

    fn receive(
        &mut self,
        id: EndId,
        into: &mut BytesMut,
        waker: &Waker,
        wakers: &mut Vec<Waker>,
    ) -> Option<io::Result<usize>> {
        let short = self.random.one_in(4);
        let drawn = self.random.next_u64();
        let end = self.ends.get_mut(&id).expect("an open end");
        if end.broken {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(first) = end.arrived.front_mut() else {
            if end.ended {
                return Some(Ok(0));
            }
            end.reader = Some(waker.clone());
            return None;
        };
        let most = first.len().min(into.capacity() - into.len());
        let count = if short { 1 + (drawn % most as u64) as usize } else { most };
        into.extend_from_slice(&first[..count]);
        first.advance(count);
        if first.is_empty() {
            end.arrived.pop_front();
        }
        end.arrived_bytes -= count;
        wakers.append(&mut end.writers);
        Some(Ok(count))
    }
}

fn reply(answer: &Mutex<Answer>, outcome: io::Result<()>, wakers: &mut Vec<Waker>) {
    let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
    answer.outcome = Some(outcome);
    wakers.extend(answer.waker.take());
}

/// Waits for connections in the simulation.
pub(in crate::io) struct Listener {
    net: Net,
    address: SocketAddr,
    machine: Machine,
}

impl Listener {
    pub(in crate::io) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(in crate::io) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        poll_fn(|cx| {
            let mut state = self.net.lock();
            let Some(listener) = state.listeners.get_mut(&self.address) else { return Poll::Pending };
            if let Some(id) = listener.waiting.pop_front() {
                if let Some(end) = state.ends.get(&id) {
                    let peer = end.peer_address;
                    let end = OpenEnd { net: self.net.clone(), id };
                    return Poll::Ready(Ok((Socket { end }, peer)));
                }
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            listener.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Listener {
    /// Connections that nobody accepted are broken.
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.net.lock();
            if state.listeners.get(&self.address).is_none_or(|listener| listener.machine != self.machine) {
                return;
            }
            let listener = state.listeners.remove(&self.address).expect("just seen");
            for end in listener.waiting {
                state.break_both(end, &mut wakers);
                state.ends.remove(&end);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One end, closed by its last owner.
struct OpenEnd {
    net: Net,
    id: EndId,
}

impl Drop for OpenEnd {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        self.net.lock().close(self.id, self.net.clock.now(), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// An accepted connection that has no core yet.
pub(in crate::io) struct Socket {
    end: OpenEnd,
}

/// A connection in the simulation.
#[derive(Clone)]
pub(in crate::io) struct Stream {
    end: Arc<OpenEnd>,
}

impl Stream {
    pub(super) fn adopt(socket: Socket) -> Self {
        Self { end: Arc::new(socket.end) }
    }

    pub(in crate::io) async fn read(&self, into: &mut BytesMut) -> io::Result<usize> {
        if into.capacity() == into.len() {
            into.reserve(READ_ROOM_BYTES);
        }
        poll_fn(|cx| {
            let mut wakers = Vec::new();
            let outcome = self.end.net.lock().receive(self.end.id, into, cx.waker(), &mut wakers);
            wakers.into_iter().for_each(Waker::wake);
            outcome.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    pub(in crate::io) async fn write_all(&self, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
        poll_fn(|cx| {
            let now = self.end.net.clock.now();
            let outcome = self.end.net.lock().send(self.end.id, parts, now, cx.waker());
            outcome.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    pub(in crate::io) fn shutdown(&self, how: Shutdown) {
        let now = self.end.net.clock.now();
        let mut wakers = Vec::new();
        {
            let mut state = self.end.net.lock();
            if how != Shutdown::Read {
                state.finish(self.end.id, now);
            }
            let end = state.ends.get_mut(&self.end.id).expect("an open end");
            if how != Shutdown::Write {
                end.ended = true;
                end.arrived.clear();
                end.arrived_bytes = 0;
                wakers.extend(end.reader.take());
            }
            let peer = end.peer;
            if let Some(peer) = state.ends.get_mut(&peer) {
                // Writers of this end wait there.
                wakers.append(&mut peer.writers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(in crate::io) fn peer_addr(&self) -> SocketAddr {
        self.end.net.lock().ends[&self.end.id].peer_address
    }

    pub(in crate::io) fn local_addr(&self) -> SocketAddr {
        self.end.net.lock().ends[&self.end.id].local
    }
}
