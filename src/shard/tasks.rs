//! The long-lived work of a core beside requests: writing the journal, draining it into segments, checkpoints, growth, and the end.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::waiters::{Signal, first};
use super::{Defect, Replica, Shard, State};
use crate::base::limits::{DELETIONS_PER_PASS, PAGE_BYTES, YIELD_BYTES};
use crate::base::{LogId, Mono, Offset, Set};
use crate::cluster::{Image, LogState};
use crate::storage::drive::boot::{CheckpointWriter, Seal};
use crate::storage::drive::journal::{self, JournalHost};
use crate::storage::drive::{Host, TailPage};
use crate::storage::journal::{Extent, Head, Kind, Ticket, Write};
use crate::storage::{Log, StorageError};

/// After this long without a write the journal tells the disk how far everything is durable.
const IDLE: Duration = Duration::from_millis(100);
/// A journal grows as long as the core's share of the free space is so many files.
const GROWTH_SPACE_FILES: u64 = 4;
/// Space of a core on the disk of its journal that is left for checkpoints.
const CHECKPOINTS_SPACE: u64 = 16 << 20;
/// A journal that could not grow tries again after this.
const GROWTH_RETRY: Duration = Duration::from_secs(60);
/// How often silent producers are looked for.
const EXPIRY: Duration = Duration::from_secs(60);

impl JournalHost for Shard {
    fn next_write(&self) -> Option<Write> {
        let now = self.io().now();
        self.with(|state| {
            let write = state.journal.next_write()?;
            state.counter.write_begins(&write, now);
            Some(write)
        })
    }

    fn go_on(&self) {
        let now = self.io().wall_clock();
        self.with(|state| state.work_off_lines(now));
    }

    fn publish(&self) -> Option<Write> {
        let now = self.io().now();
        self.with(|state| {
            let write = state.journal.publish()?;
            state.counter.write_begins(&write, now);
            Some(write)
        })
    }

    fn written(&self, sequence: u64) {
        let now = self.io().now();
        self.with(|state| {
            state.counter.write_ends(sequence, now);
            state.block_written(sequence);
        });
    }

    fn failed(&self, error: StorageError) {
        self.fail(&error);
    }
}

impl Host for Shard {
    fn with_log<R>(&self, log: LogId, with: impl FnOnce(&mut Log) -> R) -> Option<R> {
        self.with(|state| state.replicas.get_mut(&log).map(|replica| with(&mut replica.log)))
    }

    async fn journal_tail_page(&self, page: TailPage) -> Result<Option<u64>, StorageError> {
        let TailPage { log, segment, position, bytes } = page;
        let extent = Extent { segment, position, pages: 0, head: Vec::new(), tail: bytes.to_vec() };
        let payload = extent.encode();
        let ticket = self.with(|state| {
            let room = state.journal.has_reserve(payload.len());
            room.then(|| state.journal.append(Head::about(Kind::AppendRef, log), &payload))
        });
        // Without room the segment is rolled instead.
        let Some(ticket) = ticket else { return Ok(None) };
        self.durable(ticket).await;
        Ok(Some(ticket.0))
    }

    fn hurries(&self) -> bool {
        // Whoever finds a journal full waits until a file of it is free again, a tenth of a second and more.
        self.with(|state| {
            state.finishing || state.is_waited_for() || state.journal.used_bytes() * 4 >= state.journal.capacity() * 3
        })
    }

    fn drained(&self, bytes: u64) {
        let now = self.io().now();
        self.with(|state| {
            state.counter.counts.drains += 1;
            state.counter.counts.drained_bytes += bytes;
            state.shrink_cache(now);
        });
    }

    fn spares(&self, bytes: u64) -> bool {
        self.with(|state| state.admission.spares(bytes, state.replicas.len() as u64))
    }

    fn oldest_journal_seq(&self) -> u64 {
        self.with(|state| state.journal.tail().sequence)
    }
}

impl Shard {
    pub(super) fn spawn_tasks(&self, checkpoints: CheckpointWriter) {
        let (io, files) = (self.io().clone(), self.0.files.clone());
        let wake = self.with(|state| state.journal_wake.clone());
        self.io().spawn(journal::run(io, files, self.clone(), wake));
        self.io().spawn(self.clone().drain_as_needed(checkpoints));
        self.io().spawn(self.clone().grow());
        self.io().spawn(self.clone().watch_disk());
        self.io().spawn(self.clone().publish_when_idle());
        self.io().spawn(self.clone().expire_producers());
        self.io().spawn(self.clone().retain());
        self.io().spawn(self.clone().remove_files());
        self.io().spawn(self.clone().load_coordinators());
        self.io().spawn(self.clone().tick_coordinators());
        self.io().spawn(self.clone().resolve_expressions());
    }

    /// Waits until `ticket` is due.
    pub(super) async fn durable(&self, ticket: Ticket) {
        let signal = self.with(|state| {
            if state.journal.is_durable(ticket) {
                return None;
            }
            let signal = Rc::new(Signal::default());
            state.control_waiters.push((ticket, signal.clone()));
            state.journal_wake.notify();
            Some(signal)
        });
        if let Some(signal) = signal {
            signal.fired().await;
        }
    }

    /// Ends this core: everything is drained, segments are cut to size, and a checkpoint says that nothing in the journal counts. Nobody
    /// may produce any more.
    pub async fn finish(&self) {
        self.begin_stop();
        self.with(|state| {
            state.finishing = true;
            state.room_waiters.drain(..).for_each(|signal| signal.fire());
            state.drain_wake.notify();
        });
        self.0.finished.fired().await;
    }

    /// Removes the directories of topics that were deleted just before a crash. `image` is that of the start: what is deleted later is
    /// removed by its own core.
    pub async fn sweep_deleted(&self, image: &Image) -> Result<(), StorageError> {
        let root = self.0.topics.clone();
        let topics = match self.io().list_dir(&root).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(StorageError::read(&root))?,
        };
        for topic in topics {
            let topic = root.join(topic);
            for name in self.io().list_dir(&topic).await.map_err(StorageError::read(&topic))? {
                let log = name.rsplit_once('-').and_then(|(_, log)| log.parse().ok()).map(LogId);
                if log.is_some_and(|log| matches!(image.log_state(log), LogState::Deleted)) {
                    let dir = topic.join(name);
                    self.io().remove_dir_all(&dir).await.map_err(StorageError::write(&dir))?;
                }
            }
        }
        Ok(())
    }

    /// Files until the journal has its size, made in the background; the first one is enough to begin. Without space for another one it is tried again by and
    /// by: a smaller journal works too.
    async fn grow(self) {
        let (target, file_bytes) = self.with(|state| {
            let options = state.journal.options();
            ((state.options.journal_bytes / options.file_bytes).max(2), options.file_bytes)
        });
        let mut number = self.0.files.highest() + 1;
        let mut told = false;
        while !self.is_stopping() && (self.with(|state| state.journal.files()) as u64) < target {
            let share = self.space().await.map_or(u64::MAX, |space| self.share_of(&space));
            // Journals may have a disk of their own, and checkpoints are on it, too.
            let own = self.io().space(self.0.files.directory()).await.map_or(u64::MAX, |space| self.share_of(&space));
            let created = if share < GROWTH_SPACE_FILES * file_bytes {
                Err("what is free is better kept for segments".to_string())
            } else if own < file_bytes + CHECKPOINTS_SPACE {
                Err(format!("{} free in {}", own, self.0.files.directory().display()))
            } else {
                match self.0.files.create(self.io(), number, file_bytes).await {
                    Ok(()) => Ok(()),
                    Err(StorageError::NoSpace { file }) => Err(format!("no space left for {}", file.display())),
                    Err(error) => return self.fail(&error),
                }
            };
            match created {
                Ok(()) => {
                    let now = self.io().wall_clock();
                    self.with(|state| {
                        state.journal.add_file(number);
                        state.room_was_made(now);
                    });
                    number += 1;
                    if std::mem::take(&mut told) {
                        tracing::info!("the journal grows again");
                    }
                }
                Err(why) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the journal stays smaller than configured until there is space: {why}");
                    }
                    first(self.io().sleep(GROWTH_RETRY), self.stopping()).await;
                }
            }
        }
    }

    async fn publish_when_idle(self) {
        let wake = self.with(|state| state.journal_wake.clone());
        let mut before = None;
        while !self.is_stopping() {
            first(self.io().sleep(IDLE), self.stopping()).await;
            let newest = self.with(|state| state.journal.newest());
            if before == Some(newest) {
                journal::publish(&self.0.files, &self, &wake).await;
            }
            before = Some(self.with(|state| state.journal.newest()));
        }
    }

    async fn expire_producers(self) {
        while !self.is_stopping() {
            first(self.io().sleep(EXPIRY), self.stopping()).await;
            let now = self.io().wall_clock();
            let (logs, expiration_ms) = self.with(|state| {
                let logs: Vec<LogId> = state.replicas.keys().copied().collect();
                (logs, state.options.producer_expiration_ms)
            });
            // There may be many logs, of many producers each: others get their turn in between.
            for log in logs {
                self.with(|state| {
                    if let Some(replica) = state.replicas.get_mut(&log) {
                        replica.partition.expire_producers(now, expiration_ms);
                    }
                });
                self.io().yield_now().await;
            }
        }
    }

    async fn drain_as_needed(self, mut checkpoints: CheckpointWriter) {
        let wake = self.with(|state| state.drain_wake.clone());
        loop {
            wake.notified().await;
            let finishing = self.with(|state| state.finishing);
            let pass =
                if finishing { self.finish_pass(&mut checkpoints).await } else { self.pass(&mut checkpoints).await };
            let done = match pass {
                Ok(()) if !finishing => self.drain_ahead().await,
                done => done,
            };
            if let Err(error) = done {
                return self.fail(&error);
            }
            if finishing {
                return self.0.finished.fire();
            }
        }
    }

    /// Drains logs that have gathered much, one after the other, until a pass is due: so that a pass finds little left, and the device never has
    /// long writes of segments before a short one of the journal.
    async fn drain_ahead(&self) -> Result<(), StorageError> {
        while let Some((log, end)) = self.with(State::next_to_drain_ahead) {
            self.0.drive.drain(self, log, end).await?;
            // A batch that did not fit into the same write may be enough for one of its own.
            self.with(|state| {
                if state.replicas.get_mut(&log).is_some_and(Replica::joins_line_ahead) {
                    state.put_ahead(log);
                }
            });
        }
        Ok(())
    }

    /// Drains every log, flushes once for all, writes a checkpoint, and recycles the journal files that nothing needs any more.
    async fn pass(&self, checkpoints: &mut CheckpointWriter) -> Result<(), StorageError> {
        self.delete_logs(DELETIONS_PER_PASS).await?;
        self.end_dead_segments().await?;
        if !self.with(|state| state.wants_draining()) {
            return Ok(());
        }
        let logs = self.with(|state| {
            state.counter.counts.drain_passes += 1;
            // Each of them may want to put its last page into the journal again.
            state.journal.set_reserve((state.replicas.len() * (PAGE_BYTES + 512)) as u64);
            let logs = state.logs_in_journal();
            logs.iter().for_each(|log| state.refresh_options(*log));
            logs
        });
        if self.0.defect != Some(Defect::RecyclesTooMuch) {
            self.0.drive.drain_all(self, &logs).await?;
        }
        self.with(State::retire_if_in_the_way);
        if self.0.defect == Some(Defect::RecyclesBeforeFlush) {
            self.checkpoint(checkpoints).await?;
            return self.0.drive.flush(self, &logs).await.map(drop);
        }
        self.0.drive.flush(self, &logs).await?;
        self.with(|state| logs.iter().for_each(|log| state.retire(*log)));
        self.checkpoint(checkpoints).await
    }

    /// Seals and flushes active segments of which nothing can be read any more, and lets go of them.
    async fn end_dead_segments(&self) -> Result<(), StorageError> {
        let logs = self.with(|state| state.logs_with_dead_segment());
        if logs.is_empty() {
            return Ok(());
        }
        self.0.drive.end_dead(self, &logs).await?;
        self.0.drive.flush(self, &logs).await?;
        self.with(|state| logs.iter().for_each(|log| state.retire(*log)));
        Ok(())
    }

    async fn checkpoint(&self, checkpoints: &mut CheckpointWriter) -> Result<(), StorageError> {
        let (tail, finished) = self.with(|state| {
            let mut needed = state.needed_sequence();
            if [Some(Defect::RecyclesBeforeFlush), Some(Defect::RecyclesTooMuch)].contains(&state.options.defect) {
                needed = state.journal.durable() + 1;
            }
            state.journal.recyclable(needed)
        });
        let states = if finished.is_empty() { Vec::new() } else { self.log_states().await };
        // The states speak of batches up to here: a checkpoint must not know what a crash may take back.
        let newest = self.with(|state| state.journal.newest());
        self.durable(newest).await;
        if !finished.is_empty() {
            let (committed, end) = self.with(|state| (state.journal.durable(), state.journal.end()));
            let seal = Seal { tail: Some(tail), committed, end, logs: states, snapshot: Bytes::new() };
            checkpoints.write(self.io(), seal).await?;
            self.recycle(&finished);
        }
        // Nobody else rings for those who still wait. Others have their turn first, so that this can never be all that a core does.
        self.io().yield_now().await;
        self.with(|state| state.short_of_room.then(|| state.drain_wake.notify()));
        Ok(())
    }

    fn recycle(&self, finished: &[u32]) {
        let now = self.io().wall_clock();
        self.with(|state| {
            finished.iter().for_each(|number| state.journal.recycle(*number));
            state.room_was_made(now);
        });
    }

    async fn finish_pass(&self, checkpoints: &mut CheckpointWriter) -> Result<(), StorageError> {
        while !self.with(|state| state.lines.is_empty()) {
            self.pass(checkpoints).await?;
            let newest = self.with(|state| state.journal.newest());
            self.durable(newest).await;
            self.io().yield_now().await;
        }
        let newest = self.with(|state| state.journal.newest());
        self.durable(newest).await;
        self.delete_logs(usize::MAX).await?;
        let logs: Vec<_> = self.with(|state| {
            let logs: Vec<_> = state.replicas.keys().copied().collect();
            logs.iter().for_each(|log| state.refresh_options(*log));
            logs
        });
        self.0.drive.drain_all(self, &logs).await?;
        self.0.drive.close(self, &logs).await?;
        // Before the checkpoint: after a clean stop nobody looks for files that were to be removed.
        self.with(|state| {
            state.retire_all();
            state.removals.close();
        });
        self.0.removed.fired().await;
        let states = self.log_states().await;
        let newest = self.with(|state| state.journal.newest());
        self.durable(newest).await;
        let (committed, end) = self.with(|state| (state.journal.durable(), state.journal.end()));
        let seal = Seal { tail: None, committed, end, logs: states, snapshot: Bytes::new() };
        checkpoints.write(self.io(), seal).await
    }

    /// The states of all logs. There may be many, of many producers each: others get their turn in between. What is appended meanwhile is in the
    /// journal behind every tail that was chosen before.
    async fn log_states(&self) -> Vec<(LogId, Bytes)> {
        let logs: Vec<LogId> = self.with(|state| state.replicas.keys().copied().collect());
        let (mut states, mut since_yield) = (Vec::with_capacity(logs.len()), 0);
        for log in logs {
            let Some(state) = self.with(|state| state.replicas.get(&log).map(log_state)) else { continue };
            since_yield += state.len();
            states.push((log, state));
            if since_yield >= YIELD_BYTES {
                since_yield = 0;
                self.io().yield_now().await;
            }
        }
        states
    }

    /// Removes the directories of `most` deleted logs, once the journal says so durably. A topic may have ten thousand, and nothing is drained meanwhile.
    async fn delete_logs(&self, most: usize) -> Result<(), StorageError> {
        let due: Vec<_> = self.with(|state| {
            let due = state.deletions.len().min(most);
            state.deletions.drain(..due).collect()
        });
        let mut topics = Set::default();
        for (ticket, log) in due {
            self.durable(ticket).await;
            topics.extend(self.0.drive.delete(log.spec().id, &log.directory()).await?);
        }
        for topic in topics {
            self.0.drive.sync_removed(&topic).await?;
        }
        Ok(())
    }
}

impl State {
    /// Half of the journal is used, or somebody waits for room in it.
    fn wants_draining(&self) -> bool {
        self.is_waited_for() || self.journal.used_bytes() * 2 >= self.journal.capacity()
    }

    /// Whether somebody waits for room in the journal.
    fn is_waited_for(&self) -> bool {
        self.short_of_room || !self.room_waiters.is_empty()
    }

    /// Puts a log in line to be drained ahead ([`Replica::joins_line_ahead`]).
    pub(super) fn put_ahead(&mut self, log: LogId) {
        self.ahead.push_back(log);
        self.drain_wake.notify();
    }

    /// The log that has waited longest since it had enough to drain, and how far. `None`: none has, or something else is due.
    fn next_to_drain_ahead(&mut self) -> Option<(LogId, Offset)> {
        if self.finishing || self.wants_draining() || !self.deletions.is_empty() {
            self.drain_wake.notify();
            return None;
        }
        while let Some(log) = self.ahead.pop_front() {
            if let Some(replica) = self.replicas.get_mut(&log) {
                replica.drains_ahead = false;
                // What was drained since it was put here does not count any more.
                if let Some(up_to) = replica.log.drain_ahead() {
                    return Some((log, up_to));
                }
            }
        }
        None
    }

    fn logs_in_journal(&self) -> Vec<LogId> {
        let in_journal = self.replicas.iter().filter(|(_, replica)| replica.log.needed_seq().is_some());
        in_journal.map(|(log, _)| *log).collect()
    }

    /// The oldest block that any log would need after a crash.
    fn needed_sequence(&self) -> u64 {
        let needed = self.replicas.values().filter_map(|replica| replica.log.needed_seq()).min();
        needed.unwrap_or(u64::MAX).min(self.journal.durable() + 1)
    }

    /// A journal of one file is emptied as a whole, and so is a file that is not full when somebody waits and no other can be emptied for him.
    fn retire_if_in_the_way(&mut self) {
        let stuck = self.short_of_room && self.journal.oldest_finished().is_none();
        if stuck || self.journal.files() == 1 {
            self.journal.retire_current();
        }
    }

    /// Lets go of the oldest blocks that are drained, as long as they are too many or nobody reads at or before what is in them.
    fn shrink_cache(&mut self, now: Mono) {
        while let Some((block, too_many)) = self.cache.oldest() {
            while let Some((log, last)) = block.logs.get(block.passed) {
                if let Some(replica) = self.replicas.get_mut(log) {
                    let undrained = replica.log.oldest_undrained_seq().is_some_and(|oldest| oldest <= block.sequence);
                    if undrained || !too_many && replica.readers.may_want(*last, now) {
                        return;
                    }
                }
                block.passed += 1;
            }
            for (log, _) in &block.logs {
                if let Some(replica) = self.replicas.get_mut(log) {
                    replica.log.evict_through(block.sequence, too_many);
                }
            }
            self.cache.forget_oldest();
        }
    }
}

fn log_state(replica: &Replica) -> Bytes {
    let mut checkpoint = replica.log.checkpoint();
    checkpoint.high = replica.partition.high().max(checkpoint.high);
    checkpoint.producer_offset = replica.partition.end();
    checkpoint.producer_state = replica.partition.encode();
    checkpoint.encode().into()
}
