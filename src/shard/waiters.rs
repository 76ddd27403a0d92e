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

/// Starts all of them before it waits for the first, and gives what they give in their order.
pub(super) async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, outcome) in &mut waiting {
            if outcome.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *outcome = Some(value),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().map(|(_, outcome)| outcome.expect("all are ready")).collect()
}

/// Those who wait for one thing. Some may have gone away since: they are left out when the crowd has doubled.
#[derive(Default)]
pub(super) struct Crowd {
    signals: Vec<Rc<Signal>>,
    /// How many stayed when it was last looked through.
    stayed: usize,
    #[cfg(test)]
    looked: usize,
}

impl Crowd {
    pub(super) fn join(&mut self, signal: Rc<Signal>) {
        if self.signals.len() >= (2 * self.stayed).max(CROWD_MIN) {
            #[cfg(test)]
            {
                self.looked += self.signals.len();
            }
            self.signals.retain(|signal| !signal.has_fired() && Rc::strong_count(signal) > 1);
            self.stayed = self.signals.len();
        }
        self.signals.push(signal);
    }

    /// Ends every wait. Waits are one-shot.
    pub(super) fn fire_all(&mut self) {
        self.stayed = 0;
        self.signals.drain(..).for_each(|signal| signal.fire());
    }
}

/// Smaller crowds are not looked through.
const CROWD_MIN: usize = 16;

/// The moment the broker begins to stop, for any number of tasks.
#[derive(Default)]
pub(super) struct Stop {
    begun: Cell<bool>,
    waiting: RefCell<Crowd>,
}

impl Stop {
    pub(super) fn begin(&self) {
        self.begun.set(true);
        self.waiting.borrow_mut().fire_all();
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    pub(super) async fn begun(&self) {
        if self.has_begun() {
            return;
        }
        let signal = Rc::new(Signal::default());
        self.waiting.borrow_mut().join(signal.clone());
        signal.fired().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    /// Cores were asked one after the other, so a fetch from eight of them took eight times as long.
    #[test]
    fn all_are_asked_before_the_first_answers() {
        let (signals, asked) = ([(); 3].map(|()| Signal::default()), Cell::new(0));
        let mut answers = pin!(all((0..3).map(|number| {
            let (signals, asked) = (&signals, &asked);
            async move {
                asked.set(asked.get() + 1);
                signals[number].fired().await;
                number
            }
        })));
        let mut context = Context::from_waker(Waker::noop());
        assert!(answers.as_mut().poll(&mut context).is_pending());
        assert_eq!(asked.get(), 3);
        [2, 0].into_iter().for_each(|number| signals[number].fire());
        assert!(answers.as_mut().poll(&mut context).is_pending());
        signals[1].fire();
        assert_eq!(answers.as_mut().poll(&mut context), Poll::Ready(vec![0, 1, 2]));
    }

    /// Each one that joined looked at all that waited, so 20,000 parked fetches cost 200 million looks.
    #[test]
    fn joining_a_crowd_does_not_look_at_all_of_it() {
        let mut crowd = Crowd::default();
        let waiting: Vec<_> = (0..1000).map(|_| Rc::new(Signal::default())).collect();
        waiting.iter().for_each(|signal| crowd.join(signal.clone()));
        assert_eq!((crowd.signals.len(), crowd.looked), (1000, 16 + 32 + 64 + 128 + 256 + 512));
        // What those leave behind who went away is bounded by those who wait.
        for _ in 0..10_000 {
            crowd.join(Rc::new(Signal::default()));
            assert!(crowd.signals.len() <= 2048, "{}", crowd.signals.len());
        }
        crowd.fire_all();
        assert!(waiting.iter().all(|signal| signal.has_fired()) && crowd.signals.is_empty());
    }
}
