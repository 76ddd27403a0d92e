//! What goes: DeleteRecords, records that have expired, and the files of the segments they stood in.
//!
//! ```text
//! DeleteRecords, retention --> LogStart entry --> durable: the log start moves, dead segments leave their log
//!     --> files renamed --> file.delete.delay.ms --> files removed
//! ```
//!
//! Always true: the log start that anybody is shown is durable, so it never goes back; no file is renamed before. The entry is all that recovery needs:
//! which segments went follows from where the log starts. Settings are read from the image when they are used.

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::message::{Answer, Ask, DeleteRecordsError};
use super::metadata::log_options;
use super::waiters::{Signal, all, first};
use super::{Defect, Shard, State};
use crate::base::{LogId, Mono, Offset, Timestamp};
use crate::cluster::{LogState, TopicSettings};
use crate::storage::StorageError;
use crate::storage::drive::Notify;
use crate::storage::journal::{Head, Kind, Ticket};
use crate::storage::log::{Retention, expired};

/// Stands for the high watermark in a DeleteRecords request.
pub const HIGH_WATERMARK: Offset = Offset(-1);

impl Shard {
    /// Deletes the records below `up_to`, or below the high watermark for [`HIGH_WATERMARK`]. Gives the start of the log, which may lie further on, once it is
    /// durable: then reads below it are refused, and segments that lie below it as a whole are on their way out.
    pub async fn delete_records(&self, log: LogId, up_to: Offset) -> Result<Offset, DeleteRecordsError> {
        let owner = self.owner(log);
        if owner == self.id() {
            return self.delete_records_here(log, up_to).await;
        }
        match self.0.mesh.call(owner, Ask::DeleteRecords { log, up_to }).await {
            Answer::DeletedRecords(start) => start,
            other => unreachable!("a deletion of records was answered with {other:?}"),
        }
    }

    /// As [`Shard::delete_records`], for several logs, with their answers in the same order.
    pub async fn delete_records_of(&self, wanted: &[(LogId, Offset)]) -> Vec<Result<Offset, DeleteRecordsError>> {
        let mut starts = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(DELETIONS_AT_ONCE) {
            starts.extend(all(some.iter().map(|(log, up_to)| self.delete_records(*log, *up_to))).await);
        }
        starts
    }

    pub(super) async fn delete_records_here(&self, log: LogId, up_to: Offset) -> Result<Offset, DeleteRecordsError> {
        let partition_start = || {
            let start = |state: &mut State| state.replicas.get(&log).map(|replica| replica.partition.log_start());
            self.with(start).ok_or(DeleteRecordsError::NoSuchLog)
        };
        let high = self.with(|state| state.replicas.get(&log).map(|replica| replica.partition.high()));
        let high = high.ok_or(DeleteRecordsError::NoSuchLog)?;
        let up_to = if up_to == HIGH_WATERMARK { high } else { up_to };
        if let Some(ticket) = self.journal_log_start(log, up_to).await? {
            self.durable(ticket).await;
        }
        partition_start()
    }

    /// Puts the entry that moves a log's start into the journal, when there is room for it. `None`: the log starts there or further on already.
    async fn journal_log_start(&self, log: LogId, to: Offset) -> Result<Option<Ticket>, DeleteRecordsError> {
        if self.0.defect == Some(Defect::UnlinksBeforeEntry) {
            self.unlink_before_entry(log, to).await;
        }
        loop {
            match self.with(|state| state.journal_log_start(log, to))? {
                Journaled::There => return Ok(None),
                Journaled::Entry(ticket) => return Ok(Some(ticket)),
                Journaled::NoRoom(signal) => signal.fired().await,
            }
        }
    }

    /// Looks for expired records as long as the broker runs.
    pub(super) async fn retain(self) {
        let interval = self.with(|state| state.options.retention_check_interval).min(INTERVAL_MAX);
        let mut wait = interval.min(FIRST_CHECK);
        let mut before = self.clocks();
        while !self.is_stopping() {
            first(self.io().sleep(wait), self.stopping()).await;
            let now = self.clocks();
            let steady = is_steady(before, now) || self.0.defect == Some(Defect::BelievesAnyClock);
            if !steady {
                tracing::warn!(
                    "the wall clock jumped ahead; nothing expires by its age until it has stood for one more check"
                );
            }
            (before, wait) = (now, interval);
            if !self.is_stopping() {
                self.expire(Some(now.1).filter(|_| steady)).await;
            }
        }
    }

    /// Moves the start of every log whose oldest records have expired. `now` is the wall clock, if it can be believed.
    async fn expire(&self, now: Option<Timestamp>) {
        let logs: Vec<LogId> = self.with(|state| state.replicas.keys().copied().collect());
        let mut newest = None;
        for log in logs {
            let wall = self.io().wall_clock();
            if let Some(to) = self.with(|state| state.expired(log, now, wall)) {
                match self.journal_log_start(log, to).await {
                    Ok(ticket) => newest = ticket.or(newest),
                    // Deleted meanwhile, or the broker is stopping.
                    Err(refused) => tracing::debug!(log = log.0, ?refused, "nothing expires"),
                }
            }
            self.io().yield_now().await;
        }
        if let Some(ticket) = newest {
            self.durable(ticket).await;
        }
    }

    fn clocks(&self) -> (Mono, Timestamp) {
        (self.io().now(), self.io().wall_clock())
    }

    /// Renames and removes the files of segments that their logs let go, as long as the broker runs.
    pub(super) async fn remove_files(self) {
        let wake = self.with(|state| state.removals.wake.clone());
        loop {
            let now = self.io().now();
            match self.with(|state| state.removals.next(now)) {
                Removal::Rename(mut gone) => {
                    let renamed = self.0.drive.retire_segments(gone.log, &gone.directory, &gone.bases).await;
                    if let Err(error) = renamed {
                        return self.fail(&error);
                    }
                    gone.due = self.io().now() + gone.delay;
                    self.with(|state| state.removals.renamed.push(gone));
                }
                Removal::Remove(gone) => {
                    if let Err(error) = self.0.drive.remove_segments(gone.log, &gone.directory, &gone.bases).await {
                        return self.fail(&error);
                    }
                }
                Removal::Wait(None) => wake.notified().await,
                Removal::Wait(Some(due)) => {
                    first(wake.notified(), self.io().sleep_until(due.min(now + INTERVAL_MAX))).await;
                }
                Removal::Done => return self.0.removed.fire(),
            }
        }
    }

    /// The defect of that name.
    async fn unlink_before_entry(&self, log: LogId, to: Offset) {
        let dead = self.with(|state| {
            let replica = state.replicas.get_mut(&log)?;
            replica.partition.check_log_start(to).ok()?;
            replica.log.set_log_start(to);
            Some((replica.log.directory(), replica.log.take_dead()))
        });
        let Some((directory, dead)) = dead.filter(|(_, dead)| !dead.is_empty()) else { return };
        let removed: Result<(), StorageError> = async {
            self.0.drive.retire_segments(log, &directory, &dead).await?;
            self.0.drive.remove_segments(log, &directory, &dead).await
        }
        .await;
        removed.expect("the files can be removed");
    }
}

/// What became of an entry that moves a log start.
enum Journaled {
    /// The log starts there or further on.
    There,
    /// It is in the journal, durable with this ticket.
    Entry(Ticket),
    /// To be tried again after this.
    NoRoom(Rc<Signal>),
}

impl State {
    fn journal_log_start(&mut self, log: LogId, to: Offset) -> Result<Journaled, DeleteRecordsError> {
        if self.finishing {
            return Err(DeleteRecordsError::Stopping);
        }
        let replica = self.replicas.get_mut(&log).ok_or(DeleteRecordsError::NoSuchLog)?;
        replica.partition.check_log_start(to).map_err(DeleteRecordsError::Refused)?;
        if to <= replica.partition.log_start() {
            return Ok(Journaled::There);
        }
        if !self.journal.has_room(0) {
            let signal = Rc::new(Signal::default());
            self.room_waiters.push(signal.clone());
            self.drain_wake.notify();
            return Ok(Journaled::NoRoom(signal));
        }
        let to = match self.options.defect {
            Some(Defect::DeletesTooMuch) => {
                let behind =
                    replica.log.stretches(Timestamp(0)).iter().map(|stretch| stretch.next).find(|next| *next > to);
                behind.unwrap_or(to).min(replica.partition.high())
            }
            _ => to,
        };
        let epoch = replica.partition.leader_epoch();
        let head = Head { first: to, last: to, epoch, ..Head::about(Kind::LogStart, log) };
        let ticket = self.journal.append(head, &[]);
        tracing::debug!(log = log.0, log_start = to.0, ticket = ticket.0, "the log start is to move");
        if self.options.defect == Some(Defect::ShowsLogStartEarly) {
            replica.partition.move_log_start(to).expect("checked above");
        }
        self.journal_wake.notify();
        Ok(Journaled::Entry(ticket))
    }

    /// The entry that moves a log start is on disk.
    pub(super) fn log_start_durable(&mut self, log: LogId, start: Offset) {
        let Some(replica) = self.replicas.get_mut(&log) else { return };
        replica.partition.move_log_start(start).expect("the high watermark was there when the entry was made");
        replica.log.set_log_start(start);
        if replica.log.active_is_dead() {
            self.drain_wake.notify();
        }
        self.retire(log);
    }

    /// Takes the dead segments that are flushed out of a log, for their files to be removed.
    pub(super) fn retire(&mut self, log: LogId) {
        let Some(replica) = self.replicas.get_mut(&log) else { return };
        let bases = replica.log.take_dead();
        if bases.is_empty() {
            return;
        }
        let (directory, start) = (replica.log.directory(), replica.log.log_start());
        let delay_ms = self.settings(log).map_or(0, |settings| settings.file_delete_delay_ms);
        tracing::info!(directory = %directory.display(), log_start = start.0, segments = bases.len(), "segments below the log start go");
        let delay = Duration::from_millis(delay_ms.max(0) as u64);
        self.counter.counts.segments_removed += bases.len() as u64;
        self.removals.leaving.push_back(Gone { log, directory, bases, delay, due: Mono(0) });
        self.removals.wake.notify();
    }

    /// As [`State::retire`], for all logs: after a start, and before the end.
    pub(super) fn retire_all(&mut self) {
        let logs: Vec<LogId> = self.replicas.keys().copied().collect();
        logs.into_iter().for_each(|log| self.retire(log));
    }

    /// Logs whose active segment must be sealed so that it can go.
    pub(super) fn logs_with_dead_segment(&self) -> Vec<LogId> {
        let dead = self.replicas.iter().filter(|(_, replica)| replica.log.active_is_dead());
        dead.map(|(log, _)| *log).collect()
    }

    /// Where a log must start by the retention of its topic, when that is further on.
    fn expired(&mut self, log: LogId, now: Option<Timestamp>, wall: Timestamp) -> Option<Offset> {
        if matches!(self.image.log_state(log), LogState::Live(topic, _) if topic.is_internal()) {
            // The broker's own topics are compacted ones: what they say counts until something newer is said.
            return None;
        }
        let settings = self.settings(log)?;
        let ms = Some(settings.retention_ms).filter(|ms| *ms >= 0);
        let rules = Retention { ms, bytes: u64::try_from(settings.retention_bytes).ok() };
        if rules == Retention::default() {
            return None;
        }
        self.refresh_options(log);
        let replica = self.replicas.get(&log)?;
        let to = expired(&replica.log.stretches(wall), replica.partition.high(), &rules, now)?;
        (to > replica.partition.log_start()).then_some(to)
    }

    /// What holds for the topic of a log now.
    fn settings(&self, log: LogId) -> Option<TopicSettings> {
        match self.image.log_state(log) {
            LogState::Live(topic, _) => Some(topic.settings(&self.options.topics)),
            LogState::Deleted | LogState::NeverGivenOut => None,
        }
    }

    /// Tells a log what its topic's settings are now.
    pub(super) fn refresh_options(&mut self, log: LogId) {
        let settings = self.settings(log);
        if let (Some(settings), Some(replica)) = (settings, self.replicas.get_mut(&log)) {
            replica.log.set_options(log_options(&settings));
        }
    }
}

/// Segments that left their log, on their way off the disk.
struct Gone {
    log: LogId,
    directory: Arc<Path>,
    /// Their first offsets.
    bases: Vec<Offset>,
    /// `file.delete.delay.ms` when they left.
    delay: Duration,
    /// When they are removed, once they are renamed.
    due: Mono,
}

/// The files of segments that went: which are to be renamed, and which to be removed when.
#[derive(Default)]
pub(super) struct Removals {
    leaving: VecDeque<Gone>,
    renamed: Vec<Gone>,
    closing: bool,
    wake: Notify,
}

/// What is to be done next.
enum Removal {
    Rename(Gone),
    Remove(Gone),
    /// Nothing before this time, or before somebody rings.
    Wait(Option<Mono>),
    /// Nothing is left, and nothing more comes.
    Done,
}

impl Removals {
    /// The broker stops: what waits is removed at once, so that the next start finds nothing to do.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.wake.notify();
    }

    fn next(&mut self, now: Mono) -> Removal {
        if let Some(gone) = self.leaving.pop_front() {
            return Removal::Rename(gone);
        }
        let first = self.renamed.iter().enumerate().min_by_key(|(_, gone)| gone.due).map(|(at, gone)| (at, gone.due));
        match first {
            Some((at, due)) if due <= now || self.closing => Removal::Remove(self.renamed.swap_remove(at)),
            Some((_, due)) => Removal::Wait(Some(due)),
            None if self.closing => Removal::Done,
            None => Removal::Wait(None),
        }
    }
}

/// Whether the wall clock went on as the clock that never jumps did. A clock that is set wrongly for a moment must not cost records: they expire only by a
/// clock that has stood from one check to the next. A jump back keeps records longer, and costs nothing.
fn is_steady(before: (Mono, Timestamp), now: (Mono, Timestamp)) -> bool {
    let passed = i64::try_from(now.0.since(before.0).as_millis()).unwrap_or(i64::MAX);
    let shown = now.1.0.saturating_sub(before.1.0);
    shown <= passed.saturating_add(CLOCK_STEP_MS)
}

/// Deletions of one request that wait for the disk together.
const DELETIONS_AT_ONCE: usize = 256;
/// Milliseconds by which the wall clock may be set ahead between two checks without being doubted.
const CLOCK_STEP_MS: i64 = 60_000;
/// When expired records are first looked for after a start, unless the interval is shorter. As Kafka's `log.initial.task.delay.ms`.
const FIRST_CHECK: Duration = Duration::from_secs(30);
/// The longest sleep between two checks. The setting may be longer than timers can be.
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_ahead_is_not_believed_until_it_stands() {
        let seconds = |seconds: u64| Mono(seconds * 1_000_000_000);
        let year = 366 * 24 * 60 * 60 * 1000;
        let [start, later, again] = [(seconds(0), 1000), (seconds(300), year), (seconds(600), year + 300_000)]
            .map(|(mono, wall)| (mono, Timestamp(wall)));
        assert!(is_steady(start, (seconds(300), Timestamp(301_000))));
        assert!(!is_steady(start, later), "a jump");
        assert!(is_steady(later, again), "it stood");
        assert!(is_steady(later, (seconds(600), Timestamp(601_000))), "it was set back");
        assert!(is_steady(start, (seconds(300), Timestamp(361_000))), "a small step");
        assert!(!is_steady((seconds(0), Timestamp(i64::MIN)), (seconds(1), Timestamp(i64::MAX))));
    }

    fn gone(base: i64, due: u64) -> Gone {
        Gone {
            log: LogId(1),
            directory: Path::new("d").into(),
            bases: vec![Offset(base)],
            delay: Duration::ZERO,
            due: Mono(due),
        }
    }

    fn told(removal: Removal) -> (&'static str, i64) {
        match removal {
            Removal::Rename(gone) => ("rename", gone.bases[0].0),
            Removal::Remove(gone) => ("remove", gone.bases[0].0),
            Removal::Wait(due) => ("wait", due.map_or(-1, |due| due.0 as i64)),
            Removal::Done => ("done", 0),
        }
    }

    #[test]
    fn files_are_renamed_at_once_and_removed_when_due_or_at_the_end() {
        let mut removals = Removals::default();
        assert_eq!(told(removals.next(Mono(0))), ("wait", -1));
        removals.renamed.extend([gone(1, 50), gone(2, 30)]);
        removals.leaving.push_back(gone(3, 0));
        assert_eq!(told(removals.next(Mono(40))), ("rename", 3));
        assert_eq!(told(removals.next(Mono(40))), ("remove", 2));
        assert_eq!(told(removals.next(Mono(40))), ("wait", 50));
        removals.close();
        assert_eq!(told(removals.next(Mono(40))), ("remove", 1));
        assert_eq!(told(removals.next(Mono(40))), ("done", 0));
    }
}
