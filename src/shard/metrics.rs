//! What a core counts and what it holds, copied out for whoever asks. Plain numbers in the core's own state; nothing is shared.

use std::collections::VecDeque;

use super::groups::GroupsCensus;
use super::{Replica, Shard, State};
use crate::base::limits::{LAG_SERIES_MAX, LOGS_PER_LOOK};
use crate::base::{LogId, Mono, Offset, ShardId, Times};
use crate::coordinator::CommittedPlace;
use crate::storage::journal::Write;

/// What a core has counted since its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Bytes of the journal blocks that were written.
    pub block_bytes: u64,
    /// How long each took to be on disk.
    pub block_times: Times,
    /// Times that all logs were drained to make room in the journal.
    pub drain_passes: u64,
    /// Writes of batches into segments.
    pub drains: u64,
    /// Bytes of batches written into segments.
    pub drained_bytes: u64,
    /// Segments that left their logs, by retention or DeleteRecords.
    pub segments_removed: u64,
}

/// What a core counts, and what it needs for that.
#[derive(Default)]
pub(super) struct Counter {
    pub counts: Counts,
    /// Journal blocks on their way to the disk: sequence, bytes, and since when. At most as many as may be in flight.
    writes: VecDeque<(u64, u64, Mono)>,
}

impl Counter {
    /// A block goes to the disk.
    pub(super) fn write_begins(&mut self, write: &Write, now: Mono) {
        self.writes.push_back((write.sequence, write.bytes.len() as u64, now));
    }

    /// A block is on disk.
    pub(super) fn write_ends(&mut self, sequence: u64, now: Mono) {
        let Some(at) = self.writes.iter().position(|(written, ..)| *written == sequence) else { return };
        let Some((_, bytes, begun)) = self.writes.remove(at) else { return };
        self.counts.block_bytes += bytes;
        self.counts.block_times.add(now.since(begun));
    }
}

/// What a core has counted, and what it holds now.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Metrics {
    /// Since the start.
    pub counts: Counts,
    /// The CPU that the core runs on.
    pub cpu: u64,
    /// Bytes that all journal files have together.
    pub journal_capacity: u64,
    /// Bytes of them that are not recycled.
    pub journal_used: u64,
    /// Parts of produce requests that wait for room in the journal.
    pub waiting_for_room: u64,
    /// Bytes that the disk of the data directory had free when this core looked last.
    pub disk_free: u64,
    /// Batches of producers are refused, because what is free is kept for what was acknowledged before.
    pub disk_full: bool,
    /// Bytes of journal blocks in memory.
    pub cache_bytes: u64,
    /// Topics of the whole cluster.
    pub topics: u64,
    /// Partitions that live here.
    pub partitions: u64,
    /// Bytes of batches in segments and in the journal.
    pub log_bytes: u64,
    /// Segments of all logs.
    pub segments: u64,
    /// Idempotent producers that are remembered, at most.
    pub producers: u64,
    /// Of that, what belongs to `__consumer_offsets`.
    pub offsets_log_bytes: u64,
    /// Groups whose coordinator is here.
    pub groups: GroupsCensus,
}

/// An offset that a group has committed, and the log that it speaks of.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupOffset {
    /// Which group, topic and partition, and the offset.
    pub place: CommittedPlace,
    /// The log, and the core that owns it.
    pub log: (LogId, ShardId),
}

impl Shard {
    /// What this core has counted and what it holds. Logs and coordinators are looked at in steps; what changes meanwhile may be seen or not.
    pub async fn metrics(&self) -> Metrics {
        let mut metrics = self.with(State::metrics);
        metrics.cpu = self.io().cpu() as u64;
        let logs: Vec<LogId> = self.with(|state| state.replicas.keys().copied().collect());
        for some in logs.chunks(LOGS_PER_LOOK) {
            self.with(|state| state.look_at_logs(some, &mut metrics));
            self.io().yield_now().await;
        }
        for log in self.with(|state| state.groups.logs()) {
            self.with(|state| {
                let room = LAG_SERIES_MAX.saturating_sub(metrics.groups.offsets.len());
                state.groups.look_at(log, &state.image, state.mesh.cores(), room, &mut metrics.groups);
            });
            self.io().yield_now().await;
        }
        metrics
    }

    /// The high watermarks of those of these logs that are here.
    pub async fn high_watermarks(&self, logs: &[LogId]) -> Vec<(LogId, Offset)> {
        let mut high = Vec::with_capacity(logs.len());
        for some in logs.chunks(LOGS_PER_LOOK) {
            let of = |state: &State, log: &LogId| Some((*log, state.replicas.get(log)?.partition.high()));
            self.with(|state| high.extend(some.iter().filter_map(|log| of(state, log))));
            self.io().yield_now().await;
        }
        high
    }
}

impl State {
    fn metrics(&mut self) -> Metrics {
        Metrics {
            counts: self.counter.counts,
            journal_capacity: self.journal.capacity(),
            journal_used: self.journal.used_bytes(),
            waiting_for_room: if self.short_of_room { self.lines.len() as u64 } else { 0 },
            disk_free: self.admission.free(),
            disk_full: self.admission.is_closed(),
            cache_bytes: self.cache.bytes() as u64,
            topics: self.image.topic_count() as u64,
            partitions: self.replicas.len() as u64,
            producers: self.producers as u64,
            ..Metrics::default()
        }
    }

    fn look_at_logs(&self, logs: &[LogId], metrics: &mut Metrics) {
        for log in logs {
            let Some(Replica { log: storage, .. }) = self.replicas.get(log) else { continue };
            let bytes = storage.segment_bytes() + storage.undrained_bytes();
            metrics.log_bytes += bytes;
            metrics.segments += storage.segments().count() as u64;
            if self.groups.has(*log) {
                metrics.offsets_log_bytes += bytes;
            }
        }
    }
}
