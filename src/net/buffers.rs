//! Read buffers that a core lends to its connections while frames arrive, charged against one budget.
//!
//! Always true: the charge is made for the whole allocation before a byte is read into it, and lasts until the last request cut out of it is
//! answered, however small that request is. Those who wait are served in order, so a large frame is not starved by small ones. A connection that
//! already holds a loan does not queue, and one of them at a time may pass the budget: otherwise all could hold a little and wait for ever.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;

use super::bell::Bell;

/// The buffers of one core.
#[derive(Clone, Debug)]
pub struct Buffers {
    core: Rc<Core>,
}

#[derive(Debug)]
struct Core {
    budget: usize,
    lent: Cell<usize>,
    /// Someone has passed the budget.
    overdraft: Cell<bool>,
    waiting: Cell<usize>,
    queue: RefCell<VecDeque<u64>>,
    next_ticket: Cell<u64>,
    changed: Bell,
    free: RefCell<[Vec<BytesMut>; CLASSES.len()]>,
}

/// The charge for one buffer, and the way home for its memory. Shared by all requests cut out of the buffer.
#[derive(Debug)]
pub struct Loan {
    core: Rc<Core>,
    bytes: usize,
    overdraft: bool,
    home: RefCell<Option<BytesMut>>,
}

impl Buffers {
    /// Lends at most `budget` bytes at a time.
    pub fn new(budget: usize) -> Self {
        let core = Core {
            budget,
            lent: Cell::new(0),
            overdraft: Cell::new(false),
            waiting: Cell::new(0),
            queue: RefCell::default(),
            next_ticket: Cell::new(0),
            changed: Bell::default(),
            free: RefCell::default(),
        };
        Self { core: Rc::new(core) }
    }

    /// A buffer with room for `frame` bytes, and more when frames are small, so that several arrive with one read. Waits while the budget is used up.
    ///
    /// `holding`: the caller has bytes of this frame in a buffer that was lent to it.
    pub async fn lend(&self, frame: usize, holding: bool) -> (BytesMut, Rc<Loan>) {
        let class = CLASSES.iter().position(|bytes| *bytes >= frame.saturating_mul(2).min(frame.max(READ_AHEAD_MAX)));
        let bytes = class.map_or(frame, |class| CLASSES[class]);
        let loan = self.charge(bytes, holding).await;
        let buffer = class.and_then(|class| self.recycled(class)).unwrap_or_else(|| BytesMut::with_capacity(bytes));
        (buffer, loan)
    }

    /// A charge without a buffer, for memory that the caller has already.
    pub async fn charge(&self, bytes: usize, holding: bool) -> Rc<Loan> {
        let core = &self.core;
        if holding {
            if !core.fits(bytes, true) {
                let _place = Place::take(core, None);
                core.changed.until(|| core.fits(bytes, true)).await;
            }
        } else if !core.queue.borrow().is_empty() || !core.fits(bytes, false) {
            let ticket = core.next_ticket.get();
            core.next_ticket.set(ticket + 1);
            let _place = Place::take(core, Some(ticket));
            core.changed.until(|| core.queue.borrow().front() == Some(&ticket) && core.fits(bytes, false)).await;
        }
        let overdraft = core.lent.get() + bytes > core.budget && core.lent.get() > 0;
        core.lent.set(core.lent.get() + bytes);
        if overdraft {
            core.overdraft.set(true);
        }
        Rc::new(Loan { core: core.clone(), bytes, overdraft, home: RefCell::new(None) })
    }

    /// Whether someone waits for memory.
    pub fn scarce(&self) -> bool {
        self.core.waiting.get() > 0
    }

    /// Bytes lent now.
    #[cfg(test)]
    pub fn lent(&self) -> usize {
        self.core.lent.get()
    }

    fn recycled(&self, class: usize) -> Option<BytesMut> {
        let mut free = self.core.free.borrow_mut();
        while let Some(mut buffer) = free[class].pop() {
            buffer.clear();
            // Another core may still hold a slice for a moment; then the memory goes when that slice does.
            if buffer.try_reclaim(CLASSES[class]) {
                return Some(buffer);
            }
        }
        None
    }
}

impl Core {
    fn fits(&self, bytes: usize, holding: bool) -> bool {
        let lent = self.lent.get();
        lent == 0 || lent + bytes <= self.budget || (holding && !self.overdraft.get())
    }
}

impl Loan {
    /// Leaves the buffer's memory here, to be lent again once all requests cut out of it are answered.
    pub fn leave(&self, buffer: BytesMut) {
        *self.home.borrow_mut() = Some(buffer);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.core.lent.set(self.core.lent.get() - self.bytes);
        if self.overdraft {
            self.core.overdraft.set(false);
        }
        if let (Some(buffer), Some(class)) = (self.home.take(), CLASSES.iter().position(|bytes| *bytes == self.bytes)) {
            let mut free = self.core.free.borrow_mut();
            if free[class].len() * CLASSES[class] < FREE_BYTES_PER_CLASS_MAX {
                free[class].push(buffer);
            }
        }
        self.core.changed.ring();
    }
}

/// A place among those who wait for memory, given up when the one who waits goes on or goes away.
struct Place<'a> {
    core: &'a Core,
    /// A place in the queue; none for one who holds a loan.
    ticket: Option<u64>,
}

impl<'a> Place<'a> {
    fn take(core: &'a Core, ticket: Option<u64>) -> Self {
        core.waiting.set(core.waiting.get() + 1);
        core.queue.borrow_mut().extend(ticket);
        Self { core, ticket }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.core.waiting.set(self.core.waiting.get() - 1);
        self.core.queue.borrow_mut().retain(|ticket| Some(*ticket) != self.ticket);
        self.core.changed.ring();
    }
}

/// Sizes of buffers that are kept for the next one. Larger frames get memory of their own.
const CLASSES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// No more than this is read ahead of a frame for its successors.
const READ_AHEAD_MAX: usize = 1 << 20;
/// Bytes of unused buffers kept per size.
const FREE_BYTES_PER_CLASS_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll};

    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    use std::task::Waker;

    #[test]
    fn a_buffer_comes_home_when_its_last_request_is_answered() {
        let buffers = Buffers::new(1 << 20);
        let (mut buffer, loan) = now(buffers.lend(20_000, false)).unwrap();
        assert_eq!((buffer.capacity(), buffers.lent()), (64 << 10, 64 << 10));
        buffer.extend_from_slice(&[7; 100]);
        let (frame, request) = (buffer.split_to(100).freeze(), loan.clone());
        let memory = frame.as_ptr();
        loan.leave(buffer);
        drop(loan);
        assert_eq!(buffers.lent(), 64 << 10);
        drop((frame, request));
        assert_eq!(buffers.lent(), 0);
        let (buffer, _loan) = now(buffers.lend(20_000, false)).unwrap();
        assert_eq!(buffer.as_ptr(), memory);
    }

    #[test]
    fn memory_that_someone_still_reads_is_not_lent_again() {
        let buffers = Buffers::new(1 << 20);
        let (mut buffer, loan) = now(buffers.lend(20_000, false)).unwrap();
        buffer.extend_from_slice(&[7; 100]);
        let frame = buffer.split_to(100).freeze();
        loan.leave(buffer);
        drop(loan);
        let (again, _loan) = now(buffers.lend(20_000, false)).unwrap();
        assert_ne!(again.as_ptr(), frame.as_ptr());
        assert_eq!(frame[..], [7; 100]);
    }

    #[test]
    fn those_who_wait_are_served_in_order() {
        let buffers = Buffers::new(100);
        let first = now(buffers.charge(60, false)).unwrap();
        let mut large = pin!(buffers.charge(80, false));
        let mut small = pin!(buffers.charge(10, false));
        let mut context = Context::from_waker(Waker::noop());
        assert!(large.as_mut().poll(&mut context).is_pending());
        assert!(small.as_mut().poll(&mut context).is_pending(), "ten bytes are free, but another was first");
        assert!(buffers.scarce());
        drop(first);
        assert!(small.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(_held) = large.as_mut().poll(&mut context) else { panic!("it fits now") };
        let Poll::Ready(_too) = small.as_mut().poll(&mut context) else { panic!("it fits beside") };
        assert_eq!(buffers.lent(), 90);
    }

    #[test]
    fn one_who_holds_part_of_a_frame_may_pass_the_budget_and_only_one() {
        let buffers = Buffers::new(100);
        let _first = now(buffers.charge(60, false)).unwrap();
        let over = now(buffers.charge(80, true)).unwrap();
        assert!(now(buffers.charge(80, true)).is_none());
        drop(over);
        assert!(now(buffers.charge(80, true)).is_some());
    }

    #[test]
    fn a_frame_above_the_budget_passes_when_nothing_else_is_lent() {
        let buffers = Buffers::new(100);
        assert!(now(buffers.charge(500, false)).is_some());
    }
}
