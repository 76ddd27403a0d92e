//! Memory for looking into compressed batches: a few per core, used again and again.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::Shard;
use crate::base::budget::{Budget, Share};
use crate::record::Scratch;

/// The memory of one core.
#[derive(Debug)]
pub(super) struct Scratches {
    places: Budget,
    free: RefCell<Vec<Scratch>>,
}

impl Default for Scratches {
    fn default() -> Self {
        Self { places: Budget::new(SCRATCHES_MAX), free: RefCell::default() }
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub struct ScratchLoan<'a> {
    free: &'a RefCell<Vec<Scratch>>,
    scratch: Scratch,
    _place: Share,
}

impl Shard {
    /// Lends memory for looking into compressed batches. Those who ask are served in order.
    pub async fn scratch(&self) -> ScratchLoan<'_> {
        self.0.scratches.lend().await
    }
}

impl Scratches {
    async fn lend(&self) -> ScratchLoan<'_> {
        let place = self.places.take(1, 1).await;
        let scratch = self.free.borrow_mut().pop().unwrap_or_default();
        ScratchLoan { free: &self.free, scratch, _place: place }
    }
}

impl Deref for ScratchLoan<'_> {
    type Target = Scratch;
    fn deref(&self) -> &Scratch {
        &self.scratch
    }
}

impl DerefMut for ScratchLoan<'_> {
    fn deref_mut(&mut self) -> &mut Scratch {
        &mut self.scratch
    }
}

impl Drop for ScratchLoan<'_> {
    fn drop(&mut self) {
        self.scratch.trim();
        self.free.borrow_mut().push(std::mem::take(&mut self.scratch));
    }
}

/// Compressed batches that one core looks into at the same time.
const SCRATCHES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::UNFOLD_KEPT_BYTES_MAX;
    use crate::base::{Timestamp, crc};
    use crate::record::{BatchLimits, Builder, Codec, HEADER_BYTES, NewRecord, RawBatch, TimestampType};
    use std::future::Future;
    use std::io::Write;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const LIMITS: BatchLimits = BatchLimits {
        max_bytes: 1 << 24,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        zstd_allowed: true,
    };

    /// A batch of zstd with the largest window there may be, which ends early.
    fn cut_batch() -> RawBatch {
        let mut builder = Builder::new().codec(Codec::Zstd);
        builder.push(NewRecord { timestamp: Timestamp(0), key: None, value: Some(b"x"), headers: &[] });
        let whole = builder.build();
        let mut folder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        folder.window_log(27).unwrap();
        // One record of 64 MiB, as it says.
        folder.write_all(&[0x80, 0x80, 0x80, 0x40]).unwrap();
        folder.write_all(&vec![0; 32 << 20]).unwrap();
        let body = folder.finish().unwrap();
        let mut bytes = [&whole[..HEADER_BYTES], &body[..body.len() - 5]].concat();
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        RawBatch(bytes.into())
    }

    /// Batches that ended in an error left windows of 128 MiB behind in each scratch, until it met another good batch of the same codec.
    #[test]
    fn what_a_broken_batch_needed_is_given_back() {
        let scratches = Scratches::default();
        let lend = || {
            let Poll::Ready(loan) = pin!(scratches.lend()).poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("one is free")
            };
            loan
        };
        let mut loan = lend();
        assert!(cut_batch().check(&LIMITS, Timestamp(0), &mut loan).is_err());
        assert!(loan.held_bytes() > UNFOLD_KEPT_BYTES_MAX, "the batch needs much: {}", loan.held_bytes());
        drop(loan);
        assert!(lend().held_bytes() <= UNFOLD_KEPT_BYTES_MAX);
    }
}
