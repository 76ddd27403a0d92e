//! Threads beside a core for the rare calls that would block it, or others of its ring.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use crate::base::limits::DISK_THREADS;

/// The threads beside one core.
pub(super) struct Helpers {
    /// Short calls.
    pub(super) helper: Helper,
    /// What may wait for the disk: flushes, removals of files, and closing, with which a removed file goes.
    pub(super) disk: Helper,
    /// Removes directories with all that is in them, which may take seconds.
    pub(super) remover: Helper,
}

impl Helpers {
    /// Starts the threads. They may run on any CPU that the calling thread may run on.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self {
            helper: Helper::start("helper", 1)?,
            disk: Helper::start("disk", DISK_THREADS)?,
            remover: Helper::start("remover", 1)?,
        })
    }

    /// Whether all that was asked for is done.
    pub(super) fn are_idle(&self) -> bool {
        [&self.helper, &self.disk, &self.remover].into_iter().all(|helper| helper.pending.load(Ordering::Acquire) == 0)
    }
}

/// The way to one of them, or to several that share their work. They end when it is gone and their work is done.
pub(super) struct Helper {
    work: Sender<Job>,
    /// Calls that were asked for and are not done.
    pending: Arc<AtomicUsize>,
}

type Job = Box<dyn FnOnce() + Send>;

struct Outcome<R> {
    result: Option<thread::Result<R>>,
    waker: Option<Waker>,
}

impl Helper {
    fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (work, to_do) = channel::<Job>();
        let (to_do, pending) = (Arc::new(Mutex::new(to_do)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..threads {
            let (to_do, pending) = (Arc::clone(&to_do), Arc::clone(&pending));
            // The lock is let go before the job is begun.
            let next = move || lock(&to_do).recv();
            thread::Builder::new().name(name.into()).spawn(move || {
                while let Ok(job) = next() {
                    job();
                    pending.fetch_sub(1, Ordering::Release);
                }
            })?;
        }
        Ok(Self { work, pending })
    }

    /// Runs `call` there. Calls are begun in the order in which they were asked for.
    pub(super) fn begin(&self, call: impl FnOnce() + Send + 'static) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        self.work.send(Box::new(call)).expect("the helper runs as long as it has a way to it");
    }

    /// As [`Helper::begin`], and waits for the outcome. `call` is run also when the future is dropped. A panic in it goes on in the caller.
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
        self.begin(job);
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

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
