//! One replica's log as a state: what may be appended, what may be read, who produced, and under which leaders.
//!
//! Always true: log start <= high <= durable <= end, and none of them goes back; an offset is given out once; a leader epoch starts where the one
//! before it ends. What stands above `durable` is speculative: if it is lost, the process is gone too. Decides, and has no effects, no clock and no bytes
//! of records: the shard carries decisions out.

mod append; // may this batch be appended, and where
mod epochs; // where each leader's records begin (KIP-101)
mod producers; // idempotent producers: repetition, gap or next (KIP-98)
mod read; // what a reader may see (KIP-320, KIP-595)

pub use append::{AppendFault, AppendRules, Decision};
pub use epochs::{EpochCache, EpochEnd};
pub use producers::{DescribedProducer, Producers};
pub use read::{Isolation, ReadBounds, ReadCheck, ReadFault, ReadRequest};

use crate::base::{Cursor, LeaderEpoch, LogId, Offset, Short, Timestamp};
use crate::record::{StoredBatch, TimestampType};

/// One replica's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    log_id: LogId,
    leader_epoch: LeaderEpoch,
    log_start: Offset,
    end: Offset,
    durable: Offset,
    high: Offset,
    last_append_time: Timestamp,
    producers: Producers,
    epochs: EpochCache,
}

/// State that cannot be read back, or does not fit the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateFault {
    /// The bytes end early or hold impossible values.
    #[error("the saved state of the log is damaged: {0}")]
    Damaged(&'static str),
    /// A later version wrote it.
    #[error("the saved state of the log has version {found}, this broker knows up to {known}")]
    Version {
        /// In the bytes.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// A batch that is replayed overlaps the one before it.
    #[error("a batch begins at {base}, but the log already ends at {end}")]
    Overlap {
        /// Its first offset.
        base: Offset,
        /// The end so far.
        end: Offset,
    },
    /// The node was to lead under an epoch below one that the log has seen.
    #[error("leader epoch {epoch} is below {seen}, which the log has seen: the metadata are older than the log")]
    EpochBack {
        /// Asked for.
        epoch: LeaderEpoch,
        /// The highest seen.
        seen: LeaderEpoch,
    },
    /// The log ends before offsets that were durable when its state was saved.
    #[error("the log ends at {end}, but its saved state was taken at {saved}")]
    EndsEarly {
        /// The recovered end.
        end: Offset,
        /// The end when the state was saved.
        saved: Offset,
    },
}

/// A log's start may move to any offset from where it is up to the high watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the log start cannot move to {to}, the high watermark is {high}")]
pub struct StartFault {
    /// Where it should have moved.
    pub to: Offset,
    /// The high watermark.
    pub high: Offset,
}

impl Partition {
    /// An empty log. Its leader epoch is set by [`Partition::lead`].
    pub fn new(log_id: LogId) -> Self {
        Self {
            log_id,
            leader_epoch: LeaderEpoch::NONE,
            log_start: Offset(0),
            end: Offset(0),
            durable: Offset(0),
            high: Offset(0),
            last_append_time: Timestamp::NONE,
            producers: Producers::default(),
            epochs: EpochCache::default(),
        }
    }

    /// The log as it was when [`Partition::encode`] saved it. What was appended later comes by [`Partition::replay`], then [`Partition::recovered`].
    pub fn restore(log_id: LogId, state: &[u8]) -> Result<Self, StateFault> {
        let mut from = Cursor::new(state);
        let found = from.u8()?;
        if found != STATE_VERSION {
            return Err(StateFault::Version { found, known: STATE_VERSION });
        }
        let (log_start, high, end) = (Offset(from.i64()?), Offset(from.i64()?), Offset(from.i64()?));
        if !(0 <= log_start.0 && log_start <= high && high <= end) {
            return Err(StateFault::Damaged("the offsets are out of order"));
        }
        let last_append_time = Timestamp(from.i64()?);
        let epochs = EpochCache::decode(&mut from)?;
        let producers = Producers::decode(&mut from)?;
        if from.left() > 0 {
            return Err(StateFault::Damaged("bytes are left behind the producers"));
        }
        let leader_epoch = LeaderEpoch::NONE;
        Ok(Self { log_id, leader_epoch, log_start, end, durable: high, high, last_append_time, producers, epochs })
    }

    /// The state for a checkpoint, as of [`Partition::end`] now. It may be written only once `durable` has reached that offset, because it
    /// speaks of batches up to there. Its length is bounded by `PRODUCERS_PER_PARTITION_MAX` and `EPOCHS_PER_PARTITION_MAX`.
    ///
    /// Version 1, big endian: version 1, log start 8, high watermark 8, end 8, last append time 8, epochs, producers.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![STATE_VERSION];
        for number in [self.log_start.0, self.high.0, self.end.0, self.last_append_time.0] {
            out.extend(number.to_be_bytes());
        }
        self.epochs.encode(&mut out);
        self.producers.encode(&mut out);
        out
    }

    /// Takes over a batch that the log holds: recovery, in offset order. Batches below the saved state are already part of it and are passed over. Producers
    /// found here count as heard of at `now`, so that nobody is forgotten because of a crash.
    pub fn replay(&mut self, batch: &StoredBatch<'_>, now: Timestamp) -> Result<(), StateFault> {
        let (base, last) = (batch.base_offset(), batch.last_offset());
        if last < self.end {
            return Ok(());
        }
        if base < self.end {
            return Err(StateFault::Overlap { base, end: self.end });
        }
        let info = batch.info();
        if batch.leader_epoch().0 >= 0 {
            self.epochs.assign(batch.leader_epoch(), base);
        }
        if info.timestamp_type == TimestampType::LogAppendTime {
            self.last_append_time = self.last_append_time.max(info.max_timestamp);
        }
        if info.has_producer() {
            self.producers.appended(info, base, info.max_timestamp, now);
        }
        self.end = last.plus(1);
        Ok(())
    }

    /// The start of the log was moved by an entry of the journal: recovery, between batches.
    pub fn replay_log_start(&mut self, log_start: Offset) {
        self.log_start = self.log_start.max(log_start);
        self.end = self.end.max(log_start);
        self.epochs.cut_front(self.log_start);
    }

    /// Ends recovery. `log_end` is where the log ends on disk: everything below is durable and, on a single node, visible.
    pub fn recovered(&mut self, log_end: Offset) -> Result<(), StateFault> {
        if log_end < self.end {
            return Err(StateFault::EndsEarly { end: log_end, saved: self.end });
        }
        if log_end > self.end {
            return Err(StateFault::Damaged("the log holds batches that were not replayed"));
        }
        self.durable = self.end;
        self.high = self.end;
        self.assert_order();
        Ok(())
    }

    /// This node leads the log from now on, under `epoch`, which begins at the end of the log even before its first record. A lower epoch than the log has
    /// seen comes of metadata that are older than the log.
    pub fn lead(&mut self, epoch: LeaderEpoch) -> Result<(), StateFault> {
        let seen = self.epochs.latest().unwrap_or(LeaderEpoch::NONE).max(self.leader_epoch);
        if epoch < seen || epoch.0 < 0 {
            return Err(StateFault::EpochBack { epoch, seen });
        }
        self.leader_epoch = epoch;
        self.epochs.assign(epoch, self.end);
        Ok(())
    }

    /// Everything below `durable` is on disk, in the order it was reserved. Returns whether the high watermark moved.
    pub fn set_durable(&mut self, durable: Offset) -> bool {
        assert!(durable <= self.end, "durable {durable} is above the end {}", self.end);
        let moved = durable > self.high;
        self.durable = self.durable.max(durable);
        // One node: what is durable here is durable everywhere.
        self.high = self.high.max(durable);
        self.assert_order();
        moved
    }

    /// Whether the start of the log may move to this offset: neither below zero nor beyond the high watermark.
    pub fn check_log_start(&self, to: Offset) -> Result<(), StartFault> {
        if to.0 < 0 || to > self.high { Err(StartFault { to, high: self.high }) } else { Ok(()) }
    }

    /// Moves the start of the log forward: DeleteRecords, retention; once the entry that says so is durable, so that a start which was shown never goes back.
    /// Returns whether it moved; an offset behind the start changes nothing.
    pub fn move_log_start(&mut self, to: Offset) -> Result<bool, StartFault> {
        self.check_log_start(to)?;
        if to <= self.log_start {
            return Ok(false);
        }
        self.log_start = to;
        self.epochs.cut_front(to);
        self.assert_order();
        Ok(true)
    }

    /// Forgets producers that were silent for `expiration_ms` (`producer.id.expiration.ms`) and have no open transaction. Returns how many.
    pub fn expire_producers(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        self.producers.expire(now, expiration_ms)
    }

    /// Whose log this is.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
    /// The epoch under which this node leads.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }
    /// The first offset that can be read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }
    /// The offset that the next record gets.
    pub fn end(&self) -> Offset {
        self.end
    }
    /// Everything below is on disk.
    pub fn durable(&self) -> Offset {
        self.durable
    }
    /// Consumers read below this: the high watermark.
    pub fn high(&self) -> Offset {
        self.high
    }
    /// Readers of committed data read below this. Equals the high watermark as long as there are no transactions.
    pub fn last_stable(&self) -> Offset {
        self.high
    }
    /// The leader epochs of the log and where each begins.
    pub fn epochs(&self) -> &EpochCache {
        &self.epochs
    }
    /// The producers remembered.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    fn assert_order(&self) {
        let Self { log_start, high, durable, end, .. } = *self;
        assert!(
            log_start <= high && high <= durable && durable <= end,
            "{log_start} <= {high} <= {durable} <= {end} of {}",
            self.log_id
        );
    }
}

impl From<Short> for StateFault {
    fn from(_: Short) -> Self {
        StateFault::Damaged("the bytes end early")
    }
}

/// The version of the bytes of [`Partition::encode`].
const STATE_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::PRODUCERS_PER_PARTITION_MAX;
    use crate::base::{ProducerEpoch, ProducerId};
    use crate::record::{BatchInfo, Builder, NewRecord, batches, patch};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const RULES: AppendRules = AppendRules { log_append_time: false };

    fn led(epoch: i32) -> Partition {
        let mut log = Partition::new(LogId(1));
        log.lead(LeaderEpoch(epoch)).unwrap();
        log
    }

    fn batch_bytes(producer: i64, epoch: i16, sequence: i32, records: i32) -> Vec<u8> {
        let mut builder = Builder::new();
        if producer >= 0 {
            builder = builder.producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
        }
        for n in 0..records {
            builder.push(NewRecord { timestamp: Timestamp(500 + i64::from(n)), ..NewRecord::default() });
        }
        builder.build().to_vec()
    }

    fn batch(producer: i64, epoch: i16, sequence: i32, records: i32) -> BatchInfo {
        *batches(&batch_bytes(producer, epoch, sequence, records)).next().unwrap().info()
    }

    fn append(log: &mut Partition, batch: &BatchInfo) -> Result<Decision, AppendFault> {
        log.append(batch, NOW, &RULES)
    }

    /// Base offset of a batch that is appended.
    fn appended(log: &mut Partition, batch: &BatchInfo) -> i64 {
        match append(log, batch) {
            Ok(Decision::Append { base_offset, .. }) => base_offset.0,
            other => panic!("{other:?}"),
        }
    }

    fn code(result: Result<Decision, AppendFault>) -> i32 {
        match result {
            Ok(_) => 0,
            Err(AppendFault::OutOfOrderSequence { .. }) => 45,
            Err(AppendFault::InvalidProducerEpoch { .. }) => 47,
            Err(AppendFault::OutsideTransaction { .. }) => 48,
        }
    }

    #[test]
    fn offsets_follow_each_other() {
        let mut log = led(3);
        assert_eq!(appended(&mut log, &batch(-1, -1, -1, 5)), 0);
        let decision = append(&mut log, &batch(-1, -1, -1, 2)).unwrap();
        assert_eq!(
            decision,
            Decision::Append {
                base_offset: Offset(5),
                last_offset: Offset(6),
                leader_epoch: LeaderEpoch(3),
                log_append_time: None
            }
        );
        assert_eq!((log.end(), log.durable(), log.high()), (Offset(7), Offset(0), Offset(0)));
        assert!(log.set_durable(Offset(5)));
        assert!(!log.set_durable(Offset(5)));
        assert_eq!((log.end(), log.durable(), log.high()), (Offset(7), Offset(5), Offset(5)));
    }

    #[test]
    fn a_repeated_batch_gets_its_old_offsets() {
        let mut log = led(0);
        for n in 0..7 {
            assert_eq!(appended(&mut log, &batch(9, 0, 3 * n, 3)), i64::from(3 * n));
        }
        for n in 2..7 {
            let repeated = append(&mut log, &batch(9, 0, 3 * n, 3)).unwrap();
            let (base_offset, last_offset) = (Offset(i64::from(3 * n)), Offset(i64::from(3 * n + 2)));
            assert_eq!(repeated, Decision::Duplicate { base_offset, last_offset, log_append_time: None });
        }
        assert_eq!(code(append(&mut log, &batch(9, 0, 3, 3))), 45, "the sixth last is not remembered");
        assert_eq!(code(append(&mut log, &batch(9, 0, 18, 2))), 45, "the same start and another end is no repetition");
        assert_eq!(log.end(), Offset(21));
    }

    #[test]
    fn sequences_and_epochs_are_kafkas() {
        let mut log = led(0);
        appended(&mut log, &batch(1, 0, 1_000, 1));
        assert_eq!(code(append(&mut log, &batch(1, 0, 1_002, 1))), 45, "a gap");
        appended(&mut log, &batch(1, 0, 1_001, 1));
        assert_eq!(code(append(&mut log, &batch(1, 1, 1_002, 1))), 45, "a new epoch begins at 0");
        appended(&mut log, &batch(1, 1, 0, 1));
        assert_eq!(code(append(&mut log, &batch(1, 0, 1_001, 1))), 47, "not even a repetition of an older epoch");
        assert_eq!(code(append(&mut log, &batch(1, 1, 0, 1))), 0, "a repetition");
        appended(&mut log, &batch(2, 5, i32::MAX - 1, 2));
        appended(&mut log, &batch(2, 5, 0, 1));
        appended(&mut log, &batch(3, 0, i32::MAX, 3));
        assert!(matches!(append(&mut log, &batch(3, 0, i32::MAX, 3)), Ok(Decision::Duplicate { .. })));
        appended(&mut log, &batch(3, 0, 2, 1));
    }

    /// The wall clock was set back an hour between two appends. Time within the log stands still until the clock has caught up.
    #[test]
    fn log_append_time_never_goes_back() {
        let mut log = led(0);
        let rules = AppendRules { log_append_time: true };
        let mut times = Vec::new();
        for (sequence, now) in [(0, 5_000), (1, 4_000), (2, 6_000)] {
            let decision = log.append(&batch(1, 0, sequence, 1), Timestamp(now), &rules).unwrap();
            let Decision::Append { log_append_time, .. } = decision else { panic!("{decision:?}") };
            times.push(log_append_time.unwrap().0);
        }
        assert_eq!(times, [5_000, 5_000, 6_000]);
        let repeated = log.append(&batch(1, 0, 1, 1), Timestamp(9_000), &rules).unwrap();
        let Decision::Duplicate { log_append_time, .. } = repeated else { panic!("{repeated:?}") };
        assert_eq!(log_append_time, Some(Timestamp(5_000)));
    }

    #[test]
    fn silent_producers_are_forgotten() {
        let mut log = led(0);
        log.append(&batch(1, 0, 0, 1), Timestamp(100), &RULES).unwrap();
        log.append(&batch(2, 0, 0, 1), Timestamp(200), &RULES).unwrap();
        assert_eq!(log.expire_producers(Timestamp(1_100), 1_000), 1);
        assert_eq!(code(append(&mut log, &batch(1, 0, 77, 1))), 0, "forgotten, so it may start anywhere");
        assert_eq!(code(append(&mut log, &batch(2, 0, 77, 1))), 45);
    }

    #[test]
    fn the_number_of_producers_is_bounded() {
        let mut log = led(0);
        let max = PRODUCERS_PER_PARTITION_MAX as i64;
        for id in 0..max + 1 {
            log.append(&batch(id, 0, 0, 1), Timestamp(id), &RULES).unwrap();
            assert!(log.producers().len() <= PRODUCERS_PER_PARTITION_MAX);
        }
        assert_eq!(code(append(&mut log, &batch(0, 0, 5, 1))), 0, "the one silent longest gave way");
        assert_eq!(code(append(&mut log, &batch(max, 0, 5, 1))), 45);
    }

    fn read(log: &Partition, offset: i64, current: i32, last_fetched: i32) -> Result<ReadCheck, ReadFault> {
        log.read_check(&ReadRequest {
            offset: Offset(offset),
            isolation: Isolation::HighWatermark,
            current_leader_epoch: LeaderEpoch(current),
            last_fetched_epoch: LeaderEpoch(last_fetched),
        })
    }

    #[test]
    fn reads_are_judged_as_kafka_judges_them() {
        let mut log = led(2);
        appended(&mut log, &batch(-1, -1, -1, 10));
        log.lead(LeaderEpoch(4)).unwrap();
        appended(&mut log, &batch(-1, -1, -1, 10));
        log.set_durable(Offset(15));
        assert_eq!(log.move_log_start(Offset(5)), Ok(true));
        assert_eq!(log.move_log_start(Offset(3)), Ok(false));
        assert_eq!(log.move_log_start(Offset(16)), Err(StartFault { to: Offset(16), high: Offset(15) }));
        assert_eq!(log.check_log_start(Offset(15)), Ok(()));
        assert_eq!(log.check_log_start(Offset(-1)), Err(StartFault { to: Offset(-1), high: Offset(15) }));
        let bounds =
            ReadBounds { up_to: Offset(15), high_watermark: Offset(15), last_stable: Offset(15), log_start: Offset(5) };
        let ok = Ok(ReadCheck::Read(bounds));
        assert_eq!([5, 15, 18, 20].map(|offset| read(&log, offset, -1, -1)), [ok, ok, ok, ok]);
        assert!(matches!(read(&log, 4, -1, -1), Err(ReadFault::OffsetOutOfRange { .. })));
        assert!(matches!(read(&log, 21, -1, -1), Err(ReadFault::OffsetOutOfRange { .. })));
        assert!(matches!(read(&log, 5, 3, -1), Err(ReadFault::FencedLeaderEpoch { .. })));
        assert!(matches!(read(&log, 5, 5, -1), Err(ReadFault::UnknownLeaderEpoch { .. })));
        assert_eq!(read(&log, 10, 4, 2), ok);
        let diverging = |epoch, end_offset| {
            let end = EpochEnd { epoch: LeaderEpoch(epoch), end_offset: Offset(end_offset) };
            Ok(ReadCheck::Diverging(end, bounds))
        };
        assert_eq!(read(&log, 12, 4, 2), diverging(2, 10));
        assert_eq!(read(&log, 9, 4, 3), diverging(2, 10));
        assert_eq!(read(&log, 25, 4, 4), diverging(4, 20), "past the end under the current epoch, without an error");
        assert!(matches!(read(&log, 4, 4, 2), Err(ReadFault::OffsetOutOfRange { .. })));
        assert!(matches!(read(&log, 10, 4, 5), Err(ReadFault::UnknownLastFetchedEpoch { .. })));
        let end = log.epoch_end(LeaderEpoch(4), LeaderEpoch(3)).unwrap();
        assert_eq!(end, Some(EpochEnd { epoch: LeaderEpoch(2), end_offset: Offset(10) }));
        assert_eq!(log.epoch_end(LeaderEpoch(-1), LeaderEpoch(9)), Ok(None));
    }

    #[test]
    fn a_leader_epoch_never_goes_back() {
        let mut log = led(4);
        assert_eq!(
            log.lead(LeaderEpoch(3)),
            Err(StateFault::EpochBack { epoch: LeaderEpoch(3), seen: LeaderEpoch(4) })
        );
        assert_eq!(log.lead(LeaderEpoch(4)), Ok(()));
    }

    #[test]
    fn damaged_state_is_an_error() {
        let mut log = led(0);
        appended(&mut log, &batch(1, 0, 0, 3));
        let state = log.encode();
        for cut in 0..state.len() {
            assert!(Partition::restore(LogId(1), &state[..cut]).is_err(), "cut at {cut}");
        }
        let mut later = state.clone();
        later[0] = 2;
        assert_eq!(Partition::restore(LogId(1), &later), Err(StateFault::Version { found: 2, known: 1 }));
        let mut longer = state.clone();
        longer.push(0);
        assert!(Partition::restore(LogId(1), &longer).is_err());
        let mut restored = Partition::restore(LogId(1), &state).unwrap();
        let early = StateFault::EndsEarly { end: Offset(2), saved: Offset(3) };
        assert_eq!(restored.recovered(Offset(2)), Err(early));
    }

    proptest! {
        /// Appends by several producers, with a checkpoint somewhere. Whoever recovers from the checkpoint and the batches of the whole log, or of the log behind any
        /// point before the checkpoint, decides about the next batches as the one that never stopped.
        #[test]
        fn recovery_changes_no_decision(
            steps in prop::collection::vec((0i64..4, 0i16..3, 0i32..12, 1i32..4), 1..120),
            saved_at in any::<usize>(),
            next in prop::collection::vec((0i64..4, 0i16..3, 0i32..12, 1i32..4), 1..40),
        ) {
            let mut log = led(1);
            let mut stored: Vec<Vec<u8>> = Vec::new();
            let saved_at = saved_at % steps.len();
            let mut state = log.encode();
            let mut behind = 0;
            for (step, (id, epoch, sequence, records)) in steps.iter().enumerate() {
                if step == saved_at {
                    state = log.encode();
                    behind = stored.len();
                }
                let mut bytes = batch_bytes(id - 1, *epoch, *sequence, *records);
                let info = *batches(&bytes).next().unwrap().info();
                let end = log.end();
                match append(&mut log, &info) {
                    Ok(Decision::Append { base_offset, leader_epoch, last_offset, .. }) => {
                        prop_assert_eq!(base_offset, end);
                        prop_assert_eq!(log.end(), last_offset.plus(1));
                        patch(&mut bytes, base_offset, leader_epoch, None);
                        stored.push(bytes);
                    }
                    Ok(Decision::Duplicate { last_offset, .. }) => prop_assert!(last_offset < end && log.end() == end),
                    Err(_) => prop_assert_eq!(log.end(), end),
                }
            }
            log.set_durable(log.end());
            for from in [0, behind / 2, behind] {
                let mut again = Partition::restore(LogId(1), &state).unwrap();
                for bytes in &stored[from..] {
                    again.replay(&batches(bytes).next().unwrap(), NOW).unwrap();
                }
                again.recovered(log.end()).unwrap();
                again.lead(LeaderEpoch(1)).unwrap();
                prop_assert_eq!(&again, &log);
                let mut log = log.clone();
                for (id, epoch, sequence, records) in &next {
                    let batch = batch(id - 1, *epoch, *sequence, *records);
                    prop_assert_eq!(append(&mut again, &batch), append(&mut log, &batch));
                }
            }
        }

        #[test]
        fn any_bytes_are_survived(state in prop::collection::vec(any::<u8>(), 0..300), version in any::<bool>()) {
            let mut state = state;
            if version && !state.is_empty() {
                state[0] = 1;
            }
            let _ = Partition::restore(LogId(1), &state);
        }
    }
}
