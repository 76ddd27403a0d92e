//! Record batches (format 2, uncompressed), built once and sent many times.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

/// Bytes of a batch header, up to its first record.
pub const HEADER_BYTES: usize = 61;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const PRODUCER_AT: usize = 43;

/// What the values hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// Pseudo-random bytes: nothing below (file system, device, network) can compress them.
    Random,
    /// The alphabet over and over.
    Pattern,
}

/// A batch of `batch_bytes` in all (it may fall short by a few bytes), cut into records of about `record_bytes` each.
///
/// # Panics
/// If `batch_bytes` has no room for a single record.
pub fn build(batch_bytes: usize, record_bytes: usize, payload: Payload, seed: u64) -> Vec<u8> {
    let count = (batch_bytes / record_bytes.max(1)).max(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let mut batch = vec![0u8; HEADER_BYTES];
    let mut random = seed | 1;
    for i in 0..count {
        let share = (batch_bytes - batch.len()) / (count - i);
        let offset_bytes = varint(i as i64).len();
        // length, attributes, timestamp delta, offset delta, key length, value length, header count
        let mut value = share.saturating_sub(6 + offset_bytes);
        while record_size(value, offset_bytes) > share && value > 0 {
            value -= 1;
        }
        assert!(record_size(value, offset_bytes) <= share, "a batch of {batch_bytes} bytes has no room for a record");
        batch.extend(varint((value + offset_bytes + 4 + varint(value as i64).len()) as i64));
        batch.extend([0, 0]);
        batch.extend(varint(i as i64));
        batch.push(1); // no key: length -1
        batch.extend(varint(value as i64));
        for at in 0..value {
            batch.push(match payload {
                Payload::Random => {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random as u8
                }
                Payload::Pattern => b'a' + (at % 26) as u8,
            });
        }
        batch.push(0); // no headers
    }
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(count as i32 - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&now.to_be_bytes());
    batch[35..43].copy_from_slice(&now.to_be_bytes());
    batch[57..61].copy_from_slice(&(count as i32).to_be_bytes());
    stamp(&mut batch, -1, -1, -1);
    batch
}

/// Writes producer id, epoch and base sequence into a batch and seals it with its checksum.
pub fn stamp(batch: &mut [u8], producer_id: i64, epoch: i16, sequence: i32) {
    batch[PRODUCER_AT..PRODUCER_AT + 8].copy_from_slice(&producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

/// How many records a batch says it holds.
pub fn records(batch: &[u8]) -> i32 {
    i32::from_be_bytes(batch[57..61].try_into().expect("four bytes"))
}

/// Whether the checksum of a whole batch holds.
pub fn crc_holds(batch: &[u8]) -> bool {
    batch.len() >= HEADER_BYTES && crc32c::crc32c(&batch[CRC_FROM..]).to_be_bytes() == batch[CRC_AT..CRC_FROM]
}

/// Walks whole batches laid end to end, as a fetch returns them. A cut batch at the end is left out.
pub fn walk(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = i32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        let whole = usize::try_from(length).ok()?.checked_add(12)?;
        let (batch, rest) = bytes.split_at_checked(whole)?;
        if batch.len() < HEADER_BYTES {
            return None;
        }
        bytes = rest;
        Some(batch)
    })
}

/// The offset after the last record of a stored batch.
pub fn next_offset(batch: &[u8]) -> i64 {
    let base = i64::from_be_bytes(batch[..8].try_into().expect("eight bytes"));
    base + i64::from(i32::from_be_bytes(batch[23..27].try_into().expect("four bytes"))) + 1
}

fn record_size(value: usize, offset_bytes: usize) -> usize {
    let body = value + offset_bytes + 4 + varint(value as i64).len();
    body + varint(body as i64).len()
}

fn varint(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::with_capacity(5);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_the_size_asked_for_and_walks() {
        for (bytes, record) in [(4096, 1024), (16_384, 1024), (65_536, 1024), (65_536, 100), (1 << 20, 1024)] {
            let batch = build(bytes, record, Payload::Random, 7);
            assert!(batch.len() <= bytes && batch.len() + 4 >= bytes, "{} of {bytes}", batch.len());
            assert!(crc_holds(&batch));
            let twice = [&batch[..], &batch[..], &batch[..10]].concat();
            assert_eq!(walk(&twice).count(), 2);
            assert_eq!(next_offset(&batch), i64::from(records(&batch)));
            assert_eq!(records(&batch) as usize, bytes / record);
        }
    }

    #[test]
    fn a_stamp_keeps_the_checksum_true() {
        let mut batch = build(4096, 1024, Payload::Pattern, 7);
        let before = batch[CRC_AT..CRC_FROM].to_vec();
        stamp(&mut batch, 5, 0, 100);
        assert!(crc_holds(&batch));
        assert_ne!(before, batch[CRC_AT..CRC_FROM]);
    }
}
