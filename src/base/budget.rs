//! An amount that is lent to those who ask, in the order in which they ask.
//!
//! Always true: nobody overtakes; one who waits wakes nobody but the next in line. Of one core.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What there is to lend. Clones lend of the same.
#[derive(Clone, Debug)]
pub struct Budget(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    amount: usize,
    lent: Cell<usize>,
    line: RefCell<VecDeque<(u64, Waker)>>,
    next_ticket: Cell<u64>,
}

impl Budget {
    /// Lends `amount` at a time.
    pub fn new(amount: usize) -> Self {
        let line = RefCell::default();
        Self(Rc::new(Inner { amount, lent: Cell::new(0), line, next_ticket: Cell::new(0) }))
    }

    /// As much of `wanted` as there is, once all who asked before are served and there is `least`, or nothing is lent. Dropping the future
    /// gives the place in the line up.
    pub fn take(&self, wanted: usize, least: usize) -> Take<'_> {
        Take { budget: self, wanted, least: least.min(wanted), ticket: None }
    }

    /// Whether someone waits.
    pub fn is_scarce(&self) -> bool {
        !self.0.line.borrow().is_empty()
    }

    /// How much is lent now.
    pub fn lent(&self) -> usize {
        self.0.lent.get()
    }

    fn wake_first(&self) {
        if let Some((_, first)) = self.0.line.borrow().front() {
            first.wake_by_ref();
        }
    }
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    amount: Cell<usize>,
}

impl Share {
    /// How much it is.
    pub fn amount(&self) -> usize {
        self.amount.get()
    }

    /// Makes it what is really held. More than was lent is possible, and others wait longer then.
    pub fn set(&self, amount: usize) {
        let before = self.amount.replace(amount);
        let lent = &self.budget.0.lent;
        lent.set(lent.get() - before + amount);
        if amount < before {
            self.budget.wake_first();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The future of [`Budget::take`].
#[derive(Debug)]
#[must_use = "nothing is taken before it is awaited"]
pub struct Take<'a> {
    budget: &'a Budget,
    wanted: usize,
    least: usize,
    /// Its place in the line.
    ticket: Option<u64>,
}

impl Future for Take<'_> {
    type Output = Share;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Share> {
        let Inner { amount, lent, line, next_ticket } = &*self.budget.0;
        let is_first = line.borrow().front().map(|(ticket, _)| *ticket) == self.ticket;
        let free = amount.saturating_sub(lent.get());
        if is_first && (free >= self.least || lent.get() == 0) {
            let share = Share { budget: self.budget.clone(), amount: Cell::new(0) };
            share.set(self.wanted.min(free.max(self.least)));
            self.leave();
            return Poll::Ready(share);
        }
        let mut line = line.borrow_mut();
        match self.ticket {
            Some(ticket) => {
                let place = line.iter_mut().find(|(other, _)| *other == ticket);
                place.expect("its place is kept").1.clone_from(context.waker());
            }
            None => {
                let ticket = next_ticket.replace(next_ticket.get() + 1);
                line.push_back((ticket, context.waker().clone()));
                self.ticket = Some(ticket);
            }
        }
        Poll::Pending
    }
}

impl Take<'_> {
    /// The next in line is first now.
    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let mut line = self.budget.0.line.borrow_mut();
            let at = line.iter().position(|(other, _)| *other == ticket).expect("its place is kept");
            line.remove(at);
            drop(line);
            if at == 0 {
                self.budget.wake_first();
            }
        }
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn now(take: Take<'_>) -> Option<Share> {
        match poll(pin!(take)) {
            Poll::Ready(share) => Some(share),
            Poll::Pending => None,
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn as_much_is_lent_as_there_is_and_then_they_wait() {
        let budget = Budget::new(100);
        let first = now(budget.take(80, 10)).unwrap();
        let second = now(budget.take(80, 10)).unwrap();
        assert_eq!((first.amount(), second.amount(), budget.lent()), (80, 20, 100));
        assert!(now(budget.take(80, 10)).is_none());
        second.set(5);
        assert_eq!(now(budget.take(80, 10)).unwrap().amount(), 15);
        drop((first, second));
        assert_eq!((budget.lent(), budget.is_scarce()), (0, false));
        // More than there is at all is lent when nothing else is.
        assert_eq!(now(budget.take(500, 500)).unwrap().amount(), 500);
    }

    /// A thousand who wait for a place: each one that is given back wakes one of them, not all.
    #[test]
    fn the_first_in_line_is_woken_and_nobody_else() {
        let budget = Budget::new(1);
        let held = now(budget.take(1, 1)).unwrap();
        let wakes: Vec<_> = (0..1000).map(|_| Arc::new(Counted::default())).collect();
        let mut waiting: Vec<_> = wakes.iter().map(|_| Box::pin(budget.take(1, 1))).collect();
        for (take, wakes) in waiting.iter_mut().zip(&wakes) {
            assert!(take.as_mut().poll(&mut Context::from_waker(&wakes.clone().into())).is_pending());
        }
        // One that goes away from the middle of the line wakes nobody.
        drop(waiting.remove(500));
        drop(held);
        let woken = || wakes.iter().map(|wakes| wakes.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!((woken()[0], woken().iter().sum::<usize>()), (1, 1));
        // The first goes away without taking: the second is woken.
        drop(waiting.remove(0));
        assert_eq!((woken()[1], woken().iter().sum::<usize>()), (1, 2));
        let mut second = waiting.remove(0);
        let Poll::Ready(share) = poll(second.as_mut()) else { panic!("it is its turn") };
        assert!(now(budget.take(1, 1)).is_none(), "others came before");
        drop(share);
    }

    #[test]
    fn those_who_wait_are_served_in_their_order() {
        let permits = Budget::new(1);
        let Poll::Ready(permit) = poll(pin!(permits.take(1, 1))) else { panic!("one is left") };
        let (mut first, mut second) = (pin!(permits.take(1, 1)), pin!(permits.take(1, 1)));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(permit);
        assert!(poll(second.as_mut()).is_pending(), "it is the first one's");
        assert!(poll(pin!(permits.take(1, 1))).is_pending(), "nobody who comes later takes it away");
        let Poll::Ready(permit) = poll(first.as_mut()) else { panic!("its turn has come") };
        drop(permit);
        let Poll::Ready(permit) = poll(second.as_mut()) else { panic!("its turn has come") };
        drop(permit);
        assert_eq!((permits.lent(), permits.is_scarce()), (0, false));
    }

    /// A fetch whose client went away while it waited, and one whose turn had come.
    #[test]
    fn who_goes_away_passes_his_turn_on() {
        let permits = Budget::new(1);
        let Poll::Ready(permit) = poll(pin!(permits.take(1, 1))) else { panic!("one is left") };
        let mut gone = Box::pin(permits.take(1, 1));
        let mut called = Box::pin(permits.take(1, 1));
        let mut last = pin!(permits.take(1, 1));
        assert!(poll(gone.as_mut()).is_pending() && poll(called.as_mut()).is_pending());
        assert!(poll(last.as_mut()).is_pending());
        drop(gone);
        drop(permit);
        drop(called);
        assert!(poll(last.as_mut()).is_ready());
        assert_eq!(permits.lent(), 0);
    }
}
