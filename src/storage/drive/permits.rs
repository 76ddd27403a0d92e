//! Bounds on what is in flight, and waiting for a group of tasks. Of one core.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::io::Io;
use crate::storage::StorageError;

/// A number of permits. Who finds none waits in line, and whoever gives one back wakes the first of the line alone: there may be as many who wait as
/// there are consumers.
pub(super) struct Permits {
    left: Cell<usize>,
    line: RefCell<VecDeque<Rc<Turn>>>,
}

/// Given back when dropped.
pub(super) struct Permit(Rc<Permits>);

/// A place in the line.
struct Turn {
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It stands in the line.
    Waits,
    /// A permit is kept for it.
    Called,
    Over,
}

impl Permits {
    pub(super) fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(count), line: RefCell::default() })
    }

    /// The next permit. Dropping the future changes nothing.
    pub(super) async fn take(self: &Rc<Self>) -> Permit {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            return Permit(Rc::clone(self));
        }
        let turn = Rc::new(Turn { state: Cell::new(State::Waits), waker: RefCell::default() });
        self.line.borrow_mut().push_back(Rc::clone(&turn));
        let waiting = Waiting { permits: self, turn };
        poll_fn(|cx| waiting.poll(cx.waker())).await
    }

    fn give(&self) {
        let Some(turn) = self.line.borrow_mut().pop_front() else { return self.left.set(self.left.get() + 1) };
        turn.state.set(State::Called);
        turn.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give();
    }
}

/// Somebody in line. What he was given and did not take is the next one's.
struct Waiting<'a> {
    permits: &'a Rc<Permits>,
    turn: Rc<Turn>,
}

impl Waiting<'_> {
    fn poll(&self, waker: &Waker) -> Poll<Permit> {
        if self.turn.state.get() == State::Called {
            self.turn.state.set(State::Over);
            return Poll::Ready(Permit(Rc::clone(self.permits)));
        }
        self.turn.waker.replace(Some(waker.clone()));
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        match self.turn.state.get() {
            State::Waits => self.permits.line.borrow_mut().retain(|turn| !Rc::ptr_eq(turn, &self.turn)),
            State::Called => self.permits.give(),
            State::Over => {}
        }
    }
}

/// Tasks of one core that run on their own, also when nobody waits for them any more.
#[derive(Clone)]
pub(super) struct Group {
    io: Io,
    state: Rc<GroupState>,
}

#[derive(Default)]
struct GroupState {
    running: Cell<usize>,
    failed: RefCell<Option<StorageError>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Group {
    pub(super) fn new(io: &Io) -> Self {
        Self { io: io.clone(), state: Rc::default() }
    }

    /// Starts a task.
    pub(super) fn start(&self, task: impl Future<Output = Result<(), StorageError>> + 'static) {
        let state = Rc::clone(&self.state);
        state.running.set(state.running.get() + 1);
        self.io.spawn(async move {
            let result = task.await;
            state.running.set(state.running.get() - 1);
            if let Err(fault) = result {
                state.failed.borrow_mut().get_or_insert(fault);
            }
            if state.running.get() == 0 {
                state.waiting.take().into_iter().for_each(Waker::wake);
            }
        });
    }

    /// Waits until all tasks ended. The first failure is the group's.
    pub(super) async fn finish(self) -> Result<(), StorageError> {
        poll_fn(|cx| {
            if self.state.running.get() > 0 {
                wait(&self.state.waiting, cx.waker());
                return Poll::Pending;
            }
            Poll::Ready(self.state.failed.take().map_or(Ok(()), Err))
        })
        .await
    }
}

fn wait(waiting: &RefCell<Vec<Waker>>, waker: &Waker) {
    let mut waiting = waiting.borrow_mut();
    if !waiting.iter().any(|other| other.will_wake(waker)) {
        waiting.push(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn those_who_wait_are_served_in_their_order() {
        let permits = Permits::new(1);
        let Poll::Ready(permit) = poll(pin!(permits.take())) else { panic!("one is left") };
        let (mut first, mut second) = (pin!(permits.take()), pin!(permits.take()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(permit);
        assert!(poll(second.as_mut()).is_pending(), "it is the first one's");
        assert!(poll(pin!(permits.take())).is_pending(), "nobody who comes later takes it away");
        let Poll::Ready(permit) = poll(first.as_mut()) else { panic!("its turn has come") };
        drop(permit);
        let Poll::Ready(permit) = poll(second.as_mut()) else { panic!("its turn has come") };
        drop(permit);
        assert_eq!((permits.left.get(), permits.line.borrow().len()), (1, 0));
    }

    /// A fetch whose client went away while it waited, and one whose turn had come.
    #[test]
    fn who_goes_away_passes_his_turn_on() {
        let permits = Permits::new(1);
        let Poll::Ready(permit) = poll(pin!(permits.take())) else { panic!("one is left") };
        let mut gone = Box::pin(permits.take());
        let mut called = Box::pin(permits.take());
        let mut last = pin!(permits.take());
        assert!(poll(gone.as_mut()).is_pending() && poll(called.as_mut()).is_pending());
        assert!(poll(last.as_mut()).is_pending());
        drop(gone);
        drop(permit);
        drop(called);
        assert!(poll(last.as_mut()).is_ready());
        assert_eq!(permits.left.get(), 1);
    }
}
