//! Wakes the one task that does a kind of work, however often it is asked in the meantime.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A bell for one sleeper on this core. Clones ring the same bell.
#[derive(Clone, Default)]
pub struct Notify(Rc<Bell>);

#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    sleeper: Cell<Option<Waker>>,
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notify({})", if self.0.rung.get() { "rung" } else { "quiet" })
    }
}

impl Notify {
    /// Rings. The sleeper, or the next one to lie down, wakes once.
    pub fn notify(&self) {
        self.0.rung.set(true);
        if let Some(sleeper) = self.0.sleeper.take() {
            sleeper.wake();
        }
    }

    /// Sleeps until the bell was rung since the last time.
    pub async fn notified(&self) {
        std::future::poll_fn(|context| {
            if self.0.rung.replace(false) {
                return Poll::Ready(());
            }
            self.0.sleeper.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
