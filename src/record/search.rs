//! Finds a record by its timestamp inside a stored batch.

use super::Codec;
use super::batch::{BatchHeader, StoredBatch, TimestampType};
use super::compress::{Scratch, UnfoldFault, decompress_bounded};
use super::records::{RecordsFault, records};
use crate::base::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::base::{Offset, Timestamp};

/// Why a stored batch could not be searched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SearchFault {
    /// It names a codec that does not exist.
    #[error("the codec is not known")]
    Codec,
    /// It does not unfold.
    #[error(transparent)]
    Unfold(#[from] UnfoldFault),
    /// A record in it cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsFault),
}

/// The largest timestamp that a stored batch claims; none when there is no whole header.
pub fn max_timestamp(batch: &[u8]) -> Timestamp {
    BatchHeader::read(batch).map_or(Timestamp::NONE, |header| Timestamp(header.max_timestamp.get()))
}

/// The first record at or above `from` with at least this timestamp: its offset and its timestamp.
pub fn first_at_least(
    batch: &StoredBatch<'_>,
    timestamp: Timestamp,
    from: Offset,
) -> Result<Option<(Offset, Timestamp)>, SearchFault> {
    let info = batch.info();
    if info.timestamp_type == TimestampType::LogAppendTime {
        let found = info.max_timestamp >= timestamp && batch.last_offset() >= from;
        return Ok(found.then(|| (batch.base_offset().max(from), info.max_timestamp)));
    }
    let unfolded;
    let body = match batch.header().codec().map_err(|_| SearchFault::Codec)? {
        Codec::None => batch.body(),
        codec => {
            unfolded = decompress_bounded(codec, batch.body(), DECOMPRESSED_BATCH_BYTES_MAX, &mut Scratch::default())?;
            &unfolded[..]
        }
    };
    for record in records(body) {
        let record = record?;
        let offset = batch.base_offset().plus(i64::from(record.offset_delta));
        let at = Timestamp(info.base_timestamp.0.saturating_add(record.timestamp_delta));
        if offset >= from && at >= timestamp {
            return Ok(Some((offset, at)));
        }
    }
    Ok(None)
}
