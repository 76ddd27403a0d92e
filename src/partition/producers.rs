//! Idempotent producers (KIP-98): is a batch the next one, a repetition, or is something missing in front of it.
//!
//! The rules are those of Kafka's `ProducerStateEntry` and `ProducerAppendInfo`. One thing differs on purpose: a producer's silence is measured on the broker's clock and
//! not by the timestamps it writes, so that one who sends old records is not forgotten at once.

use super::{AppendFault, StateFault};
use crate::base::limits::{PRODUCER_BATCHES_REMEMBERED, PRODUCERS_PER_PARTITION_MAX};
use crate::base::{Cursor, Map, Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::BatchInfo;

/// The producers that a log remembers. At most [`PRODUCERS_PER_PARTITION_MAX`]; beyond that those give way that were silent longest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    entries: Map<ProducerId, Producer>,
}

/// What is known of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    /// Epoch of the coordinator that wrote the last transaction marker, or -1. Kept for transactions.
    coordinator_epoch: i32,
    /// First offset of the open transaction, or -1.
    transaction_start: i64,
    /// When the broker last heard of it.
    last_seen: Timestamp,
    /// The last batches under this epoch, oldest first; `batches[..count]` count.
    batches: [Remembered; PRODUCER_BATCHES_REMEMBERED],
    count: u8,
}

/// A producer as others are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The last sequence that it sent, or -1.
    pub last_sequence: i32,
    /// The largest timestamp of its last batch, or -1.
    pub last_timestamp: Timestamp,
    /// Epoch of the coordinator that wrote the last transaction marker, or -1.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction, or -1.
    pub transaction_start: Offset,
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Remembered {
    last_sequence: i32,
    offset_delta: i32,
    last_offset: i64,
    max_timestamp: i64,
}

/// A batch that was sent before: where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp: Timestamp,
}

impl Remembered {
    fn first_sequence(&self) -> i32 {
        sequence_back(self.last_sequence, self.offset_delta)
    }
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            transaction_start: -1,
            last_seen: Timestamp::NONE,
            batches: Default::default(),
            count: 0,
        }
    }

    fn batches(&self) -> &[Remembered] {
        &self.batches[..usize::from(self.count)]
    }

    fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(-1, |batch| batch.last_sequence)
    }

    fn remember(&mut self, batch: Remembered) {
        if usize::from(self.count) == PRODUCER_BATCHES_REMEMBERED {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[usize::from(self.count)] = batch;
        self.count += 1;
    }
}

impl Producers {
    /// How many producers are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No producer is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, by id.
    pub fn described(&self) -> Vec<DescribedProducer> {
        let described = |(id, producer): (&ProducerId, &Producer)| DescribedProducer {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.last_sequence(),
            last_timestamp: producer.batches().last().map_or(Timestamp::NONE, |last| Timestamp(last.max_timestamp)),
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: Offset(producer.transaction_start),
        };
        let mut all: Vec<_> = self.entries.iter().map(described).collect();
        all.sort_unstable_by_key(|producer| producer.id);
        all
    }

    /// When each producer was last heard of, in no order.
    pub fn last_seen(&self) -> impl Iterator<Item = Timestamp> {
        self.entries.values().map(|producer| producer.last_seen)
    }

    /// May this batch come next? `Some` when it was appended before. Changes nothing.
    pub(super) fn judge(&self, batch: &BatchInfo) -> Result<Option<Repeated>, AppendFault> {
        let producer_id = batch.producer_id;
        // A producer that is not known, or was forgotten, may start anywhere.
        let Some(producer) = self.entries.get(&producer_id) else { return Ok(None) };
        let found = batch.base_sequence;
        if batch.producer_epoch < producer.epoch {
            return Err(AppendFault::InvalidProducerEpoch {
                producer_id,
                current: producer.epoch,
                found: batch.producer_epoch,
            });
        }
        if batch.producer_epoch > producer.epoch {
            if found != 0 && producer.epoch != NO_EPOCH {
                return Err(AppendFault::OutOfOrderSequence { producer_id, last: -1, found });
            }
        } else {
            let last = sequence_on(found, batch.last_offset_delta);
            let repeated = producer.batches().iter().find(|b| b.last_sequence == last && b.first_sequence() == found);
            if let Some(batch) = repeated {
                return Ok(Some(Repeated {
                    base_offset: Offset(batch.last_offset - i64::from(batch.offset_delta)),
                    last_offset: Offset(batch.last_offset),
                    max_timestamp: Timestamp(batch.max_timestamp),
                }));
            }
            let last = producer.last_sequence();
            if producer.epoch != NO_EPOCH && found != sequence_on(last, 1) {
                return Err(AppendFault::OutOfOrderSequence { producer_id, last, found });
            }
        }
        if producer.transaction_start >= 0 && !batch.transactional {
            return Err(AppendFault::OutsideTransaction { producer_id });
        }
        Ok(None)
    }

    /// A batch was appended, or is found in the log while it is recovered.
    pub(super) fn appended(&mut self, batch: &BatchInfo, base: Offset, max_timestamp: Timestamp, now: Timestamp) {
        if !self.entries.contains_key(&batch.producer_id) {
            self.make_room();
        }
        let producer = self.entries.entry(batch.producer_id).or_insert_with(|| Producer::new(batch.producer_epoch));
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.count = 0;
            producer.batches = Default::default();
        }
        producer.last_seen = producer.last_seen.max(now);
        if batch.control {
            // A marker ends the transaction and has no sequence.
            producer.transaction_start = -1;
            return;
        }
        if batch.transactional && producer.transaction_start < 0 {
            producer.transaction_start = base.0;
        }
        if batch.base_sequence >= 0 {
            producer.remember(Remembered {
                last_sequence: sequence_on(batch.base_sequence, batch.last_offset_delta),
                offset_delta: batch.last_offset_delta,
                last_offset: base.0 + i64::from(batch.last_offset_delta),
                max_timestamp: max_timestamp.0,
            });
        }
    }

    /// Forgets who was silent for `expiration_ms` and has no open transaction. Returns how many.
    pub(super) fn expire(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, producer| {
            producer.transaction_start >= 0 || now.0.saturating_sub(producer.last_seen.0) < expiration_ms
        });
        before - self.entries.len()
    }

    /// Before a new producer comes in: when all places are taken, the sixteenth part that was silent longest goes, so that a stream of new producers
    /// pays for the search only now and then. Producers with an open transaction go last.
    fn make_room(&mut self) {
        if self.entries.len() < PRODUCERS_PER_PARTITION_MAX {
            return;
        }
        let idle = |producer: &Producer| producer.transaction_start < 0;
        let mut silent: Vec<(bool, Timestamp, ProducerId)> =
            self.entries.iter().map(|(id, producer)| (!idle(producer), producer.last_seen, *id)).collect();
        let going = PRODUCERS_PER_PARTITION_MAX / 16;
        silent.select_nth_unstable(going);
        for (_, _, id) in &silent[..going] {
            self.entries.remove(id);
        }
    }

    /// Appends the state to `out`: the count, then 31 bytes and 24 per batch for each producer, in the order of their ids.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut ids: Vec<ProducerId> = self.entries.keys().copied().collect();
        ids.sort_unstable();
        out.extend((ids.len() as u32).to_be_bytes());
        for id in ids {
            let producer = &self.entries[&id];
            out.extend(id.0.to_be_bytes());
            out.extend(producer.epoch.0.to_be_bytes());
            out.extend(producer.coordinator_epoch.to_be_bytes());
            out.extend(producer.transaction_start.to_be_bytes());
            out.extend(producer.last_seen.0.to_be_bytes());
            out.push(producer.count);
            for batch in producer.batches() {
                out.extend(batch.last_sequence.to_be_bytes());
                out.extend(batch.offset_delta.to_be_bytes());
                out.extend(batch.last_offset.to_be_bytes());
                out.extend(batch.max_timestamp.to_be_bytes());
            }
        }
    }

    /// Reads what [`Producers::encode`] wrote.
    pub(super) fn decode(from: &mut Cursor<'_>) -> Result<Self, StateFault> {
        let count = from.u32()? as usize;
        if count > PRODUCERS_PER_PARTITION_MAX || count > from.left() / PRODUCER_BYTES_MIN {
            return Err(StateFault::Damaged("more producers than there can be"));
        }
        let mut entries = Map::with_capacity_and_hasher(count, Default::default());
        for _ in 0..count {
            let id = ProducerId(from.i64()?);
            let mut producer = Producer::new(ProducerEpoch(from.i16()?));
            producer.coordinator_epoch = from.i32()?;
            producer.transaction_start = from.i64()?;
            producer.last_seen = Timestamp(from.i64()?);
            let batches = from.u8()?;
            if usize::from(batches) > PRODUCER_BATCHES_REMEMBERED {
                return Err(StateFault::Damaged("more batches of a producer than are remembered"));
            }
            for _ in 0..batches {
                let batch = Remembered {
                    last_sequence: from.i32()?,
                    offset_delta: from.i32()?,
                    last_offset: from.i64()?,
                    max_timestamp: from.i64()?,
                };
                if batch.last_sequence < 0
                    || batch.offset_delta < 0
                    || batch.last_offset < i64::from(batch.offset_delta)
                {
                    return Err(StateFault::Damaged("a batch of a producer has impossible numbers"));
                }
                producer.remember(batch);
            }
            if id <= ProducerId::NONE || entries.insert(id, producer).is_some() {
                return Err(StateFault::Damaged("a producer id is none or comes twice"));
            }
        }
        Ok(Self { entries })
    }
}

const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);
/// Bytes of a producer without batches in the encoded state.
const PRODUCER_BYTES_MIN: usize = 8 + 2 + 4 + 8 + 8 + 1;

/// The sequence `count` after this one; 0 follows 2^31 - 1. After -1, none, comes 0.
fn sequence_on(sequence: i32, count: i32) -> i32 {
    (i64::from(sequence) + i64::from(count)).rem_euclid(1 << 31) as i32
}

/// The sequence `count` before this one.
fn sequence_back(sequence: i32, count: i32) -> i32 {
    (i64::from(sequence) - i64::from(count)).rem_euclid(1 << 31) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_as_kafkas_do() {
        assert_eq!(sequence_on(i32::MAX, 1), 0);
        assert_eq!(sequence_on(i32::MAX - 2, 5), 2);
        assert_eq!(sequence_on(-1, 1), 0);
        assert_eq!(sequence_back(2, 5), i32::MAX - 2);
        assert_eq!(sequence_back(7, 7), 0);
    }
}
