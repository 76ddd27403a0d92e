//! A bell wakes the tasks of one core that wait for a condition to become true.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Rung whenever something changed that someone may wait for.
#[derive(Default, Debug)]
pub struct Bell {
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    /// Everyone who waits looks again.
    pub fn ring(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until `ready` says so. It is asked at once and after each ring.
    pub async fn until(&self, mut ready: impl FnMut() -> bool) {
        poll_fn(|context| {
            if ready() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
