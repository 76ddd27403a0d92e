//! Responses of one connection in the order of its requests.
//!
//! Always true: at most `PRODUCES_IN_FLIGHT_MAX` requests are under way; a request's read buffer is given back when its answer is known, even while
//! the peer does not read; answers that are ready together leave in one write.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::bell::Bell;
use super::buffers::Loan;
use super::stream::Stream;
use crate::base::limits::PRODUCES_IN_FLIGHT_MAX;
use crate::broker::{Answer, Held, LaterAnswer};

/// The writing side of a connection.
#[derive(Default)]
pub struct Outbox {
    slots: RefCell<VecDeque<Slot>>,
    /// Bytes of answers that are ready and not yet written.
    ready_bytes: Cell<usize>,
    writing: Cell<bool>,
    /// No further request comes.
    ended: Cell<bool>,
    /// Nothing can be written any more.
    broken: Cell<bool>,
    changed: Bell,
    writer: RefCell<Option<Waker>>,
}

enum Slot {
    /// The loan is given back when the answer is known.
    Waiting(LaterAnswer, #[allow(dead_code, reason = "held, not read")] Option<Rc<Loan>>),
    Ready(Answer),
}

impl Outbox {
    /// Waits until all earlier requests are answered, or the connection broke.
    pub async fn until_idle(&self) {
        self.changed.until(|| self.broken.get() || self.is_idle()).await;
    }

    /// Waits until one more request may be under way, or the connection broke.
    pub async fn until_room(&self) {
        let room = || self.slots.borrow().len() < PRODUCES_IN_FLIGHT_MAX && self.ready_bytes.get() < READY_BYTES_MAX;
        self.changed.until(|| self.broken.get() || room()).await;
    }

    /// Whether all requests are answered and written.
    pub fn is_idle(&self) -> bool {
        !self.writing.get() && self.slots.borrow().is_empty()
    }

    /// Whether nothing can be written any more.
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Adds the answer to the request after all earlier ones.
    pub fn push(&self, answer: Answer) {
        self.count(&answer);
        self.add(Slot::Ready(answer));
    }

    /// Adds an answer that comes later. `loan` is held until then.
    pub fn push_later(&self, answer: LaterAnswer, loan: Option<Rc<Loan>>) {
        self.add(Slot::Waiting(answer, loan));
    }

    /// No further request comes: the writer ends when everything is answered.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake_writer();
    }

    /// Writes answers until the last request is answered, or one closes the connection, or it breaks. `moved` is called whenever the peer has taken
    /// something.
    pub async fn write_out(&self, stream: &Stream, moved: impl Fn()) {
        let (mut parts, mut held) = (VecDeque::new(), Vec::new());
        while let Some(close) = self.next_parts(&mut parts, &mut held).await {
            if !parts.is_empty() && !self.broken.get() {
                self.writing.set(true);
                if let Err(error) = self.write(stream, &mut parts, &moved).await {
                    tracing::debug!(%error, "a response could not be written");
                    self.break_off(stream);
                }
                self.writing.set(false);
                moved();
            }
            parts.clear();
            held.clear();
            if close {
                self.break_off(stream);
            }
            self.changed.ring();
        }
    }

    fn add(&self, slot: Slot) {
        let mut slots = self.slots.borrow_mut();
        // The writer waits for the first answer that is not known. Until that is there it has nothing to do with one behind it.
        let behind = matches!(slots.back(), Some(Slot::Waiting(..)));
        slots.push_back(slot);
        if !behind {
            self.wake_writer();
        }
    }

    fn count(&self, answer: &Answer) {
        self.ready_bytes.set(self.ready_bytes.get() + answer.len());
    }

    fn break_off(&self, stream: &Stream) {
        self.broken.set(true);
        stream.shutdown();
    }

    fn wake_writer(&self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Collects what is ready at the front, waiting for something to be. Says whether the connection is to be closed behind it; None at the end.
    async fn next_parts(&self, parts: &mut VecDeque<Bytes>, held: &mut Vec<Held>) -> Option<bool> {
        poll_fn(|context| {
            self.settle(context);
            let mut slots = self.slots.borrow_mut();
            let mut taken = 0;
            let mut any = false;
            while let Some(Slot::Ready(_)) = slots.front()
                && taken < WRITE_BYTES
                && parts.len() < WRITE_PARTS
            {
                let Some(Slot::Ready(answer)) = slots.pop_front() else { unreachable!("the front is ready") };
                self.ready_bytes.set(self.ready_bytes.get() - answer.len());
                taken += answer.len();
                any = true;
                match answer {
                    Answer::Respond(frame, memory) => {
                        parts.extend(frame.parts);
                        held.extend(memory);
                    }
                    Answer::Silent => {}
                    Answer::Close(reason) => {
                        tracing::debug!(reason, "connection closed");
                        return Poll::Ready(Some(true));
                    }
                }
            }
            if any {
                return Poll::Ready(Some(false));
            }
            if self.ended.get() && slots.is_empty() {
                return Poll::Ready(None);
            }
            *self.writer.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Writes while it goes on taking in answers, so that buffers are given back even if the peer does not read.
    async fn write(&self, stream: &Stream, parts: &mut VecDeque<Bytes>, moved: impl Fn()) -> std::io::Result<()> {
        let mut write = pin!(stream.write_all(parts));
        poll_fn(|context| {
            moved();
            let written = write.as_mut().poll(context);
            if written.is_pending() {
                self.settle(context);
                *self.writer.borrow_mut() = Some(context.waker().clone());
            }
            written
        })
        .await
    }

    /// Asks the waiting answers in order, as far as they are known.
    fn settle(&self, context: &mut Context<'_>) {
        let mut slots = self.slots.borrow_mut();
        for slot in slots.iter_mut() {
            if let Slot::Waiting(answer, _) = slot {
                match Pin::new(answer).poll(context) {
                    Poll::Ready(answer) => {
                        self.count(&answer);
                        *slot = Slot::Ready(answer);
                    }
                    Poll::Pending => break,
                }
            }
        }
    }
}

/// Bytes after which a write is not made larger by further answers.
const WRITE_BYTES: usize = 256 << 10;
/// Parts after which a write is not made larger by further answers.
const WRITE_PARTS: usize = 256;
/// Bytes of unwritten answers after which no further request is taken up.
const READY_BYTES_MAX: usize = 1 << 20;
