//! Memory for looking into compressed batches: a few per core, used again and again.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::Shard;
use super::budget::{Budget, Share};
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
        self.free.borrow_mut().push(std::mem::take(&mut self.scratch));
    }
}

/// Compressed batches that one core looks into at the same time.
const SCRATCHES_MAX: usize = 4;
