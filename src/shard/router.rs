//! Carries requests to the core that owns a log and brings the replies back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

use smallvec::SmallVec;

use super::groups::parks;
use super::message::{Answer, Ask, Reply, Request};
use super::waiters::{Pending, Signal};
use crate::base::ShardId;
use crate::base::limits::MAILBOX_MESSAGES_MAX;
use crate::io::{Io, Receiver, Sender, mailbox};

/// A core's two lanes, as the others see them.
#[derive(Clone, Debug)]
struct Lanes {
    requests: Sender<Request>,
    replies: Sender<Reply>,
}

/// What one core needs of the mesh: made for all cores at once, and handed to each.
#[derive(Debug)]
pub struct MeshSeat {
    id: ShardId,
    lanes: Vec<Lanes>,
    requests: Receiver<Request>,
    replies: Receiver<Reply>,
}

/// Connects `cores` cores, each with each.
pub fn mesh(cores: u16) -> Vec<MeshSeat> {
    let capacity = per_pair(cores) * usize::from(cores);
    let ends: Vec<_> = (0..cores).map(|_| (mailbox(capacity), mailbox(capacity))).collect();
    let lanes: Vec<_> = ends
        .iter()
        .map(|((requests, _), (replies, _))| Lanes { requests: requests.clone(), replies: replies.clone() })
        .collect();
    let seat =
        |(id, ((_, requests), (_, replies)))| MeshSeat { id: ShardId(id), lanes: lanes.clone(), requests, replies };
    (0..).zip(ends).map(seat).collect()
}

/// Requests that one core may have outstanding with another.
fn per_pair(cores: u16) -> usize {
    (MAILBOX_MESSAGES_MAX / usize::from(cores)).max(64)
}

/// Who waits for a reply.
enum Waiting {
    Produce {
        pending: Rc<Pending>,
        places: SmallVec<[u16; 4]>,
    },
    /// Counted among what is outstanding.
    Wake(Rc<Signal>),
    /// Not counted.
    Wait(Rc<Signal>),
    Call(Rc<Call>),
    /// As a call, not counted: a request that waits for others.
    Parked(Rc<Call>),
}

/// An answer on its way to one task.
#[derive(Default)]
pub(super) struct Call {
    answer: RefCell<Option<Answer>>,
    waker: Cell<Option<Waker>>,
}

impl Call {
    pub(super) fn give(&self, answer: Answer) {
        *self.answer.borrow_mut() = Some(answer);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Resolves once the answer is there.
    pub(super) async fn ready(&self) {
        std::future::poll_fn(|context| {
            if self.answer.borrow().is_some() {
                return Poll::Ready(());
            }
            self.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// The answer, if it is there.
    pub(super) fn take(&self) -> Option<Answer> {
        self.answer.borrow_mut().take()
    }
}

/// The mesh as one core holds it.
pub(super) struct Mesh {
    io: Io,
    id: ShardId,
    lanes: Vec<Lanes>,
    waiting: RefCell<Waitings>,
    peers: Vec<Peer>,
}

#[derive(Default)]
struct Waitings {
    slots: Vec<Option<(ShardId, Waiting)>>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Peer {
    outstanding: Cell<usize>,
    /// A task is emptying the outbox.
    pumping: Cell<bool>,
    /// Requests beyond the bound, or for which the lane had no room. Their bytes are charged to the connections that they came from.
    outbox: RefCell<VecDeque<Request>>,
}

impl Mesh {
    pub(super) fn new(io: &Io, seat: MeshSeat) -> (Rc<Self>, Receiver<Request>, Receiver<Reply>) {
        let peers = seat.lanes.iter().map(|_| Peer::default()).collect();
        let mesh = Self { io: io.clone(), id: seat.id, lanes: seat.lanes, waiting: RefCell::default(), peers };
        (Rc::new(mesh), seat.requests, seat.replies)
    }

    pub(super) fn id(&self) -> ShardId {
        self.id
    }

    pub(super) fn cores(&self) -> u16 {
        self.lanes.len() as u16
    }

    pub(super) fn produce(self: &Rc<Self>, to: ShardId, ask: Ask, pending: Rc<Pending>, places: SmallVec<[u16; 4]>) {
        self.send(to, ask, Waiting::Produce { pending, places });
    }

    /// Asks, and fires `signal` when the reply is there.
    pub(super) fn wake_on_reply(self: &Rc<Self>, to: ShardId, ask: Ask, signal: Rc<Signal>) {
        self.send(to, ask, Waiting::Wake(signal));
    }

    /// Asks and waits for the answer.
    pub(super) async fn call(self: &Rc<Self>, to: ShardId, ask: Ask) -> Answer {
        let call = Rc::new(Call::default());
        self.ask(to, ask, call.clone(), false);
        call.ready().await;
        call.take().expect("it is ready")
    }

    /// Asks, and gives the answer to `call`. One that is `parked` may wait for other clients, and takes no part in what may be outstanding: its owner
    /// bounds how many there are.
    pub(super) fn ask(self: &Rc<Self>, to: ShardId, ask: Ask, call: Rc<Call>, parked: bool) {
        self.send(to, ask, if parked { Waiting::Parked(call) } else { Waiting::Call(call) });
    }

    /// Asks another core to wait, and fires `signal` at its reply. Waits may be as many as there are consumers, so they take no part in what may be
    /// outstanding.
    pub(super) fn ask_to_wait(self: &Rc<Self>, to: ShardId, ask: Ask, signal: Rc<Signal>) -> u32 {
        let token = self.await_reply(to, Waiting::Wait(signal));
        self.send_in_order(to, Request { from: self.id, token, ask });
        token
    }

    /// Ends a wait early. Nothing comes back but the reply to the wait.
    pub(super) fn cancel(self: &Rc<Self>, to: ShardId, token: u32) {
        let still_waits = self
            .waiting
            .borrow()
            .slots
            .get(token as usize)
            .is_some_and(|slot| matches!(slot, Some((_, Waiting::Wait(_)))));
        if still_waits {
            self.send_in_order(to, Request { from: self.id, token, ask: Ask::Cancel });
        }
    }

    /// The reply to a wait.
    pub(super) async fn reply_to_wait(&self, to: ShardId, token: u32) {
        let _ = self.lanes[usize::from(to.0)].replies.send(Reply { token, answer: Answer::Done }).await;
    }

    pub(super) fn reply(&self, to: ShardId, reply: Reply) {
        let lane = &self.lanes[usize::from(to.0)].replies;
        if let Err(reply) = lane.try_send(reply) {
            let lane = lane.clone();
            self.io.spawn(async move {
                let _ = lane.send(reply).await;
            });
        }
    }

    /// A reply came in.
    pub(super) fn settle(self: &Rc<Self>, reply: Reply) {
        let slot = {
            let mut waiting = self.waiting.borrow_mut();
            let slot = waiting.slots.get_mut(reply.token as usize).and_then(Option::take);
            waiting.free.push(reply.token);
            slot
        };
        let (peer, waiting) = slot.expect("a reply answers a request that waits");
        if !matches!(waiting, Waiting::Wait(_) | Waiting::Parked(_)) {
            self.went_through(peer);
        }
        match (waiting, reply.answer) {
            (Waiting::Produce { pending, places }, Answer::Produced(answers)) => pending.finish_part(&places, answers),
            (Waiting::Wake(signal) | Waiting::Wait(signal), _) => signal.fire(),
            (Waiting::Call(call) | Waiting::Parked(call), answer) => call.give(answer),
            (Waiting::Produce { .. }, answer) => panic!("a produce was answered with {answer:?}"),
        }
    }

    fn await_reply(&self, from: ShardId, waiting: Waiting) -> u32 {
        let mut all = self.waiting.borrow_mut();
        let token = all.free.pop().unwrap_or_else(|| {
            all.slots.push(None);
            all.slots.len() as u32 - 1
        });
        all.slots[token as usize] = Some((from, waiting));
        token
    }

    fn send(self: &Rc<Self>, to: ShardId, ask: Ask, waiting: Waiting) {
        let token = self.await_reply(to, waiting);
        self.send_in_order(to, Request { from: self.id, token, ask });
    }

    /// Requests to one core leave in the order in which they are sent: straight into its lane, or through the outbox while that is not empty.
    fn send_in_order(self: &Rc<Self>, to: ShardId, request: Request) {
        let peer = &self.peers[usize::from(to.0)];
        let straight = !peer.pumping.get() && peer.outbox.borrow().is_empty() && self.may_leave(peer, &request);
        let counts = counts(&request);
        let left = if straight { self.lanes[usize::from(to.0)].requests.try_send(request) } else { Err(request) };
        match left {
            Ok(()) => peer.outstanding.set(peer.outstanding.get() + usize::from(counts)),
            Err(request) => {
                peer.outbox.borrow_mut().push_back(request);
                self.pump(to);
            }
        }
    }

    fn may_leave(&self, peer: &Peer, request: &Request) -> bool {
        !counts(request) || peer.outstanding.get() < per_pair(self.cores())
    }

    fn went_through(self: &Rc<Self>, from: ShardId) {
        let peer = &self.peers[usize::from(from.0)];
        peer.outstanding.set(peer.outstanding.get() - 1);
        if !peer.outbox.borrow().is_empty() {
            self.pump(from);
        }
    }

    /// Empties the outbox to a core as far as may be outstanding. One task at a time, so the order holds.
    fn pump(self: &Rc<Self>, to: ShardId) {
        let at = usize::from(to.0);
        let peer = &self.peers[at];
        let first_may = peer.outbox.borrow().front().is_some_and(|first| self.may_leave(peer, first));
        if !first_may || peer.pumping.replace(true) {
            return;
        }
        let mesh = self.clone();
        self.io.spawn(async move {
            let peer = &mesh.peers[at];
            while let Some(request) = { peer.outbox.borrow_mut().pop_front_if(|first| mesh.may_leave(peer, first)) } {
                peer.outstanding.set(peer.outstanding.get() + usize::from(counts(&request)));
                let _ = mesh.lanes[at].requests.send(request).await;
            }
            peer.pumping.set(false);
        });
    }
}

/// Whether a request takes part in what may be outstanding.
fn counts(request: &Request) -> bool {
    match &request.ask {
        Ask::Wait { .. } | Ask::Cancel => false,
        Ask::Group { command, .. } => !parks(command),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mono;
    use crate::io::sim::{World, WorldOptions};

    /// With a full lane, each message got a task of its own that waited for room, and a cancellation could be sent before the wait that it ends. The
    /// other core did not know that wait yet, and kept it until its deadline.
    #[test]
    fn a_cancellation_does_not_overtake_its_wait() {
        for seed in 0..20 {
            let world = World::new(seed, WorldOptions::default());
            let process = world.process("10.0.0.1");
            let asks = world.run(process, |io| async move {
                let mut seats = mesh(2).into_iter();
                let (mesh, ..) = Mesh::new(&io, seats.next().unwrap());
                let MeshSeat { mut requests, .. } = seats.next().unwrap();
                let wait = || {
                    let ask = Ask::Wait { logs: Vec::new(), deadline: Mono(0) };
                    mesh.ask_to_wait(ShardId(1), ask, Rc::new(Signal::default()))
                };
                let capacity = 2 * per_pair(2);
                (0..capacity).for_each(|_| {
                    wait();
                });
                let tokens: Vec<_> = (0..10).map(|_| wait()).collect();
                tokens.iter().for_each(|token| mesh.cancel(ShardId(1), *token));
                let mut asks = Vec::new();
                for _ in 0..capacity + 2 * tokens.len() {
                    let request = requests.recv().await.unwrap();
                    asks.push((request.token, matches!(request.ask, Ask::Cancel)));
                }
                asks
            });
            for (at, (token, cancels)) in asks.iter().enumerate() {
                assert!(!cancels || asks[..at].contains(&(*token, false)), "seed {seed}: token {token}");
            }
        }
    }
}
