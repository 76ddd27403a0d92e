//! A thread beside a core for the rare calls that would block it and have no good form on the ring.

use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// The way to a core's helper. The thread ends when the last clone is gone and its work is done.
#[derive(Clone)]
pub(super) struct Helper {
    work: Sender<Box<dyn FnOnce() + Send>>,
}

struct Outcome<R> {
    result: Option<thread::Result<R>>,
    waker: Option<Waker>,
}

impl Helper {
    /// Starts the thread. It may run on any CPU that the calling thread may run on.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (work, to_do) = channel::<Box<dyn FnOnce() + Send>>();
        thread::Builder::new().name(name.into()).spawn(move || to_do.iter().for_each(|job| job()))?;
        Ok(Self { work })
    }

    /// Runs `call` on the thread, after all that was asked for before, also when the future is dropped. A panic in it goes on in the caller.
    pub(super) async fn run<R: Send + 'static>(&self, call: impl FnOnce() -> R + Send + 'static) -> R {
        let outcome = Arc::new(Mutex::new(Outcome { result: None, waker: None }));
        let there = Arc::clone(&outcome);
        let job = move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
            let waker = {
                let mut outcome = lock(&there);
                outcome.result = Some(result);
                outcome.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        };
        self.work.send(Box::new(job)).expect("the helper runs as long as it has a way to it");
        let result = poll_fn(|cx| {
            let mut outcome = lock(&outcome);
            match outcome.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    outcome.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn lock<R>(outcome: &Mutex<Outcome<R>>) -> MutexGuard<'_, Outcome<R>> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}
