//! One connection: a reader that takes requests up one at a time, and a writer that sends the answers in their order.
//!
//! A Produce is taken up while earlier ones still wait for the disk; its place in each log is fixed before the next request is looked at, so requests
//! of one connection reach a partition in the order in which they were sent. Any other request starts when all earlier ones are answered.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;

use super::buffers::Buffers;
use super::inbox::{Coming, FrameIn, FrameLimits, Inbox, InboxEnd};
use super::outbox::Outbox;
use super::stream::Stream;
use crate::base::Mono;
use crate::base::limits::{
    MEMORY_BYTES_PER_SECOND_MIN, MEMORY_STALLED_MAX, TURN_BYTES, TURN_REQUEST_BYTES_MIN, WRITE_STEP_BYTES,
};
use crate::broker::{Answer, Broker, Handled, Held, Peer, catalogue};
use crate::io::Io;

/// A connection that is being served.
pub struct Connection {
    /// Its bytes.
    pub stream: Stream,
    /// Who is at the other end.
    pub peer: Peer,
    outbox: Outbox,
    /// When bytes last came or went.
    last_moved: Cell<Mono>,
    /// A frame that holds memory is on its way in.
    pace_in: Cell<Option<Pace>>,
    /// An answer that holds memory is on its way out.
    pace_out: Cell<Option<Pace>>,
    /// A request is being handled by the reader.
    handling: Cell<bool>,
    /// No further request is to be taken up.
    closing: Cell<bool>,
}

impl Connection {
    /// A connection of which nothing was read yet.
    pub fn new(stream: Stream, peer: Peer, now: Mono) -> Self {
        Self {
            stream,
            peer,
            outbox: Outbox::default(),
            last_moved: Cell::new(now),
            pace_in: Cell::new(None),
            pace_out: Cell::new(None),
            handling: Cell::new(false),
            closing: Cell::new(false),
        }
    }

    /// When bytes last came or went.
    pub fn last_moved(&self) -> Mono {
        self.last_moved.get()
    }

    /// Whether a frame that holds memory comes slower than it may while others wait for that memory.
    pub fn is_slow_writer(&self, now: Mono) -> bool {
        self.pace_in.get().is_some_and(|pace| pace.is_too_slow(now, self.last_moved.get()))
    }

    /// Whether an answer that holds memory goes out slower than it may while others wait for that memory.
    pub fn is_slow_reader(&self, now: Mono) -> bool {
        self.pace_out.get().is_some_and(|pace| pace.is_too_slow(now, self.last_moved.get()))
    }

    /// Takes no further request up; what is under way is still answered.
    pub fn close_when_answered(&self) {
        self.closing.set(true);
        if !self.handling.get() && self.outbox.is_idle() {
            self.stream.shutdown();
        }
    }

    /// Reads requests and has them handled, until the peer or the broker ends it. The writer must run beside it. No frame may have
    /// more than `request_bytes_max` bytes.
    pub async fn read_requests(&self, io: &Io, broker: &Rc<Broker>, buffers: &Buffers, request_bytes_max: usize) {
        let end = self.take_up_all(io, broker, buffers, request_bytes_max).await;
        match end {
            Ok(()) | Err(InboxEnd::Closed) => {}
            Err(end) => tracing::debug!(peer = %self.peer.address, reason = %end, "connection ended"),
        }
        self.outbox.end();
    }

    /// Writes answers until the last one, then closes.
    pub async fn write_answers(&self, io: &Io) {
        let moved = || {
            self.last_moved.set(io.now());
            if self.closing.get() {
                self.close_when_answered();
            }
        };
        self.outbox.write_out(&self.stream, moved).await;
        self.stream.shutdown();
    }

    async fn take_up_all(
        &self,
        io: &Io,
        broker: &Rc<Broker>,
        buffers: &Buffers,
        request_bytes_max: usize,
    ) -> Result<(), InboxEnd> {
        let mut inbox = Inbox::new();
        let limits = FrameLimits {
            any: request_bytes_max,
            every: catalogue::SMALL_FRAME_BYTES_MAX.min(request_bytes_max),
            of: catalogue::frame_bytes_max,
        };
        let coming = |coming| {
            let now = io.now();
            let pace = self.pace_in.get();
            self.pace_in.set(match coming {
                Coming::Bytes(bytes) => {
                    let Pace { begun, bytes: before } = pace.unwrap_or(Pace { begun: now, bytes: 0 });
                    Some(Pace { begun, bytes: before + bytes })
                }
                Coming::Small(_) | Coming::Waits | Coming::Whole => None,
            });
            self.last_moved.set(now);
        };
        let mut taken = 0;
        while !self.closing.get() && !self.outbox.is_broken() {
            let frame = inbox.next(&self.stream, buffers, &limits, catalogue::overlaps, coming).await?;
            taken += frame.bytes.len().max(TURN_REQUEST_BYTES_MIN);
            self.handling.set(true);
            self.take_up(frame, &mut inbox, io, broker).await;
            self.handling.set(false);
            if taken >= TURN_BYTES {
                // Its socket may hold requests without end: others have their turn.
                taken = 0;
                io.yield_now().await;
            }
        }
        Ok(())
    }

    async fn take_up(&self, frame: FrameIn, inbox: &mut Inbox, io: &Io, broker: &Rc<Broker>) {
        let read = self.last_moved.get();
        let overlaps = catalogue::overlaps(api_key(&frame));
        self.peer.sends(frame.bytes.len(), read);
        if overlaps {
            self.outbox.until_room().await;
        } else {
            self.outbox.until_idle().await;
        }
        if self.outbox.is_broken() {
            return;
        }
        let answer = match broker.handle(&self.peer, frame.bytes, read).await {
            Handled::Now(answer) => answer,
            Handled::Later(answer) if overlaps => return self.outbox.push_later(answer, frame.loan),
            Handled::Later(answer) => {
                // It waits for other clients, and they may need the memory that its frame came in.
                drop(frame.loan);
                let holds = inbox.pause();
                self.pace_in.set(holds.then(|| Pace { begun: io.now(), bytes: 0 }));
                let answer = answer.await;
                self.pace_in.set(None);
                answer
            }
        };
        match answer {
            Answer::Respond(frame, held) if self.outbox.is_idle() => {
                // Nobody else writes now, so the writer need not be woken for it.
                if let Err(error) = self.write(frame.parts.into_iter().collect(), held, io).await {
                    tracing::debug!(peer = %self.peer.address, %error, "a response could not be written");
                    self.stream.shutdown();
                    self.closing.set(true);
                }
            }
            answer => self.outbox.push(answer),
        }
    }
}

impl Connection {
    /// Writes an answer, and gives back what it holds as the peer takes it. Each time the peer has taken some counts as movement.
    async fn write(&self, mut parts: VecDeque<Bytes>, held: Option<Held>, io: &Io) -> std::io::Result<()> {
        let begun = io.now();
        let mut taken = 0;
        while !parts.is_empty() {
            self.pace_out.set(held.as_ref().map(|_| Pace { begun, bytes: taken }));
            let mut step = next_step(&mut parts);
            let bytes = step.iter().map(Bytes::len).sum::<usize>();
            let mut writing = pin!(self.stream.write_all(&mut step));
            let written = poll_fn(|context| {
                self.last_moved.set(io.now());
                writing.as_mut().poll(context)
            });
            written.await?;
            taken += bytes;
            if let Some(held) = &held {
                held.set(held.amount().saturating_sub(bytes));
            }
        }
        self.pace_out.set(None);
        Ok(())
    }
}

/// How fast bytes move that others wait for.
#[derive(Clone, Copy, Debug)]
struct Pace {
    begun: Mono,
    bytes: usize,
}

impl Pace {
    /// Whether it stood still for too long, or is too slow on the whole.
    fn is_too_slow(self, now: Mono, last_moved: Mono) -> bool {
        let late = now.since(self.begun).saturating_sub(MEMORY_STALLED_MAX).as_millis();
        now.since(last_moved) > MEMORY_STALLED_MAX
            || (self.bytes as u128) < late * MEMORY_BYTES_PER_SECOND_MIN as u128 / 1000
    }
}

/// Takes the next bytes off the front, at most `WRITE_STEP_BYTES`.
fn next_step(parts: &mut VecDeque<Bytes>) -> VecDeque<Bytes> {
    let mut left = WRITE_STEP_BYTES;
    let whole = parts.iter().take_while(|part| {
        let fits = part.len() <= left;
        left -= part.len().min(left);
        fits
    });
    let whole = whole.count();
    if whole == parts.len() {
        return std::mem::take(parts);
    }
    let mut step: VecDeque<_> = parts.drain(..whole).collect();
    let room = WRITE_STEP_BYTES - step.iter().map(Bytes::len).sum::<usize>();
    if room > 0 {
        step.push_back(parts[0].split_to(room));
    }
    step
}

fn api_key(frame: &FrameIn) -> i16 {
    i16::from_be_bytes([frame.bytes[0], frame.bytes[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_in_steps_that_lose_nothing() {
        let parts =
            [100, 3 << 20, 5, 1 << 20, 7].map(|len| Bytes::from((0..len).map(|at| at as u8).collect::<Vec<_>>()));
        let whole = parts.concat();
        let mut left = VecDeque::from(parts);
        let mut steps = Vec::new();
        while !left.is_empty() {
            let step = next_step(&mut left);
            steps.push(step.iter().flatten().copied().collect::<Vec<_>>());
        }
        assert!(steps.iter().all(|step| step.len() <= WRITE_STEP_BYTES) && steps.len() == 5);
        assert!(steps.concat() == whole);
        assert_eq!(next_step(&mut VecDeque::from([Bytes::from_static(b"ab"), Bytes::from_static(b"c")])).len(), 2);
    }

    #[test]
    fn one_who_stands_still_or_creeps_is_too_slow() {
        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        let pace = |bytes| Pace { begun: at(100), bytes };
        assert!(!pace(0).is_too_slow(at(110), at(100)));
        assert!(pace(1 << 30).is_too_slow(at(111), at(100)));
        // A byte every nine seconds.
        assert!(pace(12).is_too_slow(at(112), at(109)));
        assert!(!pace(MEMORY_BYTES_PER_SECOND_MIN * 2).is_too_slow(at(112), at(109)));
    }
}
