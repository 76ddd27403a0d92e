//! Wakers of tasks that may be called on any thread.
//!
//! Always true: a task's own waker is touched on its core only; a wake from another thread leaves a note and, if the core sleeps, rings. A core
//! looks for notes between raising its sleep flag and sleeping, and a thread looks at the flag after it has left its note, so no wake is lost.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_queue::SegQueue;

thread_local! {
    /// The address of the bell of the core that runs on this thread; 0 on threads that are no core's.
    static HOME: Cell<usize> = const { Cell::new(0) };
}

/// A core's door for other threads.
pub(super) struct CoreBell {
    /// Tasks woken from other threads. Each stands here once, so there are never more than tasks.
    notes: SegQueue<Arc<TaskBell>>,
    asleep: AtomicBool,
    /// A counter of the kernel; writing to it ends the sleep.
    counter: File,
}

impl CoreBell {
    /// The bell of the core that runs on this thread from now on.
    pub(super) fn install() -> io::Result<Arc<Self>> {
        // SAFETY: plain numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor and nobody else knows it.
        let counter = unsafe { File::from_raw_fd(fd) };
        let bell = Arc::new(Self { notes: SegQueue::new(), asleep: AtomicBool::new(false), counter });
        HOME.set(Arc::as_ptr(&bell).addr());
        Ok(bell)
    }

    /// What becomes readable when the bell rings.
    pub(super) fn fd(&self) -> RawFd {
        self.counter.as_raw_fd()
    }

    /// Wakes the tasks that other threads have woken. Says whether there were any.
    pub(super) fn take_notes(&self) -> bool {
        let mut any = false;
        while let Some(task) = self.notes.pop() {
            // Before the wake: who wakes it again from here on must leave a new note.
            task.noted.store(false, Ordering::SeqCst);
            task.wake_here();
            any = true;
        }
        any
    }

    /// Whether other threads have woken tasks.
    pub(super) fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// The core is about to sleep. It must not if there are notes now.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let may = self.notes.is_empty();
        if !may {
            self.wake_up();
        }
        may
    }

    /// The core is awake and looks for notes by itself.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn leave(&self, task: Arc<TaskBell>) {
        self.notes.push(task);
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when 2^64 - 1 rings were not heard.
            let _ = (&self.counter).write(&1u64.to_ne_bytes());
        }
    }
}

/// A task as other threads know it.
struct TaskBell {
    home: Arc<CoreBell>,
    /// It stands among the notes.
    noted: AtomicBool,
    /// The executor's waker, until the task has ended.
    task: RefCell<Option<Waker>>,
}

// SAFETY: `task` is not `Sync`, and the executor's waker belongs to its thread. It is touched only by `wake_here`, `Belled::poll` and `Belled::drop`:
// the first is called on the home thread only (checked by `HOME` in `wake_by_ref`, and by `take_notes` being the core's own), the others run where
// the executor polls and drops its tasks, which is the home thread. The last owner of a `TaskBell` may be another thread; by then `task` is empty,
// because `Belled` empties it when the task ends.
unsafe impl Send for TaskBell {}
// SAFETY: as above.
unsafe impl Sync for TaskBell {}

impl TaskBell {
    fn wake_here(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}

impl Wake for TaskBell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if HOME.get() == Arc::as_ptr(&self.home).addr() {
            self.wake_here();
        } else if !self.noted.swap(true, Ordering::SeqCst) {
            self.home.leave(Arc::clone(self));
        }
    }
}

/// A future as a task of a core: what it waits for gets a waker that any thread may call.
pub(super) struct Belled<F> {
    future: F,
    bell: Arc<TaskBell>,
    waker: Waker,
    polls: std::rc::Rc<Cell<u64>>,
}

impl<F> Belled<F> {
    /// A task of the core with this bell; each poll is counted in `polls`.
    pub(super) fn new(home: &Arc<CoreBell>, polls: std::rc::Rc<Cell<u64>>, future: F) -> Self {
        let bell =
            Arc::new(TaskBell { home: Arc::clone(home), noted: AtomicBool::new(false), task: RefCell::new(None) });
        Self { future, waker: Waker::from(Arc::clone(&bell)), bell, polls }
    }
}

impl<F: Future> Future for Belled<F> {
    type Output = F::Output;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned because `self` is and it is never moved out; the others are not pinned.
        let (future, this) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), (&this.bell, &this.waker, &this.polls))
        };
        let (bell, waker, polls) = this;
        polls.set(polls.get() + 1);
        bell.task.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        let polled = future.poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            // Outside of the borrow: dropping the last waker of a task may drop the task.
            let ended = bell.task.borrow_mut().take();
            drop(ended);
        }
        polled
    }
}

impl<F> Drop for Belled<F> {
    fn drop(&mut self) {
        let ended = self.bell.task.borrow_mut().take();
        drop(ended);
    }
}
