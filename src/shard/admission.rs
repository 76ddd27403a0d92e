//! Whether batches are taken in: what is acknowledged must find its place in a segment later, also on a disk that fills up.
//!
//! Always true: a core takes in no more than its share of the free space on the disk of the data directory, less what it has not drained yet and a reserve. So
//! a full disk is an answer to producers; draining, checkpoints, deletions and reads go on, and producing too once there is space again.
//!
//! Each core looks by itself: once a second, and when it has taken in all that it may. What it takes in or allocates ahead is counted between two looks.

use std::time::Duration;

use super::waiters::first;
use super::{Shard, State};
use crate::base::limits::{BATCH_BYTES_MAX, DISK_REOPEN_BYTES, DISK_RESERVE_BYTES, DISK_RESERVE_LOG_BYTES};
use crate::io::Space;
use crate::storage::drive::Notify;

/// How often a core looks at the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Indexes and checksums take less than this part of what they speak of.
const BESIDE_SEGMENTS: u64 = 32;

/// What a core may take in.
#[derive(Debug)]
pub(super) struct Admission {
    /// Bytes of batches, and of what is allocated ahead, until the next look. Before the first one nothing is known, and nothing refused.
    left: u64,
    /// Clients' batches are refused.
    closed: bool,
    /// What a coordinator appends for its groups is refused as well.
    closed_to_groups: bool,
    /// Bytes that the disk had at the last look.
    free: u64,
    look: Notify,
}

/// A look at the disk changed what is taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Closed,
    Opened,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self { left: u64::MAX, closed: false, closed_to_groups: false, free: 0, look: Notify::default() }
    }

    /// Whether a client's batch of so many bytes may be appended; if so, it is counted.
    pub(super) fn takes(&mut self, bytes: u64) -> bool {
        if self.closed {
            return false;
        }
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                // The look was a while ago: there may be space again, or none at all.
                self.look.notify();
                false
            }
        }
    }

    /// Whether so many bytes may be allocated ahead for one of so many logs; if so, they are counted. All logs may come to this at the same time, and each
    /// is to have as much, without that batches are refused for it.
    pub(super) fn spares(&mut self, bytes: u64, logs: u64) -> bool {
        let kept = DISK_REOPEN_BYTES.max(bytes.saturating_mul(logs));
        let left = self.left.checked_sub(bytes).filter(|left| !self.closed && *left >= kept);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Counts a batch of the broker's own.
    pub(super) fn count(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Whether clients' batches are refused.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether there is no space left even for what groups commit.
    pub(super) fn is_closed_to_groups(&self) -> bool {
        self.closed_to_groups
    }

    /// Bytes that the disk had free at the last look.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// The disk has `free` bytes, of which `share` are this core's; it needs `undrained` for what it has taken in, and keeps `reserve`.
    fn looked(&mut self, free: u64, share: u64, undrained: u64, reserve: u64) -> Option<Change> {
        let needed = undrained + undrained / BESIDE_SEGMENTS;
        self.free = free;
        self.left = share.saturating_sub(needed + reserve);
        self.closed_to_groups = share < needed + reserve - DISK_RESERVE_BYTES / 2;
        let was = self.closed;
        self.closed = self.left < if was { DISK_REOPEN_BYTES } else { BATCH_BYTES_MAX as u64 };
        match (was, self.closed) {
            (false, true) => Some(Change::Closed),
            (true, false) => Some(Change::Opened),
            _ => None,
        }
    }
}

impl Shard {
    /// Looks at the disk as long as the broker runs.
    pub(super) async fn watch_disk(self) {
        let look = self.with(|state| state.admission.look.clone());
        while !self.is_stopping() {
            first(first(self.io().sleep(LOOK_EVERY), look.notified()), self.stopping()).await;
            self.look_at_the_disk().await;
        }
    }

    /// Finds out how much may be taken in. A start does it before anybody is served.
    pub(super) async fn look_at_the_disk(&self) {
        match self.space().await {
            Ok(space) => self.saw(space.usable_bytes, self.share_of(&space)),
            Err(error) => {
                tracing::error!(%error, "the space of the data directory is not known: it is taken for what was seen last");
            }
        }
    }

    /// The part of the free space that this core counts on.
    pub(super) fn share_of(&self, space: &Space) -> u64 {
        space.usable_bytes / u64::from(self.0.mesh.cores())
    }

    fn saw(&self, free: u64, share: u64) {
        match self.with(|state| state.saw_space(free, share)) {
            Some(Change::Closed) => tracing::error!(
                free,
                "no space: batches of producers are refused (KAFKA_STORAGE_ERROR) until there is more. What is free is kept for what was acknowledged and \
                 is not in segments yet. Delete topics or records, shorten retention, or make the disk larger"
            ),
            Some(Change::Opened) => tracing::info!(free, "there is space again: batches of producers are taken"),
            None => {}
        }
    }
}

impl State {
    fn saw_space(&mut self, free: u64, share: u64) -> Option<Change> {
        let undrained = self.replicas.values().map(|replica| replica.log.undrained_bytes()).sum();
        // A start after a crash makes a new journal before the old one may go.
        let journal = self.journal.options().file_bytes;
        let reserve = DISK_RESERVE_BYTES + journal + self.replicas.len() as u64 * DISK_RESERVE_LOG_BYTES;
        self.admission.looked(free, share, undrained, reserve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_taken_in_has_space_in_segments() {
        let mut admission = Admission::new();
        assert!(admission.takes(1 << 40), "nothing is known yet");
        assert_eq!(admission.looked(1000 * MIB, 500 * MIB, 320 * MIB, 100 * MIB), None);
        assert!(admission.takes(60 * MIB));
        assert!(!admission.takes(11 * MIB), "70 MiB are left beside 320, their indexes, and 100");
        assert!(admission.takes(10 * MIB), "a smaller one still has a place");
        assert!(!admission.is_closed());
    }

    #[test]
    fn it_closes_before_the_reserve_is_touched_and_opens_with_some_space_to_spare() {
        let mut admission = Admission::new();
        let mut at =
            |share: u64| admission.looked(2 * share, share, 0, 100 * MIB).map(|change| (change, admission.is_closed()));
        assert_eq!(at(100 * MIB + BATCH_BYTES_MAX as u64), None);
        assert_eq!(at(100 * MIB + BATCH_BYTES_MAX as u64 - 1), Some((Change::Closed, true)));
        assert_eq!(at(100 * MIB + DISK_REOPEN_BYTES - 1), None, "not every few bytes that are freed");
        assert_eq!(at(100 * MIB + DISK_REOPEN_BYTES), Some((Change::Opened, false)));
        assert_eq!(at(0), Some((Change::Closed, true)));
        assert!(!admission.takes(0));
    }

    #[test]
    fn groups_may_go_into_the_reserve_but_not_far() {
        let mut admission = Admission::new();
        let share = 100 * MIB - DISK_RESERVE_BYTES / 2;
        admission.looked(200 * MIB, share, 0, 100 * MIB);
        assert!(admission.is_closed() && !admission.is_closed_to_groups());
        admission.looked(200 * MIB, share - 1, 0, 100 * MIB);
        assert!(admission.is_closed_to_groups());
    }

    /// With hundreds of logs it once took the space that other logs needed for what they had acknowledged.
    #[test]
    fn nothing_is_allocated_ahead_where_space_is_short() {
        let mut admission = Admission::new();
        admission.looked(400 * MIB, 200 * MIB, 0, 100 * MIB);
        assert!(!admission.spares(MIB, 100), "not every one of a hundred logs could have as much");
        assert!(admission.spares(100 * MIB - DISK_REOPEN_BYTES, 1));
        assert!(!admission.spares(1, 1));
        assert!(admission.takes(DISK_REOPEN_BYTES), "batches come first");
        admission.looked(0, 0, 0, 100 * MIB);
        assert!(!admission.spares(0, 1), "it is closed");
    }

    #[test]
    fn what_the_broker_writes_itself_is_counted() {
        let mut admission = Admission::new();
        admission.looked(400 * MIB, 200 * MIB, 0, 100 * MIB);
        admission.count(90 * MIB);
        assert!(!admission.takes(11 * MIB));
    }
}
