//! Messages from any core (or thread) to one task: bounded, in the order they were put in, without locks on the way.
//!
//! Always true: a message that `try_send` or `send` accepted is received, unless the receiver is dropped first; messages that one task sends keep their
//! order; the bound holds. The wake-up of a sleeping receiver is paid once for all messages that it finds when it looks. One implementation for both
//! arms: a waker is a waker.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;

/// A mailbox for at most `capacity` messages.
pub fn mailbox<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        messages: ArrayQueue::new(capacity),
        receiver: AtomicWaker::new(),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
        waiting: AtomicUsize::new(0),
        waiters: Mutex::new(Line { next_ticket: 0, waiters: VecDeque::new() }),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// The end that puts messages in. Clones are further senders to the same receiver.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send> Sender<T> {
    /// Puts a message in. Gives it back when the mailbox is full or its receiver is gone.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(message);
        }
        self.shared.messages.push(message)?;
        self.shared.receiver.wake();
        Ok(())
    }

    /// Puts a message in and waits for room when the mailbox is full. Gives it back when the receiver is gone.
    pub async fn send(&self, message: T) -> Result<(), T> {
        let mut message = match self.try_send(message) {
            Ok(()) => return Ok(()),
            Err(message) => Some(message),
        };
        let mut place = Place { shared: &self.shared, ticket: None };
        poll_fn(|cx| {
            // Registered first, tried second: a receiver that makes room in between finds the waker.
            place.register(cx);
            let held = message.take().expect("polled after it was ready");
            match self.try_send(held) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(back) if self.is_closed() => Poll::Ready(Err(back)),
                Err(back) => {
                    message = Some(back);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }

    /// Messages that wait now.
    pub fn len(&self) -> usize {
        self.shared.messages.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.shared.messages.is_empty()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.receiver.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} of {})", self.shared.messages.len(), self.shared.messages.capacity())
    }
}

/// The end that takes messages out. There is one, and one task at a time waits on it.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send> Receiver<T> {
    /// The next message; `None` once all senders are gone and nothing is left. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The poll form of [`Receiver::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.try_recv() {
            return Poll::Ready(Some(message));
        }
        self.shared.receiver.register(cx.waker());
        // Read before the second look: a sender puts its message in before it goes.
        let ended = self.shared.senders.load(Ordering::Acquire) == 0;
        match self.try_recv() {
            Some(message) => Poll::Ready(Some(message)),
            None if ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// The next message if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        let message = self.shared.messages.pop()?;
        self.shared.room_was_made();
        Some(message)
    }

    /// Messages that wait now.
    pub fn len(&self) -> usize {
        self.shared.messages.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.shared.messages.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        while let Some(message) = self.shared.messages.pop() {
            drop(message);
        }
        let waiters = std::mem::take(&mut self.shared.lock_line().waiters);
        waiters.into_iter().for_each(|waiter| waiter.waker.wake());
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({} of {})", self.shared.messages.len(), self.shared.messages.capacity())
    }
}

struct Shared<T> {
    messages: ArrayQueue<T>,
    receiver: AtomicWaker,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
    /// How many stand in `waiters`; read without the lock on the receiver's way.
    waiting: AtomicUsize,
    /// Senders that found the mailbox full, longest first. Taken only then, so the lock is not on the usual way.
    waiters: Mutex<Line>,
}

struct Line {
    next_ticket: u64,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    waker: Waker,
}

impl<T> Shared<T> {
    fn lock_line(&self) -> MutexGuard<'_, Line> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes one sender per message taken out. The fence orders "message taken" before "anybody waiting?"; a sender does the reverse.
    fn room_was_made(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let first = {
            let mut line = self.lock_line();
            let first = line.waiters.pop_front();
            self.waiting.store(line.waiters.len(), Ordering::Relaxed);
            first
        };
        if let Some(waiter) = first {
            waiter.waker.wake();
        }
    }
}

/// A sender's place in the line of those that wait for room; leaving the line is its drop.
struct Place<'a, T> {
    shared: &'a Shared<T>,
    ticket: Option<u64>,
}

impl<T> Place<'_, T> {
    fn register(&mut self, cx: &mut Context<'_>) {
        let mut line = self.shared.lock_line();
        match line.waiters.iter_mut().find(|waiter| Some(waiter.ticket) == self.ticket) {
            Some(waiter) => waiter.waker.clone_from(cx.waker()),
            None => {
                let ticket = line.next_ticket;
                line.next_ticket += 1;
                self.ticket = Some(ticket);
                line.waiters.push_back(Waiter { ticket, waker: cx.waker().clone() });
            }
        }
        self.shared.waiting.store(line.waiters.len(), Ordering::Relaxed);
        drop(line);
        fence(Ordering::SeqCst);
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let next = {
            let mut line = self.shared.lock_line();
            let before = line.waiters.len();
            line.waiters.retain(|waiter| waiter.ticket != ticket);
            // Woken but leaving: if there is still room, it is for the next in line.
            let woken = line.waiters.len() == before;
            let room = self.shared.messages.len() < self.shared.messages.capacity();
            let next = if woken && room { line.waiters.pop_front() } else { None };
            self.shared.waiting.store(line.waiters.len(), Ordering::Relaxed);
            next
        };
        if let Some(waiter) = next {
            waiter.waker.wake();
        }
    }
}
