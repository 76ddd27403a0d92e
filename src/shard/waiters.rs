//! What waits on a core, and what ends the wait: a produce until it is durable, a fetch until a log grows.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use super::message::{Appended, ProduceError};

/// The answer to one batch.
pub type Produced = Result<Appended, ProduceError>;
/// The answers to a request's batches, in their order.
pub type Answers = SmallVec<[Produced; 4]>;

/// A produce request whose parts may be with several cores.
pub(super) struct Pending {
    answers: RefCell<SmallVec<[Option<Produced>; 4]>>,
    left: Cell<usize>,
    waker: Cell<Option<Waker>>,
}

impl Pending {
    pub(super) fn new(batches: usize, parts: usize) -> Rc<Self> {
        let answers = std::iter::repeat_with(|| None).take(batches).collect();
        Rc::new(Self { answers: RefCell::new(answers), left: Cell::new(parts), waker: Cell::new(None) })
    }

    /// One part is answered; `places` says which batches it was.
    pub(super) fn finish_part(&self, places: &[u16], part: Answers) {
        let mut answers = self.answers.borrow_mut();
        for (place, answer) in places.iter().zip(part) {
            answers[usize::from(*place)] = Some(answer);
        }
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

/// A produce request on its way to the disk. Dropping it changes nothing: the batches are appended all the same.
#[must_use = "the answers come from it"]
pub struct ProduceTicket(pub(super) Rc<Pending>);

impl ProduceTicket {
    /// Whether the answers are there.
    pub fn is_ready(&self) -> bool {
        self.0.left.get() == 0
    }
}

impl Future for ProduceTicket {
    type Output = Answers;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answers> {
        if self.0.left.get() > 0 {
            self.0.waker.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        let answers =
            self.0.answers.borrow_mut().drain(..).map(|answer| answer.expect("every part was answered")).collect();
        Poll::Ready(answers)
    }
}

/// Something that happens at most once and is waited for by one task.
#[derive(Default)]
pub(super) struct Signal {
    fired: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Signal {
    pub(super) fn fire(&self) {
        self.fired.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn has_fired(&self) -> bool {
        self.fired.get()
    }

    /// Resolves once the signal has fired.
    pub(super) async fn fired(&self) {
        std::future::poll_fn(|context| {
            if self.fired.get() {
                return Poll::Ready(());
            }
            self.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Ends with the first of two waits that may be dropped without loss. Never for a read of a living connection.
pub(super) async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    std::future::poll_fn(|context| {
        if one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

/// The moment the broker begins to stop, for any number of tasks.
#[derive(Default)]
pub(super) struct Stop {
    begun: Cell<bool>,
    wakers: RefCell<Vec<Rc<Signal>>>,
}

impl Stop {
    pub(super) fn begin(&self) {
        self.begun.set(true);
        self.wakers.borrow_mut().drain(..).for_each(|signal| signal.fire());
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    pub(super) async fn begun(&self) {
        if self.has_begun() {
            return;
        }
        let signal = Rc::new(Signal::default());
        {
            let mut wakers = self.wakers.borrow_mut();
            wakers.retain(|signal| Rc::strong_count(signal) > 1);
            wakers.push(signal.clone());
        }
        signal.fired().await;
    }
}
