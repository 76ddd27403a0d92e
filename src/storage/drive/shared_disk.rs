//! What the cores of a node know together about the disk that all their segments are on.
//!
//! Many disks of servers, above all those of virtual machines, serve one operation after the other: a journal write of one core then waits for what any core
//! reads or writes of segments. While somebody sends little, these are short (`perf/results/2026-11-28-gentle.md`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Mono;
use crate::base::limits::{GENTLE_FOR, GENTLE_STEP};

/// A handle; clones are the same, on any core.
#[derive(Clone, Debug, Default)]
pub struct SharedDisk {
    /// Until then (nanoseconds of [`Mono`]).
    gentle_until: Arc<AtomicU64>,
}

impl SharedDisk {
    /// Somebody who sends little has sent a small batch: others like it may follow soon.
    pub fn small_batch_came(&self, now: Mono) {
        let until = (now + GENTLE_FOR).0;
        if until >= self.gentle_until.load(Ordering::Relaxed) + GENTLE_STEP.as_nanos() as u64 {
            self.gentle_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// Whether what the journal does not wait for is to be short.
    pub(super) fn is_gentle(&self, now: Mono) -> bool {
        now.0 < self.gentle_until.load(Ordering::Relaxed)
    }
}
