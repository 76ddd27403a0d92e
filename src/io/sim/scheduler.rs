//! One thread plays all cores: the next ready task is picked by chance, and time jumps when nobody is ready.
//!
//! Always true: with the same seed the same tasks are polled in the same order at the same times. Work takes a little time, so clocks move. A wake-up
//! only puts the task among the ready ones.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::random::{Random, mix};

/// Polls without any event from outside after which a run is held for a livelock.
const POLL_BUDGET: u32 = 200_000;
/// Nanoseconds that one poll takes at most.
const POLL_NANOS_MAX: u64 = 1000;

/// Who a task belongs to; tasks are ended together by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    /// One start of one process.
    pub(super) life: u64,
    pub(super) shard: u16,
}

/// Virtual nanoseconds, for all who need to know the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }
}

pub(super) struct Scheduler {
    pub(super) clock: Clock,
    tasks: RefCell<Tasks>,
    woken: Arc<Woken>,
    agenda: RefCell<Agenda>,
    random: RefCell<Random>,
    trace: Cell<u64>,
    polls: Cell<u32>,
    total_polls: Cell<u64>,
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: Vec<TaskId>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    queued: bool,
    task: Option<Task>,
}

struct Task {
    owner: Owner,
    /// Absent while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TaskId {
    slot: u32,
    generation: u32,
}

/// Tasks that were woken since the scheduler looked, in order. Wakers must be able to cross threads, though here none does.
#[derive(Default)]
struct Woken(Mutex<Vec<TaskId>>);

struct TaskWaker {
    id: TaskId,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

#[derive(Default)]
struct Agenda {
    events: BTreeMap<(u64, u64), Event>,
    next: u64,
}

enum Event {
    Wake(Waker),
    Call(Box<dyn FnOnce()>),
}

/// What one step of the scheduler did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A task was polled, or something happened outside.
    Moved,
    /// Nobody is ready and nothing will ever happen.
    Stuck,
    /// The next thing happens after the given limit; time stands there now.
    TimeUp,
}

/// The world outside the tasks that has its own agenda.
pub(super) trait Outside {
    /// When it does something next.
    fn next_at(&self) -> Option<u64>;
    /// Does everything that is due. Says whether there was anything.
    fn run_due(&self, now: u64) -> bool;
}

impl Scheduler {
    pub(super) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            clock: Clock::default(),
            tasks: RefCell::default(),
            woken: Arc::default(),
            agenda: RefCell::default(),
            random: RefCell::new(Random::new(seed, "scheduler")),
            trace: Cell::new(mix(seed)),
            polls: Cell::new(0),
            total_polls: Cell::new(0),
        })
    }

    pub(super) fn spawn(&self, owner: Owner, future: Pin<Box<dyn Future<Output = ()>>>) {
        let mut tasks = self.tasks.borrow_mut();
        let slot = tasks.free.pop().unwrap_or_else(|| {
            tasks.slots.push(Slot::default());
            (tasks.slots.len() - 1) as u32
        });
        let place = &mut tasks.slots[slot as usize];
        let id = TaskId { slot, generation: place.generation };
        let waker = Waker::from(Arc::new(TaskWaker { id, woken: Arc::clone(&self.woken) }));
        place.task = Some(Task { owner, future: Some(future), waker });
        place.queued = true;
        tasks.ready.push(id);
    }

    /// Ends all tasks that `doomed` names, without polling them again.
    pub(super) fn end_tasks(&self, doomed: impl Fn(Owner) -> bool) {
        let mut ended = Vec::new();
        {
            let mut tasks = self.tasks.borrow_mut();
            for slot in 0..tasks.slots.len() {
                let place = &mut tasks.slots[slot];
                if place.task.as_ref().is_some_and(|task| doomed(task.owner)) {
                    ended.push(place.task.take());
                    place.generation += 1;
                    place.queued = false;
                    tasks.free.push(slot as u32);
                }
            }
        }
        // Dropped only now: what a task owns may reach for the scheduler when it goes.
        drop(ended);
    }

    /// Calls back at a virtual time.
    pub(super) fn call_at(&self, nanos: u64, call: impl FnOnce() + 'static) {
        self.agenda.borrow_mut().add(nanos, Event::Call(Box::new(call)));
    }

    pub(super) fn call_after(&self, wait: u64, call: impl FnOnce() + 'static) {
        self.call_at(self.clock.now().saturating_add(wait), call);
    }

    /// Nothing that was planned happens any more.
    pub(super) fn forget_agenda(&self) {
        let events = std::mem::take(&mut self.agenda.borrow_mut().events);
        drop(events);
    }

    /// Adds to the hash that tells two runs apart.
    pub(super) fn note(&self, what: u64) {
        self.trace.set(mix(self.trace.get() ^ what).wrapping_add(self.clock.now()));
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.get()
    }

    pub(super) fn total_polls(&self) -> u64 {
        self.total_polls.get()
    }

    /// Does one thing: what is due outside, or one poll, or a jump of time to the next event, but not past `limit`.
    pub(super) fn step(&self, outside: &dyn Outside, limit: u64) -> Step {
        if self.clock.now() >= limit {
            return Step::TimeUp;
        }
        if self.run_due(outside) {
            self.polls.set(0);
        }
        self.collect_woken();
        let picked = {
            let mut tasks = self.tasks.borrow_mut();
            let count = tasks.ready.len() as u64;
            (count > 0).then(|| {
                let at = self.random.borrow_mut().below(count) as usize;
                tasks.ready.swap_remove(at)
            })
        };
        if let Some(id) = picked {
            self.poll(id);
            return Step::Moved;
        }
        let agenda = self.agenda.borrow().events.first_key_value().map(|((at, _), _)| *at);
        match (agenda, outside.next_at()) {
            (None, None) => Step::Stuck,
            (a, b) => {
                let next = a.unwrap_or(u64::MAX).min(b.unwrap_or(u64::MAX));
                self.clock.set(next.clamp(self.clock.now(), limit));
                if next > limit { Step::TimeUp } else { Step::Moved }
            }
        }
    }

    fn run_due(&self, outside: &dyn Outside) -> bool {
        let now = self.clock.now();
        let mut any = outside.run_due(now);
        loop {
            let due = {
                let mut agenda = self.agenda.borrow_mut();
                match agenda.events.first_entry() {
                    Some(first) if first.key().0 <= now => Some(first.remove_entry()),
                    _ => None,
                }
            };
            let Some(((_, number), event)) = due else { return any };
            any = true;
            self.note(number);
            match event {
                Event::Wake(waker) => waker.wake(),
                Event::Call(call) => call(),
            }
        }
    }

    fn collect_woken(&self) {
        let woken = std::mem::take(&mut *self.woken.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tasks = self.tasks.borrow_mut();
        for id in woken {
            let place = &mut tasks.slots[id.slot as usize];
            if place.generation == id.generation && !place.queued && place.task.is_some() {
                place.queued = true;
                tasks.ready.push(id);
            }
        }
    }

    fn poll(&self, id: TaskId) {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let place = &mut tasks.slots[id.slot as usize];
            if place.generation != id.generation {
                return;
            }
            place.queued = false;
            let task = place.task.as_mut().expect("a ready task of this generation is there");
            (task.future.take().expect("polled by one at a time"), task.waker.clone())
        };
        self.note(u64::from(id.slot) << 32 | u64::from(id.generation));
        self.count_poll();
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.clock.set(self.clock.now() + 1 + self.random.borrow_mut().below(POLL_NANOS_MAX));
        let finished = {
            let mut tasks = self.tasks.borrow_mut();
            let place = &mut tasks.slots[id.slot as usize];
            match (polled, &mut place.task) {
                // Ended by itself or by others while it ran: dropped below, outside of the borrow.
                (_, None) => Some(future),
                _ if place.generation != id.generation => Some(future),
                (Poll::Ready(()), task) => {
                    *task = None;
                    place.generation += 1;
                    place.queued = false;
                    tasks.free.push(id.slot);
                    Some(future)
                }
                (Poll::Pending, Some(task)) => {
                    task.future = Some(future);
                    None
                }
            }
        };
        drop(finished);
    }

    fn count_poll(&self) {
        self.total_polls.set(self.total_polls.get() + 1);
        self.polls.set(self.polls.get() + 1);
        assert!(self.polls.get() <= POLL_BUDGET, "livelock: {POLL_BUDGET} polls, and nothing came from outside");
    }
}

impl Agenda {
    fn add(&mut self, at: u64, event: Event) -> (u64, u64) {
        let key = (at, self.next);
        self.next += 1;
        self.events.insert(key, event);
        key
    }
}

/// Ready at a virtual time.
pub(in crate::io) struct Sleep {
    scheduler: Rc<Scheduler>,
    at: u64,
    entry: Option<(u64, u64)>,
}

impl Sleep {
    pub(super) fn new(scheduler: &Rc<Scheduler>, wait: Duration) -> Self {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self { scheduler: Rc::clone(scheduler), at: scheduler.clock.now().saturating_add(nanos), entry: None }
    }

    fn cancel(&mut self) {
        if let Some(entry) = self.entry.take() {
            // Dropped outside of the borrow: it may be the last hold on a task.
            let removed = self.scheduler.agenda.borrow_mut().events.remove(&entry);
            drop(removed);
        }
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.cancel();
        if self.scheduler.clock.now() >= self.at {
            return Poll::Ready(());
        }
        let entry = self.scheduler.agenda.borrow_mut().add(self.at, Event::Wake(cx.waker().clone()));
        self.entry = Some(entry);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Where the outcome of something that happens outside is left for the one task that waits for it.
pub(super) struct Promise<T> {
    shared: Rc<RefCell<Promised<T>>>,
}

struct Promised<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared) }
    }
}

impl<T> Promise<T> {
    pub(super) fn new() -> Self {
        Self { shared: Rc::new(RefCell::new(Promised { value: None, waker: None })) }
    }

    pub(super) fn keep(&self, value: T) {
        let waker = {
            let mut shared = self.shared.borrow_mut();
            shared.value = Some(value);
            shared.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) async fn wait(self) -> T {
        std::future::poll_fn(|cx| {
            let mut shared = self.shared.borrow_mut();
            match shared.value.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    shared.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
