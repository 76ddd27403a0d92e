//! Cuts frames out of what a connection reads. A frame is a 32-bit length and that many bytes, of which the first two name the API.
//!
//! Always true: between frames a connection owns one buffer of at most `IDLE_CONNECTION_BYTES_MAX`; a length is checked before memory is asked for;
//! a frame that is whole lies in one piece, so that a Produce can be shared with other cores as slices of it.

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};

use super::buffers::{Buffers, Loan};
use super::stream::Stream;
use crate::base::limits::IDLE_CONNECTION_BYTES_MAX;

/// One request as it came: its bytes without the length, and the charge for the buffer they lie in, to be kept until it is answered.
#[derive(Debug)]
pub struct FrameIn {
    /// The request, from the API key on.
    pub bytes: Bytes,
    /// The charge. None: the frame lies in the connection's own small buffer and dies before the next read.
    pub loan: Option<Rc<Loan>>,
}

/// Why no further frame comes from a connection.
#[derive(Debug, thiserror::Error)]
pub enum InboxEnd {
    /// The peer sends no more, and has not begun a frame.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer sends no more, in the middle of a frame.
    #[error("the peer closed the connection inside a frame, after {got} bytes")]
    Truncated {
        /// Bytes of the frame that came, its length included.
        got: usize,
    },
    /// The length cannot be that of a request.
    #[error("a frame of {length} bytes; a request has at least {HEADER_BYTES_MIN}")]
    Length {
        /// As it was sent.
        length: i32,
    },
    /// The frame is above the limit of its API.
    #[error("a frame of {length} bytes for API key {api_key}, which may have {limit}")]
    TooLarge {
        /// As it was sent.
        length: usize,
        /// As it was sent, or -1 when the limit of all APIs is passed.
        api_key: i16,
        /// Bytes allowed.
        limit: usize,
    },
    /// The connection broke.
    #[error("read: {0}")]
    Read(#[from] std::io::Error),
}

/// How large frames may be.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// The largest limit of any API.
    pub any: usize,
    /// The smallest limit of any API: below it nobody need be asked.
    pub every: usize,
    /// The limit of one API, by key.
    pub of: fn(i16, usize) -> usize,
}

/// The reading side of a connection.
#[derive(Debug)]
pub struct Inbox {
    buffer: BytesMut,
    loan: Option<Rc<Loan>>,
    /// What is lent is less than the frame under way needs.
    growing: bool,
}

/// What happens to a frame that is not whole yet, for those who watch how fast it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coming {
    /// So many bytes came, and it holds memory that was lent.
    Bytes(usize),
    /// So many bytes came into the connection's own small buffer.
    Small(usize),
    /// It waits for memory: that it stands still is not the peer's doing.
    Waits,
    /// It is whole.
    Whole,
}

impl Inbox {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self { buffer: BytesMut::with_capacity(IDLE_CONNECTION_BYTES_MAX), loan: None, growing: false }
    }

    /// The next whole frame. `shared`: the frame's bytes may outlive its handling, so even a small one is charged.
    ///
    /// `coming` is called at each change.
    pub async fn next(
        &mut self,
        stream: &Stream,
        buffers: &Buffers,
        limits: &FrameLimits,
        shared: impl Fn(i16) -> bool,
        coming: impl Fn(Coming),
    ) -> Result<FrameIn, InboxEnd> {
        loop {
            match look(&self.buffer, limits)? {
                Cut::Whole { length } => {
                    coming(Coming::Whole);
                    self.growing = false;
                    self.buffer.advance(LENGTH_BYTES);
                    let api_key = i16::from_be_bytes([self.buffer[0], self.buffer[1]]);
                    if self.loan.is_none() && shared(api_key) {
                        self.loan = Some(buffers.charge(IDLE_CONNECTION_BYTES_MAX, None).await);
                    }
                    let bytes = self.buffer.split_to(length).freeze();
                    return Ok(FrameIn { bytes, loan: self.loan.clone() });
                }
                Cut::Part { needed } => self.make_room(needed, buffers, &coming).await,
            }
            let bytes = stream.read(&mut self.buffer).await?;
            if bytes == 0 {
                return Err(match self.buffer.len() {
                    0 => InboxEnd::Closed,
                    got => InboxEnd::Truncated { got },
                });
            }
            coming(if self.loan.is_some() { Coming::Bytes(bytes) } else { Coming::Small(bytes) });
        }
    }

    /// Sees to it that the frame under way, of `needed` bytes with its length, has room in one piece, or that what comes next of a large one has.
    async fn make_room(&mut self, needed: usize, buffers: &Buffers, coming: impl Fn(Coming)) {
        if self.buffer.is_empty() {
            return self.rest();
        }
        let missing = needed - self.buffer.len();
        if self.buffer.capacity() >= needed || self.buffer.try_reclaim(missing) {
            return;
        }
        if self.growing && self.buffer.len() < self.buffer.capacity() {
            return;
        }
        let (mut fresh, loan) = if needed <= IDLE_CONNECTION_BYTES_MAX && self.loan.is_none() {
            (BytesMut::with_capacity(IDLE_CONNECTION_BYTES_MAX), None)
        } else {
            coming(Coming::Waits);
            let (fresh, loan) = buffers.lend(needed, self.buffer.len(), self.loan.as_deref()).await;
            (fresh, Some(loan))
        };
        self.growing = fresh.capacity() < needed;
        fresh.extend_from_slice(&self.buffer);
        let old = std::mem::replace(&mut self.buffer, fresh);
        if let Some(before) = std::mem::replace(&mut self.loan, loan) {
            before.leave(old);
        }
    }

    /// Nothing is read for a while: gives back what was lent, unless much came behind the last frame. Says whether something stays lent.
    pub fn pause(&mut self) -> bool {
        if self.buffer.len() <= IDLE_CONNECTION_BYTES_MAX
            && let Some(loan) = self.loan.take()
        {
            let mut small = BytesMut::with_capacity(IDLE_CONNECTION_BYTES_MAX);
            small.extend_from_slice(&self.buffer);
            loan.leave(std::mem::replace(&mut self.buffer, small));
        }
        self.loan.is_some()
    }

    /// Gives a lent buffer back and waits with the small one.
    fn rest(&mut self) {
        if let Some(loan) = self.loan.take() {
            loan.leave(std::mem::take(&mut self.buffer));
        }
        if self.buffer.capacity() < IDLE_CONNECTION_BYTES_MAX && !self.buffer.try_reclaim(IDLE_CONNECTION_BYTES_MAX) {
            self.buffer = BytesMut::with_capacity(IDLE_CONNECTION_BYTES_MAX);
        }
    }
}

/// What the first bytes of a frame say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    /// All of it is here; `length` bytes follow the length field.
    Whole { length: usize },
    /// It needs this many bytes in all, as far as is known.
    Part { needed: usize },
}

fn look(bytes: &[u8], limits: &FrameLimits) -> Result<Cut, InboxEnd> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(Cut::Part { needed: LENGTH_BYTES + HEADER_BYTES_MIN });
    };
    let signed = i32::from_be_bytes(*length);
    let length = usize::try_from(signed).ok().filter(|length| *length >= HEADER_BYTES_MIN);
    let length = length.ok_or(InboxEnd::Length { length: signed })?;
    if length > limits.any {
        return Err(InboxEnd::TooLarge { length, api_key: -1, limit: limits.any });
    }
    if length > limits.every {
        let Some(api_key) = bytes[LENGTH_BYTES..].first_chunk::<2>() else {
            return Ok(Cut::Part { needed: LENGTH_BYTES + HEADER_BYTES_MIN });
        };
        let api_key = i16::from_be_bytes(*api_key);
        let limit = (limits.of)(api_key, limits.any);
        if length > limit {
            return Err(InboxEnd::TooLarge { length, api_key, limit });
        }
    }
    match bytes.len() >= LENGTH_BYTES + length {
        true => Ok(Cut::Whole { length }),
        false => Ok(Cut::Part { needed: LENGTH_BYTES + length }),
    }
}

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// API key, version and correlation id: what the shortest request has.
const HEADER_BYTES_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits = FrameLimits { any: 1000, every: 100, of: |key, any| if key == 0 { any } else { 100 } };

    fn frame(length: i32, key: i16, sent: usize) -> Vec<u8> {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(key.to_be_bytes());
        bytes.resize(sent, 0);
        bytes
    }

    #[test]
    fn a_frame_is_whole_when_its_last_byte_is_here() {
        assert_eq!(look(&[], &LIMITS).unwrap(), Cut::Part { needed: 12 });
        assert_eq!(look(&frame(8, 3, 3), &LIMITS).unwrap(), Cut::Part { needed: 12 });
        assert_eq!(look(&frame(8, 3, 11), &LIMITS).unwrap(), Cut::Part { needed: 12 });
        assert_eq!(look(&frame(8, 3, 12), &LIMITS).unwrap(), Cut::Whole { length: 8 });
        assert_eq!(look(&frame(8, 3, 40), &LIMITS).unwrap(), Cut::Whole { length: 8 });
    }

    #[test]
    fn lengths_that_no_request_has_end_the_connection() {
        for length in [-1, i32::MIN, 0, 7] {
            assert!(matches!(look(&frame(length, 3, 40), &LIMITS), Err(InboxEnd::Length { .. })));
        }
        assert!(matches!(look(&frame(i32::MAX, 0, 4), &LIMITS), Err(InboxEnd::TooLarge { .. })));
        assert!(matches!(look(&frame(1001, 0, 4), &LIMITS), Err(InboxEnd::TooLarge { .. })));
    }

    #[test]
    fn each_api_has_its_limit_and_it_is_known_before_the_body() {
        assert_eq!(look(&frame(1000, 0, 5), &LIMITS).unwrap(), Cut::Part { needed: 12 });
        assert_eq!(look(&frame(1000, 0, 6), &LIMITS).unwrap(), Cut::Part { needed: 1004 });
        assert!(matches!(look(&frame(101, 3, 6), &LIMITS), Err(InboxEnd::TooLarge { api_key: 3, limit: 100, .. })));
        assert_eq!(look(&frame(100, 3, 6), &LIMITS).unwrap(), Cut::Part { needed: 104 });
    }
}
