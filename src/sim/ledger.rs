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
    broken: Option<String>,
}

#[derive(Default, Clone)]
struct PartitionLedger {
    /// By offset.
    acknowledged: BTreeMap<i64, Send>,
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

    pub(super) fn acknowledge(&mut self, partition: usize, offset: i64, send: Send) {
        self.acknowledged += 1;
        if let Some(other) = self.partitions[partition].acknowledged.insert(offset, send)
            && other != send
        {
            self.break_rule(format!(
                "partition {partition} offset {offset} was acknowledged to {other:?} and {send:?}"
            ));
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

    /// Everything of a partition, read at the end: what was acknowledged is there once, at its offset; what was not, at most once.
    pub(super) fn settle(&mut self, partition: usize, batches: &[(i64, i64, Send)]) {
        let mut sends: BTreeMap<Send, i64> = BTreeMap::new();
        let mut end = 0;
        for (base, last, send) in batches {
            if let Some(other) = sends.insert(*send, *base) {
                self.break_rule(format!("partition {partition}: {send:?} stands at {other} and at {base}"));
            }
            if *base != end {
                self.break_rule(format!("partition {partition}: offset {base} follows {end}"));
            }
            end = last + 1;
        }
        for (offset, send) in self.partitions[partition].acknowledged.clone() {
            if sends.get(&send) != Some(&offset) {
                let found = sends.get(&send);
                self.break_rule(format!(
                    "partition {partition}: {send:?} was acknowledged at {offset}, and is at {found:?} of {end}"
                ));
            }
        }
        for base in self.partitions[partition].seen.keys().copied().collect::<Vec<_>>() {
            if !batches.iter().any(|(there, ..)| *there == base) {
                self.break_rule(format!(
                    "partition {partition}: a batch was read at {base} and is gone; the log ends at {end}"
                ));
            }
        }
    }
}
