//! Clocks, timers and randomness of the kernel.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use super::ring::Ring;
use crate::base::Timestamp;

/// A core's timers, the next one first.
#[derive(Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<(Instant, u64), Waker>>,
    numbers: Cell<u64>,
}

impl Timers {
    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Wakes those that are due. Says whether there were any.
    pub(super) fn fire(&self) -> bool {
        if self.waiting.borrow().is_empty() {
            return false;
        }
        let now = Instant::now();
        let mut any = false;
        loop {
            let due = {
                let mut waiting = self.waiting.borrow_mut();
                let due = waiting.first_entry().filter(|entry| entry.key().0 <= now);
                due.map(|entry| entry.remove())
            };
            let Some(waker) = due else { return any };
            waker.wake();
            any = true;
        }
    }
}

/// Ready after a time: never early, and on an idle core within the kernel's own slack.
pub struct Sleep {
    ring: Rc<Ring>,
    deadline: Instant,
    /// Its name among the timers, once it was polled.
    number: Option<u64>,
}

impl Sleep {
    pub(super) fn new(ring: &Rc<Ring>, wait: Duration) -> Self {
        let now = Instant::now();
        // A wait that no clock can measure is as good as a century.
        let deadline = now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400));
        Self { ring: Rc::clone(ring), deadline, number: None }
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let timers = this.ring.timers();
        let number = *this.number.get_or_insert_with(|| timers.numbers.replace(timers.numbers.get() + 1));
        timers.waiting.borrow_mut().insert((this.deadline, number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.ring.timers().waiting.borrow_mut().remove(&(self.deadline, number));
            drop(waker);
        }
    }
}

/// Ready after all tasks that are ready now have run, and the core has looked at its sockets and files.
#[derive(Default)]
pub(in crate::io) struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        // The driver stands in the same queue, so it has its turn before this task has its next.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Milliseconds since 1970, negative before.
pub(super) fn wall_clock() -> Timestamp {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        Err(before) => Timestamp(i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms)),
    }
}

/// The kernel's random numbers, fetched a page at a time.
#[derive(Default)]
pub(super) struct Random {
    words: Vec<u64>,
}

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        if let Some(word) = self.words.pop() {
            return word;
        }
        let mut bytes = [0u8; 512];
        getrandom::fill(&mut bytes).expect("the kernel has random numbers");
        self.words.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)));
        self.words.pop().expect("just filled")
    }
}
