//! A journal's checkpoint: from where its files count, and what stood below that point. Two files take turns, so that a torn write
//! leaves the older one.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! |  0 |  4 | magic `CTCP` |
//! |  4 |  2 | format version, 1 |
//! |  6 |  1 | 1: everything is drained and the journal was closed (a clean stop) |
//! |  7 |  1 | zero |
//! |  8 | 16 | UUID of the data directory |
//! | 24 |  4 | journal id |
//! | 28 |  8 | incarnation that wrote it |
//! | 36 |  8 | generation: the higher of two valid files counts |
//! | 44 | 12 | tail: file (4), sequence (8) |
//! | 56 |  8 | committed: the highest sequence known durable |
//! | 64 | 12 | end of the chain when it was written: sequence (8), checksum (4) |
//! | 76 |  8 | bytes of each journal file |
//! | 84 |  4 | how many logs follow; each: log id (8), length (4), its state |
//! |    |    | length (4) and bytes of the snapshot (the image, in the metadata journal; else empty) |
//! |    |  4 | CRC-32C of all before |

use bytes::Bytes;

use super::journal::block::Owner;
use super::journal::{Opened, Tail};
use crate::base::{Cursor, Incarnation, JournalId, LogId, Short, crc};

const MAGIC: [u8; 4] = *b"CTCP";
const VERSION: u16 = 1;

/// The names of the two files.
pub const FILE_NAMES: [&str; 2] = ["checkpoint.a", "checkpoint.b"];

/// See the table above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Whose it is.
    pub owner: Owner,
    /// The opening that wrote it.
    pub incarnation: Incarnation,
    /// Counts the checkpoints of a journal.
    pub generation: u64,
    /// Nothing in the journal counts: all of it is drained.
    pub clean: bool,
    /// The first block that counts.
    pub tail: Tail,
    /// The highest sequence known durable.
    pub committed: u64,
    /// The end of the chain.
    pub end: Opened,
    /// Bytes of each file of the journal.
    pub file_bytes: u64,
    /// The state of each log at its drained offset, as `LogCheckpoint` encodes it.
    pub logs: Vec<(LogId, Bytes)>,
    /// The metadata image, in the metadata journal.
    pub snapshot: Bytes,
}

/// Why a checkpoint file is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointFault {
    /// Not the magic of a checkpoint, or the checksum does not hold.
    #[error("it is not whole: {0}")]
    Broken(&'static str),
    /// A later version of Coretide wrote it.
    #[error("it has format version {0}; this build reads version {VERSION}")]
    Newer(u16),
}

impl From<Short> for CheckpointFault {
    fn from(_: Short) -> Self {
        Self::Broken("it ends early")
    }
}

impl Checkpoint {
    /// As it stands on disk.
    pub fn encode(&self) -> Vec<u8> {
        let bytes: usize = self.logs.iter().map(|(_, state)| state.len() + 12).sum();
        let mut out = Vec::with_capacity(128 + bytes + self.snapshot.len());
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.extend([u8::from(self.clean), 0]);
        out.extend(self.owner.directory);
        out.extend(self.owner.journal.0.to_be_bytes());
        out.extend(self.incarnation.0.to_be_bytes());
        out.extend(self.generation.to_be_bytes());
        out.extend(self.tail.file.to_be_bytes());
        out.extend(self.tail.sequence.to_be_bytes());
        out.extend(self.committed.to_be_bytes());
        out.extend(self.end.encode());
        out.extend(self.file_bytes.to_be_bytes());
        out.extend((self.logs.len() as u32).to_be_bytes());
        for (log, state) in &self.logs {
            out.extend(log.0.to_be_bytes());
            out.extend((state.len() as u32).to_be_bytes());
            out.extend(state);
        }
        out.extend((self.snapshot.len() as u32).to_be_bytes());
        out.extend(&self.snapshot);
        out.extend(crc::crc32c(&out).to_be_bytes());
        out
    }

    /// Reads a checkpoint file. Errors say what it is instead.
    pub fn decode(bytes: &Bytes) -> Result<Self, CheckpointFault> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(CheckpointFault::Broken("it is empty"))?;
        let mut cursor = Cursor::new(body);
        if cursor.array()? != MAGIC {
            return Err(CheckpointFault::Broken("it does not begin with CTCP"));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(CheckpointFault::Newer(version));
        }
        if crc::crc32c(body) != u32::from_be_bytes(*checksum) {
            return Err(CheckpointFault::Broken("its checksum does not hold"));
        }
        let clean = cursor.u8()? == 1;
        cursor.u8()?;
        let owner = Owner { directory: cursor.array()?, journal: JournalId(cursor.u32()?) };
        let incarnation = Incarnation(cursor.u64()?);
        let generation = cursor.u64()?;
        let tail = Tail { file: cursor.u32()?, sequence: cursor.u64()? };
        let committed = cursor.u64()?;
        let end = Opened { accepted: cursor.u64()?, checksum: cursor.u32()? };
        let file_bytes = cursor.u64()?;
        let mut logs = Vec::new();
        for _ in 0..cursor.u32()? {
            let log = LogId(cursor.u64()?);
            logs.push((log, bytes.slice_ref(cursor.prefixed()?)));
        }
        let snapshot = bytes.slice_ref(cursor.prefixed()?);
        Ok(Self { owner, incarnation, generation, clean, tail, committed, end, file_bytes, logs, snapshot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            owner: Owner { directory: [1; 16], journal: JournalId(2) },
            incarnation: Incarnation(3),
            generation: 4,
            clean: true,
            tail: Tail { file: 5, sequence: 6 },
            committed: 7,
            end: Opened { accepted: 8, checksum: 9 },
            file_bytes: 10,
            logs: vec![(LogId(11), Bytes::from_static(b"state")), (LogId(12), Bytes::new())],
            snapshot: Bytes::from_static(b"image"),
        }
    }

    #[test]
    fn a_checkpoint_comes_back() {
        assert_eq!(Checkpoint::decode(&checkpoint().encode().into()), Ok(checkpoint()));
    }

    #[test]
    fn a_torn_or_flipped_checkpoint_is_refused() {
        let bytes = checkpoint().encode();
        for len in 0..bytes.len() {
            assert!(Checkpoint::decode(&Bytes::copy_from_slice(&bytes[..len])).is_err(), "cut to {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(&bad.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = checkpoint().encode();
        bytes[5] = 2;
        assert_eq!(Checkpoint::decode(&bytes.into()), Err(CheckpointFault::Newer(2)));
    }
}
