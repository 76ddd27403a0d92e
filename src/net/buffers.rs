//! Read buffers that a core lends to its connections while frames arrive, charged against one budget.
//!
//! Always true: the charge is made for the whole allocation before a byte is read into it, and lasts until the last request cut out of it is
//! answered, however small that request is. What is lent for a large frame follows the bytes that have come, not those that were announced. Those who
//! wait are served in order, and nobody else is woken. Connections that hold a loan stand in a line of their own, and one of them at a time may pass
//! the budget: otherwise all could hold a little and wait for ever.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::BytesMut;

/// The buffers of one core.
#[derive(Clone, Debug)]
pub struct Buffers {
    core: Rc<Core>,
}

#[derive(Debug)]
struct Core {
    budget: usize,
    lent: Cell<usize>,
    /// Loans that passed the budget. All of them are one connection's.
    overdrafts: Cell<usize>,
    next_ticket: Cell<u64>,
    /// Those who hold nothing, longest first.
    queue: Line,
    /// Those who hold a loan and need a larger one.
    holders: Line,
    free: RefCell<[Vec<BytesMut>; CLASSES.len()]>,
}

type Line = RefCell<VecDeque<(u64, Waker)>>;

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
            overdrafts: Cell::new(0),
            next_ticket: Cell::new(0),
            queue: Line::default(),
            holders: Line::default(),
            free: RefCell::default(),
        };
        Self { core: Rc::new(core) }
    }

    /// A buffer for a frame of `needed` bytes of which `have` have come. It has room for more when frames are small, so that several arrive with
    /// one read; it has room for less when the frame is large, or memory is not plenty, until more of the frame has come. Waits while the budget is
    /// used up.
    ///
    /// `held`: what was lent to the caller for this frame before, and is given back when its bytes have moved.
    pub async fn lend(&self, needed: usize, have: usize, held: Option<&Loan>) -> (BytesMut, Rc<Loan>) {
        let plenty = self.core.lent.get() < self.core.budget / 2;
        let trusted = if plenty { TRUSTED_BYTES } else { TRUSTED_BYTES_SCARCE };
        let now = needed.min(trusted.max(have.saturating_mul(GROWTH)));
        let room = if now < needed { now } else { now.saturating_mul(2).min(now.max(READ_AHEAD_MAX)) };
        let class = CLASSES.iter().position(|bytes| *bytes >= room);
        let bytes = class.map_or(now, |class| CLASSES[class]);
        let loan = self.charge(bytes, held).await;
        let buffer = class.and_then(|class| self.recycled(class)).unwrap_or_else(|| BytesMut::with_capacity(bytes));
        (buffer, loan)
    }

    /// A charge without a buffer, for memory that the caller has already.
    pub async fn charge(&self, bytes: usize, held: Option<&Loan>) -> Rc<Loan> {
        let (core, holding) = (&self.core, held.is_some());
        // The one that has passed the budget goes on, else nobody would; but not before its requests before that are answered.
        let passes = held.is_some_and(|loan| loan.overdraft && core.overdrafts.get() == 1);
        if !passes && (!core.line(holding).borrow().is_empty() || !core.fits(bytes, holding)) {
            let mut place = Place { core, holding, ticket: None };
            poll_fn(|context| {
                if place.is_first() && core.fits(bytes, holding) {
                    return Poll::Ready(());
                }
                place.keep(context.waker());
                Poll::Pending
            })
            .await;
        }
        let overdraft = core.lent.get() + bytes > core.budget && core.lent.get() > 0;
        core.lent.set(core.lent.get() + bytes);
        if overdraft {
            core.overdrafts.set(core.overdrafts.get() + 1);
        }
        Rc::new(Loan { core: core.clone(), bytes, overdraft, home: RefCell::new(None) })
    }

    /// Whether someone waits for memory.
    pub fn scarce(&self) -> bool {
        [true, false].into_iter().any(|holding| !self.core.line(holding).borrow().is_empty())
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
    fn line(&self, holding: bool) -> &Line {
        if holding { &self.holders } else { &self.queue }
    }

    /// Wakes the first of each line: who they are changed, or what there is.
    fn wake(&self) {
        for line in [&self.holders, &self.queue] {
            if let Some((_, first)) = line.borrow().front() {
                first.wake_by_ref();
            }
        }
    }

    fn fits(&self, bytes: usize, holding: bool) -> bool {
        let lent = self.lent.get();
        lent == 0 || lent + bytes <= self.budget || (holding && self.overdrafts.get() == 0)
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
            self.core.overdrafts.set(self.core.overdrafts.get() - 1);
        }
        if let (Some(buffer), Some(class)) = (self.home.take(), CLASSES.iter().position(|bytes| *bytes == self.bytes)) {
            let mut free = self.core.free.borrow_mut();
            if free[class].len() * CLASSES[class] < FREE_BYTES_PER_CLASS_MAX {
                free[class].push(buffer);
            }
        }
        self.core.wake();
    }
}

/// A place among those who wait for memory, given up when the one who waits goes on or goes away.
struct Place<'a> {
    core: &'a Core,
    holding: bool,
    ticket: Option<u64>,
}

impl Place<'_> {
    fn is_first(&self) -> bool {
        self.core.line(self.holding).borrow().front().map(|(ticket, _)| *ticket) == self.ticket
    }

    fn keep(&mut self, waker: &Waker) {
        let mut line = self.core.line(self.holding).borrow_mut();
        match self.ticket {
            Some(ticket) => {
                let place = line.iter_mut().find(|(other, _)| *other == ticket);
                place.expect("its place is kept").1.clone_from(waker);
            }
            None => {
                let ticket = self.core.next_ticket.replace(self.core.next_ticket.get() + 1);
                line.push_back((ticket, waker.clone()));
                self.ticket = Some(ticket);
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut line = self.core.line(self.holding).borrow_mut();
        let at = line.iter().position(|(other, _)| *other == ticket).expect("its place is kept");
        line.remove(at);
        drop(line);
        if at == 0 {
            self.core.wake();
        }
    }
}

/// Sizes of buffers that are kept for the next one. Larger frames get memory of their own.
const CLASSES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// No more than this is read ahead of a frame for its successors.
const READ_AHEAD_MAX: usize = 1 << 20;
/// Bytes of a frame that are lent on its word.
const TRUSTED_BYTES: usize = 4 << 20;
/// The same while half of the budget is lent.
const TRUSTED_BYTES_SCARCE: usize = 64 << 10;
/// Beyond that, so many times what has come.
const GROWTH: usize = 4;
/// Bytes of unused buffers kept per size.
const FREE_BYTES_PER_CLASS_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_buffer_comes_home_when_its_last_request_is_answered() {
        let buffers = Buffers::new(1 << 20);
        let (mut buffer, loan) = now(buffers.lend(20_000, 12, None)).unwrap();
        assert_eq!((buffer.capacity(), buffers.lent()), (64 << 10, 64 << 10));
        buffer.extend_from_slice(&[7; 100]);
        let (frame, request) = (buffer.split_to(100).freeze(), loan.clone());
        let memory = frame.as_ptr();
        loan.leave(buffer);
        drop(loan);
        assert_eq!(buffers.lent(), 64 << 10);
        drop((frame, request));
        assert_eq!(buffers.lent(), 0);
        let (buffer, _loan) = now(buffers.lend(20_000, 12, None)).unwrap();
        assert_eq!(buffer.as_ptr(), memory);
    }

    #[test]
    fn memory_that_someone_still_reads_is_not_lent_again() {
        let buffers = Buffers::new(1 << 20);
        let (mut buffer, loan) = now(buffers.lend(20_000, 12, None)).unwrap();
        buffer.extend_from_slice(&[7; 100]);
        let frame = buffer.split_to(100).freeze();
        loan.leave(buffer);
        drop(loan);
        let (again, _loan) = now(buffers.lend(20_000, 12, None)).unwrap();
        assert_ne!(again.as_ptr(), frame.as_ptr());
        assert_eq!(frame[..], [7; 100]);
    }

    #[test]
    fn those_who_wait_are_served_in_order() {
        let buffers = Buffers::new(100);
        let first = now(buffers.charge(60, None)).unwrap();
        let mut large = pin!(buffers.charge(80, None));
        let mut small = pin!(buffers.charge(10, None));
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

    /// The one that passed has to be let through to its end: it kept the others out, and at its next step itself.
    #[test]
    fn one_who_holds_part_of_a_frame_may_pass_the_budget_and_only_one() {
        let buffers = Buffers::new(100);
        let (first, second) = (now(buffers.charge(30, None)).unwrap(), now(buffers.charge(30, None)).unwrap());
        let over = now(buffers.charge(80, Some(&first))).unwrap();
        assert!(now(buffers.charge(80, Some(&second))).is_none());
        drop(first);
        let further = now(buffers.charge(300, Some(&over))).unwrap();
        drop(over);
        assert!(now(buffers.charge(80, Some(&second))).is_none());
        drop(further);
        assert!(now(buffers.charge(80, Some(&second))).is_some());
    }

    /// Each loan that came back woke everybody, and each of a thousand looked for itself in a list of a thousand.
    #[test]
    fn a_loan_that_comes_back_wakes_the_first_in_line_alone() {
        #[derive(Default)]
        struct Counted(AtomicUsize);
        impl Wake for Counted {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let buffers = Buffers::new(100);
        let held = [now(buffers.charge(60, None)).unwrap(), now(buffers.charge(40, None)).unwrap()];
        let wakes: Vec<_> = (0..1000).map(|_| Arc::new(Counted::default())).collect();
        let mut waiting: Vec<_> = wakes.iter().map(|_| Box::pin(buffers.charge(50, None))).collect();
        for (charge, wakes) in waiting.iter_mut().zip(&wakes) {
            assert!(charge.as_mut().poll(&mut Context::from_waker(&wakes.clone().into())).is_pending());
        }
        drop(held);
        let woken: Vec<_> = wakes.iter().map(|wakes| wakes.0.load(Ordering::Relaxed)).collect();
        assert_eq!((woken[0], woken.iter().sum::<usize>()), (2, 2), "once for each loan");
        let Poll::Ready(_first) = waiting[0].as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it fits")
        };
        assert_eq!(wakes[1].0.load(Ordering::Relaxed), 1, "the next is first now");
    }

    #[test]
    fn what_is_lent_for_a_large_frame_follows_what_has_come() {
        let buffers = Buffers::new(64 << 20);
        let lend = |have| {
            let (buffer, loan) = now(buffers.lend(100 << 20, have, None)).unwrap();
            (buffer.capacity(), loan)
        };
        let (first, held) = lend(12);
        assert_eq!((first, buffers.lent()), (4 << 20, 4 << 20));
        assert_eq!((lend(4 << 20).0, lend(8 << 20).0), (16 << 20, 32 << 20));
        let _half = now(buffers.charge(30 << 20, None)).unwrap();
        assert_eq!((lend(12).0, lend(64 << 10).0), (64 << 10, 256 << 10));
        drop(held);
        // A frame that is not large is lent for at once, with room for the next ones.
        assert_eq!(now(buffers.lend(1_100_000, 12, None)).unwrap().0.capacity(), 4 << 20);
    }

    #[test]
    fn a_frame_above_the_budget_passes_when_nothing_else_is_lent() {
        let buffers = Buffers::new(100);
        assert!(now(buffers.charge(500, None)).is_some());
    }
}
