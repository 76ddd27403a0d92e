//! Answers stand in line behind the appends that came before them, so that nobody learns what is not durable.

use std::collections::VecDeque;

use bytes::Bytes;

use super::command::Token;
use super::offsets::OffsetChange;
use super::records::CoordinatorRecord;
use super::reply::{Answer, Reply};
use crate::base::Timestamp;
use crate::record::{Builder, NewRecord};

/// Names one append. Each is one higher than the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppendId(pub u64);

/// Records to be appended to the coordinator's partition of `__consumer_offsets`, in one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// To be given back when the batch is durable.
    pub id: AppendId,
    /// The timestamp of every record.
    pub timestamp: Timestamp,
    /// In this order. Never none.
    pub records: Vec<CoordinatorRecord>,
}

impl Append {
    /// The batch.
    pub fn batch(&self) -> Bytes {
        let mut builder = Builder::new();
        for record in &self.records {
            let value = record.value.as_deref();
            builder.push(NewRecord { timestamp: self.timestamp, key: Some(&record.key), value, headers: &[] });
        }
        builder.build()
    }
}

/// What is to be done after a command.
#[derive(Clone, PartialEq, Debug, Default)]
#[must_use]
pub struct Effects {
    /// To be appended, in this order.
    pub appends: Vec<Append>,
    /// To be delivered at once. Those that must wait for an append come out of `committed`.
    pub answers: Vec<Answer>,
}

/// Gathers what one command has as its effects.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    records: Vec<(CoordinatorRecord, Option<OffsetChange>)>,
    answers: Vec<Answer>,
    at_once: Vec<Answer>,
}

impl Outbox {
    /// A record of a group.
    pub(super) fn record(&mut self, record: CoordinatorRecord) {
        self.records.push((record, None));
    }

    /// A record of an offset, with what it changes once it is durable.
    pub(super) fn offset(&mut self, record: CoordinatorRecord, change: OffsetChange) {
        self.records.push((record, Some(change)));
    }

    /// An answer, behind all records so far and all of this command.
    pub(super) fn answer(&mut self, token: Token, reply: Reply) {
        self.answers.push(Answer { token, reply });
    }

    /// An answer that shows only what is committed, or nothing at all.
    pub(super) fn answer_at_once(&mut self, token: Token, reply: Reply) {
        self.at_once.push(Answer { token, reply });
    }
}

/// Appends that are not durable, and the answers that wait for them.
#[derive(Debug, Default)]
pub(super) struct Line {
    entries: VecDeque<Entry>,
    /// Appends among the entries.
    appends: usize,
    given: u64,
}

#[derive(Debug)]
enum Entry {
    Append { id: AppendId, changes: Vec<OffsetChange> },
    Answer(Answer),
}

impl Line {
    /// How many appends are not durable.
    pub(super) fn appends(&self) -> usize {
        self.appends
    }

    /// Puts the effects of one command at the end. Records are cut into batches of at most `batch_bytes_max`; one that is larger stands alone.
    pub(super) fn push(&mut self, outbox: Outbox, batch_bytes_max: usize, timestamp: Timestamp) -> Effects {
        let mut effects = Effects { appends: Vec::new(), answers: outbox.at_once };
        let mut room = 0;
        for (record, change) in outbox.records {
            let bytes = record.bytes_max();
            if effects.appends.is_empty() || bytes > room {
                self.given += 1;
                let id = AppendId(self.given);
                effects.appends.push(Append { id, timestamp, records: Vec::new() });
                self.entries.push_back(Entry::Append { id, changes: Vec::new() });
                self.appends += 1;
                room = batch_bytes_max.saturating_sub(BATCH_HEADER_BYTES);
            }
            room = room.saturating_sub(bytes);
            effects.appends.last_mut().expect("pushed above").records.push(record);
            if let (Some(change), Some(Entry::Append { changes, .. })) = (change, self.entries.back_mut()) {
                changes.push(change);
            }
        }
        if self.entries.is_empty() {
            effects.answers.extend(outbox.answers);
        } else {
            self.entries.extend(outbox.answers.into_iter().map(Entry::Answer));
        }
        effects
    }

    /// Takes the oldest append, which is durable now, and the answers behind it.
    ///
    /// Panics if it is not the oldest: a log becomes durable in order.
    pub(super) fn committed(&mut self, id: AppendId) -> (Vec<OffsetChange>, Vec<Answer>) {
        let changes = match self.entries.pop_front() {
            Some(Entry::Append { id: oldest, changes }) if oldest == id => changes,
            other => panic!("{id:?} is committed, but {other:?} is the oldest"),
        };
        self.appends -= 1;
        let mut answers = Vec::new();
        while let Some(Entry::Answer(_)) = self.entries.front() {
            let Some(Entry::Answer(answer)) = self.entries.pop_front() else { unreachable!("seen in front") };
            answers.push(answer);
        }
        (changes, answers)
    }

    /// Takes all answers, for appends that will never be durable.
    pub(super) fn give_up(self) -> impl Iterator<Item = Answer> {
        self.entries.into_iter().filter_map(|entry| match entry {
            Entry::Answer(answer) => Some(answer),
            Entry::Append { .. } => None,
        })
    }
}

/// What a batch has in front of its records.
const BATCH_HEADER_BYTES: usize = crate::record::HEADER_BYTES;
