//! Waiting for a group of tasks. Of one core.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use super::Notify;
use crate::io::Io;
use crate::storage::StorageError;

/// Tasks of one core that run on their own, also when nobody waits for them any more.
pub(super) struct Group {
    io: Io,
    state: Rc<GroupState>,
}

#[derive(Default)]
struct GroupState {
    running: Cell<usize>,
    failed: RefCell<Option<StorageError>>,
    all_ended: Notify,
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
                state.all_ended.notify();
            }
        });
    }

    /// Waits until all tasks ended. The first failure is the group's.
    pub(super) async fn finish(self) -> Result<(), StorageError> {
        while self.state.running.get() > 0 {
            self.state.all_ended.notified().await;
        }
        self.state.failed.take().map_or(Ok(()), Err)
    }
}
