//! Carries requests to the core that owns a log and brings the replies back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

use smallvec::SmallVec;

use super::message::{Answer, Ask, Reply, Request};
use super::waiters::{Pending, Signal};
use crate::base::ShardId;
use crate::base::limits::MAILBOX_MESSAGES_MAX;
use crate::io::{Receiver, Sender, mailbox};

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
    Produce { pending: Rc<Pending>, places: SmallVec<[u16; 4]> },
    Wake(Rc<Signal>),
    Call(Rc<Call>),
}

#[derive(Default)]
struct Call {
    answer: RefCell<Option<Answer>>,
    waker: Cell<Option<Waker>>,
}

/// The mesh as one core holds it.
pub(super) struct Mesh {
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
    /// Requests beyond the bound. Their bytes are charged to the connections that they came from.
    outbox: RefCell<VecDeque<Request>>,
}

impl Mesh {
    pub(super) fn new(seat: MeshSeat) -> (Self, Receiver<Request>, Receiver<Reply>) {
        let peers = seat.lanes.iter().map(|_| Peer::default()).collect();
        let mesh = Self { id: seat.id, lanes: seat.lanes, waiting: RefCell::default(), peers };
        (mesh, seat.requests, seat.replies)
    }

    pub(super) fn id(&self) -> ShardId {
        self.id
    }

    pub(super) fn cores(&self) -> u16 {
        self.lanes.len() as u16
    }

    pub(super) fn produce(&self, to: ShardId, ask: Ask, pending: Rc<Pending>, places: SmallVec<[u16; 4]>) {
        self.send(to, ask, Waiting::Produce { pending, places });
    }

    /// Asks, and fires `signal` when the reply is there. The token is good for `Ask::Cancel`.
    pub(super) fn wake_on_reply(&self, to: ShardId, ask: Ask, signal: Rc<Signal>) -> u32 {
        self.send(to, ask, Waiting::Wake(signal))
    }

    /// Asks and waits for the answer.
    pub(super) async fn call(&self, to: ShardId, ask: Ask) -> Answer {
        let call = Rc::new(Call::default());
        self.send(to, ask, Waiting::Call(call.clone()));
        std::future::poll_fn(|context| match call.answer.borrow_mut().take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                call.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// Whether the reply to `token` is still to come.
    pub(super) fn is_waiting(&self, token: u32) -> bool {
        self.waiting.borrow().slots.get(token as usize).is_some_and(Option::is_some)
    }

    pub(super) fn reply(&self, to: ShardId, reply: Reply) {
        let sent = self.lanes[usize::from(to.0)].replies.try_send(reply);
        assert!(
            sent.is_ok() || self.lanes[usize::from(to.0)].replies.is_closed(),
            "the reply lane to core {to} has room for every outstanding request"
        );
    }

    /// A reply came in.
    pub(super) fn settle(&self, reply: Reply) {
        let slot = {
            let mut waiting = self.waiting.borrow_mut();
            let slot = waiting.slots.get_mut(reply.token as usize).and_then(Option::take);
            waiting.free.push(reply.token);
            slot
        };
        let (peer, waiting) = slot.expect("a reply answers a request that waits");
        self.went_through(peer);
        match (waiting, reply.answer) {
            (Waiting::Produce { pending, places }, Answer::Produced(answers)) => pending.finish_part(&places, answers),
            (Waiting::Wake(signal), _) => signal.fire(),
            (Waiting::Call(call), answer) => {
                *call.answer.borrow_mut() = Some(answer);
                if let Some(waker) = call.waker.take() {
                    waker.wake();
                }
            }
            (Waiting::Produce { .. }, answer) => panic!("a produce was answered with {answer:?}"),
        }
    }

    fn send(&self, to: ShardId, ask: Ask, waiting: Waiting) -> u32 {
        let token = {
            let mut all = self.waiting.borrow_mut();
            let token = all.free.pop().unwrap_or_else(|| {
                all.slots.push(None);
                all.slots.len() as u32 - 1
            });
            all.slots[token as usize] = Some((to, waiting));
            token
        };
        let peer = &self.peers[usize::from(to.0)];
        let request = Request { from: self.id, token, ask };
        if peer.outstanding.get() < per_pair(self.cores()) {
            self.hand_over(to, request);
        } else {
            peer.outbox.borrow_mut().push_back(request);
        }
        token
    }

    fn hand_over(&self, to: ShardId, request: Request) {
        let (peer, lane) = (&self.peers[usize::from(to.0)], &self.lanes[usize::from(to.0)].requests);
        peer.outstanding.set(peer.outstanding.get() + 1);
        let sent = lane.try_send(request);
        assert!(sent.is_ok() || lane.is_closed(), "the request lane to core {to} has room for what may be outstanding");
    }

    fn went_through(&self, from: ShardId) {
        let peer = &self.peers[usize::from(from.0)];
        peer.outstanding.set(peer.outstanding.get() - 1);
        if let Some(request) = { peer.outbox.borrow_mut().pop_front() } {
            self.hand_over(from, request);
        }
    }
}
