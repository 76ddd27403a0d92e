//! Waiting for a group of tasks. Of one core.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::io::Io;
use crate::storage::StorageError;

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
