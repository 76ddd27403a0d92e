//! What was sent, what was acknowledged and what was seen, over all lives of the broker. The first rule that is broken is kept.

use std::collections::BTreeMap;

use crate::base::crc;
use crate::record;

/// One batch that a producer wants appended. The same send may be attempted several times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Send {
    pub producer: u32,
    pub number: u32,
}

#[derive(Default)]
pub(super) struct Ledger {
    partitions: Vec<PartitionLedger>,
    /// How many acknowledgements there were.
    pub acknowledged: u64,
    /// Sends that were attempted again after a connection was lost.
    pub retried: u64,
    /// Batches that a reader saw.
    pub read: u64,
    /// Deletions that were answered.
    pub deletions: u64,
    /// Times that a reader found its offset deleted.
    pub skipped: u64,
    /// Partitions of which records expired that nobody had asked to delete.
    pub expired: u64,
    broken: Option<String>,
}

/// What was acknowledged at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Acknowledged {
    pub send: Send,
    /// Its last offset.
    pub last: i64,
    /// The largest timestamp of its records.
    pub timestamp: i64,
}

/// By what rule records may go without being asked to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Expiry {
    /// None.
    #[default]
    Never,
    /// Older than so many milliseconds.
    Ms(i64),
    /// So many bytes are kept.
    Bytes(u64),
}

/// A batch as it stands in the log at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub base: i64,
    pub last: i64,
    pub bytes: u64,
    pub send: Send,
}

/// Everything of a partition, as it is read at the end.
pub(super) struct Read {
    /// The log start that was shown before.
    pub shown: i64,
    /// Where it starts.
    pub start: i64,
    /// Its batches from there on.
    pub batches: Vec<Found>,
}

#[derive(Default, Clone)]
struct PartitionLedger {
    /// By offset.
    acknowledged: BTreeMap<i64, Acknowledged>,
    /// Below this offset somebody wanted the records deleted.
    asked: i64,
    /// An order to delete up to the high watermark is under way: up to where, nobody knows.
    asked_for_all: bool,
    /// The highest log start that a deletion was answered with.
    deleted: i64,
    /// By base offset: last offset, epoch and checksum of the records.
    seen: BTreeMap<i64, (i64, i32, u32)>,
    high: i64,
    log_start: i64,
    leader_epoch: i32,
}

impl Ledger {
    pub(super) fn new(partitions: usize) -> Self {
        let fresh = PartitionLedger { leader_epoch: -1, ..PartitionLedger::default() };
        Self { partitions: vec![fresh; partitions], ..Self::default() }
    }

    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(super) fn break_rule(&mut self, rule: String) {
        self.broken.get_or_insert(rule);
    }

    pub(super) fn acknowledge(&mut self, partition: usize, offset: i64, what: Acknowledged) {
        self.acknowledged += 1;
        if let Some(other) = self.partitions[partition].acknowledged.insert(offset, what)
            && other != what
        {
            self.break_rule(format!(
                "partition {partition} offset {offset} was acknowledged to {other:?} and {what:?}"
            ));
        }
    }

    /// Somebody is about to delete the records below `up_to`; -1: all.
    pub(super) fn ask_to_delete(&mut self, partition: usize, up_to: i64) {
        let known = &mut self.partitions[partition];
        known.asked = known.asked.max(up_to);
        known.asked_for_all |= up_to < 0;
    }

    /// The answer to it.
    pub(super) fn deleted(&mut self, partition: usize, up_to: i64, start: i64) {
        self.deletions += 1;
        let known = &mut self.partitions[partition];
        if up_to < 0 {
            known.asked_for_all = false;
            known.asked = known.asked.max(start);
        }
        known.deleted = known.deleted.max(start);
        if start < up_to {
            self.break_rule(format!("partition {partition}: deleted up to {up_to}, and the log starts at {start}"));
        }
    }

    /// A fetch from `from` was refused as out of range, and the log starts at `start` now.
    pub(super) fn out_of_range(&mut self, partition: usize, from: i64, start: i64) {
        self.skipped += 1;
        if start <= from {
            self.break_rule(format!("partition {partition}: {from} is out of range, and the log starts at {start}"));
        }
    }

    /// The high watermark and the log start of a fetch answer. Neither ever goes back.
    pub(super) fn marks(&mut self, partition: usize, high: i64, log_start: i64) {
        let known = &mut self.partitions[partition];
        let before = (known.high, known.log_start);
        (known.high, known.log_start) = (high, log_start);
        if high < before.0 || log_start < before.1 {
            self.break_rule(format!(
                "partition {partition}: high watermark and log start went from {before:?} to {:?}",
                (high, log_start)
            ));
        }
    }

    /// The leader epoch that a start announces: above that of the start before.
    pub(super) fn started(&mut self, partition: usize, leader_epoch: i32) {
        let before = std::mem::replace(&mut self.partitions[partition].leader_epoch, leader_epoch);
        if leader_epoch <= before {
            self.break_rule(format!(
                "partition {partition}: the leader epoch of a start is {leader_epoch}, before it was {before}"
            ));
        }
    }

    /// Bytes that a reader got. What was once read at an (epoch, offset) never changes. Gives the offset to read from next.
    pub(super) fn saw(&mut self, partition: usize, bytes: &[u8], from: i64) -> i64 {
        let mut next = from;
        for batch in record::batches(bytes) {
            if !batch.crc_holds() {
                self.break_rule(format!("partition {partition}: a batch at {} fails its CRC", batch.base_offset()));
                return next;
            }
            let (base, last, epoch) = (batch.base_offset().0, batch.last_offset().0, batch.leader_epoch().0);
            let content = (last, epoch, crc::crc32c(batch.body()));
            let before = self.partitions[partition].seen.insert(base, content);
            if before.is_some_and(|before| before != content) {
                self.break_rule(format!(
                    "partition {partition} offset {base}: {before:?} was read, and then {content:?}"
                ));
            }
            if base > next {
                self.break_rule(format!("partition {partition}: nothing stands between offsets {next} and {base}"));
            }
            next = last + 1;
            self.read += 1;
        }
        next
    }

    /// Everything of a partition from its start on, read at the end: what was acknowledged is there once, at its offset; what was not, at most once; and what
    /// is below the start was to go. `now` is the wall clock.
    pub(super) fn settle(&mut self, partition: usize, read: &Read, expiry: Expiry, now: i64) {
        let Read { shown, start, batches } = read;
        let (shown, start) = (*shown, *start);
        let mut sends: BTreeMap<Send, i64> = BTreeMap::new();
        let mut end = start;
        for Found { base, last, send, .. } in batches {
            if let Some(other) = sends.insert(*send, *base) {
                self.break_rule(format!("partition {partition}: {send:?} stands at {other} and at {base}"));
            }
            let follows = if end == start { (*base..=*last).contains(&start) } else { *base == end };
            if !follows {
                self.break_rule(format!("partition {partition}: offset {base} follows {end}"));
            }
            end = last + 1;
        }
        if start < shown {
            self.break_rule(format!(
                "partition {partition}: the log starts at {start}, and was said to start at {shown}"
            ));
        }
        self.settle_start(partition, start, batches, expiry, now);
        for (offset, Acknowledged { send, last, .. }) in self.partitions[partition].acknowledged.clone() {
            if last >= start && sends.get(&send) != Some(&offset) {
                let found = sends.get(&send);
                self.break_rule(format!(
                    "partition {partition}: {send:?} was acknowledged at {offset}, and is at {found:?} of {end}"
                ));
            }
        }
        for (base, (last, ..)) in self.partitions[partition].seen.clone() {
            if last >= start && !batches.iter().any(|found| found.base == base) {
                self.break_rule(format!(
                    "partition {partition}: a batch was read at {base} and is gone; the log ends at {end}"
                ));
            }
        }
    }

    /// The log start that was shown so far.
    pub(super) fn shown_start(&self, partition: usize) -> i64 {
        let known = &self.partitions[partition];
        known.deleted.max(known.log_start)
    }

    /// The log start has not gone further than it should.
    fn settle_start(&mut self, partition: usize, start: i64, batches: &[Found], expiry: Expiry, now: i64) {
        let known = &self.partitions[partition];
        let asked = known.asked;
        if start <= asked || known.asked_for_all {
            return;
        }
        let kept: u64 = batches.iter().map(|found| found.bytes).sum();
        let gone = known.acknowledged.values().filter(|what| (asked..start).contains(&what.last));
        let too_young = gone.into_iter().find(|what| match expiry {
            Expiry::Never => true,
            Expiry::Ms(ms) => what.timestamp + ms >= now,
            Expiry::Bytes(bytes) => kept < bytes,
        });
        let (too_young, expired) = (too_young.copied(), expiry != Expiry::Never);
        self.expired += u64::from(expired);
        if let Some(what) = too_young {
            self.break_rule(format!(
                "partition {partition}: the log starts at {start}, deletions were asked for up to {asked}, {what:?} had to stay by {expiry:?} at {now}, and {kept} bytes are left"
            ));
        }
    }
}
