//! May this batch be appended, and where.

use super::Partition;
use super::producers::Repeated;
use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::BatchInfo;

/// What the topic says about appending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendRules {
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Append it; the offsets are reserved and nothing may fail from here on.
    Append {
        /// Offset of the first record.
        base_offset: Offset,
        /// Offset of the last record.
        last_offset: Offset,
        /// To be patched into the batch.
        leader_epoch: LeaderEpoch,
        /// To be patched into the batch, when the topic wants it. Never goes back within a log.
        log_append_time: Option<Timestamp>,
    },
    /// The producer sent it before. Answer as then, once `durable` is above `last_offset`.
    Duplicate {
        /// Offset of the first record then.
        base_offset: Offset,
        /// Offset of the last record then.
        last_offset: Offset,
        /// The log append time then, when the topic wants it.
        log_append_time: Option<Timestamp>,
    },
}

/// Why a batch is not appended. The state is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendFault {
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("producer {producer_id} sent sequence {found}, the last one was {last}")]
    OutOfOrderSequence {
        /// Who.
        producer_id: ProducerId,
        /// Its last sequence; -1 when none is known under this epoch.
        last: i32,
        /// The batch's first sequence.
        found: i32,
    },
    /// INVALID_PRODUCER_EPOCH.
    #[error("producer {producer_id} sent epoch {found}, the log has seen {current}")]
    InvalidProducerEpoch {
        /// Who.
        producer_id: ProducerId,
        /// The highest epoch seen.
        current: ProducerEpoch,
        /// The batch's epoch.
        found: ProducerEpoch,
    },
    /// INVALID_TXN_STATE.
    #[error("producer {producer_id} has an open transaction, and the batch is not part of it")]
    OutsideTransaction {
        /// Who.
        producer_id: ProducerId,
    },
}

impl Partition {
    /// Decides about a batch, and reserves its offsets if it is to be appended: the end and the producer's state move at once.
    ///
    /// The batch must have been checked, and must not be a control batch: those have their own way in.
    pub fn append(&mut self, batch: &BatchInfo, now: Timestamp, rules: &AppendRules) -> Result<Decision, AppendFault> {
        assert!(batch.last_offset_delta >= 0 && !batch.control, "{batch:?} is not a checked batch of a client");
        if batch.has_producer()
            && let Some(Repeated { base_offset, last_offset, max_timestamp }) = self.producers.judge(batch)?
        {
            let log_append_time = rules.log_append_time.then_some(max_timestamp);
            return Ok(Decision::Duplicate { base_offset, last_offset, log_append_time });
        }
        let base_offset = self.end;
        let last_offset = base_offset.plus(i64::from(batch.last_offset_delta));
        let log_append_time = rules.log_append_time.then(|| now.max(self.last_append_time));
        if let Some(time) = log_append_time {
            self.last_append_time = time;
        }
        if batch.has_producer() {
            self.producers.appended(batch, base_offset, log_append_time.unwrap_or(batch.max_timestamp), now);
        }
        self.epochs.assign(self.leader_epoch, base_offset);
        self.end = last_offset.plus(1);
        self.assert_order();
        Ok(Decision::Append { base_offset, last_offset, leader_epoch: self.leader_epoch, log_append_time })
    }
}
