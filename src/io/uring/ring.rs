//! A core's one ring: files, sockets' readiness, timers and other threads are waited for here, and here the core sleeps.
//!
//! Always true: memory, paths and descriptors of an operation are kept until the kernel has completed it, also when the future that waited was
//! dropped. File operations in flight never exceed the completion queue; waits for readiness hold no memory, may be as many as there are
//! sockets, and the kernel keeps what does not fit its queue. The core sleeps only when no task of it is ready.
//!
//! glommio runs the tasks, and nothing else of it is used: its own look at the kernel takes half a dozen system calls and a memory barrier on
//! all CPUs per sleep. The driver is one more task. It stands behind the tasks that are ready, looks at the completion queue in memory, and
//! only when it finds nothing there and no task has run since its last look does it enter the kernel, to submit and to sleep in one call.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CString;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use glommio::task::JoinHandle;
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use super::file::OpenFile;
use super::helper::Helpers;
use super::time::{Sleep, Timers};
use super::wake::{Belled, CoreBell};
use crate::io::buffer::AlignedBuf;

/// Entries of the submission queue.
const RING_ENTRIES: u32 = 256;
/// Entries of the completion queue.
const COMPLETIONS: u32 = 4096;
/// File operations that the kernel works on at most; more wait in line.
const IN_FLIGHT_MAX: usize = 512;
/// Rounds of tasks for which operations that are not urgent are gathered before the kernel is shown them. A request that goes to another core takes two.
const ROUNDS_HELD_MAX: u32 = 2;
/// Looks at what is in flight when a core ends, and the pause between them.
const DRAIN_TRIES: u32 = 2000;
const DRAIN_PAUSE: Duration = Duration::from_millis(1);
/// The names of completions that belong to no slot: the bell's, and those of cancellations.
const BELL: u64 = u64::MAX;
const NOBODY: u64 = u64::MAX - 1;

/// See the top of this file.
pub(super) struct Ring {
    state: RefCell<State>,
    bell: Arc<CoreBell>,
    /// Where the kernel puts the bell's counter.
    bell_counter: Box<Cell<u64>>,
    /// The kernel waits for the bell.
    bell_heard: Cell<bool>,
    timers: Timers,
    helpers: Helpers,
    /// Polls of this core's tasks.
    polls: Rc<Cell<u64>>,
    /// How long the core looks for work before it sleeps.
    spin: Duration,
    closing: Cell<bool>,
    /// The driver has nothing more to do.
    ended: Cell<bool>,
}

struct State {
    ring: IoUring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// File operations that are submitted or gathered, and not completed.
    in_flight: usize,
    /// File operations prepared while the rings were full.
    line: VecDeque<Entry>,
    /// Waits and cancellations prepared while the submission queue was full.
    waits: VecDeque<Entry>,
}

enum Slot {
    Free,
    /// The kernel has it; the waker is of the future that waits.
    Waiting(Option<Waker>, Kept),
    /// The kernel has it and nobody waits any more.
    Abandoned(#[allow(dead_code, reason = "kept alive, not read")] Kept),
    Done(i32, Kept),
}

/// What the kernel may touch until the operation completes. Only kept alive; all of it is behind pointers that do not move.
pub(super) struct Kept {
    pub(super) owner: Owner,
    pub(super) memory: Memory,
}

/// Whose descriptor an operation is about.
#[allow(dead_code, reason = "kept alive, not read")]
pub(super) enum Owner {
    None,
    File(Rc<OpenFile>),
    /// A wait for readiness: it counts for nothing and is called off when nobody waits any more.
    Waits(Rc<OwnedFd>),
}

#[allow(dead_code, reason = "kept alive, not read")]
pub(super) enum Memory {
    None,
    Bytes(Bytes),
    Vectored(Box<[libc::iovec]>, Vec<Bytes>),
    Buffer(AlignedBuf),
    Path(CString),
    Paths(CString, CString),
    Stat(CString, Box<libc::statx>),
}

impl Kept {
    fn is_wait(&self) -> bool {
        matches!(self.owner, Owner::Waits(_))
    }
}

impl Ring {
    /// The ring of the core that runs on this thread.
    pub(super) fn new(helpers: Helpers, spin: Duration) -> io::Result<Rc<Self>> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(RING_ENTRIES)?;
        let state = State {
            ring,
            slots: Vec::with_capacity(64),
            free: Vec::with_capacity(64),
            in_flight: 0,
            line: VecDeque::new(),
            waits: VecDeque::new(),
        };
        Ok(Rc::new(Self {
            state: RefCell::new(state),
            bell: CoreBell::install()?,
            bell_counter: Box::default(),
            bell_heard: Cell::new(false),
            timers: Timers::default(),
            helpers,
            polls: Rc::default(),
            spin,
            closing: Cell::new(false),
            ended: Cell::new(false),
        }))
    }

    /// A task of this core. Every future that runs on it is one: what is not counted is not seen to be ready.
    pub(super) fn task<F>(&self, future: F) -> Belled<F> {
        Belled::new(&self.bell, Rc::clone(&self.polls), future)
    }

    /// Starts a task of this core. It runs to its end whether or not somebody waits for it.
    pub(super) fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        glommio::spawn_local(self.task(future)).detach()
    }

    /// The core's timers.
    pub(super) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// The core is ending.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// File operations that the kernel works on for this ring.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.state.borrow().in_flight
    }

    /// Runs a blocking call beside the core.
    pub(super) async fn blocking<R: Send + 'static>(&self, call: impl FnOnce() -> R + Send + 'static) -> R {
        self.helpers.helper.run(call).await
    }

    /// As [`Ring::blocking`], for what may wait for the disk.
    pub(super) async fn waiting_for_disk<R: Send + 'static>(&self, call: impl FnOnce() -> R + Send + 'static) -> R {
        self.helpers.disk.run(call).await
    }

    /// As [`Ring::blocking`], for what may take seconds.
    pub(super) async fn removing<R: Send + 'static>(&self, call: impl FnOnce() -> R + Send + 'static) -> R {
        self.helpers.remover.run(call).await
    }

    /// Closes a file beside the core, unless something beside it still uses the descriptor.
    pub(super) fn close(&self, fd: Arc<OwnedFd>) {
        self.helpers.disk.begin(move || drop(fd));
    }

    /// Starts the driver.
    pub(super) fn start_driver(self: &Rc<Self>) {
        let ring = Rc::clone(self);
        drop(glommio::spawn_local(async move { ring.drive().await }).detach());
    }

    /// Submits, reaps, fires timers, and sleeps; between two looks the tasks that are ready run.
    async fn drive(self: Rc<Self>) {
        let mut held = 0;
        poll_fn(|cx| {
            loop {
                if self.ended.get() {
                    return Poll::Ready(());
                }
                let ran = self.polls.replace(0) > 0;
                let gathered = !self.state.borrow_mut().ring.submission().is_empty();
                held = if gathered { held + u32::from(ran) } else { 0 };
                // If no task runs while they wait, submitting and sleeping are one call.
                if held > ROUNDS_HELD_MAX || self.has_task_work() {
                    self.enter();
                    held = 0;
                }
                let woke = self.reap() | self.bell.take_notes() | self.timers.fire();
                if woke || ran {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if !self.finds_work_spinning() {
                    self.sleep();
                }
            }
        })
        .await;
    }

    /// Waits until the kernel works on none of our memory any more and nothing is done beside the core, and ends the driver. Bounded, because tasks that go on working start new
    /// operations.
    pub(super) async fn drain(self: &Rc<Self>) {
        self.closing.set(true);
        for _ in 0..DRAIN_TRIES {
            if self.state.borrow().in_flight == 0 && self.helpers.are_idle() {
                break;
            }
            Sleep::new(self, DRAIN_PAUSE).await;
        }
        self.ended.set(true);
    }

    /// Waits until the descriptor can be read (or written), or is broken. Dropping the future calls the wait off.
    pub(super) async fn readable(self: &Rc<Self>, fd: &Rc<OwnedFd>) -> io::Result<()> {
        self.ready(fd, libc::POLLIN).await
    }

    /// As [`Ring::readable`], for writing.
    pub(super) async fn writable(self: &Rc<Self>, fd: &Rc<OwnedFd>) -> io::Result<()> {
        self.ready(fd, libc::POLLOUT).await
    }

    async fn ready(self: &Rc<Self>, fd: &Rc<OwnedFd>, events: libc::c_short) -> io::Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), events as u32).build();
        let kept = Kept { owner: Owner::Waits(Rc::clone(fd)), memory: Memory::None };
        // SAFETY: the entry names no memory.
        match unsafe { self.start_operation(entry, kept) }.await.0 {
            error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(()),
        }
    }

    /// Gives the kernel an operation. `urgent` ones are shown to it at once, together with all gathered so far; others wait for
    /// [`ROUNDS_HELD_MAX`] rounds of tasks, so that several share one system call.
    ///
    /// # Safety
    /// All memory that `entry` names is owned by `kept`, at addresses that moving `kept` does not change.
    pub(super) unsafe fn start(self: &Rc<Self>, entry: Entry, kept: Kept, urgent: bool) -> Operation {
        // SAFETY: the caller's promise.
        let operation = unsafe { self.start_operation(entry, kept) };
        if urgent {
            self.enter();
        }
        operation
    }

    /// # Safety
    /// As [`Ring::start`].
    unsafe fn start_operation(self: &Rc<Self>, entry: Entry, kept: Kept) -> Operation {
        let mut state = self.state.borrow_mut();
        let slot = state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot::Free);
            u32::try_from(state.slots.len() - 1).expect("fewer operations than 2^32")
        });
        let entry = entry.user_data(u64::from(slot));
        if kept.is_wait() {
            state.waits.push_back(entry)
        } else {
            state.line.push_back(entry)
        }
        state.slots[slot as usize] = Slot::Waiting(None, kept);
        // SAFETY: the slot keeps all that the entry names until its completion is reaped.
        unsafe { state.fill() };
        Operation { ring: Rc::clone(self), slot, done: false }
    }

    /// Whether the kernel has completions for us that it gives out only when it is entered.
    fn has_task_work(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let queue = state.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Shows the kernel all gathered operations and takes in what it has completed.
    fn enter(&self) {
        let mut state = self.state.borrow_mut();
        loop {
            let refused = match state.ring.submit() {
                Ok(_) => false,
                Err(fault) => refused_for_now(fault),
            };
            // SAFETY: every entry in line has a slot that keeps what it names.
            unsafe { state.fill() };
            // What the kernel did not take now it takes once its completions are reaped.
            if refused || state.ring.submission().is_empty() {
                return;
            }
        }
    }

    /// Submits what is gathered and waits for a completion, the next timer or another thread.
    fn sleep(&self) {
        if !self.bell_heard.replace(true) {
            let into: *mut u8 = self.bell_counter.as_ptr().cast();
            let entry = opcode::Read::new(types::Fd(self.bell.fd()), into, 8).build().user_data(BELL);
            let mut state = self.state.borrow_mut();
            state.waits.push_front(entry);
            // SAFETY: the counter lives in a box of the ring, which outlives the kernel's ring.
            unsafe { state.fill() };
        }
        if !self.bell.fall_asleep() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let slept = match self.timers.next() {
            None => state.ring.submit_and_wait(1),
            Some(deadline) => {
                let wait = types::Timespec::from(deadline.saturating_duration_since(Instant::now()));
                state.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&wait))
            }
        };
        self.bell.wake_up();
        match slept {
            Err(fault) if fault.raw_os_error() != Some(libc::ETIME) => drop(refused_for_now(fault)),
            _ => {}
        }
        // SAFETY: every entry in line has a slot that keeps what it names.
        unsafe { state.fill() };
    }

    /// Looks for work for a while, if the core is told to.
    fn finds_work_spinning(&self) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let begun = Instant::now();
        while begun.elapsed() < self.spin {
            let completed = !self.state.borrow_mut().ring.completion().is_empty();
            if completed || self.has_task_work() || self.bell.has_notes() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Takes all completions there are and wakes their futures. Says whether there were any.
    fn reap(&self) -> bool {
        let mut any = false;
        loop {
            // No waker is called and nothing is dropped while the state is borrowed: either may lead back here.
            let (waker, kept) = {
                let mut state = self.state.borrow_mut();
                let Some(completion) = state.ring.completion().next() else { break };
                any = true;
                match completion.user_data() {
                    BELL => {
                        self.bell_heard.set(false);
                        continue;
                    }
                    NOBODY => continue,
                    slot => state.completed(usize::try_from(slot).expect("a slot's number"), completion.result()),
                }
            };
            waker.into_iter().for_each(Waker::wake);
            drop(kept);
        }
        if any {
            // SAFETY: every entry in line has a slot that keeps what it names.
            unsafe { self.state.borrow_mut().fill() };
        }
        any
    }

    /// Nobody waits for this readiness any more.
    fn call_off(&self, slot: u32) {
        if self.ended.get() {
            return;
        }
        let entry = opcode::AsyncCancel::new(u64::from(slot)).build().user_data(NOBODY);
        let mut state = self.state.borrow_mut();
        state.waits.push_back(entry);
        // SAFETY: the entry names no memory.
        unsafe { state.fill() };
    }
}

/// Whether the kernel refused for a reason that passes.
fn refused_for_now(fault: io::Error) -> bool {
    match fault.raw_os_error() {
        Some(libc::EINTR) => false,
        // It wants completions to be taken first; the driver comes back.
        Some(libc::EBUSY | libc::EAGAIN) => true,
        _ => panic!("io_uring does not take operations any more: {fault}"),
    }
}

impl State {
    /// Moves entries from the lines into the submission queue while there is room.
    ///
    /// # Safety
    /// Every entry in line has a slot that keeps what it names.
    unsafe fn fill(&mut self) {
        while let Some(entry) = self.waits.front() {
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                return;
            }
            self.waits.pop_front();
        }
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(entry) = self.line.front() else { return };
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                return;
            }
            self.line.pop_front();
            self.in_flight += 1;
        }
    }

    /// The kernel is done with the operation in `slot`. Gives what is to be woken and dropped.
    fn completed(&mut self, slot: usize, result: i32) -> (Option<Waker>, Option<Kept>) {
        match std::mem::replace(&mut self.slots[slot], Slot::Free) {
            Slot::Waiting(waker, kept) => {
                self.in_flight -= usize::from(!kept.is_wait());
                self.slots[slot] = Slot::Done(result, kept);
                (waker, None)
            }
            Slot::Abandoned(kept) => {
                self.in_flight -= usize::from(!kept.is_wait());
                self.free.push(slot as u32);
                (None, Some(kept))
            }
            Slot::Free | Slot::Done(..) => panic!("operation {slot} completed twice"),
        }
    }
}

impl Drop for Ring {
    /// The kernel may not keep pointers into memory that goes away with us.
    fn drop(&mut self) {
        self.ended.set(true);
        let state = self.state.get_mut();
        while state.in_flight > 0 {
            match state.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(fault) if fault.raw_os_error() == Some(libc::EINTR) => {}
                Err(_) => {
                    // Not known to be done: what it keeps must never be freed.
                    std::mem::forget(std::mem::take(&mut state.slots));
                    return;
                }
            }
            loop {
                let Some(completion) = state.ring.completion().next() else { break };
                if let slot @ ..NOBODY = completion.user_data() {
                    drop(state.completed(slot as usize, completion.result()));
                }
            }
        }
    }
}

/// Waits for one operation. Dropping it leaves the operation to the kernel.
pub(super) struct Operation {
    ring: Rc<Ring>,
    slot: u32,
    done: bool,
}

impl Operation {
    /// Where it runs.
    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }
}

impl Future for Operation {
    type Output = (i32, Kept);
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(i32, Kept)> {
        let this = &mut *self;
        let mut state = this.ring.state.borrow_mut();
        let place = &mut state.slots[this.slot as usize];
        match place {
            Slot::Done(..) => {
                let Slot::Done(result, kept) = std::mem::replace(place, Slot::Free) else { unreachable!("matched") };
                state.free.push(this.slot);
                this.done = true;
                Poll::Ready((result, kept))
            }
            Slot::Waiting(waker, _) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Slot::Free | Slot::Abandoned(_) => panic!("operation {} was polled after its end", this.slot),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.ring.state.borrow_mut();
        let place = &mut state.slots[self.slot as usize];
        let mut waits = false;
        let dropped = match std::mem::replace(place, Slot::Free) {
            Slot::Waiting(waker, kept) => {
                waits = kept.is_wait();
                *place = Slot::Abandoned(kept);
                (waker, None)
            }
            Slot::Done(_, kept) => {
                state.free.push(self.slot);
                (None, Some(kept))
            }
            Slot::Free | Slot::Abandoned(_) => unreachable!("an operation is dropped once"),
        };
        drop(state);
        drop(dropped);
        if waits {
            self.ring.call_off(self.slot);
        }
    }
}
