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
use super::inbox::{FrameIn, FrameLimits, Inbox, InboxEnd};
use super::outbox::Outbox;
use super::stream::Stream;
use crate::base::Mono;
use crate::broker::{Answer, Broker, Handled, Peer, catalogue};
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
    /// Part of a frame has come.
    inside_frame: Cell<bool>,
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
            inside_frame: Cell::new(false),
            handling: Cell::new(false),
            closing: Cell::new(false),
        }
    }

    /// When bytes last came or went.
    pub fn last_moved(&self) -> Mono {
        self.last_moved.get()
    }

    /// Whether part of a frame has come and the rest has not.
    pub fn is_inside_frame(&self) -> bool {
        self.inside_frame.get()
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
        let moved = |inside| {
            self.last_moved.set(io.now());
            self.inside_frame.set(inside);
        };
        while !self.closing.get() && !self.outbox.is_broken() {
            let frame = inbox.next(&self.stream, buffers, &limits, catalogue::overlaps, moved).await?;
            self.handling.set(true);
            self.take_up(frame, io, broker).await;
            self.handling.set(false);
        }
        Ok(())
    }

    async fn take_up(&self, frame: FrameIn, io: &Io, broker: &Rc<Broker>) {
        let read = self.last_moved.get();
        if catalogue::overlaps(api_key(&frame)) {
            self.outbox.until_room().await;
        } else {
            self.outbox.until_idle().await;
        }
        if self.outbox.is_broken() {
            return;
        }
        match broker.handle(&self.peer, frame.bytes, read).await {
            Handled::Later(answer) => self.outbox.push_later(answer, frame.loan),
            Handled::Now(Answer::Respond(response)) if self.outbox.is_idle() => {
                // Nobody else writes now, so the writer need not be woken for it.
                if let Err(error) = self.write(response.parts.into_iter().collect(), io).await {
                    tracing::debug!(peer = %self.peer.address, %error, "a response could not be written");
                    self.stream.shutdown();
                    self.closing.set(true);
                }
            }
            Handled::Now(answer) => self.outbox.push(answer),
        }
    }
}

impl Connection {
    /// Writes an answer. Each time the peer has taken some of it counts as movement.
    async fn write(&self, mut parts: VecDeque<Bytes>, io: &Io) -> std::io::Result<()> {
        let mut writing = pin!(self.stream.write_all(&mut parts));
        poll_fn(|context| {
            self.last_moved.set(io.now());
            writing.as_mut().poll(context)
        })
        .await
    }
}

fn api_key(frame: &FrameIn) -> i16 {
    i16::from_be_bytes([frame.bytes[0], frame.bytes[1]])
}
