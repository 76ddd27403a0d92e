//! The appending side of a core: offsets are reserved and batches copied into the journal here, and answered once they are durable.

use std::collections::VecDeque;
use std::rc::Rc;

use smallvec::SmallVec;

use super::lines::{Sender, Waits};
use super::message::{Answer, Appended, ProduceBatch, ProduceError, Reply};
use super::waiters::{Answers, Pending};
use super::{Defect, State};
use crate::base::{LogId, Offset, ProducerId, ShardId, Timestamp};
use crate::coordinator::AppendId;
use crate::partition::Decision;
use crate::record;
use crate::storage::CachedBatch;
use crate::storage::journal::{Committed, CommittedBlock, Head, Journal, Kind, Ticket};

/// Who gets the answers to a part of a produce request.
pub(super) enum Origin {
    /// A connection of this core; `places` says which batches of its request these are.
    Here { pending: Rc<Pending>, places: SmallVec<[u16; 4]> },
    /// Another core.
    There { shard: ShardId, token: u32 },
    /// A coordinator of this core: batches of its own. `life` tells it from those before it.
    Group { log: LogId, life: u64, appends: SmallVec<[AppendId; 1]> },
}

/// The batches of a request that belong to this core. If it waits, its first ones may be appended already.
pub(super) struct Part {
    pub sender: Sender,
    pub origin: Origin,
    pub batches: VecDeque<ProduceBatch>,
    pub answers: Answers,
    pub ticket: Option<Ticket>,
}

impl Waits for Part {
    fn sender(&self) -> Sender {
        self.sender
    }

    fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.batch.bytes.len()).sum()
    }
}

/// A part whose batches are appended and answered when the ticket is due.
pub(super) struct Due {
    ticket: Ticket,
    origin: Origin,
    answers: Answers,
}

impl State {
    /// Takes a part in. Parts of one sender are appended in the order in which they came, whatever they wait for.
    pub(super) fn take_part(&mut self, now: Timestamp, mut part: Part) {
        if self.finishing {
            part.answers.extend(part.batches.drain(..).map(|_| Err(ProduceError::Stopping)));
            return self.answer(part.origin, part.answers);
        }
        let left = if self.lines.is_empty() { self.append_part(now, part, Journal::has_plenty) } else { Some(part) };
        if let Some(part) = left {
            self.lines.push(part);
            self.let_light_ones_pass(now);
        }
    }

    /// There is room in the journal that was not there before.
    pub(super) fn room_was_made(&mut self, now: Timestamp) {
        self.lines.end_shortage();
        self.work_off_lines(now);
        self.room_waiters.drain(..).for_each(|signal| signal.fire());
    }

    /// Goes on with what waits, as far as the open block takes it.
    pub(super) fn work_off_lines(&mut self, now: Timestamp) {
        self.short_of_room = false;
        while let Some(part) = self.lines.pop() {
            if let Some(part) = self.append_part(now, part, Journal::has_plenty) {
                self.lines.put_back(part);
                return self.let_light_ones_pass(now);
            }
        }
    }

    /// If the next in turn waits for room, that takes as long as a pass of the drain. Those who send little need not wait with it.
    fn let_light_ones_pass(&mut self, now: Timestamp) {
        if !self.short_of_room {
            return;
        }
        self.lines.begin_shortage();
        while let Some(part) = self.lines.pop_light() {
            if let Some(part) = self.append_part(now, part, Journal::has_room) {
                return self.lines.put_back_light(part);
            }
        }
    }

    /// Appends as much of a part as the journal takes now; gives back what must wait: for the next block, or for room, which is there if `has_room`
    /// says so.
    fn append_part(
        &mut self,
        now: Timestamp,
        mut part: Part,
        has_room: impl Fn(&Journal, usize) -> bool,
    ) -> Option<Part> {
        while let Some(batch) = part.batches.front() {
            if self.journal.has_enough() {
                self.journal_wake.notify();
                return Some(part);
            }
            if !has_room(&self.journal, batch.batch.bytes.len()) {
                self.short_of_room = true;
                self.drain_wake.notify();
                return Some(part);
            }
            let batch = part.batches.pop_front().expect("front was there");
            let bytes = batch.batch.bytes.len() as u64;
            let admitted = match part.origin {
                Origin::Here { .. } | Origin::There { .. } => {
                    self.admission.takes(bytes) || self.options.defect == Some(Defect::FillsTheDisk)
                }
                Origin::Group { .. } => {
                    self.admission.count(bytes);
                    true
                }
            };
            let answer = match admitted {
                true => self.append(now, batch, &mut part.ticket),
                false => Err(ProduceError::DiskFull),
            };
            part.answers.push(answer);
        }
        let Part { origin, answers, ticket, .. } = part;
        let at_once = self.options.defect == Some(Defect::AnswersBeforeDurable);
        if at_once {
            self.journal_wake.notify();
        }
        match ticket {
            Some(ticket) if !self.journal.is_durable(ticket) && !at_once => {
                self.due.push_back(Due { ticket, origin, answers });
                self.journal_wake.notify();
            }
            _ => self.answer(origin, answers),
        }
        None
    }

    /// Sequence check, reservation and journal entry: one synchronous step.
    fn append(
        &mut self,
        now: Timestamp,
        item: ProduceBatch,
        ticket: &mut Option<Ticket>,
    ) -> Result<Appended, ProduceError> {
        let ProduceBatch { log, mut batch, rules } = item;
        if self.options.defect == Some(Defect::AppendsRepetitions) {
            batch.info.producer_id = ProducerId::NONE;
        }
        let replica = self.replicas.get_mut(&log).ok_or(ProduceError::NoSuchLog)?;
        let (log_start, known) = (replica.partition.log_start(), replica.partition.producers().len());
        match replica.partition.append(&batch.info, now, &rules).map_err(ProduceError::Refused)? {
            Decision::Duplicate { base_offset, last_offset, log_append_time } => {
                if replica.partition.durable() <= last_offset {
                    *ticket = Some(self.journal.newest());
                }
                Ok(Appended { base_offset, log_append_time, log_start })
            }
            Decision::Append { base_offset, last_offset, leader_epoch, log_append_time } => {
                let head = Head {
                    first: base_offset,
                    last: last_offset,
                    epoch: leader_epoch,
                    ..Head::about(Kind::Append, log)
                };
                let appended = self.journal.append_patched(head, &batch.bytes, |copy| {
                    Some(record::patch(copy, base_offset, leader_epoch, log_append_time))
                });
                *ticket = Some(appended);
                if self.options.defect == Some(Defect::ReadsBeforeDurable) {
                    replica.partition.set_durable(last_offset.plus(1));
                }
                if replica.partition.producers().len() > known {
                    self.producer_added();
                }
                Ok(Appended { base_offset, log_append_time, log_start })
            }
        }
    }

    /// A block is on disk: the offsets in it become durable and readable, and whoever waited for them is answered.
    pub(super) fn block_written(&mut self, sequence: u64) {
        let mut blocks = std::mem::take(&mut self.committed_scratch);
        self.journal.written(sequence, |block| blocks.push(block));
        for block in blocks.drain(..) {
            self.block_committed(block);
        }
        self.committed_scratch = blocks;
        let durable = self.journal.durable();
        while let Some(due) = self.due.pop_front_if(|due| due.ticket.0 <= durable) {
            self.answer(due.origin, due.answers);
        }
        if self.journal.used_bytes() * 2 >= self.journal.capacity() {
            self.drain_wake.notify();
        }
        self.control_waiters.retain(|(ticket, signal)| {
            let due = ticket.0 <= durable;
            due.then(|| signal.fire());
            !due
        });
    }

    fn block_committed(&mut self, block: CommittedBlock) {
        let (mut from, mut logs) = (block.sequence, SmallVec::<[(LogId, Offset); 8]>::new());
        for entry in block.entries {
            from = from.min(entry.first_block);
            match entry.head.kind {
                Kind::Append => {
                    let Head { log, last, .. } = entry.head;
                    match logs.last_mut().filter(|(before, _)| *before == log) {
                        Some((_, end)) => *end = last,
                        None => logs.push((log, last)),
                    }
                    self.batch_durable(entry);
                }
                Kind::LogStart => self.log_start_durable(entry.head.log, entry.head.first),
                _ => {}
            }
        }
        self.cache.remember(from, block.sequence, block.bytes, logs);
    }

    fn batch_durable(&mut self, entry: Committed) {
        let Some(replica) = self.replicas.get_mut(&entry.head.log) else { return };
        let Head { first, last, epoch, .. } = entry.head;
        let max_timestamp = record::max_timestamp(&entry.payload[0]);
        replica.partition.set_durable(last.plus(1));
        replica.log.push(CachedBatch {
            base: first,
            last,
            epoch,
            max_timestamp,
            seq: entry.first_block,
            slices: entry.payload,
        });
        replica.wake();
        if replica.joins_line_ahead() {
            self.put_ahead(entry.head.log);
        }
    }

    fn answer(&mut self, origin: Origin, answers: Answers) {
        match origin {
            Origin::Here { pending, places } => pending.finish_part(&places, answers),
            Origin::There { shard, token } => {
                self.mesh.reply(shard, Reply { token, answer: Answer::Produced(answers) })
            }
            Origin::Group { log, life, appends } => self.group_batches_settled(log, life, appends, answers),
        }
    }
}
